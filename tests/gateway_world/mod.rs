//! A world of one gateway, its end nodes and their service: a model of what the service has, and a log of all that it hears.

#![allow(dead_code)] // each test file uses its own part

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::{Value, json};
use thingif::client::commands::{ActionTable, ReceivedCommand};
use thingif::client::gateway::{Builder, EndNode, Gateway, GatewayEvent, GatewayEvents, NodeOnboarding, Owner};
use thingif::client::{self, Client};
use thingif::config::Config;
use thingif::frame::{self, REQUEST_ID};
use thingif::ids::{AccessToken, CommandId, ThingId, UserId, VendorThingId};
use thingif::mqtt::{LinkErrorKind, Publish, RefusedReason};
use thingif::topic::Topic;
use thingif::transport::memory::{self, Broker, BrokerLink, FromDevice};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::device::brokers::assigned;
use crate::device::{CLIENT_ID, answer, config, credential, onboarding_body};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// When the service's clock began, in milliseconds since 1970: long ago by the device's.
const EPOCH: i64 = 1_000_000_000_000;
/// The gateway.
pub(crate) const OWN: &str = "th.1";
const OWN_TOKEN: &str = "token-0";

/// A call as the service heard it.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// Verb, and the path with its query below `/thing-if/apps/{APP}`.
    pub(crate) call: String,
    /// What stands behind `Bearer`.
    pub(crate) token: String,
    pub(crate) content_type: String,
    pub(crate) body: String,
    /// The bytes of the whole frame.
    pub(crate) frame: Bytes,
}

/// What is said to a call instead of the model's answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Said {
    Nothing,
    /// The model's answer, after this long.
    After(Duration),
    Status(u16, &'static str),
}

#[derive(Debug)]
pub(crate) struct NodeModel {
    pub(crate) vendor: String,
    pub(crate) token: String,
    pub(crate) state: Option<Value>,
    pub(crate) online: Option<bool>,
    pub(crate) is_behind_gateway: bool,
}

/// What the service has and has heard.
#[derive(Debug, Default)]
pub(crate) struct Service {
    /// By thing id.
    pub(crate) nodes: BTreeMap<String, NodeModel>,
    /// Newest first.
    pub(crate) commands: Vec<Value>,
    pub(crate) heard: Vec<Heard>,
    /// Each is said once, to the first call that begins so.
    pub(crate) script: VecDeque<(String, Said)>,
    /// What is added to the ids of things from now on.
    pub(crate) made_anew: &'static str,
    /// The gateway and its token, if it is another thing now.
    pub(crate) moved: Option<(&'static str, &'static str)>,
    /// Lists name the commands of all things.
    pub(crate) lists_everything: bool,
    /// How many onboardings there were.
    pub(crate) onboardings: usize,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("not poisoned")
}

/// A command in the list of `thing`, so many seconds old.
pub(crate) fn listed(thing: &str, id: &str, age: i64, actions: &[&str]) -> Value {
    let created = EPOCH - age * 1000;
    json!({ "commandID": id, "target": format!("thing:{thing}"), "issuer": "user:u1", "commandState": "SENDING",
        "actions": actions.iter().map(|name| json!({ *name: {} })).collect::<Vec<_>>(),
        "createdAt": created, "modifiedAt": created })
}

/// A push without a target.
pub(crate) fn pushed(id: &str, actions: &[&str]) -> Value {
    json!({ "schema": "S", "schemaVersion": 1, "commandID": id, "issuer": "user:u1",
        "actions": actions.iter().map(|name| json!({ *name: {} })).collect::<Vec<_>>() })
}

/// A push that says whose it is.
pub(crate) fn pushed_to(thing: &str, id: &str, actions: &[&str]) -> Value {
    let mut push = pushed(id, actions);
    push["target"] = format!("thing:{thing}").into();
    push
}

fn error(status: u16, code: &str) -> (u16, Value) {
    (status, json!({ "errorCode": code, "message": "so it is" }))
}

impl Service {
    pub(crate) fn with_node(mut self, vendor: &str) -> Self {
        self.add(vendor);
        self
    }

