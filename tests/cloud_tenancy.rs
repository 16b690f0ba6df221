//! One application never sees another's things: every route, over HTTP and over MQTT, against every foreign credential.
//!
//! The table is in `cloud_tenancy/rows.rs`; a route of the router that has no row there fails the first test.
#![cfg(feature = "cloud")]

#[path = "cloud_tenancy/mqtt.rs"]
mod over_mqtt;
#[path = "cloud_tenancy/rows.rs"]
mod rows;
#[path = "cloud_tenancy/world.rs"]
mod world;

mod cloud_support;
#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "support/routes.rs"]
mod routes;

use std::collections::BTreeSet;

use cloud_support::Answer;
use routes::routes;
use rows::{MAY, ROWS, Rightful, Row, STRANGERS, Stranger};
use world::{SAME_ID, Side, Thing, World};

/// What an answer says, as the table writes it.
fn said(status: u16, code: &str) -> String {
    format!("{status} {code}").trim_end().to_owned()
}

fn told(answer: &Answer) -> String {
    said(answer.status, &answer.code())
}

/// The headers by which a stranger says who it is.
fn credentials(world: &World, stranger: Stranger) -> Vec<(&'static str, String)> {
    let World { home, foreign, .. } = world;
    let bearer = |token: &str| ("Authorization", format!("Bearer {token}"));
    let key = |side: &Side| [("X-Kii-AppID", side.app.to_owned()), ("X-Kii-AppKey", side.key.to_owned())];
    match stranger {
        Stranger::Nobody => vec![],
        Stranger::Nonsense => vec![bearer("nonsense")],
        Stranger::ForeignKey => vec![("Authorization", foreign.basic())],
        Stranger::ForeignHeaders => key(foreign).to_vec(),
        Stranger::ForeignOwner => vec![bearer(&foreign.owner.1)],
        Stranger::ForeignNeighbour => vec![bearer(&foreign.neighbour.1)],
        Stranger::ForeignThing => vec![bearer(&foreign.lamp.token)],
        Stranger::ForeignAdmin => vec![bearer(&foreign.admin)],
        Stranger::ForeignAnybody => vec![bearer(&foreign.anybody)],
        Stranger::ForeignOwnerWithKey => [vec![bearer(&foreign.owner.1)], key(home).to_vec()].concat(),
        Stranger::Neighbour => vec![bearer(&home.neighbour.1)],
        Stranger::NeighbourThing => vec![bearer(&home.kettle.token)],
    }
}

fn rightful(row: &Row, side: &Side) -> (&'static str, String) {
    match row.rightful.0 {
        Rightful::Key => ("Authorization", side.basic()),
        Rightful::Owner => ("Authorization", format!("Bearer {}", side.owner.1)),
        Rightful::Thing => ("Authorization", format!("Bearer {}", side.lamp.token)),
        Rightful::Admin => ("Authorization", format!("Bearer {}", side.admin)),
    }
}

async fn ask(world: &World, row: &Row, path: &str, headers: &[(&str, String)], body: &str) -> Answer {
    let mut all: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    if !row.media_type.is_empty() {
        all.push(("Content-Type", row.media_type));
    }
    world.http().send(row.method, path, &all, body).await
}

#[test]
fn every_route_has_a_row_and_every_row_a_route() {
    let in_table: BTreeSet<_> = ROWS.iter().map(|row| (row.method.to_owned(), row.route.to_owned())).collect();
    let in_router = routes();
    assert!(in_router.len() >= 11, "{in_router:?}");
    assert_eq!(in_router, in_table);
}

#[tokio::test]
async fn no_stranger_reaches_anything_over_http() {
    let world = World::start().await;
    let World { home, foreign, .. } = &world;
    for row in ROWS {
        for (stranger, expected) in STRANGERS.into_iter().zip(row.strangers).filter(|(_, told)| *told != MAY) {
            // Where a password is asked for, whoever names the other application has this one's, and the reverse: a right
            // password in the wrong place.
            let is_login = row.route.ends_with("/oauth2/token");
            let names_foreign =
                row.route == "/api/oauth2/token" && matches!(stranger, Stranger::ForeignKey | Stranger::ForeignHeaders);
            let secrets = if is_login && !names_foreign { foreign } else { home };
            let path = home.fill(row.path, home, &home.lamp, secrets);
            let body = home.fill(row.body, home, &home.lamp, secrets);
            let answer = ask(&world, row, &path, &credentials(&world, stranger), &body).await;
            assert_eq!(told(&answer), expected, "{} {path} as {stranger:?}: {body}", row.method);
            let text = String::from_utf8_lossy(&answer.body);
            for hidden in ["state of", "command in", &home.lamp.token, home.lamp.text("mqttTopic")] {
                assert!(!text.contains(hidden), "{} {path} as {stranger:?}: {text}", row.method);
            }
        }
    }
    let (before, after) = world.stop().await;
    assert_eq!(before, after, "nothing has changed, of whatever kind");
}

