//! Delays in virtual time: of the table alone, and of a cloud with both of its front doors.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::Request;
use tokio::time::Instant;
use tower_service::Service as _;

use super::*;
use crate::cloud::http::Accepted;
use crate::cloud::{Clock, Cloud, Options, PasswordCost};
use crate::edge::{ConnectionId, Directory as _, Login, Peer, PushOutcome, Pusher, Role};
use crate::ids::ClientId;
use crate::mqtt::packet::Protocol;
use crate::mqtt::{Credentials, RefusedReason, Scheme};

fn app() -> AppId {
    AppId::new("app").expect("valid")
}

fn name(text: &str) -> Option<Name> {
    Some(Name::user(&app(), text))
}

fn delays(throttle: &Throttle, address: Option<IpAddr>, name: Option<Name>, failures: usize) -> Vec<u128> {
    let mut seen = Vec::new();
    for _ in 0..failures {
        let attempt = throttle.begin(address, name, 0);
        seen.push(attempt.delay().as_millis());
        attempt.failed(0);
    }
    seen
}

#[test]
fn a_name_waits_longer_after_each_failure_and_never_too_long() {
    let throttle = Throttle::default();
    let seen = delays(&throttle, None, name("a"), 11);
    assert_eq!(seen, [0, 0, 0, 125, 250, 500, 1000, 2000, 4000, 4000, 4000]);
    assert_eq!(throttle.begin(None, name("b"), 0).delay(), Duration::ZERO);
    let counted = Logins { failed: 11, delayed: 8, forgotten: 0, remembered: 1 };
    assert_eq!(throttle.logins(), counted);
}

#[test]
fn success_forgives_the_name_but_not_the_address() {
    let throttle = Throttle::default();
    let address = Some(IpAddr::from([192, 0, 2, 1]));
    delays(&throttle, address, name("a"), 21);
    throttle.begin(address, name("a"), 0).succeeded();
    assert_eq!(throttle.begin(None, name("a"), 0).delay(), Duration::ZERO);
    assert_eq!(throttle.begin(address, name("other"), 0).delay(), Duration::from_millis(250));
}

#[test]
fn attempts_at_the_same_time_count_for_the_name() {
    let throttle = Throttle::default();
    let at_once: Vec<Attempt> = (0..5).map(|_| throttle.begin(None, name("a"), 0)).collect();
    let waits: Vec<u128> = at_once.iter().map(|attempt| attempt.delay().as_millis()).collect();
    assert_eq!(waits, [0, 0, 0, 125, 250]);
    drop(at_once);
    assert_eq!(throttle.begin(None, name("a"), 0).delay(), Duration::ZERO, "no verdict, no failure");
    assert_eq!(throttle.logins().remembered, 0);
}

#[test]
fn failures_are_forgotten_after_ten_quiet_minutes() {
    let throttle = Throttle::default();
    let address = Some(IpAddr::from([192, 0, 2, 1]));
    delays(&throttle, address, name("a"), 30);
    let delay = |now| throttle.begin(address, name("a"), now).delay();
    assert!(delay(table::FORGET_AFTER_MS) > Duration::ZERO);
    assert_eq!(delay(table::FORGET_AFTER_MS + 1), Duration::ZERO);
}

#[test]
fn an_ipv6_host_cannot_hide_in_its_prefix() {
    let [a, b, other]: [IpAddr; 3] =
        ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"].map(|text| text.parse().expect("an address"));
    assert_eq!(host(a), host(b));
    assert_ne!(host(a), host(other));
    let mapped: IpAddr = "::ffff:192.0.2.1".parse().expect("an address");
    assert_eq!(host(mapped), IpAddr::from([192, 0, 2, 1]));
}

#[test]
fn the_table_is_bounded_however_many_names_are_tried_and_however_long_they_are() {
    let throttle = Throttle::default();
    let address = Some(IpAddr::from([192, 0, 2, 1]));
    for i in 0..3 * MAX_ENTRIES {
        throttle.begin(address, name(&format!("{i}{}", "x".repeat(i % 500))), 0).failed(0);
    }
    let logins = throttle.logins();
    assert!(logins.remembered <= MAX_ENTRIES + 1, "{logins:?}");
    assert_eq!(usize::try_from(logins.forgotten).expect("few") + logins.remembered, 3 * MAX_ENTRIES + 1);
    assert_eq!(throttle.begin(address, None, 0).delay(), MAX_DELAY, "names do not drive addresses out");
}

