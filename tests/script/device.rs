//! The machine under test, in virtual time, with its actions as lines of a script.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use thingif::capture;
use thingif::config::{Config, Identity};
use thingif::ids::{AppId, VendorThingId};
use thingif::proto::{Action, CallId, Event, EventKind, IfDown, Instant, Lifecycle, LinkId, RequestError};
use thingif::thing_if::Credential;

use super::matching::Names;
use super::steps::{Step, Who, capture_event};

/// How often time may move on without anything being done: more means that the machine spins.
const MAX_IDLE_TIMEOUTS: usize = 1000;

pub(super) struct Device {
    machine: Lifecycle,
    /// Microseconds since the beginning.
    now: u64,
    /// What it did and the script has not asked for yet.
    done: VecDeque<(u64, Value)>,
    /// The script's names of calls.
    calls: BTreeMap<CallId, String>,
}

impl Device {
    pub(super) fn new(head: &Value) -> Self {
        let seed = head["config"]["seed"].as_u64().expect("config.seed: a number");
        let mut device = Self {
            machine: Lifecycle::new(instant(0), config(&head["config"]), seed),
            now: 0,
            done: VecDeque::new(),
            calls: BTreeMap::new(),
        };
        device.collect();
        device
    }

    /// What the device does next, until `latest` at most.
    pub(super) fn does(&mut self, latest: u64) -> Option<(u64, Value)> {
        for _ in 0..MAX_IDLE_TIMEOUTS {
            if let Some(done) = self.done.pop_front() {
                return Some(done);
            }
            let due = self.machine.next_deadline().map(|deadline| microseconds(deadline).max(self.now));
            let due = due.filter(|due| *due <= latest)?;
            self.now = due;
            self.machine.handle_timeout(instant(due));
            self.collect();
        }
        panic!("the device asks for a timeout again and again at {} us and does nothing", self.now);
    }

    /// Takes what the broker or the program does.
    pub(super) fn input(&mut self, at: u64, step: &Step<'_>, names: &mut Names) -> Result<(), String> {
        if at < self.now {
            return Err(format!("is at {} us already", self.now));
        }
        self.now = at;
        match step.who {
            Who::Broker => {
                let link = LinkId(step.line["link"].as_u64().expect("link: a number"));
                let kind = event(step, names)?;
                self.machine.handle_event(instant(at), Event { link, kind });
            }
            Who::Program => self.program(step)?,
            Who::Device => unreachable!("an expectation is no input"),
        }
        self.collect();
        Ok(())
    }

    fn program(&mut self, step: &Step<'_>) -> Result<(), String> {
        let now = instant(self.now);
        let name = || text(&step.line["call"]).to_owned();
        match step.kind {
            "call" => {
                let within =
                    step.line.get("within_us").map_or(10_000_000, |us| us.as_u64().expect("within_us: a number"));
                let deadline = instant(self.now + within);
                match self.machine.submit(now, request(step), deadline, IfDown::Fail) {
                    Ok(call) => _ = self.calls.insert(call, name()),
                    Err(error) => {
                        // What became of other calls stands before it.
                        self.collect();
                        self.done.push_back((self.now, failure(&name(), &error)));
                    }
                }
            }
            "cancel" => {
                let wanted = name();
                let call = self.calls.iter().find(|(_, name)| **name == wanted).map(|(call, _)| *call);
                self.machine.cancel(now, call.ok_or("knows no such call")?);
            }
            _ => self.machine.close(now),
        }
        Ok(())
    }

    /// Whether the end is as the head's `ends` says: the counters that are not zero, and whether it is idle.
    pub(super) fn finish(&self, head: &Value) -> Result<(), String> {
        let counters = format!("{:?}", self.machine.counters());
        let fields = counters.trim_start_matches("Counters {").trim_end_matches('}').split(',');
        let counted: BTreeMap<&str, u64> = fields
            .filter_map(|field| field.split_once(':'))
            .map(|(name, count)| (name.trim(), count.trim().parse().expect("a counter is a number")))
            .filter(|(_, count)| *count > 0)
            .collect();
        let is = json!({ "idle": self.machine.is_idle(), "closed": self.machine.is_closed(), "ignored": counted });
        if head["ends"] == is { Ok(()) } else { Err(format!("{is}, not {}", head["ends"])) }
    }

