//! A minimal MQTT client over any stream of bytes, on the crate's packet code. It hides nothing: a test sends packets
//! or bytes and sees every packet that comes back, in order.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use thingif::ids::ClientId;
use thingif::mqtt::Qos;
use thingif::mqtt::packet::{self, Connect, Decoded, Decoder, Limits, Packet, PacketId, Protocol, PublishPacket};
use thingif::topic::{Topic, TopicFilter};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Far longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A client, connected or about to be.
pub struct Client<T> {
    pub stream: T,
    pub protocol: Protocol,
    /// How long it waits for the next packet before the test fails.
    pub patience: Duration,
    decoder: Decoder,
    input: BytesMut,
}

/// A CONNECT as devices send it: clean session, keep-alive 60 s.
pub fn connect(client_id: &str, username: &str, password: &str) -> Connect {
    Connect {
        protocol: Protocol::V311,
        clean_session: true,
        keep_alive: 60,
        client_id: client_id.to_owned(),
        will: None,
        username: Some(username.to_owned()),
        password: Some(Bytes::copy_from_slice(password.as_bytes())),
    }
}

pub fn topic(text: &str) -> Topic {
    Topic::new(text).expect("a valid topic")
}

pub fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text).expect("a valid filter")
}

pub fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not 0")
}

pub fn client_id(text: &str) -> ClientId {
    ClientId::new(text).expect("a valid client id")
}

impl Client<TcpStream> {
    /// A TCP connection, without CONNECT.
    pub async fn dial(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the edge listens");
        stream.set_nodelay(true).expect("a TCP option");
        Self::new(stream)
    }

    /// A TCP connection that has CONNACK 0.
    pub async fn login(address: SocketAddr, connect: Connect) -> Self {
        let mut client = Self::dial(address).await;
        assert_eq!(client.connect(connect).await, 0, "CONNACK");
        client
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    pub fn new(stream: T) -> Self {
        // Answers may be larger than what the edge accepts.
        let limits = Limits { max_frame: 64 << 20, max_skip: 64 << 20, ..Limits::default() };
        Self {
            stream,
            protocol: Protocol::V311,
            patience: PATIENCE,
            decoder: Decoder::new(limits),
            input: BytesMut::new(),
        }
    }

    /// Sends CONNECT and gives the code of the CONNACK.
    pub async fn connect(&mut self, connect: Connect) -> u8 {
        self.protocol = connect.protocol;
        self.send(Packet::Connect(Box::new(connect))).await;
        match self.receive().await {
            Some(Packet::ConnAck { session_present, code }) => {
                assert!(!session_present, "no session outlives its connection");
                code
            }
            other => panic!("{other:?} instead of a CONNACK"),
        }
    }

    pub fn encode(&self, packet: &Packet) -> BytesMut {
        let mut bytes = BytesMut::new();
        packet::encode(packet, self.protocol, &mut bytes).expect("encodable");
        bytes
    }

    pub async fn send(&mut self, packet: Packet) {
        let bytes = self.encode(&packet);
        self.send_bytes(&bytes).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.try_send_bytes(bytes).await.expect("sendable");
    }

    pub async fn try_send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(self.patience, self.stream.write_all(bytes)).await.expect("sent in time")?;
        self.stream.flush().await
    }

    /// A request at QoS 0.
    pub async fn request(&mut self, on: &str, frame: impl AsRef<[u8]>) {
        self.publish(on, frame, Qos::AtMostOnce, None, false).await;
    }

    pub async fn publish(&mut self, on: &str, frame: impl AsRef<[u8]>, qos: Qos, number: Option<u16>, dup: bool) {
        let payload = Bytes::copy_from_slice(frame.as_ref());
        let id = number.map(id);
        self.send(Packet::Publish(PublishPacket { dup, retain: false, qos, id, topic: topic(on), payload })).await;
    }

    /// The next packet; `None` when the edge has closed the connection.
    pub async fn receive(&mut self) -> Option<Packet> {
        timeout(self.patience, async {
            loop {
                match self.decoder.decode(&mut self.input).expect("the edge sends valid packets") {
                    Some(Decoded::Packet(packet)) => return Some(packet),
                    Some(other) => panic!("unexpected {other:?}"),
                    None => {}
                }
                match self.stream.read_buf(&mut self.input).await {
                    Ok(0) => return None,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await
        .expect("something arrives in time")
    }

    /// The next packet, which is a PUBLISH as the edge sends them: its topic and its payload as text.
    pub async fn publication(&mut self) -> (String, String) {
        match self.receive().await {
            Some(Packet::Publish(publish)) => {
                assert_eq!((publish.qos, publish.retain, publish.dup), (Qos::AtMostOnce, false, false));
                let payload = String::from_utf8(publish.payload.to_vec()).expect("UTF-8");
                (publish.topic.as_str().to_owned(), payload)
            }
            other => panic!("{other:?} instead of a PUBLISH"),
        }
    }

    /// The next packet, which is an answer: its status, its X-Kii-RequestID and its body.
    pub async fn answer(&mut self) -> Answer {
        let (topic, frame) = self.publication().await;
        Answer::parse(topic, &frame)
    }

    pub async fn subscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let filters = filters.iter().map(|text| (filter(text), Qos::AtMostOnce)).collect();
        self.send(Packet::Subscribe { id: id(1), filters }).await;
        match self.receive().await {
            Some(Packet::SubAck { id: acknowledged, codes }) if acknowledged == id(1) => codes,
            other => panic!("{other:?} instead of the SUBACK"),
        }
    }

    /// PINGREQ, and nothing but the PINGRESP comes back.
    pub async fn ping(&mut self) {
        self.send(Packet::PingReq).await;
        assert_eq!(self.receive().await, Some(Packet::PingResp));
    }

    /// Nothing but the end comes.
    pub async fn expect_end(&mut self) {
        assert_eq!(self.receive().await, None);
    }
}

/// An answer, read as strictly as the strictest device reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub topic: String,
    pub status: String,
    pub request_id: Option<String>,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn parse(topic: String, frame: &str) -> Self {
        let (head, body) = frame.split_once("\r\n\r\n").expect("a blank line");
        let mut lines = head.split("\r\n");
        let status = lines.next().expect("a status line").to_owned();
        assert!(status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit()), "{status:?}");
        let fields = lines.map(|line| line.split_once(':').expect("a colon"));
        let request_id =
            fields.filter(|(name, _)| *name == "X-Kii-RequestID").map(|(_, value)| value.to_owned()).last();
        Self { topic, status, request_id, head: head.to_owned(), body: body.to_owned() }
    }

    pub fn error_code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).expect("an error body");
        body["errorCode"].as_str().expect("an errorCode").to_owned()
    }
}
