//! States, flat and with traits, and their history: as the edge calls, over HTTP, and over MQTT.
#![cfg(feature = "cloud")]

mod cloud_support;
#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;

use std::net::SocketAddr;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use cloud_support::{APP, Answer, KEY, Recorder, Road, Served, basic, options};
use raw_mqtt::{Client, connect};
use serde_json::{Value, json};
use thingif::cloud::{Clock, Cloud, Options, StateHistory};
use thingif::edge::{Config, Edge, Listeners, PushOutcome, Registry};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

const J: &str = "application/json";
const MULTI: &str = "application/vnd.kii.MultipleTraitState+json";
const TRAIT: &str = "application/vnd.kii.TraitState+json";
const BULK: &str = "application/vnd.kii.StateBulkUploadRequest+json";
const BULK_PATCH: &str = "application/vnd.kii.StatePatchBulkUploadRequest+json";
const QUERY: &str = "application/vnd.kii.TraitStateQueryRequest+json";

/// 21 July 2016, 12:00:00 UTC: the first millisecond of a group of every length but twelve hours, and of one of those too.
const NOON: u64 = 1_469_102_400_000;

/// By which way a thing speaks.
#[derive(Debug, Clone, Copy)]
enum Way {
    Service,
    Http,
    Mqtt,
}

const WAYS: [Way; 3] = [Way::Service, Way::Http, Way::Mqtt];

/// A cloud whose clock is set by hand, behind HTTP and an edge.
struct World {
    served: Served,
    mqtt: SocketAddr,
    stop: oneshot::Sender<()>,
    edge: JoinHandle<std::io::Result<()>>,
    clock: Arc<AtomicU64>,
    things: u32,
}

impl World {
    async fn start(mut options: Options) -> Self {
        let clock = Arc::new(AtomicU64::new(NOON));
        let read = Arc::clone(&clock);
        options.clock = Clock::new(move || UNIX_EPOCH + Duration::from_millis(read.load(Ordering::SeqCst)));
        let registry = Registry::new();
        let cloud = Cloud::open(options, Arc::new(registry.clone())).expect("opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mqtt = listener.local_addr().expect("bound");
        let edge = Edge::new(cloud.service(), cloud.clone(), registry, Config::default());
        let (stop, stopped) = oneshot::channel();
        let listeners = Listeners { mqtt: Some(listener), ..Listeners::default() };
        let edge = tokio::spawn(edge.run(listeners, stopped));
        Self { served: Served::start(cloud).await, mqtt, stop, edge, clock, things: 0 }
    }

    async fn stop(self) {
        self.stop.send(()).expect("running");
        self.edge.await.expect("no panic").expect("served");
        self.served.stop().await;
    }

    fn set(&self, millis_after_noon: u64) {
        self.clock.store(NOON + millis_after_noon, Ordering::SeqCst);
    }

    /// A new thing. `profile` is what else its onboarding says.
    async fn thing(&mut self, way: Way, profile: Value) -> Thing {
        self.things += 1;
        let mut body = json!({ "vendorThingID": format!("thing{}", self.things), "thingPassword": "secret" });
        for (name, value) in profile.as_object().expect("an object") {
            body[name] = value.clone();
        }
        let basic = basic(APP, KEY);
        let headers = [("Authorization", basic.as_str()), ("Content-Type", cloud_support::BY_THING)];
        let path = format!("/thing-if/apps/{APP}/onboardings");
        let made = self.served.http.send("POST", &path, &headers, &body.to_string()).await;
        assert_eq!(made.status, 200, "{made:?}");
        let link = match way {
            Way::Service => Link::Road(Road::Service(self.served.cloud.service())),
            Way::Http => Link::Road(self.served.http.clone()),
            Way::Mqtt => {
                let endpoint = made.json()["mqttEndpoint"].clone();
                let text = |name: &str| endpoint[name].as_str().expect("a text").to_owned();
                let [client_id, username, password] = ["mqttTopic", "username", "password"].map(text);
                let client = Client::login(self.mqtt, connect(&client_id, &username, &password)).await;
                Link::Mqtt(client_id, Box::new(Mutex::new(client)))
            }
        };
        Thing { link, id: made.text("thingID"), token: made.text("accessToken") }
    }
}

enum Link {
    Road(Road),
    Mqtt(String, Box<Mutex<Client<TcpStream>>>),
}

struct Thing {
    link: Link,
    id: String,
    token: String,
}

impl Thing {
    async fn call(&self, method: &str, path: &str, media_type: &str, body: &str) -> Answer {
        self.send(method, &format!("targets/thing:{}{path}", self.id), media_type, body).await
    }

