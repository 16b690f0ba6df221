//! Commands over a network in memory, in tokio's paused time, against a model of the service: what is carried out, how
//! often, and what the service hears of it.
#![cfg(feature = "client")]

mod device;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use thingif::client::commands::{
    ActionTable, Builder, CommandEvent, CommandEvents, Commands, Done, Journal, MemoryJournal, ReceivedCommand,
    Unsettled,
};
use thingif::client::{self, Client, Push};
use thingif::config::Config;
use thingif::frame::{self, REQUEST_ID};
use thingif::ids::{CommandId, ThingId};
use thingif::mqtt::{LinkErrorKind, Publish};
use thingif::thing_if::{ActionResults, CommandPush};
use thingif::topic::Topic;
use thingif::transport::BoxFuture;
use thingif::transport::memory::{self, Broker, BrokerLink, FromDevice};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use device::brokers::assigned;
use device::{CLIENT_ID, answer, config, credential};

const SECOND: Duration = Duration::from_secs(1);
/// When the service's clock began, in milliseconds since 1970: long ago by the device's.
const EPOCH: i64 = 1_000_000_000_000;

/// What the service has and has heard.
#[derive(Debug, Default)]
struct Service {
    /// Newest first.
    commands: Vec<Value>,
    /// Command and results, as they came.
    reports: Vec<(String, Value)>,
    /// What is answered to reports instead of 204: a status, or nothing at all.
    reluctance: VecDeque<Option<u16>>,
    /// The bodies of the `GET …/commands` answered so far.
    lists: usize,
    /// What is answered to lists instead of the list.
    no_lists: VecDeque<u16>,
    has_no_clock: bool,
}

/// A world of one device and its service.
struct World {
    service: Arc<Mutex<Service>>,
    to_device: mpsc::UnboundedSender<Say>,
    /// What was carried out, in its order.
    done: Arc<Mutex<Vec<String>>>,
    events: CommandEvents,
    client: Client,
    run: JoinHandle<()>,
}

#[derive(Debug)]
enum Say {
    Push(Value),
    /// Cuts the link; the device may come back.
    Cut,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("not poisoned")
}

/// A command in the list, so many seconds old, with one action per name.
fn listed(id: &str, age: i64, actions: &[&str]) -> Value {
    let created = EPOCH - age * 1000;
    json!({ "commandID": id, "target": "thing:th.1", "issuer": "user:u1", "commandState": "SENDING",
        "actions": actions.iter().map(|name| json!({ *name: {} })).collect::<Vec<_>>(),
        "createdAt": created, "modifiedAt": created })
}

fn pushed(id: &str, actions: &[&str]) -> Value {
    json!({ "schema": "S", "schemaVersion": 1, "commandID": id, "issuer": "user:u1",
        "actions": actions.iter().map(|name| json!({ *name: {} })).collect::<Vec<_>>() })
}

