//! How `call` goes through a running `listen` or `proxy`: HTTP/1.1 over a Unix socket that only this user can open.
//!
//! It is served by [`Proxy`](crate::bridge::proxy::Proxy), as its TCP port is, so `curl --unix-socket` works too: the request
//! target is the REST path (`/thing-if/apps/…`), and `/push` is a stream of pushes.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use tokio::net::{UnixListener, UnixStream};

use crate::bridge::proxy::{FATE, MAX_TIME};
use crate::bridge::rules::remove_hop_by_hop;
use crate::cli::call_failure::{CallFailure, Fate};
use crate::cli::http1;
use crate::thing_if::ErrorBody;

/// The largest answer taken, in bytes: what the largest configurable frame can hold.
const MAX_BODY: usize = 16 * 1024 * 1024;
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
                remove_hop_by_hop(response.headers_mut());
                response.headers_mut().remove(header::CONTENT_LENGTH);
                Ok(response)
            }
            Some(fate) => {
                let fate = Fate::from_text(fate.as_bytes()).unwrap_or(Fate::Disconnected);
                let said = ErrorBody::from_json(response.body()).map(|body| body.message);
                Err(CallFailure::new(fate, said.unwrap_or_else(|_| String::from("it does not say why"))))
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

    use http::HeaderName;
    use http_body_util::BodyExt as _;
    use hyper::body::Incoming;

    use super::*;
    use crate::bridge::http_server::{self, whole};

    /// Serves `answer` in a temporary directory; gives the socket's path, and what keeps both alive.
    fn serving<A, F>(answer: A) -> (std::path::PathBuf, (tempfile::TempDir, tokio::task::JoinHandle<()>))
    where
        A: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Bytes>> + Send + 'static,
    {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("socket");
        let listener = bind(&path).expect("bound");
        let answer = move |request: Request<Incoming>| {
            let answer = answer.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.expect("whole").to_bytes();
                answer(Request::from_parts(head, body)).await.map(whole)
            }
        };
        let served = async move { http_server::serve(&listener, answer, std::future::pending()).await };
        (path, (dir, tokio::spawn(served)))
    }

    fn request(body: &'static [u8]) -> Request<Bytes> {
        let uri = "/thing-if/apps/a/targets/thing:t/states?x=%2B";
        Request::put(uri).header("x-kii-requestid", "1").body(Bytes::from_static(body)).expect("valid")
    }

    #[tokio::test]
    async fn a_call_crosses_the_socket_unchanged() {
        let (path, _serving) = serving(|request: Request<Bytes>| async move {
            assert_eq!(request.headers()[MAX_TIME], "1500");
            assert_eq!(request.method(), "PUT");
            assert_eq!(request.uri(), "/thing-if/apps/a/targets/thing:t/states?x=%2B");
            let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
            assert_eq!(names, ["x-kii-requestid", "x-thingif-max-time", "host", "connection", "content-length"]);
            Response::builder().status(404).header("x-kii-requestid", "1").body(request.into_body()).expect("valid")
        });
        let answer = call(&path, request(b"\xff\x00"), Duration::from_millis(1500)).await.expect("connected");
        let answer = answer.expect("somebody listens").expect("answered");
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (404, &b"\xff\x00"[..]));
        assert_eq!(answer.headers()["x-kii-requestid"], "1");
        assert!(!answer.headers().contains_key("content-length"));
    }

    #[tokio::test]
    async fn a_failure_crosses_the_socket_as_one() {
        for fate in Fate::ALL {
            let (path, _serving) = serving(move |_| async move {
                let mut refused = ErrorBody::new("X".into(), "why").to_response();
                refused.headers_mut().insert(FATE, HeaderValue::from_static(fate.as_str()));
                refused
            });
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
        let (path, _serving) = serving(|_| std::future::pending());
        let answer = call(&path, request(b""), Duration::from_secs(3)).await.expect("connected");
        assert_eq!(answer.expect("somebody listens").expect_err("gave up").fate, Fate::TimedOut);
    }

    #[tokio::test]
    async fn what_is_not_http_is_dropped_and_the_rest_is_served() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (path, _serving) = serving(|request: Request<Bytes>| async move { Response::new(request.into_body()) });
        let mut stream = UnixStream::connect(&path).await.expect("connected");
        stream.write_all(b"\x10\x20\x00\x04MQTT\r\n\r\n").await.expect("written");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("closed in order");
        let answer = call(&path, request(b"x"), Duration::from_secs(9)).await.expect("connected");
        assert_eq!(&answer.expect("somebody listens").expect("answered").body()[..], b"x");
    }
}
