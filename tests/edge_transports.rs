//! The edge over TLS, WebSocket, and both.
#![cfg(feature = "edge")]

#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "support/scripted_edge.rs"]
mod scripted_edge;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use raw_mqtt::{Answer, Client, PATIENCE, id, topic};
use scripted_edge::{Scripted, anonymous, assigned, echo, until};
use thingif::edge::{Config, Edge, Listeners, PushOutcome, Pusher, Registry};
use thingif::mqtt::Qos;
use thingif::mqtt::packet::{self, Decoded, Decoder, Limits, Packet, Protocol, PublishPacket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsConnector, rustls};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

const ONBOARDINGS: &str = "p/anonymous/thing-if/apps/app1/onboardings";

struct Addresses {
    mqtts: SocketAddr,
    ws: SocketAddr,
    wss: SocketAddr,
    registry: Registry,
    tls: TlsConnector,
}

async fn start(config: Config) -> Addresses {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a matching key");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();

    let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = |listener: &TcpListener| listener.local_addr().expect("bound");
    let (mqtts, ws, wss) = (bind().await, bind().await, bind().await);
    let registry = Registry::new();
    let addresses = Addresses {
        mqtts: address(&mqtts),
        ws: address(&ws),
        wss: address(&wss),
        registry: registry.clone(),
        tls: TlsConnector::from(Arc::new(client)),
    };
    let listeners =
        Listeners { mqtt: None, mqtts: Some(mqtts), ws: Some(ws), wss: Some(wss), tls: Some(Arc::new(server)) };
    let edge = Edge::new(echo(), Scripted, registry, config);
    tokio::spawn(edge.run(listeners, std::future::pending::<()>()));
    addresses
}

impl Addresses {
    async fn tls_stream(&self, address: SocketAddr) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(address).await.expect("listening");
        let name = ServerName::try_from("localhost").expect("a name");
        self.tls.connect(name, tcp).await.expect("TLS")
    }
}

/// An upgraded WebSocket, and the sub-protocol that was agreed on.
async fn upgrade<T: AsyncRead + AsyncWrite + Unpin>(
    stream: T,
    path: &str,
    offered: Option<&str>,
) -> Result<(WebSocketStream<T>, Option<String>), Error> {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let mut request = format!("ws://localhost{path}").into_client_request()?;
    if let Some(offered) = offered {
        request.headers_mut().insert("sec-websocket-protocol", offered.parse().expect("a header value"));
    }
    let (socket, response) = tokio_tungstenite::client_async(request, stream).await?;
    let agreed = response.headers().get("sec-websocket-protocol");
    Ok((socket, agreed.map(|value| value.to_str().expect("ASCII").to_owned())))
}

async fn ws(addresses: &Addresses) -> WebSocketStream<TcpStream> {
    let tcp = TcpStream::connect(addresses.ws).await.expect("listening");
    upgrade(tcp, "/mqtt", Some("mqtt")).await.expect("upgraded").0
}

fn bytes_of(packet: &Packet) -> Bytes {
    let mut bytes = BytesMut::new();
    packet::encode(packet, Protocol::V311, &mut bytes).expect("encodable");
    bytes.freeze()
}

fn onboarding(body: &str) -> Packet {
    let payload = Bytes::from(format!("POST\n\n{body}"));
    let topic = topic(ONBOARDINGS);
    Packet::Publish(PublishPacket { dup: false, retain: false, qos: Qos::AtMostOnce, id: None, topic, payload })
}

async fn send<T: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<T>, bytes: impl Into<Bytes>) {
    socket.send(Message::Binary(bytes.into())).await.expect("sent");
}

