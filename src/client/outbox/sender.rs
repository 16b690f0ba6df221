//! Sends what waits.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::time::sleep;
use tower_service::Service;

use super::{OutboxEvent, Shared};
use crate::client::commands::clock;
use crate::client::retry::Idempotent;
use crate::client::{TimeLimit, WaitForLink};
use crate::proto::{Backoff, NotSent, RequestError};

/// What an upload that is [on its way](super::queue::Queue::begin) may take, waiting for the connection included; then it is
/// begun anew.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Sends what an [`Outbox`](super::Outbox) has accepted.
#[derive(Debug)]
#[must_use = "nothing is sent unless `run` is awaited"]
pub struct Sender {
    shared: Arc<Shared>,
    backoff: Backoff,
}

/// What follows an attempt.
enum Verdict {
    Sent,
    Refused(StatusCode),
    Impossible(String),
    Again(String),
    /// The service will take nothing any more.
    Over,
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), fastrand::u64(..));
        Self { shared, backoff }
    }

    /// Sends uploads through `service`, usually a [`Client`](crate::client::Client), one after the other, as they come, until
    /// the client is closed. What could not be sent is tried again after a pause by exponential back-off with full jitter,
    /// from 1 s to 60 s.
    pub async fn run<S>(mut self, mut service: S)
    where
        S: Service<Request<Bytes>, Response = Response<Bytes>, Error = RequestError>,
    {
        loop {
            let Some((number, request)) = self.next().await else { continue };
            let verdict = match std::future::poll_fn(|cx| service.poll_ready(cx)).await {
                Ok(()) => judge(service.call(request).await),
                Err(error) => judge(Err(error)),
            };
            match verdict {
                Verdict::Over => return,
                Verdict::Sent => self.end(number, OutboxEvent::Sent(number)).await,
                Verdict::Refused(status) => self.end(number, OutboxEvent::Refused(number, status)).await,
                Verdict::Impossible(why) => self.end(number, OutboxEvent::Impossible(number, why)).await,
                Verdict::Again(why) => {
                    self.shared.state.lock().await.queue.postpone();
                    self.shared.tell(OutboxEvent::Postponed(number, why));
                    sleep(self.backoff.next_pause()).await;
                }
            }
        }
    }

    /// The next upload to be sent; waits for one.
    async fn next(&mut self) -> Option<(u64, Request<Bytes>)> {
        let mut state = self.shared.state.lock().await;
        let too_old = state.queue.too_old(clock(), self.shared.rules.max_age);
        if !too_old.is_empty() {
            self.shared.end(&mut state, &too_old).await;
            too_old.into_iter().for_each(|number| self.shared.tell(OutboxEvent::TooOld(number)));
        }
        let Some((number, entry)) = state.queue.begin() else {
            drop(state);
            self.shared.wake.notified().await;
            return None;
        };
        let mut request = entry.request();
        request.extensions_mut().insert(WaitForLink);
        request.extensions_mut().insert(Idempotent);
        request.extensions_mut().insert(TimeLimit(TIME_LIMIT));
        Some((number, request))
    }

    async fn end(&mut self, number: u64, event: OutboxEvent) {
        self.backoff.reset();
        let mut state = self.shared.state.lock().await;
        self.shared.end(&mut state, &[number]).await;
        drop(state);
        self.shared.tell(event);
    }
}

fn judge(reply: Result<Response<Bytes>, RequestError>) -> Verdict {
    let again = |why: &dyn Display| Verdict::Again(why.to_string());
    match reply {
        Ok(answer) if answer.status().is_success() => Verdict::Sent,
        Ok(answer) => match answer.status() {
            // A refused token is replaced, and a service in trouble recovers.
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS => again(&answer.status()),
            status if status.is_client_error() => Verdict::Refused(status),
            status => again(&status),
        },
        Err(RequestError::Closed | RequestError::NotSent(NotSent::Closed)) => Verdict::Over,
        Err(RequestError::NotSent(reason)) => match reason {
            NotSent::TooLarge { .. } | NotSent::InvalidPath(_) | NotSent::InvalidFrame(_) => {
                Verdict::Impossible(reason.to_string())
            }
            reason => again(&reason),
        },
        Err(error) => again(&error),
    }
}
