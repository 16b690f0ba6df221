//! Brokers behind an HTTP proxy, over TCP, TLS, WebSocket and WebSocket over TLS. Each test in a process of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use thingif::ids::ClientId;
use thingif::mqtt::{Credentials, Endpoint, LinkError, LinkErrorKind, Publish, RefusedReason, Scheme};
use thingif::topic::{Topic, TopicFilter};
use thingif::transport::{ConnectOptions, Link, LinkEvent, Tls, Transport, next_event};
use tokio::time::timeout;

use super::{PATIENCE, kind, transport};
use crate::certificates::Authority;
use crate::connect_proxy::{ConnectProxy, Manners};
use crate::mqtt_broker::{self, Broker};
use crate::subprocess;

fn alone(name: &str, story: impl Future<Output = ()>) {
    super::alone("proxy", name, story);
}

fn through(proxy: &str, authority: Option<&Authority>) -> Arc<dyn Transport> {
    let tls = Tls { ca_file: authority.map(|authority| authority.file.clone()), ..Tls::default() };
    transport(tls, Some(proxy.parse().expect("a proxy's URL")))
}

async fn connect(transport: &dyn Transport, endpoint: &Endpoint) -> Result<Box<dyn Link>, LinkError> {
    let id = ClientId::new("device-1").expect("valid");
    let credentials = Credentials { client_id: id, username: "ann".into(), password: "pw".into() };
    let mut options = ConnectOptions::default();
    options.timeout = PATIENCE;
    transport.connect(endpoint, &credentials, &options).await
}

async fn event(link: &mut Box<dyn Link>) -> LinkEvent {
    timeout(PATIENCE, next_event(link.as_mut())).await.expect("an event")
}

async fn round_trips(link: &mut Box<dyn Link>, payload: &str) {
    let call = Publish::new(Topic::new("p/device-1/x").expect("valid"), payload.to_owned());
    for _ in 0..20 {
        link.publish(call.clone()).expect("room");
        assert_eq!(event(link).await, LinkEvent::Received(call.clone()));
    }
}

/// A broker on `scheme`, and the authority of its certificate, which is for a name that no resolver knows.
async fn broker(scheme: Scheme, manners: mqtt_broker::Manners) -> (Broker, Authority, Endpoint) {
    let authority = Authority::new();
    let tls = scheme.is_tls().then(|| authority.issue("broker.invalid").server(None));
    let broker = Broker::start(scheme, tls, manners).await;
    let endpoint = broker.endpoint_at("broker.invalid");
    (broker, authority, endpoint)
}

#[test]
fn every_scheme_goes_through_and_the_proxy_resolves_the_name() {
    alone("every_scheme_goes_through_and_the_proxy_resolves_the_name", async {
        for scheme in Scheme::ALL {
            for manners in [Manners::Open, Manners::Slow] {
                let proxy = ConnectProxy::start(manners).await;
                let (broker, authority, endpoint) = broker(scheme, mqtt_broker::Manners::default()).await;
                let mut link = connect(&*through(&proxy.url(), Some(&authority)), &endpoint)
                    .await
                    .unwrap_or_else(|error| panic!("{scheme}: {error}"));
                round_trips(&mut link, &"x".repeat(40_000)).await;
                let filter = TopicFilter::new("device-1").expect("valid");
                link.subscribe(filter.clone()).expect("room");
                assert_eq!(event(&mut link).await, LinkEvent::Subscribed { filter, granted: true });
                timeout(PATIENCE, link.close()).await.expect("closes");
                let expected =
                    format!("CONNECT broker.invalid:{0} HTTP/1.1\r\nHost: broker.invalid:{0}\r\n\r\n", endpoint.port);
                assert_eq!(proxy.heads(), [expected], "{scheme}: one tunnel, and nothing said but this");
                if scheme.is_websocket() {
                    let upgrades = broker.seen.upgrades.lock().expect("no panic").clone();
                    assert_eq!(upgrades, [("/mqtt".to_owned(), format!("broker.invalid:{}", endpoint.port))]);
                }
                assert_eq!(broker.connects(), 1, "{scheme}");
            }
        }
    });
}

