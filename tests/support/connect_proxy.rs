//! A small HTTP proxy for tests that makes CONNECT tunnels, and can be told to misbehave.
#![allow(dead_code, unreachable_pub)] // each test binary uses its own part

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the proxy does.
#[derive(Clone, Default)]
pub enum Manners {
    /// A tunnel for everybody.
    #[default]
    Open,
    /// A tunnel for whoever shows this `Proxy-Authorization`; 407 for others.
    Login(&'static str),
    /// These bytes, and then the end.
    Says(&'static str),
    /// The answer in pieces, with fields in it, and the tunnel.
    Slow,
    /// Nothing, for ever.
    Silent,
}

/// A running proxy; it ends when this is dropped.
pub struct ConnectProxy {
    pub address: SocketAddr,
    /// The heads of the requests, in order.
    pub heads: Arc<Mutex<Vec<String>>>,
    accepting: JoinHandle<()>,
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl ConnectProxy {
    /// Listens on a free port of 127.0.0.1. Whatever host is asked for, the tunnel leads to 127.0.0.1: names are the proxy's to
    /// resolve, and this one knows them all.
    pub async fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let accepting = tokio::spawn(async move {
            let mut tunnels = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (manners, seen) = (manners.clone(), Arc::clone(&seen));
                // An error ends the tunnel; what a client makes of that is the test's business.
                tunnels.spawn(async move { drop(serve(stream, manners, &seen).await) });
            }
        });
        Self { address, heads, accepting }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

async fn serve(mut stream: TcpStream, manners: Manners, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).expect("text");
    seen.lock().expect("no panic").push(head.clone());
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).expect("a CONNECT").to_owned();
    let port: u16 = target.rsplit(':').next().expect("a port").parse().expect("a number");
    let answer = match manners {
        Manners::Open => "HTTP/1.1 200 Connection established\r\n\r\n",
        Manners::Login(expected) => {
            if !head.lines().any(|line| line == format!("Proxy-Authorization: {expected}")) {
                stream.write_all(b"HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n").await?;
                return Ok(());
            }
            "HTTP/1.1 200 OK\r\n\r\n"
        }
        Manners::Says(text) => return stream.write_all(text.as_bytes()).await,
        Manners::Slow => {
            for piece in ["HTTP/1.", "0 200 OK\r\nVia: 1.1 x", "\r\nX: y\r\n\r", "\n"] {
                stream.write_all(piece.as_bytes()).await?;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            ""
        }
        Manners::Silent => return std::future::pending().await,
    };
    let Ok(mut broker) = TcpStream::connect(("127.0.0.1", port)).await else {
        return stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await;
    };
    stream.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    stream.write_all(answer.as_bytes()).await?;
    copy_bidirectional(&mut stream, &mut broker).await.map(drop)
}
