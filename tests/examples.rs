//! The examples, run as their first lines say, before a service of ours; what counts is what their owner sees.
#![cfg(feature = "cli")]

mod program;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use program::{APP, APP_KEY, Owner, PATIENCE, Running, Server, run_within, thingif};
use serde_json::{Value, json};

/// Building is not what is tested; on a machine that is busy it takes long.
const BUILD: Duration = Duration::from_secs(1500);

fn serve() -> Server {
    Server::start_with(&["--https", "off", "--mqtts", "off", "--ws", "off", "--wss", "off"])
}

/// An example, built as this test is.
fn example(name: &str) -> PathBuf {
    build(&["--example", name]).join("examples").join(name)
}

/// An example that is a package of its own. The other example is there so that both are built of the same crates as this test.
fn package(name: &str) -> PathBuf {
    build(&["--package", "thingif", "--example", "gateway", "--package", name, "--bins"]).join(name)
}

/// Builds; the directory of what was built.
fn build(what: &[&str]) -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_thingif"));
    let profile = program.parent().expect("in the directory of its profile");
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--locked"]).args(what);
    build.arg("--target-dir").arg(profile.parent().expect("in the target directory"));
    // What cargo told this test about itself would have dependencies that look at it built once more.
    for (name, _) in std::env::vars_os() {
        let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
        if told.iter().any(|told| name.to_string_lossy().starts_with(told)) {
            build.env_remove(name);
        }
    }
    if profile.ends_with("release") {
        build.arg("--release");
    }
    run_within(BUILD, &mut build).expect(0);
    profile.to_owned()
}

/// A directory with the secrets of a device, each in a file.
fn secrets() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("app-key"), format!("{APP_KEY}\n")).expect("written");
    std::fs::write(directory.path().join("password"), "thing-password\n").expect("written");
    directory
}

/// `command` with the settings of a device, whose names begin with `prefix`.
fn device(mut command: Command, prefix: &str, thing: &str, server: &Server, files: &Path) -> Command {
    for (name, value) in [
        ("BROKER", format!("mqtt://{}", server.address("mqtt"))),
        ("APP", APP.to_owned()),
        ("THING", thing.to_owned()),
        ("APP_KEY_FILE", files.join("app-key").display().to_string()),
        ("PASSWORD_FILE", files.join("password").display().to_string()),
    ] {
        command.env(format!("{prefix}_{name}"), value);
    }
    command
}

