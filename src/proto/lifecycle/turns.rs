//! What follows the end of an attempt, as the policy has it.

use std::sync::Arc;
use std::time::Duration;

use super::{LONGEST_RETRY_AFTER, Lifecycle, State, end_of};
use crate::proto::policy::{self, Pause, Phase, Situation, Step};
use crate::proto::{
    Action, CallId, Cause, ConnectError, InFlight, Instant, NotSent, Notice, Onboarding, OnboardingError, Session,
    SessionError,
};

impl Lifecycle {
    pub(super) fn onboarding_ended(&mut self, now: Instant, mut machine: Onboarding, in_flight: Box<InFlight>) {
        self.retire_onboarding(&mut machine);
        match machine.into_outcome() {
            Some(Ok(credential)) => {
                self.actions.push_back(Action::Notice(Notice::Onboarded { thing_id: credential.thing_id.clone() }));
                self.expires = end_of(now, &credential);
                self.credential = Some(credential);
                self.history.onboarded(now);
                self.start(now, false, in_flight);
            }
            Some(Err(error)) => self.onboarding_failed(now, error, in_flight),
            None => {}
        }
    }

    fn onboarding_failed(&mut self, now: Instant, error: OnboardingError, in_flight: Box<InFlight>) {
        self.history.onboarding_failed(now, &error);
        let at_least = error.retry_after().unwrap_or_default().min(LONGEST_RETRY_AFTER);
        if self.expires.is_some_and(|end| end <= now) {
            // Nobody gives another one: the old one is used until the broker refuses it.
            self.expires = None;
        }
        let failure = (error.cause(), Phase::Onboarding);
        self.proceed(now, error.into(), failure, at_least, in_flight);
    }

    pub(super) fn session_ended(&mut self, now: Instant, mut machine: Session) {
        self.retire_session(&mut machine);
        let Some(end) = machine.ended().cloned() else { return };
        let Some(error) = end.error.clone() else { return };
        if end.was_connected {
            let cause = Arc::new(ConnectError::Session(error.clone()));
            self.actions.push_back(Action::Notice(Notice::Lost { link: self.last_link, cause }));
        }
        if let Some(kicks) = self.history.session_ended(&end, &error) {
            self.actions.push_back(Action::Notice(Notice::DuplicateClientId { kicks }));
        }
        if self.history.was_stable() {
            self.backoff.reset();
        }
        if matches!(error, SessionError::EndpointExpired) {
            // Said once. If no new credential may be asked for now, the old one is used until the broker refuses it.
            self.expires = None;
        }
        let phase = if end.ready_for.is_some() { Phase::Ready } else { Phase::Connecting };
        self.proceed(
            now,
            error.clone().into(),
            (error.cause(), phase),
            Duration::ZERO,
            Box::new(machine.into_in_flight()),
        );
    }

    fn proceed(
        &mut self,
        now: Instant,
        error: ConnectError,
        (kind, phase): (Cause, Phase),
        at_least: Duration,
        mut in_flight: Box<InFlight>,
    ) {
        let situation = self.history.situation(now, phase);
        let (step, pause) = policy::after(kind, &situation);
        let is_held_off = (step, pause) != policy::after(kind, &Situation { held_off: false, ..situation });
        let held_off = self.history.held_off_for(now);
        let pause = match pause {
            Pause::None => Duration::ZERO,
            Pause::Backoff => self.backoff.next_pause(),
            Pause::Contested => self.history.takeovers.pause(),
            Pause::HeldOff => held_off.max(self.backoff.next_pause()),
            Pause::Rest => self.config.rest_after_refusal().map_or(Duration::ZERO, |rest| rest.max(held_off)),
        };
        let rests = step == Step::GiveUp && !pause.is_zero();
        let cause = Arc::new(error);
        if step == Step::GiveUp && !rests {
            in_flight.close();
            self.actions.push_back(Action::Notice(Notice::GaveUp { cause: cause.clone() }));
            return self.end(Some(Arc::unwrap_or_clone(cause)));
        }
        if is_held_off && self.held_off_until <= now {
            self.held_off_until = now + held_off;
            self.actions.push_back(Action::Notice(Notice::OnboardingHeldOff { pause: held_off }));
        }
        let pause = pause.max(at_least);
        let onboard = rests || step == Step::Onboard || self.wants_another(now + pause);
        self.actions.push_back(Action::Notice(Notice::Waiting { cause, pause, onboarding: onboard }));
        if pause.is_zero() {
            self.start(now, onboard, in_flight);
        } else {
            self.state = State::Waiting { until: now + pause, onboard, in_flight };
        }
    }

    /// Ends the calls that wait, and says that this was all.
    pub(super) fn end(&mut self, failure: Option<ConnectError>) {
        while let Some((call, ..)) = self.parked.take_first() {
            self.resolve(call, NotSent::Closed);
        }
        self.actions.push_back(Action::Closed(failure));
    }

    pub(super) fn resolve(&mut self, call: CallId, reason: NotSent) {
        self.actions.push_back(Action::Resolve { call, result: Err(reason.into()) });
    }

    pub(super) fn retire_onboarding(&mut self, machine: &mut Onboarding) {
        self.actions.extend(std::iter::from_fn(|| machine.poll_action()));
        self.counters += machine.counters();
        self.pipelines &= !machine.opened_in_vain();
    }

    pub(super) fn retire_session(&mut self, machine: &mut Session) {
        self.pipelines &= !machine.opened_in_vain();
        self.actions.extend(std::iter::from_fn(|| machine.poll_action()));
        self.counters += machine.counters();
    }
}
