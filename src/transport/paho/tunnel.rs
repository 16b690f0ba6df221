//! The way through an HTTP proxy.
//!
//! Paho can ask a proxy by itself, but waits up to 10 s for its answer with the library's global lock held, tells nothing of
//! what the proxy said, and keeps the proxy's password in its trace. So the tunnel is made here, before paho is told of it, and
//! paho is given a proxy of its own: a listener of this process on the loopback interface that is there for one connection. It
//! speaks its `200` first, so that paho need not wait, and then lets through only who shows a word that nobody else knows.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::dial;
use super::proxy::Proxy;
use crate::mqtt::{Endpoint, LinkError, LinkErrorKind};

/// The largest head that is read, of the proxy's answer or of paho's request.
const MAX_HEAD: usize = 8 * 1024;

/// After one end has finished, the other has this long.
const LINGER: Duration = Duration::from_secs(5);

/// Has `proxy` make a tunnel to `endpoint`. Has no deadline of its own.
///
/// # Errors
/// `Proxy` when there is no proxy or it does not want to, `Tcp` when it says that it cannot reach the broker.
pub(super) async fn open(proxy: &Proxy, endpoint: &Endpoint) -> Result<TcpStream, LinkError> {
    let stream = dial::connect(&proxy.host, proxy.port)
        .await
        .map_err(|error| LinkError::new(LinkErrorKind::Proxy, format!("{proxy} is not there: {error}")))?;
    ask(proxy, stream, endpoint).await
}

/// As [`open`], over a connection to the proxy.
pub(super) async fn ask(proxy: &Proxy, mut stream: TcpStream, endpoint: &Endpoint) -> Result<TcpStream, LinkError> {
    let broken = |error: io::Error| LinkError::new(LinkErrorKind::Proxy, format!("{proxy} broke off: {error}"));
    stream.set_nodelay(true).map_err(broken)?;
    let broker = endpoint.authority();
    let mut request = zeroize::Zeroizing::new(format!("CONNECT {broker} HTTP/1.1\r\nHost: {broker}\r\n"));
    if let Some(authorization) = proxy.authorization() {
        request.push_str(&format!("Proxy-Authorization: {}\r\n", authorization.expose()));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let head = read_head(&mut stream).await.map_err(broken)?;
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut fields);
    let status = match answer.parse(&head) {
        Ok(httparse::Status::Complete(_)) => answer.code.unwrap_or_default(),
        _ => return Err(LinkError::new(LinkErrorKind::Proxy, format!("what answers at {proxy} is no HTTP proxy"))),
    };
    judge(proxy, &broker, status).map(|()| stream)
}

/// What a status of the proxy means (RFC 9110 §9.3.6, §15).
fn judge(proxy: &Proxy, broker: &str, status: u16) -> Result<(), LinkError> {
    let (kind, what) = match status {
        200..=299 => return Ok(()),
        407 if proxy.login.is_some() => (LinkErrorKind::Proxy, "refuses this user name or password"),
        407 => (LinkErrorKind::Proxy, "wants a user name and a password"),
        400..=499 => (LinkErrorKind::Proxy, "does not allow a tunnel there"),
        502..=504 => (LinkErrorKind::Tcp, "cannot reach it"),
        _ => (LinkErrorKind::Proxy, "makes no tunnel there"),
    };
    Err(LinkError::new(kind, format!("{broker}: {proxy} {what} (status {status})")))
}

