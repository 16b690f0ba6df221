//! How many states a second are put through MQTT, each answered when it is synced to the disk: with the commits that
//! requests share, and with one for each.
//!
//! `cargo bench --no-default-features --features cloud --bench states`; without `--bench` it is a short run of the same,
//! to see that it works. Client and service share the machine. The directory is the target directory's.

#[path = "../tests/support/raw_mqtt.rs"]
mod raw_mqtt;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use raw_mqtt::{Client, connect};
use serde_json::Value;
use thingif::cloud::{Cloud, CloudService, Location, Options, PasswordCost};
use thingif::edge::{Config, Edge, Listeners, Registry};
use tokio::net::TcpListener;
use tokio::sync::{Barrier, oneshot};
use tower_service::Service as _;

const APP: &str = "c1k9abcdef12";
const KEY: &str = "0123456789abcdef0123456789abcdef";
const THINGS: usize = 200;
/// Requests that share a commit at least, on average, when every thing has one in flight. Unoptimised and for a second on a
/// busy machine, most of them are under way and not waiting for the disk: then it must be some.
const PROMISED: f64 = 20.0;
const SOME: f64 = 2.0;

/// As the documentation's example, with a number that changes.
fn state(number: u64) -> String {
    format!(
        r#"{{"power":true,"presetTemperature":25,"fanspeed":5,"currentTemperature":{number},"currentHumidity":65}}"#
    )
}

/// What one run has shown.
struct Measured {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    per_commit: f64,
}

fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let time = Duration::from_millis(if is_bench { 10_000 } else { 1_000 });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!(
        "{THINGS} things, one request in flight each, {time:?} long: PUT of a state, over MQTT, synced to the disk"
    );
    println!("{:24}{:>10}{:>12}{:>12}{:>18}", "", "PUT/s", "p50", "p99", "writes a commit");
    for (name, writes_per_commit) in
        [("shared commits", Options::default().writes_per_commit), ("one fsync a request", 1)]
    {
        let measured = runtime.block_on(run(writes_per_commit, time));
        let Measured { per_second, p50, p99, per_commit } = measured;
        println!(
            "{name:24}{per_second:>10.0}{:>9.1} ms{:>9.1} ms{per_commit:>18.1}",
            p50.as_secs_f64() * 1e3,
            p99.as_secs_f64() * 1e3,
        );
        if writes_per_commit == 1 {
            assert!((per_commit - 1.0).abs() < f64::EPSILON, "{per_commit}");
        } else {
            let least = if is_bench { PROMISED } else { SOME };
            assert!(per_commit >= least, "only {per_commit:.1} writes share a commit, not {least}");
        }
    }
}

async fn run(writes_per_commit: usize, time: Duration) -> Measured {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let mut options = Options::default();
    options.store = Location::Dir(directory.path().join("data"));
    options.apps = vec![(APP.parse().expect("an app id"), KEY.into())];
    options.password_cost = PasswordCost { memory_kib: 8, passes: 1 };
    options.writes_per_commit = writes_per_commit;
    let registry = Registry::new();
    let cloud = Cloud::open(options, Arc::new(registry.clone())).expect("opens");
    let (stop, stopped) = oneshot::channel::<()>();
    let edge = Edge::new(cloud.service(), cloud.clone(), registry, Config::default());
    let listeners = Listeners { mqtt: Some(listener), ..Listeners::default() };
    let edge = tokio::spawn(edge.run(listeners, stopped));

    let mut things = Vec::new();
    for number in 0..THINGS {
        things.push(Thing::start(cloud.service(), address, number).await);
    }
    let ready = Arc::new(Barrier::new(THINGS + 1));
    let tasks: Vec<_> = things.into_iter().map(|thing| tokio::spawn(thing.put_for(time, Arc::clone(&ready)))).collect();
    let before = cloud.commits();
    ready.wait().await;
    let begun = Instant::now();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("every PUT is answered"));
    }
    let all = begun.elapsed();
    let after = cloud.commits();
    stop.send(()).expect("running");
    edge.await.expect("no panic").expect("served");
    cloud.close().await;

    took.sort_unstable();
    let writes = after.requests - before.requests;
    assert_eq!(writes, took.len() as u64, "every write is a PUT that was answered");
    Measured {
        per_second: took.len() as f64 / all.as_secs_f64(),
        p50: took[took.len() / 2],
        p99: took[took.len() * 99 / 100],
        per_commit: writes as f64 / (after.commits - before.commits) as f64,
    }
}

/// A thing on its connection to the assigned broker.
struct Thing {
    client: Client<tokio::net::TcpStream>,
    topic: String,
    token: String,
}

impl Thing {
    async fn start(mut service: CloudService, address: SocketAddr, number: usize) -> Self {
        let body = format!(r#"{{"vendorThingID":"thing{number}","thingPassword":"secret"}}"#);
        let request = http::Request::post(format!("/thing-if/apps/{APP}/onboardings"))
            .header("X-Kii-AppID", APP)
            .header("X-Kii-AppKey", KEY)
            .header("Content-Type", "application/vnd.kii.OnboardingWithVendorThingIDByThing+json")
            .body(Bytes::from(body))
            .expect("a request");
        let answer = service.call(request).await.expect("infallible");
        assert_eq!(answer.status(), 200, "{:?}", answer.body());
        let answer: Value = serde_json::from_slice(answer.body()).expect("JSON");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let endpoint = &answer["mqttEndpoint"];
        let [client_id, username, password] = ["mqttTopic", "username", "password"].map(|name| text(&endpoint[name]));
        let client = Client::login(address, connect(&client_id, &username, &password)).await;
        let topic = format!("p/{client_id}/thing-if/apps/{APP}/targets/thing:{}/states", text(&answer["thingID"]));
        let mut thing = Self { client, topic, token: text(&answer["accessToken"]) };
        assert_eq!(thing.put(0).await, "201");
        thing
    }

    /// Returns the status.
    async fn put(&mut self, number: u64) -> String {
        let (token, state) = (&self.token, state(number));
        let frame = format!(
            "PUT\r\nAuthorization: Bearer {token}\r\nX-Kii-RequestID: {number}\r\nContent-Type: application/json\r\n\r\n{state}"
        );
        self.client.request(&self.topic, frame).await;
        let answer = self.client.answer().await;
        assert_eq!(answer.request_id, Some(number.to_string()));
        answer.status
    }

    /// Puts one state after the other. Returns how long each took.
    async fn put_for(mut self, time: Duration, ready: Arc<Barrier>) -> Vec<Duration> {
        ready.wait().await;
        let end = Instant::now() + time;
        let mut took = Vec::new();
        for number in 1.. {
            let begun = Instant::now();
            if begun >= end {
                break;
            }
            assert_eq!(self.put(number).await, "204");
            took.push(begun.elapsed());
        }
        took
    }
}
