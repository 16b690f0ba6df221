//! One connection to the assigned broker: subscribe, submit, route, fail.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request};

use super::{
    Action, Answer, CallId, Counters, Event, EventKind, InFlight, Instant, LinkId, NotSent, Notice, Outcome, PeerIds,
    RequestError, SessionError, call,
};
use crate::config::Config;
use crate::frame::{self, REQUEST_ID};
use crate::ids::ClientId;
use crate::mqtt::{Endpoint, LinkErrorKind, Publish};
use crate::thing_if::Credential;
use crate::topic::{Route, Topic, TopicFilter};

/// One connection to the assigned broker, from CONNECT to its end. (`wire` §1.2, §1.4)
///
/// Calls are accepted from CONNACK on, because answers need no subscription; with `response_filter` they are queued
/// until its SUBACK. What cannot be sent at all is refused at once.
#[derive(Debug)]
pub struct Session {
    link: LinkId,
    own: ClientId,
    authorization: HeaderValue,
    rules: Rules,
    in_flight: InFlight,
    state: State,
    counters: Counters,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
struct Rules {
    pushes: bool,
    response_filter: bool,
    max_frame: usize,
    subscribe_timeout: Duration,
}

#[derive(Debug)]
enum State {
    Connecting { deadline: Instant },
    Subscribing { deadline: Instant, missing: Vec<TopicFilter> },
    Ready { since: Instant },
    Ended(SessionEnd),
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
                subscribe_timeout: config.call_deadline(),
            },
            in_flight,
            state: State::Connecting { deadline: now + config.connect_timeout() },
            counters: Counters::default(),
            actions: VecDeque::new(),
        };
        session.actions.push_back(Action::Notice(Notice::Connecting { link, broker: endpoint.clone() }));
        session.actions.push_back(Action::Connect { link, endpoint, credentials });
        session
    }

    /// Takes what happened on a link.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        if event.link != self.link {
            self.counters.stale_events += 1;
            return;
        }
        match (&mut self.state, event.kind) {
            (State::Connecting { .. }, EventKind::Connected) => self.connected(now),
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
            (State::Subscribing { .. } | State::Ready { .. }, EventKind::Received(publish)) => self.receive(publish),
            (State::Subscribing { .. } | State::Ready { .. }, EventKind::NotSent { call: Some(call), error }) => {
                self.in_flight.not_sent(call, error);
            }
            (State::Connecting { .. } | State::Subscribing { .. } | State::Ready { .. }, EventKind::Lost(error)) => {
                self.end(now, Some(SessionError::Link(error)))
            }
            (_, _) => self.counters.unexpected_events += 1,
        }
        self.flush();
    }

    /// Ends what has run out at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Connecting { deadline } if deadline <= now => {
                self.actions.push_back(Action::Abort { link: self.link });
                self.end(now, Some(SessionError::Link(LinkErrorKind::ConnectTimedOut.into())));
            }
            State::Subscribing { deadline, .. } if deadline <= now => self.leave(now, SessionError::SubscribeTimedOut),
            _ => {}
        }
        self.in_flight.handle_timeout(now);
        self.flush();
    }

    /// Takes a call that must be answered by `deadline`.
    ///
    /// # Errors
    /// [`RequestError::NotSent`] says why it was not taken; nothing follows then. A call that was taken ends with one
    /// [`Action::Resolve`], unless it is cancelled.
    pub fn submit(
        &mut self,
        now: Instant,
        mut request: Request<Bytes>,
        deadline: Instant,
    ) -> Result<CallId, RequestError> {
        if matches!(self.state, State::Connecting { .. } | State::Ended(_)) {
            return Err(NotSent::NotConnected.into());
        }
        if deadline <= now {
            return Err(NotSent::DeadlineExceeded.into());
        }
        let topic = call::topic(&self.own, &request)?;
        let callers_id = call::take_request_id(request.headers_mut());
        let (authorization, max_frame) = (&self.authorization, self.rules.max_frame);
        let frame = |id| call::frame(request, id, authorization, max_frame);
        let call = self.in_flight.submit(topic, deadline, callers_id, frame)?;
        self.flush();
        Ok(call)
    }

    /// The caller no longer waits for `call`: nothing more is reported of it.
    pub fn cancel(&mut self, now: Instant, call: CallId) {
        self.in_flight.cancel(now, call);
        self.flush();
    }

    /// Ends the session: every call is resolved, and a connection that is there ends with a DISCONNECT.
    pub fn close(&mut self, now: Instant) {
        match self.state {
            State::Connecting { .. } => self.actions.push_back(Action::Abort { link: self.link }),
            State::Subscribing { .. } | State::Ready { .. } => {
                self.actions.push_back(Action::Disconnect { link: self.link });
            }
            State::Ended(_) => {}
        }
        self.in_flight.close();
        self.end(now, None);
        self.flush();
    }

    /// What is to be done next; `None` when nothing is.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Session::handle_timeout) is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let own = match self.state {
            State::Connecting { deadline } | State::Subscribing { deadline, .. } => Some(deadline),
            State::Ready { .. } | State::Ended(_) => None,
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
        matches!(self.state, State::Subscribing { .. } | State::Ready { .. })
    }

    /// Whether every subscription is granted.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// Whether no call waits or is remembered and nothing is to be done.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_idle() && self.actions.is_empty()
    }

    /// The table of calls.
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// What was ignored so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The table of calls, for the session after this one.
    pub fn into_in_flight(self) -> InFlight {
        self.in_flight
    }

    fn connected(&mut self, now: Instant) {
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
        self.state = State::Subscribing { deadline: now + self.rules.subscribe_timeout, missing: filters };
        self.ready_if_complete(now);
    }

    fn subscribed(&mut self, now: Instant, filter: &TopicFilter) {
        if self.rules.response_filter && *filter == TopicFilter::for_responses(&self.own) {
            self.in_flight.open();
        }
        self.ready_if_complete(now);
    }

    fn ready_if_complete(&mut self, now: Instant) {
        if matches!(&self.state, State::Subscribing { missing, .. } if missing.is_empty()) {
            self.state = State::Ready { since: now };
            self.actions.push_back(Action::Notice(Notice::Ready { link: self.link }));
        }
    }

    fn receive(&mut self, publish: Publish) {
        match publish.topic.route(&self.own) {
            Route::Push if self.rules.pushes => self.actions.push_back(Action::Push(publish.payload)),
            Route::Push => self.counters.unwanted_pushes += 1,
            Route::Foreign => self.counters.foreign_messages += 1,
            Route::Response if frame::is_request(&publish.payload) => self.counters.own_echoes += 1,
            Route::Response => self.answer(publish),
        }
    }

    fn answer(&mut self, Publish { topic, payload, .. }: Publish) {
        let peer_before = self.in_flight.peer();
        match frame::decode_response(payload.clone()) {
            Ok(mut response) => {
                let id = response.headers().get(REQUEST_ID).cloned();
                let answer = self.in_flight.answer(&topic, id.as_ref().map(HeaderValue::as_bytes));
                self.count(&answer, topic);
                if let Answer::For { call, callers_id } = answer {
                    call::restore_request_id(&mut response, callers_id);
                    self.actions.push_back(Action::Resolve { call, result: Ok(response) });
                }
            }
            Err(error) => {
                self.counters.unreadable_answers += 1;
                let id = frame::request_id(&payload);
                let answer = id.map(|id| self.in_flight.answer(&topic, Some(id.as_bytes())));
                if let Some(Answer::For { call, .. }) = answer {
                    let result = Err(RequestError::InvalidAnswer(error));
                    self.actions.push_back(Action::Resolve { call, result });
                } else {
                    self.actions.push_back(Action::Notice(Notice::UnreadableAnswer { topic }));
                }
            }
        }
        let link = self.link;
        match (peer_before, self.in_flight.peer()) {
            (PeerIds::Unknown, PeerIds::Omitted) => {
                self.actions.push_back(Action::Notice(Notice::PeerOmitsRequestIds { link }));
            }
            (PeerIds::Omitted, PeerIds::Echoed) => {
                self.actions.push_back(Action::Notice(Notice::PeerEchoesRequestIds { link }));
            }
            _ => {}
        }
    }

    fn count(&mut self, answer: &Answer, topic: Topic) {
        match answer {
            Answer::For { .. } => {}
            Answer::Late => self.counters.late_answers += 1,
            Answer::UnknownId => self.counters.unknown_ids += 1,
            Answer::Unasked => self.counters.unasked_answers += 1,
            Answer::Ambiguous => {
                self.counters.ambiguous_answers += 1;
                self.actions.push_back(Action::Notice(Notice::AmbiguousAnswer { topic }));
            }
        }
    }

    /// Ends a connection that stands.
    fn leave(&mut self, now: Instant, error: SessionError) {
        self.actions.push_back(Action::Disconnect { link: self.link });
        self.end(now, Some(error));
    }

    fn end(&mut self, now: Instant, error: Option<SessionError>) {
        if let State::Ended(_) = self.state {
            return;
        }
        if let Some(error) = &error {
            self.in_flight.lose(now, error, self.rules.response_filter);
        }
        let ready_for = match self.state {
            State::Ready { since } => Some(now.since(since)),
            _ => None,
        };
        self.state = State::Ended(SessionEnd { error, was_connected: self.is_connected(), ready_for });
    }

    /// Turns what the table wants done into actions.
    fn flush(&mut self) {
        while let Some(outcome) = self.in_flight.poll_outcome() {
            self.actions.push_back(match outcome {
                Outcome::Send { call, topic, frame } => {
                    Action::Publish { link: self.link, call: Some(call), publish: Publish::new(topic, frame) }
                }
                Outcome::Failed { call, error } => Action::Resolve { call, result: Err(error) },
            });
        }
        let overflows = self.in_flight.take_overflows();
        if overflows > 0 {
            self.counters.quarantine_overflows += overflows;
            self.actions.push_back(Action::Notice(Notice::QuarantineOverflow));
        }
    }
}
