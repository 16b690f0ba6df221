//! The whole life of a device's connection: onboarding, session, pause, session again.

mod turns;

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use bytes::Bytes;
use http::Request;

use super::history::History;
use super::parked::Parked;
use super::session::ParkedCall;
use super::{
    Action, Backoff, CallId, Counters, Event, IfDown, InFlight, Instant, Limits, LinkId, NotSent, Onboarding,
    RequestError, Session,
};
use crate::config::Config;
use crate::thing_if::Credential;

/// A `Retry-After` of the default broker is obeyed up to this long.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A `ttl` of a year or more is none: the one that is really sent, 2147483647, means for ever. (`wire` §7)
const FOR_EVER: i64 = 365 * 24 * 3600;

/// Onboarding, then session after session, until [`close`](Lifecycle::close) or a failure that no attempt can mend.
///
/// A stored credential ([`Config::with_resume`]) skips the onboarding. What follows each failure is the table in the
/// [module's documentation](super#what-follows-a-failure). The old credential stays in use until there is a new one.
/// Calls are taken while the assigned broker is connected; otherwise they fail or wait, as [`IfDown`] says.
#[derive(Debug)]
pub struct Lifecycle {
    config: Config,
    state: State,
    credential: Option<Credential>,
    /// When the credential's endpoint is no longer valid, where it has an end.
    expires: Option<Instant>,
    parked: Parked,
    history: History,
    backoff: Backoff,
    /// The end of the hold-off that was reported last.
    held_off_until: Instant,
    last_link: LinkId,
    /// Until a broker that was there did not answer a CONNECT behind which more was written.
    pipelines: bool,
    /// Seeds of the ids of onboarding requests.
    seeds: fastrand::Rng,
    counters: Counters,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
enum State {
    Onboarding { machine: Box<Onboarding>, in_flight: Box<InFlight> },
    Session { machine: Box<Session>, ready: bool },
    Waiting { until: Instant, onboard: bool, in_flight: Box<InFlight> },
    Closed,
}

impl Lifecycle {
    /// Begins: with the stored credential if there is one that fits, else at the default broker. `seed` decides request
    /// ids and jitter and should differ between processes.
    pub fn new(now: Instant, config: Config, seed: u64) -> Self {
        let limits = Limits {
            in_flight: config.max_in_flight(),
            quarantine: config.quarantine(),
            late_answer_window: config.late_answer_window(),
        };
        let credential = config.resume().filter(|stored| stored.app_id == *config.app_id()).cloned();
        let credential = credential.filter(|stored| stored.endpoint(config.assigned_scheme()).is_some());
        let mut lifecycle = Self {
            history: History::new(&config, credential.is_some(), seed),
            backoff: Backoff::new(config.backoff_min(), config.backoff_max(), seed),
            state: State::Closed,
            // Nobody knows when a stored one was assigned: its time begins now, and a broker that disagrees refuses it.
            expires: credential.as_ref().and_then(|stored| end_of(now, stored)),
            credential,
            parked: Parked::default(),
            held_off_until: now,
            last_link: LinkId(0),
            pipelines: config.pipelined_connect(),
            seeds: fastrand::Rng::with_seed(seed),
            counters: Counters::default(),
            actions: VecDeque::new(),
            config,
        };
        let in_flight = Box::new(InFlight::new(limits, seed));
        lifecycle.start(now, false, in_flight);
        lifecycle.advance(now);
        lifecycle
    }

