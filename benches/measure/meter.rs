//! How a piece of work is measured: not at all, by the clock, by what it allocates, or by its instructions.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Does a piece of work, and says what it costs once.
pub(crate) trait Meter {
    fn measure<T>(&mut self, work: impl FnMut() -> T) -> f64;
}

/// Does it once, to see that it works.
pub(crate) struct Once;

impl Meter for Once {
    fn measure<T>(&mut self, mut work: impl FnMut() -> T) -> f64 {
        black_box(work());
        0.0
    }
}

/// Nanoseconds: of many slices of time the best one, which nothing has disturbed.
pub(crate) struct Clock {
    pub(crate) slice: Duration,
    pub(crate) slices: usize,
}

impl Meter for Clock {
    fn measure<T>(&mut self, mut work: impl FnMut() -> T) -> f64 {
        let mut slice = |times: u32| {
            let began = Instant::now();
            for _ in 0..times {
                black_box(work());
            }
            began.elapsed()
        };
        let mut times = 1;
        while slice(times) < self.slice {
            times *= 2;
        }
        let best = (0..self.slices).map(|_| slice(times)).min().expect("more than none");
        best.as_secs_f64() * 1e9 / f64::from(times)
    }
}
