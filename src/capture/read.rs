//! Reading a capture.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{Entry, Event, Header, VERSION, code};
use crate::ids::ClientId;
use crate::mqtt::packet::Protocol;
use crate::mqtt::{LinkError, Publish, Qos};
use crate::topic::{Topic, TopicFilter};

/// The longest line that is read, in bytes: a payload of 1 MiB with every byte escaped needs less.
pub const MAX_LINE_LEN: usize = 8 * 1024 * 1024;

/// What is wrong with a capture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureErrorKind {
    /// The source could not be read.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// The line has more than [`MAX_LINE_LEN`] bytes.
    #[error("is longer than {MAX_LINE_LEN} bytes")]
    LineTooLong,
    /// The line is not a JSON object.
    #[error("is not a JSON object: {0}")]
    NotJson(serde_json::Error),
    /// The file is empty or does not begin with a header.
    #[error("is not the header of a capture")]
    NoHeader,
    /// The last line is incomplete: whoever wrote it was interrupted. Everything before it is whole.
    #[error("is incomplete: the recording was interrupted here")]
    Torn,
    /// The format is newer than this reader.
    #[error("has version {0} of the format, newer than {VERSION}")]
    UnsupportedVersion(u64),
    /// A member is missing.
    #[error("has no member `{0}`")]
    Missing(&'static str),
    /// A member has a value that it cannot have.
    #[error("has a wrong value in `{field}`: {why}")]
    Invalid {
        /// The member.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// Why a capture cannot be read, and in which line.
#[derive(Debug)]
pub struct CaptureError {
    line: usize,
    kind: CaptureErrorKind,
}

impl CaptureError {
    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// What is wrong.
    pub fn kind(&self) -> &CaptureErrorKind {
        &self.kind
    }
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} {}", self.line, self.kind)
    }
}

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            CaptureErrorKind::Io(error) => Some(error),
            CaptureErrorKind::NotJson(error) => Some(error),
            _ => None,
        }
    }
}

/// Reads a capture line by line: an iterator over its entries. Blank lines and unknown members are ignored. After an
/// error in a line the next line can be read; after an error of the source there is nothing more.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    header: Header,
    line: usize,
    failed: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`CaptureError`], always of line 1 or of the first line that is not blank.
    pub fn new(source: R) -> Result<Self, CaptureError> {
        let header = Header { source: String::new(), note: String::new(), redacted: false };
        let mut reader = Self { source, header, line: 0, failed: false };
        let parsed = match reader.next_line() {
            Ok(Some(text)) => parse_header(&text),
            Ok(None) => Err(CaptureErrorKind::NoHeader),
            Err(kind) => Err(kind),
        };
        match parsed {
            Ok(header) => Ok(Self { header, ..reader }),
            Err(kind) => Err(CaptureError { line: reader.line.max(1), kind }),
        }
    }

    /// The first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The line that was read last, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The next line that is not blank.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, CaptureErrorKind> {
        loop {
            let mut text = Vec::new();
            let mut limited = self.source.by_ref().take(MAX_LINE_LEN as u64 + 1);
            let read = limited.read_until(b'\n', &mut text);
            if matches!(read, Ok(0)) {
                return Ok(None);
            }
            self.line += 1;
            match read {
                Ok(_) if text.len() > MAX_LINE_LEN => {
                    self.failed = true; // in the middle of a line there is nothing to go on with
                    return Err(CaptureErrorKind::LineTooLong);
                }
                Ok(_) if text.trim_ascii().is_empty() => {}
                Ok(_) => return Ok(Some(text)),
                Err(error) => {
                    self.failed = true;
                    return Err(CaptureErrorKind::Io(error));
                }
            }
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Entry, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let entry = match self.next_line() {
            Ok(None) => return None,
            Ok(Some(text)) => match parse_entry(&text) {
                // Only a line without an end can be half a line.
                Err(CaptureErrorKind::NotJson(_)) if !text.ends_with(b"\n") => Err(CaptureErrorKind::Torn),
                parsed => parsed,
            },
            Err(kind) => Err(kind),
        };
        Some(entry.map_err(|kind| CaptureError { line: self.line, kind }))
    }
}

type Parsed<T> = Result<T, CaptureErrorKind>;

fn invalid(field: &'static str, why: impl fmt::Display) -> CaptureErrorKind {
    CaptureErrorKind::Invalid { field, why: why.to_string() }
}

