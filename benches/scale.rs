//! Up to 20,000 things at one server: the edge alone, and the edge with the cloud and its store on disk.
//!
//! Servers, and the things that are idle, are processes of their own. A second server of the same kind that has few of
//! everything is measured in turns with the large one, so that what disturbs one disturbs both.

mod measure;
mod peers;
#[path = "../tests/support/raw_mqtt.rs"]
mod raw_mqtt;
mod servers;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use measure::child::{self, Process};
use measure::sheet::{Chart, Sheet};
use measure::slices::{Figures, Slices, median};
use raw_mqtt::Client;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use servers::fixed::APP;
use servers::{fleet, world};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// How far it goes.
struct Extent {
    things: Vec<usize>,
    pushes: usize,
    slice: Duration,
    rounds: usize,
    /// Things that make requests, one at a time each.
    active: usize,
}

impl Extent {
    fn of_this_run() -> Self {
        if !measure::is_whole() {
            let slice = Duration::from_millis(50);
            return Self { things: vec![40, 200], pushes: 100, slice, rounds: 1, active: 16 };
        }
        // Each connection is a descriptor of the server, which has some others.
        let most = 20_000.min(usize::try_from(open_files()).unwrap_or(usize::MAX) - 200);
        let slice = Duration::from_millis(400);
        Self { things: vec![200, 2_000, most], pushes: 10_000.min(most - 100), slice, rounds: 9, active: 64 }
    }
}

/// Raises the limit on open files as far as it goes.
fn open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).expect("up to the maximum");
    limit.maximum.unwrap_or(1 << 20)
}

fn main() {
    open_files();
    if let Some(role) = child::role() {
        return match role[0].as_str() {
            "fleet" => current_thread().block_on(fleet::run(&role[1..])),
            kind => {
                // The time of a thread that has ended would be lost.
                let mut runtime = tokio::runtime::Builder::new_multi_thread();
                let runtime = runtime.thread_keep_alive(Duration::from_secs(3_600)).enable_all().build();
                runtime.expect("a runtime").block_on(world::serve(kind == "cloud"));
            }
        };
    }
    let extent = Extent::of_this_run();
    let title = format!(
        "scale: idle connections that want pushes, {} that make requests; processor time of the server, its memory in RAM",
        extent.active
    );
    let columns = ["server", "things", "KiB each", "connects/s", "request", "requests/s", "p99 ms", "µs each", "ratio"];
    let mut sheet = Sheet::new("scale", title, &columns);
    let mut bars = Vec::new();
    for kind in ["edge", "cloud"] {
        measure_kind(kind, &extent, &mut sheet, &mut bars);
    }
    let (name, title) = ("scale-cost".to_owned(), "Processor time of one request, as things grow".to_owned());
    sheet.charts.push(Chart { name, title, unit: "µs".to_owned(), bars });
    sheet.publish();
}

fn current_thread() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn measure_kind(kind: &str, extent: &Extent, sheet: &mut Sheet, bars: &mut Vec<(String, String, f64)>) {
    let runtime = current_thread();
    let few = extent.things[0];
    let (mut small, mut large) = (World::start(kind), World::start(kind));
    small.grow(few, extent.active);
    let requests: &[&str] = if kind == "edge" { &["PUT"] } else { &["GET", "PUT"] };
    for &things in &extent.things {
        large.grow(things, extent.active);
        let mut slices = Slices::default();
        let mut clients = [&small, &large].map(|world| runtime.block_on(world.active(extent.active)));
        for _ in 0..extent.rounds {
            for request in requests {
                for (at, world) in [&small, &large].into_iter().enumerate() {
                    let before = world.server.busy();
                    let figures = runtime.block_on(make_requests(&mut clients[at], request, extent.slice));
                    slices.add(request, at, &figures, Some(world.server.busy() - before));
                }
            }
        }
        for request in requests {
            let (row, beside) = (slices.row(request, 1), slices.row(request, 0));
            let (cost, ratio) = (row.cost().unwrap_or_default(), row.cost_to(beside));
            bars.push((format!("{kind}, {request}"), format!("{things} things"), cost));
            sheet.rows.push(vec![
                kind.to_owned(),
                things.to_string(),
                format!("{:.1}", large.kib_each()),
                format!("{:.0}", large.connects_per_second),
                (*request).to_owned(),
                format!("{:.0}", row.rate()),
                format!("{:.2}", row.p99() / 1e3),
                format!("{cost:.1}"),
                format!("{ratio:.2}"),
            ]);
            if things > few {
                let what = format!("{kind}: cost of a {request} with {things} things, to {few}");
                sheet.at_most(what, ratio, 1.2);
            }
        }
    }
    sheet.at_most(format!("{kind}: KiB of memory for an idle connection"), large.kib_each(), 8.0);
    let mut latencies = large.push(extent);
    latencies.sort_by(f64::total_cmp);
    let last = latencies.last().expect("somebody heard");
    println!(
        "{kind}: {} pushes, each from its call to its client: p50 {:.1} ms, last {:.1} ms",
        latencies.len(),
        median(&latencies) / 1e3,
        last / 1e3
    );
}

