//! The cloud behind the edge: what a device meets, over real sockets.
#![cfg(feature = "cloud")]

mod cloud_support;
#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cloud_support::{APP, BY_THING, KEY, OTHER_APP, OTHER_KEY, Road, Served, onboard_by_owner, options, user};
use raw_mqtt::{Answer, Client, connect};
use serde_json::{Value, json};
use thingif::cloud::{Advertise, Cloud};
use thingif::edge::{Config, Edge, Listeners, Registry};
use thingif::mqtt::packet::{Connect, Packet, Protocol};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// An edge and a cloud on one machine, as `serve` puts them together.
struct World {
    mqtt: SocketAddr,
    served: Served,
    stop: oneshot::Sender<()>,
    edge: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl World {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mqtt = listener.local_addr().expect("bound");
        let mut options = options();
        options.advertise = Advertise { tcp: Some(mqtt.port()), ..Advertise::default() };
        let registry = Registry::new();
        let cloud = Cloud::open(options, Arc::new(registry.clone())).expect("opens");
        let edge = Edge::new(cloud.service(), cloud.clone(), registry, Config::default());
        let (stop, stopped) = oneshot::channel();
        let listeners = Listeners { mqtt: Some(listener), ..Listeners::default() };
        let edge = tokio::spawn(edge.run(listeners, stopped));
        Self { mqtt, served: Served::start(cloud).await, stop, edge }
    }

    fn http(&self) -> &Road {
        &self.served.http
    }

    async fn stop(self) {
        self.stop.send(()).expect("running");
        self.edge.await.expect("no panic").expect("served");
        self.served.stop().await;
    }
}

fn anonymous(app: &str, key: &str) -> Connect {
    connect("anonymous", &format!("type=oauth2&client_id={app}"), &format!("client_secret={key}"))
}

