//! What may happen to a device. The transport's name is this module's.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use thingif::client::vault::{FileVault, VaultKey};
use thingif::client::{self, Cause, Client, ConnectError, Notice, Notices, OnboardingError, Pushes};
use thingif::cloud::{Advertise, Cloud, Location};
use thingif::config::{Config, Identity};
use thingif::edge::{Config as EdgeConfig, Edge, Listeners, Registry};
use thingif::ids::VendorThingId;
use thingif::mqtt::Scheme;
use thingif::transport::Transport;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;

use crate::certificates::Authority;
use crate::cloud_support::{self, APP, KEY, Served, basic, onboard, options, user};
use crate::support::Kind;

/// Longer than anything takes on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);
const MILLISECOND: Duration = Duration::from_millis(1);

/// An edge and a cloud, as `serve` puts them together. Its MQTT port is its own; devices find it by the answer of their
/// onboarding.
struct Service {
    scheme: Scheme,
    authority: Authority,
    mqtt: SocketAddr,
    served: Served,
    registry: Registry,
    stop: oneshot::Sender<()>,
    edge: JoinHandle<std::io::Result<()>>,
}

impl Service {
    async fn start(store: Location) -> Self {
        Self::start_over(Scheme::Mqtt, store).await
    }

    async fn start_over(scheme: Scheme, store: Location) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mqtt = listener.local_addr().expect("bound");
        let authority = Authority::new();
        let (mut listeners, mut advertise) = (Listeners::default(), Advertise::default());
        let (listens, port) = match scheme {
            Scheme::Mqtt => (&mut listeners.mqtt, &mut advertise.tcp),
            Scheme::Mqtts => (&mut listeners.mqtts, &mut advertise.ssl),
            Scheme::Ws => (&mut listeners.ws, &mut advertise.ws),
            Scheme::Wss => (&mut listeners.wss, &mut advertise.wss),
        };
        (*listens, *port) = (Some(listener), Some(mqtt.port()));
        listeners.tls = scheme.is_tls().then(|| authority.issue("127.0.0.1").server(None));
        let mut options = options();
        (options.store, options.advertise) = (store, advertise);
        let registry = Registry::new();
        let cloud = Cloud::open(options, Arc::new(registry.clone())).expect("opens");
        let edge = Edge::new(cloud.service(), cloud.clone(), registry.clone(), EdgeConfig::default());
        let (stop, stopped) = oneshot::channel();
        let edge = tokio::spawn(edge.run(listeners, stopped));
        Self { scheme, authority, mqtt, served: Served::start(cloud).await, registry, stop, edge }
    }

    /// A transport that trusts it.
    fn transport(&self) -> Arc<dyn Transport> {
        kind().trusting(Some(&self.authority.file))
    }

    async fn stop(self) {
        self.stop.send(()).expect("running");
        self.edge.await.expect("no panic").expect("served");
        self.served.stop().await;
    }

    /// An owner who deletes `path` below the application.
    async fn delete(&self, path: &str, token: &str) {
        let answer = self.served.http.call("DELETE", &format!("/api/apps/{APP}/{path}"), token, "").await;
        assert_eq!(answer.status, 204, "{answer:?}");
    }
}

/// The default broker's address, which stays while what is behind it moves.
struct FrontDoor {
    address: SocketAddr,
    behind: watch::Sender<Option<SocketAddr>>,
    task: AbortHandle,
}

impl FrontDoor {
    async fn to(service: &Service) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (behind, target) = watch::channel(Some(service.mqtt));
        let task = tokio::spawn(async move {
            while let Ok((mut device, _)) = listener.accept().await {
                let Some(target) = *target.borrow() else { continue };
                tokio::spawn(async move {
                    if let Ok(mut broker) = TcpStream::connect(target).await {
                        let _ = copy_bidirectional(&mut device, &mut broker).await;
                    }
                });
            }
        });
        Self { address, behind, task: task.abort_handle() }
    }

    fn leads_to(&self, service: &Service) {
        self.behind.send(Some(service.mqtt)).expect("the door is open");
    }

    fn leads_nowhere(&self) {
        self.behind.send(None).expect("the door is open");
    }
}

impl Drop for FrontDoor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn config(broker: SocketAddr, vendor: &str, password: &str, app_key: &str) -> Config {
    config_over(Scheme::Mqtt, broker, vendor, password, app_key)
}

