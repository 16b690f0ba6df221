//! Triggers against a naive model, in time that the tests set, and over restarts.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Request;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower_service::Service as _;

use super::{bring_forward, run_due};
use crate::cloud::state_change::StateChange;
use crate::cloud::store::{Sql, StoreError};
use crate::cloud::thing_state::ThingState;
use crate::cloud::{Clock, Cloud, Location, Options, PasswordCost, TriggerCounts};
use crate::edge::{PushOutcome, Pusher};
use crate::ids::{AppId, ClientId, ThingId};
use crate::thing_if::State;

/// 2023-11-14 22:13:20 UTC.
const BEGIN: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60_000;

struct Pushes(mpsc::UnboundedSender<Bytes>);

impl Pusher for Pushes {
    fn push<'a>(&'a self, _: &'a ClientId, payload: Bytes) -> Pin<Box<dyn Future<Output = PushOutcome> + Send + 'a>> {
        // A test that has heard enough listens no more.
        let _ = self.0.send(payload);
        Box::pin(async { PushOutcome::Queued })
    }

    fn claim<'a>(&'a self, _: &'a ClientId, _: u64) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async {})
    }

    fn disconnect<'a>(&'a self, _: &'a ClientId) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async {})
    }
}

/// A cloud with one thing, which makes triggers for itself.
struct World {
    cloud: Cloud,
    now: Arc<AtomicI64>,
    pushes: mpsc::UnboundedReceiver<Bytes>,
    app: AppId,
    thing: ThingId,
    token: String,
}

fn options(clock: Clock, directory: Option<&Path>) -> Options {
    Options {
        store: directory.map_or(Location::Memory, |path| Location::Dir(path.to_owned())),
        apps: vec![(AppId::new("app").expect("valid"), "key".into())],
        password_cost: PasswordCost { memory_kib: 8, passes: 1 },
        clock,
        ..Options::default()
    }
}

async fn call(cloud: &Cloud, line: &str, authorization: &str, media_type: &str, body: &Value) -> (u16, Value) {
    let (method, path) = line.split_once(' ').expect("method and path");
    let request = Request::builder().method(method).uri(path).header("Authorization", authorization);
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let request = request.header("Content-Type", media_type).body(body).expect("a request");
    let answer = cloud.service().call(request).await.expect("infallible");
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap_or_default())
}

impl World {
    /// In time that the test sets.
    async fn start(directory: Option<&Path>, set: impl FnOnce(&mut Options)) -> Self {
        let now = Arc::new(AtomicI64::new(BEGIN));
        let millis = Arc::clone(&now);
        let clock = Clock::new(move || since_1970(millis.load(Ordering::SeqCst)));
        let mut options = options(clock, directory);
        set(&mut options);
        Self::open(options, now).await
    }

    async fn open(options: Options, now: Arc<AtomicI64>) -> Self {
        let (sender, pushes) = mpsc::unbounded_channel();
        let cloud = Cloud::open(options, Arc::new(Pushes(sender))).expect("opens");
        let path = "POST /thing-if/apps/app/onboardings";
        let body = json!({ "vendorThingID": "lamp", "thingPassword": "secret" });
        let media_type = "application/vnd.kii.OnboardingWithVendorThingIDByThing+json";
        let (status, answer) = call(&cloud, path, "Basic YXBwOmtleQ==", media_type, &body).await;
        assert_eq!(status, 200, "{answer}");
        let text = |field: &str| answer[field].as_str().expect("text").to_owned();
        let thing = ThingId::new(text("thingID")).expect("valid");
        Self { cloud, now, pushes, app: AppId::new("app").expect("valid"), thing, token: text("accessToken") }
    }

    /// Ends the cloud and opens it again, `later` milliseconds from now.
    async fn restart(self, directory: &Path, later: i64) -> Self {
        self.cloud.close().await;
        drop(self.cloud);
        let now = Arc::clone(&self.now);
        now.fetch_add(later, Ordering::SeqCst);
        let clock = Clock::new(move || since_1970(now.load(Ordering::SeqCst)));
        Self::open(options(clock, Some(directory)), self.now).await
    }

    fn later(&self, millis: i64) {
        self.now.fetch_add(millis, Ordering::SeqCst);
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let line = format!("{method} /thing-if/apps/app/targets/thing:{}/{path}", self.thing);
        call(&self.cloud, &line, &format!("Bearer {}", self.token), "application/json", body).await
    }