    fn add(&mut self, vendor: &str) -> String {
        let thing = format!("th.{vendor}{}", self.made_anew);
        self.onboardings += 1;
        let token = format!("{vendor}-{}", self.onboardings);
        let node = self.nodes.entry(thing.clone()).or_insert(NodeModel {
            vendor: vendor.to_owned(),
            token: String::new(),
            state: None,
            online: None,
            is_behind_gateway: true,
        });
        node.token = token;
        node.is_behind_gateway = true;
        thing
    }

    fn answer(&mut self, path: &str, query: Option<&str>, request: &Request<Bytes>, token: &str) -> (u16, Value) {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let body = || serde_json::from_slice::<Value>(request.body()).expect("JSON");
        let (own, own_token) = self.moved.unwrap_or((OWN, OWN_TOKEN));
        match (request.method().as_str(), parts.as_slice()) {
            ("POST", ["onboardings"]) => {
                if token != "owner-1" {
                    return error(401, "UNAUTHORIZED");
                }
                let body = body();
                if body["gatewayThingID"].as_str().is_some_and(|gateway| gateway != own) {
                    return error(404, "THING_NOT_FOUND");
                }
                let thing = self.add(body["endNodeVendorThingID"].as_str().expect("an id"));
                (200, json!({ "accessToken": self.nodes[&thing].token, "endNodeThingID": thing }))
            }
            ("GET", ["things", of, "end-nodes"]) if (*of, token) == (own, own_token) => {
                (200, self.page(query.expect("a limit")))
            }
            ("DELETE", ["things", of, "end-nodes", thing]) if (*of, token) == (own, own_token) => {
                match self.nodes.get_mut(*thing) {
                    Some(node) if node.is_behind_gateway => {
                        node.is_behind_gateway = false;
                        (204, Value::Null)
                    }
                    _ => error(404, "THING_END_NODE_DOES_NOT_BELONG_TO_GATEWAY"),
                }
            }
            ("PUT", ["things", of, "end-nodes", thing, "connection"]) if (*of, token) == (own, own_token) => {
                match self.nodes.get_mut(*thing) {
                    Some(node) if node.is_behind_gateway => {
                        node.online = Some(body()["online"].as_bool().expect("a bool"));
                        (204, Value::Null)
                    }
                    _ => error(404, "THING_END_NODE_DOES_NOT_BELONG_TO_GATEWAY"),
                }
            }
            (verb, ["targets", target, rest @ ..]) => {
                let thing = target.strip_prefix("thing:").expect("a thing").to_owned();
                let wanted = match self.nodes.get(&thing) {
                    _ if thing == own => own_token.to_owned(),
                    Some(node) => node.token.clone(),
                    None => return error(404, "TARGET_NOT_FOUND"),
                };
                if token != wanted {
                    return error(403, "WRONG_TOKEN");
                }
                self.target(verb, &thing, rest, request)
            }
            (verb, _) => panic!("unexpected: {verb} {path} with token {token}"),
        }
    }

    fn target(&mut self, verb: &str, thing: &str, rest: &[&str], request: &Request<Bytes>) -> (u16, Value) {
        let target = format!("thing:{thing}");
        match (verb, rest) {
            ("PUT" | "PATCH", ["states"]) => {
                let state = serde_json::from_slice(request.body()).expect("JSON");
                let first = self.nodes.get_mut(thing).expect("a node").state.replace(state).is_none();
                (if first { 201 } else { 204 }, Value::Null)
            }
            ("GET", ["states"]) => match self.nodes.get(thing).and_then(|node| node.state.clone()) {
                Some(state) => (200, state),
                None => error(404, "STATE_NOT_FOUND"),
            },
            ("GET", ["commands"]) => {
                let is_listed = |command: &&Value| self.lists_everything || command["target"] == *target;
                let mine: Vec<&Value> = self.commands.iter().filter(is_listed).collect();
                (200, json!({ "commands": mine }))
            }
            ("GET", ["commands", id]) => {
                let mut mine = self.commands.iter().filter(|command| command["target"] == *target);
                match mine.find(|command| command["commandID"] == *id) {
                    Some(command) => (200, command.clone()),
                    None => error(404, "COMMAND_NOT_FOUND"),
                }
            }
            ("PUT", ["commands", id, "action-results"]) => {
                let body: Value = serde_json::from_slice(request.body()).expect("JSON");
                for command in self.commands.iter_mut().filter(|c| c["commandID"] == *id && c["target"] == *target) {
                    command["actionResults"] = body["actionResults"].clone();
                    command["commandState"] = "DONE".into();
                }
                (204, Value::Null)
            }
            _ => panic!("unexpected: {verb} {thing} {rest:?}"),
        }
    }

