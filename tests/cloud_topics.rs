//! Topics and messages over HTTP, and what of a message a receiver sees.
#![cfg(feature = "cloud")]

mod cloud_push;
mod cloud_support;

use cloud_push::{NOW, World, code};
use cloud_support::APP;
use serde_json::{Value, json};

#[tokio::test]
async fn a_list_of_topics_is_paged() {
    let world = World::start().await;
    let ann = &world.ann;
    for n in 0..60 {
        assert_eq!(world.call("PUT", &format!("users/me/topics/topic-{n:02}"), ann, "").await.status, 204);
    }
    let first = world.call("GET", "users/me/topics", ann, "").await.json();
    assert_eq!(first["topics"].as_array().expect("a list").len(), 50);
    let key = first["paginationKey"].as_str().expect("a key");
    let second = world.call("GET", &format!("users/me/topics?paginationKey={key}"), ann, "").await.json();
    let names: Vec<_> = second["topics"].as_array().expect("a list").iter().map(|t| t["topicID"].clone()).collect();
    assert_eq!(names, (50..60).map(|n| json!(format!("topic-{n:02}"))).collect::<Vec<_>>());
    assert!(second.get("paginationKey").is_none());
    let wrong = world.call("GET", "users/me/topics?paginationKey=%25", ann, "").await;
    assert_eq!(code(&wrong), "400 INVALID_INPUT_DATA");
    world.stop().await;
}

/// A thing's topic, to which the thing has subscribed with a development and a production installation.
async fn subscribed() -> (World, String, [String; 2]) {
    let world = World::start().await;
    let lamp = &world.lamp;
    let installed = r#"{"deviceType":"MQTT","development":true}"#;
    assert_eq!(world.call("POST", "installations", lamp, installed).await.status, 201);
    let topic = format!("things/{}/topics/news", lamp.id);
    assert_eq!(world.call("PUT", &topic, lamp, "").await.status, 204);
    assert_eq!(world.call("POST", &format!("{topic}/push/subscriptions/things"), lamp, "").await.status, 204);
    let topics = world.topics(lamp).await;
    let [production, development] = topics.try_into().expect("two");
    (world, format!("{topic}/push/messages"), [production, development])
}

