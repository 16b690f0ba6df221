//! Devices that show a certificate, on this crate's own edge, which demands one: over TLS and WebSocket over TLS. In a process of
//! its own.
#![cfg(all(feature = "paho", feature = "edge"))]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "support/scripted_edge.rs"]
mod scripted_edge;
#[path = "support/subprocess.rs"]
mod subprocess;

use std::time::Duration;

use certificates::{Authority, Identity};
use scripted_edge::{Scripted, echo};
use subprocess::isolated;
use thingif::edge::{Config, Edge, Listeners, Registry};
use thingif::ids::ClientId;
use thingif::mqtt::{Credentials, Endpoint, LinkError, LinkErrorKind, Publish, Scheme};
use thingif::topic::Topic;
use thingif::transport::paho::{Options, Paho};
use thingif::transport::{ConnectOptions, Link, LinkEvent, Transport, next_event};
use tokio::net::TcpListener;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(200);

async fn connect(
    authority: &Authority,
    shown: Option<&Identity>,
    endpoint: &Endpoint,
) -> Result<Box<dyn Link>, LinkError> {
    let mut options = Options::default();
    options.tls.ca_file = Some(authority.file.clone());
    options.tls.client_cert_file = shown.map(|identity| identity.cert_file.clone());
    options.tls.client_key_file = shown.map(|identity| identity.key_file.clone());
    let id = ClientId::new("device").expect("valid");
    let credentials = Credentials { client_id: id, username: "user".into(), password: "pw".into() };
    let mut patient = ConnectOptions::default();
    patient.timeout = PATIENCE;
    Paho::new(options).expect("usable options").connect(endpoint, &credentials, &patient).await
}

async fn story() {
    let (authority, other) = (Authority::new(), Authority::new());
    let tls = Some(authority.issue("localhost").server(Some(&authority)));
    let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (mqtts, wss) = (bind().await, bind().await);
    let endpoint = |scheme, listener: &TcpListener| {
        Endpoint::new(scheme, "localhost", listener.local_addr().expect("bound").port()).expect("valid")
    };
    let endpoints = [endpoint(Scheme::Mqtts, &mqtts), endpoint(Scheme::Wss, &wss)];
    let registry = Registry::new();
    let edge = Edge::new(echo(), Scripted, registry.clone(), Config::default());
    let listeners = Listeners { mqtts: Some(mqtts), wss: Some(wss), tls, ..Listeners::default() };
    tokio::spawn(edge.run(listeners, std::future::pending::<()>()));
    let (own, foreign, server) = (authority.issue("device"), other.issue("device"), authority.issue("localhost"));
    for endpoint in endpoints {
        for shown in [None, Some(&foreign)] {
            let error = connect(&authority, shown, &endpoint).await.map(drop).expect_err("it is not let in");
            // Which of the two it was, the library does not say; the words name what to look at.
            let expected = if endpoint.scheme == Scheme::Wss { LinkErrorKind::WebSocket } else { LinkErrorKind::Tls };
            assert_eq!(error.kind(), expected, "{endpoint}: {error}");
            assert!(error.to_string().contains("client certificate"), "{endpoint}: {error}");
        }
        for shown in [&own, &server] {
            let mut link = connect(&authority, Some(shown), &endpoint).await.expect("let in");
            let call = Publish::new(Topic::new("p/device/thing-if/apps/app1/x").expect("valid"), "GET\r\n\r\n");
            link.publish(call.clone()).expect("room");
            let answer = timeout(PATIENCE, next_event(link.as_mut())).await.expect("answered");
            let LinkEvent::Received(answer) = answer else { panic!("expected the answer, got {answer:?}") };
            assert!(answer.payload.ends_with(b"GET /thing-if/apps/app1/x device "), "{:?}", answer.payload);
            timeout(PATIENCE, link.close()).await.expect("closes");
        }
    }
}

#[test]
fn an_edge_that_demands_certificates_lets_in_who_has_one() {
    let body = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(story());
    };
    if let Some(ended) = isolated("an_edge_that_demands_certificates_lets_in_who_has_one", LIMIT, &[], body) {
        ended.succeeded();
    }
}
