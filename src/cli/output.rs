//! Standard output: data, and nothing else. Everything a person reads besides goes to standard error.

use std::io::{self, Write};

use serde::Serialize;

use crate::cli::exit::{Exit, Failure};

/// Writes `bytes` and flushes: whoever reads a pipe sees each record when it happens.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(Exit::WriteFailed, "standard output is closed"),
        _ => Failure::other(format_args!("cannot write to standard output: {error}")),
    })
}

/// Writes `text` and a line end.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes one JSON value on a line of its own.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string(value).map_err(|error| Failure::other(format_args!("cannot write JSON: {error}")))?;
    line(&text)
}
