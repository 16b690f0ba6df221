//! MQTT in WebSocket messages (MQTT 3.1.1 §6).
//!
//! Packets may come split over messages or several in one; they leave as exactly one packet in one unfragmented binary
//! frame, because a widespread client library leaves the second packet of a frame lying until more bytes arrive. The same
//! library reads the answer to the upgrade with one `recv` of 1024 bytes: it is short, and one write.
//!
//! tungstenite writes whole frames, and tokens with them, to the `log` crate at level trace. While it would, that level is
//! switched off, if anybody listens there.

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

use super::ending::Ending;
use super::wire::{Counted, Output, Wire};
use crate::quiet;

/// Allocated for each connection for as long as it lives, so it is small; larger messages grow it.
const READ_LEN: usize = 4 * 1024;

/// Frames are gathered up to here before they are written without being asked.
const WRITE_LEN: usize = 16 * 1024;

/// A WebSocket that carries MQTT.
pub(super) struct WebSocket<T>(WebSocketStream<Counted<T>>);

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> WebSocket<T> {
    /// Answers the upgrade request.
    pub(super) async fn accept(stream: T, max_skip: usize) -> Result<Self, Ending> {
        // The largest packet that is read or skipped fits into one message; memory follows the bytes that have come.
        let largest = Some(max_skip.saturating_add(128 * 1024));
        let options = WebSocketConfig::default()
            .read_buffer_size(READ_LEN)
            .write_buffer_size(WRITE_LEN)
            .max_message_size(largest)
            .max_frame_size(largest);
        let mut stream = Counted::new(stream);
        let first = upgrade::answer(&mut stream).await?;
        Ok(Self(WebSocketStream::from_partially_read(stream, first, Role::Server, Some(options)).await))
    }
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for WebSocket<T> {
    const ONE_BY_ONE: bool = true;

    fn poll_fill(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<Result<usize, Ending>> {
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
                Some(Ok(Message::Text(_))) => return Poll::Ready(Err(Ending::WebSocket)),
                Some(Err(error)) => return Poll::Ready(Err(ending(error))),
            }
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<Result<(), Ending>> {
        while !output.is_empty() {
            ready!(quietly(|| Pin::new(&mut self.0).poll_ready(cx))).map_err(ending)?;
            let Some(packet) = output.next_packet() else { break };
            quietly(|| Pin::new(&mut self.0).start_send(Message::Binary(packet.freeze()))).map_err(ending)?;
        }
        quietly(|| Pin::new(&mut self.0).poll_flush(cx)).map_err(ending)
    }

    fn written(&self) -> u64 {
        self.0.get_ref().written
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        match ready!(quietly(|| Pin::new(&mut self.0).poll_close(cx))).map_err(ending) {
            Ok(()) | Err(Ending::Closed) => Pin::new(self.0.get_mut()).poll_shutdown(cx).map_err(Ending::from),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

/// Runs a call of tungstenite that logs frames.
fn quietly<R>(call: impl FnOnce() -> R) -> R {
    quiet::quietly(quiet::WEBSOCKET, log::Level::Trace, call)
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf};

    use super::*;

    /// Notes what each write wrote.
    struct Writes(DuplexStream, Arc<Mutex<Vec<Vec<u8>>>>);

    impl AsyncRead for Writes {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Writes {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
            let written = ready!(Pin::new(&mut self.0).poll_write(cx, buf))?;
            self.1.lock().expect("no panic").push(buf[..written].to_vec());
            Poll::Ready(Ok(written))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn the_upgrade_is_one_write_and_a_packet_one_frame() {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let writes = Arc::new(Mutex::new(Vec::new()));
        near.write_all(
            b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await
        .expect("room");
        let socket = WebSocket::accept(Writes(far, Arc::clone(&writes)), 1024 * 1024).await;
        let mut socket = socket.expect("upgraded");
        let upgrade = std::mem::take(&mut *writes.lock().expect("no panic"));
        assert_eq!(upgrade.len(), 1, "one write");
        assert!(upgrade[0].starts_with(b"HTTP/1.1 101 ") && upgrade[0].ends_with(b"\r\n\r\n"));
        assert!(upgrade[0].len() < 1024);
        near.read_exact(&mut vec![0; upgrade[0].len()]).await.expect("written");
        let mut output = Output::new::<WebSocket<Writes>>();
        let packets: [&[u8]; 3] = [b"\xD0\0", b"\x40\x02\0\x07", &[b'x'; 200]];
        for packet in packets {
            let written: Result<(), Ending> = output.append(|bytes| {
                bytes.extend_from_slice(packet);
                Ok(())
            });
            written.expect("appended");
        }
        poll_fn(|cx| socket.poll_drain(cx, &mut output)).await.expect("drained");
        assert!(output.is_empty());
        // FIN and binary, no mask, the length, the packet: RFC 6455 §5.2.
        let mut expected = Vec::new();
        for (header, packet) in
            [(&[0x82, 2][..], packets[0]), (&[0x82, 4], packets[1]), (&[0x82, 126, 0, 200], packets[2])]
        {
            expected.extend_from_slice(header);
            expected.extend_from_slice(packet);
        }
        let mut got = vec![0; expected.len()];
        near.read_exact(&mut got).await.expect("written");
        assert_eq!(got, expected);
        assert_eq!(writes.lock().expect("no panic").len(), 1, "a batch is one write");
    }
}
