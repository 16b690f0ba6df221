//! Which clients are connected: the in-memory [`Pusher`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::config::{Config, PushBounds};
use super::ending::Ending;
use super::live::Live;
use super::metrics::{Counters, Metrics};
use super::outgoing::Outgoing;
use super::session::Session;
use super::tap::{Tap, Taps};
use super::{PushOutcome, Pusher, Role};
use crate::ids::ClientId;

/// The connections of one process. Cheap to clone; all clones are one registry.
///
/// It is made first and given to the service, which pushes through it, and to the [`Edge`](super::Edge), which fills it:
///
/// ```
/// use thingif::edge::Registry;
/// use thingif::ids::ClientId;
///
/// let registry = Registry::new();
/// assert!(!registry.is_connected(&ClientId::new("Q2w3E4r5")?));
/// # Ok::<(), thingif::ids::InvalidId>(())
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    clients: Mutex<Clients>,
    onboarding: AtomicUsize,
    counters: Counters,
    taps: Taps,
    next_connection: AtomicU64,
    push_queue: AtomicUsize,
    max_dropped_pushes: AtomicUsize,
    outgoing: Arc<Outgoing>,
}

#[derive(Default)]
struct Clients {
    connected: HashMap<ClientId, Client>,
    /// Connections whose CONNECT is being judged: what is revoked meanwhile must not come in.
    at_the_door: HashMap<ClientId, Vec<Arc<Session>>>,
    last_epoch: u64,
}

/// The one connection of a client identifier.
struct Client {
    epoch: u64,
    session: Arc<Session>,
}

/// How many connections there are, by role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connections {
    /// On the default broker: `anonymous`, onboarding.
    pub onboarding: usize,
    /// On the assigned broker: one each client identifier.
    pub assigned: usize,
}

/// What waits for one connection, and what it has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Backlog {
    /// Bytes of answers and pushes that wait to leave.
    pub bytes: usize,
    /// Pushes among them that the connection has not looked at yet.
    pub pushes: usize,
    /// Pushes that were dropped because [`Config::push_queue`] of them were waiting.
    pub pushes_dropped: u64,
}

impl Registry {
    /// A registry without connections.
    pub fn new() -> Self {
        let registry = Self::default();
        registry.set_push_bounds(Config::default().push_bounds());
        registry
    }

    /// Whether `client` is connected to the assigned broker now, subscribed or not.
    pub fn is_connected(&self, client: &ClientId) -> bool {
        self.clients().connected.contains_key(client)
    }

    /// How many connections have been admitted and have not ended.
    pub fn connections(&self) -> Connections {
        Connections {
            onboarding: self.inner.onboarding.load(Ordering::Relaxed),
            assigned: self.clients().connected.len(),
        }
    }

    /// What waits for `client` now; `None` when it is not connected to the assigned broker.
    pub fn backlog(&self, client: &ClientId) -> Option<Backlog> {
        let session = self.clients().connected.get(client).map(|found| Arc::clone(&found.session))?;
        let (pushes, pushes_dropped) = session.backlog();
        Some(Backlog { bytes: session.held(), pushes, pushes_dropped })
    }

    /// Bytes of answers and pushes that wait to leave now, over all connections.
    pub fn outgoing_bytes(&self) -> usize {
        self.inner.outgoing.total()
    }

    /// What has been counted since this registry was made.
    pub fn metrics(&self) -> Metrics {
        self.inner.counters.snapshot()
    }

    /// Shows what passes from now on: frames, answers and pushes, secrets included. While nobody looks it costs one comparison
    /// a message.
    pub fn tap(&self) -> Tap {
        self.inner.taps.open()
    }

