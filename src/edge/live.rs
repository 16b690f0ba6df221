//! What all connections of one edge share, and the connections that are open.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
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
    pub(super) in_flight: AtomicUsize,
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
            sessions: Mutex::default(),
            tasks: watch::Sender::new(()),
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
