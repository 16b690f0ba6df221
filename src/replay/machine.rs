//! A capture replayed against the device's machine alone: no network, and time that passes at once.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use super::bindings::Bindings;
use super::device::app_of;
use super::difference::{Difference, lines_of};
use super::wire::difference;
use super::{ReplayError, Replayed, Script, Step};
use crate::capture::Event;
use crate::config::{Config, Identity};
use crate::frame::{self, Frame};
use crate::ids::{AppId, ThingId, VendorThingId};
use crate::mqtt::Publish;
use crate::proto::{self, Action, EventKind, IfDown, Instant, Lifecycle, LinkId};
use crate::secret::Secret;
use crate::thing_if::Credential;
use crate::topic::TopicFilter;

/// How far time may run ahead of the capture until the machine does what was recorded: its pauses have jitter.
const SLACK: Duration = Duration::from_secs(120);

/// How often time may move on without anything being done: more means that the machine spins.
const MAX_IDLE: usize = 10_000;

/// What the machine does that a capture shows.
#[derive(Debug)]
enum Done {
    Connect { link: u64, client_id: String, username: String },
    Subscribe { link: u64, filter: TopicFilter },
    Publish { link: u64, publish: Publish },
    Close { link: u64 },
    Dropped { link: u64 },
}

struct Machine {
    machine: Lifecycle,
    now: Duration,
    /// By how much time has run ahead of the capture.
    ahead: Duration,
    done: VecDeque<Done>,
    failed: Option<String>,
    bindings: Bindings,
}

/// Replays `script` to its end.
///
/// # Errors
/// [`ReplayError`]: the first difference, or why the capture does not say enough of the device to be replayed.
pub fn run(script: &Script) -> Result<Replayed, ReplayError> {
    let config = config(script).map_err(ReplayError::Unfit)?;
    let mut machine = Machine {
        machine: Lifecycle::new(instant(Duration::ZERO), config, 1),
        now: Duration::ZERO,
        ahead: Duration::ZERO,
        done: VecDeque::new(),
        failed: None,
        bindings: Bindings::new(script.header.redacted),
    };
    machine.collect();
    let mut replayed = Replayed::default();
    // The machine counts its own connections; in a recording others may have been between them.
    let mut links = Vec::new();
    for step in &script.steps {
        let mut step = step.clone();
        if matches!(step.entry.event, Event::Connect { .. }) {
            links.push(step.entry.link);
        }
        let own = links.iter().rposition(|link| *link == step.entry.link).map_or(0, |place| place + 1);
        step.entry.link = own as u64;
        let step = &step;
        machine.step(step)?;
        replayed.steps += 1;
        replayed.compared += usize::from(matches!(step.entry.event, Event::Publish(_)));
    }
    match (machine.done.pop_front(), script.steps.last()) {
        (Some(done), Some(last)) => {
            let what = "the device does more than was recorded".to_owned();
            Err(difference(last, what, vec!["nothing".into()], shown(&done)).into())
        }
        _ => Ok(replayed),
    }
}

impl Machine {
    fn step(&mut self, step: &Step) -> Result<(), ReplayError> {
        let at = step.entry.at + self.ahead;
        match &step.entry.event {
            Event::Connected => self.input(step, at, EventKind::Connected),
            Event::Refused(error) | Event::Lost(error) => self.input(step, at, EventKind::Lost(error.clone())),
            Event::Subscribed { filter, granted } => {
                self.input(step, at, EventKind::Subscribed { filter: filter.clone(), granted: *granted });
            }
            Event::Received(publish) => {
                // The id is the machine's own in this run.
                let payload = self.bindings.fill(&publish.payload, |_, _| None).into();
                self.input(step, at, EventKind::Received(Publish { payload, ..publish.clone() }));
            }
            Event::Publish(publish) => {
                self.call(step, at, publish)?;
                self.expect(step)?;
            }
            Event::Close => {
                let is_done = self.done.iter().any(|done| matches!(done, Done::Close { .. }));
                if !is_done {
                    // Nothing but the program makes the device say goodbye.
                    self.advance(at);
                    self.machine.close(instant(self.now));
                    self.collect();
                }
                self.expect(step)?;
            }
            Event::Connect { .. } | Event::Subscribe(_) | Event::Dropped => self.expect(step)?,
            Event::Unsubscribe(filter) => {
                return Err(ReplayError::Unfit(format!(
                    "line {}: UNSUBSCRIBE {filter}: this device never does that",
                    step.line
                )));
            }
            Event::Stopped(_) => {}
        }
        Ok(())
    }

    fn input(&mut self, step: &Step, at: Duration, kind: EventKind) {
        self.advance(at);
        self.machine.handle_event(instant(self.now), proto::Event { link: LinkId(step.entry.link), kind });
        self.collect();
    }

