//! Onboarding, gateways and what is behind them, firmware versions and thing types: what needs more than one request. Single
//! requests are in `rest_table`.
#![cfg(feature = "cloud")]

mod cloud_support;

use cloud_support::names::Names;
use cloud_support::*;
use serde_json::{Value, json};
use thingif::cloud::{AdminClient, Cloud, Options};
use thingif::edge::PushOutcome;

const ADMIN: &str = "administrator";
const ADMIN_SECRET: &str = "a secret of 32 random characters";

fn with_admin() -> Options {
    let mut options = options();
    options.throttle_logins = false;
    options.admins = vec![AdminClient {
        app: APP.parse().expect("valid"),
        client_id: ADMIN.to_owned(),
        client_secret: ADMIN_SECRET.into(),
    }];
    options
}

/// Ann has two gateways and a lamp that is behind nothing; behind her first one is a bulb. Bob has a gateway.
struct World {
    served: Served,
    names: Names,
    pushed: std::sync::Arc<Recorder>,
}

impl World {
    async fn start(options: Options) -> Self {
        let pushed = Recorder::new(PushOutcome::Queued);
        let cloud = Cloud::open(options, pushed.clone()).expect("opens");
        let served = Served::start(cloud).await;
        let http = &served.http;
        let mut names = Names::default();
        let (ann, ann_token) = user(http, APP, KEY, "ann").await;
        let (bob, bob_token) = user(http, APP, KEY, "bob").await;
        let (_, stranger) = user(http, OTHER_APP, OTHER_KEY, "ann").await;
        for (name, id, token, vendor, owner) in [
            ("{GW}", "$gw", "{T}", "gateway", (&ann, &ann_token)),
            ("{GW2}", "$gw2", "{T2}", "gateway-2", (&ann, &ann_token)),
            ("{LAMP}", "$lamp", "{TL}", "lamp", (&ann, &ann_token)),
            ("{BOBS}", "$bobs", "{TB}", "bobs", (&bob, &bob_token)),
        ] {
            let made = onboard_by_owner(http, APP, vendor, owner.0, owner.1).await;
            names.add(name, made.text("thingID"));
            names.add(id, made.text("accessToken"));
            names.add(token, made.json()["mqttEndpoint"]["mqttTopic"].as_str().expect("text"));
        }
        let foreign = onboard(http, OTHER_APP, OTHER_KEY, "gateway").await;
        names.add("{FOREIGN}", foreign.text("thingID"));
        for (token, client, secret) in [("$admin", ADMIN, ADMIN_SECRET), ("$anybody", APP, KEY)] {
            let body = json!({"grant_type": "client_credentials", "client_id": client, "client_secret": secret});
            let headers = [("Content-Type", "application/json")];
            let path = format!("/api/apps/{APP}/oauth2/token");
            names.add(token, http.send("POST", &path, &headers, &body.to_string()).await.text("access_token"));
        }
        names.add("{APP}", APP);
        names.add("{ann}", ann);
        names.add("{bob}", bob);
        names.add("$ann", ann_token);
        names.add("$bob", bob_token);
        names.add("$stranger", stranger);
        names.add("$key", basic(APP, KEY));
        names.add("$otherkey", basic(OTHER_APP, OTHER_KEY));
        let mut world = Self { served, names, pushed };
        let bulb = world.onboard_node("bulb").await;
        world.names.add("{EN}", bulb.text("endNodeThingID"));
        world.names.add("$en", bulb.text("accessToken"));
        world
    }

    fn http(&self) -> &Road {
        &self.served.http
    }

    async fn send(&self, line: &str, authorization: &str, content_type: &str, body: &str) -> Answer {
        let (method, path) = line.split_once(' ').expect("method and path");
        let authorization = self.names.fill(authorization);
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", content_type)];
        self.http().send(method, &self.names.fill(path), &headers, &self.names.fill(body)).await
    }

