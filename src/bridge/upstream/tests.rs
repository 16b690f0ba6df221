//! What the tests of this module share.

use crate::edge::{ConnectionId, Peer, Role};
use crate::ids::{AppId, ClientId};
use crate::mqtt::Scheme;

/// A device on the assigned broker, come over TLS.
pub(super) fn peer() -> Peer {
    Peer {
        role: Role::Assigned,
        app_id: AppId::new("app1").expect("valid"),
        client_id: ClientId::new("device").expect("valid"),
        connection: ConnectionId(1),
        scheme: Scheme::Mqtts,
        remote: ([192, 0, 2, 7], 4711).into(),
        local: ([192, 0, 2, 1], 8883).into(),
    }
}
