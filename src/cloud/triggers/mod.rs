//! Triggers: what they are made of, and how they fire. (`wire` §5, §8)
//!
//! A trigger that watches a state is judged in the transaction that writes the state, against the state before and the
//! state after it; a thing without a state meets no condition. Nothing is kept of earlier judgements, so a trigger that
//! is changed or switched on again begins with the state as it is then, and does not fire by that alone. A schedule is
//! judged by [`Cloud::run`](super::Cloud::run), and moved on in the transaction that fires it. What a firing makes, a
//! command or a result, is stored in that same transaction: it is neither lost nor doubled when the service ends in
//! between, only not pushed.

mod definition;
mod due;
mod fire;
mod schedule;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use definition::{NewPredicate, NewTarget, answered, check_len, switch_off, switch_on};
pub(crate) use due::{bring_forward, next_due_in, run_due};
pub(crate) use fire::state_changed;

/// What became of triggers since the cloud was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TriggerCounts {
    /// Firings that made a command or a result.
    pub fired: u64,
    /// Firings beyond [`Options::trigger_firings_per_minute`](super::Options::trigger_firings_per_minute), which made
    /// nothing.
    pub suppressed: u64,
    /// Times of schedules that passed while nobody looked, and were too old to fire.
    pub missed: u64,
    /// Triggers that were switched off because they could not fire: their owner may no longer do what they do.
    pub switched_off: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    fired: AtomicU64,
    suppressed: AtomicU64,
    missed: AtomicU64,
    switched_off: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> TriggerCounts {
        TriggerCounts {
            fired: self.fired.load(Ordering::Relaxed),
            suppressed: self.suppressed.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
            switched_off: self.switched_off.load(Ordering::Relaxed),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
