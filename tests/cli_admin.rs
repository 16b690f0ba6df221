//! `thingif serve --admin`: what operators ask for.
#![cfg(feature = "cli")]

mod program;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use program::{APP, BASIC, Owner, PATIENCE, Server, Thing, http, run};
use serde_json::Value;

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
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
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
    assert!(after.contains_key("thingif_pushes_sent_total") && after.contains_key("thingif_pushes_dropped_total"));
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