    async fn onboard_node(&self, vendor: &str) -> Answer {
        let body = format!(
            r#"{{"gatewayThingID":"{{GW}}","endNodeVendorThingID":"{vendor}","endNodePassword":"secret of {vendor}","owner":"user:{{ann}}"}}"#
        );
        let answer = self.send(&format!("POST {ONBOARDINGS}"), "Bearer $ann", BY_ID, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    async fn stop(self) {
        self.served.stop().await;
    }
}

const ONBOARDINGS: &str = "/thing-if/apps/{APP}/onboardings";
const J: &str = "application/json";
const BY_ID: &str = "application/vnd.kii.OnboardingEndNodeWithGatewayThingID+json";
const BY_VENDOR: &str = "application/vnd.kii.OnboardingEndNodeWithGatewayVendorThingID+json";
const BO: &str = BY_OWNER;
const POST: &str = "POST /thing-if/apps/{APP}/onboardings";

/// One known gateway takes everything up to the first `}` for the whole body.
#[tokio::test]
async fn an_end_node_is_answered_in_one_flat_object() {
    let world = World::start(with_admin()).await;
    let answer = world.onboard_node("flat").await;
    let (id, token) = (answer.text("endNodeThingID"), answer.text("accessToken"));
    let body = format!("{{\n  \"accessToken\" : \"{token}\",\n  \"endNodeThingID\" : \"{id}\"\n}}");
    assert_eq!(answer.body, body);
    world.stop().await;
}

#[tokio::test]
async fn an_onboarding_keeps_what_it_says_and_a_later_one_what_is_new() {
    let world = World::start(with_admin()).await;
    let first = r#"{"vendorThingID":"v","thingPassword":"p","owner":"user:{ann}","thingType":"lamp","firmwareVersion":"v1",
        "layoutPosition":"GATEWAY","thingProperties":{"room":{"floor":1}}}"#;
    let id = world.send(POST, "Bearer $ann", BO, first).await.text("thingID");
    let path = format!("GET /api/apps/{APP}/things/{id}");
    let shown = |version: &str, position: &str, created: &Value| {
        json!({"_thingID": id, "_vendorThingID": "v", "_thingType": "lamp", "_firmwareVersion": version,
            "_layoutPosition": position, "_created": created, "_disabled": false, "room": {"floor": 1}})
    };
    let thing = world.send(&path, "Bearer $ann", J, "").await.json();
    let created = thing["_created"].clone();
    assert_eq!(thing, shown("v1", "GATEWAY", &created));

    let second = r#"{"vendorThingID":"v","thingPassword":"p","owner":"user:{ann}","thingType":"other","firmwareVersion":"v2",
        "layoutPosition":"STANDALONE","thingProperties":{"room":2}}"#;
    assert_eq!(world.send(POST, "Bearer $ann", BO, second).await.text("thingID"), id);
    let thing = world.send(&path, "Bearer $ann", J, "").await.json();
    assert_eq!(thing, shown("v2", "STANDALONE", &created), "type and fields are as they were made");

    let end_node = r#"{"gatewayVendorThingID":"gateway","endNodeVendorThingID":"e","endNodePassword":"p","owner":"user:{ann}",
        "endNodeThingType":"bulb","endNodeFirmwareVersion":"v3","endNodeThingProperties":{"a":1}}"#;
    let id = world.send(POST, "Bearer $ann", BY_VENDOR, end_node).await.text("endNodeThingID");
    let path = format!("GET /api/apps/{APP}/things/{id}");
    let thing = world.send(&path, "Bearer $ann", J, "").await.json();
    let created = thing["_created"].clone();
    let shown = json!({"_thingID": id, "_vendorThingID": "e", "_thingType": "bulb", "_firmwareVersion": "v3",
        "_layoutPosition": "ENDNODE", "_created": created, "_disabled": false, "a": 1});
    assert_eq!(thing, shown);
    world.stop().await;
}

