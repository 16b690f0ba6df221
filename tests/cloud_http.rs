//! The cloud's HTTP side: TLS, connections that misbehave, and logins that fail.
#![cfg(feature = "cloud")]

mod cloud_support;

use std::sync::Arc;

use cloud_support::{APP, BY_THING, KEY, Recorder, Road, Served, basic, onboard, options, parse};
use thingif::cloud::http::Accepted;
use thingif::cloud::{self, Cloud};
use thingif::edge::PushOutcome;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsConnector, TlsStream};
use tower_service::Service as _;

fn open() -> Cloud {
    Cloud::open(options(), Recorder::new(PushOutcome::Queued)).expect("opens")
}

/// Both ends of a TLS that trusts one certificate, for `localhost`.
fn tls() -> (Arc<ServerConfig>, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let certificate = made.cert.der().clone();
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.clone()], key);
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server.expect("a configuration")), TlsConnector::from(Arc::new(client)))
}

#[tokio::test]
async fn tls_is_served_and_those_who_do_not_speak_it_delay_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (server, connector) = tls();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(cloud::http::serve(listener, Some(server), open(), async {
        let _ = stopped.await;
    }));
    // One says nothing, one speaks HTTP without TLS.
    let _silent = TcpStream::connect(address).await.expect("listening");
    let mut plain = TcpStream::connect(address).await.expect("listening");
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");

    let stream = TcpStream::connect(address).await.expect("listening");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = TlsStream::from(connector.connect(name, stream).await.expect("a handshake"));
    let body = r#"{"vendorThingID":"v","thingPassword":"secret"}"#;
    let request = format!(
        "POST /thing-if/apps/{APP}/onboardings HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: {}\r\n\
         Content-Type: {BY_THING}\r\nContent-Length: {}\r\n\r\n{body}",
        basic(APP, KEY),
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("read");
    assert_eq!(parse(&bytes).status, 200);

    let mut rest = Vec::new();
    // An alert, or just the end: no answer in any case.
    let _ = plain.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    stop.send(()).expect("serving");
    serving.await.expect("no panic").expect("served");
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_others_are_served() {
    let served = Served::start(open()).await;
    for nonsense in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n"] {
        let mut stream = TcpStream::connect(served.address).await.expect("listening");
        stream.write_all(nonsense.as_bytes()).await.expect("written");
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        assert!(bytes.is_empty() || parse(&bytes).status == 400, "{nonsense:?}: {bytes:?}");
    }
    assert_eq!(onboard(&served.http, APP, KEY, "v").await.status, 200);
    served.stop().await;
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_before_it_is_sent() {
    let served = Served::start(open()).await;
    let mut stream = TcpStream::connect(served.address).await.expect("listening");
    let head = format!(
        "PUT /thing-if/apps/{APP}/targets/thing:t/states HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("read");
    let answer = parse(&bytes);
    assert_eq!((answer.status, answer.code().as_str()), (413, "PAYLOAD_TOO_LARGE"));
    served.stop().await;
}

async fn onboard_with(road: &Road, password: &str) -> u16 {
    let body = format!(r#"{{"vendorThingID":"lamp","thingPassword":"{password}"}}"#);
    let basic = basic(APP, KEY);
    let headers = [("Authorization", basic.as_str()), ("Content-Type", BY_THING)];
    road.send("POST", &format!("/thing-if/apps/{APP}/onboardings"), &headers, &body).await.status
}

/// In virtual time.
#[tokio::test(start_paused = true)]
async fn wrong_passwords_delay_the_thing_that_is_tried_and_never_lock_it_out() {
    let cloud = open();
    let road = Road::Service(cloud.service());
    assert_eq!(onboard(&road, APP, KEY, "lamp").await.status, 200);
    let mut waited = Vec::new();
    for _ in 0..10 {
        let begin = Instant::now();
        assert_eq!(onboard_with(&road, "wrong").await, 401);
        waited.push(begin.elapsed().as_millis());
    }
    let expected = [0, 0, 0, 125, 250, 500, 1000, 2000, 4000, 4000];
    for (waited, expected) in waited.iter().zip(expected) {
        assert!((expected..expected + 10).contains(waited), "{waited} ms for {expected}");
    }
    let begin = Instant::now();
    assert_eq!(onboard(&road, APP, KEY, "another").await.status, 200);
    assert_eq!(onboard(&road, APP, KEY, "another").await.status, 200);
    assert_eq!(begin.elapsed().as_millis(), 0, "other things do not wait");
    assert_eq!(onboard_with(&road, "secret of lamp").await, 200);
    assert!(begin.elapsed().as_secs() <= 4, "the right password is right");
    let begin = Instant::now();
    assert_eq!(onboard_with(&road, "secret of lamp").await, 200);
    assert_eq!(begin.elapsed().as_millis(), 0, "and forgives");
}

/// In virtual time. Whether a key is the right one shows no sooner than that it is a wrong one: who guesses could hang
/// up on every answer that does not come at once.
#[tokio::test(start_paused = true)]
async fn a_right_key_waits_like_a_wrong_one_after_many_wrong_ones_from_its_address() {
    let cloud = open();
    let try_key = async |host: u8, key: &str| {
        let mut request = http::Request::post(format!("/api/apps/{APP}/oauth2/token"));
        request = request.header("X-Kii-AppID", APP).header("X-Kii-AppKey", key);
        let mut request = request.body(axum::body::Body::from("{}")).expect("a request");
        let accepted = Accepted { remote: ([192, 0, 2, host], 4711).into(), local: ([192, 0, 2, 9], 80).into() };
        request.extensions_mut().insert(axum::extract::ConnectInfo(accepted));
        let begin = Instant::now();
        let status = cloud.router().call(request).await.expect("infallible").status().as_u16();
        (status, begin.elapsed().as_secs())
    };
    for _ in 0..30 {
        assert_eq!(try_key(1, "wrong").await.0, 401);
    }
    assert_eq!(try_key(1, "wrong").await, (401, 4));
    assert_eq!(try_key(1, KEY).await, (400, 4), "the key is right, the body is not");
    assert_eq!(try_key(2, KEY).await, (400, 0));
}

#[tokio::test(start_paused = true)]
async fn without_the_throttle_nobody_waits() {
    let mut options = options();
    options.throttle_logins = false;
    let cloud = Cloud::open(options, Recorder::new(PushOutcome::Queued)).expect("opens");
    let road = Road::Service(cloud.service());
    assert_eq!(onboard(&road, APP, KEY, "lamp").await.status, 200);
    let begin = Instant::now();
    for _ in 0..10 {
        assert_eq!(onboard_with(&road, "wrong").await, 401);
    }
    assert_eq!(begin.elapsed().as_millis(), 0);
}

#[tokio::test]
async fn a_head_of_too_many_bytes_or_fields_is_431() {
    let served = Served::start(open()).await;
    let path = format!("/thing-if/apps/{APP}/targets/thing:th.x/states");
    let many = |count: usize| (0..count).map(|i| format!("X-H{i}: 1\r\n")).collect::<String>();
    for (fields, status) in
        [(many(60), "401"), (many(80), "431"), (format!("X-Long: {}\r\n", "x".repeat(20_000)), "431")]
    {
        let mut stream = TcpStream::connect(served.address).await.expect("listening");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n");
        // It may be refused before it is sent, and the rest of it reset the connection once the answer is there.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{} bytes: {answer}", fields.len());
    }
    served.stop().await;
}
