//! Seeded schedules of a device's whole life in virtual time, against a model of the service that does everything that
//! can go wrong. What must hold is checked at every step: each call ends once and in time, no answer reaches another
//! call, there is one link at most, nothing turns in circles, and once the faults cease the device is ready again.
//!
//! `SIMULATION_SEEDS` says how many schedules, `SIMULATION_FIRST_SEED` where to begin. A schedule that fails names
//! its seed and the command that shows it step by step.

#[path = "../device/mod.rs"]
mod device;

mod book;
mod fault;
mod plan;
mod service;
mod tally;
mod watch;
mod world;

use std::cell::RefCell;
use std::env;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use tally::{Kind, Tally};
use thingif::proto::Cause;
use world::{Trace, World};

/// From so many schedules on, everything that can happen must have happened.
const ENOUGH_FOR_COVERAGE: u64 = 100_000;

thread_local! {
    /// Inside a schedule, what its panic says; outside of one `None`.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps what a schedule's panic says, and where, for the summary.
fn listen() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let kept = SAID.with_borrow_mut(|said| said.as_mut().map(|said| *said = info.to_string()).is_some());
        if !kept {
            before(info);
        }
    }));
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// One schedule; on failure what was wrong.
fn schedule(seed: u64, trace: Trace) -> Result<Tally, String> {
    SAID.set(Some(String::new()));
    let lived = panic::catch_unwind(|| World::new(seed, trace).run().0);
    let said = SAID.take();
    lived.map_err(|_| said.unwrap_or_default())
}

#[test]
fn schedules() {
    listen();
    if let Some(seed) = number("SIMULATION_SEED") {
        let trace = env::var("SIMULATION_TRACE").is_ok_and(|trace| !trace.is_empty() && trace != "0");
        match schedule(seed, if trace { Trace::Print } else { Trace::Off }) {
            Ok(tally) => println!("seed {seed} holds\n{tally}"),
            Err(said) => panic!("seed {seed}: {said}"),
        }
        return;
    }
    let (first, seeds) = (number("SIMULATION_FIRST_SEED").unwrap_or(1), number("SIMULATION_SEEDS").unwrap_or(3_000));
    let began = Instant::now();
    let (tally, failures) = run(first, seeds);
    println!("{tally}");
    let elapsed = began.elapsed().as_secs_f64();
    println!("{:.0} schedules/s, {elapsed:.1} s", tally.schedules as f64 / elapsed);
    if !failures.is_empty() {
        let shown: Vec<String> = failures.iter().take(10).map(|(seed, said)| replay(*seed, said)).collect();
        panic!("{} of {} schedules failed\n{}", failures.len(), tally.schedules, shown.join("\n"));
    }
    let missing = missing(&tally);
    if seeds >= ENOUGH_FOR_COVERAGE && !missing.is_empty() {
        panic!("never seen: {missing:?}");
    }
}

fn replay(seed: u64, said: &str) -> String {
    format!("seed {seed}: {said}\n    make simulate SEED={seed} TRACE=1")
}

fn run(first: u64, seeds: u64) -> (Tally, Vec<(u64, String)>) {
    let next = AtomicU64::new(first);
    let stop = AtomicBool::new(false);
    // A mutated machine fails everywhere; how often is worth knowing, each message is not.
    let most_failures = number("SIMULATION_MOST_FAILURES").unwrap_or(10);
    let worker = || {
        let (mut tally, mut failures) = (Tally::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds || stop.load(Ordering::Relaxed) {
                return (tally, failures);
            }
            match schedule(seed, Trace::Off) {
                Ok(seen) => tally.add(seen),
                Err(said) => {
                    tally.schedules += 1;
                    failures.push((seed, said));
                    if failures.len() as u64 >= most_failures {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let (mut tally, mut failures) = (Tally::default(), Vec::new());
        for worker in workers {
            let (seen, failed) = worker.join().expect("schedules are caught");
            tally.add(seen);
            failures.extend(failed);
        }
        failures.sort_by_key(|(seed, _)| *seed);
        (tally, failures)
    })
}

/// What can happen and did not.
fn missing(tally: &Tally) -> Vec<String> {
    let notice = include_str!("../../src/proto/notice.rs");
    let error = include_str!("../../src/proto/error.rs");
    let mut expected: Vec<(Kind, String)> = Vec::new();
    expected.extend(fault::Fault::ALL.iter().map(|(fault, _)| (Kind::Fault, format!("{fault:?}"))));
    expected.extend(tally::variants(notice, "Notice").into_iter().map(|name| (Kind::Notice, name)));
    expected.extend(tally::variants(error, "RequestError").into_iter().map(|name| (Kind::RequestError, name)));
    expected.extend(tally::variants(error, "NotSent").into_iter().map(|name| (Kind::NotSent, name)));
    expected.extend(Cause::ALL.into_iter().map(|cause| (Kind::Cause, cause.to_string())));
    // The client adds these: its queue of notices, and its vault.
    expected.retain(|(kind, name)| !(*kind == Kind::Notice && ["Lagged", "LoadFailed"].contains(&name.as_str())));
    expected.retain(|(kind, name)| tally.count(*kind, name).times == 0);
    expected.into_iter().map(|(kind, name)| format!("{kind:?}::{name}")).collect()
}

#[test]
fn equal_seeds_give_equal_schedules() {
    for seed in 1..20 {
        let shown = || World::new(seed, Trace::Keep).run().1;
        assert_eq!(shown(), shown(), "seed {seed}");
    }
}

#[test]
fn a_schedule_that_is_told_step_by_step_shows_no_secret() {
    for seed in 1..60 {
        let (_, told) = World::new(seed, Trace::Keep).run();
        let told = told.join("\n");
        assert!(told.contains("Connect(link 1"), "{told}");
        for secret in ["token-", "pw-", "app-key", "thing-pw", "Bearer"] {
            assert!(!told.contains(secret), "seed {seed} shows {secret}");
        }
    }
}
