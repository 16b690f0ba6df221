//! A road of half a round trip each way: bytes arrive that much later than they were sent, in their order.
//!
//! It cannot delay the handshake of TCP, which the system answers by itself. So it counts connections, and whoever measures
//! adds a round trip for each: they are made one after the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

pub(crate) struct SlowRoad {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl SlowRoad {
    pub(crate) async fn to(server: SocketAddr, half: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.expect("a connection");
                counted.fetch_add(1, Ordering::Relaxed);
                let far = TcpStream::connect(server).await.expect("the server is there");
                for stream in [&near, &far] {
                    stream.set_nodelay(true).expect("a TCP socket");
                }
                let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(from_near, to_far, half));
                tokio::spawn(carry(from_far, to_near, half));
            }
        });
        Self { address, connections }
    }

    /// Connections since this was last asked.
    pub(crate) fn connections(&self) -> usize {
        self.connections.swap(0, Ordering::Relaxed)
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, half: Duration) {
    let (sent, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((at, bytes)) = due.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if sent.send((Instant::now() + half, buffer[..read].to_vec())).is_err() {
            return;
        }
    }
}
