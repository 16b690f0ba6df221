//! What the Paho C library would read of a proxy in the environment. Proxies themselves are tested for every transport, in
//! `transports`. In a process of its own.
#![cfg(feature = "paho")]

#[path = "support/connect_proxy.rs"]
mod connect_proxy;
#[path = "support/mqtt_broker.rs"]
mod mqtt_broker;
#[path = "support/subprocess.rs"]
mod subprocess;

use std::time::Duration;

use connect_proxy::{ConnectProxy, Manners};
use mqtt_broker::Broker;
use subprocess::isolated;
use thingif::ids::ClientId;
use thingif::mqtt::{Credentials, Endpoint, LinkError, LinkErrorKind, Publish, Scheme};
use thingif::topic::Topic;
use thingif::transport::paho::{Options, Paho};
use thingif::transport::{ConnectOptions, Link, LinkEvent, Transport, next_event};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(200);

/// Runs `story` in a process of its own.
fn alone(name: &str, env: &[(&str, &str)], story: impl Future<Output = ()>) {
    let body = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(story);
    };
    if let Some(ended) = isolated(name, LIMIT, env, body) {
        ended.succeeded();
    }
}

fn through(proxy: &str) -> Paho {
    let mut options = Options::default();
    options.proxy = Some(proxy.parse().expect("a proxy's URL"));
    Paho::new(options).expect("usable options")
}

async fn connect(transport: &Paho, endpoint: &Endpoint) -> Result<Box<dyn Link>, LinkError> {
    let id = ClientId::new("device-1").expect("valid");
    let credentials = Credentials { client_id: id, username: "ann".into(), password: "pw".into() };
    let mut options = ConnectOptions::default();
    options.timeout = PATIENCE;
    transport.connect(endpoint, &credentials, &options).await
}

async fn event(link: &mut Box<dyn Link>) -> LinkEvent {
    timeout(PATIENCE, next_event(link.as_mut())).await.expect("an event")
}

async fn round_trips(link: &mut Box<dyn Link>, payload: &str) {
    let call = Publish::new(Topic::new("p/device-1/x").expect("valid"), payload.to_owned());
    for _ in 0..20 {
        link.publish(call.clone()).expect("room");
        assert_eq!(event(link).await, LinkEvent::Received(call.clone()));
    }
}

#[test]
fn the_environment_is_never_asked_in_silence() {
    let proxies = [("PAHO_C_CLIENT_USE_HTTP_PROXY", "TRUE"), ("http_proxy", "http://user:s3cret@127.0.0.1:1")];
    alone("the_environment_is_never_asked_in_silence", &proxies, async {
        let broker = Broker::start(Scheme::Mqtt, None, mqtt_broker::Manners::default()).await;
        let endpoint = broker.endpoint_at("broker.invalid");
        let direct = broker.endpoint();
        let paho = Paho::new(Options::default()).expect("usable options");
        let error = connect(&paho, &direct).await.map(drop).expect_err("not in silence");
        assert_eq!(error.kind(), LinkErrorKind::Config, "{error}");
        assert!(error.to_string().contains("--proxy") && !error.to_string().contains("s3cret"), "{error}");
        assert_eq!(broker.connects(), 0);
        // A proxy of the program's own is taken instead.
        let proxy = ConnectProxy::start(Manners::Open).await;
        let mut link = connect(&through(&proxy.url()), &endpoint).await.expect("admitted");
        round_trips(&mut link, "GET\r\n\r\n").await;
    });
}