    /// Takes what happened on a link.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        match &mut self.state {
            State::Onboarding { machine, .. } => machine.handle_event(now, event),
            State::Session { machine, .. } => machine.handle_event(now, event),
            State::Waiting { .. } | State::Closed => self.counters.stale_events += 1,
        }
        self.advance(now);
    }

    /// Ends what has run out at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        // First: a call whose time is over is not to be sent.
        while let Some(call) = self.parked.take_overdue(now) {
            self.resolve(call, NotSent::DeadlineExceeded);
        }
        match &mut self.state {
            State::Onboarding { machine, in_flight } => {
                machine.handle_timeout(now);
                in_flight.handle_timeout(now);
            }
            State::Session { machine, .. } => machine.handle_timeout(now),
            State::Waiting { until, .. } if *until <= now => {
                if let State::Waiting { onboard, mut in_flight, .. } = mem::replace(&mut self.state, State::Closed) {
                    in_flight.handle_timeout(now);
                    self.start(now, onboard, in_flight);
                }
            }
            State::Waiting { in_flight, .. } => in_flight.handle_timeout(now),
            State::Closed => {}
        }
        self.advance(now);
    }

    /// Takes a call that must be answered by `deadline`. While there is no connection `if_down` decides.
    ///
    /// # Errors
    /// [`RequestError::NotSent`] says why it was not taken; nothing follows then. A call that was taken ends with one
    /// [`Action::Resolve`], unless it is cancelled.
    pub fn submit(
        &mut self,
        now: Instant,
        request: Request<Bytes>,
        deadline: Instant,
        if_down: IfDown,
    ) -> Result<CallId, RequestError> {
        if let State::Closed = self.state {
            return Err(NotSent::Closed.into());
        }
        let connected = matches!(&self.state, State::Session { machine, .. } if machine.takes_calls());
        if !connected && if_down == IfDown::Fail {
            return Err(NotSent::NotConnected.into());
        }
        if deadline <= now {
            return Err(NotSent::DeadlineExceeded.into());
        }
        let call = self.reserve().ok_or(NotSent::Overloaded)?;
        match &mut self.state {
            State::Session { machine, .. } if connected => machine.take(now, call, request, deadline, if_down)?,
            _ => self.parked.insert(call, deadline, Box::new(request)),
        }
        self.advance(now);
        Ok(call)
    }

    /// A number for one more call, if there may be one more.
    fn reserve(&mut self) -> Option<CallId> {
        let in_flight = match &mut self.state {
            State::Onboarding { in_flight, .. } | State::Waiting { in_flight, .. } => in_flight,
            State::Session { machine, .. } => machine.in_flight_mut(),
            State::Closed => return None,
        };
        let waiting = in_flight.len() + self.parked.len();
        (waiting < self.config.max_in_flight()).then(|| in_flight.reserve())
    }

    /// The caller no longer waits for `call`: nothing more is reported of it.
    pub fn cancel(&mut self, now: Instant, call: CallId) {
        self.parked.remove(call);
        if let State::Session { machine, .. } = &mut self.state {
            machine.cancel(now, call);
        }
        self.advance(now);
    }

    /// Ends everything: calls are resolved, a connection that is there ends with a DISCONNECT, and
    /// [`Action::Closed`] is the last action.
    pub fn close(&mut self, now: Instant) {
        match mem::replace(&mut self.state, State::Closed) {
            State::Closed => return,
            State::Waiting { .. } => {}
            State::Onboarding { mut machine, .. } => {
                machine.close(now);
                self.retire_onboarding(&mut machine);
            }
            State::Session { mut machine, .. } => {
                machine.close(now);
                self.retire_session(&mut machine);
            }
        }
        self.end(None);
    }

    /// What is to be done next; `None` when nothing is.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Lifecycle::handle_timeout) is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let own = match &self.state {
            State::Onboarding { machine, in_flight } => {
                machine.next_deadline().into_iter().chain(in_flight.next_deadline()).min()
            }
            State::Session { machine, .. } => machine.next_deadline(),
            State::Waiting { until, in_flight, .. } => {
                Some(in_flight.next_deadline().map_or(*until, |window| window.min(*until)))
            }
            State::Closed => None,
        };
        own.into_iter().chain(self.parked.next_deadline()).min()
    }

    /// The credential in use, or the one in use last.
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// Whether the assigned broker is connected and every subscription granted.
    pub fn is_ready(&self) -> bool {
        matches!(&self.state, State::Session { machine, .. } if machine.is_ready())
    }

    /// Whether it has ended, by [`close`](Lifecycle::close) or by a failure.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether no call waits or is remembered and nothing is to be done.
    pub fn is_idle(&self) -> bool {
        let table_is_idle = match &self.state {
            State::Onboarding { in_flight, .. } | State::Waiting { in_flight, .. } => in_flight.is_idle(),
            State::Session { machine, .. } => machine.is_idle(),
            State::Closed => true,
        };
        table_is_idle && self.actions.is_empty() && self.parked.is_empty()
    }

    /// What was ignored so far.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters;
        match &self.state {
            State::Onboarding { machine, .. } => counters += machine.counters(),
            State::Session { machine, .. } => counters += machine.counters(),
            State::Waiting { .. } | State::Closed => {}
        }
        counters
    }

    /// Begins the next attempt: at the default broker if `onboard`, or if there is no other way.
    fn start(&mut self, now: Instant, onboard: bool, in_flight: Box<InFlight>) {
        self.last_link = self.last_link.next();
        let link = self.last_link;
        let credential = self.credential.as_ref().filter(|_| !onboard && !self.wants_another(now));
        let assigned = credential.and_then(|held| Some((held.endpoint(self.config.assigned_scheme())?, held)));
        self.state = match assigned {
            Some((endpoint, credential)) => {
                let expires = self.expires.filter(|end| *end > now);
                let machine = Session::new(now, link, &self.config, endpoint, credential, *in_flight)
                    .pipelining(self.pipelines)
                    .expiring(expires)
                    .bearing_silence(self.history.bears_silence());
                State::Session { machine: Box::new(machine), ready: false }
            }
            None => {
                let machine = Onboarding::new(now, link, &self.config, self.seeds.u64(..)).pipelining(self.pipelines);
                State::Onboarding { machine: Box::new(machine), in_flight }
            }
        };
    }

    /// Whether the endpoint's time will have ended at `then`, while the device is away: it is not worth a connect, if another one
    /// can be had.
    fn wants_another(&self, then: Instant) -> bool {
        self.expires.is_some_and(|end| end <= then) && self.history.held_off_for(then).is_zero()
    }

    /// Collects what the current machine wants done, and moves on when it has ended.
    fn advance(&mut self, now: Instant) {
        loop {
            match &mut self.state {
                State::Onboarding { machine, .. } => {
                    self.actions.extend(std::iter::from_fn(|| machine.poll_action()));
                    if machine.outcome().is_none() {
                        return;
                    }
                }
                State::Session { machine, ready } => {
                    while let Some(ParkedCall { call, deadline, request }) = machine.poll_parked() {
                        self.parked.insert(call, deadline, request);
                    }
                    while machine.takes_calls()
                        && let Some((call, deadline, request)) = self.parked.take_first()
                    {
                        if let Err(reason) = machine.take(now, call, *request, deadline, IfDown::Wait) {
                            self.actions.push_back(Action::Resolve { call, result: Err(reason.into()) });
                        }
                    }
                    self.actions.extend(std::iter::from_fn(|| machine.poll_action()));
                    if machine.is_ready() && !*ready {
                        *ready = true;
                        self.history.ready();
                    }
                    if machine.ended().is_none() {
                        return;
                    }
                }
                State::Waiting { .. } | State::Closed => return,
            }
            match mem::replace(&mut self.state, State::Closed) {
                State::Onboarding { machine, in_flight } => self.onboarding_ended(now, *machine, in_flight),
                State::Session { machine, .. } => self.session_ended(now, *machine),
                State::Waiting { .. } | State::Closed => {}
            }
        }
    }
}

/// When the time of an endpoint that was assigned at `now` is over; `None` for one that is valid for ever.
fn end_of(now: Instant, credential: &Credential) -> Option<Instant> {
    let seconds = credential.endpoint.ttl.filter(|ttl| (1..FOR_EVER).contains(ttl))?;
    Some(now + Duration::from_secs(seconds.unsigned_abs()))
}
