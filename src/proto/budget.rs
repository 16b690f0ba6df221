//! How often a device may be given a new credential.

use std::collections::VecDeque;
use std::time::Duration;

use super::Instant;

/// At most `count` in any `window`.
#[derive(Debug)]
pub(super) struct Budget {
    count: usize,
    window: Duration,
    spent: VecDeque<Instant>,
}

impl Budget {
    pub(super) fn new((count, window): (usize, Duration)) -> Self {
        Self { count, window, spent: VecDeque::new() }
    }

    /// One more at `now`.
    pub(super) fn spend(&mut self, now: Instant) {
        self.spent.push_back(now);
        // Older ones decide nothing any more.
        while self.spent.len() > self.count {
            self.spent.pop_front();
        }
    }

    /// How long from `now` on there is nothing to spend; zero if there is.
    pub(super) fn exhausted_for(&self, now: Instant) -> Duration {
        match self.spent.front() {
            // A window is closed at both ends: the unit comes back just after it.
            Some(&oldest) if self.spent.len() >= self.count => {
                (oldest + self.window + Duration::from_millis(1)).since(now)
            }
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_has_more_than_the_count() {
        let window = Duration::from_secs(60);
        let mut budget = Budget::new((3, window));
        let mut rng = fastrand::Rng::with_seed(5);
        let (mut now, mut given) = (Instant::ORIGIN, Vec::new());
        for _ in 0..2_000 {
            now = now + Duration::from_millis(rng.u64(0..20_000));
            let wait = budget.exhausted_for(now);
            assert_eq!(wait, budget.exhausted_for(now), "asking costs nothing");
            if wait.is_zero() {
                budget.spend(now);
                given.push(now);
            } else {
                assert!(!budget.exhausted_for(now + (wait - Duration::from_nanos(1))).is_zero());
                assert!(budget.exhausted_for(now + wait).is_zero(), "it comes back when it said it would");
            }
        }
        for four in given.windows(4) {
            assert!(four[3].since(four[0]) > window);
        }
        assert!(given.len() > 100);
    }
}
