//! Users over Kii Cloud's REST, and every way to a token.
#![cfg(feature = "cloud")]

mod cloud_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use cloud_support::names::Names;
use cloud_support::*;
use serde_json::json;
use thingif::cloud::{AdminClient, Clock, Cloud};
use thingif::edge::PushOutcome;

const ADMIN: &str = "administrator";
const ADMIN_SECRET: &str = "a secret of 32 random characters";

const J: &str = "application/json";

/// Ann, with an e-mail address and a phone number, and Bob. Ann owns the lamp.
struct World {
    served: Served,
    names: Names,
    now: Arc<AtomicU64>,
}

impl World {
    async fn start() -> Self {
        let now = Arc::new(AtomicU64::new(1_000_000));
        let read = now.clone();
        let mut options = options();
        options.throttle_logins = false;
        options.clock = Clock::new(move || UNIX_EPOCH + Duration::from_millis(read.load(Ordering::SeqCst)));
        options.admins = vec![AdminClient {
            app: APP.parse().expect("valid"),
            client_id: ADMIN.to_owned(),
            client_secret: ADMIN_SECRET.into(),
        }];
        let cloud = Cloud::open(options, Recorder::new(PushOutcome::Queued)).expect("opens");
        let served = Served::start(cloud).await;
        let http = &served.http;
        let mut names = Names::default();
        let (ann, ann_token) = user(http, APP, KEY, "ann").await;
        let (bob, bob_token) = user(http, APP, KEY, "bob").await;
        let (_, stranger) = user(http, OTHER_APP, OTHER_KEY, "ann").await;
        let lamp = onboard_by_owner(http, APP, "lamp", &ann, &ann_token).await;
        names.add("{APP}", APP);
        names.add("{TH}", lamp.text("thingID"));
        names.add("$lamp", lamp.text("accessToken"));
        names.add("{ann}", ann);
        names.add("{bob}", bob);
        names.add("$ann", ann_token);
        names.add("$bob", bob_token);
        names.add("$stranger", stranger);
        names.add("$key", basic(APP, KEY));
        names.add("$wrongkey", basic(APP, "wrong"));
        let mut world = Self { served, names, now };
        for (token, client, secret) in [("$admin", ADMIN, ADMIN_SECRET), ("$anybody", APP, KEY)] {
            let body = json!({"grant_type": "client_credentials", "client_id": client, "client_secret": secret});
            let given = world.token(&body.to_string()).await.text("access_token");
            world.names.add(token, given);
        }
        world
    }

    fn http(&self) -> &Road {
        &self.served.http
    }

    async fn token(&self, body: &str) -> Answer {
        self.http().send("POST", &format!("/api/apps/{APP}/oauth2/token"), &[("Content-Type", J)], body).await
    }

    async fn says(&self, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
        let answer = self.http().call(method, &self.names.fill(path), &self.names.fill(token), body).await;
        (answer.status, answer.code())
    }
}

#[tokio::test]
async fn a_token_that_expires_is_renewed_once_by_the_token_that_came_with_it() {
    let world = World::start().await;
    let log_in = json!({"username": "ann", "password": "secret of ann", "expiresAt": 1_060_000}).to_string();
    let first = world.token(&log_in).await;
    let me = format!("/api/apps/{APP}/users/me");
    let status = async |token: &str| world.http().call("GET", &me, token, "").await.status;
    assert_eq!(status(&first.text("access_token")).await, 200);
    assert_eq!(status(&first.text("refresh_token")).await, 403, "it opens nothing by itself");

    world.now.store(2_000_000, Ordering::SeqCst);
    assert_eq!(status(&first.text("access_token")).await, 403);
    let refresh = |token: String| json!({"grant_type": "refresh_token", "refresh_token": token}).to_string();
    let elsewhere = format!("/api/apps/{OTHER_APP}/oauth2/token");
    let foreign =
        world.http().send("POST", &elsewhere, &[("Content-Type", J)], &refresh(first.text("refresh_token"))).await;
    assert_eq!((foreign.status, foreign.code()), (403, "WRONG_REFRESH_TOKEN".to_owned()));
    let second = world.token(&refresh(first.text("refresh_token"))).await;
    assert_eq!(second.status, 200, "{second:?}");
    assert_eq!((second.text("id"), second.json()["expires_in"].clone()), (world.names.fill("{ann}"), json!(60)));
    assert_eq!(status(&second.text("access_token")).await, 200);
    let again = world.token(&refresh(first.text("refresh_token"))).await;
    assert_eq!((again.status, again.code()), (403, "WRONG_REFRESH_TOKEN".to_owned()), "it was used");

    // What is renewed before it has expired ends as well.
    let third = world.token(&refresh(second.text("refresh_token"))).await;
    assert_eq!(status(&second.text("access_token")).await, 403);
    assert_eq!(status(&third.text("access_token")).await, 200);

    // A new password ends them all.
    let change = json!({"oldPassword": "secret of ann", "newPassword": "another"}).to_string();
    let path = format!("{me}/password");
    assert_eq!(world.http().call("PUT", &path, &third.text("access_token"), &change).await.status, 204);
    assert_eq!(world.token(&refresh(third.text("refresh_token"))).await.code(), "WRONG_REFRESH_TOKEN");
    world.served.stop().await;
}

