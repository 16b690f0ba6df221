//! What a replay as the server does not let pass, what it must let pass, and what the recording proxy carries to its end.
#![cfg(feature = "cli")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use thingif::capture::{Header, Writer};
use thingif::mqtt::packet::{Connect, Packet, PacketId, Protocol, PublishPacket, encode};
use thingif::mqtt::{Endpoint, Qos};
use thingif::replay::{ReplayError, Replayed, Script, Speed, recorder, server};
use thingif::topic::{Topic, TopicFilter};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

fn bytes(packets: &[Packet]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for packet in packets {
        encode(packet, Protocol::V311, &mut bytes).expect("valid");
    }
    bytes
}

fn connect(username: &str) -> Packet {
    Packet::Connect(Box::new(Connect {
        protocol: Protocol::V311,
        clean_session: true,
        keep_alive: 0,
        client_id: "me".into(),
        will: None,
        username: Some(username.into()),
        password: Some("pw".into()),
    }))
}

fn publish(topic: &str) -> Packet {
    let topic = Topic::new(topic).expect("valid");
    let payload = "GET\r\nX-Kii-RequestID:1\r\n\r\n".into();
    Packet::Publish(PublishPacket { dup: false, retain: false, qos: Qos::AtMostOnce, id: None, topic, payload })
}

fn filters(words: &[&str]) -> Vec<TopicFilter> {
    words.iter().map(|word| TopicFilter::new(word).expect("valid")).collect()
}

fn id() -> PacketId {
    PacketId::new(1).expect("not 0")
}

fn unsubscribe(words: &[&str]) -> Packet {
    Packet::Unsubscribe { id: id(), filters: filters(words) }
}

fn subscribe(word: &str) -> Packet {
    let filters = filters(&[word]).into_iter().map(|filter| (filter, Qos::AtMostOnce)).collect();
    Packet::Subscribe { id: id(), filters }
}

/// A capture of one connection: what its device did after the CONNACK, and the DISCONNECT.
fn script(username: &str, topic: &str, others: &[&str]) -> Script {
    let mut text = format!(
        "{{\"capture\":1,\"redacted\":true}}\n\
         {{\"us\":0,\"link\":1,\"kind\":\"connect\",\"endpoint\":\"mqtt://h\",\"client_id\":\"me\",\"username\":\"{username}\"}}\n\
         {{\"us\":0,\"link\":1,\"kind\":\"connected\"}}\n"
    );
    for other in others {
        text.push_str(&format!("{{\"us\":0,\"link\":1,\"kind\":\"unsubscribe\",\"filter\":\"{other}\"}}\n"));
    }
    text.push_str(&format!(
        "{{\"us\":0,\"link\":1,\"kind\":\"publish\",\"topic\":\"{topic}\",\"qos\":0,\
         \"payload\":\"GET\\r\\nX-Kii-RequestID:1\\r\\n\\r\\n\"}}\n{{\"us\":0,\"link\":1,\"kind\":\"close\"}}\n"
    ));
    Script::read(text.as_bytes()).expect("well-formed")
}

async fn replayed(script: &Script, client: &[Packet]) -> Result<Replayed, ReplayError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let sent = bytes(client);
    let client = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.expect("a listener");
        stream.write_all(&sent).await.expect("sent");
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest).await);
    });
    let mut options = server::Options::default();
    options.speed = Speed::Max;
    let result = server::run(script, listener, &options, &|_| {}).await;
    client.abort();
    result
}

fn difference(result: Result<Replayed, ReplayError>) -> String {
    match result {
        Err(ReplayError::Differs(difference)) => difference.to_string(),
        other => panic!("no difference: {other:?}"),
    }
}

#[tokio::test]
async fn a_subscription_that_was_not_recorded_is_a_difference() {
    let script = script("u", "p/me/x", &[]);
    let client = [connect("u"), subscribe("more"), publish("p/me/x"), Packet::Disconnect];
    let found = difference(replayed(&script, &client).await);
    assert!(found.contains("Subscribe"), "{found}");
}

#[tokio::test]
async fn one_unsubscribe_of_two_filters_is_what_was_recorded() {
    let script = script("u", "p/me/x", &["a", "b"]);
    let client = |words: &[&str]| [connect("u"), unsubscribe(words), publish("p/me/x"), Packet::Disconnect];
    replayed(&script, &client(&["a", "b"])).await.expect("the same");
    let more = difference(replayed(&script, &client(&["a", "b", "c"])).await);
    assert!(more.contains("UNSUBSCRIBE c"), "{more}");
    let other = difference(replayed(&script, &client(&["a", "c"])).await);
    assert!(other.contains("UNSUBSCRIBE c"), "{other}");
}

#[tokio::test]
async fn masked_user_names_and_queries_are_any_secret_and_none_is_shown() {
    let script = script("client_secret=xxxx", "p/me/x?access_token=xxxx&v=1", &[]);
    let client = |topic| [connect("client_secret=T0k3nT0k3n"), publish(topic), Packet::Disconnect];
    replayed(&script, &client("p/me/x?access_token=T0k3nT0k3n&v=1")).await.expect("the same");
    let other = [connect("user&client_secret=T0k3nT0k3n")];
    let found = difference(replayed(&script, &other).await);
    assert!(!found.contains("T0k3n") && found.contains("another CONNECT"), "{found}");
}

#[tokio::test]
async fn the_proxy_brings_answers_to_whoever_speaks_no_more() {
    let broker = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint: Endpoint = format!("mqtt://{}", broker.local_addr().expect("an address")).parse().expect("valid");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let sink = Writer::new(Vec::new(), &Header::new("hand-made")).expect("memory");
    let tape = Arc::new(Mutex::new(sink));
    let proxy = tokio::spawn(recorder::run(listener, recorder::Options::new(endpoint), tape, |_| {}));
    let mut device = TcpStream::connect(address).await.expect("the proxy");
    device.write_all(&bytes(&[connect("u")])).await.expect("sent");
    device.shutdown().await.expect("one way");
    let (mut accepted, _) = broker.accept().await.expect("the proxy comes");
    let mut all = Vec::new();
    accepted.read_to_end(&mut all).await.expect("its end");
    assert_eq!(all, bytes(&[connect("u")]));
    let answer = bytes(&[Packet::ConnAck { session_present: false, code: 5 }]);
    accepted.write_all(&answer).await.expect("sent");
    drop(accepted);
    let mut seen = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), device.read_to_end(&mut seen)).await;
    read.expect("it ends").expect("readable");
    assert_eq!(seen, answer);
    proxy.abort();
}
