//! What was measured, gathered over rounds and printed as ratios.

use std::time::{Duration, Instant};

/// One slice of one peer.
pub(crate) struct Figures {
    began: Instant,
    latencies: Vec<Duration>,
    took: Duration,
}

impl Figures {
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), latencies: Vec::with_capacity(1 << 18), took: Duration::ZERO }
    }

    pub(crate) fn count(&mut self, latency: Duration) {
        self.latencies.push(latency);
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn end(mut self) -> Self {
        self.took = self.began.elapsed();
        self
    }

    fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    fn quantile(&mut self, part: f64) -> Duration {
        self.latencies.sort_unstable();
        self.latencies[((self.latencies.len() - 1) as f64 * part) as usize]
    }
}

/// All slices, by peer and load.
pub(crate) struct Report {
    title: &'static str,
    rows: Vec<Row>,
}

struct Row {
    peer: String,
    in_flight: usize,
    rates: Vec<f64>,
    p50: Vec<Duration>,
    p99: Vec<Duration>,
}

impl Report {
    pub(crate) fn new(title: &'static str) -> Self {
        Self { title, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, peer: &str, in_flight: usize, mut figures: Figures) {
        let found = self.rows.iter().position(|row| row.peer == peer && row.in_flight == in_flight);
        let at = found.unwrap_or_else(|| {
            let (rates, p50, p99) = (Vec::new(), Vec::new(), Vec::new());
            self.rows.push(Row { peer: peer.to_owned(), in_flight, rates, p50, p99 });
            self.rows.len() - 1
        });
        let row = &mut self.rows[at];
        row.rates.push(figures.per_second());
        row.p50.push(figures.quantile(0.5));
        row.p99.push(figures.quantile(0.99));
    }

    /// One line a row: the medians over the rounds, and their ratio to `limit`'s.
    pub(crate) fn print(&mut self, limit: &str) {
        println!("{}", self.title);
        println!(
            "{:<18} {:>9} {:>12} {:>7} {:>10} {:>7} {:>10}",
            "peer", "in flight", "messages/s", "ratio", "p50 µs", "ratio", "p99 µs"
        );
        let medians: Vec<_> = self.rows.iter_mut().map(Row::medians).collect();
        for (row, (rate, p50, p99)) in self.rows.iter().zip(&medians) {
            let of_limit = self.rows.iter().position(|other| other.peer == limit && other.in_flight == row.in_flight);
            let (limit_rate, limit_p50, _) = medians[of_limit.expect("the limit was measured")];
            println!(
                "{:<18} {:>9} {:>12.0} {:>7.2} {:>10.1} {:>7.2} {:>10.1}",
                row.peer,
                row.in_flight,
                rate,
                rate / limit_rate,
                p50,
                p50 / limit_p50,
                p99
            );
        }
    }
}

impl Row {
    fn medians(&mut self) -> (f64, f64, f64) {
        self.rates.sort_unstable_by(f64::total_cmp);
        self.p50.sort_unstable();
        self.p99.sort_unstable();
        let micros = |times: &[Duration]| times[times.len() / 2].as_secs_f64() * 1e6;
        (self.rates[self.rates.len() / 2], micros(&self.p50), micros(&self.p99))
    }
}
