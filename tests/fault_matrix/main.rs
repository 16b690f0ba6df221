//! Every transport times everything that can go wrong, on real sockets: what the caller sees, what the device says of it, and
//! that it is ready again. The device is the real client on each transport that connects over sockets; the other end plays both brokers and the service.
//!
//! | trouble | what the caller sees | by when | what the device says |
//! |---|---|---|---|
//! | request or answer lost, never answered | `TimedOut` | the call's deadline | nothing: the link stands |
//! | answer delayed by 2 s | `TimedOut`, or the answer where the deadline allows it | the deadline | nothing; the late answer is counted |
//! | answer twice | the answer | at once | nothing; the second one is counted |
//! | answer on the wrong topic | `TimedOut` | the deadline | nothing; it is counted |
//! | answer without id | the answer, as one call waits | at once | `PeerOmitsRequestIds` |
//! | cut mid-packet, RST | `Disconnected` | at once | `Lost` |
//! | half-open | `TimedOut`, then `Disconnected` or `NotSent` | the deadline | `Lost` by the keep-alive, within the detection time |
//! | broker restart | `Disconnected` | at once | `Lost`, `Waiting` while nobody listens |
//! | kicked | – | | five times `Lost`, then `DuplicateClientId` |
//! | CONNACK 1, 2, 3 | – | | `Waiting`, then `Ready` with the old credential |
//! | CONNACK 4, 5 | – | | `Waiting`, then `Onboarded` |
//! | 429, 503 with `Retry-After` | the answer, through the retrying layer | after the time asked for | nothing |
//! | onboarding answer lost | – | | `Waiting { OnboardingUnanswered }`, then `Onboarded` |
//! | cut at a byte | the answer, or an error that says whether it may have happened | | `Ready` again |
#![cfg(feature = "paho")]

#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/mqtt_broker.rs"]
mod mqtt_broker;
#[path = "../support/transports.rs"]
mod transports;

mod cutter;
mod service;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use libtest_mimic::{Arguments, Failed, Trial};
use thingif::client::retry::Retry;
use thingif::client::{
    self, Cause, Client, ConnectError, Notice, Notices, Pushes, RequestError, TimeLimit, WaitForLink,
};
use thingif::config::{Config, Identity};
use thingif::ids::VendorThingId;
use thingif::mqtt::{RefusedReason, Scheme};
use thingif::transport::Transport;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower::Layer as _;
use tower_service::Service as _;

use certificates::Authority;
use cutter::{Cutter, Way};
use service::{APP, Service, Trouble};
use transports::Kind;

/// Longer than anything takes on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(90);
const SECOND: Duration = Duration::from_secs(1);
/// The most that a broker is noticed to be silent in; the least that there is.
const DETECTION: Duration = Duration::from_secs(3);

/// Cells that were run, and what was seen in each.
static SEEN: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());
static NONCES: AtomicU64 = AtomicU64::new(1);

type Reply = Result<Response<Bytes>, RequestError>;

/// What goes wrong, and what is expected of it.
#[derive(Debug, Clone, Copy)]
enum Cell {
    /// A call ends so, and the link stands.
    Call(Trouble, Duration, Expected),
    /// A call fails, and the link with it.
    Loss(Trouble, Expected),
    HalfOpen,
    Restart,
    Kick,
    ConnAck(u8),
    Retry(u16),
    OnboardingLost,
    Cuts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Answer,
    TimedOut,
    Disconnected,
}

const CELLS: &[(&str, Cell)] = &[
    ("drop a request", Cell::Call(Trouble::LoseRequest, SECOND, Expected::TimedOut)),
    ("drop an answer", Cell::Call(Trouble::LoseAnswer, SECOND, Expected::TimedOut)),
    ("answers never", Cell::Call(Trouble::LoseAnswer, Duration::from_millis(200), Expected::TimedOut)),
    ("answers late", Cell::Call(Trouble::Delay(Duration::from_secs(2)), SECOND, Expected::TimedOut)),
    ("delay 2 s", Cell::Call(Trouble::Delay(Duration::from_secs(2)), PATIENCE, Expected::Answer)),
    ("duplicate, answers twice", Cell::Call(Trouble::Twice, PATIENCE, Expected::Answer)),
    ("answers on the wrong topic", Cell::Call(Trouble::WrongTopic, SECOND, Expected::TimedOut)),
    ("answers without id", Cell::Call(Trouble::WithoutId, PATIENCE, Expected::Answer)),
    ("cut mid-packet", Cell::Loss(Trouble::CutMidPacket, Expected::Disconnected)),
    ("RST", Cell::Loss(Trouble::Reset, Expected::Disconnected)),
    ("half-open", Cell::HalfOpen),
    ("broker restart", Cell::Restart),
    ("kick", Cell::Kick),
    ("CONNACK 1", Cell::ConnAck(1)),
    ("CONNACK 2", Cell::ConnAck(2)),
    ("CONNACK 3", Cell::ConnAck(3)),
    ("CONNACK 4", Cell::ConnAck(4)),
    ("CONNACK 5", Cell::ConnAck(5)),
    ("429 with Retry-After", Cell::Retry(429)),
    ("503 with Retry-After", Cell::Retry(503)),
    ("onboarding answer lost", Cell::OnboardingLost),
    ("cuts at bytes", Cell::Cuts),
];

