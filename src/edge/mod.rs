//! The MQTT side of a service: frames in, `http` requests to a [`tower_service::Service`], answers out.

mod directory;
mod push;

pub use directory::{Admission, ConnectionId, Directory, Login, Peer, Role};
pub use push::{PushOutcome, Pusher};
