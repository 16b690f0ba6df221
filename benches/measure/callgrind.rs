//! Instructions of many pieces of work, each counted by itself, in one run of this program under valgrind's callgrind.
//!
//! The program starts itself again there and does all work with a [`Counted`]. Callgrind forgets what it has counted where a
//! piece of work begins and writes it down where it ends; the files' order is the order of the work.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use super::child;
use super::meter::Meter;

/// The mean of so often: some work, as allocating, is not the same each time.
const TIMES: usize = 16;

/// What is done below callgrind.
pub(crate) struct Counted;

impl Meter for Counted {
    fn measure<T>(&mut self, mut work: impl FnMut() -> T) -> f64 {
        // What happens once, as looking for the processor's features and binding functions, does not count.
        black_box(work());
        counting_begins();
        for _ in 0..TIMES {
            black_box(work());
        }
        counting_ends();
        0.0
    }
}

#[inline(never)]
fn counting_begins() {
    black_box(());
}

#[inline(never)]
fn counting_ends() {
    black_box(1);
}

/// What `role` of this program measures with a [`Counted`], in its order. `None`, and loud words, if valgrind is missing.
pub(crate) fn instructions(role: &str) -> Option<Vec<f64>> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("target is ours");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--dump-line=no", "--quiet"]);
    command.args(["--zero-before=*counting_begins*", "--dump-before=*counting_ends*"]);
    command.arg(format!("--callgrind-out-file={}", folder.path().join("out").display()));
    command.arg(std::env::current_exe().expect("the bench is a file")).args([child::ROLE, role]);
    match command.status() {
        Ok(status) => assert!(status.success(), "callgrind, or what it runs, has failed: {status}"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("\n########################################################################");
            eprintln!("# valgrind is not installed: NO INSTRUCTIONS ARE COUNTED, and the goals");
            eprintln!("# that are stated in instructions are NEITHER MET NOR MISSED.");
            eprintln!("########################################################################");
            return None;
        }
        Err(error) => panic!("valgrind does not start: {error}"),
    }
    // The last file, of what is done after the last piece of work, has no number.
    Some((1..).map_while(|number| total(&folder.path().join(format!("out.{number}")))).collect())
}

/// The sum that a file states, for one of the times; `None` for a file that is not there.
fn total(file: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals:")).expect("each dump states its sum");
    Some(total.trim().parse::<f64>().expect("a number") / TIMES as f64)
}
