//! A cloud in memory with many applications, asked directly, and the same behind an edge.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use bytes::Bytes;
use serde_json::Value;
use thingif::cloud::{AdminClient, Clock, Cloud};
use thingif::edge::{Config, Edge, Listeners, Registry};
use thingif::mqtt::packet::{Packet, PublishPacket};
use thingif::topic::Topic;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower_service::Service as _;

use crate::cloud_support::{Answer, options};
use crate::raw_mqtt::{Client, connect};
use crate::story::Asked;

pub(crate) const ADMIN: &str = "administrator";
pub(crate) const ADMIN_SECRET: &str = "a secret of 32 random characters";
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";

/// When a round begins, in milliseconds since 1970: as in the table, some of whose cases name times.
const NOW: u64 = 1_000_000;

/// Applications of one cloud: as many stories can be told in it.
pub(crate) const APPS: usize = 64;

/// Far longer than an answer takes on a busy machine; who waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn app(number: usize) -> String {
    format!("app{number:03}abcdef")
}

pub(crate) struct World {
    pub(crate) cloud: Cloud,
    /// Made once: there are many routes.
    router: axum::Router,
    clock: Arc<AtomicU64>,
    mqtt: SocketAddr,
    stop: oneshot::Sender<()>,
    edge: JoinHandle<std::io::Result<()>>,
}

impl World {
    pub(crate) async fn start() -> Self {
        let clock = Arc::new(AtomicU64::new(NOW));
        let read = Arc::clone(&clock);
        let mut options = options();
        options.throttle_logins = false;
        options.clock = Clock::new(move || UNIX_EPOCH + Duration::from_millis(read.load(Ordering::SeqCst)));
        options.apps = (0..APPS).map(|number| (app(number).parse().expect("an app id"), KEY.into())).collect();
        let admin = |number| AdminClient {
            app: app(number).parse().expect("an app id"),
            client_id: ADMIN.to_owned(),
            client_secret: ADMIN_SECRET.into(),
        };
        options.admins = (0..APPS).map(admin).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mqtt = listener.local_addr().expect("bound");
        let registry = Registry::new();
        let cloud = Cloud::open(options, Arc::new(registry.clone())).expect("opens");
        let edge = Edge::new(cloud.service(), cloud.clone(), registry, Config::default());
        let (stop, stopped) = oneshot::channel();
        let listeners = Listeners { mqtt: Some(listener), ..Listeners::default() };
        Self { router: cloud.router(), cloud, clock, mqtt, stop, edge: tokio::spawn(edge.run(listeners, stopped)) }
    }

    /// Time goes on.
    pub(crate) fn pass(&self, millis: u64) {
        self.clock.fetch_add(millis, Ordering::SeqCst);
    }

    /// Asks the router; `None` when no HTTP message can say it.
    pub(crate) async fn ask(&self, asked: &Asked) -> Option<Answer> {
        let mut request = http::Request::builder().method(asked.method.as_str()).uri(asked.path.as_str());
        for (name, value) in &asked.headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(asked.body.clone())).ok()?;
        let answered = async {
            let response = self.router.clone().call(request).await.unwrap_or_else(|error| match error {});
            let (parts, body) = response.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.expect("in memory");
            Answer { status: parts.status.as_u16(), headers: parts.headers, body }
        };
        Some(
            tokio::time::timeout(PATIENCE, answered)
                .await
                .unwrap_or_else(|_| panic!("no answer to\n{}", asked.shown())),
        )
    }

    /// A connection as the device whose endpoint an onboarding told.
    pub(crate) async fn device(&self, endpoint: &Value) -> Device {
        let [client_id, username, password] =
            ["mqttTopic", "username", "password"].map(|field| endpoint[field].as_str().expect("text").to_owned());
        let client = Client::login(self.mqtt, connect(&client_id, &username, &password)).await;
        Device { client, client_id, number: 0 }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).expect("running");
        self.edge.await.expect("no panic").expect("served");
        self.cloud.close().await;
    }
}

/// A device on the assigned broker.
pub(crate) struct Device {
    client: Client<TcpStream>,
    client_id: String,
    number: u64,
}

impl Device {
    /// Sends them all before it reads an answer; `None` for what no PUBLISH can say.
    pub(crate) async fn ask(&mut self, all: &[Asked]) -> Vec<Option<Answer>> {
        let mut answers: Vec<Option<Answer>> = all.iter().map(|_| None).collect();
        let mut waiting = Vec::new();
        for (place, asked) in all.iter().enumerate() {
            let Ok(topic) = Topic::new(&format!("p/{}{}", self.client_id, asked.path)) else { continue };
            if topic.as_str().len() > 65_000 || asked.headers.iter().any(|(_, value)| value.contains(['\r', '\n'])) {
                continue;
            }
            self.number += 1;
            let mut frame = format!("{}\r\nX-Kii-RequestID: {}\r\n", asked.method, self.number);
            frame.extend(asked.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
            let payload: Bytes = [frame.as_bytes(), b"\r\n", &asked.body].concat().into();
            let (dup, retain, qos, id) = (false, false, thingif::mqtt::Qos::AtMostOnce, None);
            self.client.send(Packet::Publish(PublishPacket { dup, retain, qos, id, topic, payload })).await;
            waiting.push((self.number.to_string(), place));
        }
        while !waiting.is_empty() {
            let answer = self.client.answer().await;
            let id = answer.request_id.clone().expect("the id that was sent");
            let found = waiting.iter().position(|(number, _)| *number == id);
            let (_, place) = waiting.swap_remove(found.unwrap_or_else(|| panic!("answered twice: {answer:?}")));
            let mut headers = http::HeaderMap::new();
            for (name, value) in answer.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':')) {
                let name: http::HeaderName = name.parse().expect("a header name");
                headers.append(name, value.parse().expect("a header value"));
            }
            let status = answer.status.parse().expect("a status");
            answers[place] = Some(Answer { status, headers, body: answer.body.into() });
        }
        answers
    }
}
