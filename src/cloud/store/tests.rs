//! The store as its users see it: durability, isolation, order, bounds.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Waker};

use super::*;
use crate::cloud::OpenError;
use crate::cloud::data_directory::DataDirectory;
use crate::ids::{AppId, ThingId};

fn app() -> AppId {
    AppId::new("app").expect("valid")
}

fn thing(id: &str) -> ThingId {
    ThingId::new(id).expect("valid")
}

fn in_memory(queue: usize) -> Arc<dyn Store> {
    Arc::new(SqliteStore::in_memory(Bounds { queue, writes_per_commit: 512 }, 0).expect("opens"))
}

fn in_directory(path: &std::path::Path) -> Result<Arc<dyn Store>, OpenError> {
    let bounds = Bounds { queue: 100, writes_per_commit: 512 };
    Ok(Arc::new(SqliteStore::in_directory(DataDirectory::claim(path)?, bounds, 0)?))
}

async fn put(store: &Arc<dyn Store>, id: &'static str, state: &'static str) -> Result<states::Put, StoreError> {
    store.write(move |sql: &mut dyn Sql| states::put(sql, &app(), &thing(id), state, 0)).await
}

async fn get(store: &Arc<dyn Store>, id: &'static str) -> Option<String> {
    let get = move |sql: &mut dyn Sql| states::get(sql, &app(), &thing(id));
    store.read(get).await.expect("readable").map(|(state, _)| state)
}

/// Polls `future` once, which queues its job; it is awaited later.
fn begin<F: Future>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    future
}

/// Keeps the writer busy until the sender is used or dropped, so that what is queued meanwhile becomes one batch.
async fn hold(store: &Arc<dyn Store>) -> mpsc::Sender<()> {
    let (go_on, wait) = mpsc::channel::<()>();
    let (begun, has_begun) = oneshot::channel();
    let job: Job = Box::new(move |_| {
        let _ = begun.send(());
        let _ = wait.recv();
        Finished { keep: true, reply: Box::new(|_| {}) }
    });
    store.submit_write(job).expect("queued");
    has_begun.await.expect("begun");
    go_on
}

#[tokio::test]
async fn what_was_written_is_read_at_once() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for store in [in_memory(100), in_directory(&directory.path().join("d")).expect("opens")] {
        assert_eq!(get(&store, "t").await, None);
        assert_eq!(put(&store, "t", "1").await.expect("written"), states::Put::Created);
        for state in ["2", "3", "4"] {
            assert_eq!(put(&store, "t", state).await.expect("written"), states::Put::Replaced);
            assert_eq!(get(&store, "t").await.as_deref(), Some(state));
        }
        let stray = |sql: &mut dyn Sql| states::put(sql, &app(), &thing("t"), "5", 0);
        let _: Result<states::Put, StoreError> = store.read(stray).await;
        assert_eq!(get(&store, "t").await.as_deref(), Some("4"), "a read changes nothing");
    }
}

#[tokio::test]
async fn requests_that_wait_together_share_a_commit_and_a_failing_one_takes_nobody_along() {
    let store = in_memory(100);
    let before = store.commits();
    let go_on = hold(&store).await;
    let all: Vec<_> = (0..20_i64)
        .map(|i| {
            begin(store.write(move |sql: &mut dyn Sql| {
                states::put(sql, &app(), &thing(&format!("t{i}")), "{}", 0)?;
                match i {
                    7 => Err(StoreError::new(StoreErrorKind::Conflict, "changed its mind")),
                    9 => panic!("on purpose"),
                    // Fails in SQL, half-way.
                    11 => sql.execute("INSERT INTO things (app_id) VALUES ($1)", &["app".into()]).map(drop),
                    _ => Ok(()),
                }
            }))
        })
        .collect();
    drop(go_on);
    let mut failed = Vec::new();
    for (i, one) in all.into_iter().enumerate() {
        if let Err(error) = one.await {
            failed.push((i, error.kind()));
        }
    }
    let kinds = [(7, StoreErrorKind::Conflict), (9, StoreErrorKind::Unknown), (11, StoreErrorKind::Conflict)];
    assert_eq!(failed, kinds);
    let after = store.commits();
    assert_eq!(after.requests - before.requests, 21);
    assert_eq!(after.commits - before.commits, 1, "one sync for all");
    let rows = store.read(|sql: &mut dyn Sql| sql.query("SELECT thing_id FROM thing_states", &[])).await;
    assert_eq!(rows.map(|rows: Vec<Row>| rows.len()).expect("readable"), 17, "three took back what they had written");
}

