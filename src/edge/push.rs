//! Pushes: from the service to the one connection of a client.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::ids::ClientId;

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PushOutcome {
    /// Queued for a connection that has its SUBACK. QoS 0: no more is known.
    Queued,
    /// No connection with this client id.
    NotConnected,
    /// Connected, but without a subscription to `{mqttTopic}` yet.
    NotSubscribed,
    /// The connection's queue is full; the push was dropped and counted.
    Overloaded,
}

/// The seam between a service and however many edges there are. On one machine it is a map in memory.
pub trait Pusher: Send + Sync + 'static {
    /// Sends `payload` (at most 4096 bytes by the documentation, not checked here) to `client`'s own topic.
    fn push<'a>(
        &'a self,
        client: &'a ClientId,
        payload: Bytes,
    ) -> Pin<Box<dyn Future<Output = PushOutcome> + Send + 'a>>;

    /// Says that a connection of `client` with `epoch` exists now; every older one, wherever it is, is closed.
    fn claim<'a>(&'a self, client: &'a ClientId, epoch: u64) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

    /// Closes the connection of `client`, if there is one: its credential is no longer valid.
    fn disconnect<'a>(&'a self, client: &'a ClientId) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}
