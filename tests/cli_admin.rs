//! `thingif serve --admin`: what operators ask for.
#![cfg(feature = "cli")]

mod program;
#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "support/served_device.rs"]
mod served_device;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use program::{APP, APP_KEY, BASIC, Owner, PATIENCE, Running, Server, Thing, http, kill, run, thingif};
use serde_json::{Value, json};
use served_device::{Device, anonymous, mqtt};

/// One GET; status, head and body.
fn get(address: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status"), head.to_owned(), body.to_owned())
}

/// Every sample by its name and labels; the text must be well-formed as far as this goes.
fn scrape(server: &Server) -> BTreeMap<String, f64> {
    let (status, head, text) = get(server.address("admin"), "/metrics");
    assert_eq!(status, 200);
    assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut samples = BTreeMap::new();
    // What the lines before a sample say of it.
    let (mut helped, mut family, mut kind) = ("", "", "");
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').unwrap_or_else(|| panic!("no help: {line}")).0;
            continue;
        }
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            (family, kind) = declared.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert_eq!(helped, family, "help before the type");
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let suffix = name.split('{').next().and_then(|bare| bare.strip_prefix(family));
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_count", "_sum"],
            other => panic!("{family} is a {other}"),
        };
        assert!(suffix.is_some_and(|suffix| suffixes.contains(&suffix)), "{line} below {family} {kind}");
        let value = value.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(samples.insert(name.to_owned(), value).is_none(), "twice: {line}");
    }
    samples
}

#[track_caller]
fn sample(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    *samples.get(name).unwrap_or_else(|| panic!("no {name} in {samples:#?}"))
}

