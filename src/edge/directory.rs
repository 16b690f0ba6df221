//! Who may connect, and as what.

use std::future::Future;
use std::net::SocketAddr;

use crate::ids::{AppId, ClientId};
use crate::mqtt::packet::Protocol;
use crate::mqtt::{Credentials, RefusedReason, Scheme};

/// A number that no other connection of this process has had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What a CONNECT says, for [`Directory::admit`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Login {
    /// Version of MQTT.
    pub protocol: Protocol,
    /// Client identifier, user name, password.
    pub credentials: Credentials,
    /// How the connection came.
    pub scheme: Scheme,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The address that accepted it.
    pub local: SocketAddr,
}

/// Which of the protocol's two brokers a connection plays against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The default broker: client id `anonymous`, onboarding only, any number side by side. (`wire` §1.1)
    Onboarding,
    /// The assigned broker: one connection per client id, a newer one takes over. (`wire` §1.2)
    Assigned,
}

/// What [`Directory::admit`] grants.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The role.
    pub role: Role,
    /// The application whose paths it may call.
    pub app_id: AppId,
}

/// Who asks: found in the extensions of every request that the edge hands to its service.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Peer {
    /// The role that was granted.
    pub role: Role,
    /// The application that was granted.
    pub app_id: AppId,
    /// The client identifier of the CONNECT.
    pub client_id: ClientId,
    /// The connection.
    pub connection: ConnectionId,
    /// How it came.
    pub scheme: Scheme,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The address that accepted it.
    pub local: SocketAddr,
}

/// Decides who may connect.
pub trait Directory: Send + Sync + 'static {
    /// Judges a CONNECT whose client id and user name are well-formed.
    ///
    /// # Errors
    /// The reason goes out in the CONNACK: 4 for a wrong user name or password, 5 for an unknown application,
    /// 3 when the directory itself cannot answer. (`wire` §8)
    fn admit(&self, login: &Login) -> impl Future<Output = Result<Admission, RefusedReason>> + Send;
}
