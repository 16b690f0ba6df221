//! One upload that waits.

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Uri};
use serde::{Deserialize, Serialize};

use super::OutboxError;

/// What is kept of a request: what it is, not who sends it. The Authorization is added when it is sent.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) body: Bytes,
    /// Milliseconds since 1970 by the device's clock.
    pub(super) accepted_at: i64,
}

/// Shows no payload.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({} {}, {} bytes)", self.method, self.uri, self.body.len())
    }
}

impl Entry {
    pub(super) fn of(request: Request<Bytes>, accepted_at: i64) -> Result<Self, OutboxError> {
        let (mut parts, body) = request.into_parts();
        let content_type = parts.headers.remove(CONTENT_TYPE);
        // As text it can be kept and comes back the same.
        if content_type.as_ref().is_some_and(|value| value.to_str().is_err()) {
            return Err(OutboxError::ContentType);
        }
        if !parts.uri.path_and_query().is_some_and(|path| path.as_str().starts_with('/')) {
            return Err(OutboxError::Path(parts.uri.to_string()));
        }
        if let Some(other) = parts.headers.keys().next() {
            return Err(OutboxError::Header(other.clone()));
        }
        Ok(Self { method: parts.method, uri: parts.uri, content_type, body, accepted_at })
    }

    pub(super) fn request(&self) -> Request<Bytes> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        if let Some(content_type) = &self.content_type {
            request.headers_mut().insert(CONTENT_TYPE, content_type.clone());
        }
        request
    }

    /// What counts against the bound.
    pub(super) fn bytes(&self) -> usize {
        self.path().len() + self.content_type.as_ref().map_or(0, HeaderValue::len) + self.body.len()
    }

    pub(super) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("", |path| path.as_str())
    }

    /// Whether it says all that there is to say of its path, so that a newer one makes it superfluous.
    pub(super) fn replaces(&self) -> bool {
        self.method == Method::PUT
    }
}

/// As it stands in the spool.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    method: String,
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    body: Body,
    at: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Body {
    Text(String),
    Hex(String),
}

impl From<&Entry> for Stored {
    fn from(entry: &Entry) -> Self {
        let body = match std::str::from_utf8(&entry.body) {
            Ok(text) => Body::Text(text.to_owned()),
            Err(_) => Body::Hex(entry.body.iter().map(|byte| format!("{byte:02x}")).collect()),
        };
        Self {
            method: entry.method.to_string(),
            path: entry.path().to_owned(),
            content_type: entry
                .content_type
                .as_ref()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
            body,
            at: entry.accepted_at,
        }
    }
}

impl TryFrom<Stored> for Entry {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let body = match stored.body {
            Body::Text(text) => Bytes::from(text),
            Body::Hex(digits) => unhex(&digits).ok_or("the body is not hexadecimal")?,
        };
        Ok(Self {
            method: stored.method.parse().map_err(|_| "the method is none")?,
            uri: stored.path.parse().map_err(|_| "the path is none")?,
            content_type: stored.content_type.map(|text| text.parse()).transpose().map_err(|_| "the type is none")?,
            body,
            accepted_at: stored.at,
        })
    }
}

fn unhex(digits: &str) -> Option<Bytes> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_comes_back() {
        for body in [&b"{\"n\":1}"[..], b"", b"\xff\x00"] {
            let request = Request::put("/thing-if/apps/a/targets/thing:t/states?x=1").header("content-type", "text/x");
            let entry = Entry::of(request.body(Bytes::copy_from_slice(body)).expect("valid"), 7).expect("kept");
            let text = serde_json::to_string(&Stored::from(&entry)).expect("JSON");
            let again = Entry::try_from(serde_json::from_str::<Stored>(&text).expect("JSON")).expect("valid");
            assert_eq!((again.path(), &again.body, again.accepted_at), (entry.path(), &entry.body, 7));
            assert_eq!(again.request().headers()["content-type"], "text/x");
            assert_eq!(again.bytes(), entry.bytes());
        }
        assert!(unhex("0").is_none() && unhex("zz").is_none() && unhex("é").is_none());
    }

    #[test]
    fn what_would_be_lost_is_refused() {
        let request = Request::put("/x").header("authorization", "Bearer t0k3n").body(Bytes::new()).expect("valid");
        let error = Entry::of(request, 0).expect_err("refused");
        assert!(error.to_string().contains("authorization") && !error.to_string().contains("t0k3n"), "{error}");
    }
}
