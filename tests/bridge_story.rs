//! `thingif bridge` before `thingif serve`, which has HTTP alone: the demo's story, with unmodified devices.
#![cfg(feature = "cli")]

#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;

mod program;

use std::net::TcpListener;
use std::path::PathBuf;

use program::{APP, APP_KEY, Owner, Running, Server, Thing, http, run, run_with_input, thingif};
use serde_json::{Value, json};

const TOKEN: &str = "b5d1c2e4f60718293a4b5c6d7e8f9012";

/// A service without MQTT, and a bridge before it: each knows where the other one is.
struct World {
    dir: tempfile::TempDir,
    serve: Server,
    bridge: Server,
    admin_port: u16,
}

/// A port that nobody has at the moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port()
}

impl World {
    fn new() -> Self {
        Self::over("http")
    }

    /// The bridge reaches the service over HTTP or HTTPS.
    fn over(scheme: &'static str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let token = dir.path().join("token");
        std::fs::write(&token, TOKEN).expect("written");
        let admin_port = free_port();
        let push_url = format!("http://127.0.0.1:{admin_port}");
        let off = ["--mqtt", "off", "--mqtts", "off", "--ws", "off", "--wss", "off"];
        let push = ["--push-url", &push_url, "--push-token-file", token.to_str().expect("text")];
        let serve = Server::start_with(&[&off[..], &push[..]].concat());
        let bridge = Self::bridge(&dir, &serve, admin_port, scheme, &[]);
        Self { dir, serve, bridge, admin_port }
    }

    fn bridge(dir: &tempfile::TempDir, serve: &Server, admin_port: u16, scheme: &str, flags: &[&str]) -> Server {
        let mut command = thingif();
        command.args(["bridge", "--upstream", &format!("{scheme}://{}", serve.address(scheme))]);
        command.args(["--ca", serve.ready["ca"].as_str().expect("a local authority")]);
        command.args(["--app", &format!("{APP}:{APP_KEY}"), "--admin", &admin_port.to_string(), "--admin-token-file"]);
        command.arg(dir.path().join("token")).arg("--data").arg(dir.path().join("bridge"));
        for listener in ["--mqtt", "--mqtts", "--ws", "--wss"].into_iter().filter(|flag| !flags.contains(flag)) {
            command.args([listener, "127.0.0.1:0"]);
        }
        let mut running = Running::start(command.args(flags));
        let ready = running.json_line();
        assert_eq!(ready["ready"], true, "{ready}");
        Server { running, ready }
    }

    /// Ends the bridge and starts another one in its place.
    fn restart_bridge(&mut self) {
        let mqtt = self.bridge.address("mqtt").to_owned();
        self.bridge.running.signal("-TERM");
        assert_eq!(self.bridge.running.wait().code(), Some(0), "{}", self.bridge.running.errors());
        self.bridge = Self::bridge(&self.dir, &self.serve, self.admin_port, "http", &["--mqtt", &mqtt]);
    }

    fn admin(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        http(self.bridge.address("admin"), method, path, &format!("Bearer {TOKEN}"), "application/json", body)
    }
}

fn listening(thing: &Thing) -> (Running, PathBuf) {
    let seen = thing.path("seen");
    let script = format!("cat >> {}", seen.display());
    (Running::start(thing.command("listen").args(["--exec", &script])), seen)
}

/// A text in the stored credential, wherever it is there.
fn stored(thing: &Thing, name: &str) -> String {
    fn find<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
        let members = value.as_object()?;
        members.get(name).and_then(Value::as_str).or_else(|| members.values().find_map(|member| find(member, name)))
    }
    let stored: Value = serde_json::from_slice(&std::fs::read(thing.credentials()).expect("stored")).expect("JSON");
    find(&stored, name).unwrap_or_else(|| panic!("no {name}")).to_owned()
}

