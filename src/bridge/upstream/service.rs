//! The service behind the edge: requests to the upstream, and its answers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower_service::Service;

use super::counters::{Counters, Counting, add};
use super::onboarding::{is_onboarding, rewrite};
use super::options::Options;
use super::route::Routes;
use super::{Endpoints, headers};
use crate::bridge::outgoing::{Bounds, NoAnswer, Outgoing};
use crate::bridge::rules;
use crate::edge::{Paths, Peer, Role};
use crate::frame::{MAX_HEAD_LEN, MAX_HEADERS, REQUEST_ID};
use crate::ids::AppId;
use crate::thing_if::{ErrorBody, ErrorCode, MqttEndpoint};

/// `Retry-After` of an upstream that cannot be reached, and of one that has too much to do.
const UNREACHABLE: Duration = Duration::from_secs(5);
const OVERLOADED: Duration = Duration::from_secs(1);

/// An HTTP(S) service as the service behind an [`Edge`](crate::edge::Edge). Never an error; see the [module](super) for what it
/// answers. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
}

struct Shared {
    outgoing: Outgoing,
    routes: Routes,
    places: Semaphore,
    /// `Authorization` of onboardings.
    basic: HashMap<AppId, HeaderValue>,
    counting: Counting,
    /// Whether the last request got no answer.
    has_failed: AtomicBool,
    options: Options,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Upstream {
    /// Nothing is connected before the first request.
    pub fn new(options: Options) -> Self {
        let bounds = Bounds { connect: options.connect_timeout, idle: options.idle, max_idle: options.max_concurrent };
        let basic = options.apps.iter().filter_map(|(app, key)| {
            let mut value =
                HeaderValue::try_from(format!("Basic {}", STANDARD.encode(format!("{app}:{}", key.expose())))).ok()?;
            value.set_sensitive(true);
            Some((app.clone(), value))
        });
        let shared = Shared {
            outgoing: Outgoing::new(options.tls.clone(), bounds),
            routes: Routes::new(options.swaps.clone(), options.allowed.clone()),
            places: Semaphore::new(options.max_concurrent.clamp(1, Semaphore::MAX_PERMITS)),
            basic: basic.collect(),
            counting: Counting::default(),
            has_failed: AtomicBool::new(false),
            options,
        };
        Self { shared: Arc::new(shared) }
    }

    /// What the edge before it must let through.
    pub fn paths(&self) -> Paths {
        if self.shared.routes.has_other_paths() { Paths::Any } else { Paths::ThingIf }
    }

    /// What has been counted.
    pub fn counters(&self) -> Counters {
        self.shared.counting.snapshot()
    }

    /// The logins that it has learnt.
    pub fn endpoints(&self) -> &Arc<Endpoints> {
        &self.shared.options.endpoints
    }
}

impl Service<Request<Bytes>> for Upstream {
    type Response = Response<Bytes>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { Ok(shared.answer(request).await.unwrap_or_else(|refused| refused)) })
    }
}