#[test]
fn a_login_is_shown_to_the_proxy_and_a_wrong_one_is_told_from_none() {
    alone("a_login_is_shown_to_the_proxy_and_a_wrong_one_is_told_from_none", async {
        // ann:open sesame/@
        let proxy = ConnectProxy::start(Manners::Login("Basic YW5uOm9wZW4gc2VzYW1lL0A=")).await;
        let (broker, _, endpoint) = broker(Scheme::Mqtt, mqtt_broker::Manners::default()).await;
        let url = |login: &str| format!("http://{login}{}", proxy.address);
        let failure = async |login: &str| {
            let error = connect(&*through(&url(login), None), &endpoint).await.map(drop).expect_err("refused");
            assert_eq!(error.kind(), LinkErrorKind::Proxy, "{error}");
            assert!(!error.to_string().contains("sesame") && !format!("{error:?}").contains("YW5u"), "{error}");
            error.to_string()
        };
        let none = failure("").await;
        assert!(none.contains("wants a user name") && none.contains("407"), "{none}");
        let wrong = failure("ann:sesame@").await;
        assert!(wrong.contains("refuses this user name or password"), "{wrong}");
        assert_eq!(broker.connects(), 0);
        let mut link = connect(&*through(&url("ann:open%20sesame%2F%40@"), None), &endpoint).await.expect("admitted");
        round_trips(&mut link, "GET\r\n\r\n").await;
    });
}

#[test]
fn what_is_in_the_way_is_told_apart() {
    alone("what_is_in_the_way_is_told_apart", async {
        let (broker, _, endpoint) = broker(Scheme::Mqtt, mqtt_broker::Manners::default()).await;
        let failure = async |manners: Manners, endpoint: &Endpoint| {
            let proxy = ConnectProxy::start(manners).await;
            connect(&*through(&proxy.url(), None), endpoint).await.map(drop).expect_err("no way")
        };
        for (says, kind, part) in [
            ("HTTP/1.1 403 No\r\n\r\n", LinkErrorKind::Proxy, "does not allow"),
            ("HTTP/1.1 500 Oh\r\n\r\n", LinkErrorKind::Proxy, "status 500"),
            ("HTTP/1.1 504 Late\r\n\r\n", LinkErrorKind::Tcp, "cannot reach it"),
            ("SSH-2.0-OpenSSH\r\n\r\n", LinkErrorKind::Proxy, "no HTTP proxy"),
            ("HTTP/1.1 200", LinkErrorKind::Proxy, "broke off"),
            ("", LinkErrorKind::Proxy, "broke off"),
        ] {
            let error = failure(Manners::Says(says), &endpoint).await;
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(part), "{part} in {error}");
        }
        // Nobody listens where the broker should be.
        let gone =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let nowhere = Endpoint::new(Scheme::Mqtt, "broker.invalid", gone.port()).expect("valid");
        let error = failure(Manners::Open, &nowhere).await;
        assert_eq!(error.kind(), LinkErrorKind::Tcp, "{error}");
        assert!(error.to_string().contains("502"), "{error}");
        // Nobody listens where the proxy should be, or it has no address.
        for proxy in [format!("http://{gone}"), "http://proxy.invalid".to_owned()] {
            let error = connect(&*through(&proxy, None), &endpoint).await.map(drop).expect_err("no proxy");
            assert_eq!(error.kind(), LinkErrorKind::Proxy, "{error}");
            assert!(error.to_string().contains("is not there"), "{error}");
        }
        // It says nothing.
        let proxy = ConnectProxy::start(Manners::Silent).await;
        let id = ClientId::anonymous();
        let credentials = Credentials { client_id: id, username: "u".into(), password: "p".into() };
        let mut options = ConnectOptions::default();
        options.timeout = Duration::from_millis(500);
        let silent = through(&proxy.url(), None).connect(&endpoint, &credentials, &options).await.map(drop);
        let error = silent.expect_err("nobody answers");
        assert_eq!(error.kind(), LinkErrorKind::ConnectTimedOut, "{error}");
        assert_eq!(broker.connects(), 0);
    });
}

