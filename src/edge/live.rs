//! What all connections of one edge share, and the connections that are open.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::config::Config;
use super::session::Session;
use super::{ConnectionId, Registry};

/// One edge, as its connections see it.
pub(super) struct Live {
    pub(super) config: Config,
    pub(super) registry: Registry,
    /// Requests accepted and not yet executed, over all connections.
    in_flight: AtomicUsize,
    /// The bytes that they hold.
    in_flight_bytes: AtomicUsize,
    sessions: Mutex<HashMap<ConnectionId, Arc<Session>>>,
    /// Every task of the edge holds a receiver, so that shutdown can wait for the last one.
    tasks: watch::Sender<()>,
}

/// Held by every task that must end before the edge has shut down.
pub(super) type Task = watch::Receiver<()>;

impl Live {
    pub(super) fn new(config: Config, registry: Registry) -> Self {
        registry.set_push_bounds(config.push_bounds());
        Self {
            config,
            registry,
            in_flight: AtomicUsize::new(0),
            in_flight_bytes: AtomicUsize::new(0),
            sessions: Mutex::default(),
            tasks: watch::Sender::new(()),
        }
    }

    /// Whether all connections together may have a request of `size` bytes more. Those that ask at the same time may go over
    /// by one each.
    pub(super) fn has_room(&self, size: usize) -> bool {
        let bytes = self.in_flight_bytes.load(Ordering::Relaxed).saturating_add(size);
        self.in_flight.load(Ordering::Relaxed) < self.config.max_in_flight_total
            && bytes <= self.config.max_in_flight_bytes_total
    }

    /// A request of `size` bytes was accepted.
    pub(super) fn begin(&self, size: usize) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.in_flight_bytes.fetch_add(size, Ordering::Relaxed);
    }

    /// It was executed.
    pub(super) fn end(&self, size: usize) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.in_flight_bytes.fetch_sub(size, Ordering::Relaxed);
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

    // No operation on the map panics half-way, so a poisoned lock holds a whole map.
    fn sessions(&self) -> MutexGuard<'_, HashMap<ConnectionId, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.live.sessions().remove(&self.session.id());
    }
}