#[tokio::test]
async fn a_deleted_user_owns_nothing_and_its_things_stay() {
    let world = World::start().await;
    let says = |status: u16, code: &str| (status, code.to_owned());
    let lamp = "/api/apps/{APP}/things/{TH}";
    assert_eq!(world.says("GET", lamp, "$ann", "").await, says(200, ""));
    assert_eq!(world.says("DELETE", "/api/apps/{APP}/users/me", "$ann", "").await, says(204, ""));
    assert_eq!(world.says("GET", lamp, "$ann", "").await, says(403, "WRONG_TOKEN"));
    assert_eq!(world.says("GET", lamp, "$lamp", "").await, says(200, ""));
    let owner = "/api/apps/{APP}/things/{TH}/ownership/user:{ann}";
    assert_eq!(world.says("GET", owner, "$admin", "").await, says(404, "THING_OWNERSHIP_NOT_FOUND"));

    // Whoever takes the name is somebody else.
    let (id, token) = user(world.http(), APP, KEY, "ann").await;
    assert_ne!(id, world.names.fill("{ann}"));
    assert_eq!(world.http().call("GET", &world.names.fill(lamp), &token, "").await.status, 401);
    world.served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn guesses_at_a_password_are_slowed_down_when_it_is_to_be_changed() {
    use tower_service::Service as _;

    let cloud = Cloud::open(options(), Recorder::new(PushOutcome::Queued)).expect("opens");
    let send = async |method: &str, path: &str, authorization: &str, body: &str| {
        let request = http::Request::builder().method(method).uri(path);
        let request = if authorization.is_empty() { request } else { request.header("Authorization", authorization) };
        let request = request.body(axum::body::Body::from(body.to_owned())).expect("a request");
        let response = cloud.router().call(request).await.expect("infallible");
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.expect("in memory");
        (status, serde_json::from_slice(&body).unwrap_or(serde_json::Value::Null))
    };
    let ann = r#"{"loginName":"ann","password":"secret","username":"ann"}"#;
    assert_eq!(send("POST", &format!("/api/apps/{APP}/users"), &basic(APP, KEY), ann).await.0, 201);
    let token = send("POST", &format!("/api/apps/{APP}/oauth2/token"), &basic(APP, KEY), ann).await.1;
    let bearer = format!("Bearer {}", token["access_token"].as_str().expect("a token"));
    let path = format!("/api/apps/{APP}/users/me/password");
    let begin = tokio::time::Instant::now();
    for _ in 0..6 {
        let refused = send("PUT", &path, &bearer, r#"{"oldPassword":"guess","newPassword":"another"}"#).await;
        assert_eq!(refused.1["errorCode"], "WRONG_PASSWORD");
    }
    let delays = 125 + 250 + 500; // three are free
    assert!(begin.elapsed() >= Duration::from_millis(delays), "{:?}", begin.elapsed());
    let begin = tokio::time::Instant::now();
    assert_eq!(send("POST", &format!("/api/apps/{APP}/oauth2/token"), "", ann).await.0, 200);
    assert!(begin.elapsed() >= Duration::from_millis(1_000), "it counts for the login too: {:?}", begin.elapsed());
    cloud.close().await;
}