    async fn make(&self, predicate: Value) -> String {
        let command = json!({ "actions": [{ "on": {} }], "issuer": format!("thing:{}", self.thing), "schema": "S",
            "schemaVersion": 1 });
        let body = json!({ "triggersWhat": "COMMAND", "predicate": predicate, "command": command });
        let (status, answer) = self.ask("POST", "triggers", &body).await;
        assert_eq!(status, 201, "{answer}");
        answer["triggerID"].as_str().expect("an id").to_owned()
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, &Value::Null).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// The states of all commands, newest first.
    async fn commands(&self) -> Vec<String> {
        let all = self.get("commands").await;
        let all = all["commands"].as_array().expect("a list").iter();
        all.map(|command| command["commandState"].as_str().expect("text").to_owned()).collect()
    }

    /// As a request would that brings `after`.
    async fn put(&self, before: Option<&Value>, after: &Value) {
        let state =
            |value: &Value| ThingState::Flat(serde_json::from_value::<State>(value.clone()).expect("an object"));
        let change = StateChange {
            app: self.app.clone(),
            thing: self.thing.clone(),
            before: before.map(state),
            after: state(after),
            now: self.cloud.now(),
        };
        let cloud = self.cloud.clone();
        let write = move |sql: &mut dyn Sql| cloud.state_changed(sql, &change);
        let consequences: Result<_, StoreError> = self.cloud.store().write(write).await;
        self.cloud.follow(consequences.expect("written")).await;
    }

    fn pushed(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.pushes.try_recv().ok())
            .map(|push| serde_json::from_slice(&push).expect("JSON"))
            .collect()
    }

    async fn run_due(&self) {
        run_due(&self.cloud).await.expect("the store works");
    }

    fn counts(&self) -> (u64, u64, u64, u64) {
        let TriggerCounts { fired, suppressed, missed, switched_off } = self.cloud.trigger_counts();
        (fired, suppressed, missed, switched_off)
    }
}

fn since_1970(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).expect("after 1970"))
}

fn states(least: i64, when: &str) -> Value {
    let condition = json!({ "type": "range", "field": "t", "lowerLimit": least });
    json!({ "eventSource": "STATES", "condition": condition, "triggersWhen": when })
}

#[derive(Debug, Clone)]
enum Step {
    Put(Option<i64>),
    Enable,
    Disable,
    /// Another limit.
    Patch(i64),
    /// Another title, which is none of the predicate's business.
    Rename,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::option::weighted(0.9, 0_i64..6).prop_map(Step::Put),
        1 => Just(Step::Enable),
        1 => Just(Step::Disable),
        1 => (0_i64..6).prop_map(Step::Patch),
        1 => Just(Step::Rename),
    ]
}

/// One trigger as somebody would explain it: it remembers how its condition was when it last looked, and it looks whenever
/// a state comes, it is switched on, or its condition changes.
struct Model {
    when: &'static str,
    least: i64,
    is_on: bool,
    last: bool,
    state: Option<Option<i64>>,
}

impl Model {
    fn look(&self) -> bool {
        self.state.flatten().is_some_and(|t| t >= self.least)
    }

    fn take(&mut self, step: &Step) -> bool {
        match step {
            Step::Put(t) => {
                self.state = Some(*t);
                let (last, now) = (self.last, self.look());
                self.last = now;
                self.is_on
                    && match self.when {
                        "CONDITION_TRUE" => now,
                        "CONDITION_FALSE_TO_TRUE" => now && !last,
                        _ => now != last,
                    }
            }
            Step::Enable => {
                self.is_on = true;
                self.last = self.look();
                false
            }
            Step::Disable => {
                self.is_on = false;
                false
            }
            Step::Patch(least) => {
                self.least = *least;
                self.last = self.look();
                false
            }
            Step::Rename => false,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_trigger_fires_when_a_naive_one_does(
        before in prop::option::of(0_i64..6),
        least in 0_i64..6,
        steps in prop::collection::vec(step(), 1..25),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut world = World::start(None, |options| options.trigger_firings_per_minute = 6_000).await;
            let state_of = |t: Option<i64>| t.map_or_else(|| json!({}), |t| json!({ "t": t }));
            let mut state = before.map(|t| json!({ "t": t }));
            let mut models = Vec::new();
            for when in ["CONDITION_TRUE", "CONDITION_FALSE_TO_TRUE", "CONDITION_CHANGED"] {
                let id = world.make(states(least, when)).await;
                let mut model = Model { when, least, is_on: true, last: false, state: before.map(Some) };
                model.last = model.look();
                models.push((id, model));
            }
            for step in &steps {
                let mut expected = 0;
                for (id, model) in &mut models {
                    expected += usize::from(model.take(step));
                    let path = format!("triggers/{id}");
                    let (method, path, body) = match step {
                        Step::Put(_) => continue,
                        Step::Enable => ("PUT", format!("{path}/enable"), Value::Null),
                        Step::Disable => ("PUT", format!("{path}/disable"), Value::Null),
                        Step::Patch(least) => ("PATCH", path, json!({ "predicate": states(*least, model.when) })),
                        Step::Rename => ("PATCH", path, json!({ "title": "another" })),
                    };
                    let (status, answer) = world.ask(method, &path, &body).await;
                    assert_eq!(status, 204, "{answer}");
                }
                if let Step::Put(t) = step {
                    let after = state_of(*t);
                    world.put(state.as_ref(), &after).await;
                    state = Some(after);
                }
                assert_eq!(world.pushed().len(), expected, "after {step:?} of {steps:?}");
            }
            world.cloud.close().await;
        });
    }
}

