//! Commands with traits, over both roads, and what becomes of commands in time.
#![cfg(feature = "cloud")]

mod cloud_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use cloud_support::*;
use serde_json::{Value, json};
use thingif::cloud::{AdminClient, Clock, Cloud};
use thingif::edge::PushOutcome;

const TRAITS: &str = "application/vnd.kii.CommandCreationRequest+json";
const TRAIT_RESULTS: &str = "application/vnd.kii.CommandResultsUpdateRequest+json";
const JSON: &str = "application/json";

/// Ann owns the lamp.
struct World {
    pusher: Arc<Recorder>,
    served: Served,
    roads: [Road; 2],
    millis: Arc<AtomicU64>,
    ann: (String, String),
    lamp: Value,
}

impl World {
    async fn start(set: impl FnOnce(&mut thingif::cloud::Options)) -> Self {
        let pusher = Recorder::new(PushOutcome::Queued);
        let millis = Arc::new(AtomicU64::new(1_464_327_857_123));
        let mut options = options();
        let clock = Arc::clone(&millis);
        options.clock =
            Clock::new(move || SystemTime::UNIX_EPOCH + Duration::from_millis(clock.load(Ordering::SeqCst)));
        set(&mut options);
        let cloud = Cloud::open(options, pusher.clone()).expect("opens");
        let service = Road::Service(cloud.service());
        let served = Served::start(cloud).await;
        let roads = [service, served.http.clone()];
        let ann = user(&served.http, APP, KEY, "ann").await;
        let lamp = onboard_by_owner(&served.http, APP, "lamp", &ann.0, &ann.1).await.json();
        Self { pusher, served, roads, millis, ann, lamp }
    }

    fn thing(&self) -> &str {
        self.lamp["thingID"].as_str().expect("an id")
    }

    fn token(&self) -> &str {
        self.lamp["accessToken"].as_str().expect("a token")
    }

    fn commands(&self) -> String {
        format!("/thing-if/apps/{APP}/targets/thing:{}/commands", self.thing())
    }

    async fn post(&self, road: &Road, media_type: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {}", self.ann.1);
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", media_type)];
        road.send("POST", &self.commands(), &headers, &body.to_string()).await
    }