fn config_over(scheme: Scheme, broker: SocketAddr, vendor: &str, password: &str, app_key: &str) -> Config {
    let identity = Identity::vendor_thing(VendorThingId::new(vendor).expect("valid"), password.into());
    let broker = format!("{scheme}://{broker}").parse().expect("an address");
    Config::new(broker, APP.parse().expect("valid"), app_key.into(), identity)
        .and_then(|config| config.with_backoff(50 * MILLISECOND, 400 * MILLISECOND))
        .and_then(|config| config.with_connect_timeout(Duration::from_secs(20)))
        .and_then(|config| config.with_call_deadline(Duration::from_secs(20)))
        .and_then(|config| config.with_reonboard_after(3))
        .and_then(|config| config.with_refusal_pause(Duration::from_secs(1)))
        .expect("in range")
}

/// A connected device, and what happens to it.
struct Device {
    client: Client,
    notices: Notices,
    _pushes: Pushes,
    run: JoinHandle<Result<(), ConnectError>>,
}

fn kind() -> Kind {
    let name = module_path!().rsplit("::").next().expect("a module");
    Kind::named(name).expect("it is called as its transport is")
}

fn transport() -> Arc<dyn Transport> {
    kind().trusting(None)
}

impl Device {
    async fn connect(config: Config) -> Self {
        Self::of(client::connect(config, transport()).await)
    }

    async fn connect_with_vault(config: Config, directory: &Path) -> Self {
        let vault = FileVault::open(directory).expect("a vault");
        Self::of(client::connect_with(config, transport(), vault).await)
    }

    fn of(connected: Result<(Client, Pushes, client::Connection), ConnectError>) -> Self {
        let (client, pushes, mut connection) = connected.expect("connected");
        let notices = connection.notices();
        let mut device = Self { client, notices, _pushes: pushes, run: tokio::spawn(connection.run()) };
        // What came before was heard by `connect`.
        device.forget();
        device
    }

    fn forget(&mut self) {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        while futures_util::Stream::poll_next(std::pin::Pin::new(&mut self.notices), &mut cx).is_ready() {}
    }

    /// What happens from now on until the device is ready, the Ready included.
    async fn until_ready(&mut self) -> Vec<Notice> {
        self.until(|notice| matches!(notice, Notice::Ready { .. })).await
    }

    async fn until(&mut self, last: impl Fn(&Notice) -> bool) -> Vec<Notice> {
        let mut seen = Vec::new();
        loop {
            let next = timeout(PATIENCE, self.notices.next()).await;
            let Ok(Some(notice)) = next else { panic!("it ends with {seen:?}: {next:?}") };
            let done = last(&notice);
            seen.push(notice);
            if done {
                return seen;
            }
        }
    }

    async fn put_state(&self) -> StatusCode {
        let credential = self.client.credential().expect("onboarded");
        let path = format!("/thing-if/apps/{APP}/targets/thing:{}/states", credential.thing_id);
        let request = Request::put(path).header("content-type", "application/json");
        let request = request.body(Bytes::from_static(b"{\"power\":true}")).expect("valid");
        self.client.send(request).await.expect("an answer").status()
    }

    fn thing(&self) -> String {
        self.client.credential().expect("onboarded").thing_id.to_string()
    }

    async fn close(self) {
        self.client.close().await;
        self.run.await.expect("no panic").expect("closed in order");
    }
}

fn causes(notices: &[Notice]) -> Vec<Cause> {
    let cause = |notice: &Notice| match notice {
        Notice::Lost { cause, .. } | Notice::Waiting { cause, .. } => cause.cause(),
        _ => None,
    };
    notices.iter().filter_map(cause).collect()
}

fn onboardings(notices: &[Notice]) -> usize {
    notices.iter().filter(|notice| matches!(notice, Notice::Onboarded { .. })).count()
}

#[tokio::test]
async fn a_device_whose_thing_was_deleted_becomes_a_new_thing() {
    let service = Service::start(Location::Memory).await;
    let mut device = Device::connect(config(service.mqtt, "lamp", "pw", KEY)).await;
    let (thing, token) = (device.thing(), device.client.credential().expect("onboarded").access_token);
    assert_eq!(device.put_state().await, StatusCode::CREATED);

    service.delete(&format!("things/{thing}"), token.expose().as_str()).await;
    let seen = device.until_ready().await;
    assert_eq!(onboardings(&seen), 1, "{seen:?}");
    assert_ne!(device.thing(), thing);
    assert_eq!(device.put_state().await, StatusCode::CREATED, "a thing without a past");
    device.close().await;
    service.stop().await;
}

