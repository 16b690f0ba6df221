//! The device's half of a bridge: local programs speak HTTP/1.1, and their calls travel as frames over the device's one
//! MQTT connection.
//!
//! ```text
//! curl http://localhost:8090/thing-if/apps/{APP}/targets/thing:{ID}/states
//!      │                                               ▲
//!      ▼ HTTP/1.1                                      │ the service's answer, status, header fields and body
//!    Proxy ── Client ══ MQTT ══ edge ── service ───────┘
//! ```
//!
//! A request goes on with its path, query, header fields and body; `Authorization` is the device's own unless the request
//! has one. What speaks of one HTTP connection alone stays behind, both ways. A `+` in a query, which no topic can hold,
//! travels as the `%20` that it stands for in forms; in a path as `%2B`.
//!
//! # What the proxy answers itself
//!
//! As the service does: JSON with `errorCode` and `message`. Such an answer has a header field of its own,
//! `X-Thingif-Fate`: what became of the request.
//!
//! | status | `errorCode` | `X-Thingif-Fate` | |
//! |---|---|---|---|
//! | 400 | `INVALID_INPUT_DATA` | `invalid` | it cannot be a frame, has no `Host`, or its body broke off |
//! | 401 | `UNAUTHORIZED` | `invalid` | the proxy's own token is missing; see [`Gate::with_token`] |
//! | 403 | `OPERATION_NOT_SUPPORTED` | `invalid` | a `Host` or an origin that is not let in; see [`Gate`] |
//! | 404 | `PATH_NOT_FOUND` | `invalid` | neither below `/thing-if/apps/` nor `/push` |
//! | 405 | `METHOD_NOT_ALLOWED` | `invalid` | `/push` is only read |
//! | 408 | `REQUEST_TIMEOUT` | `invalid` | the body did not come in time |
//! | 413 | `PAYLOAD_TOO_LARGE` | `invalid` | the frame would be larger than allowed, 64 KiB by default |
//! | 429 | `TOO_MANY_REQUESTS` | `not-sent` | too much is in flight, or too many subscribe; `Retry-After` |
//! | 431 | `REQUEST_HEADER_FIELDS_TOO_LARGE` | `invalid` | more than 8 KiB of head or 64 fields, the device's own two included |
//! | 502 | `BAD_GATEWAY` | `disconnected` | the connection was lost before the answer: it may have happened |
//! | 503 | `TEMPORARY_UNAVAILABLE_ERROR` | `not-sent` | not connected; `Retry-After` is the time to the next attempt |
//! | 504 | `GATEWAY_TIMEOUT` | `timed-out` | no answer in time: it may have happened |
//! | 504 | `GATEWAY_TIMEOUT` | `not-sent-in-time` | its turn to be sent did not come in time |
//!
//! `X-Thingif-Max-Time`, in milliseconds, bounds a call; without it the client's own deadline does. A program that hangs up
//! cancels its reading (GET, HEAD, OPTIONS), and nothing else: what it wrote is sent all the same.
//!
//! # Pushes
//!
//! `GET /push` is a stream of Server-Sent Events, for up to 64 subscribers:
//!
//! | `event` | `data` |
//! |---|---|
//! | (none) | a push, its lines one by one |
//! | `base64` | a push that is no UTF-8 |
//! | `lagged` | `{"dropped":N}`: so many events were dropped, all older than what follows; `null` when nobody knows how many |
//! | `connected`, `disconnected` | `{}`: what is pushed while there is no connection is lost, except commands, which the service lists |
//!
//! The newest 256 events, at most 4 MiB, are kept for subscribers that are behind and for those that come back with
//! `Last-Event-ID`. A comment breaks 15 s of silence.

mod fate;
mod feed;
mod forward;
mod guard;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

pub use guard::Gate;

pub(crate) use fate::Refusal;
#[cfg(feature = "cli")]
pub(crate) use fate::{FATE, Fate};
#[cfg(feature = "cli")]
pub(crate) use forward::{MAX_TIME, onward, whole as whole_body};

use super::http_server::{self, Body, Listener, whole};
use crate::client::{Client, NotSent, Notice, Notices, Push, Pushes, RequestError};
use crate::thing_if::ErrorCode;
use feed::Feed;

/// Calls at once that go on when whoever made them hangs up. It is more than the connections that there may be.
const MAX_WRITES: usize = 4 * http_server::MAX_CONNECTIONS;

/// Before a call is tried again when nobody has said when the next attempt to connect is.
const RECONNECT: Duration = Duration::from_secs(1);

/// Calls that are under way when the proxy ends are waited for as long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A device's connection as local programs see it. Cloning is cheap; every clone is the same one.
#[derive(Debug, Clone)]
pub struct Proxy {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    feed: Arc<Feed>,
    next_attempt: Mutex<Option<Instant>>,
    writes: Arc<Semaphore>,
}

