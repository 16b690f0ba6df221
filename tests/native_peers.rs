//! Peers that break what MQTT, WebSocket or TLS demand, or make use of everything that they allow. A link of the native transport
//! ends with an error or goes on; this process lives.
#![cfg(feature = "native")]

#[path = "support/mqtt_broker.rs"]
mod mqtt_broker;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use mqtt_broker::{Broker, Manners};
use thingif::ids::ClientId;
use thingif::mqtt::packet::{Decoded, Decoder, Limits, Packet, Protocol, PublishPacket, encode};
use thingif::mqtt::{Credentials, Endpoint, LinkErrorKind, Publish, Qos, RefusedReason, Scheme};
use thingif::topic::{Topic, TopicFilter};
use thingif::transport::native::{Native, Options};
use thingif::transport::{ConnectOptions, Link, LinkEvent, Transport, next_event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// Far beyond what anything here takes, so that a slow machine fails no test.
const PATIENCE: Duration = Duration::from_secs(60);

const CONNACK: &[u8] = b"\x20\x02\0\0";

fn credentials() -> Credentials {
    Credentials { client_id: ClientId::new("device-1").expect("valid"), username: "ann".into(), password: "pw".into() }
}

fn options() -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.timeout = PATIENCE;
    options
}

fn pipelined() -> ConnectOptions {
    let mut options = options();
    options.pipeline = true;
    options
}

fn native() -> Native {
    Native::new(Options::default()).expect("usable options")
}

async fn event(link: &mut Box<dyn Link>) -> LinkEvent {
    timeout(PATIENCE, next_event(link.as_mut())).await.expect("an event")
}

/// The kind of error with which `link` ends, and its words.
async fn end(link: &mut Box<dyn Link>) -> (LinkErrorKind, String) {
    match event(link).await {
        LinkEvent::Lost(error) => (error.kind(), error.to_string()),
        other => panic!("{other:?}"),
    }
}

fn topic(text: &str) -> Topic {
    Topic::new(text).expect("valid")
}

fn call(payload: impl Into<Bytes>) -> Publish {
    Publish::new(topic("p/device-1/x"), payload)
}

/// A listener whose connections a test serves byte by byte.
struct Script {
    listener: TcpListener,
}

impl Script {
    async fn start() -> (Self, Endpoint) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        (Self { listener }, Endpoint::new(Scheme::Mqtt, "127.0.0.1", port).expect("valid"))
    }

    async fn accept(&self) -> Peer {
        let (stream, _) = timeout(PATIENCE, self.listener.accept()).await.expect("in time").expect("a connection");
        Peer { stream, decoder: Decoder::new(Limits::default()), input: BytesMut::new() }
    }
}

struct Peer {
    stream: TcpStream,
    decoder: Decoder,
    input: BytesMut,
}

impl Peer {
    async fn says(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("it listens");
    }

    async fn hears(&mut self) -> Packet {
        timeout(PATIENCE, async {
            loop {
                match self.decoder.decode(&mut self.input).expect("the link speaks MQTT") {
                    Some(Decoded::Packet(packet)) => return packet,
                    Some(other) => panic!("{other:?}"),
                    None => assert!(self.stream.read_buf(&mut self.input).await.expect("readable") > 0, "it hung up"),
                }
            }
        })
        .await
        .expect("a packet")
    }

    /// Nothing more comes but the end.
    async fn is_left(&mut self) {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await.expect("it hangs up");
        assert!(matches!(read, Ok(0) | Err(_)), "{:?}", self.input);
    }
}

/// A link and its peer, after CONNACK and what follows it at once.
async fn meet(after: &[u8]) -> (Box<dyn Link>, Peer) {
    let (script, endpoint) = Script::start().await;
    let (transport, credentials, options) = (native(), credentials(), options());
    let (link, peer) = tokio::join!(transport.connect(&endpoint, &credentials, &options), async {
        let mut peer = script.accept().await;
        assert!(matches!(peer.hears().await, Packet::Connect(_)));
        peer.says(&[CONNACK, after].concat()).await;
        peer
    });
    (link.expect("accepted"), peer)
}

