//! Why a connection ended.

use std::fmt;
use std::io;

use crate::mqtt::RefusedReason;
use crate::mqtt::packet::PacketError;

use super::metrics::Counters;

/// Why a connection ended. Its `Display` goes to the log, so it holds nothing that a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// DISCONNECT.
    Disconnect,
    /// The peer closed its side.
    Closed,
    /// The socket failed.
    Io(io::ErrorKind),
    /// TLS could not be agreed on.
    Tls,
    /// The WebSocket upgrade was refused, or the peer broke the WebSocket protocol.
    WebSocket,
    /// No complete CONNECT in time.
    ConnectTimeout,
    /// CONNECT was refused.
    Refused(RefusedReason),
    /// Silence of 1.5 keep-alives.
    KeepAlive,
    /// A newer connection has the client identifier.
    TakenOver,
    /// [`Pusher::disconnect`](super::Pusher::disconnect).
    Revoked,
    /// The peer broke MQTT.
    Packet(PacketError),
    /// A packet that only servers send.
    ServerPacket,
    /// More QoS 2 packet identifiers without PUBREL than allowed.
    Unreleased,
    /// The peer did not take what was written for it.
    SlowConsumer,
    /// All connections together hold too much that waits to leave, and this one the most.
    OutgoingFull,
    /// The edge shuts down.
    Shutdown,
}

impl Ending {
    /// Whether the peer may still want what is written for it, so that closing waits for it.
    pub(super) fn lingers(self) -> bool {
        !matches!(self, Ending::Disconnect | Ending::Closed | Ending::Io(_) | Ending::Tls) && !self.is_deaf()
    }

    /// Whether the peer takes nothing, so that there is no use in a goodbye.
    pub(super) fn is_deaf(self) -> bool {
        matches!(self, Ending::SlowConsumer | Ending::OutgoingFull)
    }

    /// Counts it.
    pub(super) fn count(self, counters: &Counters) {
        match self {
            Ending::Refused(_) => counters.refused.add(),
            Ending::KeepAlive => counters.keep_alive_expired.add(),
            Ending::TakenOver => counters.taken_over.add(),
            Ending::Packet(_) | Ending::ServerPacket | Ending::Unreleased | Ending::WebSocket => {
                counters.protocol_errors.add();
            }
            Ending::SlowConsumer => counters.slow_consumers.add(),
            Ending::OutgoingFull => counters.outgoing_overflows.add(),
            Ending::Disconnect
            | Ending::Closed
            | Ending::Io(_)
            | Ending::Tls
            | Ending::ConnectTimeout
            | Ending::Revoked
            | Ending::Shutdown => {}
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Disconnect => f.write_str("the client disconnected"),
            Ending::Closed => f.write_str("the client closed the connection"),
            Ending::Io(kind) => write!(f, "the connection failed: {kind}"),
            Ending::Tls => f.write_str("no TLS session could be agreed on"),
            Ending::WebSocket => f.write_str("the client broke the WebSocket protocol"),
            Ending::ConnectTimeout => f.write_str("no CONNECT in time"),
            Ending::Refused(reason) => write!(f, "CONNECT refused with code {}: {reason}", reason.code()),
            Ending::KeepAlive => f.write_str("nothing heard for 1.5 keep-alives"),
            Ending::TakenOver => f.write_str("a newer connection has this client id"),
            Ending::Revoked => f.write_str("its credential is no longer valid"),
            Ending::Packet(error) => write!(f, "the client broke MQTT: {error}"),
            Ending::ServerPacket => f.write_str("the client sent a packet that only servers send"),
            Ending::Unreleased => f.write_str("too many QoS 2 packet identifiers without PUBREL"),
            Ending::SlowConsumer => f.write_str("the client does not take what is written for it"),
            Ending::OutgoingFull => f.write_str("it holds the most of what waits to leave, and all hold too much"),
            Ending::Shutdown => f.write_str("the edge shuts down"),
        }
    }
}

impl From<PacketError> for Ending {
    fn from(error: PacketError) -> Self {
        if error.kind().is_unsupported_version() {
            return Ending::Refused(RefusedReason::ProtocolVersion);
        }
        Ending::Packet(error)
    }
}

impl From<io::Error> for Ending {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // Peers that just go away do it in these ways.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => Ending::Closed,
            kind => Ending::Io(kind),
        }
    }
}
