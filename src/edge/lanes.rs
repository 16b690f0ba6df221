//! The requests of one client, in order by path.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use http::{HeaderValue, Request};

use super::config::LaneBounds;
use super::live::{Live, Reserved};
use super::session::Session;
use crate::ids::ClientId;
use crate::topic::Topic;

/// A request on its way to the service.
pub(super) struct Job {
    pub(super) topic: Topic,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) request: Request<Bytes>,
    /// The bytes that it holds while it waits.
    pub(super) size: usize,
}

/// The same, taken: who waits for the answer, and what it takes up of what all may have.
pub(super) struct Queued {
    pub(super) job: Job,
    pub(super) session: Arc<Session>,
    pub(super) reserved: Reserved,
}

/// The key of a lane: a digest of the request's path. Paths that collide wait for each other, which is harmless.
pub(super) type LaneKey = u64;

/// The lanes of a client. On the assigned broker they outlive its connections, so that what waits from an older one is not
/// executed after what a newer one brings.
pub(super) struct Lanes {
    state: Mutex<State>,
    home: Option<Home>,
}

/// Where a newer connection finds them.
struct Home {
    live: Weak<Live>,
    client: ClientId,
}

#[derive(Default)]
struct State {
    /// A key is present while a task works on its lane, so there are as many as the service has requests.
    open: HashMap<LaneKey, VecDeque<Queued>>,
    waiting: usize,
    waiting_bytes: usize,
    /// The newest connection.
    epoch: u64,
}

/// What became of a request.
pub(super) enum Enqueued {
    /// The first of its lane: the caller starts the lane with it.
    First(Queued),
    /// Behind others of its lane.
    Waiting,
    /// Not taken: a bound is reached, or a newer connection has the lanes.
    Full(Queued),
}

impl Lanes {
    /// Lanes of one connection alone.
    pub(super) fn of_a_connection() -> Self {
        Self { state: Mutex::default(), home: None }
    }

    /// Lanes of a client, which `live` is told about when nobody has them any more.
    pub(super) fn of_a_client(live: Weak<Live>, client: ClientId) -> Self {
        Self { state: Mutex::default(), home: Some(Home { live, client }) }
    }

    /// A connection has come; older ones bring nothing more.
    pub(super) fn take_over(&self, epoch: u64) {
        let mut state = self.state();
        state.epoch = state.epoch.max(epoch);
    }

    /// Puts a request of the connection with `epoch` behind those of the same lane, as far as `bounds` allow.
    pub(super) fn enqueue(&self, epoch: u64, key: LaneKey, queued: Queued, bounds: LaneBounds) -> Enqueued {
        let mut state = self.state();
        let State { open, waiting, waiting_bytes, epoch: newest } = &mut *state;
        if epoch < *newest {
            return Enqueued::Full(queued);
        }
        let in_flight = open.len();
        match open.entry(key) {
            Entry::Occupied(mut lane) => {
                let bytes = *waiting_bytes + queued.job.size;
                if *waiting >= bounds.waiting || bytes > bounds.waiting_bytes {
                    return Enqueued::Full(queued);
                }
                (*waiting, *waiting_bytes) = (*waiting + 1, bytes);
                lane.get_mut().push_back(queued);
                Enqueued::Waiting
            }
            Entry::Vacant(_) if in_flight >= bounds.in_flight => Enqueued::Full(queued),
            Entry::Vacant(lane) => {
                lane.insert(VecDeque::new());
                Enqueued::First(queued)
            }
        }
    }

    /// The next request of a lane. `None` closes the lane.
    pub(super) fn next(&self, key: LaneKey) -> Option<Queued> {
        let mut state = self.state();
        let Entry::Occupied(mut lane) = state.open.entry(key) else { return None };
        if let Some(next) = lane.get_mut().pop_front() {
            state.waiting -= 1;
            state.waiting_bytes -= next.job.size;
            return Some(next);
        }
        lane.remove();
        if state.open.is_empty() {
            state.open.shrink_to_fit(); // gives back what a burst had needed
        }
        None
    }

