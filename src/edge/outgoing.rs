//! What waits to leave, over all connections of a registry, and who must go when it is too much.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::config::Config;
use super::ending::Ending;
use super::live::Live;
use super::session::Session;

/// The bytes of answers and pushes that wait for their connections, all together.
pub(super) struct Outgoing {
    total: AtomicUsize,
    limit: AtomicUsize,
    /// Whose connections share the limit.
    edges: Mutex<Vec<Weak<Live>>>,
}

impl Default for Outgoing {
    fn default() -> Self {
        let limit = AtomicUsize::new(Config::default().max_outgoing_total);
        Self { total: AtomicUsize::default(), limit, edges: Mutex::default() }
    }
}

impl Outgoing {
    /// Has the connections of `edge` counted among the others, within the limit of its configuration.
    pub(super) fn attach(&self, edge: &Arc<Live>) {
        self.limit.store(edge.config.max_outgoing_total, Ordering::Relaxed);
        let mut edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        edges.retain(|edge| edge.strong_count() > 0);
        edges.push(Arc::downgrade(edge));
    }

    pub(super) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: usize) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, bytes: usize) {
        self.total.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Ends the connections that hold the most, if all together hold more than the limit.
    pub(super) fn relieve(&self) {
        let limit = self.limit.load(Ordering::Relaxed);
        if self.total() <= limit {
            return;
        }
        // Whoever finds the lock taken need not wait: somebody is at it.
        let Ok(edges) = self.edges.try_lock() else { return };
        let mut holders: Vec<Arc<Session>> = Vec::new();
        for edge in edges.iter().filter_map(Weak::upgrade) {
            edge.each_session(|session| {
                if session.held() > 0 && !session.is_ending() {
                    holders.push(Arc::clone(session));
                }
            });
        }
        // Those that are on their way out already still hold something; it is not to cost others their connection.
        let mut held: usize = holders.iter().map(|session| session.held()).sum();
        if held <= limit {
            return;
        }
        holders.sort_unstable_by_key(|session| std::cmp::Reverse(session.held()));
        // Some more than need be, or the next answer would have to do it all again.
        let goal = limit - limit / 8;
        for session in holders {
            if held <= goal {
                break;
            }
            held = held.saturating_sub(session.held());
            session.end(Ending::OutgoingFull);
        }
    }
}
