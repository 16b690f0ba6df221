//! A process full of devices: the real client on the real transport.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use thingif::client::{self, Client, Notices};
use thingif::config::{Config, Identity};
use thingif::ids::{AppId, VendorThingId};
use thingif::proto::Notice;
use thingif::transport::Transport;
use tokio::sync::watch;

use crate::transports::Kind;

pub(crate) const APP: &str = "c1k9abcdef12";
pub(crate) const APP_KEY: &str = "0123456789abcdef0123456789abcdef";
/// Both of them, as HTTP wants them.
pub(crate) const BASIC: &str = "Basic YzFrOWFiY2RlZjEyOjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVm";
pub(crate) const PASSWORD: &str = "its password";

pub(crate) fn name(number: u64) -> String {
    format!("soak-{number}")
}

#[derive(Default)]
struct Counts {
    devices: u64,
    ready: AtomicU64,
    calls: AtomicU64,
    acknowledged: AtomicU64,
    failed: AtomicU64,
    reconnections: AtomicU64,
    onboardings: AtomicU64,
}

impl Counts {
    fn line(&self) -> Value {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        json!({
            "devices": self.devices, "ready": get(&self.ready), "calls": get(&self.calls),
            "writes acknowledged": get(&self.acknowledged), "calls failed": get(&self.failed),
            "reconnections": get(&self.reconnections), "onboardings": get(&self.onboardings),
        })
    }
}

/// Ends this process, and with it the soak.
fn fatal(what: &str) -> ! {
    println!("{}", json!({ "fatal": what }));
    std::process::exit(1)
}

