//! Where settings come from (flags, the environment, a file), and what helps in a shell: completions and manual pages.
#![cfg(feature = "cli")]

mod program;

use std::path::Path;
use std::process::Command;

use program::{APP, APP_KEY, Running, Server, Thing, foreign_program, run, thingif};

/// `thingif serve` with everything off but what a test names.
fn serve(file: &Path) -> Command {
    let mut command = thingif();
    command.arg("serve").env("THINGIF_CONFIG", file);
    command
}

fn listeners(command: &mut Command) -> Vec<String> {
    let mut running = Running::start(command);
    let ready = running.json_line();
    ready.as_object().expect("an object").keys().filter(|key| *key != "ready").cloned().collect()
}

#[test]
fn a_flag_goes_before_a_variable_that_before_the_file_and_that_before_the_default() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("thingif.toml");
    let settings = "[serve]\nhttp = 0\nmqtt = 0\nws = 0\nhttps = \"off\"\nmqtts = \"off\"\nwss = \"off\"\n[decode]\nsecrets = true\n";
    std::fs::write(&file, settings).expect("written");
    let app = format!("{APP}:{APP_KEY}");
    assert_eq!(listeners(serve(&file).env("THINGIF_APP", &app)), ["http", "mqtt", "ws"]);
    assert_eq!(listeners(serve(&file).env("THINGIF_APP", &app).env("THINGIF_WS", "off")), ["http", "mqtt"]);
    let mut all = serve(&file);
    all.env("THINGIF_APP", &app).env("THINGIF_WS", "off").env("THINGIF_HTTP", "off").args(["--ws", "0"]);
    assert_eq!(listeners(&mut all), ["mqtt", "ws"]);
    // An empty variable is one that is not set.
    assert_eq!(listeners(serve(&file).env("THINGIF_APP", &app).env("THINGIF_WS", "")), ["http", "mqtt", "ws"]);
}

#[test]
fn variables_of_flags_without_a_value_are_true_or_false() {
    for (value, lines) in [("true", 1), ("yes", 1), ("0", 2), ("", 2)] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut create = thingif();
        create.args(["app", "create", "--name", "lamps"]).env("THINGIF_DATA", dir.path()).env("THINGIF_JSON", value);
        let said = run(&mut create).expect(0).text();
        assert_eq!(said.lines().count().min(2), lines, "{value:?}: {said}");
    }
    let mut wrong = thingif();
    wrong.args(["app", "list"]).env("THINGIF_DATA", "/nonexistent").env("THINGIF_JSON", "perhaps");
    let said = run(&mut wrong).expect(2).stderr;
    assert!(said.contains("THINGIF_DATA, THINGIF_JSON"), "whatever may be wrong is named: {said}");
}

/// What somebody who works with one device has in the shell's profile is in no verb's way.
#[test]
fn variables_for_all_verbs_do_not_disturb_those_that_do_without() {
    let (server, thing) =
        (Server::start_with(&["--https", "off", "--mqtts", "off", "--ws", "off", "--wss", "off"]), Thing::new());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let base = |verb: &str| {
        let mut command = thingif();
        command
            .arg(verb)
            .env("THINGIF_BROKER", format!("mqtt://{}", server.address("mqtt")))
            .env("THINGIF_APP", APP)
            .env("THINGIF_APP_KEY_FILE", thing.path("app-key"))
            .env("THINGIF_PASSWORD_FILE", thing.path("password"))
            .env("THINGIF_CREDENTIALS", dir.path().join("credential.json"));
        command
    };
    run(base("onboard").args(["--thing", "lamp-1"])).expect(0);
    let capture = dir.path().join("call.jsonl");
    let call = run(base("call")
        .args(["PUT", "targets/thing:{thing}/states", "-d", "{\"power\":true}"])
        .arg("--record")
        .arg(&capture));
    call.expect(0);
    // No thing is named here, and the broker is not the capture's business.
    let replayed = run(base("replay").arg(&capture).arg("--machine"));
    assert!(matches!(replayed.code(), 0 | 1), "{}", replayed.stderr);
    let mut listen = Running::start(&mut base("listen"));
    listen.wait_for_error_line("connected as");
    let half = run(base("listen").args(["--app", "other"])).expect(2).stderr;
    assert!(half.contains("--thing is missing"), "{half}");
}

#[test]
fn completions_work_in_a_real_bash() {
    let script = run(thingif().args(["completions", "bash"])).expect(0).text();
    let complete = |words: &[&str]| {
        let set = format!(
            "{script}\nCOMP_WORDS=({})\nCOMP_CWORD={}\n_thingif thingif '{}' '{}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2]
        );
        run(Command::new("bash").args(["--norc", "-c", &set])).expect(0).text()
    };
    let verbs = complete(&["thingif", "onb"]);
    assert_eq!(verbs.trim(), "onboard");
    assert!(complete(&["thingif", "app", "cr"]).contains("create"));
    assert!(complete(&["thingif", "listen", "--max-com"]).contains("--max-command-age"));
    run(thingif().args(["completions", "tcl"])).expect(2);
}

#[test]
fn every_manual_page_is_typeset_without_a_warning() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    run(thingif().args(["man", "--out"]).arg(dir.path().join("man1"))).expect(0);
    let pages: Vec<_> =
        std::fs::read_dir(dir.path().join("man1")).expect("made").map(|page| page.expect("an entry").path()).collect();
    assert!(pages.len() > 20, "{pages:?}");
    let one = run(thingif().args(["man", "thing", "send"])).expect(0);
    assert_eq!(one.stdout, std::fs::read(dir.path().join("man1/thingif-thing-send.1")).expect("written"));
    run(thingif().args(["man", "nothing"])).expect(2);
    let Some(groff) = foreign_program("groff") else { return };
    for page in pages {
        let typeset =
            run(Command::new(&groff).args(["-man", "-Tutf8", "-ww", "-P-cbou", "-rLL=100n"]).arg(&page)).expect(0);
        assert_eq!(typeset.stderr, "", "{}", page.display());
        let text = typeset.text();
        assert!(text.contains("OPTIONS") && text.contains("SYNOPSIS"), "{}: {text}", page.display());
    }
}