/// The next message, which is binary and holds one packet and nothing more.
async fn packet_of<T: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<T>) -> Packet {
    let message = timeout(PATIENCE, socket.next()).await.expect("in time").expect("open").expect("valid");
    let Message::Binary(bytes) = message else { panic!("{message:?} instead of a binary message") };
    let mut bytes = BytesMut::from(&bytes[..]);
    let packet = match Decoder::new(Limits::default()).decode(&mut bytes).expect("valid") {
        Some(Decoded::Packet(packet)) => packet,
        other => panic!("{other:?} instead of a whole packet"),
    };
    assert!(bytes.is_empty(), "more than one packet in a message");
    packet
}

async fn expect_end<T: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<T>) {
    match timeout(PATIENCE, socket.next()).await.expect("in time") {
        None | Some(Err(_) | Ok(Message::Close(_))) => {}
        Some(Ok(other)) => panic!("{other:?} instead of the end"),
    }
}

const ACCEPTED: Packet = Packet::ConnAck { session_present: false, code: 0 };

async fn onboards<T: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<T>) {
    send(socket, bytes_of(&Packet::Connect(Box::new(anonymous())))).await;
    assert_eq!(packet_of(socket).await, ACCEPTED);
    send(socket, bytes_of(&onboarding("thing"))).await;
    match packet_of(socket).await {
        Packet::Publish(publish) => {
            let frame = String::from_utf8(publish.payload.to_vec()).expect("UTF-8");
            let answer = Answer::parse(publish.topic.as_str().to_owned(), &frame);
            assert_eq!((answer.topic.as_str(), answer.status.as_str()), (ONBOARDINGS, "200"));
            assert!(answer.body.ends_with("anonymous thing"), "{}", answer.body);
        }
        other => panic!("{other:?} instead of the answer"),
    }
}

#[tokio::test]
async fn tls_carries_mqtt() {
    let edge = start(Config::default()).await;
    let mut client = Client::new(edge.tls_stream(edge.mqtts).await);
    assert_eq!(client.connect(assigned("device")).await, 0);
    let large = "x".repeat(60_000);
    client.request("p/device/thing-if/apps/app1/x", format!("PUT\n\n{large}")).await;
    assert!(client.answer().await.body.ends_with(&large));
    client.send(Packet::Disconnect).await;
    client.expect_end().await;
}

#[tokio::test]
async fn what_is_not_tls_is_turned_away_from_the_tls_port() {
    let edge = start(Config::default()).await;
    let mut client = Client::dial(edge.mqtts).await;
    let connect = client.encode(&Packet::Connect(Box::new(anonymous())));
    client.send_bytes(&connect).await;
    let mut rest = Vec::new();
    // rustls may say goodbye with an alert, which is no MQTT.
    let end = timeout(PATIENCE, client.stream.read_to_end(&mut rest)).await.expect("closed in time");
    assert!(rest.first() != Some(&0x20), "{end:?}: a CONNACK in plain text");
    until("it is counted", || edge.registry.metrics().not_connected > 0).await;
}

#[tokio::test]
async fn handshakes_that_do_not_end_are_not_waited_for() {
    let mut config = Config::default();
    config.connect_timeout = Duration::from_millis(50);
    let edge = start(config).await;
    for address in [edge.mqtts, edge.ws, edge.wss] {
        let mut stream = TcpStream::connect(address).await.expect("listening");
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed in time");
        assert!(rest.is_empty());
    }
    let socket = ws(&edge).await;
    expect_end(socket).await;
    until("it is counted", || edge.registry.metrics().not_connected >= 4).await;
}

#[tokio::test]
async fn websockets_carry_mqtt_on_both_paths_with_every_offer_of_sub_protocols() {
    let edge = start(Config::default()).await;
    for (path, offered, agreed) in [
        ("/mqtt", Some("mqtt"), Some("mqtt")),
        ("/mqtt", Some("mqttv3.1"), Some("mqttv3.1")),
        ("/mqtt?x=1", Some("mqttv3.1, mqtt"), Some("mqttv3.1")),
        ("/", Some("other, mqtt"), Some("mqtt")),
        ("/", None, None),
    ] {
        let tcp = TcpStream::connect(edge.ws).await.expect("listening");
        let (mut socket, got) = upgrade(tcp, path, offered).await.expect("upgraded");
        assert_eq!(got.as_deref(), agreed, "{path} {offered:?}");
        onboards(&mut socket).await;
    }
}

