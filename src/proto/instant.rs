//! Time as the machines see it.

use std::ops::Add;
use std::time::Duration;

/// A point in time: how long after an origin that the caller chose once and keeps. It never goes back.
///
/// The machines read no clock; a caller with one passes the time that has passed since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Instant(Duration);

impl Instant {
    /// The caller's origin.
    pub const ORIGIN: Self = Self(Duration::ZERO);

    /// The point `elapsed` after the origin.
    pub fn from_origin(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long after the origin this is.
    pub fn since_origin(self) -> Duration {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Saturates instead of overflowing.
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}
