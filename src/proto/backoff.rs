//! How long to wait before the next attempt.

use std::time::Duration;

/// Exponential back-off with full jitter: a pause is drawn evenly between zero and a limit that begins at `min` and
/// doubles up to `max`. So the first attempt after a loss comes soon, and a thousand devices that lost the same broker
/// do not come back at the same moment.
///
/// ```
/// use std::time::Duration;
/// use thingif::proto::Backoff;
/// let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 7);
/// assert!(backoff.next_pause() <= Duration::from_secs(1));
/// assert!(backoff.next_pause() <= Duration::from_secs(2));
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    rng: fastrand::Rng,
}

impl Backoff {
    /// A back-off whose limit begins at `min`, not above `max`; `seed` makes its jitter repeatable.
    pub fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self { min: min.min(max), max, failures: 0, rng: fastrand::Rng::with_seed(seed) }
    }

    /// The pause after one more failure.
    pub fn next_pause(&mut self) -> Duration {
        let limit = self.limit();
        self.failures = self.failures.saturating_add(1);
        limit.mul_f64(self.rng.f64())
    }

    /// The longest that the next pause can be.
    pub fn limit(&self) -> Duration {
        let doubled = 2_u32.checked_pow(self.failures).and_then(|factor| self.min.checked_mul(factor));
        doubled.map_or(self.max, |limit| limit.min(self.max))
    }

    /// Things went well: the limit is `min` again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_limit_doubles_to_its_maximum_and_stays_there() {
        let mut backoff = Backoff::new(SECOND, 60 * SECOND, 1);
        let limits: Vec<u64> = (0..80)
            .map(|_| {
                let limit = backoff.limit();
                assert!(backoff.next_pause() <= limit);
                limit.as_secs()
            })
            .collect();
        assert_eq!(limits[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(limits[8..].iter().all(|limit| *limit == 60));
        backoff.reset();
        assert_eq!(backoff.limit(), SECOND);
    }

    #[test]
    fn jitter_fills_the_whole_range_and_repeats_with_its_seed() {
        let draw = |seed| {
            let mut backoff = Backoff::new(SECOND, SECOND, seed);
            (0..200).map(|_| backoff.next_pause()).collect::<Vec<_>>()
        };
        let pauses = draw(3);
        assert_eq!(pauses, draw(3));
        assert!(pauses.iter().any(|p| *p < SECOND / 10) && pauses.iter().any(|p| *p > SECOND * 9 / 10));
    }
}
