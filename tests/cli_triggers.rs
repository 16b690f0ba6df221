//! Triggers of `thingif serve` over real sockets: what a device puts fires a command that comes back to it, and what was to happen
//! once happens once, though the service was killed in between.
#![cfg(feature = "cli")]

mod program;
#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "support/served_device.rs"]
mod served_device;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use program::{Owner, PATIENCE, Server};
use serde_json::{Value, json};
use served_device::Device;

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("not for long yet")
}

/// Makes a trigger of `device` that commands itself; its id.
fn make(owner: &Owner, device: &str, predicate: &Value, action: &Value) -> String {
    let command = json!({ "actions": [action], "issuer": owner.issuer(), "schema": "Fan", "schemaVersion": 1 });
    let trigger = json!({ "triggersWhat": "COMMAND", "predicate": predicate, "command": command });
    let made = owner.post(&format!("targets/thing:{device}/triggers"), &trigger);
    made["triggerID"].as_str().expect("an id").to_owned()
}

fn once(at: i64) -> Value {
    json!({ "eventSource": "SCHEDULE_ONCE", "scheduleAt": at })
}

fn commands(owner: &Owner, device: &str) -> Vec<Value> {
    owner.get(&format!("targets/thing:{device}/commands"))["commands"].as_array().expect("a list").clone()
}