/// Each of these aborts the process, or is believed, elsewhere.
#[tokio::test]
async fn packets_that_nobody_may_send_end_the_link_with_protocol() {
    for (bytes, what) in [
        (&b"\x30\x06\0\x03a\0bx"[..], "PUBLISH on a topic with NUL"),
        (b"\x30\x05\0\x03\xFF\xFE\xFD", "PUBLISH on a topic that is no UTF-8"),
        (b"\x30\x05\0\x03\xED\xA0\x80", "PUBLISH on a topic with a surrogate"),
        (b"\x30\x05\0\x03a/#", "PUBLISH on a filter"),
        (b"\x30\x02\0\0", "PUBLISH on no topic"),
        (b"\x36\x05\0\x01a\0\x01", "PUBLISH at QoS 3"),
        (b"\x32\x05\0\x01a\0\0", "PUBLISH with identifier 0"),
        (b"\x30\xFF\xFF\xFF\xFF\x01", "a length of five bytes"),
        (b"\x20\x02\0\0", "a second CONNACK"),
        (b"\x90\x03\0\x07\0", "SUBACK that answers nothing"),
        (b"\xB0\x02\0\x07", "UNSUBACK"),
        (b"\xC0\0", "PINGREQ"),
        (b"\xE0\0", "DISCONNECT"),
        (b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0", "CONNECT"),
        (b"\x82\x06\0\x01\0\x01a\0", "SUBSCRIBE"),
        (b"\x00\0", "packet type 0"),
        (b"\xF0\0", "packet type 15"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP"),
    ] {
        let (mut link, mut peer) = meet(bytes).await;
        let (kind, said) = end(&mut link).await;
        assert_eq!(kind, LinkErrorKind::Protocol, "{what}: {said}");
        peer.is_left().await;
        assert_eq!(link.publish(call("x")).expect_err("it is over").kind(), LinkErrorKind::Closed, "{what}");
        timeout(PATIENCE, link.close()).await.expect("closing what is closed");
    }
}

#[tokio::test]
async fn anything_but_connack_is_no_answer_to_connect() {
    for bytes in [
        &b"\x30\x03\0\x01a"[..],
        b"\xD0\0",
        b"\x90\x03\0\x01\0",
        b"\x40\x02\0\x01",
        b"\x20\x02\0\x06",
        b"\x20\x02\0\xFF",
        b"\x20\x03\0\0\0",
        b"SSH-2.0-OpenSSH\r\n",
    ] {
        for options in [options(), pipelined()] {
            let (script, endpoint) = Script::start().await;
            let (transport, credentials) = (native(), credentials());
            let attempt = async {
                match transport.connect(&endpoint, &credentials, &options).await {
                    Ok(mut link) => end(&mut link).await.0,
                    Err(error) => error.kind(),
                }
            };
            let (kind, ()) = tokio::join!(attempt, async {
                let mut peer = script.accept().await;
                assert!(matches!(peer.hears().await, Packet::Connect(_)));
                peer.says(bytes).await;
                peer.is_left().await;
            });
            assert_eq!(kind, LinkErrorKind::Protocol, "{bytes:?}");
        }
    }
}

#[tokio::test]
async fn an_end_before_connack_is_a_closed_connection() {
    for options in [options(), pipelined()] {
        let (script, endpoint) = Script::start().await;
        let (transport, credentials) = (native(), credentials());
        let attempt = async {
            match transport.connect(&endpoint, &credentials, &options).await {
                Ok(mut link) => end(&mut link).await.0,
                Err(error) => error.kind(),
            }
        };
        let (kind, ()) = tokio::join!(attempt, async {
            let mut peer = script.accept().await;
            assert!(matches!(peer.hears().await, Packet::Connect(_)));
        });
        assert_eq!(kind, LinkErrorKind::Closed);
    }
}

#[tokio::test]
async fn silence_before_connack_ends_in_time() {
    for pipeline in [false, true] {
        let (script, endpoint) = Script::start().await;
        let (transport, credentials, mut soon) = (native(), credentials(), options());
        (soon.timeout, soon.pipeline) = (Duration::from_millis(300), pipeline);
        let attempt = async {
            match transport.connect(&endpoint, &credentials, &soon).await {
                Ok(mut link) => end(&mut link).await.0,
                Err(error) => error.kind(),
            }
        };
        let (kind, ()) = tokio::join!(attempt, async {
            let mut peer = script.accept().await;
            assert!(matches!(peer.hears().await, Packet::Connect(_)));
            peer.is_left().await;
        });
        assert_eq!(kind, LinkErrorKind::ConnectTimedOut);
    }
}

/// Whose silence it was is told: with a proxy nobody else was spoken to.
#[tokio::test]
async fn a_silent_proxy_is_named() {
    let (script, proxy) = Script::start().await;
    let mut through = Options::default();
    through.proxy = Some(format!("http://ann:s3cret@127.0.0.1:{}", proxy.port).parse().expect("valid"));
    let (transport, credentials, mut soon) = (Native::new(through).expect("usable options"), credentials(), options());
    soon.timeout = Duration::from_millis(300);
    let endpoint = "mqtt://broker.invalid".parse().expect("valid");
    let (failed, _peer) = tokio::join!(transport.connect(&endpoint, &credentials, &soon), script.accept());
    let error = failed.map(drop).expect_err("no tunnel");
    assert_eq!(error.kind(), LinkErrorKind::ConnectTimedOut);
    let said = error.to_string();
    assert!(said.contains(&format!("http://127.0.0.1:{}", proxy.port)) && !said.contains("s3cret"), "{said}");
}

/// A refusal that has arrived is told, although what was written behind CONNECT is answered with a reset.
#[tokio::test]
async fn a_refusal_is_heard_whatever_was_written_behind_connect() {
    let (script, endpoint) = Script::start().await;
    let (transport, credentials, options) = (native(), credentials(), pipelined());
    let mut link = transport.connect(&endpoint, &credentials, &options).await.expect("handed out");
    assert!(!link.is_accepted());
    for _ in 0..3 {
        link.publish(call("GET\r\n\r\n")).expect("room");
    }
    let ((kind, said), ()) = tokio::join!(end(&mut link), async {
        let mut peer = script.accept().await;
        assert!(matches!(peer.hears().await, Packet::Connect(_)));
        peer.says(b"\x20\x02\0\x05").await;
    });
    assert_eq!(kind, LinkErrorKind::Refused(RefusedReason::NotAuthorised), "{said}");
}

/// CONNECT, SUBSCRIBE and the first call leave together, in this order, and CONNACK is told when it comes.
#[tokio::test]
async fn what_follows_connect_leaves_with_it() {
    let (script, endpoint) = Script::start().await;
    let (transport, credentials, options) = (native(), credentials(), pipelined());
    let mut link = transport.connect(&endpoint, &credentials, &options).await.expect("handed out");
    let filter = TopicFilter::new("device-1").expect("valid");
    link.subscribe(filter.clone()).expect("room");
    link.publish(call("GET\r\n\r\n")).expect("room");
    let peer = async {
        let mut peer = script.accept().await;
        assert!(matches!(peer.hears().await, Packet::Connect(_)));
        let Packet::Subscribe { id, .. } = peer.hears().await else { panic!("SUBSCRIBE is next") };
        assert!(matches!(peer.hears().await, Packet::Publish(_)));
        let mut answer = BytesMut::from(CONNACK);
        encode(&Packet::SubAck { id, codes: vec![0] }, Protocol::V311, &mut answer).expect("written");
        peer.says(&answer).await;
        peer
    };
    let (first, peer) = tokio::join!(event(&mut link), peer);
    assert_eq!(first, LinkEvent::Accepted);
    assert!(link.is_accepted());
    assert_eq!(event(&mut link).await, LinkEvent::Subscribed { filter, granted: true });
    drop(peer);
    assert_eq!(end(&mut link).await.0, LinkErrorKind::Closed);
}

#[tokio::test]
async fn every_quality_of_service_is_acknowledged_and_delivered_once() {
    let (mut link, mut peer) = meet(b"").await;
    let packet = |qos, id, dup| {
        let id = thingif::mqtt::packet::PacketId::new(id);
        let publish = PublishPacket { dup, retain: false, qos, id, topic: topic("a"), payload: "x".into() };
        let mut bytes = BytesMut::new();
        encode(&Packet::Publish(publish), Protocol::V311, &mut bytes).expect("written");
        bytes
    };
    let received = |qos| {
        let mut publish = Publish::new(topic("a"), "x");
        publish.qos = qos;
        LinkEvent::Received(publish)
    };
    // QoS 1 may come twice and is delivered twice; QoS 2 is delivered once until it is released.
    for dup in [false, true] {
        peer.says(&packet(Qos::AtLeastOnce, 7, dup)).await;
        assert_eq!(event(&mut link).await, received(Qos::AtLeastOnce));
    }
    peer.says(&[packet(Qos::ExactlyOnce, 8, false), packet(Qos::ExactlyOnce, 8, true)].concat()).await;
    assert_eq!(event(&mut link).await, received(Qos::ExactlyOnce));
    peer.says(b"\x62\x02\0\x08").await;
    peer.says(&packet(Qos::ExactlyOnce, 8, false)).await;
    assert_eq!(event(&mut link).await, received(Qos::ExactlyOnce));
    // PUBREL of what was never published is answered too: the peer may have lost its memory, or ours.
    peer.says(b"\x62\x02\0\x63").await;
    peer.says(&packet(Qos::AtMostOnce, 0, false)).await;
    assert_eq!(event(&mut link).await, received(Qos::AtMostOnce));
    let own = [Qos::AtLeastOnce, Qos::ExactlyOnce].map(|qos| {
        let mut publish = call("own");
        publish.qos = qos;
        publish
    });
    for publish in &own {
        link.publish(publish.clone()).expect("room");
    }
    let drive = async { timeout(PATIENCE, next_event(link.as_mut())).await };
    let hears = async {
        let mut heard = Vec::new();
        for _ in 0..7 {
            let packet = peer.hears().await;
            heard.push(match packet {
                Packet::PubAck(id) => format!("PUBACK {}", id.get()),
                Packet::PubRec(id) => format!("PUBREC {}", id.get()),
                Packet::PubComp(id) => format!("PUBCOMP {}", id.get()),
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(heard, ["PUBACK 7", "PUBACK 7", "PUBREC 8", "PUBREC 8", "PUBCOMP 8", "PUBREC 8", "PUBCOMP 99"],);
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let Packet::Publish(publish) = peer.hears().await else { panic!("a PUBLISH") };
            assert_eq!(publish.qos, qos);
            let [high, low] = publish.id.expect("an identifier").get().to_be_bytes();
            if qos == Qos::AtLeastOnce {
                peer.says(&[0x40, 2, high, low]).await;
            } else {
                peer.says(&[0x50, 2, high, low]).await;
                assert!(matches!(peer.hears().await, Packet::PubRel(_)));
                peer.says(&[0x70, 2, high, low]).await;
            }
        }
        peer.says(&packet(Qos::AtMostOnce, 0, false)).await;
    };
    let (heard, ()) = tokio::join!(drive, hears);
    assert_eq!(heard.expect("an event"), received(Qos::AtMostOnce));
}

/// A peer that wants everything acknowledged and reads no acknowledgement does not fill this machine's memory.
#[tokio::test]
async fn acknowledgements_that_nobody_reads_end_the_link() {
    let (mut link, mut peer) = meet(b"").await;
    let storm = async {
        // PUBREL of whatever: four bytes in, four bytes out.
        let bytes = b"\x62\x02\0\x01".repeat(64 * 1024);
        while peer.stream.write_all(&bytes).await.is_ok() {}
    };
    let ended = async {
        let (kind, said) = end(&mut link).await;
        assert_eq!(kind, LinkErrorKind::Overloaded, "{said}");
    };
    timeout(PATIENCE, async { tokio::join!(storm, ended) }).await.expect("it is given up");
}

#[tokio::test]
async fn what_waits_to_be_written_is_bounded_in_bytes() {
    let mut few = Options::default();
    few.max_outgoing_bytes = 1_000;
    let transport = Native::new(few).expect("usable options");
    let broker = Broker::start(Scheme::Mqtt, None, Manners::default()).await;
    let mut link = transport.connect(&broker.endpoint(), &credentials(), &options()).await.expect("accepted");
    // Nothing is written until the link is polled. One message may wait whatever its size, and nothing beside it.
    link.publish(call(vec![b'x'; 50_000])).expect("one may wait");
    let error = link.publish(call("x")).expect_err("no room");
    assert_eq!(error.kind(), LinkErrorKind::Overloaded, "{error}");
    assert!(matches!(event(&mut link).await, LinkEvent::Received(publish) if publish.payload.len() == 50_000));
    let mut taken = 0;
    while link.publish(call(vec![b'x'; 86])).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 9, "packets of 102 bytes in 1,000");
    for _ in 0..taken {
        assert!(matches!(event(&mut link).await, LinkEvent::Received(_)), "what was taken is sent");
    }
    let mut none = Options::default();
    none.max_outgoing_bytes = 0;
    assert_eq!(Native::new(none).expect_err("no bound").kind(), LinkErrorKind::Config);
}

/// What the link says of its own accord is no message: behind CONNECT there is room for one, however small the bound.
#[tokio::test]
async fn one_message_may_wait_behind_connect() {
    let mut least = Options::default();
    least.max_outgoing_bytes = 1;
    let transport = Native::new(least).expect("usable options");
    let broker = Broker::start(Scheme::Mqtt, None, Manners::default()).await;
    let connect =
        async || transport.connect(&broker.endpoint(), &credentials(), &pipelined()).await.expect("handed out");
    let filter = TopicFilter::new("device-1").expect("valid");
    let mut link = connect().await;
    link.subscribe(filter.clone()).expect("CONNECT alone waits");
    assert_eq!(link.subscribe(filter.clone()).expect_err("no room").kind(), LinkErrorKind::Overloaded);
    assert_eq!(event(&mut link).await, LinkEvent::Accepted);
    assert_eq!(event(&mut link).await, LinkEvent::Subscribed { filter, granted: true });
    let mut link = connect().await;
    link.publish(call(vec![b'x'; 50_000])).expect("CONNECT alone waits");
    assert_eq!(link.publish(call("x")).expect_err("no room").kind(), LinkErrorKind::Overloaded);
    assert_eq!(event(&mut link).await, LinkEvent::Accepted);
    assert!(matches!(event(&mut link).await, LinkEvent::Received(publish) if publish.payload.len() == 50_000));
}

#[tokio::test]
async fn the_keep_alive_is_half_of_the_time_to_notice_a_dead_peer() {
    let broker = Broker::start(Scheme::Mqtt, None, Manners::default()).await;
    for (n, (detect, told)) in [(90, 45), (3, 2), (1, 1), (1_000_000, u16::MAX)].into_iter().enumerate() {
        let mut asked = options();
        asked.detect_dead_peer = Duration::from_secs(detect);
        drop(native().connect(&broker.endpoint(), &credentials(), &asked).await.expect("accepted"));
        assert_eq!(broker.seen.connects.lock().expect("no panic")[n].keep_alive, told, "{detect} s");
    }
}

/// The connect timeout is longer than the keep-alive, and CONNACK takes its time: silence after it is noticed all the same.
#[tokio::test]
async fn a_late_connack_does_not_put_the_keep_alive_off() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let manners = Manners { connack_gate: Some(Arc::clone(&gate)), pings: false, ..Manners::default() };
    let broker = Broker::start(Scheme::Mqtt, None, manners).await;
    let (transport, endpoint, credentials) = (native(), broker.endpoint(), credentials());
    let mut long = options();
    (long.timeout, long.detect_dead_peer) = (10 * PATIENCE, Duration::from_secs(2));
    let (link, ()) = tokio::join!(transport.connect(&endpoint, &credentials, &long), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        gate.add_permits(1);
    });
    let mut link = link.expect("accepted");
    assert_eq!(end(&mut link).await.0, LinkErrorKind::KeepAlive);
}

/// What the link said last is read, although the peer was writing when it left.
#[tokio::test]
async fn a_goodbye_is_heard_in_the_middle_of_a_conversation() {
    let broker = Broker::start(Scheme::Mqtt, None, Manners { answers: 5, ..Manners::default() }).await;
    let mut link = native().connect(&broker.endpoint(), &credentials(), &options()).await.expect("accepted");
    for n in 0..500 {
        link.publish(call(format!("{n} {}", "x".repeat(300)))).expect("room");
    }
    timeout(PATIENCE, link.close()).await.expect("closes");
    let heard = async {
        while broker.seen.disconnects.load(std::sync::atomic::Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, heard).await.expect("DISCONNECT comes");
    assert_eq!(broker.seen.publishes.load(std::sync::atomic::Ordering::SeqCst), 500);
}

/// A peer that writes before it reads waits for somebody who reads: the goodbye does not wait for it without reading.
#[tokio::test]
async fn a_goodbye_reads_on_so_that_the_peer_can() {
    // More than the sockets between them hold.
    const MUCH: usize = 16 * 1024 * 1024;
    let (mut link, mut peer) = meet(b"").await;
    link.publish(call(vec![b'x'; MUCH])).expect("one may wait whatever its size");
    let talks_first = async {
        let packets = publications(&["x".repeat(100).as_str()]).repeat(MUCH / 105);
        peer.stream.write_all(&packets).await.expect("somebody reads");
        let mut heard = Vec::new();
        peer.stream.read_to_end(&mut heard).await.expect("a goodbye, no reset");
        heard
    };
    let both = async { tokio::join!(link.close(), talks_first) };
    let ((), heard) = timeout(PATIENCE, both).await.expect("closes");
    assert!(heard.len() > MUCH && heard.ends_with(b"\xE0\0"), "{} bytes and DISCONNECT", heard.len());
}

/// A link over WebSocket and the other end of its WebSocket, after CONNACK.
async fn meet_over_websocket() -> (Box<dyn Link>, WebSocketStream<TcpStream>) {
    let (script, mut endpoint) = Script::start().await;
    endpoint.scheme = Scheme::Ws;
    endpoint.path = "/mqtt".into();
    let (transport, credentials, options) = (native(), credentials(), options());
    let (link, socket) = tokio::join!(transport.connect(&endpoint, &credentials, &options), async {
        let peer = script.accept().await;
        // Without the sub-protocol in its answer, as some servers are.
        let mut socket = tokio_tungstenite::accept_async(peer.stream).await.expect("an upgrade");
        assert!(matches!(socket.next().await, Some(Ok(Message::Binary(_)))), "CONNECT");
        socket.send(Message::Binary(Bytes::from_static(CONNACK))).await.expect("it listens");
        socket
    });
    (link.expect("accepted"), socket)
}

/// PUBLISHes of QoS 0 on `a`, one after the other.
fn publications(payloads: &[&str]) -> Vec<u8> {
    let packet = |payload: &&str| {
        let len = u8::try_from(payload.len() + 3).expect("short");
        [&[0x30, len, 0, 1, b'a'], payload.as_bytes()].concat()
    };
    payloads.iter().flat_map(packet).collect()
}

#[tokio::test]
async fn websocket_messages_may_be_cut_anywhere() {
    let (mut link, mut socket) = meet_over_websocket().await;
    let bytes = publications(&["one", "two", "three"]);
    let frame = |bytes: &[u8], code, last| {
        Message::Frame(Frame::message(Bytes::copy_from_slice(bytes), OpCode::Data(code), last))
    };
    let mut rounds = 0;
    for cut in 0..=bytes.len() {
        let (left, right) = bytes.split_at(cut);
        // A message that ends in the middle of a packet; and one message in fragments, with a ping between them.
        let ways = [
            vec![frame(left, Data::Binary, true), frame(right, Data::Binary, true)],
            vec![
                frame(left, Data::Binary, false),
                Message::Ping(Bytes::from_static(b"there?")),
                frame(right, Data::Continue, true),
            ],
        ];
        for way in ways {
            let (heard, ()) = tokio::join!(
                async {
                    let mut heard = Vec::new();
                    for _ in 0..3 {
                        let LinkEvent::Received(publish) = event(&mut link).await else { panic!("a message") };
                        heard.push(publish.payload);
                    }
                    heard
                },
                async {
                    for message in way {
                        socket.send(message).await.expect("it listens");
                    }
                }
            );
            assert_eq!(heard, ["one", "two", "three"], "cut at {cut}");
            rounds += 1;
        }
    }
    // Each ping was answered, and each packet of ours is a message of its own.
    link.publish(call("1")).expect("room");
    link.publish(call("2")).expect("room");
    let (_, (pongs, packets)) = tokio::join!(timeout(Duration::from_millis(500), next_event(link.as_mut())), async {
        let (mut pongs, mut packets) = (0, 0);
        while packets < 2 {
            match timeout(PATIENCE, socket.next()).await.expect("in time") {
                Some(Ok(Message::Pong(_))) => pongs += 1,
                Some(Ok(Message::Binary(bytes))) => {
                    assert_eq!(usize::from(bytes[1]) + 2, bytes.len(), "one packet");
                    packets += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        (pongs, packets)
    });
    assert_eq!(packets, 2);
    assert!(pongs >= 1 && pongs <= rounds / 2, "{pongs} of {rounds}: one may stand for those before it");
}

#[tokio::test]
async fn what_no_websocket_may_carry_ends_the_link() {
    let (mut link, mut socket) = meet_over_websocket().await;
    socket.send(Message::Text("hello".into())).await.expect("it listens");
    assert_eq!(end(&mut link).await.0, LinkErrorKind::Protocol, "text");

    let (mut link, mut socket) = meet_over_websocket().await;
    // A frame that claims a gigabyte is refused when its head is there, not when memory is full.
    let head = [&[0x82, 127][..], &1_000_000_000_u64.to_be_bytes()].concat();
    socket.get_mut().write_all(&head).await.expect("it listens");
    assert_eq!(end(&mut link).await.0, LinkErrorKind::Protocol, "a gigabyte");

    let (mut link, mut socket) = meet_over_websocket().await;
    socket.get_mut().write_all(b"\xF2\0").await.expect("it listens");
    assert_eq!(end(&mut link).await.0, LinkErrorKind::Protocol, "reserved bits");

    let (mut link, mut socket) = meet_over_websocket().await;
    let (kind, _) = tokio::join!(async { end(&mut link).await.0 }, socket.close(None));
    assert_eq!(kind, LinkErrorKind::Closed);

    let (mut link, socket) = meet_over_websocket().await;
    drop(socket);
    assert_eq!(end(&mut link).await.0, LinkErrorKind::Closed, "without a word");
}

#[tokio::test]
#[cfg(not(feature = "native-tls"))]
async fn without_tls_it_says_what_is_missing() {
    for scheme in [Scheme::Mqtts, Scheme::Wss] {
        let (_script, mut endpoint) = Script::start().await;
        endpoint.scheme = scheme;
        let error = native().connect(&endpoint, &credentials(), &options()).await.map(drop).expect_err("no TLS");
        assert_eq!(error.kind(), LinkErrorKind::Config);
        assert!(error.to_string().contains("native-tls"), "{error}");
    }
    assert!(!native().capabilities().spki_pins);
}
