//! What is known of commands, so that each is carried out once.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ReceivedCommand;
use crate::ids::CommandId;
use crate::thing_if::ActionResults;
use crate::transport::BoxFuture;

/// Keeps what is known of commands: a command is written down before it runs, its results before they are reported, and
/// that it is over. What was written must survive what the program survives: [`MemoryJournal`] survives a lost
/// connection, [`FileJournal`](super::FileJournal) a restart.
pub trait Journal: Send + Sync + 'static {
    /// Writes down that `command` is about to run; `false`, and nothing is written, when it is known already.
    ///
    /// # Errors
    /// Of the storage. The command is not known then.
    fn begin<'a>(&'a self, command: &'a ReceivedCommand) -> BoxFuture<'a, io::Result<bool>>;

    /// Writes down what became of a command that has begun.
    ///
    /// # Errors
    /// Of the storage.
    fn finish<'a>(&'a self, command: &'a CommandId, results: &'a ActionResults) -> BoxFuture<'a, io::Result<()>>;

    /// Writes down that the results are reported, or that nobody wants them. The command stays known.
    ///
    /// # Errors
    /// Of the storage.
    fn settle<'a>(&'a self, command: &'a CommandId) -> BoxFuture<'a, io::Result<()>>;

    /// The commands that have begun and are not settled, in the order in which they began.
    fn unsettled(&self) -> BoxFuture<'_, io::Result<Vec<Unsettled>>>;
}

impl<J: Journal + ?Sized> Journal for Arc<J> {
    fn begin<'a>(&'a self, command: &'a ReceivedCommand) -> BoxFuture<'a, io::Result<bool>> {
        (**self).begin(command)
    }

    fn finish<'a>(&'a self, command: &'a CommandId, results: &'a ActionResults) -> BoxFuture<'a, io::Result<()>> {
        (**self).finish(command, results)
    }

    fn settle<'a>(&'a self, command: &'a CommandId) -> BoxFuture<'a, io::Result<()>> {
        (**self).settle(command)
    }

    fn unsettled(&self) -> BoxFuture<'_, io::Result<Vec<Unsettled>>> {
        (**self).unsettled()
    }
}

/// A command whose results the service does not have.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsettled {
    /// The command.
    pub command: ReceivedCommand,
    /// What became of it; `None` when it had begun and nothing is known of its end.
    pub results: Option<ActionResults>,
}

/// How many settled commands are remembered. A service lists newer ones first, so older ones are not met again.
pub(super) const REMEMBERED: usize = 1024;

/// The journal's memory.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    unsettled: HashMap<CommandId, (u64, Unsettled)>,
    settled: VecDeque<CommandId>,
    count: u64,
}

impl Ledger {
    pub(super) fn is_known(&self, command: &CommandId) -> bool {
        self.unsettled.contains_key(command) || self.settled.contains(command)
    }

    pub(super) fn begin(&mut self, command: ReceivedCommand) {
        self.count += 1;
        let id = command.command_id.clone();
        self.unsettled.insert(id, (self.count, Unsettled { command, results: None }));
    }

    pub(super) fn finish(&mut self, command: &CommandId, results: ActionResults) {
        if let Some((_, entry)) = self.unsettled.get_mut(command) {
            entry.results = Some(results);
        }
    }

    pub(super) fn settle(&mut self, command: &CommandId) {
        self.unsettled.remove(command);
        if self.settled.contains(command) {
            return;
        }
        self.settled.push_back(command.clone());
        if self.settled.len() > REMEMBERED {
            self.settled.pop_front();
        }
    }

    pub(super) fn unsettled(&self) -> Vec<Unsettled> {
        let in_order: BTreeMap<u64, &Unsettled> = self.unsettled.values().map(|(at, entry)| (*at, entry)).collect();
        in_order.into_values().cloned().collect()
    }

    pub(super) fn settled(&self) -> impl Iterator<Item = &CommandId> {
        self.settled.iter()
    }
}

/// A journal in memory: it knows the commands of this run, the newest 1,024 of those that are settled.
#[derive(Debug, Default)]
pub struct MemoryJournal(Mutex<Ledger>);

impl MemoryJournal {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing panics while it is held, and every state of it is a valid one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    fn begin<'a>(&'a self, command: &'a ReceivedCommand) -> BoxFuture<'a, io::Result<bool>> {
        let mut ledger = self.ledger();
        let new = !ledger.is_known(&command.command_id);
        if new {
            ledger.begin(command.clone());
        }
        Box::pin(std::future::ready(Ok(new)))
    }

    fn finish<'a>(&'a self, command: &'a CommandId, results: &'a ActionResults) -> BoxFuture<'a, io::Result<()>> {
        self.ledger().finish(command, results.clone());
        Box::pin(std::future::ready(Ok(())))
    }

    fn settle<'a>(&'a self, command: &'a CommandId) -> BoxFuture<'a, io::Result<()>> {
        self.ledger().settle(command);
        Box::pin(std::future::ready(Ok(())))
    }

    fn unsettled(&self) -> BoxFuture<'_, io::Result<Vec<Unsettled>>> {
        Box::pin(std::future::ready(Ok(self.ledger().unsettled())))
    }
}
