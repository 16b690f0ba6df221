//! The conformance pack: our client and our service pass all of it; a client with a fault fails the scenarios that say so,
//! and no others; a service that answers everything alike fails.
#![cfg(feature = "cli")]

mod program;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use program::{Finished, Running, foreign_program, run, run_within, thingif};
use serde_json::Value;

/// A run of all scenarios takes half a minute when nothing else runs, and one with a client that waits for ever.
const PATIENCE: Duration = Duration::from_secs(280);

/// What a client with constant ids cannot pass.
const CONSTANT_IDS: [&str; 8] = [
    "answer-after-the-deadline",
    "answer-on-the-next-connection",
    "answer-twice",
    "answer-without-id-of-two",
    "answers-out-of-order",
    "answers-out-of-order-20",
    "request-ids-unique",
    "request-ids-unique-in-time",
];

/// What a client that waits for answers for ever cannot pass.
const NO_TIMEOUT: [&str; 4] =
    ["answer-after-the-deadline", "answer-never", "call-while-disconnected", "onboarding-answer-lost"];

/// This crate's own client, which cargo builds with the tests.
fn our_client() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_thingif"));
    let example = binary.with_file_name("examples").join("conformance_client");
    assert!(example.exists(), "{} is not built: cargo build --example conformance_client", example.display());
    example
}

/// A device on a Python that has paho.
fn python_device(faults: &[&str]) -> Option<String> {
    let has_paho = |python: &PathBuf| {
        let mut probe = Command::new(python);
        run(probe.args(["-c", "import paho.mqtt.client"])).status.success()
    };
    let found = foreign_program("python3")
        .filter(has_paho)
        .or_else(|| Some("/usr/bin/python3".into()).filter(|python: &PathBuf| python.exists() && has_paho(python)))
        .or_else(|| foreign_program("a python3 with paho-mqtt"))?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/device.py");
    let faults: String = faults.iter().map(|fault| format!(" --fault {fault}")).collect();
    Some(format!("exec '{}' '{}'{faults}", found.display(), script.display()))
}

fn grade_client(exec: &str, flags: &[&str]) -> Finished {
    // One run at a time: each has sixteen clients at once already.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let usual = ["conformance", "client", "--json", "--patience", "2", "--exec", exec];
    run_within(PATIENCE, thingif().args(usual).args(flags))
}