#[tokio::test]
async fn a_device_whose_credential_was_revoked_is_given_another() {
    let service = Service::start(Location::Memory).await;
    let mut device = Device::connect(config(service.mqtt, "lamp", "pw", KEY)).await;
    assert_eq!(device.put_state().await, StatusCode::CREATED);
    let before = device.client.credential().expect("onboarded");

    let path = format!("installations/{}", before.endpoint.installation_id);
    service.delete(&path, before.access_token.expose().as_str()).await;
    let seen = device.until_ready().await;
    assert!(causes(&seen).iter().any(|cause| matches!(cause, Cause::Refused(_))), "{seen:?}");
    assert_eq!(onboardings(&seen), 1, "{seen:?}");
    assert_eq!(device.thing(), before.thing_id.to_string());
    assert_eq!(device.put_state().await, StatusCode::NO_CONTENT, "the thing is the same");
    device.close().await;
    service.stop().await;
}

#[tokio::test]
async fn whatever_it_connects_over_it_comes_back() {
    for scheme in [Scheme::Mqtts, Scheme::Ws, Scheme::Wss] {
        let service = Service::start_over(scheme, Location::Memory).await;
        let config = config_over(service.scheme, service.mqtt, "lamp", "pw", KEY);
        let mut device = Device::of(client::connect(config, service.transport()).await);
        assert_eq!(device.put_state().await, StatusCode::CREATED, "{scheme}");

        let credential = device.client.credential().expect("onboarded");
        let token = credential.access_token.expose().as_str();
        service.delete(&format!("installations/{}", credential.endpoint.installation_id), token).await;
        let seen = device.until_ready().await;
        assert_eq!(onboardings(&seen), 1, "{scheme}: {seen:?}");
        assert_eq!(device.put_state().await, StatusCode::NO_CONTENT, "{scheme}: the thing is the same");

        let (thing, token) = (device.thing(), device.client.credential().expect("onboarded").access_token);
        service.delete(&format!("things/{thing}"), token.expose().as_str()).await;
        let seen = device.until_ready().await;
        assert_eq!(onboardings(&seen), 1, "{scheme}: {seen:?}");
        assert_ne!(device.thing(), thing);
        assert_eq!(device.put_state().await, StatusCode::CREATED, "{scheme}: a thing without a past");
        device.close().await;
        service.stop().await;
    }
}

#[tokio::test]
async fn a_device_whose_token_is_no_longer_valid_finds_out_by_a_call() {
    let service = Service::start(Location::Memory).await;
    let mut device = Device::connect(config(service.mqtt, "lamp", "pw", KEY)).await;
    assert_eq!(device.put_state().await, StatusCode::CREATED);
    // The newest eight tokens of a thing are valid: eight onboardings elsewhere push this one out.
    for _ in 0..8 {
        let answer = {
            let basic = basic(APP, KEY);
            let headers = [("Authorization", basic.as_str()), ("Content-Type", cloud_support::BY_THING)];
            let body = r#"{"vendorThingID":"lamp","thingPassword":"pw"}"#;
            service.served.http.send("POST", &format!("/thing-if/apps/{APP}/onboardings"), &headers, body).await
        };
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(device.put_state().await, StatusCode::FORBIDDEN, "the caller hears what the service says");
    let seen = device.until_ready().await;
    assert!(matches!(seen[0], Notice::CredentialDoubted { .. }), "{seen:?}");
    assert_eq!(causes(&seen)[0], Cause::TokenRefused);
    assert_eq!(device.put_state().await, StatusCode::NO_CONTENT);
    device.close().await;
    service.stop().await;
}

#[tokio::test]
async fn a_device_whose_broker_moved_finds_it() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let store = || Location::Dir(data.path().join("data"));
    let first = Service::start(store()).await;
    let door = FrontDoor::to(&first).await;
    let mut device = Device::connect(config(door.address, "lamp", "pw", KEY)).await;
    assert_eq!(device.put_state().await, StatusCode::CREATED);

    first.stop().await;
    let second = Service::start(store()).await;
    door.leads_to(&second);
    let seen = device.until_ready().await;
    assert_eq!(onboardings(&seen), 1, "{seen:?}");
    assert_eq!(device.client.credential().expect("onboarded").endpoint.port_tcp, Some(second.mqtt.port()));
    assert_eq!(device.put_state().await, StatusCode::NO_CONTENT, "the thing is the same");
    device.close().await;
    second.stop().await;
}