#[tokio::test]
async fn tokens_that_were_given_for_a_gateway_end_with_what_it_is_of_the_end_node() {
    let world = World::start(with_admin()).await;
    let states = "GET /thing-if/apps/{APP}/targets/thing:{EN}/states";
    let code = async |token: &str| world.send(states, &format!("Bearer {token}"), J, "").await.code();
    let own = onboard(world.http(), APP, KEY, "bulb").await.text("accessToken");
    let give = "POST /api/apps/{APP}/things/{GW}/end-nodes/{EN}/token";
    let given = world.send(give, "Bearer $gw", J, r#"{"expires_in":1000}"#).await;
    let renew = async |given: &Answer| {
        let body = json!({ "grant_type": "refresh_token", "refresh_token": given.text("refresh_token") }).to_string();
        world.http().send("POST", &format!("/api/apps/{APP}/oauth2/token"), &[("Content-Type", J)], &body).await
    };
    let renewed = renew(&given).await;
    for token in ["$en", &own, &renewed.text("access_token")] {
        assert_eq!(code(token).await, "STATE_NOT_FOUND");
    }
    let unpair = "DELETE /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}";
    assert_eq!(world.send(unpair, "Bearer $ann", J, "").await.status, 204);
    for token in ["$en", &renewed.text("access_token")] {
        assert_eq!(code(token).await, "WRONG_TOKEN");
    }
    assert_eq!(renew(&renewed).await.code(), "WRONG_REFRESH_TOKEN");
    assert_eq!(code(&own).await, "STATE_NOT_FOUND", "its own stays");

    let again = world.onboard_node("bulb").await.text("accessToken");
    assert_eq!(code(&again).await, "STATE_NOT_FOUND");
    assert_eq!(world.send("DELETE /api/apps/{APP}/things/{GW}", "Bearer $ann", J, "").await.status, 204);
    assert_eq!(code(&again).await, "WRONG_TOKEN");
    assert_eq!(code(&own).await, "STATE_NOT_FOUND");
    world.stop().await;
}

/// Deep values take many times their size once they are printed.
#[tokio::test]
async fn an_onboarding_says_no_more_of_a_thing_than_an_answer_shows() {
    let world = World::start(with_admin()).await;
    let deep = (0..90).fold(json!(1), |inner, _| json!({ "a": inner }));
    let onboard = async |vendor: &str, times: usize| {
        let body =
            json!({ "vendorThingID": vendor, "thingPassword": "p", "thingProperties": { "a": vec![&deep; times] } });
        assert!(body.to_string().len() < 63 * 1024, "it is not long as it is sent");
        world.send(&format!("POST {ONBOARDINGS}"), "$key", BY_THING, &body.to_string()).await
    };
    assert_eq!(onboard("deep", 2).await.status, 200);
    assert_eq!(onboard("deeper", 100).await.code(), "INVALID_INPUT_DATA");
    let made = world.send("GET /api/apps/{APP}/things/VENDOR_THING_ID:deeper", "Bearer $admin", "", "").await;
    assert_eq!(made.code(), "THING_NOT_FOUND");
    world.stop().await;
}

#[tokio::test]
async fn the_list_of_end_nodes_is_whole_page_by_page() {
    let world = World::start(with_admin()).await;
    let mut all = vec![(world.names.fill("{EN}"), "bulb".to_owned())];
    for n in 0..6 {
        let vendor = format!("node-{n}");
        all.push((world.onboard_node(&vendor).await.text("endNodeThingID"), vendor));
    }
    all.sort();
    // One client sends the key back under the name that it came with.
    for name in ["paginationKey", "nextPaginationKey"] {
        let (mut seen, mut query) = (Vec::new(), "?bestEffortLimit=3".to_owned());
        loop {
            let path = format!("GET /thing-if/apps/{APP}/things/{{GW}}/end-nodes{query}");
            let page = world.send(&path, "Bearer $gw", J, "").await.json();
            for row in page["results"].as_array().expect("a list") {
                let text = |field: &str| row[field].as_str().expect("text").to_owned();
                seen.push((text("thingID"), text("vendorThingID")));
            }
            let Some(key) = page["nextPaginationKey"].as_str() else { break };
            assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')), "{key}");
            query = format!("?bestEffortLimit=3&{name}={key}");
        }
        assert_eq!(seen, all);
    }
    world.stop().await;
}

#[tokio::test]
async fn what_a_gateway_says_of_a_connection_is_kept_with_its_time() {
    let mut options = with_admin();
    let now = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(1_000));
    let read = now.clone();
    options.clock = thingif::cloud::Clock::new(move || {
        std::time::UNIX_EPOCH + std::time::Duration::from_millis(read.load(std::sync::atomic::Ordering::SeqCst))
    });
    let world = World::start(options).await;
    let node = async || world.send("GET /api/apps/{APP}/things/{EN}", "Bearer $gw", J, "").await.json();
    assert_eq!(node().await.get("_online"), None, "nobody has said");
    for (at, online) in [(2_000, true), (3_000, false), (4_000, false)] {
        now.store(at, std::sync::atomic::Ordering::SeqCst);
        let body = json!({ "online": online }).to_string();
        let path = "PUT /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}/connection";
        assert_eq!(world.send(path, "Bearer $gw", J, &body).await.status, 204);
        let node = node().await;
        assert_eq!((&node["_online"], &node["_onlineStatusModifiedAt"]), (&json!(online), &json!(at)));
    }
    world.stop().await;
}

const COMMAND: &str = r#"{"issuer":"user:{ann}","schema":"S","schemaVersion":1,"actions":[{"on":{}}]}"#;

