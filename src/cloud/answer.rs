//! Answers: the one place where a body is written.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::thing_if::{json, media_type};

/// The most that what is read back takes in an answer, in bytes: over MQTT an answer must fit a frame of 64 KiB.
/// (`wire` §8) A deeply nested value takes many times its size once it is printed, so it is measured as printed, and
/// refused when it comes in.
pub(crate) const MAX_LEN: usize = 48 * 1024;

/// An answer with a JSON body, in the layout that every known client reads. (`wire` §2.1)
pub(crate) fn json(status: StatusCode, body: &(impl Serialize + ?Sized)) -> Response {
    exposed(status, json::to_pretty(body))
}

/// The same without a `%`: there is `\u0025` in its place. One SDK decodes the text of what it is told of things as if it were
/// a URI, and a lone `%` makes it fail. (`wire` §2.3)
pub(crate) fn without_percent(body: &(impl Serialize + ?Sized)) -> Bytes {
    let pretty = json::to_pretty(body);
    // In JSON it can only stand in a string.
    if !pretty.contains(&b'%') {
        return pretty;
    }
    let mut escaped = Vec::with_capacity(pretty.len() + 64);
    for part in pretty.split_inclusive(|byte| *byte == b'%') {
        match part.strip_suffix(b"%") {
            Some(before) => {
                escaped.extend_from_slice(before);
                escaped.extend_from_slice(b"\\u0025");
            }
            None => escaped.extend_from_slice(part),
        }
    }
    escaped.into()
}

/// The bytes that `value` takes inside of `depth` objects: each of its lines is indented by two more spaces for each.
pub(crate) fn printed_len(value: &(impl Serialize + ?Sized), depth: usize) -> usize {
    let pretty = json::to_pretty(value);
    pretty.len() + 2 * depth * pretty.iter().filter(|byte| **byte == b'\n').count()
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    status.into_response()
}

/// An answer whose JSON body, with a secret in it, was written by the type that guards it.
pub(crate) fn exposed(status: StatusCode, body: Bytes) -> Response {
    typed(status, media_type::JSON, body)
}

/// An answer whose JSON body has a media type of its own.
pub(crate) fn typed(status: StatusCode, media_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_has_no_percent_sign_means_the_same() {
        let body = json!({ "100%": ["%41", "a%%b", "\\%", "%"], "plain": 1 });
        let written = without_percent(&body);
        assert!(!written.contains(&b'%'), "{written:?}");
        assert_eq!(serde_json::from_slice::<Value>(&written).expect("JSON"), body);
        assert_eq!(without_percent(&json!({ "a": 1 })), "{\n  \"a\" : 1\n}");
    }
}