#[tokio::test]
async fn who_may_can() {
    let world = World::start().await;
    let home = &world.home;
    for row in ROWS {
        let mut headers = vec![rightful(row, home)];
        if row.route == "/api/oauth2/token" {
            headers = vec![("X-Kii-AppID", home.app.to_owned()), ("X-Kii-AppKey", home.key.to_owned())];
        }
        let path = home.fill(row.path, home, &home.lamp, home);
        let body = home.fill(row.body, home, &home.lamp, home);
        let answer = ask(&world, row, &path, &headers, &body).await;
        assert_eq!(answer.status, row.rightful.1, "{} {path}: {answer:?}", row.method);
        if row.path.ends_with("/states") && row.method == "GET" {
            assert_eq!(
                answer.json()["Lamp"]["power"],
                "stolen",
                "the state that the row before has put, and no namesake's"
            );
        }
    }
    let foreign = &world.foreign;
    let states = format!("/thing-if/apps/{}/targets/thing:{SAME_ID}/states", foreign.app);
    let state = world.http().call("GET", &states, &foreign.lamp.token, "").await;
    let secret = &state.json()["Lamp"]["secret"];
    assert_eq!(secret, &format!("state of lamp in {}", foreign.app), "the namesake has kept its own");
    world.stop().await;
}

/// A thing that is nowhere.
fn made_up(thing: &Thing) -> Thing {
    let mut nowhere = thing.clone();
    nowhere.id = "th.nowhere".to_owned();
    nowhere.vendor = "nothing";
    nowhere.registration = "00000000-0000-0000-0000-000000000000".to_owned();
    nowhere.endpoint["installationID"] = "nowhere".into();
    nowhere
}

#[tokio::test]
async fn what_is_in_another_application_is_told_from_what_is_nowhere_by_nothing() {
    let world = World::start().await;
    let World { home, foreign, .. } = &world;
    for row in ROWS {
        let by_vendor = row.path.contains("{vendor}") || row.body.contains("{vendor}");
        let by_name = row.body.contains("{login}");
        // In the other application, by someone who may everything there, with names and passwords from here.
        let path = home.fill(row.path, foreign, &home.kettle, home);
        let body = home.fill(row.body, home, &home.kettle, home);
        let headers = [rightful(row, foreign)];
        if by_vendor && row.method == "DELETE" {
            continue; // there is a namesake; below
        }
        let answer = ask(&world, row, &path, &headers, &body).await;
        assert_eq!(told(&answer), row.elsewhere, "{} {path}: {body}", row.method);
        if by_vendor || by_name {
            continue; // there are namesakes
        }
        let nowhere = made_up(&home.kettle);
        let path = home.fill(row.path, foreign, &nowhere, home);
        let body = home.fill(row.body, home, &nowhere, home);
        let of_nothing = ask(&world, row, &path, &headers, &body).await;
        assert_eq!(of_nothing.status, answer.status, "{} {path}", row.method);
        let shown = String::from_utf8_lossy(&answer.body)
            .replace(&home.kettle.id, &nowhere.id)
            .replace(&home.kettle.registration, &nowhere.registration)
            .replace(home.kettle.text("installationID"), nowhere.text("installationID"));
        assert_eq!(shown, String::from_utf8_lossy(&of_nothing.body), "{} {path}", row.method);
    }

    // The thing of the same id has no command of the same id.
    let command = |id: &str| format!("/thing-if/apps/{}/targets/thing:{SAME_ID}/commands/{id}", foreign.app);
    let read = world.http().call("GET", &command(&home.command), &foreign.owner.1, "").await;
    assert_eq!(told(&read), "404 COMMAND_NOT_FOUND");
    let results = format!("{}/action-results", command(&home.command));
    let results = world.http().call("PUT", &results, &foreign.lamp.token, r#"{"actionResults":[]}"#).await;
    assert_eq!(told(&results), "404 COMMAND_NOT_FOUND");
    let list = world.http().call("GET", &command("").replace("commands/", "commands"), &foreign.owner.1, "").await;
    let titles: Vec<_> =
        list.json()["commands"].as_array().expect("a list").iter().map(|c| c["title"].clone()).collect();
    assert_eq!(titles, [format!("command in {}", foreign.app)]);

    // Nor a trigger, nor one whose command could reach over.
    let trigger = |id: &str| format!("/thing-if/apps/{}/targets/thing:{SAME_ID}/triggers/{id}", foreign.app);
    let missing = [
        ("GET", trigger(&home.trigger)),
        ("DELETE", trigger(&home.trigger)),
        ("PUT", trigger(&home.trigger) + "/enable"),
        ("GET", trigger(&home.trigger) + "/results/server-code"),
    ];
    for (method, path) in &missing {
        let answer = world.http().call(method, path, &foreign.owner.1, "").await;
        assert_eq!(told(&answer), "404 TRIGGER_NOT_FOUND", "{method} {path}");
    }
    let reaching = format!(
        r#"{{"triggersWhat":"COMMAND","predicate":{{"eventSource":"SCHEDULE","schedule":"* * * * *"}},"command":
        {{"issuer":"user:{}","target":"thing:{}","schema":"S","schemaVersion":1,"actions":[{{"unlock":{{}}}}]}}}}"#,
        foreign.owner.0, home.kettle.id
    );
    let path = trigger("").replace("triggers/", "triggers");
    let answer = world.http().call("POST", &path, &foreign.owner.1, &reaching).await;
    assert_eq!(told(&answer), "404 TARGET_NOT_FOUND");
    let patched = world.http().call("PATCH", &trigger(&foreign.trigger), &foreign.owner.1, &reaching).await;
    assert_eq!(told(&patched), "404 TARGET_NOT_FOUND");

    // The end of a namesake is the end of the namesake.
    let path = format!("/api/apps/{}/things/VENDOR_THING_ID:lamp", foreign.app);
    assert_eq!(world.http().call("DELETE", &path, &foreign.owner.1, "").await.status, 204);
    let (before, after) = world.stop().await;
    assert_eq!(before, after);
}