fn parse_header(line: &[u8]) -> Parsed<Header> {
    let members = Members::parse(line)?;
    let version = match members.0.get("capture").map(Value::as_u64) {
        None => return Err(CaptureErrorKind::NoHeader),
        Some(None | Some(0)) => return Err(invalid("capture", "not a version number")),
        Some(Some(version)) => version,
    };
    if version > VERSION {
        return Err(CaptureErrorKind::UnsupportedVersion(version));
    }
    Ok(Header {
        source: members.optional_text("source")?.to_owned(),
        note: members.optional_text("note")?.to_owned(),
        redacted: members.0.get("redacted").and_then(Value::as_bool).unwrap_or(false),
    })
}

fn parse_entry(line: &[u8]) -> Parsed<Entry> {
    let members = Members::parse(line)?;
    let event = match members.text("kind")? {
        "connect" => Event::Connect {
            endpoint: members.text("endpoint")?.parse().map_err(|e| invalid("endpoint", e))?,
            client_id: ClientId::new(members.text("client_id")?).map_err(|e| invalid("client_id", e))?,
            username: members.optional_text("username")?.to_owned(),
            protocol: members.protocol()?,
        },
        "connected" => Event::Connected,
        "refused" => Event::Refused(members.failure()?),
        "subscribe" => Event::Subscribe(members.filter()?),
        "subscribed" => Event::Subscribed { filter: members.filter()?, granted: members.boolean("granted")? },
        "unsubscribe" => Event::Unsubscribe(members.filter()?),
        "publish" => Event::Publish(members.message()?),
        "received" => Event::Received(members.message()?),
        "lost" => Event::Lost(members.failure()?),
        "close" => Event::Close,
        "dropped" => Event::Dropped,
        "stopped" => Event::Stopped(members.optional_text("detail")?.to_owned()),
        other => return Err(invalid("kind", format_args!("unknown kind {other:?}"))),
    };
    Ok(Entry { at: Duration::from_micros(members.number("us")?), link: members.number("link")?, event })
}

struct Members(Map<String, Value>);

impl Members {
    fn parse(line: &[u8]) -> Parsed<Self> {
        serde_json::from_slice(line.trim_ascii()).map(Self).map_err(CaptureErrorKind::NotJson)
    }

    fn get(&self, field: &'static str) -> Parsed<&Value> {
        self.0.get(field).ok_or(CaptureErrorKind::Missing(field))
    }

    fn text(&self, field: &'static str) -> Parsed<&str> {
        self.get(field)?.as_str().ok_or_else(|| invalid(field, "not a string"))
    }

    fn optional_text(&self, field: &'static str) -> Parsed<&str> {
        if self.0.contains_key(field) { self.text(field) } else { Ok("") }
    }

    fn number(&self, field: &'static str) -> Parsed<u64> {
        self.get(field)?.as_u64().ok_or_else(|| invalid(field, "not a whole number from 0 on"))
    }

    fn boolean(&self, field: &'static str) -> Parsed<bool> {
        self.get(field)?.as_bool().ok_or_else(|| invalid(field, "neither true nor false"))
    }

    fn filter(&self) -> Parsed<TopicFilter> {
        TopicFilter::new(self.text("filter")?).map_err(|error| invalid("filter", error))
    }

    fn protocol(&self) -> Parsed<Option<Protocol>> {
        if !self.0.contains_key("protocol") {
            return Ok(None);
        }
        let word = self.text("protocol")?;
        code::protocol_version(word)
            .map(Some)
            .ok_or_else(|| invalid("protocol", format_args!("unknown version {word:?}")))
    }

    fn failure(&self) -> Parsed<LinkError> {
        let word = self.text("error")?;
        let kind = code::error_kind(word).ok_or_else(|| invalid("error", format_args!("unknown error {word:?}")))?;
        Ok(LinkError::new(kind, self.optional_text("detail")?))
    }

    fn message(&self) -> Parsed<Publish> {
        let topic = Topic::new(self.text("topic")?).map_err(|error| invalid("topic", error))?;
        let qos = match self.0.get("qos").map(Value::as_u64) {
            None | Some(Some(0)) => Qos::AtMostOnce,
            Some(Some(1)) => Qos::AtLeastOnce,
            Some(Some(2)) => Qos::ExactlyOnce,
            _ => return Err(invalid("qos", "not 0, 1 or 2")),
        };
        Ok(Publish { topic, payload: self.payload()?, qos })
    }

    fn payload(&self) -> Parsed<Bytes> {
        let neither = || invalid("payload", "neither a string nor {\"hex\": …}");
        match self.get("payload")? {
            Value::String(text) => Ok(Bytes::from(text.clone())),
            Value::Object(object) => {
                let text = object.get("hex").and_then(Value::as_str).ok_or_else(neither)?;
                code::from_hex(text).map(Bytes::from).ok_or_else(|| invalid("payload", "not hexadecimal"))
            }
            _ => Err(neither()),
        }
    }
}
