//! A line of a script.

use serde_json::{Map, Value};
use thingif::capture;

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// The machine under test: the line is an expectation.
    Device,
    /// The network: the line is an input.
    Broker,
    /// The program that uses the machine: the line is an input.
    Program,
}

/// When, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Since the beginning.
    At(u64),
    /// Since the line before, at least and at most.
    After(u64, u64),
}

/// A line of a script, checked.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) who: Who,
    pub(super) kind: &'a str,
    pub(super) moment: Moment,
    pub(super) line: &'a Map<String, Value>,
}

/// Members that say nothing about what is done.
pub(super) const ASIDE: [&str; 3] = ["us", "after_us", "note"];

impl<'a> Step<'a> {
    pub(super) fn read(line: &'a Value) -> Result<Self, String> {
        let line = line.as_object().ok_or("a line is an object")?;
        let kind = line.get("kind").and_then(Value::as_str).ok_or("a line has a `kind`")?;
        let (who, allowed): (Who, &[&str]) = match kind {
            "connect" => (Who::Device, &["link", "endpoint", "client_id", "username", "password"]),
            "subscribe" => (Who::Device, &["link", "filter"]),
            "publish" => (Who::Device, &["link", "topic", "payload"]),
            "close" | "dropped" => (Who::Device, &["link"]),
            "answer" => (Who::Device, &["call", "status", "headers", "body"]),
            "failure" => (Who::Device, &["call", "because", "may_have_happened"]),
            "push" => (Who::Device, &["payload"]),
            "credential" => (Who::Device, &["credential"]),
            "end" => (Who::Device, &["because"]),
            "connected" => (Who::Broker, &["link"]),
            "refused" | "lost" => (Who::Broker, &["link", "error"]),
            "subscribed" => (Who::Broker, &["link", "filter", "granted"]),
            "received" => (Who::Broker, &["link", "topic", "payload"]),
            "call" => (Who::Program, &["call", "method", "path", "headers", "body", "within_us"]),
            "cancel" => (Who::Program, &["call"]),
            "stop" => (Who::Program, &[]),
            _ => return Err(format!("there is no kind {kind:?}")),
        };
        let known = |key: &str| key == "kind" || allowed.contains(&key) || ASIDE.contains(&key);
        if let Some(odd) = line.keys().find(|key| !known(key)) {
            return Err(format!("{kind:?} has no member {odd:?}"));
        }
        if line.contains_key("link") {
            capture_event(line)?;
        }
        Ok(Self { who, kind, moment: moment(line, who)?, line })
    }
}

/// Reads a line as one of a capture, which it is but for its time.
pub(super) fn capture_event(line: &Map<String, Value>) -> Result<capture::Event, String> {
    let mut line = line.clone();
    line.insert("us".into(), 0.into());
    let text = format!("{{\"capture\":1}}\n{}", Value::Object(line));
    let mut reader = capture::Reader::new(text.as_bytes()).map_err(|error| error.to_string())?;
    let entry = reader.next().ok_or("a line")?.map_err(|error| error.to_string())?;
    Ok(entry.event)
}

fn moment(line: &Map<String, Value>, who: Who) -> Result<Moment, String> {
    let number = |value: &Value| value.as_u64().ok_or(String::from("a time is microseconds"));
    match (line.get("us"), line.get("after_us")) {
        (None, None) => Ok(Moment::After(0, 0)),
        (Some(at), None) => number(at).map(Moment::At),
        (None, Some(Value::Array(range))) if who == Who::Device && range.len() == 2 => {
            Ok(Moment::After(number(&range[0])?, number(&range[1])?))
        }
        (None, Some(after)) => number(after).map(|us| Moment::After(us, us)),
        (Some(_), Some(_)) => Err("a line has `us` or `after_us`, not both".into()),
    }
}