    pub(super) fn taps(&self) -> &Taps {
        &self.inner.taps
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    pub(super) fn set_push_bounds(&self, bounds: PushBounds) {
        self.inner.push_queue.store(bounds.queue, Ordering::Relaxed);
        self.inner.max_dropped_pushes.store(bounds.max_dropped, Ordering::Relaxed);
    }

    fn push_bounds(&self) -> PushBounds {
        PushBounds {
            queue: self.inner.push_queue.load(Ordering::Relaxed),
            max_dropped: self.inner.max_dropped_pushes.load(Ordering::Relaxed),
        }
    }

    /// Has the connections of `edge` counted among those that share a bound on what waits to leave.
    pub(super) fn attach(&self, edge: &Arc<Live>) {
        self.inner.outgoing.attach(edge);
    }

    pub(super) fn outgoing(&self) -> Arc<Outgoing> {
        Arc::clone(&self.inner.outgoing)
    }

    /// Ends the connections that hold the most, if all together hold too much.
    pub(super) fn relieve(&self) {
        self.inner.outgoing.relieve();
    }

    /// A number for a new connection.
    pub(super) fn number(&self) -> super::ConnectionId {
        super::ConnectionId(self.inner.next_connection.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Notes that a CONNECT of `client` is being judged, until the result is dropped. `anonymous` is nobody in particular.
    pub(super) fn approach(&self, client: &ClientId, session: &Arc<Session>) -> Approach {
        if !client.is_anonymous() {
            self.clients().at_the_door.entry(client.clone()).or_default().push(Arc::clone(session));
        }
        Approach { registry: self.clone(), client: client.clone(), session: Arc::clone(session) }
    }

    /// Enters an admitted connection; on the assigned broker it takes over from an older one of the same client.
    /// Dropping the registration takes it out again.
    pub(super) fn enter(&self, role: Role, client: &ClientId, session: &Arc<Session>) -> Registration {
        let epoch = match role {
            Role::Onboarding => {
                self.inner.onboarding.fetch_add(1, Ordering::Relaxed);
                0
            }
            Role::Assigned => {
                let mut clients = self.clients();
                // Grows in this process, and from one process to the next as far as their clocks agree, so that edges
                // that share a messaging system can tell which of two connections is newer.
                let epoch = now_in_microseconds().max(clients.last_epoch + 1);
                clients.last_epoch = epoch;
                let newer = Client { epoch, session: Arc::clone(session) };
                if let Some(older) = clients.connected.insert(client.clone(), newer) {
                    older.session.end(Ending::TakenOver);
                }
                epoch
            }
        };
        Registration { registry: self.clone(), role, epoch, client: client.clone(), session: Arc::clone(session) }
    }

    fn leave(&self, registration: &Registration) {
        match registration.role {
            Role::Onboarding => {
                self.inner.onboarding.fetch_sub(1, Ordering::Relaxed);
            }
            Role::Assigned => {
                let mut clients = self.clients();
                if let Entry::Occupied(entry) = clients.connected.entry(registration.client.clone())
                    && entry.get().session.id() == registration.session.id()
                {
                    entry.remove();
                }
            }
        }
    }

    /// Takes `client` out and ends its connection, if `condition` holds for its epoch.
    fn remove(&self, client: &ClientId, ending: Ending, condition: impl Fn(u64) -> bool) {
        let mut clients = self.clients();
        if let Entry::Occupied(entry) = clients.connected.entry(client.clone())
            && condition(entry.get().epoch)
        {
            entry.remove().session.end(ending);
        }
    }

    fn push_now(&self, client: &ClientId, payload: Bytes) -> PushOutcome {
        let session = self.clients().connected.get(client).map(|found| Arc::clone(&found.session));
        let Some(session) = session else { return PushOutcome::NotConnected };
        let outcome = session.push(payload, self.push_bounds());
        self.relieve();
        match outcome {
            PushOutcome::Queued => self.counters().pushes.add(),
            PushOutcome::Overloaded => self.counters().pushes_dropped.add(),
            PushOutcome::NotConnected | PushOutcome::NotSubscribed => {}
        }
        outcome
    }

    // No operation on the map panics half-way, so a poisoned lock holds a whole map.
    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.inner.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("connections", &self.connections()).finish_non_exhaustive()
    }
}

impl Pusher for Registry {
    fn push<'a>(
        &'a self,
        client: &'a ClientId,
        payload: Bytes,
    ) -> Pin<Box<dyn Future<Output = PushOutcome> + Send + 'a>> {
        Box::pin(ready(self.push_now(client, payload)))
    }

    fn claim<'a>(&'a self, client: &'a ClientId, epoch: u64) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.remove(client, Ending::TakenOver, |held| held < epoch);
        Box::pin(ready(()))
    }

    fn disconnect<'a>(&'a self, client: &'a ClientId) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        // First those at the door: one of them may be inside a moment later.
        for session in self.clients().at_the_door.get(client).into_iter().flatten() {
            session.end(Ending::Revoked);
        }
        self.remove(client, Ending::Revoked, |_| true);
        Box::pin(ready(()))
    }
}

fn now_in_microseconds() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}

/// A connection whose CONNECT is being judged.
pub(super) struct Approach {
    registry: Registry,
    client: ClientId,
    session: Arc<Session>,
}

