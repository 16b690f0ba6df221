//! Triggers at work: states that come by every way fire commands, which are delivered, reported and bounded as any.
#![cfg(feature = "cloud")]

mod cloud_support;

use std::sync::Arc;
use std::time::Duration;

use cloud_support::*;
use serde_json::{Value, json};
use thingif::cloud::{Cloud, Options};
use thingif::edge::PushOutcome;

/// Ann owns the lamp and the fan.
struct World {
    pusher: Arc<Recorder>,
    served: Served,
    roads: [Road; 2],
    ann: (String, String),
    lamp: Value,
    fan: Value,
}

fn text<'a>(thing: &'a Value, field: &str) -> &'a str {
    thing.pointer(field).and_then(Value::as_str).unwrap_or_else(|| panic!("no {field} in {thing}"))
}

impl World {
    async fn start(set: impl FnOnce(&mut Options)) -> Self {
        let pusher = Recorder::new(PushOutcome::Queued);
        let mut options = options();
        set(&mut options);
        let cloud = Cloud::open(options, pusher.clone()).expect("opens");
        let service = Road::Service(cloud.service());
        let served = Served::start(cloud).await;
        let http = served.http.clone();
        let ann = user(&http, APP, KEY, "ann").await;
        let lamp = onboard_by_owner(&http, APP, "lamp", &ann.0, &ann.1).await.json();
        let fan = onboard_by_owner(&http, APP, "fan", &ann.0, &ann.1).await.json();
        Self { pusher, roads: [service, http], served, ann, lamp, fan }
    }

    fn http(&self) -> &Road {
        &self.roads[1]
    }

    fn path(thing: &Value, rest: &str) -> String {
        format!("/thing-if/apps/{APP}/targets/thing:{}/{rest}", text(thing, "/thingID"))
    }

    /// As the thing itself.
    async fn send(&self, road: &Road, thing: &Value, line: &str, media_type: &str, body: &Value) -> u16 {
        let (method, rest) = line.split_once(' ').expect("method and path");
        let bearer = format!("Bearer {}", text(thing, "/accessToken"));
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", media_type)];
        let answer = road.send(method, &Self::path(thing, rest), &headers, &body.to_string()).await;
        assert!(answer.status < 300, "{line} {body}: {answer:?}");
        answer.status
    }

    async fn put(&self, thing: &Value, state: &Value) {
        self.send(&self.roads[0], thing, "PUT states", "application/json", state).await;
    }

    /// A trigger of `thing` that commands `target`.
    async fn make(&self, thing: &Value, target: &Value, condition: &Value, when: &str, action: &str) -> String {
        let body = json!({
            "triggersWhat": "COMMAND",
            "predicate": { "eventSource": "STATES", "condition": condition, "triggersWhen": when },
            "command": { "actions": [{ action: {} }], "issuer": format!("user:{}", self.ann.0), "schema": "S",
                "schemaVersion": 1, "target": format!("thing:{}", text(target, "/thingID")), "title": "from a trigger" },
        });
        let made = self.http().call("POST", &Self::path(thing, "triggers"), &self.ann.1, &body.to_string()).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.text("triggerID")
    }

    async fn get(&self, thing: &Value, rest: &str) -> Value {
        let answer = self.http().call("GET", &Self::path(thing, rest), &self.ann.1, "").await;
        assert_eq!(answer.status, 200, "{rest}: {answer:?}");
        answer.json()
    }

    /// To whom was pushed since the last time, and what.
    fn pushed(&self) -> Vec<(String, Value)> {
        let all = self.pusher.take().into_iter();
        all.map(|(client, push)| (client.to_string(), serde_json::from_slice(&push).expect("JSON"))).collect()
    }
}

fn eq(field: &str, value: impl Into<Value>) -> Value {
    json!({ "type": "eq", "field": field, "value": value.into() })
}

