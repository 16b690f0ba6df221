//! The bridge's admin listener, the hook that pushes through it, and the hook that judges logins.
#![cfg(feature = "bridge")]

#[path = "support/bridge.rs"]
mod bridge;
#[path = "support/origin.rs"]
mod origin;
#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;

use std::net::SocketAddr;
use std::time::Duration;

use bridge::{Bridge, app, options, start, start_with};
use bytes::Bytes;
use origin::{Origin, Reply, answer, ok};
use raw_mqtt::{Client, client_id};
use serde_json::{Value, json};
use thingif::bridge::PushHook;
use thingif::bridge::upstream::{Admin, LoginHook, admin_router};
use thingif::edge::{Config, PushOutcome, Pusher as _, Registry};
use thingif::thing_if::MqttEndpoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const TOKEN: &str = "b5d1c2e4f60718293a4b5c6d7e8f9012";

async fn admin(bridge: &Bridge) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let admin = Admin { registry: bridge.registry.clone(), upstream: bridge.upstream.clone(), token: TOKEN.into() };
    tokio::spawn(async move { axum::serve(listener, admin_router(admin)).await });
    address
}

/// One call: status, head, body.
async fn call(address: SocketAddr, method: &str, path: &str, token: &str, body: &str) -> (u16, String, Value) {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), serde_json::from_str(body).unwrap_or(Value::Null))
}

async fn status(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let (status, _, body) = call(address, method, path, TOKEN, body).await;
    (status, body["errorCode"].as_str().unwrap_or_default().to_owned())
}

