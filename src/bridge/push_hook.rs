//! Pushes to clients of a bridge, from the service behind it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::rustls::ClientConfig;

use super::outgoing::{Bounds, Outgoing};
use super::upstream::{UpstreamUrl, bearer};
use crate::edge::{PushOutcome, Pusher, Registry};
use crate::ids::ClientId;
use crate::secret::Secret;

/// For one push, its turn and a new connection included; and for that connection.
const TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Pushes under way at once. Others wait their turn, within the time that a push has.
const MAX_CONCURRENT: usize = 64;
/// The longest answer, in bytes: an error body.
const MAX_ANSWER: usize = 16 * 1024;

/// A [`Pusher`] that gives pushes for clients that are not connected here to a bridge: `POST {URL}/push/{client_id}` with
/// `Authorization: Bearer {token}`, which every [admin listener](super::upstream::admin_router) takes.
///
/// | answer | outcome |
/// |---|---|
/// | 2xx | [`Queued`](PushOutcome::Queued) |
/// | 404 | [`NotConnected`](PushOutcome::NotConnected) |
/// | 409 | [`NotSubscribed`](PushOutcome::NotSubscribed) |
/// | 429, 503, or 64 are under way for 3 s | [`Overloaded`](PushOutcome::Overloaded) |
/// | anything else, or nothing within 3 s | [`NotConnected`](PushOutcome::NotConnected), and a warning in the log |
///
/// Nothing is kept or sent again: a push has QoS 0, and a device asks for what it has missed. Whoever pushes is told the outcome
/// and acts on it (our own cloud makes the command `SEND_FAILED`), so a push that came later would belie it. A credential that is revoked is told by
/// `DELETE {URL}/clients/{client_id}`.
#[derive(Clone)]
pub struct PushHook {
    local: Registry,
    url: UpstreamUrl,
    token: Option<HeaderValue>,
    outgoing: Outgoing,
    places: Arc<Semaphore>,
}

impl fmt::Debug for PushHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushHook").field("url", &self.url).finish_non_exhaustive()
    }
}

impl PushHook {
    /// Pushes to the connections of `local`, and for all others to the bridge at `url`; `tls` says whom to trust.
    pub fn new(local: Registry, url: UpstreamUrl, token: &Secret<String>, tls: Option<Arc<ClientConfig>>) -> Self {
        let bounds = Bounds { connect: CONNECT_TIMEOUT, idle: Duration::from_secs(4), max_idle: MAX_CONCURRENT };
        let outgoing = Outgoing::new(tls, bounds);
        Self { local, url, token: bearer(token), outgoing, places: Arc::new(Semaphore::new(MAX_CONCURRENT)) }
    }

    /// The turn of one request, if it comes by `until`.
    async fn turn(&self, until: Instant) -> Option<SemaphorePermit<'_>> {
        timeout_at(until, self.places.acquire()).await.ok()?.ok()
    }

    async fn push_to_bridge(&self, client: &ClientId, payload: Bytes, until: Instant) -> PushOutcome {
        match self.ask(Method::POST, "push", client, payload, until).await.map(|answered| answered.status()) {
            Some(status) if status.is_success() => PushOutcome::Queued,
            Some(StatusCode::NOT_FOUND) => PushOutcome::NotConnected,
            Some(StatusCode::CONFLICT) => PushOutcome::NotSubscribed,
            Some(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => PushOutcome::Overloaded,
            Some(status) => {
                tracing::warn!(bridge = %self.url, %status, "the bridge did not take a push");
                PushOutcome::NotConnected
            }
            None => PushOutcome::NotConnected,
        }
    }

    async fn ask(
        &self,
        method: Method,
        what: &str,
        client: &ClientId,
        body: Bytes,
        until: Instant,
    ) -> Option<Response<Bytes>> {
        let client = utf8_percent_encode(client.as_str(), NON_ALPHANUMERIC);
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = self.url.join(&format!("/{what}/{client}"))?;
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let left = until.saturating_duration_since(Instant::now());
        match self.outgoing.send(request, left, MAX_ANSWER).await {
            Ok(answered) => Some(answered),
            Err(why) => {
                tracing::warn!(bridge = %self.url, %why, "the bridge was not told");
                None
            }
        }
    }
}

impl Pusher for PushHook {
    fn push<'a>(
        &'a self,
        client: &'a ClientId,
        payload: Bytes,
    ) -> Pin<Box<dyn Future<Output = PushOutcome> + Send + 'a>> {
        Box::pin(async move {
            match self.local.push(client, payload.clone()).await {
                PushOutcome::NotConnected => {}
                outcome => return outcome,
            }
            let until = Instant::now() + TIMEOUT;
            match self.turn(until).await {
                Some(_turn) => self.push_to_bridge(client, payload, until).await,
                None => PushOutcome::Overloaded,
            }
        })
    }

    fn claim<'a>(&'a self, client: &'a ClientId, epoch: u64) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.local.claim(client, epoch)
    }

    fn disconnect<'a>(&'a self, client: &'a ClientId) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            self.local.disconnect(client).await;
            let until = Instant::now() + TIMEOUT;
            let Some(_turn) = self.turn(until).await else {
                tracing::warn!(bridge = %self.url, "the bridge has too much to do to be told of a credential's end");
                return;
            };
            match self
                .ask(Method::DELETE, "clients", client, Bytes::new(), until)
                .await
                .map(|answered| answered.status())
            {
                Some(status) if !status.is_success() && status != StatusCode::NOT_FOUND => {
                    tracing::warn!(bridge = %self.url, %status, "the bridge did not end a credential");
                }
                _ => {}
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_push_takes_no_longer_than_it_says_its_turn_included() {
        // Nobody accepts; the system does, and nothing is ever answered.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let hook = PushHook::new(Registry::new(), url.parse().expect("a URL"), &"t".into(), None);
        let places = Arc::clone(&hook.places).try_acquire_many_owned(MAX_CONCURRENT as u32).expect("free");
        let began = Instant::now();
        let device = ClientId::new("device").expect("valid");
        let leave = async {
            tokio::time::sleep(TIMEOUT - Duration::from_millis(100)).await;
            drop(places);
        };
        let (outcome, ()) = tokio::join!(hook.push(&device, Bytes::from_static(b"{}")), leave);
        assert_eq!(outcome, PushOutcome::NotConnected);
        assert!(began.elapsed() <= TIMEOUT + Duration::from_millis(10), "{:?}", began.elapsed());
    }
}
