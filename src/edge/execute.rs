//! Requests to the service and back, in lanes.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use tower_service::Service;

use super::answer;
use super::live::{Live, Task};
use super::session::{Answer, Job, LaneKey, Session};

/// Any error of a service.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What an edge asks of the service behind it, in one word. Every fitting [`Service`] has it.
pub trait Backend:
    Service<Request<Bytes>, Response = Response<Bytes>, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static
{
}

impl<S> Backend for S
where
    S: Service<Request<Bytes>, Response = Response<Bytes>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
}

/// While a lane's calls end without waiting, their answers leave in batches of this size: a write costs more than a call.
const ANSWERS_PER_WAKE: usize = 16;

/// Executes the requests of one lane until none is left.
///
/// Runs as a task of its own: a device that disconnects cancels nothing, and a slow lane delays no other.
pub(super) async fn run_lane<S: Backend>(
    service: S,
    session: Arc<Session>,
    key: LaneKey,
    first: Job,
    live: Arc<Live>,
    _task: Task,
) {
    let mut job = first;
    // Answers left since the connection was last woken.
    let mut left = 0;
    loop {
        let Job { topic, request_id, request, size } = job;
        live.registry.counters().requests.add();
        let response = {
            let mut call = pin!(execute(service.clone(), request, &live));
            poll_fn(|cx| {
                let response = call.as_mut().poll(cx);
                if response.is_pending() && left > 0 {
                    left = 0;
                    session.wake();
                }
                response
            })
            .await
        };
        let answer = Answer { topic, frame: answer::encode(response, request_id) };
        live.end(size);
        if session.answer(answer) {
            left += 1;
        } else {
            live.registry.counters().undeliverable_answers.add();
        }
        live.registry.relieve();
        let next = session.next_in_lane(key);
        if next.is_none() || left >= ANSWERS_PER_WAKE {
            left = 0;
            session.wake();
        }
        match next {
            Some(next) => job = next,
            None => return,
        }
    }
}

/// One call. A panic and an error of the service become a 500.
///
/// `service` is a clone of its own: one that panicked, or was made ready for another call, is not called again.
async fn execute<S: Backend>(mut service: S, request: Request<Bytes>, live: &Live) -> Response<Bytes> {
    let call = async {
        poll_fn(|cx| service.poll_ready(cx)).await?;
        service.call(request).await
    };
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            live.registry.counters().service_failures.add();
            let error: BoxError = error.into();
            tracing::error!(%error, "the service failed");
            answer::failed()
        }
        Err(_) => {
            live.registry.counters().service_failures.add();
            tracing::error!("the service panicked");
            answer::failed()
        }
    }
}
