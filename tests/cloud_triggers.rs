//! Triggers as their users see them: what may be posted, and the flows that need more than one request. Other single requests
//! are in `rest_table`.
#![cfg(feature = "cloud")]

mod cloud_support;

use cloud_support::*;
use serde_json::{Value, json};
use thingif::cloud::{Cloud, Location, Options};
use thingif::edge::PushOutcome;

/// Ann owns the lamp and the fan, Bob the fan alone.
struct World {
    served: Served,
    roads: [Road; 2],
    names: Vec<(&'static str, String)>,
}

impl World {
    async fn start(set: impl FnOnce(&mut Options)) -> Self {
        let mut options = options();
        set(&mut options);
        let cloud = Cloud::open(options, Recorder::new(PushOutcome::Queued)).expect("opens");
        let service = Road::Service(cloud.service());
        let served = Served::start(cloud).await;
        let http = served.http.clone();
        let (ann, ann_token) = user(&http, APP, KEY, "ann").await;
        let (bob, bob_token) = user(&http, APP, KEY, "bob").await;
        let (_, stranger) = user(&http, OTHER_APP, OTHER_KEY, "ann").await;
        let lamp = onboard_by_owner(&http, APP, "lamp", &ann, &ann_token).await;
        let fan = onboard_by_owner(&http, APP, "fan", &ann, &ann_token).await;
        onboard_by_owner(&http, APP, "fan", &bob, &bob_token).await;
        let topic = |thing: &Answer| thing.json()["mqttEndpoint"]["mqttTopic"].as_str().expect("a topic").to_owned();
        let names = vec![
            ("{LAMP}", lamp.text("thingID")),
            ("{FAN}", fan.text("thingID")),
            ("{ann}", ann),
            ("{bob}", bob),
            ("$lamp", lamp.text("accessToken")),
            ("$ann", ann_token),
            ("$bob", bob_token),
            ("$stranger", stranger),
            ("#lamp", topic(&lamp)),
            ("#fan", topic(&fan)),
        ];
        Self { roads: [service, http], served, names }
    }

