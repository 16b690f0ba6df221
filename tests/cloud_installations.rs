//! Installations and their endpoints over HTTP: who may, what is answered to the letter, and what is bounded.
#![cfg(feature = "cloud")]

mod cloud_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use cloud_support::{APP, Answer, KEY, Recorder, Road, Served, onboard, onboard_by_owner, options, user};
use serde_json::json;
use thingif::cloud::{AdminClient, Clock, Cloud};
use thingif::edge::PushOutcome;

const SECRET: &str = "a secret of sixteen characters or more";
const REQUEST: &str = "application/vnd.kii.InstallationCreationRequest+json";

/// A cloud whose clock stands still until it is moved, with an administrator, an owner, a neighbour and a lamp.
struct World {
    served: Served,
    millis: Arc<AtomicU64>,
    admin: String,
    ann: (String, String),
    bob: (String, String),
    lamp: (String, String),
}

impl World {
    async fn start() -> Self {
        let millis = Arc::new(AtomicU64::new(1_464_327_857_000));
        let clock = Arc::clone(&millis);
        let mut options = options();
        options.clock = Clock::new(move || UNIX_EPOCH + Duration::from_millis(clock.load(Ordering::SeqCst)));
        options.admins = vec![AdminClient {
            app: APP.parse().expect("valid"),
            client_id: "admin".into(),
            client_secret: SECRET.into(),
        }];
        let served = Served::start(Cloud::open(options, Recorder::new(PushOutcome::Queued)).expect("opens")).await;
        let http = &served.http;
        let (ann, bob) = (user(http, APP, KEY, "ann").await, user(http, APP, KEY, "bob").await);
        let lamp = onboard_by_owner(http, APP, "lamp", &ann.0, &ann.1).await;
        let login = json!({"grant_type": "client_credentials", "client_id": "admin", "client_secret": SECRET});
        let path = format!("/api/apps/{APP}/oauth2/token");
        let admin = http.send("POST", &path, &[("Content-Type", "application/json")], &login.to_string()).await;
        let admin = admin.text("access_token");
        Self { millis, admin, ann, bob, lamp: (lamp.text("thingID"), lamp.text("accessToken")), served }
    }

    fn http(&self) -> &Road {
        &self.served.http
    }

    async fn install(&self, token: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", REQUEST)];
        self.http().send("POST", &format!("/api/apps/{APP}/installations"), &headers, body).await
    }

    async fn call(&self, method: &str, rest: &str, token: &str) -> Answer {
        self.http().call(method, &format!("/api/apps/{APP}/installations{rest}"), token, "").await
    }
}

const PLAIN: &str = r#"{"deviceType":"MQTT","development":true}"#;

#[tokio::test]
async fn a_thing_installs_itself_and_everything_is_answered_as_documented() {
    let world = World::start().await;
    let (thing, token) = &world.lamp;
    let made = world.install(token, PLAIN).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.headers["content-type"], "application/vnd.kii.InstallationCreationResponse+json");
    let (id, registration) = (made.text("installationID"), made.text("installationRegistrationID"));
    assert_eq!(made.headers["location"], format!("/api/apps/{APP}/installations/{id}"));
    let body =
        format!("{{\n  \"installationID\" : \"{id}\",\n  \"installationRegistrationID\" : \"{registration}\"\n}}");
    assert_eq!(made.body, body);

    let shown = format!(
        "{{\n  \"installationID\" : \"{id}\",\n  \"installationRegistrationID\" : \"{registration}\",\n  \
         \"development\" : true,\n  \"thingID\" : \"{thing}\",\n  \"deviceType\" : \"MQTT\"\n}}"
    );
    for (path, token) in [
        (format!("/{id}"), token),
        (format!("/MQTT:{registration}"), token),
        (format!("/{id}"), &world.ann.1),
        (format!("/{id}"), &world.admin),
    ] {
        let got = world.call("GET", &path, token).await;
        assert_eq!((got.status, got.body), (200, shown.clone().into()), "{path}");
        assert_eq!(got.headers["content-type"], "application/vnd.kii.InstallationRetrievalResponse+json");
    }

    // Beside the one that onboarding made, which is listed first.
    for (path, token) in
        [(format!("?thingID={thing}"), token), ("".into(), token), (format!("?thingID={thing}"), &world.ann.1)]
    {
        let list = world.call("GET", &path, token).await;
        assert_eq!(list.headers["content-type"], "application/vnd.kii.InstallationsRetrievalResponse+json");
        let list = list.json();
        let list = list["installations"].as_array().expect("a list");
        assert_eq!(list.len(), 2, "{path}");
        assert_eq!((&list[0]["development"], &list[0]["thingID"]), (&json!(false), &json!(thing)));
        assert_eq!(list[1]["installationID"], json!(id));
    }

    assert_eq!(world.call("DELETE", &format!("/{id}"), token).await.status, 204);
    let gone = world.call("GET", &format!("/{id}"), token).await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "INSTALLATION_NOT_FOUND"));
    assert_eq!(gone.text("installationID"), id);
    world.served.stop().await;
}

