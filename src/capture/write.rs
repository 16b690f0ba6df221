//! Writing a capture.

use std::borrow::Cow;
use std::io;

use serde_json::{Map, Value, json};

use super::{Entry, Event, Header, VERSION, code};
use crate::mqtt::{LinkError, Publish};
use crate::secret::redact;

/// Writes a capture line by line. Each line is one `write_all`, so lines of several writers on one file do not mix where
/// the file is opened for appending. Nothing is buffered here.
#[derive(Debug)]
pub struct Writer<W> {
    sink: W,
    redacts: bool,
    /// Whether the last line may be incomplete: then the next one must not be glued to it.
    is_torn: bool,
}

impl<W: io::Write> Writer<W> {
    /// Writes the header. Secrets will be redacted.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn new(sink: W, header: &Header) -> io::Result<Self> {
        Self::start(sink, header, true)
    }

    /// As [`new`](Writer::new), but tokens and passwords in payloads are written as they are. For captures that never
    /// leave the machine. Passwords of CONNECT are not even then written.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn danger_with_secrets(sink: W, header: &Header) -> io::Result<Self> {
        Self::start(sink, header, false)
    }

    fn start(sink: W, header: &Header, redacts: bool) -> io::Result<Self> {
        let mut writer = Self { sink, redacts, is_torn: false };
        let mut line = Map::new();
        line.insert("capture".into(), VERSION.into());
        line.insert("source".into(), header.source.as_str().into());
        if !header.note.is_empty() {
            line.insert("note".into(), header.note.as_str().into());
        }
        line.insert("redacted".into(), redacts.into());
        writer.line(line)?;
        Ok(writer)
    }

    /// Writes one entry.
    ///
    /// # Errors
    /// Those of the sink. Part of the line may have been written; the next entry begins a line of its own.
    pub fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = Map::new();
        line.insert("us".into(), u64::try_from(entry.at.as_micros()).unwrap_or(u64::MAX).into());
        line.insert("link".into(), entry.link.into());
        if let Some(direction) = entry.event.direction() {
            line.insert("direction".into(), code::direction(direction).into());
        }
        line.insert("kind".into(), code::kind(&entry.event).into());
        self.members(&entry.event, &mut line);
        self.line(line)
    }

    /// Flushes the sink.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    /// The sink.
    pub fn into_inner(self) -> W {
        self.sink
    }

    fn members(&self, event: &Event, line: &mut Map<String, Value>) {
        match event {
            Event::Connect { endpoint, client_id, username } => {
                line.insert("endpoint".into(), endpoint.to_string().into());
                line.insert("client_id".into(), client_id.as_str().into());
                let username = self.shown(username.as_bytes());
                line.insert("username".into(), String::from_utf8_lossy(&username).into());
            }
            Event::Subscribe(filter) => drop(line.insert("filter".into(), filter.as_str().into())),
            Event::Subscribed { filter, granted } => {
                line.insert("filter".into(), filter.as_str().into());
                line.insert("granted".into(), (*granted).into());
            }
            Event::Publish(publish) | Event::Received(publish) => self.message(publish, line),
            Event::Refused(error) | Event::Lost(error) => failure(error, line),
            Event::Connected | Event::Close | Event::Dropped => {}
        }
    }

    fn message(&self, publish: &Publish, line: &mut Map<String, Value>) {
        // A topic holds the query of its request, and there may be a secret in that.
        let topic = self.shown(publish.topic.as_str().as_bytes());
        line.insert("topic".into(), String::from_utf8_lossy(&topic).into());
        line.insert("qos".into(), (publish.qos as u8).into());
        let payload = self.shown(&publish.payload);
        let payload = match std::str::from_utf8(&payload) {
            Ok(text) => text.into(),
            Err(_) => json!({ "hex": code::to_hex(&payload) }),
        };
        line.insert("payload".into(), payload);
    }

    fn shown<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if self.redacts { redact(bytes) } else { Cow::Borrowed(bytes) }
    }

    fn line(&mut self, line: Map<String, Value>) -> io::Result<()> {
        let mut text = if self.is_torn { String::from("\n") } else { String::new() };
        text.push_str(&Value::Object(line).to_string());
        text.push('\n');
        let result = self.sink.write_all(text.as_bytes());
        self.is_torn = result.is_err();
        result
    }
}

fn failure(error: &LinkError, line: &mut Map<String, Value>) {
    line.insert("error".into(), code::error(error.kind()).into());
    if !error.detail().is_empty() {
        line.insert("detail".into(), error.detail().into());
    }
}
