//! Fuzzing on stable Rust: inputs of a corpus, broken in seeded ways, through everything that reads what others wrote.
//!
//! Nothing watches which branches an input takes, as tools on nightly do: the corpus is what leads into them, so whoever adds a
//! rule adds a file. Each file of the corpus is also read as it is. `FUZZ_CASES` says how many cases each target gets,
//! `FUZZ_FIRST` where to begin. An input that fails is made smaller, printed, kept under the target directory, and named with
//! the command that reads it again: `FUZZ_FILE=…`.

#[path = "../naive/mod.rs"]
mod naive;

mod mutate;
mod spans;
mod targets;

use std::cell::Cell;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, thread};

use mutate::Mutator;
use targets::TARGETS;

/// Cases of each target in a plain test run.
const FEW: u64 = 3_000;
/// Attempts at a smaller input that fails in the same target.
const SHRINKS: usize = 2_000;

type Target = fn(&[u8]);

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).expect("read"))).collect()
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Whether the target gets through.
fn holds(target: Target, input: &[u8]) -> bool {
    IS_QUIET.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(|| target(input)));
    IS_QUIET.set(false);
    result.is_ok()
}

/// Leaves out whatever the failure does not need.
fn smaller(target: Target, input: &[u8]) -> Vec<u8> {
    let (mut best, mut tries) = (input.to_vec(), 0);
    let mut chunk = best.len() / 2;
    while chunk > 0 && tries < SHRINKS {
        let mut at = 0;
        while at < best.len() && tries < SHRINKS {
            let mut shorter = best.clone();
            shorter.drain(at..(at + chunk).min(best.len()));
            tries += 1;
            if holds(target, &shorter) {
                at += chunk;
            } else {
                best = shorter;
            }
        }
        chunk /= 2;
    }
    best
}

fn report(name: &str, target: Target, input: &[u8], origin: &str) -> String {
    let small = smaller(target, input);
    let directory = env::var_os("CARGO_TARGET_TMPDIR").map_or_else(env::temp_dir, PathBuf::from);
    let file = directory.join(format!("fuzz-{name}-{}", small.len()));
    let kept = match fs::write(&file, &small) {
        Ok(()) => format!("make fuzz TARGET={name} FILE={}", file.display()),
        Err(error) => format!("{}: {error}", file.display()),
    };
    // Once more, aloud.
    let said = panic::catch_unwind(AssertUnwindSafe(|| target(&small)));
    assert!(said.is_err(), "it fails every time");
    format!("{name}, {origin}: {} bytes: {}\n    {kept}", small.len(), small.escape_ascii())
}

/// All cases of one target; the first that fails is told.
fn fuzz(name: &str, target: Target, first: u64, cases: u64) -> Result<(), String> {
    let corpus = corpus(name);
    assert!(corpus.len() >= 4, "{name} has hardly a corpus");
    for (path, input) in &corpus {
        if !holds(target, input) {
            return Err(report(name, target, input, &path.display().to_string()));
        }
    }
    let inputs: Vec<&[u8]> = corpus.iter().map(|(_, input)| input.as_slice()).collect();
    for case in first..first + cases {
        let input = Mutator::new(case, &inputs).input();
        if !holds(target, &input) {
            return Err(report(name, target, &input, &format!("case {case}")));
        }
    }
    Ok(())
}

#[test]
fn everything_that_reads_stands_whatever_it_is_given() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !IS_QUIET.get() {
            before(info);
        }
    }));
    let (first, cases) = (number("FUZZ_FIRST").unwrap_or(0), number("FUZZ_CASES").unwrap_or(FEW));
    let only = env::var("FUZZ_TARGET").ok().filter(|name| !name.is_empty());
    if let Some(file) = env::var_os("FUZZ_FILE").filter(|file| !file.is_empty()) {
        let only = only.expect("FUZZ_FILE needs FUZZ_TARGET");
        let (_, target) = TARGETS.iter().find(|(name, _)| *name == only).expect("a target of that name");
        return target(&fs::read(file).expect("the file"));
    }
    let chosen = TARGETS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name));
    let failures: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = chosen
            .map(|(name, target)| {
                scope.spawn(move || {
                    let began = Instant::now();
                    let result = fuzz(name, *target, first, cases);
                    println!("{name}: {cases} cases in {:.1} s", began.elapsed().as_secs_f64());
                    result
                })
            })
            .collect();
        assert!(!running.is_empty(), "no target of that name");
        running.into_iter().filter_map(|running| running.join().expect("no panic outside of a case").err()).collect()
    });
    assert!(failures.is_empty(), "{} targets failed:\n{}", failures.len(), failures.join("\n"));
}

/// The corpus and the targets belong together.
#[test]
fn every_corpus_has_a_target() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let entries = fs::read_dir(directory).expect("a corpus").map(|entry| entry.expect("an entry"));
    let mut found: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("a name"))
        .filter(|name| cfg!(feature = "pcap") || name != "pcap")
        .collect();
    let mut named: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    found.sort();
    named.sort_unstable();
    assert_eq!(found, named);
}

/// What is not reached is not tested: of the broken inputs enough must still be read to their end.
#[test]
fn enough_of_what_is_broken_is_still_read() {
    for (name, accepts) in targets::ACCEPTS {
        let corpus = corpus(name);
        let inputs: Vec<&[u8]> = corpus.iter().map(|(_, input)| input.as_slice()).collect();
        let read = (0..2_000).filter(|case| accepts(&Mutator::new(*case, &inputs).input())).count();
        assert!((100..1_900).contains(&read), "{name}: {read} of 2000");
    }
}