/// A service, and a transport that trusts it.
struct World {
    scheme: Scheme,
    service: Service,
    transport: Arc<dyn Transport>,
    _authority: Authority,
}

impl World {
    async fn start(kind: Kind, scheme: Scheme) -> Self {
        let authority = Authority::new();
        let tls = scheme.is_tls().then(|| authority.issue("localhost").server(None));
        let transport = kind.trusting(Some(&authority.file));
        Self { scheme, service: Service::start(scheme, tls).await, transport, _authority: authority }
    }

    fn config(&self, broker: SocketAddr) -> Config {
        let identity = Identity::vendor_thing(VendorThingId::new("lamp").expect("valid"), "pw".into());
        let broker = format!("{}://localhost:{}", self.scheme, broker.port()).parse().expect("an address");
        Config::new(broker, APP.parse().expect("valid"), "key".into(), identity)
            .and_then(|config| config.with_backoff(Duration::from_millis(20), Duration::from_millis(200)))
            .and_then(|config| config.with_connect_timeout(Duration::from_secs(15)))
            .and_then(|config| config.with_call_deadline(Duration::from_secs(5)))
            .and_then(|config| config.with_late_answer_window(Duration::from_secs(5)))
            .and_then(|config| config.with_detect_dead_peer(DETECTION))
            .and_then(|config| config.with_connect_attempts(1000))
            .expect("in range")
    }

    async fn device(&self) -> Device {
        self.device_at(self.service.address).await
    }

    async fn device_at(&self, broker: SocketAddr) -> Device {
        let connected = timeout(PATIENCE, client::connect(self.config(broker), Arc::clone(&self.transport))).await;
        let (client, pushes, mut connection) = connected.expect("in time").expect("connected");
        let notices = connection.notices();
        Device { client, notices, _pushes: pushes, run: tokio::spawn(connection.run()) }
    }
}

struct Device {
    client: Client,
    notices: Notices,
    _pushes: Pushes,
    run: JoinHandle<Result<(), ConnectError>>,
}

/// A call whose answer repeats its nonce, and whether it did.
fn call() -> (Request<Bytes>, String) {
    let nonce = format!("nonce {}", NONCES.fetch_add(1, Ordering::Relaxed));
    let request = Request::get(format!("/thing-if/apps/{APP}/targets/thing:th.1/states"));
    (request.body(Bytes::from(nonce.clone())).expect("valid"), nonce)
}

impl Device {
    async fn call_within(&self, limit: Duration) -> Reply {
        let (request, nonce) = call();
        let reply = timeout(PATIENCE, self.client.send_within(request, limit)).await.expect("a call ends");
        if let Ok(answer) = &reply {
            assert_eq!(answer.body(), nonce.as_bytes(), "another call's answer");
        }
        reply
    }

    /// A call that waits for the link: the device is ready again when it is answered.
    async fn is_ready(&self) {
        let (mut request, nonce) = call();
        request.extensions_mut().insert(WaitForLink);
        let began = Instant::now();
        loop {
            let reply = self.client.send_within(request.clone(), PATIENCE).await;
            match reply {
                Ok(answer) => return assert_eq!(answer.body(), nonce.as_bytes(), "another call's answer"),
                // It was written on a link that is being lost; waiting for the next is what a caller does then.
                Err(RequestError::Disconnected(_)) if began.elapsed() < PATIENCE => {}
                Err(error) => panic!("the device does not come back: {error:?}"),
            }
        }
    }