/// The documented onboarding: one request on the default broker, nothing subscribed.
async fn onboard(mqtt: SocketAddr, vendor: &str) -> Value {
    let mut client = Client::login(mqtt, anonymous(APP, KEY)).await;
    let body = format!("{{\n  \"vendorThingID\" : \"{vendor}\",\n  \"thingPassword\" : \"secret\"\n}}");
    let topic = format!("p/anonymous/thing-if/apps/{APP}/onboardings");
    client.request(&topic, format!("POST\r\nContent-type: {BY_THING}\r\n\r\n{body}")).await;
    let answer = client.answer().await;
    assert_eq!((answer.topic, answer.status.as_str()), (topic, "200"), "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

/// The assigned broker, with the credentials of the onboarding answer.
async fn move_on(answer: &Value) -> Client<TcpStream> {
    let endpoint = &answer["mqttEndpoint"];
    let port = endpoint["portTCP"].as_u64().and_then(|port| port.try_into().ok()).expect("a port");
    let address = SocketAddr::new(text(endpoint, "host").parse().expect("an address"), port);
    let login = connect(text(endpoint, "mqttTopic"), text(endpoint, "username"), text(endpoint, "password"));
    Client::login(address, login).await
}

/// Sends one call of the device that was onboarded with `answer`.
async fn call(client: &mut Client<TcpStream>, answer: &Value, verb: &str, path: &str, id: &str, body: &str) {
    let topic = format!("p/{}/thing-if/apps/{APP}/{path}", text(&answer["mqttEndpoint"], "mqttTopic"));
    let token = text(answer, "accessToken");
    client.request(&topic, format!("{verb}\nAuthorization: Bearer {token}\nX-Kii-RequestID: {id}\n\n{body}")).await;
}

#[tokio::test]
async fn a_device_onboards_moves_reports_and_executes_a_command() {
    let world = World::start().await;
    let thing = onboard(world.mqtt, "lamp").await;
    let mut device = move_on(&thing).await;
    let topic = text(&thing["mqttEndpoint"], "mqttTopic").to_owned();
    assert_eq!(device.subscribe(&[&topic]).await, [0]);
    let target = format!("targets/THING:{}", text(&thing, "thingID"));
    call(&mut device, &thing, "PUT", &format!("{target}/states"), "1", r#"{"power":true}"#).await;
    let answer = device.answer().await;
    assert_eq!((answer.status.as_str(), answer.request_id.as_deref(), answer.body.as_str()), ("201", Some("1"), ""));
    call(&mut device, &thing, "GET", &format!("{target}/states"), "two words", "").await;
    let answer = device.answer().await;
    assert_eq!((answer.status.as_str(), answer.request_id.as_deref()), ("200", Some("two words")));
    assert_eq!(answer.body, "{\n  \"power\" : true\n}");

    let (ann, owner) = user(world.http(), APP, KEY, "ann").await;
    let owned = json!({"vendorThingID": "lamp", "thingPassword": "secret", "owner": format!("user:{ann}")});
    let bearer = format!("Bearer {owner}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", cloud_support::BY_OWNER)];
    let path = format!("/thing-if/apps/{APP}/onboardings");
    let answer = world.http().send("POST", &path, &headers, &owned.to_string()).await;
    assert_eq!(answer.json()["mqttEndpoint"], thing["mqttEndpoint"], "the same thing, the same endpoint");

    let commands = format!("/thing-if/apps/{APP}/{target}/commands");
    let command = json!({"issuer": format!("user:{ann}"), "schema": "S", "schemaVersion": 1, "actions": [{"on": {}}]});
    let id = world.http().call("POST", &commands, &owner, &command.to_string()).await.text("commandID");
    let (on, push) = device.publication().await;
    assert_eq!(on, topic);
    let push: Value = serde_json::from_str(&push).expect("JSON");
    assert_eq!((text(&push, "commandID"), &push["actions"]), (id.as_str(), &command["actions"]));
    let results = r#"{"actionResults":[{"on":{"succeeded":true}}]}"#;
    call(&mut device, &thing, "PUT", &format!("{target}/commands/{id}/action-results"), "3", results).await;
    assert_eq!(device.answer().await.status, "204");
    let done = world.http().call("GET", &format!("{commands}/{id}"), &owner, "").await.json();
    assert_eq!(text(&done, "commandState"), "DONE");
    world.stop().await;
}

#[tokio::test]
async fn a_thousand_pipelined_states_leave_the_last() {
    let world = World::start().await;
    let thing = onboard(world.mqtt, "lamp").await;
    let mut device = move_on(&thing).await;
    let states = format!("targets/thing:{}/states", text(&thing, "thingID"));
    for n in 1..=1_000 {
        call(&mut device, &thing, "PUT", &states, &n.to_string(), &format!(r#"{{"n":{n}}}"#)).await;
    }
    for n in 1..=1_000 {
        let answer = device.answer().await;
        assert_eq!(answer.request_id, Some(n.to_string()), "one path, one order");
        assert_eq!(answer.status, if n == 1 { "201" } else { "204" }, "{}", answer.body);
    }
    call(&mut device, &thing, "GET", &states, "last", "").await;
    assert_eq!(device.answer().await.body, "{\n  \"n\" : 1000\n}");
    world.stop().await;
}

#[tokio::test]
async fn forty_anonymous_devices_each_get_their_own_answer() {
    let world = World::start().await;
    let devices = (0..40).map(|i| {
        let mqtt = world.mqtt;
        tokio::spawn(async move { (i, onboard(mqtt, &format!("v{i}")).await) })
    });
    let mut things = Vec::new();
    for device in devices.collect::<Vec<_>>() {
        let (i, answer) = device.await.expect("no panic");
        things.push(text(&answer, "thingID").to_owned());
        // A second onboarding names the same thing: the first answer was this device's own.
        assert_eq!(text(&onboard(world.mqtt, &format!("v{i}")).await, "thingID"), things[i]);
    }
    things.sort();
    things.dedup();
    assert_eq!(things.len(), 40);
    world.stop().await;
}

#[tokio::test]
async fn connect_is_refused_with_the_code_that_says_why() {
    let world = World::start().await;
    let thing = onboard(world.mqtt, "lamp").await;
    let endpoint = &thing["mqttEndpoint"];
    let [topic, username, password] = ["mqttTopic", "username", "password"].map(|field| text(endpoint, field));
    let v31 = |connect: Connect| Connect { protocol: Protocol::V31, ..connect };
    for (connect, code) in [
        (anonymous(APP, KEY), 0),
        (v31(anonymous(APP, KEY)), 0),
        (anonymous(APP, "wrong"), 4),
        (anonymous(APP, OTHER_KEY), 4),
        (anonymous("nosuchapp", KEY), 5),
        (anonymous("no/app", KEY), 5),
        (connect("anonymous", "somebody", KEY), 4),
        (connect("anonymous", username, password), 4),
        (connect(topic, username, password), 0),
        (v31(connect(topic, username, password)), 0),
        (connect(topic, username, "wrong"), 4),
        (connect("another", username, password), 4),
        (connect(topic, "nobody", password), 4),
        (connect(topic, &format!("type=oauth2&client_id={APP}"), &format!("client_secret={KEY}")), 4),
    ] {
        let shown = format!("{:?}", (&connect.client_id, &connect.username));
        let mut client = Client::dial(world.mqtt).await;
        assert_eq!(client.connect(connect).await, code, "{shown}");
    }
    world.stop().await;
}

#[tokio::test]
async fn each_connection_reaches_what_its_login_opened_and_no_more() {
    let world = World::start().await;
    let thing = onboard(world.mqtt, "lamp").await;
    let (_, stranger) = user(world.http(), OTHER_APP, OTHER_KEY, "eve").await;
    let foreign = onboard_by_owner(world.http(), OTHER_APP, "lamp", "nobody", &stranger).await;
    assert_eq!(foreign.status, 401, "only for oneself");
    let states = format!("thing-if/apps/{APP}/targets/thing:{}/states", text(&thing, "thingID"));
    let onboardings = |app: &str| format!("thing-if/apps/{app}/onboardings");
    let bearer = format!("GET\r\nAuthorization: Bearer {}\r\n\r\n", text(&thing, "accessToken"));
    let post = format!("POST\r\nContent-Type: {BY_THING}\r\n\r\n{{\"vendorThingID\":\"x\",\"thingPassword\":\"p\"}}");

    let mut client = Client::login(world.mqtt, anonymous(APP, KEY)).await;
    let mut ask = async |path: &str, frame: &str| -> Answer {
        client.request(&format!("p/anonymous/{path}"), frame).await;
        client.answer().await
    };
    for (path, frame, status, code) in [
        (states.as_str(), bearer.as_str(), "403", "OPERATION_NOT_SUPPORTED"),
        (&onboardings(OTHER_APP), &post, "403", "OPERATION_NOT_SUPPORTED"),
        (&onboardings("nosuchapp"), &post, "403", "OPERATION_NOT_SUPPORTED"),
        ("api/oauth2/token", &post, "404", "PATH_NOT_FOUND"),
        (&onboardings(APP), "GET\r\n\r\n", "405", "METHOD_NOT_ALLOWED"),
    ] {
        let answer = ask(path, frame).await;
        assert_eq!((answer.status.as_str(), answer.error_code().as_str()), (status, code), "{path}");
    }
    assert_eq!(ask(&onboardings(APP), &post).await.status, "200", "the connection has survived all of it");

    let mut device = move_on(&thing).await;
    let topic = text(&thing["mqttEndpoint"], "mqttTopic");
    device.request(&format!("p/{topic}/{}", states.replace(APP, OTHER_APP)), &bearer).await;
    assert_eq!(device.answer().await.error_code(), "OPERATION_NOT_SUPPORTED");
    // Its password says as much as the key does.
    device.request(&format!("p/{topic}/{}", onboardings(APP)), &post).await;
    assert_eq!(device.answer().await.status, "200");
    world.stop().await;
}

#[tokio::test]
async fn a_command_for_a_device_that_is_away_fails_to_be_sent() {
    let world = World::start().await;
    let (ann, owner) = user(world.http(), APP, KEY, "ann").await;
    let thing = onboard_by_owner(world.http(), APP, "lamp", &ann, &owner).await.json();
    let commands = format!("/thing-if/apps/{APP}/targets/thing:{}/commands", text(&thing, "thingID"));
    let command = json!({"issuer": format!("user:{ann}"), "schema": "S", "schemaVersion": 1, "actions": [{"on": {}}]});
    let post = async || world.http().call("POST", &commands, &owner, &command.to_string()).await.text("commandID");
    let becomes = async |id: String, wanted: &str| {
        for _ in 0..1_000 {
            let read = world.http().call("GET", &format!("{commands}/{id}"), &owner, "").await.json();
            if text(&read, "commandState") == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{id} did not become {wanted}");
    };
    becomes(post().await, "SEND_FAILED").await;
    let mut device = move_on(&thing).await;
    becomes(post().await, "SEND_FAILED").await;
    device.ping().await; // and nothing was pushed before the SUBSCRIBE
    assert_eq!(device.subscribe(&[text(&thing["mqttEndpoint"], "mqttTopic")]).await, [0]);
    let id = post().await;
    assert!(matches!(device.receive().await, Some(Packet::Publish(_))));
    becomes(id, "DELIVERED").await;
    world.stop().await;
}
