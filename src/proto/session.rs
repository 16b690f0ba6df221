//! One connection to the assigned broker: subscribe, submit, route, fail.

mod answers;
mod opening;
mod submit;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request};

pub(super) use self::opening::dislikes_pipelining;
use super::doubt::Doubt;
use super::silence::Silence;
use super::takeover::SOON;
use super::{
    Action, CallId, Counters, Event, EventKind, InFlight, Instant, LinkId, Notice, Outcome, SessionError, call,
};
use crate::config::Config;
use crate::ids::ClientId;
use crate::mqtt::{Endpoint, LinkErrorKind, Publish};
use crate::thing_if::Credential;
use crate::topic::TopicFilter;

/// One connection to the assigned broker, from CONNECT to its end. (`wire` §1.2, §1.4)
///
/// Calls are accepted from CONNACK on, because answers need no subscription; with `response_filter` they are queued
/// until its SUBACK. What cannot be sent at all is refused at once.
///
/// An answer by which the service refuses the session's own token, or no longer knows the thing, is handed out like any
/// other, and makes the session ask once more by a GET of its own. When that is refused too, the session ends.
#[derive(Debug)]
pub struct Session {
    link: LinkId,
    own: ClientId,
    authorization: HeaderValue,
    rules: Rules,
    in_flight: InFlight,
    /// Calls in the table whose Authorization is the caller's: what becomes of them says nothing of the session's token.
    foreign: BTreeSet<CallId>,
    /// The link has said that it has ended; what had arrived before, and its end, are still to come.
    is_dying: bool,
    opened_in_vain: bool,
    doubt: Doubt,
    silence: Silence,
    /// Calls that were not written when the link was lost and wait for the next one.
    parked: VecDeque<ParkedCall>,
    /// When the endpoint's time is over.
    expires: Option<Instant>,
    state: State,
    counters: Counters,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
struct Rules {
    pushes: bool,
    response_filter: bool,
    max_frame: usize,
    /// Time for a step that the broker or the service must answer.
    patience: Duration,
}

#[derive(Debug)]
enum State {
    Connecting {
        deadline: Instant,
    },
    /// CONNECT is written, and what may follow it; CONNACK has not come.
    Opening {
        deadline: Instant,
        missing: Vec<TopicFilter>,
    },
    Subscribing {
        deadline: Instant,
        missing: Vec<TopicFilter>,
    },
    Ready {
        since: Instant,
    },
    /// The endpoint's time is over: what is in flight may still be answered.
    Draining {
        since: Instant,
        deadline: Instant,
    },
    Ended(SessionEnd),
}

/// A call that waits for a connection.
pub(super) struct ParkedCall {
    pub(super) call: CallId,
    pub(super) deadline: Instant,
    pub(super) request: Box<Request<Bytes>>,
}

/// Does not show the request, which may carry a credential.
impl std::fmt::Debug for ParkedCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ParkedCall({:?})", self.call)
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionEnd {
    /// Why; `None` after `close`.
    pub error: Option<SessionError>,
    /// Whether the broker had accepted the CONNECT.
    pub was_connected: bool,
    /// For how long it had been ready, if it ever was.
    pub ready_for: Option<Duration>,
}

impl Session {
    /// Begins to connect to `endpoint` as `credential` says. `in_flight` comes from the session before, so that request
    /// ids stay unique; it is given back by [`into_in_flight`](Session::into_in_flight).
    pub fn new(
        now: Instant,
        link: LinkId,
        config: &Config,
        endpoint: Endpoint,
        credential: &Credential,
        in_flight: InFlight,
    ) -> Self {
        let credentials = credential.credentials();
        let mut session = Self {
            link,
            own: credentials.client_id.clone(),
            authorization: call::bearer(&credential.access_token),
            rules: Rules {
                pushes: config.pushes(),
                response_filter: config.response_filter(),
                max_frame: config.max_frame(),
                patience: config.call_deadline(),
            },
            doubt: Doubt::new(&credentials.client_id, credential),
            silence: Silence::new(now, config.detect_dead_peer() * 2),
            in_flight,
            foreign: BTreeSet::new(),
            is_dying: false,
            opened_in_vain: false,
            parked: VecDeque::new(),
            expires: None,
            state: State::Connecting { deadline: now + config.connect_timeout() },
            counters: Counters::default(),
            actions: VecDeque::new(),
        };
        session.actions.push_back(Action::Notice(Notice::Connecting { link, broker: endpoint.clone() }));
        session.actions.push_back(Action::Connect { link, endpoint, credentials, pipeline: false });
        session
    }

