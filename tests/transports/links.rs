//! What a link promises, over real sockets: TCP, TLS, WebSocket and WebSocket over TLS.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use thingif::ids::ClientId;
use thingif::mqtt::packet::Protocol;
use thingif::mqtt::{Credentials, Endpoint, LinkError, LinkErrorKind, Publish, RefusedReason, Scheme};
use thingif::topic::{Topic, TopicFilter};
use thingif::transport::{ConnectOptions, Link, LinkEvent, Tls, Transport, next_event};
use tokio::time::timeout;

use super::{PATIENCE, kind, transport};
use crate::certificates::Authority;
use crate::mqtt_broker::{Broker, Manners};

fn credentials() -> Credentials {
    Credentials { client_id: ClientId::new("device-1").expect("valid"), username: "ann".into(), password: "pw".into() }
}

fn options() -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.timeout = PATIENCE;
    options
}

fn with(tls: Tls) -> Arc<dyn Transport> {
    transport(tls, None)
}

fn plain() -> Arc<dyn Transport> {
    with(Tls::default())
}

fn trusting(authority: &Authority) -> Tls {
    Tls { ca_file: Some(authority.file.clone()), ..Tls::default() }
}

async fn connect(transport: &dyn Transport, endpoint: &Endpoint) -> Result<Box<dyn Link>, LinkError> {
    transport.connect(endpoint, &credentials(), &options()).await
}

async fn connected(transport: &dyn Transport, endpoint: &Endpoint) -> Box<dyn Link> {
    connect(transport, endpoint).await.expect("the broker accepts")
}