#[tokio::test]
async fn a_command_for_an_end_node_goes_to_its_gateway_and_comes_back_through_it() {
    let world = World::start(with_admin()).await;
    let posted = world.send("POST /thing-if/apps/{APP}/targets/thing:{EN}/commands", "Bearer $ann", J, COMMAND).await;
    let command = posted.text("commandID");
    let pushed = world.pushed.take();
    let [(topic, payload)] = pushed.as_slice() else { panic!("{pushed:?}") };
    assert_eq!(topic.to_string(), world.names.fill("{T}"));
    let push: Value = serde_json::from_slice(payload).expect("JSON");
    let issuer = world.names.fill("user:{ann}");
    assert_eq!(
        push,
        json!({"schema": "S", "schemaVersion": 1, "commandID": command, "actions": [{"on": {}}], "issuer": issuer}),
        "as for any thing"
    );
    let path = format!("/thing-if/apps/{APP}/targets/thing:{{EN}}/commands/{command}");
    let results = r#"{"actionResults":[{"on":{"succeeded":true}}]}"#;
    for (token, status) in [("Bearer $gw2", 401), ("Bearer $bobs", 401), ("Bearer $gw", 204)] {
        let answer = world.send(&format!("PUT {path}/action-results"), token, J, results).await;
        assert_eq!(answer.status, status, "{token}");
    }
    let read = world.send(&format!("GET {path}"), "Bearer $gw", J, "").await;
    assert_eq!(read.text("commandState"), "DONE");

    // Behind another gateway it is that one's; behind none its own, and it has none.
    world.pushed.take();
    let unpair = "DELETE /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}";
    assert_eq!(world.send(unpair, "Bearer $ann", J, "").await.status, 204);
    let post = "POST /thing-if/apps/{APP}/targets/thing:{EN}/commands";
    assert_eq!(world.send(post, "Bearer $ann", J, COMMAND).await.status, 201);
    assert!(world.pushed.take().is_empty());
    let add = "PUT /api/apps/{APP}/things/{GW2}/end-nodes/{EN}";
    assert_eq!(world.send(add, "Bearer $ann", J, "").await.status, 204);
    assert_eq!(world.send(post, "Bearer $ann", J, COMMAND).await.status, 201);
    let topics: Vec<_> = world.pushed.take().into_iter().map(|(topic, _)| topic.to_string()).collect();
    assert_eq!(topics, [world.names.fill("{T2}")]);
    world.stop().await;
}

#[tokio::test]
async fn what_an_end_node_has_subscribed_to_goes_to_its_gateway() {
    let world = World::start(with_admin()).await;
    for path in [
        "PUT /api/apps/{APP}/buckets/bb/filters/all/push/subscriptions/things/{EN}",
        "PUT /api/apps/{APP}/topics/news",
        "PUT /api/apps/{APP}/topics/news/push/subscriptions/things/{EN}",
        // What lets the two hear of each other.
        "PUT /api/apps/{APP}/things/{EN}/buckets/bb/filters/all/push/subscriptions/things/{GW}",
        "PUT /api/apps/{APP}/things/{EN}/buckets/bb/filters/all/push/subscriptions/things/{BOBS}",
    ] {
        assert_eq!(world.send(path, "Bearer $admin", J, "").await.status, 204, "{path}");
    }
    let message = r#"{"data":{"n":1},"mqtt":{"enabled":true}}"#;
    let sends = [
        ("POST /api/apps/{APP}/buckets/bb/objects", "{}", 201),
        ("POST /api/apps/{APP}/topics/news/push/messages", message, 200),
        ("POST /api/apps/{APP}/things/{EN}/push/messages", message, 200),
    ];
    for (path, body, status) in sends {
        assert_eq!(world.send(path, "Bearer $admin", J, body).await.status, status, "{path}");
        let pushed = loop {
            match world.pushed.take() {
                none if none.is_empty() => tokio::task::yield_now().await,
                some => break some,
            }
        };
        let topics: Vec<_> = pushed.into_iter().map(|(topic, _)| topic.to_string()).collect();
        assert_eq!(topics, [world.names.fill("{T}")], "{path}");
    }
    // Unpaired, the gateway hears no more of it; who never had to do with either, by the administrator's word, still does.
    let unpair = "DELETE /thing-if/apps/{APP}/things/{GW}/end-nodes/{EN}";
    let subscribed = "GET /api/apps/{APP}/things/{EN}/buckets/bb/filters/all/push/subscriptions/things/";
    assert_eq!(world.send(&format!("{subscribed}{{GW}}"), "Bearer $admin", J, "").await.status, 204);
    assert_eq!(world.send(unpair, "Bearer $ann", J, "").await.status, 204);
    let owned = world.send("DELETE /api/apps/{APP}/things/{EN}/ownership/user:{ann}", "Bearer $admin", J, "").await;
    assert_eq!(owned.status, 204, "{owned:?}");
    assert_eq!(world.send(&format!("{subscribed}{{GW}}"), "Bearer $admin", J, "").await.status, 404);
    assert_eq!(world.send(&format!("{subscribed}{{BOBS}}"), "Bearer $admin", J, "").await.status, 204);
    world.stop().await;
}

