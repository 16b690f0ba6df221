//! A device and an edge, with every byte between them in memory, and the connection cut after every single byte of the
//! onboarding and of the session, in each direction. No position gives a panic, half a message, a call that is answered
//! and was not carried out or the reverse, or a connection that stays behind; and each time the device is ready again.
#![cfg(all(feature = "client", feature = "edge"))]

#[path = "support/byte_link.rs"]
mod byte_link;
#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "support/scripted_edge.rs"]
mod scripted_edge;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use thingif::client::{self, Client, NotSent, Push, Pushes, RequestError};
use thingif::config::{Config, Identity};
use thingif::edge::{self, Edge, Metrics, PushOutcome, Pusher, Registry};
use thingif::ids::{AppId, ClientId, VendorThingId};
use thingif::mqtt::Scheme;
use thingif::mqtt::packet::{Decoded, Decoder, Limits, Packet};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use byte_link::ByteNetwork;
use scripted_edge::{APP, BoxError, Scripted, service};

const CLIENT_ID: &str = "AbCdEfGhIjKlMnOpQrStUvW";
const PUSH: &str = r#"{"commandID":"c1","actions":[{"turnPower":{"power":true}}]}"#;
/// Far longer, in virtual time, than anything here takes.
const PATIENCE: Duration = Duration::from_secs(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToEdge,
    ToDevice,
}

use Direction::{ToDevice, ToEdge};

/// After how many bytes of which connection, counted from 0, it ends.
#[derive(Debug, Clone, Copy)]
struct Cut {
    connection: usize,
    direction: Direction,
    after: usize,
}

/// What crossed the wire of one connection.
#[derive(Debug, Default, Clone)]
struct Crossed {
    to_edge: Vec<u8>,
    to_device: Vec<u8>,
}

type Record = Arc<Mutex<Vec<Crossed>>>;

/// Carries bytes between the two ends until one of them is gone or the cut is due.
async fn carry(
    mut device: DuplexStream,
    mut edge: DuplexStream,
    number: usize,
    cut: Option<Cut>,
    chunk: usize,
    record: Record,
) {
    let mine = cut.filter(|cut| cut.connection == number);
    let allowed = |direction| mine.filter(|cut| cut.direction == direction).map_or(usize::MAX, |cut| cut.after);
    let (to_edge_allowed, to_device_allowed) = (allowed(ToEdge), allowed(ToDevice));
    let (mut from_device, mut from_edge) = (vec![0; chunk], vec![0; chunk]);
    let (mut to_edge, mut to_device) = (0, 0);
    while to_edge < to_edge_allowed && to_device < to_device_allowed {
        tokio::select! {
            read = device.read(&mut from_device) => {
                let Ok(len @ 1..) = read else { break };
                let len = len.min(to_edge_allowed - to_edge);
                to_edge += len;
                record.lock().expect("whole")[number].to_edge.extend(&from_device[..len]);
                if edge.write_all(&from_device[..len]).await.is_err() { break }
            }
            read = edge.read(&mut from_edge) => {
                let Ok(len @ 1..) = read else { break };
                let len = len.min(to_device_allowed - to_device);
                to_device += len;
                record.lock().expect("whole")[number].to_device.extend(&from_edge[..len]);
                if device.write_all(&from_edge[..len]).await.is_err() { break }
            }
        }
    }
}

/// What the service carried out, by body; onboardings too.
type Log = Arc<Mutex<BTreeMap<String, usize>>>;

fn executed(log: &Log, body: &str) -> usize {
    log.lock().expect("whole").get(body).copied().unwrap_or(0)
}

const ONBOARDING: &str = r#"{"vendorThingID":"thermostat-17","thingPassword":"thing-pw"}"#;

fn thing_if(log: Log) -> scripted_edge::Function {
    service(move |request: Request<Bytes>| {
        let body = String::from_utf8(request.body().to_vec()).expect("UTF-8");
        let answer = if request.uri().path().ends_with("/onboardings") {
            assert_eq!(body, ONBOARDING, "half a message");
            format!(
                r#"{{"accessToken":"token","thingID":"th.1","mqttEndpoint":{{"installationID":"i","username":"user",
                "password":"pw","mqttTopic":"{CLIENT_ID}","host":"assigned.invalid","portTCP":1883}}}}"#
            )
        } else {
            assert!(body.starts_with("nonce ") && body.ends_with('.'), "half a message: {body:?}");
            body.clone()
        };
        *log.lock().expect("whole").entry(body).or_default() += 1;
        async move { Ok::<_, BoxError>(Response::new(Bytes::from(answer))) }
    })
}

