//! One direction of a faulty link: what is on its way, and when it arrives.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::{Counters, Faults, count};

/// No message takes longer, whatever the plan says: clocks have an end.
const MAX_DELAY: Duration = Duration::from_secs(24 * 3600);

/// Messages that are on their way. Sorted by arrival when taken, so that equal times keep their order.
#[derive(Debug)]
pub(super) struct Lane<T> {
    faults: Faults,
    draws: Rng,
    on_the_way: Vec<(Instant, u64, T)>,
    /// No message that keeps its place arrives before this.
    not_before: Option<Instant>,
    entered: u64,
}

impl<T: Clone> Lane<T> {
    pub(super) fn new(faults: Faults, draws: Rng) -> Self {
        Self { faults, draws, on_the_way: Vec::new(), not_before: None, entered: 0 }
    }

    /// Sends `item` on its way. `spared` items are only delayed.
    pub(super) fn enter(&mut self, item: T, spared: bool, now: Instant, counters: &Counters) {
        // Always the same number of draws, so that one fate does not shift the next.
        let (drop, duplicate, reorder) = (self.draws.f64(), self.draws.f64(), self.draws.f64());
        let (delay, second_delay, held_back) = (self.draws.f64(), self.draws.f64(), self.draws.f64());
        if !spared && drop < self.faults.drop {
            count(&counters.dropped);
            return;
        }
        let held_back = if !spared && reorder < self.faults.reorder {
            count(&counters.reordered);
            Some(self.faults.held_back.min(MAX_DELAY).mul_f64(held_back).max(Duration::from_nanos(1)))
        } else {
            None
        };
        let twin = (!spared && duplicate < self.faults.duplicate).then(|| item.clone());
        self.place(item, now + self.draw_delay(delay), held_back);
        if let Some(twin) = twin {
            count(&counters.duplicated);
            self.place(twin, now + self.draw_delay(second_delay), None);
        }
    }

    fn draw_delay(&self, draw: f64) -> Duration {
        let (least, most) = (*self.faults.delay.start(), *self.faults.delay.end());
        let (least, most) = (least.min(MAX_DELAY), most.min(MAX_DELAY));
        least + most.saturating_sub(least).mul_f64(draw)
    }

    fn place(&mut self, item: T, arrival: Instant, held_back: Option<Duration>) {
        let in_order = self.not_before.map_or(arrival, |at| at.max(arrival));
        let arrival = match held_back {
            Some(extra) => in_order + extra,
            None => {
                self.not_before = Some(in_order);
                in_order
            }
        };
        self.on_the_way.push((arrival, self.entered, item));
        self.entered += 1;
    }

    /// When the next item arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.on_the_way.iter().map(|(at, ..)| *at).min()
    }

    /// The next item, if it has arrived.
    pub(super) fn take_arrived(&mut self, now: Instant) -> Option<T> {
        let (index, _) = self.on_the_way.iter().enumerate().min_by_key(|(_, (at, entered, _))| (*at, *entered))?;
        (self.on_the_way[index].0 <= now).then(|| self.on_the_way.swap_remove(index).2)
    }

    pub(super) fn len(&self) -> usize {
        self.on_the_way.len()
    }

    pub(super) fn clear(&mut self) {
        self.on_the_way.clear();
    }
}
