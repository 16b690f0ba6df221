//! What follows a failure. A pure function of the cause and of what happened before, and the only place that decides.

use super::{ConnectError, SessionEnd, SessionError};
use crate::config::Config;
use crate::mqtt::RefusedReason;

/// What to try next, after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The assigned broker, with the credential at hand.
    Reconnect,
    /// The default broker.
    Onboard,
    /// Nothing: this cannot get better by itself.
    GiveUp,
}

/// How the credential at hand has fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// There is none.
    None,
    /// From an earlier run, not tried yet.
    Stored,
    /// From an onboarding of this run, not tried yet.
    Fresh,
    /// The assigned broker took it when it last judged it.
    Accepted,
    /// The assigned broker refused it; `fresh` if it had just been assigned.
    Refused { fresh: bool },
}

/// What the decision depends on besides the cause.
#[derive(Debug)]
pub(super) struct History {
    standing: Standing,
    ever_ready: bool,
    /// Failures in a row before the first Ready, those excepted that only show a stored credential to be stale.
    failed_attempts: usize,
    /// Connects to the assigned broker that failed in a row, refusals excepted.
    failed_connects: usize,
}

impl History {
    pub(super) fn new(has_stored_credential: bool) -> Self {
        let standing = if has_stored_credential { Standing::Stored } else { Standing::None };
        Self { standing, ever_ready: false, failed_attempts: 0, failed_connects: 0 }
    }

    pub(super) fn onboarded(&mut self) {
        self.standing = Standing::Fresh;
        self.failed_connects = 0;
    }

    pub(super) fn ready(&mut self) {
        self.ever_ready = true;
        self.failed_attempts = 0;
        self.accepted();
    }

    fn accepted(&mut self) {
        self.standing = Standing::Accepted;
        self.failed_connects = 0;
    }

    /// Takes the end of a session that failed with `error` into account.
    pub(super) fn session_failed(&mut self, end: &SessionEnd, error: &SessionError) {
        let was_fresh = self.standing == Standing::Fresh;
        if end.was_connected {
            self.accepted();
        } else if is_credential_refused(error) {
            self.standing = Standing::Refused { fresh: was_fresh };
        } else {
            self.failed_connects += 1;
        }
        let only_stale = self.standing == Standing::Refused { fresh: false };
        if !only_stale {
            self.failed_attempts += 1;
        }
    }

    pub(super) fn onboarding_failed(&mut self) {
        self.failed_attempts += 1;
    }

    fn has_usable_credential(&self) -> bool {
        matches!(self.standing, Standing::Stored | Standing::Fresh | Standing::Accepted)
    }
}

/// CONNACK 4 or 5: the broker knows that these credentials are wrong. (`wire` §8)
fn is_credential_refused(error: &SessionError) -> bool {
    matches!(error.refusal(), Some(RefusedReason::BadUserNameOrPassword | RefusedReason::NotAuthorised))
}

