//! What follows a failure. A pure function of the cause and of the situation, and the only place that decides.

use super::Cause;

/// Where the device stood when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// At the default broker.
    Onboarding,
    /// On the way to the assigned broker, or connected but not ready yet.
    Connecting,
    /// At the assigned broker.
    Ready,
}

/// How the credential at hand has fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is none.
    None,
    /// There is one that was not refused when it was last judged, if it ever was.
    Usable,
    /// The assigned broker refused the login.
    Refused,
    /// The service refused the token, or knows the thing no more.
    Void,
}

/// All that a decision depends on besides the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Situation {
    pub(super) phase: Phase,
    pub(super) standing: Standing,
    /// The device was ready in this run.
    pub(super) ever_ready: bool,
    /// It never was, and has failed as often as `connect_attempts` allows.
    pub(super) out_of_attempts: bool,
    /// The assigned broker could not be used `reonboard_after` times in a row.
    pub(super) unreachable: bool,
    /// The default broker refused for good as often as `refusals` allows.
    pub(super) out_of_refusals: bool,
    /// No new credential is to be asked for at the moment: the budget is used up, or a refusal is rested on.
    pub(super) held_off: bool,
    /// Connections are taken away again and again.
    pub(super) contested: bool,
    /// The connection that was lost had been a good one.
    pub(super) was_stable: bool,
}

/// What to try next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The assigned broker, with the credential at hand.
    Reconnect,
    /// The default broker.
    Onboard,
    /// Nothing: this cannot get better by itself.
    GiveUp,
}

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// At once.
    None,
    /// By the back-off.
    Backoff,
    /// By the longer one of a contested client identifier.
    Contested,
    /// When a new credential may be asked for again.
    HeldOff,
    /// After the rest that the configuration allows, if it does.
    Rest,
}

/// Decides what follows `cause`.
pub(super) fn after(cause: Cause, situation: &Situation) -> (Step, Pause) {
    if situation.out_of_attempts {
        return (Step::GiveUp, Pause::None);
    }
    match situation.phase {
        Phase::Onboarding => after_onboarding(cause, situation),
        Phase::Connecting | Phase::Ready => after_session(cause, situation),
    }
}

fn after_onboarding(cause: Cause, situation: &Situation) -> (Step, Pause) {
    let for_good = cause.is_refusal();
    match situation.standing {
        // The default broker was asked only because the assigned one could not be used: the old credential is as good as
        // before.
        Standing::Usable => (Step::Reconnect, Pause::Backoff),
        // Nobody waits for the device to say so, and a service that refuses everybody for a minute must not end them all.
        _ if for_good && situation.ever_ready && !situation.out_of_refusals => onboard(situation),
        _ if for_good && situation.ever_ready => (Step::GiveUp, Pause::Rest),
        _ if for_good => (Step::GiveUp, Pause::None),
        Standing::None | Standing::Refused | Standing::Void => onboard(situation),
    }
}

fn after_session(cause: Cause, situation: &Situation) -> (Step, Pause) {
    match cause {
        Cause::Kicked if situation.contested => (Step::Reconnect, Pause::Contested),
        Cause::EndpointExpired if !situation.held_off => (Step::Onboard, Pause::None),
        _ if situation.standing != Standing::Usable => onboard(situation),
        // Found out one connect later, it costs nothing.
        _ if situation.unreachable && !situation.held_off => (Step::Onboard, Pause::Backoff),
        _ if situation.phase == Phase::Ready && situation.was_stable => (Step::Reconnect, Pause::None),
        _ => (Step::Reconnect, Pause::Backoff),
    }
}

/// The credential at hand is of no use.
fn onboard(situation: &Situation) -> (Step, Pause) {
    match situation.standing {
        _ if !situation.held_off => (Step::Onboard, Pause::Backoff),
        // A broker that refused everybody for a moment would take it now.
        Standing::Refused => (Step::Reconnect, Pause::Backoff),
        Standing::None | Standing::Usable | Standing::Void => (Step::Onboard, Pause::HeldOff),
    }
}

#[cfg(test)]
mod tests;
