//! Clients that do not read, over real sockets: what they lose is counted, what they cost is bounded, and they go.
#![cfg(feature = "edge")]

#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "support/scripted_edge.rs"]
mod scripted_edge;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use raw_mqtt::{Client, PATIENCE, client_id, topic};
use scripted_edge::{Function, assigned, echo, service, start_with, until};
use thingif::edge::{Config, PushOutcome, Pusher};
use thingif::mqtt::packet;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

/// A connection whose kernel takes little for it.
async fn with_small_buffer(address: SocketAddr, name: &str) -> Client<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a socket option");
    let mut client = Client::new(socket.connect(address).await.expect("listening"));
    assert_eq!(client.connect(assigned(name)).await, 0);
    client
}

/// Answers with as many kilobytes as the body says.
fn large() -> Function {
    service(|request: Request<Bytes>| async move {
        let kilobytes: usize = String::from_utf8_lossy(request.body()).parse().expect("a number");
        Ok(Response::new(Bytes::from(vec![b'x'; kilobytes * 1024])))
    })
}

/// Asks for `count` answers of 1,000 KiB at once: all are taken before the first answer fills anything.
async fn ask(client: &mut Client<TcpStream>, name: &str, count: usize) {
    let mut requests = BytesMut::new();
    for number in 0..count {
        let topic = topic(&format!("p/{name}/thing-if/apps/app1/{number}"));
        packet::encode_publish(&topic, b"GET\n\n1000", &mut requests).expect("encodable");
    }
    client.send_bytes(&requests).await;
}

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    // Far longer than anything here takes: it is not time that ends a connection.
    config.write_timeout = Duration::from_secs(3600);
    change(&mut config);
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_no_pushes_loses_them_counted_and_then_the_connection() {
    let edge = start_with(echo(), config(|config| config.max_dropped_pushes = 10)).await;
    let mut deaf = with_small_buffer(edge.address, "deaf").await;
    deaf.subscribe(&["deaf"]).await;
    let mut healthy = edge.assigned("healthy").await;
    healthy.subscribe(&["healthy"]).await;
    let payload = Bytes::from(vec![b'x'; 4096]);
    let (mut queued, mut dropped) = (0, 0);
    let pushing = async {
        loop {
            match edge.registry.push(&client_id("deaf"), payload.clone()).await {
                PushOutcome::Queued => queued += 1,
                PushOutcome::Overloaded => {
                    dropped += 1;
                    // What the registry says of the connection is what was answered here.
                    let backlog = edge.registry.backlog(&client_id("deaf"));
                    if let Some(backlog) = backlog {
                        assert_eq!(backlog.pushes_dropped, dropped);
                    }
                    sleep(Duration::from_millis(1)).await;
                }
                PushOutcome::NotConnected => break,
                other => panic!("{other:?}"),
            }
        }
    };
    timeout(PATIENCE, pushing).await.expect("the connection ends");
    // Ten, the one too many, and any that came before the connection had looked.
    assert!(dropped >= 11, "{dropped}");
    until("counted", || edge.registry.metrics().slow_consumers == 1).await;
    let metrics = edge.registry.metrics();
    assert_eq!(metrics.pushes, queued);
    assert!(metrics.pushes_dropped > dropped, "and those that were still waiting: {metrics:?}");
    assert!(!edge.registry.is_connected(&client_id("deaf")) && edge.registry.backlog(&client_id("deaf")).is_none());
    until("nothing is held for it", || edge.registry.outgoing_bytes() == 0).await;

    assert_eq!(edge.registry.push(&client_id("healthy"), Bytes::from_static(b"{}")).await, PushOutcome::Queued);
    assert_eq!(healthy.publication().await.1, "{}");
    // What had left before comes whole; then comes the end.
    while let Some(packet) = deaf.receive().await {
        assert!(matches!(packet, thingif::mqtt::packet::Packet::Publish(_)), "{packet:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_pushes_ends_nobody_who_reads() {
    let bounds = |config: &mut Config| (config.push_queue, config.max_dropped_pushes) = (4, 0);
    let edge = start_with(echo(), config(bounds)).await;
    let mut client = edge.assigned("device").await;
    client.subscribe(&["device"]).await;
    let mut queued = 0;
    for _ in 0..1_000 {
        match edge.registry.push(&client_id("device"), Bytes::from_static(b"{}")).await {
            PushOutcome::Queued => queued += 1,
            PushOutcome::Overloaded => {}
            other => panic!("{other:?}"),
        }
    }
    for _ in 0..queued {
        client.publication().await;
    }
    client.ping().await;
    let metrics = edge.registry.metrics();
    assert_eq!((metrics.pushes, metrics.pushes_dropped), (queued, 1_000 - queued));
    assert_eq!(metrics.slow_consumers, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_together_hold_so_much_and_who_holds_the_most_goes() {
    const LIMIT: usize = 24 << 20;
    let edge = start_with(large(), config(|config| config.max_outgoing_total = LIMIT)).await;
    let mut healthy = edge.assigned("healthy").await;
    let mut some = with_small_buffer(edge.address, "some").await;
    ask(&mut some, "some", 8).await;
    let held = |name| edge.registry.backlog(&client_id(name)).map_or(0, |backlog| backlog.bytes);
    until("it holds what it does not get rid of", || held("some") > 1 << 20).await;

    let mut most = with_small_buffer(edge.address, "most").await;
    ask(&mut most, "most", 60).await;
    until("the largest goes", || !edge.registry.is_connected(&client_id("most"))).await;
    assert!(edge.registry.is_connected(&client_id("some")), "who holds less stays");
    until("its answers are counted", || edge.registry.metrics().undeliverable_answers > 0).await;
    until("what it held is free", || edge.registry.outgoing_bytes() == held("some")).await;
    let metrics = edge.registry.metrics();
    assert_eq!((metrics.outgoing_overflows, metrics.slow_consumers), (1, 0));

    ask(&mut healthy, "healthy", 3).await;
    for _ in 0..3 {
        assert_eq!(healthy.answer().await.body.len(), 1_000 * 1024, "nobody else has lost anything");
    }
    drop(some);
    until("all is free", || edge.registry.outgoing_bytes() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_to_who_reads_late_is_late_and_not_lost() {
    let edge = start_with(large(), config(|_| {})).await;
    let mut client = with_small_buffer(edge.address, "late").await;
    ask(&mut client, "late", 8).await;
    until("answered", || edge.registry.metrics().requests == 8).await;
    for _ in 0..8 {
        assert_eq!(client.answer().await.body.len(), 1_000 * 1024);
    }
    client.ping().await;
    until("all is free", || edge.registry.outgoing_bytes() == 0).await;
    let metrics = edge.registry.metrics();
    assert_eq!((metrics.undeliverable_answers, metrics.outgoing_overflows, metrics.slow_consumers), (0, 0, 0));
}