#[tokio::test]
async fn websockets_over_tls_carry_mqtt() {
    let edge = start(Config::default()).await;
    let (mut socket, _) = upgrade(edge.tls_stream(edge.wss).await, "/mqtt", Some("mqtt")).await.expect("upgraded");
    onboards(&mut socket).await;
    send(&mut socket, bytes_of(&Packet::Disconnect)).await;
    expect_end(socket).await;
}

#[tokio::test]
async fn other_paths_are_not_upgraded() {
    let edge = start(Config::default()).await;
    for path in ["/other", "/mqtt/", "/mqttx"] {
        let tcp = TcpStream::connect(edge.ws).await.expect("listening");
        match upgrade(tcp, path, Some("mqtt")).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 404, "{path}"),
            other => panic!("{path}: {:?}", other.map(|_| ())),
        }
    }
    let mut tcp = TcpStream::connect(edge.ws).await.expect("listening");
    tcp.write_all(b"POST /mqtt HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, tcp.read_to_end(&mut rest)).await.expect("closed in time");
    assert!(!rest.starts_with(b"HTTP/1.1 101"));
}

#[tokio::test]
async fn packets_may_come_split_and_joined_and_leave_one_by_one() {
    let edge = start(Config::default()).await;
    let mut socket = ws(&edge).await;
    for byte in bytes_of(&Packet::Connect(Box::new(anonymous()))) {
        send(&mut socket, vec![byte]).await;
        send(&mut socket, Bytes::new()).await;
    }
    assert_eq!(packet_of(&mut socket).await, ACCEPTED);
    let mut joined = Vec::new();
    for number in 1..=50 {
        joined.extend(bytes_of(&Packet::PingReq));
        joined.extend(bytes_of(&Packet::PubRel(id(number))));
    }
    // Cut in the middle of a packet.
    let (first, second) = joined.split_at(joined.len() / 2 + 1);
    send(&mut socket, first.to_vec()).await;
    send(&mut socket, second.to_vec()).await;
    for number in 1..=50 {
        assert_eq!(packet_of(&mut socket).await, Packet::PingResp);
        assert_eq!(packet_of(&mut socket).await, Packet::PubComp(id(number)));
    }
}

#[tokio::test]
async fn a_message_may_come_in_fragments_with_a_ping_between_them() {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let edge = start(Config::default()).await;
    let mut socket = ws(&edge).await;
    let connect = bytes_of(&Packet::Connect(Box::new(anonymous())));
    let fragment = |bytes: Bytes, data, last| Message::Frame(Frame::message(bytes, OpCode::Data(data), last));
    socket.send(fragment(connect.slice(..5), Data::Binary, false)).await.expect("sent");
    socket.send(Message::Ping(Bytes::from_static(b"?"))).await.expect("sent");
    socket.send(fragment(connect.slice(5..), Data::Continue, true)).await.expect("sent");
    let pong = timeout(PATIENCE, socket.next()).await.expect("in time").expect("open").expect("valid");
    assert_eq!(pong, Message::Pong(Bytes::from_static(b"?")));
    assert_eq!(packet_of(&mut socket).await, ACCEPTED);
}

#[tokio::test]
async fn text_and_oversize_messages_end_the_connection() {
    let edge = start(Config::default()).await;
    let mut socket = ws(&edge).await;
    socket.send(Message::Text("MQTT".into())).await.expect("sent");
    expect_end(socket).await;
    let mut socket = ws(&edge).await;
    // The edge may have closed before all of it is sent.
    let _ = socket.send(Message::Binary(vec![0x30; 4 << 20].into())).await;
    expect_end(socket).await;
    until("it is counted", || edge.registry.metrics().protocol_errors >= 2).await;
}

