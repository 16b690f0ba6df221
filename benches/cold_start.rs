//! From nothing to Ready and to the first answer, in round trips, over a road of 50 ms there and back. The program is one that
//! does not wait: it starts with `client::start` and calls as soon as it knows its thing's id, which with a stored credential is at
//! once and on a fresh device when the onboarding is answered.
//!
//! The least of each transport, exactly, for each connection (one to the assigned broker, and on a fresh device one to the default
//! broker before it, whose answer names the other and cannot be had earlier):
//!
//! - TCP: one round trip, and TLS 1.3 one more;
//! - where packets may follow CONNECT before CONNACK has come (native, and the least of MQTT): one for CONNECT together with
//!   the onboarding request, or with SUBSCRIBE and the first call;
//! - where they may not (paho, and native when it is told so): one for CONNECT, and one for the onboarding request, or for
//!   SUBSCRIBE and the first call, which leave together.
//!
//! SUBACK and the first answer come in the same flight, so that the least to Ready is the least to the first answer.

#[path = "../tests/support/certificates.rs"]
mod certificates;
mod measure;
mod peers;
mod servers;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use certificates::Authority;
use http::Request;
use measure::sheet::{Chart, Sheet};
use measure::slices::median;
use servers::onboarder;
use servers::slow_road::SlowRoad;
use thingif::client::{self, Notice};
use thingif::config::{Config, Identity};
use thingif::transport::native::{self, Native};
use thingif::transport::paho::{self, Paho};
use thingif::transport::{Tls, Transport};

const ROUND_TRIP: Duration = Duration::from_millis(50);
const ROUNDS: usize = 7;

/// One way to start.
#[derive(Clone, Copy)]
struct Way {
    is_tls: bool,
    is_fresh: bool,
}

impl Way {
    /// Round trips to Ready, at least: with a connection for the onboarding and one for the session.
    fn least(self, pipelines: bool) -> f64 {
        let connections = if self.is_fresh { 2.0 } else { 1.0 };
        let handshakes = if self.is_tls { 2.0 } else { 1.0 };
        // CONNECT, and then the onboarding or SUBSCRIBE.
        connections * (handshakes + if pipelines { 1.0 } else { 2.0 })
    }

    fn name(self) -> String {
        let scheme = if self.is_tls { "tls" } else { "tcp" };
        format!("{scheme}, {}", if self.is_fresh { "fresh" } else { "stored credential" })
    }
}

/// Round trips to Ready and to the first answer.
type Taken = [f64; 2];

fn main() {
    let rounds = if measure::is_whole() { ROUNDS } else { 1 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let columns = ["transport", "way", "Ready", "least", "first answer", "least", "least of MQTT"];
    let title =
        format!("cold start, in round trips of {} ms; each TCP handshake is counted as one", ROUND_TRIP.as_millis());
    let mut sheet = Sheet::new("cold_start", title, &columns);
    let (name, title) = ("cold-start".to_owned(), "Cold start to the first answer".to_owned());
    let mut chart = Chart { name, title, unit: "round trips".to_owned(), bars: Vec::new() };
    runtime.block_on(async {
        let bench = Bench::start().await;
        for is_tls in [false, true] {
            for is_fresh in [true, false] {
                let way = Way { is_tls, is_fresh };
                for transport in ["paho", "native", "native, not pipelined"] {
                    let mut taken = Vec::new();
                    for _ in 0..rounds {
                        taken.push(bench.measure(transport, way).await);
                    }
                    show(&mut sheet, &mut chart, transport, way, &taken);
                }
                chart.bars.push((way.name(), "least of MQTT".to_owned(), way.least(true)));
            }
        }
    });
    sheet.charts.push(chart);
    sheet.publish();
}

fn show(sheet: &mut Sheet, chart: &mut Chart, transport: &str, way: Way, taken: &[Taken]) {
    let [ready, answered] = [0, 1].map(|at| median(&taken.iter().map(|taken| taken[at]).collect::<Vec<_>>()));
    let pipelines = transport == "native";
    let least = way.least(pipelines);
    let row = [ready, least, answered, least, way.least(true)].map(|figure| format!("{figure:.2}"));
    sheet.rows.push([transport.to_owned(), way.name()].into_iter().chain(row).collect());
    chart.bars.push((way.name(), transport.to_owned(), answered));
    if transport != "native, not pipelined" {
        let bound = |what| format!("{transport}, {}: round trips to {what}, over its least", way.name());
        sheet.at_most(bound("Ready"), ready - least, 0.5);
        sheet.at_most(bound("the first answer"), answered - least, 0.5);
    }
}

struct Bench {
    authority: Authority,
    roads: [SlowRoad; 2],
}

impl Bench {
    async fn start() -> Self {
        let authority = Authority::new();
        let assigned = Arc::new(OnceLock::new());
        let tls = authority.issue("127.0.0.1").server(None);
        let servers = onboarder::start(tls, Arc::clone(&assigned), onboarder::Held::default()).await;
        let half = ROUND_TRIP / 2;
        let roads = [SlowRoad::to(servers[0], half).await, SlowRoad::to(servers[1], half).await];
        assigned.set([roads[0].address, roads[1].address]).expect("once");
        Self { authority, roads }
    }

    async fn measure(&self, transport: &str, way: Way) -> Taken {
        let tls = Tls { ca_file: Some(self.authority.file.clone()), ..Tls::default() };
        let transport_of_this_run: Box<dyn Transport> = if transport == "paho" {
            let mut options = paho::Options::default();
            options.tls = tls;
            Box::new(Paho::new(options).expect("usable options"))
        } else {
            let mut options = native::Options::default();
            options.tls = tls;
            Box::new(Native::new(options).expect("usable options"))
        };
        let road = &self.roads[usize::from(way.is_tls)];
        let broker = format!("{}://{}", if way.is_tls { "mqtts" } else { "mqtt" }, road.address);
        let identity = Identity::vendor_thing("lamp-1".parse().expect("valid"), "pw".to_owned().into());
        let app = servers::fixed::APP.parse().expect("valid");
        let config = Config::new(broker.parse().expect("an endpoint"), app, "key".to_owned().into(), identity);
        let mut config = config.expect("valid").with_pipelined_connect(transport == "native");
        if !way.is_fresh {
            config = config.with_resume(onboarder::credential([self.roads[0].address, self.roads[1].address]));
        }

        road.connections();
        let began = Instant::now();
        let (client, _pushes, mut connection) = client::start(config, transport_of_this_run).expect("starts");
        let mut notices = connection.notices();
        let connection = tokio::spawn(connection.run());
        let ready = async {
            while !matches!(notices.next().await.expect("it goes on"), Notice::Ready { .. }) {}
            began.elapsed()
        };
        let answered = async {
            let thing = client.onboarded().await.expect("onboarded").thing_id;
            let request = Request::put(format!("/thing-if/apps/{}/targets/thing:{thing}/states", servers::fixed::APP))
                .body(Bytes::from_static(b"{}"))
                .expect("valid");
            assert_eq!(client.send(request).await.expect("an answer").status(), 200);
            began.elapsed()
        };
        let (ready, answered) = tokio::join!(ready, answered);
        let handshakes = road.connections() as f64;
        client.close().await;
        connection.await.expect("no panic").expect("closed");
        [ready, answered].map(|took| took.as_secs_f64() / ROUND_TRIP.as_secs_f64() + handshakes)
    }
}
