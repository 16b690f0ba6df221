//! What is wrong with a packet.

use std::fmt;

use crate::topic::InvalidTopic;

/// What is wrong with the bytes of a packet, or with a packet that is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PacketErrorKind {
    /// Packet type 0 or 15, which these versions do not have.
    #[error("unknown packet type {0}")]
    UnknownType(u8),
    /// The lower four bits of the first byte are not what the packet type requires.
    #[error("bad flags in the fixed header")]
    BadFlags,
    /// A remaining length of more than four bytes.
    #[error("malformed remaining length")]
    MalformedRemainingLength,
    /// The packet is larger than the limit for its kind.
    #[error("packet has {len} bytes where {max} are allowed")]
    TooLarge {
        /// Its size: the payload of a PUBLISH, the remaining length of any other packet.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A field does not fit into the packet.
    #[error("field is truncated")]
    Truncated,
    /// The packet goes on after its last field.
    #[error("bytes after the last field")]
    TrailingBytes,
    /// A string is not UTF-8.
    #[error("string is not UTF-8")]
    InvalidUtf8,
    /// A string has U+0000.
    #[error("string has a NUL")]
    Nul,
    /// A topic name or filter is empty.
    #[error("topic is empty")]
    EmptyTopic,
    /// A topic name has `+` or `#`.
    #[error("topic name has a wildcard")]
    WildcardInTopic,
    /// A topic filter has a misplaced `+` or `#`.
    #[error("topic filter has a misplaced wildcard")]
    InvalidFilter,
    /// Packet identifier 0.
    #[error("packet identifier is 0")]
    ZeroPacketId,
    /// QoS 3.
    #[error("QoS is 3")]
    InvalidQos,
    /// A bit that must be 0 is 1.
    #[error("reserved bit is set")]
    ReservedBits,
    /// A CONNECT whose protocol name is neither `MQIsdp` nor `MQTT`.
    #[error("unknown protocol name")]
    UnknownProtocolName,
    /// A CONNECT whose level is not that of its protocol name: 3 for `MQIsdp`, 4 for `MQTT`.
    #[error("unsupported protocol level {0}")]
    UnsupportedProtocolLevel(u8),
    /// A CONNECT with a password and without a user name.
    #[error("password without a user name")]
    PasswordWithoutUsername,
    /// A CONNECT without a will and with will QoS or will retain (3.1.1).
    #[error("will QoS or will retain without a will")]
    WillFlagsWithoutWill,
    /// SUBSCRIBE, UNSUBSCRIBE or SUBACK with nothing in it.
    #[error("packet has no entries")]
    NoEntries,
    /// A return code that no version defines.
    #[error("unknown return code {0}")]
    UnknownReturnCode(u8),
    /// The first packet is not a CONNECT, or a later one is. See `Decoder::expecting_connect`.
    #[error("CONNECT must be the first packet, and only the first")]
    ConnectOutOfPlace,
    /// To be written only: a string or a binary field of more than 65,535 bytes.
    #[error("field has {0} bytes, more than the 65535 that MQTT can carry")]
    FieldTooLong(usize),
    /// To be written only: a packet identifier or DUP at QoS 0, or no packet identifier above it.
    #[error("packet identifier or DUP does not fit the QoS")]
    InconsistentQos,
}

impl PacketErrorKind {
    /// Whether a CONNECT asks for a version other than 3.1 and 3.1.1, which is answered with CONNACK 1.
    pub fn is_unsupported_version(self) -> bool {
        matches!(self, Self::UnknownProtocolName | Self::UnsupportedProtocolLevel(_))
    }
}

/// Why bytes are not a packet, and where. Fatal for the connection: MQTT has no way to find the next packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PacketError {
    kind: PacketErrorKind,
    offset: usize,
}

impl PacketError {
    pub(super) fn new(kind: PacketErrorKind, offset: usize) -> Self {
        Self { kind, offset }
    }

    /// The fault of a topic name or filter whose first character stands at `offset`.
    pub(super) fn of_topic(error: InvalidTopic, filter: bool, offset: usize) -> Self {
        let (kind, at) = match error {
            InvalidTopic::NotUtf8(at) => (PacketErrorKind::InvalidUtf8, at),
            InvalidTopic::Nul(at) => (PacketErrorKind::Nul, at),
            InvalidTopic::Wildcard(at) if filter => (PacketErrorKind::InvalidFilter, at),
            InvalidTopic::Wildcard(at) => (PacketErrorKind::WildcardInTopic, at),
            InvalidTopic::TooLong(len) => (PacketErrorKind::FieldTooLong(len), 0),
            InvalidTopic::Empty | InvalidTopic::RelativePath => (PacketErrorKind::EmptyTopic, 0),
        };
        Self::new(kind, offset + at)
    }

    /// What is wrong.
    pub fn kind(&self) -> PacketErrorKind {
        self.kind
    }

    /// Where: bytes from the first byte of the packet.
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {} of the packet", self.kind, self.offset)
    }
}

impl std::error::Error for PacketError {}
