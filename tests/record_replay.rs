//! Captures of the program's own devices, made by a verb or by the proxy, and replayed in every role.
#![cfg(feature = "cli")]

mod program;

use std::path::Path;
use std::process::Command;

use program::{APP, APP_KEY, Finished, Running, Server, Thing, run, thingif};
use serde_json::{Value, json};

/// `thingif listen` as a thing that it onboards first.
fn listen(thing: &Thing, broker: &str) -> Command {
    let mut command = thing.command("listen");
    command.args(["--broker", broker, "--app", APP, "--thing", "thermostat-17"]);
    command.arg("--app-key-file").arg(thing.path("app-key")).arg("--password-file").arg(thing.path("password"));
    command
}

/// Two calls through the process that listens.
fn calls(thing: &Thing) {
    let states = "targets/thing:{thing}/states";
    run(thing.command("call").args(["PUT", states, "-d", r#"{"power":true}"#, "--fail"])).expect(0);
    assert_eq!(run(thing.command("call").args(["GET", states])).expect(0).json(), json!({"power": true}));
}

/// A session that `listen --record` has written.
fn recorded(thing: &Thing, server: &Server) -> std::path::PathBuf {
    let capture = thing.path("session.jsonl");
    let broker = format!("mqtt://127.0.0.1:{}", server.port("mqtt"));
    let mut listening = Running::start(listen(thing, &broker).arg("--record").arg(&capture));
    listening.wait_for_error_line("connected as");
    calls(thing);
    listening.signal("-TERM");
    assert!(listening.wait().success());
    capture
}

fn replay(capture: &Path, flags: &[&str]) -> Finished {
    run(thingif().arg("replay").arg(capture).args(["--speed", "max"]).args(flags))
}

fn at(server: &Server) -> [String; 4] {
    let broker = format!("mqtt://127.0.0.1:{}", server.port("mqtt"));
    ["--broker".into(), broker, "--app".into(), format!("{APP}:{APP_KEY}")]
}

#[test]
fn what_a_device_has_recorded_is_replayed_in_every_role() {
    let thing = Thing::new();
    let capture = recorded(&thing, &Server::start());
    let text = std::fs::read_to_string(&capture).expect("a capture");
    for secret in [APP_KEY, "thing-password"] {
        assert!(!text.contains(secret), "{text}");
    }

    let decoded = run(thingif().arg("decode").arg(&capture)).expect(0).text();
    assert!(decoded.starts_with("capture: masked\n"), "{decoded}");
    for part in [" ms  link 1 → connect mqtt://", " as anonymous,", "link 2 → publish p/", "\n    PUT\n", "\n    201\n"]
    {
        assert!(decoded.contains(part), "{part:?} in {decoded}");
    }
    let as_json = run(thingif().arg("decode").arg("--json").arg(&capture)).expect(0).json_lines();
    assert!(as_json.iter().any(|line| line["message"]["method"] == "PUT"), "{as_json:?}");

    let fresh = Server::start();
    let flags = at(&fresh);
    let done = replay(&capture, &flags.each_ref().map(String::as_str)).expect(0);
    assert!(done.text().starts_with("as recorded: "), "{}", done.text());
    let machine = replay(&capture, &["--machine", "--json"]).expect(0).json();
    assert_eq!((&machine["same"], &machine["compared"]), (&json!(true), &json!(3)), "an onboarding and two calls");

    let mut serving =
        Running::start(thingif().arg("replay").arg(&capture).args(["--listen", "127.0.0.1:0", "--wait", "60"]));
    let address = serving.wait_for_error_line("waiting for the client at");
    let address = address.rsplit(' ').next().expect("an address").to_owned();
    let other = Thing::new();
    let mut client = Running::start(&mut listen(&other, &format!("mqtt://{address}")));
    client.wait_for_error_line("connected as");
    calls(&other);
    client.signal("-TERM");
    client.wait();
    assert!(serving.wait().success(), "{}", serving.errors());
    assert!(serving.line().starts_with("as recorded: "));
}

#[test]
fn a_difference_is_shown_in_every_role() {
    let thing = Thing::new();
    let capture = recorded(&thing, &Server::start());
    let text = std::fs::read_to_string(&capture).expect("a capture");
    let changed = thing.path("changed.jsonl");
    let write = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        std::fs::write(&changed, text.replacen(from, to, 1)).expect("written");
    };
    write("Content-Type: application/vnd.kii.Onb", "Content-type: application/vnd.kii.Onb");
    let machine = replay(&changed, &["--machine"]).expect(1).text();
    assert!(machine.contains("first difference: line 4") && machine.contains("Content-type"), "{machine}");
    write(r#"{\n  \"power\" : true\n}"#, r#"{\n  \"power\" : trUe\n}"#);
    let fresh = Server::start();
    let flags = at(&fresh);
    let server = replay(&changed, &flags.each_ref().map(String::as_str)).expect(1).text();
    assert!(server.contains("trUe") && server.contains("≠"), "{server}");
    // Nobody comes.
    let nobody = replay(&capture, &["--listen", "127.0.0.1:0", "--wait", "0.2"]).expect(1).text();
    assert!(nobody.contains("nobody connects"), "{nobody}");
    // And what a capture does not hold is asked for.
    let keyless = replay(&capture, &flags.each_ref().map(String::as_str)[..2]).expect(2);
    assert!(keyless.stderr.contains("key is needed") && keyless.stderr.contains("--app"), "{}", keyless.stderr);
}

#[test]
fn the_proxy_records_both_brokers_and_survives_a_kill() {
    let server = Server::start();
    let thing = Thing::new();
    let capture = thing.path("proxied.jsonl");
    let mut recorder = thingif();
    recorder.arg("record").arg(&capture).args(["--listen", "127.0.0.1:0", "--source", "edge"]);
    recorder.args(["--broker", &format!("mqtt://127.0.0.1:{}", server.port("mqtt"))]);
    let mut recorder = Running::start(&mut recorder);
    let ready = recorder.json_line();
    let broker = format!("mqtt://{}", ready["mqtt"].as_str().expect("an address"));
    let onboarded = run(thing.onboard(&broker).arg("--json")).expect(0).json();
    assert_eq!(onboarded["broker"], broker, "the device comes back to the proxy");
    calls(&thing);
    recorder.signal("-KILL");
    recorder.wait();

    let text = std::fs::read_to_string(&capture).expect("a capture");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("whole lines")).collect();
    assert_eq!((&lines[0]["capture"], &lines[0]["source"]), (&json!(1), &json!("edge")));
    let connects = lines.iter().filter(|line| line["kind"] == "connect").count();
    assert_eq!(connects, 3, "an onboarding and two calls: {text}");
    for secret in [APP_KEY, "thing-password"] {
        assert!(!text.contains(secret), "{text}");
    }
    // A line that was being written is no reason not to use the others.
    std::fs::write(&capture, format!("{text}{{\"us\":99")).expect("written");
    let fresh = Server::start();
    let flags = at(&fresh);
    let done = replay(&capture, &flags.each_ref().map(String::as_str)).expect(0);
    assert!(done.stderr.contains("the last line is incomplete"), "{}", done.stderr);
}

#[test]
fn a_service_records_its_things_and_survives_a_kill() {
    let (files, thing) = (tempfile::tempdir().expect("a directory"), Thing::new());
    let capture = files.path().join("served.jsonl");
    let mut server = Server::start_with(&["--record", capture.to_str().expect("text")]);
    // Nothing of what is no MQTT, or of another road, is in it.
    drop(std::net::TcpStream::connect(server.address("mqtt")).expect("open"));
    let broker = format!("mqtts://localhost:{}", server.port("mqtts"));
    let ca = server.ready["ca"].as_str().expect("a local authority").to_owned();
    let mut listening = Running::start(listen(&thing, &broker).args(["--ca", &ca]));
    listening.wait_for_error_line("connected as");
    calls(&thing);
    server.running.signal("-KILL");
    server.running.wait();
    listening.signal("-TERM");
    listening.wait();

    let text = std::fs::read_to_string(&capture).expect("a capture");
    assert!(text.ends_with('\n'), "{text}");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("whole lines")).collect();
    assert_eq!((&lines[0]["source"], &lines[0]["redacted"]), (&json!("edge"), &json!(true)));
    let connects: Vec<_> = lines.iter().filter(|line| line["kind"] == "connect").collect();
    assert_eq!(connects.len(), 2, "an onboarding and a session: {text}");
    assert!(connects[0]["endpoint"].as_str().expect("text").starts_with("mqtts://"), "{text}");
    for secret in [APP_KEY, "thing-password"] {
        assert!(!text.contains(secret), "{text}");
    }
    let machine = replay(&capture, &["--machine", "--json"]).expect(0).json();
    assert_eq!((&machine["same"], &machine["compared"]), (&json!(true), &json!(3)), "an onboarding and two calls");
    let fresh = Server::start();
    let flags = at(&fresh);
    let done = replay(&capture, &flags.each_ref().map(String::as_str)).expect(0);
    assert!(done.text().starts_with("as recorded: "), "{}", done.text());
}

#[test]
fn the_demo_is_recorded_and_replayed() {
    let files = tempfile::tempdir().expect("a directory");
    for over in ["mqtt", "wss"] {
        let capture = files.path().join(over);
        run(thingif().args(["demo", "--over", over, "--record"]).arg(&capture)).expect(0);
        let told = run(thingif().arg("decode").arg(&capture)).expect(0).text();
        for part in [&format!(" → connect {over}://"), "action-results", "\"commandID\"", " → close"] {
            assert!(told.contains(part), "{part:?} in {told}");
        }
        let machine = replay(&capture, &["--machine", "--json"]).expect(0).json();
        assert_eq!((&machine["same"], &machine["compared"]), (&json!(true), &json!(6)), "{over}: {machine}");
    }
    let refused = run(thingif().args(["demo", "--record", "-"])).expect(2);
    assert!(refused.stderr.contains("--record needs a file"), "{}", refused.stderr);
}

#[test]
fn a_capture_belongs_to_its_owner_and_follows_no_link() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let thing = Thing::new();
    let [old, link, target] = ["old.jsonl", "link.jsonl", "target"].map(|name| thing.path(name));
    std::fs::write(&old, "older").expect("written");
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o644)).expect("changed");
    std::fs::write(&target, "precious").expect("written");
    symlink(&target, &link).expect("a link");
    // A file without packets is one all the same: little-endian, version 2.4, Ethernet.
    let pcap = thing.path("none.pcap");
    let header = [0xA1B2_C3D4_u32, 0x0004_0002, 0, 0, 65_535, 1];
    std::fs::write(&pcap, header.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>()).expect("written");
    let import = |file: &Path| run(thingif().arg("record").arg(file).arg("--from-pcap").arg(&pcap));
    import(&old).expect(1);
    let mode = std::fs::metadata(&old).expect("a capture").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(import(&link).expect(1).stderr.contains("symbolic link"));
    assert_eq!(std::fs::read_to_string(&target).expect("untouched"), "precious");
    assert!(import(&pcap).expect(2).stderr.contains("would be replaced"));
    assert!(std::fs::metadata(&pcap).expect("untouched").len() > 0);
}

