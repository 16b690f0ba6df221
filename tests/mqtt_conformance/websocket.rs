//! MQTT in WebSocket frames, written by hand.

use std::time::Duration;

use thingif::edge::{Config, Edge, Listeners, Registry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::bench::{ACCEPTED, PINGREQ, PINGRESP, connect};
use crate::raw_mqtt::PATIENCE;
use crate::scripted_edge::{Scripted, echo};

cases! {
    packets_come_in_binary_frames_only: mqtt_6_0_0_1;
    packets_may_be_split_and_joined: mqtt_6_0_0_2;
    by_design_the_older_sub_protocol_is_agreed_on_too: mqtt_6_0_0_4;
}

const BINARY: u8 = 0x82;

async fn dial() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut config = Config::default();
    config.connect_timeout = Duration::from_secs(50);
    let edge = Edge::new(echo(), Scripted, Registry::new(), config);
    let listeners = Listeners { ws: Some(listener), ..Listeners::default() };
    tokio::spawn(edge.run(listeners, std::future::pending::<()>()));
    TcpStream::connect(address).await.expect("listening")
}

/// Sends a request with these lines and gives the head of the answer, in lower case.
async fn ask(stream: &mut TcpStream, lines: &[&str]) -> String {
    let head: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    stream.write_all(format!("{head}\r\n").as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("an answer"));
    }
    String::from_utf8(answer).expect("ASCII").to_ascii_lowercase()
}

const UPGRADE: [&str; 6] = [
    "GET /mqtt HTTP/1.1",
    "Host: x",
    "Connection: keep-alive, Upgrade",
    "Upgrade: WebSocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/// The sub-protocol that is agreed on when these are offered.
async fn agreed(offered: &[&str]) -> Option<String> {
    let offers: Vec<_> = offered.iter().map(|offer| format!("Sec-WebSocket-Protocol: {offer}")).collect();
    let lines: Vec<_> = UPGRADE.into_iter().chain(offers.iter().map(String::as_str)).collect();
    let answer = ask(&mut dial().await, &lines).await;
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    let agreed: Vec<_> = answer.lines().filter_map(|line| line.strip_prefix("sec-websocket-protocol: ")).collect();
    assert!(agreed.len() <= 1, "{answer}");
    agreed.first().map(|name| (*name).to_owned())
}

async fn upgraded() -> TcpStream {
    let mut stream = dial().await;
    let answer = ask(&mut stream, &[&UPGRADE[..], &["Sec-WebSocket-Protocol: mqtt"]].concat()).await;
    // The key's answer is the example of RFC 6455 §1.3.
    assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
    assert!(answer.contains("sec-websocket-protocol: mqtt\r\n"), "{answer}");
    stream
}

/// A client's frame: masked, here with a mask that changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("short");
    assert!(len < 126);
    [&[first, 0x80 | len, 0, 0, 0, 0], payload].concat()
}

async fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut next = vec![0; bytes.len()];
    timeout(PATIENCE, stream.read_exact(&mut next)).await.expect("in time").expect("open");
    assert_eq!(next, bytes, "{next:02x?} instead of {bytes:02x?}");
}

/// What is left is at most a goodbye of the WebSocket's, and the end.
async fn expect_end(mut stream: TcpStream) {
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed in time").expect("readable");
    assert!(rest.is_empty() || rest[0] == 0x88, "{rest:02x?}");
}

async fn packets_come_in_binary_frames_only() {
    let mut stream = upgraded().await;
    stream.write_all(&frame(BINARY, &connect("device"))).await.expect("sent");
    expect(&mut stream, &[BINARY, 4]).await;
    expect(&mut stream, &ACCEPTED).await;
    stream.write_all(&frame(0x81, &PINGREQ)).await.expect("sent"); // text
    expect_end(stream).await;

    let mut stream = upgraded().await;
    stream.write_all(&frame(0x81, b"MQTT")).await.expect("sent");
    expect_end(stream).await;
}

async fn packets_may_be_split_and_joined() {
    let mut stream = upgraded().await;
    let bytes = [&connect("device")[..], &PINGREQ, &PINGREQ].concat();
    let (first, rest) = bytes.split_at(5);
    let (second, third) = rest.split_at(rest.len() - 3); // in the middle of a PINGREQ
    for part in [first, second, third] {
        stream.write_all(&frame(BINARY, part)).await.expect("sent");
    }
    // Each packet leaves in a frame of its own.
    expect(&mut stream, &[&[BINARY, 4][..], &ACCEPTED].concat()).await;
    expect(&mut stream, &[&[BINARY, 2][..], &PINGRESP].concat()).await;
    expect(&mut stream, &[&[BINARY, 2][..], &PINGRESP].concat()).await;
    // One message may be several fragments.
    stream.write_all(&[frame(0x02, &PINGREQ[..1]), frame(0x80, &PINGREQ[1..])].concat()).await.expect("sent");
    expect(&mut stream, &[&[BINARY, 2][..], &PINGRESP].concat()).await;
}

async fn by_design_the_older_sub_protocol_is_agreed_on_too() {
    assert_eq!(agreed(&["mqtt"]).await.as_deref(), Some("mqtt"));
    assert_eq!(agreed(&["other, mqtt"]).await.as_deref(), Some("mqtt"));
    assert_eq!(agreed(&["other", "mqtt"]).await.as_deref(), Some("mqtt"));
    assert_eq!(agreed(&["mqttv3.1"]).await.as_deref(), Some("mqttv3.1"));
    assert_eq!(agreed(&[]).await, None);
    assert_eq!(agreed(&["other"]).await, None);
}

#[tokio::test]
async fn a_request_that_is_no_upgrade_is_told_so() {
    let refusals: [(&[&str], &str); 6] = [
        (&["GET /mqtt HTTP/1.1", "Host: x"], "426"),
        (&["GET / HTTP/1.1", "Host: x"], "426"),
        (&["POST /mqtt HTTP/1.1", "Host: x"], "426"),
        (&["GET /other HTTP/1.1", "Host: x"], "404"),
        (&["GET /mqtt HTTP/1.1", UPGRADE[2], UPGRADE[3], "Sec-WebSocket-Version: 8", UPGRADE[5]], "426"),
        (&["GET /mqtt HTTP/1.1", UPGRADE[2], UPGRADE[3], UPGRADE[4]], "400"), // no key
    ];
    for (lines, status) in refusals {
        let mut stream = dial().await;
        let answer = ask(&mut stream, lines).await;
        assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{lines:?}: {answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        if status == "426" {
            assert!(answer.contains("upgrade: websocket\r\n"), "{answer}");
            assert!(answer.contains("sec-websocket-version: 13\r\n"), "{answer}");
        }
        let mut rest = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed in time").expect("readable");
        assert!(rest.ends_with(b"\n"), "{rest:?}");
    }
    for no_http in [&b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"[..], b"hello\r\n\r\n"] {
        let mut stream = dial().await;
        stream.write_all(no_http).await.expect("sent");
        let mut rest = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed in time").expect("readable");
        assert!(rest.starts_with(b"HTTP/1.1 400 "), "{rest:?}");
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_read_for_ever() {
    let mut stream = dial().await;
    let mut head = b"GET /mqtt HTTP/1.1\r\nx: ".to_vec();
    head.resize(64 * 1024, b'x');
    // The edge may have closed before all of it is sent.
    let _sent = stream.write_all(&head).await;
    let mut rest = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed in time");
    assert!(end.is_err() || rest.starts_with(b"HTTP/1.1 431 "), "{rest:?}");
}
