//! What a transport costs: a message of 300 bytes there, one of 300 bytes back, over loopback TCP, at QoS 0.
//!
//! One answering server for all, on a thread of its own; one after the other a raw tokio loop (the limit), rumqttc, this
//! crate's native transport and Paho. What counts is the ratios within a run.

mod measure;
mod peers;

use std::time::Duration;

use bytes::Bytes;
use measure::sheet::{Chart, Sheet};
use measure::slices::Slices;
use peers::answerer::{Answerer, PAYLOAD};
use peers::{Load, link, raw, raw_paho, rumqtt};
use thingif::transport::native::Native;
use thingif::transport::paho::Paho;

/// Messages that are under way at once.
const IN_FLIGHT: [usize; 4] = [1, 16, 64, 256];

/// For each figure; several rounds, in turns, so that a neighbour's noise hits all alike.
const SLICE: Duration = Duration::from_millis(300);
const ROUNDS: usize = 7;

const SERIES: [&str; 5] = ["raw tokio", "rumqttc", "raw paho", "thingif native", "thingif paho"];

fn main() {
    let (slice, rounds) = if measure::is_whole() { (SLICE, ROUNDS) } else { (Duration::from_millis(5), 1) };
    let answerer = Answerer::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let native = Native::new(thingif::transport::native::Options::default()).expect("usable options");
    let paho = Paho::new(thingif::transport::paho::Options::default()).expect("usable options");
    let mut slices = Slices::default();
    for _ in 0..rounds {
        for in_flight in IN_FLIGHT {
            let payload = Bytes::from_static(&[b'x'; PAYLOAD]);
            let load = Load { address: answerer.address(), payload, in_flight, slice };
            for series in SERIES {
                let figures = match series {
                    "raw tokio" => runtime.block_on(raw::run(&load)),
                    "rumqttc" => runtime.block_on(rumqtt::run(&load)),
                    "raw paho" => raw_paho::run(&load),
                    "thingif native" => runtime.block_on(link::run(&native, &load)),
                    _ => runtime.block_on(link::run(&paho, &load)),
                };
                slices.add(series, in_flight, &figures, None);
            }
        }
    }
    sheet(&slices).publish();
}

fn sheet(slices: &Slices) -> Sheet {
    let title = "transport, 300 bytes each way, QoS 0, loopback TCP; ratios to raw tokio";
    let columns = ["series", "in flight", "messages/s", "ratio", "p50 µs", "ratio", "p99 µs"];
    let mut sheet = Sheet::new("transport", title, &columns);
    let mut bars = Vec::new();
    for row in slices.rows() {
        let limit = slices.row("raw tokio", row.load);
        bars.push((format!("{} in flight", row.load), row.series.clone(), row.rate()));
        sheet.rows.push(vec![
            row.series.clone(),
            row.load.to_string(),
            format!("{:.0}", row.rate()),
            format!("{:.2}", row.rate_to(limit)),
            format!("{:.1}", row.p50()),
            format!("{:.2}", row.p50_to(limit)),
            format!("{:.1}", row.p99()),
        ]);
    }
    let (native, raw) = (|load| slices.row("thingif native", load), |load| slices.row("raw tokio", load));
    sheet.at_most("native transport's sequential p50, to raw tokio's", native(1).p50_to(raw(1)), 1.10);
    let to_paho = native(256).rate_to(slices.row("raw paho", 256));
    sheet.at_least("native transport's messages/s with 256 in flight, to paho's", to_paho, 5.0);
    let title = "Messages a second over one connection, 300 bytes each way, QoS 0".to_owned();
    sheet.charts.push(Chart { name: "transport".to_owned(), title, unit: "messages/s".to_owned(), bars });
    sheet
}