/// A server and its idle things.
struct World {
    server: Process,
    address: SocketAddr,
    accounts: tempfile::NamedTempFile,
    fleets: Vec<Process>,
    connected: usize,
    /// Memory that the connections took, in bytes.
    grown: u64,
    connects_per_second: f64,
}

impl World {
    fn start(kind: &str) -> Self {
        let mut server = Process::again(&[kind]);
        let address = server.line().parse().expect("an address");
        let accounts = tempfile::NamedTempFile::new().expect("a file");
        let (fleets, connects_per_second) = (Vec::new(), 0.0);
        Self { server, address, accounts, fleets, connected: 0, grown: 0, connects_per_second }
    }

    /// Until there are so many things, all of them connected but the first few, which are for requests.
    fn grow(&mut self, things: usize, active: usize) {
        let file = self.accounts.path().to_str().expect("a plain path").to_owned();
        self.server.tell(&format!("things {things} {file}"));
        assert_eq!(self.server.line(), "done");
        let from = active + self.connected;
        let before = self.server.resident();
        let (fleet, rate) = fleet::start(self.address, &file, from, things);
        self.grown += self.server.resident().saturating_sub(before);
        self.connected += things - from;
        self.connects_per_second = rate;
        self.fleets.push(fleet);
    }

    fn kib_each(&self) -> f64 {
        self.grown as f64 / 1024.0 / self.connected as f64
    }

    async fn active(&self, count: usize) -> Vec<Active> {
        let accounts = std::fs::read_to_string(self.accounts.path()).expect("the accounts");
        let mut active = Vec::new();
        for account in accounts.lines().take(count) {
            active.push(Active::login(self.address, account).await);
        }
        active
    }

    /// One push to each of so many things of the last fleet: how long each took, in microseconds.
    fn push(&mut self, extent: &Extent) -> Vec<f64> {
        let to = extent.active + self.connected;
        let from = to - extent.pushes;
        let fleet = self.fleets.last_mut().expect("the last to be grown");
        self.server.tell(&format!("push {from} {to}"));
        fleet.tell(&extent.pushes.to_string());
        let heard = fleet.line();
        assert_eq!(self.server.line(), "done");
        heard.split(' ').map(|micros| micros.parse().expect("a number")).collect()
    }
}

/// A thing that makes requests.
struct Active {
    client: Client<TcpStream>,
    topic: String,
    token: String,
    number: u64,
}

impl Active {
    async fn login(address: SocketAddr, account: &str) -> Self {
        let [id, username, password, thing, token] = account.split(' ').collect::<Vec<_>>()[..] else { panic!() };
        let client = Client::login(address, raw_mqtt::connect(id, username, password)).await;
        let topic = format!("p/{id}/thing-if/apps/{APP}/targets/thing:{thing}/states");
        let mut active = Self { client, topic, token: token.to_owned(), number: 0 };
        active.make("PUT").await;
        active
    }

    async fn make(&mut self, verb: &str) {
        self.number += 1;
        let Self { token, number, .. } = self;
        let head = format!("{verb}\r\nAuthorization: Bearer {token}\r\nX-Kii-RequestID: {number}\r\n");
        let body = format!(r#"{{"power":true,"presetTemperature":25,"currentTemperature":{number}}}"#);
        let frame = match verb {
            "GET" => format!("{head}\r\n"),
            _ => format!("{head}Content-Type: application/json\r\n\r\n{body}"),
        };
        self.client.request(&self.topic, frame).await;
        let answer = self.client.answer().await;
        assert!(answer.status.starts_with('2') && answer.request_id == Some(number.to_string()), "{answer:?}");
    }
}

/// Each thing one after the other, all of them at once.
async fn make_requests(things: &mut [Active], verb: &str, slice: Duration) -> Figures {
    let figures = std::cell::RefCell::new(Figures::begin());
    let all = things.iter_mut().map(|thing| async {
        while figures.borrow().elapsed() < slice {
            let begun = Instant::now();
            thing.make(verb).await;
            figures.borrow_mut().count(begun.elapsed());
        }
    });
    futures_util::future::join_all(all).await;
    figures.into_inner().end()
}