/// `role`: first device, how many, seed, port.
pub(crate) fn process(role: &str) {
    let numbers: Vec<u64> = role.split(',').map(|part| part.parse().expect("a number")).collect();
    let [first, count, seed, port] = numbers[..] else { panic!("not a role: {role}") };
    let (finish, finishing) = watch::channel(false);
    std::thread::spawn(move || {
        let mut line = String::new();
        if !matches!(std::io::stdin().lock().read_line(&mut line), Ok(read) if read > 0) {
            std::process::exit(0); // whoever started this is gone
        }
        finish.send_replace(true);
        let _end = std::io::stdin().lock().read_line(&mut line);
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let counts = Arc::new(Counts { devices: count, ..Counts::default() });
        // The processes take turns, unless one transport is asked for.
        let asked = std::env::var("SOAK_TRANSPORT").ok().filter(|name| !name.is_empty());
        let turn = Kind::ALL[usize::try_from(first / count.max(1)).expect("few processes") % Kind::ALL.len()];
        let kind = asked.map_or(turn, |name| Kind::named(&name).expect("SOAK_TRANSPORT is paho or native"));
        let transport = kind.trusting(None);
        for number in first..first + count {
            tokio::spawn(live(number, seed, port, Arc::clone(&transport), Arc::clone(&counts), finishing.clone()));
        }
        loop {
            println!("{}", counts.line());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}

fn config(number: u64, seed: u64, port: u16) -> Result<Config, Box<dyn std::error::Error>> {
    let identity = Identity::vendor_thing(VendorThingId::new(name(number))?, PASSWORD.to_owned().into());
    let broker = format!("mqtt://127.0.0.1:{port}").parse()?;
    Ok(Config::new(broker, AppId::new(APP)?, APP_KEY.to_owned().into(), identity)?
        .with_backoff(Duration::from_secs(1), Duration::from_secs(3))?
        .with_connect_attempts(usize::MAX)?
        .with_seed(seed.wrapping_add(number)))
}

async fn live(
    number: u64,
    seed: u64,
    port: u64,
    transport: Arc<dyn Transport>,
    counts: Arc<Counts>,
    mut finishing: watch::Receiver<bool>,
) {
    let port = u16::try_from(port).expect("a port");
    let config = config(number, seed, port).unwrap_or_else(|error| fatal(&error.to_string()));
    let (client, pushes, mut connection) = match client::connect(config, transport).await {
        Ok(parts) => parts,
        Err(error) => fatal(&format!("device {number}: {error}")),
    };
    let is_ready = Arc::new(AtomicBool::new(false));
    tokio::spawn(watch_notices(connection.notices(), Arc::clone(&counts), is_ready));
    tokio::spawn(async move {
        let ended = connection.run().await;
        fatal(&format!("device {number} ended: {ended:?}"));
    });
    tokio::spawn(async move {
        let mut pushes = pushes;
        while pushes.next().await.is_some() {}
    });

    let nonce = format!("{seed}-{number}");
    let mut random = fastrand::Rng::with_seed(seed ^ number.rotate_left(32));
    let mut states = States { client, number, nonce, sent: 0, acknowledged: 0 };
    while !*finishing.borrow() {
        counts.calls.fetch_add(1, Ordering::Relaxed);
        let succeeded = if random.u8(..4) == 0 { states.get().await } else { states.put(&counts).await };
        if !succeeded {
            counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        let pause = Duration::from_millis(random.u64(1_000..3_000));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = finishing.changed() => {}
        }
    }
    // Once more, now that all is well. A first attempt may find its connection lost by the last fault.
    for _ in 0..10 {
        if states.get().await {
            println!("{}", json!({ "device": number, "acknowledged": states.acknowledged }));
            return std::future::pending().await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    fatal(&format!("device {number} cannot read its states at the end"));
}

async fn watch_notices(mut notices: Notices, counts: Arc<Counts>, is_ready: Arc<AtomicBool>) {
    while let Some(notice) = notices.next().await {
        match notice {
            Notice::Ready { .. } => {
                if !is_ready.swap(true, Ordering::Relaxed) {
                    counts.ready.fetch_add(1, Ordering::Relaxed);
                }
                counts.reconnections.fetch_add(1, Ordering::Relaxed);
            }
            Notice::Lost { .. } | Notice::Waiting { .. } | Notice::Connecting { .. } | Notice::Onboarding { .. }
                if is_ready.swap(false, Ordering::Relaxed) =>
            {
                counts.ready.fetch_sub(1, Ordering::Relaxed);
            }
            Notice::Onboarded { .. } => {
                counts.onboardings.fetch_add(1, Ordering::Relaxed);
            }
            Notice::Lagged(lost) => fatal(&format!("{lost} notices were not read")),
            _ => {}
        }
    }
}

/// The states of one device: a number that only grows, and a nonce that is nobody else's.
struct States {
    client: Client,
    number: u64,
    nonce: String,
    sent: u64,
    acknowledged: u64,
}

impl States {
    fn path(&self) -> String {
        format!("/thing-if/apps/{APP}/targets/thing:{}/states", self.client.credential().expect("onboarded").thing_id)
    }

    /// Whether it was answered. Unanswered, it may or may not have happened.
    async fn put(&mut self, counts: &Counts) -> bool {
        self.sent += 1;
        let body = json!({ "n": self.sent, "nonce": self.nonce }).to_string();
        let request = Request::put(self.path()).header("Content-Type", "application/json").body(Bytes::from(body));
        match self.client.send(request.expect("a request")).await {
            Ok(answer) if answer.status().is_success() => {
                self.acknowledged = self.sent;
                counts.acknowledged.fetch_add(1, Ordering::Relaxed);
                true
            }
            Ok(answer) if answer.status() == 503 => false,
            Ok(answer) => fatal(&format!("device {}: PUT answered {answer:?}", self.number)),
            Err(_) => false,
        }
    }

    /// Whether it was answered; the answer must be this device's own, and no older than what was acknowledged.
    async fn get(&mut self) -> bool {
        let request = Request::get(self.path()).body(Bytes::new()).expect("a request");
        let answer = match self.client.send(request).await {
            Ok(answer) if answer.status() == 503 => return false,
            Ok(answer) => answer,
            Err(_) => return false,
        };
        if answer.status() == 404 && self.acknowledged == 0 {
            return true; // nothing was ever stored
        }
        let state: Value = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
        let (stored, nonce) = (state["n"].as_u64(), state["nonce"].as_str());
        let is_right = answer.status() == 200
            && nonce == Some(&self.nonce)
            && stored.is_some_and(|stored| (self.acknowledged..=self.sent).contains(&stored));
        if !is_right {
            let (number, nonce, acknowledged, sent) = (self.number, &self.nonce, self.acknowledged, self.sent);
            fatal(&format!("device {number} ({nonce}), {acknowledged} acknowledged of {sent} sent, read {answer:?}"));
        }
        true
    }
}