#[tokio::test]
async fn a_state_fires_a_command_to_another_thing_and_its_issuer_is_told_of_the_results() {
    let world = World::start(|_| {}).await;
    let install = json!({ "deviceType": "MQTT", "development": false }).to_string();
    let bearer = format!("Bearer {}", world.ann.1);
    let media_type = "application/vnd.kii.InstallationCreationRequest+json";
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", media_type)];
    let installed = world.http().send("POST", &format!("/api/apps/{APP}/installations"), &headers, &install).await;
    assert_eq!(installed.status, 201, "{installed:?}");
    let trigger = world.make(&world.lamp, &world.fan, &eq("hot", true), "CONDITION_FALSE_TO_TRUE", "on").await;

    for (road, hot, fires) in [(0, false, false), (1, true, true), (0, true, false), (1, false, false), (0, true, true)]
    {
        let state = json!({ "hot": hot });
        world.send(&world.roads[road], &world.lamp, "PUT states", "application/json", &state).await;
        let pushed = world.pushed();
        assert_eq!(pushed.len(), usize::from(fires), "{hot}: {pushed:?}");
        if !fires {
            continue;
        }
        let (topic, push) = &pushed[0];
        assert_eq!(topic, text(&world.fan, "/mqttEndpoint/mqttTopic"));
        let fields: Vec<_> = push.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(fields, ["schema", "schemaVersion", "commandID", "actions", "issuer"], "as any command");
        let id = push["commandID"].as_str().expect("an id");
        let path = format!("commands/{id}");
        let mut read = world.get(&world.fan, &path).await;
        for _ in 0..1_000 {
            if read["commandState"] != "SENDING" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            read = world.get(&world.fan, &path).await;
        }
        assert_eq!(read["commandState"], "DELIVERED");
        assert_eq!(read["firedByTriggerID"], trigger);
        assert_eq!(read["issuer"], format!("user:{}", world.ann.0));
        assert_eq!(read["title"], "from a trigger");
        assert_eq!(world.get(&world.lamp, "commands").await, json!({ "commands": [] }), "it is the fan's");

        let results = json!({ "actionResults": [{ "on": { "succeeded": true } }] });
        let line = format!("PUT {path}/action-results");
        world.send(&world.roads[0], &world.fan, &line, "application/json", &results).await;
        let told = world.pushed();
        assert_eq!(told.len(), 1, "{told:?}");
        let fan = format!("thing:{}", text(&world.fan, "/thingID"));
        assert_eq!(told[0].1, json!({ "commandID": id, "target": fan, "commandState": "DONE" }));
        assert_ne!(told[0].0, text(&world.fan, "/mqttEndpoint/mqttTopic"));
    }
    assert_eq!(world.served.cloud.trigger_counts().fired, 2);
    world.served.stop().await;
}

#[tokio::test]
async fn every_way_to_write_a_state_fires_and_each_request_once() {
    let world = World::start(|_| {}).await;
    let condition = json!({ "type": "eq", "alias": "Air", "field": "hot", "value": true });
    world.make(&world.lamp, &world.lamp, &condition, "CONDITION_TRUE", "cool").await;
    let kii = |name: &str| format!("application/vnd.kii.{name}+json");
    let bulk = |states: &[(i64, Value)]| {
        let states = states.iter().map(|(at, payload)| json!({ "generatedAt": at, "payload": payload }));
        json!({ "states": states.collect::<Vec<_>>() })
    };
    let hot = json!({ "Air": { "hot": true } });
    let cold = json!({ "Air": { "hot": false } });
    for (line, media_type, body, fires) in [
        ("PUT states", kii("MultipleTraitState"), hot.clone(), true),
        ("PUT states", kii("MultipleTraitState"), cold.clone(), false),
        // Of another alias: the condition is judged by the whole state.
        ("PUT states/aliases/Lamp", kii("TraitState"), json!({ "hot": true }), false),
        ("PUT states/aliases/Air", kii("TraitState"), json!({ "hot": true }), true),
        ("PUT states/aliases/Lamp", kii("TraitState"), json!({ "hot": false }), true),
        ("PATCH states", kii("MultipleTraitStatePatch"), json!({ "Air": { "hot": false } }), false),
        ("PATCH states", kii("MultipleTraitStatePatch"), json!({ "Air": { "hot": true, "t": 1 } }), true),
        // What counts is what the request leaves.
        ("POST states-bulk", kii("StateBulkUploadRequest"), bulk(&[(1, hot.clone()), (2, cold.clone())]), true),
        ("POST states-bulk", kii("StateBulkUploadRequest"), bulk(&[(i64::MAX, cold)]), false),
    ] {
        let is_old = body["states"][0]["generatedAt"] == 1;
        world.send(&world.roads[0], &world.lamp, line, &media_type, &body).await;
        // Only history, since it is older than what is known: nothing has changed.
        let expected = usize::from(fires && !is_old);
        assert_eq!(world.pushed().len(), expected, "{line} {body}");
    }
    world.served.stop().await;
}

#[tokio::test]
async fn things_that_set_each_other_off_are_held_to_their_rate() {
    let world = World::start(|options| options.trigger_firings_per_minute = 5).await;
    // Each change of the one makes the other change.
    for (from, to) in [(&world.lamp, &world.fan), (&world.fan, &world.lamp)] {
        world.make(from, to, &eq("on", true), "CONDITION_CHANGED", "toggle").await;
    }
    let mut on = [false, false];
    let mut pushes = 0;
    on[0] = true;
    world.put(&world.lamp, &json!({ "on": true })).await;
    loop {
        let pushed = world.pushed();
        if pushed.is_empty() {
            break;
        }
        for (topic, _) in pushed {
            pushes += 1;
            assert!(pushes < 100, "it goes on for ever");
            let (place, thing) = match topic == text(&world.lamp, "/mqttEndpoint/mqttTopic") {
                true => (0, &world.lamp),
                false => (1, &world.fan),
            };
            on[place] = !on[place];
            world.put(thing, &json!({ "on": on[place] })).await;
        }
    }
    // A real minute may pass in between, on a slow machine.
    assert!((10..=20).contains(&pushes), "{pushes}");
    assert!(world.served.cloud.trigger_counts().suppressed >= 1);
    world.served.stop().await;
}

