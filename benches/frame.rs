//! Parse, decode and encode beside what else could do it: in instructions, as callgrind counts them, and in time.
//!
//! `cargo bench --no-default-features --bench frame`. Frames of six sizes, and every payload of `proto-samples/frames`. Goals
//! are stated in instructions, which are the same in every run. The exception is copying: there one instruction moves any
//! number of bytes, so that only time says something.

#[path = "../tests/support/allocations.rs"]
mod allocations;
#[path = "frame/inputs.rs"]
mod inputs;
mod measure;
#[path = "frame/peers.rs"]
mod peers;
#[path = "../tests/samples/mod.rs"]
mod samples;
#[path = "frame/works.rs"]
mod works;

use std::time::Duration;

use inputs::Input;
use measure::callgrind::{self, Counted};
use measure::meter::{Clock, Meter, Once};
use measure::sheet::{Chart, Sheet};
use works::Costs;

/// This program below callgrind.
const COUNTED: &str = "counted";
/// From here on, copying is most of the work.
const LARGE: usize = 16 * 1024;
const ROUNDS: usize = 10;

fn main() {
    let (sizes, samples) = (inputs::sizes(), inputs::samples());
    if measure::child::role().is_some() {
        all(&sizes, &mut Counted);
        all(&samples, &mut Counted);
        return;
    }
    let works = [&sizes, &samples].map(|inputs| all(inputs, &mut Once));
    if !measure::is_whole() {
        let counts = |input| allocations_of(input).expect("usual frames")[1] > 0;
        assert!(sizes.iter().all(counts), "the counter counts");
        println!("frame: {} sizes and {} samples, everything done once", sizes.len(), samples.len());
        return;
    }
    let times = best_of_rounds(&sizes);
    let counted = callgrind::instructions(COUNTED).map(|counts| in_place_of(works, counts));

    let mut sheet = Sheet::new("frame", "frames by size: instructions", &columns());
    let mut by_sample = Sheet::new("frame_samples", "frames of proto-samples: instructions", &columns());
    if let Some([of_sizes, of_samples]) = &counted {
        rows(&mut sheet, &sizes, of_sizes);
        rows(&mut by_sample, &samples, of_samples);
        goals(&mut sheet, "any size", &sizes, of_sizes);
        goals(&mut sheet, "any sample that clients and services send", &samples, of_samples);
        charts(&mut sheet, &sizes, of_sizes);
    } else {
        // In the summary of all benches too.
        sheet.at_least("instructions counted, for the goals that are stated in them (valgrind is missing)", 0.0, 1.0);
    }
    let large = sizes.iter().zip(&times).filter(|(input, _)| input.payload.len() >= LARGE);
    let copies = large.filter_map(|(_, costs)| ratio(costs, works::ENCODE, works::MEMCPY));
    sheet.at_most("encode, over memcpy of the frame, in time, from 16 KiB up", copies.fold(0.0, f64::max), 2.0);
    for (at, what, limit) in [(0, "parse", 0.0), (1, "decode", 3.0), (2, "encode into a buffer with room", 0.0)] {
        let counts = sizes.iter().chain(&samples).filter_map(|input| Some((allocations_of(input)?[at], &input.name)));
        let (most, name) = counts.max_by_key(|(count, _)| *count).expect("some are measured");
        sheet.at_most(format!("{what}: allocations (most: {name})"), most as f64, limit);
    }
    sheet.publish();
    by_sample.publish();
    let mut in_time =
        Sheet::new("frame_time", "frames by size: nanoseconds, the best of 50 slices of time", &columns());
    rows(&mut in_time, &sizes, &times);
    in_time.publish();
}

fn all(inputs: &[Input], meter: &mut impl Meter) -> Vec<Costs> {
    inputs.iter().map(|input| works::measure(input, meter)).collect()
}

