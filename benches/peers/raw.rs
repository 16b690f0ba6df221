//! The limit: a loop over a TCP socket that knows what is coming.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Load;
use super::answerer::{publish, split};
use crate::measure::slices::Figures;

pub(crate) const TOPIC: &str = "p/device-1/thing-if/apps/a1/targets/thing:th.1/states";

/// Its payload is as long as the answerer's, whatever `load` says.
pub(crate) async fn run(load: &Load) -> Figures {
    let Load { address, in_flight, slice, .. } = *load;
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
