//! No password and no payload reaches a log, at any level, whatever logger listens.

use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};
use thingif::ids::ClientId;
use thingif::mqtt::{Credentials, Publish, Scheme};
use thingif::topic::{Topic, TopicFilter};
use thingif::transport::{ConnectOptions, LinkEvent, Tls, Transport as _, next_event};
use tokio::time::timeout;

use super::{LIMIT, kind, transport};
use crate::certificates::Authority;
use crate::mqtt_broker::{Broker, Manners};

const PASSWORD: &str = "pw-Zq7";
const PAYLOAD: &str = "tk-Xv9 and more of it";

/// Takes everything.
struct Collector(Mutex<Vec<String>>);

static COLLECTED: Collector = Collector(Mutex::new(Vec::new()));

impl Log for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {} {}", record.level(), record.target(), record.args());
        self.0.lock().expect("no panic").push(line);
    }

    fn flush(&self) {}
}

/// Brokers of every scheme. They live in another process than the transport: the library that is their WebSocket would log what
/// it says.
struct Brokers {
    authority: Authority,
    brokers: Vec<Broker>,
}

impl Brokers {
    async fn start() -> Self {
        let authority = Authority::new();
        let mut brokers = Vec::new();
        for scheme in Scheme::ALL {
            let tls = scheme.is_tls().then(|| authority.issue("localhost").server(None));
            brokers.push(Broker::start(scheme, tls, Manners { pushes: 1, ..Manners::default() }).await);
        }
        Self { authority, brokers }
    }

    fn urls(&self) -> String {
        let urls: Vec<String> = self.brokers.iter().map(|broker| broker.endpoint_at("localhost").to_string()).collect();
        urls.join(" ")
    }
}

/// Connects with the password, says and hears the payload, subscribes, closes.
async fn use_a_link(broker: &str, ca_file: &str) {
    let credentials =
        Credentials { client_id: ClientId::anonymous(), username: "ann".into(), password: PASSWORD.into() };
    let transport = transport(Tls { ca_file: Some(ca_file.into()), ..Tls::default() }, None);
    let endpoint = broker.parse().expect("a broker's URL");
    let mut link =
        transport.connect(&endpoint, &credentials, &ConnectOptions::default()).await.expect("the broker accepts");
    let call = Publish::new(Topic::new("p/anonymous/x").expect("valid"), PAYLOAD);
    for _ in 0..20 {
        link.publish(call.clone()).expect("room");
        let heard = timeout(LIMIT, next_event(link.as_mut())).await.expect("answered");
        assert_eq!(heard, LinkEvent::Received(call.clone()));
    }
    link.subscribe(TopicFilter::new("anonymous").expect("valid")).expect("room");
    timeout(LIMIT, next_event(link.as_mut())).await.expect("SUBACK");
    timeout(LIMIT, link.close()).await.expect("closes");
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

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Where the brokers are, and the file with their authority.
const BROKERS: &str = "THINGIF_TEST_BROKERS";
const CA_FILE: &str = "THINGIF_TEST_CA_FILE";

#[test]
fn a_logger_that_takes_everything_gets_no_secret() {
    let name = "a_logger_that_takes_everything_gets_no_secret";
    let body = || {
        let given = |name| std::env::var(name).expect("given by the parent");
        log::set_logger(&COLLECTED).expect("the only logger");
        log::set_max_level(LevelFilter::Trace);
        for broker in given(BROKERS).split(' ') {
            runtime().block_on(use_a_link(broker, &given(CA_FILE)));
        }
        assert_eq!(log::max_level(), LevelFilter::Trace, "the level is as it was");
        let lines = COLLECTED.0.lock().expect("no panic");
        let target = if kind().name() == "paho" { "DEBUG paho_mqtt" } else { "TRACE rustls" };
        assert!(lines.iter().any(|line| line.starts_with(target)), "harmless records are collected");
        let all = lines.join("\n");
        assert_eq!(shown(&all), Vec::<String>::new(), "{all}");
    };
    if std::env::var(BROKERS).is_ok() {
        super::in_a_process("logs", name, &[], body);
        return;
    }
    let runtime = runtime();
    let brokers = runtime.block_on(Brokers::start());
    let env = [(BROKERS, brokers.urls()), (CA_FILE, brokers.authority.file.display().to_string())];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    super::in_a_process("logs", name, &env, body).expect("this is the parent").succeeded();
    for broker in &brokers.brokers {
        let connect = broker.seen.connects.lock().expect("no panic")[0].clone();
        assert_eq!(connect.password.as_deref(), Some(PASSWORD.as_bytes()), "the password was on the wire");
    }
}