#[tokio::test]
async fn nothing_is_answered_before_the_commit() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = in_directory(&directory.path().join("d")).expect("opens");
    let go_on = hold(&store).await;
    let (ran, has_run) = mpsc::channel();
    let (answered, mut is_answered) = oneshot::channel();
    let job: Job = Box::new(move |sql| {
        states::put(sql, &app(), &thing("t"), "1", 0).expect("written");
        let _ = ran.send(());
        Finished { keep: true, reply: Box::new(|committed| assert!(answered.send(committed.is_ok()).is_ok())) }
    });
    store.submit_write(job).expect("queued");
    let last = hold_next(&store);
    drop(go_on);
    has_run.recv().expect("executed");
    // In the same batch another job still runs: nothing is committed, so nothing is answered or seen.
    assert!(is_answered.try_recv().is_err());
    assert_eq!(get(&store, "t").await, None);
    drop(last);
    assert!(is_answered.await.expect("answered"));
    assert_eq!(get(&store, "t").await.as_deref(), Some("1"));
}

/// As [`hold`], for a job that waits in the queue.
fn hold_next(store: &Arc<dyn Store>) -> mpsc::Sender<()> {
    let (go_on, wait) = mpsc::channel::<()>();
    let job: Job = Box::new(move |_| {
        let _ = wait.recv();
        Finished { keep: true, reply: Box::new(|_| {}) }
    });
    store.submit_write(job).expect("queued");
    go_on
}

