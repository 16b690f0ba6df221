//! Edge and cloud over real sockets: plain clients that do everything wrong, and devices on each transport.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use thingif::client::{self, Push};
use thingif::cloud::{Advertise, Cloud};
use thingif::config::{Config, Identity};
use thingif::edge::{Config as EdgeConfig, Edge, Listeners, Registry};
use thingif::ids::{AppId, VendorThingId};
use thingif::mqtt::packet::Packet;
use thingif::mqtt::{Endpoint, Scheme};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::cloud_support::{BY_OWNER, BY_THING, Road, Served, basic, options};
use crate::collector::{heard, listen, note, note_display, note_error};
use crate::planted::Planted;
use crate::raw_mqtt::{Client, connect};
use crate::subprocess::isolated;
use crate::transports::Kind;

const APP: &str = "c1k9abcdef12";
const PATIENCE: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(200);

/// An edge and a cloud with their secrets, over TCP and WebSocket.
struct World {
    planted: Planted,
    app_key: String,
    mqtt: SocketAddr,
    ws: SocketAddr,
    served: Served,
    stop: oneshot::Sender<()>,
    edge: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl World {
    async fn start() -> Self {
        listen();
        let mut planted = Planted::default();
        let app_key = planted.make("app key", "0123456789abcdef");
        let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (tcp, websocket) = (bind().await, bind().await);
        let (mqtt, ws) = (tcp.local_addr().expect("bound"), websocket.local_addr().expect("bound"));
        let mut options = options();
        options.apps = vec![(AppId::new(APP).expect("valid"), app_key.as_str().into())];
        options.advertise = Advertise { tcp: Some(mqtt.port()), ws: Some(ws.port()), ..Advertise::default() };
        note(&options);
        let registry = Registry::new();
        let cloud = Cloud::open(options, Arc::new(registry.clone())).expect("opens");
        let edge = Edge::new(cloud.service(), cloud.clone(), registry, EdgeConfig::default());
        let (stop, stopped) = oneshot::channel();
        let listeners = Listeners { mqtt: Some(tcp), ws: Some(websocket), ..Listeners::default() };
        let edge = tokio::spawn(edge.run(listeners, stopped));
        Self { planted, app_key, mqtt, ws, served: Served::start(cloud).await, stop, edge }
    }

    fn http(&self) -> &Road {
        &self.served.http
    }

    /// Plants what an onboarding has given out.
    fn plant_answer(&mut self, answer: &Value) {
        let (token, password) = (&answer["accessToken"], &answer["mqttEndpoint"]["password"]);
        self.planted.plant("access token", token.as_str().expect("a token"));
        self.planted.plant("MQTT password", password.as_str().expect("a password"));
    }

    /// Signs a user up and in: id and token. Wrong logins of every kind come first.
    async fn user(&mut self, name: &str) -> (String, String) {
        let password = self.planted.make("user password", " \"\\/é+%&=");
        let wrong = self.planted.make("wrong user password", "\"/ ");
        let key = self.app_key.clone();
        let headers = [("X-Kii-AppID", APP), ("X-Kii-AppKey", key.as_str()), ("Content-Type", "application/json")];
        let sign_up = json!({"loginName": name, "password": password}).to_string();
        let signed_up = self.http().send("POST", &format!("/api/apps/{APP}/users"), &headers, &sign_up).await;
        assert_eq!(signed_up.status, 201, "{signed_up:?}");
        let tokens = format!("/api/apps/{APP}/oauth2/token");
        for body in [
            json!({"username": name, "password": wrong, "grant_type": "password"}).to_string(),
            json!({"username": name, "password": {"nested": wrong}}).to_string(),
            json!({"username": wrong, "password": wrong, "grant_type": wrong}).to_string(),
            format!("{{\"username\":\"{name}\",\"password\":{}", json!(password)),
            password.clone(),
        ] {
            let refused = self.http().send("POST", &tokens, &headers, &body).await;
            assert!(refused.status >= 400, "{refused:?}");
            self.planted.assert_absent("an answer to a wrong login", &String::from_utf8_lossy(&refused.body));
        }
        let login = json!({"username": name, "password": password, "grant_type": "password"}).to_string();
        let answer = self.http().send("POST", &tokens, &headers, &login).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let token = answer.text("access_token");
        self.planted.plant("user token", &token);
        (answer.text("id"), token)
    }

    async fn stop(self) -> Planted {
        self.stop.send(()).expect("running");
        self.edge.await.expect("no panic").expect("served");
        self.served.stop().await;
        self.planted
    }
}

async fn plain_clients_do_everything_wrong() {
    let mut world = World::start().await;
    let thing_password = world.planted.make("thing password", " \"\\\\/é+%&=");
    let (user, user_token) = world.user("ann").await;
    let login =
        connect("anonymous", &format!("type=oauth2&client_id={APP}"), &format!("client_secret={}", world.app_key));
    // Onboarding: refused, malformed, right.
    let mut client = Client::login(world.mqtt, login).await;
    let topic = format!("p/anonymous/thing-if/apps/{APP}/onboardings");
    let right = json!({"vendorThingID": "lamp", "thingPassword": thing_password}).to_string();
    let wrong = world.planted.make("wrong thing password", "\"/");
    let onboarding = |body: &str| format!("POST\r\nContent-type: {BY_THING}\r\n\r\n{body}");
    client.request(&topic, onboarding(&right)).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, "200", "{}", answer.body);
    let onboarded: Value = serde_json::from_str(&answer.body).expect("JSON");
    world.plant_answer(&onboarded);
    for payload in [
        onboarding(&json!({"vendorThingID": "lamp", "thingPassword": wrong}).to_string()),
        onboarding(&right[..right.len() - 3]),
        onboarding(&json!({"vendorThingID": thing_password, "thingPassword": [wrong]}).to_string()),
        right.clone(),
        format!("POST\r\nAuthorization {thing_password}\r\n\r\n"),
        format!("{thing_password}\r\n\r\n"),
    ] {
        client.request(&topic, payload).await;
        let answer = client.answer().await;
        assert!(answer.status.starts_with('4'), "{}", answer.body);
        world.planted.assert_absent("a refusal", &answer.body);
    }
    // CONNECTs with wrong secrets, and with secrets in the wrong places.
    let endpoint = &onboarded["mqttEndpoint"];
    let text = |name: &str| endpoint[name].as_str().expect("text").to_owned();
    let token = onboarded["accessToken"].as_str().expect("a token").to_owned();
    for login in [
        connect("anonymous", &format!("type=oauth2&client_id={APP}"), &format!("client_secret={wrong}")),
        connect(&text("mqttTopic"), &text("username"), &wrong),
        connect(&text("mqttTopic"), &text("password"), &text("password")),
        connect(&text("password"), &text("username"), &text("password")),
    ] {
        let mut refused = Client::dial(world.mqtt).await;
        assert_ne!(refused.connect(login).await, 0, "refused");
    }
    let mut garbage = Client::dial(world.mqtt).await;
    garbage.send_bytes(format!("\x10\x40{token}{}", "x".repeat(64)).as_bytes()).await;
    garbage.expect_end().await;
    // The assigned broker: calls of every kind, among them one to another client's topic.
    let mut device = Client::login(world.mqtt, connect(&text("mqttTopic"), &text("username"), &text("password"))).await;
    let me = text("mqttTopic");
    let target = format!("targets/thing:{}", onboarded["thingID"].as_str().expect("an id"));
    let on = |path: &str| format!("p/{me}/thing-if/apps/{APP}/{path}");
    let bearer = format!("Authorization: Bearer {token}\r\nCookie: {token}\r\n");
    for (path, payload) in [
        (format!("{target}/states"), format!("PUT\r\n{bearer}\r\n{}", json!({"password": wrong}))),
        (format!("{target}/states?access_token={token}"), format!("GET\r\n{bearer}\r\n")),
        (format!("{target}/states"), format!("GET\r\nAuthorization: Bearer {token}x\r\n\r\n")),
        (format!("{target}/states"), format!("GET\r\nAuthorization: {token}\r\n\r\n")),
        (format!("{target}/{token}"), format!("GET\r\n{bearer}\r\n")),
        (format!("{target}/states"), format!("PUT\r\n{bearer}\r\n{{\"x\":{}", json!(wrong))),
        (format!("{target}/commands/{token}/action-results"), format!("PUT\r\n{bearer}\r\n{}", json!({"a": wrong}))),
        (target.clone(), token.clone()),
        ("onboardings".to_owned(), onboarding(&right)),
    ] {
        device.request(&on(&path), payload).await;
        device.answer().await;
    }
    device.request(&format!("p/somebody-else/x?access_token={token}"), format!("GET\r\n{bearer}\r\n")).await;
    device.subscribe(&[&me, "somebody-else"]).await;
    // The owner's side over HTTP, and a command that reaches the device with a secret in it.
    let auth = format!("Bearer {user_token}");
    let headers = [("Authorization", auth.as_str()), ("Content-Type", BY_OWNER)];
    let owned = json!({"vendorThingID": "lamp", "thingPassword": thing_password, "owner": format!("user:{user}")});
    let path = format!("/thing-if/apps/{APP}/onboardings?access_token={user_token}");
    assert_eq!(world.http().send("POST", &path, &headers, &owned.to_string()).await.status, 200);
    let commands = format!("/thing-if/apps/{APP}/{target}/commands");
    let command = json!({"issuer": format!("user:{user}"), "schema": "S", "schemaVersion": 1, "actions": [{"a": {"password": wrong}}]});
    let posted = world.http().call("POST", &commands, &user_token, &command.to_string()).await;
    assert_eq!(posted.status, 201, "{posted:?}");
    device.publication().await;
    let basic = basic(APP, &wrong);
    for (headers, path) in [
        (vec![("Authorization", basic.as_str())], format!("/thing-if/apps/{APP}/onboardings")),
        (vec![("Authorization", "Bearer")], format!("/thing-if/apps/{APP}/{wrong}").replace(['"', ' ', '\\'], "")),
    ] {
        assert!(world.http().send("POST", &path, &headers, &right).await.status >= 400);
    }
    // A second connection takes the first one's place; a packet that breaks MQTT ends it.
    let mut newer = Client::login(world.mqtt, connect(&text("mqttTopic"), &text("username"), &text("password"))).await;
    device.expect_end().await;
    newer.send(Packet::Connect(Box::new(connect(&token, &token, &token)))).await;
    newer.expect_end().await;
    // The thing is deleted; its connection ends, its token and password are worth nothing.
    let alive = Client::login(world.mqtt, connect(&text("mqttTopic"), &text("username"), &text("password"))).await;
    let thing = format!("/api/apps/{APP}/things/{}", onboarded["thingID"].as_str().expect("an id"));
    let deleted = world.http().call("DELETE", &thing, &user_token, "").await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    drop(alive);
    let mut gone = Client::dial(world.mqtt).await;
    assert_ne!(gone.connect(connect(&text("mqttTopic"), &text("username"), &text("password"))).await, 0);
    let planted = world.stop().await;
    planted.assert_absent("what was heard", &heard());
    assert!(heard().contains("CONNECT refused with code 4"), "the edge's own events were heard");
}