#[tokio::test]
async fn a_fired_command_says_who_asked_and_what_fired_it() {
    let mut world = World::start(None, |_| {}).await;
    let trigger = world.make(states(3, "CONDITION_TRUE")).await;
    world.put(None, &json!({ "t": 3 })).await;
    let pushed = world.pushed();
    assert_eq!(pushed.len(), 1);
    let issuer = format!("thing:{}", world.thing);
    let commands = world.get("commands").await;
    let command = &commands["commands"][0];
    assert_eq!(command["firedByTriggerID"], trigger);
    assert_eq!((&command["issuer"], &command["schema"]), (&json!(issuer), &json!("S")));
    let expected = json!({ "schema": "S", "schemaVersion": 1, "commandID": command["commandID"],
        "actions": [{ "on": {} }], "issuer": issuer });
    assert_eq!(pushed[0], expected, "as any command");
    assert_eq!(world.counts(), (1, 0, 0, 0));
}

#[tokio::test]
async fn what_a_refused_state_would_have_fired_is_not_fired() {
    let mut world = World::start(None, |_| {}).await;
    world.make(states(3, "CONDITION_TRUE")).await;
    let change = StateChange {
        app: world.app.clone(),
        thing: world.thing.clone(),
        before: None,
        after: ThingState::Flat(serde_json::from_value(json!({ "t": 9 })).expect("an object")),
        now: BEGIN,
    };
    let cloud = world.cloud.clone();
    let write = move |sql: &mut dyn Sql| -> Result<(), StoreError> {
        drop(cloud.state_changed(sql, &change)?);
        Err(StoreError::new(crate::cloud::store::StoreErrorKind::Failed, "on purpose"))
    };
    assert!(world.cloud.store().write(write).await.is_err());
    assert!(world.pushed().is_empty());
    assert!(world.commands().await.is_empty(), "the command went with the state");
}

#[tokio::test]
async fn a_trigger_that_sets_itself_off_is_held_to_its_rate() {
    let mut world = World::start(None, |options| options.trigger_firings_per_minute = 5).await;
    world.make(states(0, "CONDITION_TRUE")).await;
    let state = json!({ "t": 1 });
    for _ in 0..20 {
        world.put(Some(&state), &state).await;
        world.later(100);
    }
    assert_eq!((world.pushed().len(), world.counts()), (5, (5, 15, 0, 0)));
    // A request that came earlier and is executed later begins no new minute.
    world.later(-2_001);
    world.put(Some(&state), &state).await;
    assert_eq!((world.pushed().len(), world.counts()), (0, (5, 16, 0, 0)));
    world.later(MINUTE + 2_001);
    world.put(Some(&state), &state).await;
    assert_eq!((world.pushed().len(), world.counts()), (1, (6, 16, 0, 0)));
    // A clock that is set back does not stop it for long.
    world.later(-10 * MINUTE);
    world.put(Some(&state), &state).await;
    assert_eq!(world.pushed().len(), 1);
}

