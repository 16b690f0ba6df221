//! What `demo` says while it happens: for people, or one JSON object a line.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use crate::cli::exit::Failure;
use crate::cli::output;
use crate::cli::owner::Called;
use crate::cli::tap::Passing;
use crate::mqtt::Publish;
use crate::secret::{Redacted, redact};
use crate::thing_if::Command;

/// Writes to standard output as things happen, and keeps their times for the table at the end.
pub(crate) struct Narrator {
    json: bool,
    began: Instant,
    told: Mutex<Told>,
}

struct Told {
    steps: u32,
    frames: u32,
    /// The latest moment from which the next timing counts.
    mark: Instant,
    /// Which broker the thing is connected to.
    broker: &'static str,
    timings: Vec<(String, Duration)>,
    failed: Option<Failure>,
}

impl Narrator {
    pub(crate) fn new(json: bool) -> Self {
        let now = Instant::now();
        let told = Told { steps: 0, frames: 0, mark: now, broker: "", timings: Vec::new(), failed: None };
        Self { json, began: now, told: Mutex::new(told) }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One line of JSON, or some lines for people.
    fn say(&self, told: &mut Told, lines: impl FnOnce() -> String, mut record: Value) {
        let written = if self.json {
            record["ms"] = millis(self.began.elapsed());
            output::json_line(&record)
        } else {
            output::line(&lines())
        };
        if let Err(failure) = written {
            told.failed.get_or_insert(failure);
        }
    }

    /// Whether all of it could be written.
    pub(crate) fn written(&self) -> Result<(), Failure> {
        self.told().failed.clone().map_or(Ok(()), Err)
    }

    /// A new chapter.
    pub(crate) fn step(&self, name: &str) {
        let mut told = self.told();
        told.steps += 1;
        let number = told.steps;
        self.say(&mut told, || format!("\n{number}. {name}"), json!({"event": "step", "number": number, "name": name}));
        told.mark = Instant::now();
    }

    /// Something worth knowing.
    pub(crate) fn note(&self, text: &str) {
        self.say(&mut self.told(), || format!("   {text}"), json!({"event": "note", "text": text}));
    }

    /// What the next timing counts from.
    pub(crate) fn mark(&self) {
        self.told().mark = Instant::now();
    }

    /// `step` has just ended; it began at the last mark, step or timing.
    pub(crate) fn timing(&self, step: &str) {
        let mut told = self.told();
        let took = told.mark.elapsed();
        told.mark = Instant::now();
        told.timings.push((step.to_owned(), took));
    }

    /// `step` took this long.
    pub(crate) fn duration(&self, step: &str, took: Duration) {
        self.told().timings.push((step.to_owned(), took));
    }

    /// What passes on the thing's connections.
    pub(crate) fn passing(&self, passing: &Passing<'_>) {
        let mut told = self.told();
        match passing {
            Passing::Connected(endpoint, credentials) => {
                let client_id = &credentials.client_id;
                told.broker = if client_id.is_anonymous() { "default" } else { "assigned" };
                let broker = told.broker;
                self.say(
                    &mut told,
                    || format!("   connected to the {broker} broker {endpoint} as {client_id}"),
                    json!({"event": "connected", "broker": broker, "endpoint": endpoint.to_string(), "clientID": client_id}),
                );
                self.lap(&mut told, &format!("connected to the {broker} broker"));
            }
            Passing::Sent(publish) => self.frame(&mut told, "sent", '>', publish),
            Passing::Received(publish) => {
                self.frame(&mut told, "received", '<', publish);
                if told.broker == "default" {
                    self.lap(&mut told, "onboarding answered");
                }
            }
            Passing::Subscribed(filter, granted) => {
                let said = if *granted { "subscribed to" } else { "was refused" };
                self.say(
                    &mut told,
                    || format!("   {said} {filter}"),
                    json!({"event": "subscribed", "filter": filter.to_string(), "granted": granted}),
                );
                self.lap(&mut told, "subscribed to pushes");
            }
            Passing::Closed => {
                let broker = told.broker;
                let lines = || format!("   disconnected from the {broker} broker");
                self.say(&mut told, lines, json!({"event": "disconnected", "broker": broker}));
                told.mark = Instant::now();
            }
            Passing::Lost(error) => {
                self.say(
                    &mut told,
                    || format!("   lost: {error}"),
                    json!({"event": "lost", "cause": error.to_string()}),
                );
            }
        }
    }

    fn lap(&self, told: &mut Told, step: &str) {
        told.timings.push((step.to_owned(), told.mark.elapsed()));
        told.mark = Instant::now();
    }

    fn frame(&self, told: &mut Told, direction: &str, mark: char, publish: &Publish) {
        told.frames += 1;
        let payload = redact(&publish.payload);
        let payload = String::from_utf8_lossy(&payload);
        let topic = publish.topic.to_string();
        let lines = || {
            let mut text = format!("   {mark} {topic}");
            for line in Redacted::new(&publish.payload).to_string().lines() {
                text.push_str(if line.is_empty() { "\n" } else { "\n     " });
                text.push_str(line);
            }
            text
        };
        let broker = told.broker;
        let record =
            json!({"event": "frame", "broker": broker, "direction": direction, "topic": topic, "payload": payload});
        self.say(told, lines, record);
    }

    /// A call of the owner's.
    pub(crate) fn called(&self, called: &Called) {
        let Called { method, path, status, body } = called;
        let body = redact(body);
        let body = String::from_utf8_lossy(&body);
        self.say(
            &mut self.told(),
            || format!("   {method} {path} -> {}", status.as_u16()),
            json!({"event": "http", "method": method.as_str(), "path": path, "status": status.as_u16(), "body": body}),
        );
    }

    /// What the owner reads in the end.
    pub(crate) fn outcome(&self, command: &Command) {
        let state = command.command_state.as_str();
        let results = json!(command.action_results);
        self.say(
            &mut self.told(),
            || format!("   command {} is {state}: {results}", command.command_id),
            json!({"event": "command", "commandID": command.command_id, "commandState": state, "actionResults": results}),
        );
    }

    /// The table of times.
    pub(crate) fn end(&self) {
        let total = self.began.elapsed();
        let mut told = self.told();
        let timings = std::mem::take(&mut told.timings);
        if self.json {
            for (step, took) in &timings {
                self.say(&mut told, String::new, json!({"event": "timing", "step": step, "tookMs": millis(*took)}));
            }
        }
        let frames = told.frames;
        let record = json!({"event": "done", "frames": frames, "tookMs": millis(total)});
        self.say(
            &mut told,
            || format!("\n{}\n{frames} frames, all of it over real sockets.", table(&timings, total)),
            record,
        );
    }
}

fn millis(time: Duration) -> Value {
    json!((time.as_secs_f64() * 1e6).round() / 1e3)
}

fn table(timings: &[(String, Duration)], total: Duration) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(["step", "ms"]);
    for (step, took) in timings {
        table.add_row([step.clone(), format!("{:.2}", took.as_secs_f64() * 1e3)]);
    }
    table.add_row([String::from("all of it"), format!("{:.2}", total.as_secs_f64() * 1e3)]);
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
