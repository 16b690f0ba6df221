use super::*;
use crate::mqtt::RefusedReason;

/// A device that has been ready, with a credential at hand and everything left to spend.
const CALM: Situation = Situation {
    phase: Phase::Ready,
    standing: Standing::Usable,
    ever_ready: true,
    out_of_attempts: false,
    unreachable: false,
    out_of_refusals: false,
    held_off: false,
    contested: false,
    was_stable: true,
};

/// Where each cause can end something: the columns of the table.
fn columns(cause: Cause) -> [Option<Situation>; 4] {
    let onboarding = |standing| Situation { phase: Phase::Onboarding, standing, was_stable: false, ..CALM };
    let at_default = !matches!(
        cause,
        Cause::Kicked
            | Cause::SubscribeTimedOut
            | Cause::TokenRefused
            | Cause::TargetGone
            | Cause::Unanswered
            | Cause::EndpointExpired
    );
    let only_at_default = matches!(
        cause,
        Cause::OnboardingRefused
            | Cause::OnboardingPostponed
            | Cause::OnboardingUnanswered
            | Cause::OnboardingUnreadable
            | Cause::SchemeNotOffered
    );
    let connects = matches!(
        cause,
        Cause::NameNotResolved | Cause::Tcp | Cause::Tls | Cause::WebSocket | Cause::ConnectTimedOut | Cause::Config
    ) || matches!(cause, Cause::Refused(_));
    let ready_only = matches!(
        cause,
        Cause::Kicked | Cause::TokenRefused | Cause::TargetGone | Cause::Unanswered | Cause::EndpointExpired
    );
    let subscribes = matches!(cause, Cause::SubscriptionRefused | Cause::SubscribeTimedOut);
    let standing = match cause {
        Cause::TokenRefused | Cause::TargetGone => Standing::Void,
        _ if cause.is_login_refused() => Standing::Refused,
        _ => Standing::Usable,
    };
    let connecting = Situation { phase: Phase::Connecting, standing, was_stable: false, ..CALM };
    let ready = Situation { standing, was_stable: cause != Cause::Kicked, ..CALM };
    [
        at_default.then(|| onboarding(Standing::None)),
        at_default.then(|| onboarding(Standing::Usable)),
        (!only_at_default && !ready_only).then_some(connecting),
        (!only_at_default && !connects && !subscribes).then_some(ready),
    ]
}

fn words((step, pause): (Step, Pause)) -> String {
    let what = match step {
        Step::Reconnect => "reconnect",
        Step::Onboard => "onboard",
        Step::GiveUp => return "end".to_owned(),
    };
    let when = match pause {
        Pause::None => "at once",
        Pause::Backoff => "paced",
        Pause::Contested => "slowly",
        Pause::HeldOff => "after the hold-off",
        Pause::Rest => "after the rest",
    };
    format!("{what} {when}")
}

fn table() -> String {
    let mut text = String::from(
        "| cause | at the default broker, without a credential | at the default broker, with a usable one \
         | on the way to the assigned broker | ready |\n|---|---|---|---|---|\n",
    );
    for cause in Cause::ALL {
        let cell = |situation: Option<Situation>| {
            let Some(at) = situation else { return "–".to_owned() };
            let (now, at_last) = (after(cause, &at), after(cause, &Situation { out_of_refusals: true, ..at }));
            if now == at_last { words(now) } else { format!("{}, at last {}", words(now), words(at_last)) }
        };
        let cells = columns(cause).map(cell);
        text.push_str(&format!("| {cause} | {} |\n", cells.join(" | ")));
    }
    text
}

#[test]
fn the_documented_table_is_what_is_done() {
    let documented = include_str!("../lifecycle.md");
    let table = table();
    assert!(documented.contains(&table), "src/proto/lifecycle.md must have this table:\n{table}");
}

#[test]
fn every_cause_is_in_the_table_once() {
    let names: std::collections::BTreeSet<String> = Cause::ALL.iter().map(Cause::to_string).collect();
    assert_eq!(names.len(), Cause::ALL.len());
    for cause in Cause::ALL {
        assert!(columns(cause).iter().any(Option::is_some), "{cause} can happen somewhere");
    }
}