    fn page(&self, query: &str) -> Value {
        let of = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let from: usize = of("paginationKey")
            .map_or(0, |key| key.strip_prefix("at%2F").expect("the key, encoded").parse().expect("ours"));
        let limit: usize = of("bestEffortLimit").expect("a limit").parse().expect("a number");
        let behind: Vec<_> = self.nodes.iter().filter(|(_, node)| node.is_behind_gateway).collect();
        let entry = |(thing, node): &(&String, &NodeModel)| json!({ "thingID": thing, "vendorThingID": node.vendor });
        let mut page = json!({ "results": behind.iter().skip(from).take(limit).map(entry).collect::<Vec<_>>() });
        if from + limit < behind.len() {
            page["nextPaginationKey"] = format!("at/{}", from + limit).into();
        }
        page
    }

    /// Takes a call as a frame, and says what it is answered with, and when.
    fn hear(&mut self, request: &Publish) -> Option<(Publish, Duration)> {
        let decoded = frame::decode_request(&request.topic, request.payload.clone()).expect("a request frame");
        let (mut response, delay) = self.respond(&decoded, request.payload.clone())?;
        response.headers_mut().insert(REQUEST_ID, decoded.headers()[REQUEST_ID].clone());
        Some((answer(request, &response), delay))
    }

    /// Takes a call, and says what it is answered with, and when.
    pub(crate) fn respond(&mut self, request: &Request<Bytes>, frame: Bytes) -> Option<(Response<Bytes>, Duration)> {
        let header = |name: &str| {
            request.headers().get(name).map_or(String::new(), |value| value.to_str().expect("text").to_owned())
        };
        let token = header("authorization").strip_prefix("Bearer ").expect("a bearer token").to_owned();
        let path = request.uri().path().strip_prefix("/thing-if/apps/c1k9abcdef12").expect("of this app").to_owned();
        let query = request.uri().query();
        let call = format!("{} {path}{}", request.method(), query.map(|q| format!("?{q}")).unwrap_or_default());
        self.heard.push(Heard {
            call: call.clone(),
            token: token.clone(),
            content_type: header("content-type"),
            body: String::from_utf8(request.body().to_vec()).expect("UTF-8"),
            frame,
        });
        let scripted = self.script.iter().position(|(begin, _)| call.starts_with(begin.as_str()));
        let said = scripted.and_then(|at| self.script.remove(at)).map(|(_, said)| said);
        let (delay, (status, body)) = match said {
            Some(Said::Nothing) => return None,
            Some(Said::Status(status, code)) => (Duration::ZERO, error(status, code)),
            Some(Said::After(delay)) => (delay, self.answer(&path, query, request, &token)),
            None => (Duration::ZERO, self.answer(&path, query, request, &token)),
        };
        let mut response = Response::new(if body.is_null() { Bytes::new() } else { body.to_string().into() });
        *response.status_mut() = status.try_into().expect("a status");
        let headers = response.headers_mut();
        headers.insert("date", "Sun, 09 Sep 2001 01:46:40 GMT".parse().expect("a date"));
        if status == 503 {
            headers.insert("retry-after", "3".parse().expect("a number"));
        }
        Some((response, delay))
    }
}

