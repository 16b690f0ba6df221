//! The road from apps: HTTP/1.1, plain or over TLS.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use http::Uri;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tower_service::Service as _;

use super::Cloud;
use crate::http_server::{self, Ending, HeadBounds};

/// Connections at once; beyond, they wait to be accepted.
const MAX_CONNECTIONS: usize = 10_000;
/// For a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Of a request; beyond, 431.
const HEAD: HeadBounds = HeadBounds { fields: 64, len: 16 * 1024 };

/// Both ends of the connection that a request came on, found as
/// [`ConnectInfo<Accepted>`](axum::extract::ConnectInfo) in its extensions.
///
/// [`serve`] puts it there. Whoever serves [`Cloud::router`] by other means does so with
/// [`into_make_service_with_connect_info`](axum::Router::into_make_service_with_connect_info); without it, logins are
/// not throttled by address, and an onboarding answer needs [`Advertise::host`](super::Advertise::host).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The peer.
    pub remote: SocketAddr,
    /// The address that accepted it.
    pub local: SocketAddr,
}

impl Connected<IncomingStream<'_, TcpListener>> for Accepted {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        let remote = *stream.remote_addr();
        Self { remote, local: stream.io().local_addr().unwrap_or(remote) }
    }
}

/// Serves `cloud` to apps until `shutdown` completes; then requests under way get 10 s to finish.
///
/// With `tls`, every connection begins with a handshake, which gets 10 s. Request lines in absolute form are taken.
/// (`wire` §2.3) A head of more than 64 fields or 16 KiB is answered with 431. A peer that vanishes is found out within 90 s.
///
/// # Errors
/// When the listener cannot tell its address. Errors of single connections end those connections alone.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    cloud: Cloud,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_router(listener, tls, cloud.router(), shutdown).await
}

/// As [`serve`], for any router.
pub(crate) async fn serve_router(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let bound = listener.local_addr()?;
    let tls = tls.map(TlsAcceptor::from);
    let connection = move |stream: TcpStream, remote, ending: Ending| {
        let accepted = Accepted { remote, local: stream.local_addr().unwrap_or(bound) };
        let (router, tls) = (router.clone(), tls.clone());
        async move {
            match tls {
                None => converse(stream, accepted, router, ending).await,
                Some(tls) => {
                    let mut until = ending.clone();
                    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
                    tokio::select! {
                        () = until.begins() => {}
                        shaken = handshake => match shaken {
                            Ok(Ok(stream)) => converse(stream, accepted, router, ending).await,
                            Ok(Err(error)) => tracing::debug!(%error, %remote, "TLS handshake failed"),
                            Err(_) => tracing::debug!(%remote, "TLS handshake timed out"),
                        },
                    }
                }
            }
        }
    };
    http_server::serve(listener, MAX_CONNECTIONS, connection, shutdown).await;
    Ok(())
}

/// `uri` with one slash wherever its path has several in a row, as one SDK writes them (`wire` §5); `None` when it has none.
fn without_empty_segments(uri: &Uri) -> Option<Uri> {
    if !uri.path().contains("//") {
        return None;
    }
    let mut path = String::with_capacity(uri.path().len());
    for character in uri.path().chars() {
        if character != '/' || !path.ends_with('/') {
            path.push(character);
        }
    }
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Answers the requests of one connection, one after the other.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    accepted: Accepted,
    router: Router,
    ending: Ending,
) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let mut request = request.map(Body::new);
        if let Some(uri) = without_empty_segments(request.uri()) {
            *request.uri_mut() = uri;
        }
        request.extensions_mut().insert(ConnectInfo(accepted));
        router.clone().call(request)
    });
    if let Err(error) = http_server::converse(stream, service, HEAD, ending).await {
        tracing::debug!(%error, remote = %accepted.remote, "HTTP connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_in_a_row_are_one_in_the_path_alone() {
        for (given, expected) in [
            ("/api/apps/a//users/u", Some("/api/apps/a/users/u")),
            ("//api///x//?q=a//b", Some("/api/x/?q=a//b")),
            ("https://host/api//x", Some("https://host/api/x")),
            ("/api/x?q=a//b", None),
            ("/", None),
            ("*", None),
        ] {
            let found = without_empty_segments(&given.parse().expect("a URI")).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{given}");
        }
    }
}
