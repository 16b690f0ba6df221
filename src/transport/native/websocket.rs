//! MQTT in WebSocket messages (MQTT 3.1.1 §6).
//!
//! One packet leaves as one unfragmented binary message; what arrives may be cut in any way. tungstenite writes whole frames,
//! and tokens with them, to the `log` crate at level trace. While it would, that level is switched off, if anybody listens
//! there.

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
pub(super) struct WebSocket<T>(WebSocketStream<T>);

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
    quiet::quietly("tungstenite::protocol", log::Level::Trace, call)
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