fn told(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_push_is_answered_by_what_became_of_it_and_never_comes_before_the_suback() {
    let origin = Origin::start(|_| ok("{}")).await;
    let bridge = start(options(&origin.url())).await;
    let admin = admin(&bridge).await;
    let push = async |body: &str| status(admin, "POST", "/push/device", body).await;
    assert_eq!(push("{}").await, told(404, "CLIENT_NOT_CONNECTED"));
    let mut device = bridge.device().await;
    assert_eq!(push("{\"early\":1}").await, told(409, "CLIENT_NOT_SUBSCRIBED"));
    assert_eq!(device.subscribe(&["device"]).await, [0], "the SUBACK is the first that it hears");
    assert_eq!(push("{\"go\":1}").await, told(202, ""));
    assert_eq!(device.publication().await, (String::from("device"), String::from("{\"go\":1}")));

    let longest = "x".repeat(4096);
    assert_eq!(push(&longest).await, told(202, ""));
    assert_eq!(device.publication().await.1, longest);
    assert_eq!(push(&"x".repeat(4097)).await, told(413, "PAYLOAD_TOO_LARGE"));
    assert_eq!(push("").await, told(400, "INVALID_INPUT_DATA"));
    assert_eq!(status(admin, "POST", "/push/a%2Fb", "{}").await, told(400, "INVALID_INPUT_DATA"));
    assert_eq!(status(admin, "POST", "/push/stranger", "{}").await, told(404, "CLIENT_NOT_CONNECTED"));
    assert_eq!(status(admin, "GET", "/push/device", "").await, told(405, "METHOD_NOT_ALLOWED"));
    assert_eq!(status(admin, "POST", "/pushes", "{}").await, told(404, "PATH_NOT_FOUND"));
    assert_eq!(status(admin, "GET", "/clients/device", "").await.0, 200);
}

#[tokio::test]
async fn without_the_token_there_is_nothing_but_health() {
    let origin = Origin::start(|_| ok("{}")).await;
    let bridge = start(options(&origin.url())).await;
    let admin = admin(&bridge).await;
    for (method, path) in [
        ("POST", "/push/device"),
        ("GET", "/clients/device"),
        ("DELETE", "/clients/device"),
        ("GET", "/status"),
        ("PUT", "/status"),
        ("GET", "/nothing"),
    ] {
        for token in ["", "wrong", &TOKEN[1..]] {
            let (status, head, body) = call(admin, method, path, token, "").await;
            assert_eq!((status, &body["errorCode"]), (401, &json!("UNAUTHORIZED")), "{method} {path}");
            assert!(head.contains("www-authenticate: bearer"), "{head}");
        }
    }
    assert_eq!(status(admin, "PUT", "/status", "").await, told(405, "METHOD_NOT_ALLOWED"));
    assert_eq!(status(admin, "GET", "/nothing", "").await, told(404, "PATH_NOT_FOUND"));
    assert_eq!(call(admin, "GET", "/healthz", "", "").await.0, 200);
    let (status, _, body) = call(admin, "GET", "/status", TOKEN, "").await;
    assert_eq!((status, &body["learntLogins"], &body["upstream"]["answered"]), (200, &json!(1), &json!(0)), "{body}");
}

#[tokio::test]
async fn a_client_that_is_deleted_goes_and_does_not_come_back() {
    let origin = Origin::start(|_| ok("{}")).await;
    let bridge = start(options(&origin.url())).await;
    let admin = admin(&bridge).await;
    let mut device = bridge.device().await;
    assert_eq!(status(admin, "DELETE", "/clients/device", "").await, told(204, ""));
    device.expect_end().await;
    assert_eq!(Client::dial(bridge.address).await.connect(bridge::device()).await, 4);
    assert_eq!(status(admin, "DELETE", "/clients/device", "").await, told(404, "CLIENT_NOT_FOUND"));
}

#[tokio::test]
async fn a_device_that_takes_nothing_loses_pushes_and_whoever_pushes_is_told() {
    let origin = Origin::start(|_| ok("{}")).await;
    let mut config = Config::default();
    config.push_queue = 1;
    config.max_dropped_pushes = 1_000_000;
    let bridge = start_with(options(&origin.url()), None, config).await;
    let admin = admin(&bridge).await;
    let mut device = bridge.device().await;
    device.subscribe(&["device"]).await;
    let payload = "x".repeat(4096);
    let lost = async {
        loop {
            // It reads nothing: what the system holds for it fills up first.
            let (status, head, body) = call(admin, "POST", "/push/device", TOKEN, &payload).await;
            match status {
                202 => {}
                503 => {
                    assert!(head.contains("\r\nretry-after: 1"), "{head}");
                    assert_eq!(body["errorCode"], "TEMPORARY_UNAVAILABLE_ERROR");
                    break;
                }
                other => panic!("{other}: {body}"),
            }
        }
    };
    tokio::time::timeout(raw_mqtt::PATIENCE, lost).await.expect("some time its queue is full");
}

#[tokio::test]
async fn a_service_pushes_through_the_bridge_whom_it_does_not_have_itself() {
    let origin = Origin::start(|_| ok("{}")).await;
    let bridge = start(options(&origin.url())).await;
    let admin = admin(&bridge).await;
    let hook =
        |url: String, token: &str| PushHook::new(Registry::new(), url.parse().expect("a URL"), &token.into(), None);
    let pusher = hook(format!("http://{admin}"), TOKEN);
    let device = client_id("device");
    let push = async |pusher: &PushHook, payload: &'static str| {
        pusher.push(&device, Bytes::from_static(payload.as_bytes())).await
    };
    assert_eq!(push(&pusher, "{}").await, PushOutcome::NotConnected);
    let mut client = bridge.device().await;
    assert_eq!(push(&pusher, "{}").await, PushOutcome::NotSubscribed);
    client.subscribe(&["device"]).await;
    for payload in ["{\"n\":1}", "{\"n\":2}"] {
        assert_eq!(push(&pusher, payload).await, PushOutcome::Queued);
        assert_eq!(client.publication().await.1, payload);
    }
    assert_eq!(push(&hook(format!("http://{admin}"), "wrong"), "{}").await, PushOutcome::NotConnected);
    let busy = Origin::start(|_| answer("503 Service Unavailable", "Retry-After: 1\r\n", "")).await;
    assert_eq!(push(&hook(busy.url(), TOKEN), "{}").await, PushOutcome::Overloaded);
    let closing = Origin::start(|_| Reply::SayAndClose(Vec::new())).await;
    assert_eq!(push(&hook(closing.url(), TOKEN), "{}").await, PushOutcome::NotConnected);
    assert_eq!(closing.requests().len(), 1, "a push is not sent again");
    assert!(closing.requests()[0].starts_with("POST /push/device HTTP/1.1\r\n"));
    let hanging = Origin::start(|_| Reply::Hang).await;
    let hanging = hook(hanging.url(), TOKEN);
    let given_up = tokio::time::timeout(raw_mqtt::PATIENCE, push(&hanging, "{}")).await;
    assert_eq!(given_up.expect("a push has an end"), PushOutcome::NotConnected);

    pusher.disconnect(&device).await;
    client.expect_end().await;
    assert!(bridge.upstream.endpoints().is_empty(), "its login is forgotten");
}

