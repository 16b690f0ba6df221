//! MQTT 3.1 (`MQIsdp`, level 3) and 3.1.1 control packets, read and written in both directions.
//!
//! [`Decoder`] takes packets off a buffer as it fills; [`encode`] and [`encode_publish`] append them to one. Nothing here
//! knows a socket. Payloads are slices of the buffer they arrived in.

mod decode;
mod encode;
mod error;
mod fields;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroU16;

use bytes::Bytes;

pub use decode::{Decoded, Decoder, Limits, Oversize};
pub use encode::{MAX_REMAINING_LENGTH, encode, encode_publish};
pub use error::{PacketError, PacketErrorKind};

use crate::mqtt::Qos;
use crate::topic::{Topic, TopicFilter};

/// The two versions of MQTT that this protocol's clients speak. (`wire` §1.3)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// MQTT 3.1: protocol name `MQIsdp`, level 3.
    V31,
    /// MQTT 3.1.1: protocol name `MQTT`, level 4.
    V311,
}

/// A packet identifier, never 0.
pub type PacketId = NonZeroU16;

/// A control packet.
#[derive(Debug, Clone, PartialEq)]
pub enum Packet {
    /// Client to server, first packet.
    Connect(Box<Connect>),
    /// Server to client, answer to CONNECT.
    ConnAck {
        /// 3.1.1 only; written as 0 for 3.1.
        session_present: bool,
        /// 0 accepted, 1 to 5 refused.
        code: u8,
    },
    /// Either way: an application message.
    Publish(PublishPacket),
    /// QoS 1 acknowledgement.
    PubAck(PacketId),
    /// QoS 2, first acknowledgement.
    PubRec(PacketId),
    /// QoS 2, release.
    PubRel(PacketId),
    /// QoS 2, complete.
    PubComp(PacketId),
    /// Client to server.
    Subscribe {
        /// Packet identifier.
        id: PacketId,
        /// Filters with the QoS asked for; never empty.
        filters: Vec<(TopicFilter, Qos)>,
    },
    /// Server to client: one return code a filter, 0, 1, 2 or 0x80.
    SubAck {
        /// Packet identifier.
        id: PacketId,
        /// Return codes.
        codes: Vec<u8>,
    },
    /// Client to server.
    Unsubscribe {
        /// Packet identifier.
        id: PacketId,
        /// Filters; never empty.
        filters: Vec<TopicFilter>,
    },
    /// Server to client.
    UnsubAck(PacketId),
    /// Client to server.
    PingReq,
    /// Server to client.
    PingResp,
    /// Client to server, last packet.
    Disconnect,
}

/// CONNECT.
#[derive(Clone, PartialEq)]
pub struct Connect {
    /// Version.
    pub protocol: Protocol,
    /// Clean session flag.
    pub clean_session: bool,
    /// Keep-alive in seconds; 0 switches it off.
    pub keep_alive: u16,
    /// Client identifier; may be empty on the wire.
    pub client_id: String,
    /// Will, which this protocol never uses.
    pub will: Option<Will>,
    /// User name.
    pub username: Option<String>,
    /// Password: binary on the wire.
    pub password: Option<Bytes>,
}

/// Shows everything but the password and the will's message.
impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("protocol", &self.protocol)
            .field("clean_session", &self.clean_session)
            .field("keep_alive", &self.keep_alive)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "[redacted]"))
            .finish()
    }
}

/// The will of a CONNECT.
#[derive(Clone, PartialEq)]
pub struct Will {
    /// Topic name.
    pub topic: Topic,
    /// Message.
    pub message: Bytes,
    /// Quality of service.
    pub qos: Qos,
    /// Retain flag.
    pub retain: bool,
}

/// Shows the length of the message, not the message.
impl fmt::Debug for Will {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Will({:?}, {} bytes, {:?})", self.topic, self.message.len(), self.qos)
    }
}

/// PUBLISH.
#[derive(Clone, PartialEq)]
pub struct PublishPacket {
    /// DUP flag.
    pub dup: bool,
    /// Retain flag.
    pub retain: bool,
    /// Quality of service.
    pub qos: Qos,
    /// Present iff `qos` is above 0.
    pub id: Option<PacketId>,
    /// Topic name.
    pub topic: Topic,
    /// Payload, a slice of the packet's bytes.
    pub payload: Bytes,
}

/// Shows topic and length. Payloads carry tokens and are not shown.
impl fmt::Debug for PublishPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dup, retain, qos, id, topic, payload } = self;
        write!(f, "Publish({topic:?}, {} bytes, {qos:?}, id {id:?}, dup {dup}, retain {retain})", payload.len())
    }
}