    /// Whatever is not an onboarding was a call of the program.
    fn call(&mut self, step: &Step, at: Duration, publish: &Publish) -> Result<(), ReplayError> {
        if publish.topic.as_str().starts_with("p/anonymous/") || publish.topic.as_str().ends_with("/onboardings") {
            return Ok(());
        }
        let unfit = |why: String| ReplayError::Unfit(format!("line {}: {why}", step.line));
        let mut request = frame::decode_request(&publish.topic, publish.payload.clone())
            .map_err(|error| unfit(format!("what the device sent is no request: {error}")))?;
        request.headers_mut().remove("x-kii-requestid");
        request.headers_mut().remove(http::header::AUTHORIZATION);
        self.advance(at);
        let deadline = instant(self.now + Duration::from_secs(60));
        if let Err(error) = self.machine.submit(instant(self.now), request, deadline, IfDown::Fail) {
            let seen = vec![format!("the call fails: {error}")];
            return Err(difference(step, "the device does not send this".into(), lines_of(publish), seen).into());
        }
        self.collect();
        Ok(())
    }

    /// Lets time pass until `at`.
    fn advance(&mut self, at: Duration) {
        for _ in 0..MAX_IDLE {
            let due = self.machine.next_deadline().map(Instant::since_origin).filter(|due| *due <= at);
            let Some(due) = due else { break };
            self.now = self.now.max(due);
            self.machine.handle_timeout(instant(self.now));
            self.collect();
        }
        self.now = self.now.max(at);
    }

    /// The machine must do this next, now or after one of its pauses.
    fn expect(&mut self, step: &Step) -> Result<(), Difference> {
        let latest = self.now.max(step.entry.at + self.ahead) + SLACK;
        let began = self.now.max(step.entry.at + self.ahead);
        for _ in 0..MAX_IDLE {
            if !self.done.is_empty() {
                break;
            }
            let due = self.machine.next_deadline().map(Instant::since_origin).filter(|due| *due <= latest);
            let Some(due) = due else { break };
            self.now = self.now.max(due);
            self.machine.handle_timeout(instant(self.now));
            self.collect();
        }
        self.ahead += self.now.saturating_sub(began);
        let recorded = recorded(&step.entry.event, &self.bindings, self.done.front());
        let Some(done) = self.done.pop_front() else {
            let seen = match &self.failed {
                Some(why) => format!("the device has ended: {why}"),
                None => "nothing".to_owned(),
            };
            return Err(difference(step, "the device does not do this".into(), recorded, vec![seen]));
        };
        let link = step.entry.link;
        let same = match (&step.entry.event, &done) {
            (
                Event::Connect { client_id, username, .. },
                Done::Connect { link: its, client_id: id, username: name },
            ) => link == *its && client_id.as_str() == id && username == name,
            (Event::Subscribe(filter), Done::Subscribe { link: its, filter: own }) => link == *its && filter == own,
            (Event::Publish(publish), Done::Publish { link: its, publish: own }) => {
                let is_there = link == *its && publish.topic == own.topic;
                if is_there {
                    self.bindings.compare(&publish.payload, &own.payload).map_err(|mismatch| {
                        let what = format!("{}, at byte {} of the payload", mismatch.why, mismatch.offset);
                        difference(step, what, recorded.clone(), lines_of(own))
                    })?;
                }
                is_there
            }
            (Event::Close, Done::Close { link: its }) | (Event::Dropped, Done::Dropped { link: its }) => link == *its,
            _ => false,
        };
        match same {
            true => Ok(()),
            false => Err(difference(step, "the device does something else".into(), recorded, shown(&done))),
        }
    }

    fn collect(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Store { link, .. } => {
                    let event = proto::Event { link, kind: EventKind::Stored(Ok(())) };
                    self.machine.handle_event(instant(self.now), event);
                }
                Action::Connect { link, credentials, .. } => self.done.push_back(Done::Connect {
                    link: link.0,
                    client_id: credentials.client_id.to_string(),
                    username: credentials.username,
                }),
                Action::Subscribe { link, filter } => self.done.push_back(Done::Subscribe { link: link.0, filter }),
                Action::Publish { link, publish, .. } => self.done.push_back(Done::Publish { link: link.0, publish }),
                Action::Disconnect { link } => self.done.push_back(Done::Close { link: link.0 }),
                Action::Abort { link } => self.done.push_back(Done::Dropped { link: link.0 }),
                Action::Closed(Some(error)) => self.failed = Some(error.to_string()),
                _ => {}
            }
        }
    }
}

fn instant(since: Duration) -> Instant {
    Instant::from_origin(since)
}