impl Service {
    fn answer(&mut self, request: &Publish) -> Option<Publish> {
        let decoded = frame::decode_request(&request.topic, request.payload.clone()).expect("a request frame");
        let mut response = Response::new(Bytes::new());
        let path = decoded.uri().path().to_owned();
        let status = if *decoded.method() == Method::GET {
            assert!(path.ends_with("/targets/thing:th.1/commands"), "{path}");
            self.lists += 1;
            match self.no_lists.pop_front() {
                Some(status) => status,
                None => {
                    *response.body_mut() = self.page(decoded.uri().query().expect("a limit"));
                    200
                }
            }
        } else {
            let id = path.strip_suffix("/action-results").and_then(|path| path.rsplit('/').next()).expect("a report");
            match self.reluctance.pop_front() {
                Some(status) => status?,
                None => {
                    let body: Value = serde_json::from_slice(decoded.body()).expect("JSON");
                    let results = body["actionResults"].clone();
                    for command in self.commands.iter_mut().filter(|command| command["commandID"] == id) {
                        command["actionResults"] = results.clone();
                        command["commandState"] = "DONE".into();
                    }
                    self.reports.push((id.to_owned(), results));
                    204
                }
            }
        };
        *response.status_mut() = status.try_into().expect("a status");
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, decoded.headers()[REQUEST_ID].clone());
        if !self.has_no_clock {
            headers.insert("date", "Sun, 09 Sep 2001 01:46:40 GMT".parse().expect("a date"));
        }
        if status == 503 {
            headers.insert("retry-after", "3".parse().expect("a number"));
        }
        Some(answer(request, &response))
    }

    fn page(&self, query: &str) -> Bytes {
        let of = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let from: usize = of("paginationKey").map_or(0, |key| key.parse().expect("ours"));
        let limit: usize = of("bestEffortLimit").expect("a limit").parse().expect("a number");
        let page: Vec<&Value> = self.commands.iter().skip(from).take(limit).collect();
        let mut body = json!({ "commands": page });
        if from + limit < self.commands.len() {
            body["nextPaginationKey"] = (from + limit).to_string().into();
        }
        body.to_string().into()
    }
}

/// Plays the assigned broker and the service, link after link.
async fn serve(
    mut broker: Broker,
    first: BrokerLink,
    service: Arc<Mutex<Service>>,
    mut say: mpsc::UnboundedReceiver<Say>,
) {
    let mut link = first;
    loop {
        tokio::select! {
            message = link.next() => match message {
                Some(FromDevice::Publish(request)) => {
                    let answer = lock(&service).answer(&request);
                    if let Some(answer) = answer {
                        link.publish(answer).expect("the device listens");
                    }
                }
                Some(_) => {}
                None => return,
            },
            Some(say) = say.recv() => match say {
                Say::Push(payload) => {
                    let topic = Topic::new(CLIENT_ID).expect("valid");
                    link.publish(Publish::new(topic, payload.to_string())).expect("the device listens");
                }
                Say::Cut => {
                    link.cut(LinkErrorKind::Closed);
                    link = assigned(&mut broker).await;
                }
            },
        }
    }
}

/// Actions `a` to `e` succeed after a second, `fail` does not, `slow` takes a minute, `panic` panics, `big` tells too much.
fn table(done: &Arc<Mutex<Vec<String>>>) -> ActionTable {
    let big = async |_: Value, _| Ok::<_, String>(Done::with("x".repeat(70_000).into()));
    let mut table = ActionTable::new().with_time_limit(300 * SECOND).on("big", big);
    for name in ["a", "b", "c", "d", "e", "fail", "slow", "panic"] {
        let done = done.clone();
        table = table.on(name, move |_: Value, command: Arc<ReceivedCommand>| {
            let done = done.clone();
            async move {
                tokio::time::sleep(if name == "slow" { 61 * SECOND } else { SECOND }).await;
                lock(&done).push(format!("{} {name}", command.command_id));
                match name {
                    "fail" => Err("broken"),
                    "panic" => panic!("on purpose"),
                    _ => Ok(()),
                }
            }
        });
    }
    table
}

async fn world(service: Service, with: impl FnOnce(Builder) -> Builder) -> World {
    world_with(config(), service, with).await
}

async fn world_with(config: Config, service: Service, with: impl FnOnce(Builder) -> Builder) -> World {
    let (network, mut broker) = memory::network();
    let config = config.with_resume(credential(0));
    let (connected, link) = tokio::join!(client::connect(config, network), assigned(&mut broker));
    let (client, pushes, mut connection) = connected.expect("connected");
    let notices = connection.notices();
    let (to_device, say) = mpsc::unbounded_channel();
    let (service, done) = (Arc::new(Mutex::new(service)), Arc::default());
    tokio::spawn(serve(broker, link, service.clone(), say));
    tokio::spawn(connection.run());
    let (commands, events) = with(Commands::builder(client.clone(), table(&done))).build();
    let run = tokio::spawn(commands.run(pushes, notices));
    World { service, to_device, done, events, client, run }
}

