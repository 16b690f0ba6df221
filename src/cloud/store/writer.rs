//! The thread that writes: group commit.
//!
//! Jobs that arrive while a commit runs wait together and are executed in one transaction, each in a savepoint of its
//! own, so one that fails takes nobody with it. Answers leave only after the commit, whose sync covers them all: the
//! price of durability is paid once a batch, not once a request.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::sqlite::SqliteSession;
use super::{Bounds, Commits, Finished, Job, StoreError, StoreErrorKind};
use crate::cloud::data_directory::DataDirectory;
use crate::cloud::distribution::Distribution;

enum Message {
    Run(Job),
    Close,
}

/// The sending side of the writer thread.
pub(super) struct Writer {
    queue: SyncSender<Message>,
    counters: Arc<Counters>,
}

/// How well the commits were shared.
#[derive(Debug)]
struct Counters {
    commits: AtomicU64,
    jobs: AtomicU64,
    batches: Mutex<Distribution>,
    waiting: AtomicUsize,
}

impl Writer {
    /// Starts the thread. It owns `connection`, and `directory`, with its lock, until the connection is closed.
    pub(super) fn start(
        connection: Connection,
        directory: Option<DataDirectory>,
        bounds: Bounds,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (sender, receiver) = sync_channel(bounds.queue);
        let counters = Arc::new(Counters {
            commits: AtomicU64::new(0),
            jobs: AtomicU64::new(0),
            batches: Mutex::new(Distribution::of_sizes()),
            waiting: AtomicUsize::new(0),
        });
        let counted = Arc::clone(&counters);
        let thread = std::thread::Builder::new().name("thingif-writer".into()).spawn(move || {
            run(&connection, &receiver, bounds.writes_per_commit, &counted);
            if let Err((_, error)) = connection.close() {
                tracing::warn!(%error, "the database did not close cleanly; the next start recovers it");
            }
            drop(directory);
        })?;
        Ok((Self { queue: sender, counters }, thread))
    }

    pub(super) fn submit(&self, job: Job) -> Result<(), StoreError> {
        // Before it is sent, or it could be taken off before it was added.
        self.counters.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(Message::Run(job)).map_err(|error| {
            self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => StoreError::new(StoreErrorKind::Overloaded, "the write queue is full"),
                TrySendError::Disconnected(_) => StoreError::closed(),
            }
        })
    }

    /// Jobs that are in no transaction yet.
    pub(super) fn queued(&self) -> usize {
        self.counters.waiting.load(Ordering::Relaxed)
    }

    /// How many jobs each transaction had.
    pub(super) fn batches(&self) -> Distribution {
        self.counters.batches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets the thread end after what is queued. Blocks while the queue is full.
    pub(super) fn close(&self) {
        // Already ended: nothing to do.
        let _ = self.queue.send(Message::Close);
    }

    pub(super) fn commits(&self) -> Commits {
        Commits {
            commits: self.counters.commits.load(Ordering::Relaxed),
            requests: self.counters.jobs.load(Ordering::Relaxed),
        }
    }
}

fn run(connection: &Connection, queue: &Receiver<Message>, writes_per_commit: usize, counted: &Counters) {
    loop {
        let Ok(Message::Run(first)) = queue.recv() else { return };
        counted.waiting.fetch_sub(1, Ordering::Relaxed);
        let mut batch = Batch::new(connection);
        batch.run(first);
        let mut closing = false;
        while batch.len < writes_per_commit {
            match queue.try_recv() {
                Ok(Message::Run(job)) => {
                    counted.waiting.fetch_sub(1, Ordering::Relaxed);
                    batch.run(job);
                }
                Ok(Message::Close) => {
                    closing = true;
                    break;
                }
                Err(_) => break,
            }
        }
        counted.jobs.fetch_add(batch.len as u64, Ordering::Relaxed);
        counted.commits.fetch_add(1, Ordering::Relaxed);
        counted.batches.lock().unwrap_or_else(PoisonError::into_inner).observe(batch.len as f64);
        batch.commit();
        if closing {
            return;
        }
    }
}