#[tokio::test]
async fn who_loses_a_thing_loses_what_its_triggers_do() {
    let world = World::start(|_| {}).await;
    let (bob, bob_token) = user(world.http(), APP, KEY, "bob").await;
    onboard_by_owner(world.http(), APP, "lamp", &bob, &bob_token).await;
    onboard_by_owner(world.http(), APP, "fan", &bob, &bob_token).await;
    let kept = world.make(&world.lamp, &world.lamp, &eq("on", true), "CONDITION_TRUE", "a").await;
    let lost = world.make(&world.lamp, &world.fan, &eq("on", true), "CONDITION_TRUE", "b").await;
    world.put(&world.lamp, &json!({ "on": true })).await;
    assert_eq!(world.pushed().len(), 2);

    let owner = format!("/api/apps/{APP}/things/{}/ownership/user:{}", text(&world.fan, "/thingID"), world.ann.0);
    let disowned = world.http().call("DELETE", &owner, &world.ann.1, "").await;
    assert_eq!(disowned.status, 204, "{disowned:?}");
    world.put(&world.lamp, &json!({ "on": true })).await;
    assert_eq!(world.pushed().len(), 1, "the lamp is still hers");
    assert_eq!(world.get(&world.lamp, &format!("triggers/{kept}")).await["disabled"], false);
    let off = world.get(&world.lamp, &format!("triggers/{lost}")).await;
    assert_eq!(off["disabled"], true);
    assert_eq!(off["disabledReason"], "Whoever gave it its command may no longer command that thing");

    // Bob, who still may, gives it his own command and switches it on.
    let path = World::path(&world.lamp, &format!("triggers/{lost}"));
    let command = json!({ "actions": [{ "c": {} }], "issuer": format!("user:{bob}"), "schema": "S", "schemaVersion": 1,
        "target": format!("thing:{}", text(&world.fan, "/thingID")) });
    let refused = world.http().call("PATCH", &path, &world.ann.1, &json!({ "command": command }).to_string()).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "UNAUTHORIZED"), "not in his name, and not there");
    let patched = world.http().call("PATCH", &path, &bob_token, &json!({ "command": command }).to_string()).await;
    assert_eq!(patched.status, 204, "{patched:?}");
    let on = world.http().call("PUT", &format!("{path}/enable"), &bob_token, "").await;
    assert_eq!(on.status, 204, "{on:?}");
    world.put(&world.lamp, &json!({ "on": true })).await;
    let pushed = world.pushed();
    assert_eq!(pushed.len(), 2);
    assert_eq!(pushed[1].1["issuer"], format!("user:{bob}"));

    // The thing that is commanded goes.
    let path = format!("/api/apps/{APP}/things/{}", text(&world.fan, "/thingID"));
    assert_eq!(world.http().call("DELETE", &path, &bob_token, "").await.status, 204);
    world.put(&world.lamp, &json!({ "on": true })).await;
    assert_eq!(world.pushed().len(), 1);
    let off = world.get(&world.lamp, &format!("triggers/{lost}")).await;
    assert_eq!(off["disabledReason"], "The thing that it commands is gone");
    assert_eq!(world.served.cloud.trigger_counts().switched_off, 2);
    world.served.stop().await;
}

#[tokio::test]
async fn server_code_that_a_state_fires_is_a_failed_result_on_both_roads() {
    let world = World::start(|_| {}).await;
    let body = json!({ "triggersWhat": "SERVER_CODE", "serverCode": { "endpoint": "cool" },
        "predicate": { "eventSource": "STATES", "condition": eq("hot", true), "triggersWhen": "CONDITION_TRUE" } });
    let path = World::path(&world.lamp, "triggers");
    let made = world.http().call("POST", &path, &world.ann.1, &body.to_string()).await;
    let path = format!("{path}/{}/results/server-code", made.text("triggerID"));
    for road in &world.roads {
        world.send(road, &world.lamp, "PUT states", "application/json", &json!({ "hot": true })).await;
    }
    for road in &world.roads {
        let read = road.call("GET", &path, &world.ann.1, "").await;
        assert_eq!(read.status, 200, "{read:?}");
        let results = read.json()["triggerServerCodeResults"].clone();
        assert_eq!(results.as_array().map(Vec::len), Some(2));
        for result in results.as_array().expect("a list") {
            assert_eq!((&result["succeeded"], &result["endpoint"]), (&json!(false), &json!("cool")));
            assert!(result["executedAt"].as_i64().is_some_and(|at| at > 0));
            assert_eq!(result["error"]["details"]["errorCode"], "OPERATION_NOT_IMPLEMENTED");
            assert!(result["error"]["errorMessage"].is_string() && result["error"]["details"]["message"].is_string());
        }
        let page = road.call("GET", &format!("{path}?bestEffortLimit=1"), &world.ann.1, "").await.json();
        assert_eq!(page["triggerServerCodeResults"].as_array().map(Vec::len), Some(1));
        assert!(page["nextPaginationKey"].is_string());
    }
    assert!(world.pushed().is_empty());
    world.served.stop().await;
}