#[tokio::test]
async fn a_push_names_its_target_where_that_is_wanted() {
    let mut options = with_admin();
    options.name_push_target = true;
    let world = World::start(options).await;
    for target in ["{EN}", "{GW}"] {
        let path = format!("POST /thing-if/apps/{APP}/targets/thing:{target}/commands");
        assert_eq!(world.send(&path, "Bearer $ann", J, COMMAND).await.status, 201);
        let pushed = world.pushed.take();
        let push: Value = serde_json::from_slice(&pushed[0].1).expect("JSON");
        assert_eq!(push["target"], world.names.fill(&format!("thing:{target}")));
        assert_eq!(pushed[0].0.to_string(), world.names.fill("{T}"));
    }
    world.stop().await;
}

/// As one SDK of gateways does it: with nothing but the application's id, and the gateway's own token.
#[tokio::test]
async fn a_gateway_adopts_what_was_registered_as_an_end_node_and_has_no_owner() {
    let world = World::start(with_admin()).await;
    let registration = "application/vnd.kii.ThingRegistrationRequest+json";
    let register = async |vendor: &str, position: &str| {
        let body = json!({"_vendorThingID": vendor, "_password": "p", "_layoutPosition": position}).to_string();
        world.send("POST /api/apps/{APP}/things", "$key", registration, &body).await.text("_thingID")
    };
    let (node, lone) = (register("node", "END_NODE").await, register("lone", "STANDALONE").await);
    let add = async |token: &str, node: &str| {
        let answer = world.send(&format!("PUT /api/apps/{APP}/things/{{GW}}/end-nodes/{node}"), token, J, "").await;
        (answer.status, answer.code())
    };
    let not_for_it = (401, "UNAUTHORIZED".to_owned());
    assert_eq!(add("Bearer $gw", &lone).await, not_for_it, "nobody has said that it is to be behind a gateway");
    assert_eq!(add("Bearer $gw", "VENDOR_THING_ID:node").await, not_for_it, "a maker's id can be guessed");
    assert_eq!(add("Bearer $gw2", &node).await, not_for_it, "another gateway");
    assert_eq!(add("Bearer $gw", &node).await, (204, String::new()));
    let token = format!("POST /api/apps/{APP}/things/{{GW}}/end-nodes/{node}/token");
    let token = world.send(&token, "Bearer $gw", J, r#"{"expires_in":3600}"#).await.text("access_token");
    let states = format!("/thing-if/apps/{APP}/targets/thing:{node}/states");
    assert_eq!(world.http().call("PUT", &states, &token, r#"{"on":true}"#).await.status, 201);
    assert_eq!(world.http().call("GET", &states, &world.names.fill("$gw"), "").await.status, 200);
    world.stop().await;
}

#[tokio::test]
async fn a_deleted_gateway_leaves_its_end_nodes_and_a_deleted_end_node_its_gateway() {
    let world = World::start(with_admin()).await;
    let nodes = "GET /thing-if/apps/{APP}/things/{GW}/end-nodes";
    let heater = world.onboard_node("heater").await.text("endNodeThingID");
    let gone = world.send("DELETE /api/apps/{APP}/things/{EN}", "Bearer $gw", J, "").await;
    assert_eq!(
        (gone.status, gone.code()),
        (401, "UNAUTHORIZED".to_owned()),
        "a gateway does not end what is behind it"
    );
    assert_eq!(world.send("DELETE /api/apps/{APP}/things/{EN}", "Bearer $ann", J, "").await.status, 204);
    let left = json!({"results": [{"thingID": heater, "vendorThingID": "heater"}]});
    assert_eq!(world.send(nodes, "Bearer $gw", J, "").await.json(), left);

    assert_eq!(world.send("DELETE /api/apps/{APP}/things/{GW}", "Bearer $ann", J, "").await.status, 204);
    let path = format!("PUT /api/apps/{APP}/things/{{GW2}}/end-nodes/{heater}");
    assert_eq!(world.send(&path, "Bearer $ann", J, "").await.status, 204, "it is behind nothing any more");
    world.stop().await;
}
