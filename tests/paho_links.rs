//! What only links on Paho promise: the bounds of its own queues, and the keep-alive that it needs. What every link promises is in
//! `transports`.
#![cfg(feature = "paho")]

#[path = "support/mqtt_broker.rs"]
mod mqtt_broker;

use std::time::Duration;

use bytes::Bytes;
use mqtt_broker::{Broker, Manners};
use thingif::ids::ClientId;
use thingif::mqtt::{Credentials, Endpoint, LinkErrorKind, Publish, Scheme};
use thingif::topic::Topic;
use thingif::transport::paho::{Options, Paho};
use thingif::transport::{ConnectOptions, Link, LinkEvent, Transport, next_event};
use tokio::time::timeout;

/// Far beyond what anything here takes, so that a slow machine fails no test.
const PATIENCE: Duration = Duration::from_secs(60);

async fn connected(transport: &Paho, endpoint: &Endpoint) -> Box<dyn Link> {
    let id = ClientId::new("device-1").expect("valid");
    let credentials = Credentials { client_id: id, username: "ann".into(), password: "pw".into() };
    let mut options = ConnectOptions::default();
    options.timeout = PATIENCE;
    transport.connect(endpoint, &credentials, &options).await.expect("the broker accepts")
}

async fn event(link: &mut Box<dyn Link>) -> LinkEvent {
    timeout(PATIENCE, next_event(link.as_mut())).await.expect("an event")
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never came true: {what}"));
}

fn topic(text: &str) -> Topic {
    Topic::new(text).expect("valid")
}

#[tokio::test]
async fn the_keep_alive_leaves_time_for_what_paho_takes_to_notice() {
    let broker = Broker::start(Scheme::Mqtt, None, Manners::default()).await;
    let _link = connected(&Paho::new(Options::default()).expect("usable options"), &broker.endpoint()).await;
    let told = broker.seen.connects.lock().expect("no panic")[0].keep_alive;
    assert_eq!(told, 33, "2.7 keep-alives are less than the 90 s in which a dead peer must be noticed");
}

#[tokio::test]
async fn a_consumer_that_does_not_take_loses_the_link_and_nothing_that_came_before() {
    for (max_incoming, max_incoming_bytes, kept) in [(10, usize::MAX, 10), (usize::MAX, 1_000, 10)] {
        let broker = Broker::start(Scheme::Mqtt, None, Manners { answers: 40, ..Manners::default() }).await;
        let mut few = Options::default();
        few.max_incoming = max_incoming;
        few.max_incoming_bytes = max_incoming_bytes;
        let transport = Paho::new(few).expect("usable options");
        let mut link = connected(&transport, &broker.endpoint()).await;
        link.publish(Publish::new(topic("p/device-1/x"), vec![b'x'; 100])).expect("room");
        eventually("the link was ended", || broker.open() == 0).await;
        for _ in 0..kept {
            assert!(matches!(event(&mut link).await, LinkEvent::Received(_)));
        }
        let LinkEvent::Lost(error) = event(&mut link).await else { panic!("expected the loss") };
        assert_eq!(error.kind(), LinkErrorKind::Overloaded, "{error}");
    }
}

#[tokio::test]
async fn a_broker_that_does_not_read_makes_publish_say_overloaded() {
    let broker = Broker::start(Scheme::Mqtt, None, Manners { reads: false, ..Manners::default() }).await;
    let mut few = Options::default();
    few.max_outgoing = 8;
    let mut link = connected(&Paho::new(few).expect("usable options"), &broker.endpoint()).await;
    let big = Bytes::from(vec![b'x'; 16 * 1024]);
    let fill = async {
        // The kernel's buffers, paho's 10,000, then our 8. `Overloaded` from our 8 alone passes as paho takes them.
        let mut queued = 0_usize;
        let mut refusals = 0;
        while refusals < 100 {
            match link.publish(Publish::new(topic("p/device-1/x"), big.clone())) {
                Ok(()) => (queued, refusals) = (queued + 1, 0),
                Err(error) => {
                    assert_eq!(error.kind(), LinkErrorKind::Overloaded, "{error}");
                    refusals += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        queued
    };
    let queued = timeout(PATIENCE, fill).await.expect("the queue is bounded");
    assert!(queued >= 10_000, "paho's queue was used: {queued}");
    // What cannot be sent does not keep it from closing.
    timeout(PATIENCE, link.close()).await.expect("closes");
}
