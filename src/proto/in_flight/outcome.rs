//! What goes into the table besides calls, and what comes out.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request};

use crate::proto::{CallId, Instant, RequestError};
use crate::topic::Topic;

/// The bounds of an [`InFlight`](super::InFlight).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Calls that may wait at once, sent or not.
    pub in_flight: usize,
    /// Timed-out and cancelled calls that are remembered, at least 1.
    pub quarantine: usize,
    /// How long they are remembered.
    pub late_answer_window: Duration,
}

/// Whether the peer of the current link echoes `X-Kii-RequestID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerIds {
    /// No answer has shown it yet.
    Unknown,
    /// An answer had an id of ours.
    Echoed,
    /// The first answer had none.
    Omitted,
}

/// What is to be done for a call.
pub enum Outcome {
    /// Publish the frame.
    Send {
        /// The call.
        call: CallId,
        /// Where to.
        topic: Topic,
        /// What.
        frame: Bytes,
    },
    /// Tell the caller that there will be no answer.
    Failed {
        /// The call.
        call: CallId,
        /// Why.
        error: RequestError,
    },
    /// The link is gone, the call was certainly not written, and it is one that waits for the next link.
    Park {
        /// The call, which has left the table.
        call: CallId,
        /// When its time is over.
        deadline: Instant,
        /// The request, as the caller made it.
        request: Box<Request<Bytes>>,
    },
}

/// Whose answer it was.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// This call's, which has left the table.
    For {
        /// The call.
        call: CallId,
        /// The `X-Kii-RequestID` that the caller had set, if any.
        callers_id: Option<HeaderValue>,
    },
    /// A timed-out or cancelled call's.
    Late,
    /// It has no id and could be that of more than one call, or of one in quarantine.
    Ambiguous,
    /// It has an id that no call on this topic has.
    UnknownId,
    /// It has no id, and no call of this topic was sent.
    Unasked,
}

/// Does not show the frame, which carries a token.
impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Send { call, topic, frame } => write!(f, "Send({call:?}, {topic}, {} bytes)", frame.len()),
            Outcome::Failed { call, error } => write!(f, "Failed({call:?}, {error:?})"),
            Outcome::Park { call, .. } => write!(f, "Park({call:?})"),
        }
    }
}
