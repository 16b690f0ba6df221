//! `thingif onboard`, `call` and `listen` against `thingif serve`, over real sockets.
#![cfg(feature = "cli")]

mod program;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use program::{APP, APP_KEY, Owner, Running, Server, Thing, run};
use serde_json::json;

/// A server, and a thing that is onboarded there.
fn onboarded() -> (Server, Thing, String) {
    let server = Server::start();
    let thing = Thing::new();
    let id = thing.onboard_at(&server, "mqtt");
    (server, thing, id)
}

/// `thingif listen`, connected and serving its socket.
fn listening(thing: &Thing, flags: &[&str]) -> Running {
    let mut running = Running::start(thing.command("listen").args(flags));
    running.wait_for_error_line("connected as");
    running
}

#[test]
fn onboarding_stores_a_private_credential_and_shows_no_secret() {
    let server = Server::start();
    let thing = Thing::new();
    let shown = run(&mut thing.onboard(&format!("mqtt://{}", server.address("mqtt")))).expect(0);
    let mode = std::fs::metadata(thing.credentials()).expect("stored").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let stored: serde_json::Value =
        serde_json::from_slice(&std::fs::read(thing.credentials()).expect("stored")).expect("JSON");
    let credential = &stored["credential"];
    let token = credential["accessToken"].as_str().expect("a token");
    let password = credential["mqttEndpoint"]["password"].as_str().expect("a password");
    for secret in [token, password, APP_KEY, "thing-password"] {
        assert!(!shown.text().contains(secret) && !shown.stderr.contains(secret));
    }
    let text = std::fs::read_to_string(thing.credentials()).expect("stored");
    assert!(!text.contains(APP_KEY) && !text.contains("thing-password"), "only where they can be found again");
    assert!(shown.text().contains(credential["thingID"].as_str().expect("an id")));

    let json = run(thing.onboard(&format!("mqtt://{}", server.address("mqtt"))).arg("--json")).expect(0);
    let [line] = &json.json_lines()[..] else { panic!("one line") };
    assert_eq!(line["thingID"], credential["thingID"], "the same thing again");
    assert_eq!(line["mqttEndpoint"]["password"], "[redacted]");
}

#[test]
fn without_a_name_the_credential_is_in_the_users_state_directory() {
    let server = Server::start();
    let thing = Thing::new();
    let home = thing.path("home");
    let mut onboard = program::thingif();
    let app = format!("{APP}:{APP_KEY}");
    onboard.args(["onboard", "--broker", &format!("mqtt://{}", server.address("mqtt")), "--app", &app, "--thing", "t"]);
    let onboard = onboard.env_remove("XDG_STATE_HOME").env("HOME", &home).env("THINGIF_PASSWORD", "pw");
    run(onboard).expect(0);
    assert!(home.join(".local/state/thingif/credential.json").is_file());
    let mut call = program::thingif();
    let call = call.args(["call", "GET", "targets/thing:{thing}/commands", "--fail"]);
    run(call.env_remove("XDG_STATE_HOME").env("HOME", &home)).expect(0);
}

