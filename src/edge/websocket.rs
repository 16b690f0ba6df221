//! MQTT in WebSocket messages (MQTT 3.1.1 §6).
//!
//! Packets may come split over messages or several in one; they leave as exactly one packet in one unfragmented binary
//! frame, because a widespread client library leaves the second packet of a frame lying until more bytes arrive. The same
//! library reads the answer to the upgrade with one `recv` of 1024 bytes: it is short, and one write.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use futures_util::{Sink, Stream as _};
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::config::Config;
use super::ending::Ending;
use super::wire::{Output, Wire};

/// Allocated for each connection for as long as it lives, so it is small; larger messages grow it.
const READ_LEN: usize = 4 * 1024;

/// Frames are gathered up to here before they are written without being asked.
const WRITE_LEN: usize = 16 * 1024;

/// Sub-protocols: of MQTT 3.1.1, and of 3.1. Either is echoed, and what CONNECT says later counts. (`wire` §8)
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// A WebSocket that carries MQTT.
pub(super) struct WebSocket<T>(WebSocketStream<T>);

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> WebSocket<T> {
    /// Answers the upgrade request.
    pub(super) async fn accept(stream: T, config: &Config) -> Result<Self, Ending> {
        // The largest packet that is read or skipped fits into one message; memory follows the bytes that have come.
        let largest = Some(config.max_skip.saturating_add(128 * 1024));
        let options = WebSocketConfig::default()
            .read_buffer_size(READ_LEN)
            .write_buffer_size(WRITE_LEN)
            .max_message_size(largest)
            .max_frame_size(largest);
        let upgraded = tokio_tungstenite::accept_hdr_async_with_config(stream, agree, Some(options)).await;
        upgraded.map(Self).map_err(ending)
    }
}

/// Judges an upgrade request: paths `/mqtt` and `/`, and the first sub-protocol that is known, if any.
#[allow(clippy::result_large_err, reason = "the signature is tungstenite's")]
fn agree(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    if !matches!(request.uri().path(), "/mqtt" | "/") {
        let mut refusal = ErrorResponse::new(Some(String::from("MQTT is at /mqtt\n")));
        *refusal.status_mut() = StatusCode::NOT_FOUND;
        return Err(refusal);
    }
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let known = offered
        .flat_map(|value| value.split(','))
        .find_map(|offer| PROTOCOLS.into_iter().find(|known| offer.trim().eq_ignore_ascii_case(known)));
    if let Some(protocol) = known {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok(response)
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for WebSocket<T> {
    const ONE_BY_ONE: bool = true;

    fn poll_fill(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<Result<usize, Ending>> {
        loop {
            match ready!(Pin::new(&mut self.0).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) if bytes.is_empty() => {}
                Some(Ok(Message::Binary(bytes))) => {
                    input.extend_from_slice(&bytes);
                    return Poll::Ready(Ok(bytes.len()));
                }
                // tungstenite answers a ping while it reads on.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(0)),
                Some(Ok(Message::Text(_))) => return Poll::Ready(Err(Ending::WebSocket)),
                Some(Err(error)) => return Poll::Ready(Err(ending(error))),
            }
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<Result<(), Ending>> {
        while !output.is_empty() {
            ready!(Pin::new(&mut self.0).poll_ready(cx)).map_err(ending)?;
            let Some(packet) = output.next_packet() else { break };
            Pin::new(&mut self.0).start_send(Message::Binary(packet.freeze())).map_err(ending)?;
        }
        Pin::new(&mut self.0).poll_flush(cx).map_err(ending)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        match ready!(Pin::new(&mut self.0).poll_close(cx)).map_err(ending) {
            Ok(()) | Err(Ending::Closed) => Pin::new(self.0.get_mut()).poll_shutdown(cx).map_err(Ending::from),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

/// Errors after the upgrade.
fn ending(error: Error) -> Ending {
    match error {
        Error::Io(error) => error.into(),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ending::Closed,
        _ => Ending::WebSocket,
    }
}
