//! Requests to an HTTP(S) service, over connections that are kept.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

type BoxError = Box<dyn StdError + Send + Sync>;

/// The most header fields of an answer, and the most bytes of its head; an answer beyond is a broken one.
const MAX_HEADERS: usize = 100;
const MAX_HEAD: usize = 64 * 1024;
/// Silence after which the system asks whether the other end is still there.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Times and bounds of outgoing connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// For the name, TCP and TLS.
    pub(super) connect: Duration,
    /// How long a connection that nobody uses is kept.
    pub(super) idle: Duration,
    /// How many such are kept.
    pub(super) max_idle: usize,
}

/// A pool of connections. Cheap to clone; clones share it.
#[derive(Clone)]
pub(super) struct Outgoing {
    client: Client<Bounded<HttpsConnector<HttpConnector>>, Full<Bytes>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// Nothing of the request has left: the connection could not be made, or was gone before.
    NotSent(BoxError),
    /// The connection ended, or what came is not HTTP. The request may have been executed.
    Broken(BoxError),
    /// The answer's body is longer than is taken.
    TooLong,
    /// It did not come in time. The request may have been executed.
    TimedOut,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::NotSent(error) => write!(f, "cannot connect: {}", Causes(&**error)),
            NoAnswer::Broken(error) => write!(f, "no whole answer: {}", Causes(&**error)),
            NoAnswer::TooLong => f.write_str("the answer is too long"),
            NoAnswer::TimedOut => f.write_str("no answer in time"),
        }
    }
}

/// An error with what caused it. hyper's own errors say little.
struct Causes<'a>(&'a (dyn StdError + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Outgoing {
    /// A pool. Without `tls` no certificate is trusted, so only `http` can be reached.
    pub(super) fn new(tls: Option<Arc<ClientConfig>>, bounds: Bounds) -> Self {
        let tls = tls.map_or_else(trusting_nobody, |tls| ClientConfig::clone(&tls));
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEP_ALIVE));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let connector = Bounded { inner: https.wrap_connector(tcp), within: bounds.connect };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(bounds.idle)
            .pool_max_idle_per_host(bounds.max_idle)
            .http1_max_headers(MAX_HEADERS)
            .http1_max_buf_size(MAX_HEAD)
            .build(connector);
        Self { client }
    }

    /// Sends `request`, whose URI is absolute, and takes the whole answer, with at most `max_body` bytes of body.
    pub(super) async fn send(
        &self,
        request: Request<Bytes>,
        within: Duration,
        max_body: usize,
    ) -> Result<Response<Bytes>, NoAnswer> {
        let exchange = async {
            let answered = self.client.request(request.map(Full::new)).await.map_err(not_answered)?;
            let (parts, body) = answered.into_parts();
            let collected = Limited::new(body, max_body).collect().await.map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() { NoAnswer::TooLong } else { NoAnswer::Broken(error) }
            })?;
            Ok(Response::from_parts(parts, collected.to_bytes()))
        };
        tokio::time::timeout(within, exchange).await.unwrap_or(Err(NoAnswer::TimedOut))
    }
}

fn not_answered(error: hyper_util::client::legacy::Error) -> NoAnswer {
    let was_canceled = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>()).is_some_and(|cause| {
        // hyper says so only of a request of which nothing was written.
        cause.is_canceled()
    });
    if error.is_connect() || was_canceled { NoAnswer::NotSent(error.into()) } else { NoAnswer::Broken(error.into()) }
}

fn trusting_nobody() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring offers what the default versions of TLS need")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

/// A connector that gives up after a time, TLS included: hyper's own bound ends with TCP.
#[derive(Clone)]
struct Bounded<C> {
    inner: C,
    within: Duration,
}

impl<C> Service<Uri> for Bounded<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
    C::Response: 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connected = tokio::time::timeout(self.within, self.inner.call(uri));
        Box::pin(async move {
            connected.await.unwrap_or_else(|_| {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the connection was not there in time").into())
            })
        })
    }
}
