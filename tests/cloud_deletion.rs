//! The end of things and of installations: who may, what is left, and whose connection ends.
#![cfg(feature = "cloud")]

mod cloud_support;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cloud_support::{APP, Answer, KEY, OTHER_APP, OTHER_KEY, Road, Served, onboard, onboard_by_owner, options, user};
use thingif::cloud::Cloud;
use thingif::edge::{PushOutcome, Pusher};
use thingif::ids::ClientId;

type Later<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Remembers whose connections were ended.
#[derive(Default)]
struct Ended(Mutex<Vec<ClientId>>);

impl Ended {
    fn take(&self) -> Vec<String> {
        let ended = std::mem::take(&mut *self.0.lock().expect("not poisoned"));
        ended.into_iter().map(|client| client.to_string()).collect()
    }
}

impl Pusher for Ended {
    fn push<'a>(&'a self, _: &'a ClientId, _: Bytes) -> Later<'a, PushOutcome> {
        Box::pin(async { PushOutcome::NotConnected })
    }

    fn claim<'a>(&'a self, _: &'a ClientId, _: u64) -> Later<'a, ()> {
        Box::pin(async {})
    }

    fn disconnect<'a>(&'a self, client: &'a ClientId) -> Later<'a, ()> {
        self.0.lock().expect("not poisoned").push(client.clone());
        Box::pin(async {})
    }
}

/// Ann owns the lamp; Bob owns nothing; the stranger is of another application.
struct World {
    served: Served,
    ended: Arc<Ended>,
    ann: String,
    bob: String,
    stranger: String,
    lamp: Answer,
}

impl World {
    async fn start() -> Self {
        let ended = Arc::new(Ended::default());
        let served = Served::start(Cloud::open(options(), ended.clone()).expect("opens")).await;
        let http = &served.http;
        let (ann_id, ann) = user(http, APP, KEY, "ann").await;
        let (_, bob) = user(http, APP, KEY, "bob").await;
        let (_, stranger) = user(http, OTHER_APP, OTHER_KEY, "stranger").await;
        let lamp = onboard_by_owner(http, APP, "lamp", &ann_id, &ann).await;
        assert_eq!(lamp.status, 200, "{lamp:?}");
        Self { ann, bob, stranger, lamp, ended, served }
    }

    fn http(&self) -> &Road {
        &self.served.http
    }

    async fn delete(&self, path: &str, token: &str) -> (u16, String) {
        let answer = self.http().call("DELETE", &format!("/api/apps/{APP}/{path}"), token, "").await;
        (answer.status, answer.code())
    }

    fn topic(&self) -> String {
        self.lamp.json()["mqttEndpoint"]["mqttTopic"].as_str().expect("text").to_owned()
    }
}

fn says(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_deleted_thing_leaves_nothing_and_comes_back_as_another() {
    let world = World::start().await;
    let (thing, token) = (world.lamp.text("thingID"), world.lamp.text("accessToken"));
    let target = format!("/thing-if/apps/{APP}/targets/thing:{thing}/states");
    assert_eq!(world.http().call("PUT", &target, &token, "{\"power\":true}").await.status, 201);

    let path = format!("things/{thing}");
    assert_eq!(world.delete(&path, "nonsense").await, says(403, "WRONG_TOKEN"));
    assert_eq!(world.delete(&path, &world.stranger).await, says(403, "WRONG_TOKEN"));
    assert_eq!(world.delete(&path, &world.bob).await, says(401, "UNAUTHORIZED"));
    assert_eq!(world.delete("things/th.nobody", &world.ann).await, says(404, "THING_NOT_FOUND"));
    assert_eq!(world.delete("things/VENDOR_THING_ID:nobody", &world.ann).await, says(404, "THING_NOT_FOUND"));
    assert_eq!(world.delete("things/VENDOR_THING_ID:", &world.ann).await, says(404, "THING_NOT_FOUND"));
    assert!(world.ended.take().is_empty());
    assert_eq!(world.http().call("GET", &target, &token, "").await.status, 200, "nothing has happened");

    assert_eq!(world.delete("things/VENDOR_THING_ID:lamp", &world.ann).await, says(204, ""));
    assert_eq!(world.ended.take(), [world.topic()]);
    assert_eq!(world.delete(&path, &world.ann).await, says(404, "THING_NOT_FOUND"));
    assert_eq!(world.http().call("GET", &target, &token, "").await.code(), "WRONG_TOKEN");
    assert_eq!(world.http().call("GET", &target, &world.ann, "").await.code(), "TARGET_NOT_FOUND");

    let again = onboard(world.http(), APP, KEY, "lamp").await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_ne!(again.text("thingID"), thing);
    assert_ne!(again.json()["mqttEndpoint"]["mqttTopic"], world.lamp.json()["mqttEndpoint"]["mqttTopic"]);
    let target = format!("/thing-if/apps/{APP}/targets/thing:{}/states", again.text("thingID"));
    let state = world.http().call("GET", &target, &again.text("accessToken"), "").await;
    assert_eq!(state.code(), "STATE_NOT_FOUND");
    assert_eq!(world.http().call("GET", &target, &world.ann, "").await.code(), "UNAUTHORIZED", "owners are gone too");
    world.served.stop().await;
}

#[tokio::test]
async fn a_thing_may_delete_itself_and_no_other() {
    let world = World::start().await;
    let other = onboard(world.http(), APP, KEY, "kettle").await;
    let path = format!("things/{}", world.lamp.text("thingID"));
    assert_eq!(world.delete(&path, &other.text("accessToken")).await, says(401, "UNAUTHORIZED"));
    assert_eq!(world.delete(&path, &world.lamp.text("accessToken")).await, says(204, ""));
    assert_eq!(world.ended.take(), [world.topic()]);
    world.served.stop().await;
}

#[tokio::test]
async fn a_deleted_installation_ends_its_connection_and_the_next_onboarding_makes_another() {
    let world = World::start().await;
    let id = world.lamp.json()["mqttEndpoint"]["installationID"].as_str().expect("text").to_owned();
    let path = format!("installations/{id}");
    assert_eq!(world.delete(&path, &world.bob).await, says(401, "UNAUTHORIZED"));
    assert_eq!(world.delete(&path, &world.stranger).await, says(403, "WRONG_TOKEN"));
    assert_eq!(world.delete("installations/nosuch", &world.ann).await, says(404, "INSTALLATION_NOT_FOUND"));
    assert_eq!(world.delete("installations/MQTT:nosuch", &world.ann).await, says(404, "INSTALLATION_NOT_FOUND"));
    let not_the_registration = format!("installations/MQTT:{id}");
    assert_eq!(world.delete(&not_the_registration, &world.ann).await, says(404, "INSTALLATION_NOT_FOUND"));
    assert!(world.ended.take().is_empty());

    assert_eq!(world.delete(&path, &world.lamp.text("accessToken")).await, says(204, ""));
    assert_eq!(world.ended.take(), [world.topic()]);
    assert_eq!(world.delete(&path, &world.ann).await, says(404, "INSTALLATION_NOT_FOUND"));
    let again = onboard(world.http(), APP, KEY, "lamp").await;
    assert_eq!(again.text("thingID"), world.lamp.text("thingID"), "the thing is the same");
    let (before, after) = (world.lamp.json()["mqttEndpoint"].clone(), again.json()["mqttEndpoint"].clone());
    for field in ["installationID", "username", "password", "mqttTopic"] {
        assert_ne!(before[field], after[field], "{field}");
    }
    world.served.stop().await;
}
