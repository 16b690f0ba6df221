//! What pairing answers with calls costs, next to the least that could do it: a map from ids to calls.
//!
//! `cargo bench --no-default-features --bench in_flight`

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use divan::{Bencher, black_box, counter::ItemsCount};
use http::HeaderValue;
use thingif::proto::{Answer, CallId, InFlight, Instant, Limits, Outcome};
use thingif::topic::Topic;

const CALLS: [usize; 3] = [1, 64, 256];

fn main() {
    divan::main();
}

fn topic() -> Topic {
    Topic::new("p/AbCdEfGhIjKlMnOpQrStUvW/thing-if/apps/c1k9abcdef12/targets/thing:th.1/states").expect("valid")
}

fn table() -> InFlight {
    let limits = Limits { in_flight: 256, quarantine: 1024, late_answer_window: Duration::from_secs(30) };
    let mut table = InFlight::new(limits, 1);
    table.open();
    table
}

fn submit(table: &mut InFlight, topic: &Topic, deadline: Instant) -> (CallId, HeaderValue) {
    let mut given = None;
    let call = table.submit(topic.clone(), deadline, None, |id| {
        given = Some(id);
        Ok(Bytes::from_static(b"frame"))
    });
    match table.poll_outcome() {
        Some(Outcome::Send { .. }) => {}
        other => panic!("{other:?}"),
    }
    (call.expect("room"), given.expect("an id"))
}

/// All calls on one topic in flight at once, answered in reverse order.
#[divan::bench(args = CALLS)]
fn answered_with_ids(bencher: Bencher<'_, '_>, calls: usize) {
    let (topic, mut table) = (topic(), table());
    let mut now = 0_u64;
    bencher.counter(ItemsCount::new(calls)).bench_local(|| {
        now += 1;
        let deadline = Instant::from_origin(Duration::from_millis(10_000 + now));
        let sent: Vec<_> = (0..calls).map(|_| submit(&mut table, &topic, deadline)).collect();
        for (call, id) in sent.iter().rev() {
            let answer = table.answer(black_box(&topic), Some(id.as_bytes()));
            assert_eq!(answer, Answer::For { call: *call, callers_id: None });
        }
        assert!(table.is_idle());
    });
}

/// One call after the other, answered without ids.
#[divan::bench]
fn answered_without_ids(bencher: Bencher<'_, '_>) {
    let (topic, mut table) = (topic(), table());
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        let (call, _) = submit(&mut table, &topic, Instant::from_origin(Duration::from_secs(10)));
        let answer = table.answer(black_box(&topic), None);
        assert_eq!(answer, Answer::For { call, callers_id: None });
    });
}

/// Timed out and forgotten after the window: the way of a call that nobody answers.
#[divan::bench(args = CALLS)]
fn never_answered(bencher: Bencher<'_, '_>, calls: usize) {
    let (topic, mut table) = (topic(), table());
    let mut now = Duration::ZERO;
    bencher.counter(ItemsCount::new(calls)).bench_local(|| {
        for _ in 0..calls {
            submit(&mut table, &topic, Instant::from_origin(now + Duration::from_secs(10)));
        }
        table.handle_timeout(Instant::from_origin(now + Duration::from_secs(10)));
        assert_eq!(std::iter::from_fn(|| table.poll_outcome()).count(), calls);
        now += Duration::from_secs(40);
        table.handle_timeout(Instant::from_origin(now));
        assert!(table.is_idle());
    });
}

/// The peer in this race: ids as strings in a map, without deadlines, topics, quarantine or bounds.
#[divan::bench(args = CALLS)]
fn bare_map(bencher: Bencher<'_, '_>, calls: usize) {
    let mut map: HashMap<Bytes, usize> = HashMap::new();
    let mut number = 0;
    bencher.counter(ItemsCount::new(calls)).bench_local(|| {
        let sent: Vec<Bytes> = (0..calls)
            .map(|call| {
                number += 1;
                let id = Bytes::from(format!("0123456789abcdef-{number}"));
                map.insert(id.clone(), call);
                id
            })
            .collect();
        for (call, id) in sent.iter().enumerate().rev() {
            assert_eq!(map.remove(black_box(id)), Some(call));
        }
    });
}
