//! TLS of the native transport: pins of keys, certificates that are renewed, sessions that are resumed.
#![cfg(feature = "native-tls")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/mqtt_broker.rs"]
mod mqtt_broker;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use certificates::{Authority, Identity};
use mqtt_broker::{Broker, Manners};
use sha2::{Digest as _, Sha256};
use thingif::ids::ClientId;
use thingif::mqtt::{Credentials, Endpoint, LinkErrorKind, Publish, Scheme, SpkiPin};
use thingif::topic::Topic;
use thingif::transport::native::{Native, Options};
use thingif::transport::{ConnectOptions, Link, LinkEvent, Tls, Transport, next_event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::HandshakeKind;

const PATIENCE: Duration = Duration::from_secs(60);

fn credentials() -> Credentials {
    Credentials { client_id: ClientId::new("device-1").expect("valid"), username: "ann".into(), password: "pw".into() }
}

fn options(pins: &[SpkiPin]) -> ConnectOptions {
    let mut options = ConnectOptions::default();
    (options.timeout, options.spki_pins) = (PATIENCE, pins.to_vec());
    options
}

fn with(tls: Tls) -> Native {
    let mut options = Options::default();
    options.tls = tls;
    Native::new(options).expect("usable options")
}

fn trusting(authority: &Authority) -> Tls {
    Tls { ca_file: Some(authority.file.clone()), ..Tls::default() }
}

fn pin(identity: &Identity) -> SpkiPin {
    SpkiPin::new(Sha256::digest(identity.spki()).into())
}

async fn works(link: &mut Box<dyn Link>) {
    let call = Publish::new(Topic::new("p/device-1/x").expect("valid"), "GET\r\n\r\n");
    link.publish(call.clone()).expect("room");
    let heard = timeout(PATIENCE, next_event(link.as_mut())).await.expect("an event");
    assert_eq!(heard, LinkEvent::Received(call));
}

#[tokio::test]
async fn only_a_broker_with_a_pinned_key_is_told_anything() {
    let authority = Authority::new();
    let (own, other) = (authority.issue("localhost"), authority.issue("127.0.0.1"));
    for scheme in [Scheme::Mqtts, Scheme::Wss] {
        let broker = Broker::start(scheme, Some(own.server(None)), Manners::default()).await;
        let endpoint = broker.endpoint_at("localhost");
        let native = with(trusting(&authority));
        assert!(native.capabilities().spki_pins);
        let right = options(&[pin(&other), pin(&own)]);
        works(&mut native.connect(&endpoint, &credentials(), &right).await.expect("one of them is its key")).await;
        let (connects, upgrades) = (broker.connects(), broker.seen.upgrades.lock().expect("no panic").len());

        // The same transport, which has a session to resume: a pin is no less checked.
        for pipeline in [false, true] {
            let mut wrong = options(&[pin(&other)]);
            wrong.pipeline = pipeline;
            let error = native.connect(&endpoint, &credentials(), &wrong).await.map(drop).expect_err("another key");
            assert_eq!(error.kind(), LinkErrorKind::Tls, "{error}");
            assert!(error.to_string().contains(&pin(&own).to_string()), "it says which key was met: {error}");
        }
        // A pin replaces no certificate, and whoever accepts any certificate may still pin a key.
        let foreign = Authority::new();
        let stranger = with(trusting(&foreign));
        let error = stranger.connect(&endpoint, &credentials(), &right).await.map(drop).expect_err("not trusted");
        assert_eq!(error.kind(), LinkErrorKind::Tls, "{error}");
        let anybody = with(Tls { danger_accept_any_certificate: true, ..Tls::default() });
        let wrong = options(&[pin(&other)]);
        let error = anybody.connect(&endpoint, &credentials(), &wrong).await.map(drop).expect_err("another key");
        assert_eq!(error.kind(), LinkErrorKind::Tls, "{error}");
        assert_eq!(broker.connects(), connects, "{scheme}: no CONNECT");
        assert_eq!(broker.seen.upgrades.lock().expect("no panic").len(), upgrades, "{scheme}: no upgrade");
        works(&mut anybody.connect(&endpoint, &credentials(), &right).await.expect("its key is pinned")).await;
    }
}

#[tokio::test]
async fn pins_without_tls_are_refused_before_anything_is_dialled() {
    for scheme in [Scheme::Mqtt, Scheme::Ws] {
        let broker = Broker::start(scheme, None, Manners::default()).await;
        let pins = options(&[SpkiPin::new([1; 32])]);
        let error = with(Tls::default())
            .connect(&broker.endpoint(), &credentials(), &pins)
            .await
            .map(drop)
            .expect_err("no key to check");
        assert_eq!(error.kind(), LinkErrorKind::Config, "{error}");
        assert_eq!(broker.connects(), 0);
    }
}

/// A device runs for longer than its certificate: the file's next content is what the next connect shows and trusts.
#[tokio::test]
async fn files_that_are_renewed_are_read_again() {
    let (authority, new) = (Authority::new(), Authority::new());
    let server = |trusted: &Authority| trusted.issue("localhost").server(Some(trusted));
    let device = authority.issue("device");
    let mut tls = trusting(&authority);
    (tls.client_cert_file, tls.client_key_file) = (Some(device.cert_file.clone()), Some(device.key_file.clone()));
    let native = with(tls);
    let before = Broker::start(Scheme::Mqtts, Some(server(&authority)), Manners::default()).await;
    works(&mut native.connect(&before.endpoint_at("localhost"), &credentials(), &options(&[])).await.expect("trusted"))
        .await;

    let after = Broker::start(Scheme::Mqtts, Some(server(&new)), Manners::default()).await;
    let endpoint = after.endpoint_at("localhost");
    let error = native.connect(&endpoint, &credentials(), &options(&[])).await.map(drop).expect_err("not yet");
    assert_eq!(error.kind(), LinkErrorKind::Tls, "{error}");
    let renewed = new.issue("device");
    for (from, to) in
        [(&new.file, &authority.file), (&renewed.cert_file, &device.cert_file), (&renewed.key_file, &device.key_file)]
    {
        std::fs::copy(from, to).expect("renewed");
    }
    works(&mut native.connect(&endpoint, &credentials(), &options(&[])).await.expect("renewed")).await;

    std::fs::write(&device.key_file, "half a fi").expect("damaged");
    let error = native.connect(&endpoint, &credentials(), &options(&[])).await.map(drop).expect_err("no key");
    assert_eq!(error.kind(), LinkErrorKind::Config, "{error}");
    assert!(error.to_string().contains("device.key"), "it names the file: {error}");
}

#[tokio::test]
async fn the_next_connection_resumes_the_session_of_the_last() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(authority.issue("localhost").server(None));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let endpoint = Endpoint::new(Scheme::Mqtts, "localhost", port).expect("valid");
    let native = Arc::new(with(trusting(&authority)));
    let mut kinds = Vec::new();
    for pins in [&[][..], &[], &[SpkiPin::new([9; 32])]] {
        let accept = async {
            let (socket, _) = listener.accept().await.expect("a connection");
            let mut stream = acceptor.accept(socket).await?;
            let mut input = BytesMut::new();
            stream.read_buf(&mut input).await?;
            stream.write_all(b"\x20\x02\0\0").await?;
            Ok::<_, std::io::Error>((stream.get_ref().1.handshake_kind(), stream))
        };
        let (credentials, options) = (credentials(), options(pins));
        let (link, accepted) = tokio::join!(native.connect(&endpoint, &credentials, &options), accept);
        if let (Ok(link), Ok((kind, stream))) = (link, accepted) {
            kinds.push(kind);
            // The tickets have come with CONNACK.
            drop((link, stream));
        }
    }
    // With pins that are not its key the session of before is worth nothing.
    assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
}