impl Drop for Approach {
    fn drop(&mut self) {
        let mut clients = self.registry.clients();
        if let Entry::Occupied(mut entry) = clients.at_the_door.entry(self.client.clone()) {
            entry.get_mut().retain(|session| session.id() != self.session.id());
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }
}

/// The place of an admitted connection in the registry.
pub(super) struct Registration {
    registry: Registry,
    role: Role,
    epoch: u64,
    client: ClientId,
    session: Arc<Session>,
}

impl Registration {
    /// Greater than that of every older connection of the client. 0 on the default broker.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.leave(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::ConnectionId;

    fn client() -> ClientId {
        ClientId::new("device1").expect("valid")
    }

    fn session(registry: &Registry) -> Arc<Session> {
        Arc::new(Session::new(registry.number(), registry.outgoing()))
    }

    async fn ending(session: &Session) -> Ending {
        session.asked_to_end().await
    }

    #[tokio::test]
    async fn a_newer_connection_takes_over_and_the_older_one_leaves_it_alone() {
        let registry = Registry::new();
        let (old, new) = (session(&registry), session(&registry));
        let old_place = registry.enter(Role::Assigned, &client(), &old);
        let new_place = registry.enter(Role::Assigned, &client(), &new);
        assert_eq!(ending(&old).await, Ending::TakenOver);
        drop(old_place);
        assert!(registry.is_connected(&client()), "the older one's end must not take the newer one out");
        drop(new_place);
        assert_eq!(registry.connections(), Connections::default());
    }

    #[tokio::test]
    async fn anonymous_connections_stand_side_by_side() {
        let registry = Registry::new();
        let anonymous = ClientId::anonymous();
        let sessions: Vec<_> = (0..3).map(|_| session(&registry)).collect();
        let places: Vec<_> = sessions.iter().map(|s| registry.enter(Role::Onboarding, &anonymous, s)).collect();
        assert_eq!(registry.connections(), Connections { onboarding: 3, assigned: 0 });
        assert_eq!(registry.push(&anonymous, Bytes::from_static(b"{}")).await, PushOutcome::NotConnected);
        drop(places);
        assert_eq!(registry.connections(), Connections::default());
    }

    #[tokio::test]
    async fn a_claim_from_elsewhere_closes_older_connections_only() {
        let registry = Registry::new();
        let session = session(&registry);
        let _place = registry.enter(Role::Assigned, &client(), &session);
        registry.claim(&client(), 1).await;
        assert!(registry.is_connected(&client()), "an older claim loses");
        registry.claim(&client(), u64::MAX).await;
        assert!(!registry.is_connected(&client()));
        assert_eq!(ending(&session).await, Ending::TakenOver);
    }

    #[tokio::test]
    async fn pushes_need_a_subscription_and_room() {
        let registry = Registry::new();
        registry.set_push_bounds(PushBounds { queue: 2, max_dropped: 2 });
        let push = || registry.push_now(&client(), Bytes::from_static(b"{}"));
        assert_eq!(push(), PushOutcome::NotConnected);
        let session = session(&registry);
        let place = registry.enter(Role::Assigned, &client(), &session);
        assert_eq!(push(), PushOutcome::NotSubscribed);
        session.subscribe();
        assert_eq!([push(), push(), push()], [PushOutcome::Queued, PushOutcome::Queued, PushOutcome::Overloaded]);
        assert_eq!((registry.metrics().pushes, registry.metrics().pushes_dropped), (2, 1));
        let backlog = Backlog { bytes: 4, pushes: 2, pushes_dropped: 1 };
        assert_eq!((registry.backlog(&client()), registry.outgoing_bytes()), (Some(backlog), 4));
        session.unsubscribe();
        assert_eq!(push(), PushOutcome::NotSubscribed);
        registry.disconnect(&client()).await;
        assert_eq!(push(), PushOutcome::NotConnected);
        assert_eq!(ending(&session).await, Ending::Revoked);
        drop(place);
    }

    #[tokio::test]
    async fn who_is_revoked_at_the_door_does_not_stay() {
        let registry = Registry::new();
        let (first, second) = (session(&registry), session(&registry));
        let approaches = [registry.approach(&client(), &first), registry.approach(&client(), &second)];
        registry.disconnect(&client()).await;
        assert_eq!((ending(&first).await, ending(&second).await), (Ending::Revoked, Ending::Revoked));
        drop(approaches);
        assert!(registry.clients().at_the_door.is_empty());
        let anonymous = registry.approach(&ClientId::anonymous(), &first);
        assert!(registry.clients().at_the_door.is_empty(), "nobody in particular");
        drop(anonymous);
    }

    #[test]
    fn connection_numbers_are_never_used_twice() {
        let registry = Registry::new();
        let other = registry.clone();
        assert_eq!((registry.number(), other.number()), (ConnectionId(1), ConnectionId(2)));
    }
}