/// What is seen of one life.
struct Seen {
    calls: Vec<(String, Result<(), RequestError>)>,
    pushed: PushOutcome,
    received: Vec<Bytes>,
    log: Log,
    metrics: Metrics,
    wires: Vec<Crossed>,
}

fn config(pipelined: bool) -> Config {
    let identity = Identity::vendor_thing(VendorThingId::new("thermostat-17").expect("valid"), "thing-pw".into());
    let broker = "mqtt://default.invalid".parse().expect("a broker URL");
    Config::new(broker, AppId::new(APP).expect("valid"), "key1".into(), identity)
        .and_then(|config| config.with_connect_attempts(1000))
        .and_then(|config| config.with_backoff(Duration::from_millis(10), Duration::from_millis(40)))
        .expect("in range")
        .with_pipelined_connect(pipelined)
        .with_seed(1)
}

async fn call(client: &Client, nonce: &str) -> Result<(), RequestError> {
    let request = Request::put(format!("/thing-if/apps/{APP}/targets/thing:th.1/states"));
    let request = request.body(Bytes::copy_from_slice(nonce.as_bytes())).expect("a request");
    let answer = client.send(request).await?;
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, nonce.as_bytes()), "another call's answer");
    Ok(())
}

/// The next push, if there is one.
async fn next_push(pushes: &mut Pushes) -> Option<Bytes> {
    match timeout(Duration::from_secs(1), pushes.next()).await.ok()?? {
        Push::Message(payload) => Some(payload),
        other => panic!("{other:?}"),
    }
}

/// Onboards, moves, calls three times, is pushed to once, calls until it is answered, and leaves.
async fn life(cut: Option<Cut>, chunk: usize, pipelined: bool) -> Seen {
    let (log, record, registry) = (Log::default(), Record::default(), Registry::new());
    let edge = Edge::new(thing_if(log.clone()), Scripted, registry.clone(), edge::Config::default());
    let tasks: Arc<Mutex<JoinSet<()>>> = Arc::default();
    let dial = {
        let (record, tasks) = (record.clone(), tasks.clone());
        move || {
            let ((device, near), (far, served)) = (tokio::io::duplex(4096), tokio::io::duplex(4096));
            let address = SocketAddr::from(([127, 0, 0, 1], 1));
            let mut wires = record.lock().expect("whole");
            let number = wires.len();
            wires.push(Crossed::default());
            let mut tasks = tasks.lock().expect("whole");
            tasks.spawn(edge.serve_stream(served, Scheme::Mqtt, address, address));
            tasks.spawn(carry(near, far, number, cut, chunk, record.clone()));
            device
        }
    };
    let (client, mut pushes, connection) =
        client::connect(config(pipelined), ByteNetwork::new(dial)).await.expect("connected");
    let driver: JoinHandle<_> = tokio::spawn(connection.run());
    let mut calls = Vec::new();
    for number in 1..=3 {
        let nonce = format!("nonce {number}.");
        let result = call(&client, &nonce).await;
        calls.push((nonce, result));
    }
    let pushed = registry.push(&ClientId::new(CLIENT_ID).expect("valid"), Bytes::from_static(PUSH.as_bytes())).await;
    let mut received = Vec::from_iter(next_push(&mut pushes).await);
    // Ready again, wherever it was cut: a call that waits for the link fails only if it is itself cut off.
    let waiting = client.waiting_for_link();
    let ready_again = async {
        for number in 4.. {
            let nonce = format!("nonce {number}.");
            let result = call(&waiting, &nonce).await;
            let answered = result.is_ok();
            assert!(answered || matches!(result, Err(RequestError::Disconnected(_))), "{nonce}: {result:?}");
            calls.push((nonce, result));
            if answered {
                return;
            }
        }
    };
    timeout(PATIENCE, ready_again).await.expect("the device is ready again");
    client.close().await;
    driver.await.expect("no panic").expect("closed in order");
    received.extend(next_push(&mut pushes).await);
    drop((client, waiting, pushes));
    let mut running = std::mem::take(&mut *tasks.lock().expect("whole"));
    let ended = async {
        while let Some(task) = running.join_next().await {
            task.expect("no panic")
        }
    };
    timeout(PATIENCE, ended).await.expect("every connection has ended");
    let connections = registry.connections();
    assert_eq!((connections.onboarding, connections.assigned), (0, 0), "connections stay behind");
    let wires = std::mem::take(&mut *record.lock().expect("whole"));
    Seen { calls, pushed, received, log, metrics: registry.metrics(), wires }
}

