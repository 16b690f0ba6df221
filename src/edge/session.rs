//! What one connection shares with the rest of the edge: answers and pushes for it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;

use super::config::PushBounds;
use super::ending::Ending;
use super::outgoing::Outgoing;
use super::push::PushOutcome;
use super::{ConnectionId, push};
use crate::topic::Topic;

/// A frame that answers a request, on the request's own topic.
pub(super) struct Answer {
    pub(super) topic: Topic,
    pub(super) frame: Bytes,
}

impl Answer {
    /// The bytes that it holds while it waits.
    pub(super) fn size(&self) -> usize {
        self.topic.as_str().len() + self.frame.len()
    }
}

/// One connection, as seen by those who have something for it. Lives in an `Arc`; idle, it owns no heap memory.
pub(super) struct Session {
    id: ConnectionId,
    /// Bytes of what waits to leave, here and in the connection's hands. What all sessions hold is in `outgoing`.
    held: AtomicUsize,
    outgoing: Arc<Outgoing>,
    outbox: Mutex<Outbox>,
}

#[derive(Default)]
struct Outbox {
    answers: VecDeque<Answer>,
    pushes: VecDeque<Bytes>,
    state: State,
    /// Whether the connection found no room when it last looked: its client takes too little.
    is_stalled: bool,
    /// Pushes that found the queue full, ever, and since the connection last had room.
    dropped: u64,
    dropped_in_a_row: usize,
    /// The connection's task, where something must happen for it to run again.
    waker: Option<Waker>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// Pushes are wanted: the SUBACK is on its way before them.
    Subscribed,
    /// To end once nothing is in flight.
    Finishing,
    /// To end now.
    Ending(Ending),
    /// Ended; nobody takes anything any more.
    Ended,
}

/// What a connection finds when it looks.
pub(super) struct Taken {
    pub(super) answers: VecDeque<Answer>,
    pub(super) pushes: VecDeque<Bytes>,
    pub(super) is_finishing: bool,
    pub(super) ending: Option<Ending>,
}

impl Session {
    pub(super) fn new(id: ConnectionId, outgoing: Arc<Outgoing>) -> Self {
        Self { id, held: AtomicUsize::new(0), outgoing, outbox: Mutex::default() }
    }

    pub(super) fn id(&self) -> ConnectionId {
        self.id
    }

    /// Bytes that wait to leave.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Waiting pushes, and how many were dropped.
    pub(super) fn backlog(&self) -> (usize, u64) {
        let outbox = self.outbox();
        (outbox.pushes.len(), outbox.dropped)
    }

