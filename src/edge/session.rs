//! What one connection shares with the rest of the edge: answers and pushes for it, and its requests in order.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;
use http::{HeaderValue, Request};

use super::config::PushBounds;
use super::ending::Ending;
use super::outgoing::Outgoing;
use super::push::PushOutcome;
use super::{Config, ConnectionId, push};
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

/// A request on its way to the service.
pub(super) struct Job {
    pub(super) topic: Topic,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) request: Request<Bytes>,
    /// The bytes that it holds while it waits.
    pub(super) size: usize,
}

/// The key of a lane: a digest of the request's path. Paths that collide wait for each other, which is harmless.
pub(super) type LaneKey = u64;

/// One connection, as seen by those who have something for it. Lives in an `Arc`; idle, it owns no heap memory.
pub(super) struct Session {
    id: ConnectionId,
    /// Bytes of what waits to leave, here and in the connection's hands. What all sessions hold is in `outgoing`.
    held: AtomicUsize,
    outgoing: Arc<Outgoing>,
    outbox: Mutex<Outbox>,
    lanes: Mutex<Lanes>,
}

/// Requests waiting behind one of the same path.
#[derive(Default)]
struct Lanes {
    /// A key is present while a task works on its lane, so there are as many as the service has requests.
    open: HashMap<LaneKey, VecDeque<Job>>,
    waiting: usize,
    waiting_bytes: usize,
}

/// What became of a request.
pub(super) enum Enqueued {
    /// The first of its lane: the caller starts the lane with it.
    First(Job),
    /// Behind others of its lane.
    Waiting,
    /// Not taken: a bound of the [`Config`] is reached.
    Full(Job),
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
        Self { id, held: AtomicUsize::new(0), outgoing, outbox: Mutex::default(), lanes: Mutex::default() }
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

    /// Puts a request behind those of the same lane, as far as `config` allows.
    pub(super) fn enqueue(&self, key: LaneKey, job: Job, config: &Config) -> Enqueued {
        let mut lanes = self.lanes();
        let Lanes { open, waiting, waiting_bytes } = &mut *lanes;
        let in_flight = open.len();
        match open.entry(key) {
            Entry::Occupied(mut lane) => {
                let bytes = *waiting_bytes + job.size;
                if *waiting >= config.max_waiting || bytes > config.max_waiting_bytes {
                    return Enqueued::Full(job);
                }
                (*waiting, *waiting_bytes) = (*waiting + 1, bytes);
                lane.get_mut().push_back(job);
                Enqueued::Waiting
            }
            Entry::Vacant(_) if in_flight >= config.max_in_flight => Enqueued::Full(job),
            Entry::Vacant(lane) => {
                lane.insert(VecDeque::new());
                Enqueued::First(job)
            }
        }
    }

    /// The next request of a lane. `None` closes the lane.
    pub(super) fn next_in_lane(&self, key: LaneKey) -> Option<Job> {
        let mut lanes = self.lanes();
        match lanes.open.get_mut(&key).and_then(VecDeque::pop_front) {
            Some(next) => {
                lanes.waiting -= 1;
                lanes.waiting_bytes -= next.size;
                Some(next)
            }
            None => {
                lanes.open.remove(&key);
                if lanes.open.is_empty() {
                    lanes.open = HashMap::new(); // gives back what a burst had needed
                }
                None
            }
        }
    }

    // Nothing in here panics while it holds a lock, so a poisoned lock holds whole state.
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn job(body: &'static str) -> Job {
        let topic = Topic::new("p/me/x").expect("valid");
        Job { topic, request_id: None, request: Request::new(Bytes::from_static(body.as_bytes())), size: body.len() }
    }

    fn answer() -> Answer {
        Answer { topic: Topic::new("p/me/x").expect("valid"), frame: Bytes::from_static(b"200") }
    }

    fn body(job: Option<Job>) -> Option<Bytes> {
        job.map(|job| job.request.into_body())
    }

    /// Enqueues; the body of the request if it is the first of its lane.
    fn first(session: &Session, key: LaneKey, text: &'static str) -> Option<Bytes> {
        match session.enqueue(key, job(text), &Config::default()) {
            Enqueued::First(job) => body(Some(job)),
            Enqueued::Waiting => None,
            Enqueued::Full(_) => panic!("{text} found no place"),
        }
    }

    fn is_full(session: &Session, key: LaneKey, text: &'static str, config: &Config) -> bool {
        matches!(session.enqueue(key, job(text), config), Enqueued::Full(_))
    }

    #[test]
    fn a_lane_hands_out_one_request_at_a_time_in_order_and_closes_when_empty() {
        let session = session();
        assert_eq!(first(&session, 1, "a"), Some(Bytes::from("a")), "the first is for the caller");
        assert_eq!(first(&session, 1, "b"), None);
        assert_eq!(first(&session, 2, "other"), Some(Bytes::from("other")), "another lane");
        assert_eq!(first(&session, 1, "c"), None);
        assert_eq!(body(session.next_in_lane(1)), Some(Bytes::from("b")));
        assert_eq!(body(session.next_in_lane(1)), Some(Bytes::from("c")));
        assert_eq!(body(session.next_in_lane(1)), None);
        assert_eq!(first(&session, 1, "d"), Some(Bytes::from("d")), "opened again");
        assert_eq!(body(session.next_in_lane(2)), None);
        assert_eq!(body(session.next_in_lane(1)), None);
        assert!(session.lanes().open.is_empty() && session.lanes().open.capacity() == 0);
    }

    #[test]
    fn requests_in_flight_and_waiting_are_bounded_apart() {
        let config = Config { max_in_flight: 2, max_waiting: 2, max_waiting_bytes: 5, ..Config::default() };
        let session = session();
        assert!(!is_full(&session, 1, "a", &config) && !is_full(&session, 2, "b", &config));
        assert!(is_full(&session, 3, "c", &config), "two in flight");
        assert!(!is_full(&session, 1, "1234", &config), "waits");
        assert!(is_full(&session, 2, "56", &config), "six bytes");
        assert!(!is_full(&session, 2, "5", &config), "five");
        assert!(is_full(&session, 1, "", &config), "two wait");
        assert_eq!(body(session.next_in_lane(1)), Some(Bytes::from("1234")));
        assert!(!is_full(&session, 2, "6789", &config), "room again");
        for key in [1, 2] {
            while session.next_in_lane(key).is_some() {}
        }
        let lanes = session.lanes();
        assert_eq!((lanes.waiting, lanes.waiting_bytes, lanes.open.len()), (0, 0, 0));
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
