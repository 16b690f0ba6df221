//! The edge: who gets in, who is thrown out, and when.
#![cfg(feature = "edge")]

#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "support/scripted_edge.rs"]
mod scripted_edge;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use raw_mqtt::{Client, client_id, connect, topic};
use scripted_edge::{Scripted, anonymous, assigned, echo, in_memory, service, start, start_with};
use thingif::edge::{Admission, Config, Connections, Directory, Edge, Listeners, Login, Pusher, Registry, Role};
use thingif::ids::AppId;
use thingif::mqtt::packet::{Connect, Packet, Protocol, Will};
use thingif::mqtt::{Qos, RefusedReason, Scheme};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

#[tokio::test]
async fn both_versions_connect_to_both_brokers_on_one_port() {
    let edge = start(echo()).await;
    for protocol in [Protocol::V31, Protocol::V311] {
        for login in [anonymous(), assigned("Q2w3E4r5T6y7U8i9O0p1A2s")] {
            let mut client = Client::login(edge.address, Connect { protocol, ..login }).await;
            client.ping().await;
        }
    }
}

#[tokio::test]
async fn an_mqtt_3_1_connect_as_bytes_gets_its_connack_as_bytes() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let edge = start(echo()).await;
    let mut stream = tokio::net::TcpStream::connect(edge.address).await.expect("listening");
    let mut packet = vec![0x10, 0];
    packet.extend(b"\x00\x06MQIsdp\x03\xC2\x00\x3C\x00\x02me\x00\x04user\x00\x02pw");
    packet[1] = u8::try_from(packet.len() - 2).expect("short");
    stream.write_all(&packet).await.expect("sent");
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).await.expect("an answer");
    assert_eq!(connack, [0x20, 0x02, 0x00, 0x00]);
}

#[tokio::test]
async fn refusals_have_their_codes_and_end_the_connection() {
    let edge = start(echo()).await;
    let good = || connect("device", "user", "pw");
    for (login, code) in [
        (Connect { client_id: String::new(), ..good() }, 2),
        (Connect { client_id: "with space".to_owned(), ..good() }, 2),
        (Connect { username: None, password: None, ..good() }, 4),
        (Connect { password: None, ..good() }, 4),
        (connect("device", "user", "wrong"), 4),
        (connect("device", "stranger", "pw"), 5),
        (connect("anonymous", "type=oauth2&client_id=app1", "client_secret=wrong"), 5),
    ] {
        let mut client = Client::dial(edge.address).await;
        assert_eq!(client.connect(login).await, code);
        client.expect_end().await;
    }
    assert_eq!(edge.registry.metrics().refused, 7);
    assert_eq!(edge.registry.connections(), Connections::default());
}

#[tokio::test]
async fn other_protocol_levels_get_connack_1() {
    let edge = start(echo()).await;
    for (name, level) in [("MQTT", 5), ("MQTT", 3), ("MQIsdp", 4), ("HTTP", 4)] {
        let mut client = Client::dial(edge.address).await;
        let mut packet = vec![0x10, 0, 0, u8::try_from(name.len()).expect("short")];
        packet.extend(name.bytes());
        packet.extend([level, 0x02, 0, 60, 0, 2, b'm', b'e']);
        packet[1] = u8::try_from(packet.len() - 2).expect("short");
        client.send_bytes(&packet).await;
        let refused = Packet::ConnAck { session_present: false, code: 1 };
        assert_eq!(client.receive().await, Some(refused), "{name} {level}");
        client.expect_end().await;
    }
}

