//! Tables for people; programs ask for `--json`.

use comfy_table::{Table, presets};

/// A table without lines, as `ps` and `ls` print them.
pub(crate) fn with_header<const N: usize>(names: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(names);
    table
}
