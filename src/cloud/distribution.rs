//! How often what was measured fell between which bounds.

use std::time::Duration;

/// Counts between bounds, as histograms are exported.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Distribution {
    /// For what a request takes, in seconds: 1 ms to 10 s.
    pub(crate) fn of_seconds() -> Self {
        Self::new(&[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
    }

    /// For how many there are in a batch: 1 to 512.
    pub(crate) fn of_sizes() -> Self {
        Self::new(&[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0])
    }

    /// `bounds` grow.
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    pub(crate) fn observe(&mut self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts[place] += 1;
        self.sum += value;
    }

    pub(crate) fn observe_duration(&mut self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// Each upper bound, itself included, with how many were at most that and above the bound before; the last is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.bounds.iter().copied().chain([f64::INFINITY]).zip(self.counts.iter().copied())
    }

    /// How many were measured.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All that was measured, together.
    pub fn sum(&self) -> f64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_what_is_below_it() {
        let mut sizes = Distribution::of_sizes();
        for size in [1.0, 2.0, 3.0, 4.0, 512.0, 513.0] {
            sizes.observe(size);
        }
        let filled: Vec<_> = sizes.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(1.0, 1), (2.0, 1), (4.0, 2), (512.0, 1), (f64::INFINITY, 1)]);
        assert_eq!((sizes.count(), sizes.sum()), (6, 1035.0));
        let mut seconds = Distribution::of_seconds();
        seconds.observe_duration(Duration::from_millis(3));
        assert_eq!(seconds.buckets().find(|(_, count)| *count == 1), Some((0.005, 1)));
    }
}
