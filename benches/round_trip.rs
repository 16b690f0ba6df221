//! Requests and answers of 300 bytes through the edge, and what else could carry them; at QoS 0, over loopback TCP.
//!
//! Servers are processes of their own, so that their processor time can be told; each has the same service. Series in turns,
//! several rounds: what counts is the ratios within a run. mosquitto is left out where it is not installed.

mod measure;
mod peers;
mod servers;

use std::net::SocketAddr;
use std::time::Duration;

use measure::child::{self, Process};
use measure::sheet::{Chart, Sheet};
use measure::slices::{Figures, Slices};
use peers::answerer::Answerer;
use peers::{Load, device, http1, link, raw, raw_paho, rumqtt};
use servers::mosquitto::Mosquitto;
use servers::{fixed, responder};
use thingif::transport::native::Native;
use thingif::transport::paho::Paho;

/// Requests that are under way at once.
const IN_FLIGHT: [usize; 4] = [1, 16, 64, 256];

/// For each figure; several rounds, in turns, so that a neighbour's noise hits all alike.
const SLICE: Duration = Duration::from_millis(300);
const ROUNDS: usize = 7;

const LIMIT: &str = "raw tokio: echo";
const RAW_PAHO: &str = "raw paho: edge";
const BARE_NATIVE: &str = "native transport: edge";
const OVER_PAHO: &str = "thingif/paho: edge";
const OVER_NATIVE: &str = "thingif/native: edge";
const MOSQUITTO: &str = "thingif/native: mosquitto";
const HYPER: &str = "hyper: hyper";
const SERIES: [&str; 9] = [
    LIMIT,
    "rumqttc: edge",
    RAW_PAHO,
    OVER_PAHO,
    BARE_NATIVE,
    OVER_NATIVE,
    "thingif/paho: mosquitto",
    MOSQUITTO,
    HYPER,
];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if let Some(role) = child::role() {
        std::thread::spawn(child::until_the_bench_ends);
        return runtime.block_on(async {
            match role[0].as_str() {
                "edge" => fixed::edge().await,
                "hyper" => fixed::hyper().await,
                "responder" => responder::run(&role[1]).await,
                other => panic!("{other}"),
            }
        });
    }
    let (slice, rounds) = if measure::is_whole() { (SLICE, ROUNDS) } else { (Duration::from_millis(5), 1) };
    let bench = Bench::start();
    let mut slices = Slices::default();
    for _ in 0..rounds {
        for in_flight in IN_FLIGHT {
            for series in SERIES {
                if let Some((figures, busy)) = bench.measure(series, in_flight, slice) {
                    slices.add(series, in_flight, &figures, busy);
                }
            }
        }
    }
    sheet(&slices, bench.mosquitto.is_some()).publish();
}

struct Bench {
    runtime: tokio::runtime::Runtime,
    answerer: Answerer,
    edge: (Process, SocketAddr),
    hyper: (Process, SocketAddr),
    mosquitto: Option<Mosquitto>,
    native: Native,
    paho: Paho,
}

impl Bench {
    fn start() -> Self {
        let server = |role| {
            let mut server = Process::again(&[role]);
            let address = server.line().parse().expect("an address");
            (server, address)
        };
        Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
            answerer: Answerer::start(),
            edge: server("edge"),
            hyper: server("hyper"),
            mosquitto: Mosquitto::start(),
            native: Native::new(thingif::transport::native::Options::default()).expect("usable options"),
            paho: Paho::new(thingif::transport::paho::Options::default()).expect("usable options"),
        }
    }

    /// One slice, and what the server's processors have worked.
    fn measure(&self, series: &str, in_flight: usize, slice: Duration) -> Option<(Figures, Option<Duration>)> {
        let (client, server) = series.split_once(": ").expect("client: server");
        let address = match server {
            "edge" => self.edge.1,
            "hyper" => self.hyper.1,
            "mosquitto" => self.mosquitto.as_ref()?.address,
            _ => self.answerer.address(),
        };
        let busy = || match server {
            "edge" => Some(self.edge.0.busy()),
            "hyper" => Some(self.hyper.0.busy()),
            "mosquitto" => self.mosquitto.as_ref().map(Mosquitto::busy),
            _ => None,
        };
        let load = Load { address, payload: device::frame(), in_flight, slice };
        let is_ordinary = server == "mosquitto";
        let before = busy();
        let block_on = &self.runtime;
        let figures = match client {
            "raw tokio" => block_on.block_on(raw::run(&load)),
            "rumqttc" => block_on.block_on(rumqtt::run(&load)),
            "raw paho" => raw_paho::run(&load),
            "native transport" => block_on.block_on(link::run(&self.native, &load)),
            "thingif/paho" => block_on.block_on(device::run(self.paho.clone(), &load, is_ordinary)),
            "thingif/native" => block_on.block_on(device::run(self.native.clone(), &load, is_ordinary)),
            _ => block_on.block_on(http1::run(&load)),
        };
        let busy = busy().zip(before).map(|(after, before)| after - before);
        Some((figures, busy))
    }
}

