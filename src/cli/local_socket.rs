//! How `call` goes through a running `listen`: HTTP/1.1 over a Unix socket that only this user can open.
//!
//! The request target is the REST path (`/thing-if/apps/…`), so `curl --unix-socket` works too. `X-Thingif-Max-Time`, in
//! milliseconds, bounds the call. A call that brought no answer has `X-Thingif-Fate` and a status that cannot be mistaken for
//! the service's own: it says so in that header.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::cli::call_failure::{CallFailure, Fate};
use crate::cli::http1;

const FATE: HeaderName = HeaderName::from_static("x-thingif-fate");
const MAX_TIME: HeaderName = HeaderName::from_static("x-thingif-max-time");
/// Connections served at once. Further ones wait in the socket's own queue.
const MAX_CONNECTIONS: usize = 64;
/// The largest request body taken, in bytes: what the largest configurable frame can hold.
const MAX_BODY: usize = 16 * 1024 * 1024;
/// A local process that does not finish its request head within this time is dropped.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Added to a call's own time for the way over the socket.
const GRACE: Duration = Duration::from_secs(5);

/// Listens at `path`, which the holder of the connection lock owns: whatever is there is a dead process's and goes.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The directory is readable by its owner only, so nobody slips in between these two.
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves calls until dropped. `call` is given a request and how long it may take.
pub(crate) async fn serve<C, F>(listener: UnixListener, call: C) -> Infallible
where
    C: Fn(Request<Bytes>, Duration) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Bytes>, CallFailure>> + Send + 'static,
{
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Dropping this future drops the set, and with it every connection.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let permit = Arc::clone(&free).acquire_owned().await.expect("the semaphore is never closed");
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: give others time to close some.
                tracing::warn!(%error, "the local socket cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let call = call.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, call.clone()));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a local connection ended");
            }
            drop(permit);
        });
    }
}

async fn answer<C, F>(request: Request<Incoming>, call: C) -> Result<Response<Full<Bytes>>, Infallible>
where
    C: Fn(Request<Bytes>, Duration) -> F,
    F: Future<Output = Result<Response<Bytes>, CallFailure>>,
{
    let answered = match take(request).await {
        Ok((request, max_time)) => call(request, max_time).await,
        Err(failure) => Err(failure),
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(failure) => {
            let mut response = Response::new(Bytes::from(failure.message.into_bytes()));
            *response.status_mut() = match failure.fate {
                Fate::NotSent => StatusCode::SERVICE_UNAVAILABLE,
                Fate::NotSentInTime | Fate::TimedOut => StatusCode::GATEWAY_TIMEOUT,
                Fate::Disconnected => StatusCode::BAD_GATEWAY,
                Fate::Invalid => StatusCode::BAD_REQUEST,
            };
            response.headers_mut().insert(FATE, HeaderValue::from_static(failure.fate.as_str()));
            response
        }
    };
    strip_hop_headers(response.headers_mut());
    Ok(response.map(Full::new))
}

/// The request as it goes on, and its time.
async fn take(request: Request<Incoming>) -> Result<(Request<Bytes>, Duration), CallFailure> {
    let (mut head, body) = request.into_parts();
    let invalid = |what: &dyn std::fmt::Display| CallFailure::new(Fate::Invalid, what);
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| invalid(&error))?.to_bytes();
    let max_time = match head.headers.remove(MAX_TIME) {
        None => Duration::from_secs(10),
        Some(value) => {
            let millis = value.to_str().ok().and_then(|text| text.parse().ok());
            Duration::from_millis(millis.ok_or_else(|| invalid(&"X-Thingif-Max-Time is not a number of milliseconds"))?)
        }
    };
    strip_hop_headers(&mut head.headers);
    // curl --unix-socket sends http://host/path in origin form; a proxy would send it whole. Only the path is ours.
    head.uri = head.uri.path_and_query().map_or("/", |path| path.as_str()).parse().map_err(|error| invalid(&error))?;
    Ok((Request::from_parts(head, body), max_time))
}