#[tokio::test]
async fn a_full_queue_refuses_and_what_was_queued_is_done() {
    let store = in_memory(2);
    let go_on = hold(&store).await;
    let waiting = [("a", "1"), ("b", "2")].map(|(id, state)| begin(put(&store, id, state)));
    assert_eq!(put(&store, "c", "3").await.map_err(|error| error.kind()), Err(StoreErrorKind::Overloaded));
    drop(go_on);
    for one in waiting {
        one.await.expect("written");
    }
    assert_eq!(get(&store, "c").await, None);
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_happens() {
    let store = in_memory(10);
    let go_on = hold(&store).await;
    drop(begin(put(&store, "t", "1")));
    drop(go_on);
    assert_eq!(get(&store, "t").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn closing_does_what_is_queued_and_lets_the_next_one_in() {
    let parent = tempfile::tempdir().expect("temporary directory");
    let path = parent.path().join("d");
    let store = in_directory(&path).expect("opens");
    assert!(matches!(in_directory(&path), Err(OpenError::Locked { .. })));
    let go_on = hold(&store).await;
    let waiting = begin(put(&store, "t", "1"));
    let closing = Arc::clone(&store);
    let closing = tokio::task::spawn_blocking(move || closing.close());
    drop(go_on);
    waiting.await.expect("written");
    closing.await.expect("no panic");
    assert_eq!(put(&store, "t", "2").await.map_err(|error| error.kind()), Err(StoreErrorKind::Closed));
    let again = in_directory(&path).expect("opens again");
    assert_eq!(get(&again, "t").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn what_comes_while_the_store_closes_is_refused_and_not_left_in_the_queue() {
    for readers in [false, true] {
        let parent = tempfile::tempdir().expect("temporary directory");
        let store = if readers { in_directory(&parent.path().join("d")).expect("opens") } else { in_memory(100) };
        let go_on = hold(&store).await;
        let closing = Arc::clone(&store);
        let closing = tokio::task::spawn_blocking(move || closing.close());
        // Those that come before the other thread does are queued.
        let mut queued = Vec::new();
        let refused = loop {
            let mut next = Box::pin(put(&store, "t", "1"));
            match next.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                std::task::Poll::Ready(refused) => break refused,
                std::task::Poll::Pending => queued.push(next),
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        assert_eq!(refused.map_err(|error| error.kind()), Err(StoreErrorKind::Closed));
        drop(go_on);
        for one in queued {
            one.await.expect("written");
        }
        closing.await.expect("no panic");
    }
}

fn command(id: &str, state: &str, created_at: i64) -> commands::Command {
    commands::Command {
        seq: 0,
        command_id: id.into(),
        state: state.into(),
        issuer: "user:u".into(),
        actions: "[]".into(),
        action_results: None,
        schema: None,
        schema_version: None,
        title: None,
        description: None,
        metadata: None,
        fired_by_trigger_id: None,
        created_at,
        modified_at: created_at,
    }
}

#[tokio::test]
async fn the_newest_ten_thousand_commands_of_a_thing_are_kept_and_the_old_of_all_things_are_removed() {
    let store = in_memory(10);
    let fill = |sql: &mut dyn Sql| -> Result<(), StoreError> {
        for number in 1..=10_003 {
            commands::insert(sql, &app(), &thing("t"), &command(&format!("c{number}"), "DONE", number))?;
        }
        commands::insert(sql, &app(), &thing("other"), &command("c", "DONE", 1))
    };
    store.write(fill).await.expect("written");
    let count = |sql: &mut dyn Sql| -> Result<(i64, i64, i64), StoreError> {
        let row =
            sql.query_one("SELECT COUNT(*), MIN(created_at), MAX(created_at) FROM commands WHERE thing_id = 't'", &[])?;
        let row = row.expect("a row");
        Ok((row.integer(0)?, row.integer(1)?, row.integer(2)?))
    };
    assert_eq!(store.read(count).await.expect("readable"), (10_000, 4, 10_003));
    let prune = |limit: i64| store.write(move |sql: &mut dyn Sql| commands::prune(sql, 10_000, limit));
    let removed: Result<usize, StoreError> = prune(1_000).await;
    assert_eq!(removed.expect("written"), 1_000);
    assert_eq!(store.read(count).await.expect("readable"), (9_001, 1_003, 10_003), "the other thing's was the oldest");
    let removed: Result<usize, StoreError> = prune(100_000).await;
    assert_eq!(removed.expect("written"), 8_997);
    assert_eq!(store.read(count).await.expect("readable"), (4, 10_000, 10_003));
}

#[tokio::test]
async fn a_command_that_was_being_sent_when_the_service_ended_has_failed() {
    let parent = tempfile::tempdir().expect("temporary directory");
    let path = parent.path().join("d");
    let store = in_directory(&path).expect("opens");
    let insert = |id: &'static str, state: &'static str| {
        let command = command(id, state, 1);
        store.write(move |sql: &mut dyn Sql| commands::insert(sql, &app(), &thing("t"), &command))
    };
    let inserted: Result<(), StoreError> = insert("sending", "SENDING").await;
    inserted.expect("written");
    let inserted: Result<(), StoreError> = insert("done", "DONE").await;
    inserted.expect("written");
    store.close();
    let store = in_directory(&path).expect("opens again");
    let listed: Result<_, StoreError> =
        store.read(|sql: &mut dyn Sql| commands::list(sql, &app(), &thing("t"), i64::MAX, 10)).await;
    let states: Vec<_> = listed.expect("readable").into_iter().map(|command| (command.seq, command.state)).collect();
    assert_eq!(states, [(2, "DONE".to_owned()), (1, "SEND_FAILED".to_owned())]);
}

#[tokio::test]
async fn the_schema_is_built_in_steps_and_a_newer_one_is_left_alone() {
    let parent = tempfile::tempdir().expect("temporary directory");
    let path = parent.path().join("d");
    in_directory(&path).expect("opens").close();
    let versions = |sql: &rusqlite::Connection| -> Vec<i64> {
        let mut statement = sql.prepare("SELECT version FROM schema_migrations ORDER BY version").expect("a table");
        statement.query_map([], |row| row.get(0)).expect("rows").map(|version| version.expect("a number")).collect()
    };
    let direct = rusqlite::Connection::open(path.join("thingif.db")).expect("a database");
    let steps: Vec<i64> = (1..=migrations::MIGRATIONS.len() as i64).collect();
    assert_eq!(versions(&direct), steps);
    in_directory(&path).expect("opens again").close();
    assert_eq!(versions(&direct), steps, "no step is done twice");
    direct.execute("INSERT INTO schema_migrations VALUES (999, 0)", []).expect("inserted");
    drop(direct);
    match in_directory(&path) {
        Err(OpenError::NewerSchema { found: 999, known }) => assert_eq!(known, migrations::MIGRATIONS.len()),
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test]
async fn parameters_are_told_apart_by_number_not_by_place() {
    let store = in_memory(10);
    let query = |sql: &mut dyn Sql| sql.query_one("SELECT $2, $1, $2", &["one".into(), Value::from(2)]);
    let mut row: Row = store.read(query).await.expect("readable").expect("a row");
    assert_eq!(row.integer(0).expect("a number"), 2);
    assert_eq!(row.text(1).expect("a text"), "one");
    assert_eq!(row.integer(2).expect("a number"), 2);
}

#[tokio::test]
async fn a_full_disk_fails_who_needs_room_and_every_answer_stays_true() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = in_directory(&directory.path().join("d")).expect("opens");
    let limit = |sql: &mut dyn Sql| -> Result<i64, StoreError> {
        let pages = sql.query_one("PRAGMA page_count", &[])?.map_or(Ok(0), |row| row.integer(0))?;
        assert!(pages <= 200, "{pages}");
        sql.query_one("PRAGMA max_page_count = 200", &[])?.map_or(Ok(0), |row| row.integer(0))
    };
    assert_eq!(store.write(limit).await.expect("limited"), 200);
    let go_on = hold(&store).await;
    let sizes = [10, 10, 4_000_000, 10, 10];
    let all: Vec<_> = sizes
        .into_iter()
        .zip(0..)
        .map(|(size, i): (usize, i64)| {
            begin(store.write(move |sql: &mut dyn Sql| {
                states::put(sql, &app(), &thing(&format!("t{i}")), &"x".repeat(size), 0)
            }))
        })
        .collect();
    drop(go_on);
    for (one, i) in all.into_iter().zip(0_i64..) {
        let answered: Result<states::Put, StoreError> = one.await;
        let read = move |sql: &mut dyn Sql| states::get(sql, &app(), &thing(&format!("t{i}")));
        let found: Option<(String, i64)> = store.read(read).await.expect("readable");
        assert_eq!(answered.is_ok(), found.is_some(), "t{i}: {answered:?}");
        if let Err(error) = answered {
            // SQLite gives up the whole transaction, so those before it in the batch are told to try again.
            let expected = if i == 2 { StoreErrorKind::Failed } else { StoreErrorKind::RolledBack };
            assert_eq!((error.kind(), i <= 2), (expected, true), "t{i}: {error}");
        }
    }
    assert_eq!(get(&store, "t2").await, None);
    put(&store, "later", "1").await.expect("the store goes on");
}

#[tokio::test]
async fn a_closed_store_leaves_the_database_alone() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("d");
    for round in 0..20 {
        let store = in_directory(&path).expect("opens");
        put(&store, "t", "1").await.expect("written");
        assert!(get(&store, "t").await.is_some());
        store.close();
        let left = std::fs::read_dir(&path).expect("there").map(|entry| entry.expect("one").file_name());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, ["lock", "thingif.db"], "no log, in round {round}");
    }
}
