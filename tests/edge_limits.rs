//! The edge: what one connection may ask for, and what of its requests goes on to the service.
#![cfg(feature = "edge")]

#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "support/scripted_edge.rs"]
mod scripted_edge;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use raw_mqtt::Client;
use scripted_edge::{Scripted, assigned, echo, in_memory, service, start, start_with, until};
use thingif::edge::{Config, Edge, Registry};
use thingif::mqtt::packet::Packet;
use tokio::sync::Semaphore;
use tokio::time::sleep;

const STATES: &str = "p/device/thing-if/apps/app1/targets/thing:th.1/states";

/// The value of a header in the head of an answer.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").filter_map(|line| line.split_once(':')).find(|(found, _)| *found == name).map(|(_, value)| value)
}

#[tokio::test(start_paused = true)]
async fn beyond_its_rate_a_connection_is_told_when_to_come_back_and_nobody_else_notices() {
    let registry = Registry::new();
    let mut config = Config::default();
    (config.max_requests_per_second, config.max_request_burst) = (1, 5);
    let edge = Edge::new(echo(), Scripted, registry.clone(), config);
    let (mut busy, _task) = in_memory(&edge, 1 << 16);
    assert_eq!(busy.connect(assigned("device")).await, 0);
    let (mut other, _other_task) = in_memory(&edge, 1 << 16);
    assert_eq!(other.connect(assigned("other")).await, 0);
    // What is refused for another reason counts as well; what is for others, and is not answered, does not.
    busy.request(STATES, "{}").await;
    assert_eq!(busy.answer().await.status, "400");
    busy.request("p/other/thing-if/apps/app1/x", "GET\n\n").await;
    for number in 1..8 {
        busy.request(STATES, format!("GET\nX-Kii-RequestID: {number}\n\n")).await;
    }
    let mut statuses = Vec::new();
    for _ in 1..8 {
        let answer = busy.answer().await;
        let id = answer.request_id.clone().expect("an id");
        if answer.status == "429" {
            assert_eq!(answer.error_code(), "TOO_MANY_REQUESTS");
            assert_eq!(header(&answer.head, "Retry-After"), Some("1"));
        }
        statuses.push((id, answer.status));
    }
    statuses.sort();
    let told: Vec<_> = statuses.iter().map(|(_, status)| status.as_str()).collect();
    assert_eq!(told, ["200", "200", "200", "200", "429", "429", "429"]);
    busy.ping().await;
    other.request("p/other/thing-if/apps/app1/x", "GET\n\n").await;
    assert_eq!(other.answer().await.status, "200");

    sleep(Duration::from_secs(1)).await;
    busy.request(STATES, "GET\n\n").await;
    assert_eq!(busy.answer().await.status, "200", "it came back when it was told to");
    busy.request(STATES, "{}").await;
    assert_eq!(busy.answer().await.status, "429", "and not before, whatever else is wrong");
    let metrics = registry.metrics();
    assert_eq!((metrics.throttled_requests, metrics.requests, metrics.foreign_publishes), (4, 6, 1));
}

#[tokio::test]
async fn beyond_so_many_connections_the_next_one_is_closed_and_those_there_are_stay() {
    let mut config = Config::default();
    config.max_connections = 2;
    let edge = start_with(echo(), config).await;
    let mut device = edge.assigned("device").await;
    let stranger = Client::dial(edge.address).await; // says nothing, and counts
    until("accepted", || edge.registry.metrics().accepted == 2).await;
    let mut third = Client::dial(edge.address).await;
    third.expect_end().await;
    device.ping().await;
    assert_eq!((edge.registry.metrics().turned_away, edge.registry.metrics().accepted), (1, 2));
    drop(stranger);
    until("it has gone", || edge.registry.metrics().not_connected == 1).await;
    // The place is free a moment after the end is counted.
    let again = async {
        loop {
            let mut fourth = Client::dial(edge.address).await;
            let connect = fourth.encode(&Packet::Connect(Box::new(assigned("fourth"))));
            let _ = fourth.try_send_bytes(&connect).await; // it may have been closed already
            match fourth.receive().await {
                Some(packet) => break packet,
                None => tokio::task::yield_now().await,
            }
        }
    };
    assert!(matches!(again.await, Packet::ConnAck { code: 0, .. }));
}

#[tokio::test]
async fn all_connections_together_hold_so_many_bytes_of_requests() {
    let gate = Arc::new(Semaphore::new(0));
    let open = Arc::clone(&gate);
    let slow = service(move |_| {
        let open = Arc::clone(&open);
        async move {
            open.acquire().await.expect("open").forget();
            Ok(Response::new(Bytes::new()))
        }
    });
    let mut config = Config::default();
    config.max_in_flight_bytes_total = 150_000;
    let edge = start_with(slow, config).await;
    let frame = format!("PUT\n\n{}", "x".repeat(50_000));
    let mut statuses = Vec::new();
    let mut clients = Vec::new();
    for number in 0..4 {
        let name = format!("device{number}");
        let mut client = edge.assigned(&name).await;
        client.request(&format!("p/{name}/thing-if/apps/app1/x"), &frame).await;
        if number < 2 {
            client.ping().await; // so it is taken
            clients.push(client);
        } else {
            let answer = client.answer().await;
            assert_eq!(header(&answer.head, "Retry-After"), Some("1"));
            statuses.push(answer.status);
            // A small one finds room.
            client.request(&format!("p/{name}/thing-if/apps/app1/x"), "GET\n\n").await;
            client.ping().await;
            clients.push(client);
        }
    }
    assert_eq!(statuses, ["503", "503"]);
    gate.add_permits(4);
    for client in &mut clients {
        assert_eq!(client.answer().await.status, "200");
    }
    gate.add_permits(1);
    clients[0].request("p/device0/thing-if/apps/app1/x", &frame).await;
    assert_eq!(clients[0].answer().await.status, "200", "there is room again");
    assert_eq!(edge.registry.metrics().overloaded_requests, 2);
}

