//! The logins of devices that were onboarded through the bridge.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::ids::{AppId, ClientId};
use crate::mqtt::Credentials;
use crate::secret::Secret;
use crate::thing_if::MqttEndpoint;

/// The most logins that are known at once, some 300 bytes each in memory and in the file.
pub const MAX_ENDPOINTS: usize = 100_000;

/// The first line of the file.
const HEAD: &str = "{\"thingif-endpoints\":1}";
/// The longest line that is read. Names have 2,048 bytes at most by the service's own rules.
const MAX_LINE: u64 = 64 * 1024;

/// What the upstream's onboarding answers have said of logins: client identifier, user name, and a salted SHA-256 of the
/// password, which is a service's random text and not what a person has thought of.
///
/// In a file they survive the bridge: one JSON object a line, mode 0600, each there before the device is told of it. A login
/// that is not known any more costs its device an onboarding.
pub struct Endpoints {
    state: Mutex<State>,
    max: usize,
}

#[derive(Default)]
struct State {
    known: HashMap<ClientId, Known>,
    file: Option<Log>,
}

#[derive(Clone)]
struct Known {
    app_id: AppId,
    username: String,
    salt: [u8; 16],
    hash: [u8; 32],
}

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

/// Why logins cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointsError {
    /// There are as many already as there may be.
    #[error("there are {0} logins already, as many as are kept")]
    Full(usize),
    /// Another process has the file.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// Somebody else may read the file.
    #[error("{0} can be read by others than its owner: it must have mode 0600")]
    Readable(PathBuf),
    /// A line before the last one is none of ours.
    #[error("{path} line {line} cannot be read: it is not a file of this version of the bridge, or is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The system says no.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
}

impl Known {
    fn of(app_id: &AppId, endpoint: &MqttEndpoint) -> Result<Self, getrandom::Error> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt)?;
        let hash = digest(&salt, &endpoint.password);
        Ok(Self { app_id: app_id.clone(), username: endpoint.username.clone(), salt, hash })
    }

    fn accepts(&self, username: &str, password: &Secret<String>) -> bool {
        let is_right: bool = digest(&self.salt, password).ct_eq(&self.hash).into();
        is_right && self.username == username
    }
}

fn digest(salt: &[u8; 16], password: &Secret<String>) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(password.expose().as_bytes()).finalize().into()
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Default for Endpoints {
    /// In memory.
    fn default() -> Self {
        Self { state: Mutex::default(), max: MAX_ENDPOINTS }
    }
}

impl Endpoints {
    /// Those in the file at `path`, which is made if it is not there, and rewritten without what no longer counts. Blocks.
    ///
    /// # Errors
    /// Every [`EndpointsError`] but `Full`. A last line that is not whole was never relied on, and is left out.
    pub fn open(path: &Path) -> Result<Self, EndpointsError> {
        let (file, known) = Log::open(path)?;
        let file = Some(file);
        Ok(Self { state: Mutex::new(State { known, file }), max: MAX_ENDPOINTS })
    }

