//! How many flights of packets a cold start takes, which is what it costs where the network is slow: counted between the native
//! transport and this crate's edge, over TCP, TLS, WebSocket and WebSocket over TLS.
//!
//! A flight is what one end writes before it must hear from the other. The TCP handshake is one more round trip for each
//! connection; nobody can save that.
#![cfg(all(feature = "native-tls", feature = "edge"))]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "support/scripted_edge.rs"]
mod scripted_edge;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use certificates::Authority;
use http::{Request, Response};
use scripted_edge::{APP, BoxError, Scripted, service};
use thingif::client::{self, Notice};
use thingif::config::{Config, Identity};
use thingif::edge::{Config as EdgeConfig, Edge, Listeners, Registry};
use thingif::mqtt::Scheme;
use thingif::thing_if::Credential;
use thingif::transport::native::{Native, Options};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(120);

/// What one end writes in pieces within this time is one flight. Nothing waits for less than an answer, which takes as long
/// twice.
const HOLD: Duration = Duration::from_millis(150);

/// Flights from the device, by connection, in the order of the connections.
type Flights = Arc<Mutex<Vec<Arc<AtomicUsize>>>>;

fn flights(counted: &Flights, connection: usize) -> usize {
    let counted = counted.lock().expect("no panic");
    counted.get(connection).map_or(0, |flights| flights.load(Ordering::SeqCst))
}

/// Everything that is readable, and what comes within [`HOLD`]. `None` at the end.
async fn flight(from: &TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        from.readable().await.ok()?;
        match from.try_read_buf(&mut bytes) {
            Ok(0) => return None,
            Ok(_) => break,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
    sleep(HOLD).await;
    while matches!(from.try_read_buf(&mut bytes), Ok(1..)) {}
    Some(bytes)
}

async fn carry(mut device: TcpStream, mut edge: TcpStream, counted: Arc<AtomicUsize>) {
    loop {
        tokio::select! {
            bytes = flight(&device) => {
                let Some(bytes) = bytes else { return };
                counted.fetch_add(1, Ordering::SeqCst);
                if edge.write_all(&bytes).await.is_err() { return }
            }
            bytes = flight(&edge) => {
                let Some(bytes) = bytes else { return };
                if device.write_all(&bytes).await.is_err() { return }
            }
        }
    }
}

/// A delaying way to `edge`. Its port.
async fn delay(edge: u16, counted: Flights) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((device, _)) = listener.accept().await {
            let mine = Arc::new(AtomicUsize::new(0));
            counted.lock().expect("no panic").push(Arc::clone(&mine));
            let edge = TcpStream::connect(("127.0.0.1", edge)).await.expect("the edge listens");
            let _ = (device.set_nodelay(true), edge.set_nodelay(true));
            tokio::spawn(carry(device, edge, mine));
        }
    });
    port
}

/// Flights until the onboarding request has come, until ready, and until the first call has come; the last two of the assigned
/// broker's connection alone.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    onboarding: usize,
    ready: usize,
    call: usize,
}

