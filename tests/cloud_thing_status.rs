//! A thing that its owner disables: what it, its gateway and whoever has found it can do no more, and its owner still can.
#![cfg(feature = "cloud")]

mod cloud_support;
#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;

use std::net::SocketAddr;
use std::sync::Arc;

use cloud_support::*;
use raw_mqtt::{Client, connect};
use serde_json::{Value, json};
use thingif::cloud::{AdminClient, Cloud};
use thingif::edge::{Config, Edge, Listeners, Registry};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const ADMIN: &str = "administrator";
const ADMIN_SECRET: &str = "a secret of 32 random characters";
const STATUS: &str = "application/vnd.kii.ThingStatusUpdateRequest+json";
const PASSWORD: &str = "application/vnd.kii.ChangeThingPasswordRequest+json";

struct World {
    served: Served,
    mqtt: SocketAddr,
    stop: oneshot::Sender<()>,
    edge: tokio::task::JoinHandle<std::io::Result<()>>,
    /// Who owns everything, and an administrator: id and token.
    ann: (String, String),
    admin: String,
}

impl World {
    async fn start() -> Self {
        let mut options = options();
        options.throttle_logins = false;
        options.admins = vec![AdminClient {
            app: APP.parse().expect("valid"),
            client_id: ADMIN.to_owned(),
            client_secret: ADMIN_SECRET.into(),
        }];
        let registry = Registry::new();
        let cloud = Cloud::open(options, Arc::new(registry.clone())).expect("opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mqtt = listener.local_addr().expect("bound");
        let edge = Edge::new(cloud.service(), cloud.clone(), registry, Config::default());
        let (stop, stopped) = oneshot::channel();
        let edge = tokio::spawn(edge.run(Listeners { mqtt: Some(listener), ..Listeners::default() }, stopped));
        let served = Served::start(cloud).await;
        let ann = user(&served.http, APP, KEY, "ann").await;
        let body = json!({"client_id": ADMIN, "client_secret": ADMIN_SECRET}).to_string();
        let path = format!("/api/apps/{APP}/oauth2/token");
        let admin = served.http.send("POST", &path, &[("Content-Type", "application/json")], &body).await;
        Self { served, mqtt, stop, edge, ann, admin: admin.text("access_token") }
    }

    async fn send(&self, line: &str, token: &str, media_type: &str, body: &Value) -> Answer {
        let (method, path) = line.split_once(' ').expect("method and path");
        let bearer = format!("Bearer {token}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", media_type)];
        self.served.http.send(method, path, &headers, &body).await
    }

    async fn set(&self, thing: &str, token: &str, disabled: bool) -> (u16, String) {
        let line = format!("PUT /api/apps/{APP}/things/{thing}/status");
        let answer = self.send(&line, token, STATUS, &json!({ "disabled": disabled })).await;
        (answer.status, answer.code())
    }

    async fn log_in(&self, vendor: &str, password: &str) -> Answer {
        let body =
            json!({"username": format!("VENDOR_THING_ID:{vendor}"), "password": password, "expiresAt": i64::MAX});
        let path = format!("/api/apps/{APP}/oauth2/token");
        self.served.http.send("POST", &path, &[("Content-Type", "application/json")], &body.to_string()).await
    }

    /// The code of the CONNACK.
    async fn connects(&self, credential: &Value) -> (Client<tokio::net::TcpStream>, u8) {
        let text = |name: &str| credential["mqttEndpoint"][name].as_str().expect("a text").to_owned();
        let mut client = Client::dial(self.mqtt).await;
        let code = client.connect(connect(&text("mqttTopic"), &text("username"), &text("password"))).await;
        (client, code)
    }

    async fn stop(self) {
        self.stop.send(()).expect("running");
        self.edge.await.expect("no panic").expect("served");
        self.served.stop().await;
    }
}

