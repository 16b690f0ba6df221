//! What all connections of one edge share, and the connections that are open.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use super::config::Config;
use super::lanes::Lanes;
use super::session::Session;
use super::{ConnectionId, Registry, Role};
use crate::ids::ClientId;

/// What part of [`Config::max_in_flight_total`] and [`Config::max_in_flight_bytes_total`] the default broker may use, where
/// everybody may come who has the application's key; the rest is for things that are known.
const ONBOARDING_SHARE: usize = 4;

/// One edge, as its connections see it.
pub(super) struct Live {
    pub(super) config: Config,
    pub(super) registry: Registry,
    /// Requests accepted and not yet executed, over all connections.
    in_flight: InFlight,
    /// Those of the default broker among them.
    onboarding: InFlight,
    /// Of clients of the assigned broker that are connected, or have requests left.
    lanes: Mutex<HashMap<ClientId, Weak<Lanes>>>,
    sessions: Mutex<HashMap<ConnectionId, Arc<Session>>>,
    /// Every task of the edge holds a receiver, so that shutdown can wait for the last one.
    tasks: watch::Sender<()>,
}

/// Requests, and the bytes that they hold.
#[derive(Default)]
struct InFlight {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

impl InFlight {
    /// Counts a request, unless it is one too many.
    fn begin(&self, size: usize, max_requests: usize, max_bytes: usize) -> bool {
        let requests = self.requests.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let bytes = self.bytes.fetch_add(size, Ordering::Relaxed).saturating_add(size);
        let has_room = requests <= max_requests && bytes <= max_bytes;
        if !has_room {
            self.end(size);
        }
        has_room
    }

    fn end(&self, size: usize) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(size, Ordering::Relaxed);
    }
}

/// Held by every task that must end before the edge has shut down.
pub(super) type Task = watch::Receiver<()>;

impl Live {
    pub(super) fn new(config: Config, registry: Registry) -> Self {
        registry.set_push_bounds(config.push_bounds());
        Self {
            config,
            registry,
            in_flight: InFlight::default(),
            onboarding: InFlight::default(),
            lanes: Mutex::default(),
            sessions: Mutex::default(),
            tasks: watch::Sender::new(()),
        }
    }

    /// A place among the requests of all connections for one of `size` bytes, given up when it is dropped. `None`: there is
    /// none for this role.
    pub(super) fn reserve(self: &Arc<Self>, size: usize, role: Role) -> Option<Reserved> {
        let (requests, bytes) = (self.config.max_in_flight_total, self.config.max_in_flight_bytes_total);
        let is_onboarding = role == Role::Onboarding;
        let share = |total: usize| total.div_ceil(ONBOARDING_SHARE);
        if is_onboarding && !self.onboarding.begin(size, share(requests), share(bytes)) {
            return None;
        }
        if !self.in_flight.begin(size, requests, bytes) {
            if is_onboarding {
                self.onboarding.end(size);
            }
            return None;
        }
        Some(Reserved { live: Arc::clone(self), size, is_onboarding })
    }

    /// The lanes of a connection that has been entered with `epoch`: on the assigned broker those that earlier connections
    /// of the client have left.
    pub(super) fn lanes(self: &Arc<Self>, role: Role, client: &ClientId, epoch: u64) -> Arc<Lanes> {
        let lanes = match role {
            Role::Onboarding => Arc::new(Lanes::of_a_connection()),
            Role::Assigned => {
                let mut all = self.all_lanes();
                all.get(client).and_then(Weak::upgrade).unwrap_or_else(|| {
                    let lanes = Arc::new(Lanes::of_a_client(Arc::downgrade(self), client.clone()));
                    all.insert(client.clone(), Arc::downgrade(&lanes));
                    lanes
                })
            }
        };
        lanes.take_over(epoch);
        lanes
    }

    /// Nobody has the lanes of `client` any more, unless new ones were made meanwhile.
    pub(super) fn forget_lanes(&self, client: &ClientId) {
        let mut all = self.all_lanes();
        if all.get(client).is_some_and(|lanes| lanes.strong_count() == 0) {
            all.remove(client);
        }
    }

    pub(super) fn task(&self) -> Task {
        self.tasks.subscribe()
    }

    /// Resolves when no task is left.
    pub(super) async fn no_tasks(&self) {
        self.tasks.closed().await;
    }

