//! Where the cloud keeps what it must not forget.
//!
//! [`Store`] is the seam: it runs jobs, closures over [`Sql`], and says when their effects are durable. The SQL of the
//! jobs (`things`, `users`, `states`, …: one file a table) stays in the dialect that SQLite and PostgreSQL share:
//! parameters are `$1`, `$2`, …; types are TEXT, BIGINT and BYTEA; conflicts go through `ON CONFLICT`; there are no
//! implicit row ids.

pub(crate) mod alias_states;
pub(crate) mod apps;
pub(crate) mod buckets;
pub(crate) mod commands;
pub(crate) mod end_nodes;
mod error;
pub(crate) mod health;
pub(crate) mod installations;
mod migrations;
pub(crate) mod objects;
mod reader;
mod sqlite;
pub(crate) mod state_history;
pub(crate) mod states;
pub(crate) mod subscriptions;
#[cfg(test)]
mod tests;
pub(crate) mod things;
pub(crate) mod tokens;
pub(crate) mod topics;
pub(crate) mod trigger_results;
pub(crate) mod triggers;
pub(crate) mod users;
mod value;
mod writer;

use tokio::sync::oneshot;

use super::distribution::Distribution;

pub(crate) use error::{StoreError, StoreErrorKind};
pub(crate) use sqlite::{DATABASE, SqliteStore};
pub(crate) use value::{Row, Value};

/// One transaction's view of the database. The only thing that the jobs see.
pub(crate) trait Sql {
    /// Runs a statement and returns the number of rows it changed.
    fn execute(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<usize, StoreError>;

    /// Runs a statement and returns its rows.
    fn query(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<Row>, StoreError>;

    /// Runs a statement that has at most one row.
    fn query_one(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<Option<Row>, StoreError> {
        Ok(self.query(sql, params)?.into_iter().next())
    }
}

/// A unit of work, executed exactly once, even when whoever asked for it has gone.
pub(crate) type Job = Box<dyn FnOnce(&mut dyn Sql) -> Finished + Send>;

/// What a job leaves: whether its changes are to be kept, and whom to tell once that is settled.
pub(crate) struct Finished {
    /// `false` rolls back this job's changes, and this job's only.
    pub(crate) keep: bool,
    /// Called after the commit that covers the job is durable, or has failed.
    pub(crate) reply: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

/// How many requests shared how many commits, since the cloud was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Commits {
    /// Transactions, each synced to the disk once.
    pub commits: u64,
    /// Writes in them; of a store in memory, reads as well.
    pub requests: u64,
}

/// How much a store takes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Writes that wait, and as many reads.
    pub(crate) queue: usize,
    /// Writes in one transaction: bounds the time that the first of them waits.
    pub(crate) writes_per_commit: usize,
}

/// Jobs that wait for the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Queued {
    /// Writes; of a store in memory, reads as well.
    pub writes: usize,
    /// Reads.
    pub reads: usize,
}

/// A database that runs jobs.
pub(crate) trait Store: Send + Sync + 'static {
    /// Queues a job that changes nothing. It sees every write that was answered before.
    ///
    /// # Errors
    /// [`StoreErrorKind::Overloaded`] and [`StoreErrorKind::Closed`]; the job was not queued then.
    fn submit_read(&self, job: Job) -> Result<(), StoreError>;

    /// Queues a job that may change rows. Jobs are executed in the order in which they were queued.
    ///
    /// # Errors
    /// As [`Store::submit_read`].
    fn submit_write(&self, job: Job) -> Result<(), StoreError>;

    /// What has been committed since the store was opened.
    fn commits(&self) -> Commits;

    /// How many jobs each of those commits had.
    fn batches(&self) -> Distribution;

    /// What waits now.
    fn queued(&self) -> Queued;

    /// Executes what is queued, commits it, and closes the database. Blocks; later jobs are refused.
    fn close(&self);
}

impl dyn Store {
    /// Reads. Nothing that `job` does is kept.
    pub(crate) async fn read<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: FnOnce(&mut dyn Sql) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (job, answer) = boxed(job, false);
        self.submit_read(job)?;
        answer.await.unwrap_or_else(|_| Err(StoreError::lost().into()))
    }

    /// As [`read`](Self::read), for a thread that may wait.
    pub(crate) fn read_blocking<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        F: FnOnce(&mut dyn Sql) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let (sender, answer) = std::sync::mpsc::sync_channel(1);
        self.submit_read(Box::new(move |sql| {
            let result = job(sql);
            // Whoever asked waits for it.
            Finished { keep: false, reply: Box::new(move |_| drop(sender.send(result))) }
        }))?;
        answer.recv().unwrap_or_else(|_| Err(StoreError::lost()))
    }

    /// Writes, and returns when the change is durable. An error of `job` rolls its own changes back. Dropping the
    /// future does not take the job out of the queue.
    pub(crate) async fn write<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: FnOnce(&mut dyn Sql) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (job, answer) = boxed(job, true);
        self.submit_write(job)?;
        answer.await.unwrap_or_else(|_| Err(StoreError::lost().into()))
    }
}

fn boxed<T, E, F>(job: F, keep: bool) -> (Job, oneshot::Receiver<Result<T, E>>)
where
    F: FnOnce(&mut dyn Sql) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let job: Job = Box::new(move |sql| {
        let result = job(sql);
        Finished {
            keep: keep && result.is_ok(),
            reply: Box::new(move |committed| {
                // Nobody listens when the asker has gone; the job is done all the same.
                let _ = sender.send(match (result, committed) {
                    (Ok(_), Err(error)) => Err(error.into()),
                    (result, _) => result,
                });
            }),
        }
    });
    (job, receiver)
}