struct Nobody;

impl Pusher for Nobody {
    fn push<'a>(&'a self, _: &'a ClientId, _: Bytes) -> Pin<Box<dyn Future<Output = PushOutcome> + Send + 'a>> {
        Box::pin(async { PushOutcome::NotConnected })
    }

    fn claim<'a>(&'a self, _: &'a ClientId, _: u64) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async {})
    }

    fn disconnect<'a>(&'a self, _: &'a ClientId) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async {})
    }
}

/// A cloud with two applications, in virtual time.
struct World {
    cloud: Cloud,
}

/// How something went, and how many milliseconds it took.
type Went = (u16, u128);

impl World {
    fn new() -> Self {
        let begin = Instant::now();
        let clock = Clock::new(move || UNIX_EPOCH + Duration::from_secs(1_000_000_000) + begin.elapsed());
        let apps = ["app", "other"].map(|app| (AppId::new(app).expect("valid"), "right".into())).to_vec();
        let password_cost = PasswordCost { memory_kib: 8, passes: 1 };
        let options = Options { apps, clock, password_cost, ..Options::default() };
        Self { cloud: Cloud::open(options, Arc::new(Nobody)).expect("opens") }
    }

    async fn timed<T>(what: impl Future<Output = T>) -> (T, u128) {
        let begin = Instant::now();
        let result = what.await;
        (result, begin.elapsed().as_millis())
    }

    /// A request from `remote` by HTTP.
    async fn http(&self, remote: [u8; 4], path: &str, headers: &[(&str, &str)], body: &str) -> (Went, Bytes) {
        let mut request = Request::builder().method("POST").uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(axum::body::Body::from(body.to_owned())).expect("a request");
        let accepted = Accepted { remote: (remote, 1).into(), local: ([127, 0, 0, 1], 80).into() };
        request.extensions_mut().insert(ConnectInfo(accepted));
        let mut router = self.cloud.router();
        let (response, took) = Self::timed(router.call(request)).await;
        let response = response.expect("infallible");
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("in memory");
        ((status, took), body)
    }

