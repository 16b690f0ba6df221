//! A capture for people, one entry after the other.

use std::io::BufRead;

use serde_json::{Value, json};

use crate::capture::{CaptureErrorKind, Direction, Entry, Event, Reader};
use crate::cli::exit::Failure;
use crate::cli::message::Message;
use crate::cli::output;
use crate::mqtt::Publish;
use crate::secret::Redacted;
use crate::topic::{Topic, TopicFilter};

/// Whether `source` begins as a capture does.
pub(crate) fn is_one(source: &mut impl BufRead) -> bool {
    source.fill_buf().is_ok_and(|bytes| bytes.trim_ascii_start().starts_with(b"{\"capture\""))
}

/// Shows a capture to its end.
pub(crate) fn show(source: impl BufRead, as_json: bool, secrets: bool) -> Result<(), Failure> {
    let reader = Reader::new(source).map_err(Failure::other)?;
    let header = reader.header();
    if as_json {
        output::json_line(&json!({ "source": header.source, "note": header.note, "redacted": header.redacted }))?;
    } else {
        let masked = if header.redacted { "masked" } else { "WITH SECRETS" };
        let parts = [header.source.as_str(), masked, header.note.as_str()];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        output::line(&format!("capture: {}", text(parts.join(", ").as_bytes(), secrets)))?;
    }
    for entry in reader {
        match entry {
            Ok(entry) if as_json => output::json_line(&as_value(&entry, secrets))?,
            Ok(entry) => output::line(&shown(&entry, secrets))?,
            Err(error) if matches!(error.kind(), CaptureErrorKind::Torn) => {
                eprintln!("thingif: {error}");
            }
            Err(error) => return Err(Failure::other(error)),
        }
    }
    Ok(())
}

fn text(bytes: &[u8], secrets: bool) -> String {
    if !secrets {
        return Redacted::new(bytes).to_string();
    }
    // What could confuse a terminal is no secret.
    let plain = |c: char| matches!(c, '\n' | '\t') || !c.is_control();
    let shown = |c: char| if plain(c) { c.to_string() } else { c.escape_default().to_string() };
    String::from_utf8_lossy(bytes).replace("\r\n", "\n").chars().map(shown).collect()
}

fn shown(entry: &Entry, secrets: bool) -> String {
    let arrow = match entry.event.direction() {
        Some(Direction::Out) => '→',
        Some(Direction::In) => '←',
        None => '·',
    };
    let of = |filter: &TopicFilter| text(filter.as_str().as_bytes(), secrets);
    let what = match &entry.event {
        Event::Connect { endpoint, client_id, username, .. } => {
            format!("connect {endpoint} as {client_id}, user name {}", text(username.as_bytes(), secrets))
        }
        Event::Connected => "connected".into(),
        Event::Refused(error) => format!("refused: {}", text(error.to_string().as_bytes(), secrets)),
        Event::Subscribe(filter) => format!("subscribe {}", of(filter)),
        Event::Subscribed { filter, granted: true } => format!("subscribed {}", of(filter)),
        Event::Subscribed { filter, .. } => format!("subscription refused {}", of(filter)),
        Event::Unsubscribe(filter) => format!("unsubscribe {}", of(filter)),
        Event::Publish(publish) => format!("publish {}", message(publish, secrets)),
        Event::Received(publish) => format!("received {}", message(publish, secrets)),
        Event::Lost(error) => format!("lost: {}", text(error.to_string().as_bytes(), secrets)),
        Event::Close => "close".into(),
        Event::Dropped => "dropped".into(),
        Event::Stopped(why) => format!("the recording stopped: {}", text(why.as_bytes(), secrets)),
    };
    format!("{:>12.3} ms  link {} {arrow} {what}", entry.at.as_secs_f64() * 1000.0, entry.link)
}

fn message(publish: &Publish, secrets: bool) -> String {
    let qos = match publish.qos as u8 {
        0 => String::new(),
        qos => format!(" at QoS {qos}"),
    };
    let payload = text(&publish.payload, secrets).replace('\r', "");
    let lines: Vec<_> = payload.lines().map(|line| format!("\n    {line}")).collect();
    format!("{}{qos}{}", text(publish.topic.as_str().as_bytes(), secrets), lines.concat())
}

fn as_value(entry: &Entry, secrets: bool) -> Value {
    let us = u64::try_from(entry.at.as_micros()).unwrap_or(u64::MAX);
    let base = json!({ "us": us, "link": entry.link });
    let (Event::Publish(publish) | Event::Received(publish)) = &entry.event else {
        return merged(base, json!({ "shown": shown(entry, secrets).split_once("  link ").map(|(_, rest)| rest) }));
    };
    let (topic, payload) = (publish.topic.as_str().as_bytes(), &publish.payload[..]);
    let masked = |bytes| if secrets { std::borrow::Cow::Borrowed(bytes) } else { crate::secret::redact(bytes) };
    let (topic, payload) = (masked(topic), masked(payload));
    let known = Topic::from_bytes(&topic).ok();
    let message = Message::read(known.as_ref(), &payload).ok();
    let is_out = matches!(entry.event, Event::Publish(_));
    merged(
        base,
        json!({
            "kind": if is_out { "publish" } else { "received" },
            "topic": String::from_utf8_lossy(&topic),
            "message": message,
        }),
    )
}

fn merged(mut base: Value, more: Value) -> Value {
    if let (Value::Object(base), Value::Object(more)) = (&mut base, more) {
        base.extend(more);
    }
    base
}