impl World {
    fn push(&self, payload: Value) {
        self.to_device.send(Say::Push(payload)).expect("the service runs");
    }

    /// Lets a minute pass for everything to settle, at least.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(90)).await;
    }

    fn done(&self) -> Vec<String> {
        lock(&self.done).clone()
    }

    fn reports(&self) -> Vec<(String, Value)> {
        lock(&self.service).reports.clone()
    }

    fn reported(&self) -> Vec<String> {
        self.reports().into_iter().map(|(id, _)| id).collect()
    }

    /// Ends it all, and says what became of commands.
    async fn end(mut self) -> Vec<CommandEvent> {
        self.client.close().await;
        self.run.await.expect("no panic");
        let mut events = Vec::new();
        while let Some(event) = self.events.next().await {
            events.push(event);
        }
        events
    }
}

fn id(text: &str) -> CommandId {
    CommandId::new(text).expect("valid")
}

fn succeeded(name: &str) -> Value {
    json!([{ name: { "succeeded": true } }])
}

#[tokio::test(start_paused = true)]
async fn commands_are_carried_out_in_their_order_and_reported_once() {
    let world = world(Service::default(), |builder| builder).await;
    world.push(pushed("1", &["a", "fail", "unknown", "panic", "b"]));
    world.push(pushed("2", &["c"]));
    world.push(json!({ "commandID": "3", "issuer": "user:u", "actions": [{ "Alias": [{ "set": 1 }] }] }));
    world.settle().await;
    assert_eq!(world.done(), ["1 a", "1 fail", "1 panic", "1 b", "2 c"]);
    let failed = |name: &str, why: &str| json!({ name: { "succeeded": false, "errorMessage": why } });
    assert_eq!(
        world.reports(),
        [
            (
                "1".to_owned(),
                json!([
                    { "a": { "succeeded": true } },
                    failed("fail", "broken"),
                    failed("unknown", "this device has no such action"),
                    failed("panic", "the action's function panicked"),
                    { "b": { "succeeded": true } },
                ])
            ),
            ("2".to_owned(), succeeded("c")),
            ("3".to_owned(), json!([{ "Alias": [failed("set", "this device has no such action")] }])),
        ]
    );
    let events = world.end().await;
    let expected = [
        CommandEvent::Began(id("1")),
        CommandEvent::Finished(id("1"), false),
        CommandEvent::Began(id("2")),
        CommandEvent::Reported(id("1")),
    ];
    assert_eq!(events[..4], expected, "{events:?}");
    assert!(events.contains(&CommandEvent::Finished(id("2"), true)));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_comes_twice_runs_once() {
    let service = Service { commands: vec![listed("1", 1, &["a"])], ..Service::default() };
    let world = world(service, |builder| builder).await;
    // The list is being asked for, and the same command is pushed, now and when it is long over.
    world.push(pushed("1", &["a"]));
    world.push(pushed("1", &["a"]));
    world.settle().await;
    world.push(pushed("1", &["a"]));
    world.settle().await;
    assert_eq!(world.done(), ["1 a"]);
    assert_eq!(world.reported(), ["1"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn missed_commands_run_oldest_first_and_old_ones_never() {
    let mut incomplete = listed("partly", 3, &["a"]);
    incomplete["commandState"] = "INCOMPLETE".into();
    let mut done = listed("done", 4, &["a"]);
    done["commandState"] = "DONE".into();
    let mut odd = listed("odd", 5, &["e"]);
    odd["commandState"] = "WHATEVER".into();
    let service = Service {
        commands: vec![
            listed("young", 2, &["b"]),
            incomplete,
            done,
            odd,
            listed("older", 30, &["a"]),
            listed("too old", 61, &["c"]),
            listed("last week", 7 * 24 * 3600, &["d", "d"]),
        ]
        .into_iter()
        .map(|mut command| {
            command["commandID"] = command["commandID"].as_str().expect("text").replace(' ', "-").into();
            command
        })
        .collect(),
        ..Service::default()
    };
    let world = world(service, |builder| builder).await;
    world.settle().await;
    // By the device's clock all of them are twenty years old.
    assert_eq!(world.done(), ["older a", "odd e", "young b"]);
    assert_eq!(world.reported(), ["last-week", "too-old", "older", "odd", "young"]);
    let reports = world.reports();
    assert_eq!(reports[0].1.as_array().expect("a list").len(), 2);
    assert_eq!(reports[1].1[0]["c"]["succeeded"], false);
    let events = world.end().await;
    assert!(events.contains(&CommandEvent::TooOld(id("last-week"))), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_date_the_devices_clock_counts() {
    let service = Service { commands: vec![listed("1", 1, &["a"])], has_no_clock: true, ..Service::default() };
    let world = world(service, |builder| builder).await;
    world.settle().await;
    assert!(world.done().is_empty());
    assert_eq!(world.reported(), ["1"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn only_so_many_missed_commands_are_looked_at() {
    let commands = (0..1000).map(|n| listed(&format!("c{n}"), 1000 + n, &["a"])).collect();
    let world = world(Service { commands, ..Service::default() }, |builder| builder.with_max_missed(120)).await;
    world.settle().await;
    assert_eq!(lock(&world.service).lists, 3, "pages of 50, 50 and 20");
    assert_eq!(world.reported().len(), 120);
    assert_eq!(world.reported()[0], "c119", "the oldest of those that were looked at");
    let events = world.end().await;
    assert!(events.iter().any(|event| matches!(event, CommandEvent::TooManyMissed | CommandEvent::Lagged(_))));
}

#[tokio::test(start_paused = true)]
async fn what_came_while_the_device_was_away_is_found() {
    let world = world(Service::default(), |builder| builder).await;
    world.settle().await;
    assert_eq!(lock(&world.service).lists, 1, "what was there before");
    lock(&world.service).commands.push(listed("missed", 5, &["a"]));
    world.to_device.send(Say::Cut).expect("the service runs");
    world.settle().await;
    assert_eq!(world.done(), ["missed a"]);
    assert_eq!(world.reported(), ["missed"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_pushed_too_fast_is_found() {
    let one = config().with_push_queue(1).expect("in range");
    let world = world_with(one, Service::default(), |builder| builder).await;
    world.settle().await;
    lock(&world.service).commands = (0..9).rev().map(|n| listed(&format!("c{n}"), 9 - n, &["a"])).collect();
    for n in 0..9 {
        world.push(pushed(&format!("c{n}"), &["a"]));
    }
    world.settle().await;
    let (mut done, mut reported) = (world.done(), world.reported());
    done.sort();
    reported.sort();
    assert_eq!(done, (0..9).map(|n| format!("c{n} a")).collect::<Vec<_>>(), "each once");
    assert_eq!(reported, (0..9).map(|n| format!("c{n}")).collect::<Vec<_>>());
    assert!(lock(&world.service).lists > 1, "pushes were dropped");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn more_than_may_wait_are_found_later() {
    let world =
        world(Service::default(), |builder| builder.with_max_waiting(2).with_max_command_age(600 * SECOND)).await;
    world.settle().await;
    lock(&world.service).commands = (0..9).rev().map(|n| listed(&format!("c{n}"), 9 - n, &["a"])).collect();
    for n in 0..9 {
        world.push(pushed(&format!("c{n}"), &["a"]));
    }
    world.settle().await;
    let mut done = world.done();
    done.sort();
    assert_eq!(done, (0..9).map(|n| format!("c{n} a")).collect::<Vec<_>>());
    let events = world.end().await;
    assert!(events.iter().any(|event| matches!(event, CommandEvent::Dropped(_))), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_waited_too_long_for_its_turn_is_not_run() {
    let world = world(Service::default(), |builder| builder).await;
    world.push(pushed("slow", &["slow"]));
    world.push(pushed("late", &["a"]));
    world.settle().await;
    assert_eq!(world.done(), ["slow slow"]);
    assert_eq!(world.reported(), ["slow", "late"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn results_are_reported_until_they_are_taken() {
    // Busy twice, then silent: the command runs once all the same.
    let reluctance = VecDeque::from([Some(503), Some(429), None]);
    let world = world(Service { reluctance, ..Service::default() }, |builder| builder).await;
    world.push(pushed("1", &["a"]));
    world.settle().await;
    assert_eq!((world.done(), world.reported()), (vec!["1 a".to_owned()], vec!["1".to_owned()]));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn results_survive_the_link_and_a_long_outage() {
    let never = std::iter::repeat_n(Some(500), 1);
    let world = world(Service { reluctance: never.collect(), ..Service::default() }, |builder| builder).await;
    world.push(pushed("1", &["a"]));
    tokio::time::sleep(2 * SECOND).await;
    assert!(world.reported().is_empty(), "postponed");
    world.to_device.send(Say::Cut).expect("the service runs");
    tokio::time::sleep(20 * SECOND).await;
    assert_eq!(world.reported(), ["1"], "after the next connect");

    lock(&world.service).reluctance.push_back(Some(500));
    world.push(pushed("2", &["a"]));
    world.settle().await;
    assert_eq!(world.reported(), ["1", "2"], "or after a while");
    let events = world.end().await;
    assert_eq!(events.iter().filter(|event| matches!(event, CommandEvent::ReportPostponed(..))).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn results_that_nobody_wants_are_not_offered_again() {
    let world =
        world(Service { reluctance: VecDeque::from([Some(404)]), ..Service::default() }, |builder| builder).await;
    world.push(pushed("gone", &["a"]));
    world.settle().await;
    world.to_device.send(Say::Cut).expect("the service runs");
    world.settle().await;
    assert!(world.reported().is_empty());
    let events = world.end().await;
    assert!(events.iter().any(|event| matches!(event, CommandEvent::ReportRefused(_, status) if *status == 404)));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_had_is_asked_for_again() {
    let service =
        Service { commands: vec![listed("1", 1, &["a"])], no_lists: VecDeque::from([500]), ..Service::default() };
    let world = world(service, |builder| builder).await;
    world.settle().await;
    assert_eq!(world.done(), ["1 a"]);
    let events = world.end().await;
    assert!(matches!(events[0], CommandEvent::ListFailed(_)), "{events:?}");
}

/// A journal in which `name` had begun when the device was switched off.
async fn interrupted(name: &str) -> Arc<MemoryJournal> {
    let journal = MemoryJournal::new();
    let push = CommandPush::from_json(pushed(name, &["a", "b"]).to_string().as_bytes()).expect("a command");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    let received = i64::try_from(now).expect("fits");
    let command = ReceivedCommand::from_push(push, &ThingId::new("th.1").expect("valid"), received);
    assert!(journal.begin(&command).await.expect("written"));
    Arc::new(journal)
}

#[tokio::test(start_paused = true)]
async fn a_command_that_was_interrupted_is_reported_and_not_run_again() {
    let journal = interrupted("1").await;
    let service = Service { commands: vec![listed("1", 1, &["a", "b"])], ..Service::default() };
    let world = world(service, |builder| builder.with_journal(journal.clone())).await;
    world.push(pushed("1", &["a", "b"]));
    world.settle().await;
    assert!(world.done().is_empty());
    let reports = world.reports();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].1[1]["b"]["succeeded"], false);
    assert!(journal.unsettled().await.expect("read").is_empty());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn at_least_once_it_is_run_again() {
    let journal = interrupted("1").await;
    let world = world(Service::default(), |builder| builder.with_journal(journal).at_least_once()).await;
    world.settle().await;
    assert_eq!((world.done(), world.reported()), (vec!["1 a".to_owned(), "1 b".to_owned()], vec!["1".to_owned()]));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn results_that_were_not_reported_before_a_restart_are() {
    let journal = interrupted("1").await;
    let results = journal.unsettled().await.expect("read")[0].command.failed("it was so");
    journal.finish(&id("1"), &results).await.expect("written");
    let world = world(Service::default(), |builder| builder.with_journal(journal)).await;
    world.settle().await;
    assert!(world.done().is_empty());
    assert_eq!(world.reports()[0].1[0]["a"]["errorMessage"], "it was so");
    world.end().await;
}

/// A disk that is full.
struct Full;

impl Journal for Full {
    fn begin<'a>(&'a self, _: &'a ReceivedCommand) -> BoxFuture<'a, io::Result<bool>> {
        Box::pin(async { Err(io::Error::from(io::ErrorKind::StorageFull)) })
    }

    fn finish<'a>(&'a self, _: &'a CommandId, _: &'a ActionResults) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async { Err(io::Error::from(io::ErrorKind::StorageFull)) })
    }

    fn settle<'a>(&'a self, _: &'a CommandId) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async { Err(io::Error::from(io::ErrorKind::StorageFull)) })
    }

    fn unsettled(&self) -> BoxFuture<'_, io::Result<Vec<Unsettled>>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_down_is_not_carried_out() {
    let world = world(Service::default(), |builder| builder.with_journal(Full)).await;
    world.push(pushed("1", &["a"]));
    world.settle().await;
    assert!(world.done().is_empty());
    assert_eq!(world.reports()[0].1[0]["a"]["succeeded"], false);
    let events = world.end().await;
    assert!(matches!(events[0], CommandEvent::NotJournalled(..)), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn the_program_sees_every_push() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tapped = seen.clone();
    let tap = move |push: &Push| lock(&tapped).push(push.clone());
    let world = world(Service::default(), |builder| builder.with_tap(tap)).await;
    let others = [json!({ "topic": "t", "sender": "u" }), json!("no object"), pushed("1", &["a"])];
    for push in &others {
        world.push(push.clone());
    }
    world.settle().await;
    let expected: Vec<Push> = others.iter().map(|push| Push::Message(push.to_string().into())).collect();
    assert_eq!(*lock(&seen), expected);
    assert_eq!(world.reported(), ["1"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_may_be_as_old_as_it_likes() {
    let world = world(Service::default(), |builder| builder.with_max_command_age(Duration::MAX)).await;
    world.push(pushed("1", &["a"]));
    world.settle().await;
    assert_eq!(world.done(), ["1 a"]);
    world.end().await;
}

/// Cannot be written at first.
#[derive(Default)]
struct Flaky {
    journal: MemoryJournal,
    has_failed: AtomicBool,
}

impl Journal for Flaky {
    fn begin<'a>(&'a self, command: &'a ReceivedCommand) -> BoxFuture<'a, io::Result<bool>> {
        if !self.has_failed.swap(true, Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(io::Error::other("disk full"))));
        }
        self.journal.begin(command)
    }

    fn finish<'a>(&'a self, command: &'a CommandId, results: &'a ActionResults) -> BoxFuture<'a, io::Result<()>> {
        self.journal.finish(command, results)
    }

    fn settle<'a>(&'a self, command: &'a CommandId) -> BoxFuture<'a, io::Result<()>> {
        self.journal.settle(command)
    }

    fn unsettled(&self) -> BoxFuture<'_, io::Result<Vec<Unsettled>>> {
        self.journal.unsettled()
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_reported_as_not_journalled_is_not_run_when_the_list_shows_it() {
    // The report is late, and the device asks for the list before it has been taken.
    let service = Service { reluctance: [Some(408), Some(408)].into(), ..Service::default() };
    let world = world(service, |builder| builder.with_journal(Flaky::default())).await;
    tokio::time::sleep(SECOND).await;
    lock(&world.service).commands.push(listed("1", 1, &["a"]));
    world.push(pushed("1", &["a"]));
    tokio::time::sleep(SECOND).await;
    world.to_device.send(Say::Cut).expect("the service runs");
    world.settle().await;
    world.settle().await;
    assert!(world.done().is_empty());
    assert_eq!(world.reported(), ["1"]);
    let events = world.end().await;
    assert!(matches!(&events[0], CommandEvent::NotJournalled(command, _) if *command == id("1")), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn reports_that_are_refused_for_ever_do_not_make_it_ask_for_the_list_for_ever() {
    let commands = (1..=4).map(|n| listed(&n.to_string(), 5 - n, &["a"])).collect();
    let service = Service { commands, reluctance: [Some(400); 4].into(), ..Service::default() };
    let world = world(service, |builder| builder.with_max_waiting(1)).await;
    world.settle().await;
    let lists = lock(&world.service).lists;
    assert!(lists < 20, "{lists}");
    assert_eq!(world.done().len(), 4, "each was run, once");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_listed_command_that_is_odd_does_not_hide_the_others() {
    let mut deep = listed("deep", 1, &["a"]);
    let nested = (0..123).fold(json!(1), |value, _| json!([value]));
    deep["actions"] = json!([{ "a": { "x": nested } }]);
    let mut nobody = listed("nobodys", 2, &["c"]);
    nobody["issuer"] = "app admin".into();
    let mut wrong = listed("wrong", 3, &["a"]);
    wrong["actions"] = "none".into();
    let service = Service { commands: vec![deep, nobody, wrong, listed("1", 4, &["b"])], ..Service::default() };
    let world = world(service, |builder| builder).await;
    world.settle().await;
    let done = world.done();
    assert_eq!(done[..2], ["1 b", "nobodys c"], "{done:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn results_that_are_too_large_are_reported_without_their_data() {
    let service = Service { commands: vec![listed("1", 1, &["big"])], ..Service::default() };
    let world = world(service, |builder| builder).await;
    world.settle().await;
    assert_eq!(world.reports(), [("1".to_owned(), succeeded("big"))]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_report_that_is_forbidden_for_ever_is_given_up() {
    let service = Service { reluctance: [Some(403); 100].into(), ..Service::default() };
    let world = world(service, |builder| builder).await;
    world.push(pushed("1", &["a"]));
    tokio::time::sleep(3600 * SECOND).await;
    let events = world.end().await;
    let refused = CommandEvent::ReportRefused(id("1"), StatusCode::FORBIDDEN);
    assert_eq!(events.last(), Some(&refused), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn pushed_commands_wait_for_the_older_ones_in_the_list() {
    let service = Service {
        commands: vec![listed("2", 1, &["b"]), listed("1", 5, &["a"])],
        no_lists: [503].into(),
        ..Service::default()
    };
    let world = world(service, |builder| builder).await;
    world.push(pushed("2", &["b"]));
    world.settle().await;
    assert_eq!(world.done(), ["1 a", "2 b"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn they_do_not_wait_for_ever_and_what_comes_too_late_is_not_run() {
    let service = Service {
        commands: vec![listed("2", 1, &["b"]), listed("1", 5, &["a"])],
        no_lists: [503; 5].into(),
        ..Service::default()
    };
    let world = world(service, |builder| builder).await;
    world.push(pushed("2", &["b"]));
    world.settle().await;
    assert_eq!(world.done(), ["2 b"], "the service had fifteen seconds of trouble");
    let reported = world.reported();
    assert_eq!(reported.len(), 2, "{reported:?}");
    assert!(world.end().await.contains(&CommandEvent::Superseded(id("1"))));
}
