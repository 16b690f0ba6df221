//! A TCP proxy that counts the bytes of a whole exchange and cuts it at one of them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToDevice,
    ToBroker,
}

/// How many bytes went each way, over all connections, and where they came in pieces.
#[derive(Debug, Default)]
struct Count {
    bytes: usize,
    pieces: Vec<usize>,
}

#[derive(Debug, Default)]
struct Exchange {
    counts: [Count; 2],
    /// Nothing behind this byte gets through; taken by the connection that it ends.
    cut: Option<(Way, usize)>,
}

pub(crate) struct Cutter {
    pub(crate) address: SocketAddr,
    exchange: Arc<Mutex<Exchange>>,
    _task: JoinSet<()>,
}

impl Cutter {
    pub(crate) async fn before(broker: SocketAddr, cut: Option<(Way, usize)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let exchange = Arc::new(Mutex::new(Exchange { cut, ..Exchange::default() }));
        let (shared, mut task) = (exchange.clone(), JoinSet::new());
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((device, _)) = listener.accept().await {
                let shared = shared.clone();
                connections.spawn(async move {
                    let Ok(broker) = TcpStream::connect(broker).await else { return };
                    let _ = (device.set_nodelay(true), broker.set_nodelay(true));
                    let ((from_device, to_device), (from_broker, to_broker)) =
                        (device.into_split(), broker.into_split());
                    // The end of one way is the end of both.
                    tokio::select! {
                        () = pass(from_device, to_broker, Way::ToBroker, &shared) => {}
                        () = pass(from_broker, to_device, Way::ToDevice, &shared) => {}
                    }
                });
            }
        });
        Self { address, exchange, _task: task }
    }

    /// Whether the cut was made.
    pub(crate) fn has_cut(&self) -> bool {
        self.exchange.lock().expect("not poisoned").cut.is_none()
    }

    /// The bytes that went this way, and the ends of the pieces in which they came.
    pub(crate) fn count(&self, way: Way) -> (usize, Vec<usize>) {
        let exchange = self.exchange.lock().expect("not poisoned");
        let count = &exchange.counts[way as usize];
        (count.bytes, count.pieces.clone())
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Way, exchange: &Mutex<Exchange>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        let (passes, is_cut) = {
            let mut exchange = exchange.lock().expect("not poisoned");
            let count = &mut exchange.counts[way as usize];
            let before = count.bytes;
            count.bytes += read;
            let bytes = count.bytes;
            count.pieces.push(bytes);
            match exchange.cut {
                Some((cut_way, at)) if cut_way == way && at <= bytes => {
                    exchange.cut = None;
                    (at.saturating_sub(before), true)
                }
                _ => (read, false),
            }
        };
        if to.write_all(&buffer[..passes]).await.is_err() || is_cut {
            return;
        }
    }
}
