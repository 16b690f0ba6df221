//! `thingif` and its credential file: lost, damaged, readable by others, another thing's.
#![cfg(feature = "cli")]

mod program;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use program::{APP_KEY, Running, Server, Thing, run};
use serde_json::Value;

/// The flags that say which thing it is, and where it is onboarded.
fn named<'a>(command: &'a mut Command, thing: &Thing, broker: &str) -> &'a mut Command {
    command.args(["--broker", broker, "--app", program::APP, "--thing", "thermostat-17"]);
    command.arg("--app-key-file").arg(thing.path("app-key")).arg("--password-file").arg(thing.path("password"))
}

fn broker(server: &Server) -> String {
    format!("mqtt://{}", server.address("mqtt"))
}

/// `thingif listen` with what it needs to onboard by itself, connected.
fn listening(thing: &Thing, server: &Server) -> Running {
    let mut running = Running::start(named(&mut thing.command("listen"), thing, &broker(server)));
    running.wait_for_error_line("connected as");
    running
}

fn stop(mut running: Running) {
    running.signal("-TERM");
    assert_eq!(running.wait().code(), Some(0));
}

fn stored(thing: &Thing) -> Value {
    serde_json::from_slice(&fs::read(thing.credentials()).expect("stored")).expect("JSON")
}

fn mode(thing: &Thing) -> u32 {
    fs::metadata(thing.credentials()).expect("stored").permissions().mode() & 0o777
}

#[test]
fn a_device_that_lost_its_credential_file_is_ready_again_without_a_human() {
    let server = Server::start();
    let thing = Thing::new();
    // The first start is the same case: there is no file yet.
    stop(listening(&thing, &server));
    let first = stored(&thing);
    assert_eq!(mode(&thing), 0o600);
    assert_eq!(first["vendorThingID"], "thermostat-17");
    let text = fs::read_to_string(thing.credentials()).expect("stored");
    assert!(!text.contains(APP_KEY) && !text.contains("thing-password"), "only where they can be found again");

    // What is stored is used: nothing is onboarded anew.
    stop(listening(&thing, &server));
    assert_eq!(stored(&thing), first);

    fs::remove_file(thing.credentials()).expect("removed");
    let running = listening(&thing, &server);
    let again = stored(&thing);
    assert_eq!(again["credential"]["thingID"], first["credential"]["thingID"], "the same thing");
    assert_ne!(again["credential"]["accessToken"], first["credential"]["accessToken"]);
    assert_eq!(again["passwordFile"], first["passwordFile"], "and the file says the rest, too");
    run(thing.command("call").args(["PUT", "targets/thing:{thing}/states", "-d", "{}", "--fail"])).expect(0);
    stop(running);

    // Folder and all.
    fs::remove_dir_all(thing.path("credential.json.d")).expect("removed");
    fs::remove_file(thing.credentials()).expect("removed");
    stop(listening(&thing, &server));
    // Without the flags the file that was written is enough.
    let mut plain = Running::start(&mut thing.command("listen"));
    plain.wait_for_error_line("connected as");
    stop(plain);
}

#[test]
fn a_credential_file_that_is_lost_while_the_device_listens_is_written_at_the_next_onboarding() {
    let first = Server::start();
    let thing = Thing::new();
    let mut running = listening(&thing, &first);
    fs::remove_file(thing.credentials()).expect("removed");
    // Another server on the same port knows neither the thing nor its endpoint password.
    let address = first.address("mqtt").to_owned();
    drop(first);
    running.wait_for_error_line("trying again in");
    let _second = Server::start_with(&["--mqtt", &address]);
    running.wait_for_error_line("the new credential is in");
    running.wait_for_error_line("connected again");
    assert_eq!(mode(&thing), 0o600);
    run(thing.command("call").args(["PUT", "targets/thing:{thing}/states", "-d", "{}", "--fail"])).expect(0);
    stop(running);
    let mut plain = Running::start(&mut thing.command("listen"));
    plain.wait_for_error_line("connected as");
}

#[test]
fn a_damaged_credential_file_needs_nobody_when_the_thing_is_named() {
    let server = Server::start();
    let thing = Thing::new();
    stop(listening(&thing, &server));
    let whole = fs::read(thing.credentials()).expect("stored");
    fs::write(thing.credentials(), &whole[..whole.len() / 2]).expect("written");
    for verb in ["listen", "call"] {
        let mut command = thing.command(verb);
        if verb == "call" {
            command.args(["GET", "targets/thing:{thing}/states"]);
        }
        let refused = run(&mut command).expect(2);
        assert!(refused.stderr.contains("is not a credential"), "{}", refused.stderr);
        assert!(refused.stderr.contains("thingif onboard"), "{}", refused.stderr);
    }
    let mut running = Running::start(named(&mut thing.command("listen"), &thing, &broker(&server)));
    running.wait_for_error_line("is not a credential");
    running.wait_for_error_line("connected as");
    assert_eq!(stored(&thing)["version"], 1);
    stop(running);
}