    /// What happens until `last`, that included.
    async fn until(&mut self, last: impl Fn(&Notice) -> bool) -> Vec<Notice> {
        let mut seen = Vec::new();
        loop {
            let Ok(Some(notice)) = timeout(PATIENCE, self.notices.next()).await else { panic!("only {seen:?}") };
            let done = last(&notice);
            seen.push(notice);
            if done {
                return seen;
            }
        }
    }

    /// What has happened so far.
    fn so_far(&mut self) -> Vec<Notice> {
        use std::task::{Context, Poll, Waker};
        let (mut seen, mut cx) = (Vec::new(), Context::from_waker(Waker::noop()));
        while let Poll::Ready(Some(notice)) =
            futures_util::Stream::poll_next(std::pin::Pin::new(&mut self.notices), &mut cx)
        {
            seen.push(notice);
        }
        seen
    }

    async fn close(self) {
        timeout(PATIENCE, self.client.close()).await.expect("in time");
        timeout(PATIENCE, self.run).await.expect("in time").expect("no panic").expect("closed in order");
    }
}

fn is_lost(notice: &Notice) -> bool {
    matches!(notice, Notice::Lost { .. })
}

fn is_ready(notice: &Notice) -> bool {
    matches!(notice, Notice::Ready { .. })
}

fn cause(notice: &Notice) -> Option<Cause> {
    match notice {
        Notice::Lost { cause, .. } | Notice::Waiting { cause, .. } => cause.cause(),
        _ => None,
    }
}

fn as_expected(reply: &Reply, expected: Expected) -> bool {
    match reply {
        Ok(_) => expected == Expected::Answer,
        Err(RequestError::TimedOut) => expected == Expected::TimedOut,
        Err(RequestError::Disconnected(_)) => expected == Expected::Disconnected,
        Err(_) => false,
    }
}

async fn run(kind: Kind, scheme: Scheme, cell: Cell) -> String {
    let world = World::start(kind, scheme).await;
    match cell {
        Cell::Call(trouble, limit, expected) => call_cell(&world, trouble, limit, expected).await,
        Cell::Loss(trouble, expected) => loss_cell(&world, trouble, expected).await,
        Cell::HalfOpen => half_open_cell(&world).await,
        Cell::Restart => loss_cell(&world, Trouble::Restart(Duration::from_millis(700)), Expected::Disconnected).await,
        Cell::Kick => kick_cell(&world).await,
        Cell::ConnAck(code) => connack_cell(&world, code).await,
        Cell::Retry(status) => retry_cell(&world, status).await,
        Cell::OnboardingLost => onboarding_cell(&world).await,
        Cell::Cuts => cuts_cell(&world).await,
    }
}

async fn call_cell(world: &World, trouble: Trouble, limit: Duration, expected: Expected) -> String {
    let mut device = world.device().await;
    device.is_ready().await;
    let before = device.client.counters();
    world.service.shared.plan([trouble]);
    let reply = device.call_within(limit).await;
    assert!(as_expected(&reply, expected), "{reply:?}");
    assert!(world.service.shared.is_over(), "nothing went wrong");
    // With a peer that omitted an id the next call may wait for a late answer's window.
    device.is_ready().await;
    let seen = device.so_far();
    assert!(!seen.iter().any(is_lost), "{seen:?}");
    let omits = seen.iter().any(|notice| matches!(notice, Notice::PeerOmitsRequestIds { .. }));
    let after = device.client.counters();
    match trouble {
        Trouble::Delay(_) if expected == Expected::TimedOut => {
            assert_eq!(after.late_answers - before.late_answers, 1, "the call after it came after it");
        }
        Trouble::Twice | Trouble::WrongTopic => {
            assert_eq!(after.unknown_ids - before.unknown_ids, 1, "{after:?}");
        }
        Trouble::WithoutId => assert!(!omits, "it has shown before that it echoes them: {seen:?}"),
        _ => {}
    }
    device.close().await;
    format!("{expected:?}, the link stands")
}