impl Proxy {
    /// A front for `client`.
    ///
    /// # Errors
    /// The operating system gives no random numbers.
    pub fn new(client: Client) -> std::io::Result<Self> {
        let run = format!("{:08x}", getrandom::u32().map_err(std::io::Error::other)?);
        let inner = Inner {
            client,
            feed: Arc::new(Feed::new(run)),
            next_attempt: Mutex::new(None),
            writes: Arc::new(Semaphore::new(MAX_WRITES)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Tells subscribers of `push`. Never waits.
    pub fn push(&self, push: &Push) {
        self.inner.feed.push(push);
    }

    /// Learns from `notice` whether there is a connection, and when there may be one again.
    pub fn notice(&self, notice: &Notice) {
        let next_attempt = match notice {
            Notice::Waiting { pause, .. } => Some(Instant::now() + *pause),
            Notice::Ready { .. } => None,
            Notice::Lost { .. } => Some(Instant::now()),
            _ => return,
        };
        let before = {
            let mut known = self.inner.next_attempt.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *known, next_attempt)
        };
        if before.is_some() != next_attempt.is_some() {
            self.inner.feed.connection(next_attempt.is_none());
        }
    }

    /// Tells subscribers of everything that comes, until the connection ends.
    pub async fn follow(&self, mut pushes: Pushes, mut notices: Notices) {
        loop {
            tokio::select! {
                push = pushes.next() => match push {
                    Some(push) => self.push(&push),
                    None => break,
                },
                Some(notice) = notices.next() => self.notice(&notice),
            }
        }
        self.inner.feed.end();
    }

    /// Serves local programs that `gate` lets in, until `shutdown` completes. Then streams of pushes end, and what is under
    /// way gets 10 s, calls included whose programs have hung up. The client is not closed.
    pub async fn serve(&self, listener: tokio::net::TcpListener, gate: Gate, shutdown: impl Future<Output = ()>) {
        self.serve_on(&listener, Some(gate), shutdown).await;
    }

    /// As [`serve`](Self::serve), for everybody who can open the socket: the rights on its file are the gate.
    #[cfg(unix)]
    pub async fn serve_unix(&self, listener: tokio::net::UnixListener, shutdown: impl Future<Output = ()>) {
        self.serve_on(&listener, None, shutdown).await;
    }

    async fn serve_on(&self, listener: &impl Listener, gate: Option<Gate>, shutdown: impl Future<Output = ()>) {
        let gate = Arc::new(gate);
        let proxy = self.clone();
        let answer = move |request| {
            let (proxy, gate) = (proxy.clone(), Arc::clone(&gate));
            async move { proxy.answer(request, gate.as_ref().as_ref()).await }
        };
        let shutdown = async {
            shutdown.await;
            self.inner.feed.end();
        };
        http_server::serve(listener, answer, shutdown).await;
        // All places are free when no write is under way.
        let all = u32::try_from(MAX_WRITES).unwrap_or(u32::MAX);
        if timeout(DRAIN_TIMEOUT, self.inner.writes.acquire_many(all)).await.is_err() {
            tracing::warn!("calls were cut off at shutdown");
        }
    }

    async fn answer(&self, request: Request<Incoming>, gate: Option<&Gate>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let is_head = head.method == Method::HEAD;
        if let Some(Err(refusal)) = gate.map(|gate| gate.check(&head)) {
            return refusal.into_response().map(whole);
        }
        let path = head.uri.path();
        if path == "/push" {
            return self.subscribe(&head, is_head);
        }
        if !path.starts_with("/thing-if/apps/") {
            let message = format!("There is nothing at {path}");
            return Refusal::invalid(ErrorCode::PathNotFound, message).into_response().map(whole);
        }
        let answered = async {
            let (request, limit) = forward::take(head, body, self.inner.client.max_frame()).await?;
            self.call(request, limit.unwrap_or(self.inner.client.call_deadline())).await
        };
        match answered.await {
            Ok(response) => forward::back(response).map(whole),
            Err(refusal) => refusal.into_response().map(whole),
        }
    }

    /// Sends the call. One that may change something goes on when this future is dropped.
    async fn call(&self, request: Request<Bytes>, limit: Duration) -> Result<Response<Bytes>, Refusal> {
        let client = self.inner.client.clone();
        let answered = if request.method().is_safe() {
            client.send_within(request, limit).await
        } else {
            let place = Arc::clone(&self.inner.writes).try_acquire_owned();
            let place = place.map_err(|_| self.refusal(&NotSent::Overloaded.into()))?;
            let call = tokio::spawn(async move {
                let answered = client.send_within(request, limit).await;
                drop(place);
                answered
            });
            // It fails only when it panics or the runtime ends, and was perhaps sent then.
            call.await.unwrap_or(Err(RequestError::Closed))
        };
        answered.map_err(|error| self.refusal(&error))
    }

    fn refusal(&self, error: &RequestError) -> Refusal {
        let next = *self.inner.next_attempt.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = next.map_or(RECONNECT, |next| next.saturating_duration_since(Instant::now()));
        Refusal::of(error, pause)
    }

    /// A stream of pushes.
    fn subscribe(&self, head: &http::request::Parts, is_head: bool) -> Response<Body> {
        if !is_head && head.method != Method::GET {
            let refusal = Refusal::invalid(ErrorCode::MethodNotAllowed, "Pushes are only read.");
            let mut response = refusal.into_response().map(whole);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let body = if is_head {
            whole(Bytes::new())
        } else {
            // What is no text is an id of nobody's.
            let last_event_id = head.headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default());
            let Some(subscription) = self.inner.feed.subscribe(last_event_id) else {
                let message = "As many subscribe to pushes as there may.";
                let refusal = Refusal::not_sent(ErrorCode::TooManyRequests, message, RECONNECT);
                return refusal.into_response().map(whole);
            };
            let events = unfold(subscription, |mut subscription| async {
                let event = subscription.next().await?;
                Some((Ok(Frame::data(event)), subscription))
            });
            StreamBody::new(events).boxed_unsync()
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
