//! A data directory that an earlier version left is opened, and everything in it goes on.
#![cfg(feature = "cloud")]

mod cloud_support;

use std::path::Path;

use cloud_support::*;
use serde_json::json;
use thingif::cloud::{Cloud, Location};
use thingif::edge::PushOutcome;

/// What version 1 of the schema was, with rows that its program wrote: never edited.
const VERSION_1: &str = include_str!("schema/version_1.sql");
/// The file beside it, from which endpoint passwords are derived.
const ENDPOINT_KEY: [u8; 32] = [
    0x0d, 0x7c, 0xa0, 0x4d, 0x94, 0xdb, 0xed, 0x3e, 0xd0, 0x1e, 0x71, 0x4a, 0xda, 0xd5, 0x9d, 0x6c, 0x41, 0x8e, 0xa0,
    0xfd, 0x06, 0x9b, 0xae, 0x51, 0x24, 0x41, 0x68, 0x1f, 0x72, 0x81, 0x34, 0xc8,
];

const USER: &str = "0e0778ef26dd-b4e8-83c1-04b0-73e3dec9";
const USER_TOKEN: &str = "p4_MT3TKE99QUk0Sru0HYmYX1Hdnp7qxaqtXN_0dBts";
const THING: &str = "th.9381d8ab1a50-7a0c-7f66-7532-b14e3954";
const THING_TOKEN: &str = "9665tlgNMNFo5SXjoAFyvHyJLfvWVSBZimlWjnP45UU";
const COMMAND: &str = "57675191-e585-11f1-8ffc-75f9b42df6d8";

fn write_version_1(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;

    std::fs::create_dir(path).expect("made");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).expect("private");
    std::fs::write(path.join("endpoint.key"), ENDPOINT_KEY).expect("written");
    let database = rusqlite::Connection::open(path.join("thingif.db")).expect("a database");
    database.execute_batch(VERSION_1).expect("as it was");
}

fn open(path: &Path) -> Cloud {
    let mut options = options();
    options.store = Location::Dir(path.to_owned());
    Cloud::open(options, Recorder::new(PushOutcome::Queued)).expect("opens")
}

#[tokio::test]
async fn what_version_1_left_goes_on() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let path = parent.path().join("data");
    write_version_1(&path);
    // Opened twice: what the first one migrated is what the second one finds.
    for round in 0..2 {
        let served = Served::start(open(&path)).await;
        let http = &served.http;
        let target = format!("/thing-if/apps/{APP}/targets/thing:{THING}");

        let states = http.call("GET", &format!("{target}/states"), USER_TOKEN, "").await;
        assert_eq!((states.status, states.json()), (200, json!({"power": true, "brightness": 12.5})), "round {round}");
        let command = http.call("GET", &format!("{target}/commands/{COMMAND}"), THING_TOKEN, "").await;
        assert_eq!(command.status, 200, "{command:?}");
        assert_eq!((command.text("commandState"), command.text("title")), ("DONE".into(), "on".into()));
        assert_eq!(command.json()["actionResults"], json!([{"turnPower": {"succeeded": true}}]));
        let thing = http.call("GET", &format!("/api/apps/{APP}/things/{THING}"), USER_TOKEN, "").await;
        assert_eq!((thing.text("_vendorThingID"), thing.text("color")), ("lamp-1".into(), "red".into()));

        // Passwords, and what is derived from the key beside the database.
        let basic = basic(APP, KEY);
        let headers = [("Authorization", basic.as_str()), ("Content-Type", "application/json")];
        let login = json!({"username": "ann", "password": "secret of ann", "grant_type": "password"}).to_string();
        let login = http.send("POST", &format!("/api/apps/{APP}/oauth2/token"), &headers, &login).await;
        assert_eq!((login.status, login.text("id")), (200, USER.to_owned()));
        let again = onboard(http, APP, KEY, "lamp-1").await;
        assert_eq!((again.status, again.text("thingID")), (200, THING.to_owned()), "{again:?}");
        let endpoint = &again.json()["mqttEndpoint"];
        assert_eq!(endpoint["mqttTopic"], "W6vB9SIHGbyKbY33YffDsyv");
        assert_eq!(endpoint["password"], "gbmbmciabhfnacaphhkhmpfblhnhgffdjegnbofofdhgmffhljndllcacemgoahj");

        // And it is written to.
        let same = r#"{"power":true,"brightness":12.5}"#;
        let put = http.call("PUT", &format!("{target}/states"), THING_TOKEN, same).await;
        assert_eq!(put.status, 204, "{put:?}");
        let body = json!({"actions": [{"turnPower": {"power": false}}], "issuer": format!("user:{USER}"),
            "schema": "Lamp", "schemaVersion": 1});
        let posted = http.call("POST", &format!("{target}/commands"), USER_TOKEN, &body.to_string()).await;
        assert_eq!(posted.status, 201, "{posted:?}");
        served.stop().await;
    }
}

/// Each table, index and column, however it came to be there.
fn schema(path: &Path) -> Vec<(String, String, String)> {
    let database = rusqlite::Connection::open(path.join("thingif.db")).expect("a database");
    let mut columns = database
        .prepare(
            "SELECT m.type, m.name, x.name || ' ' || x.type || ' ' || x.\"notnull\" || ' ' || COALESCE(x.dflt_value, '-') || ' ' || x.pk \
             FROM sqlite_master m, pragma_table_info(m.name) x WHERE m.type = 'table' \
             UNION ALL SELECT type, name, COALESCE(sql, '') FROM sqlite_master WHERE type = 'index' ORDER BY 1, 2, 3",
        )
        .expect("a query");
    let rows = columns.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("rows");
    rows.map(|row| row.expect("a row")).collect()
}

#[tokio::test]
async fn a_migrated_schema_is_the_one_that_a_new_directory_has() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let (old, new) = (parent.path().join("old"), parent.path().join("new"));
    write_version_1(&old);
    for path in [&old, &new] {
        open(path).close().await;
    }
    let found = schema(&old);
    assert!(found.len() > 40, "{found:?}");
    assert_eq!(found, schema(&new));
}
