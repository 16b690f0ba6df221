//! The network: what becomes of a message, of an attempt to connect, of a link.

use std::time::Duration;

use thingif::mqtt::{Credentials, Endpoint, LinkError, LinkErrorKind, Publish, RefusedReason};
use thingif::proto::{CallId, Event, EventKind, Instant, LinkId};
use thingif::topic::TopicFilter;

use super::{Down, Due, Link, Standing, World};
use crate::fault::Fault;
use crate::plan::LONGEST_DELAY;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    ToBroker,
    ToDevice,
}

impl World {
    /// When a message that sets out now arrives.
    pub(super) fn arrival(&mut self, link: LinkId, direction: Direction) -> Instant {
        let delay = if self.happens(Fault::Delay) { LONGEST_DELAY.mul_f64(self.rng.f64()) } else { Duration::ZERO };
        let reordered = self.happens(Fault::Reorder);
        let when = self.now + self.plan.latency + delay;
        let Some(link) = self.links.get_mut(&link) else { return when };
        let last = match direction {
            Direction::ToBroker => &mut link.last_to_broker,
            Direction::ToDevice => &mut link.last_to_device,
        };
        if reordered {
            return when;
        }
        *last = when.max(*last);
        *last
    }

    /// Puts a message on its way, as well as the network allows.
    pub(super) fn travel(&mut self, link: LinkId, direction: Direction, message: impl Fn() -> Due) {
        let copies = match () {
            () if self.happens(Fault::Drop) => 0,
            () if self.happens(Fault::Duplicate) => 2,
            () => 1,
        };
        for _ in 0..copies {
            let when = self.arrival(link, direction);
            self.at(when, message());
        }
    }

    pub(super) fn deliver(&mut self, event: Event) {
        let Some(link) = self.links.get_mut(&event.link) else { return };
        match (&event.kind, link.standing) {
            (EventKind::Opened, Standing::Connecting) => {}
            (EventKind::Connected, Standing::Connecting) => link.standing = Standing::Open,
            (EventKind::Lost(_), Standing::Connecting | Standing::Open | Standing::HalfOpen) => {
                link.standing = Standing::Ended;
            }
            (_, Standing::Open) => {}
            _ => {
                // It comes too late; the device may hear of it all the same, long after.
                if self.messages.len() < 8 {
                    self.messages.push(event);
                }
                return;
            }
        }
        if self.plan.rates.of(Fault::StaleEvent) > 0.0 && self.messages.len() < 8 {
            self.messages.push(event.clone());
        }
        self.feed(event);
    }

    pub(super) fn deliver_to_subscriber(&mut self, publish: Publish) {
        let subscribed = |link: &Link| {
            link.standing == Standing::Open && link.filters.iter().any(|filter| filter.matches(&publish.topic))
        };
        let receiver = self.links.iter().find(|(_, link)| subscribed(link)).map(|(id, _)| *id);
        if let Some(link) = receiver {
            self.deliver(Event { link, kind: EventKind::Received(publish) });
        }
    }

    pub(super) fn end(&mut self, link: LinkId, kind: LinkErrorKind) {
        self.deliver(Event { link, kind: EventKind::Lost(kind.into()) });
    }

    /// The device has left it: what it has sent still arrives, what is on its way to it does not.
    pub(super) fn left(&mut self, link: LinkId) {
        if let Some(link) = self.links.get_mut(&link) {
            link.standing = Standing::Ended;
        }
    }

    pub(super) fn connect(&mut self, link: LinkId, endpoint: &Endpoint, credentials: &Credentials, pipeline: bool) {
        let anonymous = credentials.client_id.is_anonymous();
        let generation = (!anonymous).then(|| self.service.generation(&credentials.username));
        if let Some(generation) = generation {
            assert_eq!(credentials.client_id, self.service.client_id(generation));
            assert_eq!(*credentials.password.expose(), format!("pw-{generation}"));
        } else {
            assert_eq!(endpoint, self.plan.config.broker());
        }
        // The links before this one have ended, as far as the device is concerned.
        self.links.retain(|_, link| link.standing != Standing::Ended);
        let opened = Link {
            generation,
            standing: Standing::Connecting,
            admitted: false,
            filters: Vec::new(),
            last_to_broker: self.now,
            last_to_device: self.now,
        };
        self.links.insert(link, opened);
        let mut fate = self.fate_of_connect(endpoint, generation);
        // What stands in the way of a connection is known before anything is written.
        let opens = pipeline && self.plan.pipelines && fate.as_ref().is_none_or(is_told_after_connect);
        let mut when = self.now + 2 * self.plan.latency;
        if opens {
            self.at(when, Due::ToDevice(Event { link, kind: EventKind::Opened }));
            when = when + 2 * self.plan.latency;
            if self.happens(Fault::ConnackLate) {
                when = when + 2 * self.plan.config.connect_timeout().mul_f64(self.rng.f64());
            }
            if self.plan.dislikes_pipelining || self.happens(Fault::CutBeforeConnack) {
                fate = Some(EventKind::Lost(LinkErrorKind::Closed.into()));
            } else if self.happens(Fault::RefusedBehindConnect) {
                fate = Some(EventKind::Lost(LinkErrorKind::Refused(RefusedReason::ServerUnavailable).into()));
            }
        }
        let connected = fate == Some(EventKind::Connected);
        if let Some(link) = self.links.get_mut(&link) {
            link.admitted = connected;
            link.last_to_device = when;
        }
        let Some(kind) = fate else { return };
        self.at(when, Due::ToDevice(Event { link, kind }));
        if !connected {
            return;
        }
        if self.happens(Fault::ConnackTwice) {
            self.at(when, Due::ToDevice(Event { link, kind: EventKind::Connected }));
        }
        if self.happens(Fault::CutBeforeSuback) {
            self.at(when + self.plan.latency, Due::End(link, LinkErrorKind::Closed));
        }
        if !anonymous && self.rival_until > self.now {
            let until = Duration::from_millis(self.rng.u64(50..4000));
            self.at(when + until, Due::End(link, LinkErrorKind::Closed));
        }
    }