    async fn report(&self, road: &Road, command: &str, media_type: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token());
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", media_type)];
        road.send("PUT", &format!("{}/{command}/action-results", self.commands()), &headers, body).await
    }

    async fn get(&self, command: &str) -> Answer {
        self.served.http.call("GET", &format!("{}/{command}", self.commands()), &self.ann.1, "").await
    }

    /// Once the outcome of its push is recorded, which happens after the answer.
    async fn get_sent(&self, command: &str) -> Value {
        for _ in 0..1_000 {
            let read = self.get(command).await.json();
            if read["commandState"] != "SENDING" {
                return read;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{command} is still being sent");
    }

    fn request(&self, actions: &Value) -> Value {
        json!({ "issuer": format!("user:{}", self.ann.0), "actions": actions })
    }
}

#[tokio::test]
async fn a_command_with_traits_is_pushed_without_schema_reported_by_alias_and_done() {
    let world = World::start(|_| {}).await;
    let actions = json!([{ "Lamp": [{ "turnPower": true }, { "dim": 3 }] }, { "Fan": [{ "turnPower": false }] }]);
    for road in &world.roads {
        let mut request = world.request(&actions);
        request["title"] = json!("t");
        request["description"] = json!("d");
        request["metadata"] = json!({ "k": [1] });
        let posted = world.post(road, TRAITS, &request).await;
        assert_eq!(posted.status, 201, "{posted:?}");
        let id = posted.text("commandID");
        let pushed = world.pusher.take();
        assert_eq!(pushed.len(), 1);
        assert_eq!(pushed[0].0.as_str(), world.lamp["mqttEndpoint"]["mqttTopic"]);
        let push: Value = serde_json::from_slice(&pushed[0].1).expect("JSON");
        assert_eq!(push, json!({ "commandID": id, "actions": actions, "issuer": format!("user:{}", world.ann.0) }));

        let expected = json!({
            "commandID": id, "target": format!("thing:{}", world.thing()), "issuer": format!("user:{}", world.ann.0),
            "actions": actions, "commandState": "DELIVERED", "title": "t", "description": "d",
            "metadata": { "k": [1] }, "createdAt": 1_464_327_857_123_i64, "modifiedAt": 1_464_327_857_123_i64,
        });
        assert_eq!(world.get_sent(&id).await, expected);

        let some = r#"{"actionResults":[{"Lamp":[{"turnPower":{"succeeded":true}}]}]}"#;
        assert_eq!(world.report(road, &id, TRAIT_RESULTS, some).await.status, 204);
        assert_eq!(world.get(&id).await.json()["commandState"], "INCOMPLETE");
        let all = r#"{"actionResults":[{"Lamp":[{"turnPower":{"succeeded":true}},
            {"dim":{"succeeded":false,"errorMessage":"stuck","data":{"x":1}}}]},{"Fan":[{"turnPower":{"succeeded":true}}]}]}"#;
        // Some send the form with traits as plain JSON.
        assert_eq!(world.report(road, &id, JSON, all).await.status, 204);
        let done = world.get(&id).await.json();
        assert_eq!(done["commandState"], "DONE");
        assert_eq!(done["actionResults"], serde_json::from_str::<Value>(all).expect("JSON")["actionResults"]);
    }
    world.served.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_command_with_traits_is_told_by_its_code() {
    let world = World::start(|_| {}).await;
    let good = json!([{ "Lamp": [{ "on": true }] }]);
    let mut cases: Vec<(Value, u16, &str)> = vec![
        (json!([{ "on": {} }]), 400, "COMMAND_TRAIT_VALIDATION"),
        (json!([{ "Lamp": { "on": true } }]), 400, "COMMAND_TRAIT_VALIDATION"),
        (json!([{ "Lamp": [1] }]), 400, "COMMAND_TRAIT_VALIDATION"),
        (json!([{ "Lamp": [{ "on": true, "off": true }] }]), 400, "COMMAND_TRAIT_VALIDATION"),
        (json!([{ "Lamp": [{ "on": 1 }], "Fan": [{ "on": 1 }] }]), 400, "COMMAND_TRAIT_VALIDATION"),
        (json!([{ "Lamp": [] }]), 400, "COMMAND_TRAIT_VALIDATION"),
        (json!([]), 400, "COMMAND_TRAIT_VALIDATION"),
        (json!({ "Lamp": [{ "on": true }] }), 400, "COMMAND_TRAIT_VALIDATION"),
        (Value::Null, 400, "WRONG_COMMAND"),
        (json!([{ "Lamp": [{ "say": "x".repeat(4_096) }] }]), 400, "WRONG_COMMAND"),
        (good.clone(), 201, ""),
    ]
    .into_iter()
    .map(|(actions, status, code)| (world.request(&actions), status, code))
    .collect();
    for (field, value, status) in [
        ("issuer", Value::Null, 400),
        ("issuer", json!("nobody"), 400),
        ("title", json!("é".repeat(51)), 400),
        ("title", json!("é".repeat(50)), 201),
        ("title", json!(1), 400),
        ("description", json!("x".repeat(201)), 400),
        ("description", json!("x".repeat(200)), 201),
        ("metadata", json!([]), 400),
        ("metadata", json!({}), 201),
        // With traits a schema is nobody's business.
        ("schema", json!("S"), 201),
    ] {
        let mut request = world.request(&good);
        request[field] = value;
        cases.push((request, status, if status == 400 { "WRONG_COMMAND" } else { "" }));
    }
    for road in &world.roads {
        for (request, status, code) in &cases {
            let answer = world.post(road, TRAITS, request).await;
            assert_eq!((answer.status, answer.code().as_str()), (*status, *code), "{request}: {answer:?}");
        }
        let answer = world.post(road, "text/plain", &world.request(&good)).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "INVALID_INPUT_DATA"), "{answer:?}");
    }
    world.served.stop().await;
}