#[tokio::test]
async fn a_device_that_lost_its_credential_file_onboards_again() {
    let service = Service::start(Location::Memory).await;
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().join("vault");
    let config = config(service.mqtt, "lamp", "pw", KEY);
    let key = VaultKey::of(&config);
    let device = Device::connect_with_vault(config.clone(), &directory).await;
    let thing = device.thing();
    device.close().await;
    let file = FileVault::open(&directory).expect("a vault").path(&key);
    assert!(file.exists());

    let before = service.registry.metrics().accepted;
    let device = Device::connect_with_vault(config.clone(), &directory).await;
    device.close().await;
    let with_file = service.registry.metrics().accepted - before;

    std::fs::remove_file(&file).expect("lost");
    let before = service.registry.metrics().accepted;
    let device = Device::connect_with_vault(config, &directory).await;
    assert_eq!(device.thing(), thing);
    assert!(service.registry.metrics().accepted - before > with_file, "the default broker was asked");
    assert!(file.exists(), "and it is kept again");
    assert!(device.put_state().await.is_success());
    device.close().await;
    service.stop().await;
}

#[tokio::test]
async fn a_device_that_is_refused_for_good_stops_and_says_why() {
    let service = Service::start(Location::Memory).await;
    let wrong_key = client::connect(config(service.mqtt, "lamp", "pw", "wrong key"), transport()).await;
    let error = wrong_key.expect_err("refused");
    assert!(matches!(error.cause(), Some(Cause::Refused(_))), "{error:?}");

    let taken = onboard(&service.served.http, APP, KEY, "taken").await;
    assert_eq!(taken.status, 200);
    let wrong_password = client::connect(config(service.mqtt, "taken", "wrong", KEY), transport()).await;
    match wrong_password.expect_err("refused") {
        ConnectError::Onboarding(OnboardingError::Rejected { status, body, .. }) => {
            assert_eq!(status, StatusCode::UNAUTHORIZED);
            assert_eq!(body.expect("the documented body").error_code.as_str(), "WRONG_PASSWORD");
        }
        other => panic!("{other:?}"),
    }

    // One that was in the field. While it finds no default broker somebody else gets its name, with a password of his own.
    let door = FrontDoor::to(&service).await;
    let mut device = Device::connect(config(door.address, "lamp", "pw", KEY)).await;
    let (thing, token) = (device.thing(), device.client.credential().expect("onboarded").access_token);
    door.leads_nowhere();
    service.delete(&format!("things/{thing}"), token.expose().as_str()).await;
    let (owner, owner_token) = user(&service.served.http, APP, KEY, "ann").await;
    let body = format!(r#"{{"vendorThingID":"lamp","thingPassword":"another","owner":"USER:{owner}"}}"#);
    let bearer = format!("Bearer {owner_token}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", cloud_support::BY_OWNER)];
    let path = format!("/thing-if/apps/{APP}/onboardings");
    let answer = service.served.http.send("POST", &path, &headers, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    door.leads_to(&service);
    let seen = device.until(|notice| matches!(notice, Notice::GaveUp { .. })).await;
    let refusals = causes(&seen).iter().filter(|cause| **cause == Cause::OnboardingRefused).count();
    assert_eq!(refusals, 2, "it asks three times in all: {seen:?}");
    match timeout(PATIENCE, device.run).await.expect("it ends").expect("no panic") {
        Err(error) => assert_eq!(error.cause(), Some(Cause::OnboardingRefused)),
        Ok(()) => panic!("it says why"),
    }
    assert!(device.client.is_closed());
    service.stop().await;
}

#[tokio::test]
async fn two_devices_with_one_identity_settle_down_and_say_so() {
    let service = Service::start(Location::Memory).await;
    let config = config(service.mqtt, "lamp", "pw", KEY);
    let credential = client::onboard(&config, &transport()).await.expect("onboarded");
    let config = config.with_resume(credential);
    let mut devices = [Device::connect(config.clone()).await, Device::connect(config).await];
    let complains = |notice: &Notice| matches!(notice, Notice::DuplicateClientId { .. });
    let [first, second] = &mut devices;
    let war = tokio::join!(first.until(complains), second.until(complains));
    let readies = |seen: &[Notice]| seen.iter().filter(|notice| matches!(notice, Notice::Ready { .. })).count();
    assert!(readies(&war.0) >= 4 && readies(&war.1) >= 4, "not before it was kicked five times: {war:?}");

    // From here on the pauses double, so in any time there are about as many connects as it has doublings.
    let took_over = |service: &Service| service.registry.metrics().accepted;
    let before = took_over(&service);
    tokio::time::sleep(Duration::from_secs(8)).await;
    let connects = took_over(&service) - before;
    assert!(connects <= 60, "{connects} sockets in eight seconds is no peace");
    assert!(service.registry.connections().assigned <= 1);
    for device in devices {
        device.client.close().await;
    }
    service.stop().await;
}
