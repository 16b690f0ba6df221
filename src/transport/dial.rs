//! A TCP connection to one of the addresses of a name.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

use crate::mqtt::{LinkError, LinkErrorKind};

/// The next address of a name is tried beside the first one after this time (RFC 8305 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);

/// A TCP connection to the first of the addresses of `host` that accepts one. Has no deadline of its own.
///
/// # Errors
/// `NameNotResolved`, or `Tcp` with the last address's error.
pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, LinkError> {
    let mut addresses = lookup_host((host, port))
        .await
        .map_err(|error| LinkError::new(LinkErrorKind::NameNotResolved, format!("{host}: {error}")))?;
    let mut attempts = JoinSet::new();
    let mut failed = None;
    let mut next = addresses.next();
    loop {
        if let Some(address) = next.take() {
            attempts.spawn(async move { (address, TcpStream::connect(address).await) });
        }
        tokio::select! {
            answered = attempts.join_next() => match answered {
                Some(Ok((_, Ok(stream)))) => return Ok(stream),
                Some(Ok((address, Err(error)))) => failed = Some((address, error)),
                Some(Err(error)) => return Err(LinkError::new(LinkErrorKind::Tcp, error.to_string())),
                None => return Err(unreachable(host, failed)),
            },
            () = tokio::time::sleep(STAGGER) => {}
        }
        next = addresses.next();
    }
}

fn unreachable(host: &str, failed: Option<(SocketAddr, io::Error)>) -> LinkError {
    match failed {
        Some((address, error)) => LinkError::new(LinkErrorKind::Tcp, format!("{address}: {error}")),
        None => LinkError::new(LinkErrorKind::NameNotResolved, format!("{host}: no address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_is_found_and_a_closed_port_is_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let stream = connect("127.0.0.1", address.port()).await.expect("somebody listens");
        assert_eq!(stream.peer_addr().expect("connected"), address);
        drop(listener);
        let error = connect("127.0.0.1", address.port()).await.expect_err("nobody listens");
        assert_eq!(error.kind(), LinkErrorKind::Tcp, "{error}");
    }

    #[tokio::test]
    async fn a_name_that_cannot_exist_is_not_resolved() {
        // RFC 6761: names under `.invalid` never resolve.
        let error = connect("broker.invalid", 1883).await.expect_err("no such name");
        assert_eq!(error.kind(), LinkErrorKind::NameNotResolved, "{error}");
    }
}
