//! HTTP/1.1 for local programs: over TCP, and over a Unix socket.

use std::future::Future;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;

use crate::http_server::{self, HeadBounds};

pub(crate) use crate::http_server::Listener;

/// Connections at once. Further ones wait in the socket's own queue.
pub(crate) const MAX_CONNECTIONS: usize = 256;
/// Both are a multiple of what fits a frame, so that what is too much for a frame is read and refused with a body that says why;
/// beyond, the answer is a bare 431.
const HEAD: HeadBounds = HeadBounds { fields: 256, len: 64 * 1024 };

/// The body of an answer: whole, or as it comes.
pub(crate) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A body that is there already.
pub(crate) fn whole(body: Bytes) -> Body {
    http_body_util::Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// Answers requests with `answer` until `shutdown` completes; then those under way get 10 s to finish. Dropping the future
/// drops every connection.
pub(crate) async fn serve<L, A, F>(listener: &L, answer: A, shutdown: impl Future<Output = ()>)
where
    L: Listener,
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let connection = move |stream, _, ending| {
        let answer = answer.clone();
        async move {
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, std::convert::Infallible>(answer.await) }
            });
            if let Err(error) = http_server::converse(stream, service, HEAD, ending).await {
                tracing::debug!(%error, "a local connection ended early");
            }
        }
    };
    http_server::serve(listener, MAX_CONNECTIONS, connection, shutdown).await;
}
