//! What is deleted leaves nothing: no row of any table names it any more.
#![cfg(feature = "cloud")]

mod cloud_support;

use std::collections::BTreeSet;
use std::path::Path;

use cloud_support::*;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::json;
use thingif::cloud::{Cloud, Location};
use thingif::edge::PushOutcome;

const J: &str = "application/json";
const TRAITS: &str = "application/vnd.kii.TraitState+json";
const END_NODE: &str = "application/vnd.kii.OnboardingEndNodeWithGatewayThingID+json";

/// Tables that have nothing of a single thing.
const WITHOUT_THINGS: [&str; 5] = ["admin_clients", "apps", "health_checks", "schema_migrations", "users"];

async fn open(data: &Path) -> Served {
    let mut options = options();
    options.store = Location::Dir(data.join("cloud"));
    Served::start(Cloud::open(options, Recorder::new(PushOutcome::Queued)).expect("opens")).await
}

/// The tables in which a text column has `id` in it, and all tables.
fn tables_with(data: &Path, id: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let database = Connection::open(data.join("cloud").join("thingif.db")).expect("a database");
    let names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut names = database.prepare(names).expect("SQL");
    let all: BTreeSet<String> =
        names.query_map((), |row| row.get(0)).expect("rows").map(|n| n.expect("text")).collect();
    let has = |table: &String| {
        let mut select = database.prepare(&format!("SELECT * FROM {table}")).expect("SQL");
        let columns = select.column_count();
        let mut rows = select.query(()).expect("rows");
        while let Some(row) = rows.next().expect("a row") {
            for column in 0..columns {
                if let ValueRef::Text(text) = row.get_ref(column).expect("a column")
                    && String::from_utf8_lossy(text).contains(id)
                {
                    return true;
                }
            }
        }
        false
    };
    (all.iter().filter(|table| has(table)).cloned().collect(), all)
}

/// Gives `thing` something of everything that there is for one with traits, or without.
async fn fill(http: &Road, thing: &str, ann: &str, token: &str, traits: bool) {
    let ok = async |method: &str, path: String, token: &str, media_type: &str, body: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", media_type)];
        let answer = http.send(method, &path, &headers, body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        answer
    };
    let target = format!("/thing-if/apps/{APP}/targets/thing:{thing}");
    if traits {
        ok("PUT", format!("{target}/states/aliases/Lamp"), token, TRAITS, r#"{"on":true}"#).await;
    } else {
        let body = json!({"triggersWhat": "SERVER_CODE", "serverCode": {"endpoint": "f"}, "predicate": {
            "eventSource": "STATES", "triggersWhen": "CONDITION_TRUE",
            "condition": {"type": "eq", "field": "on", "value": true},
        }});
        let trigger = ok("POST", format!("{target}/triggers"), token, J, &body.to_string()).await.text("triggerID");
        ok("PUT", format!("{target}/states"), token, J, r#"{"on":true}"#).await;
        let results = ok("GET", format!("{target}/triggers/{trigger}/results/server-code"), token, J, "").await;
        assert_eq!(results.json()["triggerServerCodeResults"].as_array().map(Vec::len), Some(1), "{results:?}");
    }
    let command = format!(r#"{{"issuer":"user:{ann}","schema":"S","schemaVersion":1,"actions":[{{"on":{{}}}}]}}"#);
    ok("POST", format!("{target}/commands"), token, J, &command).await;
    let scope = format!("/api/apps/{APP}/things/{thing}");
    ok("PUT", format!("{scope}/buckets/bb/objects/oo"), token, J, r#"{"a":1}"#).await;
    ok("PUT", format!("{scope}/topics/tt"), token, J, "").await;
    ok("PUT", format!("{scope}/buckets/bb/filters/all/push/subscriptions/things/{thing}"), token, J, "").await;
}

async fn node(http: &Road, gateway: &str, ann: &str, token: &str, vendor: &str) -> String {
    let bearer = format!("Bearer {token}");
    let body = json!({"gatewayThingID": gateway, "endNodeVendorThingID": vendor, "endNodePassword": "p",
        "owner": format!("user:{ann}")});
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", END_NODE)];
    let made = http.send("POST", &format!("/thing-if/apps/{APP}/onboardings"), &headers, &body.to_string()).await;
    made.text("endNodeThingID")
}

#[tokio::test]
async fn no_table_names_a_deleted_thing() {
    let data = tempfile::tempdir().expect("a directory");
    let served = open(data.path()).await;
    let http = &served.http;
    let (ann, token) = user(http, APP, KEY, "ann").await;
    let gateway = onboard_by_owner(http, APP, "gateway", &ann, &token).await.text("thingID");
    let lone = node(http, &gateway, &ann, &token, "lone").await;
    let end_node = node(http, &gateway, &ann, &token, "bulb").await;
    fill(http, &gateway, &ann, &token, true).await;
    fill(http, &end_node, &ann, &token, false).await;
    served.stop().await;

    let (of_gateway, all) = tables_with(data.path(), &gateway);
    let (of_end_node, _) = tables_with(data.path(), &end_node);
    let expected: BTreeSet<String> = all.into_iter().filter(|name| !WITHOUT_THINGS.contains(&name.as_str())).collect();
    assert_eq!(&of_gateway | &of_end_node, expected, "a table that this test knows nothing of");

    let served = open(data.path()).await;
    for thing in [&gateway, &end_node] {
        let path = format!("/api/apps/{APP}/things/{thing}");
        assert_eq!(served.http.call("DELETE", &path, &token, "").await.status, 204);
    }
    let left = served.http.call("GET", &format!("/api/apps/{APP}/things/{lone}"), &token, "").await;
    assert_eq!(left.text("_vendorThingID"), "lone", "what was behind a gateway stays");
    served.stop().await;
    for thing in [&gateway, &end_node] {
        assert_eq!(tables_with(data.path(), thing).0, BTreeSet::new());
    }
}

#[tokio::test]
async fn no_table_names_a_deleted_user() {
    let data = tempfile::tempdir().expect("a directory");
    let served = open(data.path()).await;
    let http = &served.http;
    let (ann, token) = user(http, APP, KEY, "ann").await;
    onboard_by_owner(http, APP, "lamp", &ann, &token).await;
    let ok = async |method: &str, path: &str, body: &str| {
        let answer = http.call(method, &format!("/api/apps/{APP}/{path}"), &token, body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
    };
    ok("POST", "installations", r#"{"deviceType":"MQTT","development":false}"#).await;
    ok("PUT", "users/me/buckets/bb/objects/oo", r#"{"a":1}"#).await;
    ok("PUT", "users/me/topics/tt", "").await;
    ok("PUT", &format!("users/me/buckets/bb/filters/all/push/subscriptions/users/{ann}"), "").await;
    served.stop().await;
    let (with, _) = tables_with(data.path(), &ann);
    let expected = [
        "access_tokens",
        "buckets",
        "installations",
        "objects",
        "push_subscriptions",
        "thing_owners",
        "topics",
        "users",
    ];
    assert_eq!(with, expected.map(str::to_owned).into());

    let served = open(data.path()).await;
    assert_eq!(served.http.call("DELETE", &format!("/api/apps/{APP}/users/me"), &token, "").await.status, 204);
    served.stop().await;
    assert_eq!(tables_with(data.path(), &ann).0, BTreeSet::new());
}