fn with_verdict(outcomes: &[Value], verdict: &str) -> BTreeSet<String> {
    let such = outcomes.iter().filter(|outcome| outcome["verdict"] == verdict);
    such.map(|outcome| outcome["scenario"].as_str().expect("a name").to_owned()).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn our_client_passes_everything() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = file.path().to_str().expect("text");
    let done = grade_client(&format!("exec '{}'", our_client().display()), &["--junit", path]);
    let outcomes = done.json_lines();
    let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome["verdict"] != "passed").collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(outcomes.len() >= 60, "{}", outcomes.len());
    done.expect(0);
    let xml = std::fs::read_to_string(path).expect("written");
    assert!(xml.contains(&format!(r#"tests="{}""#, outcomes.len())) && xml.contains(r#"failures="0""#), "{xml}");
}

#[test]
fn a_foreign_client_passes_everything() {
    let Some(device) = python_device(&[]) else { return };
    let done = grade_client(&device, &[]);
    let failed = with_verdict(&done.json_lines(), "failed");
    assert_eq!(failed, BTreeSet::new(), "{}", String::from_utf8_lossy(&done.stdout));
    done.expect(0);
}

#[test]
fn a_broken_client_fails_the_scenarios_that_say_so() {
    let Some(device) = python_device(&["constant-ids", "no-timeout"]) else { return };
    let done = grade_client(&device, &[]);
    let outcomes = done.json_lines();
    let broken = &names(&CONSTANT_IDS) | &names(&NO_TIMEOUT);
    assert_eq!(with_verdict(&outcomes, "failed"), broken, "{}", String::from_utf8_lossy(&done.stdout));
    assert_eq!(&said_of(&outcomes, "constant-ids") | &said_of(&outcomes, "no-timeout"), broken);
    for failure in outcomes.iter().filter(|outcome| outcome["verdict"] == "failed") {
        for member in ["step", "says", "wire", "expected", "came"] {
            assert!(failure[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {failure}");
        }
    }
    assert!(done.expect(1).stderr.contains("scenarios failed"));
}

#[test]
fn each_fault_fails_its_own_scenarios() {
    let Some(device) = python_device(&["constant-ids"]) else { return };
    let both = &names(&CONSTANT_IDS) | &names(&NO_TIMEOUT);
    let flags: Vec<_> = both.iter().flat_map(|name| ["--scenario", name]).collect();
    let done = grade_client(&device, &flags);
    let outcomes = done.json_lines();
    assert_eq!(with_verdict(&outcomes, "failed"), names(&CONSTANT_IDS), "{}", String::from_utf8_lossy(&done.stdout));
    assert_eq!(said_of(&outcomes, "constant-ids"), names(&CONSTANT_IDS));
    assert_eq!(said_of(&outcomes, "no-timeout"), names(&NO_TIMEOUT));
    done.expect(1);
}

/// The scenarios that name a fault.
fn said_of(outcomes: &[Value], fault: &str) -> BTreeSet<String> {
    let catches = |outcome: &&Value| outcome["catches"].as_array().expect("a list").iter().any(|known| known == fault);
    outcomes.iter().filter(catches).map(|outcome| outcome["scenario"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_client_that_does_nothing_passes_nothing() {
    let done = grade_client("true", &["--jobs", "128"]);
    let outcomes = done.json_lines();
    assert_eq!(with_verdict(&outcomes, "failed").len(), outcomes.len(), "{}", String::from_utf8_lossy(&done.stdout));
    assert!(outcomes.len() >= 60, "{}", outcomes.len());
    done.expect(1);
}

#[test]
fn a_client_that_crashes_fails_although_every_step_passes() {
    // The scenario waits for longer than that after the client's login, for what must not come.
    let exec = format!("'{}' & sleep 1; kill -SEGV $$", our_client().display());
    let done = grade_client(&exec, &["--scenario", "connack-5-at-the-default-broker"]);
    let outcomes = done.json_lines();
    assert_eq!((&outcomes[0]["verdict"], &outcomes[0]["step"]), (&"failed".into(), &"end".into()), "{outcomes:#?}");
    assert!(outcomes[0]["came"].as_str().expect("text").contains("signal 11"), "{outcomes:#?}");
    done.expect(1);
}

#[test]
fn a_service_that_answers_everything_alike_fails() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let broker = format!("mqtt://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut stream, mut buf) = (stream, [0; 4096]);
                while stream.read(&mut buf).is_ok_and(|read| read > 0) && stream.write_all(&[0x20, 2, 0, 0]).is_ok() {}
            });
        }
    });
    // Nothing that is waited for comes later.
    let flags = ["--app", "a:b", "--second-app", "c:d", "--jobs", "128", "--patience", "0.2"];
    let done = grade_server(&broker, &flags);
    let outcomes = done.json_lines();
    // To take a login without looking is all that this one asks for.
    assert_eq!(with_verdict(&outcomes, "passed"), names(&["connect-3.1.1"]));
    assert!(with_verdict(&outcomes, "failed").len() >= 60, "{}", outcomes.len());
    done.expect(1);
}

#[test]
fn a_client_without_the_contract_is_graded_where_that_needs_none() {
    let flags = ["conformance", "client", "--json", "--listen", "127.0.0.1:0"];
    let scenarios = ["onboarding-frame", "onboarding-answer-lenient", "call-get", "connack-3-at-the-assigned-broker"];
    let mut command = thingif();
    command.args(flags).args(scenarios.iter().flat_map(|name| ["--scenario", name]));
    let mut grader = Running::start(&mut command);
    let told = grader.wait_for_error_line("Start the client against");
    let address = told.split_whitespace().nth(4).expect("an address").trim_end_matches(':').to_owned();
    let word = |before: &str| {
        let (_, rest) = told.split_once(before).expect(before);
        rest.split([',', ';']).next().expect("a word").trim().to_owned()
    };
    let directory = tempfile::tempdir().expect("a directory");
    let credential = directory.path().join("credential.json");
    let listen = format!(
        "'{}' listen --broker mqtt://{address} --app {} --thing {} --credentials '{}'",
        env!("CARGO_BIN_EXE_thingif"),
        word("app "),
        word("thing "),
        credential.display()
    );
    // As somebody would start it by hand, and again when it ends.
    let again = format!("trap 'kill $!; exit' TERM; while :; do {listen} & wait $!; sleep 0.2; done");
    let mut client = Command::new("sh");
    client.args(["-c", &again]).env("THINGIF_APP_KEY", word("key ")).env("THINGIF_PASSWORD", word("password "));
    let _client = Running::start(&mut client);
    let outcomes: Vec<_> = scenarios.iter().map(|_| grader.json_line()).collect();
    assert_eq!(with_verdict(&outcomes, "skipped"), names(&["call-get"]));
    assert_eq!(with_verdict(&outcomes, "failed"), BTreeSet::new(), "{outcomes:#?}");
    assert!(grader.wait().success());
}

fn serve(flags: &[&str]) -> (Running, String) {
    let mut command = thingif();
    command.args([
        "serve",
        "--app",
        "app1:key1",
        "--app",
        "app2:key2",
        "--http",
        "127.0.0.1:0",
        "--mqtt",
        "127.0.0.1:0",
    ]);
    command.args(["--https", "off", "--mqtts", "off", "--ws", "off", "--wss", "off"]).args(flags);
    let mut server = Running::start(&mut command);
    let broker = format!("mqtt://{}", server.json_line()["mqtt"].as_str().expect("an address"));
    (server, broker)
}

fn grade_server(broker: &str, flags: &[&str]) -> Finished {
    run_within(PATIENCE, thingif().args(["conformance", "server", "--json", "--broker", broker]).args(flags))
}

#[test]
fn our_service_passes_everything() {
    let (_server, broker) = serve(&[]);
    let done = grade_server(&broker, &["--app", "app1:key1", "--second-app", "app2:key2"]);
    let outcomes = done.json_lines();
    let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome["verdict"] != "passed").collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(outcomes.len() >= 60, "{}", outcomes.len());
    done.expect(0);
}

#[test]
fn what_a_service_does_not_have_is_skipped() {
    let (_server, broker) = serve(&[]);
    let flags = ["--scenario", "second-application-key", "--scenario", "push-command", "--scenario", "ping"];
    let done = grade_server(&broker, &[&flags[..], &["--app", "app1:key1", "--without", "own-commands"]].concat());
    let outcomes = done.json_lines();
    assert_eq!(with_verdict(&outcomes, "skipped"), names(&["second-application-key", "push-command"]));
    assert_eq!(with_verdict(&outcomes, "passed"), names(&["ping"]));
    done.expect(0);
}

#[test]
fn a_login_that_is_refused_is_a_failure_and_no_secret_is_shown() {
    let (_server, broker) = serve(&[]);
    let done = grade_server(&broker, &["--scenario", "states", "--app", "app1:hunter2-not-the-key"]);
    let outcomes = done.json_lines();
    assert_eq!(with_verdict(&outcomes, "failed"), names(&["states"]));
    assert!(outcomes[0]["expected"].as_str().expect("text").contains("code must be 0"), "{outcomes:?}");
    let done = done.expect(1);
    assert!(!done.text().contains("hunter2") && !done.stderr.contains("hunter2"));
}

#[test]
fn lists_and_mistakes() {
    let list = run(thingif().args(["conformance", "client", "--list", "--json"])).expect(0);
    let listed = list.json_lines();
    assert!(listed.iter().any(|row| row["scenario"] == "answer-never" && row["catches"][0] == "no-timeout"));
    let table = run(thingif().args(["conformance", "server", "--list"])).expect(0);
    assert!(table.text().contains("order-of-one-path") && table.text().contains("second-app"), "{}", table.text());
    for (arguments, said) in [
        (&["client", "--scenario", "no-such-scenario"][..], "no-such-scenario"),
        (&["server", "--app", "a:b"], "--broker"),
        (&["server", "--app", "a:b", "--broker", "wss://127.0.0.1"], "mqtt://"),
        (&["client", "--listen", "off"], "--listen"),
        (&["client", "--patience", "0"], "0.1"),
        (&["server", "--app", "a:b", "--broker", "mqtt://127.0.0.1", "--without", "own-comands"], "own-comands"),
    ] {
        let done = run(thingif().arg("conformance").args(arguments)).expect(2);
        assert!(done.stderr.contains(said), "{arguments:?}: {}", done.stderr);
    }
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("x.json"), r#"{"grades": "client", "about": "x", "scenarios": [{}]}"#)
        .expect("written");
    let done = run(thingif().args(["conformance", "client", "--list", "--scenarios"]).arg(directory.path())).expect(2);
    assert!(done.stderr.contains("x.json") && done.stderr.contains("name"), "{}", done.stderr);
}
