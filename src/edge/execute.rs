//! Requests to the service and back, in lanes.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

use super::answer;
use super::lanes::{Job, OpenLane, Queued};
use super::live::{Live, Task};
use super::session::{Answer, Session};

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

/// Executes the requests of one lane until none is left, those included that a newer connection of the client brings.
///
/// Runs as a task of its own: a device that disconnects cancels nothing, and a slow lane delays no other.
pub(super) async fn run_lane<S: Backend>(service: S, mut lane: OpenLane, first: Queued, live: Arc<Live>, _task: Task) {
    let mut left = Left::default();
    let mut next = Some(first);
    while let Some(Queued { job, session, reserved }) = next {
        let Job { topic, request_id, request, .. } = job;
        left.turn_to(&session);
        live.registry.counters().requests.add();
        // A clone of its own: one that panicked, or was made ready for another call, is not called again.
        let mut service = service.clone();
        let frame = {
            let (id, live) = (request_id.as_ref(), &live);
            // In one piece: each future around another would move the request once more.
            let mut call = pin!(async move {
                let ready: Result<(), BoxError> = poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into);
                let answered = match ready {
                    Ok(()) => service.call(request).await.map_err(Into::into),
                    Err(error) => Err(error),
                };
                answer::encode(answered.unwrap_or_else(|error| failed(error, live)), id)
            });
            poll_fn(|cx| {
                // A panic becomes a 500, wherever it comes from: nothing that a service gives may keep the rest of its lane
                // from being executed.
                let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)));
                let frame = polled.unwrap_or_else(|_| Poll::Ready(answer::encode(panicked(live), id)));
                if frame.is_pending() {
                    left.wake();
                }
                frame
            })
            .await
        };
        drop(reserved);
        if session.answer(Answer { topic, frame }) {
            left.answers += 1;
        } else {
            live.registry.counters().undeliverable_answers.add();
        }
        live.registry.relieve();
        next = lane.next();
        if next.is_none() || left.answers >= ANSWERS_PER_WAKE {
            left.wake();
        }
    }
}

/// Answers left for a connection since it was last woken.
#[derive(Default)]
struct Left {
    session: Option<Arc<Session>>,
    answers: usize,
}

impl Left {
    /// The next answer is for this connection.
    fn turn_to(&mut self, session: &Arc<Session>) {
        if self.session.as_ref().is_none_or(|known| known.id() != session.id()) {
            self.wake();
            self.session = Some(Arc::clone(session));
        }
    }

    fn wake(&mut self) {
        if let (Some(session), 1..) = (&self.session, self.answers) {
            session.wake();
        }
        self.answers = 0;
    }
}

/// The answer of a service that gave an error.
fn failed(error: BoxError, live: &Live) -> Response<Bytes> {
    live.registry.counters().service_failures.add();
    tracing::error!(%error, "the service failed");
    answer::failed()
}

/// The answer of a service that panicked.
fn panicked(live: &Live) -> Response<Bytes> {
    live.registry.counters().service_failures.add();
    tracing::error!("the service panicked");
    answer::failed()
}