    fn fill(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// `path` is below the lamp.
    async fn call(&self, road: &Road, method: &str, path: &str, token: &str, body: &str) -> Answer {
        let path = self.fill(&format!("/thing-if/apps/{APP}/targets/thing:{{LAMP}}/{path}"));
        road.call(method, &path, &self.fill(token), &self.fill(body)).await
    }

    async fn ann(&self, method: &str, path: &str, body: &str) -> Answer {
        self.call(&self.roads[1], method, path, "$ann", body).await
    }

    async fn make(&self, body: &str) -> String {
        let made = self.ann("POST", "triggers", body).await;
        assert_eq!(made.status, 201, "{body}: {made:?}");
        made.text("triggerID")
    }

    async fn get(&self, id: &str) -> Value {
        let got = self.ann("GET", &format!("triggers/{id}"), "").await;
        assert_eq!(got.status, 200, "{got:?}");
        got.json()
    }
}

const COMMAND: &str = r#""command":{"issuer":"user:{ann}","schema":"S","schemaVersion":1,"actions":[{"on":{}}]}"#;
const HOURLY: &str = r#""predicate":{"eventSource":"SCHEDULE","schedule":"0 * * * *"}"#;

/// A body of `COMMAND` with this predicate.
fn when(predicate: &str) -> String {
    format!(r#"{{"triggersWhat":"COMMAND",{COMMAND},"predicate":{predicate}}}"#)
}

/// A body with this command, every hour.
fn what(command: &str) -> String {
    format!(r#"{{"triggersWhat":"COMMAND","command":{command},{HOURLY}}}"#)
}

fn states(condition: &str) -> String {
    when(&format!(r#"{{"eventSource":"STATES","condition":{condition},"triggersWhen":"CONDITION_TRUE"}}"#))
}

/// Bodies of POST, each by Ann: status and errorCode.
fn posts() -> Vec<(String, u16, &'static str)> {
    let eq = r#"{"type":"eq","field":"power","value":true}"#;
    let traits = r#"{"issuer":"user:{ann}","actions":[{"Lamp":[{"on":true}]}]}"#;
    let far = 4_102_444_800_000_i64;
    let deep = format!("{}{eq}{}", r#"{"type":"not","clause":"#.repeat(20), "}".repeat(20));
    let many = format!(r#"{{"type":"and","clauses":[{}]}}"#, vec![eq; 101].join(","));
    let command = |field: &str, value: &str| {
        let mut command: Value =
            serde_json::from_str(r#"{"issuer":"user:{ann}","schema":"S","schemaVersion":1,"actions":[{"on":{}}]}"#)
                .expect("JSON");
        command[field] = serde_json::from_str(value).expect("JSON");
        what(&command.to_string())
    };
    let long = |field: &str, len: usize| format!(r#"{{{COMMAND},{HOURLY},"{field}":"{}"}}"#, "é".repeat(len));
    let nested = format!(r#"{{{COMMAND},{HOURLY},"metadata":{{"k":[{}1]}}}}"#, "1,".repeat(17_000));
    let wrong_predicate = |predicate: &str| (when(predicate), 400, "WRONG_PREDICATE");
    vec![
        // What is taken.
        (when(r#"{"eventSource":"SCHEDULE","schedule":"0/5 6-18 * * MON-FRI"}"#), 201, ""),
        (when(&format!(r#"{{"eventSource":"SCHEDULE_ONCE","scheduleAt":{far}}}"#)), 201, ""),
        (states(eq), 201, ""),
        (states(&format!(r#"{{"type":"not","clause":{eq}}}"#)), 201, ""),
        (states(r#"{"type":"range","field":"t","upperLimit":90,"upperIncluded":true}"#), 201, ""),
        (states(&format!(r#"{{"type":"or","clauses":[{eq},{eq}]}}"#)), 201, ""),
        (states(r#"{"type":"eq","alias":"Lamp","field":"power","value":"on"}"#), 201, ""),
        (what(traits), 201, ""),
        (command("target", r#""thing:{FAN}""#), 201, ""),
        (command("target", r#""THING:{LAMP}""#), 201, ""),
        (format!(r#"{{{COMMAND},{HOURLY}}}"#), 201, ""),
        (format!(r#"{{"triggersWhat":"SERVER_CODE","serverCode":{{"endpoint":"f"}},{HOURLY}}}"#), 201, ""),
        (
            format!(
                r#"{{"triggersWhat":"SERVER_CODE",{HOURLY},"serverCode":{{"endpoint":"f","executorAccessToken":"secret-of-somebody",
                "targetAppID":"x","parameters":{{"a":1}}}},"title":"t","description":"d","metadata":{{"k":1}}}}"#
            ),
            201,
            "",
        ),
        (long("title", 50), 201, ""),
        (long("description", 200), 201, ""),
        // What is no trigger.
        ("{".into(), 400, "INVALID_JSON"),
        ("".into(), 400, "INVALID_JSON"),
        ("[]".into(), 400, "WRONG_TRIGGER"),
        ("{}".into(), 400, "WRONG_PREDICATE"),
        (format!("{{{HOURLY}}}"), 400, "WRONG_TRIGGER"),
        (format!(r#"{{"triggersWhat":"COMMAND",{HOURLY}}}"#), 400, "WRONG_TRIGGER"),
        (format!(r#"{{"triggersWhat":"SERVER_CODE",{COMMAND},{HOURLY}}}"#), 400, "WRONG_TRIGGER"),
        (format!(r#"{{"triggersWhat":"MAGIC",{COMMAND},{HOURLY}}}"#), 400, "WRONG_TRIGGER"),
        (format!(r#"{{"serverCode":{{}},{HOURLY}}}"#), 400, "WRONG_TRIGGER"),
        (format!(r#"{{"serverCode":{{"endpoint":1}},{HOURLY}}}"#), 400, "WRONG_TRIGGER"),
        (command("actions", "[]"), 400, "WRONG_TRIGGER"),
        (command("actions", "null"), 400, "WRONG_TRIGGER"),
        (command("actions", r#"[{"on":{},"off":{}}]"#), 400, "WRONG_TRIGGER"),
        (command("issuer", "null"), 400, "WRONG_TRIGGER"),
        (command("issuer", r#""ann""#), 400, "WRONG_TRIGGER"),
        (command("schema", "null"), 400, "WRONG_TRIGGER"),
        (command("schemaVersion", "null"), 400, "WRONG_TRIGGER"),
        (command("target", r#""{FAN}""#), 400, "WRONG_TRIGGER"),
        (command("actions", &format!(r#"[{{"say":{{"t":"{}"}}}}]"#, "x".repeat(4_096))), 400, "WRONG_TRIGGER"),
        (long("title", 51), 400, "WRONG_TRIGGER"),
        (long("description", 201), 400, "WRONG_TRIGGER"),
        (format!(r#"{{{COMMAND},{HOURLY},"metadata":[]}}"#), 400, "WRONG_TRIGGER"),
        (nested, 400, "WRONG_TRIGGER"),
        // What is no predicate.
        (format!(r#"{{"triggersWhat":"COMMAND",{COMMAND}}}"#), 400, "WRONG_PREDICATE"),
        wrong_predicate("{}"),
        wrong_predicate("1"),
        wrong_predicate(r#"{"eventSource":"MOON"}"#),
        wrong_predicate(r#"{"eventSource":"SCHEDULE"}"#),
        wrong_predicate(r#"{"eventSource":"SCHEDULE","schedule":""}"#),
        wrong_predicate(r#"{"eventSource":"SCHEDULE","schedule":"0 0 0 1 1 *"}"#),
        wrong_predicate(r#"{"eventSource":"SCHEDULE","schedule":"0 25 * * *"}"#),
        wrong_predicate(r#"{"eventSource":"SCHEDULE","schedule":"0 0 31 2 *"}"#),
        wrong_predicate(r#"{"eventSource":"SCHEDULE_ONCE"}"#),
        wrong_predicate(r#"{"eventSource":"SCHEDULE_ONCE","scheduleAt":"soon"}"#),
        wrong_predicate(r#"{"eventSource":"SCHEDULE_ONCE","scheduleAt":1}"#),
        wrong_predicate(r#"{"eventSource":"SCHEDULE_ONCE","scheduleAt":-9223372036854775808}"#),
        wrong_predicate(r#"{"eventSource":"STATES","triggersWhen":"CONDITION_TRUE"}"#),
        wrong_predicate(r#"{"eventSource":"STATES","condition":{"type":"eq","field":"x","value":1}}"#),
        (states(r#"{"type":"xor"}"#), 400, "WRONG_PREDICATE"),
        (states(r#"{"type":"eq","field":"x"}"#), 400, "WRONG_PREDICATE"),
        (states(r#"{"type":"eq","field":"x","value":[1]}"#), 400, "WRONG_PREDICATE"),
        (states(&deep), 400, "WRONG_PREDICATE"),
        (states(&many), 400, "WRONG_PREDICATE"),
        // Who is commanded, and in whose name.
        (command("target", r#""user:{ann}""#), 404, "TARGET_NOT_FOUND"),
        (command("target", r#""thing:nosuch""#), 404, "TARGET_NOT_FOUND"),
        (command("issuer", r#""user:{bob}""#), 401, "UNAUTHORIZED"),
    ]
}

fn check(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}: {answer:?}");
    if status >= 400 {
        assert!(!answer.text("message").is_empty(), "{what}: {answer:?}");
    }
    assert!(!String::from_utf8_lossy(&answer.body).contains("secret-of-somebody"), "{what}: {answer:?}");
}

#[tokio::test]
async fn every_post_has_its_answer_over_both_roads() {
    let world = World::start(|_| {}).await;
    for road in &world.roads {
        for (body, status, code) in posts() {
            let answer = world.call(road, "POST", "triggers", "$ann", &body).await;
            check(&answer, status, code, &body);
            if status == 201 {
                let id = answer.text("triggerID");
                assert_eq!(answer.json(), json!({ "triggerID": id }));
                let read = world.call(road, "GET", &format!("triggers/{id}"), "$ann", "").await;
                check(&read, 200, "", &body);
            }
        }
    }
    world.served.stop().await;
}

#[tokio::test]
async fn a_trigger_comes_back_as_it_was_posted_and_changed() {
    let world = World::start(|_| {}).await;
    let predicate = json!({ "eventSource": "STATES", "triggersWhen": "CONDITION_CHANGED",
        "condition": { "type": "eq", "field": "power", "value": true } });
    let command = json!({ "issuer": world.fill("user:{ann}"), "schema": "S", "schemaVersion": 1,
        "actions": [{ "on": {} }], "title": "c", "description": "cd", "metadata": { "c": 1 } });
    let body = json!({ "triggersWhat": "COMMAND", "predicate": predicate, "command": command, "title": "t",
        "description": "d", "metadata": { "k": [1] } });
    let id = world.make(&body.to_string()).await;
    let mut shown = command.clone();
    shown["target"] = json!(world.fill("thing:{LAMP}"));
    let expected = json!({ "triggerID": id, "predicate": predicate, "disabled": false, "command": shown, "title": "t",
        "description": "d", "metadata": { "k": [1] } });
    assert_eq!(world.get(&id).await, expected);

    let code = json!({ "endpoint": "f", "targetAppID": "x", "parameters": { "a": 1 } });
    let schedule = json!({ "eventSource": "SCHEDULE", "schedule": "0/5 * * * *" });
    let patch = json!({ "triggersWhat": "SERVER_CODE", "serverCode": code, "predicate": schedule, "title": "t2" });
    let path = format!("triggers/{id}");
    assert_eq!(world.ann("PATCH", &path, &patch.to_string()).await.status, 204);
    let expected = json!({ "triggerID": id, "predicate": schedule, "disabled": false, "serverCode": code, "title": "t2",
        "description": "d", "metadata": { "k": [1] } });
    assert_eq!(world.get(&id).await, expected);

    assert_eq!(world.ann("PUT", &format!("{path}/disable"), "").await.status, 204);
    let mut off = expected.clone();
    off["disabled"] = json!(true);
    assert_eq!(world.get(&id).await, off);
    let list = world.ann("GET", "triggers", "").await.json();
    assert_eq!(list, json!({ "triggers": [off] }));
    assert_eq!(world.ann("PUT", &format!("{path}/enable"), "").await.status, 204);
    assert_eq!(world.get(&id).await, expected);
    world.served.stop().await;
}

#[tokio::test]
async fn triggers_are_listed_in_pages_oldest_first() {
    let world = World::start(|_| {}).await;
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(world.make(&when(r#"{"eventSource":"SCHEDULE","schedule":"0 * * * *"}"#)).await);
    }
    for road in &world.roads {
        let (mut seen, mut key) = (Vec::new(), String::new());
        loop {
            let path = format!("triggers?bestEffortLimit=3{key}");
            let page = world.call(road, "GET", &path, "$ann", "").await.json();
            let triggers = page["triggers"].as_array().expect("a list").clone();
            assert!((1..=3).contains(&triggers.len()));
            seen.extend(triggers.into_iter().map(|trigger| trigger["triggerID"].as_str().expect("an id").to_owned()));
            match page["nextPaginationKey"].as_str() {
                Some(next) => key = format!("&paginationKey={next}"),
                None => break,
            }
        }
        assert_eq!(seen, ids);
    }
    world.served.stop().await;
}

#[tokio::test]
async fn a_thing_has_as_many_triggers_as_it_may_and_no_more() {
    let world = World::start(|options| options.max_triggers = 2).await;
    let body = when(r#"{"eventSource":"SCHEDULE","schedule":"0 * * * *"}"#);
    let first = world.make(&body).await;
    world.make(&body).await;
    for road in &world.roads {
        let refused = world.call(road, "POST", "triggers", "$ann", &body).await;
        check(&refused, 409, "OPERATION_NOT_ALLOWED", "one too many");
    }
    assert_eq!(world.ann("DELETE", &format!("triggers/{first}"), "").await.status, 204);
    world.make(&body).await;
    world.served.stop().await;
}

#[tokio::test]
async fn a_deleted_thing_takes_its_triggers_results_and_commands_along() {
    let data = tempfile::tempdir().expect("a directory");
    let path = data.path().join("cloud");
    let world = World::start(|options| options.store = Location::Dir(path.clone())).await;
    let fires = r#"{"eventSource":"STATES","condition":{"type":"eq","field":"on","value":true},"triggersWhen":"CONDITION_TRUE"}"#;
    world.make(&when(fires)).await;
    world.make(&format!(r#"{{"serverCode":{{"endpoint":"f"}},"predicate":{fires}}}"#)).await;
    assert_eq!(world.ann("PUT", "states", r#"{"on":true}"#).await.status, 201);
    let database = rusqlite::Connection::open(path.join("thingif.db")).expect("a database");
    let rows = || {
        ["triggers", "trigger_results", "commands"].map(|table| -> i64 {
            database.query_row(&format!("SELECT COUNT(*) FROM {table}"), (), |row| row.get(0)).expect("a number")
        })
    };
    assert_eq!(rows(), [2, 1, 1]);
    let one = world.ann("GET", "triggers?bestEffortLimit=1", "").await.json();
    let code = one["nextPaginationKey"].as_str().expect("another page").to_owned();
    let code = world.ann("GET", &format!("triggers?paginationKey={code}"), "").await.json();
    let code = code["triggers"][0]["triggerID"].as_str().expect("an id").to_owned();
    assert_eq!(world.ann("DELETE", &format!("triggers/{code}"), "").await.status, 204);
    assert_eq!(rows(), [1, 0, 1], "a trigger takes its results along");
    let path = format!("/api/apps/{APP}/things/VENDOR_THING_ID:lamp");
    assert_eq!(world.roads[1].call("DELETE", &path, &world.fill("$ann"), "").await.status, 204);
    assert_eq!(world.ann("GET", "triggers", "").await.code(), "TARGET_NOT_FOUND");
    assert_eq!(rows(), [0, 0, 0]);
    world.served.stop().await;
}