    async fn send(&self, method: &str, path: &str, media_type: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let path = format!("/thing-if/apps/{APP}/{path}");
        let mut headers = vec![("Authorization", bearer.as_str())];
        if !media_type.is_empty() {
            headers.push(("Content-Type", media_type));
        }
        match &self.link {
            Link::Road(road) => road.send(method, &path, &headers, body).await,
            Link::Mqtt(client_id, client) => {
                let head: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let mut client = client.lock().await;
                client.request(&format!("p/{client_id}{path}"), format!("{method}\r\n{head}\r\n{body}")).await;
                let answer = client.answer().await;
                let status = answer.status.parse().expect("a status");
                Answer { status, headers: http::HeaderMap::new(), body: answer.body.into() }
            }
        }
    }

    async fn put(&self, states: Value) {
        let answer = self.call("PUT", "/states", MULTI, &states.to_string()).await;
        assert!(matches!(answer.status, 201 | 204), "{answer:?}");
    }

    async fn state(&self) -> Value {
        let answer = self.call("GET", "/states", "", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    async fn query(&self, alias: &str, body: Value) -> Value {
        let answer = self.call("POST", &format!("/states/aliases/{alias}/query"), QUERY, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
        assert!(answer.body.len() <= 48 * 1024, "{} bytes", answer.body.len());
        answer.json()
    }

    /// The values of `field` over the whole history of `alias`, with their times after noon.
    async fn history(&self, alias: &str, field: &str) -> Vec<(i64, Value)> {
        let mut found = Vec::new();
        let mut body = json!({ "query": { "clause": { "type": "all" } } });
        loop {
            let page = self.query(alias, body.clone()).await;
            for state in page["results"].as_array().expect("results") {
                let at = state["_created"].as_i64().expect("a time") - i64::try_from(NOON).expect("small");
                found.push((at, state[field].clone()));
            }
            match &page["nextPaginationKey"] {
                Value::Null => return found,
                key => body["paginationKey"] = key.clone(),
            }
        }
    }
}

const ALIAS_NOT_FOUND: &str = "TRAIT_ALIAS_NOT_FOUND";

#[tokio::test]
async fn a_bulk_that_is_too_long_is_refused() {
    let states = vec![json!({ "generatedAt": 1, "payload": {} }); 1_001];
    let mut options = options();
    options.max_body = 1 << 20;
    let mut world = World::start(options).await;
    for way in WAYS {
        let thing = world.thing(way, json!({})).await;
        let too_many = json!({ "states": states }).to_string();
        let answer = thing.call("POST", "/states-bulk", BULK, &too_many).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "INVALID_INPUT_DATA"));
        let two = json!({ "generatedAt": 1, "payload": { "A": {}, "B": {} } });
        for (count, expected) in [(501, 400), (500, 204)] {
            let with_traits = world.thing(way, json!({})).await;
            let bulk = json!({ "states": vec![two.clone(); count] }).to_string();
            assert_eq!(with_traits.call("POST", "/states-bulk", BULK, &bulk).await.status, expected, "{count}");
        }
        let just_enough = json!({ "states": states[1..] }).to_string();
        assert_eq!(thing.call("POST", "/states-bulk", BULK, &just_enough).await.status, 204);
    }
    world.stop().await;
}

/// `fill` makes a state of the length asked for.
async fn check_len(method: &str, path: &str, media_type: &str, fill: impl Fn(usize) -> String) {
    let mut world = World::start(options()).await;
    for way in WAYS {
        let thing = world.thing(way, json!({})).await;
        let too_long = thing.call(method, path, media_type, &fill(10 * 1024 + 1)).await;
        assert_eq!((too_long.status, too_long.code().as_str()), (400, "INVALID_INPUT_DATA"), "{path}");
        let fits = fill(10 * 1024);
        assert_eq!(thing.call(method, path, media_type, &fits).await.status, 201, "{path}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_state_is_at_most_10_kb_long() {
    let fill = |around: &str, len: usize| around.replace('#', &"x".repeat(len + 1 - around.len()));
    check_len("PUT", "/states", J, |len| fill(r##"{"a":"#"}"##, len)).await;
    check_len("PUT", "/states", MULTI, |len| fill(r##"{"A":{"a":"#"},"B":{}}"##, len)).await;
    check_len("PUT", "/states/aliases/A", TRAIT, |len| fill(r##"{"a":"#"}"##, len - r#"{"A":}"#.len())).await;
    // All aliases together.
    let mut world = World::start(options()).await;
    for way in WAYS {
        let thing = world.thing(way, json!({})).await;
        let half = json!({ "a": "x".repeat(6_000) }).to_string();
        assert_eq!(thing.call("PUT", "/states/aliases/A", TRAIT, &half).await.status, 201);
        assert_eq!(thing.call("PUT", "/states/aliases/B", TRAIT, &half).await.code(), "INVALID_INPUT_DATA");
        assert_eq!(thing.call("GET", "/states/aliases/B", "", "").await.code(), ALIAS_NOT_FOUND);
        // As many as there may be.
        let many = world.thing(way, json!({})).await;
        let aliases =
            |count: usize| Value::Object((0..count).map(|n| (format!("alias{n}"), json!({}))).collect()).to_string();
        assert_eq!(many.call("PUT", "/states", MULTI, &aliases(101)).await.code(), "INVALID_INPUT_DATA");
        assert_eq!(many.call("PUT", "/states", MULTI, &aliases(100)).await.status, 201);
        assert_eq!(many.call("PUT", "/states/aliases/another", TRAIT, "{}").await.code(), "INVALID_INPUT_DATA");
        assert_eq!(many.call("PUT", "/states/aliases/alias99", TRAIT, "{}").await.status, 204);
        // As short as can be, but long in an answer.
        let deep = format!(r#"{{"d":{}1{}}}"#, r#"{"":"#.repeat(98), "}".repeat(98));
        let many = format!(r#"{{"all":[{}1]}}"#, format!("{}1{},", r#"{"":"#.repeat(8), "}".repeat(8)).repeat(230));
        assert_eq!(thing.call("PUT", "/states/aliases/A", TRAIT, &deep).await.status, 204);
        assert_eq!(thing.call("PUT", "/states/aliases/A", TRAIT, &many).await.code(), "INVALID_INPUT_DATA");
    }
    world.stop().await;
}

#[tokio::test]
async fn bulks_become_history_in_the_order_of_their_times() {
    let mut world = World::start(options()).await;
    for way in WAYS {
        world.set(0);
        let thing = world.thing(way, json!({})).await;
        world.set(10_000);
        let at = |after: u64| NOON + after;
        let bulk = json!({ "states": [
            { "generatedAt": at(3_000), "payload": { "Lamp": { "n": 3 } } },
            { "generatedAt": at(1_000), "payload": { "Lamp": { "n": 1 }, "Fan": { "n": 1 } } },
            { "generatedAt": at(99_000), "payload": { "Fan": { "n": 9 } } },
            { "generatedAt": at(3_000), "payload": { "Lamp": { "n": 4 } } },
        ] });
        assert_eq!(thing.call("POST", "/states-bulk", BULK, &bulk.to_string()).await.status, 204);
        assert_eq!(thing.state().await, json!({ "Fan": { "n": 9 }, "Lamp": { "n": 4 } }));
        let lamp = thing.history("Lamp", "n").await;
        assert_eq!(lamp, [(1_000, json!(1)), (3_000, json!(3)), (3_000, json!(4))]);
        // What is still to come is of now.
        assert_eq!(thing.history("Fan", "n").await, [(1_000, json!(1)), (10_000, json!(9))]);

        // The past does not change the present; the present of the other alias does not count.
        let late = json!({ "states": [
            { "generatedAt": at(2_000), "payload": { "Lamp": { "n": 2 }, "Fan": { "n": 2 } } },
            { "generatedAt": at(5_000), "payload": { "Lamp": { "n": 5 }, "Fan": { "n": 5 } } },
        ] });
        assert_eq!(thing.call("POST", "/states-bulk", BULK, &late.to_string()).await.status, 204);
        assert_eq!(thing.state().await, json!({ "Fan": { "n": 9 }, "Lamp": { "n": 5 } }));

        // A patch is one of what the state was at its time.
        let patches = json!({ "states": [
            { "generatedAt": at(6_000), "payload": { "Lamp": { "b": 6 } } },
            { "generatedAt": at(2_600), "payload": { "Lamp": { "c": 26 } } },
            { "generatedAt": at(2_500), "payload": { "Lamp": { "b": 25 } } },
            { "generatedAt": at(500), "payload": { "Lamp": { "b": 0 } } },
        ] });
        assert_eq!(thing.call("POST", "/states-bulk", BULK_PATCH, &patches.to_string()).await.status, 204);
        assert_eq!(thing.state().await["Lamp"], json!({ "n": 5, "b": 6 }));
        let (n, b) = (thing.history("Lamp", "n").await, thing.history("Lamp", "b").await);
        let both: Vec<_> = n.into_iter().zip(b).map(|((at, n), (_, b))| json!([at, n, b])).collect();
        let expected = json!([
            [500, null, 0],
            [1_000, 1, null],
            [2_000, 2, null],
            [2_500, 2, 25],
            [2_600, 2, 25],
            [3_000, 3, null],
            [3_000, 4, null],
            [5_000, 5, null],
            [6_000, 5, 6],
        ]);
        assert_eq!(Value::from(both), expected);

        // Even with a clock that was set back, what is put last is the state.
        world.set(4_000);
        thing.put(json!({ "Lamp": { "n": 6 } })).await;
        assert_eq!(thing.state().await["Lamp"], json!({ "n": 6 }));
        assert_eq!(thing.history("Lamp", "n").await.last(), Some(&(6_000, json!(6))));
    }
    world.stop().await;
}

/// A state of a time years ahead would be the state for years.
#[tokio::test]
async fn a_clock_that_was_ahead_and_is_put_right_does_not_hold_on_to_its_states() {
    let mut world = World::start(options()).await;
    for way in WAYS {
        for is_flat in [true, false] {
            world.set(0);
            let thing = world.thing(way, json!({})).await;
            let state = |n: i64| if is_flat { json!({ "n": n }) } else { json!({ "Lamp": { "n": n } }) };
            let bulk = |at: u64, n: i64| json!({ "states": [{ "generatedAt": NOON + at, "payload": state(n) }] });
            let media_type = if is_flat { "application/json" } else { MULTI };
            world.set(1_000 * DAY);
            assert_eq!(thing.call("PUT", "/states", media_type, &state(1).to_string()).await.status, 201);
            world.set(10_000);
            assert_eq!(thing.call("POST", "/states-bulk", BULK, &bulk(9_000, 2).to_string()).await.status, 204);
            assert_eq!(thing.state().await, state(2));
            // From now on times count again.
            assert_eq!(thing.call("POST", "/states-bulk", BULK, &bulk(8_000, 3).to_string()).await.status, 204);
            assert_eq!(thing.state().await, state(2));
            // What is put is of now, not of the time that was ahead.
            world.set(1_000 * DAY);
            assert_eq!(thing.call("PUT", "/states", media_type, &state(4).to_string()).await.status, 204);
            world.set(20_000);
            assert_eq!(thing.call("PUT", "/states", media_type, &state(5).to_string()).await.status, 204);
            assert_eq!(thing.call("POST", "/states-bulk", BULK, &bulk(20_000, 6).to_string()).await.status, 204);
            assert_eq!(thing.state().await, state(6));
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn a_bulk_tells_whether_a_new_thing_has_traits() {
    let mut world = World::start(options()).await;
    for way in WAYS {
        for (payloads, has_traits) in [
            (json!([{ "Lamp": { "on": true } }]), true),
            (json!([{}, { "Lamp": {} }]), true),
            (json!([{ "Lamp": { "on": true } }, { "on": true }]), false),
            (json!([{}]), false),
        ] {
            let thing = world.thing(way, json!({})).await;
            let states: Vec<_> = payloads
                .as_array()
                .expect("an array")
                .iter()
                .map(|p| json!({ "generatedAt": NOON, "payload": p }))
                .collect();
            let answer = thing.call("POST", "/states-bulk", BULK, &json!({ "states": states }).to_string()).await;
            assert_eq!(answer.status, 204, "{answer:?}");
            assert_eq!(
                thing.state().await,
                *payloads.as_array().and_then(|all| all.last()).expect("some"),
                "{payloads}"
            );
            let flat = thing.call("PUT", "/states", J, r#"{"x":1}"#).await;
            assert_eq!(flat.status, if has_traits { 409 } else { 204 }, "{payloads}");
        }
    }
    world.stop().await;
}

/// Seven states of `Lamp`, the third an hour after the second; temperatures, and whether it is on.
async fn with_history(world: &mut World, way: Way, profile: Value) -> Thing {
    let thing = world.thing(way, profile).await;
    for (after, temperature, on) in [
        (0, json!(11), true),
        (60_000, json!(12), false),
        (3_600_000, json!(13.5), true),
        (3_600_001, json!(11), true),
        (3_660_000, json!("hot"), false),
        (7_200_000, json!(-4), true),
        (7_200_000, json!(20), false),
    ] {
        world.set(after);
        thing.put(json!({ "Lamp": { "t": temperature, "on": on }, "Other": { "t": 1_000 } })).await;
    }
    thing
}

fn temperatures(page: &Value) -> Value {
    page["results"].as_array().expect("results").iter().map(|state| state["t"].clone()).collect()
}

#[tokio::test]
async fn the_history_is_queried_by_clause() {
    let mut world = World::start(options()).await;
    for way in WAYS {
        let thing = with_history(&mut world, way, json!({})).await;
        let time = |lower: u64, upper: u64| json!({ "type": "withinTimeRange", "lowerLimit": NOON + lower, "upperLimit": NOON + upper });
        for (clause, expected) in [
            (json!({ "type": "all" }), json!([11, 12, 13.5, 11, "hot", -4, 20])),
            (json!({ "type": "eq", "field": "t", "value": 11 }), json!([11, 11])),
            (json!({ "type": "eq", "field": "t", "value": "hot" }), json!(["hot"])),
            (json!({ "type": "eq", "field": "on", "value": false }), json!([12, "hot", 20])),
            (
                json!({ "type": "not", "clause": { "type": "eq", "field": "on", "value": false } }),
                json!([11, 13.5, 11, -4]),
            ),
            (json!({ "type": "range", "field": "t", "lowerLimit": 12 }), json!([12, 13.5, 20])),
            (json!({ "type": "range", "field": "t", "lowerLimit": 12, "lowerIncluded": false }), json!([13.5, 20])),
            (json!({ "type": "range", "field": "t", "lowerLimit": 11, "upperLimit": 13 }), json!([11, 12, 11])),
            (time(60_000, 3_600_000), json!([12, 13.5])),
            (time(3_600_001, 3_600_001), json!([11])),
            (time(100, 200), json!([])),
            (json!({ "type": "withinTimeRange", "upperLimit": NOON }), json!([11])),
            (
                json!({ "type": "and", "clauses": [time(1, 7_200_000), { "type": "eq", "field": "t", "value": 11 }] }),
                json!([11]),
            ),
            (
                json!({ "type": "or", "clauses": [time(0, 0), { "type": "eq", "field": "t", "value": 20 }] }),
                json!([11, 20]),
            ),
        ] {
            let page = thing.query("Lamp", json!({ "query": { "clause": clause } })).await;
            assert_eq!(temperatures(&page), expected, "{clause}");
            assert_eq!(page.get("nextPaginationKey"), None);
        }
        let page = thing.query("Lamp", json!({ "query": { "clause": time(0, 0) } })).await;
        assert_eq!(page, json!({ "results": [{ "t": 11, "on": true, "_created": NOON }] }));
    }
    world.stop().await;
}

#[tokio::test]
async fn the_history_is_read_in_pages() {
    let mut world = World::start(options()).await;
    for way in WAYS {
        let thing = with_history(&mut world, way, json!({})).await;
        for limit in 1..=8 {
            let mut body = json!({ "query": { "clause": { "type": "all" } }, "bestEffortLimit": limit });
            let mut found = Vec::new();
            loop {
                let page = thing.query("Lamp", body.clone()).await;
                let results = temperatures(&page);
                found.push(results);
                match page["nextPaginationKey"].as_str() {
                    None => break,
                    Some(key) => {
                        assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')), "{key}");
                        body["paginationKey"] = key.into();
                    }
                }
            }
            let all = [json!(11), json!(12), json!(13.5), json!(11), json!("hot"), json!(-4), json!(20)];
            let expected: Vec<_> = all.chunks(limit).map(|chunk| Value::from(chunk.to_vec())).collect();
            assert_eq!(found, expected, "{limit} at once");
        }
        for (body, code) in [
            (json!({ "query": { "clause": { "type": "all" } }, "paginationKey": "nonsense" }), "INVALID_INPUT_DATA"),
            (json!({ "query": { "clause": { "type": "all" } }, "bestEffortLimit": 0 }), "INVALID_INPUT_DATA"),
            (json!({ "query": { "clause": { "type": "some" } } }), "INVALID_INPUT_DATA"),
            (json!({ "query": { "clause": { "type": "eq", "field": "t", "value": {} } } }), "INVALID_INPUT_DATA"),
            (json!({ "query": {} }), "INVALID_INPUT_DATA"),
            (json!({}), "INVALID_INPUT_DATA"),
        ] {
            let answer = thing.call("POST", "/states/aliases/Lamp/query", QUERY, &body.to_string()).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, code), "{body}");
        }
        let answer = thing.call("POST", "/states/aliases/Lamp/query", "text/plain", "{}").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "INVALID_INPUT_DATA"));
        let answer = thing.call("POST", "/states/aliases/Lamp/query", QUERY, "{").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "INVALID_JSON"));
        let answer = thing.call("GET", "/states/aliases/Lamp/query", "", "").await;
        assert_eq!((answer.status, answer.code().as_str()), (405, "METHOD_NOT_ALLOWED"));
    }
    world.stop().await;
}

#[tokio::test]
async fn the_history_is_grouped_by_the_interval_of_the_thing() {
    let mut world = World::start(options()).await;
    for way in WAYS {
        let thing = with_history(&mut world, way, json!({ "dataGroupingInterval": "1_HOUR" })).await;
        let all = json!({ "type": "all" });
        let range = |hour: u64| json!({ "from": NOON + hour * 3_600_000, "to": NOON + (hour + 1) * 3_600_000 - 1 });
        let grouped = thing.query("Lamp", json!({ "query": { "grouped": true, "clause": all } })).await;
        let state = |t: Value, on: bool, after: u64| json!({ "t": t, "on": on, "_created": NOON + after });
        assert_eq!(
            grouped,
            json!({ "groupedResults": [
                { "range": range(0), "objects": [state(json!(11), true, 0), state(json!(12), false, 60_000)] },
                { "range": range(1), "objects": [
                    state(json!(13.5), true, 3_600_000),
                    state(json!(11), true, 3_600_001),
                    state(json!("hot"), false, 3_660_000),
                ] },
                { "range": range(2), "objects": [state(json!(-4), true, 7_200_000), state(json!(20), false, 7_200_000)] },
            ] })
        );
        let max = json!([{ "type": "MAX", "field": "t", "fieldType": "DECIMAL", "putAggregationInto": "max" }]);
        let on = json!({ "type": "eq", "field": "on", "value": true });
        let query = json!({ "query": { "grouped": true, "clause": on, "aggregations": max } });
        assert_eq!(
            thing.query("Lamp", query).await,
            json!({ "groupedResults": [
                { "range": range(0), "aggregations": [{ "value": 11, "name": "max", "object": state(json!(11), true, 0) }] },
                { "range": range(1), "aggregations": [
                    { "value": 13.5, "name": "max", "object": state(json!(13.5), true, 3_600_000) }
                ] },
                { "range": range(2), "aggregations": [
                    { "value": -4, "name": "max", "object": state(json!(-4), true, 7_200_000) }
                ] },
            ] })
        );
        // A group of which nothing is meant is not shown; one without numbers has nothing to say.
        let hot = json!({ "type": "eq", "field": "t", "value": "hot" });
        let several = json!([{ "type": "SUM", "field": "t" }, { "type": "COUNT", "field": "t" }]);
        let query = json!({ "query": { "grouped": true, "clause": hot, "aggregations": several } });
        let expected =
            json!({ "groupedResults": [{ "range": range(1), "aggregations": [{ "value": 1, "name": "count" }] }] });
        assert_eq!(thing.query("Lamp", query).await, expected);

        // In pages: of states and of groups.
        for (aggregations, sizes) in [(json!([]), vec![2, 2, 2, 1]), (json!([{ "type": "COUNT" }]), vec![2, 1])] {
            let mut body = json!({
                "query": { "grouped": true, "clause": all, "aggregations": aggregations }, "bestEffortLimit": 2
            });
            let mut found = Vec::new();
            loop {
                let page = thing.query("Lamp", body.clone()).await;
                let groups = page["groupedResults"].as_array().expect("groups");
                let states: usize = groups.iter().filter_map(|group| Some(group["objects"].as_array()?.len())).sum();
                found.push(if aggregations == json!([]) { states } else { groups.len() });
                match page["nextPaginationKey"].as_str() {
                    None => break,
                    Some(key) => body["paginationKey"] = key.into(),
                }
            }
            assert_eq!(found, sizes, "{aggregations}");
        }
    }
    world.stop().await;
}

/// The fourth hour of a day: groups of a thing that says nothing are 15 minutes long.
#[tokio::test]
async fn without_an_interval_groups_are_a_quarter_of_an_hour() {
    let mut world = World::start(options()).await;
    for way in WAYS {
        let thing = with_history(&mut world, way, json!({})).await;
        let count = json!({ "query": {
            "grouped": true, "clause": { "type": "all" }, "aggregations": [{ "type": "COUNT", "putAggregationInto": "n" }]
        } });
        let page = thing.query("Lamp", count).await;
        let groups: Vec<_> = page["groupedResults"]
            .as_array()
            .expect("groups")
            .iter()
            .map(|group| {
                let [from, to] = ["from", "to"].map(|end| group["range"][end].as_u64().expect("a time") - NOON);
                (from, to, group["aggregations"][0]["value"].as_u64().expect("a number"))
            })
            .collect();
        assert_eq!(groups, [(0, 899_999, 2), (3_600_000, 4_499_999, 3), (7_200_000, 8_099_999, 2)]);
    }
    world.stop().await;
}

#[tokio::test]
async fn a_page_fits_an_answer_whatever_the_states() {
    let mut world = World::start(options()).await;
    for way in WAYS {
        let thing = world.thing(way, json!({ "dataGroupingInterval": "12_HOURS" })).await;
        for n in 0..12 {
            thing.put(json!({ "Lamp": { "n": n, "text": "x".repeat(9_000) } })).await;
        }
        let numbers: Vec<_> = thing.history("Lamp", "n").await.into_iter().map(|(_, n)| n).collect();
        assert_eq!(numbers, (0..12).map(Value::from).collect::<Vec<_>>());
        let mut body = json!({ "query": { "grouped": true, "clause": { "type": "all" } } });
        let mut numbers = Vec::new();
        let mut pages = 0;
        loop {
            let page = thing.query("Lamp", body.clone()).await;
            pages += 1;
            let groups = page["groupedResults"].as_array().expect("groups");
            assert_eq!(groups.len(), 1);
            numbers.extend(groups[0]["objects"].as_array().expect("states").iter().map(|state| state["n"].clone()));
            match page["nextPaginationKey"].as_str() {
                None => break,
                Some(key) => body["paginationKey"] = key.into(),
            }
        }
        assert_eq!(numbers, (0..12).map(Value::from).collect::<Vec<_>>());
        assert!(pages > 1);
        // States beside the values give way to the values.
        let max = json!({ "type": "MAX", "field": "n" });
        let query = json!({ "query": { "grouped": true, "clause": { "type": "all" }, "aggregations": vec![max; 10] } });
        let page = thing.query("Lamp", query).await;
        let values = page["groupedResults"][0]["aggregations"].as_array().expect("values").clone();
        assert_eq!(values.iter().map(|value| value["value"].clone()).collect::<Vec<_>>(), vec![json!(11); 10]);
        let shown = values.iter().filter(|value| value.get("object").is_some()).count();
        assert!((1..10).contains(&shown), "{shown}");
    }
    world.stop().await;
}

#[tokio::test]
async fn states_of_another_firmware_are_told_apart() {
    let mut world = World::start(options()).await;
    for way in WAYS {
        world.set(0);
        let thing = world.thing(way, json!({ "firmwareVersion": "v1" })).await;
        thing.put(json!({ "Lamp": { "n": 1 } })).await;
        let update = "application/vnd.kii.ThingFirmwareVersionUpdateRequest+json";
        let path = format!("things/{}/firmware-version", thing.id);
        let updated = thing.send("PUT", &path, update, r#"{"firmwareVersion":"v2"}"#).await;
        assert_eq!(updated.status, 204, "{updated:?}");
        thing.put(json!({ "Lamp": { "n": 2 } })).await;
        for (version, expected) in [
            (json!("v1"), json!([1])),
            (json!("v2"), json!([2])),
            (json!("v3"), json!([])),
            (json!(null), json!([1, 2])),
        ] {
            let body = json!({ "query": { "clause": { "type": "all" } }, "firmwareVersion": version });
            let page = thing.query("Lamp", body).await;
            let found: Value = page["results"].as_array().expect("results").iter().map(|s| s["n"].clone()).collect();
            assert_eq!(found, expected, "{version}");
        }
    }
    world.stop().await;
}

const DAY: u64 = 86_400_000;

#[tokio::test]
async fn the_history_is_bounded_in_states_and_days() {
    let mut options = options();
    options.state_history = StateHistory { states: 4, days: 2 };
    let mut world = World::start(options).await;
    for way in WAYS {
        world.set(0);
        let thing = world.thing(way, json!({})).await;
        let numbers =
            async |alias: &str| -> Vec<Value> { thing.history(alias, "n").await.into_iter().map(|(_, n)| n).collect() };
        thing.put(json!({ "Fan": { "n": 0 } })).await;
        for n in 1..=3 {
            thing.put(json!({ "Lamp": { "n": n } })).await;
        }
        assert_eq!((numbers("Fan").await.len(), numbers("Lamp").await.len()), (1, 3));
        thing.put(json!({ "Lamp": { "n": 4 } })).await;
        assert_eq!(numbers("Lamp").await, [json!(1), json!(2), json!(3), json!(4)], "four of the thing");
        let query = json!({ "query": { "clause": { "type": "all" } } }).to_string();
        let of_fan = thing.call("POST", "/states/aliases/Fan/query", QUERY, &query).await;
        assert_eq!((of_fan.status, of_fan.code().as_str()), (409, "STATE_HISTORY_NOT_AVAILABLE"));
        let says = of_fan.json()["message"].clone();
        assert_eq!(says, json!("Time series bucket does not exist"));
        assert_eq!(thing.state().await, json!({ "Fan": { "n": 0 }, "Lamp": { "n": 4 } }), "the last state stays");

        // Too old, though nothing came since that would have dropped it.
        world.set(2 * DAY + 1);
        let of_lamp = thing.call("POST", "/states/aliases/Lamp/query", QUERY, &query).await;
        assert_eq!(of_lamp.status, 409);
        // What comes too late is not kept.
        let late = json!({ "states": [
            { "generatedAt": NOON, "payload": { "Lamp": { "n": 5 } } },
            { "generatedAt": NOON + DAY, "payload": { "Lamp": { "n": 6 } } },
        ] });
        assert_eq!(thing.call("POST", "/states-bulk", BULK, &late.to_string()).await.status, 204);
        assert_eq!(numbers("Lamp").await, [json!(6)]);
    }
    world.stop().await;
}

/// Also of things that put nothing any more, and however much there is of it.
#[tokio::test]
async fn what_is_too_old_is_removed_from_the_disk() {
    let data = tempfile::tempdir().expect("a directory");
    let mut options = options();
    options.store = thingif::cloud::Location::Dir(data.path().join("d"));
    let mut world = World::start(options).await;
    for count in [3_u64, 1_400] {
        world.set(0);
        let thing = world.thing(Way::Service, json!({})).await;
        for begin in (0..count).step_by(500) {
            let state = |n| json!({ "generatedAt": NOON - DAY + n, "payload": { "A": { "n": n }, "B": { "n": n } } });
            let states: Vec<_> = (begin..count.min(begin + 500)).map(state).collect();
            let bulk = json!({ "states": states }).to_string();
            assert_eq!(thing.call("POST", "/states-bulk", BULK, &bulk).await.status, 204);
        }
    }
    let thing = world.thing(Way::Service, json!({})).await;
    world.set(29 * DAY + 1_000);
    thing.put(json!({ "A": { "n": 1 } })).await;
    let cloud = world.served.cloud.clone();
    let running = tokio::spawn(async move { cloud.run().await });
    let database = rusqlite::Connection::open(data.path().join("d/thingif.db")).expect("opens");
    let rows = || -> i64 {
        let count = database.query_row("SELECT COUNT(*) FROM state_history", [], |row| row.get(0));
        count.expect("readable")
    };
    // Of those with the times up to one second after the first, twice three and twice a thousand are too old.
    let kept = 1 + 2 * 400;
    tokio::time::timeout(Duration::from_secs(60), async {
        while rows() != kept {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{} rows, not {kept}", rows()));
    world.stop().await;
    running.await.expect("ends with the cloud");
}

#[tokio::test]
async fn without_a_history_there_is_none() {
    let mut options = options();
    options.state_history.states = 0;
    let mut world = World::start(options).await;
    for way in WAYS {
        let thing = world.thing(way, json!({})).await;
        thing.put(json!({ "Lamp": { "n": 1 } })).await;
        let query = json!({ "query": { "clause": { "type": "all" } } }).to_string();
        let answer = thing.call("POST", "/states/aliases/Lamp/query", QUERY, &query).await;
        assert_eq!((answer.status, answer.code().as_str()), (409, "STATE_HISTORY_NOT_AVAILABLE"));
    }
    world.stop().await;
}

#[test]
fn a_history_has_bounds() {
    for history in [
        StateHistory { states: 1_000_001, days: 30 },
        StateHistory { states: 1, days: 0 },
        StateHistory { states: 1, days: 36_501 },
    ] {
        let mut options = options();
        options.state_history = history;
        let error = Cloud::open(options, Recorder::new(PushOutcome::Queued)).expect_err("refused");
        assert!(error.to_string().contains("state_history"), "{error}");
    }
}

/// A thing that comes again has no past.
#[tokio::test]
async fn states_and_history_end_with_their_thing() {
    let mut world = World::start(options()).await;
    let road = world.served.http.clone();
    let thing = world.thing(Way::Http, json!({})).await;
    thing.put(json!({ "Lamp": { "n": 1 } })).await;
    let path = format!("/api/apps/{APP}/things/{}", thing.id);
    assert_eq!(road.call("DELETE", &path, &thing.token, "").await.status, 204);
    world.things -= 1;
    let again = world.thing(Way::Http, json!({})).await;
    assert_eq!(again.call("GET", "/states", "", "").await.code(), "STATE_NOT_FOUND");
    again.put(json!({ "Lamp": { "n": 2 } })).await;
    assert_eq!(again.history("Lamp", "n").await, [(0, json!(2))]);
    world.stop().await;
}
