//! Applications that were made by hand, and what their administrators and anybody with their key may do.
#![cfg(feature = "cloud")]

mod cloud_support;

use cloud_support::{APP, BY_THING, KEY, OTHER_APP, Recorder, Road, Served, onboard_by_owner, options, user};
use thingif::cloud::{AdminClient, Cloud, Location, OpenError, Options};
use thingif::edge::PushOutcome;

const CLIENT: &str = "3f2504e04f8911d39a0c0305e82c3301";
const SECRET: &str = "a secret of sixteen characters or more";

fn with_admin() -> Options {
    let mut options = options();
    let (app, client_id) = (APP.parse().expect("valid"), CLIENT.to_owned());
    options.admins = vec![AdminClient { app, client_id, client_secret: SECRET.into() }];
    options
}

async fn start(options: Options) -> Served {
    Served::start(Cloud::open(options, Recorder::new(PushOutcome::Queued)).expect("opens")).await
}

async fn log_in(http: &Road, app: &str, client: &str, secret: &str) -> cloud_support::Answer {
    let body = format!(r#"{{"grant_type":"client_credentials","client_id":"{client}","client_secret":"{secret}"}}"#);
    http.send("POST", &format!("/api/apps/{app}/oauth2/token"), &[("Content-Type", "application/json")], &body).await
}

#[tokio::test]
async fn an_administrator_may_what_every_owner_may_in_one_application() {
    let served = start(with_admin()).await;
    let http = &served.http;
    let (ann_id, ann) = user(http, APP, KEY, "ann").await;
    let lamp = onboard_by_owner(http, APP, "lamp", &ann_id, &ann).await.text("thingID");
    let answer = log_in(http, APP, CLIENT, SECRET).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let admin = answer.text("access_token");

    let states = format!("/thing-if/apps/{APP}/targets/thing:{lamp}/states");
    assert_eq!(http.call("PUT", &states, &admin, r#"{"power":true}"#).await.status, 201);
    let body = format!(r#"{{"actions":[{{"turn":{{}}}}],"schema":"s","schemaVersion":1,"issuer":"user:{ann_id}"}}"#);
    let commands = format!("/thing-if/apps/{APP}/targets/thing:{lamp}/commands");
    assert_eq!(http.call("POST", &commands, &admin, &body).await.status, 201);
    // Elsewhere it is nobody.
    let foreign = format!("/thing-if/apps/{OTHER_APP}/targets/thing:{lamp}/states");
    assert_eq!(http.call("GET", &foreign, &admin, "").await.code(), "WRONG_TOKEN");
    assert_eq!(log_in(http, OTHER_APP, CLIENT, SECRET).await.code(), "invalid_grant");

    let things = format!("/api/apps/{APP}/things/{lamp}");
    assert_eq!(http.call("DELETE", &things, &admin, "").await.status, 204);
    served.stop().await;
}

#[tokio::test]
async fn a_wrong_client_is_refused_like_a_wrong_password() {
    let served = start(with_admin()).await;
    for (client, secret) in [(CLIENT, "wrong"), ("nobody", SECRET), (APP, "wrong"), (CLIENT, "")] {
        let answer = log_in(&served.http, APP, client, secret).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_grant".to_owned()), "{client} {secret}");
    }
    served.stop().await;
}

#[tokio::test]
async fn whoever_has_the_key_may_onboard_things_and_nothing_else() {
    let served = start(with_admin()).await;
    let http = &served.http;
    let answer = log_in(http, APP, APP, KEY).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let anybody = answer.text("access_token");

    let bearer = format!("Bearer {anybody}");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", BY_THING)];
    let body = r#"{"vendorThingID":"lamp","thingPassword":"pw"}"#;
    let lamp = http.send("POST", &format!("/thing-if/apps/{APP}/onboardings"), &headers, body).await;
    assert_eq!(lamp.status, 200, "{lamp:?}");
    let lamp = lamp.text("thingID");
    for (method, path) in [
        ("GET", format!("/thing-if/apps/{APP}/targets/thing:{lamp}/states")),
        ("GET", format!("/thing-if/apps/{APP}/targets/thing:{lamp}/commands")),
        ("DELETE", format!("/api/apps/{APP}/things/{lamp}")),
    ] {
        let answer = http.call(method, &path, &anybody, "").await;
        assert_eq!((answer.status, answer.code()), (401, "UNAUTHORIZED".to_owned()), "{method} {path}");
    }
    served.stop().await;
}

#[tokio::test]
async fn an_application_that_was_made_is_there_at_the_next_start() {
    let place = tempfile::tempdir().expect("a directory");
    let at = || {
        let mut options = options();
        options.store = Location::Dir(place.path().join("data"));
        options
    };
    let served = start(at()).await;
    let made = served.cloud.create_app(Some("lamps".to_owned())).await.expect("made");
    let (app, key) = (made.admin.app.to_string(), made.app_key.expose().clone());
    user(&served.http, &app, &key, "ann").await;
    served.stop().await;

    let served = start(at()).await;
    let names: Vec<_> = served.cloud.apps().into_iter().map(|app| (app.id.to_string(), app.name)).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(names[2], (app.clone(), Some("lamps".to_owned())));
    user(&served.http, &app, &key, "bob").await;
    let client = &made.admin;
    let answer = log_in(&served.http, &app, &client.client_id, client.client_secret.expose()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    served.stop().await;

    let mut twice = at();
    twice.apps.push((made.admin.app, "another key".into()));
    let refused = Cloud::open(twice, Recorder::new(PushOutcome::Queued)).expect_err("named twice");
    assert!(matches!(refused, OpenError::Option { name: "apps", .. }), "{refused}");
}