#[tokio::test]
async fn each_flag_changes_what_a_receiver_sees() {
    let (world, messages, [production, development]) = subscribed().await;
    let (ann, lamp) = (&world.ann, &world.lamp);
    let scope = json!({"objectScopeAppID": APP, "objectScopeType": "APP_AND_THING", "objectScopeThingID": lamp.id});
    let with = |more: Value| {
        let mut all = scope.as_object().expect("an object").clone();
        all.extend(more.as_object().expect("an object").clone());
        Value::Object(all)
    };
    let usual = with(json!({"score": 1, "topic": "news", "sender": ann.id}));
    let both = vec![&production, &development];
    for (flags, receivers, expected) in [
        (json!({}), both.clone(), usual.clone()),
        (json!({"sendToDevelopment": false}), vec![&production], usual.clone()),
        (json!({"sendToProduction": false}), vec![&development], usual.clone()),
        (
            json!({"sendAppID": true}),
            both.clone(),
            with(json!({"score": 1, "topic": "news", "sender": ann.id, "appID": APP})),
        ),
        (json!({"sendSender": false}), both.clone(), with(json!({"score": 1, "topic": "news"}))),
        (
            json!({"sendWhen": true}),
            both.clone(),
            with(json!({"score": 1, "topic": "news", "sender": ann.id, "when": NOW})),
        ),
        (
            json!({"sendOrigin": true}),
            both.clone(),
            with(json!({"score": 1, "topic": "news", "sender": ann.id, "origin": "EXPLICIT"})),
        ),
        (json!({"sendObjectScope": false}), both.clone(), json!({"score": 1, "topic": "news", "sender": ann.id})),
        (json!({"sendTopicID": false}), both.clone(), with(json!({"score": 1, "sender": ann.id}))),
        (
            json!({"pushMessageType": "greeting"}),
            both.clone(),
            with(json!({"score": 1, "topic": "news", "sender": ann.id, "type": "greeting"})),
        ),
        (
            json!({"mqtt": {"enabled": true, "data": {"own": "x"}}}),
            both.clone(),
            with(json!({"own": "x", "topic": "news", "sender": ann.id})),
        ),
        (json!({"mqtt": {"enabled": true, "qos": 2, "retain": true}}), both.clone(), usual.clone()),
        (json!({"gcm": {"enabled": true}, "apns": {"enabled": false}}), both.clone(), usual.clone()),
        // The service's own fields win.
        (json!({"data": {"score": 1, "topic": "forged", "sender": "forged"}}), both.clone(), usual.clone()),
    ] {
        let mut message = json!({"data": {"score": 1}, "mqtt": {"enabled": true}});
        message.as_object_mut().expect("an object").extend(flags.as_object().expect("an object").clone());
        let answer = world.call("POST", &messages, ann, &message.to_string()).await;
        assert_eq!(answer.status, 200, "{message}: {answer:?}");
        assert!(!answer.text("pushMessageID").is_empty());
        let pushed = world.pushed(receivers.len()).await;
        let names: Vec<String> = receivers.into_iter().cloned().collect();
        assert_eq!(World::receivers(&pushed), World::sorted(&names), "{message}");
        for (_, payload) in pushed {
            assert_eq!(serde_json::from_slice::<Value>(&payload).expect("JSON"), expected, "{message}");
        }
    }
    // What reaches nobody: then the next message is the first that comes.
    for silent in [
        json!({"data": {"n": 0}, "mqtt": {"enabled": false}}),
        json!({"data": {"n": 0}, "mqtt": {"enabled": true, "dryRun": true}}),
        json!({"data": {"n": 0}, "gcm": {"enabled": true}}),
        json!({"data": {"n": 0}, "mqtt": {"enabled": true}, "sendToDevelopment": false, "sendToProduction": false}),
    ] {
        assert_eq!(world.call("POST", &messages, ann, &silent.to_string()).await.status, 200, "{silent}");
    }
    let last = json!({"data": {"n": 1}, "mqtt": {"enabled": true}}).to_string();
    assert_eq!(world.call("POST", &messages, ann, &last).await.status, 200);
    for (_, payload) in world.pushed(2).await {
        assert_eq!(serde_json::from_slice::<Value>(&payload).expect("JSON")["n"], 1);
    }
    world.stop().await;
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_the_longest_one_goes() {
    let (world, messages, _) = subscribed().await;
    let ann = &world.ann;
    let of_len = |len: usize| {
        json!({"data": {"text": "x".repeat(len)}, "mqtt": {"enabled": true},
        "sendSender": false, "sendObjectScope": false, "sendTopicID": false})
    };
    for (message, expected) in [
        (json!({"data": {"a": 1}}), "400 INVALID_INPUT_DATA"),
        (json!({"data": {"a": {}}, "mqtt": {"enabled": true}}), "400 INVALID_INPUT_DATA"),
        (json!({"data": {"a": []}, "mqtt": {"enabled": true}}), "400 INVALID_INPUT_DATA"),
        (json!({"mqtt": {"enabled": true, "data": {"a": []}}}), "400 INVALID_INPUT_DATA"),
        (json!({"data": 1, "mqtt": {"enabled": true}}), "400 INVALID_INPUT_DATA"),
        (json!({"data": {}, "mqtt": {}}), "400 INVALID_INPUT_DATA"),
        (json!({"data": {}, "mqtt": {"enabled": "yes"}}), "400 INVALID_INPUT_DATA"),
        (json!({"data": {}, "mqtt": {"enabled": true, "qos": 3}}), "400 INVALID_INPUT_DATA"),
        (json!({"data": {}, "mqtt": {"enabled": true, "retain": 1}}), "400 INVALID_INPUT_DATA"),
        (json!({"data": {}, "mqtt": {"enabled": true}, "sendSender": "no"}), "400 INVALID_INPUT_DATA"),
        (json!({"data": {}, "gcm": {}}), "400 INVALID_INPUT_DATA"),
        (of_len(4_096 - 10), "400 INVALID_INPUT_DATA"),
        (of_len(4_096 - 11), "200"),
    ] {
        assert_eq!(code(&world.call("POST", &messages, ann, &message.to_string()).await), expected, "{message}");
    }
    assert_eq!(world.pushed(2).await[0].1.len(), 4_096);
    assert_eq!(code(&world.call("POST", &messages, &world.bob, &of_len(1).to_string()).await), "401 UNAUTHORIZED");
    let nowhere = messages.replace("news", "olds");
    assert_eq!(code(&world.call("POST", &nowhere, ann, &of_len(1).to_string()).await), "404 TOPIC_NOT_FOUND");
    let plain = [("Content-Type", "text/plain")];
    assert_eq!(
        code(&world.send("POST", &messages, ann, &plain, &of_len(1).to_string()).await),
        "400 INVALID_INPUT_DATA"
    );
    let own = [("Content-Type", "application/vnd.kii.SendPushMessageRequest+json")];
    assert_eq!(code(&world.send("POST", &messages, ann, &own, &of_len(1).to_string()).await), "200");
    world.stop().await;
}

#[tokio::test]
async fn a_direct_message_goes_to_one_thing_or_user() {
    let (world, _, [production, development]) = subscribed().await;
    let (ann, lamp) = (&world.ann, &world.lamp);
    assert_eq!(world.call("POST", "installations", ann, r#"{"deviceType":"MQTT"}"#).await.status, 201);
    let of_ann = world.topics(ann).await;
    let message = json!({"data": {"score": 1}, "mqtt": {"enabled": true}, "sendAppID": true}).to_string();
    let to_lamp = format!("things/{}/push/messages", lamp.id);
    let to_ann = format!("users/{}/push/messages", ann.id);
    for (path, who, receivers, sender) in [
        (to_lamp.as_str(), ann, vec![production.clone(), development.clone()], Some(&ann.id)),
        ("things/VENDOR_THING_ID:lamp/push/messages", lamp, vec![production, development], Some(&lamp.id)),
        ("users/me/push/messages", ann, of_ann.clone(), Some(&ann.id)),
        (&to_ann, &world.admin, of_ann, None),
    ] {
        assert_eq!(world.call("POST", path, who, &message).await.status, 200, "{path}");
        let pushed = world.pushed(receivers.len()).await;
        assert_eq!(World::receivers(&pushed), World::sorted(&receivers), "{path}");
        let payload: Value = serde_json::from_slice(&pushed[0].1).expect("JSON");
        let mut expected = json!({"score": 1, "appID": APP});
        if let Some(sender) = sender {
            expected["sender"] = json!(sender);
        }
        assert_eq!(payload, expected, "{path}");
    }
    for (path, who) in [(&to_lamp, &world.bob), (&to_ann, &world.bob), (&to_ann, lamp), (&to_ann, &world.anybody)] {
        assert_eq!(code(&world.call("POST", path, who, &message).await), "401 UNAUTHORIZED");
    }
    world.stop().await;
}