#[tokio::test]
async fn results_must_have_the_form_of_the_actions() {
    let world = World::start(|_| {}).await;
    let actions = json!([{ "Lamp": [{ "on": true }] }, { "Fan": [{ "on": true }] }]);
    let id = world.post(&world.roads[0], TRAITS, &world.request(&actions)).await.text("commandID");
    world.get_sent(&id).await;
    for road in &world.roads {
        for (body, code) in [
            (r#"{"actionResults":[{"on":{"succeeded":true}}]}"#, "INVALID_INPUT_DATA"),
            (r#"{"actionResults":[{"Heater":[{"on":{"succeeded":true}}]}]}"#, "INVALID_INPUT_DATA"),
            (r#"{"actionResults":[{"Lamp":[{"off":{"succeeded":true}}]}]}"#, "INVALID_INPUT_DATA"),
            (
                r#"{"actionResults":[{"Lamp":[{"on":{"succeeded":true}},{"on":{"succeeded":true}}]}]}"#,
                "INVALID_INPUT_DATA",
            ),
            // What one client sends for its second alias.
            (
                r#"{"actionResults":[{"Lamp":[{"on":{"succeeded":true}}]},{"Fan":[,{"on":{"succeeded":true}}]}]}"#,
                "INVALID_JSON",
            ),
        ] {
            let refused = world.report(road, &id, TRAIT_RESULTS, body).await;
            assert_eq!((refused.status, refused.code().as_str()), (400, code), "{body}: {refused:?}");
        }
        let refused = world.report(road, &id, "text/plain", r#"{"actionResults":[]}"#).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "INVALID_INPUT_DATA"));
    }
    let read = world.get(&id).await.json();
    assert_eq!((&read["commandState"], read.get("actionResults")), (&json!("DELIVERED"), None), "nothing has happened");
    world.served.stop().await;
}

#[tokio::test]
async fn the_issuer_of_a_command_is_told_of_the_results_on_its_own_topic() {
    let world = World::start(|options| {
        options.admins = vec![AdminClient {
            app: APP.parse().expect("valid"),
            client_id: "administrator".to_owned(),
            client_secret: "a secret of an administrator".into(),
        }];
    })
    .await;
    let http = &world.served.http;
    let login = json!({ "grant_type": "client_credentials", "client_id": "administrator",
        "client_secret": "a secret of an administrator" });
    let headers = [("Content-Type", JSON)];
    let path = format!("/api/apps/{APP}/oauth2/token");
    let admin = http.send("POST", &path, &headers, &login.to_string()).await.text("access_token");
    let kettle = onboard(http, APP, KEY, "kettle").await.json();
    let topic = |thing: &Value| thing["mqttEndpoint"]["mqttTopic"].as_str().expect("a topic").to_owned();
    let issuer_topic = topic(&kettle);

    // The issuer: somebody else with an endpoint, the thing itself, somebody without any.
    for (issuer, told) in [(&kettle["thingID"], true), (&world.lamp["thingID"], false), (&Value::Null, false)] {
        let issuer = issuer.as_str().map_or(format!("user:{}", world.ann.0), |thing| format!("thing:{thing}"));
        let request =
            json!({ "issuer": issuer, "schema": "S", "schemaVersion": 1, "actions": [{ "on": {} }, { "dim": {} }] });
        let id = http.call("POST", &world.commands(), &admin, &request.to_string()).await.text("commandID");
        let pushed = world.pusher.take();
        assert_eq!(pushed.len(), 1, "the command");
        assert_eq!(pushed[0].0.as_str(), topic(&world.lamp));
        for (results, state) in [
            (r#"{"actionResults":[{"on":{"succeeded":true}}]}"#, "INCOMPLETE"),
            (r#"{"actionResults":[{"on":{"succeeded":true}},{"dim":{"succeeded":false}}]}"#, "DONE"),
        ] {
            assert_eq!(world.report(&world.roads[0], &id, JSON, results).await.status, 204);
            let pushed = world.pusher.take();
            assert_eq!(pushed.len(), usize::from(told), "{issuer}: {pushed:?}");
            for (client, payload) in pushed {
                assert_eq!(client.as_str(), issuer_topic);
                let push: Value = serde_json::from_slice(&payload).expect("JSON");
                let target = format!("thing:{}", world.thing());
                assert_eq!(push, json!({ "commandID": id, "target": target, "commandState": state }));
            }
        }
    }
    world.served.stop().await;
}

#[tokio::test]
async fn commands_that_are_too_old_are_forgotten() {
    let world = World::start(|options| options.command_retention = Duration::from_secs(60)).await;
    let actions = json!([{ "Lamp": [{ "on": true }] }]);
    let old = world.post(&world.roads[0], TRAITS, &world.request(&actions)).await.text("commandID");
    world.get_sent(&old).await;
    world.millis.fetch_add(60_000, Ordering::SeqCst);
    let young = world.post(&world.roads[0], TRAITS, &world.request(&actions)).await.text("commandID");
    world.get_sent(&young).await;
    world.millis.fetch_add(1, Ordering::SeqCst);
    let cloud = world.served.cloud.clone();
    let running = tokio::spawn(async move { cloud.run().await });
    for _ in 0..1_000 {
        if world.get(&old).await.status == 404 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let forgotten = world.get(&old).await;
    assert_eq!((forgotten.status, forgotten.code().as_str()), (404, "COMMAND_NOT_FOUND"));
    assert_eq!(world.get(&young).await.status, 200);
    world.served.stop().await;
    running.await.expect("ends with the cloud");
}

#[tokio::test]
async fn a_retention_below_a_minute_is_refused() {
    let mut options = options();
    options.command_retention = Duration::from_secs(59);
    let error = Cloud::open(options, Recorder::new(PushOutcome::Queued)).expect_err("refused");
    assert_eq!(error.to_string(), "option command_retention is less than a minute");
}
