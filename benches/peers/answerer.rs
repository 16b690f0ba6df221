//! The smallest MQTT server that answers: it accepts everybody, and each PUBLISH comes back on its topic with 300 bytes.

use std::net::SocketAddr;
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Of every message, both ways.
pub(crate) const PAYLOAD: usize = 300;

pub(crate) struct Answerer {
    address: SocketAddr,
}

impl Answerer {
    /// Serves from a thread of its own, until the process ends.
    pub(crate) fn start() -> Self {
        let (told, tell) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
                told.send(listener.local_addr().expect("bound")).expect("somebody waits");
                loop {
                    let (stream, _) = listener.accept().await.expect("a connection");
                    tokio::spawn(serve(stream));
                }
            });
        });
        Self { address: tell.recv().expect("started") }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(mut stream: TcpStream) {
    stream.set_nodelay(true).expect("a TCP socket");
    let (mut input, mut output) = (Vec::with_capacity(64 * 1024), Vec::with_capacity(64 * 1024));
    while stream.read_buf(&mut input).await.is_ok_and(|read| read > 0) {
        let mut rest = &input[..];
        while let Some((first, body, after)) = split(rest) {
            answer(first, body, &mut output);
            rest = after;
        }
        let left = rest.len();
        input.drain(..input.len() - left);
        if stream.write_all(&output).await.is_err() {
            return;
        }
        output.clear();
    }
}

/// The first packet: its first byte, what follows the length, and what comes after.
pub(crate) fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let (mut len, mut shift) = (0, 0);
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        len |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (body, after) = rest.split_at_checked(len)?;
    Some((*first, body, after))
}

fn answer(first: u8, body: &[u8], output: &mut Vec<u8>) {
    match first >> 4 {
        1 => output.extend_from_slice(&[0x20, 2, 0, 0]),
        3 => publish(&body[2..2 + usize::from(u16::from_be_bytes([body[0], body[1]]))], output),
        8 => output.extend_from_slice(&[0x90, 3, body[0], body[1], 0]),
        12 => output.extend_from_slice(&[0xD0, 0]),
        _ => {}
    }
}

/// A PUBLISH with the payload that every message has.
pub(crate) fn publish(topic: &[u8], output: &mut Vec<u8>) {
    let len = 2 + topic.len() + PAYLOAD;
    output.extend_from_slice(&[0x30, (len & 0x7F) as u8 | 0x80, (len >> 7) as u8]);
    output.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    output.extend_from_slice(topic);
    output.resize(output.len() + PAYLOAD, b'x');
}
