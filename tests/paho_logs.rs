//! No password and no payload reaches the trace of the Paho C library. Loggers are tested for every transport, in `transports`.
#![cfg(feature = "paho")]

#[path = "support/mqtt_broker.rs"]
mod mqtt_broker;
#[path = "support/subprocess.rs"]
mod subprocess;

use std::time::Duration;

use mqtt_broker::{Broker, Manners};
use subprocess::isolated;
use thingif::ids::ClientId;
use thingif::mqtt::{Credentials, Publish, Scheme};
use thingif::topic::{Topic, TopicFilter};
use thingif::transport::paho::{Options, Paho};
use thingif::transport::{ConnectOptions, LinkEvent, Transport, next_event};
use tokio::time::timeout;

const PASSWORD: &str = "pw-Zq7";
const PAYLOAD: &str = "tk-Xv9 and more of it";
const LIMIT: Duration = Duration::from_secs(120);

/// Connects with the password, says and hears the payload, subscribes, closes.
async fn use_a_link() {
    let broker = Broker::start(Scheme::Mqtt, None, Manners { pushes: 1, ..Manners::default() }).await;
    let credentials =
        Credentials { client_id: ClientId::anonymous(), username: "ann".into(), password: PASSWORD.into() };
    let transport = Paho::new(Options::default()).expect("usable options");
    let mut link = transport
        .connect(&broker.endpoint(), &credentials, &ConnectOptions::default())
        .await
        .expect("the broker accepts");
    let call = Publish::new(Topic::new("p/anonymous/x").expect("valid"), PAYLOAD);
    for _ in 0..20 {
        link.publish(call.clone()).expect("room");
        let heard = timeout(LIMIT, next_event(link.as_mut())).await.expect("answered");
        assert_eq!(heard, LinkEvent::Received(call.clone()));
    }
    link.subscribe(TopicFilter::new("anonymous").expect("valid")).expect("room");
    timeout(LIMIT, next_event(link.as_mut())).await.expect("SUBACK");
    timeout(LIMIT, link.close()).await.expect("closes");
    let connect = broker.seen.connects.lock().expect("no panic")[0].clone();
    assert_eq!(connect.password.as_deref(), Some(PASSWORD.as_bytes()), "the password was on the wire");
}

/// The secrets in every form that `Debug` has for them.
fn shown(text: &str) -> Vec<String> {
    [PASSWORD, &PAYLOAD[..6]]
        .iter()
        .flat_map(|secret| {
            let bytes = format!("{:?}", secret.as_bytes());
            let hex: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
            [(*secret).to_owned(), bytes.trim_matches(['[', ']']).to_owned(), hex]
        })
        .filter(|form| text.contains(form.as_str()))
        .collect()
}

fn run() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(use_a_link());
}

#[test]
fn the_trace_that_the_environment_asks_for_shows_no_payload() {
    let name = "the_trace_that_the_environment_asks_for_shows_no_payload";
    for level in ["PROTOCOL", "MAXIMUM"] {
        let env = [("MQTT_C_CLIENT_TRACE", "ON"), ("MQTT_C_CLIENT_TRACE_LEVEL", level), ("RUST_LOG", "trace")];
        if let Some(ended) = isolated(name, LIMIT, &env, run) {
            assert!(ended.status.success(), "{ended:?}");
            assert_eq!(shown(&ended.stdout), Vec::<String>::new(), "{}", ended.stdout);
            assert_eq!(shown(&ended.stderr), Vec::<String>::new(), "{}", ended.stderr);
            assert!(!ended.stdout.contains("PUBLISH"), "no trace on stdout: {}", ended.stdout);
        }
    }
}
