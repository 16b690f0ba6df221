//! From a host name to a TCP connection, or to the end of a tunnel.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

use super::probe::{Fault, Finding};
use crate::mqtt::{Endpoint, LinkErrorKind};
use crate::transport::Proxy;

/// More addresses than this are not tried.
const MAX_ADDRESSES: usize = 8;

/// The addresses of `host`.
pub(super) async fn name(host: &str, port: u16) -> Result<(Vec<SocketAddr>, Finding), Finding> {
    let remedy = "Check the host name for typing errors, and that this machine has a name server and reaches it \
                  (`getent hosts NAME`). A device without DNS can be given an address, and then TLS needs a certificate for it.";
    let found = lookup_host((host, port)).await;
    let found =
        found.map_err(|error| Finding::failed(Fault::Name, format!("{host} is not resolved: {error}"), remedy))?;
    let mut addresses: Vec<_> = found.collect();
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    if addresses.is_empty() {
        return Err(Finding::failed(Fault::Name, format!("{host} has no address"), remedy));
    }
    let shown: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    let said = match host.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
        Ok(address) => format!("{address} is an address"),
        Err(_) => format!("{host} is {}", shown.join(", ")),
    };
    Ok((addresses, Finding::ok(said)))
}

/// A connection to the first of `addresses` that takes one; all are tried at once.
pub(super) async fn tcp(addresses: Vec<SocketAddr>) -> Result<(TcpStream, Finding), Finding> {
    let mut attempts = JoinSet::new();
    for address in addresses {
        attempts.spawn(async move { TcpStream::connect(address).await.map_err(|error| (address, error)) });
    }
    let mut failed = Vec::new();
    let mut refused = true;
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(stream)) => {
                // Small packets, each of which somebody waits for.
                let _ = stream.set_nodelay(true);
                let at = stream.peer_addr().map(|at| at.to_string()).unwrap_or_default();
                // Not a warning: which of two answers first is chance, and devices try them all.
                let others = match failed.is_empty() {
                    true => String::new(),
                    false => format!("; not to {}", failed.join("; ")),
                };
                return Ok((stream, Finding::ok(format!("connected to {at}{others}"))));
            }
            Ok(Err((address, error))) => {
                refused &= error.kind() == io::ErrorKind::ConnectionRefused;
                failed.push(format!("{address}: {error}"));
            }
            Err(error) => failed.push(error.to_string()),
        }
    }
    let remedy = if refused {
        "The machine is there and nobody listens on that port: check the port (1883, 8883 with TLS, 12470 WebSocket, 12473 \
         with TLS) and that the broker is running."
    } else {
        "There is no way to that address from here: check this machine's network, its gateway and the firewalls between."
    };
    Err(Finding::failed(Fault::Connect, failed.join("; "), remedy))
}

/// The tunnel that `proxy` makes to `endpoint`.
pub(super) async fn tunnel(
    proxy: &Proxy,
    stream: TcpStream,
    endpoint: &Endpoint,
) -> Result<(TcpStream, Finding), Finding> {
    match proxy.tunnel(stream, endpoint).await {
        Ok(stream) => Ok((stream, Finding::ok(format!("{proxy} made a tunnel to {}", endpoint.authority())))),
        Err(error) => {
            let remedy = match error.kind() {
                LinkErrorKind::Tcp => {
                    "The proxy works and does not reach the broker: check the broker's name and port, which the proxy \
                     resolves, and ask whoever runs the proxy."
                }
                _ => {
                    "Check --proxy and its login, and ask whoever runs the proxy to allow CONNECT to that host and port: \
                     many allow 443 only."
                }
            };
            Err(Finding::failed(Fault::Connect, error.detail(), remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::probe::Verdict;

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let alive = listener.local_addr().expect("bound");
        let (_, finding) = tcp(vec![alive]).await.expect("connected");
        assert_eq!(finding.verdict, Verdict::Ok);
        drop(listener);
        let failed = tcp(vec![alive]).await.expect_err("nobody listens");
        assert_eq!(failed.verdict, Verdict::Failed(Fault::Connect));
        assert!(failed.remedy.expect("what to do").contains("nobody listens on that port"));
    }

    #[tokio::test]
    async fn names_and_addresses_are_told_apart() {
        let (addresses, finding) = name("127.0.0.1", 1).await.expect("an address");
        assert_eq!((addresses.len(), finding.said.as_str()), (1, "127.0.0.1 is an address"));
        // RFC 6761: names under `.invalid` never resolve.
        let failed = name("broker.invalid", 1).await.expect_err("no such name");
        assert_eq!(failed.verdict, Verdict::Failed(Fault::Name));
    }
}
