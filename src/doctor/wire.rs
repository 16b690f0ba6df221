//! A connection of our own, layer by layer: bytes, WebSocket messages, MQTT packets.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::rustls;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

use crate::mqtt::packet::{Decoded, Decoder, Limits, Packet, Protocol, encode};
use crate::quiet::{WEBSOCKET, quietly};

/// A peer that reads nothing any more does not hold the end up.
const GOODBYE: Duration = Duration::from_secs(1);

/// TCP, or TLS over it.
pub(super) trait Bytestream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytestream for T {}

pub(super) type Stream = Box<dyn Bytestream>;

pub(super) enum Wire {
    Plain(Stream),
    WebSocket(Box<WebSocketStream<Stream>>),
}

/// Why nothing more comes.
#[derive(Debug)]
pub(super) enum Broken {
    /// The peer ended the connection.
    Closed,
    /// The peer wants a client certificate, and says so after the handshake, as TLS 1.3 has it.
    ClientCertificate,
    /// Anything else that the layers below have to say.
    Io(String),
    /// The peer does not speak MQTT; the first bytes of what it does speak.
    NotMqtt(Bytes),
}

impl Broken {
    fn of(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::AlertReceived(alert)) if is_about_our_certificate(*alert) => Self::ClientCertificate,
            Some(error) => Self::Io(error.to_string()),
            None if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ) =>
            {
                Self::Closed
            }
            None => Self::Io(error.to_string()),
        }
    }
}

/// What a server says of a client certificate that is missing or not accepted.
pub(super) fn is_about_our_certificate(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

/// An MQTT conversation with a broker.
pub(super) struct Link {
    wire: Wire,
    decoder: Decoder,
    input: BytesMut,
    /// Whether a whole packet has come.
    is_mqtt: bool,
}

impl Link {
    pub(super) fn new(wire: Wire) -> Self {
        let decoder = Decoder::new(Limits::default()).with_protocol(Protocol::V311);
        Self { wire, decoder, input: BytesMut::new(), is_mqtt: false }
    }

    pub(super) async fn send(&mut self, packet: &Packet) -> Result<(), Broken> {
        let mut bytes = BytesMut::new();
        encode(packet, Protocol::V311, &mut bytes).map_err(|error| Broken::Io(error.to_string()))?;
        match &mut self.wire {
            Wire::Plain(stream) => {
                stream.write_all(&bytes).await.map_err(|error| Broken::of(&error))?;
                stream.flush().await.map_err(|error| Broken::of(&error))
            }
            Wire::WebSocket(socket) => {
                let mut sent = Box::pin(socket.send(Message::Binary(bytes.freeze())));
                // What is written is logged as it is polled.
                let sent = std::future::poll_fn(|cx| websocket_quietly(|| sent.as_mut().poll(cx))).await;
                sent.map_err(broken)
            }
        }
    }

    /// The next packet; a PUBLISH that is too large for this protocol is passed over. Safe to be cancelled.
    pub(super) async fn receive(&mut self) -> Result<Packet, Broken> {
        loop {
            let before = if self.is_mqtt { BytesMut::new() } else { self.input.clone() };
            match self.decoder.decode(&mut self.input) {
                Ok(Some(Decoded::Packet(packet))) => {
                    self.is_mqtt = true;
                    return Ok(packet);
                }
                Ok(Some(Decoded::Oversize(_))) => {}
                Ok(None) => self.fill().await?,
                Err(error) if self.is_mqtt => return Err(Broken::Io(format!("it broke the MQTT protocol: {error}"))),
                Err(_) => return Err(Broken::NotMqtt(before.freeze())),
            }
        }
    }

    async fn fill(&mut self) -> Result<(), Broken> {
        match &mut self.wire {
            Wire::Plain(stream) => match stream.read_buf(&mut self.input).await {
                // Something that only looked like the beginning of a packet.
                Ok(0) if !self.is_mqtt && !self.input.is_empty() => Err(Broken::NotMqtt(self.input.split().freeze())),
                Ok(0) => Err(Broken::Closed),
                Ok(_) => Ok(()),
                Err(error) => Err(Broken::of(&error)),
            },
            Wire::WebSocket(socket) => {
                let next = std::future::poll_fn(|cx| websocket_quietly(|| socket.poll_next_unpin(cx))).await;
                match next {
                    Some(Ok(Message::Binary(bytes))) => self.input.extend_from_slice(&bytes),
                    Some(Ok(Message::Text(_))) => {
                        return Err(Broken::Io("text came in the WebSocket where MQTT is binary".to_owned()));
                    }
                    Some(Ok(Message::Close(_))) | None => return Err(Broken::Closed),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(broken(error)),
                }
                Ok(())
            }
        }
    }

    /// Says goodbye. Whether it is heard is no matter, and not waited for.
    pub(super) async fn close(mut self) {
        let said = async {
            let _ = self.send(&Packet::Disconnect).await;
            if let Wire::Plain(stream) = &mut self.wire {
                let _ = stream.shutdown().await;
            }
        };
        let _ = timeout(GOODBYE, said).await;
    }
}

fn broken(error: WebSocketError) -> Broken {
    match error {
        WebSocketError::Io(error) => Broken::of(&error),
        WebSocketError::ConnectionClosed | WebSocketError::AlreadyClosed => Broken::Closed,
        WebSocketError::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => Broken::Closed,
        other => Broken::Io(other.to_string()),
    }
}

/// Runs a call of tungstenite, which logs whole frames, passwords and tokens with them.
fn websocket_quietly<R>(call: impl FnOnce() -> R) -> R {
    quietly(WEBSOCKET, log::Level::Trace, call)
}