#[derive(Debug)]
enum Say {
    Push(Value),
    /// Cuts the link; the device may come back.
    Cut,
    /// Refuses the credential, and onboards the device as this thing.
    Become(&'static str),
    Answer(Publish),
}

/// Plays the assigned broker and the service, link after link.
async fn serve(
    mut broker: Broker,
    first: BrokerLink,
    service: Arc<Mutex<Service>>,
    (say, mut said): (mpsc::UnboundedSender<Say>, mpsc::UnboundedReceiver<Say>),
) {
    let mut link = first;
    loop {
        tokio::select! {
            message = link.next() => match message {
                Some(FromDevice::Publish(request)) => {
                    let answer = lock(&service).hear(&request);
                    match answer {
                        Some((answer, Duration::ZERO)) => link.publish(answer).expect("the device listens"),
                        Some((answer, delay)) => {
                            let say = say.clone();
                            tokio::spawn(async move {
                                tokio::time::sleep(delay).await;
                                say.send(Say::Answer(answer)).ok();
                            });
                        }
                        None => {}
                    }
                }
                Some(_) => {}
                None => return,
            },
            Some(said) = said.recv() => match said {
                Say::Push(payload) => {
                    let topic = Topic::new(CLIENT_ID).expect("valid");
                    link.publish(Publish::new(topic, payload.to_string())).expect("the device listens");
                }
                Say::Answer(answer) => drop(link.publish(answer)),
                Say::Cut => {
                    link.cut(LinkErrorKind::Closed);
                    link = assigned(&mut broker).await;
                }
                Say::Become(thing) => {
                    link.cut(LinkErrorKind::Closed);
                    let attempt = loop {
                        let attempt = broker.accept().await.expect("somebody connects");
                        if attempt.credentials().client_id.is_anonymous() {
                            break attempt;
                        }
                        attempt.refuse(RefusedReason::NotAuthorised);
                    };
                    let mut onboarding = attempt.accept();
                    let Some(FromDevice::Publish(request)) = onboarding.next().await else { panic!("no onboarding") };
                    let body = onboarding_body(1).replace(OWN, thing);
                    onboarding.publish(answer(&request, &Response::new(body.into()))).expect("the device listens");
                    link = assigned(&mut broker).await;
                }
            },
        }
    }
}

type Lines = Arc<Mutex<Vec<String>>>;

pub(crate) struct World {
    pub(crate) service: Arc<Mutex<Service>>,
    to_device: mpsc::UnboundedSender<Say>,
    /// What was begun and what was done, in its order: thing, command, action.
    pub(crate) begun: Lines,
    pub(crate) done: Lines,
    pub(crate) client: Client,
    pub(crate) gateway: Gateway,
    pub(crate) events: GatewayEvents,
    pub(crate) run: JoinHandle<()>,
}

/// Actions `a`, `b` and `c` take a second, `slow` takes a minute.
pub(crate) fn table(begun: &Lines, done: &Lines) -> ActionTable {
    let mut table = ActionTable::new().with_time_limit(300 * SECOND);
    for name in ["a", "b", "c", "slow"] {
        let (begun, done) = (begun.clone(), done.clone());
        table = table.on(name, move |_: Value, command: Arc<ReceivedCommand>| {
            let (begun, done) = (begun.clone(), done.clone());
            async move {
                let line = format!("{} {} {name}", command.thing_id, command.command_id);
                lock(&begun).push(line.clone());
                tokio::time::sleep(if name == "slow" { 61 * SECOND } else { SECOND }).await;
                lock(&done).push(line);
                Ok::<(), String>(())
            }
        });
    }
    table
}

pub(crate) fn owner(token: &str) -> Owner {
    Owner::user(UserId::new("u1").expect("valid"), AccessToken::new(token).expect("valid"))
}

pub(crate) async fn world(service: Service, with: impl FnOnce(Builder) -> Builder) -> World {
    world_with(config(), service, with).await
}

pub(crate) async fn world_with(config: Config, service: Service, with: impl FnOnce(Builder) -> Builder) -> World {
    let (network, mut broker) = memory::network();
    let config = config.with_resume(credential(0));
    let (connected, link) = tokio::join!(client::connect(config, network), assigned(&mut broker));
    let (client, pushes, mut connection) = connected.expect("connected");
    let notices = connection.notices();
    let (to_device, said) = mpsc::unbounded_channel();
    let service = Arc::new(Mutex::new(service));
    let (begun, done): (Lines, Lines) = Default::default();
    tokio::spawn(serve(broker, link, service.clone(), (to_device.clone(), said)));
    tokio::spawn(connection.run());
    let (for_begun, for_done) = (begun.clone(), done.clone());
    let builder = Gateway::builder(client.clone(), move |_| table(&for_begun, &for_done)).with_owner(owner("owner-1"));
    let (gateway, routing, events) = with(builder).open().await.expect("the store is set up well");
    let run = tokio::spawn(routing.run(pushes, notices));
    World { service, to_device, begun, done, client, gateway, events, run }
}

pub(crate) fn node(vendor: &str) -> NodeOnboarding {
    NodeOnboarding::new(VendorThingId::new(vendor).expect("valid"), format!("{vendor}-pw").as_str().into())
}

pub(crate) fn thing(id: &str) -> ThingId {
    ThingId::new(id).expect("valid")
}

pub(crate) fn command(id: &str) -> CommandId {
    CommandId::new(id).expect("valid")
}

impl World {
    pub(crate) fn push(&self, payload: Value) {
        self.to_device.send(Say::Push(payload)).expect("the service runs");
    }

