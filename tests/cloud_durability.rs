//! What was answered is on the disk: a server in a process of its own is killed in the middle of acknowledged writes,
//! and watched while it syncs.
#![cfg(feature = "cloud")]

mod cloud_support;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use cloud_support::*;
use thingif::cloud::{Cloud, Location};
use thingif::edge::PushOutcome;

/// Names the data directory, and so tells the test below to be a server.
const DIRECTORY: &str = "THINGIF_TEST_SERVE_DIRECTORY";

/// Not a test by itself: the server that the others start, until its standard input ends or it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_process() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let mut options = options();
    options.store = Location::Dir(directory.into());
    options.trigger_firings_per_minute = 6_000;
    let served = Served::start(Cloud::open(options, Recorder::new(PushOutcome::Queued)).expect("opens")).await;
    println!("READY {}", served.address);
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()))
        .await
        .expect("no panic")
        .expect("read");
    served.stop().await;
}

/// A server in a process of its own.
struct Server {
    child: Child,
    /// Kept open, because the test harness in the child writes its report there.
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    /// Starts it, as the last words of `wrapper` when there is one.
    fn start(directory: &Path, wrapper: &[&str]) -> Self {
        let this = std::env::current_exe().expect("this test");
        let mut command = match wrapper {
            [] => Command::new(&this),
            [program, rest @ ..] => {
                let mut command = Command::new(program);
                command.args(rest).arg(&this);
                command
            }
        };
        command.args(["--exact", "server_process", "--nocapture"]).env(DIRECTORY, directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("starts");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let lines = output.by_ref().lines().map_while(Result::ok);
        let address = lines.filter_map(|line| line.split_once("READY ")?.1.parse().ok()).next().expect("ready");
        Self { child, output, address }
    }

    /// SIGKILL: no destructor runs, nothing is flushed.
    fn kill(mut self) {
        self.child.kill().expect("alive");
        self.child.wait().expect("gone");
    }

    /// Ends it in order.
    fn stop(mut self) {
        drop(self.child.stdin.take());
        std::io::copy(&mut self.output, &mut std::io::sink()).expect("read");
        assert!(self.child.wait().expect("gone").success());
    }
}

/// A connection that is kept open, one request after the other.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// The next answer's status and body.
    fn read(&mut self) -> std::io::Result<(u16, String)> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if self.0.read_until(b'\n', &mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let answer = parse(&head);
        let length = answer.headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.0.read_exact(&mut body)?;
        Ok((answer.status, String::from_utf8(body).expect("UTF-8")))
    }

    fn send(&mut self, request: &str) -> std::io::Result<(u16, String)> {
        self.write(request.as_bytes())?;
        self.read()
    }
}

/// A thing that reports numbers.
#[derive(Clone)]
struct Thing {
    id: String,
    token: String,
}

