//! A small MQTT broker for tests: one connection, one task, no routing. It answers every PUBLISH on the connection and
//! topic that it came on, subscribed or not, as the real service does, and can be told to misbehave.
#![allow(dead_code, unreachable_pub)] // each test binary uses its own part

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use thingif::mqtt::Qos;
use thingif::mqtt::packet::{Connect, Decoded, Decoder, Limits, Packet, Protocol, PublishPacket, encode};
use thingif::mqtt::{Endpoint, Scheme};
use thingif::topic::Topic;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

/// What the broker does. The default is to behave.
#[derive(Clone)]
pub struct Manners {
    /// CONNACK's return code; `None`: CONNECT is never answered.
    pub connack: Option<u8>,
    /// CONNACK is sent when this semaphore has a permit.
    pub connack_gate: Option<Arc<tokio::sync::Semaphore>>,
    /// Raw bytes that follow CONNACK.
    pub after_connack: Vec<u8>,
    /// Whether PINGREQ is answered.
    pub pings: bool,
    /// How often each PUBLISH is answered.
    pub answers: usize,
    /// SUBACK's return code.
    pub suback: u8,
    /// Messages on a subscribed filter, sent in one write with its SUBACK.
    pub pushes: usize,
    /// Whether the connection is closed after CONNACK.
    pub closes: bool,
    /// Whether anything is read after CONNACK.
    pub reads: bool,
    /// Whether the WebSocket upgrade is answered with 404.
    pub upgrades: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            connack: Some(0),
            connack_gate: None,
            after_connack: Vec::new(),
            pings: true,
            answers: 1,
            suback: 0,
            pushes: 0,
            closes: false,
            reads: true,
            upgrades: true,
        }
    }
}

/// What the broker has seen.
#[derive(Default)]
pub struct Seen {
    /// CONNECTs, in order.
    pub connects: Mutex<Vec<Connect>>,
    /// Paths of WebSocket upgrades and their `Host`.
    pub upgrades: Mutex<Vec<(String, String)>>,
    /// Connections that are open and have sent CONNECT.
    pub open: AtomicUsize,
    /// DISCONNECTs.
    pub disconnects: AtomicUsize,
    /// PUBLISHes.
    pub publishes: AtomicUsize,
}

/// A running broker; it ends when this is dropped.
pub struct Broker {
    pub address: SocketAddr,
    pub scheme: Scheme,
    pub seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Broker {
    /// Listens on a free port of 127.0.0.1.
    pub async fn start(scheme: Scheme, tls: Option<Arc<ServerConfig>>, manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Seen::default());
        let connections = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                while tasks.try_join_next().is_some() {}
                let (seen, tls, manners) = (Arc::clone(&connections), tls.clone(), manners.clone());
                tasks.spawn(async move {
                    // An error ends the connection; what a client makes of that is the test's business.
                    let _ = serve(socket, scheme, tls, &manners, &seen).await;
                });
            }
        });
        Self { address, scheme, seen, accepting }
    }

    /// The endpoint by address.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint_at("127.0.0.1")
    }

    /// The endpoint by a name for 127.0.0.1.
    pub fn endpoint_at(&self, host: &str) -> Endpoint {
        Endpoint::new(self.scheme, host, self.address.port()).expect("valid")
    }

    /// How many connections have sent CONNECT and are open.
    pub fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// How many CONNECTs came.
    pub fn connects(&self) -> usize {
        self.seen.connects.lock().expect("no panic").len()
    }
}

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn serve(
    socket: TcpStream,
    scheme: Scheme,
    tls: Option<Arc<ServerConfig>>,
    manners: &Manners,
    seen: &Seen,
) -> io::Result<()> {
    let pipe = open(socket, scheme, tls, manners, seen).await?;
    Connection { pipe, decoder: Decoder::new(Limits::default()), buffer: BytesMut::new(), manners, seen }.run().await
}

/// The server's half of TLS and of the WebSocket upgrade, as far as `scheme` has them.
pub async fn open(
    socket: TcpStream,
    scheme: Scheme,
    tls: Option<Arc<ServerConfig>>,
    manners: &Manners,
    seen: &Seen,
) -> io::Result<Pipe> {
    socket.set_nodelay(true)?;
    let stream: Box<dyn Stream> = match tls {
        Some(config) => Box::new(TlsAcceptor::from(config).accept(socket).await?),
        None => Box::new(socket),
    };
    if scheme.is_websocket() { upgrade(stream, manners, seen).await } else { Ok(Pipe::Stream(stream)) }
}

#[allow(clippy::result_large_err)] // the callback's type is tungstenite's
async fn upgrade(stream: Box<dyn Stream>, manners: &Manners, seen: &Seen) -> io::Result<Pipe> {
    let answer = |request: &Request, mut response: Response| {
        let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
        seen.upgrades.lock().expect("no panic").push((request.uri().path().to_owned(), host.to_owned()));
        if !manners.upgrades {
            let mut refusal = tokio_tungstenite::tungstenite::handshake::server::ErrorResponse::new(None);
            *refusal.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::NOT_FOUND;
            return Err(refusal);
        }
        response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("mqtt"));
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async(stream, answer).await.map_err(io::Error::other)?;
    Ok(Pipe::WebSocket(Box::new(socket)))
}

