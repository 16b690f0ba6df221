//! Progress of long work: a bar on standard error if that is a terminal, nothing otherwise.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for reading the file `path`.
pub(crate) fn bytes(path: &Path) -> ProgressBar {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => bar(found.len(), "{bar:40} {bytes}/{total_bytes}, {eta} left"),
        _ => ProgressBar::hidden(),
    }
}

/// A bar for `count` steps.
pub(crate) fn steps(count: usize) -> ProgressBar {
    bar(count as u64, "{bar:40} {pos}/{len} {msg}")
}

/// A spinner for waiting, of which the message says for what.
pub(crate) fn waiting() -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

fn bar(len: u64, template: &str) -> ProgressBar {
    // indicatif's own target is standard error, and hidden where that is no terminal.
    let bar = ProgressBar::new(len);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
