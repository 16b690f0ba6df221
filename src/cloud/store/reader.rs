//! The threads that read, each with a connection of its own.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::sqlite::SqliteSession;
use super::{Finished, Job, StoreError, StoreErrorKind};

/// The sending side of the reader threads.
pub(super) struct Readers {
    queue: SyncSender<Option<Job>>,
    threads: usize,
    waiting: Arc<AtomicUsize>,
}

impl Readers {
    /// Starts one thread a connection, all fed from one queue.
    pub(super) fn start(connections: Vec<Connection>, queue: usize) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (sender, receiver) = sync_channel(queue);
        let receiver = Arc::new(Mutex::new(receiver));
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut threads = Vec::new();
        for connection in connections {
            let (receiver, waiting) = (Arc::clone(&receiver), Arc::clone(&waiting));
            let builder = std::thread::Builder::new().name("thingif-reader".into());
            threads.push(builder.spawn(move || run(&connection, &receiver, &waiting))?);
        }
        Ok((Self { queue: sender, threads: threads.len(), waiting }, threads))
    }

    pub(super) fn submit(&self, job: Job) -> Result<(), StoreError> {
        // Before it is sent, or it could be taken off before it was added.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(Some(job)).map_err(|error| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => StoreError::new(StoreErrorKind::Overloaded, "the read queue is full"),
                TrySendError::Disconnected(_) => StoreError::closed(),
            }
        })
    }

    /// Jobs that no thread has taken yet.
    pub(super) fn queued(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Lets the threads end after what is queued.
    pub(super) fn close(&self) {
        for _ in 0..self.threads {
            // Already ended: nothing to do.
            let _ = self.queue.send(None);
        }
    }
}

fn run(connection: &Connection, queue: &Mutex<Receiver<Option<Job>>>, waiting: &AtomicUsize) {
    loop {
        // The guard is dropped before the job runs; waiting for the guard and waiting for a job come to the same.
        let next = queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).recv();
        let Ok(Some(job)) = next else { return };
        waiting.fetch_sub(1, Ordering::Relaxed);
        // One snapshot for all statements of the job. It begins after every answered write, so it shows them.
        let begun = connection.prepare_cached("BEGIN").and_then(|mut begin| begin.execute([]));
        let mut session = SqliteSession(connection);
        let outcome = catch_unwind(AssertUnwindSafe(|| job(&mut session)));
        if !connection.is_autocommit()
            && let Err(error) = connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a read could not be ended");
        }
        if let Ok(Finished { reply, .. }) = outcome {
            reply(begun.map(drop).map_err(StoreError::from));
        }
    }
}
