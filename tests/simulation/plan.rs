//! What a seed draws before a schedule begins.

use std::time::Duration;

use thingif::config::Config;
use thingif::thing_if::Credential;

use crate::device;
use crate::fault::{Fault, Rates};
use crate::service;

/// Whether the peer repeats `X-Kii-RequestID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    Echoed,
    Omitted,
    NowAndThen,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) rates: Rates,
    pub(crate) ids: Ids,
    /// A broker without any knowledge of this protocol: it delivers to subscribers, the sender among them.
    pub(crate) ordinary: bool,
    /// Whether the transport hands out links before CONNACK, where it is asked to.
    pub(crate) pipelines: bool,
    /// Brokers that hang up on who writes anything behind CONNECT.
    pub(crate) dislikes_pipelining: bool,
    /// For how long things go wrong.
    pub(crate) faulty_for: Duration,
    pub(crate) calls: usize,
    /// One way through the network.
    pub(crate) latency: Duration,
    /// How much later than due a timer may go off.
    pub(crate) lateness: Duration,
    pub(crate) close_at: Option<Duration>,
    /// Whether the program makes calls without waiting until it is connected, as after `client::start`.
    pub(crate) starts_early: bool,
}

/// Longer than any message travels, so that what has no id cannot come after its window.
pub(crate) const WINDOW: Duration = Duration::from_secs(8);
/// The longest that a message or an answer is held back.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_millis(1500);

fn between(rng: &mut fastrand::Rng, min: u64, max: u64) -> Duration {
    Duration::from_millis(rng.u64(min..=max))
}

impl Plan {
    pub(crate) fn drawn(rng: &mut fastrand::Rng, seed: u64) -> Self {
        let mut rates = Rates::drawn(rng);
        let ids = match rng.u8(..10) {
            0 | 1 => Ids::Omitted,
            2 => Ids::NowAndThen,
            _ => Ids::Echoed,
        };
        let ordinary = rng.u8(..8) == 0;
        if ids != Ids::Echoed || rates.of(Fault::AnswerWithoutId) > 0.0 {
            // Without ids a second answer cannot be told from the answer to the next call, and one on another call's
            // topic not from that call's. A connection does neither.
            for fault in [Fault::Duplicate, Fault::AnswerTwice] {
                rates.clear(fault);
            }
        }
        if rates.of(Fault::LateTimer) == 0.0 && rng.bool() {
            rates.clear(Fault::EarlyTimer);
        }
        let late = rates.of(Fault::LateTimer) > 0.0;
        let faulty_for = between(rng, 20_000, 240_000);
        let close_at = (rng.f64() < rates.of(Fault::CloseEarly)).then(|| faulty_for.mul_f64(rng.f64()));
        Self {
            config: config(rng, &mut rates, ordinary, seed),
            ids,
            ordinary,
            pipelines: rng.u8(..3) != 0,
            dislikes_pipelining: rng.u8(..12) == 0,
            faulty_for,
            calls: rng.usize(5..60),
            latency: between(rng, 0, 80),
            lateness: if late { between(rng, 1, 80) } else { Duration::ZERO },
            close_at,
            starts_early: seed.is_multiple_of(2),
            rates,
        }
    }
}

fn config(rng: &mut fastrand::Rng, rates: &mut Rates, ordinary: bool, seed: u64) -> Config {
    let attempts = match rng.u8(..10) {
        0 => 1,
        1 => rng.usize(2..6),
        _ => usize::MAX,
    };
    let backoff_min = between(rng, 100, 2000);
    let backoff_max = backoff_min + between(rng, 0, 30_000);
    let resume = if rng.f64() < rates.of(Fault::StaleCredential) {
        Some(service::STALE)
    } else if rng.u8(..3) == 0 {
        Some(service::STORED)
    } else {
        None
    };
    let in_flight = if rng.u8(..3) == 0 { rng.usize(1..6) } else { 256 };
    let quarantine = if rng.u8(..3) == 0 { rng.usize(1..4) } else { 1024 };
    let rest = rng.bool().then(|| between(rng, 1000, 30_000));
    let config = device::config()
        .with_seed(seed)
        .with_pushes(rng.u8(..8) != 0)
        .with_response_filter(ordinary)
        .with_pipelined_connect(rng.u8(..8) != 0)
        .with_connect_attempts(attempts)
        .and_then(|c| c.with_backoff(backoff_min, backoff_max))
        .and_then(|c| c.with_call_deadline(between(rng, 1000, 12_000)))
        .and_then(|c| c.with_connect_timeout(between(rng, 1000, 12_000)))
        .and_then(|c| c.with_detect_dead_peer(between(rng, 3000, 90_000)))
        .and_then(|c| c.with_max_in_flight(in_flight))
        .and_then(|c| c.with_max_frame(512))
        .and_then(|c| c.with_quarantine(quarantine))
        .and_then(|c| c.with_late_answer_window(WINDOW))
        .and_then(|c| c.with_reonboard_after(rng.usize(1..7)))
        .and_then(|c| c.with_onboarding_budget(rng.usize(1..6), between(rng, 5_000, 600_000)))
        .and_then(|c| c.with_refusals(rng.usize(1..4)))
        .and_then(|c| c.with_rest_after_refusal(rest))
        .expect("in range");
    match resume {
        Some(generation) => {
            let mut stored: Credential = service::credential(generation);
            if rng.f64() < rates.of(Fault::ForeignCredential) {
                stored.app_id = thingif::ids::AppId::new("another").expect("valid");
                rates.clear(Fault::StaleCredential);
            }
            config.with_resume(stored)
        }
        None => config,
    }
}
