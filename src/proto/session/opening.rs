//! From CONNECT to ready.

use super::{Session, State};
use crate::mqtt::{LinkError, LinkErrorKind};
use crate::proto::{Action, Instant, Notice};
use crate::topic::TopicFilter;

impl Session {
    /// Writes SUBSCRIBE and calls behind CONNECT, before CONNACK has come, where the transport can: one round trip less.
    /// (`wire` §1.3)
    #[must_use]
    pub fn pipelining(mut self, may: bool) -> Self {
        for action in &mut self.actions {
            if let Action::Connect { pipeline, .. } = action {
                *pipeline = may;
            }
        }
        self
    }

    /// The broker never answered CONNECT although it was there; perhaps because something followed it.
    pub(in crate::proto) fn opened_in_vain(&self) -> bool {
        self.opened_in_vain
    }

    /// CONNECT is written: what may follow it follows.
    pub(super) fn opened(&mut self) {
        let State::Connecting { deadline } = self.state else { return };
        let missing = self.subscribe();
        self.state = State::Opening { deadline, missing };
    }

    pub(super) fn connected(&mut self, now: Instant) {
        self.actions.push_back(Action::Notice(Notice::Connected { link: self.link }));
        let missing = match &mut self.state {
            State::Opening { missing, .. } => std::mem::take(missing),
            _ => self.subscribe(),
        };
        self.state = State::Subscribing { deadline: now + self.rules.patience, missing };
        self.ready_if_complete(now);
    }

    /// Asks for what is to be heard, and opens the table if nothing of that is needed first.
    fn subscribe(&mut self) -> Vec<TopicFilter> {
        let mut filters = Vec::new();
        if self.rules.response_filter {
            filters.push(TopicFilter::for_responses(&self.own));
        }
        if self.rules.pushes {
            filters.push(TopicFilter::for_pushes(&self.own));
        }
        let subscribe = |filter: &TopicFilter| Action::Subscribe { link: self.link, filter: filter.clone() };
        self.actions.extend(filters.iter().map(subscribe));
        if !self.rules.response_filter {
            self.in_flight.open();
        }
        filters
    }

    pub(super) fn subscribed(&mut self, now: Instant, filter: &TopicFilter) {
        if self.rules.response_filter && *filter == TopicFilter::for_responses(&self.own) {
            self.in_flight.open();
        }
        self.ready_if_complete(now);
    }

    fn ready_if_complete(&mut self, now: Instant) {
        if matches!(&self.state, State::Subscribing { missing, .. } if missing.is_empty()) {
            self.state = State::Ready { since: now };
            self.silence.begin(now);
            self.actions.push_back(Action::Notice(Notice::Ready { link: self.link }));
        }
    }
}

/// Whether a connection that ended so before CONNACK may have ended because of what followed CONNECT. MQTT allows it, and
/// a broker that does not read on until it has judged a CONNECT is no surprise.
pub(in crate::proto) fn dislikes_pipelining(error: &LinkError) -> bool {
    matches!(error.kind(), LinkErrorKind::Closed | LinkErrorKind::Protocol | LinkErrorKind::ConnectTimedOut)
}