#[test]
fn what_cannot_be_recorded_is_said() {
    let thing = Thing::new();
    let capture = thing.path("ws.jsonl");
    let flags = ["--listen", "127.0.0.1:0", "--broker", "ws://127.0.0.1:1/mqtt"];
    let refused = run(thingif().arg("record").arg(&capture).args(flags)).expect(2);
    assert!(refused.stderr.contains("only mqtt://") && refused.stderr.contains("--ws-port"), "{}", refused.stderr);
    assert!(!capture.exists());
}

#[test]
fn tls_is_recorded_between_both() {
    let server = Server::start();
    let ca = server.ready["ca"].as_str().expect("a local authority");
    let thing = Thing::new();
    let key = rcgen::KeyPair::generate().expect("generated");
    let names = [String::from("localhost"), String::from("127.0.0.1")];
    let certificate = rcgen::CertificateParams::new(names).expect("valid").self_signed(&key).expect("signed");
    std::fs::write(thing.path("proxy.pem"), certificate.pem()).expect("written");
    std::fs::write(thing.path("proxy.key"), key.serialize_pem()).expect("written");
    let capture = thing.path("tls.jsonl");
    let mut recorder = thingif();
    recorder.arg("record").arg(&capture).args(["--listen", "127.0.0.1:0", "--ca", ca]);
    recorder.arg("--tls-cert").arg(thing.path("proxy.pem")).arg("--tls-key").arg(thing.path("proxy.key"));
    recorder.args(["--broker", &format!("mqtts://localhost:{}", server.port("mqtts"))]);
    let mut recorder = Running::start(&mut recorder);
    let address = recorder.json_line()["mqtts"].as_str().expect("an address").to_owned();
    let port = address.rsplit(':').next().expect("a port");
    let mut onboard = thing.onboard(&format!("mqtts://localhost:{port}"));
    run(onboard.arg("--ca").arg(thing.path("proxy.pem"))).expect(0);
    calls(&thing);
    recorder.signal("-INT");
    assert!(recorder.wait().success());
    let fresh = Server::start();
    let mut again = thingif();
    again.arg("replay").arg(&capture).args(["--speed", "max", "--app", &format!("{APP}:{APP_KEY}")]);
    again.args(["--broker", &format!("mqtts://localhost:{}", fresh.port("mqtts"))]);
    run(again.args(["--ca", fresh.ready["ca"].as_str().expect("a local authority")])).expect(0);
}

