//! The way through an HTTP proxy: CONNECT (RFC 9110 §9.3.6), whatever is spoken in the tunnel.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::dial;
use super::proxy::Proxy;
use crate::mqtt::{Endpoint, LinkError, LinkErrorKind};

/// The largest head that is read, of the proxy's answer or of a request.
const MAX_HEAD: usize = 8 * 1024;

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
pub(super) async fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() == MAX_HEAD {
            return Err(io::Error::other("its answer does not end"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}