/// Nanoseconds. Rounds, so that what disturbs one work for a while does not stand in its ratios.
fn best_of_rounds(inputs: &[Input]) -> Vec<Costs> {
    let mut clock = Clock { slice: Duration::from_millis(1), slices: 5 };
    let mut best = all(inputs, &mut clock);
    for _ in 1..ROUNDS {
        let again = all(inputs, &mut clock);
        for ((_, best), (_, again)) in best.iter_mut().flatten().zip(again.iter().flatten()) {
            *best = best.min(*again);
        }
    }
    best
}

/// The same works, with what was counted for them, in the order of both.
fn in_place_of(mut works: [Vec<Costs>; 2], counts: Vec<f64>) -> [Vec<Costs>; 2] {
    let mut counts = counts.into_iter();
    for (_, cost) in works.iter_mut().flatten().flatten() {
        *cost = counts.next().expect("as much is done below callgrind");
    }
    assert_eq!(counts.next(), None, "no more is done below callgrind");
    works
}

fn columns() -> Vec<&'static str> {
    ["frame", "bytes"].into_iter().chain(works::ALL).collect()
}

fn cost(costs: &Costs, work: &str) -> Option<f64> {
    costs.iter().find_map(|(name, cost)| (*name == work).then_some(*cost))
}

fn ratio(costs: &Costs, own: &str, peer: &str) -> Option<f64> {
    Some(cost(costs, own)? / cost(costs, peer)?)
}

fn rows(sheet: &mut Sheet, inputs: &[Input], all: &[Costs]) {
    for (input, costs) in inputs.iter().zip(all) {
        let shown = works::ALL.map(|work| cost(costs, work).map_or("-".to_owned(), |cost| format!("{cost:.0}")));
        let name = [input.name.clone(), input.payload.len().to_string()];
        sheet.rows.push(name.into_iter().chain(shown).collect());
    }
}

/// The worst ratio of each kind, and whose it is.
fn goals(sheet: &mut Sheet, of: &str, inputs: &[Input], all: &[Costs]) {
    for (own, peer, limit, what) in [
        (works::PARSE, works::HTTPARSE, 1.10, "parse, over httparse::parse_headers"),
        (works::DECODE, works::DECODE_BY_HAND, 1.25, "decode, over httparse and HeaderMap by hand"),
        (works::ENCODE, works::PUT_SLICE, 1.25, "encode, over a loop of put_slice"),
    ] {
        let usual = inputs.iter().zip(all).filter(|(input, _)| input.is_usual && input.message.is_some());
        let ratios = usual.filter_map(|(input, costs)| Some((ratio(costs, own, peer)?, &input.name)));
        let (worst, name) = ratios.max_by(|a, b| a.0.total_cmp(&b.0)).expect("some are measured");
        sheet.at_most(format!("{what}, in instructions, {of} (worst: {name})"), worst, limit);
    }
}

fn charts(sheet: &mut Sheet, inputs: &[Input], all: &[Costs]) {
    let kinds = [("parse", &works::ALL[..4]), ("decode", &works::ALL[4..6]), ("encode", &works::ALL[6..])];
    for (kind, works) in kinds {
        let title = format!("Frames, {kind}: instructions");
        let mut chart =
            Chart { name: format!("frame-{kind}"), title, unit: "instructions".to_owned(), bars: Vec::new() };
        // Beyond, nothing but the copied body grows.
        let small = inputs.iter().zip(all).filter(|(input, _)| input.payload.len() < LARGE);
        for (input, costs) in small {
            let bars =
                works.iter().filter_map(|work| Some((input.name.clone(), (*work).to_owned(), cost(costs, work)?)));
            chart.bars.extend(bars);
        }
        sheet.charts.push(chart);
    }
}

/// Of parse, decode and encode, if it is a usual frame.
fn allocations_of(input: &Input) -> Option<[usize; 3]> {
    let message = input.message.as_ref().filter(|_| input.is_usual)?;
    Some(works::allocations(input, message))
}
