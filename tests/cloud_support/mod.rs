//! What the tests of the cloud share: a pusher that remembers, and a caller over each of the two roads.
#![allow(dead_code)] // every test file takes what it needs

pub(crate) mod names;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;
use thingif::cloud::{Advertise, Cloud, Options, PasswordCost};
use thingif::edge::{PushOutcome, Pusher};
use thingif::ids::ClientId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tower_service::Service as _;

pub(crate) const APP: &str = "c1k9abcdef12";
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const OTHER_APP: &str = "other0abcdef";
pub(crate) const OTHER_KEY: &str = "fedcba9876543210fedcba9876543210";

/// Remembers what was pushed, and says of each push what it was told to say.
pub(crate) struct Recorder {
    pub(crate) pushed: Mutex<Vec<(ClientId, Bytes)>>,
    pub(crate) outcome: Mutex<PushOutcome>,
}

impl Recorder {
    pub(crate) fn new(outcome: PushOutcome) -> Arc<Self> {
        Arc::new(Self { pushed: Mutex::default(), outcome: Mutex::new(outcome) })
    }

    pub(crate) fn set(&self, outcome: PushOutcome) {
        *self.outcome.lock().expect("not poisoned") = outcome;
    }

    pub(crate) fn take(&self) -> Vec<(ClientId, Bytes)> {
        std::mem::take(&mut *self.pushed.lock().expect("not poisoned"))
    }
}

type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Pusher for Recorder {
    fn push<'a>(&'a self, client: &'a ClientId, payload: Bytes) -> Later<'a, PushOutcome> {
        self.pushed.lock().expect("not poisoned").push((client.clone(), payload));
        let outcome = *self.outcome.lock().expect("not poisoned");
        Box::pin(async move { outcome })
    }

    fn claim<'a>(&'a self, _: &'a ClientId, _: u64) -> Later<'a, ()> {
        Box::pin(async {})
    }

    fn disconnect<'a>(&'a self, _: &'a ClientId) -> Later<'a, ()> {
        Box::pin(async {})
    }
}

/// Two applications, cheap passwords, an advertised broker.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.apps =
        vec![(APP.parse().expect("an app id"), KEY.into()), (OTHER_APP.parse().expect("an app id"), OTHER_KEY.into())];
    options.advertise = Advertise {
        host: Some("broker.example".into()),
        tcp: Some(1883),
        ssl: Some(8883),
        ws: Some(12_470),
        wss: Some(12_473),
    };
    options.password_cost = PasswordCost { memory_kib: 8, passes: 1 };
    options
}

/// An answer, from either road.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub(crate) fn text(&self, field: &str) -> String {
        match &self.json()[field] {
            Value::String(text) => text.clone(),
            other => panic!("{field} is {other}: {:?}", self.body),
        }
    }

    pub(crate) fn code(&self) -> String {
        if self.body.is_empty() { String::new() } else { self.json()["errorCode"].as_str().unwrap_or("").to_owned() }
    }
}

/// One of the two roads into a cloud.
#[derive(Clone)]
pub(crate) enum Road {
    /// As the edge calls.
    Service(thingif::cloud::CloudService),
    /// As apps call: HTTP over a socket.
    Http(SocketAddr),
}

impl Road {
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        match self {
            Road::Service(service) => {
                let mut request = http::Request::builder().method(method).uri(path);
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                let request = request.body(Bytes::copy_from_slice(body.as_bytes())).expect("a request");
                let response = service.clone().call(request).await.expect("infallible");
                let (parts, body) = response.into_parts();
                Answer { status: parts.status.as_u16(), headers: parts.headers, body }
            }
            Road::Http(address) => {
                let mut stream = TcpStream::connect(address).await.expect("listening");
                let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
                for (name, value) in headers {
                    text.push_str(&format!("{name}: {value}\r\n"));
                }
                text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
                stream.write_all(text.as_bytes()).await.expect("written");
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).await.expect("read");
                parse(&bytes)
            }
        }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        let authorization = format!("Bearer {token}");
        let mut headers = vec![("Authorization", authorization.as_str())];
        if !body.is_empty() {
            headers.push(("Content-Type", "application/json"));
        }
        self.send(method, path, &headers, body).await
    }
}

/// Splits an HTTP/1.1 response whose body ends with the connection.
pub(crate) fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let head = std::str::from_utf8(&bytes[..end]).expect("ASCII");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let mut headers = http::HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name: http::HeaderName = name.parse().expect("a header name");
        headers.append(name, value.trim().parse().expect("a header value"));
    }
    Answer { status: status.expect("a status"), headers, body: Bytes::copy_from_slice(&bytes[end..]) }
}

/// A cloud that is served over HTTP.
pub(crate) struct Served {
    pub(crate) cloud: Cloud,
    pub(crate) address: SocketAddr,
    pub(crate) http: Road,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Served {
    pub(crate) async fn start(cloud: Cloud) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let served = thingif::cloud::http::serve(listener, None, cloud.clone(), async {
            let _ = stopped.await;
        });
        Self { cloud, address, http: Road::Http(address), stop, task: tokio::spawn(served) }
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.expect("no panic").expect("served");
        self.cloud.close().await;
    }
}

/// Signs a user up and in. Returns id and token.
pub(crate) async fn user(http: &Road, app: &str, key: &str, name: &str) -> (String, String) {
    let headers = [("X-Kii-AppID", app), ("X-Kii-AppKey", key), ("Content-Type", "application/json")];
    let body = format!(r#"{{"loginName":"{name}","password":"secret of {name}"}}"#);
    let answer = http.send("POST", &format!("/api/apps/{app}/users"), &headers, &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let id = answer.text("userID");
    let body = format!(r#"{{"username":"{name}","password":"secret of {name}","grant_type":"password"}}"#);
    let answer = http.send("POST", &format!("/api/apps/{app}/oauth2/token"), &headers, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text("id"), id);
    (id, answer.text("access_token"))
}

pub(crate) const BY_THING: &str = "application/vnd.kii.OnboardingWithVendorThingIDByThing+json";
pub(crate) const BY_OWNER: &str = "application/vnd.kii.OnboardingWithVendorThingIDByOwner+json";

/// `Authorization: Basic` of an application.
pub(crate) fn basic(app: &str, key: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{app}:{key}")))
}

/// Onboards a thing by itself, with the application's key.
pub(crate) async fn onboard(road: &Road, app: &str, key: &str, vendor: &str) -> Answer {
    let basic = basic(app, key);
    let body = format!(r#"{{"vendorThingID":"{vendor}","thingPassword":"secret of {vendor}"}}"#);
    let headers = [("Authorization", basic.as_str()), ("Content-Type", BY_THING)];
    road.send("POST", &format!("/thing-if/apps/{app}/onboardings"), &headers, &body).await
}

/// Onboards a thing by its owner.
pub(crate) async fn onboard_by_owner(road: &Road, app: &str, vendor: &str, owner: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let body = format!(r#"{{"vendorThingID":"{vendor}","thingPassword":"secret of {vendor}","owner":"USER:{owner}"}}"#);
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", BY_OWNER)];
    road.send("POST", &format!("/thing-if/apps/{app}/onboardings"), &headers, &body).await
}