type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// One transaction and those who wait for it.
struct Batch<'c> {
    connection: &'c Connection,
    waiting: Vec<Reply>,
    len: usize,
}

impl<'c> Batch<'c> {
    fn new(connection: &'c Connection) -> Self {
        Self { connection, waiting: Vec::new(), len: 0 }
    }

    /// Runs `job` in a savepoint. Its answer waits for [`Batch::commit`].
    fn run(&mut self, job: Job) {
        self.len += 1;
        if let Err(error) = self.begin() {
            refuse(job, error);
            return;
        }
        let mut session = SqliteSession(self.connection);
        let outcome = catch_unwind(AssertUnwindSafe(|| job(&mut session)));
        // A full disk or an I/O error makes SQLite roll the whole transaction back by itself, and what came before in
        // this batch with it. Going on would run outside of any transaction.
        if self.connection.is_autocommit() {
            self.fail(&StoreError::new(StoreErrorKind::RolledBack, "the database gave up the transaction"));
            if let Ok(Finished { reply, .. }) = outcome {
                reply(Err(StoreError::new(StoreErrorKind::Failed, "the database gave up the transaction")));
            }
            return;
        }
        let keep = outcome.as_ref().is_ok_and(|finished| finished.keep);
        let ended = self.end(keep);
        // A job that panicked has dropped its answer: whoever waits for it learns that.
        if let Ok(Finished { reply, .. }) = outcome {
            self.waiting.push(reply);
        }
        if let Err(error) = ended {
            // With the savepoint still there, the commit would keep what this job must not leave.
            self.abandon(&StoreError::from(error));
        }
    }

    /// Ends the savepoint: with its changes, or without.
    fn end(&self, keep: bool) -> rusqlite::Result<()> {
        if !keep {
            self.connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
        self.connection.prepare_cached("RELEASE job")?.execute([]).map(drop)
    }

    fn abandon(&mut self, error: &StoreError) {
        tracing::error!(%error, "a transaction is rolled back");
        if !self.connection.is_autocommit() {
            // Nothing more can be done when this fails too; the next BEGIN reports it.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        self.fail(error);
    }

    fn begin(&mut self) -> rusqlite::Result<()> {
        if self.connection.is_autocommit() {
            self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        }
        self.connection.prepare_cached("SAVEPOINT job")?.execute([]).map(drop)
    }

    /// Commits, which returns after the sync, and only then answers.
    fn commit(mut self) {
        if self.connection.is_autocommit() {
            return;
        }
        match self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])) {
            Ok(_) => {
                for reply in self.waiting.drain(..) {
                    reply(Ok(()));
                }
            }
            Err(error) => {
                self.abandon(&StoreError::new(StoreErrorKind::Unknown, format!("commit failed: {error}")));
            }
        }
    }

    fn fail(&mut self, error: &StoreError) {
        for reply in self.waiting.drain(..) {
            reply(Err(error.clone()));
        }
    }
}

/// Answers a job that cannot run because there is no transaction.
fn refuse(job: Job, error: rusqlite::Error) {
    struct Refusing(StoreError);
    impl super::Sql for Refusing {
        fn execute(&mut self, _: &'static str, _: &[super::Value<'_>]) -> Result<usize, StoreError> {
            Err(self.0.clone())
        }
        fn query(&mut self, _: &'static str, _: &[super::Value<'_>]) -> Result<Vec<super::Row>, StoreError> {
            Err(self.0.clone())
        }
    }
    let error = StoreError::from(error);
    let outcome = catch_unwind(AssertUnwindSafe(|| job(&mut Refusing(error.clone()))));
    if let Ok(Finished { reply, .. }) = outcome {
        reply(Err(error));
    }
}