async fn cold_start(scheme: Scheme, pipelined: bool, stored: bool, early: bool) -> Cost {
    let counted = Flights::default();
    let (onboarding, call) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = delay(listener.local_addr().expect("bound").port(), Arc::clone(&counted)).await;
    let endpoint = format!(
        r#""accessToken":"token","thingID":"th.1","mqttEndpoint":{{"installationID":"i","username":"user","password":"pw",
        "mqttTopic":"me","host":"localhost","portTCP":{port},"portSSL":{port},"portWS":{port},"portWSS":{port}}}}}"#
    );
    let connection = usize::from(!stored);
    let service = {
        let (counted, onboarding, call) = (Arc::clone(&counted), Arc::clone(&onboarding), Arc::clone(&call));
        let answer = format!("{{{endpoint}");
        service(move |request: Request<Bytes>| {
            let body = if request.uri().path().ends_with("/onboardings") {
                onboarding.store(flights(&counted, 0), Ordering::SeqCst);
                answer.clone()
            } else {
                call.store(flights(&counted, connection), Ordering::SeqCst);
                String::new()
            };
            async move { Ok::<_, BoxError>(Response::new(body.into())) }
        })
    };
    let authority = Authority::new();
    let tls = scheme.is_tls().then(|| authority.issue("localhost").server(None));
    let mut listeners = Listeners { tls, ..Listeners::default() };
    let place = match scheme {
        Scheme::Mqtt => &mut listeners.mqtt,
        Scheme::Mqtts => &mut listeners.mqtts,
        Scheme::Ws => &mut listeners.ws,
        Scheme::Wss => &mut listeners.wss,
    };
    *place = Some(listener);
    let edge = Edge::new(service, Scripted, Registry::new(), EdgeConfig::default());
    tokio::spawn(edge.run(listeners, std::future::pending::<()>()));

    let identity = Identity::vendor_thing("lamp".parse().expect("valid"), "pw".into());
    let broker = format!("{scheme}://localhost:{port}").parse().expect("a broker");
    let mut config = Config::new(broker, APP.parse().expect("valid"), "key1".into(), identity)
        .and_then(|config| config.with_connect_timeout(PATIENCE))
        .and_then(|config| config.with_call_deadline(PATIENCE))
        .expect("in range")
        .with_pipelined_connect(pipelined);
    if stored {
        let credential = Credential::from_json(format!(r#"{{"appID":"{APP}",{endpoint}"#)).expect("complete");
        config = config.with_resume(credential);
    }
    let mut options = Options::default();
    options.tls.ca_file = Some(authority.file.clone());
    let native = Native::new(options).expect("usable options");
    let (client, _pushes, mut run) = if early {
        client::start(config, native).expect("started")
    } else {
        client::connect(config, native).await.expect("connected")
    };
    let mut ready = flights(&counted, connection);
    let mut notices = run.notices();
    let run = tokio::spawn(run.run());
    let thing = client.onboarded().await.expect("onboarded").thing_id;
    let request = Request::get(format!("/thing-if/apps/{APP}/targets/thing:{thing}/states"));
    client.send(request.body(Bytes::new()).expect("a request")).await.expect("answered");
    if early {
        while !matches!(notices.next().await.expect("it goes on"), Notice::Ready { .. }) {}
        ready = flights(&counted, connection);
    }
    assert_eq!(counted.lock().expect("no panic").len(), connection + 1, "one connection to each broker");
    run.abort();
    Cost { onboarding: onboarding.load(Ordering::SeqCst), ready, call: call.load(Ordering::SeqCst) }
}

/// Flights that TLS 1.3 and the upgrade take before CONNECT can be written.
fn below_mqtt(scheme: Scheme) -> usize {
    usize::from(scheme.is_tls()) + usize::from(scheme.is_websocket())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_start_takes_no_more_flights_than_mqtt_allows() {
    let mut cases = JoinSet::new();
    for scheme in Scheme::ALL {
        for (pipelined, stored, early) in [
            (true, false, false),
            (true, true, false),
            (false, false, false),
            (false, true, false),
            (true, false, true),
            (true, true, true),
            (false, false, true),
            (false, true, true),
        ] {
            cases.spawn(async move {
                let cost = timeout(PATIENCE, cold_start(scheme, pipelined, stored, early)).await.expect("in time");
                // CONNECT and what follows it are one flight; without pipelining CONNACK is waited for at each broker.
                let waits = usize::from(!pipelined);
                let first = below_mqtt(scheme) + 1 + waits;
                let onboarding = if stored { 0 } else { first };
                // A call that does not wait for Ready leaves with SUBSCRIBE.
                let call = if early { first } else { first + 1 };
                let expected = Cost { onboarding, ready: first, call };
                assert_eq!(cost, expected, "{scheme}, pipelined {pipelined}, stored {stored}, early {early}");
            });
        }
    }
    while let Some(case) = cases.join_next().await {
        case.expect("as many as expected");
    }
}