/// Waits until the bridge has the device, subscribed.
fn wait_for_device(world: &World, listen: &mut Running) {
    listen.wait_for_error_line("connected as");
    let until = std::time::Instant::now() + program::PATIENCE;
    while world.admin("GET", "/status", &Value::Null).1["connections"]["assigned"] != 1 {
        assert!(std::time::Instant::now() < until, "the device never came");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_device_behind_the_bridge_lives_the_whole_story_over_each_transport() {
    for (scheme, upstream) in [("mqtt", "http"), ("mqtts", "https"), ("ws", "http"), ("wss", "https")] {
        let world = World::over(upstream);
        let thing = Thing::new();
        let thing_id = thing.onboard_at(&world.bridge, scheme);
        let states = "targets/thing:{thing}/states";
        let state = json!({"power": true, "temperature": 21.5});
        run(thing.command("call").args(["--fail", "PUT", states, "-d", &state.to_string()])).expect(0);
        let read = run(thing.command("call").args(["--fail", "GET", states])).expect(0).json();
        assert_eq!(read, state, "{scheme}");

        let owner = Owner::of(&world.serve, "thermostat-17", "thing-password");
        let (mut listen, seen) = listening(&thing);
        wait_for_device(&world, &mut listen);
        let command = owner.command(&thing_id, json!([{"turnPower": {"power": false}}]));
        let done = owner.read_when_done(&thing_id, &command);
        assert_eq!(done["actionResults"][0]["turnPower"]["succeeded"], true, "{scheme}: {done}");
        let executed = std::fs::read_to_string(seen).expect("the script has run");
        assert!(executed.contains("\"power\""), "{executed}");
    }
}

#[test]
fn a_bridge_that_is_started_again_knows_its_devices() {
    let mut world = World::new();
    let thing = Thing::new();
    let thing_id = thing.onboard_at(&world.bridge, "mqtt");
    let before = std::fs::read(thing.credentials()).expect("stored");
    world.restart_bridge();
    run(thing.command("call").args(["--fail", "PUT", "targets/thing:{thing}/states", "-d", "{\"a\":1}"])).expect(0);
    assert_eq!(std::fs::read(thing.credentials()).expect("stored"), before, "it did not onboard again");
    let owner = Owner::of(&world.serve, "thermostat-17", "thing-password");
    let (mut listen, _) = listening(&thing);
    wait_for_device(&world, &mut listen);
    let command = owner.command(&thing_id, json!([{"turnPower": {"power": false}}]));
    owner.read_when_done(&thing_id, &command);

    let kept = std::fs::read_to_string(world.dir.path().join("bridge/endpoints.jsonl")).expect("readable");
    assert!(kept.contains(&stored(&thing, "mqttTopic")) && !kept.contains(&stored(&thing, "password")), "{kept}");
}

#[test]
fn a_command_for_a_device_that_is_away_fails_and_one_that_is_deleted_is_shut_out() {
    let world = World::new();
    let thing = Thing::new();
    let thing_id = thing.onboard_at(&world.bridge, "mqtt");
    let owner = Owner::of(&world.serve, "thermostat-17", "thing-password");
    let command = owner.command(&thing_id, json!([{"turnPower": {"power": false}}]));
    assert_eq!(owner.read_when_finished(&thing_id, &command)["commandState"], "SEND_FAILED");

    let (mut listen, _) = listening(&thing);
    wait_for_device(&world, &mut listen);
    assert_eq!(world.admin("GET", "/status", &Value::Null).1["learntLogins"], 1);
    let client_id = stored(&thing, "mqttTopic");
    owner.delete(&thing_id);
    let until = std::time::Instant::now() + program::PATIENCE;
    loop {
        let (_, status) = world.admin("GET", "/status", &Value::Null);
        if status["learntLogins"] == 0 {
            break;
        }
        assert!(std::time::Instant::now() < until, "{status}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let (status, _) = world.admin("GET", &format!("/clients/{client_id}"), &Value::Null);
    assert_eq!(status, 404, "its connection is closed");
}

#[test]
fn wrong_keys_passwords_and_flags_are_refused_as_by_serve() {
    let world = World::new();
    let thing = Thing::new();
    std::fs::write(thing.path("app-key"), "wrong").expect("written");
    let broker = format!("mqtt://{}", world.bridge.address("mqtt"));
    run(&mut thing.onboard(&broker)).expect(67);
    std::fs::write(thing.path("app-key"), APP_KEY).expect("written");
    run(&mut thing.onboard(&broker)).expect(0);
    std::fs::write(thing.path("password"), "another").expect("written");
    let refused = run(&mut thing.onboard(&broker)).expect(67);
    assert!(refused.stderr.contains("WRONG_PASSWORD"), "{}", refused.stderr);

    for flags in [
        &[][..],
        &["--upstream", "mqtt://h"],
        &["--upstream", "http://h"],
        &["--upstream", "http://h", "--app", "a:k", "--admin", "0"],
        &["--upstream", "http://h", "--app", "a:k", "--map", "v1=/v2"],
        &["--upstream", "http://h", "--app", "a:k", "--allow", "BREW /x"],
        &["--upstream", "http://h", "--app", "a:k", "--mqtt", "off", "--mqtts", "off", "--ws", "off", "--wss", "off"],
        &["--upstream", "http://h", "--clients", "/nonexistent"],
        &["--upstream", "http://h", "--app", "a:hunter2", "--app", "a:hunter2"],
    ] {
        let refused = run(thingif().arg("bridge").args(flags)).expect(2);
        assert!(refused.stdout.is_empty() && !refused.stderr.contains("hunter2"), "{flags:?}: {}", refused.stderr);
    }
    let serve = ["serve", "--app", "a:k", "--mqtt", "off", "--mqtts", "off", "--ws", "off", "--wss", "off"];
    let token = world.dir.path().join("token");
    let push = ["--push-url", "http://127.0.0.1:1", "--push-token-file", token.to_str().expect("text")];
    run(thingif().args(serve).args(["--http", "off", "--https", "off"]).args(push)).expect(2);
    run(thingif().args(serve).args(["--http", "0", "--https", "off", "--push-url", "http://127.0.0.1:1"])).expect(2);
}

#[test]
fn an_admin_listener_that_others_can_reach_is_remarked_upon() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let token = dir.path().join("token");
    std::fs::write(&token, TOKEN).expect("written");
    for (address, is_remarked) in [("127.0.0.1:0", false), ("[::ffff:127.0.0.1]:0", false), ("0.0.0.0:0", true)] {
        let mut command = thingif();
        command.args(["bridge", "--upstream", "http://127.0.0.1:9", "--app", &format!("{APP}:{APP_KEY}")]);
        command.args(["--mqtt", "0", "--mqtts", "off", "--ws", "off", "--wss", "off", "--admin", address]);
        let mut bridge = Running::start(command.arg("--admin-token-file").arg(&token));
        assert_eq!(bridge.json_line()["ready"], true);
        bridge.signal("-TERM");
        assert!(bridge.wait().success());
        let is_said = bridge.errors().contains("--admin can be reached from other machines");
        assert_eq!(is_said, is_remarked, "{address}: {}", bridge.errors());
    }
}

#[test]
fn a_file_of_clients_lets_them_in_and_is_read_again_on_sighup() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let hash =
        run_with_input(thingif().args(["bridge", "--hash-password", "-"]), b"sensor password\n").expect(0).text();
    let entry =
        |id: &str| format!("[[client]]\nid = \"{id}\"\nusername = \"u\"\npassword-hash = \"{}\"\n", hash.trim());
    let clients = dir.path().join("clients.toml");
    std::fs::write(&clients, entry("sensor-1")).expect("written");
    let service = Server::start();
    let mut command = thingif();
    command.args(["bridge", "--upstream", &format!("http://{}", service.address("http")), "--map", "/v1=/api"]);
    command.arg("--clients").arg(&clients);
    command.args(["--mqtt", "0", "--mqtts", "off", "--ws", "off", "--wss", "off"]);
    let mut bridge = Running::start(&mut command);
    let address = bridge.json_line()["mqtt"].as_str().expect("an address").parse().expect("an address");
    let login = |id: &'static str, password: &'static str| {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async move {
            let mut client = raw_mqtt::Client::dial(address).await;
            let code = client.connect(raw_mqtt::connect(id, "u", password)).await;
            if code != 0 {
                return (code, String::new());
            }
            client.request(&format!("p/{id}/v1/apps/{APP}/things/x"), "GET\r\n\r\n").await;
            (code, client.answer().await.status)
        })
    };
    assert_eq!(login("sensor-1", "sensor password"), (0, String::from("401")), "the upstream's own answer");
    assert_eq!(login("sensor-1", "wrong").0, 4);
    assert_eq!(login("sensor-2", "sensor password").0, 4);
    std::fs::write(&clients, "nonsense").expect("written");
    bridge.signal("-HUP");
    bridge.wait_for_error_line("The clients that were known stay");
    assert_eq!(login("sensor-1", "sensor password").0, 0);
    std::fs::write(&clients, entry("sensor-2")).expect("written");
    bridge.signal("-HUP");
    bridge.wait_for_error_line("1 clients were reloaded");
    assert_eq!(login("sensor-2", "sensor password").0, 0);
    assert_eq!(login("sensor-1", "sensor password").0, 4);
}