    /// In memory, at most `max` of them.
    pub fn with_room_for(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.state().known.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps a login. Blocks until the file has it; one that is known already costs nothing.
    ///
    /// # Errors
    /// `Full`, `Io`. Nothing has changed then.
    pub fn learn(&self, app_id: &AppId, endpoint: &MqttEndpoint) -> Result<(), EndpointsError> {
        let mut state = self.state();
        let before = state.known.get(&endpoint.mqtt_topic);
        if before.is_some_and(|known| known.app_id == *app_id && known.accepts(&endpoint.username, &endpoint.password))
        {
            return Ok(());
        }
        if before.is_none() && state.known.len() >= self.max {
            return Err(EndpointsError::Full(self.max));
        }
        let known = Known::of(app_id, endpoint).map_err(|error| EndpointsError::Io {
            path: PathBuf::from("random numbers"),
            error: io::Error::other(error.to_string()),
        })?;
        if let Some(file) = &mut state.file {
            file.append(&Line { client_id: endpoint.mqtt_topic.clone(), login: Some(Login::of(&known)) })?;
        }
        state.known.insert(endpoint.mqtt_topic.clone(), known);
        Ok(())
    }

    /// Forgets the login of `client`; `false` when there was none. Blocks.
    ///
    /// # Errors
    /// `Io`: it is forgotten until the bridge starts anew.
    pub fn forget(&self, client: &ClientId) -> Result<bool, EndpointsError> {
        let mut state = self.state();
        let was_known = state.known.remove(client).is_some();
        if was_known && let Some(file) = &mut state.file {
            file.append(&Line { client_id: client.clone(), login: None })?;
        }
        Ok(was_known)
    }

    /// The application of whoever logs in so; `None` for a client identifier that is not known, `Some(None)` when user name or
    /// password are not its own.
    pub fn judge(&self, credentials: &Credentials) -> Option<Option<AppId>> {
        let known = self.state().known.get(&credentials.client_id).cloned()?;
        Some(known.accepts(&credentials.username, &credentials.password).then_some(known.app_id))
    }

    // Nothing panics while it holds the lock, so a poisoned one holds whole state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
struct Log {
    path: PathBuf,
    file: File,
    len: u64,
    /// Held for as long as the file is.
    _lock: File,
}

impl Log {
    fn open(path: &Path) -> Result<(Self, HashMap<ClientId, Known>), EndpointsError> {
        let failed = |error| EndpointsError::Io { path: path.to_owned(), error };
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let lock = private(OpenOptions::new().write(true).create(true).truncate(false), &beside(".lock"));
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
        // Written anew: without lines that were replaced, and without half a line at the end.
        let next = beside(".new");
        let mut file = private(OpenOptions::new().write(true).create(true).truncate(true), &next).map_err(failed)?;
        let mut text = format!("{HEAD}\n");
        for (client_id, known) in &known {
            text += &line(&Line { client_id: client_id.clone(), login: Some(Login::of(known)) });
        }
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written.and_then(|()| std::fs::rename(&next, path)).map_err(failed)?;
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        }
        Ok((Self { path: path.to_owned(), file, len: text.len() as u64, _lock: lock }, known))
    }

    fn append(&mut self, entry: &Line) -> Result<(), EndpointsError> {
        let text = line(entry);
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What was written of it must not become the beginning of the next line.
            let mended = self.file.set_len(self.len).and_then(|()| self.file.seek(SeekFrom::Start(self.len)));
            if let Err(error) = mended {
                tracing::error!(%error, path = %self.path.display(), "half a line may be left in the file of logins");
            }
            return Err(EndpointsError::Io { path: self.path.clone(), error });
        }
        self.len += text.len() as u64;
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn app() -> AppId {
        AppId::new("app1").expect("valid")
    }

    fn endpoint(topic: &str, password: &str) -> MqttEndpoint {
        let body = json!({ "username": format!("u-{topic}"), "password": password, "mqttTopic": topic, "host": "h" });
        MqttEndpoint::try_from(body).expect("complete")
    }

    fn judged(endpoints: &Endpoints, topic: &str, username: &str, password: &str) -> Option<bool> {
        let credentials = Credentials {
            client_id: ClientId::new(topic).expect("valid"),
            username: username.to_owned(),
            password: password.into(),
        };
        endpoints.judge(&credentials).map(|app_id| app_id == Some(app()))
    }

    #[test]
    fn a_login_is_the_one_that_was_learnt_last() {
        let endpoints = Endpoints::default();
        assert_eq!(judged(&endpoints, "t", "u-t", "one"), None);
        endpoints.learn(&app(), &endpoint("t", "one")).expect("room");
        assert_eq!(judged(&endpoints, "t", "u-t", "one"), Some(true));
        assert_eq!(judged(&endpoints, "t", "u-t", "two"), Some(false));
        assert_eq!(judged(&endpoints, "t", "u-x", "one"), Some(false));
        endpoints.learn(&app(), &endpoint("t", "two")).expect("room");
        assert_eq!(judged(&endpoints, "t", "u-t", "one"), Some(false));
        assert_eq!(judged(&endpoints, "t", "u-t", "two"), Some(true));
        assert!(endpoints.forget(&ClientId::new("t").expect("valid")).expect("in memory"));
        assert_eq!(judged(&endpoints, "t", "u-t", "two"), None);
    }

    #[test]
    fn there_are_as_many_as_there_may_be_and_known_ones_can_still_change() {
        let endpoints = Endpoints::with_room_for(1);
        endpoints.learn(&app(), &endpoint("t", "one")).expect("room");
        let full = endpoints.learn(&app(), &endpoint("u", "one")).expect_err("full");
        assert!(matches!(full, EndpointsError::Full(1)));
        endpoints.learn(&app(), &endpoint("t", "two")).expect("known");
        assert_eq!(endpoints.len(), 1);
    }

    #[test]
    fn the_file_survives_a_restart_private_and_without_passwords() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("endpoints.jsonl");
        let endpoints = Endpoints::open(&path).expect("made");
        for password in ["one", "hunter2"] {
            endpoints.learn(&app(), &endpoint("t", password)).expect("written");
        }
        endpoints.learn(&app(), &endpoint("gone", "one")).expect("written");
        endpoints.forget(&ClientId::new("gone").expect("valid")).expect("written");
        let len = || std::fs::metadata(&path).expect("there").len();
        let before = len();
        endpoints.learn(&app(), &endpoint("t", "hunter2")).expect("known");
        assert_eq!(len(), before, "what is known is not written again");
        assert!(matches!(Endpoints::open(&path), Err(EndpointsError::InUse(_))));
        drop(endpoints);
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(!text.contains("hunter2") && text.lines().count() == 5, "{text}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = || std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode(), 0o600);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("ours");
            assert!(matches!(Endpoints::open(&path), Err(EndpointsError::Readable(_))));
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("ours");
        }
        let again = Endpoints::open(&path).expect("read");
        assert_eq!((again.len(), judged(&again, "t", "u-t", "hunter2")), (1, Some(true)));
        assert!(len() < before, "what was replaced is left out");
    }

