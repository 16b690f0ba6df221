//! A call on its way from a client to the driver and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::proto::{CallId, IfDown, RequestError};

/// What a call ends with.
pub(super) type Reply = Result<Response<Bytes>, RequestError>;

/// A call that waits for the driver. Not `Debug`: its request may carry a credential.
pub(super) struct Command {
    pub(super) request: Request<Bytes>,
    pub(super) deadline: Instant,
    pub(super) if_down: IfDown,
    pub(super) ticket: Arc<Ticket>,
    pub(super) reply: oneshot::Sender<Reply>,
}

/// Keeps the connection open: the driver closes when the last one is gone.
pub(super) type Alive = mpsc::Sender<Command>;

/// How far a call has come, agreed on between the task that waits for it and the driver.
///
/// Whoever gives up learns from it whether the driver had begun, which is the difference between "not sent" and "may
/// have been processed"; and the driver never begins a call that was given up.
#[derive(Debug)]
pub(super) struct Ticket(AtomicU64);

const QUEUED: u64 = u64::MAX;
const BEGUN: u64 = u64::MAX - 1;
const ABANDONED: u64 = u64::MAX - 2;

/// What an abandoned call had come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The driver never saw it and will not send it.
    Queued,
    /// The driver is about to take it, and will cancel it itself.
    Begun,
    /// It is in flight: the driver must be told.
    InFlight(CallId),
}

impl Ticket {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(QUEUED))
    }

    /// The driver begins; `false` when the call was given up.
    pub(super) fn begin(&self) -> bool {
        self.0.compare_exchange(QUEUED, BEGUN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The driver has taken it as `call`; `false` when it was given up meanwhile.
    pub(super) fn taken(&self, call: CallId) -> bool {
        self.0.compare_exchange(BEGUN, call.get(), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Nobody waits any more.
    pub(super) fn abandon(&self) -> Progress {
        match self.0.swap(ABANDONED, Ordering::AcqRel) {
            QUEUED => Progress::Queued,
            BEGUN | ABANDONED => Progress::Begun,
            call => Progress::InFlight(CallId::new(call)),
        }
    }
}

/// Cancels its call when it is dropped before the reply has come.
#[derive(Debug)]
pub(super) struct CancelOnDrop {
    ticket: Arc<Ticket>,
    // Unbounded, but each call in flight or in the command queue cancels at most once.
    cancels: mpsc::UnboundedSender<CallId>,
    armed: bool,
}

impl CancelOnDrop {
    pub(super) fn new(ticket: Arc<Ticket>, cancels: mpsc::UnboundedSender<CallId>) -> Self {
        Self { ticket, cancels, armed: true }
    }

    /// The reply is there.
    pub(super) fn disarm(mut self) {
        self.armed = false;
    }

    /// Gives up, and says how far the call had come.
    pub(super) fn cancel(mut self) -> Progress {
        self.armed = false;
        self.abandon()
    }

    fn abandon(&self) -> Progress {
        let progress = self.ticket.abandon();
        if let Progress::InFlight(call) = progress {
            // A driver that is gone has no call in flight.
            self.cancels.send(call).ok();
        }
        progress
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if self.armed {
            self.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_given_up_is_never_begun() {
        let ticket = Ticket::new();
        assert_eq!(ticket.abandon(), Progress::Queued);
        assert!(!ticket.begin());
    }

    #[test]
    fn whoever_comes_second_knows_of_the_first() {
        let ticket = Ticket::new();
        assert!(ticket.begin());
        assert_eq!(ticket.abandon(), Progress::Begun);
        assert!(!ticket.taken(CallId::new(1)), "the driver cancels it");

        let ticket = Ticket::new();
        assert!(ticket.begin() && ticket.taken(CallId::new(7)));
        assert_eq!(ticket.abandon(), Progress::InFlight(CallId::new(7)));
    }

    #[test]
    fn only_a_drop_before_the_reply_cancels() {
        let (cancels, mut cancelled) = mpsc::unbounded_channel();
        let in_flight = |number| {
            let ticket = Arc::new(Ticket::new());
            assert!(ticket.begin() && ticket.taken(CallId::new(number)));
            CancelOnDrop::new(ticket, cancels.clone())
        };
        in_flight(1).disarm();
        drop(in_flight(2));
        assert_eq!(in_flight(3).cancel(), Progress::InFlight(CallId::new(3)));
        assert_eq!(cancelled.try_recv(), Ok(CallId::new(2)));
        assert_eq!(cancelled.try_recv(), Ok(CallId::new(3)));
        assert!(cancelled.try_recv().is_err());
    }
}