#[tokio::test]
async fn an_endpoint_is_prepared_for_a_while_and_then_told_to_the_letter() {
    let world = World::start().await;
    let token = &world.ann.1;
    let id = world.install(token, PLAIN).await.text("installationID");
    let path = format!("/{id}/mqtt-endpoint");
    for after in [0, 499] {
        world.millis.store(1_464_327_857_000 + after, Ordering::SeqCst);
        let early = world.call("GET", &path, token).await;
        assert_eq!(early.status, 503);
        assert_eq!(early.headers["retry-after"], "10");
        assert_eq!(early.headers["content-type"], "application/vnd.kii.MQTTEndpointNotReadyException+json");
        let expected = format!(
            "{{\n  \"errorCode\" : \"MQTT_ENDPOINT_NOT_READY\",\n  \"message\" : \"MQTT endpoint for  {id} is not ready. \
             Please try again later.\",\n  \"installationID\" : \"{id}\",\n  \"appID\" : \"{APP}\"\n}}"
        );
        assert_eq!(early.body, expected);
        assert_eq!(world.call("GET", &path, &world.bob.1).await.status, 401, "and not even that to others");
    }
    world.millis.store(1_464_327_857_500, Ordering::SeqCst);
    let ready = world.call("GET", &path, token).await;
    assert_eq!(ready.status, 200);
    assert_eq!(ready.headers["content-type"], "application/vnd.kii.MQTTEndpointResponse+json");
    assert_eq!(ready.headers["x-mqtt-ttl"], "2147483647");
    let body = ready.json();
    let names: Vec<_> = body.as_object().expect("an object").keys().map(String::as_str).collect();
    let documented = [
        "installationID",
        "username",
        "password",
        "mqttTopic",
        "host",
        "portTCP",
        "portSSL",
        "portWS",
        "portWSS",
        "X-MQTT-TTL",
    ];
    assert_eq!(names, documented);
    assert_eq!((&body["installationID"], &body["X-MQTT-TTL"]), (&json!(id), &json!(2_147_483_647)));
    assert_eq!(world.call("GET", &path, token).await.body, ready.body, "the same every time");
    assert_eq!(world.call("GET", &path, &world.admin).await.body, ready.body);

    // What onboarding told is ready at once, and the same.
    let kettle = onboard(world.http(), APP, KEY, "kettle").await;
    let endpoint = &kettle.json()["mqttEndpoint"];
    let path = format!("/{}/mqtt-endpoint", endpoint["installationID"].as_str().expect("an id"));
    let told = world.call("GET", &path, &kettle.text("accessToken")).await;
    assert_eq!(told.status, 200);
    for field in ["username", "password", "mqttTopic", "host", "portTCP"] {
        assert_eq!(told.json()[field], endpoint[field], "{field}");
    }
    world.served.stop().await;
}

#[tokio::test]
async fn the_newest_64_installations_of_a_principal_stay() {
    let world = World::start().await;
    let token = &world.ann.1;
    let mut ids = Vec::new();
    for _ in 0..66 {
        ids.push(world.install(token, PLAIN).await.text("installationID"));
    }
    let list = world.call("GET", "", token).await.json();
    let listed: Vec<_> =
        list["installations"].as_array().expect("a list").iter().map(|i| i["installationID"].clone()).collect();
    assert_eq!(listed, ids[2..].iter().map(|id| json!(id)).collect::<Vec<_>>());
    assert_eq!(world.call("GET", &format!("/{}", ids[0]), token).await.status, 404);
    world.served.stop().await;
}
