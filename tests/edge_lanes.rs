//! The edge: what becomes of requests whose connection has gone, and who must wait for them.
#![cfg(feature = "edge")]

#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "support/scripted_edge.rs"]
mod scripted_edge;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderValue, Response};
use scripted_edge::{Function, Scripted, anonymous, assigned, in_memory, service, start, start_with, until};
use thingif::edge::{Config, Connections, Edge, Registry};
use thingif::mqtt::packet::Packet;
use tokio::sync::Semaphore;

const ONBOARDINGS: &str = "p/anonymous/thing-if/apps/app1/onboardings";
const STATES: &str = "p/device/thing-if/apps/app1/targets/thing:th.1/states";

/// A service that executes a request for each permit, and what it has executed.
fn gated() -> (Function, Arc<Semaphore>, Arc<Mutex<Vec<String>>>) {
    let (gate, executed) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (open, notes) = (Arc::clone(&gate), Arc::clone(&executed));
    let service = service(move |request| {
        let (open, notes) = (Arc::clone(&open), Arc::clone(&notes));
        async move {
            open.acquire().await?.forget();
            let body = String::from_utf8_lossy(request.body()).into_owned();
            notes.lock().expect("whole").push(body);
            Ok(Response::new(Bytes::new()))
        }
    });
    (service, gate, executed)
}

#[tokio::test]
async fn what_waits_from_an_older_connection_is_executed_before_what_a_newer_one_brings() {
    for is_taken_over in [true, false] {
        let (service, gate, executed) = gated();
        let edge = start(service).await;
        let mut old = edge.assigned("device").await;
        let mut expected: Vec<String> = (0..20).map(|i| format!("old {i}")).collect();
        for state in &expected {
            old.request(STATES, format!("PUT\n\n{state}")).await;
        }
        old.ping().await; // so they are taken
        if !is_taken_over {
            old.send(Packet::Disconnect).await;
            until("the older one has gone", || edge.registry.connections() == Connections::default()).await;
        }
        let mut new = edge.assigned("device").await;
        new.request(STATES, "PUT\n\nnew").await;
        new.ping().await;
        gate.add_permits(21);
        assert_eq!(new.answer().await.status, "200");
        expected.push("new".to_owned());
        assert_eq!(*executed.lock().expect("whole"), expected);
        // The lanes are empty again: nothing waits for what is over.
        gate.add_permits(1);
        new.request(STATES, "PUT\n\nnewer").await;
        assert_eq!(new.answer().await.status, "200");
        assert_eq!(edge.registry.metrics().overloaded_requests, 0);
    }
}

#[tokio::test]
async fn another_client_does_not_wait_for_a_path_of_the_same_name() {
    let (service, gate, executed) = gated();
    let edge = start(service).await;
    let mut one = edge.assigned("device").await;
    one.request(STATES, "PUT\n\none").await;
    one.ping().await;
    let mut other = edge.assigned("other").await;
    other.request("p/other/thing-if/apps/app1/targets/thing:th.1/states", "PUT\n\nother").await;
    other.ping().await;
    gate.add_permits(2);
    assert_eq!((one.answer().await.status, other.answer().await.status), ("200".to_owned(), "200".to_owned()));
    assert_eq!(executed.lock().expect("whole").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn strangers_who_have_gone_keep_no_device_from_the_service() {
    let (service, gate, executed) = gated();
    let (registry, mut config) = (Registry::new(), Config::default());
    config.max_in_flight_total = 64;
    let edge = Edge::new(service, Scripted, registry.clone(), config);
    for _ in 0..32 {
        let (mut stranger, _task) = in_memory(&edge, 1 << 20);
        assert_eq!(stranger.connect(anonymous()).await, 0);
        for _ in 0..64 {
            stranger.request(ONBOARDINGS, "POST\n\n{}").await;
        }
        stranger.send(Packet::Disconnect).await;
        until("it has gone", || registry.connections() == Connections::default()).await;
    }
    let strangers = registry.metrics();
    // The default broker's quarter: each connection kept one that had begun.
    let (begun, waiting) = (16, 15 + 14 + 13 + 12 + 11 + 10 + 9 + 8 + 7 + 6 + 5 + 4 + 3 + 2 + 1);
    assert_eq!((strangers.requests, strangers.abandoned_requests), (begun, waiting));
    assert_eq!(strangers.overloaded_requests, 32 * 64 - begun - waiting);
    // 48 are left to those who are known.
    let (mut device, _task) = in_memory(&edge, 1 << 20);
    assert_eq!(device.connect(assigned("device")).await, 0);
    for i in 0..48 {
        device.request(STATES, format!("PUT\n\n{i}")).await;
    }
    device.ping().await;
    assert_eq!(registry.metrics().overloaded_requests, strangers.overloaded_requests);
    gate.add_permits(64);
    for _ in 0..48 {
        assert_eq!(device.answer().await.status, "200");
    }
    let executed = executed.lock().expect("whole");
    let states: Vec<_> = executed.iter().filter(|body| *body != "{}").cloned().collect();
    assert_eq!(states, (0..48).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_connection_that_onboards_has_few_requests_waiting() {
    let (service, gate, _) = gated();
    let mut config = Config::default();
    config.max_waiting_onboarding = 2;
    let edge = start_with(service, config).await;
    let mut client = edge.anonymous().await;
    for _ in 0..4 {
        client.request(ONBOARDINGS, "POST\n\n{}").await;
    }
    assert_eq!(client.answer().await.status, "503");
    gate.add_permits(3);
    for _ in 0..3 {
        assert_eq!(client.answer().await.status, "200");
    }
    // As long as its connection stands, nothing of it is dropped.
    assert_eq!(edge.registry.metrics().abandoned_requests, 0);
}

#[tokio::test]
async fn a_service_that_panics_or_answers_with_headers_without_number_stops_no_lane() {
    let service = service(|request| async move {
        let mut response = Response::new(Bytes::new());
        match &request.body()[..] {
            b"many" => {
                for _ in 0..30_000 {
                    response.headers_mut().append("set-cookie", HeaderValue::from_static("a=b"));
                }
            }
            b"panic" => panic!("as planned"),
            _ => {}
        }
        Ok(response)
    });
    let mut config = Config::default();
    config.max_in_flight_total = 1;
    let edge = start_with(service, config).await;
    let mut client = edge.assigned("device").await;
    for (body, status) in [("many", "500"), ("panic", "500"), ("", "200")] {
        client.request(STATES, format!("PUT\n\n{body}")).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{body}");
        assert!(!answer.head.contains("a=b"), "more than any device reads");
    }
    assert_eq!(edge.registry.metrics().service_failures, 1);
}
