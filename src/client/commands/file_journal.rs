//! A journal that survives a restart.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::journal::{Ledger, REMEMBERED};
use super::{Journal, ReceivedCommand, Unsettled};
use crate::client::vault::private_file;
use crate::ids::CommandId;
use crate::thing_if::ActionResults;
use crate::transport::BoxFuture;

/// The first line, with the version of what follows.
const HEAD: &str = "{\"journal\":\"thingif commands\",\"version\":1}\n";
/// After so many lines the file is written anew, without what nobody needs.
const MAX_LINES: usize = 8 * REMEMBERED;
/// A larger file is none of ours.
const MAX_LEN: u64 = 256 * 1024 * 1024;

/// A journal in a file: JSON Lines, appended, each line synced before the command goes on.
///
/// The file has mode 0600, because parameters of actions are in it, and one owner: a lock beside it (`….lock`) is held as
/// long as the journal is open. It is written anew after 8,192 lines, so it stays small. Each of the three steps of a
/// command costs a sync, some milliseconds on flash.
///
/// A line that a crash left unfinished is dropped when the journal is opened; a step of which only that is left has not
/// been taken.
#[derive(Debug, Clone)]
pub struct FileJournal(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    /// Where the last whole line ends.
    len: u64,
    /// Something that is not to stay may follow it.
    is_torn: bool,
    lines: usize,
    ledger: Ledger,
    _lock: File,
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Begin(Box<ReceivedCommand>),
    Finish { command: CommandId, results: ActionResults },
    Settle(CommandId),
}

fn wrong(path: &Path, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()))
}

impl FileJournal {
    /// Opens or makes the journal in `path`. Missing directories are made, for their owner only.
    ///
    /// # Errors
    /// Of the file system; `WouldBlock` when another process has it; `InvalidData` when it is no journal of this version,
    /// is broken before its last line, or can be read by others.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        private_file::make_directory(private_file::directory_of(&path))?;
        let lock = take_lock(&path)?;
        private_file::sweep(&path)?;
        if private_file::read(&path, MAX_LEN).map_err(io::Error::other)?.is_none_or(|text| text.is_empty()) {
            private_file::write(&path, HEAD.as_bytes())?;
        }
        let mut inner = Inner::load(path, lock)?;
        if inner.lines > MAX_LINES {
            inner.compact()?;
        }
        Ok(Self(Arc::new(Mutex::new(inner))))
    }

    /// Does `work` where blocking is allowed.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inner) -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, io::Result<T>> {
        let inner = self.0.clone();
        Box::pin(async move {
            let work = move || work(&mut inner.lock().unwrap_or_else(PoisonError::into_inner));
            tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
        })
    }
}

fn take_lock(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&name)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            let what = format!("{} is in use by another process", path.display());
            Err(io::Error::new(io::ErrorKind::WouldBlock, what))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Inner {
    fn load(path: PathBuf, lock: File) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let Some(body) = text.strip_prefix(HEAD) else { return Err(wrong(&path, "no journal of commands, version 1")) };
        let (mut ledger, mut lines, mut len) = (Ledger::default(), 1, HEAD.len());
        for line in body.split_inclusive('\n') {
            let last = len + line.len() == text.len();
            let whole = line.ends_with('\n').then(|| serde_json::from_str(line));
            match whole {
                Some(Ok(line)) => apply(&mut ledger, line),
                // A crash cut it short, or left zeros where its end should be.
                None | Some(Err(_)) if last => break,
                _ => return Err(wrong(&path, format_args!("line {} cannot be read", lines + 1))),
            }
            lines += 1;
            len += line.len();
        }
        let len = len as u64;
        file.set_len(len)?;
        file.seek(SeekFrom::Start(len))?;
        Ok(Self { path, file, len, is_torn: false, lines, ledger, _lock: lock })
    }

    /// Appends a line, durably, and remembers it.
    fn append(&mut self, line: Line) -> io::Result<()> {
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        if self.is_torn {
            // Half a line in the middle would make the journal unreadable.
            self.file.set_len(self.len)?;
            self.file.seek(SeekFrom::Start(self.len))?;
        }
        self.is_torn = true;
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()?;
        self.is_torn = false;
        self.len += text.len() as u64;
        self.lines += 1;
        apply(&mut self.ledger, line);
        if self.lines > MAX_LINES {
            // In vain: the next line tries again.
            if let Err(error) = self.compact() {
                tracing::warn!(path = %self.path.display(), %error, "the journal of commands cannot be written anew");
            }
        }
        Ok(())
    }

    /// Writes the file anew, with what is still needed.
    fn compact(&mut self) -> io::Result<()> {
        let mut text = HEAD.to_owned();
        let mut add = |line: Line| {
            text.push_str(&serde_json::to_string(&line)?);
            text.push('\n');
            Ok::<(), serde_json::Error>(())
        };
        let mut lines = 1;
        for id in self.ledger.settled() {
            add(Line::Settle(id.clone()))?;
            lines += 1;
        }
        for Unsettled { command, results } in self.ledger.unsettled() {
            let id = command.command_id.clone();
            add(Line::Begin(Box::new(command)))?;
            lines += 1;
            if let Some(results) = results {
                add(Line::Finish { command: id, results })?;
                lines += 1;
            }
        }
        private_file::write(&self.path, text.as_bytes())?;
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        file.seek(SeekFrom::End(0))?;
        (self.file, self.len, self.lines, self.is_torn) = (file, text.len() as u64, lines, false);
        Ok(())
    }
}

fn apply(ledger: &mut Ledger, line: Line) {
    match line {
        Line::Begin(command) => ledger.begin(*command),
        Line::Finish { command, results } => ledger.finish(&command, results),
        Line::Settle(command) => ledger.settle(&command),
    }
}

