//! What the benches share: slices of time, processor time of other processes, and one sheet of results each.
#![allow(dead_code, unreachable_pub, reason = "each bench uses a part of it")]

pub(crate) mod callgrind;
pub(crate) mod child;
pub(crate) mod meter;
pub(crate) mod sheet;
pub(crate) mod slices;

/// Whether this is `cargo bench`; `cargo test --benches` only wants to see that everything works.
pub(crate) fn is_whole() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}