fn sheet(slices: &Slices, has_mosquitto: bool) -> Sheet {
    let title = "round trip, answers of 300 bytes, QoS 0, loopback TCP; client: server";
    let columns = ["series", "in flight", "requests/s", "p50 µs", "p99 µs", "server µs each", "a core's requests/s"];
    let mut sheet = Sheet::new("round_trip", title, &columns);
    let (mut rates, mut p50s, mut per_core) = (Vec::new(), Vec::new(), Vec::new());
    for row in slices.rows() {
        let group = format!("{} in flight", row.load);
        rates.push((group.clone(), row.series.clone(), row.rate()));
        if row.load == 1 {
            p50s.push((group.clone(), row.series.clone(), row.p50()));
        }
        let cost = |tell: &dyn Fn(f64) -> f64| row.cost().map_or(String::new(), |cost| format!("{:.1}", tell(cost)));
        per_core.extend(row.cost().map(|cost| (group, row.series.clone(), 1e6 / cost)));
        sheet.rows.push(vec![
            row.series.clone(),
            row.load.to_string(),
            format!("{:.0}", row.rate()),
            format!("{:.1}", row.p50()),
            format!("{:.1}", row.p99()),
            cost(&|cost| cost),
            cost(&|cost| 1e6 / cost),
        ]);
    }
    let p50 = |series, to| slices.row(series, 1).p50_to(slices.row(to, 1));
    let rate = |series, to, load| slices.row(series, load).rate_to(slices.row(to, load));
    // The worst of all loads.
    let least_rate = |series, to| IN_FLIGHT.map(|load| rate(series, to, load)).into_iter().fold(f64::MAX, f64::min);
    let per_core_to =
        |to: &'static str| IN_FLIGHT.map(|load| (load, slices.row(to, load).cost_to(slices.row(OVER_NATIVE, load))));
    sheet.at_most("client over paho: sequential p50, to raw paho's", p50(OVER_PAHO, RAW_PAHO), 1.10);
    sheet.at_least("client over paho: requests/s, to raw paho's (worst load)", least_rate(OVER_PAHO, RAW_PAHO), 0.95);
    sheet.at_most("client over native: sequential p50, to the bare transport's", p50(OVER_NATIVE, BARE_NATIVE), 1.10);
    sheet.at_most("client over native: sequential p50, to raw paho's", p50(OVER_NATIVE, RAW_PAHO), 1.10);
    sheet.at_least(
        "client over native: requests/s, to raw paho's (worst load)",
        least_rate(OVER_NATIVE, RAW_PAHO),
        0.95,
    );
    if has_mosquitto {
        for (load, ratio) in per_core_to(MOSQUITTO) {
            sheet.at_least(
                format!("edge: requests/s of a core, to mosquitto and responder, {load} in flight"),
                ratio,
                2.0,
            );
        }
    }
    for (load, ratio) in per_core_to(HYPER) {
        sheet.at_least(format!("edge: requests/s of a core, to hyper, {load} in flight"), ratio, 0.9);
    }
    for (name, title, unit, bars) in [
        ("round-trip-rate", "Requests a second, one client", "requests/s", rates),
        ("round-trip-p50", "One request after the other: median round trip", "µs", p50s),
        ("round-trip-per-core", "Requests a second for each core that the server uses", "requests/s", per_core),
    ] {
        let (name, title, unit) = (name.to_owned(), title.to_owned(), unit.to_owned());
        sheet.charts.push(Chart { name, title, unit, bars });
    }
    sheet
}
