//! The program under test, run as a user runs it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// Far above what anything here takes, for machines that are busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const APP: &str = "c1k9abcdef12";
pub(crate) const APP_KEY: &str = "0123456789abcdef0123456789abcdef";

/// `Authorization` of an app: its id and key in Base64.
pub(crate) const BASIC: &str = "Basic YzFrOWFiY2RlZjEyOjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm";

/// `thingif`, without the settings of whoever runs the tests.
pub(crate) fn thingif() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thingif"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("THINGIF_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").env("XDG_STATE_HOME", "/nonexistent").stdin(Stdio::null());
    command
}

/// What a finished command has left.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Finished {
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("killed: {:?}; {}", self.status, self.stderr))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).expect("standard output is text")
    }

    /// Standard output, one JSON value a line.
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"))).collect()
    }

    /// Standard output as one JSON value over any number of lines.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// Panics with everything the command said unless it ended with `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        let shown = String::from_utf8_lossy(&self.stdout).into_owned();
        assert_eq!(self.code(), code, "stdout: {shown}\nstderr: {}", self.stderr);
        self
    }
}

/// Runs to the end; a command that does not end in time is killed, and that is a failure.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Finished {
    run_with_input(command, b"")
}

/// As [`run`], for what takes longer.
#[track_caller]
pub(crate) fn run_within(patience: Duration, command: &mut Command) -> Finished {
    run_to_end(command, b"", patience)
}

/// As [`run`], with `input` on its standard input.
#[track_caller]
pub(crate) fn run_with_input(command: &mut Command, input: &[u8]) -> Finished {
    run_to_end(command, input, PATIENCE)
}

