//! Calls that are made again when that is safe and may help: a policy for [`tower::retry`].
//!
//! ```
//! # use std::time::Duration;
//! use bytes::Bytes;
//! use http::Request;
//! use thingif::client::retry::{Idempotent, Retry};
//! use tower::Layer as _;
//!
//! # fn program(client: thingif::client::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let mut patient = Retry::new().with_tries(5).layer(client);
//! let request = Request::put("/thing-if/apps/app/targets/thing:th.1/states")
//!     .extension(Idempotent) // writing the same state twice does no harm here
//!     .body(Bytes::from_static(b"{\"power\":true}"))?;
//! let answer = tower_service::Service::call(&mut patient, request);
//! # Ok(()) }
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{DATE, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use tokio::time::{Instant, sleep};
use tower::retry::Policy;
use tower::retry::budget::{Budget as _, TpsBudget};
use tower_service::Service;

use super::TimeLimit;
use crate::frame;
use crate::proto::{Backoff, NotSent, RequestError};

/// Put into a request's extensions, it says that making this call twice does what making it once does, so that it may be
/// made again after an answer is lost. The caller must know: HTTP counts every PUT as idempotent, but an older state that
/// is written again after a newer one is not what anybody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Idempotent;

/// When a call is made again. Cheap to clone; all clones share one budget.
///
/// - A call that certainly did not happen ([`NotSent::NotConnected`], [`NotSent::Overloaded`], [`NotSent::Link`]) is made
///   again whatever its method. What is wrong with the request itself is not.
/// - A call that may have happened ([`RequestError::TimedOut`], [`RequestError::Disconnected`]), and one that was answered
///   with 429, 502, 503 or 504, is made again only if its method is safe (GET, HEAD, OPTIONS) or the caller says that it
///   is [`Idempotent`].
/// - Before each try is a pause by exponential back-off with full jitter, and at least as long as the answer's
///   `Retry-After` asks, in seconds or as a date (relative to the answer's `Date`, else by the system's clock).
/// - A try that could not begin before the [time limit](Retry::with_time_limit) is not made: what came last is handed out.
/// - All calls together have a budget, so that a service in trouble is not given more of it.
///
/// The caller's `X-Kii-RequestID` is the same in every try, and in the answer.
#[derive(Debug, Clone)]
pub struct Retry {
    tries: u32,
    backoff: (Duration, Duration),
    time_limit: Duration,
    budget: Arc<TpsBudget>,
    /// Of the call that this clone is for.
    progress: Option<Progress>,
}

#[derive(Debug, Clone)]
struct Progress {
    tries_left: u32,
    backoff: Backoff,
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

impl Retry {
    /// Three tries within 30 s, pauses of up to 0.5 s doubling to 10 s, and a budget of one repetition a second and one for
    /// every five calls.
    pub fn new() -> Self {
        Self {
            tries: 3,
            backoff: (Duration::from_millis(500), Duration::from_secs(10)),
            time_limit: Duration::from_secs(30),
            budget: Arc::new(TpsBudget::new(Duration::from_secs(10), 1, 0.2)),
            progress: None,
        }
    }

    /// How often a call is made, the first time included. Default 3; 0 counts as 1.
    #[must_use]
    pub fn with_tries(mut self, tries: u32) -> Self {
        self.tries = tries.max(1);
        self
    }

    /// The pause before a repetition is drawn between zero and a limit, which begins at `min` and doubles up to `max`.
    /// Default 0.5 s and 10 s.
    #[must_use]
    pub fn with_backoff(mut self, min: Duration, max: Duration) -> Self {
        self.backoff = (min, max);
        self
    }

    /// How long a call with all its tries and pauses may take. Default 30 s. A try gets the time that is left as its
    /// [`TimeLimit`], which the client obeys.
    #[must_use]
    pub fn with_time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// The budget of this policy and its clones: `per_second` repetitions a second (1 to 1000), and one for each
    /// 1/`share` calls (`share` 0.0 to 10.0), counted over the last 10 s. Default 1 and 0.2. Values beyond are cut.
    #[must_use]
    pub fn with_budget(mut self, per_second: u32, share: f32) -> Self {
        let share = if share.is_finite() { share.clamp(0.0, 10.0) } else { 0.0 };
        self.budget = Arc::new(TpsBudget::new(Duration::from_secs(10), per_second.clamp(1, 1000), share));
        self
    }

    /// How long to wait before the next try; `None` when there is none to be made.
    fn pause(&mut self, request: &Request<Bytes>, result: &Result<Response<Bytes>, RequestError>) -> Option<Duration> {
        let began = *request.extensions().get::<Began>()?;
        if !is_worth_repeating(result) || (may_have_happened(result) && !may_be_repeated(request)) {
            self.budget.deposit();
            return None;
        }
        let left = began.left();
        let progress = self.progress.as_mut()?;
        let asked = result.as_ref().ok().and_then(retry_after).unwrap_or_default();
        let pause = progress.backoff.next_pause().max(asked);
        if progress.tries_left == 0 || pause >= left || !self.budget.withdraw() {
            return None;
        }
        progress.tries_left -= 1;
        Some(pause)
    }
}

/// When a call began, how long it may take, and what the caller allows each try; travels with the request.
#[derive(Debug, Clone, Copy)]
struct Began {
    at: Instant,
    limit: Duration,
    each: Option<TimeLimit>,
}

impl Began {
    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.at.elapsed())
    }

    /// What a try may take that begins after `pause`.
    fn try_limit(&self, pause: Duration) -> TimeLimit {
        let left = self.left().saturating_sub(pause);
        TimeLimit(self.each.map_or(left, |each| each.0.min(left)))
    }
}