/// One device, from onboarding to its end, over `scheme`.
async fn a_device(world: &mut World, kind: Kind, scheme: Scheme, vendor: &str) {
    let port = if scheme == Scheme::Ws { world.ws } else { world.mqtt }.port();
    let broker = Endpoint::new(scheme, "127.0.0.1", port).expect("valid");
    let password = world.planted.make("thing password", " \"\\\\/é+%&=");
    let config = |password: &str, key: &str| {
        let identity = Identity::vendor_thing(VendorThingId::new(vendor).expect("valid"), password.into());
        Config::new(broker.clone(), APP.parse().expect("valid"), key.into(), identity)
            .and_then(|config| config.with_connect_timeout(PATIENCE))
            .and_then(|config| config.with_call_deadline(PATIENCE))
            .expect("in range")
    };
    let transport = kind.trusting(None);
    let login = world.planted.make("proxy password", "");
    let proxy = format!("http://ann:{login}@proxy.invalid").parse().expect("a proxy's URL");
    note_display(&kind.shown(proxy));
    let connected = client::connect(config(&password, &world.app_key), transport.clone()).await;
    let (client, mut pushes, connection) = connected.expect("connected");
    let run = tokio::spawn(connection.run());
    let credential = client.credential().expect("onboarded");
    world.planted.plant("access token", credential.access_token.expose().as_str());
    world.planted.plant("MQTT password", credential.endpoint.password.expose());
    note(&credential);
    let token = credential.access_token.expose().as_str().to_owned();
    let states = format!("/thing-if/apps/{APP}/targets/thing:{}/states", credential.thing_id);
    for (method, uri) in [("PUT", states.clone()), ("GET", format!("{states}?access_token={token}"))] {
        let request = Request::builder().method(method).uri(uri).header("Authorization", format!("Bearer {token}"));
        let request = request.header("Content-Type", "application/json");
        let body = if method == "PUT" { json!({"password": password}).to_string() } else { String::new() };
        let answer = client.send(request.body(Bytes::from(body)).expect("a request")).await.expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
    }
    let (user, user_token) = world.user(&format!("owner-of-{vendor}")).await;
    let owned = json!({"vendorThingID": vendor, "thingPassword": password, "owner": format!("user:{user}")});
    let auth = format!("Bearer {user_token}");
    let headers = [("Authorization", auth.as_str()), ("Content-Type", BY_OWNER)];
    let onboardings = format!("/thing-if/apps/{APP}/onboardings");
    assert_eq!(world.http().send("POST", &onboardings, &headers, &owned.to_string()).await.status, 200);
    let commands = format!("/thing-if/apps/{APP}/targets/thing:{}/commands", credential.thing_id);
    let command = json!({"issuer": format!("user:{user}"), "schema": "S", "schemaVersion": 1, "actions": [{"a": {"password": password}}]});
    assert_eq!(world.http().call("POST", &commands, &user_token, &command.to_string()).await.status, 201);
    let pushed = timeout(PATIENCE, pushes.next()).await.expect("pushed");
    assert!(matches!(pushed, Some(Push::Message(_))), "a command");
    client.close().await;
    run.await.expect("no panic").expect("closed in order");
    // Refused: by the service, by the broker.
    let wrong = world.planted.make("wrong thing password", " \"/");
    let key = world.planted.make("wrong app key", "\"/");
    for config in [config(&wrong, &world.app_key), config(&password, &key)] {
        let error = client::connect(config, transport.clone()).await.map(drop).expect_err("refused");
        note_error(&error);
    }
    // Once more with what it has; its thing is deleted meanwhile.
    let config = config(&wrong, &world.app_key).with_resume(credential.clone());
    let (client, _pushes, connection) = client::connect(config, transport).await.expect("connected");
    let run = tokio::spawn(connection.run());
    let thing = format!("/api/apps/{APP}/things/{}", credential.thing_id);
    assert_eq!(world.http().call("DELETE", &thing, &user_token, "").await.status, 204);
    // It comes to know, onboards again, and is refused for good: the password is wrong by now.
    if let Ok(ended) = timeout(Duration::from_secs(8), run).await {
        note_error(&ended.expect("no panic").expect_err("it cannot be ready again"));
    }
    drop(client);
}