    pub(crate) fn cut(&self) {
        self.to_device.send(Say::Cut).expect("the service runs");
    }

    /// The gateway is another thing from now on, to which nobody belongs.
    pub(crate) fn become_thing(&self, own: &'static str) {
        let mut service = self.service();
        service.moved = Some((own, "token-1"));
        service.nodes.values_mut().for_each(|node| (node.is_behind_gateway, node.online) = (false, None));
        self.to_device.send(Say::Become(own)).expect("the service runs");
    }

    pub(crate) fn service(&self) -> MutexGuard<'_, Service> {
        lock(&self.service)
    }

    pub(crate) fn script(&self, begin: &str, said: Said) {
        self.service().script.push_back((begin.to_owned(), said));
    }

    pub(crate) async fn onboard(&self, vendor: &str) -> EndNode {
        self.gateway.onboard(&node(vendor)).await.expect("onboarded")
    }

    /// Lets everything settle.
    pub(crate) async fn settle(&self) {
        tokio::time::sleep(200 * SECOND).await;
    }

    pub(crate) fn done(&self) -> Vec<String> {
        lock(&self.done).clone()
    }

    /// The calls that begin so.
    pub(crate) fn heard(&self, begin: &str) -> Vec<Heard> {
        self.service().heard.iter().filter(|heard| heard.call.starts_with(begin)).cloned().collect()
    }

    /// Path and token of all reports of results.
    pub(crate) fn reports(&self) -> Vec<(String, String)> {
        let is_report = |heard: &&Heard| heard.call.ends_with("/action-results");
        let parts = |heard: &Heard| {
            let path = heard.call.strip_prefix("PUT /targets/").expect("a target");
            (path.strip_suffix("/action-results").expect("a report").to_owned(), heard.token.clone())
        };
        self.service().heard.iter().filter(is_report).map(parts).collect()
    }

    /// The events so far.
    pub(crate) async fn events(&mut self) -> Vec<GatewayEvent> {
        let mut events = Vec::new();
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(1), self.events.next()).await {
            events.push(event);
        }
        events
    }

    /// Ends it all: nothing panicked, and nothing hangs.
    pub(crate) async fn end(self) {
        self.client.close().await;
        self.run.await.expect("no panic");
    }
}

/// A PUT of nothing on the node's own path.
pub(crate) fn states_of(thing: &str) -> Request<Bytes> {
    let uri = format!("/thing-if/apps/c1k9abcdef12/targets/thing:{thing}/states");
    Request::builder().method(Method::GET).uri(uri).body(Bytes::new()).expect("a request")
}