fn told(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

fn disabled() -> (u16, String) {
    (401, "THING_DISABLED".to_owned())
}

#[tokio::test]
async fn a_disabled_thing_is_shut_out_and_its_owner_is_not() {
    let world = World::start().await;
    let lamp = onboard_by_owner(&world.served.http, APP, "lamp", &world.ann.0, &world.ann.1).await.json();
    let (id, token) = (lamp["thingID"].as_str().expect("an id"), lamp["accessToken"].as_str().expect("a token"));
    let login = world.log_in("lamp", "secret of lamp").await;
    assert_eq!(login.status, 200, "{login:?}");
    let (mut device, code) = world.connects(&lamp).await;
    assert_eq!(code, 0);
    let states = format!("/thing-if/apps/{APP}/targets/thing:{id}/states");
    assert_eq!(world.send(&format!("PUT {states}"), token, "application/json", &json!({"on": 1})).await.status, 201);

    // Not by the thing, not by anybody; by whichever of its names; twice is no error.
    assert_eq!(world.set(id, token, true).await, (401, "UNAUTHORIZED".to_owned()));
    let bob = user(&world.served.http, APP, KEY, "bob").await;
    assert_eq!(world.set(id, &bob.1, true).await, (401, "UNAUTHORIZED".to_owned()));
    let thing = format!("GET /api/apps/{APP}/things/{id}");
    assert_eq!(world.send(&thing, &world.ann.1, "", &Value::Null).await.json()["_disabled"], false);
    assert_eq!(world.set("VENDOR_THING_ID:lamp", &world.ann.1, true).await, (204, String::new()));
    assert_eq!(world.set(id, &world.admin, true).await, (204, String::new()));

    device.expect_end().await;
    assert_eq!(world.connects(&lamp).await.1, 5, "not authorised");
    for line in [format!("GET {states}"), format!("PUT {states}"), thing.clone()] {
        let answer = world.send(&line, token, "application/json", &json!({})).await;
        assert_eq!((told(&answer), answer.text("thingID")), (disabled(), id.to_owned()), "{line}");
    }
    let status = format!("/api/apps/{APP}/things/{id}/status");
    assert_eq!(
        told(&world.send(&format!("PUT {status}"), token, STATUS, &json!({"disabled": false})).await),
        disabled()
    );
    assert_eq!(told(&world.log_in("lamp", "secret of lamp").await), disabled());
    assert_eq!(world.log_in("lamp", "wrong").await.status, 400, "who does not know the password is told nothing");
    assert_eq!(told(&onboard(&world.served.http, APP, KEY, "lamp").await), disabled());
    assert_eq!(told(&onboard_by_owner(&world.served.http, APP, "lamp", &world.ann.0, &world.ann.1).await), disabled());
    let refresh = json!({"grant_type": "refresh_token", "refresh_token": login.text("refresh_token")}).to_string();
    let path = format!("/api/apps/{APP}/oauth2/token");
    let headers = [("Content-Type", "application/json")];
    assert_eq!(told(&world.served.http.send("POST", &path, &headers, &refresh).await), disabled());

    // Its owner sees that, and all that it has.
    assert_eq!(world.send(&thing, &world.ann.1, "", &Value::Null).await.json()["_disabled"], true);
    let read = world.send(&format!("GET {states}"), &world.ann.1, "", &Value::Null).await;
    assert_eq!(read.json(), json!({"on": 1}));

    // Enabled, it begins anew; what was given out before is worth nothing.
    assert_eq!(world.set(id, &world.ann.1, false).await, (204, String::new()));
    assert_eq!(told(&world.send(&format!("GET {states}"), token, "", &Value::Null).await), (403, "WRONG_TOKEN".into()));
    assert_eq!(told(&world.served.http.send("POST", &path, &headers, &refresh).await).0, 403);
    let again = onboard(&world.served.http, APP, KEY, "lamp").await;
    assert_eq!((again.status, again.text("thingID")), (200, id.to_owned()));
    let (mut device, code) = world.connects(&again.json()).await;
    assert_eq!(code, 0);
    device.ping().await;
    let put = format!("PUT {states}");
    assert_eq!(world.send(&put, &again.text("accessToken"), "application/json", &json!({})).await.status, 204);
    world.stop().await;
}

#[tokio::test]
async fn a_disabled_end_node_is_out_of_its_gateways_reach() {
    let world = World::start().await;
    let http = &world.served.http;
    let gateway = onboard_by_owner(http, APP, "gateway", &world.ann.0, &world.ann.1).await.json();
    let (gw, token) = (gateway["thingID"].as_str().expect("an id"), gateway["accessToken"].as_str().expect("a token"));
    let body = json!({"gatewayThingID": gw, "endNodeVendorThingID": "node", "endNodePassword": "secret of node",
        "owner": format!("user:{}", world.ann.0)});
    let media_type = "application/vnd.kii.OnboardingEndNodeWithGatewayThingID+json";
    let onboardings = format!("POST /thing-if/apps/{APP}/onboardings");
    let node = world.send(&onboardings, &world.ann.1, media_type, &body).await;
    let id = node.text("endNodeThingID");
    let (mut device, _) = world.connects(&gateway).await;
    let topic = gateway["mqttEndpoint"]["mqttTopic"].as_str().expect("a topic");
    assert_eq!(device.subscribe(&[topic]).await, [0]);

    let states = format!("PUT /thing-if/apps/{APP}/targets/thing:{id}/states");
    let node_token = format!("POST /api/apps/{APP}/things/{gw}/end-nodes/{id}/token");
    let commands = format!("POST /thing-if/apps/{APP}/targets/thing:{id}/commands");
    let command = json!({"issuer": format!("user:{}", world.ann.0), "schema": "S", "schemaVersion": 1,
        "actions": [{"on": {}}]});
    for disable in [false, true] {
        if disable {
            assert_eq!(world.set(&id, &world.ann.1, true).await, (204, String::new()));
            assert_eq!(told(&world.send(&onboardings, &world.ann.1, media_type, &body).await), disabled());
        }
        let put = world.send(&states, token, "application/json", &json!({})).await;
        let given = world.send(&node_token, token, "application/json", &json!({})).await;
        let own = world.send(&states, &node.text("accessToken"), "application/json", &json!({})).await;
        let posted = world.send(&commands, &world.ann.1, "application/json", &command).await;
        assert_eq!(posted.status, 201, "its owner may, and it lies there: {posted:?}");
        if disable {
            assert_eq!(told(&put), (401, "UNAUTHORIZED".to_owned()));
            assert_eq!((told(&given), told(&own)), (disabled(), disabled()));
            device.ping().await;
        } else {
            assert_eq!((put.status, given.status, own.status), (201, 200, 204));
            let (on, push) = device.publication().await;
            assert!(on == topic && push.contains(&posted.text("commandID")), "{on} {push}");
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn the_administrator_gives_a_thing_another_password() {
    let world = World::start().await;
    let lamp = onboard_by_owner(&world.served.http, APP, "lamp", &world.ann.0, &world.ann.1).await.json();
    let (id, token) = (lamp["thingID"].as_str().expect("an id"), lamp["accessToken"].as_str().expect("a token"));
    let line = format!("PUT /api/apps/{APP}/things/{id}/password");
    let body = json!({"newPassword": "another"});
    for (who, media_type, body, expected) in [
        (token, PASSWORD, body.clone(), (401, "UNAUTHORIZED")),
        (&world.ann.1, PASSWORD, body.clone(), (401, "UNAUTHORIZED")),
        (&world.admin, "text/plain", body.clone(), (400, "INVALID_INPUT_DATA")),
        (&world.admin, PASSWORD, json!({}), (400, "INVALID_INPUT_DATA")),
        (&world.admin, PASSWORD, json!({"newPassword": ""}), (400, "INVALID_INPUT_DATA")),
        (&world.admin, PASSWORD, body.clone(), (204, "")),
    ] {
        let answer = world.send(&line, who, media_type, &body).await;
        assert_eq!((answer.status, answer.code().as_str()), expected, "{media_type} {body}");
    }
    assert_eq!(world.log_in("lamp", "secret of lamp").await.status, 400);
    assert_eq!(world.log_in("lamp", "another").await.status, 200);
    let read = world.send(&format!("GET /api/apps/{APP}/things/{id}"), token, "", &Value::Null).await;
    assert_eq!(read.status, 200, "its tokens stay valid");
    for body in [json!({}), json!({"disabled": "yes"}), json!([])] {
        let answer = world.send(&format!("PUT /api/apps/{APP}/things/{id}/status"), &world.ann.1, STATUS, &body).await;
        assert_eq!(answer.status, 400, "{body}");
    }
    world.stop().await;
}

/// What is not built says so, to whoever asks from within, over both roads where there are two.
#[tokio::test]
async fn what_is_not_built_is_501() {
    let world = World::start().await;
    let service = Road::Service(world.served.cloud.service());
    for line in [
        "GET /thing-if/apps/{APP}/traits",
        "POST /thing-if/apps/{APP}/traits",
        "GET /thing-if/apps/{APP}/traits/Lamp/versions/1",
        "PUT /thing-if/apps/{APP}/configuration/thing-types/lamp/firmware-versions/v1/aliases/Lamp",
        "POST /api/apps/{APP}/groups",
        "GET /api/apps/{APP}/buckets/b1/acl",
        "PUT /api/apps/{APP}/users/me/buckets/b1/acl/QUERY_OBJECTS_IN_BUCKET/UserID:x",
        "GET /api/apps/{APP}/buckets/b1/objects/o1/acl",
        "DELETE /api/apps/{APP}/topics/t1/acl/SEND_MESSAGE_TO_TOPIC/UserID:x",
        "GET /api/apps/{APP}/buckets/b1/objects/o1/body",
        "PUT /api/apps/{APP}/users/me/buckets/b1/objects/o1/body",
        "POST /api/apps/{APP}/users/me/buckets/b1/objects/o1/body/uploads",
        "POST /api/apps/{APP}/server-code/versions/current/main",
        "PUT /api/apps/{APP}/users/me/status",
    ] {
        let line = line.replace("{APP}", APP);
        let answer = world.send(&line, &world.ann.1, "application/json", &json!({})).await;
        assert_eq!(told(&answer), (501, "OPERATION_NOT_IMPLEMENTED".to_owned()), "{line}");
        let (method, path) = line.split_once(' ').expect("method and path");
        let over_mqtt = service.call(method, path, &world.ann.1, "{}").await;
        let expected = if path.starts_with("/thing-if/") { 501 } else { 404 };
        assert_eq!(over_mqtt.status, expected, "{line}: {over_mqtt:?}");
    }
    world.stop().await;
}