impl Journal for FileJournal {
    fn begin<'a>(&'a self, command: &'a ReceivedCommand) -> BoxFuture<'a, io::Result<bool>> {
        let command = command.clone();
        self.run(move |inner| {
            if inner.ledger.is_known(&command.command_id) {
                return Ok(false);
            }
            inner.append(Line::Begin(Box::new(command))).map(|()| true)
        })
    }

    fn finish<'a>(&'a self, command: &'a CommandId, results: &'a ActionResults) -> BoxFuture<'a, io::Result<()>> {
        let line = Line::Finish { command: command.clone(), results: results.clone() };
        self.run(move |inner| inner.append(line))
    }

    fn settle<'a>(&'a self, command: &'a CommandId) -> BoxFuture<'a, io::Result<()>> {
        let line = Line::Settle(command.clone());
        self.run(move |inner| inner.append(line))
    }

    fn unsettled(&self) -> BoxFuture<'_, io::Result<Vec<Unsettled>>> {
        self.run(|inner| Ok(inner.ledger.unsettled()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ids::ThingId;
    use crate::thing_if::CommandPush;

    fn command(id: &str) -> ReceivedCommand {
        let push = format!(r#"{{"commandID":"{id}","actions":[{{"turnPower":{{"power":true}}}}],"issuer":"user:u"}}"#);
        let push = CommandPush::from_json(push.as_bytes()).expect("a command");
        ReceivedCommand::from_push(push, &ThingId::new("th.1").expect("valid"), 1_700_000_000_000)
    }

    fn id(text: &str) -> CommandId {
        CommandId::new(text).expect("valid")
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_a_restart() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("deep/journal");
        let journal = FileJournal::open(&path).expect("made");
        for name in ["a", "b", "c"] {
            assert!(journal.begin(&command(name)).await.expect("written"));
        }
        assert!(!journal.begin(&command("a")).await.expect("asked"), "it is known");
        let results = command("b").failed("no");
        journal.finish(&id("b"), &results).await.expect("written");
        journal.settle(&id("a")).await.expect("written");
        let before = journal.unsettled().await.expect("read");
        drop(journal);

        let journal = FileJournal::open(&path).expect("opened");
        let after = journal.unsettled().await.expect("read");
        assert_eq!(before, after);
        assert_eq!(after[0], Unsettled { command: command("b"), results: Some(results) });
        assert_eq!(after[1], Unsettled { command: command("c"), results: None });
        assert!(!journal.begin(&command("a")).await.expect("asked"), "it stays known");
    }

    #[test]
    fn cut_at_any_byte_it_keeps_every_whole_line() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("journal");
        drop(FileJournal::open(&path).expect("made"));
        let lines = [
            Line::Begin(Box::new(command("a"))),
            Line::Finish { command: id("a"), results: command("a").failed("no") },
            Line::Settle(id("a")),
            Line::Begin(Box::new(command("b"))),
        ];
        let mut text = HEAD.to_owned();
        let mut ends = vec![text.len()];
        for line in &lines {
            text.push_str(&serde_json::to_string(line).expect("JSON"));
            text.push('\n');
            ends.push(text.len());
        }
        for cut in HEAD.len()..=text.len() {
            fs::write(&path, &text[..cut]).expect("written");
            let journal = FileJournal::open(&path).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
            let inner = journal.0.lock().expect("not poisoned");
            let whole = ends.iter().rposition(|end| *end <= cut).expect("the head");
            assert_eq!((inner.lines, inner.len), (whole + 1, ends[whole] as u64), "cut at {cut}");
            drop(inner);
            assert_eq!(fs::read(&path).expect("read"), &text.as_bytes()[..ends[whole]], "the torn line is gone");
        }
        let mut zeros = text.clone();
        zeros.push_str("\0\0\0\n");
        fs::write(&path, &zeros).expect("written");
        assert!(FileJournal::open(&path).is_ok(), "a crash may leave zeros");
        fs::write(&path, text.replacen("settle", "sett!e", 1)).expect("written");
        let error = FileJournal::open(&path).expect_err("broken in the middle");
        assert!(error.to_string().contains("line 4"), "{error}");
        fs::write(&path, "something else").expect("written");
        assert_eq!(FileJournal::open(&path).expect_err("no journal").kind(), io::ErrorKind::InvalidData);
        assert_eq!(fs::read(&path).expect("read"), b"something else", "and it is left alone");
    }

    #[tokio::test]
    async fn it_stays_small_and_forgets_only_what_is_long_over() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("journal");
        let journal = FileJournal::open(&path).expect("made");
        journal.begin(&command("open")).await.expect("written");
        {
            // Without the syncs, which are what takes time.
            let mut inner = journal.0.lock().expect("not poisoned");
            for n in 0..3 * MAX_LINES {
                apply(&mut inner.ledger, Line::Settle(id(&format!("c{n}"))));
            }
            inner.lines = MAX_LINES;
        }
        journal.settle(&id("last")).await.expect("written");
        drop(journal);
        let text = fs::read_to_string(&path).expect("read");
        assert!(text.lines().count() <= REMEMBERED + 3, "{}", text.lines().count());
        let journal = FileJournal::open(&path).expect("opened");
        assert_eq!(journal.unsettled().await.expect("read").len(), 1, "what is not settled stays");
        assert!(!journal.begin(&command("last")).await.expect("asked"));
        assert!(journal.begin(&command("c0")).await.expect("asked"), "long over");
    }

    #[test]
    fn it_has_one_owner_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("journal");
        let journal = FileJournal::open(&path).expect("made");
        assert_eq!(FileJournal::open(&path).expect_err("taken").kind(), io::ErrorKind::WouldBlock);
        drop(journal);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(FileJournal::open(&path).is_err(), "others could have written it");
    }
}
