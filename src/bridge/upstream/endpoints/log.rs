//! The file of logins: one JSON object a line, the last one of a client counts.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{EndpointsError, Known};
use crate::ids::{AppId, ClientId};

/// The first line of the file.
pub(super) const HEAD: &str = "{\"thingif-endpoints\":1}";
/// The longest line that is read or written, in bytes.
const MAX_LINE: u64 = 64 * 1024;
/// Lines that no longer count and are kept, besides as many as there are logins.
const MAX_REPLACED: usize = 1024;

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    client_id: ClientId,
    /// `None`: forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<Login>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Login {
    app: AppId,
    username: String,
    salt: String,
    sha256: String,
}

impl Login {
    fn of(known: &Known) -> Self {
        Self {
            app: known.app_id.clone(),
            username: known.username.clone(),
            salt: STANDARD_NO_PAD.encode(known.salt),
            sha256: STANDARD_NO_PAD.encode(known.hash),
        }
    }

    fn read(self) -> Option<Known> {
        let salt = STANDARD_NO_PAD.decode(self.salt).ok()?.try_into().ok()?;
        let hash = STANDARD_NO_PAD.decode(self.sha256).ok()?.try_into().ok()?;
        Some(Known { app_id: self.app, username: self.username, salt, hash })
    }
}

/// The file, open at its end.
pub(super) struct Log {
    path: PathBuf,
    pub(super) file: File,
    /// Its whole lines: their bytes, and how many there are besides the head.
    len: u64,
    lines: usize,
    /// As many lines have it written anew.
    pub(super) max_lines: usize,
    /// Whether there may be half a line behind them.
    is_torn: bool,
    /// Whether the directory may still lead to another file after a crash.
    is_adrift: bool,
    /// Clients that are forgotten, and not in the file yet.
    owed: HashSet<ClientId>,
    /// Held for as long as the file is.
    _lock: File,
}

impl Log {
    pub(super) fn open(path: &Path) -> Result<(Self, HashMap<ClientId, Known>), EndpointsError> {
        let failed = |error| EndpointsError::Io { path: path.to_owned(), error };
        let lock = private(OpenOptions::new().write(true).create(true).truncate(false), &beside(path, ".lock"));
        let lock = lock.map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => EndpointsError::InUse(path.to_owned()),
            TryLockError::Error(error) => failed(error),
        })?;
        let known = match File::open(path) {
            Ok(file) => read(path, file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
            Err(error) => return Err(failed(error)),
        };
        // Without lines that were replaced, and without half a line at the end.
        let (file, len) = write_anew(path, &known).map_err(failed)?;
        sync_directory(path).map_err(failed)?;
        let log = Self {
            path: path.to_owned(),
            file,
            len,
            lines: known.len(),
            max_lines: max_lines(known.len()),
            is_torn: false,
            is_adrift: false,
            owed: HashSet::new(),
            _lock: lock,
        };
        Ok((log, known))
    }

    /// Writes a login, and waits for the disk.
    pub(super) fn learnt(&mut self, client: &ClientId, known: &Known) -> Result<(), EndpointsError> {
        self.settle()?;
        self.append(&Line { client_id: client.clone(), login: Some(Login::of(known)) })
    }

    /// Writes that a login is no more, if there `was` one, or if that could not be written before; says whether it was so.
    pub(super) fn forgotten(&mut self, client: &ClientId, was: bool) -> Result<bool, EndpointsError> {
        if was {
            self.owed.insert(client.clone());
        }
        let is_owed = self.owed.contains(client);
        self.settle()?;
        Ok(is_owed)
    }

    /// Writes what could not be written before.
    fn settle(&mut self) -> Result<(), EndpointsError> {
        while let Some(client) = self.owed.iter().next().cloned() {
            self.append(&Line { client_id: client.clone(), login: None })?;
            self.owed.remove(&client);
        }
        Ok(())
    }

    fn append(&mut self, entry: &Line) -> Result<(), EndpointsError> {
        let text = line(entry);
        if text.len() as u64 > MAX_LINE {
            return Err(EndpointsError::TooLong { len: text.len(), max: MAX_LINE as usize });
        }
        let written = self.mend().and_then(|()| {
            self.is_torn = true;
            self.file.write_all(text.as_bytes())?;
            self.file.sync_data()
        });
        if let Err(error) = written {
            // At once, because a restart would take a whole line for one that counts.
            if let Err(error) = self.mend() {
                tracing::error!(%error, path = %self.path.display(), "part of a line may be left in the file of logins");
            }
            return Err(EndpointsError::Io { path: self.path.clone(), error });
        }
        self.is_torn = false;
        self.len += text.len() as u64;
        self.lines += 1;
        Ok(())
    }

    /// Cuts off what was written of a line that failed: it must not become the beginning of the next one.
    fn mend(&mut self) -> io::Result<()> {
        if self.is_adrift {
            sync_directory(&self.path)?;
            self.is_adrift = false;
        }
        if self.is_torn {
            self.file.set_len(self.len)?;
            self.file.seek(SeekFrom::Start(self.len))?;
            self.is_torn = false;
        }
        Ok(())
    }

    /// Writes the file anew when most of its lines were replaced. A failure costs nothing but room.
    pub(super) fn shorten(&mut self, known: &HashMap<ClientId, Known>) {
        if self.lines < self.max_lines {
            return;
        }
        match write_anew(&self.path, known) {
            Ok((file, len)) => {
                (self.file, self.len, self.lines) = (file, len, known.len());
                (self.is_torn, self.is_adrift) = (false, true);
            }
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "the file of logins cannot be written anew");
            }
        }
        self.max_lines = max_lines(self.lines);
    }
}