impl Shared {
    #[allow(clippy::result_large_err)] // either is the answer, which is what is written next
    async fn answer(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Response<Bytes>> {
        let Some(peer) = request.extensions().get::<Peer>().cloned() else {
            tracing::error!("a request did not come from an edge");
            return Err(rules::error(ErrorCode::UndefinedError, "The bridge failed."));
        };
        let onboards = is_onboarding(&peer.app_id, request.method(), request.uri().path());
        let host = self.options.advertise.host.clone();
        let host = host.unwrap_or_else(|| peer.local.ip().to_canonical().to_string());
        let id_len = request.headers().get(REQUEST_ID).map_or(0, HeaderValue::len);
        let request = self.prepare(request, &peer, &host, onboards).inspect_err(|_| add(&self.counting.refused))?;
        let mut answered = self.send(request).await?;
        add(&self.counting.answered);
        if self.has_failed.swap(false, Ordering::Relaxed) {
            tracing::info!(upstream = %self.options.url, "the upstream answers again");
        }
        if answered.status().is_informational() {
            return Err(rules::error(ErrorCode::BadGateway, "The service has changed its protocol."));
        }
        rules::remove_hop_by_hop(answered.headers_mut());
        self.turn_location(&mut answered);
        if onboards
            && let Some((endpoint, body)) = rewrite(answered.status(), answered.body(), &host, &self.options.advertise)
        {
            self.learn(peer.app_id, endpoint).await?;
            *answered.body_mut() = body;
        }
        let answered = in_json(answered);
        if !fits_a_frame(answered.headers(), id_len) {
            add(&self.counting.too_long);
            tracing::debug!(upstream = %self.options.url, "the head of an answer is too long for a frame");
            let message = format!(
                "The head of the answer of the service behind the bridge is too long: with what stands in every frame it has more \
                 than {MAX_HEAD_LEN} bytes, or {MAX_HEADERS} fields."
            );
            return Err(rules::error(ErrorCode::BadGateway, message));
        }
        Ok(answered)
    }

    /// Whether the device has the application's key: its CONNECT to the default broker carried it, or its login is one that only
    /// an onboarding with the key gives away. Who is let in by a file or a hook has shown a password of its own, and no more.
    fn has_shown_key(&self, peer: &Peer) -> bool {
        peer.role == Role::Onboarding || self.options.endpoints.has(&peer.client_id, &peer.app_id)
    }

    /// The request as it goes to the upstream.
    #[allow(clippy::result_large_err)]
    fn prepare(
        &self,
        request: Request<Bytes>,
        peer: &Peer,
        host: &str,
        onboards: bool,
    ) -> Result<Request<Bytes>, Response<Bytes>> {
        let (parts, body) = request.into_parts();
        let path = self.routes.lead(&parts.method, parts.uri.path(), parts.uri.query())?;
        rules::check_len(body.len(), self.options.max_request)?;
        let Some(uri) = self.options.url.join(&path) else {
            return Err(rules::error(ErrorCode::PathNotFound, "There is nothing at this path."));
        };
        let authorization = if onboards && self.has_shown_key(peer) { self.basic.get(&peer.app_id) } else { None };
        let mut prepared = Request::new(body);
        *prepared.method_mut() = parts.method;
        *prepared.uri_mut() = uri;
        *prepared.headers_mut() = parts.headers;
        headers::prepare(prepared.headers_mut(), peer, host, authorization);
        if onboards {
            // It is to be read here, and without the field any coding would do (RFC 9110 §12.5.3).
            prepared.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        Ok(prepared)
    }

    #[allow(clippy::result_large_err)]
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Response<Bytes>> {
        let until = Instant::now() + self.options.timeout;
        let Ok(Ok(_place)) = tokio::time::timeout_at(until, self.places.acquire()).await else {
            add(&self.counting.overloaded);
            let message = "The service behind the bridge has too much to do. Please try again later.";
            return Err(rules::error_to_retry(ErrorCode::TemporaryUnavailableError, message, OVERLOADED));
        };
        let may_repeat = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let again = may_repeat.then(|| request.clone());
        let mut answered = self.send_once(request, until).await;
        if let (Err(NoAnswer::Broken(_)), Some(request)) = (&answered, again) {
            add(&self.counting.repeated);
            answered = self.send_once(request, until).await;
        }
        answered.map_err(|why| self.explain(&why))
    }

    async fn send_once(&self, request: Request<Bytes>, until: Instant) -> Result<Response<Bytes>, NoAnswer> {
        let left = until.saturating_duration_since(Instant::now());
        self.outgoing.send(request, left, self.options.max_answer).await
    }

    /// What the device is told; the log is told more.
    fn explain(&self, why: &NoAnswer) -> Response<Bytes> {
        // Said once until it answers again: requests may fail by the thousand.
        if self.has_failed.swap(true, Ordering::Relaxed) {
            tracing::debug!(upstream = %self.options.url, %why, "the upstream gave no answer");
        } else {
            tracing::warn!(upstream = %self.options.url, %why, "the upstream gave no answer");
        }
        let (counter, response) = match why {
            NoAnswer::NotSent(_) => {
                let message = "The service behind the bridge cannot be reached. Please try again later.";
                let code = ErrorCode::TemporaryUnavailableError;
                (&self.counting.unreachable, rules::error_to_retry(code, message, UNREACHABLE))
            }
            NoAnswer::Broken(_) => {
                let message = "The service behind the bridge broke off. The request may have been executed.";
                (&self.counting.broken, rules::error(ErrorCode::BadGateway, message))
            }
            NoAnswer::TooLong => {
                let max = self.options.max_answer;
                let message = format!("The answer of the service behind the bridge has more than {max} bytes.");
                (&self.counting.too_long, rules::error(ErrorCode::BadGateway, message))
            }
            NoAnswer::TimedOut => {
                let message =
                    "The service behind the bridge did not answer in time. The request may have been executed.";
                (&self.counting.timed_out, rules::error(ErrorCode::GatewayTimeout, message))
            }
        };
        add(counter);
        response
    }

    /// Keeps the login that an onboarding has given away, before its device is told of it.
    #[allow(clippy::result_large_err)]
    async fn learn(&self, app_id: AppId, endpoint: MqttEndpoint) -> Result<(), Response<Bytes>> {
        let endpoints = Arc::clone(&self.options.endpoints);
        let learnt = tokio::task::spawn_blocking(move || endpoints.learn(&app_id, &endpoint)).await;
        let error = match learnt {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(%error, "a login was not kept, so its device must onboard again");
        add(&self.counting.not_learnt);
        let message = "The bridge cannot keep the thing's login. Please onboard again later.";
        Err(rules::error_to_retry(ErrorCode::TemporaryUnavailableError, message, UNREACHABLE))
    }

    /// A `Location` of the upstream's is one of the device's.
    fn turn_location(&self, answered: &mut Response<Bytes>) {
        let Some(location) = answered.headers().get(LOCATION).and_then(|value| value.to_str().ok()) else { return };
        let Some(path) = self.options.url.strip(location) else { return };
        if let Some(path) = self.routes.back(path)
            && let Ok(value) = HeaderValue::from_str(&path)
        {
            answered.headers_mut().insert(LOCATION, value);
        }
    }
}

/// What an edge may add to an answer's head: the status line, the end, and at most six fields besides the request's id.
const FIELDS_ADDED: usize = 7;
const LEN_ADDED: usize = 256;

/// Whether a device will read the frame that an answer with these fields becomes.
fn fits_a_frame(headers: &HeaderMap, id_len: usize) -> bool {
    let len: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ":\r\n".len()).sum();
    headers.len() + FIELDS_ADDED <= MAX_HEADERS && len + id_len + LEN_ADDED <= MAX_HEAD_LEN
}

/// An answer of something between the bridge and the service, such as a load balancer's page, with the body that devices
/// expect. `Retry-After` stays.
fn in_json(answered: Response<Bytes>) -> Response<Bytes> {
    let (code, message) = match answered.status() {
        StatusCode::BAD_GATEWAY => (ErrorCode::BadGateway, "The service cannot answer."),
        StatusCode::SERVICE_UNAVAILABLE => {
            (ErrorCode::TemporaryUnavailableError, "The service is not available. Please try again later.")
        }
        StatusCode::GATEWAY_TIMEOUT => (ErrorCode::GatewayTimeout, "The service did not answer in time."),
        _ => return answered,
    };
    if ErrorBody::from_json(answered.body()).is_ok() {
        return answered;
    }
    let mut told = rules::error(code, message);
    if let Some(wait) = answered.headers().get(RETRY_AFTER) {
        told.headers_mut().insert(RETRY_AFTER, wait.clone());
    }
    told
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::super::tests::peer;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_in_time_is_told_to_come_back() {
        let mut options = Options::new("http://127.0.0.1:9".parse().expect("a URL"));
        options.max_concurrent = 1;
        let mut upstream = Upstream::new(options);
        let shared = Arc::clone(&upstream.shared);
        let place = shared.places.acquire().await.expect("open");
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = "/thing-if/apps/app1/x".parse().expect("a path");
        request.extensions_mut().insert(peer());
        let answered = upstream.call(request).await.unwrap_or_else(|never| match never {});
        drop(place);
        assert_eq!(answered.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answered.headers()[RETRY_AFTER], "1");
        let counters = upstream.counters();
        assert_eq!((counters.overloaded, counters.unreachable), (1, 0));
    }

    #[tokio::test]
    async fn a_request_of_nobody_is_a_failure_of_the_program() {
        let mut upstream = Upstream::new(Options::new("http://127.0.0.1:9".parse().expect("a URL")));
        let answered = upstream.call(Request::new(Bytes::new())).await.unwrap_or_else(|never| match never {});
        assert_eq!(answered.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test]
    async fn the_applications_key_is_lent_only_to_those_who_have_shown_it() {
        let mut options = Options::new("http://127.0.0.1:9".parse().expect("a URL"));
        let app = AppId::new("app1").expect("valid");
        options.apps = vec![(app.clone(), "key1".into())];
        let endpoints = Arc::clone(&options.endpoints);
        let upstream = Upstream::new(options);
        let sent = |peer: &Peer, own: Option<&'static str>| {
            let mut request = Request::post("/thing-if/apps/app1/onboardings").body(Bytes::new()).expect("valid");
            if let Some(own) = own {
                request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static(own));
            }
            let prepared = upstream.shared.prepare(request, peer, "h", true).expect("let through");
            prepared.headers().get(AUTHORIZATION).map(|value| value.to_str().expect("ASCII").to_owned())
        };
        let basic = Some(String::from("Basic YXBwMTprZXkx"));
        let anonymous = Peer { role: Role::Onboarding, ..peer() };
        assert_eq!(sent(&anonymous, None), basic);
        assert_eq!(sent(&anonymous, Some("Bearer t")).as_deref(), Some("Bearer t"));
        // A client of the file or of the hook: the upstream judges what it brings itself.
        assert_eq!(sent(&peer(), None), None);
        assert_eq!(sent(&peer(), Some("Bearer t")).as_deref(), Some("Bearer t"));
        let login = serde_json::json!({ "username": "u", "password": "p", "mqttTopic": "device", "host": "h" });
        let login = MqttEndpoint::try_from(login).expect("complete");
        endpoints.learn(&AppId::new("app2").expect("valid"), &login).expect("room");
        assert_eq!(sent(&peer(), None), None, "an onboarding to another application");
        endpoints.learn(&app, &login).expect("room");
        assert_eq!(sent(&peer(), None), basic, "it came by its login with the key");
    }
}