/// The kind of error with which connecting fails.
async fn failure(transport: &dyn Transport, endpoint: &Endpoint) -> LinkErrorKind {
    match connect(transport, endpoint).await {
        Ok(_) => panic!("connected to {endpoint}"),
        Err(error) => error.kind(),
    }
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

/// Says something on a topic that was never subscribed to, and hears it back.
async fn round_trip(link: &mut Box<dyn Link>) {
    let call = Publish::new(topic("p/device-1/thing-if/apps/a/x"), "GET\r\n\r\n");
    link.publish(call.clone()).expect("room");
    assert_eq!(event(link).await, LinkEvent::Received(call));
}

#[tokio::test]
async fn tcp_brings_answers_that_nobody_subscribed_to() {
    let broker = Broker::start(Scheme::Mqtt, None, Manners::default()).await;
    let mut link = connected(&*plain(), &broker.endpoint()).await;
    round_trip(&mut link).await;
    let connect = broker.seen.connects.lock().expect("no panic")[0].clone();
    assert_eq!(connect.client_id, "device-1");
    assert_eq!(connect.username.as_deref(), Some("ann"));
    assert_eq!(connect.password.as_deref(), Some(&b"pw"[..]));
    assert_eq!(connect.protocol, Protocol::V311);
    assert!(connect.clean_session && connect.will.is_none());
    assert!((1..=45).contains(&connect.keep_alive), "a dead peer is noticed within 90 s: {}", connect.keep_alive);
}

#[tokio::test]
async fn a_host_name_works_as_well_as_an_address() {
    let broker = Broker::start(Scheme::Mqtt, None, Manners::default()).await;
    round_trip(&mut connected(&*plain(), &broker.endpoint_at("localhost")).await).await;
}

#[tokio::test]
async fn tls_with_its_own_authority_works_by_name_and_by_address() {
    let authority = Authority::new();
    for host in ["localhost", "127.0.0.1"] {
        let server = authority.issue(host).server(None);
        let broker = Broker::start(Scheme::Mqtts, Some(server), Manners::default()).await;
        round_trip(&mut connected(&*with(trusting(&authority)), &broker.endpoint_at(host)).await).await;
    }
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_is_a_tls_failure() {
    let server = Authority::new().issue("localhost").server(None);
    let broker = Broker::start(Scheme::Mqtts, Some(server), Manners::default()).await;
    let endpoint = broker.endpoint_at("localhost");
    assert_eq!(failure(&*with(trusting(&Authority::new())), &endpoint).await, LinkErrorKind::Tls, "another authority");
    assert_eq!(failure(&*plain(), &endpoint).await, LinkErrorKind::Tls, "the system's authorities");
    assert_eq!(broker.connects(), 0, "no credentials were sent");
}

#[tokio::test]
async fn a_certificate_for_another_host_is_a_tls_failure() {
    let authority = Authority::new();
    let server = authority.issue("another.example").server(None);
    for scheme in [Scheme::Mqtts, Scheme::Wss] {
        let broker = Broker::start(scheme, Some(Arc::clone(&server)), Manners::default()).await;
        for host in ["localhost", "127.0.0.1"] {
            let kind = failure(&*with(trusting(&authority)), &broker.endpoint_at(host)).await;
            assert_eq!(kind, LinkErrorKind::Tls, "{scheme} {host}: trusted, but not for this name");
        }
        assert_eq!(broker.connects(), 0, "no credentials were sent");
    }
}

#[tokio::test]
async fn the_option_that_says_danger_connects_to_anybody() {
    let server = Authority::new().issue("another.example").server(None);
    let broker = Broker::start(Scheme::Mqtts, Some(server), Manners::default()).await;
    let anybody = Tls { danger_accept_any_certificate: true, ..Tls::default() };
    round_trip(&mut connected(&*with(anybody), &broker.endpoint_at("localhost")).await).await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_wanted() {
    let authority = Authority::new();
    let server = authority.issue("localhost").server(Some(&authority));
    let broker = Broker::start(Scheme::Mqtts, Some(server), Manners::default()).await;
    let endpoint = broker.endpoint_at("localhost");

    assert_eq!(failure(&*with(trusting(&authority)), &endpoint).await, LinkErrorKind::Tls, "none given");
    let foreign = Authority::new();
    let wrong = foreign.issue("device");
    let mut tls = trusting(&authority);
    (tls.client_cert_file, tls.client_key_file) = (Some(wrong.cert_file.clone()), Some(wrong.key_file.clone()));
    assert_eq!(failure(&*with(tls.clone()), &endpoint).await, LinkErrorKind::Tls, "of another authority");
    assert_eq!(broker.connects(), 0);

    let own = authority.issue("device");
    (tls.client_cert_file, tls.client_key_file) = (Some(own.cert_file.clone()), Some(own.key_file.clone()));
    round_trip(&mut connected(&*with(tls), &endpoint).await).await;
}

#[tokio::test]
async fn websocket_upgrades_on_the_path_of_the_endpoint() {
    let broker = Broker::start(Scheme::Ws, None, Manners::default()).await;
    round_trip(&mut connected(&*plain(), &broker.endpoint_at("localhost")).await).await;
    let mut elsewhere = broker.endpoint_at("localhost");
    elsewhere.path = "/other/path".into();
    round_trip(&mut connected(&*plain(), &elsewhere).await).await;
    let host = format!("localhost:{}", broker.address.port());
    let expected = [("/mqtt".to_owned(), host.clone()), ("/other/path".to_owned(), host)];
    assert_eq!(*broker.seen.upgrades.lock().expect("no panic"), expected);
}

#[tokio::test]
async fn websocket_over_tls_works() {
    let authority = Authority::new();
    let server = authority.issue("localhost").server(None);
    let broker = Broker::start(Scheme::Wss, Some(server), Manners::default()).await;
    round_trip(&mut connected(&*with(trusting(&authority)), &broker.endpoint_at("localhost")).await).await;
}

#[tokio::test]
async fn a_refused_upgrade_is_a_websocket_failure() {
    let broker = Broker::start(Scheme::Ws, None, Manners { upgrades: false, ..Manners::default() }).await;
    assert_eq!(failure(&*plain(), &broker.endpoint()).await, LinkErrorKind::WebSocket);
}

#[tokio::test]
async fn every_connack_refusal_keeps_its_reason() {
    for code in 1..=5 {
        let broker = Broker::start(Scheme::Mqtt, None, Manners { connack: Some(code), ..Manners::default() }).await;
        let reason = RefusedReason::from_code(code).expect("a refusal");
        assert_eq!(failure(&*plain(), &broker.endpoint()).await, LinkErrorKind::Refused(reason));
        let versions = broker.seen.connects.lock().expect("no panic").iter().all(|c| c.protocol == Protocol::V311);
        assert!(versions, "no attempt with another version");
    }
}

#[tokio::test]
async fn what_lies_below_mqtt_has_its_own_names() {
    let broker = Broker::start(Scheme::Mqtt, None, Manners::default()).await;
    let nobody = broker.endpoint();
    drop(broker);
    eventually("the port is closed", || std::net::TcpStream::connect(("127.0.0.1", nobody.port)).is_err()).await;
    assert_eq!(failure(&*plain(), &nobody).await, LinkErrorKind::Tcp);
    let nowhere = "mqtts://broker.invalid".parse().expect("a broker URL");
    assert_eq!(failure(&*plain(), &nowhere).await, LinkErrorKind::NameNotResolved);
}

#[tokio::test]
async fn a_broker_that_never_answers_connect_is_given_up_in_time_and_cleaned_up() {
    let broker = Broker::start(Scheme::Mqtt, None, Manners { connack: None, ..Manners::default() }).await;
    let mut soon = options();
    soon.timeout = Duration::from_millis(300);
    let error = match plain().connect(&broker.endpoint(), &credentials(), &soon).await {
        Ok(_) => panic!("connected without CONNACK"),
        Err(error) => error,
    };
    assert_eq!(error.kind(), LinkErrorKind::ConnectTimedOut, "{error}");
    eventually("nothing is left of it", || broker.connects() > 0 && broker.open() == 0).await;
}

#[tokio::test]
async fn a_connect_dropped_half_way_leaves_no_connection_behind() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let manners = Manners { connack_gate: Some(Arc::clone(&gate)), ..Manners::default() };
    let broker = Broker::start(Scheme::Mqtt, None, manners).await;
    let (transport, endpoint, credentials, options) = (plain(), broker.endpoint(), credentials(), options());
    let mut attempt = transport.connect(&endpoint, &credentials, &options);
    tokio::select! {
        _ = &mut attempt => panic!("connected without CONNACK"),
        () = eventually("CONNECT has come", || broker.connects() > 0) => {}
    }
    drop(attempt);
    // The broker accepts after all; nobody is there any more.
    gate.add_permits(1);
    eventually("the connection is closed", || broker.open() == 0).await;
    gate.add_permits(1);
    round_trip(&mut connected(&*transport, &endpoint).await).await;
}

#[tokio::test]
async fn close_sends_what_is_queued_and_then_disconnect() {
    let broker = Broker::start(Scheme::Mqtt, None, Manners { answers: 0, ..Manners::default() }).await;
    let mut link = connected(&*plain(), &broker.endpoint()).await;
    for n in 0..500 {
        link.publish(Publish::new(topic("p/device-1/x"), n.to_string())).expect("room");
    }
    timeout(PATIENCE, link.close()).await.expect("closes");
    eventually("DISCONNECT has come", || broker.seen.disconnects.load(Ordering::SeqCst) == 1).await;
    assert_eq!(broker.seen.publishes.load(Ordering::SeqCst), 500);
}

#[tokio::test]
async fn a_dropped_link_closes_its_connection() {
    let broker = Broker::start(Scheme::Mqtt, None, Manners::default()).await;
    let link = connected(&*plain(), &broker.endpoint()).await;
    eventually("it is open", || broker.open() == 1).await;
    drop(link);
    eventually("it is closed", || broker.open() == 0).await;
}

#[tokio::test]
async fn a_lost_link_says_so_once_and_takes_nothing_more() {
    let broker = Broker::start(Scheme::Mqtt, None, Manners { closes: true, ..Manners::default() }).await;
    let mut link = connected(&*plain(), &broker.endpoint()).await;
    let LinkEvent::Lost(error) = event(&mut link).await else { panic!("expected the loss") };
    assert_eq!(error.kind(), LinkErrorKind::Closed);
    let publish = Publish::new(topic("p/x"), "");
    eventually("the link is closed", || broker.open() == 0).await;
    let refused = async {
        while link.publish(publish.clone()).is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, refused).await.expect("a lost link takes nothing");
    assert_eq!(link.publish(publish).expect_err("lost").kind(), LinkErrorKind::Closed);
    let more = timeout(Duration::from_millis(50), next_event(link.as_mut())).await;
    assert!(more.is_err(), "after the loss: {more:?}");
    timeout(PATIENCE, link.close()).await.expect("closing what is closed");
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_noticed() {
    let broker = Broker::start(Scheme::Mqtt, None, Manners { pings: false, ..Manners::default() }).await;
    let mut impatient = options();
    impatient.detect_dead_peer = Duration::from_secs(3);
    let mut link = plain().connect(&broker.endpoint(), &credentials(), &impatient).await.expect("accepted");
    let LinkEvent::Lost(error) = event(&mut link).await else { panic!("expected the loss") };
    assert_eq!(error.kind(), LinkErrorKind::KeepAlive, "{error}");
}

#[tokio::test]
async fn a_push_does_not_overtake_its_suback() {
    for scheme in [Scheme::Mqtt, Scheme::Ws] {
        let broker = Broker::start(scheme, None, Manners { pushes: 20, ..Manners::default() }).await;
        let mut link = connected(&*plain(), &broker.endpoint()).await;
        for round in 0..25 {
            let filter = TopicFilter::new(&format!("device-{round}")).expect("valid");
            link.subscribe(filter.clone()).expect("room");
            assert_eq!(event(&mut link).await, LinkEvent::Subscribed { filter, granted: true });
            for n in 0..20 {
                let push = Publish::new(topic(&format!("device-{round}")), n.to_string());
                assert_eq!(event(&mut link).await, LinkEvent::Received(push));
            }
        }
    }
}

#[tokio::test]
async fn a_refused_subscription_is_not_granted() {
    let broker = Broker::start(Scheme::Mqtt, None, Manners { suback: 0x80, ..Manners::default() }).await;
    let mut link = connected(&*plain(), &broker.endpoint()).await;
    let filter = TopicFilter::new("somebody-else").expect("valid");
    link.subscribe(filter.clone()).expect("room");
    assert_eq!(event(&mut link).await, LinkEvent::Subscribed { filter, granted: false });
    round_trip(&mut link).await;
}

#[tokio::test]
async fn polling_and_giving_up_loses_no_event() {
    const MESSAGES: usize = 2_000;
    let broker = Broker::start(Scheme::Mqtt, None, Manners::default()).await;
    let mut link = connected(&*plain(), &broker.endpoint()).await;
    let mut sent = 0;
    let mut heard = 0;
    let exchange = async {
        while heard < MESSAGES {
            while sent < MESSAGES && sent - heard < 50 {
                link.publish(Publish::new(topic("p/device-1/x"), sent.to_string())).expect("room");
                sent += 1;
            }
            // The timer is as often the first as the event is: half of these futures are dropped while they wait.
            tokio::select! {
                biased;
                () = tokio::task::yield_now() => {}
                event = next_event(link.as_mut()) => {
                    let LinkEvent::Received(publish) = event else { panic!("{event:?}") };
                    assert_eq!(publish.payload, Bytes::from(heard.to_string()), "each once and in order");
                    heard += 1;
                }
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, exchange).await.expect("all are heard");
}

#[tokio::test]
async fn a_payload_beyond_the_limit_ends_the_link() {
    let broker = Broker::start(Scheme::Mqtt, None, Manners::default()).await;
    let mut small = options();
    small.max_payload = 100;
    let mut link = plain().connect(&broker.endpoint(), &credentials(), &small).await.expect("accepted");
    for len in [100, 101] {
        link.publish(Publish::new(topic("p/device-1/x"), vec![b'x'; len])).expect("room");
    }
    assert!(matches!(event(&mut link).await, LinkEvent::Received(publish) if publish.payload.len() == 100));
    let LinkEvent::Lost(error) = event(&mut link).await else { panic!("expected the loss") };
    assert_eq!(error.kind(), LinkErrorKind::Protocol, "{error}");
    eventually("the connection is closed", || broker.open() == 0).await;
}

#[tokio::test]
async fn a_topic_that_no_topic_may_be_ends_the_link() {
    // PUBLISH on `a/#`.
    let after_connack = b"\x30\x06\x00\x03a/#x".to_vec();
    let broker = Broker::start(Scheme::Mqtt, None, Manners { after_connack, ..Manners::default() }).await;
    let mut link = connected(&*plain(), &broker.endpoint()).await;
    let LinkEvent::Lost(error) = event(&mut link).await else { panic!("expected the loss") };
    assert_eq!(error.kind(), LinkErrorKind::Protocol, "{error}");
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_a_configuration_error() {
    let broker = Broker::start(Scheme::Mqtt, None, Manners::default()).await;
    let nul = Credentials { username: "a\0b".into(), ..credentials() };
    let error = match plain().connect(&broker.endpoint(), &nul, &options()).await {
        Ok(_) => panic!("a NUL was sent"),
        Err(error) => error,
    };
    assert_eq!(error.kind(), LinkErrorKind::Config, "{error}");
    let absent = Tls { ca_file: Some("/nonexistent/ca.pem".into()), ..Tls::default() };
    let refused = kind().transport(absent, None).map(drop).expect_err("no such file");
    assert_eq!(refused.kind(), LinkErrorKind::Config);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_links_live_side_by_side() {
    const LINKS: usize = 100;
    let broker = Broker::start(Scheme::Mqtt, None, Manners::default()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..LINKS {
        let (transport, endpoint) = (plain(), broker.endpoint());
        tasks.spawn(async move {
            let mut link = connected(&*transport, &endpoint).await;
            for _ in 0..10 {
                round_trip(&mut link).await;
            }
            timeout(PATIENCE, link.close()).await.expect("closes");
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no link failed");
    }
    assert!(broker.connects() >= LINKS);
}