#[test]
fn what_the_broker_says_is_heard_through_the_proxy() {
    alone("what_the_broker_says_is_heard_through_the_proxy", async {
        let proxy = ConnectProxy::start(Manners::Open).await;
        let kind = async |scheme, manners, authority: Option<&Authority>| {
            let (_broker, own, endpoint) = broker(scheme, manners).await;
            let transport = through(&proxy.url(), Some(authority.unwrap_or(&own)));
            connect(&*transport, &endpoint).await.map(drop).expect_err("refused").kind()
        };
        let refusing = mqtt_broker::Manners { connack: Some(5), ..mqtt_broker::Manners::default() };
        for scheme in Scheme::ALL {
            let expected = LinkErrorKind::Refused(RefusedReason::NotAuthorised);
            assert_eq!(kind(scheme, refusing.clone(), None).await, expected, "{scheme}");
        }
        let other = Authority::new();
        for scheme in [Scheme::Mqtts, Scheme::Wss] {
            let untrusted = kind(scheme, mqtt_broker::Manners::default(), Some(&other)).await;
            assert_eq!(untrusted, LinkErrorKind::Tls, "{scheme}: TLS is spoken with the broker");
        }
        let no_upgrade = mqtt_broker::Manners { upgrades: false, ..mqtt_broker::Manners::default() };
        assert_eq!(kind(Scheme::Ws, no_upgrade, None).await, LinkErrorKind::WebSocket);
        // A broker that ends the connection ends the link.
        let (_broker, _, endpoint) =
            broker(Scheme::Mqtt, mqtt_broker::Manners { closes: true, ..mqtt_broker::Manners::default() }).await;
        let mut link = connect(&*through(&proxy.url(), None), &endpoint).await.expect("admitted");
        assert!(matches!(event(&mut link).await, LinkEvent::Lost(_)));
    });
}

/// Links through a proxy leave nothing behind, and do not hold each other up.
#[test]
#[cfg(target_os = "linux")]
fn many_links_at_once_and_no_descriptor_left() {
    alone("many_links_at_once_and_no_descriptor_left", async {
        let proxy = ConnectProxy::start(Manners::Open).await;
        let (broker, _, endpoint) = broker(Scheme::Mqtt, mqtt_broker::Manners::default()).await;
        let transport = through(&proxy.url(), None);
        drop(connect(&*transport, &endpoint).await.expect("admitted"));
        let settled = async || {
            let mut last = (usize::MAX, Instant::now());
            while last.1.elapsed() < Duration::from_millis(400) {
                let now = subprocess::descriptors();
                if now != last.0 {
                    last = (now, Instant::now());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            last.0
        };
        let before = settled().await;
        let began = Instant::now();
        let mut links = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let (transport, endpoint) = (transport.clone(), endpoint.clone());
            links.spawn(async move {
                let mut link = connect(&*transport, &endpoint).await.expect("admitted");
                round_trips(&mut link, "GET\r\n\r\n").await;
                link
            });
        }
        let links = links.join_all().await;
        println!("report: {}: 40 links through a proxy, connected and used in {:?}", kind(), began.elapsed());
        assert_eq!(broker.open(), 40);
        for (n, link) in links.into_iter().enumerate() {
            if n % 2 == 0 { timeout(PATIENCE, link.close()).await.expect("closes") } else { drop(link) }
        }
        let wait = async { while broker.open() > 0 || settled().await > before {} };
        timeout(PATIENCE, wait).await.expect("everything is closed");
    });
}
