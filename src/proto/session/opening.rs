//! From CONNACK to ready.

use super::{Session, State};
use crate::proto::{Action, Instant, Notice};
use crate::topic::TopicFilter;

impl Session {
    pub(super) fn connected(&mut self, now: Instant) {
        let mut filters = Vec::new();
        if self.rules.response_filter {
            filters.push(TopicFilter::for_responses(&self.own));
        }
        if self.rules.pushes {
            filters.push(TopicFilter::for_pushes(&self.own));
        }
        self.actions.push_back(Action::Notice(Notice::Connected { link: self.link }));
        let subscribe = |filter: &TopicFilter| Action::Subscribe { link: self.link, filter: filter.clone() };
        self.actions.extend(filters.iter().map(subscribe));
        if !self.rules.response_filter {
            self.in_flight.open();
        }
        self.state = State::Subscribing { deadline: now + self.rules.patience, missing: filters };
        self.ready_if_complete(now);
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