#[test]
fn a_recording_ends_at_its_bound_and_says_so() {
    let thing = Thing::new();
    let server = Server::start();
    let capture = thing.path("small.jsonl");
    let mut recorder = thingif();
    recorder.arg("record").arg(&capture).args(["--listen", "127.0.0.1:0", "--max-size", "1"]);
    recorder.args(["--broker", &format!("mqtt://127.0.0.1:{}", server.port("mqtt"))]);
    let mut recorder = Running::start(&mut recorder);
    let broker = format!("mqtt://{}", recorder.json_line()["mqtt"].as_str().expect("an address"));
    run(&mut thing.onboard(&broker)).expect(0);
    let large = format!(r#"{{"x":"{}"}}"#, "y".repeat(60_000));
    std::fs::write(thing.path("large.json"), &large).expect("written");
    for _ in 0..40 {
        if recorder.is_over() {
            break;
        }
        let mut call = thing.command("call");
        // Too large for a state; what is said about it does not matter here.
        run(call.args([
            "PUT",
            "targets/thing:{thing}/states",
            "--max-time",
            "5",
            "-d",
            &format!("@{}", thing.path("large.json").display()),
        ]));
    }
    assert_eq!(recorder.wait().code(), Some(1));
    assert!(recorder.errors().contains("has reached its bound"));
    let text = std::fs::read_to_string(&capture).expect("a capture");
    assert!(text.len() <= 1_000_000 && text.len() > 800_000, "{}", text.len());
    let last: Value = serde_json::from_str(text.lines().last().expect("lines")).expect("JSON");
    assert_eq!(last["kind"], "stopped");
}
