//! End nodes behind a gateway, over a network in memory and in tokio's paused time, against a model of the service: what
//! it hears in whose name, what is carried out by whom, and what survives what.
#![cfg(feature = "client")]

mod device;
mod gateway_world;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use thingif::client::commands::{CommandEvent, Journal, MemoryJournal, ReceivedCommand};
use thingif::client::gateway::{
    Departure, FileNodeStore, GatewayEvent, MemoryNodeStore, NodeError, NodeOnboardingError, NodeStore, Unrouted,
};
use thingif::client::retry::Retry;
use thingif::client::{NotSent, Push, RequestError};
use thingif::thing_if::{CommandPush, ErrorCode, State, TraitStates};
use tower_service::Service as _;

use device::config;
use gateway_world::{
    OWN, SECOND, Said, Service, command, listed, lock, node, owner, pushed, pushed_to, states_of, table, thing, world,
    world_with,
};

/// A frame without the id of its request, which is a random number.
fn without_id(frame: &[u8]) -> String {
    let text = String::from_utf8(frame.to_vec()).expect("UTF-8");
    text.split_inclusive("\r\n").filter(|line| !line.starts_with("X-Kii-RequestID:")).collect()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

// Onboarding.

#[tokio::test(start_paused = true)]
async fn a_node_is_onboarded_behind_the_gateways_thing_id() {
    let world = world(Service::default(), |builder| builder).await;
    let lamp = world.gateway.onboard(&node("lamp")).await.expect("onboarded");
    assert_eq!((lamp.thing_id().as_str(), lamp.vendor_thing_id().as_str()), ("th.lamp", "lamp"));
    assert_eq!(lamp.access_token().expose().as_str(), "lamp-1");
    let heard = world.heard("POST /onboardings");
    assert_eq!(
        without_id(&heard[0].frame),
        "POST\r\nContent-Type: application/vnd.kii.OnboardingEndNodeWithGatewayThingID+json\r\n\
         Authorization: Bearer owner-1\r\n\r\n\
         {\"gatewayThingID\":\"th.1\",\"endNodeVendorThingID\":\"lamp\",\"endNodePassword\":\"lamp-pw\",\"owner\":\"user:u1\"}"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn or_behind_its_makers_id_with_all_that_is_known_of_it() {
    let world = world(Service::default(), |b| b.with_vendor_thing_id("thermostat-17".parse().expect("valid"))).await;
    let lamp = node("lamp")
        .with_thing_type("lamp-type".parse().expect("valid"))
        .with_firmware_version("v1.2".parse().expect("valid"))
        .with_thing_properties(object(json!({ "room": "cellar", "watts": 7 })))
        .expect("allowed");
    world.gateway.onboard(&lamp).await.expect("onboarded");
    let heard = world.heard("POST /onboardings");
    assert_eq!(heard[0].content_type, "application/vnd.kii.OnboardingEndNodeWithGatewayVendorThingID+json");
    assert_eq!(
        heard[0].body,
        "{\"gatewayVendorThingID\":\"thermostat-17\",\"endNodeVendorThingID\":\"lamp\",\"endNodePassword\":\"lamp-pw\",\
         \"owner\":\"user:u1\",\"endNodeThingType\":\"lamp-type\",\"endNodeFirmwareVersion\":\"v1.2\",\
         \"endNodeThingProperties\":{\"room\":\"cellar\",\"watts\":7}}"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn onboarding_again_is_the_same_node_with_its_new_token() {
    let mut world = world(Service::default(), |builder| builder).await;
    let first = world.onboard("lamp").await;
    let (second, third) = tokio::join!(world.onboard("lamp"), world.onboard("lamp"));
    assert_eq!(world.gateway.nodes().len(), 1);
    for lamp in [&first, &second, &third] {
        assert_eq!(lamp.access_token().expose().as_str(), "lamp-3", "every handle has the newest");
    }
    first.put_state(&State(object(json!({ "power": true })))).await.expect("its token is taken");
    let joined = world.events().await.into_iter().filter(|event| matches!(event, GatewayEvent::Joined { .. })).count();
    assert_eq!(joined, 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn each_reason_against_an_onboarding_is_told_apart() {
    let world = world(Service::default(), |builder| builder.with_max_nodes(1)).await;
    let lamp = node("lamp");
    let onboard = || world.gateway.onboard_once(&lamp);

    world.gateway.set_owner(None);
    assert_eq!(onboard().await.expect_err("refused"), NodeOnboardingError::NoOwner);
    assert!(world.heard("POST").is_empty());

    world.gateway.set_owner(Some(owner("expired")));
    let error = onboard().await.expect_err("refused");
    assert!(matches!(error, NodeOnboardingError::OwnerRefused { .. }) && !error.is_retryable(), "{error}");
    assert!(!format!("{error:?} {error}").contains("expired"));

    world.gateway.set_owner(Some(owner("owner-1")));
    world.script("POST /onboardings", Said::Status(409, "THING_END_NODE_ALREADY_BELONGS_TO_GATEWAY"));
    assert_eq!(onboard().await.expect_err("refused"), NodeOnboardingError::OtherGateway);

    world.script("POST /onboardings", Said::Status(503, "LOCK_FAILED"));
    let error = onboard().await.expect_err("not now");
    assert_eq!((error.is_retryable(), error.retry_after()), (true, Some(3 * SECOND)));

    world.script("POST /onboardings", Said::Nothing);
    let error = onboard().await.expect_err("no answer");
    assert_eq!(error, NodeOnboardingError::NoAnswer(RequestError::TimedOut));
    assert!(error.is_retryable());

    onboard().await.expect("none of that lasts");
    let error = world.gateway.onboard(&node("fan")).await.expect_err("one too many");
    assert_eq!(error, NodeOnboardingError::TooManyNodes { max: 1 });
    assert!(!world.service().nodes.contains_key("th.fan"), "the service was not asked");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_no_node_is_onboarded_again() {
    let store = MemoryNodeStore::new();
    let first = world(Service::default(), |builder| builder.with_store(store.clone())).await;
    first.onboard("lamp").await;
    first.onboard("fan").await;
    first.end().await;

    let service = Service::default().with_node("lamp").with_node("fan");
    let mut second = world(service, |builder| builder.with_store(store)).await;
    assert_eq!(second.gateway.nodes().len(), 2);
    let lamp = second.gateway.onboard_once(&node("lamp")).await.expect("known");
    lamp.put_state(&State(object(json!({ "power": true })))).await.expect("its token is taken");
    assert!(second.heard("POST").is_empty());
    let events = second.events().await;
    let joined = |event: &GatewayEvent| matches!(event, GatewayEvent::Joined { .. });
    assert_eq!(events.into_iter().filter(joined).count(), 2);
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_store_on_disk_follows_the_nodes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Arc::new(FileNodeStore::open(dir.path().join("own/nodes")).expect("made"));
    let world = world(Service::default(), |builder| builder.with_store(store.clone())).await;
    let lamp = world.onboard("lamp").await;
    world.onboard("fan").await;
    lamp.unpair().await.expect("unpaired");
    let stored = store.load().await.expect("read");
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].vendor_thing_id.as_str(), "fan");
    assert_eq!((stored[0].gateway.as_str(), stored[0].access_token.expose().as_str()), (OWN, "fan-2"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_thing_was_made_anew_takes_the_place_of_the_old_one() {
    let store = MemoryNodeStore::new();
    let mut world = world(Service::default(), |builder| builder.with_store(store.clone()).with_max_nodes(1)).await;
    let old = world.onboard("lamp").await;
    world.settle().await;
    {
        let mut service = world.service();
        service.nodes.clear();
        service.made_anew = ".2";
    }
    let new = world.onboard("lamp").await;
    assert_eq!((old.departure(), new.departure()), (Some(Departure::Replaced), None));
    assert_eq!(new.thing_id().as_str(), "th.lamp.2");
    let stored: Vec<_> = store.load().await.expect("read").into_iter().map(|node| node.thing_id).collect();
    assert_eq!(stored, [new.thing_id().clone()]);
    world.push(pushed_to("th.lamp.2", "c1", &["a"]));
    world.settle().await;
    assert_eq!(world.done(), ["th.lamp.2 c1 a"]);
    let events = world.events().await;
    assert!(events.iter().any(|event| matches!(event, GatewayEvent::Left { why: Departure::Replaced, .. })));
    world.end().await;
}

// Lists and unpairing.

#[tokio::test(start_paused = true)]
async fn nodes_are_listed_in_bounded_pages() {
    let mut service = Service::default();
    for n in 0..120 {
        service = service.with_node(&format!("n{n:03}"));
    }
    let world = world(service, |builder| builder).await;
    let all = world.gateway.list(1000).await.expect("listed");
    assert_eq!((all.nodes.len(), all.more), (120, false));
    assert_eq!(all.nodes[119].vendor_thing_id.as_str(), "n119");
    let calls: Vec<String> = world.heard("GET /things").into_iter().map(|heard| heard.call).collect();
    assert_eq!(
        calls,
        [
            "GET /things/th.1/end-nodes?bestEffortLimit=50",
            "GET /things/th.1/end-nodes?bestEffortLimit=50&paginationKey=at%2F50",
            "GET /things/th.1/end-nodes?bestEffortLimit=50&paginationKey=at%2F100",
        ]
    );
    let some = world.gateway.list(70).await.expect("listed");
    assert_eq!((some.nodes.len(), some.more), (70, true));
    assert_eq!(world.heard("GET /things").len(), 5, "50 and 20");
    let exactly = world.gateway.list(120).await.expect("listed");
    assert_eq!((exactly.nodes.len(), exactly.more), (120, false));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_unpaired_node_leaves_everything() {
    let store = MemoryNodeStore::new();
    let mut world = world(Service::default(), |builder| builder.with_store(store.clone())).await;
    let lamp = world.onboard("lamp").await;
    lamp.set_online(true);
    world.settle().await;
    lamp.unpair().await.expect("unpaired");
    assert_eq!(world.heard("DELETE")[0].call, "DELETE /things/th.1/end-nodes/th.lamp");
    assert_eq!(world.heard("DELETE")[0].token, "token-0", "the gateway's own");
    assert_eq!(lamp.departure(), Some(Departure::Unpaired));
    assert!(world.gateway.nodes().is_empty() && store.load().await.expect("read").is_empty());
    let closed = RequestError::NotSent(NotSent::Closed);
    assert_eq!(lamp.send(states_of("th.lamp")).await.expect_err("it has left"), closed);

    let before = world.service().heard.len();
    world.push(pushed_to("th.lamp", "c1", &["a"]));
    lamp.set_online(false);
    world.cut();
    world.settle().await;
    assert_eq!(world.service().heard.len(), before, "nothing is said in its name any more");
    assert!(world.done().is_empty());
    let events = world.events().await;
    assert!(events.iter().any(|event| matches!(event, GatewayEvent::Left { why: Departure::Unpaired, .. })));
    assert!(events.contains(&GatewayEvent::Unrouted(command("c1"), Unrouted::UnknownTarget(thing("th.lamp")))));
    world.gateway.unpair(&thing("th.lamp")).await.expect("it is off already, which is what was wanted");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_left_may_come_back() {
    let world = world(Service::default(), |builder| builder).await;
    let lamp = world.onboard("lamp").await;
    world.push(pushed_to("th.lamp", "c1", &["slow"]));
    tokio::time::sleep(SECOND).await;
    lamp.unpair().await.expect("unpaired");
    let again = world.onboard("lamp").await;
    world.service().commands.push(listed("th.lamp", "c2", 0, &["a"]));
    world.settle().await;
    assert_eq!(world.done(), ["th.lamp c1 slow", "th.lamp c2 a"], "what ran was finished before anything else began");
    assert_eq!(world.reports(), [("thing:th.lamp/commands/c2".to_owned(), "lamp-2".to_owned())]);
    assert_eq!((lamp.departure(), again.departure()), (Some(Departure::Unpaired), None));
    world.end().await;
}

// States.

#[tokio::test(start_paused = true)]
async fn states_go_with_the_nodes_own_token() {
    let world = world(Service::default(), |builder| builder).await;
    let lamp = world.onboard("lamp").await;
    let missing = lamp.state().await.expect_err("none was put");
    assert!(matches!(&missing, NodeError::Refused { status, body: Some(body) }
        if status.as_u16() == 404 && body.error_code == ErrorCode::StateNotFound));
    let state = State(object(json!({ "power": true, "level": 3 })));
    lamp.put_state(&state).await.expect("put");
    assert_eq!(lamp.state().await.expect("there"), state);
    let mut states = TraitStates::default();
    states.insert("Lamp", object(json!({ "power": false })));
    lamp.put_trait_states(&states).await.expect("put");
    lamp.patch_trait_states(&states).await.expect("patched");
    assert_eq!(lamp.trait_states().await.expect("there"), states);

    let heard: Vec<_> = world.heard("PUT /targets").into_iter().chain(world.heard("PATCH /targets")).collect();
    let seen: Vec<_> = heard.iter().map(|h| (h.call.as_str(), h.content_type.as_str(), h.body.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("PUT /targets/thing:th.lamp/states", "application/json", "{\"power\":true,\"level\":3}"),
            (
                "PUT /targets/thing:th.lamp/states",
                "application/vnd.kii.MultipleTraitState+json",
                "{\"Lamp\":{\"power\":false}}"
            ),
            (
                "PATCH /targets/thing:th.lamp/states",
                "application/vnd.kii.MultipleTraitStatePatch+json",
                "{\"Lamp\":{\"power\":false}}"
            ),
        ]
    );
    assert!(heard.iter().all(|heard| heard.token == "lamp-1"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_called_too_often_takes_nothing_from_the_others() {
    let world = world(Service::default(), |builder| builder.with_max_calls(2)).await;
    let (lamp, fan) = (world.onboard("lamp").await, world.onboard("fan").await);
    world.settle().await;
    for _ in 0..2 {
        world.script("GET /targets/thing:th.lamp/states", Said::After(5 * SECOND));
    }
    let mut service = lamp.clone();
    let waiting: Vec<_> = (0..2).map(|_| tokio::spawn(service.call(states_of("th.lamp")))).collect();
    let overloaded = RequestError::NotSent(NotSent::Overloaded);
    assert_eq!(lamp.send(states_of("th.lamp")).await.expect_err("one too many"), overloaded);
    assert_eq!(fan.send(states_of("th.fan")).await.expect("answered").status().as_u16(), 404);
    for call in waiting {
        assert!(call.await.expect("no panic").is_ok());
    }
    assert!(lamp.send(states_of("th.lamp")).await.is_ok(), "there is room again");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_stands_where_a_client_can() {
    let world = world(Service::default(), |builder| builder).await;
    let lamp = world.onboard("lamp").await;
    world.script("GET /targets/thing:th.lamp/states", Said::Status(503, "LOCK_FAILED"));
    let mut patient = tower::Layer::layer(&Retry::new(), lamp);
    let answer = patient.call(states_of("th.lamp")).await.expect("answered");
    assert_eq!(answer.status().as_u16(), 404, "the second time");
    world.end().await;
}

// Connection reports.

#[tokio::test(start_paused = true)]
async fn whether_a_node_is_online_is_told_again_after_each_connect() {
    let mut world = world(Service::default(), |builder| builder).await;
    let (lamp, fan) = (world.onboard("lamp").await, world.onboard("fan").await);
    world.settle().await;
    assert!(world.heard("PUT").is_empty(), "nothing was said of it");
    lamp.set_online(true);
    world.settle().await;
    let heard = world.heard("PUT");
    assert_eq!(
        without_id(&heard[0].frame),
        "PUT\r\nContent-Type: application/json\r\nAuthorization: Bearer token-0\r\n\r\n{\"online\":true}"
    );
    assert_eq!(heard[0].call, "PUT /things/th.1/end-nodes/th.lamp/connection");
    assert_eq!(heard.len(), 1, "once is enough");
    lamp.set_online(true);
    world.settle().await;
    assert_eq!(world.heard("PUT").len(), 1, "it is known");

    world.service().nodes.get_mut("th.lamp").expect("there").online = None;
    world.cut();
    world.settle().await;
    assert_eq!(world.service().nodes["th.lamp"].online, Some(true), "after the reconnect");
    assert_eq!(world.service().nodes["th.fan"].online, None, "of this one nothing was said");
    fan.set_online(false);
    lamp.set_online(false);
    world.settle().await;
    assert_eq!(world.service().nodes["th.fan"].online, Some(false));
    assert_eq!(world.service().nodes["th.lamp"].online, Some(false));
    let events = world.events().await;
    assert!(events.contains(&GatewayEvent::OnlineReported(thing("th.lamp"), true)));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_newest_report_wins_over_those_that_fail() {
    let world = world(Service::default(), |builder| builder).await;
    let lamp = world.onboard("lamp").await;
    world.settle().await;
    let path = "PUT /things/th.1/end-nodes/th.lamp/connection";
    world.script(path, Said::Status(503, "LOCK_FAILED"));
    world.script(path, Said::Nothing);
    world.script(path, Said::Status(500, "UNDEFINED_ERROR"));
    lamp.set_online(true);
    world.settle().await;
    assert_eq!(world.service().nodes["th.lamp"].online, Some(true));
    assert_eq!(world.heard(path).len(), 4);

    // One that is not answered does not hold up what is newer.
    world.script(path, Said::Nothing);
    lamp.set_online(false);
    tokio::time::sleep(SECOND).await;
    lamp.set_online(true);
    tokio::time::sleep(SECOND).await;
    assert_eq!(world.heard(path).len(), 6);
    assert_eq!(world.heard(path)[5].body, "{\"online\":true}");
    // A value that was replaced before it was told is not told.
    lamp.set_online(false);
    lamp.set_online(true);
    lamp.set_online(false);
    world.settle().await;
    assert_eq!(world.service().nodes["th.lamp"].online, Some(false));
    assert_eq!(world.heard(path).len(), 7);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_report_that_is_refused_is_not_repeated_for_ever() {
    let mut world = world(Service::default(), |builder| builder).await;
    let lamp = world.onboard("lamp").await;
    world.settle().await;
    let path = "PUT /things/th.1/end-nodes/th.lamp/connection";
    world.script(path, Said::Status(403, "OPERATION_NOT_SUPPORTED"));
    lamp.set_online(true);
    world.settle().await;
    assert_eq!(world.heard(path).len(), 1);
    let refused = GatewayEvent::OnlineRefused(thing("th.lamp"), http::StatusCode::FORBIDDEN);
    assert!(world.events().await.contains(&refused));
    world.cut();
    world.settle().await;
    assert_eq!(world.service().nodes["th.lamp"].online, Some(true));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_somebody_else_unpaired_is_noticed() {
    let mut world = world(Service::default(), |builder| builder).await;
    let lamp = world.onboard("lamp").await;
    world.settle().await;
    world.service().nodes.get_mut("th.lamp").expect("there").is_behind_gateway = false;
    lamp.set_online(true);
    world.settle().await;
    assert_eq!(lamp.departure(), Some(Departure::Unpaired));
    assert!(world.gateway.nodes().is_empty());
    let events = world.events().await;
    assert!(events.iter().any(|event| matches!(event, GatewayEvent::Left { why: Departure::Unpaired, .. })));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_said_before_an_onboarding_is_nothing_against_the_node() {
    let world = world(Service::default(), |builder| builder).await;
    let lamp = world.onboard("lamp").await;
    world.settle().await;
    // Each of these answers is on its way for three seconds.
    world.service().nodes.get_mut("th.lamp").expect("there").is_behind_gateway = false;
    world.script("PUT /things/th.1/end-nodes/th.lamp/connection", Said::After(3 * SECOND));
    lamp.set_online(true);
    tokio::time::sleep(SECOND).await;
    world.onboard("lamp").await;
    world.settle().await;
    assert_eq!((lamp.departure(), world.service().nodes["th.lamp"].online), (None, Some(true)));

    world.service().nodes.get_mut("th.lamp").expect("there").token = "revoked".to_owned();
    let states = "GET /targets/thing:th.lamp/states";
    world.script(states, Said::Status(401, "UNAUTHORIZED"));
    world.script(states, Said::After(3 * SECOND));
    lamp.state().await.expect_err("refused");
    tokio::time::sleep(SECOND).await;
    world.onboard("lamp").await;
    world.gateway.set_owner(None);
    world.settle().await;
    assert_eq!((lamp.departure(), world.heard("POST").len()), (None, 3));
    world.end().await;
}

// Commands.

#[tokio::test(start_paused = true)]
async fn a_push_with_a_target_goes_to_that_node() {
    let journal = Arc::new(MemoryJournal::new());
    let mut world = world(Service::default(), |builder| builder.with_journal(journal.clone())).await;
    world.onboard("lamp").await;
    world.onboard("fan").await;
    world.settle().await;
    world.push(pushed_to("th.fan", "c1", &["a", "b"]));
    world.push(pushed_to("th.lamp", "c2", &["c"]));
    world.settle().await;
    let mut done = world.done();
    done.sort();
    assert_eq!(done, ["th.fan c1 a", "th.fan c1 b", "th.lamp c2 c"]);
    let mut reports = world.reports();
    reports.sort();
    assert_eq!(
        reports,
        [
            ("thing:th.fan/commands/c1".to_owned(), "fan-2".to_owned()),
            ("thing:th.lamp/commands/c2".to_owned(), "lamp-1".to_owned()),
        ]
    );
    let report: Value = serde_json::from_str(&world.heard("PUT /targets/thing:th.fan")[0].body).expect("JSON");
    assert_eq!(report, json!({ "actionResults": [{ "a": { "succeeded": true } }, { "b": { "succeeded": true } }] }));
    assert!(journal.unsettled().await.expect("read").is_empty(), "and all of it is written down as over");
    assert!(world.heard("GET /targets/thing:th.fan/commands/").is_empty(), "nobody was asked whose it is");
    let events = world.events().await;
    assert!(events.contains(&GatewayEvent::Command(thing("th.fan"), CommandEvent::Finished(command("c1"), true))));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_without_a_target_goes_to_whom_the_service_names() {
    let world = world(Service::default(), |builder| builder).await;
    for vendor in ["lamp", "fan", "door"] {
        world.onboard(vendor).await;
    }
    world.settle().await;
    world.service().commands.push(listed("th.door", "c1", 1, &["a"]));
    world.push(pushed("c1", &["a"]));
    world.settle().await;
    assert_eq!(world.done(), ["th.door c1 a"]);
    assert_eq!(world.reports(), [("thing:th.door/commands/c1".to_owned(), "door-3".to_owned())]);
    for (thing, token) in [("th.1", "token-0"), ("th.lamp", "lamp-1"), ("th.fan", "fan-2"), ("th.door", "door-3")] {
        let asked = world.heard(&format!("GET /targets/thing:{thing}/commands/c1"));
        assert_eq!(asked.len(), 1, "{thing} is asked for once");
        assert_eq!(asked[0].token, token, "in its own name");
    }
    world.push(pushed("c1", &["a"]));
    world.settle().await;
    assert_eq!(world.done().len(), 1, "one that is over is not begun again");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_that_is_nobodys_is_counted_and_not_carried_out() {
    let mut world = world(Service::default(), |builder| builder).await;
    world.onboard("lamp").await;
    world.onboard("fan").await;
    world.settle().await;
    world.push(pushed_to("th.stranger", "c1", &["a"]));
    world.push(pushed("c2", &["a"]));
    world.service().commands.push(listed("th.1", "c3", 1, &["a"]));
    world.push(pushed("c3", &["a"]));
    world.push(json!(["no command"]));
    world.settle().await;
    assert!(world.done().is_empty() && world.reports().is_empty());
    let counters = world.gateway.counters();
    assert_eq!((counters.unknown_targets, counters.untargeted, counters.own, counters.unreadable), (1, 1, 1, 1));
    let events = world.events().await;
    for (id, why) in
        [("c1", Unrouted::UnknownTarget(thing("th.stranger"))), ("c2", Unrouted::NoTarget), ("c3", Unrouted::Own)]
    {
        assert!(events.contains(&GatewayEvent::Unrouted(command(id), why)), "{events:?}");
    }
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_that_could_be_anybodys_is_never_carried_out() {
    let mut world = world(Service::default(), |builder| builder).await;
    world.onboard("lamp").await;
    world.onboard("fan").await;
    world.settle().await;
    for thing in ["th.lamp", "th.fan"] {
        world.service().commands.push(listed(thing, "c1", 1, &["a"]));
    }
    world.push(pushed("c1", &["a"]));
    world.settle().await;
    // The lists name it as well.
    world.cut();
    world.settle().await;
    assert!(world.done().is_empty());
    assert_eq!(world.gateway.counters().ambiguous, 1);
    let both = Unrouted::Ambiguous(vec![thing("th.fan"), thing("th.lamp")]);
    assert!(world.events().await.contains(&GatewayEvent::Unrouted(command("c1"), both)));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_of_whom_the_service_cannot_say_is_found_in_the_list() {
    let world = world(Service::default(), |builder| builder).await;
    world.onboard("lamp").await;
    world.onboard("fan").await;
    world.settle().await;
    world.service().commands.push(listed("th.fan", "c1", 1, &["a"]));
    world.script("GET /targets/thing:th.fan/commands/c1", Said::Status(503, "LOCK_FAILED"));
    world.push(pushed("c1", &["a"]));
    world.settle().await;
    assert_eq!(world.done(), ["th.fan c1 a"]);
    assert_eq!(world.gateway.counters(), Default::default());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_gateways_own_commands_go_to_its_own_actuator() {
    let (begun, done) = (Arc::default(), Arc::default());
    let own = table(&begun, &done);
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tapped = seen.clone();
    let tap = move |push: &Push| lock(&tapped).push(push.clone());
    let world = world(Service::default(), |builder| builder.with_own_actuator(own).with_tap(tap)).await;
    world.onboard("lamp").await;
    world.settle().await;
    world.service().commands.push(listed("th.1", "c1", 1, &["a"]));
    world.push(pushed("c1", &["a"]));
    world.push(pushed_to("th.1", "c2", &["b"]));
    world.settle().await;
    assert_eq!(*lock(&done), ["th.1 c1 a", "th.1 c2 b"]);
    assert!(world.done().is_empty(), "not by a node");
    let own = |id: &str| (format!("thing:th.1/commands/{id}"), "token-0".to_owned());
    assert_eq!(world.reports(), [own("c1"), own("c2")]);
    assert_eq!(lock(&seen).len(), 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_node_holds_up_nobody_but_itself() {
    let world = world(Service::default(), |builder| builder.with_max_command_age(600 * SECOND)).await;
    world.onboard("lamp").await;
    world.onboard("fan").await;
    world.settle().await;
    world.push(pushed_to("th.lamp", "c1", &["slow"]));
    world.push(pushed_to("th.lamp", "c2", &["a"]));
    world.push(pushed_to("th.fan", "c3", &["a"]));
    world.push(pushed_to("th.fan", "c4", &["b"]));
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(world.done(), ["th.fan c3 a", "th.fan c4 b"]);
    assert_eq!(world.reports().len(), 2);
    world.settle().await;
    assert_eq!(world.done()[2..], ["th.lamp c1 slow", "th.lamp c2 a"], "in their order");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn two_nodes_work_at_the_same_time() {
    let world = world(Service::default(), |builder| builder).await;
    world.onboard("lamp").await;
    world.onboard("fan").await;
    world.settle().await;
    world.push(pushed_to("th.lamp", "c1", &["slow"]));
    world.push(pushed_to("th.fan", "c2", &["slow"]));
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(lock(&world.begun).len(), 2, "both have begun");
    assert!(world.done().is_empty(), "and neither has ended");
    world.settle().await;
    assert_eq!(world.done().len(), 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_calls_are_not_answered_holds_up_nobody_else() {
    let world = world(Service::default(), |builder| builder).await;
    let lamp = world.onboard("lamp").await;
    world.onboard("fan").await;
    world.settle().await;
    for call in ["PUT /targets/thing:th.lamp", "PUT /things/th.1/end-nodes/th.lamp"] {
        (0..20).for_each(|_| world.script(call, Said::Nothing));
    }
    lamp.set_online(true);
    world.push(pushed_to("th.lamp", "c1", &["a"]));
    world.push(pushed_to("th.fan", "c2", &["a"]));
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(world.reports().last().expect("a report").0, "thing:th.fan/commands/c2");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_order_of_a_nodes_commands_is_kept_although_one_must_be_asked_for() {
    let world = world(Service::default(), |builder| builder).await;
    world.onboard("lamp").await;
    world.onboard("fan").await;
    world.settle().await;
    world.service().commands.push(listed("th.lamp", "c1", 1, &["a"]));
    world.script("GET /targets/thing:th.fan/commands/c1", Said::After(3 * SECOND));
    world.push(pushed("c1", &["a"]));
    world.push(pushed_to("th.lamp", "c2", &["b"]));
    world.settle().await;
    assert_eq!(world.done(), ["th.lamp c1 a", "th.lamp c2 b"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_not_answered_holds_up_the_others_for_seconds_alone() {
    let world = world(Service::default(), |builder| builder).await;
    world.onboard("lamp").await;
    world.onboard("fan").await;
    world.settle().await;
    world.service().commands.push(listed("th.lamp", "c1", 1, &["a"]));
    world.script("GET /targets/thing:th.fan/commands/c1", Said::Nothing);
    world.push(pushed("c1", &["a"]));
    world.push(pushed_to("th.fan", "c2", &["b"]));
    tokio::time::sleep(8 * SECOND).await;
    assert_eq!(world.reports().len(), 2, "{:?}", world.done());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_that_grew_too_old_while_it_was_routed_is_not_carried_out() {
    let mut world = world(Service::default(), |builder| builder.with_max_command_age(2 * SECOND)).await;
    world.onboard("lamp").await;
    world.onboard("fan").await;
    world.settle().await;
    world.service().commands.push(listed("th.lamp", "c1", 0, &["a"]));
    world.script("GET /targets/thing:th.fan/commands/c1", Said::After(3 * SECOND));
    world.push(pushed("c1", &["a"]));
    world.push(pushed_to("th.fan", "c2", &["b"]));
    world.settle().await;
    assert!(world.done().is_empty());
    assert_eq!(world.reports().len(), 2, "as failed");
    let events = world.events().await;
    assert!(events.contains(&GatewayEvent::Command(thing("th.fan"), CommandEvent::TooOld(command("c2")))));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn each_nodes_missed_commands_are_found_and_old_ones_never_run() {
    let store = MemoryNodeStore::new();
    let first = world(Service::default(), |builder| builder.with_store(store.clone())).await;
    first.onboard("lamp").await;
    first.onboard("fan").await;
    first.end().await;
    let mut service = Service::default().with_node("lamp").with_node("fan");
    service.commands = vec![
        listed("th.lamp", "c2", 2, &["b"]),
        listed("th.fan", "c3", 3, &["c"]),
        listed("th.lamp", "c1", 30, &["a"]),
        listed("th.fan", "old", 61, &["a"]),
    ];
    let mut world = world(service, |builder| builder.with_store(store)).await;
    world.settle().await;
    let mut done = world.done();
    done.sort();
    assert_eq!(done, ["th.fan c3 c", "th.lamp c1 a", "th.lamp c2 b"], "oldest first");
    let old = world.heard("PUT /targets/thing:th.fan/commands/old/action-results");
    assert_eq!((old.len(), old[0].token.as_str()), (1, "fan-2"));
    assert!(old[0].body.contains("too old"), "{}", old[0].body);
    let events = world.events().await;
    assert!(events.contains(&GatewayEvent::Command(thing("th.fan"), CommandEvent::TooOld(command("old")))));

    // While the gateway is away.
    world.service().commands.insert(0, listed("th.lamp", "c4", 1, &["a"]));
    world.cut();
    world.settle().await;
    assert_eq!(world.done().last().expect("some"), "th.lamp c4 a");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_pushed_too_fast_is_found_at_each_node() {
    let one = config().with_push_queue(1).expect("in range");
    let world = world_with(one, Service::default(), |builder| builder).await;
    world.onboard("lamp").await;
    world.onboard("fan").await;
    world.settle().await;
    for n in 0..9 {
        let thing = if n % 2 == 0 { "th.lamp" } else { "th.fan" };
        world.service().commands.insert(0, listed(thing, &format!("c{n}"), 9 - n, &["a"]));
        world.push(pushed_to(thing, &format!("c{n}"), &["a"]));
    }
    world.settle().await;
    let mut done = world.done();
    done.sort_by_key(|line| line.split(' ').nth(1).map(str::to_owned));
    let expected: Vec<String> =
        (0..9).map(|n| format!("{} c{n} a", if n % 2 == 0 { "th.lamp" } else { "th.fan" })).collect();
    assert_eq!(done, expected, "each once");
    assert!(world.heard("GET /targets/thing:th.fan/commands?").len() > 1, "pushes were dropped");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn more_than_may_wait_at_a_node_are_reported_and_found_later() {
    let mut world =
        world(Service::default(), |builder| builder.with_max_waiting(2).with_max_command_age(600 * SECOND)).await;
    world.onboard("lamp").await;
    world.settle().await;
    for n in 0..9 {
        world.service().commands.insert(0, listed("th.lamp", &format!("c{n}"), 9 - n, &["a"]));
        world.push(pushed_to("th.lamp", &format!("c{n}"), &["a"]));
    }
    world.settle().await;
    let mut done = world.done();
    done.sort();
    assert_eq!(done, (0..9).map(|n| format!("th.lamp c{n} a")).collect::<Vec<_>>());
    let is_dropped = |event: &GatewayEvent| matches!(event, GatewayEvent::Command(_, CommandEvent::Dropped(_)));
    assert!(world.events().await.iter().any(is_dropped));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn more_than_may_wait_to_be_routed_are_reported_and_found_later() {
    let mut world =
        world(Service::default(), |builder| builder.with_max_waiting(2).with_max_command_age(600 * SECOND)).await;
    world.onboard("lamp").await;
    world.settle().await;
    world.script("GET /targets/thing:th.lamp/commands/c0", Said::After(5 * SECOND));
    for n in 0..5 {
        world.service().commands.insert(0, listed("th.lamp", &format!("c{n}"), 9 - n, &["a"]));
        world.push(pushed(&format!("c{n}"), &["a"]));
    }
    world.settle().await;
    let mut done = world.done();
    done.sort();
    assert_eq!(done, (0..5).map(|n| format!("th.lamp c{n} a")).collect::<Vec<_>>());
    assert_eq!(world.gateway.counters().dropped, 2);
    assert!(world.events().await.contains(&GatewayEvent::Dropped(command("c4"))));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_that_a_restart_interrupted_is_reported_in_its_nodes_name() {
    let (store, journal) = (MemoryNodeStore::new(), Arc::new(MemoryJournal::new()));
    let first = world(Service::default(), |builder| builder.with_store(store.clone())).await;
    first.onboard("lamp").await;
    first.onboard("fan").await;
    first.end().await;
    let push = CommandPush::from_json(pushed("c1", &["a"]).to_string().as_bytes()).expect("a command");
    let begun = ReceivedCommand::from_push(push, &thing("th.fan"), 1_000_000_000_000);
    assert!(journal.begin(&begun).await.expect("written"));

    let service = Service::default().with_node("lamp").with_node("fan");
    let world = world(service, |builder| builder.with_store(store).with_journal(journal.clone())).await;
    world.settle().await;
    assert!(world.done().is_empty());
    assert_eq!(world.reports(), [("thing:th.fan/commands/c1".to_owned(), "fan-2".to_owned())]);
    assert!(journal.unsettled().await.expect("read").is_empty());
    world.end().await;
}

// Tokens.

#[tokio::test(start_paused = true)]
async fn a_node_whose_token_is_refused_is_onboarded_again() {
    let store = MemoryNodeStore::new();
    let mut world = world(Service::default(), |builder| builder.with_store(store.clone())).await;
    let lamp = world.onboard("lamp").await;
    world.settle().await;
    world.service().nodes.get_mut("th.lamp").expect("there").token = "revoked".to_owned();
    world.script("POST /onboardings", Said::Status(503, "LOCK_FAILED"));
    world.push(pushed_to("th.lamp", "c1", &["a"]));
    world.settle().await;
    assert_eq!(world.done(), ["th.lamp c1 a"]);
    let tokens: Vec<String> = world.reports().into_iter().map(|(_, token)| token).collect();
    assert_eq!(tokens.first().map(String::as_str), Some("lamp-1"));
    assert_eq!(tokens.last().map(String::as_str), Some("lamp-2"), "reported with the new one");
    assert_eq!(lamp.access_token().expose().as_str(), "lamp-2");
    assert_eq!(store.load().await.expect("read")[0].access_token.expose().as_str(), "lamp-2");
    let events = world.events().await;
    assert!(events.iter().any(|event| matches!(event, GatewayEvent::NotRenewed { will_retry: true, .. })));
    assert!(events.contains(&GatewayEvent::Renewed(thing("th.lamp"))));
    assert_eq!(world.heard("POST").len(), 3, "at first, in vain, and again");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn results_that_the_old_token_did_not_report_the_new_one_does_at_once() {
    let world = world(Service::default(), |builder| builder).await;
    world.onboard("lamp").await;
    world.settle().await;
    world.service().nodes.get_mut("th.lamp").expect("there").token = "revoked".to_owned();
    world.push(pushed_to("th.lamp", "c1", &["a"]));
    tokio::time::sleep(5 * SECOND).await;
    let report = |token: &str| ("thing:th.lamp/commands/c1".to_owned(), token.to_owned());
    assert_eq!(world.reports(), [report("lamp-1"), report("lamp-2")]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn without_the_owner_it_leaves_and_says_so() {
    let store = MemoryNodeStore::new();
    let mut world = world(Service::default(), |builder| builder.with_store(store.clone())).await;
    let (lamp, fan) = (world.onboard("lamp").await, world.onboard("fan").await);
    world.settle().await;
    world.gateway.set_owner(None);
    world.service().nodes.get_mut("th.lamp").expect("there").token = "revoked".to_owned();
    let refused = lamp.state().await.expect_err("refused");
    assert!(matches!(refused, NodeError::Refused { status, .. } if status.as_u16() == 403), "{refused}");
    world.settle().await;
    assert_eq!(lamp.departure(), Some(Departure::TokenRefused));
    assert_eq!(world.gateway.nodes().iter().map(|n| n.thing_id().to_string()).collect::<Vec<_>>(), ["th.fan"]);
    assert_eq!(store.load().await.expect("read").len(), 2, "its credential may be of use again");
    let events = world.events().await;
    assert!(events.iter().any(|event| matches!(event,
        GatewayEvent::NotRenewed { will_retry: false, reason, .. } if reason == "no owner is set")));
    assert!(events.iter().any(|event| matches!(event, GatewayEvent::Left { why: Departure::TokenRefused, .. })));
    assert_eq!(fan.departure(), None);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_refusal_that_does_not_last_costs_nothing() {
    let world = world(Service::default(), |builder| builder).await;
    let lamp = world.onboard("lamp").await;
    world.settle().await;
    world.script("GET /targets/thing:th.lamp/states", Said::Status(401, "UNAUTHORIZED"));
    lamp.state().await.expect_err("refused once");
    world.settle().await;
    assert_eq!(world.heard("GET /targets/thing:th.lamp/states").len(), 2, "it was asked for once more");
    assert_eq!((world.heard("POST").len(), lamp.departure()), (1, None));
    assert_eq!(lamp.access_token().expose().as_str(), "lamp-1");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_again_and_again_is_not_asked_for_without_a_pause() {
    let world = world(Service::default(), |builder| builder).await;
    let lamp = world.onboard("lamp").await;
    world.settle().await;
    // The service gives tokens and takes none.
    for _ in 0..2000 {
        world.script("GET /targets/thing:th.lamp", Said::Status(401, "UNAUTHORIZED"));
    }
    for _ in 0..600 {
        lamp.state().await.expect_err("refused");
        tokio::time::sleep(SECOND).await;
    }
    let onboardings = world.heard("POST").len();
    assert!((3..40).contains(&onboardings), "{onboardings} in ten minutes");
    assert_eq!(lamp.departure(), None);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_thing_was_deleted_leaves() {
    let mut world = world(Service::default(), |builder| builder).await;
    let lamp = world.onboard("lamp").await;
    world.settle().await;
    world.service().nodes.clear();
    lamp.state().await.expect_err("gone");
    world.settle().await;
    assert_eq!(lamp.departure(), Some(Departure::Gone));
    assert_eq!(world.heard("POST").len(), 1, "it is not made anew behind its owner's back");
    let events = world.events().await;
    assert!(events.iter().any(|event| matches!(event, GatewayEvent::Left { why: Departure::Gone, .. })));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_is_closed_forgets_no_node() {
    let store = MemoryNodeStore::new();
    let world = world(Service::default(), |builder| builder.with_store(store.clone())).await;
    let lamp = world.onboard("lamp").await;
    world.settle().await;
    world.service().nodes.get_mut("th.lamp").expect("there").token = "revoked".to_owned();
    world.script("POST /onboardings", Said::Nothing);
    lamp.state().await.expect_err("refused");
    tokio::time::sleep(SECOND).await;
    world.end().await;
    assert_eq!(store.load().await.expect("read").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_refuses_everything_for_a_moment_costs_no_node() {
    let store = MemoryNodeStore::new();
    let first = world(Service::default(), |builder| builder.with_store(store.clone())).await;
    first.onboard("lamp").await;
    first.onboard("fan").await;
    first.end().await;
    let service = Service::default().with_node("lamp").with_node("fan");
    let mut world = world(service, |builder| builder.with_store(store.clone())).await;
    let lamp = world.gateway.onboard_once(&node("lamp")).await.expect("known");
    let fan = world.gateway.node(&thing("th.fan")).expect("restored, without its password");
    world.settle().await;
    for call in ["GET /targets/thing:th.lamp/states", "GET /targets/thing:th.fan/states"] {
        (0..2).for_each(|_| world.script(call, Said::Status(401, "UNAUTHORIZED")));
    }
    world.script("POST /onboardings", Said::Status(401, "UNAUTHORIZED"));
    lamp.state().await.expect_err("refused");
    fan.state().await.expect_err("refused");
    world.settle().await;
    assert_eq!((lamp.departure(), fan.departure()), (None, None));
    assert_eq!(store.load().await.expect("read").len(), 2);
    let events = world.events().await;
    let will_retry = |event: &&GatewayEvent| matches!(event, GatewayEvent::NotRenewed { will_retry: true, .. });
    assert_eq!(events.iter().filter(will_retry).count(), 2, "{events:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_known_does_not_wait_for_the_onboarding_of_another() {
    let world = world(Service::default(), |builder| builder).await;
    world.onboard("lamp").await;
    world.script("POST /onboardings", Said::After(8 * SECOND));
    let gateway = world.gateway.clone();
    let slow = tokio::spawn(async move { gateway.onboard(&node("door")).await.map(drop) });
    tokio::time::sleep(SECOND).await;
    let in_time = tokio::time::timeout(SECOND, async {
        world.gateway.onboard_once(&node("lamp")).await.expect("known");
        world.gateway.onboard(&node("lamp")).await.expect("onboarded again")
    });
    let lamp = in_time.await.expect("at once");
    assert_eq!(lamp.access_token().expose().as_str(), "lamp-3", "a new one");
    assert!(!slow.is_finished());
    slow.await.expect("no panic").expect("onboarded");
    world.end().await;
}

// The gateway itself becomes another thing.

#[tokio::test(start_paused = true)]
async fn nodes_follow_a_gateway_that_became_another_thing() {
    let store = MemoryNodeStore::new();
    let first = world(Service::default(), |builder| builder.with_store(store.clone())).await;
    first.onboard("lamp").await;
    first.onboard("fan").await;
    first.end().await;
    let service = Service::default().with_node("lamp").with_node("fan");
    let mut world = world(service, |builder| builder.with_store(store.clone())).await;
    let lamp = world.gateway.onboard_once(&node("lamp")).await.expect("known");
    let fan = world.gateway.node(&thing("th.fan")).expect("restored, without its password");
    lamp.set_online(true);
    fan.set_online(true);
    world.settle().await;

    // Nothing of what the new thing is told of its nodes meanwhile is believed.
    (0..2).for_each(|_| world.script("POST /onboardings", Said::Status(503, "LOCK_FAILED")));
    world.become_thing("th.2");
    tokio::time::sleep(5 * SECOND).await;
    assert!(matches!(lamp.unpair().await, Err(NodeError::Refused { .. })), "it is not off: it is elsewhere");
    world.settle().await;
    assert_eq!((lamp.departure(), fan.departure()), (None, Some(Departure::OtherGateway)));
    let onboardings = world.heard("POST /onboardings");
    assert!(onboardings.iter().all(|heard| heard.body.contains("\"gatewayThingID\":\"th.2\"")), "{onboardings:?}");
    assert_eq!(world.service().nodes["th.lamp"].online, Some(true), "told to the new thing");
    let mut stored: Vec<_> = store.load().await.expect("read");
    stored.sort_by(|a, b| a.thing_id.cmp(&b.thing_id));
    let stored: Vec<_> = stored.iter().map(|node| (node.thing_id.as_str(), node.gateway.as_str())).collect();
    assert_eq!(stored, [("th.fan", "th.1"), ("th.lamp", "th.2")]);
    let events = world.events().await;
    assert!(events.contains(&GatewayEvent::Renewed(thing("th.lamp"))), "{events:?}");
    assert!(!events.iter().any(|event| matches!(event, GatewayEvent::Left { why: Departure::Unpaired, .. })));
    world.push(pushed_to("th.lamp", "c1", &["a"]));
    world.settle().await;
    assert_eq!(world.done(), ["th.lamp c1 a"]);

    // And the other comes back when its password is known.
    world.gateway.onboard_once(&node("fan")).await.expect("onboarded");
    assert_eq!(world.gateway.nodes().len(), 2);
    world.end().await;
}

// What is not known of a command.

#[tokio::test(start_paused = true)]
async fn questions_that_wait_for_their_turn_hold_up_the_others_for_seconds_alone() {
    // Of which a quarter is for the gateway's own calls.
    let four = config().with_max_in_flight(4).expect("in range");
    let world = world_with(four, Service::default(), |builder| builder).await;
    let vendors = ["lamp", "fan", "door", "bell"];
    for vendor in vendors {
        world.onboard(vendor).await;
    }
    world.settle().await;
    for vendor in vendors {
        world.script(&format!("GET /targets/thing:th.{vendor}/commands/c1"), Said::Nothing);
    }
    world.push(pushed("c1", &["a"]));
    world.push(pushed_to("th.fan", "c2", &["b"]));
    tokio::time::sleep(8 * SECOND).await;
    assert_eq!(world.done(), ["th.fan c2 b"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_that_nobody_can_look_for_is_told_and_counted() {
    let mut world = world(Service::default(), |builder| builder).await;
    world.onboard("lamp").await;
    world.settle().await;
    world.script("GET /targets/thing:th.1/commands/c1", Said::Status(503, "LOCK_FAILED"));
    world.push(pushed("c1", &["a"]));
    world.settle().await;
    assert_eq!(world.gateway.counters().undetermined, 1);
    let why = Unrouted::Undetermined(vec![thing(OWN)]);
    assert!(world.events().await.contains(&GatewayEvent::Unrouted(command("c1"), why)));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_names_the_commands_of_others_makes_nobody_do_them() {
    let world = world(Service::default(), |builder| builder).await;
    world.service().lists_everything = true;
    world.service().commands =
        vec![listed("th.fan", "c2", 1, &["b"]), listed("th.lamp", "c1", 2, &["a"]), listed("th.door", "c0", 3, &["c"])];
    world.onboard("lamp").await;
    world.onboard("fan").await;
    world.settle().await;
    let mut done = world.done();
    done.sort();
    assert_eq!(done, ["th.fan c2 b", "th.lamp c1 a"]);
    assert_eq!(world.reports().len(), 2);
    world.end().await;
}
