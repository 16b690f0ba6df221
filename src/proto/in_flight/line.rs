//! What the table keeps of a call, and the calls of one topic. Not `Debug`: queued frames carry tokens.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderValue, Request};

use crate::proto::{CallId, Instant};
use crate::topic::Topic;

pub(super) struct Call {
    pub(super) topic: Topic,
    /// Deadline, or end of the window in quarantine.
    pub(super) until: Instant,
    pub(super) stage: Stage,
}

/// The request as it was made, of a call that waits for the next link rather than fail.
type Again = Option<Box<Request<Bytes>>>;

pub(super) enum Stage {
    Queued { frame: Bytes, callers_id: Option<HeaderValue>, again: Again },
    Sent { callers_id: Option<HeaderValue>, again: Again },
    Late,
}

/// The calls of one topic, by stage.
#[derive(Default)]
pub(super) struct Line {
    pub(super) queued: BTreeSet<CallId>,
    pub(super) sent: BTreeSet<CallId>,
    pub(super) late: BTreeSet<CallId>,
}

impl Line {
    /// Takes a call out, whatever its stage.
    pub(super) fn remove(&mut self, call: CallId) {
        self.queued.remove(&call);
        self.sent.remove(&call);
        self.late.remove(&call);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queued.is_empty() && self.sent.is_empty() && self.late.is_empty()
    }
}