#[tokio::test]
async fn a_hook_judges_logins_that_nobody_knows_and_nothing_is_cached() {
    let judge = Origin::start(|request| {
        let (_, body) = request.split_once("\r\n\r\n").expect("a head");
        let login: Value = serde_json::from_str(body).expect("JSON");
        match login["clientId"].as_str().expect("text") {
            "named" if login["password"] == "hunter2" => ok("{\"app\":\"app7\"}"),
            "plain" => answer("204 No Content", "", ""),
            "away" => answer("500 Internal Server Error", "", ""),
            "odd" => ok("{\"app\":\"a/b\"}"),
            "closed" => Reply::SayAndClose(Vec::new()),
            "shut" => answer("403 Forbidden", "", ""),
            _ => answer("401 Unauthorized", "", ""),
        }
    })
    .await;
    let origin = Origin::start(|_| ok("{}")).await;
    let hook = LoginHook::new(format!("{}/judge", judge.url()).parse().expect("a URL"), Some(&TOKEN.into()), None);
    let bridge = start_with(options(&origin.url()), Some(hook), Config::default()).await;
    let login = async |id: &str, password: &str| {
        let mut client = Client::dial(bridge.address).await;
        (client.connect(raw_mqtt::connect(id, "u", password)).await, client)
    };
    for (id, password, code) in [
        ("named", "hunter2", 0),
        ("named", "wrong", 4),
        ("plain", "x", 0),
        ("away", "x", 3),
        ("odd", "x", 3),
        ("closed", "x", 3),
        ("shut", "x", 5),
        ("stranger", "x", 4),
    ] {
        assert_eq!(login(id, password).await.0, code, "{id}");
    }
    let before = judge.requests().len();
    assert_eq!((before, login("device", "wrong").await.0), (8, 4), "who is known is not asked about");
    assert_eq!(judge.requests().len(), 8);
    let (_, mut named) = login("named", "hunter2").await;
    assert_eq!(judge.requests().len(), 9, "asked again");
    named.request("p/named/thing-if/apps/app7/x", "GET\r\n\r\n").await;
    assert_eq!(named.answer().await.status, "200", "the application is the hook's");
    let asked = &judge.requests()[0];
    assert!(asked.starts_with("POST /judge HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("\r\nauthorization: Bearer {TOKEN}\r\n")), "{asked}");
    let body: Value = serde_json::from_str(asked.rsplit_once("\r\n\r\n").expect("a body").1).expect("JSON");
    assert_eq!((&body["username"], &body["scheme"]), (&json!("u"), &json!("mqtt")));
    assert!(body["remote"].as_str().is_some_and(|remote| remote.starts_with("127.0.0.1:")), "{body}");
}

#[tokio::test]
async fn an_onboarding_whose_login_cannot_be_kept_is_to_be_tried_again() {
    const ONBOARDED: &str = "{\"accessToken\":\"t\",\"thingID\":\"th.1\",\"mqttEndpoint\":\
        {\"username\":\"u\",\"password\":\"p\",\"mqttTopic\":\"new\",\"host\":\"h\"}}";
    let origin = Origin::start(|_| ok(ONBOARDED)).await;
    let mut options = options(&origin.url());
    options.endpoints = std::sync::Arc::new(thingif::bridge::upstream::Endpoints::with_room_for(1));
    options.timeout = Duration::from_secs(60);
    let bridge = start(options).await;
    let mut device = Client::login(bridge.address, bridge::anonymous()).await;
    device.request("p/anonymous/thing-if/apps/app1/onboardings", "POST\r\n\r\n{}").await;
    let answered = device.answer().await;
    assert_eq!((answered.status.as_str(), answered.error_code().as_str()), ("503", "TEMPORARY_UNAVAILABLE_ERROR"));
    assert!(!answered.body.contains("accessToken") && answered.head.contains("Retry-After:5"), "{}", answered.head);
    assert_eq!(bridge.upstream.counters().not_learnt, 1);
    bridge.upstream.endpoints().forget(&client_id("device")).expect("in memory");
    device.request("p/anonymous/thing-if/apps/app1/onboardings", "POST\r\n\r\n{}").await;
    assert_eq!(device.answer().await.status, "200");
    let known = json!({ "username": "u", "password": "p", "mqttTopic": "new", "host": "h" });
    let known = MqttEndpoint::try_from(known).expect("complete");
    bridge.upstream.endpoints().learn(&app(), &known).expect("what is known takes no room");
}