impl Thing {
    fn onboard(address: SocketAddr, vendor: &str) -> Self {
        let body = format!(r#"{{"vendorThingID":"{vendor}","thingPassword":"secret"}}"#);
        let request = format!(
            "POST /thing-if/apps/{APP}/onboardings HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Type: {BY_THING}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            basic(APP, KEY),
            body.len()
        );
        let (status, body) = Connection::open(address).expect("listening").send(&request).expect("answered");
        assert_eq!(status, 200, "{body}");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let text = |field: &str| body[field].as_str().expect("a string").to_owned();
        Self { id: text("thingID"), token: text("accessToken") }
    }

    fn request(&self, method: &str, body: &str) -> String {
        format!(
            "{method} /thing-if/apps/{APP}/targets/thing:{}/states HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.id,
            self.token,
            body.len()
        )
    }

    fn put(&self, n: u64) -> String {
        self.request("PUT", &format!(r#"{{"n":{n}}}"#))
    }

    /// The number that it reported last; 0 when none.
    fn last(&self, address: SocketAddr) -> u64 {
        let (status, body) =
            Connection::open(address).expect("listening").send(&self.request("GET", "")).expect("answered");
        match status {
            404 => 0,
            200 => serde_json::from_str::<serde_json::Value>(&body).expect("JSON")["n"].as_u64().expect("a number"),
            _ => panic!("{status}: {body}"),
        }
    }
}

#[test]
fn every_acknowledged_state_survives_kill_9() {
    const THINGS: usize = 8;
    const ROUNDS: u64 = 3;
    let parent = tempfile::tempdir().expect("temporary directory");
    let directory = parent.path().join("cloud");
    let mut server = Server::start(&directory, &[]);
    let things: Vec<_> = (0..THINGS).map(|i| Thing::onboard(server.address, &format!("v{i}"))).collect();
    let numbers: Vec<_> = (0..THINGS).map(|_| Arc::new((AtomicU64::new(0), AtomicU64::new(0)))).collect();
    for round in 0..ROUNDS {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let reporters: Vec<_> = things
            .iter()
            .zip(&numbers)
            .map(|(thing, numbers)| {
                let (thing, numbers, address) = (thing.clone(), Arc::clone(numbers), server.address);
                let acknowledged = Arc::clone(&acknowledged);
                std::thread::spawn(move || {
                    let mut connection = Connection::open(address).expect("listening");
                    loop {
                        let n = numbers.0.load(Ordering::SeqCst) + 1;
                        numbers.0.store(n, Ordering::SeqCst);
                        match connection.send(&thing.put(n)) {
                            Ok((201 | 204, _)) => numbers.1.store(n, Ordering::SeqCst),
                            Ok((status, body)) => panic!("{status}: {body}"),
                            Err(_) => return,
                        }
                        acknowledged.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        // In the middle: some hundred are answered, as many as there are things are under way.
        while acknowledged.load(Ordering::SeqCst) < 200 + 50 * round {
            assert!(reporters.iter().all(|reporter| !reporter.is_finished()), "a reporter failed");
            std::thread::sleep(Duration::from_millis(1));
        }
        server.kill();
        reporters.into_iter().for_each(|reporter| reporter.join().expect("no panic"));
        server = Server::start(&directory, &[]);
        for (thing, numbers) in things.iter().zip(&numbers) {
            let (sent, acknowledged) = (numbers.0.load(Ordering::SeqCst), numbers.1.load(Ordering::SeqCst));
            let found = thing.last(server.address);
            assert!(found >= acknowledged, "{acknowledged} was acknowledged, {found} found");
            assert!(found <= sent, "{found} was never sent, only {sent}");
        }
    }
    server.stop();
}

/// A state and the command that it fires are one: whatever is killed, there are as many of the one as of the other.
#[test]
fn a_firing_is_neither_lost_nor_doubled_by_kill_9() {
    let parent = tempfile::tempdir().expect("temporary directory");
    let directory = parent.path().join("cloud");
    let mut server = Server::start(&directory, &[]);
    let thing = Thing::onboard(server.address, "v");
    let call = |address: SocketAddr, method: &str, path: &str, body: &str| -> (u16, serde_json::Value) {
        let request = format!(
            "{method} /thing-if/apps/{APP}/targets/thing:{}/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            thing.id,
            thing.token,
            body.len()
        );
        let (status, body) = Connection::open(address).expect("listening").send(&request).expect("answered");
        (status, serde_json::from_str(&body).unwrap_or_default())
    };
    let trigger = serde_json::json!({
        "triggersWhat": "COMMAND",
        "predicate": { "eventSource": "STATES", "triggersWhen": "CONDITION_TRUE",
            "condition": { "type": "range", "field": "n", "lowerLimit": 1 } },
        "command": { "actions": [{ "on": {} }], "issuer": format!("thing:{}", thing.id), "schema": "S",
            "schemaVersion": 1 },
    });
    assert_eq!(call(server.address, "POST", "triggers", &trigger.to_string()).0, 201);
    let mut n = 0;
    for acknowledged in [30, 60] {
        let (putting, address) = (thing.clone(), server.address);
        let (sender, receiver) = std::sync::mpsc::channel();
        let reporter = std::thread::spawn(move || {
            let mut connection = Connection::open(address).expect("listening");
            while let Ok((201 | 204, _)) = connection.send(&putting.put(n + 1)) {
                n += 1;
                // The last ones nobody waits for.
                let _ = sender.send(());
            }
            n
        });
        for _ in 0..acknowledged {
            receiver.recv().expect("an answer");
        }
        server.kill();
        let answered = reporter.join().expect("no panic");
        server = Server::start(&directory, &[]);
        n = thing.last(server.address);
        assert!(n == answered || n == answered + 1, "{answered} answered, {n} found");
        let mut states = Vec::new();
        let mut key = String::new();
        loop {
            let (status, page) = call(server.address, "GET", &format!("commands?bestEffortLimit=200{key}"), "");
            assert_eq!(status, 200, "{page}");
            let commands = page["commands"].as_array().expect("a list");
            states.extend(commands.iter().map(|command| command["commandState"].as_str().expect("text").to_owned()));
            match page["nextPaginationKey"].as_str() {
                Some(next) => key = format!("&paginationKey={next}"),
                None => break,
            }
        }
        assert_eq!(states.len() as u64, n, "one command for each state");
        assert!(states.iter().all(|state| state == "DELIVERED" || state == "SEND_FAILED"), "{states:?}");
    }
    server.stop();
}

#[test]
fn a_thousand_pipelined_states_leave_the_last() {
    let parent = tempfile::tempdir().expect("temporary directory");
    let server = Server::start(&parent.path().join("cloud"), &[]);
    let thing = Thing::onboard(server.address, "v");
    let mut connection = Connection::open(server.address).expect("listening");
    let mut writer = Connection(BufReader::new(connection.0.get_ref().try_clone().expect("cloned")));
    let all: String = (1..=1_000).map(|n| thing.put(n)).collect();
    let writing = std::thread::spawn(move || writer.write(all.as_bytes()).expect("written"));
    for n in 1..=1_000 {
        let (status, body) = connection.read().expect("answered");
        assert_eq!(status, if n == 1 { 201 } else { 204 }, "{n}: {body}");
    }
    writing.join().expect("no panic");
    assert_eq!(thing.last(server.address), 1_000);
    server.kill();
    let server = Server::start(&parent.path().join("cloud"), &[]);
    assert_eq!(thing.last(server.address), 1_000);
    server.stop();
}

/// What a trace says of durability, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// A write to the write-ahead log begins.
    LogWritten,
    /// A sync of the write-ahead log has succeeded.
    LogSynced,
    /// An answer of 201 or 204 begins to leave.
    Answered,
}

/// Reads the output of `strace -f -y`. A call that another thread interrupts stands on two lines.
fn events(trace: &str) -> Vec<Event> {
    let mut unfinished: HashMap<&str, bool> = HashMap::new();
    let mut events = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.trim_start().split_once(char::is_whitespace) else { continue };
        let call = call.trim_start();
        let begins =
            |names: &[&str]| names.iter().any(|name| call.strip_prefix(name).is_some_and(|r| r.starts_with('(')));
        let on_log = call.contains("thingif.db-wal>");
        if begins(&["write", "pwrite64", "writev", "pwritev"]) && on_log {
            events.push(Event::LogWritten);
        } else if begins(&["write", "writev", "sendto", "sendmsg"])
            && (call.contains("\"HTTP/1.1 201") || call.contains("\"HTTP/1.1 204"))
        {
            events.push(Event::Answered);
        } else if begins(&["fsync", "fdatasync"]) && on_log {
            if call.ends_with("= 0") {
                events.push(Event::LogSynced);
            } else if call.contains("<unfinished") {
                unfinished.insert(thread, true);
            }
        } else if (call.starts_with("<... fsync resumed>") || call.starts_with("<... fdatasync resumed>"))
            && unfinished.remove(thread).unwrap_or(false)
            && call.ends_with("= 0")
        {
            events.push(Event::LogSynced);
        }
    }
    events
}

#[test]
fn the_reader_of_traces_understands_interrupted_calls() {
    use Event::{Answered, LogSynced, LogWritten};
    let trace = "\
11 pwrite64(9</d/thingif.db-wal>, \"x\", 24, 0) = 24
11 fdatasync(9</d/thingif.db-wal> <unfinished ...>
12 write(1<pipe:[1]>, \"HTTP\", 4) = 4
11 <... fdatasync resumed>) = 0
12 sendto(10<socket:[5]>, \"HTTP/1.1 204 No Content\\r\\n\", 90, MSG_NOSIGNAL, NULL, 0) = 90
11 fdatasync(9</d/thingif.db>) = 0
11 fdatasync(9</d/thingif.db-wal>) = -1 EIO (Input/output error)
";
    assert_eq!(events(trace), [LogWritten, LogSynced, Answered]);
}

/// A server under strace, or `None`, said aloud, where there is no strace or it may not trace.
fn traced(directory: &Path, output: &Path) -> Option<Server> {
    let output = output.to_str().expect("UTF-8");
    let calls = "trace=fsync,fdatasync,write,writev,pwrite64,pwritev,sendto,sendmsg";
    let works =
        Command::new("strace").args(["-f", "-y", "-o", output, "-e", calls, "true"]).stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: strace is not installed or may not trace here");
        return None;
    }
    Some(Server::start(directory, &["strace", "-f", "-y", "-o", output, "-e", calls]))
}

#[test]
fn an_answer_leaves_after_the_sync_that_covers_it() {
    let parent = tempfile::tempdir().expect("temporary directory");
    let output = parent.path().join("trace");
    let Some(server) = traced(&parent.path().join("cloud"), &output) else { return };
    let thing = Thing::onboard(server.address, "v");
    let mut connection = Connection::open(server.address).expect("listening");
    for n in 1..=20 {
        let (status, body) = connection.send(&thing.put(n)).expect("answered");
        assert!(matches!(status, 201 | 204), "{status}: {body}");
    }
    server.stop();
    let events = events(&std::fs::read_to_string(&output).expect("a trace"));
    // One request at a time: between what the log got and the answer there is always a sync.
    let mut is_dirty = false;
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::LogWritten => is_dirty = true,
            Event::LogSynced => is_dirty = false,
            Event::Answered => assert!(!is_dirty, "event {at} is an answer before its sync: {events:?}"),
        }
    }
    let count = |wanted: Event| events.iter().filter(|event| **event == wanted).count();
    assert_eq!(count(Event::Answered), 20);
    assert!(count(Event::LogSynced) >= 20, "one request at a time needs a sync each: {events:?}");
}

#[test]
fn a_batch_is_answered_after_its_sync() {
    const AT_ONCE: usize = 32;
    let parent = tempfile::tempdir().expect("temporary directory");
    let output = parent.path().join("trace");
    let Some(server) = traced(&parent.path().join("cloud"), &output) else { return };
    let things: Vec<_> = (0..AT_ONCE).map(|i| Thing::onboard(server.address, &format!("v{i}"))).collect();
    let before = events(&std::fs::read_to_string(&output).expect("a trace")).len();
    let together = Arc::new(Barrier::new(AT_ONCE));
    let threads: Vec<_> = things
        .into_iter()
        .map(|thing| {
            let (together, address) = (Arc::clone(&together), server.address);
            std::thread::spawn(move || {
                let mut connection = Connection::open(address).expect("listening");
                together.wait();
                let (status, body) = connection.send(&thing.put(1)).expect("answered");
                assert_eq!(status, 201, "{body}");
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    server.stop();
    let events = events(&std::fs::read_to_string(&output).expect("a trace")).split_off(before);
    let places =
        |wanted: Event| events.iter().enumerate().filter(move |(_, event)| **event == wanted).map(|(at, _)| at);
    let (answers, syncs) = (places(Event::Answered).collect::<Vec<_>>(), places(Event::LogSynced).collect::<Vec<_>>());
    assert_eq!(answers.len(), AT_ONCE);
    let first_write = places(Event::LogWritten).next().expect("something was written");
    let first_sync = *syncs.first().expect("something was synced");
    assert!(first_write < first_sync && first_sync < answers[0], "{events:?}");
    // Whatever the last batch wrote was synced before the last answer left.
    let last_answer = answers[AT_ONCE - 1];
    let last_write = places(Event::LogWritten).take_while(|at| *at < last_answer).last().expect("written");
    assert!(syncs.iter().any(|at| last_write < *at && *at < last_answer), "{events:?}");
}