/// What MQTT packets travel in.
pub enum Pipe {
    Stream(Box<dyn Stream>),
    WebSocket(Box<WebSocketStream<Box<dyn Stream>>>),
}

impl Pipe {
    /// `false` at the end.
    pub async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<bool> {
        match self {
            Pipe::Stream(stream) => Ok(stream.read_buf(buffer).await? > 0),
            Pipe::WebSocket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Message::Binary(bytes))) => {
                        buffer.extend_from_slice(&bytes);
                        return Ok(true);
                    }
                    Some(Ok(Message::Close(_))) | None => return Ok(false),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(io::Error::other(error)),
                }
            },
        }
    }

    /// The first half of what [`write`](Pipe::write) would write, cut as the network cuts: in the middle of a frame.
    pub async fn write_half(&mut self, bytes: &[u8]) -> io::Result<()> {
        let half = &bytes[..bytes.len() / 2];
        match self {
            Pipe::Stream(stream) => {
                stream.write_all(half).await?;
                stream.flush().await
            }
            Pipe::WebSocket(socket) => {
                let len = u16::try_from(bytes.len()).expect("tests send little").to_be_bytes();
                // A final binary frame with an extended length of 16 bits.
                let head = [0x82, 126, len[0], len[1]];
                let stream = socket.get_mut();
                stream.write_all(&head).await?;
                stream.write_all(half).await?;
                stream.flush().await
            }
        }
    }

    /// One packet: paho wants each in a frame of its own.
    pub async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        match self {
            Pipe::Stream(stream) => {
                stream.write_all(&bytes).await?;
                stream.flush().await
            }
            Pipe::WebSocket(socket) => socket.send(Message::Binary(bytes)).await.map_err(io::Error::other),
        }
    }
}

struct Connection<'a> {
    pipe: Pipe,
    decoder: Decoder,
    buffer: BytesMut,
    manners: &'a Manners,
    seen: &'a Seen,
}

/// Counts a connection out, whatever ends it.
struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Connection<'_> {
    async fn run(mut self) -> io::Result<()> {
        let Some(Packet::Connect(connect)) = self.packet().await? else { return Ok(()) };
        self.seen.connects.lock().expect("no panic").push(*connect);
        self.seen.open.fetch_add(1, Ordering::SeqCst);
        let _open = Open(&self.seen.open);
        if let Some(gate) = &self.manners.connack_gate {
            gate.acquire().await.expect("never closed").forget();
        }
        let Some(code) = self.manners.connack else {
            while self.packet().await?.is_some() {}
            return Ok(());
        };
        self.send(&[Packet::ConnAck { session_present: false, code }]).await?;
        if code != 0 {
            return Ok(());
        }
        if !self.manners.after_connack.is_empty() {
            self.pipe.write(Bytes::from(self.manners.after_connack.clone())).await?;
        }
        if self.manners.closes {
            return Ok(());
        }
        if !self.manners.reads {
            std::future::pending::<()>().await;
        }
        while let Some(packet) = self.packet().await? {
            if matches!(packet, Packet::Disconnect) {
                self.seen.disconnects.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            self.answer(packet).await?;
        }
        Ok(())
    }

    async fn answer(&mut self, packet: Packet) -> io::Result<()> {
        let mut answers = Vec::new();
        match packet {
            Packet::Publish(publish) => {
                self.seen.publishes.fetch_add(1, Ordering::SeqCst);
                answers.extend(publish.id.map(Packet::PubAck));
                let answer = message(publish.topic, publish.payload);
                answers.extend(std::iter::repeat_n(answer, self.manners.answers));
            }
            Packet::Subscribe { id, filters } => {
                answers.push(Packet::SubAck { id, codes: vec![self.manners.suback; filters.len()] });
                for (filter, _) in filters {
                    let topic = Topic::new(filter.as_str()).expect("tests subscribe to plain names");
                    let push = |n: usize| message(topic.clone(), Bytes::from(n.to_string()));
                    answers.extend((0..self.manners.pushes).map(push));
                }
            }
            Packet::PingReq if self.manners.pings => answers.push(Packet::PingResp),
            _ => {}
        }
        self.send(&answers).await
    }

    /// A stream gets all packets in one write, so that they are likely to arrive together.
    async fn send(&mut self, packets: &[Packet]) -> io::Result<()> {
        let mut out = BytesMut::new();
        for packet in packets {
            encode(packet, Protocol::V311, &mut out).map_err(io::Error::other)?;
            if matches!(self.pipe, Pipe::WebSocket(_)) {
                self.pipe.write(out.split().freeze()).await?;
            }
        }
        if out.is_empty() { Ok(()) } else { self.pipe.write(out.freeze()).await }
    }

    async fn packet(&mut self) -> io::Result<Option<Packet>> {
        loop {
            match self.decoder.decode(&mut self.buffer).map_err(io::Error::other)? {
                Some(Decoded::Packet(packet)) => return Ok(Some(packet)),
                Some(_) => return Err(io::Error::other("larger than any test sends")),
                None if self.pipe.read(&mut self.buffer).await? => {}
                None => return Ok(None),
            }
        }
    }
}

fn message(topic: Topic, payload: Bytes) -> Packet {
    Packet::Publish(PublishPacket { dup: false, retain: false, qos: Qos::AtMostOnce, id: None, topic, payload })
}
