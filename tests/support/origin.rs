//! An HTTP/1.1 server that does what it is told, byte by byte: the upstream of a bridge.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What it does with a request.
#[derive(Clone)]
pub enum Reply {
    /// Writes this and waits for the next request.
    Say(Vec<u8>),
    /// Writes this and closes the connection.
    SayAndClose(Vec<u8>),
    /// Waits until it is let go, then does the other.
    Wait(Arc<Notify>, Box<Reply>),
    /// Never says anything.
    Hang,
}

/// A whole answer.
pub fn say(text: &str) -> Reply {
    Reply::Say(text.as_bytes().to_vec())
}

/// 200 with this body.
pub fn ok(body: &str) -> Reply {
    answer("200 OK", "", body)
}

/// A status line, further header lines, a body.
pub fn answer(status: &str, headers: &str, body: &str) -> Reply {
    say(&format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()))
}

type Script = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

pub struct Origin {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    /// Answers each request, given as it came, with what `script` says.
    pub async fn start(script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), script).await
    }

    pub async fn start_at(address: SocketAddr, script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::default()));
        let script: Script = Arc::new(script);
        let (count, seen) = (Arc::clone(&connections), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            // Its connections end with it.
            let mut conversations = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                count.fetch_add(1, Ordering::SeqCst);
                conversations.spawn(converse(stream, Arc::clone(&script), Arc::clone(&seen)));
            }
        });
        Self { address, connections, requests, task }
    }

    /// `http://…`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests so far, heads and bodies.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("not poisoned").clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn converse(mut stream: TcpStream, script: Script, seen: Arc<Mutex<Vec<String>>>) {
    let mut input = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut input).await {
        seen.lock().expect("not poisoned").push(request.clone());
        let mut reply = script(&request);
        while let Reply::Wait(until, next) = reply {
            until.notified().await;
            reply = *next;
        }
        match reply {
            Reply::Say(bytes) => drop(stream.write_all(&bytes).await),
            Reply::SayAndClose(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Reply::Hang => std::future::pending().await,
            Reply::Wait(..) => {}
        }
    }
}

/// One request by its `Content-Length`: whatever else came would be read as the next one.
async fn read_request(stream: &mut TcpStream, input: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&input[..end]).to_ascii_lowercase();
            let len = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |len| len.trim().parse::<usize>().expect("a length"));
            if input.len() >= end + 4 + len {
                let request: Vec<u8> = input.drain(..end + 4 + len).collect();
                return Some(String::from_utf8(request).expect("text"));
            }
        }
        if stream.read_buf(input).await.ok()? == 0 {
            return None;
        }
    }
}