async fn loss_cell(world: &World, trouble: Trouble, expected: Expected) -> String {
    let mut device = world.device().await;
    device.is_ready().await;
    device.so_far();
    world.service.shared.plan([trouble]);
    let reply = device.call_within(PATIENCE).await;
    assert!(as_expected(&reply, expected), "{reply:?}");
    let seen = device.until(is_ready).await;
    let lost = seen.iter().find(|notice| is_lost(notice)).and_then(cause);
    assert!(matches!(lost, Some(Cause::Closed | Cause::Kicked)), "{seen:?}");
    // Where nobody listens for a while, the default broker may be asked, and be quicker.
    let may_onboard = matches!(trouble, Trouble::Restart(_));
    assert!(may_onboard || !seen.iter().any(|notice| matches!(notice, Notice::Onboarded { .. })), "{seen:?}");
    device.is_ready().await;
    device.close().await;
    format!("{expected:?}, Lost({}), Ready", lost.map(|cause| cause.to_string()).unwrap_or_default())
}

async fn half_open_cell(world: &World) -> String {
    let mut device = world.device().await;
    device.is_ready().await;
    device.so_far();
    world.service.shared.plan([Trouble::HalfOpen]);
    let reply = device.call_within(SECOND).await;
    assert!(as_expected(&reply, Expected::TimedOut), "{reply:?}");
    let seen = device.until(is_ready).await;
    let lost = seen.iter().find(|notice| is_lost(notice)).and_then(cause);
    assert!(matches!(lost, Some(Cause::KeepAlive | Cause::Closed)), "{seen:?}");
    device.is_ready().await;
    device.close().await;
    format!("TimedOut, Lost({}), Ready", lost.map(|cause| cause.to_string()).unwrap_or_default())
}

async fn kick_cell(world: &World) -> String {
    let mut device = world.device().await;
    device.is_ready().await;
    device.so_far();
    // The first loss is the call's. A connection that ends before its SUBACK was read is not a kick, so there is no number
    // of them that is enough.
    world.service.shared.plan([Trouble::CutMidPacket, Trouble::Kick]);
    drop(device.call_within(PATIENCE).await);
    let seen = device.until(|notice| matches!(notice, Notice::DuplicateClientId { .. })).await;
    world.service.shared.calm();
    let lost = seen.iter().filter(|notice| is_lost(notice)).count();
    assert!(lost >= 5, "{seen:?}");
    device.is_ready().await;
    device.close().await;
    "DuplicateClientId, Ready".to_owned()
}

async fn connack_cell(world: &World, code: u8) -> String {
    let mut device = world.device().await;
    device.is_ready().await;
    device.so_far();
    let onboardings = || world.service.shared.onboardings.load(Ordering::Relaxed);
    let before = onboardings();
    world.service.shared.plan([Trouble::Reset, Trouble::ConnAck(code)]);
    drop(device.call_within(PATIENCE).await);
    let seen = device.until(is_ready).await;
    assert!(world.service.shared.is_over(), "nothing was refused");
    let reason = RefusedReason::from_code(code).expect("1 to 5");
    let refused = |notice: &Notice| cause(notice) == Some(Cause::Refused(reason));
    assert!(seen.iter().any(refused), "{seen:?}");
    let onboarded = onboardings() - before;
    assert_eq!(onboarded, usize::from(code >= 4), "{seen:?}");
    device.is_ready().await;
    device.close().await;
    format!("Waiting(CONNACK {code}){}, Ready", if onboarded > 0 { ", Onboarded" } else { "" })
}

async fn retry_cell(world: &World, status: u16) -> String {
    let device = world.device().await;
    device.is_ready().await;
    world.service.shared.plan([Trouble::Busy(status)]);
    let before = world.service.shared.requests.load(Ordering::Relaxed);
    let mut patient = Retry::new().with_time_limit(PATIENCE).layer(device.client.clone());
    let (mut request, nonce) = call();
    request.extensions_mut().insert(TimeLimit(PATIENCE));
    let began = Instant::now();
    let answer = timeout(PATIENCE, patient.call(request)).await.expect("in time").expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.body()), (200, &Bytes::from(nonce)));
    assert!(began.elapsed() >= SECOND, "the time that was asked for");
    assert_eq!(world.service.shared.requests.load(Ordering::Relaxed) - before, 2);
    device.close().await;
    "the answer of the second try, after Retry-After".to_owned()
}

async fn onboarding_cell(world: &World) -> String {
    world.service.shared.plan([Trouble::LoseOnboarding]);
    let mut device = world.device().await;
    let seen = device.so_far();
    assert!(seen.iter().any(|notice| cause(notice) == Some(Cause::OnboardingUnanswered)), "{seen:?}");
    assert_eq!(world.service.shared.onboardings.load(Ordering::Relaxed), 2);
    device.is_ready().await;
    device.close().await;
    "Waiting(onboarding unanswered), Onboarded, Ready".to_owned()
}

