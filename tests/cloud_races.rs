//! What changes while a password is checked, which takes long: nothing that is refused leaves anything.
#![cfg(feature = "cloud")]

mod cloud_support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use cloud_support::*;
use serde_json::json;
use thingif::cloud::{AdminClient, Clock, Cloud};
use thingif::edge::PushOutcome;

const ADMIN: &str = "administrator";
const ADMIN_SECRET: &str = "a secret of 32 random characters";
const END_NODE: &str = "application/vnd.kii.OnboardingEndNodeWithGatewayThingID+json";

const WATCHDOG: Duration = Duration::from_secs(60);

/// A clock that stops whoever reads it at a given time: a login reads it when its request comes, and again when it knows
/// whose password it is to check.
struct Stop {
    reads_left: AtomicUsize,
    reached: SyncSender<()>,
    go_on: Mutex<Receiver<()>>,
}

impl Stop {
    fn read(&self) -> SystemTime {
        let left = self.reads_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left == Ok(1) {
            self.reached.send(()).expect("the test waits");
            // A worker that merely blocked would keep the task that it is to run next.
            tokio::task::block_in_place(|| self.go_on.lock().expect("not poisoned").recv_timeout(WATCHDOG))
                .expect("the test goes on");
        }
        SystemTime::now()
    }
}

struct World {
    served: Served,
    stop: Arc<Stop>,
    reached: Receiver<()>,
    go_on: SyncSender<()>,
    admin: String,
}

impl World {
    async fn start() -> Self {
        let ((reached, is_reached), (go_on, may_go_on)) = (sync_channel(1), sync_channel(1));
        let stop = Arc::new(Stop { reads_left: AtomicUsize::new(0), reached, go_on: Mutex::new(may_go_on) });
        let mut options = options();
        let clock = stop.clone();
        options.clock = Clock::new(move || clock.read());
        options.admins = vec![AdminClient {
            app: APP.parse().expect("valid"),
            client_id: ADMIN.to_owned(),
            client_secret: ADMIN_SECRET.into(),
        }];
        let served = Served::start(Cloud::open(options, Recorder::new(PushOutcome::Queued)).expect("opens")).await;
        let body = json!({ "grant_type": "client_credentials", "client_id": ADMIN, "client_secret": ADMIN_SECRET });
        let admin = token(&served.http, &body.to_string()).await.text("access_token");
        Self { served, stop, reached: is_reached, go_on, admin }
    }

    /// Sends a login of some kind, and does `meanwhile` when it knows whose password it is to check.
    async fn during(&self, login: impl Future<Output = Answer> + Send + 'static, meanwhile: impl Future) -> Answer {
        self.stop.reads_left.store(2, Ordering::SeqCst);
        let login = tokio::spawn(login);
        tokio::task::block_in_place(|| self.reached.recv_timeout(WATCHDOG).expect("it comes so far"));
        meanwhile.await;
        self.go_on.send(()).expect("it waits");
        login.await.expect("no panic")
    }

    async fn as_admin(&self, method: &str, path: &str, body: &str) {
        let answer = self.served.http.call(method, &format!("/api/apps/{APP}/{path}"), &self.admin, body).await;
        assert!(answer.status < 300, "{answer:?}");
    }
}

async fn token(http: &Road, body: &str) -> Answer {
    let headers = [("Content-Type", "application/json")];
    http.send("POST", &format!("/api/apps/{APP}/oauth2/token"), &headers, body).await
}

fn log_in(http: &Road, username: &str, password: &str) -> impl Future<Output = Answer> + Send + 'static {
    let (http, body) = (http.clone(), json!({ "username": username, "password": password }).to_string());
    async move { token(&http, &body).await }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_password_that_is_changed_meanwhile_gives_no_token() {
    let world = World::start().await;
    let http = &world.served.http;
    let (ann, _) = user(http, APP, KEY, "ann").await;
    let change = r#"{"newPassword":"another"}"#;
    let path = format!("users/{ann}/password");
    let answer = world.during(log_in(http, "ann", "secret of ann"), world.as_admin("PUT", &path, change)).await;
    assert_eq!((answer.status, answer.code()), (400, "invalid_grant".to_owned()));
    let again = world.during(log_in(http, "ann", "another"), async {}).await;
    assert_eq!(again.status, 200, "{again:?}");
    world.served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_deleted_meanwhile_gets_no_token() {
    let world = World::start().await;
    let http = &world.served.http;
    let (ann, _) = user(http, APP, KEY, "ann").await;
    let path = format!("users/{ann}");
    let answer = world.during(log_in(http, "ann", "secret of ann"), world.as_admin("DELETE", &path, "")).await;
    assert_eq!((answer.status, answer.code()), (400, "invalid_grant".to_owned()));
    let lamp = onboard(http, APP, KEY, "lamp").await.text("thingID");
    let path = format!("things/{lamp}");
    let login = log_in(http, "VENDOR_THING_ID:lamp", "secret of lamp");
    let answer = world.during(login, world.as_admin("DELETE", &path, "")).await;
    assert_eq!((answer.status, answer.code()), (400, "invalid_grant".to_owned()));
    world.served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_owner_who_is_deleted_meanwhile_owns_nothing() {
    let world = World::start().await;
    let http = world.served.http.clone();
    let (ann, ann_token) = user(&http, APP, KEY, "ann").await;
    let lamp = onboard(&http, APP, KEY, "lamp").await.text("thingID");
    let (road, owner) = (http.clone(), ann.clone());
    let login = async move { onboard_by_owner(&road, APP, "lamp", &owner, &ann_token).await };
    let answer = world.during(login, world.as_admin("DELETE", &format!("users/{ann}"), "")).await;
    assert_eq!((answer.status, answer.code()), (404, "USER_NOT_FOUND".to_owned()));
    let path = format!("/api/apps/{APP}/things/{lamp}/ownership/user:{ann}");
    assert_eq!(http.call("GET", &path, &world.admin, "").await.code(), "THING_OWNERSHIP_NOT_FOUND");
    world.served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_end_node_whose_gateway_is_given_away_meanwhile_is_left_as_it_was() {
    let world = World::start().await;
    let http = world.served.http.clone();
    let (ann, ann_token) = user(&http, APP, KEY, "ann").await;
    let gateway = onboard_by_owner(&http, APP, "gateway", &ann, &ann_token).await.text("thingID");
    let bulb = onboard(&http, APP, KEY, "bulb").await.text("thingID");
    let body = json!({ "gatewayThingID": gateway, "endNodeVendorThingID": "bulb", "endNodePassword": "secret of bulb",
        "owner": format!("user:{ann}") });
    let road = http.clone();
    let login = async move {
        let headers = [("Authorization", format!("Bearer {ann_token}")), ("Content-Type", END_NODE.to_owned())];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        road.send("POST", &format!("/thing-if/apps/{APP}/onboardings"), &headers, &body.to_string()).await
    };
    let path = format!("things/{gateway}/ownership/user:{ann}");
    let answer = world.during(login, world.as_admin("DELETE", &path, "")).await;
    assert_eq!((answer.status, answer.code()), (401, "UNAUTHORIZED".to_owned()));
    let path = format!("/api/apps/{APP}/things/{bulb}/ownership/user:{ann}");
    assert_eq!(http.call("GET", &path, &world.admin, "").await.code(), "THING_OWNERSHIP_NOT_FOUND");
    world.served.stop().await;
}
