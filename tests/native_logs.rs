//! Nothing secret reaches a logger that listens to nothing but the WebSocket's frames. Loggers that listen to everything are
//! tested for every transport, in `transports`.
//!
//! In a program of its own: there is one logger in a process.
#![cfg(feature = "native")]

#[path = "support/mqtt_broker.rs"]
mod mqtt_broker;

use std::sync::{Mutex, OnceLock};
use std::thread::ThreadId;
use std::time::Duration;

use mqtt_broker::{Broker, Manners};
use thingif::ids::ClientId;
use thingif::mqtt::{Credentials, Publish, Scheme};
use thingif::topic::Topic;
use thingif::transport::native::{Native, Options};
use thingif::transport::{ConnectOptions, LinkEvent, Transport, next_event};
use tokio::time::timeout;

const PASSWORD: &str = "pw-Zq7";
const PAYLOAD: &str = "tk-Xv9 and more of it";
const LIMIT: Duration = Duration::from_secs(120);
const TARGET: &str = "tungstenite::protocol::frame";

/// The thread whose words count: the broker logs with the same crate, on another one.
static DEVICE: OnceLock<ThreadId> = OnceLock::new();
static HEARD: Mutex<String> = Mutex::new(String::new());

struct Frames;

impl log::Log for Frames {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }
    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) && DEVICE.get() == Some(&std::thread::current().id()) {
            HEARD.lock().expect("no panic").push_str(&record.args().to_string());
        }
    }
    fn flush(&self) {}
}

#[tokio::test]
async fn who_listens_to_frames_alone_hears_no_secret() {
    DEVICE.set(std::thread::current().id()).expect("once");
    log::set_logger(&Frames).expect("the only one");
    log::set_max_level(log::LevelFilter::Trace);
    let (tell, endpoint) = tokio::sync::oneshot::channel();
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let broker = Broker::start(Scheme::Ws, None, Manners::default()).await;
            drop(tell.send(broker.endpoint()));
            std::future::pending::<()>().await;
        });
    });
    let endpoint = endpoint.await.expect("a broker");
    log::trace!(target: TARGET, "listening");
    let credentials =
        Credentials { client_id: ClientId::anonymous(), username: "ann".into(), password: PASSWORD.into() };
    let transport = Native::new(Options::default()).expect("usable options");
    let mut link = transport.connect(&endpoint, &credentials, &ConnectOptions::default()).await.expect("accepted");
    let call = Publish::new(Topic::new("p/anonymous/x").expect("valid"), PAYLOAD);
    link.publish(call.clone()).expect("room");
    let heard = timeout(LIMIT, next_event(link.as_mut())).await.expect("answered");
    assert_eq!(heard, LinkEvent::Received(call));
    timeout(LIMIT, link.close()).await.expect("closes");
    assert_eq!(log::max_level(), log::LevelFilter::Trace, "it is put back");
    let heard = HEARD.lock().expect("no panic").clone();
    assert!(heard.starts_with("listening"), "{heard}");
    for secret in [PASSWORD, &PAYLOAD[..6]] {
        let hex: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
        assert!(!heard.contains(secret) && !heard.contains(&hex), "{secret} in {heard}");
    }
}