    /// What becomes of an attempt; `None` when nothing is ever heard of it.
    pub(super) fn fate_of_connect(&mut self, endpoint: &Endpoint, generation: Option<usize>) -> Option<EventKind> {
        let lost = |kind: LinkErrorKind| Some(EventKind::Lost(kind.into()));
        let refused = |reason| lost(LinkErrorKind::Refused(reason));
        let down = self.down.filter(|(until, _)| *until > self.now);
        match down {
            Some((_, Down::Refuses)) => return lost(LinkErrorKind::Tcp),
            Some((_, Down::Silent)) => return None,
            Some((_, Down::Unavailable)) => return refused(RefusedReason::ServerUnavailable),
            None => {}
        }
        for (fault, kind) in [
            (Fault::NameNotResolved, LinkErrorKind::NameNotResolved),
            (Fault::TcpRefused, LinkErrorKind::Tcp),
            (Fault::TlsFailed, LinkErrorKind::Tls),
            (Fault::WebSocketFailed, LinkErrorKind::WebSocket),
            (Fault::ProtocolBroken, LinkErrorKind::Protocol),
            (Fault::LinkMisconfigured, LinkErrorKind::Config),
            (Fault::ConnectTimedOut, LinkErrorKind::ConnectTimedOut),
            (Fault::Connack3, LinkErrorKind::Refused(RefusedReason::ServerUnavailable)),
        ] {
            if self.happens(fault) {
                return lost(kind);
            }
        }
        if self.happens(Fault::ConnectUnanswered) {
            return None;
        }
        let Some(generation) = generation else {
            let refuses = self.happens(Fault::ApplicationRefused);
            return if refuses { refused(RefusedReason::NotAuthorised) } else { Some(EventKind::Connected) };
        };
        if !self.service.listens_at(&endpoint.host) {
            return match self.rng.u8(..3) {
                0 => lost(LinkErrorKind::NameNotResolved),
                1 => lost(LinkErrorKind::Tcp),
                _ => None,
            };
        }
        for (fault, reason) in [
            (Fault::Connack1, RefusedReason::ProtocolVersion),
            (Fault::Connack2, RefusedReason::Identifier),
            (Fault::Connack4, RefusedReason::BadUserNameOrPassword),
            (Fault::Connack5, RefusedReason::NotAuthorised),
        ] {
            if self.happens(fault) {
                return refused(reason);
            }
        }
        match self.service.admits(self.now, generation) {
            Ok(()) => Some(EventKind::Connected),
            Err(reason) => refused(reason),
        }
    }

    pub(super) fn subscribe(&mut self, link: LinkId, filter: TopicFilter) {
        if self.happens(Fault::SubackWithheld) {
            return;
        }
        let granted = !self.happens(Fault::SubackRefused);
        let stands = |link: &&mut Link| link.admitted && matches!(link.standing, Standing::Connecting | Standing::Open);
        let Some(open) = self.links.get_mut(&link).filter(stands) else { return };
        if granted {
            open.filters.push(filter.clone());
        }
        let kind = EventKind::Subscribed { filter, granted };
        if self.happens(Fault::SubackLate) {
            let later = 2 * self.plan.config.call_deadline().mul_f64(self.rng.f64());
            self.after(later, Due::ToDevice(Event { link, kind }));
        } else {
            self.travel(link, Direction::ToDevice, || Due::ToDevice(Event { link, kind: kind.clone() }));
        }
    }

    pub(super) fn publish(&mut self, link: LinkId, call: Option<CallId>, publish: Publish) {
        let fits = publish.payload.len() <= self.plan.config.max_frame();
        assert!(fits, "a frame of {} bytes", publish.payload.len());
        if let Some(call) = call.filter(|call| self.book.has(*call)) {
            self.book.published(call, link);
        }
        if self.happens(Fault::NotTaken) {
            let error = LinkError::from(LinkErrorKind::Overloaded);
            self.not_taken.push(Event { link, kind: EventKind::NotSent { call, error } });
            return;
        }
        if self.happens(Fault::NotTakenAtTheEnd) {
            let error = LinkError::from(LinkErrorKind::Closed);
            self.not_taken.push(Event { link, kind: EventKind::NotSent { call, error } });
            self.dying = Some(link);
            // Its end is reported after what had arrived before.
            let reported = Duration::from_millis(if self.rng.bool() { 0 } else { self.rng.u64(..500) });
            self.after(reported, Due::End(link, LinkErrorKind::Closed));
            return;
        }
        if self.dying == Some(link) {
            let error = LinkError::from(LinkErrorKind::Closed);
            self.not_taken.push(Event { link, kind: EventKind::NotSent { call, error } });
            return;
        }
        self.travel(link, Direction::ToBroker, || Due::ToBroker(link, publish.clone()));
    }
}

/// Whether this becomes known only when CONNECT was written.
fn is_told_after_connect(fate: &EventKind) -> bool {
    match fate {
        EventKind::Connected => true,
        EventKind::Lost(error) => matches!(
            error.kind(),
            LinkErrorKind::Refused(_)
                | LinkErrorKind::Protocol
                | LinkErrorKind::ConnectTimedOut
                | LinkErrorKind::Closed
        ),
        _ => false,
    }
}
