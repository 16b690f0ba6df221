//! A payload as it is shown: frame or push, for people or as JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::cli::exit::Failure;
use crate::frame::{self, Frame, FrameError, Start};
use crate::topic::Topic;

/// What a payload says. As JSON it is what `decode --json` writes and `encode --from` reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(crate) enum Message {
    /// A frame with a verb.
    Request {
        method: String,
        /// The topic's path and query, when the topic is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        #[serde(default)]
        headers: Vec<(String, String)>,
        #[serde(flatten)]
        body: Body,
    },
    /// A frame with a status.
    Response {
        status: u16,
        #[serde(default)]
        headers: Vec<(String, String)>,
        #[serde(flatten)]
        body: Body,
    },
    /// A payload without a frame around it.
    Push {
        #[serde(flatten)]
        body: Body,
    },
}

/// Text where it is text, Base64 where it is not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Body {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(default, rename = "bodyBase64", skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl Body {
    fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { body: Some(text.to_owned()), base64: None },
            Err(_) => Self { body: None, base64: Some(STANDARD.encode(bytes)) },
        }
    }

    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        match (&self.body, &self.base64) {
            (Some(_), Some(_)) => Err(Failure::usage("there is a body and a bodyBase64; give one")),
            (Some(text), None) => Ok(text.clone().into_bytes()),
            (None, Some(text)) => {
                STANDARD.decode(text).map_err(|error| Failure::usage(format_args!("bodyBase64 is not Base64: {error}")))
            }
            (None, None) => Ok(Vec::new()),
        }
    }

    fn shown(&self) -> String {
        match (&self.body, &self.base64) {
            (Some(text), _) => text.clone(),
            (None, Some(base64)) => format!("(not text; Base64) {base64}"),
            (None, None) => String::new(),
        }
    }
}

impl Message {
    /// Reads a payload. On a topic below `p/` it must be a frame; elsewhere, or on an unknown topic, JSON is a push.
    pub(crate) fn read(topic: Option<&Topic>, payload: &[u8]) -> Result<Self, FrameError> {
        let path = topic.and_then(Topic::path_of_any_call).map(str::to_owned);
        let is_push = match topic {
            Some(_) => path.is_none(),
            None => payload.trim_ascii_start().starts_with(b"{"),
        };
        if is_push {
            return Ok(Self::Push { body: Body::new(payload) });
        }
        let frame = Frame::parse(payload)?;
        let headers = frame
            .headers()
            .map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into_owned()))
            .collect();
        let body = Body::new(frame.body());
        Ok(match frame.start() {
            Start::Request { verb } => Self::Request { method: verb.to_ascii_uppercase(), path, headers, body },
            Start::Response { status } => Self::Response { status: status.as_u16(), headers, body },
        })
    }

    /// The payload that says this, in the one dialect that is written.
    pub(crate) fn write(&self) -> Result<BytesMut, Failure> {
        let mut payload = BytesMut::new();
        match self {
            Self::Push { body } => payload.extend_from_slice(&body.bytes()?),
            Self::Request { method, headers, body, .. } => {
                let mut request = Request::new(body.bytes()?);
                *request.method_mut() = read_method(method)?;
                *request.headers_mut() = read_headers(headers)?;
                frame::encode_request(&request, &mut payload);
            }
            Self::Response { status, headers, body } => {
                let mut response = Response::new(body.bytes()?);
                *response.status_mut() = StatusCode::from_u16(*status)
                    .map_err(|_| Failure::usage(format_args!("{status} is not a status code from 100 to 999")))?;
                *response.headers_mut() = read_headers(headers)?;
                frame::encode_response(&response, &mut payload);
            }
        }
        Ok(payload)
    }

    /// For people: the first line, the header fields, an empty line, the body.
    pub(crate) fn shown(&self) -> String {
        let (first, headers, body) = match self {
            Self::Request { method, path, headers, body } => {
                (format!("request {method} {}", path.as_deref().unwrap_or("(path in the topic)")), &headers[..], body)
            }
            Self::Response { status, headers, body } => {
                let reason = StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason());
                (format!("response {status} {}", reason.unwrap_or_default()).trim_end().to_owned(), &headers[..], body)
            }
            Self::Push { body } => (String::from("push"), &[][..], body),
        };
        let mut text = first;
        for (name, value) in headers {
            text.push_str(&format!("\n{name}: {value}"));
        }
        let body = body.shown();
        if !body.is_empty() {
            text.push_str("\n\n");
            text.push_str(body.trim_end_matches(['\r', '\n']));
        }
        text
    }
}

