//! MQTT in WebSocket messages (MQTT 3.1.1 §6).
//!
//! One packet leaves as one unfragmented binary message; what arrives may be cut in any way. tungstenite writes whole frames,
//! and tokens with them, to the `log` crate at level trace. While it would, that level is switched off, if anybody listens
//! there.

mod heard;
mod upgrade;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use futures_util::{Sink, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use self::heard::Heard;
use super::failure;
use super::wire::{Output, Wire};
use crate::mqtt::{Endpoint, LinkError, LinkErrorKind};
use crate::quiet;

/// Allocated for each connection for as long as it lives, so it is small; larger messages grow it.
const READ_LEN: usize = 4 * 1024;

/// Frames are gathered up to here before they are written without being asked.
const WRITE_LEN: usize = 16 * 1024;

/// What a message may have besides a payload: packets before and behind it, and its topic.
const BESIDES: usize = 256 * 1024;

/// A WebSocket that carries MQTT.
pub(super) struct WebSocket<T>(WebSocketStream<Heard<T>>);

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> WebSocket<T> {
    /// Asks for the upgrade. Has no deadline of its own.
    ///
    /// # Errors
    /// `WebSocket` with the status when the peer does not upgrade.
    pub(super) async fn connect(mut stream: T, endpoint: &Endpoint, max_payload: usize) -> Result<Self, LinkError> {
        let largest = Some(max_payload.saturating_add(BESIDES));
        let options = WebSocketConfig::default()
            .read_buffer_size(READ_LEN)
            .write_buffer_size(WRITE_LEN)
            .max_message_size(largest)
            .max_frame_size(largest);
        let first = upgrade::ask(&mut stream, endpoint).await?;
        let stream = Heard::new(stream);
        Ok(Self(WebSocketStream::from_partially_read(stream, first, Role::Client, Some(options)).await))
    }
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for WebSocket<T> {
    const ONE_BY_ONE: bool = true;

    fn poll_fill(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<Result<usize, LinkError>> {
        loop {
            match ready!(quietly(|| Pin::new(&mut self.0).poll_next(cx))) {
                Some(Ok(Message::Binary(bytes))) if bytes.is_empty() => {}
                Some(Ok(Message::Binary(bytes))) => {
                    input.extend_from_slice(&bytes);
                    return Poll::Ready(Ok(bytes.len()));
                }
                // tungstenite answers a ping while it reads on.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(0)),
                Some(Ok(Message::Text(_))) => {
                    let detail = "a WebSocket message of text";
                    return Poll::Ready(Err(LinkError::new(LinkErrorKind::Protocol, detail)));
                }
                Some(Err(error)) => return Poll::Ready(Err(ending(error))),
            }
        }
    }

    fn take_heard(&mut self) -> bool {
        self.0.get_mut().take_heard()
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<Result<(), LinkError>> {
        while !output.is_empty() {
            ready!(quietly(|| Pin::new(&mut self.0).poll_ready(cx))).map_err(ending)?;
            let Some(packet) = output.next_packet() else { break };
            quietly(|| Pin::new(&mut self.0).start_send(Message::Binary(packet.freeze()))).map_err(ending)?;
        }
        quietly(|| Pin::new(&mut self.0).poll_flush(cx)).map_err(ending)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(quietly(|| Pin::new(&mut self.0).poll_close(cx))) {
            // The peer may have closed first; the socket below is closed all the same.
            Ok(()) | Err(_) => Pin::new(self.0.get_mut()).poll_shutdown(cx).map(|_: std::io::Result<()>| ()),
        }
    }
}

/// Runs a call of tungstenite that logs frames.
fn quietly<R>(call: impl FnOnce() -> R) -> R {
    quiet::quietly(quiet::WEBSOCKET, log::Level::Trace, call)
}

/// Errors after the upgrade.
fn ending(error: Error) -> LinkError {
    match error {
        Error::Io(error) => failure::io(error),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => LinkErrorKind::Closed.into(),
        error => LinkError::new(LinkErrorKind::Protocol, format!("WebSocket: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::mqtt::packet::{Connect, Protocol};
    use crate::transport::native::alive::Alive;
    use crate::transport::native::link::NativeLink;
    use crate::transport::{Link as _, LinkEvent};

    const SECOND: Duration = Duration::from_secs(1);

    /// On a slow line one message takes longer than the time in which a dead peer is noticed; a ping's answer waits behind it.
    #[tokio::test(start_paused = true)]
    async fn a_message_that_takes_its_time_is_a_sign_of_life() {
        let (ours, mut theirs) = tokio::io::duplex(4_096);
        let socket = WebSocketStream::from_raw_socket(Heard::new(ours), Role::Client, None).await;
        let connect = Connect {
            protocol: Protocol::V311,
            clean_session: true,
            keep_alive: 5,
            client_id: String::from("d"),
            will: None,
            username: None,
            password: None,
        };
        let alive = Alive::new(10 * SECOND, Instant::now());
        let due = Instant::now() + SECOND;
        let mut link = NativeLink::new(WebSocket(socket), connect, alive, (1_000, 1_000), due).expect("a CONNECT");
        let peer = async {
            theirs.write_all(b"\x82\x04\x20\x02\0\0").await.expect("CONNACK");
            let packet = [&b"\x82\x41\x30\x3F\0\x01a"[..], &[b'x'; 60]].concat();
            for byte in packet {
                sleep(SECOND).await;
                theirs.write_all(&[byte]).await.expect("it listens");
            }
            // And then not a word.
            let mut rest = Vec::new();
            theirs.read_to_end(&mut rest).await.expect("memory");
        };
        let events = async {
            link.accepted().await.expect("accepted");
            let began = Instant::now();
            let event = poll_fn(|cx| link.poll_event(cx)).await;
            assert!(matches!(&event, LinkEvent::Received(publish) if publish.payload.len() == 60), "{event:?}");
            assert!(began.elapsed() > 60 * SECOND, "{:?}", began.elapsed());
            let event = poll_fn(|cx| link.poll_event(cx)).await;
            assert!(matches!(&event, LinkEvent::Lost(error) if error.kind() == LinkErrorKind::KeepAlive), "{event:?}");
        };
        tokio::join!(events, peer);
    }
}