    /// At `expires` the endpoint's time is over: no call is taken any more, those in flight have one call deadline to be
    /// answered, and then the session ends as [`SessionError::EndpointExpired`]. (`wire` §7)
    #[must_use]
    pub fn expiring(mut self, expires: Option<Instant>) -> Self {
        self.expires = expires;
        self
    }

    /// A connection on which nothing is ever heard ends as [`SessionError::Unanswered`] only after `time`, if that is
    /// longer than twice the time in which a dead peer is to be noticed: the connections before this one were silent too.
    #[must_use]
    pub fn bearing_silence(mut self, time: Duration) -> Self {
        self.silence.bear(time);
        self
    }

    /// Takes what happened on a link.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        if event.link != self.link {
            self.counters.stale_events += 1;
            return;
        }
        match (&mut self.state, event.kind) {
            (State::Connecting { .. }, EventKind::Opened) => self.opened(),
            (State::Connecting { .. } | State::Opening { .. }, EventKind::Connected) => self.connected(now),
            (State::Subscribing { missing, .. }, EventKind::Subscribed { filter, granted }) => {
                let asked = missing.iter().position(|wanted| *wanted == filter);
                match (asked, granted) {
                    (Some(index), true) => {
                        missing.remove(index);
                        self.subscribed(now, &filter);
                    }
                    (Some(_), false) => self.leave(now, SessionError::SubscriptionRefused(filter)),
                    (None, _) => self.counters.unexpected_events += 1,
                }
            }
            (
                State::Subscribing { .. } | State::Ready { .. } | State::Draining { .. },
                EventKind::Received(publish),
            ) => self.receive(now, publish),
            (
                State::Opening { .. } | State::Subscribing { .. } | State::Ready { .. } | State::Draining { .. },
                EventKind::NotSent { call: Some(call), error },
            ) => {
                self.is_dying |= error.kind() == LinkErrorKind::Closed;
                self.in_flight.not_sent(call, error);
            }
            (State::Ready { since }, EventKind::Lost(error))
                if error.kind() == LinkErrorKind::Closed && now.since(*since) < SOON =>
            {
                self.end(now, Some(SessionError::Kicked(error)));
            }
            (State::Opening { .. }, EventKind::Lost(error)) => {
                self.opened_in_vain = dislikes_pipelining(&error);
                self.end(now, Some(SessionError::Link(error)));
            }
            (
                State::Connecting { .. } | State::Subscribing { .. } | State::Ready { .. } | State::Draining { .. },
                EventKind::Lost(error),
            ) => self.end(now, Some(SessionError::Link(error))),
            (_, _) => self.counters.unexpected_events += 1,
        }
        self.flush(now);
    }

    /// Ends what has run out at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        // Before the link's own: a call whose time is over is not to be kept for the next one.
        self.in_flight.handle_timeout(now);
        self.collect(now);
        match self.state {
            State::Connecting { deadline } | State::Opening { deadline, .. } if deadline <= now => {
                self.opened_in_vain = matches!(self.state, State::Opening { .. });
                self.actions.push_back(Action::Abort { link: self.link });
                self.end(now, Some(SessionError::Link(LinkErrorKind::ConnectTimedOut.into())));
            }
            State::Subscribing { deadline, .. } if deadline <= now => self.leave(now, SessionError::SubscribeTimedOut),
            State::Ready { since } if self.expires.is_some_and(|expires| expires <= now) => {
                self.state = State::Draining { since, deadline: now + self.rules.patience };
            }
            State::Ready { .. } if self.silence.deadline().is_some_and(|end| end <= now) => {
                self.leave(now, self.silence.error(now));
            }
            State::Draining { deadline, .. } if deadline <= now => self.leave(now, SessionError::EndpointExpired),
            _ => {}
        }
        self.flush(now);
    }

    /// The caller no longer waits for `call`: nothing more is reported of it.
    pub fn cancel(&mut self, now: Instant, call: CallId) {
        self.in_flight.cancel(now, call);
        self.foreign.remove(&call);
        self.flush(now);
    }

    /// Ends the session: every call is resolved, and a connection that is there ends with a DISCONNECT.
    pub fn close(&mut self, now: Instant) {
        match self.state {
            State::Connecting { .. } | State::Opening { .. } => {
                self.actions.push_back(Action::Abort { link: self.link });
            }
            State::Subscribing { .. } | State::Ready { .. } | State::Draining { .. } => {
                self.actions.push_back(Action::Disconnect { link: self.link });
            }
            State::Ended(_) => {}
        }
        self.in_flight.close();
        self.end(now, None);
        self.flush(now);
    }

    /// What is to be done next; `None` when nothing is.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Session::handle_timeout) is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let own = match self.state {
            State::Connecting { deadline }
            | State::Opening { deadline, .. }
            | State::Subscribing { deadline, .. }
            | State::Draining { deadline, .. } => Some(deadline),
            State::Ready { .. } => self.expires.into_iter().chain(self.silence.deadline()).min(),
            State::Ended(_) => None,
        };
        own.into_iter().chain(self.in_flight.next_deadline()).min()
    }

    /// How the session ended; `None` while it has not.
    pub fn ended(&self) -> Option<&SessionEnd> {
        match &self.state {
            State::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// Whether the broker has accepted the CONNECT and the connection stands.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Subscribing { .. } | State::Ready { .. } | State::Draining { .. })
    }

    /// Whether a call would be taken.
    pub(super) fn takes_calls(&self) -> bool {
        !self.is_dying && matches!(self.state, State::Opening { .. } | State::Subscribing { .. } | State::Ready { .. })
    }

    /// Whether every subscription is granted and calls are taken.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// Whether no call waits or is remembered and nothing is to be done.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_idle() && self.actions.is_empty() && self.parked.is_empty() && self.foreign.is_empty()
    }

    /// The table of calls.
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// What was ignored so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The table of calls, to reserve a number in it.
    pub(super) fn in_flight_mut(&mut self) -> &mut InFlight {
        &mut self.in_flight
    }

    /// The next call that waits for another connection.
    pub(super) fn poll_parked(&mut self) -> Option<ParkedCall> {
        self.parked.pop_front()
    }

    /// The table of calls, for the session after this one.
    pub fn into_in_flight(self) -> InFlight {
        self.in_flight
    }

    /// Ends a connection that stands.
    fn leave(&mut self, now: Instant, error: SessionError) {
        // What was let go before belongs to this connection, and comes before its end.
        self.collect(now);
        self.actions.push_back(Action::Disconnect { link: self.link });
        self.end(now, Some(error));
    }

    fn end(&mut self, now: Instant, error: Option<SessionError>) {
        if let State::Ended(_) = self.state {
            return;
        }
        match &error {
            // Why it was closed is a guess about many connections; the calls of this one lost a link.
            Some(SessionError::Kicked(link)) => {
                self.in_flight.lose(now, &SessionError::Link(link.clone()), self.rules.response_filter);
            }
            Some(error) => self.in_flight.lose(now, error, self.rules.response_filter),
            None => {}
        }
        let ready_for = match self.state {
            State::Ready { since } | State::Draining { since, .. } => Some(now.since(since)),
            _ => None,
        };
        self.state = State::Ended(SessionEnd { error, was_connected: self.is_connected(), ready_for });
    }

    /// Turns what the table wants done into actions, and leaves when nothing is left to be drained.
    fn flush(&mut self, now: Instant) {
        self.collect(now);
        if matches!(self.state, State::Draining { .. }) && self.in_flight.is_empty() {
            self.leave(now, SessionError::EndpointExpired);
            self.collect(now);
        }
    }

    fn collect(&mut self, now: Instant) {
        while let Some(outcome) = self.in_flight.poll_outcome() {
            match outcome {
                Outcome::Send { call, topic, frame } => {
                    let publish = Publish::new(topic, frame);
                    self.actions.push_back(Action::Publish { link: self.link, call: Some(call), publish });
                }
                Outcome::Failed { call, error } => self.failed(now, call, error),
                Outcome::Park { call, deadline, request } => {
                    self.foreign.remove(&call);
                    self.parked.push_back(ParkedCall { call, deadline, request });
                }
            }
        }
        let overflows = self.in_flight.take_overflows();
        if overflows > 0 {
            self.counters.quarantine_overflows += overflows;
            self.actions.push_back(Action::Notice(Notice::QuarantineOverflow));
        }
    }
}