/// A verb that a frame can carry.
pub(crate) fn read_method(text: &str) -> Result<Method, Failure> {
    let fits = !text.is_empty()
        && text.len() <= frame::MAX_VERB_LEN
        && text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-')
        && text.as_bytes()[0].is_ascii_alphabetic();
    Method::from_bytes(text.to_ascii_uppercase().as_bytes())
        .ok()
        .filter(|_| fits)
        .ok_or_else(|| Failure::usage(format_args!("{text:?} is not a verb such as GET or PUT")))
}

fn read_headers(given: &[(String, String)]) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let wrong = |what| Failure::usage(format_args!("header {name:?} has an invalid {what}"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("name"))?;
        headers.append(name, HeaderValue::from_str(value).map_err(|_| wrong("value"))?);
    }
    Ok(headers)
}

/// The bytes around `offset`, escaped, with a mark below the one at it.
pub(crate) fn excerpt(bytes: &[u8], offset: usize) -> String {
    let offset = offset.min(bytes.len());
    let from = offset.saturating_sub(24);
    let to = bytes.len().min(offset + 40);
    let escaped = |part: &[u8]| part.escape_ascii().to_string();
    let before = format!("{}{}", if from > 0 { "…" } else { "" }, escaped(&bytes[from..offset]));
    let after = format!("{}{}", escaped(&bytes[offset..to]), if to < bytes.len() { "…" } else { "" });
    format!("{before}{after}\n{}^ byte {offset}", " ".repeat(before.chars().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> Topic {
        Topic::new(text).expect("valid")
    }

    #[test]
    fn the_topic_decides_and_without_one_the_payload() {
        let json = b"{\"commandID\":\"c\"}";
        assert!(matches!(Message::read(None, json), Ok(Message::Push { .. })));
        assert!(matches!(Message::read(Some(&topic("me")), b"PUT\r\n\r\n"), Ok(Message::Push { .. })));
        assert!(Message::read(Some(&topic("p/me/x")), json).is_err());
        let Ok(Message::Request { method, path, .. }) = Message::read(Some(&topic("p/me/a/b?c=d")), b"put\n\n") else {
            panic!("a request")
        };
        assert_eq!((method.as_str(), path.as_deref()), ("PUT", Some("/a/b?c=d")));
    }

    #[test]
    fn json_and_frames_are_inverse() {
        for payload in [
            &b"PUT\r\nContent-Type: application/json\r\nX-Kii-RequestID: 1\r\n\r\n{\"a\":1}"[..],
            b"204\r\nX-Kii-RequestID:1\r\n\r\n",
            b"200\r\nContent-Type:text/plain\r\n\r\n\xff\x00",
            b"{\"push\":true}",
        ] {
            let message = Message::read(None, payload).expect("readable");
            let json = serde_json::to_string(&message).expect("plain");
            let again: Message = serde_json::from_str(&json).expect(&json);
            assert_eq!(again, message);
            assert_eq!(again.write().expect("writable").escape_ascii().to_string(), payload.escape_ascii().to_string());
        }
    }

    #[test]
    fn what_no_frame_can_carry_is_refused() {
        for json in [
            r#"{"kind":"request","method":"P UT"}"#,
            r#"{"kind":"request","method":""}"#,
            r#"{"kind":"response","status":99}"#,
            r#"{"kind":"response","status":200,"headers":[["A","b\nc"]]}"#,
            r#"{"kind":"response","status":200,"headers":[["A b","c"]]}"#,
            r#"{"kind":"push","bodyBase64":"!"}"#,
            r#"{"kind":"push","body":"a","bodyBase64":"YQ=="}"#,
        ] {
            let message: Message = serde_json::from_str(json).expect(json);
            message.write().expect_err(json);
        }
    }

    #[test]
    fn an_excerpt_marks_the_byte() {
        assert_eq!(excerpt(b"PUT\r\nno colon\r\n", 5), "PUT\\r\\nno colon\\r\\n\n       ^ byte 5");
        assert_eq!(excerpt(b"", 0), "\n^ byte 0");
        let long = excerpt(&[b'x'; 100], 50);
        assert_eq!(long, format!("…{}…\n{}^ byte 50", "x".repeat(64), " ".repeat(25)));
        assert_eq!(excerpt(b"ab", 9), "ab\n  ^ byte 2");
    }
}
