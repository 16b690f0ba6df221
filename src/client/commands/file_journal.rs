//! A journal that survives a restart.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::journal::{Ledger, REMEMBERED};
use super::{Journal, ReceivedCommand, Unsettled};
use crate::client::line_log::LineLog;
use crate::ids::CommandId;
use crate::thing_if::ActionResults;
use crate::transport::BoxFuture;

/// The first line, with the version of what follows.
const HEAD: &str = "thingif journal of commands 1\n";
/// After so many lines the file is written anew, without what nobody needs.
const MAX_LINES: usize = 8 * REMEMBERED;
/// The same of a file that has grown to so many bytes, and to twice what it was when it was last written anew.
const LARGE: u64 = 32 * 1024 * 1024;
/// A larger file is none of ours.
const MAX_LEN: u64 = 256 * 1024 * 1024;

/// A journal in a file: one line of JSON for each step of a command, with a checksum, synced before the command goes on.
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
    log: LineLog,
    ledger: Ledger,
    /// Its length when it was last written anew, or opened.
    compacted: u64,
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Begin(Box<ReceivedCommand>),
    Finish { command: CommandId, results: ActionResults },
    Settle(CommandId),
}

impl FileJournal {
    /// Opens or makes the journal in `path`. Missing directories are made, for their owner only.
    ///
    /// # Errors
    /// Of the file system; `WouldBlock` when another process has it; `InvalidData` when it is no journal of this version,
    /// is broken before its last line, or can be read by others.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut ledger = Ledger::default();
        let log = LineLog::open(path.as_ref(), HEAD, MAX_LEN, |line| {
            apply(&mut ledger, serde_json::from_str(line).map_err(|error| error.to_string())?);
            Ok(())
        })?;
        let mut inner = Inner { compacted: 0, log, ledger };
        inner.compact_if_worth_it();
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

impl Inner {
    /// Appends a line, durably, and remembers it.
    fn append(&mut self, line: Line) -> io::Result<()> {
        let text = serde_json::to_string(&line)?;
        // A command that is nested as deep as can be read is one level deeper here: it would be the last line ever read.
        if let Err(error) = serde_json::from_str::<Line>(&text) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error.to_string()));
        }
        self.log.append(&[text])?;
        apply(&mut self.ledger, line);
        self.compact_if_worth_it();
        Ok(())
    }

    fn compact_if_worth_it(&mut self) {
        let is_large = self.log.len() > LARGE.max(2 * self.compacted);
        if self.log.lines() <= MAX_LINES && !is_large {
            return;
        }
        match self.compact() {
            Ok(()) => self.compacted = self.log.len(),
            // In vain: the next line tries again.
            Err(error) => {
                tracing::warn!(path = %self.log.path().display(), %error, "the journal of commands cannot be written anew");
            }
        }
    }

    /// Writes the file anew, with what is still needed.
    fn compact(&mut self) -> io::Result<()> {
        let settled = self.ledger.settled().map(|id| Line::Settle(id.clone()));
        let unsettled = self.ledger.unsettled().into_iter().flat_map(|Unsettled { command, results }| {
            let id = command.command_id.clone();
            let finish = results.map(|results| Line::Finish { command: id, results });
            std::iter::once(Line::Begin(Box::new(command))).chain(finish)
        });
        let lines: Result<Vec<String>, _> = settled.chain(unsettled).map(|line| serde_json::to_string(&line)).collect();
        self.log.rewrite(&lines?)
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

    #[tokio::test]
    async fn a_command_that_could_not_be_read_again_is_refused_and_the_journal_stays_whole() {
        let mut refused = 0;
        for depth in 110..130 {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let path = dir.path().join("journal");
            let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let push = format!(r#"{{"commandID":"c1","actions":[{{"on":{{"x":{deep}}}}}]}}"#);
            let Ok(push) = CommandPush::from_json(push.as_bytes()) else { continue };
            let command = ReceivedCommand::from_push(push, &ThingId::new("th.1").expect("valid"), 0);
            let journal = FileJournal::open(&path).expect("made");
            match journal.begin(&command).await {
                Ok(begun) => assert!(begun),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                    refused += 1;
                }
            }
            drop(journal);
            FileJournal::open(&path).unwrap_or_else(|error| panic!("{depth}: {error}"));
        }
        assert!(refused > 0, "none was at the limit");
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
            let lines: Vec<Line> = (0..MAX_LINES).map(|n| Line::Settle(id(&format!("c{n}")))).collect();
            let texts: Vec<String> = lines.iter().map(|line| serde_json::to_string(line).expect("JSON")).collect();
            inner.log.rewrite(&texts).expect("written");
            lines.into_iter().for_each(|line| apply(&mut inner.ledger, line));
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
}