#[tokio::test]
async fn an_oversize_frame_is_413_over_websocket_too() {
    let edge = start(Config::default()).await;
    let mut socket = ws(&edge).await;
    onboards(&mut socket).await;
    send(&mut socket, bytes_of(&onboarding(&"x".repeat(900_000)))).await;
    match packet_of(&mut socket).await {
        Packet::Publish(publish) => assert!(publish.payload.starts_with(b"413\r\n")),
        other => panic!("{other:?} instead of the answer"),
    }
    send(&mut socket, bytes_of(&Packet::PingReq)).await;
    assert_eq!(packet_of(&mut socket).await, Packet::PingResp);
}

#[tokio::test]
async fn the_answer_to_an_upgrade_is_short() {
    let edge = start(Config::default()).await;
    let mut tcp = TcpStream::connect(edge.ws).await.expect("listening");
    tcp.write_all(
        b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
    )
    .await
    .expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(timeout(PATIENCE, tcp.read_u8()).await.expect("in time").expect("open"));
    }
    let text = String::from_utf8(answer).expect("ASCII").to_ascii_lowercase();
    assert!(text.len() < 1024 && text.starts_with("http/1.1 101"), "{text}");
    assert!(text.contains("sec-websocket-protocol: mqtt\r\n"), "{text}");
}

/// Pushes to `name`, which reads nothing more, until its connection has ended.
async fn push_until_it_ends(registry: &Registry, name: &str) {
    let payload = Bytes::from(vec![b'x'; 4096]);
    let pushing = async {
        loop {
            match registry.push(&raw_mqtt::client_id(name), payload.clone()).await {
                PushOutcome::Queued => tokio::task::yield_now().await,
                // The connection must have looked once and found no room.
                PushOutcome::Overloaded => tokio::time::sleep(Duration::from_millis(1)).await,
                PushOutcome::NotConnected => break,
                other => panic!("{name}: {other:?}"),
            }
        }
    };
    timeout(PATIENCE, pushing).await.unwrap_or_else(|_| panic!("{name} is connected for ever"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_no_pushes_is_ended_below_tls_and_websocket_too() {
    let mut config = Config::default();
    (config.write_timeout, config.max_dropped_pushes) = (Duration::from_secs(3600), 10);
    let edge = start(config).await;
    let subscribe = |name: &str| {
        bytes_of(&Packet::Subscribe { id: id(1), filters: vec![(raw_mqtt::filter(name), Qos::AtMostOnce)] })
    };

    let mut mqtts = Client::new(edge.tls_stream(edge.mqtts).await);
    assert_eq!(mqtts.connect(assigned("mqtts")).await, 0);
    mqtts.subscribe(&["mqtts"]).await;
    push_until_it_ends(&edge.registry, "mqtts").await;

    let mut socket = ws(&edge).await;
    send(&mut socket, bytes_of(&Packet::Connect(Box::new(assigned("ws"))))).await;
    packet_of(&mut socket).await;
    send(&mut socket, subscribe("ws")).await;
    packet_of(&mut socket).await;
    push_until_it_ends(&edge.registry, "ws").await;

    let mut secure = upgrade(edge.tls_stream(edge.wss).await, "/mqtt", Some("mqtt")).await.expect("upgraded").0;
    send(&mut secure, bytes_of(&Packet::Connect(Box::new(assigned("wss"))))).await;
    packet_of(&mut secure).await;
    send(&mut secure, subscribe("wss")).await;
    packet_of(&mut secure).await;
    push_until_it_ends(&edge.registry, "wss").await;

    until("all are counted, and nothing is held", || {
        edge.registry.metrics().slow_consumers == 3 && edge.registry.outgoing_bytes() == 0
    })
    .await;
    assert!(edge.registry.metrics().pushes_dropped > 30, "{:?}", edge.registry.metrics());
}