/// Waits until the owner sees `state`.
#[track_caller]
fn wait_for_state(owner: &Owner, thing: &str, state: &Value) {
    let until = Instant::now() + PATIENCE;
    loop {
        let (status, found) = owner.try_get(&format!("targets/thing:{thing}/states"));
        if status == 200 && found == *state {
            return;
        }
        assert!(Instant::now() < until, "{status} {found} instead of {state}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The thing that `line`, such as "connected as th.…", ends with.
fn last_word(line: &str) -> String {
    line.rsplit(' ').next().expect("a word").to_owned()
}

#[test]
fn an_air_conditioner() {
    let (server, files) = (serve(), secrets());
    let machine = example("air_conditioner");
    let start = || {
        let mut command = device(Command::new(&machine), "AC", "ac-1", &server, files.path());
        Running::start(command.env("AC_DIR", files.path().join("ac-1")))
    };
    let mut running = start();
    let thing = last_word(&running.wait_for_error_line("connected as"));
    let owner = Owner::of(&server, "ac-1", "thing-password");
    wait_for_state(&owner, &thing, &json!({"power": false, "presetTemperature": 22}));

    let actions = json!([{"turnPower": {"power": true}}, {"setPresetTemperature": {"presetTemperature": 25}}]);
    let done = owner.read_when_done(&thing, &owner.command(&thing, actions));
    let succeeded = json!([{"turnPower": {"succeeded": true}}, {"setPresetTemperature": {"succeeded": true}}]);
    assert_eq!(done["actionResults"], succeeded);
    wait_for_state(&owner, &thing, &json!({"power": true, "presetTemperature": 25}));

    let wrong = json!([{"setPresetTemperature": {"presetTemperature": 99}}, {"fly": {}}]);
    let failed = owner.read_when_done(&thing, &owner.command(&thing, wrong));
    let message = &failed["actionResults"][0]["setPresetTemperature"]["errorMessage"];
    assert_eq!(message, "99 °C cannot be set: 16 to 30 can");
    assert_eq!(failed["actionResults"][1]["fly"]["succeeded"], false);

    running.signal("-INT");
    assert!(running.wait().success(), "{}", running.errors());
    // The second start onboards nobody: it is the same thing, with the credential of the first.
    let again = start().wait_for_error_line("connected as");
    assert_eq!(last_word(&again), thing);
}

#[test]
fn a_gateway_with_end_nodes() {
    let (server, files) = (serve(), secrets());
    // The owner's, before the gateway itself is there.
    let owner = Owner::of(&server, "hub-1", "thing-password");
    let (user, token) = owner.login();
    std::fs::write(files.path().join("token"), token).expect("written");
    let gateway = example("gateway");
    let start = || {
        let mut command = device(Command::new(&gateway), "GATEWAY", "hub-1", &server, files.path());
        command.env("GATEWAY_DIR", files.path().join("hub-1"));
        command.env("GATEWAY_OWNER", user).env("GATEWAY_OWNER_TOKEN_FILE", files.path().join("token"));
        Running::start(command.args(["lamp-1", "lamp-2"]))
    };
    let mut running = start();
    let first = last_word(&running.wait_for_error_line("lamp-1 is here as"));
    let second = last_word(&running.wait_for_error_line("lamp-2 is here as"));
    wait_for_state(&owner, &second, &json!({"power": false}));

    let done = owner.read_when_done(&second, &owner.command(&second, json!([{"turnPower": {"power": true}}])));
    assert_eq!(done["actionResults"], json!([{"turnPower": {"succeeded": true}}]));
    wait_for_state(&owner, &second, &json!({"power": true}));
    wait_for_state(&owner, &first, &json!({"power": false}));

    running.signal("-INT");
    assert!(running.wait().success(), "{}", running.errors());
    let mut running = start();
    assert_eq!(last_word(&running.wait_for_error_line("lamp-1 is here as")), first, "the same lamp after a restart");
}

#[test]
fn a_minimal_device() {
    let (server, files) = (serve(), secrets());
    let program = package("minimal-device");
    let mut running = Running::start(&mut device(Command::new(program), "DEVICE", "lamp-1", &server, files.path()));
    let thing = last_word(&running.wait_for_error_line("connected as"));
    assert_eq!(running.line(), "201", "the answer to its first report");
    let owner = Owner::of(&server, "lamp-1", "thing-password");
    wait_for_state(&owner, &thing, &json!({"power": true}));
    let command = owner.command(&thing, json!([{"turnPower": {"power": false}}]));
    assert!(running.line().contains(&command), "the command, as it came");
}

#[test]
fn a_device_in_shell() {
    let (server, files) = (serve(), secrets());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shell_device/device.sh");
    let programs = Path::new(env!("CARGO_BIN_EXE_thingif")).parent().expect("in a directory");
    let path = std::env::join_paths(
        std::iter::once(programs.to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    // Without the settings of whoever runs the tests.
    let mut command = Command::new(script);
    for (name, value) in thingif().get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut command = device(command, "THINGIF", "lamp-1", &server, files.path());
    command.env("PATH", path.expect("no colon in it")).env("LAMP_DIR", files.path().join("lamp-1"));
    let mut running = Running::start(&mut command);
    let thing = last_word(&running.wait_for_error_line("connected as"));
    let owner = Owner::of(&server, "lamp-1", "thing-password");
    wait_for_state(&owner, &thing, &json!({"power": false}));

    let done = owner.read_when_done(&thing, &owner.command(&thing, json!([{"turnPower": {"power": true}}])));
    assert_eq!(done["actionResults"], json!([{"turnPower": {"succeeded": true}}]));
    wait_for_state(&owner, &thing, &json!({"power": true}));
    assert_eq!(std::fs::read_to_string(files.path().join("lamp-1/power")).expect("written"), "true\n");

    let failed = owner.read_when_done(&thing, &owner.command(&thing, json!([{"dance": {"fast": true}}])));
    assert_eq!(failed["actionResults"][0]["dance"]["errorMessage"], "this lamp cannot dance");
    running.signal("-TERM");
    assert!(running.wait().success(), "{}", running.errors());
}