#[test]
fn a_thing_travels_over_every_transport() {
    let server = Server::start();
    for scheme in ["mqtt", "mqtts", "ws", "wss"] {
        let thing = Thing::new();
        thing.onboard_at(&server, scheme);
        let put =
            run(thing.command("call").args(["PUT", "targets/thing:{thing}/states", "-d", r#"{"n":1}"#])).expect(0);
        assert!(put.stdout.is_empty(), "{scheme}");
        let got = run(thing.command("call").args(["GET", "targets/thing:{thing}/states", "--fail"])).expect(0);
        assert_eq!(got.json(), json!({"n": 1}), "{scheme}");
    }
}

#[test]
fn call_shows_what_it_is_asked_to_show() {
    let (_server, thing, id) = onboarded();
    let put = ["PUT", "targets/thing:{thing}/states", "-d", r#"{"n":1}"#];
    let shown = run(thing.command("call").args(put).args(["-i", "-v", "-H", "X-Kii-RequestID: mine"])).expect(0);
    assert!(shown.text().starts_with("201 Created\n"), "{}", shown.text());
    assert!(shown.text().contains("x-kii-requestid: mine\n"), "{}", shown.text());
    assert!(
        shown.stderr.contains(&format!("> /thing-if/apps/{APP}/targets/thing:{id}/states\n> PUT\n")),
        "{}",
        shown.stderr
    );
    assert!(shown.stderr.contains("< 201\n"), "{}", shown.stderr);

    let not_there = ["GET", "/thing-if/apps/c1k9abcdef12/targets/thing:{thing}/commands/none"];
    let shown = run(thing.command("call").args(not_there)).expect(0);
    assert!(shown.text().contains("COMMAND_NOT_FOUND"), "{}", shown.text());
    let failed = run(thing.command("call").args(not_there).arg("--fail")).expect(22);
    assert!(failed.stdout.is_empty() && failed.stderr.contains("404"), "{}", failed.stderr);
}

#[test]
fn exit_statuses_tell_failures_apart() {
    let server = Server::start();
    let thing = Thing::new();
    let mqtt = format!("mqtt://{}", server.address("mqtt"));
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        listener.local_addr().expect("bound")
    };
    // Takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
    let silent = silent.local_addr().map(|address| (silent, address)).expect("bound");
    // Takes connections and ends them.
    let rude = TcpListener::bind("127.0.0.1:0").expect("bound");
    let rude_address = rude.local_addr().expect("bound");
    thread::spawn(move || rude.incoming().for_each(drop));

    let code = |broker: &str, more: &[&str]| {
        let finished = run(thing.onboard(broker).args(more));
        assert!(finished.stderr.starts_with("thingif: "), "{}", finished.stderr);
        assert!(finished.stdout.is_empty());
        finished.code()
    };
    assert_eq!(code("mqtt://no-such-host.invalid", &[]), 6, "name not resolved");
    assert_eq!(code(&format!("mqtt://{closed}"), &[]), 7, "cannot connect");
    assert_eq!(code(&format!("mqtt://{}", silent.1), &["--max-time", "1"]), 28, "timed out");
    assert_eq!(code(&format!("mqtts://{rude_address}"), &[]), 35, "TLS");
    assert_eq!(code(&format!("mqtts://{}", server.address("mqtts")), &[]), 60, "certificate");
    let ca = server.ready["ca"].as_str().expect("a local authority");
    assert_eq!(code(&mqtt, &["--ca", "/nonexistent"]), 2, "usage");
    assert!(!thing.credentials().exists(), "nothing was stored");

    let wrong_key = || {
        let mut command = thing.command("onboard");
        command.args(["--broker", &mqtt, "--app", &format!("{APP}:wrong"), "--thing", "t"]);
        command.arg("--password-file").arg(thing.path("password"));
        command
    };
    assert_eq!(run(&mut wrong_key()).code(), 67, "wrong app key");
    let named = format!("mqtts://localhost:{}", server.port("mqtts"));
    run(thing.onboard(&named).args(["--ca", ca])).expect(0);
    std::fs::write(thing.path("password"), "another").expect("written");
    assert_eq!(code(&mqtt, &[]), 67, "wrong thing password");
}

#[test]
fn call_has_exit_statuses_too() {
    let (server, thing, _) = onboarded();
    run(thing.command("call").args(["P UT", "x"])).expect(2);
    run(thing.command("call").args(["GET", "a b"])).expect(2);
    let nobody = Thing::new();
    let refused = run(nobody.command("call").args(["GET", "x"])).expect(2);
    assert!(refused.stderr.contains("thingif onboard"), "{}", refused.stderr);
    run(nobody.command("listen").args::<[&str; 0], &str>([])).expect(2);

    drop(server);
    run(thing.command("call").args(["GET", "x"])).expect(7);
    run(thing.command("listen").args::<[&str; 0], &str>([])).expect(7);
}

#[test]
fn a_refused_credential_is_67_and_a_renewed_one_is_kept() {
    let (first, thing, _) = onboarded();
    // Another server on the same port knows neither the thing nor its endpoint password.
    let address = first.address("mqtt").to_owned();
    drop(first);
    let mut second = Server::start_with(&["--mqtt", &address]);
    let before = std::fs::read(thing.credentials()).expect("stored");
    std::fs::remove_file(thing.path("app-key")).expect("removed");
    run(thing.command("call").args(["GET", "targets/thing:{thing}/states"])).expect(67);
    assert_eq!(std::fs::read(thing.credentials()).expect("stored"), before, "the old one stays");

    // With the secrets in place the thing is onboarded again on the way.
    std::fs::write(thing.path("app-key"), APP_KEY).expect("written");
    let put = ["PUT", "targets/thing:{thing}/states", "-d", "{}"];
    run(thing.command("call").args(put)).expect(0);
    assert_ne!(std::fs::read(thing.credentials()).expect("stored"), before, "the new one is kept");
    second.running.errors();
}

#[test]
fn call_goes_through_listen_and_kicks_nobody() {
    let (server, thing, id) = onboarded();
    let owner = Owner::of(&server, "thermostat-17", "thing-password");
    let mut listen = listening(&thing, &[]);
    let socket = thing.path("credential.json.d/socket");
    assert_eq!(std::fs::metadata(&socket).expect("there").permissions().mode() & 0o777, 0o600);

    let calls: Vec<_> = (0..8)
        .map(|n| {
            let mut command = thing.command("call");
            command.args(["PUT", "targets/thing:{thing}/states", "-d", &format!(r#"{{"n":{n}}}"#)]);
            thread::spawn(move || run(&mut command).expect(0))
        })
        .collect();
    for call in calls {
        call.join().expect("done");
    }
    let body = run(thing.command("call").args(["GET", "targets/thing:{thing}/states", "-i"])).expect(0).text();
    assert!(body.starts_with("200 OK\n"), "{body}");
    run(thing.command("call").args(["GET", "targets/thing:{thing}/commands/none", "--fail"])).expect(22);
    run(thing.command("call").args(["GET", "/elsewhere"])).expect(2);

    // The connection that was there before is still there: it hears the push.
    let command_id = owner.command(&id, json!([{"turnPower": {"power": true}}]));
    assert_eq!(listen.json_line()["commandID"], command_id.as_str());
    assert_eq!(listen.errors(), "", "it was never disturbed");

    let second = run(thing.command("listen").args::<[&str; 0], &str>([])).expect(1);
    assert!(second.stderr.contains(&format!("process {}", listen.id())), "{}", second.stderr);
    let again = run(&mut thing.onboard(&format!("mqtt://{}", server.address("mqtt")))).expect(1);
    assert!(again.stderr.contains("holds the connection"), "{}", again.stderr);

    listen.signal("-TERM");
    assert_eq!(listen.wait().code(), Some(0));
    assert!(!socket.exists(), "the socket goes with its owner");
    run(thing.command("call").args(["GET", "targets/thing:{thing}/states", "--fail"])).expect(0);
}

#[test]
fn a_socket_left_by_a_killed_process_is_no_obstacle() {
    let (_server, thing, _) = onboarded();
    let mut listen = listening(&thing, &[]);
    listen.signal("-KILL");
    listen.wait();
    assert!(thing.path("credential.json.d/socket").exists(), "a killed process cleans nothing up");
    run(thing.command("call").args(["PUT", "targets/thing:{thing}/states", "-d", "{}"])).expect(0);
    let _again = listening(&thing, &[]);
    run(thing.command("call").args(["GET", "targets/thing:{thing}/states", "--fail"])).expect(0);
}

#[test]
fn exec_decides_what_is_reported() {
    let (server, thing, id) = onboarded();
    let owner = Owner::of(&server, "thermostat-17", "thing-password");
    let seen = thing.path("seen");
    let script = format!(
        "cat > {seen}; echo \" $THINGIF_ACTIONS $THINGIF_COMMAND_ID\" >> {seen}; echo to-stdout; \
         case \"$THINGIF_ACTIONS\" in *bad*) echo the lamp is broken >&2; exit 3;; esac",
        seen = seen.display()
    );
    let mut listen = listening(&thing, &["--exec", &script]);

    let good = owner.command(&id, json!([{"turnPower": {"power": true}}, {"dim": {"to": 5}}]));
    let done = owner.read_when_finished(&id, &good);
    assert_eq!(done["commandState"], "DONE", "{done}");
    assert_eq!(done["actionResults"], json!([{"turnPower": {"succeeded": true}}, {"dim": {"succeeded": true}}]));
    let seen_text = std::fs::read_to_string(&seen).expect("the program ran");
    assert!(seen_text.ends_with(&format!(" turnPower dim {good}\n")), "{seen_text}");
    let pushed: serde_json::Value =
        serde_json::from_str(seen_text.rsplit_once(" turnPower").expect("present").0).expect("the push");
    assert_eq!(pushed["commandID"], good.as_str());
    assert_eq!(listen.json_line(), pushed, "standard output has the push and nothing of the program's");

    let bad = owner.command(&id, json!([{"bad": {}}]));
    let failed = owner.read_when_finished(&id, &bad);
    assert_eq!(failed["actionResults"], json!([{"bad": {"succeeded": false, "errorMessage": "the lamp is broken"}}]));
    assert_eq!(listen.json_line()["commandID"], bad.as_str());
    assert!(listen.lines_so_far().is_empty());
}

#[test]
fn each_command_runs_once_whatever_happens_to_listen() {
    let (server, thing, id) = onboarded();
    let owner = Owner::of(&server, "thermostat-17", "thing-password");
    let seen = thing.path("seen");
    let script = format!(
        "echo \"$THINGIF_ACTIONS\" >> {seen}; echo started >&2; case \"$THINGIF_ACTIONS\" in slow) exec sleep 30;; esac",
        seen = seen.display()
    );
    let ran = || std::fs::read_to_string(&seen).unwrap_or_default();

    let missed = owner.command(&id, json!([{"missed": {}}]));
    assert_eq!(owner.read_when_finished(&id, &missed)["commandState"], "SEND_FAILED", "nobody listens");
    let mut listen = listening(&thing, &["--exec", &script]);
    owner.read_when_done(&id, &missed);

    let slow = owner.command(&id, json!([{"slow": {}}]));
    listen.wait_for_error_line("started");
    listen.wait_for_error_line("started");
    listen.signal("-KILL");
    listen.wait();
    let mut listen = listening(&thing, &["--exec", &script]);
    listen.wait_for_error_line("interrupted by a restart");
    let slow = owner.read_when_done(&id, &slow);
    assert_eq!(slow["actionResults"][0]["slow"]["succeeded"], false, "{slow}");
    assert_eq!(ran(), "missed\nslow\n");

    listen.signal("-TERM");
    listen.wait();
    let again = owner.command(&id, json!([{"slow": {}}]));
    let mut listen = listening(&thing, &["--exec", &script]);
    listen.wait_for_error_line("started");
    listen.signal("-KILL");
    listen.wait();
    let quick = format!("echo again >> {}", seen.display());
    let _listen = listening(&thing, &["--exec", &quick, "--at-least-once"]);
    assert_eq!(owner.read_when_done(&id, &again)["actionResults"][0]["slow"]["succeeded"], true);
    assert_eq!(ran(), "missed\nslow\nslow\nagain\n");
}

#[test]
fn listen_comes_back_after_a_lost_connection() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    let data = ["--data", data.to_str().expect("text")];
    let first = Server::start_with(&data);
    let (mqtt, http) = (first.address("mqtt").to_owned(), first.address("http").to_owned());
    let thing = Thing::new();
    let id = thing.onboard_at(&first, "mqtt");
    let owner = Owner::of(&first, "thermostat-17", "thing-password");
    let mut listen = listening(&thing, &[]);

    drop(first);
    listen.wait_for_error_line("trying again in");
    let _second = Server::start_with(&["--data", data[1], "--mqtt", &mqtt, "--http", &http]);
    listen.wait_for_error_line("connected again");
    let command_id = owner.command(&id, json!([{"turnPower": {"power": true}}]));
    assert_eq!(listen.json_line()["commandID"], command_id.as_str());
}

#[test]
fn a_reader_who_leaves_ends_listen() {
    let (server, thing, id) = onboarded();
    let owner = Owner::of(&server, "thermostat-17", "thing-password");
    let mut listen = std::process::Command::new("sh");
    listen.args(["-c", "\"$0\" listen --credentials \"$1\" | head -n 1"]).arg(env!("CARGO_BIN_EXE_thingif"));
    let mut listen = Running::start(listen.arg(thing.credentials()));
    listen.wait_for_error_line("connected as");
    let first = owner.command(&id, json!([{"a": {}}]));
    assert_eq!(listen.json_line()["commandID"], first.as_str());
    owner.command(&id, json!([{"b": {}}]));
    assert!(listen.wait().success(), "the shell reports head's status");
    // The lock is free again once listen has noticed.
    run(thing.command("call").args(["GET", "targets/thing:{thing}/commands", "--fail", "--max-time", "30"])).expect(0);
}

#[test]
fn secrets_stand_in_no_log() {
    let server = Server::start();
    let thing = Thing::new();
    let mut onboard = thing.onboard(&format!("mqtt://{}", server.address("mqtt")));
    let onboard = run(onboard.arg("-vvv").env("THINGIF_LOG", "trace,paho_mqtt=trace")).expect(0);
    let stored: serde_json::Value =
        serde_json::from_slice(&std::fs::read(thing.credentials()).expect("stored")).expect("JSON");
    let credential = &stored["credential"];
    let mut call = thing.command("call");
    let call = run(call
        .args(["PUT", "targets/thing:{thing}/states", "-d", "{}", "-vvv"])
        .env("THINGIF_LOG", "trace")
        .env("RUST_LOG", "paho_mqtt=trace,paho_mqtt_c=trace"))
    .expect(0);
    for log in [&onboard.stderr, &call.stderr] {
        for secret in [
            APP_KEY,
            "thing-password",
            credential["accessToken"].as_str().expect("a token"),
            credential["mqttEndpoint"]["password"].as_str().expect("a password"),
        ] {
            assert!(!log.contains(secret), "{log}");
        }
    }
}