fn alone(name: &str, story: impl Future<Output = ()>) {
    let body = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(story);
    };
    if let Some(ended) =
        isolated(name, LIMIT, &[("MQTT_C_CLIENT_TRACE", "ON"), ("MQTT_C_CLIENT_TRACE_LEVEL", "MAXIMUM")], body)
    {
        ended.succeeded();
    }
}

#[test]
fn an_edge_and_a_cloud_and_everything_wrong() {
    alone("stories_over_sockets::an_edge_and_a_cloud_and_everything_wrong", plain_clients_do_everything_wrong());
}

fn devices_over_tcp_and_websocket(test: &str, kind: Kind, heard_of: &str) {
    alone(&format!("stories_over_sockets::{test}"), async {
        let mut world = World::start().await;
        a_device(&mut world, kind, Scheme::Mqtt, "lamp").await;
        a_device(&mut world, kind, Scheme::Ws, "fan").await;
        let planted = world.stop().await;
        planted.assert_absent("what was heard", &heard());
        assert!(heard().contains(heard_of), "the transport's records were heard");
    });
}

#[cfg(feature = "paho")]
#[test]
fn devices_on_paho_over_tcp_and_websocket() {
    devices_over_tcp_and_websocket("devices_on_paho_over_tcp_and_websocket", Kind::Paho, "paho_mqtt");
}

#[cfg(feature = "native-tls")]
#[test]
fn devices_on_native_over_tcp_and_websocket() {
    devices_over_tcp_and_websocket("devices_on_native_over_tcp_and_websocket", Kind::Native, "tungstenite");
}