/// The trigger once it is off; a SCHEDULE_ONCE is, when it has fired.
async fn when_off(owner: &Owner, device: &str, trigger: &str) -> Value {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let found = owner.get(&format!("targets/thing:{device}/triggers/{trigger}"));
        if found["disabled"] == true {
            return found;
        }
        assert!(std::time::Instant::now() < until, "{found}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Carries out the command of `push` as a device does, and returns what its owner then reads.
async fn carry_out(owner: &Owner, device: &mut Device, push: &Value) -> Value {
    let id = push["commandID"].as_str().expect("an id").to_owned();
    let actions = push["actions"].as_array().expect("a list");
    let names = actions.iter().flat_map(|action| action.as_object().expect("an object").keys());
    let results: Vec<_> = names.map(|name| json!({ name: { "succeeded": true } })).collect();
    let body = json!({ "actionResults": results }).to_string();
    let answer = device.call("PUT", &format!("commands/{id}/action-results"), &body).await;
    assert_eq!((answer.status.as_str(), answer.body.as_str()), ("204", ""));
    owner.read_when_done(device.id(), &id)
}

#[tokio::test]
async fn a_state_fires_a_command_that_comes_back_over_the_same_connection_and_its_owner_reads_done() {
    let server = Server::start();
    let mut device = Device::start(&server, "fan", true).await;
    let owner = Owner::of(&server, "fan", "thing-password");
    let hot = json!({ "eventSource": "STATES", "triggersWhen": "CONDITION_FALSE_TO_TRUE",
        "condition": { "type": "range", "field": "degrees", "lowerLimit": 30, "lowerIncluded": true } });
    let action = json!({ "turnPower": { "power": true } });
    let trigger = make(&owner, device.id(), &hot, &action);

    assert_eq!(device.call("PUT", "states", r#"{"degrees":20}"#).await.status, "201");
    assert_eq!(device.pushes_so_far().await, [Value::Null; 0], "not hot yet");
    assert_eq!(device.call("PUT", "states", r#"{"degrees":30}"#).await.status, "204");
    let push = device.push().await;
    assert_eq!((&push["actions"], &push["issuer"]), (&json!([action]), &json!(owner.issuer())));
    assert_eq!(device.call("PUT", "states", r#"{"degrees":31}"#).await.status, "204");

    let read = carry_out(&owner, &mut device, &push).await;
    assert_eq!(read["commandState"], "DONE");
    assert_eq!(read["firedByTriggerID"], trigger);
    assert_eq!(read["actionResults"], json!([{ "turnPower": { "succeeded": true } }]));
    assert_eq!(read["commandID"], push["commandID"]);
    assert_eq!(device.pushes_so_far().await, [Value::Null; 0], "it was hot already");
    assert_eq!(commands(&owner, device.id()).len(), 1);
}

#[tokio::test]
async fn a_time_that_comes_fires_once_over_the_connection() {
    let server = Server::start();
    let mut device = Device::start(&server, "fan", true).await;
    let owner = Owner::of(&server, "fan", "thing-password");
    let made_at = now();
    let trigger = make(&owner, device.id(), &once(made_at + 1_500), &json!({ "turnPower": { "power": false } }));
    let push = device.push().await;
    assert!(now() >= made_at + 1_500, "not before its time");
    let read = carry_out(&owner, &mut device, &push).await;
    assert_eq!((&read["commandState"], &read["firedByTriggerID"]), (&json!("DONE"), &json!(trigger)));
    let after = when_off(&owner, device.id(), &trigger).await;
    assert_eq!(after["disabledReason"], "It has fired");
    assert_eq!(device.pushes_so_far().await, [Value::Null; 0]);
    assert_eq!(commands(&owner, device.id()).len(), 1);
}

/// Killed, not stopped: what the store has is all there is.
#[tokio::test]
async fn a_time_that_passes_while_the_service_is_down_fires_once_after_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    let flags = ["--data", data.to_str().expect("text")];
    let kill = |server: Server| {
        server.running.signal("-KILL");
        drop(server);
    };
    let server = Server::start_with(&flags);
    let device = Device::start(&server, "fan", true).await;
    let mut owner = Owner::of(&server, "fan", "thing-password");
    let due = now() + 2_000;
    let overdue = make(&owner, device.id(), &once(due), &json!({ "turnPower": { "power": true } }));
    // One more, whose time comes after everything here.
    let later = make(&owner, device.id(), &once(due + 3_600_000), &json!({ "turnPower": { "power": false } }));
    kill(server);
    while now() < due {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let server = Server::start_with(&flags);
    owner = owner.at(&server);
    when_off(&owner, device.id(), &overdue).await;
    let mut fired = commands(&owner, device.id());
    assert_eq!(fired.len(), 1, "{fired:#?}");
    assert_eq!(fired[0]["firedByTriggerID"], overdue);
    // Never again, however often the service begins anew.
    kill(server);
    let server = Server::start_with(&flags);
    owner = owner.at(&server);
    let mut device = device.reconnect(&server).await;
    // As a device does after a reconnect: it lists what it has missed, and carries it out.
    let listed = device.call("GET", "commands", "").await;
    let listed: Value = serde_json::from_str(&listed.body).expect("JSON");
    fired = listed["commands"].as_array().expect("a list").clone();
    assert_eq!(fired.len(), 1, "{fired:#?}");
    let read = carry_out(&owner, &mut device, &fired[0]).await;
    assert_eq!((&read["commandState"], &read["firedByTriggerID"]), (&json!("DONE"), &json!(overdue)));
    let waits = owner.get(&format!("targets/thing:{}/triggers/{later}", device.id()));
    assert_eq!(waits["disabled"], false, "{waits}");

    // Schedules are judged, or this one would not fire; and it alone does.
    let third = make(&owner, device.id(), &once(now() + 1_000), &json!({ "blink": {} }));
    let push = device.push().await;
    let read = carry_out(&owner, &mut device, &push).await;
    assert_eq!((&read["actions"], &read["firedByTriggerID"]), (&json!([{ "blink": {} }]), &json!(third)));
    assert_eq!(device.pushes_so_far().await, [Value::Null; 0]);
    assert_eq!(commands(&owner, device.id()).len(), 2);
}

#[test]
fn the_bounds_of_triggers_are_flags() {
    let server = Server::start_with(&["--max-triggers", "2", "--trigger-firings", "1"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut device = Device::start(&server, "fan", true).await;
        let owner = Owner::of(&server, "fan", "thing-password");
        let hot = json!({ "eventSource": "STATES", "triggersWhen": "CONDITION_TRUE",
            "condition": { "type": "eq", "field": "hot", "value": true } });
        make(&owner, device.id(), &hot, &json!({ "turnPower": {} }));
        make(&owner, device.id(), &once(now() + 3_600_000), &json!({ "turnPower": {} }));
        let command = json!({ "actions": [{ "a": {} }], "issuer": owner.issuer(), "schema": "S", "schemaVersion": 1 });
        let third = json!({ "triggersWhat": "COMMAND", "predicate": hot, "command": command });
        let (status, refused) = owner.try_post(&format!("targets/thing:{}/triggers", device.id()), &third);
        assert_eq!((status, &refused["errorCode"]), (409, &json!("OPERATION_NOT_ALLOWED")));

        // Two of three that fire within a minute at most, however the minutes fall.
        for _ in 0..3 {
            device.call("PUT", "states", r#"{"hot":true}"#).await;
        }
        assert!((1..=2).contains(&device.pushes_so_far().await.len()));
    });
}
