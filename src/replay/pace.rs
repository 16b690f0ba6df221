//! How fast a capture is replayed.

use std::str::FromStr;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How fast: so many times as fast as it was recorded, or without any pause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// A factor above 0: 1 is as recorded, 2 twice as fast.
    Times(f64),
    /// No pauses; what the other end does is waited for.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "max" => Ok(Self::Max),
            Ok(factor) if (0.001..=1_000_000.0).contains(&factor) => Ok(Self::Times(factor)),
            _ => Err("expected a factor from 0.001 to 1000000, or max".into()),
        }
    }
}

/// Pauses between steps.
pub(super) struct Pace {
    speed: Speed,
    before: Duration,
    done: Instant,
}

impl Pace {
    pub(super) fn new(speed: Speed) -> Self {
        Self { speed, before: Duration::ZERO, done: Instant::now() }
    }

    /// Waits until what was recorded at `at` is to be done.
    pub(super) async fn wait(&mut self, at: Duration) {
        if let Speed::Times(factor) = self.speed {
            let pause = at.saturating_sub(self.before).div_f64(factor);
            sleep_until(self.done + pause).await;
        }
        self.step(at);
    }

    /// Something that was recorded at `at` has happened now.
    pub(super) fn step(&mut self, at: Duration) {
        self.before = self.before.max(at);
        self.done = Instant::now();
    }
}