    fn collect(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            if let Action::Store { link, .. } = action {
                let now = instant(self.now);
                self.machine.handle_event(now, Event { link, kind: EventKind::Stored(Ok(())) });
            }
            if let Some(line) = self.line(action) {
                self.done.push_back((self.now, line));
            }
        }
    }

    /// An action as a line of a script; `None` for what is only reported.
    fn line(&self, action: Action) -> Option<Value> {
        Some(match action {
            Action::Connect { link, endpoint, credentials, .. } => json!({
                "kind": "connect", "link": link.0, "endpoint": endpoint.to_string(),
                "client_id": credentials.client_id, "username": credentials.username,
                "password": credentials.password.expose(),
            }),
            Action::Subscribe { link, filter } => {
                json!({ "kind": "subscribe", "link": link.0, "filter": filter.as_str() })
            }
            Action::Publish { link, publish, .. } => json!({
                "kind": "publish", "link": link.0, "topic": publish.topic.as_str(), "payload": form(&publish.payload),
            }),
            Action::Disconnect { link } => json!({ "kind": "close", "link": link.0 }),
            Action::Abort { link } => json!({ "kind": "dropped", "link": link.0 }),
            Action::Resolve { call, result: Ok(response) } => answer(&self.calls[&call], &response),
            Action::Resolve { call, result: Err(error) } => failure(&self.calls[&call], &error),
            Action::Push(payload) => json!({ "kind": "push", "payload": form(&payload) }),
            Action::Store { credential, .. } => {
                let stored: Value = serde_json::from_str(&credential.to_json_exposed()).expect("JSON");
                json!({ "kind": "credential", "credential": stored })
            }
            Action::Closed(None) => json!({ "kind": "end" }),
            Action::Closed(Some(error)) => json!({ "kind": "end", "because": chain(&error) }),
            Action::Notice(_) => return None,
            other => panic!("an action that scripts do not know: {other:?}"),
        })
    }
}

fn instant(us: u64) -> Instant {
    Instant::from_origin(Duration::from_micros(us))
}

/// Rounded up, so that what is due has been reached.
fn microseconds(instant: Instant) -> u64 {
    instant.since_origin().as_nanos().div_ceil(1000).try_into().expect("scripts are short")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a string, not {value}"))
}

fn config(head: &Value) -> Config {
    let identity = Identity::vendor_thing(
        VendorThingId::new(text(&head["vendor_thing_id"])).expect("an id"),
        text(&head["thing_password"]).into(),
    );
    let app = AppId::new(text(&head["app_id"])).expect("an id");
    let broker = text(&head["broker"]).parse().expect("a broker");
    let mut config = Config::new(broker, app, text(&head["app_key"]).into(), identity).expect("valid");
    for (knob, value) in head.as_object().expect("an object") {
        config = match knob.as_str() {
            "broker" | "app_id" | "app_key" | "vendor_thing_id" | "thing_password" | "seed" => config,
            "resume" => config.with_resume(Credential::from_json(value.to_string()).expect("a credential")),
            "pushes" => config.with_pushes(value.as_bool().expect("true or false")),
            "response_filter" => config.with_response_filter(value.as_bool().expect("true or false")),
            other => panic!("unknown knob {other:?}"),
        };
    }
    config
}

/// What the broker does, read as a line of a capture.
fn event(step: &Step<'_>, names: &Names) -> Result<EventKind, String> {
    let mut line = step.line.clone();
    if let Some(payload) = line.get_mut("payload") {
        *payload = form(&names.fill(payload)?);
    }
    Ok(match capture_event(&line)? {
        capture::Event::Connected => EventKind::Connected,
        capture::Event::Refused(error) | capture::Event::Lost(error) => EventKind::Lost(error),
        capture::Event::Subscribed { filter, granted } => EventKind::Subscribed { filter, granted },
        capture::Event::Received(publish) => EventKind::Received(publish),
        other => return Err(format!("cannot hear {other:?}")),
    })
}

fn request(step: &Step<'_>) -> Request<Bytes> {
    let mut request = Request::builder().method(text(&step.line["method"])).uri(text(&step.line["path"]));
    for header in step.line.get("headers").and_then(Value::as_array).into_iter().flatten() {
        request = request.header(text(&header[0]), text(&header[1]));
    }
    let body = step.line.get("body").map(crate::samples::bytes).unwrap_or_default();
    request.body(body.into()).expect("a valid request")
}

/// Text where it is text.
fn form(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "hex": bytes.iter().map(|b| format!("{b:02x}")).collect::<String>() }),
    }
}

fn answer(call: &str, response: &Response<Bytes>) -> Value {
    let mut headers: Vec<_> =
        response.headers().iter().map(|(name, value)| [json!(name.as_str()), form(value.as_bytes())]).collect();
    headers.sort_by_key(|[name, _]| name.to_string());
    json!({
        "kind": "answer", "call": call, "status": response.status().as_u16(), "headers": headers,
        "body": form(response.body()),
    })
}

fn failure(call: &str, error: &RequestError) -> Value {
    json!({
        "kind": "failure", "call": call, "because": chain(error),
        "may_have_happened": error.may_have_been_processed(),
    })
}

/// An error and its causes, in words.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