#[tokio::test]
async fn what_is_not_a_connect_first_and_only_first_ends_the_connection() {
    let edge = start(echo()).await;
    for first in [&b"\xC0\x00"[..], b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\x10\xFF\xFF\xFF\xFF\x01"]
    {
        let mut client = Client::dial(edge.address).await;
        client.send_bytes(first).await;
        client.expect_end().await;
    }
    let mut client = edge.assigned("device").await;
    client.send(Packet::Connect(Box::new(assigned("device")))).await;
    client.expect_end().await;
    let mut client = edge.assigned("device").await;
    client.send(Packet::PingResp).await;
    client.expect_end().await;
    let metrics = edge.registry.metrics();
    assert_eq!((metrics.not_connected, metrics.protocol_errors), (4, 6));
}

#[tokio::test]
async fn wills_retain_and_unclean_sessions_are_taken_and_mean_nothing() {
    let edge = start(echo()).await;
    let will =
        Will { topic: topic("device"), message: Bytes::from_static(b"gone"), qos: Qos::AtMostOnce, retain: true };
    let login = Connect { will: Some(will), clean_session: false, ..assigned("device") };
    let mut client = Client::login(edge.address, login.clone()).await;
    client.subscribe(&["device"]).await;
    drop(client);
    let mut client = Client::login(edge.address, login).await;
    client.ping().await;
    assert_eq!(edge.registry.metrics().ignored, 2);
}

#[tokio::test]
async fn a_newer_connection_takes_over_an_assigned_id_and_never_anonymous() {
    let edge = start(echo()).await;
    let mut old = edge.assigned("device").await;
    let mut other = edge.assigned("device2").await;
    let mut new = edge.assigned("device").await;
    old.expect_end().await;
    new.ping().await;
    other.ping().await;
    assert!(edge.registry.is_connected(&client_id("device")));
    assert_eq!(edge.registry.connections(), Connections { onboarding: 0, assigned: 2 });
    assert_eq!(edge.registry.metrics().taken_over, 1);

    let mut first = edge.anonymous().await;
    let mut second = edge.anonymous().await;
    first.ping().await;
    second.ping().await;
    assert_eq!(edge.registry.connections(), Connections { onboarding: 2, assigned: 2 });
}

#[tokio::test]
async fn a_revoked_client_is_disconnected() {
    let edge = start(echo()).await;
    let mut client = edge.assigned("device").await;
    edge.registry.disconnect(&client_id("device")).await;
    client.expect_end().await;
    assert!(!edge.registry.is_connected(&client_id("device")));
}

#[tokio::test]
async fn every_way_to_leave_takes_the_connection_out_of_the_registry() {
    let edge = start(echo()).await;
    let mut client = edge.assigned("device").await;
    client.send(Packet::Disconnect).await;
    client.expect_end().await;
    let vanished = edge.assigned("device").await;
    drop(vanished);
    timeout(raw_mqtt::PATIENCE, async {
        while edge.registry.is_connected(&client_id("device")) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("noticed");
}

fn edge_in_memory(config: Config) -> (Edge<scripted_edge::Function, Scripted>, Registry) {
    let registry = Registry::new();
    (Edge::new(echo(), Scripted, registry.clone(), config), registry)
}

#[tokio::test(start_paused = true)]
async fn silence_of_one_and_a_half_keep_alives_ends_the_connection() {
    let (edge, registry) = edge_in_memory(Config::default());
    let (mut client, task) = in_memory(&edge, 4096);
    assert_eq!(client.connect(Connect { keep_alive: 60, ..assigned("device") }).await, 0);
    let connected = Instant::now();
    client.expect_end().await;
    let lasted = connected.elapsed();
    assert!((Duration::from_secs(90)..Duration::from_secs(91)).contains(&lasted), "{lasted:?}");
    drop(client);
    task.await.expect("ended");
    assert_eq!(registry.metrics().keep_alive_expired, 1);
}

#[tokio::test(start_paused = true)]
async fn pings_keep_a_connection_up() {
    let (edge, registry) = edge_in_memory(Config::default());
    let (mut client, _task) = in_memory(&edge, 4096);
    assert_eq!(client.connect(Connect { keep_alive: 60, ..assigned("device") }).await, 0);
    for _ in 0..20 {
        sleep(Duration::from_secs(89)).await;
        client.ping().await;
    }
    assert!(registry.is_connected(&client_id("device")));
}

#[tokio::test(start_paused = true)]
async fn keep_alive_0_means_no_limit() {
    let (edge, _) = edge_in_memory(Config::default());
    let (mut client, _task) = in_memory(&edge, 4096);
    assert_eq!(client.connect(Connect { keep_alive: 0, ..anonymous() }).await, 0);
    sleep(Duration::from_secs(7 * 24 * 3600)).await;
    client.ping().await;
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_does_not_come_in_time_is_not_waited_for() {
    let (edge, registry) = edge_in_memory(Config::default());
    let (mut client, _task) = in_memory(&edge, 4096);
    let opened = Instant::now();
    // The beginning of one does not count.
    client.send_bytes(b"\x10\x20\x00\x04MQ").await;
    client.expect_end().await;
    let lasted = opened.elapsed();
    assert!((Duration::from_secs(10)..Duration::from_secs(11)).contains(&lasted), "{lasted:?}");
    assert_eq!(registry.metrics().not_connected, 1);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_does_not_answer_is_server_unavailable() {
    let (edge, _) = edge_in_memory(Config::default());
    let (mut client, _task) = in_memory(&edge, 4096);
    assert_eq!(client.connect(connect("device", "hang", "pw")).await, 3);
    client.expect_end().await;
}

#[tokio::test]
async fn shutdown_answers_what_is_in_flight_and_takes_no_more() {
    let gate = Arc::new(Semaphore::new(0));
    let entered = Arc::new(Semaphore::new(0));
    let (service_gate, service_entered) = (Arc::clone(&gate), Arc::clone(&entered));
    let edge = start(service(move |_| {
        let (gate, entered) = (Arc::clone(&service_gate), Arc::clone(&service_entered));
        async move {
            entered.add_permits(1);
            gate.acquire().await?.forget();
            Ok(Response::new(Bytes::from_static(b"done")))
        }
    }))
    .await;
    let mut busy = edge.assigned("busy").await;
    let mut idle = edge.assigned("idle").await;
    let mut unconnected = Client::dial(edge.address).await;
    busy.request("p/busy/thing-if/apps/app1/x", "GET\r\n\r\n").await;
    entered.acquire().await.expect("open").forget();
    let address = edge.address;
    let stopped = edge.shut_down();
    idle.expect_end().await;
    unconnected.expect_end().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "still listening");
    gate.add_permits(1);
    assert_eq!(busy.answer().await.body, "done");
    busy.expect_end().await;
    timeout(raw_mqtt::PATIENCE, stopped).await.expect("in time").expect("no panic").expect("no error");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let mut config = Config::default();
    config.shutdown_timeout = Duration::from_millis(50);
    let edge = start_with(service(|_| std::future::pending()), config).await;
    let mut client = edge.assigned("device").await;
    client.request("p/device/thing-if/apps/app1/x", "GET\r\n\r\n").await;
    client.ping().await;
    let stopped = edge.shut_down();
    client.expect_end().await;
    timeout(raw_mqtt::PATIENCE, stopped).await.expect("in time").expect("no panic").expect("no error");
}

#[tokio::test]
async fn an_edge_without_a_listener_or_without_its_certificate_says_so() {
    let run = async |listeners| {
        let edge = Edge::new(echo(), Scripted, Registry::new(), Config::default());
        edge.run(listeners, std::future::pending::<()>()).await.expect_err("refused").to_string()
    };
    assert_eq!(run(Listeners::default()).await, "the edge has no listener");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let listeners = Listeners { mqtts: Some(listener), ..Listeners::default() };
    assert_eq!(run(listeners).await, "a listener for TLS needs a TLS configuration");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_thousand_ends_of_every_kind_nothing_is_left() {
    let edge = start(echo()).await;
    let address = edge.address;
    let worker = |number: u64| async move {
        let mut random = fastrand::Rng::with_seed(number);
        for _ in 0..125 {
            let name = format!("device{}", random.u8(..4)); // so that they take over from each other
            let login = if random.bool() { assigned(&name) } else { anonymous() };
            let mut client = Client::dial(address).await;
            let connect = client.encode(&Packet::Connect(Box::new(login)));
            let request = b"\x30\x25\0\x20p/device1/thing-if/apps/app1/xyzGET";
            let then = [&b"\xE0\0"[..], b"\xF0", b"\x10\x02\0\0", b"", b"\xC0\0", request, b"\x30\xFF\xFF\x7F\0"];
            let mut bytes = connect.to_vec();
            bytes.extend_from_slice(random.choice(then).expect("not empty"));
            bytes.truncate(random.usize(..=bytes.len() * 2));
            // The edge may have closed already.
            let _ = client.try_send_bytes(&bytes).await;
            if random.bool() {
                let mut some = [0; 4];
                let reading = tokio::io::AsyncReadExt::read(&mut client.stream, &mut some);
                let _ = timeout(Duration::from_millis(1), reading).await;
            }
        }
    };
    let workers: Vec<_> = (0..8).map(|number| tokio::spawn(worker(number))).collect();
    for worker in workers {
        worker.await.expect("no panic");
    }
    let registry = edge.registry.clone();
    timeout(raw_mqtt::PATIENCE, async {
        while registry.metrics().accepted < 1000 {
            tokio::task::yield_now().await; // the last ones may still wait to be accepted
        }
    })
    .await
    .expect("all accepted");
    timeout(raw_mqtt::PATIENCE, edge.shut_down()).await.expect("in time").expect("no panic").expect("no error");
    assert_eq!(registry.connections(), Connections::default());
}

/// Admits everybody after 4 s, as long as any delay after failures.
struct Delaying;

impl Directory for Delaying {
    async fn admit(&self, _: &Login) -> Result<Admission, RefusedReason> {
        tokio::time::sleep(Duration::from_secs(4)).await;
        Ok(Admission { role: Role::Assigned, app_id: AppId::new(scripted_edge::APP).expect("valid") })
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_delayed_is_not_refused_however_short_the_time_for_a_connect_is() {
    let mut config = Config::default();
    config.connect_timeout = Duration::from_secs(1);
    let edge = Edge::new(echo(), Delaying, Registry::new(), config);
    let (near, far) = tokio::io::duplex(1 << 16);
    let address = ([127, 0, 0, 1], 1).into();
    tokio::spawn(edge.serve_stream(far, Scheme::Mqtt, address, address));
    let mut client = Client::new(near);
    client.patience = Duration::from_secs(60); // of virtual time
    assert_eq!(client.connect(assigned("device")).await, 0);
}
