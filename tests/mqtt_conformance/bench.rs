//! A client that knows bytes only, and the edge it talks to through memory.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use thingif::edge::{Config, Edge, Registry};
use thingif::mqtt::Scheme;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

use crate::raw_mqtt::PATIENCE;
use crate::scripted_edge::{Function, Scripted, service};

pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];
pub(crate) const PINGRESP: [u8; 2] = [0xD0, 0];
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];
pub(crate) const ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];

/// The edge, and what its service was asked to execute.
pub(crate) struct Bench {
    pub(crate) edge: Edge<Function, Scripted>,
    pub(crate) registry: Registry,
    executed: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    /// The service answers with the request's body.
    pub(crate) fn with(config: Config) -> Self {
        let executed = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&executed);
        let echo = service(move |request: Request<Bytes>| {
            let line = format!("{} {}", request.uri().path(), String::from_utf8_lossy(request.body()));
            log.lock().expect("no panic").push(line);
            async move { Ok(Response::new(request.into_body())) }
        });
        let registry = Registry::new();
        Self { edge: Edge::new(echo, Scripted, registry.clone(), config), registry, executed }
    }

    /// `{path} {body}` of each request, in the order of their execution.
    pub(crate) fn executed(&self) -> Vec<String> {
        self.executed.lock().expect("no panic").clone()
    }

    pub(crate) fn dial(&self) -> Peer {
        self.dial_with(1 << 20)
    }

    /// `capacity`: how many bytes the line takes before somebody must read.
    pub(crate) fn dial_with(&self, capacity: usize) -> Peer {
        let (near, far) = tokio::io::duplex(capacity);
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        tokio::spawn(self.edge.serve_stream(far, Scheme::Mqtt, address, address));
        Peer(near)
    }

    /// A connection of MQTT 3.1.1 that was accepted.
    pub(crate) async fn login(&self, client_id: &str) -> Peer {
        let mut peer = self.dial();
        peer.send(connect(client_id)).await;
        peer.expect(&ACCEPTED).await;
        peer
    }

    /// The bytes, sent as the first of a connection, end it without an answer.
    pub(crate) async fn hangs_up_on(&self, bytes: &[u8]) {
        let mut peer = self.dial();
        peer.send(bytes).await;
        assert_eq!(peer.rest().await, b"", "{bytes:02x?} was answered");
    }

    /// The bytes, sent by a connected client, end the connection without an answer.
    pub(crate) async fn disconnects_for(&self, bytes: &[u8]) {
        let mut peer = self.login("device").await;
        peer.send(bytes).await;
        peer.send(PINGREQ).await;
        assert_eq!(peer.rest().await, b"", "{bytes:02x?} was answered");
    }

    /// The CONNECT is refused with `code` in a CONNACK without session present, and the connection closed.
    pub(crate) async fn refuses(&self, connect: &[u8], code: u8) {
        let mut peer = self.dial();
        peer.send(connect).await;
        assert_eq!(peer.rest().await, [0x20, 2, 0, code], "{connect:02x?}");
    }
}

/// The client's end of a connection.
pub(crate) struct Peer(pub(crate) DuplexStream);

impl Peer {
    /// What cannot be sent any more, because the edge has closed, is not.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = timeout(PATIENCE, self.0.write_all(bytes.as_ref())).await.expect("taken in time");
        let _closed = sent.is_err();
    }

    /// The next bytes are these.
    pub(crate) async fn expect(&mut self, bytes: &[u8]) {
        let mut next = vec![0; bytes.len()];
        let read = timeout(PATIENCE, self.0.read_exact(&mut next)).await.expect("something in time");
        read.unwrap_or_else(|error| panic!("{error} instead of {bytes:02x?}; so far {next:02x?}"));
        assert_eq!(next, bytes, "{next:02x?} instead of {bytes:02x?}");
    }

    /// Nothing else comes before the answer to a PINGREQ.
    pub(crate) async fn ping(&mut self) {
        self.send(PINGREQ).await;
        self.expect(&PINGRESP).await;
    }

    /// The next packet is an answer on `topic`: a PUBLISH at QoS 0 with neither DUP nor RETAIN. Gives the frame.
    pub(crate) async fn answer(&mut self, topic: &str) -> String {
        let mut first = [0];
        timeout(PATIENCE, self.0.read_exact(&mut first)).await.expect("in time").expect("open");
        assert_eq!(first, [0x30], "a PUBLISH, QoS 0, no DUP, no RETAIN");
        let (mut len, mut shift) = (0, 0);
        loop {
            let byte = timeout(PATIENCE, self.0.read_u8()).await.expect("in time").expect("open");
            len |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; len];
        timeout(PATIENCE, self.0.read_exact(&mut body)).await.expect("in time").expect("open");
        let payload = body.strip_prefix(&text(topic)[..]).unwrap_or_else(|| panic!("another topic: {body:02x?}"));
        String::from_utf8(payload.to_vec()).expect("UTF-8")
    }

    /// Everything until the edge closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("closed in time").expect("readable");
        rest
    }
}

/// A packet: its first byte, its remaining length, its parts.
pub(crate) fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let low = u8::try_from(left & 0x7F).expect("seven bits");
        left >>= 7;
        bytes.push(if left == 0 { low } else { low | 0x80 });
        if left == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

/// A field with its length in two bytes.
pub(crate) fn text(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let len = u16::try_from(bytes.len()).expect("at most 65,535 bytes");
    [&len.to_be_bytes()[..], bytes].concat()
}

/// A CONNECT of MQTT 3.1.1 with these flags and these fields in its payload; keep-alive 60 s.
pub(crate) fn connect_of(flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    packet(0x10, &[&text("MQTT"), &[4, flags, 0, 60], &payload.concat()])
}

/// User name, password, clean session: what every client sends.
pub(crate) fn connect(client_id: &str) -> Vec<u8> {
    connect_of(0xC2, &[&text(client_id), &text("user"), &text("pw")])
}

/// A PUBLISH whose payload is `frame`; `flags` are DUP, QoS and RETAIN, `id` stands where QoS is above 0.
pub(crate) fn publish(flags: u8, topic: &str, id: Option<u16>, frame: &str) -> Vec<u8> {
    let id = id.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default();
    packet(0x30 | flags, &[&text(topic), &id, frame.as_bytes()])
}

/// A SUBSCRIBE for these filters and QoS bytes.
pub(crate) fn subscribe(id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let entries: Vec<u8> = filters.iter().flat_map(|(filter, qos)| [text(filter), vec![*qos]].concat()).collect();
    packet(0x82, &[&id.to_be_bytes(), &entries])
}

pub(crate) fn unsubscribe(id: u16, filters: &[&str]) -> Vec<u8> {
    let entries: Vec<u8> = filters.iter().flat_map(text).collect();
    packet(0xA2, &[&id.to_be_bytes(), &entries])
}

/// The path that the cases call, as `device`.
pub(crate) const CALL: &str = "p/device/thing-if/apps/app1/x";