/// The whole exchange, from the first onboarding to the first answer, cut once at each of many bytes of either way.
async fn cuts_cell(world: &World) -> String {
    let exchange = async |cut: Option<(Way, usize)>| {
        let cutter = Cutter::before(world.service.address, cut).await;
        world.service.shared.advertised.store(cutter.address.port(), Ordering::Relaxed);
        let device = world.device_at(cutter.address).await;
        let reply = device.call_within(PATIENCE).await;
        assert!(
            as_expected(&reply, Expected::Answer) || as_expected(&reply, Expected::Disconnected) || not_sent(&reply),
            "{reply:?}"
        );
        device.is_ready().await;
        let counts = (cutter.count(Way::ToDevice), cutter.count(Way::ToBroker), cutter.has_cut());
        device.close().await;
        counts
    };
    let (to_device, to_broker, _) = exchange(None).await;
    let mut rng = fastrand::Rng::with_seed(8);
    let mut cuts = 0;
    for (way, (bytes, pieces)) in [(Way::ToDevice, to_device), (Way::ToBroker, to_broker)] {
        let mut places: BTreeSet<usize> = pieces.iter().flat_map(|end| [end - 1, *end, end + 1]).collect();
        places.extend((0..16).map(|_| rng.usize(1..=bytes)));
        for place in places.into_iter().filter(|place| *place <= bytes) {
            let (_, _, has_cut) = exchange(Some((way, place))).await;
            cuts += usize::from(has_cut);
        }
    }
    assert!(cuts >= 32, "only {cuts} cuts were made");
    format!("{cuts} cuts: a right answer or an honest error, Ready")
}

fn not_sent(reply: &Reply) -> bool {
    matches!(reply, Err(RequestError::NotSent(_)))
}

/// A cell on a transport over a scheme.
type Place = (Kind, Scheme, &'static str, Cell);

fn places() -> impl Iterator<Item = Place> {
    let at = |kind, scheme| CELLS.iter().map(move |(name, cell)| (kind, scheme, *name, *cell));
    Kind::ALL.iter().flat_map(move |kind| Scheme::ALL.into_iter().flat_map(move |scheme| at(*kind, scheme)))
}

fn title(kind: Kind, scheme: Scheme, name: &str) -> String {
    format!("{kind}::{scheme}::{name}")
}

/// Names the one cell that a process is to run: Paho has one thread for all links of a process, so that what holds one up
/// holds up the others, and what it does not bear ends the process.
const CELL: &str = "FAULT_MATRIX_CELL";

fn trial((kind, scheme, name, _): Place) -> Trial {
    let title = title(kind, scheme, name);
    Trial::test(title.clone(), move || {
        let began = Instant::now();
        let program = std::env::current_exe().expect("this program");
        let output = Command::new(program).env(CELL, &title).output().expect("runs");
        let said = String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr });
        let said = said.trim().to_owned();
        let shown = match output.status.success() {
            true => format!("{said} ({:.1} s)", began.elapsed().as_secs_f64()),
            false => format!("FAILED ({})", output.status),
        };
        SEEN.lock().expect("not poisoned").push((title, shown));
        if output.status.success() { Ok(()) } else { Err(Failed::from(said)) }
    })
}

/// Runs one cell and says what was seen.
fn only(wanted: &str) {
    let (kind, scheme, _, cell) =
        places().find(|(kind, scheme, name, _)| title(*kind, *scheme, name) == wanted).expect("a cell");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    println!("{}", runtime.block_on(run(kind, scheme, cell)));
}

fn main() {
    if let Ok(wanted) = std::env::var(CELL) {
        return only(&wanted);
    }
    let mut arguments = Arguments::from_args();
    // Most of a cell is waiting.
    arguments.test_threads = arguments.test_threads.or(Some(12));
    let names: BTreeSet<&str> = CELLS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), CELLS.len(), "a cell is named twice");
    let trials: Vec<Trial> = places().map(trial).collect();
    let is_whole = arguments.filter.is_none() && !arguments.list;
    let expected = trials.len();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let mut seen = SEEN.lock().expect("not poisoned").clone();
    seen.sort();
    for (title, shown) in &seen {
        println!("{title:48} {shown}");
    }
    if is_whole && arguments.skip.is_empty() {
        assert_eq!(seen.len(), expected, "cells that were not run");
    }
    conclusion.exit();
}
