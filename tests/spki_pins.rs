//! Pins of keys: a transport that can check them is told of them, and one that cannot says so before anything is sent.
#![cfg(feature = "client")]

mod device;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use thingif::capture::{Header, Writer};
use thingif::client::vault::MemoryVault;
use thingif::client::{self, ConnectError};
use thingif::config::{Config, ConfigError};
use thingif::mqtt::{Credentials, Endpoint, LinkError, LinkErrorKind, Scheme, SpkiPin};
use thingif::transport::fault::{Fault, FaultPlan};
use thingif::transport::memory::{self, Network};
use thingif::transport::record::Record;
use thingif::transport::{BoxFuture, Capabilities, ConnectOptions, Link, Transport};

use device::brokers::assigned;
use device::config;

fn pin(byte: u8) -> SpkiPin {
    SpkiPin::new([byte; 32])
}

/// Over TLS to both brokers, with two pins.
fn pinned() -> Config {
    let identity = config().identity().clone();
    let broker = "mqtts://default.invalid".parse().expect("a broker URL");
    Config::new(broker, config().app_id().clone(), "key".into(), identity)
        .and_then(|config| config.with_spki_pins([pin(1), pin(2)]))
        .expect("valid")
}

/// Checks pins against the key that a script gives each broker.
#[derive(Clone)]
struct Checking {
    network: Network,
    key: SpkiPin,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// Where a connection was to go, and with which pins.
type Asked = (Endpoint, Vec<SpkiPin>);

impl Transport for Checking {
    fn connect<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        credentials: &'a Credentials,
        options: &'a ConnectOptions,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LinkError>> {
        self.asked.lock().expect("no panic").push((endpoint.clone(), options.spki_pins.clone()));
        let mut unpinned = options.clone();
        unpinned.spki_pins.clear();
        Box::pin(async move {
            if !options.spki_pins.contains(&self.key) {
                return Err(LinkError::new(LinkErrorKind::Tls, "another key"));
            }
            self.network.connect(endpoint, credentials, &unpinned).await
        })
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.spki_pins = true;
        capabilities
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_can_is_given_the_pins_for_both_brokers() {
    let (network, mut broker) = memory::network();
    let transport = Checking { network, key: pin(2), asked: Arc::default() };
    let config = pinned().with_assigned_scheme(Scheme::Wss);
    let body = device::onboarding_body(1).replace("\"portTCP\":1883", "\"portWSS\":12473");
    let (connected, _link) = tokio::join!(client::connect(config, transport.clone()), async {
        let mut link = broker.accept().await.expect("somebody connects").accept();
        let Some(memory::FromDevice::Publish(request)) = link.next().await else { panic!("expected the onboarding") };
        link.publish(device::answer(&request, &http::Response::new(body.into()))).expect("the device listens");
        while link.next().await.is_some() {}
        assigned(&mut broker).await
    });
    drop(connected.expect("both have the key of a pin"));
    let asked = transport.asked.lock().expect("no panic").clone();
    let schemes: Vec<_> = asked.iter().map(|(endpoint, pins)| (endpoint.scheme, pins.clone())).collect();
    assert_eq!(schemes, [(Scheme::Mqtts, vec![pin(1), pin(2)]), (Scheme::Wss, vec![pin(1), pin(2)])]);

    let other = Checking { key: pin(3), ..transport };
    let error = client::connect(pinned(), other).await.map(drop).expect_err("another key");
    assert_eq!(error.link_error().map(LinkError::kind), Some(LinkErrorKind::Tls), "{error:?}");
}

/// Counts connects, and can do nothing special.
#[derive(Clone, Default)]
struct Plain(Arc<AtomicUsize>);

impl Transport for Plain {
    fn connect<'a>(
        &'a self,
        _: &'a Endpoint,
        _: &'a Credentials,
        _: &'a ConnectOptions,
    ) -> BoxFuture<'a, Result<Box<dyn Link>, LinkError>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Err(LinkErrorKind::Tcp.into()) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_cannot_is_not_even_asked() {
    let plain = Plain::default();
    let failures = [
        client::connect(pinned(), plain.clone()).await.map(drop),
        client::connect_with(pinned(), plain.clone(), MemoryVault::new()).await.map(drop),
        client::onboard(&pinned(), &plain).await.map(drop),
        client::onboard_with(&pinned(), &plain, MemoryVault::new()).await.map(drop),
    ];
    for failure in failures {
        let error = failure.expect_err("pins would be ignored");
        assert_eq!(error, ConnectError::Config(ConfigError::PinsNotChecked));
        let said = std::error::Error::source(&error).expect("the reason").to_string();
        assert!(said.contains("CA file"), "it says what to do: {said}");
    }
    assert_eq!(plain.0.load(Ordering::SeqCst), 0, "before any packet");
    // With the pins in its own hands it refuses as well.
    let (network, _broker) = memory::network();
    let mut options = ConnectOptions::default();
    options.spki_pins = vec![pin(1)];
    let credentials = Credentials::anonymous(config().app_id(), &"key".into());
    let error = network.connect(pinned().broker(), &credentials, &options).await.map(drop).expect_err("not in silence");
    assert_eq!(error.kind(), LinkErrorKind::Config);
}

#[tokio::test(start_paused = true)]
async fn pins_need_tls_on_both_ways() {
    let (network, _broker) = memory::network();
    let transport = Checking { network, key: pin(1), asked: Arc::default() };
    let plain = config().with_spki_pins([pin(1)]).expect("few");
    let half = pinned().with_assigned_scheme(Scheme::Ws);
    for (config, scheme) in [(plain, Scheme::Mqtt), (half, Scheme::Ws)] {
        let error = client::connect(config, transport.clone()).await.map(drop).expect_err("no key to check");
        assert_eq!(error, ConnectError::Config(ConfigError::PinsWithoutTls(scheme)));
    }
    assert!(transport.asked.lock().expect("no panic").is_empty());
    assert!(config().with_spki_pins((0..65).map(pin)).is_err());
}

#[tokio::test(start_paused = true)]
async fn wrappers_can_what_they_wrap_can() {
    let (network, mut broker) = memory::network();
    assert!(!network.capabilities().spki_pins, "there is no key in memory");
    let checking = Checking { network, key: pin(1), asked: Arc::default() };
    let writer = || Writer::new(Vec::new(), &Header::new("hand-made")).expect("a Vec");
    assert!(Box::new(checking.clone()).capabilities().spki_pins);
    assert!(Record::new(checking.clone(), writer()).capabilities().spki_pins);
    assert!(!Record::new(Plain::default(), writer()).capabilities().spki_pins);
    let wrapped: Arc<dyn Transport> = Arc::new(Fault::new(Record::new(checking, writer()), FaultPlan::new(1)));
    assert!(wrapped.capabilities().spki_pins);
    // And hand on what they are given.
    let config = pinned().with_assigned_scheme(Scheme::Mqtts);
    let body = |generation| device::onboarding_body(generation).replace("\"portTCP\":1883", "\"portSSL\":8883");
    let (onboarded, ()) = tokio::join!(client::onboard(&config, &wrapped), async {
        let mut link = broker.accept().await.expect("somebody connects").accept();
        let Some(memory::FromDevice::Publish(request)) = link.next().await else { panic!("expected the onboarding") };
        link.publish(device::answer(&request, &http::Response::new(body(1).into()))).expect("the device listens");
        while link.next().await.is_some() {}
    });
    onboarded.expect("the key of a pin");
}

#[cfg(feature = "paho")]
#[tokio::test]
async fn paho_says_at_once_that_it_cannot() {
    use thingif::transport::paho::{Options, Paho};
    let paho = Paho::new(Options::default()).expect("usable options");
    assert!(!paho.capabilities().spki_pins);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let broker = Endpoint::new(Scheme::Mqtts, "127.0.0.1", port).expect("valid");
    let config = Config::new(broker.clone(), config().app_id().clone(), "key".into(), config().identity().clone())
        .and_then(|config| config.with_spki_pins([pin(1)]))
        .expect("valid");
    let error = client::connect(config.clone(), paho.clone()).await.map(drop).expect_err("it cannot");
    assert_eq!(error, ConnectError::Config(ConfigError::PinsNotChecked));
    let mut options = ConnectOptions::default();
    options.spki_pins = config.spki_pins().to_vec();
    let credentials = Credentials::anonymous(config.app_id(), config.app_key());
    let error = paho.connect(&broker, &credentials, &options).await.map(drop).expect_err("it cannot");
    assert_eq!(error.kind(), LinkErrorKind::Config);
    let nobody = tokio::time::timeout(std::time::Duration::from_millis(100), listener.accept()).await;
    assert!(nobody.is_err(), "not even a TCP connection was made");
}