#[tokio::test]
async fn a_trigger_whose_owner_lost_its_rights_is_switched_off_and_says_why() {
    let mut world = World::start(None, |_| {}).await;
    let id = world.make(states(0, "CONDITION_TRUE")).await;
    let disown = |sql: &mut dyn Sql| -> Result<(), StoreError> {
        sql.execute("UPDATE triggers SET owner = 'user:nobody'", &[]).map(drop)
    };
    world.cloud.store().write(disown).await.expect("written");
    for _ in 0..2 {
        world.put(None, &json!({ "t": 1 })).await;
    }
    assert!(world.pushed().is_empty());
    assert_eq!(world.counts(), (0, 0, 0, 1));
    let trigger = world.get(&format!("triggers/{id}")).await;
    assert_eq!(trigger["disabled"], true);
    assert_eq!(trigger["disabledReason"], "Whoever gave it its command may no longer command that thing");
}

fn once(at: i64) -> Value {
    json!({ "eventSource": "SCHEDULE_ONCE", "scheduleAt": at })
}

fn cron(schedule: &str) -> Value {
    json!({ "eventSource": "SCHEDULE", "schedule": schedule })
}

#[tokio::test]
async fn a_schedule_fires_at_its_times_and_one_that_comes_once_then_is_off() {
    let mut world = World::start(None, |_| {}).await;
    world.make(cron("*/2 * * * *")).await;
    let id = world.make(once(BEGIN + 5)).await;
    world.later(4);
    world.run_due().await;
    assert!(world.pushed().is_empty());
    world.later(1);
    world.run_due().await;
    world.run_due().await;
    assert_eq!(world.pushed().len(), 1);
    let trigger = world.get(&format!("triggers/{id}")).await;
    assert_eq!((&trigger["disabled"], &trigger["disabledReason"]), (&json!(true), &json!("It has fired")));
    let (status, answer) = world.ask("PUT", &format!("triggers/{id}/enable"), &Value::Null).await;
    assert_eq!((status, &answer["errorCode"]), (400, &json!("WRONG_PREDICATE")), "its time has passed");
    let again = json!({ "predicate": once(BEGIN + 10) });
    assert_eq!(world.ask("PATCH", &format!("triggers/{id}"), &again).await.0, 204);
    assert_eq!(world.ask("PUT", &format!("triggers/{id}/enable"), &Value::Null).await.0, 204);
    world.later(5);
    world.run_due().await;
    assert_eq!(world.pushed().len(), 1, "a new time, switched on");
    // 22:13:20 and a bit: 22:14, 22:16, …
    let mut fired = Vec::new();
    for _ in 0..10 {
        world.later(MINUTE / 2);
        world.run_due().await;
        fired.push(world.pushed().len());
    }
    assert_eq!(fired, [0, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
    assert_eq!(world.counts(), (5, 0, 0, 0));
}

#[tokio::test]
async fn a_schedule_that_is_off_does_not_fire_and_starts_anew_when_it_is_on() {
    let mut world = World::start(None, |_| {}).await;
    let id = world.make(cron("* * * * *")).await;
    assert_eq!(world.ask("PUT", &format!("triggers/{id}/disable"), &Value::Null).await.0, 204);
    let other = json!({ "predicate": cron("*/5 * * * *") });
    assert_eq!(world.ask("PATCH", &format!("triggers/{id}"), &other).await.0, 204, "which does not switch it on");
    world.later(30 * MINUTE);
    world.run_due().await;
    assert!(world.pushed().is_empty());
    assert_eq!(world.ask("PUT", &format!("triggers/{id}/enable"), &Value::Null).await.0, 204);
    world.run_due().await;
    assert!(world.pushed().is_empty(), "22:43:20");
    world.later(2 * MINUTE);
    world.run_due().await;
    assert_eq!(world.pushed().len(), 1, "22:45");
}

#[tokio::test]
async fn what_was_missed_while_the_service_was_down_is_made_up_for_within_bounds() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("d");
    let world = World::start(Some(&path), |_| {}).await;
    let soon = world.make(once(BEGIN + MINUTE)).await;
    let late = world.make(once(BEGIN + 20 * MINUTE)).await;
    world.make(cron("* * * * *")).await;
    // 22:43:20: the first is late by half an hour, the second by ten minutes, the third by more than a minute.
    let mut world = world.restart(&path, 30 * MINUTE).await;
    world.run_due().await;
    assert_eq!(world.pushed().len(), 2);
    assert_eq!(world.counts(), (2, 0, 1, 0));
    world.later(MINUTE);
    world.run_due().await;
    assert_eq!(world.pushed().len(), 1, "the next time, once, for all those that were missed");
    for id in [soon, late] {
        assert_eq!(world.get(&format!("triggers/{id}")).await["disabledReason"], "It has fired");
    }

    let third = world.make(once(world.cloud.now() + MINUTE)).await;
    let mut world = world.restart(&path, 61 * MINUTE + 1).await;
    world.run_due().await;
    assert!(world.pushed().is_empty());
    assert_eq!(world.commands().await[0], "SEND_FAILED", "what was to be is on record");
    let trigger = world.get(&format!("triggers/{third}")).await;
    assert_eq!(trigger["disabledReason"], "Its time passed while the service did not run");
    assert_eq!(world.counts(), (1, 0, 2, 0));
    // Down for less than a minute: what was due in it fires.
    world.later(MINUTE);
    world.run_due().await;
    assert_eq!(world.pushed().len(), 1);
    let mut world = world.restart(&path, MINUTE).await;
    world.run_due().await;
    assert_eq!(world.pushed().len(), 1);
}

#[tokio::test]
async fn an_end_between_commit_and_push_neither_loses_nor_doubles_a_firing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("d");
    let world = World::start(Some(&path), |_| {}).await;
    world.make(states(0, "CONDITION_FALSE_TO_TRUE")).await;
    world.make(once(BEGIN + 1)).await;
    world.later(1);
    // As far as the commit, and no further.
    let (cloud, now) = (world.cloud.clone(), world.cloud.now());
    let fired: Result<_, StoreError> =
        world.cloud.store().write(move |sql: &mut dyn Sql| super::due::fire_due(&cloud, sql, now)).await;
    assert_eq!(fired.expect("written").len(), 1);
    let change = StateChange {
        app: world.app.clone(),
        thing: world.thing.clone(),
        before: None,
        after: ThingState::Flat(serde_json::from_value(json!({ "t": 1 })).expect("an object")),
        now,
    };
    let cloud = world.cloud.clone();
    let consequences: Result<_, StoreError> =
        world.cloud.store().write(move |sql: &mut dyn Sql| cloud.state_changed(sql, &change)).await;
    drop(consequences.expect("written"));
    assert_eq!(world.commands().await, ["SENDING", "SENDING"]);

    let mut world = world.restart(&path, 1).await;
    world.run_due().await;
    world.put(Some(&json!({ "t": 1 })), &json!({ "t": 2 })).await;
    assert!(world.pushed().is_empty(), "both have fired");
    assert_eq!(world.commands().await, ["SEND_FAILED", "SEND_FAILED"]);
}

