//! SQLite: one connection that writes, on a thread of its own, and a few that read.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql};

use super::migrations::MIGRATIONS;
use super::reader::Readers;
use super::writer::Writer;
use super::{Bounds, Commits, Job, Queued, Row, Sql, Store, StoreError, Value, commands};
use crate::cloud::OpenError;
use crate::cloud::data_directory::DataDirectory;
use crate::cloud::distribution::Distribution;

/// The file of a data directory that is the database.
pub(crate) const DATABASE: &str = "thingif.db";

/// Threads that read while the writer commits. Reads are short; more threads only help on more cores.
const READERS: usize = 2;

/// The default store.
pub(crate) struct SqliteStore {
    writer: Writer,
    /// `None` in memory, where the one connection belongs to the writer and reads queue there.
    readers: Option<Readers>,
    threads: Mutex<Threads>,
    /// Set before the threads are told to end: a job that came to a queue behind that would never be executed.
    is_closing: AtomicBool,
}

#[derive(Default)]
struct Threads {
    readers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
}

impl SqliteStore {
    /// A store that forgets everything when it is closed.
    pub(crate) fn in_memory(bounds: Bounds, now: i64) -> Result<Self, OpenError> {
        let mut connection = Connection::open_in_memory().map_err(OpenError::database)?;
        migrate(&mut connection, now)?;
        let (writer, thread) = Writer::start(connection, None, bounds).map_err(OpenError::Thread)?;
        let threads = Mutex::new(Threads { readers: Vec::new(), writer: Some(thread) });
        Ok(Self { writer, readers: None, threads, is_closing: AtomicBool::new(false) })
    }

    /// Whether `directory` holds a database already.
    pub(crate) fn exists_in(directory: &DataDirectory) -> bool {
        directory.join(DATABASE).exists()
    }

    /// The store in `directory`, whose lock it keeps until it is closed.
    pub(crate) fn in_directory(directory: DataDirectory, bounds: Bounds, now: i64) -> Result<Self, OpenError> {
        let path = directory.join(DATABASE);
        // SQLite gives its log the same mode. The directory is closed to others, but a copy of it need not be.
        directory.make_private(DATABASE)?;
        let mut connection = Connection::open(&path).map_err(OpenError::database)?;
        // FULL: the write-ahead log is synced at every commit, so what was answered survives a power cut; on a Mac that
        // takes fullfsync as well.
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; \
                 PRAGMA checkpoint_fullfsync = ON; PRAGMA busy_timeout = 5000;",
            )
            .map_err(OpenError::database)?;
        migrate(&mut connection, now)?;
        directory.sync()?;
        // Whoever was pushing when the service last ended did not come to record how it went.
        commands::fail_unsent(&mut SqliteSession(&connection), now)
            .map_err(|error| OpenError::Database(error.to_string()))?;
        let mut connections = Vec::new();
        for _ in 0..READERS {
            connections.push(open_reader(&path).map_err(OpenError::database)?);
        }
        let (readers, started) = Readers::start(connections, bounds.queue).map_err(OpenError::Thread)?;
        let (writer, thread) = Writer::start(connection, Some(directory), bounds).map_err(OpenError::Thread)?;
        let threads = Mutex::new(Threads { readers: started, writer: Some(thread) });
        Ok(Self { writer, readers: Some(readers), threads, is_closing: AtomicBool::new(false) })
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.is_closing.load(Ordering::SeqCst) { Err(StoreError::closed()) } else { Ok(()) }
    }
}

impl Store for SqliteStore {
    fn submit_read(&self, job: Job) -> Result<(), StoreError> {
        self.check_open()?;
        match &self.readers {
            Some(readers) => readers.submit(job),
            None => self.writer.submit(job),
        }
    }

    fn submit_write(&self, job: Job) -> Result<(), StoreError> {
        self.check_open()?;
        self.writer.submit(job)
    }

    fn commits(&self) -> Commits {
        self.writer.commits()
    }

    fn batches(&self) -> Distribution {
        self.writer.batches()
    }

    fn queued(&self) -> Queued {
        Queued { writes: self.writer.queued(), reads: self.readers.as_ref().map_or(0, Readers::queued) }
    }

    fn close(&self) {
        self.is_closing.store(true, Ordering::SeqCst);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        // The readers have closed before the writer does: the last connection checkpoints the log into the database and removes
        // it, and of two that close at once neither may.
        if let Some(readers) = &self.readers {
            readers.close();
        }
        join(threads.readers);
        self.writer.close();
        join(threads.writer);
    }
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    for thread in threads {
        // A thread that panicked has said so on stderr; there is nothing left to flush.
        let _ = thread.join();
    }
}

fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA busy_timeout = 5000;")?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

/// Brings the schema to this program's version, one transaction a step.
fn migrate(connection: &mut Connection, now: i64) -> Result<(), OpenError> {
    connection.set_prepared_statement_cache_capacity(128);
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT PRIMARY KEY, applied_at BIGINT NOT NULL);",
        )
        .map_err(OpenError::database)?;
    let found: i64 = connection
        .query_row("SELECT COALESCE(MAX(version), 0) FROM schema_migrations", [], |row| row.get(0))
        .map_err(OpenError::database)?;
    let known = MIGRATIONS.len();
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    if done > known {
        return Err(OpenError::NewerSchema { found, known });
    }
    for (step, version) in MIGRATIONS.iter().zip(1_i64..).skip(done) {
        let transaction = connection.transaction().map_err(OpenError::database)?;
        transaction.execute_batch(step).map_err(OpenError::database)?;
        transaction
            .execute("INSERT INTO schema_migrations (version, applied_at) VALUES (?1, ?2)", [version, now])
            .map_err(OpenError::database)?;
        transaction.commit().map_err(OpenError::database)?;
    }
    Ok(())
}

/// [`Sql`] on one connection.
pub(super) struct SqliteSession<'c>(pub(super) &'c Connection);

impl SqliteSession<'_> {
    fn prepare(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<rusqlite::CachedStatement<'_>, StoreError> {
        let mut statement = self.0.prepare_cached(sql)?;
        for index in 1..=statement.parameter_count() {
            // SQLite numbers `$n` in the order of first appearance; the name says which value is meant.
            let number = statement.parameter_name(index).and_then(|name| name.get(1..)?.parse::<usize>().ok());
            let value = number.and_then(|number| params.get(number.checked_sub(1)?));
            statement.raw_bind_parameter(index, value.unwrap_or(&Value::Null))?;
            debug_assert!(value.is_some(), "no value for parameter {index} of {sql}");
        }
        Ok(statement)
    }
}

impl Sql for SqliteSession<'_> {
    fn execute(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<usize, StoreError> {
        Ok(self.prepare(sql, params)?.raw_execute()?)
    }

    fn query(&mut self, sql: &'static str, params: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        let mut statement = self.prepare(sql, params)?;
        let width = statement.column_count();
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let mut columns = Vec::with_capacity(width);
            for index in 0..width {
                columns.push(match row.get_ref(index)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(number) => Value::Integer(number),
                    ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned().into()),
                    ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec().into()),
                    ValueRef::Real(_) => return Err(StoreError::column(index, "of a type that both dialects have")),
                });
            }
            found.push(Row::new(columns));
        }
        Ok(found)
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
