//! The limit: a loop over a TCP socket that knows what is coming.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::answerer::{publish, split};
use super::report::Figures;

pub(crate) const TOPIC: &str = "p/device-1/thing-if/apps/a1/targets/thing:th.1/states";

pub(crate) async fn run(address: SocketAddr, in_flight: usize, slice: Duration) -> Figures {
    let mut stream = TcpStream::connect(address).await.expect("the server is there");
    stream.set_nodelay(true).expect("a TCP socket");
    stream.write_all(b"\x10\x11\0\x04MQTT\x04\x02\0\x3C\0\x05ann-1").await.expect("written");
    stream.read_exact(&mut [0; 4]).await.expect("CONNACK");
    let (mut input, mut output) = (Vec::with_capacity(64 * 1024), Vec::with_capacity(64 * 1024));
    let mut sent = std::collections::VecDeque::new();
    let mut figures = Figures::begin();
    for _ in 0..in_flight {
        publish(TOPIC.as_bytes(), &mut output);
        sent.push_back(Instant::now());
    }
    while !sent.is_empty() {
        stream.write_all(&output).await.expect("written");
        output.clear();
        assert!(stream.read_buf(&mut input).await.expect("read") > 0, "the server is gone");
        let mut rest = &input[..];
        while let Some((_, _, after)) = split(rest) {
            figures.count(sent.pop_front().expect("an answer to something").elapsed());
            if figures.elapsed() < slice {
                publish(TOPIC.as_bytes(), &mut output);
                sent.push_back(Instant::now());
            }
            rest = after;
        }
        let left = rest.len();
        input.drain(..input.len() - left);
    }
    figures.end()
}
