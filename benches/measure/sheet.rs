//! What one bench has found: a table, its goals, and what the charts show. Printed, and written to `target/bench/*.json`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sheet {
    pub(crate) bench: String,
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) goals: Vec<Goal>,
    pub(crate) charts: Vec<Chart>,
}

/// One goal of the project, and how far it is met.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) figure: f64,
    pub(crate) limit: f64,
    /// Otherwise at least.
    pub(crate) is_at_most: bool,
}

impl Goal {
    pub(crate) fn is_met(&self) -> bool {
        if self.is_at_most { self.figure <= self.limit } else { self.figure >= self.limit }
    }

    pub(crate) fn line(&self) -> String {
        let Self { what, figure, limit, is_at_most } = self;
        let (word, bound) = (if self.is_met() { "met" } else { "MISSED" }, if *is_at_most { "≤" } else { "≥" });
        format!("{word:<7} {figure:>9.2} {bound} {limit:<7} {what}")
    }
}

/// Bars, in groups.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Chart {
    /// The file is called so.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) unit: String,
    /// Group, label, value.
    pub(crate) bars: Vec<(String, String, f64)>,
}

impl Sheet {
    pub(crate) fn new(bench: &str, title: impl Into<String>, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Self { bench: bench.to_owned(), title: title.into(), columns, rows: vec![], goals: vec![], charts: vec![] }
    }

    pub(crate) fn at_most(&mut self, what: impl Into<String>, figure: f64, limit: f64) {
        self.goals.push(Goal { what: what.into(), figure, limit, is_at_most: true });
    }

    pub(crate) fn at_least(&mut self, what: impl Into<String>, figure: f64, limit: f64) {
        self.goals.push(Goal { what: what.into(), figure, limit, is_at_most: false });
    }

    /// Prints the table and the goals; after a whole run, not one that only shows that it works, it is kept.
    pub(crate) fn publish(&self) {
        println!("\n{}", self.title);
        let rows = || std::iter::once(&self.columns).chain(&self.rows);
        let wide = |at: usize| rows().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
        for row in rows() {
            let cells = row.iter().enumerate().map(|(at, cell)| {
                let wide = wide(at).unwrap_or(0);
                if at == 0 { format!("{cell:<wide$}") } else { format!("{cell:>wide$}") }
            });
            println!("{}", cells.collect::<Vec<_>>().join("  "));
        }
        if super::is_whole() {
            self.goals.iter().for_each(|goal| println!("{}", goal.line()));
            let folder = folder();
            std::fs::create_dir_all(&folder).expect("target is ours");
            let json = serde_json::to_string_pretty(self).expect("plain values");
            std::fs::write(folder.join(format!("{}.json", self.bench)), json).expect("target is ours");
        }
    }
}

/// Where benches leave what they found.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench")
}