#[test]
fn what_happens_is_counted() {
    let server = Server::start_with(&["--admin", "127.0.0.1:0"]);
    assert_eq!(get(server.address("admin"), "/healthz").0, 200);
    assert_eq!(get(server.address("admin"), "/healthz").2, "ok\n");
    let before = scrape(&server);
    assert_eq!(sample(&before, "thingif_connections{role=\"assigned\"}"), 0.0);
    assert!(sample(&before, "process_start_time_seconds") > 1.6e9);

    let thing = Thing::new();
    let thing_id = thing.onboard_at(&server, "mqtt");
    run(thing.command("call").args(["PUT", "targets/thing:{thing}/states", "-d", r#"{"power":true}"#])).expect(0);
    let owner = Owner::of(&server, "thermostat-17", "thing-password");
    owner.command(&thing_id, serde_json::json!([{"turnPower": {"power": true}}]));
    let address = server.address("http").to_owned();
    let wrong = serde_json::json!({"username": "ann", "password": "not hers"});
    let (status, _) =
        http(&address, "POST", &format!("/api/apps/{APP}/oauth2/token"), BASIC, "application/json", &wrong);
    assert_eq!(status, 400);

    let after = scrape(&server);
    let states = "PUT /thing-if/apps/{app}/targets/{target}/states";
    assert_eq!(
        sample(&after, &format!("thingif_requests_total{{road=\"mqtt\",operation=\"{states}\",status=\"201\"}}")),
        1.0
    );
    let duration = format!("thingif_request_duration_seconds_count{{road=\"mqtt\",operation=\"{states}\"}}");
    assert_eq!(sample(&after, &duration), 1.0);
    let infinite =
        format!("thingif_request_duration_seconds_bucket{{le=\"+Inf\",road=\"mqtt\",operation=\"{states}\"}}");
    assert_eq!(sample(&after, &infinite), 1.0);
    let onboardings = "POST /thing-if/apps/{app}/onboardings";
    for road in ["mqtt", "http"] {
        let name = format!("thingif_requests_total{{road=\"{road}\",operation=\"{onboardings}\",status=\"200\"}}");
        assert_eq!(sample(&after, &name), 1.0, "by the thing over MQTT, by its owner over HTTP");
    }
    assert_eq!(sample(&after, "thingif_logins_failed_total"), 1.0);
    assert!(sample(&after, "thingif_edge_events_total{event=\"accepted\"}") >= 2.0);
    assert_eq!(sample(&after, "thingif_edge_events_total{event=\"requests\"}"), 2.0);
    assert!(sample(&after, "thingif_store_batch_size_count") > sample(&before, "thingif_store_batch_size_count"));
    assert!(after.contains_key("thingif_store_queued{queue=\"write\"}"));
    assert_eq!(sample(&after, "thingif_pushes_dropped_total{cause=\"not_connected\"}"), 1.0, "nobody listens");
}

/// Samples of one family with one label, by its value.
fn by_label(samples: &BTreeMap<String, f64>, family: &str) -> BTreeMap<String, f64> {
    let of_family = samples.iter().filter_map(|(name, value)| Some((name.strip_prefix(family)?, *value)));
    let labelled = of_family.filter_map(|(rest, value)| {
        let (_, label) = rest.strip_prefix('{')?.strip_suffix("\"}")?.split_once("=\"")?;
        Some((label.to_owned(), value))
    });
    labelled.collect()
}

/// The samples of `family` as soon as the one with `label` is `value`.
fn waited_for(server: &Server, family: &str, label: &str, value: f64) -> BTreeMap<String, f64> {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let found = by_label(&scrape(server), family);
        if found.get(label) == Some(&value) {
            return found;
        }
        assert!(std::time::Instant::now() < until, "{label} never was {value}: {found:?}");
    }
}

#[track_caller]
fn assert_counts(found: &BTreeMap<String, f64>, expected: &[(&str, f64)]) {
    let expected = expected.iter().map(|(label, value)| ((*label).to_owned(), *value)).collect::<BTreeMap<_, _>>();
    assert_eq!(found, &expected);
}

#[tokio::test]
async fn connections_have_roles_pushes_an_outcome_and_triggers_too() {
    let server = Server::start_with(&["--admin", "127.0.0.1:0"]);
    let roles = |samples: &BTreeMap<String, f64>| by_label(samples, "thingif_connections");
    assert_counts(&roles(&scrape(&server)), &[("assigned", 0.0), ("onboarding", 0.0)]);
    let mut device = Device::start(&server, "lamp", true).await;
    let silent = Device::start(&server, "silent", false).await;
    let asks = anonymous(mqtt(&server)).await;
    let now = waited_for(&server, "thingif_connections", "onboarding", 1.0);
    assert_counts(&now, &[("assigned", 2.0), ("onboarding", 1.0)]);
    drop(asks);

    // To one that has subscribed, to one that has not, and to one that has gone.
    let owner = Owner::of(&server, "lamp", "thing-password");
    owner.own(&server, "silent", "thing-password");
    owner.command(device.id(), json!([{ "turnPower": {} }]));
    device.push().await;
    owner.command(silent.id(), json!([{ "turnPower": {} }]));
    let dropped = "thingif_pushes_dropped_total";
    let so_far = [("abandoned", 0.0), ("not_connected", 0.0), ("not_subscribed", 1.0), ("overloaded", 0.0)];
    assert_counts(&waited_for(&server, dropped, "not_subscribed", 1.0), &so_far);
    let silent_id = silent.id().to_owned();
    drop(silent);
    waited_for(&server, "thingif_connections", "assigned", 1.0);
    owner.command(&silent_id, json!([{ "turnPower": {} }]));
    let so_far = [("abandoned", 0.0), ("not_connected", 1.0), ("not_subscribed", 1.0), ("overloaded", 0.0)];
    assert_counts(&waited_for(&server, dropped, "not_connected", 1.0), &so_far);

    // A trigger that fires, and pushes.
    let trigger = json!({
        "triggersWhat": "COMMAND",
        "predicate": { "eventSource": "STATES", "triggersWhen": "CONDITION_FALSE_TO_TRUE",
            "condition": { "type": "eq", "field": "hot", "value": true } },
        "command": { "actions": [{ "turnPower": {} }], "issuer": owner.issuer(), "schema": "Lamp", "schemaVersion": 1 },
    });
    owner.post(&format!("targets/thing:{}/triggers", device.id()), &trigger);
    assert_eq!(device.call("PUT", "states", r#"{"hot":true}"#).await.status, "201");
    device.push().await;
    let all = scrape(&server);
    let triggers = [("fired", 1.0), ("missed", 0.0), ("suppressed", 0.0), ("switched_off", 0.0)];
    assert_counts(&by_label(&all, "thingif_trigger_events_total"), &triggers);
    assert_eq!(sample(&all, "thingif_pushes_sent_total"), 2.0);
    assert_eq!(sample(&all, "thingif_publications_dropped_total"), 0.0);
    assert_eq!(sample(&all, "thingif_edge_events_total{event=\"pushes\"}"), 2.0);

    // Every write was in a batch of some size, and every request took some time.
    let sizes = sample(&all, "thingif_store_batch_size_bucket{le=\"+Inf\"}");
    assert!(sizes > 0.0 && sizes == sample(&all, "thingif_store_batch_size_count"));
    assert!(sample(&all, "thingif_store_batch_size_sum") >= sizes, "no batch is empty");
    let counts = |part: &str| {
        let count = |(name, value): (&String, &f64)| name.starts_with(part).then_some(*value);
        all.iter().filter_map(count).sum::<f64>()
    };
    assert_eq!(counts("thingif_request_duration_seconds_count"), counts("thingif_requests_total"));
}

#[test]
fn what_clients_make_up_is_no_label() {
    let server = Server::start_with(&["--admin", "127.0.0.1:0"]);
    let address = server.address("http").to_owned();
    let ask = |round: usize| {
        for method in ["GET", "PUT", "BREW"] {
            for path in [format!("/thing-if/apps/{APP}/targets/thing:t{round}/states"), format!("/nowhere/{round}")] {
                http(&address, method, &path, "Bearer x", "application/json", &Value::Null);
            }
        }
    };
    ask(0);
    let names = |samples: BTreeMap<String, f64>| samples.into_keys().collect::<Vec<_>>();
    let before = names(scrape(&server));
    (1..20).for_each(ask);
    let after = scrape(&server);
    let counted = sample(&after, "thingif_requests_total{road=\"http\",operation=\"OTHER unknown\",status=\"404\"}");
    assert_eq!(counted, 20.0);
    assert_eq!(names(after), before);
}

#[test]
fn it_is_off_unless_it_is_asked_for() {
    let server = Server::start();
    assert!(server.ready.get("admin").is_none(), "{}", server.ready);
    for path in ["/metrics", "/healthz"] {
        assert_eq!(get(server.address("http"), path).0, 404, "not on the listener of apps");
    }
}

#[test]
fn a_service_that_can_write_no_more_says_so() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // No file may grow beyond some 2 MB: writes fail as on a full disk.
    let limited = "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\"";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", limited, env!("CARGO_BIN_EXE_thingif"), "serve", "--app", &format!("{APP}:{APP_KEY}")]);
    command.arg("--data").arg(dir.path().join("data"));
    for flag in ["--http", "--mqtt", "--admin"] {
        command.args([flag, "127.0.0.1:0"]);
    }
    for flag in ["--https", "--mqtts", "--ws", "--wss"] {
        command.args([flag, "off"]);
    }
    let mut running = Running::start(&mut command);
    let ready = running.json_line();
    let address = |name: &str| ready[name].as_str().expect("listens").to_owned();
    assert_eq!(get(&address("admin"), "/healthz").0, 200);

    let ann = serde_json::json!({"loginName": "ann", "password": "her password"});
    let users = format!("/api/apps/{APP}/users");
    assert_eq!(http(&address("http"), "POST", &users, BASIC, "application/json", &ann).0, 201);
    let login = serde_json::json!({"username": "ann", "password": "her password"});
    let tokens = format!("/api/apps/{APP}/oauth2/token");
    let (_, token) = http(&address("http"), "POST", &tokens, BASIC, "application/json", &login);
    let bearer = format!("Bearer {}", token["access_token"].as_str().expect("a token"));
    let objects = format!("/api/apps/{APP}/users/me/buckets/bb/objects");
    for size in [40_000, 10] {
        let object = serde_json::json!({"text": "x".repeat(size)});
        let failed = (0..2_000)
            .map(|_| http(&address("http"), "POST", &objects, &bearer, "application/json", &object).0)
            .find(|status| *status != 201);
        assert_eq!(failed, Some(500), "{size}");
    }
    // There may be room for a small change or two.
    let unhealthy = (0..200).map(|_| get(&address("admin"), "/healthz")).find(|(status, ..)| *status != 200);
    let (status, _, said) = unhealthy.expect("nothing can be stored");
    assert_eq!(status, 503);
    assert!(said.starts_with("the store: "), "{said}");
}

#[test]
fn a_listener_that_others_can_reach_is_remarked_upon() {
    let beyond = "--admin can be reached from other machines";
    for (address, is_remarked) in [("127.0.0.1:0", false), ("0.0.0.0:0", true)] {
        let mut server = Server::start_with(&["--admin", address]);
        kill(server.running.id(), "-TERM");
        assert!(server.running.wait().success());
        assert_eq!(server.running.errors().contains(beyond), is_remarked, "{address}");
    }
}

#[test]
fn what_a_killed_service_left_behind_leads_nobody_astray() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().to_str().expect("text");
    let mut killed = Server::start_with(&["--data", data, "--admin", "127.0.0.1:0"]);
    kill(killed.running.id(), "-KILL");
    killed.running.wait();
    assert!(dir.path().join("admin.json").exists());
    let _server = Server::start_with(&["--data", data]);
    let said = run(thingif().args(["app", "list", "--data", data])).expect(1).stderr;
    assert!(said.contains("has no admin listener"), "{said}");
}
