//! The edge: subscriptions, pushes, and clients that do not take what is written for them.
#![cfg(feature = "edge")]

#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "support/scripted_edge.rs"]
mod scripted_edge;

use bytes::Bytes;
use http::Response;
use raw_mqtt::{Client, client_id, filter, id};
use scripted_edge::{Scripted, assigned, echo, in_memory, service, start};
use thingif::edge::{Config, Edge, PushOutcome, Pusher, Registry};
use thingif::mqtt::Qos;
use thingif::mqtt::packet::{Connect, Packet, Protocol};

async fn push(registry: &Registry, payload: &'static str) -> PushOutcome {
    registry.push(&client_id("device"), Bytes::from_static(payload.as_bytes())).await
}

#[tokio::test]
async fn a_push_arrives_as_it_is_on_the_bare_client_id() {
    let edge = start(echo()).await;
    for protocol in [Protocol::V31, Protocol::V311] {
        let mut client = Client::login(edge.address, Connect { protocol, ..assigned("device") }).await;
        assert_eq!(push(&edge.registry, "{}").await, PushOutcome::NotSubscribed);
        assert_eq!(client.subscribe(&["device"]).await, [0]);
        assert_eq!(push(&edge.registry, "{\"commandID\":\"c1\"}").await, PushOutcome::Queued);
        assert_eq!(client.publication().await, ("device".to_owned(), "{\"commandID\":\"c1\"}".to_owned()));
        client.ping().await;
        client.send(Packet::Unsubscribe { id: id(2), filters: vec![filter("device")] }).await;
        assert_eq!(client.receive().await, Some(Packet::UnsubAck(id(2))));
        assert_eq!(push(&edge.registry, "{}").await, PushOutcome::NotSubscribed);
        client.ping().await;
    }
    assert_eq!(edge.registry.push(&client_id("nobody"), Bytes::new()).await, PushOutcome::NotConnected);
}

#[tokio::test]
async fn a_taken_over_subscription_is_not_inherited() {
    let edge = start(echo()).await;
    let mut old = edge.assigned("device").await;
    old.subscribe(&["device"]).await;
    let mut new = edge.assigned("device").await;
    assert_eq!(push(&edge.registry, "{}").await, PushOutcome::NotSubscribed);
    new.ping().await;
    old.expect_end().await;
}

#[tokio::test]
async fn only_the_own_topics_are_granted_at_qos_0() {
    let edge = start(echo()).await;
    let filters =
        ["p/device/#", "device", "p/device/thing-if/x", "#", "+", "other", "p/other/#", "p/+/x", "device/#", "p/#"];
    let mut client = edge.assigned("device").await;
    assert_eq!(client.subscribe(&filters).await, [0, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]);
    client.send(Packet::Subscribe { id: id(5), filters: vec![(filter("device"), Qos::ExactlyOnce)] }).await;
    assert_eq!(client.receive().await, Some(Packet::SubAck { id: id(5), codes: vec![0] }));

    // MQTT 3.1 has no code for a refusal: it is acknowledged, and nothing is delivered.
    let login = Connect { protocol: Protocol::V31, ..assigned("device31") };
    let mut client = Client::login(edge.address, login).await;
    assert_eq!(client.subscribe(&["device", "#"]).await, [0, 0]);
    assert_eq!(push(&edge.registry, "{}").await, PushOutcome::Queued);
    client.ping().await;
    assert_eq!(edge.registry.metrics().refused_filters, 9);
}

#[tokio::test(start_paused = true)]
async fn pushes_that_find_no_room_are_reported_and_a_deaf_client_is_disconnected() {
    let registry = Registry::new();
    let edge = Edge::new(echo(), Scripted, registry.clone(), Config::default());
    let (mut client, task) = in_memory(&edge, 4096);
    assert_eq!(client.connect(Connect { keep_alive: 0, ..assigned("device") }).await, 0);
    client.subscribe(&["device"]).await;
    let mut queued = 0;
    let payload = Bytes::from(vec![b'x'; 4096]);
    while registry.push(&client_id("device"), payload.clone()).await == PushOutcome::Queued {
        queued += 1;
        assert!(queued < 1000, "there is no bound");
        tokio::task::yield_now().await;
    }
    assert_eq!(registry.push(&client_id("device"), payload.clone()).await, PushOutcome::Overloaded);
    assert_eq!((registry.metrics().pushes, registry.metrics().pushes_dropped), (queued, 2));

    // It hears again: what was queued comes, and more is taken.
    for _ in 0..queued {
        assert_eq!(client.publication().await.1.len(), 4096);
    }
    assert_eq!(registry.push(&client_id("device"), payload.clone()).await, PushOutcome::Queued);
    client.publication().await;

    // It never hears again.
    while registry.push(&client_id("device"), payload.clone()).await == PushOutcome::Queued {
        tokio::task::yield_now().await;
    }
    task.await.expect("ended by itself");
    assert_eq!(registry.metrics().slow_consumers, 1);
    assert!(!registry.is_connected(&client_id("device")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_larger_than_every_buffer_wait_for_a_client_that_reads_later() {
    let edge = start(service(|request: http::Request<Bytes>| async move {
        let mut body = request.into_body().to_vec();
        body.resize(100_000, b'.');
        Ok(Response::new(Bytes::from(body)))
    }))
    .await;
    let mut client = edge.assigned("device").await;
    for number in 0..200 {
        client.request("p/device/thing-if/apps/app1/x", format!("PUT\n\n{number:03}")).await;
    }
    for number in 0..200 {
        let answer = client.answer().await;
        assert_eq!((answer.body.len(), &answer.body[..3]), (100_000, format!("{number:03}").as_str()));
    }
    client.ping().await;
    assert_eq!(edge.registry.metrics().overloaded_requests, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_the_edge_does_not_read_from_is_not_taken_for_silent() {
    let registry = Registry::new();
    let body = Bytes::from(vec![b'x'; 600_000]);
    let edge = Edge::new(
        service(move |_| {
            let body = body.clone();
            async move { Ok(Response::new(body)) }
        }),
        Scripted,
        registry.clone(),
        Config::default(),
    );
    let (mut client, _task) = in_memory(&edge, 4096);
    assert_eq!(client.connect(Connect { keep_alive: 1, ..assigned("device") }).await, 0);
    client.request("p/device/thing-if/apps/app1/x", "GET\n\n").await;
    // It takes its answer slowly, though never nothing for 30 s, and sends no ping: the edge reads none meanwhile.
    for _ in 0..20 {
        tokio::time::sleep(std::time::Duration::from_secs(25)).await;
        let mut bytes = vec![0; 4096];
        let read = tokio::io::AsyncReadExt::read(&mut client.stream, &mut bytes).await.expect("open");
        assert!(read > 0, "closed: {:?}", registry.metrics());
    }
    assert!(registry.is_connected(&client_id("device")));
}
