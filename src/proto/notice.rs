//! What a machine reports besides its work: transitions with their causes, and counters of everything it ignored.

use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::{ConnectError, LinkId};
use crate::ids::ThingId;
use crate::mqtt::Endpoint;
use crate::topic::Topic;

/// Something that an operator may want to know. Never a credential, never a payload.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// A connection to the default broker is being made.
    Onboarding {
        /// The link.
        link: LinkId,
        /// Where to.
        broker: Endpoint,
    },
    /// The default broker assigned a broker; the credential is stored, or [could not be](Notice::StoreFailed).
    Onboarded {
        /// The thing.
        thing_id: ThingId,
    },
    /// A connection to the assigned broker is being made.
    Connecting {
        /// The link.
        link: LinkId,
        /// Where to.
        broker: Endpoint,
    },
    /// The assigned broker accepted the CONNECT: calls are accepted.
    Connected {
        /// The link.
        link: LinkId,
    },
    /// Every subscription is granted.
    Ready {
        /// The link.
        link: LinkId,
    },
    /// A connection that the assigned broker had accepted has ended.
    Lost {
        /// The link.
        link: LinkId,
        /// Why.
        cause: Arc<ConnectError>,
    },
    /// The service refused the session's own token, or said that this thing is gone. It is asked once more, by a GET of
    /// the client's own.
    CredentialDoubted {
        /// The link.
        link: LinkId,
        /// The status of the answer.
        status: StatusCode,
    },
    /// Asked once more, the service accepted the token.
    CredentialConfirmed {
        /// The link.
        link: LinkId,
    },
    /// The connection was taken away as soon as it was ready, again and again: another device has the same client
    /// identifier. The pauses grow to an hour until a connection lasts.
    DuplicateClientId {
        /// How often in a row.
        kicks: u32,
    },
    /// A new credential is wanted, and as many as [allowed](crate::config::Config::with_onboarding_budget) were given, or
    /// the default broker refused for good while the old credential can still be tried.
    OnboardingHeldOff {
        /// How long no new one is asked for.
        pause: Duration,
    },
    /// The new credential could not be stored. It is used all the same; after a restart the device onboards again.
    StoreFailed {
        /// Why.
        reason: String,
    },
    /// No attempt can help: the end follows.
    GaveUp {
        /// Why.
        cause: Arc<ConnectError>,
    },
    /// An attempt failed or a connection was lost; another follows.
    Waiting {
        /// Why.
        cause: Arc<ConnectError>,
        /// How long until the next attempt.
        pause: Duration,
        /// Whether that attempt begins at the default broker.
        onboarding: bool,
    },
    /// The peer answers without `X-Kii-RequestID`: calls with the same path are sent one at a time from now on.
    PeerOmitsRequestIds {
        /// The link.
        link: LinkId,
    },
    /// The peer does echo `X-Kii-RequestID` after all: calls are sent side by side again.
    PeerEchoesRequestIds {
        /// The link.
        link: LinkId,
    },
    /// An answer without `X-Kii-RequestID` could belong to several calls; it was given to none.
    AmbiguousAnswer {
        /// Where it arrived.
        topic: Topic,
    },
    /// An answer that cannot be read and names no call.
    UnreadableAnswer {
        /// Where it arrived.
        topic: Topic,
    },
    /// More timed-out and cancelled calls than can be remembered: the oldest was forgotten.
    QuarantineOverflow,
    /// The vault could not give the stored credential, if it has one: the device onboards instead.
    LoadFailed {
        /// Why, and where.
        reason: String,
    },
    /// The program reads notices too slowly: so many were dropped. Added by the queue that it reads from.
    Lagged(u64),
}

/// How often something was ignored, and what for. Each only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Events of a link that is no longer the current one.
    pub stale_events: u64,
    /// Events that the state they arrived in has no use for.
    pub unexpected_events: u64,
    /// Messages on topics that are neither pushes nor answers. (`wire` §0)
    pub foreign_messages: u64,
    /// Pushes that arrived although none were asked for.
    pub unwanted_pushes: u64,
    /// Own requests heard back from an ordinary broker.
    pub own_echoes: u64,
    /// Answers to calls that had timed out or were cancelled.
    pub late_answers: u64,
    /// Answers without id that could belong to several calls, or to one that is no longer waiting.
    pub ambiguous_answers: u64,
    /// Answers with an id that no call has, such as a second answer to one call.
    pub unknown_ids: u64,
    /// Answers without id on a topic where no call waits.
    pub unasked_answers: u64,
    /// Messages on answer topics that are no frames.
    pub unreadable_answers: u64,
    /// Timed-out and cancelled calls that were forgotten before their time because there were too many.
    pub quarantine_overflows: u64,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        // Destructured, so that a counter that is added cannot be forgotten here.
        let Self {
            stale_events,
            unexpected_events,
            foreign_messages,
            unwanted_pushes,
            own_echoes,
            late_answers,
            ambiguous_answers,
            unknown_ids,
            unasked_answers,
            unreadable_answers,
            quarantine_overflows,
        } = other;
        self.stale_events += stale_events;
        self.unexpected_events += unexpected_events;
        self.foreign_messages += foreign_messages;
        self.unwanted_pushes += unwanted_pushes;
        self.own_echoes += own_echoes;
        self.late_answers += late_answers;
        self.ambiguous_answers += ambiguous_answers;
        self.unknown_ids += unknown_ids;
        self.unasked_answers += unasked_answers;
        self.unreadable_answers += unreadable_answers;
        self.quarantine_overflows += quarantine_overflows;
    }
}
