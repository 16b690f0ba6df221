//! What the edge logs: who and why, never a credential or a payload.
#![cfg(feature = "edge")]

#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "support/scripted_edge.rs"]
mod scripted_edge;

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use raw_mqtt::{Client, connect};
use scripted_edge::{assigned, service, start};
use thingif::mqtt::packet::Packet;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps every event of every level as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").expect("a string takes all");
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut log = self.0.lock().expect("no panic");
        write!(log, "{}", event.metadata().level()).expect("a string takes all");
        event.record(&mut Text(&mut log));
        log.push('\n');
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn the_log_says_who_and_why_and_no_secret() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let edge = start(service(|request: http::Request<bytes::Bytes>| async move {
        match request.uri().path().ends_with("/panic") {
            true => panic!("scripted"),
            false => Ok(http::Response::new(bytes::Bytes::from_static(b"s3cret answer"))),
        }
    }))
    .await;
    let mut refused = Client::dial(edge.address).await;
    assert_eq!(refused.connect(connect("device", "us3r-of-somebody", "s3cret password")).await, 4);
    let mut client = edge.assigned("device").await;
    for (path, frame) in [("x", "PUT\nAuthorization: Bearer s3cret\n\ns3cret"), ("x", "s3cret\n"), ("panic", "GET\n\n")]
    {
        client.request(&format!("p/device/thing-if/apps/app1/{path}"), frame).await;
        client.answer().await;
    }
    let mut newer = edge.assigned("device").await;
    client.expect_end().await;
    newer.send(Packet::Connect(Box::new(assigned("s3cret")))).await;
    newer.expect_end().await;
    let log = log.0.lock().expect("no panic").clone();
    for said in [
        "refused connection=1",
        "CONNECT refused with code 4",
        "connected connection=2",
        "client_id=device",
        "scheme=mqtt",
        "role=Assigned",
        "remote=127.0.0.1:",
        "the service panicked",
        "reason=a newer connection has this client id",
        "the client broke MQTT: CONNECT must be the first packet",
    ] {
        assert!(log.contains(said), "{said:?} is missing in:\n{log}");
    }
    for hidden in ["s3cret", "us3r", "pw", "Bearer"] {
        assert!(!log.contains(hidden), "{hidden:?} is in:\n{log}");
    }
}
