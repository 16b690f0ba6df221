//! What the tests of buckets, topics and pushes share: a cloud, those who use it, and a pusher that remembers.
#![allow(dead_code)] // every test file takes what it needs

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::json;
use thingif::cloud::{AdminClient, Clock, Cloud};
use thingif::edge::PushOutcome;
use thingif::ids::ClientId;

use crate::cloud_support::{APP, Answer, KEY, Recorder, Served, onboard_by_owner, options, user};

/// Milliseconds since 1970, until the clock is set.
pub(crate) const NOW: u64 = 1_464_327_857_000;
const SECRET: &str = "a secret of sixteen characters or more";
/// Far above what a push takes, for machines that are busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody with a token.
pub(crate) struct Somebody {
    pub(crate) name: &'static str,
    pub(crate) id: String,
    pub(crate) token: String,
}

/// Ann owns the lamp; Bob owns nothing.
pub(crate) struct World {
    pub(crate) served: Served,
    pub(crate) pusher: Arc<Recorder>,
    pub(crate) ann: Somebody,
    pub(crate) bob: Somebody,
    pub(crate) lamp: Somebody,
    pub(crate) admin: Somebody,
    pub(crate) anybody: Somebody,
    clock: Arc<AtomicU64>,
}

impl World {
    pub(crate) async fn start() -> Self {
        let clock = Arc::new(AtomicU64::new(NOW));
        let now = Arc::clone(&clock);
        let mut options = options();
        options.clock = Clock::new(move || UNIX_EPOCH + Duration::from_millis(now.load(Ordering::SeqCst)));
        let (app, client_id) = (APP.parse().expect("valid"), "admin".to_owned());
        options.admins = vec![AdminClient { app, client_id, client_secret: SECRET.into() }];
        let pusher = Recorder::new(PushOutcome::Queued);
        let served = Served::start(Cloud::open(options, pusher.clone()).expect("opens")).await;
        let http = &served.http;
        let of = |name, (id, token)| Somebody { name, id, token };
        let ann = of("ann", user(http, APP, KEY, "ann").await);
        let bob = of("bob", user(http, APP, KEY, "bob").await);
        let lamp = onboard_by_owner(http, APP, "lamp", &ann.id, &ann.token).await;
        let lamp = of("lamp", (lamp.text("thingID"), lamp.text("accessToken")));
        let client = async |name: &'static str, id: &str, secret: &str| {
            let body =
                json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret}).to_string();
            let headers = [("Content-Type", "application/json")];
            let answer = http.send("POST", &format!("/api/apps/{APP}/oauth2/token"), &headers, &body).await;
            of(name, (String::new(), answer.text("access_token")))
        };
        let (admin, anybody) = (client("admin", "admin", SECRET).await, client("anybody", APP, KEY).await);
        Self { pusher, ann, bob, lamp, admin, anybody, clock, served }
    }

    pub(crate) fn set_now(&self, millis: u64) {
        self.clock.store(millis, Ordering::SeqCst);
    }

    /// Calls below the application.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        who: &Somebody,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let bearer = format!("Bearer {}", who.token);
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend(headers);
        self.served.http.send(method, &format!("/api/apps/{APP}/{path}"), &all, body).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, who: &Somebody, body: &str) -> Answer {
        self.send(method, path, who, &[("Content-Type", "application/json")], body).await
    }

    /// The topics of all installations of `who`. Time goes on for as long as their endpoints need.
    pub(crate) async fn topics(&self, who: &Somebody) -> Vec<String> {
        let now = self.clock.fetch_add(1_000, Ordering::SeqCst);
        let list = self.call("GET", "installations", who, "").await.json();
        let mut topics = Vec::new();
        for installation in list["installations"].as_array().expect("a list") {
            let id = installation["installationID"].as_str().expect("an id");
            topics
                .push(self.call("GET", &format!("installations/{id}/mqtt-endpoint"), who, "").await.text("mqttTopic"));
        }
        self.set_now(now);
        topics
    }

    /// Waits for `count` pushes, and takes all that there are.
    pub(crate) async fn pushed(&self, count: usize) -> Vec<(ClientId, Bytes)> {
        let begin = Instant::now();
        while self.pusher.pushed.lock().expect("not poisoned").len() < count {
            assert!(begin.elapsed() < PATIENCE, "{:?} and no more", self.pusher.take());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.pusher.take()
    }

    pub(crate) fn receivers(pushed: &[(ClientId, Bytes)]) -> Vec<String> {
        Self::sorted(&pushed.iter().map(|(client, _)| client.to_string()).collect::<Vec<_>>())
    }

    pub(crate) fn sorted(topics: &[String]) -> Vec<String> {
        let mut sorted = topics.to_vec();
        sorted.sort();
        sorted
    }

    pub(crate) async fn stop(self) {
        self.served.stop().await;
    }
}

/// Status and code of an answer.
pub(crate) fn code(answer: &Answer) -> String {
    let code = if answer.body.is_empty() {
        String::new()
    } else {
        answer.json()["errorCode"].as_str().unwrap_or("").to_owned()
    };
    format!("{} {code}", answer.status).trim_end().to_owned()
}