impl Policy<Request<Bytes>, Response<Bytes>, RequestError> for Retry {
    type Future = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn retry(
        &mut self,
        request: &mut Request<Bytes>,
        result: &mut Result<Response<Bytes>, RequestError>,
    ) -> Option<Self::Future> {
        let pause = self.pause(request, result)?;
        if let Some(limit) = request.extensions().get::<Began>().map(|began| began.try_limit(pause)) {
            request.extensions_mut().insert(limit);
        }
        tracing::debug!(method = %request.method(), ?pause, "a call is made again");
        Some(Box::pin(sleep(pause)))
    }

    fn clone_request(&mut self, request: &Request<Bytes>) -> Option<Request<Bytes>> {
        let (min, max) = self.backoff;
        let tries_left = self.tries - 1;
        self.progress
            .get_or_insert_with(|| Progress { tries_left, backoff: Backoff::new(min, max, fastrand::u64(..)) });
        Some(request.clone())
    }
}

impl<S> tower::Layer<S> for Retry {
    type Service = Retrying<S>;

    fn layer(&self, inner: S) -> Retrying<S> {
        Retrying { time_limit: self.time_limit, inner: tower::retry::Retry::new(self.clone(), inner) }
    }
}

/// A service whose calls are made again; made by [`Retry`], which is a [`tower::Layer`].
#[derive(Debug, Clone)]
pub struct Retrying<S> {
    time_limit: Duration,
    inner: tower::retry::Retry<Retry, S>,
}

impl<S> Service<Request<Bytes>> for Retrying<S>
where
    S: Service<Request<Bytes>, Response = Response<Bytes>, Error = RequestError> + Clone,
{
    type Response = Response<Bytes>;
    type Error = RequestError;
    type Future = tower::retry::future::ResponseFuture<Retry, S, Request<Bytes>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Bytes>) -> Self::Future {
        let each = request.extensions().get::<TimeLimit>().copied();
        let began = Began { at: Instant::now(), limit: self.time_limit, each };
        request.extensions_mut().insert(began.try_limit(Duration::ZERO));
        request.extensions_mut().insert(began);
        self.inner.call(request)
    }
}

/// Whether another try may end better.
fn is_worth_repeating(result: &Result<Response<Bytes>, RequestError>) -> bool {
    match result {
        Ok(answer) => matches!(
            answer.status(),
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        ),
        Err(RequestError::NotSent(reason)) => {
            matches!(reason, NotSent::NotConnected | NotSent::Overloaded | NotSent::Link(_))
        }
        Err(RequestError::TimedOut | RequestError::Disconnected(_)) => true,
        // The answer to the repetition would be as unreadable; a closed client stays closed.
        Err(RequestError::InvalidAnswer(_) | RequestError::Closed) => false,
    }
}

/// An answer of 503 may come from somebody between us and a service that has done its work.
fn may_have_happened(result: &Result<Response<Bytes>, RequestError>) -> bool {
    !matches!(result, Err(error) if !error.may_have_been_processed())
}

fn may_be_repeated(request: &Request<Bytes>) -> bool {
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    safe || request.extensions().get::<Idempotent>().is_some()
}

/// How long the service asks to wait: seconds, or a date, which is measured from the answer's own `Date`, so that the
/// device's clock does not matter, or else by that clock. A date that has passed is no wait. (RFC 9110 §10.2.3)
pub(super) fn retry_after(answer: &Response<Bytes>) -> Option<Duration> {
    let headers = answer.headers();
    let date = |name| httpdate::parse_http_date(headers.get(name)?.to_str().ok()?.trim()).ok();
    frame::retry_after(headers).or_else(|| {
        let answered = date(DATE).unwrap_or_else(SystemTime::now);
        Some(date(RETRY_AFTER)?.duration_since(answered).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests;
