//! One TCP connection, as a reader and a writer that know MQTT's packets and nothing else.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::event;
use crate::mqtt::packet::{Decoder, Limits, Protocol};

/// Something that happened: on which connection, or none, what, and its members.
pub(super) type Happened = (Option<usize>, &'static str, Value);

/// What arrives is read as far as a grader needs it: far more than either end may send.
const LIMITS: Limits =
    Limits { max_frame: 2 * 1024 * 1024, keep: 8 * 1024, max_skip: 4 * 1024 * 1024, max_control: 256 * 1024 };

/// Between two pieces of what is written in pieces: enough for them to travel apart.
const BETWEEN_PIECES: Duration = Duration::from_millis(2);

/// A connection. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Link {
    out: mpsc::UnboundedSender<Piece>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
    is_mute: bool,
    /// As the CONNECT said.
    pub(super) protocol: Protocol,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// How many bytes at a time; 0 for all.
    cut: usize,
}

impl Link {
    /// Takes a stream; what it brings is told as that connection's.
    pub(super) fn new(number: usize, stream: TcpStream, protocol: Protocol, tell: mpsc::Sender<Happened>) -> Self {
        // Pieces are to travel as they are written. Without it the test is weaker, not wrong.
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        let (out, pieces) = mpsc::unbounded_channel();
        Self {
            out,
            reader: tokio::spawn(read_packets(number, read, Decoder::new(LIMITS).with_protocol(protocol), tell)),
            writer: tokio::spawn(write_pieces(write, pieces)),
            is_mute: false,
            protocol,
        }
    }

    /// Writes, `cut` bytes at a time if that is not 0. What a peer that has gone does not take is lost.
    pub(super) fn write(&self, bytes: Bytes, cut: usize) {
        let _ = self.out.send(Piece { bytes, cut });
    }

    /// Reads no more, and answers nothing.
    pub(super) fn mute(&mut self) {
        self.reader.abort();
        self.is_mute = true;
    }

    pub(super) fn is_mute(&self) -> bool {
        self.is_mute
    }

    /// Ends the connection after what was written.
    pub(super) async fn close(self) {
        let Self { ref out, ref reader, .. } = self;
        // An empty piece is the last one.
        let _ = out.send(Piece { bytes: Bytes::new(), cut: 0 });
        let _ = tokio::time::timeout(Duration::from_secs(1), out.closed()).await;
        reader.abort();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

async fn read_packets(number: usize, mut from: OwnedReadHalf, mut decoder: Decoder, tell: mpsc::Sender<Happened>) {
    let mut buf = BytesMut::with_capacity(16 * 1024);
    loop {
        loop {
            match decoder.decode(&mut buf) {
                Ok(Some(decoded)) => {
                    let (kind, members) = event::of_decoded(decoded);
                    let _ = tell.send((Some(number), kind, members)).await;
                }
                Ok(None) => break,
                Err(error) => {
                    let _ = tell.send((Some(number), "malformed", json!({"error": error.to_string()}))).await;
                    return;
                }
            }
        }
        buf.reserve(4 * 1024);
        match from.read_buf(&mut buf).await {
            Ok(0) | Err(_) => {
                let _ = tell.send((Some(number), "closed", json!({}))).await;
                return;
            }
            Ok(_) => {}
        }
    }
}

async fn write_pieces(mut to: OwnedWriteHalf, mut pieces: mpsc::UnboundedReceiver<Piece>) {
    while let Some(Piece { bytes, cut }) = pieces.recv().await {
        if bytes.is_empty() {
            let _ = to.shutdown().await;
            return;
        }
        let size = if cut == 0 { bytes.len() } else { cut };
        for piece in bytes.chunks(size) {
            if to.write_all(piece).await.is_err() {
                return;
            }
            if cut > 0 {
                tokio::time::sleep(BETWEEN_PIECES).await;
            }
        }
    }
}