#[tokio::test]
async fn server_code_is_recorded_as_failed_and_the_newest_hundred_are_kept() {
    let world = World::start(None, |options| options.trigger_firings_per_minute = 6_000).await;
    let body = json!({ "triggersWhat": "SERVER_CODE", "predicate": states(0, "CONDITION_TRUE"),
        "serverCode": { "endpoint": "f", "executorAccessToken": "t0k3n", "parameters": { "n": 1 } } });
    let (status, made) = world.ask("POST", "triggers", &body).await;
    assert_eq!(status, 201, "{made}");
    let id = made["triggerID"].as_str().expect("an id");
    let trigger = world.get(&format!("triggers/{id}")).await;
    assert_eq!(trigger["serverCode"], json!({ "endpoint": "f", "parameters": { "n": 1 } }), "and no token");
    let state = json!({ "t": 1 });
    for _ in 0..103 {
        world.put(Some(&state), &state).await;
        world.later(1);
    }
    let path = format!("triggers/{id}/results/server-code?bestEffortLimit=60");
    let first = world.get(&path).await;
    let results = first["triggerServerCodeResults"].as_array().expect("a list");
    assert_eq!(results.len(), 60);
    let expected = json!({ "succeeded": false, "executedAt": BEGIN + 102, "endpoint": "f", "error": {
        "errorMessage": "The server code was not executed",
        "details": { "errorCode": "OPERATION_NOT_IMPLEMENTED", "message": "This service executes no server code" },
    } });
    assert_eq!(results[0], expected);
    let key = first["nextPaginationKey"].as_str().expect("another page");
    let second = world.get(&format!("{path}&paginationKey={key}")).await;
    assert_eq!(second["triggerServerCodeResults"].as_array().map(Vec::len), Some(40));
    assert_eq!(second.get("nextPaginationKey"), None);
    assert!(world.commands().await.is_empty());
}

/// The clock of a cloud that lives in tokio's time, which the tests below stop: it goes on when all else waits.
fn virtual_clock() -> Clock {
    let begin = tokio::time::Instant::now();
    Clock::new(move || since_1970(BEGIN) + begin.elapsed())
}