/// Up to and with the empty line, and not a byte more.
async fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() == MAX_HEAD {
            return Err(io::Error::other("its answer does not end"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

/// A tunnel's end that paho connects to.
pub(super) struct Relay {
    address: SocketAddr,
    word: String,
}

impl Relay {
    /// Joins `tunnel` to the first who knows the word, if somebody comes until `deadline`.
    pub(super) async fn start(tunnel: TcpStream, deadline: Instant) -> Result<Self, LinkError> {
        let unusable =
            |error: io::Error| LinkError::new(LinkErrorKind::Config, format!("no listener on 127.0.0.1: {error}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let number = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?)));
        let (high, low) =
            number.map_err(|error| LinkError::new(LinkErrorKind::Config, format!("no random numbers: {error}")))?;
        let word = format!("{high:016x}{low:016x}");
        let expected = format!("Basic {}", STANDARD.encode(format!("paho:{word}")));
        // A socket belongs to the runtime on which it was made.
        let (listener, tunnel) = (listener.into_std().map_err(unusable)?, tunnel.into_std().map_err(unusable)?);
        thread()?.spawn(async move {
            let taken =
                TcpListener::from_std(listener).and_then(|listener| Ok((listener, TcpStream::from_std(tunnel)?)));
            let Ok((listener, tunnel)) = taken else { return };
            if let Ok(paho) = timeout_at(deadline, admit(listener, expected)).await {
                join(paho, tunnel).await;
            }
        });
        Ok(Self { address, word })
    }

    /// The proxy that paho is told of.
    pub(super) fn url(&self) -> String {
        format!("http://paho:{}@{}", self.word, self.address)
    }
}

/// The thread of all relays, started by the first. Not the caller's runtime, which a link may outlive; and not paho's thread,
/// which waits for the library's lock now and then, while the library holds that lock and waits for the relay.
fn thread() -> Result<&'static Handle, LinkError> {
    static THREAD: OnceLock<Result<Handle, String>> = OnceLock::new();
    let start = || -> io::Result<Handle> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let body = move || runtime.block_on(std::future::pending::<()>());
        std::thread::Builder::new().name(String::from("paho-proxy")).spawn(body)?;
        Ok(handle)
    };
    let started = THREAD.get_or_init(|| start().map_err(|error| error.to_string()));
    started.as_ref().map_err(|why| LinkError::new(LinkErrorKind::Config, format!("no thread for proxies: {why}")))
}

/// The first connection that shows `expected`; the listener goes with it.
async fn admit(listener: TcpListener, expected: String) -> TcpStream {
    let mut greeted = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(greeted.spawn(greet(stream, expected.clone()))),
                // Out of descriptors, perhaps; whoever waits has a deadline.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            // A stranger may come and go; whoever knows the word may still be on the way.
            Some(done) = greeted.join_next() => if let Ok(Some(stream)) = done {
                return stream;
            },
        }
    }
}

/// Plays the proxy.
async fn greet(mut stream: TcpStream, expected: String) -> Option<TcpStream> {
    stream.set_nodelay(true).ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    let head = read_head(&mut stream).await.ok()?;
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(&head).ok()?;
    let is_expected = |field: &httparse::Header<'_>| {
        field.name.eq_ignore_ascii_case("proxy-authorization") && field.value == expected.as_bytes()
    };
    request.headers.iter().any(is_expected).then_some(stream)
}

/// Carries bytes both ways until both ends, or one and a little time, are over.
async fn join(mut paho: TcpStream, mut tunnel: TcpStream) {
    let (mut from_paho, mut to_paho) = paho.split();
    let (mut from_broker, mut to_broker) = tunnel.split();
    let out = async {
        let _ = copy(&mut from_paho, &mut to_broker).await;
        let _ = to_broker.shutdown().await;
    };
    let back = async {
        let _ = copy(&mut from_broker, &mut to_paho).await;
        let _ = to_paho.shutdown().await;
    };
    tokio::pin!(out, back);
    tokio::select! {
        () = &mut out => drop(timeout(LINGER, back).await),
        () = &mut back => drop(timeout(LINGER, out).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stranger_who_leaves_does_not_shut_paho_out() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let admitted = tokio::spawn(admit(listener, "Basic x".to_owned()));
        let mut paho = TcpStream::connect(address).await.expect("connected");
        paho.read_exact(&mut [0; 19]).await.expect("greeted");
        let mut stranger = TcpStream::connect(address).await.expect("connected");
        stranger.read_exact(&mut [0; 19]).await.expect("greeted");
        drop(stranger);
        tokio::time::sleep(Duration::from_millis(100)).await;
        paho.write_all(b"CONNECT x HTTP/1.1\r\nProxy-Authorization: Basic x\r\n\r\n").await.expect("sent");
        timeout(Duration::from_secs(20), admitted).await.expect("admitted").expect("no panic");
    }
}