fn live(cut: Option<Cut>, chunk: usize, pipelined: bool) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(life(cut, chunk, pipelined))
}

/// Where a packet that carries `text` stands in a stream.
fn place_of(stream: &[u8], text: &str) -> Range<usize> {
    let (mut decoder, mut rest) = (Decoder::new(Limits::default()), BytesMut::from(stream));
    loop {
        let start = stream.len() - rest.len();
        match decoder.decode(&mut rest).expect("whole packets") {
            Some(Decoded::Packet(Packet::Publish(publish))) => {
                if String::from_utf8_lossy(&publish.payload).contains(text) {
                    return start..stream.len() - rest.len();
                }
            }
            Some(_) => {}
            None => panic!("{text} is not there"),
        }
    }
}

/// What holds wherever it was cut.
fn check(seen: &Seen) {
    for (nonce, result) in &seen.calls {
        let times = executed(&seen.log, nonce);
        match result {
            Ok(()) => assert_eq!(times, 1, "{nonce} was answered"),
            Err(RequestError::NotSent(NotSent::NotConnected)) => assert_eq!(times, 0, "{nonce} was not sent"),
            Err(RequestError::Disconnected(_)) => assert!(times <= 1, "{nonce} was carried out {times} times"),
            Err(other) => panic!("{nonce}: {other:?}"),
        }
    }
    assert!(seen.received.len() <= 1 && seen.received.iter().all(|push| push == PUSH), "{:?}", seen.received);
    let Metrics { protocol_errors, malformed_frames, slow_consumers, service_failures, refused, .. } = seen.metrics;
    assert_eq!((protocol_errors, malformed_frames, slow_consumers, service_failures, refused), (0, 0, 0, 0, 0));
    let carried_out: usize = seen.log.lock().expect("whole").values().sum();
    assert_eq!(seen.metrics.requests, carried_out as u64, "each request was one that the service saw whole");
}

#[test]
fn one_byte_at_a_time_is_as_good_as_all_at_once() {
    for pipelined in [false, true] {
        compare(&live(None, 4096, pipelined), &live(None, 1, pipelined));
    }
}

fn compare(whole: &Seen, trickled: &Seen) {
    for seen in [whole, trickled] {
        check(seen);
        assert!(seen.calls.iter().all(|(_, result)| result.is_ok()), "{:?}", seen.calls);
        assert_eq!(
            (seen.pushed, &seen.received[..]),
            (PushOutcome::Queued, &[Bytes::from_static(PUSH.as_bytes())][..])
        );
        assert_eq!(seen.wires.len(), 2, "the default broker and the assigned one");
    }
    for (one, other) in whole.wires.iter().zip(&trickled.wires) {
        assert_eq!(one.to_edge, other.to_edge, "equal seeds write equal bytes");
        assert_eq!(one.to_device.len(), other.to_device.len());
    }
}

/// Lives a life for each position in one direction of one connection, on as many threads as there are processors.
fn each_position(
    connection: usize,
    direction: Direction,
    pipelined: bool,
    judge: impl Fn(&Crossed, usize, &Seen) + Sync,
) {
    let whole = live(None, 4096, pipelined).wires.swap_remove(connection);
    let len = match direction {
        ToEdge => whole.to_edge.len(),
        ToDevice => whole.to_device.len(),
    };
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let after = next.fetch_add(1, Ordering::Relaxed);
                    if after > len {
                        break;
                    }
                    let cut = Cut { connection, direction, after };
                    let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        let seen = live(Some(cut), 4096, pipelined);
                        check(&seen);
                        judge(&whole, after, &seen);
                    }));
                    assert!(said.is_ok(), "failed with {cut:?}");
                }
            });
        }
    });
}

/// No call was touched by a cut that came before the first of them.
fn all_answered(seen: &Seen) {
    assert!(seen.calls.iter().all(|(_, result)| result.is_ok()), "{:?}", seen.calls);
    assert_eq!((seen.calls.len(), seen.received.len()), (4, 1));
}

