//! How many requests a connection may make.

use std::time::Duration;

use tokio::time::Instant;

use super::config::Config;

/// A bucket of requests: it holds a burst, and fills at the sustained rate.
#[derive(Debug)]
pub(super) struct Rate {
    /// Requests that may be made at `at`.
    left: f64,
    at: Instant,
}

impl Rate {
    /// A full one.
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self { left: f64::from(config.max_request_burst), at: now }
    }

    /// Takes one request out. When there is none, how long it takes until there is.
    pub(super) fn take(&mut self, config: &Config, now: Instant) -> Result<(), Duration> {
        let per_second = f64::from(config.max_requests_per_second.max(1));
        let grown = now.saturating_duration_since(self.at).as_secs_f64() * per_second;
        self.left = (self.left + grown).min(f64::from(config.max_request_burst.max(1)));
        self.at = self.at.max(now);
        if self.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.left) / per_second));
        }
        self.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate_and_never_more_than_a_burst() {
        let config = Config { max_requests_per_second: 4, max_request_burst: 10, ..Config::default() };
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut rate = Rate::new(&config, begin);
        let mut taken = |millis| (0..100).filter(|_| rate.take(&config, at(millis)).is_ok()).count();
        assert_eq!(taken(0), 10);
        assert_eq!(taken(249), 0);
        assert_eq!(taken(250), 1);
        assert_eq!(taken(1_250), 4);
        assert_eq!(taken(1_000_000), 10);
        assert_eq!(taken(999_000), 0, "time does not go back");
        assert_eq!(rate.take(&config, at(1_000_000)), Err(Duration::from_millis(250)));
    }

    #[test]
    fn zero_is_one() {
        let config = Config { max_requests_per_second: 0, max_request_burst: 0, ..Config::default() };
        let begin = Instant::now();
        let mut rate = Rate::new(&config, begin);
        assert_eq!(rate.take(&config, begin), Err(Duration::from_secs(1)));
        assert_eq!(rate.take(&config, begin + Duration::from_secs(1)), Ok(()));
    }
}
