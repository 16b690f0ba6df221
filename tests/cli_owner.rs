//! `thingif app`, `user` and `thing`: what an owner does by hand, against a service that runs.
#![cfg(feature = "cli")]

mod program;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use program::{APP, APP_KEY, Running, Server, Thing, run, thingif};
use serde_json::{Value, json};

/// An owner's home: password files, and the file that a login is kept in.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("pw"), "ann's password\n").expect("written");
        std::fs::write(dir.path().join("thing-pw"), "thing-password\n").expect("written");
        Self(dir)
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("text").to_owned()
    }

    fn thingif(&self, args: &[&str]) -> Command {
        let mut command = thingif();
        command.args(args).env("THINGIF_LOGIN", self.file("login.json"));
        command
    }

    /// Signs ann up, or in, at `service`.
    fn user(&self, verb: &str, service: &str, more: &[&str]) -> Command {
        let app = format!("{APP}:{APP_KEY}");
        let mut command = self.thingif(&["user", verb, "--service", service, "--app", &app, "--user", "ann"]);
        command.args(["--password-file", &self.file("pw")]).args(more);
        command
    }
}

#[test]
fn an_owner_makes_commands_and_reads_a_thing() {
    let server = Server::start();
    let home = Home::new();
    let service = format!("http://{}", server.address("http"));
    let early = run(&mut home.thingif(&["thing", "list"])).expect(2);
    assert!(early.stderr.contains("thingif user login"), "{}", early.stderr);

    let created = run(&mut home.user("create", &service, &["--json"])).expect(0).json();
    let again = run(&mut home.user("create", &service, &[])).expect(22);
    assert!(again.stderr.contains("409: USER_ALREADY_EXISTS"), "{}", again.stderr);
    let login = run(&mut home.user("login", &service, &["--json"])).expect(0).json();
    assert_eq!(login["userID"], created["userID"]);
    let kept = home.file("login.json");
    assert_eq!(std::fs::metadata(&kept).expect("there").permissions().mode() & 0o777, 0o600);

    let none = run(&mut home.thingif(&["thing", "list"])).expect(0);
    assert!(none.stdout.is_empty() && none.stderr.contains("thingif thing create"), "{}", none.stderr);
    let password = home.file("thing-pw");
    let create = ["thing", "create", "thermostat-17", "--password-file", &password, "--type", "thermostat", "--json"];
    let made = run(&mut home.thingif(&create)).expect(0).json();
    let id = made["thingID"].as_str().expect("an id").to_owned();
    let listed = run(&mut home.thingif(&["thing", "list", "--json"])).expect(0).json_lines();
    assert_eq!((&listed[0]["_thingID"], listed.len()), (&json!(id), 1));
    let table = run(&mut home.thingif(&["thing", "list"])).expect(0).text();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["THING", "VENDOR", "ID", "TYPE", "FIRMWARE"]);
    assert_eq!(rows[1], [id.as_str(), "thermostat-17", "thermostat"]);

    // The thing itself comes, and does as it is told.
    let thing = Thing::new();
    assert_eq!(thing.onboard_at(&server, "mqtt"), id);
    let early = run(&mut home.thingif(&["thing", "states", "thermostat-17"])).expect(22);
    assert!(early.stderr.contains("404: STATE_NOT_FOUND"), "{}", early.stderr);
    run(thing.command("call").args(["PUT", "targets/thing:{thing}/states", "-d", r#"{"power":true,"degrees":21.5}"#]))
        .expect(0);
    for named in ["thermostat-17", id.as_str()] {
        let states = run(&mut home.thingif(&["thing", "states", named, "--json"])).expect(0).json();
        assert_eq!(states, json!({"power": true, "degrees": 21.5}));
    }
    let shown = run(&mut home.thingif(&["thing", "states", "thermostat-17"])).expect(0).text();
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["degrees", "21.5"])), "{shown}");

    let actions = r#"[{"turnPower":{"power":false}}]"#;
    let lost = run(&mut home.thingif(&["thing", "send", "thermostat-17", actions, "--json"])).expect(1);
    assert_eq!(lost.json()["commandState"], "SEND_FAILED");
    assert!(lost.stderr.contains("did not reach the thing"), "{}", lost.stderr);
    {
        let _listening = Running::start(thing.command("listen").args(["--exec", "cat >/dev/null"]));
        let done = send_until_received(&home, actions);
        assert_eq!(done["commandState"], "DONE");
        assert_eq!(done["actionResults"], json!([{"turnPower": {"succeeded": true}}]));
        let sent = run(&mut home.thingif(&["thing", "send", &id, actions, "--no-wait", "--json"])).expect(0).json();
        assert!(sent["commandID"].is_string(), "{sent}");
    }
    for wrong in ["[]", "{}", "not json"] {
        run(&mut home.thingif(&["thing", "send", &id, wrong])).expect(2);
    }

    run(&mut home.thingif(&["thing", "delete", "thermostat-17"])).expect(0);
    let gone = run(&mut home.thingif(&["thing", "states", "thermostat-17"])).expect(22);
    assert!(gone.stderr.contains("404: THING_NOT_FOUND") && gone.stderr.contains("thing list"), "{}", gone.stderr);
}

/// Sends until the thing has its subscription; what became of the first command that it got.
fn send_until_received(home: &Home, actions: &str) -> Value {
    let until = std::time::Instant::now() + program::PATIENCE;
    loop {
        let sent = run(&mut home.thingif(&["thing", "send", "thermostat-17", actions, "--json", "--wait", "30"]));
        match sent.json() {
            command if command["commandState"] == "SEND_FAILED" && std::time::Instant::now() < until => {}
            command => return command,
        }
    }
}