#[test]
fn a_credential_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let server = Server::start();
    let thing = Thing::new();
    thing.onboard_at(&server, "mqtt");
    let before = stored(&thing);
    fs::set_permissions(thing.credentials(), fs::Permissions::from_mode(0o644)).expect("changed");
    let remedy = format!("`chmod 600 '{}'`", thing.credentials().display());
    let call = run(thing.command("call").args(["GET", "targets/thing:{thing}/states"])).expect(2);
    let listen = run(&mut thing.command("listen")).expect(2);
    // It was set up in this way, so that onboarding again would mend nothing.
    let listen_named = run(named(&mut thing.command("listen"), &thing, &broker(&server))).expect(2);
    for refused in [call, listen, listen_named] {
        assert!(refused.stderr.contains(&remedy), "{}", refused.stderr);
    }
    assert_eq!(stored(&thing), before);
    fs::set_permissions(thing.credentials(), fs::Permissions::from_mode(0o600)).expect("changed");
    run(thing.command("call").args(["PUT", "targets/thing:{thing}/states", "-d", "{}", "--fail"])).expect(0);
}

#[test]
fn a_credential_file_is_never_taken_from_another_thing() {
    let server = Server::start();
    let thing = Thing::new();
    thing.onboard_at(&server, "mqtt");
    let before = stored(&thing);
    let mut other = thing.command("listen");
    other.args(["--broker", &broker(&server), "--app", program::APP, "--thing", "another"]);
    let other = other.arg("--app-key-file").arg(thing.path("app-key")).env("THINGIF_PASSWORD", "pw");
    let refused = run(other).expect(2);
    assert!(
        refused.stderr.contains("thermostat-17") && refused.stderr.contains("thingif forget"),
        "{}",
        refused.stderr
    );
    assert_eq!(stored(&thing), before);

    let half = run(thing.command("listen").args(["--thing", "thermostat-17"])).expect(2);
    assert!(half.stderr.contains("--broker and --app is missing"), "{}", half.stderr);
    // A broker in the environment names no thing.
    let mut plain = Running::start(thing.command("listen").env("THINGIF_BROKER", "mqtt://elsewhere.invalid"));
    plain.wait_for_error_line("connected as");
}

#[test]
fn a_thing_whose_default_broker_moved_is_onboarded_there() {
    let (first, second) = (Server::start(), Server::start());
    let thing = Thing::new();
    stop(listening(&thing, &first));
    let before = stored(&thing);
    let mut running = Running::start(named(&mut thing.command("listen"), &thing, &broker(&second)));
    running.wait_for_error_line("onboarding at");
    running.wait_for_error_line("connected as");
    assert_ne!(stored(&thing)["credential"], before["credential"]);
    assert_eq!(stored(&thing)["broker"], broker(&second));
    stop(running);
}

#[test]
fn secrets_that_are_gone_do_not_stop_a_thing_that_has_its_credential() {
    let server = Server::start();
    let thing = Thing::new();
    stop(listening(&thing, &server));
    fs::remove_file(thing.path("password")).expect("removed");
    let mut running = Running::start(named(&mut thing.command("listen"), &thing, &broker(&server)));
    running.wait_for_error_line("cannot read the password");
    running.wait_for_error_line("connected as");
}

#[test]
fn forgetting_removes_the_file_for_good() {
    let server = Server::start();
    let thing = Thing::new();
    let nothing = run(&mut thing.command("forget")).expect(0);
    assert!(nothing.stderr.contains("there is no credential"), "{}", nothing.stderr);
    assert!(!thing.path("credential.json.d").exists(), "nor is anything made");

    let running = listening(&thing, &server);
    let unfinished = thing.path(".credential.json.0123456789abcdef.new");
    fs::write(&unfinished, "half").expect("written");
    let busy = run(&mut thing.command("forget")).expect(1);
    assert!(busy.stderr.contains(&format!("process {}", running.id())), "{}", busy.stderr);
    assert!(thing.credentials().exists());
    stop(running);

    let forgotten = run(&mut thing.command("forget")).expect(0);
    assert!(forgotten.stderr.contains("is forgotten"), "{}", forgotten.stderr);
    assert!(!thing.credentials().exists() && !unfinished.exists());
    let call = run(thing.command("call").args(["GET", "x"])).expect(2);
    assert!(call.stderr.contains("there is no credential"), "{}", call.stderr);
}