    /// Opens a session for a socket that was accepted.
    pub(super) fn open(self: &Arc<Self>) -> Place {
        self.registry.counters().accepted.add();
        let session = Arc::new(Session::new(self.registry.number(), self.registry.outgoing()));
        self.sessions().insert(session.id(), Arc::clone(&session));
        Place { live: Arc::clone(self), session, _task: self.task() }
    }

    /// How many sessions are open.
    pub(super) fn len(&self) -> usize {
        self.sessions().len()
    }

    /// Does `what` to every open session.
    pub(super) fn each(&self, what: impl Fn(&Session)) {
        let sessions: Vec<_> = self.sessions().values().map(Arc::clone).collect();
        for session in sessions {
            what(&session);
        }
    }

    /// Shows every open session to `look`, which must not open or close one.
    pub(super) fn each_session(&self, look: impl FnMut(&Arc<Session>)) {
        self.sessions().values().for_each(look);
    }

    // No operation on the maps panics half-way, so a poisoned lock holds a whole map.
    fn all_lanes(&self) -> MutexGuard<'_, HashMap<ClientId, Weak<Lanes>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<ConnectionId, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the requests of all connections, until it is dropped.
pub(super) struct Reserved {
    live: Arc<Live>,
    size: usize,
    is_onboarding: bool,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.live.in_flight.end(self.size);
        if self.is_onboarding {
            self.live.onboarding.end(self.size);
        }
    }
}

/// The lanes of a connection to the default broker. Nobody is left to ask for the answers of one that has ended, so dropping
/// this gives up what has not begun.
pub(super) struct OwnLanes {
    live: Arc<Live>,
    lanes: Arc<Lanes>,
}

impl OwnLanes {
    pub(super) fn new(role: Role, live: &Arc<Live>, lanes: &Arc<Lanes>) -> Option<Self> {
        (role == Role::Onboarding).then(|| Self { live: Arc::clone(live), lanes: Arc::clone(lanes) })
    }
}

impl Drop for OwnLanes {
    fn drop(&mut self) {
        let abandoned = self.lanes.abandon();
        self.live.registry.counters().abandoned_requests.add_many(abandoned.len());
    }
}

/// A socket's place among the open ones. Dropping it, in whatever way the connection ends, closes the session.
pub(super) struct Place {
    pub(super) live: Arc<Live>,
    pub(super) session: Arc<Session>,
    _task: Task,
}

impl Drop for Place {
    fn drop(&mut self) {
        let (answers, pushes) = self.session.ended();
        let counters = self.live.registry.counters();
        counters.undeliverable_answers.add_many(answers);
        counters.pushes_dropped.add_many(pushes);
        counters.pushes_abandoned.add_many(pushes);
        self.live.sessions().remove(&self.session.id());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Live {
        /// Requests in flight, and their bytes.
        pub(in crate::edge) fn in_flight(&self) -> (usize, usize) {
            (self.in_flight.requests.load(Ordering::Relaxed), self.in_flight.bytes.load(Ordering::Relaxed))
        }

        pub(in crate::edge) fn clients_with_lanes(&self) -> usize {
            self.all_lanes().len()
        }
    }

    #[test]
    fn the_default_broker_has_a_quarter_and_everything_is_given_back() {
        let config = Config { max_in_flight_total: 8, max_in_flight_bytes_total: 100, ..Config::default() };
        let live = Arc::new(Live::new(config, Registry::new()));
        let reserve = |size, role| live.reserve(size, role);
        assert!(reserve(26, Role::Onboarding).is_none(), "more bytes than a quarter");
        let strangers = [10, 10].map(|size| reserve(size, Role::Onboarding).expect("room"));
        assert!(reserve(0, Role::Onboarding).is_none(), "more than a quarter of the requests");
        assert!(reserve(81, Role::Assigned).is_none());
        let known: Vec<_> = (0..6).map(|_| reserve(10, Role::Assigned).expect("room")).collect();
        assert!(reserve(0, Role::Assigned).is_none(), "eight");
        drop(strangers);
        let again = reserve(25, Role::Onboarding).expect("room again");
        assert_eq!(live.in_flight(), (7, 85));
        drop((known, again));
        assert_eq!(live.in_flight(), (0, 0));
        assert!(reserve(100, Role::Assigned).is_some());
    }
}
