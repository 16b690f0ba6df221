//! Two devices with one client identifier: each connect of one ends the connection of the other. (`wire` §1.2)

use std::time::Duration;

/// A connection that the broker closes within this time of its being ready may have been taken over.
pub(super) const SOON: Duration = Duration::from_secs(5);
/// So many in a row are no accident.
const MANY: u32 = 5;
/// The longest pause between attempts while it lasts, unless the back-off's own limit is longer.
const SLOWEST: Duration = Duration::from_secs(3600);

/// Counts connections that were taken away, and slows down when they are many: first by the longest back-off, then
/// doubling to an hour. It stays slow until a connection has lasted more than twice as long as the last pause, so that
/// the two devices do not begin anew as soon as one of them has waited.
#[derive(Debug)]
pub(super) struct Takeovers {
    kicks: u32,
    first: Duration,
    limit: Duration,
    last_pause: Duration,
    rng: fastrand::Rng,
}

impl Takeovers {
    pub(super) fn new(backoff_max: Duration, seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        Self { kicks: 0, first: backoff_max, limit: backoff_max, last_pause: Duration::ZERO, rng }
    }

    /// A connection was taken away. Says how many in a row if they are too many.
    pub(super) fn kicked(&mut self) -> Option<u32> {
        self.kicks = self.kicks.saturating_add(1);
        self.is_contested().then_some(self.kicks)
    }

    /// A connection ended otherwise, after having been ready for `lasted`, or could not be made.
    pub(super) fn ended(&mut self, lasted: Duration) {
        let over = if self.is_contested() { lasted > self.last_pause.saturating_mul(2) } else { true };
        if over {
            self.kicks = 0;
            self.limit = self.first;
        }
    }

    /// Whether too many in a row were taken away, and none has lasted since.
    pub(super) fn is_contested(&self) -> bool {
        self.kicks >= MANY
    }

    /// The next pause while it lasts: between half its limit and its limit, which doubles.
    pub(super) fn pause(&mut self) -> Duration {
        let half = self.limit / 2;
        self.last_pause = half + half.mul_f64(self.rng.f64());
        self.limit = self.limit.saturating_mul(2).min(SLOWEST.max(self.first));
        self.last_pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifth_in_a_row_counts_and_a_connection_that_lasts_ends_it() {
        let minute = Duration::from_secs(60);
        let mut takeovers = Takeovers::new(minute, 1);
        for _ in 0..4 {
            assert_eq!(takeovers.kicked(), None);
        }
        takeovers.ended(SOON);
        for _ in 0..4 {
            assert_eq!(takeovers.kicked(), None);
        }
        assert_eq!(takeovers.kicked(), Some(5));
        let pauses: Vec<Duration> = (0..9).map(|_| takeovers.pause()).collect();
        assert!(pauses[0] >= minute / 2 && pauses[0] <= minute);
        assert!(pauses[8] >= SLOWEST / 2 && pauses[8] <= SLOWEST);
        takeovers.ended(pauses[8]);
        assert!(takeovers.is_contested(), "as long as the other one has waited proves nothing");
        takeovers.ended(pauses[8] * 2 + minute);
        assert!(!takeovers.is_contested());
        assert!(takeovers.pause() <= minute, "it begins anew");
    }
}
