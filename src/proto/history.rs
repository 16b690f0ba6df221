//! What has happened so far, as far as it matters for what follows.

use std::time::Duration;

use super::budget::Budget;
use super::policy::{Phase, Situation, Standing};
use super::takeover::{SOON, Takeovers};
use super::{Cause, Instant, OnboardingError, SessionEnd, SessionError, silence};
use crate::config::Config;

/// The longest that no new credential is asked for after the default broker refused for good; the first such pause is the
/// configuration's, and each refusal in a row doubles it.
const LONGEST_REST: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct History {
    standing: Standing,
    /// The run began with a stored credential, which the assigned broker has not judged yet.
    is_stored_untried: bool,
    /// The default broker has been asked in this run, or need not be: what is stored may be out of date.
    has_asked: bool,
    may_be_elsewhere: bool,
    ever_ready: bool,
    /// Failures in a row before the first Ready, those excepted that only show a stored credential to be stale.
    failed_attempts: usize,
    /// Sessions in a row that did not become ready, refused logins excepted.
    failed_sessions: usize,
    /// Sessions in a row that ended because calls were not answered, and for how long the next one may be silent.
    silent_sessions: usize,
    bears_silence: Duration,
    refusals: usize,
    resting_until: Instant,
    budget: Budget,
    pub(super) takeovers: Takeovers,
    was_stable: bool,
    limits: Limits,
}

#[derive(Debug)]
struct Limits {
    connect_attempts: usize,
    reonboard_after: usize,
    refusals: usize,
    refusal_pause: Duration,
}

impl History {
    pub(super) fn new(config: &Config, has_stored_credential: bool, seed: u64) -> Self {
        Self {
            standing: if has_stored_credential { Standing::Usable } else { Standing::None },
            is_stored_untried: has_stored_credential,
            has_asked: !has_stored_credential,
            may_be_elsewhere: false,
            ever_ready: false,
            failed_attempts: 0,
            failed_sessions: 0,
            silent_sessions: 0,
            bears_silence: Duration::ZERO,
            refusals: 0,
            resting_until: Instant::ORIGIN,
            budget: Budget::new(config.onboarding_budget()),
            takeovers: Takeovers::new(config.backoff_max(), seed),
            was_stable: false,
            limits: Limits {
                connect_attempts: config.connect_attempts(),
                reonboard_after: config.reonboard_after(),
                refusals: config.refusals(),
                refusal_pause: config.refusal_pause(),
            },
        }
    }

    pub(super) fn onboarded(&mut self, now: Instant) {
        self.budget.spend(now);
        self.standing = Standing::Usable;
        self.is_stored_untried = false;
        self.has_asked = true;
        self.failed_sessions = 0;
        self.silent_sessions = 0;
        self.refusals = 0;
        self.resting_until = Instant::ORIGIN;
    }

    pub(super) fn onboarding_failed(&mut self, now: Instant, error: &OnboardingError) {
        self.failed_attempts += 1;
        self.has_asked = true;
        if error.cause().is_refusal() {
            self.refusals += 1;
            let doublings = u32::try_from(self.refusals - 1).unwrap_or(u32::MAX).min(16);
            let pause = self.limits.refusal_pause.saturating_mul(2_u32.pow(doublings)).min(LONGEST_REST);
            self.resting_until = now + pause;
        }
    }

    pub(super) fn ready(&mut self) {
        self.ever_ready = true;
        self.failed_attempts = 0;
        self.failed_sessions = 0;
    }

    /// Takes the end of a session into account. Says how often in a row it was taken away, if that is too often.
    pub(super) fn session_ended(&mut self, end: &SessionEnd, error: &SessionError) -> Option<u32> {
        let cause = error.cause();
        let lasted = end.ready_for.unwrap_or_default();
        self.was_stable = lasted >= SOON;
        if end.was_connected {
            self.standing = Standing::Usable;
        }
        self.may_be_elsewhere = cause.may_be_elsewhere();
        let only_stale = cause.is_login_refused() && self.is_stored_untried;
        match cause {
            Cause::TokenRefused | Cause::TargetGone => self.standing = Standing::Void,
            _ if end.was_connected => {}
            _ if cause.is_login_refused() => self.standing = Standing::Refused,
            _ => {}
        }
        if end.was_connected || cause.is_login_refused() {
            self.is_stored_untried = false;
        }
        if end.ready_for.is_none() && !cause.is_login_refused() {
            self.failed_sessions = self.failed_sessions.saturating_add(1);
        }
        if !only_stale {
            self.failed_attempts = self.failed_attempts.saturating_add(1);
        }
        match error {
            SessionError::Unanswered { silence, .. } => {
                self.silent_sessions = self.silent_sessions.saturating_add(1);
                self.bears_silence = silence::next(*silence);
            }
            // One that could not be made says nothing of those that can.
            _ if end.ready_for.is_none() => {}
            _ => (self.silent_sessions, self.bears_silence) = (0, Duration::ZERO),
        }
        if cause == Cause::Kicked {
            return self.takeovers.kicked();
        }
        self.takeovers.ended(lasted);
        None
    }

    /// How long from `now` on no new credential is to be asked for; zero when one may be.
    pub(super) fn held_off_for(&self, now: Instant) -> Duration {
        self.budget.exhausted_for(now).max(self.resting_until.since(now))
    }

    pub(super) fn situation(&self, now: Instant, phase: Phase) -> Situation {
        let has_spent_all = !self.ever_ready && self.failed_attempts >= self.limits.connect_attempts;
        // What is stored may name a broker that there is no more: the default one is asked before it is given up.
        let asks_once = has_spent_all && self.may_be_elsewhere && !self.has_asked;
        let is_unreachable = self.failed_sessions.max(self.silent_sessions) >= self.limits.reonboard_after;
        Situation {
            phase,
            standing: self.standing,
            ever_ready: self.ever_ready,
            out_of_attempts: has_spent_all && !asks_once,
            unreachable: is_unreachable || asks_once,
            out_of_refusals: self.refusals >= self.limits.refusals,
            held_off: !self.held_off_for(now).is_zero(),
            contested: self.takeovers.is_contested(),
            was_stable: self.was_stable,
        }
    }

    /// For how long the next session may be silent, if that is longer than usual.
    pub(super) fn bears_silence(&self) -> Duration {
        self.bears_silence
    }

    /// Whether the last session was a good one.
    pub(super) fn was_stable(&self) -> bool {
        self.was_stable
    }
}
