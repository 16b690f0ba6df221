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
    /// Bytes that may still be written.
    left: u64,
    is_full: bool,
}

/// What the last line of a capture has room for, and more.
const LAST_LINE: u64 = 200;

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
        let mut writer = Self { sink, redacts, is_torn: false, left: u64::MAX, is_full: false };
        let mut line = Map::new();
        line.insert("capture".into(), VERSION.into());
        line.insert("source".into(), header.source.as_str().into());
        if !header.note.is_empty() {
            line.insert("note".into(), header.note.as_str().into());
        }
        line.insert("redacted".into(), redacts.into());
        writer.put(&Value::Object(line).to_string())?;
        Ok(writer)
    }

    /// Ends the capture before it has more than `len` bytes, this header included: an entry that does not fit is replaced by
    /// [`Event::Stopped`], and from then on every entry is refused. Default: no bound.
    #[must_use]
    pub fn with_max_len(mut self, len: u64) -> Self {
        let written = u64::MAX - self.left;
        self.left = len.saturating_sub(written);
        self
    }

    /// Whether the bound of [`with_max_len`](Self::with_max_len) was reached.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Writes one entry.
    ///
    /// # Errors
    /// `StorageFull` at the bound of [`with_max_len`](Self::with_max_len), and those of the sink. Part of the line may have been written; the next entry begins a line of its own.
    pub fn write(&mut self, entry: &Entry) -> io::Result<()> {
        if self.is_full {
            return Err(full());
        }
        let text = self.text(entry);
        if (text.len() as u64).saturating_add(LAST_LINE) > self.left {
            self.is_full = true;
            let stopped = Event::Stopped("the capture has reached its bound".into());
            let last = self.text(&Entry { event: stopped, ..entry.clone() });
            self.put(&last)?;
            return Err(full());
        }
        self.put(&text)
    }

    fn text(&self, entry: &Entry) -> String {
        let mut line = Map::new();
        line.insert("us".into(), u64::try_from(entry.at.as_micros()).unwrap_or(u64::MAX).into());
        line.insert("link".into(), entry.link.into());
        if let Some(direction) = entry.event.direction() {
            line.insert("direction".into(), code::direction(direction).into());
        }
        line.insert("kind".into(), code::kind(&entry.event).into());
        self.members(&entry.event, &mut line);
        Value::Object(line).to_string()
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
            Event::Connect { endpoint, client_id, username, protocol } => {
                line.insert("endpoint".into(), endpoint.to_string().into());
                line.insert("client_id".into(), client_id.as_str().into());
                line.insert("username".into(), self.shown_text(username));
                if let Some(protocol) = protocol {
                    line.insert("protocol".into(), code::protocol(*protocol).into());
                }
            }
            Event::Subscribe(filter) | Event::Unsubscribe(filter) => {
                drop(line.insert("filter".into(), self.shown_text(filter.as_str())))
            }
            Event::Subscribed { filter, granted } => {
                line.insert("filter".into(), self.shown_text(filter.as_str()));
                line.insert("granted".into(), (*granted).into());
            }
            Event::Publish(publish) | Event::Received(publish) => self.message(publish, line),
            Event::Refused(error) | Event::Lost(error) => self.failure(error, line),
            Event::Stopped(why) => drop(line.insert("detail".into(), why.as_str().into())),
            Event::Connected | Event::Close | Event::Dropped => {}
        }
    }

    fn message(&self, publish: &Publish, line: &mut Map<String, Value>) {
        // A topic holds the query of its request, and there may be a secret in that.
        line.insert("topic".into(), self.shown_text(publish.topic.as_str()));
        line.insert("qos".into(), (publish.qos as u8).into());
        let payload = self.shown(&publish.payload);
        let payload = match std::str::from_utf8(&payload) {
            Ok(text) => text.into(),
            Err(_) => json!({ "hex": code::to_hex(&payload) }),
        };
        line.insert("payload".into(), payload);
    }

    /// The words may be those of a peer, which repeats what it was sent.
    fn failure(&self, error: &LinkError, line: &mut Map<String, Value>) {
        line.insert("error".into(), code::error(error.kind()).into());
        if !error.detail().is_empty() {
            line.insert("detail".into(), self.shown_text(error.detail()));
        }
    }

    fn shown_text(&self, text: &str) -> Value {
        String::from_utf8_lossy(&self.shown(text.as_bytes())).into()
    }

    fn shown<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if self.redacts { redact(bytes) } else { Cow::Borrowed(bytes) }
    }

    fn put(&mut self, line: &str) -> io::Result<()> {
        let text = format!("{}{line}\n", if self.is_torn { "\n" } else { "" });
        self.left = self.left.saturating_sub(text.len() as u64);
        let result = self.sink.write_all(text.as_bytes());
        self.is_torn = result.is_err();
        result
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the capture has reached its bound")
}