#[test]
fn failures_have_curls_numbers_and_say_what_to_do() {
    let server = Server::start();
    let home = Home::new();
    let service = format!("http://{}", server.address("http"));
    let unknown = run(&mut home.user("login", &service, &[])).expect(67);
    assert!(unknown.stderr.contains("thingif user create"), "{}", unknown.stderr);
    assert!(!Path::new(&home.file("login.json")).exists());
    let nobody = run(&mut home.user("login", "http://127.0.0.1:1", &[])).expect(7);
    assert!(nobody.stderr.contains("--service"), "{}", nobody.stderr);
    run(&mut home.user("login", "http://name.invalid", &[])).expect(6);
    run(&mut home.user("login", "mqtt://127.0.0.1", &[])).expect(2);
    run(&mut home.user("login", &format!("https://{}", server.address("http")), &[])).expect(35);

    run(&mut home.user("create", &service, &[])).expect(0);
    let https = format!("https://localhost:{}", server.port("https"));
    let untrusted = run(&mut home.user("login", &https, &[])).expect(60);
    assert!(untrusted.stderr.contains("--ca"), "{}", untrusted.stderr);
    run(&mut home.user("login", &https, &["--ca", server.ready["ca"].as_str().expect("a local authority")])).expect(0);
    run(&mut home.thingif(&["thing", "list"])).expect(0);

    // A login that somebody else could have read is not used.
    let kept = home.file("login.json");
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o644)).expect("mode");
    run(&mut home.thingif(&["thing", "list"])).expect(2);
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o600)).expect("mode");
    let mut text: Value = serde_json::from_slice(&std::fs::read(&kept).expect("there")).expect("JSON");
    text["accessToken"] = "not-a-token-of-hers".into();
    std::fs::write(&kept, text.to_string()).expect("written");
    let refused = run(&mut home.thingif(&["thing", "list"])).expect(67);
    assert!(refused.stderr.contains("thingif user login"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("not-a-token-of-hers"), "{}", refused.stderr);
}

#[test]
fn applications_are_made_beside_a_service_and_through_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    let data_text = data.to_str().expect("text");
    let app = |verb: &str, more: &[&str]| {
        let mut command = thingif();
        command.args(["app", verb, "--data", data_text, "--json"]).args(more);
        command
    };
    let missing = run(&mut app("list", &[])).expect(2);
    assert!(missing.stderr.contains("there is no directory"), "{}", missing.stderr);

    std::fs::create_dir(&data).expect("made");
    let first = run(&mut app("create", &["--name", "first"])).expect(0).json();
    let server = Server::start_with(&["--data", data_text, "--admin", "127.0.0.1:0"]);
    let file = data.join("admin.json");
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    let second = run(&mut app("create", &["--name", "second"])).expect(0).json();

    // Both are there at once: a user of each signs up.
    let home = Home::new();
    for made in [&first, &second] {
        let text = |field: &str| made[field].as_str().unwrap_or_else(|| panic!("no {field} in {made}")).to_owned();
        let app = format!("{}:{}", text("appID"), text("appKey"));
        let service = format!("http://{}", server.address("http"));
        let mut create = home.thingif(&["user", "create", "--service", &service, "--app", &app, "--user", "ann"]);
        run(create.args(["--password-file", &home.file("pw")])).expect(0);
        assert!(text("clientSecret").len() >= 32);
    }
    let names = |apps: Vec<Value>| apps.into_iter().map(|app| app["name"].clone()).collect::<Vec<_>>();
    let listed = run(&mut app("list", &[])).expect(0);
    assert_eq!(names(listed.json_lines()), [Value::Null, json!("first"), json!("second")], "serve's own, then by age");
    for (text, stored) in [("appKey", &first), ("clientSecret", &second)] {
        assert!(!listed.text().contains(stored[text].as_str().expect("a text")), "{text} is not listed");
    }

    // Who has not the token of the file is not let in.
    for authorization in ["Bearer", "Bearer wrong", "Basic eDp5"] {
        let admin = server.address("admin");
        let (status, _) = program::http(admin, "GET", "/control/apps", authorization, "application/json", &Value::Null);
        assert_eq!(status, 401, "{authorization}");
    }
    drop(server);
    assert!(!file.exists(), "gone with the service");
    let listed = run(&mut app("list", &[])).expect(0);
    assert_eq!(names(listed.json_lines()), [json!("first"), json!("second")]);

    let _without = Server::start_with(&["--data", data_text]);
    let refused = run(&mut app("list", &[])).expect(1);
    assert!(refused.stderr.contains("serve --admin"), "{}", refused.stderr);
}

#[test]
fn a_service_starts_with_the_applications_of_its_directory_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().to_str().expect("text");
    let quiet = ["--https", "off", "--mqtts", "off", "--ws", "off", "--wss", "off", "--http", "0", "--mqtt", "0"];
    let start = || Running::start(thingif().args(["serve", "--data", data]).args(quiet));
    let mut empty = start();
    empty.json_line();
    empty.wait_for_error_line("thingif app create");
    drop(empty);
    let table = run(thingif().args(["app", "create", "--data", data])).expect(0).text();
    assert_eq!(table.lines().count(), 4, "{table}");
    let mut filled = start();
    filled.json_line();
    filled.signal("-TERM");
    assert!(filled.wait().success());
    assert!(!filled.wait_for_error_line_or_end("thingif app create"));
}