    #[test]
    fn half_a_last_line_is_left_out_and_any_other_damage_is_named() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("endpoints.jsonl");
        let endpoints = Endpoints::open(&path).expect("made");
        endpoints.learn(&app(), &endpoint("t", "one")).expect("written");
        endpoints.learn(&app(), &endpoint("u", "one")).expect("written");
        drop(endpoints);
        let whole = std::fs::read(&path).expect("readable");
        for cut in (0..whole.len()).step_by(13).chain([HEAD.len(), HEAD.len() + 1, whole.len() - 1]) {
            std::fs::write(&path, &whole[..cut]).expect("written");
            let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            let again = Endpoints::open(&path).unwrap_or_else(|error| panic!("{cut}: {error}"));
            assert_eq!(again.len(), lines.saturating_sub(1), "{cut}");
            again.learn(&app(), &endpoint("v", "one")).expect("written");
            drop(again);
            assert_eq!(judged(&Endpoints::open(&path).expect("whole"), "v", "u-v", "one"), Some(true));
        }
        for (text, line) in [
            ("{\"thingif-endpoints\":2}\n", 1),
            ("{\"thingif-endpoints\":1}\nx\n", 2),
            (
                "{\"thingif-endpoints\":1}\n{\"clientId\":\"t\",\"login\":{\"app\":\"a\",\"username\":\"u\",\"salt\":\"\",\"sha256\":\"\"}}\n",
                2,
            ),
        ] {
            std::fs::write(&path, text).expect("written");
            match Endpoints::open(&path) {
                Err(EndpointsError::Damaged { line: found, .. }) => assert_eq!(found, line, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
