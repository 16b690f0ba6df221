//! The whole life of a device's connection: onboarding, session, pause, session again.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;

use super::policy::{self, History, Step};
use super::{
    Action, Backoff, CallId, ConnectError, Counters, Event, InFlight, Instant, Limits, LinkId, NotSent, Notice,
    Onboarding, RequestError, Session,
};
use crate::config::Config;
use crate::mqtt::Endpoint;
use crate::thing_if::Credential;

/// A session that was ready for at least this long was a good one: the next back-off begins anew. A shorter one may
/// have been ended on purpose (another device with this client id, `wire` §1.2), and hurrying would not help.
const STABLE: Duration = Duration::from_secs(5);

/// Onboarding, then session after session, until [`close`](Lifecycle::close) or a failure that no attempt can mend.
///
/// A stored credential ([`Config::with_resume`]) skips the onboarding. The device asks the default broker again when
/// the assigned one refuses its credential, or cannot be reached [so often](Config::with_reonboard_after). The old
/// credential stays in use until there is a new one. Calls are taken while the assigned broker is connected, and
/// refused as [`NotSent::NotConnected`] otherwise; none waits for a reconnect.
#[derive(Debug)]
pub struct Lifecycle {
    config: Config,
    state: State,
    credential: Option<Credential>,
    history: History,
    backoff: Backoff,
    last_link: LinkId,
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
            history: History::new(credential.is_some()),
            backoff: Backoff::new(config.backoff_min(), config.backoff_max(), seed),
            state: State::Closed,
            credential,
            last_link: LinkId(0),
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

    /// Takes a call that must be answered by `deadline`; see [`Session::submit`].
    ///
    /// # Errors
    /// [`RequestError::NotSent`] says why it was not taken; nothing follows then.
    pub fn submit(&mut self, now: Instant, request: Request<Bytes>, deadline: Instant) -> Result<CallId, RequestError> {
        let taken = match &mut self.state {
            State::Session { machine, .. } => machine.submit(now, request, deadline),
            State::Onboarding { .. } | State::Waiting { .. } => Err(NotSent::NotConnected.into()),
            State::Closed => Err(NotSent::Closed.into()),
        };
        self.advance(now);
        taken
    }

    /// The caller no longer waits for `call`: nothing more is reported of it.
    pub fn cancel(&mut self, now: Instant, call: CallId) {
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
        self.actions.push_back(Action::Closed(None));
    }

    /// What is to be done next; `None` when nothing is.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Lifecycle::handle_timeout) is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Onboarding { machine, in_flight } => {
                machine.next_deadline().into_iter().chain(in_flight.next_deadline()).min()
            }
            State::Session { machine, .. } => machine.next_deadline(),
            State::Waiting { until, in_flight, .. } => {
                Some(in_flight.next_deadline().map_or(*until, |window| window.min(*until)))
            }
            State::Closed => None,
        }
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
        table_is_idle && self.actions.is_empty()
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
        match self.assigned().filter(|_| !onboard) {
            Some((endpoint, credential)) => {
                let machine = Session::new(now, link, &self.config, endpoint, &credential, *in_flight);
                self.state = State::Session { machine: Box::new(machine), ready: false };
            }
            None => {
                let machine = Onboarding::new(now, link, &self.config, self.seeds.u64(..));
                self.state = State::Onboarding { machine: Box::new(machine), in_flight };
            }
        }
    }

    fn assigned(&self) -> Option<(Endpoint, Credential)> {
        let credential = self.credential.as_ref()?;
        Some((credential.endpoint(self.config.assigned_scheme())?, credential.clone()))
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

    fn onboarding_ended(&mut self, now: Instant, mut machine: Onboarding, in_flight: Box<InFlight>) {
        self.retire_onboarding(&mut machine);
        match machine.into_outcome() {
            Some(Ok(credential)) => {
                self.actions.push_back(Action::Notice(Notice::Onboarded { thing_id: credential.thing_id.clone() }));
                self.credential = Some(credential);
                self.history.onboarded();
                self.start(now, false, in_flight);
            }
            Some(Err(error)) => {
                self.history.onboarding_failed();
                self.failed(now, error.into(), in_flight);
            }
            None => {}
        }
    }

    fn session_ended(&mut self, now: Instant, mut machine: Session) {
        self.retire_session(&mut machine);
        let Some(end) = machine.ended().cloned() else { return };
        let Some(error) = end.error.clone() else { return };
        if end.ready_for.is_some_and(|ready_for| ready_for >= STABLE) {
            self.backoff.reset();
        }
        self.history.session_failed(&end, &error);
        self.failed(now, error.into(), Box::new(machine.into_in_flight()));
    }

    fn failed(&mut self, now: Instant, cause: ConnectError, mut in_flight: Box<InFlight>) {
        let onboard = match policy::after(&cause, &self.history, &self.config) {
            Step::Reconnect => false,
            Step::Onboard => true,
            Step::GiveUp => {
                in_flight.close();
                self.actions.push_back(Action::Closed(Some(cause)));
                return;
            }
        };
        let pause = self.backoff.next_pause();
        let notice = Notice::Waiting { cause: Arc::new(cause), pause, onboarding: onboard };
        self.actions.push_back(Action::Notice(notice));
        self.state = State::Waiting { until: now + pause, onboard, in_flight };
    }

    fn retire_onboarding(&mut self, machine: &mut Onboarding) {
        self.actions.extend(std::iter::from_fn(|| machine.poll_action()));
        self.counters += machine.counters();
    }

    fn retire_session(&mut self, machine: &mut Session) {
        self.actions.extend(std::iter::from_fn(|| machine.poll_action()));
        self.counters += machine.counters();
    }
}
