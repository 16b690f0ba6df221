//! Latencies of slices of time, gathered by series and load.

use std::time::{Duration, Instant};

/// One slice of one series.
pub(crate) struct Figures {
    began: Instant,
    latencies: Vec<Duration>,
    took: Duration,
}

impl Figures {
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), latencies: Vec::with_capacity(1 << 16), took: Duration::ZERO }
    }

    pub(crate) fn count(&mut self, latency: Duration) {
        self.latencies.push(latency);
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn end(mut self) -> Self {
        self.took = self.began.elapsed();
        self.latencies.sort_unstable();
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.latencies.len()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    /// In microseconds.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        assert!(!self.latencies.is_empty(), "nothing was answered");
        self.latencies[((self.latencies.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6
    }
}

/// All slices.
#[derive(Default)]
pub(crate) struct Slices {
    rows: Vec<Row>,
}

pub(crate) struct Row {
    pub(crate) series: String,
    pub(crate) load: usize,
    rates: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Processor time of the server for one request, in microseconds.
    cost: Vec<f64>,
}

impl Slices {
    /// `busy` is what the server's processors have worked meanwhile.
    pub(crate) fn add(&mut self, series: &str, load: usize, figures: &Figures, busy: Option<Duration>) {
        let found = self.rows.iter().position(|row| row.series == series && row.load == load);
        let at = found.unwrap_or_else(|| {
            let (rates, p50, p99, cost) = Default::default();
            self.rows.push(Row { series: series.to_owned(), load, rates, p50, p99, cost });
            self.rows.len() - 1
        });
        let row = &mut self.rows[at];
        row.rates.push(figures.per_second());
        row.p50.push(figures.quantile(0.5));
        row.p99.push(figures.quantile(0.99));
        row.cost.extend(busy.map(|busy| busy.as_secs_f64() * 1e6 / figures.len() as f64));
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(crate) fn row(&self, series: &str, load: usize) -> &Row {
        self.rows.iter().find(|row| row.series == series && row.load == load).expect("it was measured")
    }
}

/// The medians over the rounds.
impl Row {
    pub(crate) fn rate(&self) -> f64 {
        median(&self.rates)
    }

    pub(crate) fn p50(&self) -> f64 {
        median(&self.p50)
    }

    pub(crate) fn p99(&self) -> f64 {
        median(&self.p99)
    }

    pub(crate) fn cost(&self) -> Option<f64> {
        (!self.cost.is_empty()).then(|| median(&self.cost))
    }

    /// The median over the rounds of the ratio of one figure: what disturbs one round disturbs both.
    pub(crate) fn ratio(&self, other: &Row, figure: impl Fn(&Row) -> &[f64]) -> f64 {
        let pairs = figure(self).iter().zip(figure(other));
        median(&pairs.map(|(own, other)| own / other).collect::<Vec<_>>())
    }

    pub(crate) fn rate_to(&self, other: &Row) -> f64 {
        self.ratio(other, |row| &row.rates)
    }

    pub(crate) fn p50_to(&self, other: &Row) -> f64 {
        self.ratio(other, |row| &row.p50)
    }

    pub(crate) fn cost_to(&self, other: &Row) -> f64 {
        self.ratio(other, |row| &row.cost)
    }
}

pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
