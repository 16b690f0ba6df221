//! Devices that show a certificate, on this crate's own edge, which demands one: over TLS and WebSocket over TLS. In a process of
//! its own.

use thingif::edge::{Config, Edge, Listeners, Registry};
use thingif::ids::ClientId;
use thingif::mqtt::{Credentials, Endpoint, LinkError, LinkErrorKind, Publish, Scheme};
use thingif::topic::Topic;
use thingif::transport::{ConnectOptions, Link, LinkEvent, Tls, Transport as _, next_event};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::{PATIENCE, alone, transport};
use crate::certificates::{Authority, Identity};
use crate::scripted_edge::{Scripted, echo};

async fn connect(
    authority: &Authority,
    shown: Option<&Identity>,
    endpoint: &Endpoint,
) -> Result<Box<dyn Link>, LinkError> {
    let mut tls = Tls { ca_file: Some(authority.file.clone()), ..Tls::default() };
    tls.client_cert_file = shown.map(|identity| identity.cert_file.clone());
    tls.client_key_file = shown.map(|identity| identity.key_file.clone());
    let id = ClientId::new("device").expect("valid");
    let credentials = Credentials { client_id: id, username: "user".into(), password: "pw".into() };
    let mut patient = ConnectOptions::default();
    patient.timeout = PATIENCE;
    transport(tls, None).connect(endpoint, &credentials, &patient).await
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
            // Paho does not say which of the two it was; the words name what to look at.
            let is_told = error.kind() == LinkErrorKind::Tls
                || (super::kind().name() == "paho"
                    && (endpoint.scheme, error.kind()) == (Scheme::Wss, LinkErrorKind::WebSocket));
            assert!(is_told, "{endpoint}: {error}");
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
    alone("client_certificates", "an_edge_that_demands_certificates_lets_in_who_has_one", story());
}