    /// Gives up what waits, in every lane. What has begun goes on.
    pub(super) fn abandon(&self) -> Vec<Queued> {
        let mut state = self.state();
        (state.waiting, state.waiting_bytes) = (0, 0);
        state.open.values_mut().flat_map(mem::take).collect()
    }

    // Nothing in here panics while it holds the lock, so a poisoned lock holds whole state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        if let Some(Home { live, client }) = &self.home
            && let Some(live) = live.upgrade()
        {
            live.forget_lanes(client);
        }
    }
}

/// Held by the task that works on a lane: however it ends, the lane does not stay open with nobody at it.
pub(super) struct OpenLane {
    lanes: Arc<Lanes>,
    key: LaneKey,
    live: Arc<Live>,
    is_closed: bool,
}

impl OpenLane {
    pub(super) fn new(lanes: Arc<Lanes>, key: LaneKey, live: Arc<Live>) -> Self {
        Self { lanes, key, live, is_closed: false }
    }

    /// See [`Lanes::next`].
    pub(super) fn next(&mut self) -> Option<Queued> {
        let next = self.lanes.next(self.key);
        self.is_closed = next.is_none();
        next
    }
}

impl Drop for OpenLane {
    fn drop(&mut self) {
        while !self.is_closed {
            if self.next().is_some() {
                self.live.registry.counters().abandoned_requests.add();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::{Config, Registry, Role};

    struct Bench {
        live: Arc<Live>,
        session: Arc<Session>,
    }

    impl Bench {
        fn new() -> Self {
            let registry = Registry::new();
            let session = Arc::new(Session::new(registry.number(), registry.outgoing()));
            Self { live: Arc::new(Live::new(Config::default(), registry)), session }
        }

        fn queued(&self, body: &'static str) -> Queued {
            let topic = Topic::new("p/me/x").expect("valid");
            let request = Request::new(Bytes::from_static(body.as_bytes()));
            let reserved = self.live.reserve(body.len(), Role::Assigned).expect("room");
            let job = Job { topic, request_id: None, request, size: body.len() };
            Queued { job, session: Arc::clone(&self.session), reserved }
        }

        /// Enqueues; the body of the request if it is the first of its lane.
        fn first(&self, lanes: &Lanes, key: LaneKey, text: &'static str) -> Option<Bytes> {
            match lanes.enqueue(0, key, self.queued(text), Config::default().lane_bounds(Role::Assigned)) {
                Enqueued::First(queued) => body(Some(queued)),
                Enqueued::Waiting => None,
                Enqueued::Full(_) => panic!("{text} found no place"),
            }
        }

        fn is_full(&self, lanes: &Lanes, key: LaneKey, text: &'static str, bounds: LaneBounds) -> bool {
            matches!(lanes.enqueue(0, key, self.queued(text), bounds), Enqueued::Full(_))
        }
    }

    fn body(queued: Option<Queued>) -> Option<Bytes> {
        queued.map(|queued| queued.job.request.into_body())
    }

    #[test]
    fn a_lane_hands_out_one_request_at_a_time_in_order_and_closes_when_empty() {
        let (bench, lanes) = (Bench::new(), Lanes::of_a_connection());
        let first = |key, text| bench.first(&lanes, key, text);
        assert_eq!(first(1, "a"), Some(Bytes::from("a")), "the first is for the caller");
        assert_eq!(first(1, "b"), None);
        assert_eq!(first(2, "other"), Some(Bytes::from("other")), "another lane");
        assert_eq!(first(1, "c"), None);
        assert_eq!(body(lanes.next(1)), Some(Bytes::from("b")));
        assert_eq!(body(lanes.next(1)), Some(Bytes::from("c")));
        assert_eq!(body(lanes.next(1)), None);
        assert_eq!(first(1, "d"), Some(Bytes::from("d")), "opened again");
        assert_eq!(body(lanes.next(2)), None);
        assert_eq!(body(lanes.next(1)), None);
        assert!(lanes.state().open.is_empty() && lanes.state().open.capacity() == 0);
        assert_eq!(bench.live.in_flight(), (0, 0));
    }

    #[test]
    fn requests_in_flight_and_waiting_are_bounded_apart() {
        let bounds = LaneBounds { in_flight: 2, waiting: 2, waiting_bytes: 5 };
        let (bench, lanes) = (Bench::new(), Lanes::of_a_connection());
        let is_full = |key, text| bench.is_full(&lanes, key, text, bounds);
        assert!(!is_full(1, "a") && !is_full(2, "b"));
        assert!(is_full(3, "c"), "two in flight");
        assert!(!is_full(1, "1234"), "waits");
        assert!(is_full(2, "56"), "six bytes");
        assert!(!is_full(2, "5"), "five");
        assert!(is_full(1, ""), "two wait");
        assert_eq!(body(lanes.next(1)), Some(Bytes::from("1234")));
        assert!(!is_full(2, "6789"), "room again");
        for key in [1, 2] {
            while lanes.next(key).is_some() {}
        }
        let state = lanes.state();
        assert_eq!((state.waiting, state.waiting_bytes, state.open.len()), (0, 0, 0));
    }

    #[test]
    fn a_lane_whose_task_is_lost_closes_and_gives_back_what_waited() {
        let (bench, lanes) = (Bench::new(), Arc::new(Lanes::of_a_connection()));
        for text in ["a", "b", "c"] {
            bench.first(&lanes, 1, text);
        }
        drop(OpenLane::new(Arc::clone(&lanes), 1, Arc::clone(&bench.live)));
        assert_eq!(bench.live.in_flight(), (0, 0));
        assert_eq!(bench.live.registry.metrics().abandoned_requests, 2);
        assert_eq!(bench.first(&lanes, 1, "d"), Some(Bytes::from("d")), "opened again");
    }

    #[test]
    fn what_is_abandoned_gives_back_its_place_and_what_has_begun_goes_on() {
        let (bench, lanes) = (Bench::new(), Lanes::of_a_connection());
        bench.first(&lanes, 1, "a");
        bench.first(&lanes, 1, "b");
        assert_eq!(lanes.abandon().len(), 1);
        assert_eq!(bench.first(&lanes, 1, "c"), None, "its task still works on the lane");
        assert_eq!(body(lanes.next(1)), Some(Bytes::from("c")));
        assert_eq!(body(lanes.next(1)), None);
    }

    #[test]
    fn the_lanes_of_a_client_are_one_as_long_as_somebody_has_them_and_the_newest_connection_fills_them() {
        let bench = Bench::new();
        let client = ClientId::new("device").expect("valid");
        let bounds = Config::default().lane_bounds(Role::Assigned);
        let old = bench.live.lanes(Role::Assigned, &client, 7);
        assert!(matches!(old.enqueue(7, 1, bench.queued("a"), bounds), Enqueued::First(_)));
        let new = bench.live.lanes(Role::Assigned, &client, 8);
        assert!(matches!(new.enqueue(8, 1, bench.queued("c"), bounds), Enqueued::Waiting));
        assert!(matches!(old.enqueue(7, 1, bench.queued("b"), bounds), Enqueued::Full(_)), "it would be the last");
        let late = bench.live.lanes(Role::Assigned, &client, 6);
        assert!(matches!(new.enqueue(8, 1, bench.queued("d"), bounds), Enqueued::Waiting), "the newest stays");
        drop((old, new));
        assert_eq!(bench.live.clients_with_lanes(), 1);
        drop(late);
        assert_eq!(bench.live.clients_with_lanes(), 0);
        let anonymous = ClientId::anonymous();
        let apart = [0, 0].map(|epoch| bench.live.lanes(Role::Onboarding, &anonymous, epoch));
        assert!(!Arc::ptr_eq(&apart[0], &apart[1]) && bench.live.clients_with_lanes() == 0);
    }
}