#[test]
fn the_onboarding_request_is_cut_after_every_byte() {
    each_position(0, ToEdge, false, |whole, after, seen| {
        all_answered(seen);
        let request = place_of(&whole.to_edge, "vendorThingID");
        // Whole, it was carried out and its answer had nowhere to go.
        let cut_before_the_end = after < whole.to_edge.len();
        let times = if after == request.end && cut_before_the_end { 2 } else { 1 };
        assert_eq!(executed(&seen.log, ONBOARDING), times, "after {after}");
        // The CONNECT never became whole.
        assert_eq!(seen.metrics.not_connected, u64::from(after < connect_len(&whole.to_edge)), "after {after}");
    });
}

#[test]
fn the_onboarding_answer_is_cut_after_every_byte() {
    each_position(0, ToDevice, false, |whole, after, seen| {
        all_answered(seen);
        let answer = place_of(&whole.to_device, "accessToken");
        let request_was_made = after > answer.start;
        let lost = request_was_made && after < answer.end;
        assert_eq!(executed(&seen.log, ONBOARDING), if lost { 2 } else { 1 }, "after {after}");
    });
}

#[test]
fn the_sessions_requests_are_cut_after_every_byte() {
    each_position(1, ToEdge, false, |whole, after, seen| {
        assert_eq!(executed(&seen.log, ONBOARDING), 1, "the credential is as good as before");
        let mut touched = false;
        for (nonce, result) in &seen.calls[..3] {
            let request = place_of(&whole.to_edge, nonce);
            if request.start < after && after <= request.end {
                touched = true;
                assert!(matches!(result, Err(RequestError::Disconnected(_))), "{nonce} after {after}: {result:?}");
                let times = usize::from(after == request.end);
                assert_eq!(executed(&seen.log, nonce), times, "{nonce} after {after}");
            } else if !touched {
                assert!(result.is_ok(), "{nonce} after {after}: {result:?}");
            }
        }
        assert_eq!(seen.metrics.not_connected, u64::from(after < connect_len(&whole.to_edge)), "after {after}");
    });
}

#[test]
fn the_sessions_answers_are_cut_after_every_byte() {
    each_position(1, ToDevice, false, |whole, after, seen| {
        assert_eq!(executed(&seen.log, ONBOARDING), 1, "the credential is as good as before");
        let mut touched = false;
        for (nonce, result) in &seen.calls[..3] {
            let answer = place_of(&whole.to_device, nonce);
            if answer.start < after && after < answer.end {
                touched = true;
                assert!(matches!(result, Err(RequestError::Disconnected(_))), "{nonce} after {after}: {result:?}");
                assert_eq!(executed(&seen.log, nonce), 1, "{nonce} after {after}");
            } else if !touched && after > answer.start {
                assert!(result.is_ok(), "{nonce} after {after}: {result:?}");
            }
            touched |= after <= answer.start;
        }
        let push = place_of(&whole.to_device, "turnPower");
        if push.start < after {
            assert_eq!(seen.pushed, PushOutcome::Queued, "after {after}");
            assert_eq!(seen.received.len(), usize::from(after >= push.end), "after {after}");
        }
    });
}

/// What follows CONNECT before CONNACK has come may have been carried out wherever the cut is: then it is asked again, once, and
/// not behind CONNECT.
#[test]
fn what_is_written_behind_connect_is_cut_after_every_byte() {
    for (connection, direction) in [(0, ToEdge), (0, ToDevice), (1, ToEdge), (1, ToDevice)] {
        each_position(connection, direction, true, |whole, after, seen| {
            let onboardings = executed(&seen.log, ONBOARDING);
            let answer_lost = match (connection, direction) {
                (0, ToEdge) => after == place_of(&whole.to_edge, "vendorThingID").end,
                (0, ToDevice) => after < place_of(&whole.to_device, "accessToken").end,
                _ => false,
            };
            let expected = if answer_lost { 1..=2 } else { 1..=1 };
            assert!(expected.contains(&onboardings), "{onboardings} onboardings after {after}");
            let calls_begin = match (connection, direction) {
                (1, ToEdge) => place_of(&whole.to_edge, "nonce 1.").start,
                (1, ToDevice) => place_of(&whole.to_device, "nonce 1.").start,
                _ => usize::MAX,
            };
            if after < calls_begin {
                all_answered(seen);
            }
            assert!(seen.metrics.not_connected <= 1, "each but the one that was cut is whole");
        });
    }
}

/// How many bytes the CONNECT has.
fn connect_len(stream: &[u8]) -> usize {
    let (mut decoder, mut rest) = (Decoder::new(Limits::default()), BytesMut::from(stream));
    assert!(matches!(decoder.decode(&mut rest), Ok(Some(Decoded::Packet(Packet::Connect(_))))));
    stream.len() - rest.len()
}
