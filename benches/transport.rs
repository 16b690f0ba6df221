//! What a transport costs: a message of 300 bytes there, one of 300 bytes back, over loopback TCP, at QoS 0.
//!
//! One answering server for all, on a thread of its own; one after the other a raw tokio loop (the limit), rumqttc, this
//! crate's native transport and Paho. What counts is the ratios within a run.

mod peers {
    pub(crate) mod answerer;
    pub(crate) mod link;
    pub(crate) mod raw;
    pub(crate) mod report;
    pub(crate) mod rumqtt;
}

use std::time::Duration;

use peers::answerer::Answerer;
use peers::report::{Figures, Report};
use peers::{link, raw, rumqtt};
use thingif::transport::native::Native;
use thingif::transport::paho::Paho;

/// Messages that are under way at once.
const IN_FLIGHT: [usize; 4] = [1, 16, 64, 256];

/// For each figure; several rounds, in turns, so that a neighbour's noise hits all alike.
const SLICE: Duration = Duration::from_millis(300);
const ROUNDS: usize = 5;

fn main() {
    // `cargo test` runs benches with this flag: once, to see that they work.
    let quick = std::env::args().any(|argument| argument == "--test");
    let (slice, rounds) = if quick { (Duration::from_millis(5), 1) } else { (SLICE, ROUNDS) };
    let answerer = Answerer::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut report = Report::new("transport, 300 bytes each way, QoS 0, loopback TCP");
    for _ in 0..rounds {
        for in_flight in IN_FLIGHT {
            let address = answerer.address();
            let mut take = |name: &str, figures: Figures| report.add(name, in_flight, figures);
            take("raw tokio", runtime.block_on(raw::run(address, in_flight, slice)));
            take("rumqttc", runtime.block_on(rumqtt::run(address, in_flight, slice)));
            let native = Native::new(thingif::transport::native::Options::default()).expect("usable options");
            take("thingif native", runtime.block_on(link::run(&native, address, in_flight, slice)));
            let paho = Paho::new(thingif::transport::paho::Options::default()).expect("usable options");
            take("thingif paho", runtime.block_on(link::run(&paho, address, in_flight, slice)));
        }
    }
    report.print("raw tokio");
}