#[tokio::test]
async fn a_head_of_too_many_bytes_or_fields_is_431_and_the_connection_goes_on() {
    let edge = start(echo()).await;
    let mut client = edge.assigned("device").await;
    let fields = |count: usize| (0..count).map(|i| format!("H{i}: 1\r\n")).collect::<String>();
    for (head, status) in [
        (fields(63), "200"), // and the id
        (fields(64), "431"),
        (fields(1_000), "431"),
        (format!("X-Long: {}\r\n", "x".repeat(8_000)), "200"),
        (format!("X-Long: {}\r\n", "x".repeat(8_200)), "431"),
        (format!("X-Long: {}\r\n", "x".repeat(60_000)), "431"),
    ] {
        client.request(STATES, format!("GET\r\nX-Kii-RequestID: 7\r\n{head}\r\n")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status.as_str(), answer.request_id.as_deref()), (status, Some("7")), "{} bytes", head.len());
        if status == "431" {
            assert_eq!(answer.error_code(), "REQUEST_HEADER_FIELDS_TOO_LARGE");
        }
    }
    // Without an end to it, too.
    client.request(STATES, format!("GET\r\n{}", "x: y\r\n".repeat(5_000))).await;
    assert_eq!(client.answer().await.status, "431");
    client.ping().await;
    assert_eq!(edge.registry.metrics().oversize_heads, 5);
}

#[tokio::test]
async fn headers_of_the_connection_go_no_further_than_the_connection() {
    let seen: Arc<Mutex<HeaderMap>> = Arc::default();
    let shown = Arc::clone(&seen);
    let edge = start(service(move |request: Request<Bytes>| {
        *shown.lock().expect("no panic") = request.headers().clone();
        async {
            let mut response = Response::new(Bytes::from_static(b"{}"));
            for (name, value) in [
                ("connection", "close, X-Upstream-Hop"),
                ("x-upstream-hop", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "close"),
                ("x-end-to-end", "1"),
            ] {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            Ok(response)
        }
    }))
    .await;
    let mut client = edge.assigned("device").await;
    let frame = "PUT\r\nConnection: keep-alive, X-Device-Hop\r\nX-Device-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
                 Upgrade: h2c\r\nProxy-Authorization: Basic x\r\nAuthorization: Bearer t\r\nX-Kii-RequestID: 1\r\n\r\n{}";
    client.request(STATES, frame).await;
    let answer = client.answer().await;
    assert_eq!(answer.request_id.as_deref(), Some("1"));
    assert_eq!(header(&answer.head, "Connection"), Some("keep-alive"), "as clients know it");
    for gone in ["upstream", "timeout=5", "close"] {
        assert!(!answer.head.to_ascii_lowercase().contains(gone), "{}", answer.head);
    }
    assert!(answer.head.to_ascii_lowercase().contains("x-end-to-end:1"), "{}", answer.head);
    let seen = seen.lock().expect("no panic");
    let mut names: Vec<&str> = seen.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["authorization", "x-kii-requestid"]);
}

#[tokio::test]
async fn one_target_written_in_several_ways_is_one_target_in_one_order() {
    let order: Arc<Mutex<Vec<String>>> = Arc::default();
    let (first, executed) = (Arc::new(Semaphore::new(0)), Arc::clone(&order));
    let gate = Arc::clone(&first);
    let edge = start(service(move |request: Request<Bytes>| {
        let (executed, gate) = (Arc::clone(&executed), Arc::clone(&gate));
        async move {
            let body = String::from_utf8(request.body().to_vec()).expect("text");
            if body == "1" {
                gate.acquire().await.expect("open").forget();
            }
            executed.lock().expect("no panic").push(body);
            Ok(Response::new(Bytes::new()))
        }
    }))
    .await;
    let mut client = edge.assigned("device").await;
    let ways = ["thing:th.1", "thing%3Ath.1", "THING:th.1", "thing%3ath.1", "%74hing:th%2E1"];
    for (target, body) in ways.into_iter().zip(1..) {
        client.request(&STATES.replace("thing:th.1", target), format!("PUT\n\n{body}")).await;
    }
    client.request("p/device/thing-if/apps/app1/targets/thing:th.2/states", "PUT\n\nother").await;
    assert_eq!(client.answer().await.topic, "p/device/thing-if/apps/app1/targets/thing:th.2/states");
    first.add_permits(1);
    for _ in ways {
        assert_eq!(client.answer().await.status, "200");
    }
    assert_eq!(*order.lock().expect("no panic"), ["other", "1", "2", "3", "4", "5"]);
}