/// Headers that speak of one HTTP connection and mean nothing beyond it.
fn strip_hop_headers(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::TE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

/// Whether somebody listens at `path`.
pub(crate) async fn is_served(path: &Path) -> bool {
    UnixStream::connect(path).await.is_ok()
}

/// Sends `request` through the socket. `Ok(None)`: nobody listens there.
pub(crate) async fn call(
    path: &Path,
    mut request: Request<Bytes>,
    max_time: Duration,
) -> io::Result<Option<Result<Response<Bytes>, CallFailure>>> {
    let stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    request.headers_mut().insert(MAX_TIME, HeaderValue::from(u64::try_from(max_time.as_millis()).unwrap_or(u64::MAX)));
    let sent = http1::send(stream, "thingif", request, MAX_BODY);
    Ok(Some(match tokio::time::timeout(max_time.saturating_add(GRACE), sent).await {
        Ok(Ok(mut response)) => match response.headers_mut().remove(FATE) {
            None => {
                strip_hop_headers(response.headers_mut());
                Ok(response)
            }
            Some(fate) => {
                let fate = Fate::from_text(fate.as_bytes()).unwrap_or(Fate::Disconnected);
                Err(CallFailure::new(fate, String::from_utf8_lossy(response.body())))
            }
        },
        Ok(Err(error)) => Err(CallFailure::new(
            Fate::Disconnected,
            format_args!("the process that holds the connection went away: {error}"),
        )),
        Err(_) => Err(CallFailure::new(Fate::TimedOut, "the process that holds the connection does not answer")),
    }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// Serves `call` in a temporary directory; gives the socket's path, and what keeps both alive.
    fn serving<C, F>(call: C) -> (std::path::PathBuf, (tempfile::TempDir, tokio::task::JoinHandle<Infallible>))
    where
        C: Fn(Request<Bytes>, Duration) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Bytes>, CallFailure>> + Send + 'static,
    {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("socket");
        let listener = bind(&path).expect("bound");
        (path, (dir, tokio::spawn(serve(listener, call))))
    }

    fn request(body: &'static [u8]) -> Request<Bytes> {
        let uri = "/thing-if/apps/a/targets/thing:t/states?x=%2B";
        Request::put(uri).header("x-kii-requestid", "1").body(Bytes::from_static(body)).expect("valid")
    }

    #[tokio::test]
    async fn a_call_crosses_the_socket_unchanged() {
        let (path, _serving) = serving(|request: Request<Bytes>, max_time| async move {
            assert_eq!(max_time, Duration::from_millis(1500));
            assert_eq!(request.method(), "PUT");
            assert_eq!(request.uri(), "/thing-if/apps/a/targets/thing:t/states?x=%2B");
            let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
            assert_eq!(names, ["x-kii-requestid"]);
            Ok(Response::builder().status(404).header("x-kii-requestid", "1").body(request.into_body()).expect("valid"))
        });
        let answer = call(&path, request(b"\xff\x00"), Duration::from_millis(1500)).await.expect("connected");
        let answer = answer.expect("somebody listens").expect("answered");
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (404, &b"\xff\x00"[..]));
        assert_eq!(answer.headers()["x-kii-requestid"], "1");
        assert!(!answer.headers().contains_key("content-length"));
    }

    #[tokio::test]
    async fn a_failure_crosses_the_socket_as_one() {
        for fate in [Fate::NotSent, Fate::TimedOut, Fate::Disconnected, Fate::Invalid] {
            let (path, _serving) = serving(move |_, _| async move { Err(CallFailure::new(fate, "why")) });
            let answer = call(&path, request(b""), Duration::from_secs(9)).await.expect("connected");
            assert_eq!(answer.expect("somebody listens").expect_err("failed"), CallFailure::new(fate, "why"));
        }
    }

    #[tokio::test]
    async fn a_socket_that_nobody_serves_is_no_error() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("socket");
        assert!(call(&path, request(b""), Duration::from_secs(9)).await.expect("no error").is_none(), "no file");
        drop(bind(&path).expect("bound"));
        assert!(path.exists(), "left behind, as by a process that was killed");
        assert!(call(&path, request(b""), Duration::from_secs(9)).await.expect("no error").is_none(), "stale");
        let _again = bind(&path).expect("a stale socket is replaced");
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_hangs_is_given_up() {
        let (path, _serving) = serving(|_, _| std::future::pending());
        let answer = call(&path, request(b""), Duration::from_secs(3)).await.expect("connected");
        assert_eq!(answer.expect("somebody listens").expect_err("gave up").fate, Fate::TimedOut);
    }

    #[tokio::test]
    async fn what_is_not_http_is_dropped_and_the_rest_is_served() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (path, _serving) =
            serving(|request: Request<Bytes>, _| async move { Ok(Response::new(request.into_body())) });
        let mut stream = UnixStream::connect(&path).await.expect("connected");
        stream.write_all(b"\x10\x20\x00\x04MQTT\r\n\r\n").await.expect("written");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("closed in order");
        let answer = call(&path, request(b"x"), Duration::from_secs(9)).await.expect("connected");
        assert_eq!(&answer.expect("somebody listens").expect("answered").body()[..], b"x");
    }
}