const TCP: Cause = Cause::Tcp;
const REFUSED: Cause = Cause::Refused(RefusedReason::NotAuthorised);

#[test]
fn whatever_the_cause_nothing_follows_the_last_attempt_before_the_first_ready() {
    for cause in Cause::ALL {
        for at in columns(cause).into_iter().flatten() {
            let at = Situation { ever_ready: false, out_of_attempts: true, ..at };
            assert_eq!(after(cause, &at).0, Step::GiveUp, "{cause}");
        }
    }
}

#[test]
fn once_ready_only_refusals_without_a_usable_credential_end_it() {
    for cause in Cause::ALL {
        for standing in [Standing::None, Standing::Usable, Standing::Refused, Standing::Void] {
            for out_of_refusals in [false, true] {
                for at in columns(cause).into_iter().flatten() {
                    let at = Situation { standing, out_of_refusals, ..at };
                    let ends = after(cause, &at).0 == Step::GiveUp;
                    let may = at.phase == Phase::Onboarding
                        && cause.is_refusal()
                        && standing != Standing::Usable
                        && out_of_refusals;
                    assert_eq!(ends, may, "{cause} {at:?}");
                }
            }
        }
    }
}

#[test]
fn while_held_off_nobody_is_asked_for_a_credential() {
    for cause in Cause::ALL {
        for at in columns(cause).into_iter().flatten() {
            for unreachable in [false, true] {
                let at = Situation { held_off: true, unreachable, ..at };
                let decided = after(cause, &at);
                assert!(decided.0 != Step::Onboard || decided.1 == Pause::HeldOff, "{cause} {at:?} {decided:?}");
            }
        }
    }
    let refused = Situation { held_off: true, standing: Standing::Refused, phase: Phase::Connecting, ..CALM };
    assert_eq!(after(REFUSED, &refused), (Step::Reconnect, Pause::Backoff), "it may have been a slip of the broker");
}

#[test]
fn a_broker_that_cannot_be_used_so_often_is_asked_about_at_the_default_one() {
    let at = Situation { unreachable: true, phase: Phase::Connecting, was_stable: false, ..CALM };
    assert_eq!(after(TCP, &at), (Step::Onboard, Pause::Backoff));
    assert_eq!(after(TCP, &Situation { unreachable: false, ..at }), (Step::Reconnect, Pause::Backoff));
    let back = Situation { phase: Phase::Onboarding, ..at };
    assert_eq!(after(TCP, &back), (Step::Reconnect, Pause::Backoff), "both are tried in turn");
}

#[test]
fn only_the_first_loss_of_a_good_connection_is_followed_at_once() {
    assert_eq!(after(Cause::KeepAlive, &CALM), (Step::Reconnect, Pause::None));
    let short = Situation { was_stable: false, ..CALM };
    assert_eq!(after(Cause::Kicked, &short), (Step::Reconnect, Pause::Backoff));
    let contested = Situation { contested: true, ..short };
    assert_eq!(after(Cause::Kicked, &contested), (Step::Reconnect, Pause::Contested));
    assert_eq!(after(Cause::KeepAlive, &contested), (Step::Reconnect, Pause::Backoff));
}

#[test]
fn before_the_first_ready_one_refusal_ends_it() {
    let at = Situation { phase: Phase::Onboarding, standing: Standing::None, ever_ready: false, ..CALM };
    assert_eq!(after(Cause::OnboardingRefused, &at), (Step::GiveUp, Pause::None));
    assert_eq!(after(Cause::OnboardingPostponed, &at), (Step::Onboard, Pause::Backoff));
    let later = Situation { ever_ready: true, ..at };
    assert_eq!(after(Cause::OnboardingRefused, &later), (Step::Onboard, Pause::Backoff));
    let too_often = Situation { out_of_refusals: true, ..later };
    assert_eq!(after(Cause::OnboardingRefused, &too_often), (Step::GiveUp, Pause::Rest));
}