/// Completes `future` while tokio's time stands: it would go on whenever everybody waits for the store, which lives on a thread
/// of its own.
async fn standing<T>(future: impl Future<Output = T>) -> T {
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    // Ends with an error when the sender is dropped, which is what it waits for.
    let holds = tokio::task::spawn_blocking(move || wait.recv().is_err());
    let done = future.await;
    drop(go_on);
    assert!(holds.await.expect("no panic"));
    done
}

#[tokio::test(start_paused = true)]
async fn the_cloud_wakes_for_its_schedules_by_itself() {
    let mut world = World::open(options(virtual_clock(), None), Arc::default()).await;
    let cloud = world.cloud.clone();
    let running = tokio::spawn(async move { cloud.run().await });
    standing(world.make(cron("0/20 * * * *"))).await;
    for minutes in [20_i64, 40, 60] {
        world.pushes.recv().await.expect("a push");
        // From 22:00.
        let expected = BEGIN - 800_000 + minutes * MINUTE;
        let late = world.cloud.now() - expected;
        assert!((0..1_000).contains(&late), "{late} ms late for {minutes}");
    }
    // Somebody who comes in between is not slept through.
    let before = world.cloud.now();
    standing(world.make(once(before + 7_000))).await;
    world.pushes.recv().await.expect("a push");
    let late = world.cloud.now() - before - 7_000;
    assert!((0..1_000).contains(&late), "{late} ms late");
    world.cloud.close().await;
    running.await.expect("ends with the cloud");
}

/// As after the battery of a clock: it is years ahead, and then it is put right.
#[tokio::test]
async fn schedules_that_were_set_by_a_clock_that_was_ahead_come_when_it_is_right() {
    const YEARS: i64 = 5 * 365 * 24 * 60 * MINUTE;
    let mut world = World::start(None, |options| options.max_triggers = 300).await;
    world.later(YEARS);
    let often = world.make(cron("* * * * *")).await;
    for _ in 0..150 {
        world.make(cron("* * * * *")).await;
    }
    world.make(states(0, "CONDITION_TRUE")).await;
    assert_eq!(world.ask("PUT", &format!("triggers/{often}/disable"), &Value::Null).await.0, 204);
    world.later(-YEARS);
    world.make(cron("0 0 1 1 *")).await;
    bring_forward(&world.cloud).await.expect("the store works");
    world.run_due().await;
    assert_eq!(world.pushed().len(), 0, "22:13:20");
    world.later(MINUTE);
    world.run_due().await;
    assert_eq!((world.pushed().len(), world.counts().0), (150, 150), "22:14, but for the one that is off");
    world.run_due().await;
    assert_eq!(world.pushed().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_put_back_is_seen_by_who_runs_schedules() {
    let ahead = Arc::new(AtomicI64::new(0));
    let (begin, read) = (tokio::time::Instant::now(), Arc::clone(&ahead));
    let clock = Clock::new(move || since_1970(BEGIN + read.load(Ordering::SeqCst)) + begin.elapsed());
    let mut world = World::open(options(clock, None), Arc::default()).await;
    let cloud = world.cloud.clone();
    let running = tokio::spawn(async move { cloud.run().await });
    ahead.store(24 * 60 * MINUTE, Ordering::SeqCst);
    standing(world.make(cron("* * * * *"))).await;
    world.pushes.recv().await.expect("a push");
    ahead.store(0, Ordering::SeqCst);
    let set_back = begin.elapsed();
    world.pushes.recv().await.expect("a push");
    let waited = begin.elapsed() - set_back;
    assert!(waited < Duration::from_secs(150), "{waited:?}, not a day");
    world.cloud.close().await;
    running.await.expect("ends with the cloud");
}

#[tokio::test(start_paused = true)]
async fn many_schedules_at_one_time_all_fire() {
    let mut options = options(virtual_clock(), None);
    options.max_triggers = 300;
    let mut world = World::open(options, Arc::default()).await;
    for _ in 0..250 {
        world.make(once(BEGIN + 2 * MINUTE)).await;
    }
    let cloud = world.cloud.clone();
    let running = tokio::spawn(async move { cloud.run().await });
    for _ in 0..250 {
        world.pushes.recv().await.expect("a push");
    }
    world.cloud.close().await;
    running.await.expect("ends with the cloud");
    assert!(world.pushed().is_empty());
}