#[track_caller]
fn run_to_end(command: &mut Command, input: &[u8], patience: Duration) -> Finished {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let (done, ended) = mpsc::channel();
    let id = child.id();
    let waiter = thread::spawn(move || drop(done.send(child.wait_with_output())));
    let Ok(output) = ended.recv_timeout(patience) else {
        kill(id, "-KILL");
        panic!("{command:?} did not end");
    };
    writer.join().expect("does not panic");
    waiter.join().expect("does not panic");
    let Output { status, stdout, stderr } = output.expect("waited for");
    Finished { status, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
}

/// Sends a signal: `-TERM`, `-HUP`, …
pub(crate) fn kill(id: u32, signal: &str) {
    let sent = Command::new("kill").arg(signal).arg(id.to_string()).status().expect("kill(1) is there");
    assert!(sent.success(), "no process {id}");
}

/// A program that goes on, with its lines as they come. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    stderr: Receiver<String>,
    pub(crate) stdin: Option<ChildStdin>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let lines = read_lines(child.stdout.take().expect("piped"));
        let stderr = read_lines(child.stderr.take().expect("piped"));
        let stdin = child.stdin.take();
        Self { child, lines, stderr, stdin }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line on standard output.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(error) => panic!("no line: {error}; stderr: {}", self.errors()),
        }
    }

    /// The next line on standard output, as JSON.
    #[track_caller]
    pub(crate) fn json_line(&mut self) -> serde_json::Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"))
    }

    /// Lines on standard output that have come already.
    pub(crate) fn lines_so_far(&mut self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Waits for a line on standard error that has `part` in it.
    #[track_caller]
    pub(crate) fn wait_for_error_line(&mut self, part: &str) -> String {
        let mut seen = Vec::new();
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = self.stderr.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
        panic!("{part:?} never came on stderr: {seen:#?}");
    }

    /// Whether a line on standard error has `part` in it before the end of all lines.
    pub(crate) fn wait_for_error_line_or_end(&mut self, part: &str) -> bool {
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = self.stderr.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if line.contains(part) {
                return true;
            }
        }
        false
    }

    /// What it has said on standard error since it was last asked.
    pub(crate) fn errors(&mut self) -> String {
        self.stderr.try_iter().collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn signal(&self, signal: &str) {
        kill(self.id(), signal);
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("waited for") {
                return status;
            }
            assert!(Instant::now() < until, "it does not end; stderr: {}", self.errors());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // In order if it does so soon, so that it takes its temporary files with it.
        if matches!(self.child.try_wait(), Ok(None)) {
            kill(self.id(), "-TERM");
            let until = Instant::now() + Duration::from_secs(10);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
                thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// `thingif serve` on ports of its own choice.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) ready: serde_json::Value,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further flags.
    #[track_caller]
    pub(crate) fn start_with(flags: &[&str]) -> Self {
        let mut command = thingif();
        command.args(["serve", "--app", &format!("{APP}:{APP_KEY}")]);
        for listener in ["http", "https", "mqtt", "mqtts", "ws", "wss"] {
            let flag = format!("--{listener}");
            if !flags.contains(&flag.as_str()) {
                command.args([&flag, "127.0.0.1:0"]);
            }
        }
        let mut running = Running::start(command.args(flags));
        let ready = running.json_line();
        assert_eq!(ready["ready"], true, "{ready}");
        Self { running, ready }
    }

    /// `HOST:PORT` of a listener.
    #[track_caller]
    pub(crate) fn address(&self, listener: &str) -> &str {
        self.ready[listener].as_str().unwrap_or_else(|| panic!("no {listener} in {}", self.ready))
    }

    /// The port of a listener.
    #[track_caller]
    pub(crate) fn port(&self, listener: &str) -> u16 {
        self.address(listener).rsplit(':').next().expect("has a port").parse().expect("a number")
    }
}

/// One HTTP call: status and body.
#[track_caller]
pub(crate) fn http(
    address: &str,
    method: &str,
    path: &str,
    authorization: &str,
    content_type: &str,
    body: &serde_json::Value,
) -> (u16, serde_json::Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: {authorization}\r\n\
         Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer}"));
    let status =
        head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status: {head}"));
    (status, serde_json::from_str(body).unwrap_or(serde_json::Value::Null))
}

/// A user who owns a thing.
pub(crate) struct Owner {
    address: String,
    token: String,
    id: String,
}

impl Owner {
    /// Signs up at `server`, logs in, takes possession of the thing that was onboarded.
    #[track_caller]
    pub(crate) fn of(server: &Server, vendor_thing_id: &str, password: &str) -> Self {
        let address = server.address("http").to_owned();
        let json = "application/json";
        let login = serde_json::json!({"loginName": "ann", "password": "ann's password"});
        let (status, signed_up) = http(&address, "POST", &format!("/api/apps/{APP}/users"), BASIC, json, &login);
        assert_eq!(status, 201, "{signed_up}");
        let login = serde_json::json!({"username": "ann", "password": "ann's password"});
        let (status, token) = http(&address, "POST", &format!("/api/apps/{APP}/oauth2/token"), BASIC, json, &login);
        assert_eq!(status, 200, "{token}");
        let owner = Self {
            token: format!("Bearer {}", token["access_token"].as_str().expect("a token")),
            id: token["id"].as_str().expect("an id").to_owned(),
            address,
        };
        owner.own(server, vendor_thing_id, password);
        owner
    }

    /// Takes possession of another thing.
    #[track_caller]
    pub(crate) fn own(&self, server: &Server, vendor_thing_id: &str, password: &str) {
        let owning = serde_json::json!({
            "vendorThingID": vendor_thing_id, "thingPassword": password, "owner": self.issuer(),
        });
        let path = format!("/thing-if/apps/{APP}/onboardings");
        let by_owner = "application/vnd.kii.OnboardingWithVendorThingIDByOwner+json";
        let (status, owned) = http(server.address("http"), "POST", &path, &self.token, by_owner, &owning);
        assert_eq!(status, 200, "{owned}");
    }

    /// Whose token it is, and the token.
    pub(crate) fn login(&self) -> (&str, &str) {
        (&self.id, self.token.trim_start_matches("Bearer "))
    }

    /// As commands name whoever sends them.
    pub(crate) fn issuer(&self) -> String {
        format!("user:{}", self.id)
    }

    /// The same owner at a server that has taken the other's place.
    pub(crate) fn at(&self, server: &Server) -> Self {
        Self { address: server.address("http").to_owned(), token: self.token.clone(), id: self.id.clone() }
    }

    /// Posts something below `/thing-if/apps/{app}/`; the answer to what was created.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &serde_json::Value) -> serde_json::Value {
        let (status, created) = self.try_post(path, body);
        assert_eq!(status, 201, "{created}");
        created
    }

    /// The same, whatever the answer.
    #[track_caller]
    pub(crate) fn try_post(&self, path: &str, body: &serde_json::Value) -> (u16, serde_json::Value) {
        let path = format!("/thing-if/apps/{APP}/{path}");
        http(&self.address, "POST", &path, &self.token, "application/json", body)
    }

    /// Reads something there.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> serde_json::Value {
        let path = format!("/thing-if/apps/{APP}/{path}");
        let (status, found) =
            http(&self.address, "GET", &path, &self.token, "application/json", &serde_json::Value::Null);
        assert_eq!(status, 200, "{found}");
        found
    }

    /// The same, whatever the answer.
    pub(crate) fn try_get(&self, path: &str) -> (u16, serde_json::Value) {
        let path = format!("/thing-if/apps/{APP}/{path}");
        http(&self.address, "GET", &path, &self.token, "application/json", &serde_json::Value::Null)
    }

    /// Posts a command; its id.
    #[track_caller]
    pub(crate) fn command(&self, thing_id: &str, actions: serde_json::Value) -> String {
        let path = format!("/thing-if/apps/{APP}/targets/thing:{thing_id}/commands");
        let body = serde_json::json!({
            "actions": actions, "issuer": format!("user:{}", self.id), "schema": "Lamp", "schemaVersion": 1,
        });
        let (status, created) = http(&self.address, "POST", &path, &self.token, "application/json", &body);
        assert_eq!(status, 201, "{created}");
        created["commandID"].as_str().expect("an id").to_owned()
    }

    /// Deletes a thing.
    #[track_caller]
    pub(crate) fn delete(&self, thing_id: &str) {
        let path = format!("/api/apps/{APP}/things/{thing_id}");
        let nothing = serde_json::Value::Null;
        let (status, refused) = http(&self.address, "DELETE", &path, &self.token, "application/json", &nothing);
        assert_eq!(status, 204, "{refused}");
    }

    /// Reads a command.
    #[track_caller]
    pub(crate) fn read(&self, thing_id: &str, command_id: &str) -> serde_json::Value {
        let path = format!("/thing-if/apps/{APP}/targets/thing:{thing_id}/commands/{command_id}");
        let (status, command) =
            http(&self.address, "GET", &path, &self.token, "application/json", &serde_json::Value::Null);
        assert_eq!(status, 200, "{command}");
        command
    }

    /// The command, once its thing has reported on it.
    pub(crate) fn read_when_done(&self, thing_id: &str, command_id: &str) -> serde_json::Value {
        let started = Instant::now();
        loop {
            let command = self.read(thing_id, command_id);
            if command["commandState"] == "DONE" {
                return command;
            }
            assert!(started.elapsed() < PATIENCE, "still {command}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Reads a command until its state is neither SENDING nor DELIVERED.
    #[track_caller]
    pub(crate) fn read_when_finished(&self, thing_id: &str, command_id: &str) -> serde_json::Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let command = self.read(thing_id, command_id);
            match command["commandState"].as_str() {
                Some("SENDING" | "DELIVERED") if Instant::now() < until => thread::sleep(Duration::from_millis(20)),
                _ => return command,
            }
        }
    }
}