fn recorded(event: &Event, bindings: &Bindings, seen: Option<&Done>) -> Vec<String> {
    match event {
        Event::Connect { client_id, username, .. } => {
            vec![format!("CONNECT, client id {client_id}"), format!("user name {username}")]
        }
        Event::Subscribe(filter) => vec![format!("SUBSCRIBE {filter}")],
        Event::Publish(publish) => {
            let seen: &[u8] = match seen {
                Some(Done::Publish { publish, .. }) => &publish.payload,
                _ => &[],
            };
            let payload = bindings.expected(&publish.payload, seen).into();
            lines_of(&Publish { payload, ..publish.clone() })
        }
        Event::Close => vec!["DISCONNECT".into()],
        _ => vec!["the device gives the connection up".into()],
    }
}

fn shown(done: &Done) -> Vec<String> {
    match done {
        Done::Connect { client_id, username, .. } => {
            vec![format!("CONNECT, client id {client_id}"), format!("user name {username}")]
        }
        Done::Subscribe { filter, .. } => vec![format!("SUBSCRIBE {filter}")],
        Done::Publish { publish, .. } => lines_of(publish),
        Done::Close { .. } => vec!["DISCONNECT".into()],
        Done::Dropped { .. } => vec!["the device gives the connection up".into()],
    }
}

/// The device that the capture shows: who it is, as far as it has said so.
fn config(script: &Script) -> Result<Config, String> {
    let mut events = script.steps.iter().map(|step| &step.entry.event);
    let Some(Event::Connect { endpoint, client_id, username, .. }) = events.next() else {
        return Err("a capture for the device begins with its first connection".into());
    };
    let published: Vec<&Publish> = script
        .steps
        .iter()
        .filter_map(|step| match &step.entry.event {
            Event::Publish(publish) => Some(publish),
            _ => None,
        })
        .collect();
    let onboarding = published.iter().find(|publish| publish.topic.as_str().starts_with("p/anonymous/"));
    let body = onboarding.and_then(|publish| Frame::parse(&publish.payload).ok()).map(|frame| frame.body());
    let body: Value = body.and_then(|body| serde_json::from_slice(body).ok()).unwrap_or(Value::Null);
    let password = Secret::from(body["thingPassword"].as_str().unwrap_or_default());
    let identity = match (body["vendorThingID"].as_str(), body["thingID"].as_str()) {
        (Some(id), _) => Identity::vendor_thing(VendorThingId::new(id).map_err(|error| error.to_string())?, password),
        (None, Some(id)) => Identity::thing(ThingId::new(id).map_err(|error| error.to_string())?, password),
        // It never onboards.
        (None, None) => {
            Identity::vendor_thing(VendorThingId::new("unknown").map_err(|error| error.to_string())?, password)
        }
    };
    let topic_of_app =
        published.iter().find_map(|publish| publish.topic.as_str().split("/apps/").nth(1)?.split('/').next());
    let app = app_of(username).or(topic_of_app).ok_or("the capture does not say of which application the device is")?;
    let app = AppId::new(app).map_err(|error| error.to_string())?;
    let config = Config::new(endpoint.clone(), app.clone(), Secret::from("masked"), identity)
        .map_err(|error| error.to_string())?;
    let filters: Vec<&str> = script
        .steps
        .iter()
        .filter_map(|step| match &step.entry.event {
            Event::Subscribe(filter) => Some(filter.as_str()),
            _ => None,
        })
        .collect();
    let config = config
        .with_pushes(filters.iter().any(|filter| !filter.starts_with("p/")))
        .with_response_filter(filters.iter().any(|filter| filter.starts_with("p/")));
    if app_of(username).is_some() {
        return Ok(config);
    }
    let thing = published.iter().find_map(|publish| publish.topic.as_str().split("thing:").nth(1)?.split('/').next());
    let token = published.iter().find_map(|publish| {
        let frame = Frame::parse(&publish.payload).ok()?;
        let value = std::str::from_utf8(frame.header("authorization")?).ok()?;
        value.split_once(' ').map(|(_, token)| token.to_owned())
    });
    let credential = json!({
        "appID": app, "thingID": thing.unwrap_or("th.unknown"), "accessToken": token.unwrap_or_else(|| "masked".into()),
        "mqttEndpoint": {
            "installationID": "unknown", "username": username, "password": "masked", "mqttTopic": client_id,
            "host": endpoint.host, port_member(endpoint): endpoint.port, "ttl": 2_147_483_647,
        },
    });
    let credential = Credential::from_json(credential.to_string()).map_err(|error| error.to_string())?;
    Ok(config.with_resume(credential))
}

fn port_member(endpoint: &crate::mqtt::Endpoint) -> &'static str {
    match (endpoint.scheme.is_websocket(), endpoint.scheme.is_tls()) {
        (false, false) => "portTCP",
        (false, true) => "portSSL",
        (true, false) => "portWS",
        (true, true) => "portWSS",
    }
}