    /// A login by HTTP, with nothing but name and password.
    async fn log_in(&self, remote: [u8; 4], app: &str, name: &str, password: &str) -> Went {
        let body = format!(r#"{{"username":"{name}","password":"{password}"}}"#);
        self.http(remote, &format!("/api/apps/{app}/oauth2/token"), &[], &body).await.0
    }

    /// An onboarding at the default broker.
    async fn onboard(&self, remote: [u8; 4], app: &str, vendor: &str, password: &str) -> (Went, Bytes) {
        let body = format!(r#"{{"vendorThingID":"{vendor}","thingPassword":"{password}"}}"#);
        let mut request = Request::builder()
            .method("POST")
            .uri(format!("/thing-if/apps/{app}/onboardings"))
            .header("Content-Type", "application/vnd.kii.OnboardingWithVendorThingIDByThing+json")
            .body(Bytes::from(body))
            .expect("a request");
        request.extensions_mut().insert(Peer {
            role: Role::Onboarding,
            app_id: AppId::new(app).expect("valid"),
            client_id: ClientId::anonymous(),
            connection: ConnectionId(1),
            scheme: Scheme::Mqtt,
            remote: (remote, 1).into(),
            local: ([127, 0, 0, 1], 1883).into(),
        });
        let (response, took) = Self::timed(self.cloud.service().call(request)).await;
        let response = response.expect("infallible");
        ((response.status().as_u16(), took), response.into_body())
    }

    /// A CONNECT.
    async fn connect(&self, remote: [u8; 4], credentials: Credentials) -> (bool, u128) {
        let login = Login {
            protocol: Protocol::V311,
            credentials,
            scheme: Scheme::Mqtt,
            remote: SocketAddr::from((remote, 1)),
            local: SocketAddr::from(([127, 0, 0, 1], 1883)),
        };
        let (admitted, took) = Self::timed(self.cloud.admit(&login)).await;
        match admitted {
            Ok(_) => (true, took),
            Err(RefusedReason::BadUserNameOrPassword) => (false, took),
            Err(other) => panic!("{other:?}"),
        }
    }
}

const DEVICE: [u8; 4] = [192, 0, 2, 1];
const OWNER: [u8; 4] = [192, 0, 2, 2];
const ELSEWHERE: [u8; 4] = [192, 0, 2, 3];

#[tokio::test(start_paused = true)]
async fn a_things_failures_count_through_every_door_and_by_every_name() {
    let world = World::new();
    let (made, body) = world.onboard(DEVICE, "app", "lamp", "right").await;
    assert_eq!(made, (200, 0));
    let answer: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let thing = answer["thingID"].as_str().expect("an id");
    let basic = [
        ("Authorization", "Basic YXBwOnJpZ2h0"), // app:right
        ("Content-Type", "application/vnd.kii.OnboardingWithVendorThingIDByThing+json"),
    ];
    let by_http = r#"{"vendorThingID":"lamp","thingPassword":"wrong"}"#;

    assert_eq!(world.onboard(DEVICE, "app", "lamp", "wrong").await.0, (401, 0));
    assert_eq!(world.log_in(OWNER, "app", "VENDOR_THING_ID:lamp", "wrong").await, (400, 0));
    assert_eq!(world.log_in(OWNER, "app", &format!("THING_ID:{thing}"), "wrong").await, (400, 0));
    assert_eq!(world.http(OWNER, "/thing-if/apps/app/onboardings", &basic, by_http).await.0, (401, 125));
    assert_eq!(world.onboard(DEVICE, "app", "lamp", "wrong").await.0, (401, 250));
    assert_eq!(world.log_in(ELSEWHERE, "app", &format!("THING_ID:{thing}"), "wrong").await, (400, 500));
    assert_eq!(world.log_in(ELSEWHERE, "app", "vendor_thing_id:lamp", "wrong").await, (400, 1000));

    // Another thing, and the thing of that name in another application, have nothing to do with it.
    assert_eq!(world.onboard(DEVICE, "app", "kettle", "right").await.0, (200, 0));
    assert_eq!(world.onboard(DEVICE, "other", "lamp", "right").await.0, (200, 0));
    assert_eq!(world.onboard(DEVICE, "other", "lamp", "wrong").await.0, (401, 0));

    // Never a lock-out: who knows the password waits, and then the name starts anew.
    assert_eq!(world.onboard(DEVICE, "app", "lamp", "right").await.0, (200, 2000));
    assert_eq!(world.onboard(DEVICE, "app", "lamp", "wrong").await.0, (401, 0));
    assert_eq!(world.cloud.logins().failed, 9);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_failures_delay_a_right_password_by_seconds_and_refuse_it_never() {
    let world = World::new();
    world.onboard(DEVICE, "app", "lamp", "right").await;
    for i in 0..1_000 {
        let (_, took) = world.log_in(ELSEWHERE, "app", "VENDOR_THING_ID:lamp", "wrong").await;
        assert!(took <= 4_000, "{i}: {took}");
    }
    assert_eq!(world.onboard(DEVICE, "app", "lamp", "right").await.0, (200, 4_000));
    assert_eq!(world.onboard(DEVICE, "app", "lamp", "right").await.0, (200, 0));
    // With a key beside the password the wait is one wait, not two.
    let headers = [("X-Kii-AppID", "app"), ("X-Kii-AppKey", "right")];
    let body = r#"{"username":"VENDOR_THING_ID:lamp","password":"right"}"#;
    assert_eq!(world.http(ELSEWHERE, "/api/apps/app/oauth2/token", &headers, body).await.0, (200, 4_000));
}

#[tokio::test(start_paused = true)]
async fn an_addresss_failures_count_through_every_door() {
    let world = World::new();
    let anonymous = |key: &str| Credentials::anonymous(&app(), &key.into());
    let (_, body) = world.onboard(DEVICE, "app", "lamp", "right").await;
    let answer: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let endpoint = |field: &str| answer["mqttEndpoint"][field].as_str().expect("text").to_owned();
    let assigned = |username: &str| Credentials {
        client_id: ClientId::new(endpoint("mqttTopic")).expect("valid"),
        username: username.to_owned(),
        password: endpoint("password").into(),
    };
    // Five of each kind: wrong keys by MQTT and by HTTP, users that there are not, endpoints that there are not.
    for i in 0..5 {
        assert_eq!(world.connect(ELSEWHERE, anonymous("wrong")).await, (false, 0));
        let headers = [("X-Kii-AppID", "app"), ("X-Kii-AppKey", "wrong")];
        assert_eq!(world.http(ELSEWHERE, "/api/apps/app/users", &headers, "{}").await.0, (401, 0));
        assert_eq!(world.log_in(ELSEWHERE, "app", &format!("nobody{i}"), "wrong").await, (400, 0));
        assert_eq!(world.connect(ELSEWHERE, assigned(&format!("nobody{i}"))).await, (false, 0));
    }
    assert_eq!(world.connect(ELSEWHERE, anonymous("wrong")).await, (false, 125));
    assert_eq!(world.log_in(ELSEWHERE, "app", "nobody", "wrong").await, (400, 250));
    // Whoever comes from there waits, and gets in.
    assert_eq!(world.connect(ELSEWHERE, anonymous("right")).await, (true, 500));
    assert_eq!(world.connect(ELSEWHERE, assigned(&endpoint("username"))).await, (true, 500));
    assert_eq!(world.onboard(ELSEWHERE, "app", "lamp", "right").await.0, (200, 500));
    // `anonymous` is everybody: from elsewhere it is nobody who has failed.
    assert_eq!(world.connect(DEVICE, anonymous("right")).await, (true, 0));
    assert_eq!(world.connect(DEVICE, assigned(&endpoint("username"))).await, (true, 0));
    assert_eq!(world.onboard(DEVICE, "app", "lamp", "right").await.0, (200, 0));

    let logins = world.cloud.logins();
    assert_eq!((logins.failed, logins.delayed, logins.remembered), (22, 5, 12));
    tokio::time::advance(Duration::from_millis(table::FORGET_AFTER_MS.unsigned_abs() + 1)).await;
    assert_eq!(world.connect(ELSEWHERE, anonymous("wrong")).await, (false, 0), "ten quiet minutes");
    assert_eq!(world.cloud.logins().remembered, 1, "all others are swept out");
}

#[tokio::test(start_paused = true)]
async fn a_users_failures_count_by_every_name_and_a_strangers_by_the_one_that_was_tried() {
    let world = World::new();
    let headers = [("X-Kii-AppID", "app"), ("X-Kii-AppKey", "right"), ("Content-Type", "application/json")];
    let ann =
        r#"{"loginName":"ann","emailAddress":"ann@example.com","phoneNumber":"+819012345678","password":"right"}"#;
    assert_eq!(world.http(OWNER, "/api/apps/app/users", &headers, ann).await.0, (201, 0));
    let names = ["ann", "EMAIL:ann@example.com", "PHONE:+819012345678", "ann@example.com", "+819012345678"];
    let mut waits = Vec::new();
    for name in names {
        let (status, took) = world.log_in(ELSEWHERE, "app", name, "wrong").await;
        assert_eq!(status, 400, "{name}");
        waits.push(took);
    }
    assert_eq!(waits, [0, 0, 0, 125, 250]);
    assert_eq!(world.log_in(OWNER, "app", "EMAIL:ann@example.com", "right").await, (200, 500));
    for name in ["bob", "EMAIL:bob", "PHONE:bob", "bob2"] {
        assert_eq!(world.log_in(ELSEWHERE, "app", name, "wrong").await, (400, 0), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_site_is_slow_while_one_of_its_devices_fails_and_not_for_good() {
    let world = World::new();
    let broken = |key: &str| world.connect(ELSEWHERE, Credentials::anonymous(&app(), &key.into()));
    for _ in 0..1_000 {
        broken("wrong").await;
    }
    assert_eq!(broken("right").await, (true, 4_000));
    // As often as the client reconnects that has found nobody for long.
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(60)).await;
        broken("wrong").await;
    }
    assert_eq!(broken("right").await, (true, 0));
}
