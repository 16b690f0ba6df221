//! A proxy whose connection is another process's: every request goes on over that process's socket, and is answered there.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::bridge::http_server::{Body, whole};
use crate::bridge::proxy::{Fate, Gate, Refusal, onward, whole_body};
use crate::bridge::rules::remove_hop_by_hop;
use crate::thing_if::ErrorCode;

/// How soon another process may have taken the connection over.
const TAKE_OVER: Duration = Duration::from_secs(1);

/// No body of more fits the largest frame. It is refused here, because the other process may answer and hang up before it is
/// written whole, and then its answer can be lost.
const MAX_BODY: usize = 64 * 1024;

/// Sends `request` on through `socket`, if `gate` lets it in. The answer's body passes as it comes.
pub(crate) async fn answer(request: Request<Incoming>, gate: &Gate, socket: &Path) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    if let Err(refusal) = gate.check(&head) {
        return refusal.into_response().map(whole);
    }
    onward(&mut head.headers);
    head.headers.insert(http::header::HOST, http::HeaderValue::from_static("thingif"));
    // `*` and other targets without a path are nothing there, either.
    head.uri = head.uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
    let answered = match whole_body(body, MAX_BODY).await {
        Ok(body) => exchange(Request::from_parts(head, Full::new(body)), socket).await,
        Err(refusal) => Err(refusal),
    };
    match answered {
        Ok(mut response) => {
            remove_hop_by_hop(response.headers_mut());
            response.map(|body| body.boxed_unsync())
        }
        Err(refusal) => refusal.into_response().map(whole),
    }
}

async fn exchange(request: Request<Full<Bytes>>, socket: &Path) -> Result<Response<Incoming>, Refusal> {
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        let message = format!("the process that held the connection has ended: {error}");
        Refusal::not_sent(ErrorCode::TemporaryUnavailableError, message, TAKE_OVER)
    })?;
    let gone = |error: hyper::Error| Refusal {
        fate: Fate::Disconnected,
        code: ErrorCode::BadGateway,
        message: format!("the process that holds the connection went away: {error}"),
        retry_after: None,
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(gone)?;
    // It ends with the answer's body, or when nobody waits for that any more.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the local socket ended");
        }
    });
    sender.send_request(request).await.map_err(gone)
}