    /// Whether the connection has been asked to end now.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.outbox().state, State::Ending(_) | State::Ended)
    }

    /// Counts bytes that came to what waits to leave, and bytes that left or changed their shape.
    pub(super) fn recount(&self, more: usize, less: usize) {
        if more > less {
            self.hold(more - less);
        } else if less > more {
            self.held.fetch_sub(less - more, Ordering::Relaxed);
            self.outgoing.remove(less - more);
        }
    }

    fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.outgoing.add(bytes);
    }

    /// Everything that waits for the connection, if it has `room` and need not end; `waker` is woken when there is more.
    pub(super) fn take(&self, room: bool, waker: &Waker) -> Taken {
        let mut outbox = self.outbox();
        match &mut outbox.waker {
            Some(known) => known.clone_from(waker),
            unset => *unset = Some(waker.clone()),
        }
        let ending = if let State::Ending(ending) = outbox.state { Some(ending) } else { None };
        outbox.is_stalled = !room;
        if room {
            outbox.dropped_in_a_row = 0;
        }
        // What a connection that must end leaves here is counted by `ended`.
        let (answers, pushes) = if room && ending.is_none() {
            (mem::take(&mut outbox.answers), mem::take(&mut outbox.pushes))
        } else {
            (VecDeque::new(), VecDeque::new())
        };
        Taken { answers, pushes, is_finishing: outbox.state == State::Finishing, ending }
    }

    /// Resolves when the connection is asked to end, be it now or when it has finished.
    pub(super) async fn asked_to_end(&self) -> Ending {
        poll_fn(|cx| {
            let taken = self.take(false, cx.waker());
            match taken.ending {
                Some(ending) => Poll::Ready(ending),
                None if taken.is_finishing => Poll::Ready(Ending::Shutdown),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Leaves an answer, which the connection takes at the latest after [`Session::wake`]. `false` when it has ended.
    pub(super) fn answer(&self, answer: Answer) -> bool {
        let mut outbox = self.outbox();
        if outbox.state == State::Ended {
            return false;
        }
        self.hold(answer.size());
        outbox.answers.push_back(answer);
        true
    }

    /// The connection's task runs, and will look at what was left before it rests: it need not be woken until then.
    pub(super) fn stay_awake(&self) {
        self.outbox().waker = None;
    }

    /// Has the connection look at what was left.
    pub(super) fn wake(&self) {
        wake(self.outbox());
    }

    /// Leaves a push, unless too many of them are waiting. One too many that is lost because the client takes nothing
    /// ends the connection.
    pub(super) fn push(&self, payload: Bytes, bounds: PushBounds) -> push::PushOutcome {
        let mut outbox = self.outbox();
        match outbox.state {
            State::Subscribed => {}
            State::Open => return PushOutcome::NotSubscribed,
            State::Finishing | State::Ending(_) | State::Ended => return PushOutcome::NotConnected,
        }
        if outbox.pushes.len() >= bounds.queue {
            outbox.dropped += 1;
            if outbox.is_stalled {
                outbox.dropped_in_a_row += 1;
            }
            if outbox.dropped_in_a_row > bounds.max_dropped {
                outbox.state = State::Ending(Ending::SlowConsumer);
                wake(outbox);
            }
            return PushOutcome::Overloaded;
        }
        self.hold(payload.len());
        outbox.pushes.push_back(payload);
        wake(outbox);
        PushOutcome::Queued
    }

    /// Pushes are wanted from now on.
    pub(super) fn subscribe(&self) {
        let mut outbox = self.outbox();
        if outbox.state == State::Open {
            outbox.state = State::Subscribed;
        }
    }

    /// Pushes are no longer wanted. Gives those that came before.
    pub(super) fn unsubscribe(&self) -> VecDeque<Bytes> {
        let mut outbox = self.outbox();
        if outbox.state == State::Subscribed {
            outbox.state = State::Open;
        }
        mem::take(&mut outbox.pushes)
    }

    /// Asks the connection to end now. The first reason stays.
    pub(super) fn end(&self, ending: Ending) {
        let mut outbox = self.outbox();
        if !matches!(outbox.state, State::Ending(_) | State::Ended) {
            outbox.state = State::Ending(ending);
            wake(outbox);
        }
    }

    /// Asks the connection to end once its requests are answered.
    pub(super) fn finish(&self) {
        let mut outbox = self.outbox();
        if matches!(outbox.state, State::Open | State::Subscribed) {
            outbox.state = State::Finishing;
            wake(outbox);
        }
    }

    /// The connection has ended. Gives the numbers of answers and of pushes that nobody will take.
    pub(super) fn ended(&self) -> (usize, usize) {
        let mut outbox = self.outbox();
        outbox.state = State::Ended;
        outbox.waker = None;
        self.outgoing.remove(self.held.swap(0, Ordering::Relaxed));
        (mem::take(&mut outbox.answers).len(), mem::take(&mut outbox.pushes).len())
    }

    // Nothing in here panics while it holds a lock, so a poisoned lock holds whole state.
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the connection's task, after giving up the lock that it will want.
fn wake(mut outbox: MutexGuard<'_, Outbox>) {
    let waker = outbox.waker.take();
    drop(outbox);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: PushBounds = PushBounds { queue: 1, max_dropped: 2 };

    fn session() -> Session {
        Session::new(ConnectionId(1), Arc::default())
    }

    fn answer() -> Answer {
        Answer { topic: Topic::new("p/me/x").expect("valid"), frame: Bytes::from_static(b"200") }
    }

    #[test]
    fn an_ended_session_takes_nothing_and_counts_what_nobody_took() {
        let session = session();
        session.subscribe();
        assert!(session.answer(answer()) && session.answer(answer()));
        assert_eq!(session.push(Bytes::new(), ONE), PushOutcome::Queued);
        assert_eq!(session.ended(), (2, 1));
        assert!(!session.answer(answer()));
        assert_eq!(session.push(Bytes::new(), ONE), PushOutcome::NotConnected);
        session.end(Ending::Revoked);
        let taken = session.take(true, Waker::noop());
        assert!(taken.ending.is_none() && taken.answers.is_empty() && taken.pushes.is_empty());
    }

    #[test]
    fn who_must_end_takes_nothing_more_and_leaves_it_to_be_counted() {
        let session = session();
        session.subscribe();
        assert!(session.answer(answer()));
        assert_eq!(session.push(Bytes::new(), ONE), PushOutcome::Queued);
        session.end(Ending::TakenOver);
        let taken = session.take(true, Waker::noop());
        assert!(taken.answers.is_empty() && taken.pushes.is_empty());
        assert_eq!(session.ended(), (1, 1));
    }

    #[test]
    fn the_first_reason_to_end_stays_and_beats_finishing() {
        let session = session();
        session.finish();
        assert!(session.take(true, Waker::noop()).is_finishing);
        session.end(Ending::TakenOver);
        session.end(Ending::Revoked);
        session.finish();
        assert_eq!(session.take(true, Waker::noop()).ending, Some(Ending::TakenOver));
    }

    #[test]
    fn who_takes_nothing_loses_pushes_and_then_the_connection_and_who_takes_does_not() {
        let session = session();
        session.subscribe();
        let push = || session.push(Bytes::from_static(b"{}"), ONE);
        let lose = |count| (0..count).for_each(|_| assert_eq!(push(), PushOutcome::Overloaded));
        assert_eq!(push(), PushOutcome::Queued);
        lose(10);
        assert!(!session.is_ending(), "a burst, which the connection has had no time to look at");
        assert!(session.take(false, Waker::noop()).pushes.is_empty());
        lose(2);
        assert_eq!(session.take(true, Waker::noop()).pushes.len(), 1);
        assert_eq!(push(), PushOutcome::Queued, "it was slow and goes on");
        assert!(session.take(false, Waker::noop()).ending.is_none());
        lose(2);
        assert!(session.take(false, Waker::noop()).ending.is_none());
        lose(1);
        assert_eq!(session.take(false, Waker::noop()).ending, Some(Ending::SlowConsumer));
        assert_eq!(push(), PushOutcome::NotConnected);
        assert_eq!(session.backlog(), (1, 15));
    }

    #[test]
    fn what_is_held_is_counted_until_it_has_left_or_the_session_ends() {
        let session = session();
        session.subscribe();
        assert!(session.answer(answer()));
        session.push(Bytes::from_static(b"{}"), ONE);
        let held = answer().size() + 2;
        assert_eq!((session.held(), session.outgoing.total()), (held, held));
        session.take(true, Waker::noop());
        assert_eq!(session.held(), held, "in the connection's hands");
        session.recount(5, held);
        assert_eq!((session.held(), session.outgoing.total()), (5, 5));
        session.recount(7, 5);
        assert_eq!((session.held(), session.outgoing.total()), (7, 7));
        session.ended();
        assert_eq!((session.held(), session.outgoing.total()), (0, 0));
        assert!(!session.answer(answer()));
        assert_eq!(session.outgoing.total(), 0);
    }

    #[test]
    fn without_room_everything_stays() {
        let session = session();
        session.subscribe();
        session.answer(answer());
        session.push(Bytes::from_static(b"{}"), ONE);
        let taken = session.take(false, Waker::noop());
        assert!(taken.answers.is_empty() && taken.pushes.is_empty());
        let taken = session.take(true, Waker::noop());
        assert_eq!((taken.answers.len(), taken.pushes.len()), (1, 1));
    }
}