/// Decides what follows `failure`, which `history` has already taken into account.
pub(super) fn after(failure: &ConnectError, history: &History, config: &Config) -> Step {
    let out_of_attempts = !history.ever_ready && history.failed_attempts >= config.connect_attempts();
    match failure {
        _ if out_of_attempts => Step::GiveUp,
        // The default broker was asked only because the assigned one could not be reached: the old credential is as
        // good as before.
        ConnectError::Onboarding(_) if history.has_usable_credential() => Step::Reconnect,
        ConnectError::Onboarding(error) if error.is_permanent() => Step::GiveUp,
        ConnectError::Onboarding(_) => Step::Onboard,
        ConnectError::Session(_) if !history.has_usable_credential() => Step::Onboard,
        ConnectError::Session(_) if history.failed_connects >= config.reonboard_after() => Step::Onboard,
        ConnectError::Session(_) => Step::Reconnect,
        ConnectError::Closed | ConnectError::NoRandomness(_) | ConnectError::Vault(_) => Step::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Identity;
    use crate::ids::{AppId, VendorThingId};
    use crate::mqtt::{LinkError, LinkErrorKind};
    use crate::proto::OnboardingError;

    fn config(connect_attempts: usize, reonboard_after: usize) -> Config {
        let identity = Identity::vendor_thing(VendorThingId::new("v").expect("valid"), "pw".into());
        Config::new("mqtt://h".parse().expect("valid"), AppId::new("a").expect("valid"), "k".into(), identity)
            .and_then(|c| c.with_connect_attempts(connect_attempts))
            .and_then(|c| c.with_reonboard_after(reonboard_after))
            .expect("in range")
    }

    fn link(kind: LinkErrorKind) -> SessionError {
        SessionError::Link(LinkError::from(kind))
    }

    fn session(history: &mut History, config: &Config, kind: LinkErrorKind, was_connected: bool) -> Step {
        let error = link(kind);
        history.session_failed(&SessionEnd { error: Some(error.clone()), was_connected, ready_for: None }, &error);
        after(&ConnectError::Session(error), history, config)
    }

    fn onboarding(history: &mut History, config: &Config, error: OnboardingError) -> Step {
        history.onboarding_failed();
        after(&ConnectError::Onboarding(error), history, config)
    }

    const REFUSED: LinkErrorKind = LinkErrorKind::Refused(RefusedReason::NotAuthorised);

    #[test]
    fn a_refused_stored_credential_costs_no_attempt() {
        let (mut history, config) = (History::new(true), config(1, 5));
        assert_eq!(session(&mut history, &config, REFUSED, false), Step::Onboard);
        history.onboarded();
        assert_eq!(session(&mut history, &config, REFUSED, false), Step::GiveUp, "a fresh one is the broker's fault");
    }

    #[test]
    fn a_server_that_is_unavailable_refuses_no_credential() {
        let (mut history, config) = (History::new(true), config(9, 5));
        let unavailable = LinkErrorKind::Refused(RefusedReason::ServerUnavailable);
        assert_eq!(session(&mut history, &config, unavailable, false), Step::Reconnect);
    }

    #[test]
    fn before_the_first_ready_attempts_are_counted_and_afterwards_they_are_not() {
        let (mut history, config) = (History::new(true), config(2, 99));
        assert_eq!(session(&mut history, &config, LinkErrorKind::Tcp, false), Step::Reconnect);
        assert_eq!(session(&mut history, &config, LinkErrorKind::Tcp, false), Step::GiveUp);
        history.ready();
        for _ in 0..50 {
            assert_eq!(session(&mut history, &config, LinkErrorKind::Tcp, false), Step::Reconnect);
        }
    }

    #[test]
    fn after_n_failed_connects_both_brokers_are_tried_in_turn() {
        let (mut history, config) = (History::new(true), config(1, 2));
        history.ready();
        assert_eq!(session(&mut history, &config, LinkErrorKind::Closed, true), Step::Reconnect);
        assert_eq!(session(&mut history, &config, LinkErrorKind::Tcp, false), Step::Reconnect);
        assert_eq!(session(&mut history, &config, LinkErrorKind::Tcp, false), Step::Onboard);
        assert_eq!(onboarding(&mut history, &config, OnboardingError::TimedOut), Step::Reconnect);
        assert_eq!(session(&mut history, &config, LinkErrorKind::Tcp, false), Step::Onboard);
        history.onboarded();
        assert_eq!(session(&mut history, &config, LinkErrorKind::Tcp, false), Step::Reconnect);
    }

    #[test]
    fn without_a_usable_credential_only_a_permanent_refusal_ends_it() {
        let (mut history, config) = (History::new(true), config(1, 5));
        history.ready();
        assert_eq!(session(&mut history, &config, REFUSED, false), Step::Onboard);
        assert_eq!(onboarding(&mut history, &config, OnboardingError::TimedOut), Step::Onboard);
        let gone = OnboardingError::Rejected { status: http::StatusCode::UNAUTHORIZED, body: None };
        assert_eq!(onboarding(&mut history, &config, gone), Step::GiveUp);
    }
}
