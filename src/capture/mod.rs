//! Captures: what happened on links, one JSON object a line, to be kept, read and replayed.
//!
//! ```text
//! {"capture":1,"source":"edge","note":"…","redacted":true}
//! {"us":0,"link":1,"direction":"out","kind":"connect","endpoint":"mqtt://127.0.0.1:1883","client_id":"anonymous","username":"type=oauth2&client_id=a1"}
//! {"us":912,"link":1,"direction":"in","kind":"connected"}
//! {"us":1040,"link":1,"direction":"out","kind":"publish","topic":"p/anonymous/thing-if/apps/a1/onboardings","qos":0,"payload":"POST\r\n…"}
//! {"us":9630,"link":1,"direction":"in","kind":"received","topic":"p/anonymous/thing-if/apps/a1/onboardings","qos":0,"payload":"200\r\n…"}
//! {"us":9700,"link":1,"direction":"out","kind":"close"}
//! ```
//!
//! The first line is the [`Header`], whose member `capture` is the version of the format. Every other line is an
//! [`Entry`]: `us` is the time in microseconds since the capture began, `link` numbers the connections, and the members
//! after `kind` depend on it:
//!
//! | `kind` | members | what happened, seen from the device |
//! |---|---|---|
//! | `connect` | `endpoint`, `client_id`, `username`, `protocol` | it tried to connect; the password is never written; `protocol` is `3.1`, `3.1.1`, or absent if nobody knows |
//! | `connected` | | CONNACK 0 |
//! | `refused` | `error`, `detail` | the attempt failed; `error` is `refused-1` to `refused-5` for a CONNACK |
//! | `subscribe` | `filter` | SUBSCRIBE |
//! | `subscribed` | `filter`, `granted` | SUBACK |
//! | `unsubscribe` | `filter` | UNSUBSCRIBE; its answer says nothing and is not written |
//! | `publish` | `topic`, `qos`, `payload` | it sent a PUBLISH |
//! | `received` | `topic`, `qos`, `payload` | a PUBLISH arrived |
//! | `lost` | `error`, `detail` | the connection ended |
//! | `close` | | it sent DISCONNECT |
//! | `dropped` | | it gave the attempt up, or dropped the link without a DISCONNECT |
//! | `stopped` | `detail` | the recording ended here, before what it recorded did: the last line |
//!
//! A payload that is not UTF-8 is written as `{"hex":"00ff"}`: such payloads are rare and small, and hexadecimal needs no
//! further dependency. Members that a reader does not know are ignored, so later versions may add some; `direction`
//! follows from `kind` and is there for people and their tools.
//!
//! A capture is whole up to its last line at any time: each line is one write. A last line without its end is told from one that
//! is wrong ([`CaptureErrorKind::Torn`]), and a recording that reaches its bound ends with `stopped`.
//!
//! [`Conversation`] makes entries of the bytes of a connection, and `pcap` (with the feature of that name) of recorded packets.
//!
//! Masked values keep their length and their blanks, `-`, `_`, `.` and `=`; [`secrets_in`](crate::secret::secrets_in) finds them
//! again, so that a replay knows what was never written.
//!
//! Secrets are [redacted](crate::secret::redact()) unless the writer is told otherwise.

mod code;
mod conversation;
#[cfg(feature = "pcap")]
pub mod pcap;
mod read;
mod write;

use std::time::Duration;

pub use conversation::{Conversation, MAX_PAYLOAD, Omission};
pub use read::{CaptureError, CaptureErrorKind, MAX_LINE_LEN, Reader};
pub use write::Writer;

use crate::ids::ClientId;
use crate::mqtt::packet::Protocol;
use crate::mqtt::{Endpoint, LinkError, Publish};
use crate::topic::TopicFilter;

/// The version of the format that [`Writer`] writes and the newest that [`Reader`] reads.
pub const VERSION: u64 = 1;

/// The first line of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Where the bytes come from: `live` (a real Kii broker), `edge`, `third-party client`, `documentation`, `hand-made`
    /// or any other word that says it honestly. May be empty.
    pub source: String,
    /// A remark. May be empty.
    pub note: String,
    /// Whether secrets were redacted. [`Writer`] sets it.
    pub redacted: bool,
}

impl Header {
    /// A header that names its source.
    pub fn new(source: impl Into<String>) -> Self {
        Self { source: source.into(), note: String::new(), redacted: true }
    }
}

/// One line: something that happened on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When, counted from the beginning of the capture. Written in whole microseconds.
    pub at: Duration,
    /// On which connection: a number that grows with each attempt to connect.
    pub link: u64,
    /// What.
    pub event: Event,
}

/// What happened, seen from the device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It tries to connect.
    Connect {
        /// To where.
        endpoint: Endpoint,
        /// Client identifier.
        client_id: ClientId,
        /// User name. There is no place for a password.
        username: String,
        /// The version of MQTT, if whoever recorded could see it.
        protocol: Option<Protocol>,
    },
    /// CONNACK 0.
    Connected,
    /// The attempt failed.
    Refused(LinkError),
    /// It sent a SUBSCRIBE.
    Subscribe(TopicFilter),
    /// A SUBACK arrived.
    Subscribed {
        /// The filter asked for.
        filter: TopicFilter,
        /// Whether it was granted.
        granted: bool,
    },
    /// It sent an UNSUBSCRIBE.
    Unsubscribe(TopicFilter),
    /// It sent a PUBLISH.
    Publish(Publish),
    /// A PUBLISH arrived.
    Received(Publish),
    /// The connection ended.
    Lost(LinkError),
    /// It sent a DISCONNECT.
    Close,
    /// It gave up the attempt or dropped the link.
    Dropped,
    /// The recording stopped, and why; nothing follows. Links may have gone on.
    Stopped(String),
}

/// Which way an event travelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the broker to the device, `in`.
    In,
    /// From the device to the broker, `out`.
    Out,
}

impl Event {
    /// Which way it travelled; `None` for what the device or its transport noticed by itself.
    pub fn direction(&self) -> Option<Direction> {
        match self {
            Event::Connect { .. } | Event::Subscribe(_) | Event::Unsubscribe(_) | Event::Publish(_) | Event::Close => {
                Some(Direction::Out)
            }
            Event::Connected | Event::Subscribed { .. } | Event::Received(_) => Some(Direction::In),
            Event::Refused(_) | Event::Lost(_) | Event::Dropped | Event::Stopped(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