/// A directory with the files that `onboard` needs.
pub(crate) struct Thing {
    dir: tempfile::TempDir,
}

impl Thing {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("password"), "thing-password\n").expect("written");
        std::fs::write(dir.path().join("app-key"), APP_KEY).expect("written");
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn credentials(&self) -> PathBuf {
        self.path("credential.json")
    }

    /// `thingif VERB --credentials …`
    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = thingif();
        command.arg(verb).arg("--credentials").arg(self.credentials());
        command
    }

    /// `thingif onboard` at `broker`.
    pub(crate) fn onboard(&self, broker: &str) -> Command {
        let mut command = self.command("onboard");
        command.args(["--broker", broker, "--app", APP, "--thing", "thermostat-17"]);
        command.arg("--app-key-file").arg(self.path("app-key")).arg("--password-file").arg(self.path("password"));
        command
    }
}

impl Thing {
    /// Onboards at `server` over `scheme`; the thing's id.
    #[track_caller]
    pub(crate) fn onboard_at(&self, server: &Server, scheme: &str) -> String {
        let broker = format!("{scheme}://localhost:{}", server.port(scheme));
        let mut command = self.onboard(&broker);
        if matches!(scheme, "mqtts" | "wss") {
            command.args(["--ca", server.ready["ca"].as_str().expect("a local authority")]);
        }
        let onboarded = run(command.arg("--json")).expect(0).json();
        onboarded["thingID"].as_str().expect("an id").to_owned()
    }
}

/// Whether a test against programs that nobody here wrote may run; `make test` and CI require it.
pub(crate) fn foreign_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|dir| dir.join(name))
        .find(|file| is_program(file));
    if found.is_none() {
        skip(&format!("{name} is not installed; `make test` installs it"));
    }
    found
}

/// Says that a test against foreign programs is skipped, which in `make test` and CI is a failure.
#[track_caller]
pub(crate) fn skip(why: &str) {
    let required = std::env::var_os("THINGIF_FOREIGN_PROGRAMS").is_some_and(|value| value == "required");
    let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    assert!(!required && !ci, "{why}; and this run must not skip what needs it");
    eprintln!("SKIPPED: {why}");
}

/// A Python that has paho: the one on the path, or Debian's own.
pub(crate) fn python_with_paho() -> Option<PathBuf> {
    let has_paho = |python: &PathBuf| {
        let mut probe = Command::new(python);
        run(probe.args(["-c", "import paho.mqtt.client"])).status.success()
    };
    let found = foreign_program("python3")
        .filter(has_paho)
        .or_else(|| Some("/usr/bin/python3".into()).filter(|python: &PathBuf| python.exists() && has_paho(python)));
    found.or_else(|| foreign_program("a python3 with paho-mqtt"))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