fn max_lines(lines: usize) -> usize {
    2 * lines + MAX_REPLACED
}

/// Puts a file with these logins alone at `path`, and gives it, open at its end, with its length.
fn write_anew(path: &Path, known: &HashMap<ClientId, Known>) -> io::Result<(File, u64)> {
    let next = beside(path, ".new");
    let mut file = private(OpenOptions::new().write(true).create(true).truncate(true), &next)?;
    let mut text = format!("{HEAD}\n");
    for (client_id, known) in known {
        text += &line(&Line { client_id: client_id.clone(), login: Some(Login::of(known)) });
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    Ok((file, text.len() as u64))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    directory.map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn line(entry: &Line) -> String {
    serde_json::to_string(entry).expect("texts are written without fail") + "\n"
}

/// Opens a file that only its owner may read.
fn private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options.open(path)
}

fn read(path: &Path, file: File) -> Result<HashMap<ClientId, Known>, EndpointsError> {
    let failed = |error| EndpointsError::Io { path: path.to_owned(), error };
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&file.metadata().map_err(failed)?.permissions()) & 0o077 != 0 {
        return Err(EndpointsError::Readable(path.to_owned()));
    }
    let mut known = HashMap::new();
    let mut reader = BufReader::new(file);
    for number in 1.. {
        let mut text = Vec::new();
        reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut text).map_err(failed)?;
        if text.is_empty() {
            break;
        }
        let damaged = || EndpointsError::Damaged { path: path.to_owned(), line: number };
        // The last line of a process that was killed: nobody was told of what it says.
        let Some(text) = text.strip_suffix(b"\n") else {
            return if text.len() as u64 == MAX_LINE { Err(damaged()) } else { Ok(known) };
        };
        if number == 1 {
            if text != HEAD.as_bytes() {
                return Err(damaged());
            }
            continue;
        }
        let line: Line = serde_json::from_slice(text).map_err(|_| damaged())?;
        match line.login {
            Some(login) => known.insert(line.client_id, login.read().ok_or_else(damaged)?),
            None => known.remove(&line.client_id),
        };
    }
    Ok(known)
}
