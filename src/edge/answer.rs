//! Answers in the one dialect that every known device reads. (`wire` §2.1, §2.3)

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_RANGES, AGE, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, DATE, MaxSizeReached, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::config::RETRY_AFTER_SECONDS;
use crate::frame::{self, MAX_HEAD_LEN, MAX_HEADERS, REQUEST_ID};
use crate::thing_if::{ErrorBody, ErrorCode};

/// The largest body that is written, in bytes; a service that gives more has failed. MQTT itself ends at 256 MiB.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Writes `response` as the frame that answers a request with this `X-Kii-RequestID`, if it had one.
///
/// The headers of the documented answer come first and in its order. What the service left out of them is filled in:
/// `Accept-Ranges`, `Age`, `Cache-Control` and `Date`, `Connection` always. The request's id is echoed byte for byte; one that
/// the service set is not its to set. A head that no device reads, of more than 8 KiB or 64 fields, is a failure of the service:
/// an answer that is refused with its id is one that never came.
pub(super) fn encode(response: Response<Bytes>, request_id: Option<HeaderValue>) -> Bytes {
    if response.body().len() <= MAX_BODY
        && let Ok((frame, true)) = write(response, request_id.clone())
    {
        return frame;
    }
    tracing::warn!("the service gave an answer that is too long for a frame");
    // Too long only by an id which the asker has made so long itself.
    write(failed(), request_id).map(|(frame, _)| frame).unwrap_or_default()
}

/// The frame, and whether its head is within bounds.
fn write(response: Response<Bytes>, request_id: Option<HeaderValue>) -> Result<(Bytes, bool), MaxSizeReached> {
    let (mut parts, body) = response.into_parts();
    parts.headers = complete(std::mem::take(&mut parts.headers), request_id)?;
    let (fields, body_len) = (parts.headers.len(), body.len());
    let mut frame = BytesMut::new();
    frame::encode_response(&Response::from_parts(parts, body), &mut frame);
    let is_within = fields <= MAX_HEADERS && frame.len() - body_len <= MAX_HEAD_LEN;
    Ok((frame.freeze(), is_within))
}

/// The headers of an answer, in order. An error: the service gives more than fit beside those of every answer.
fn complete(mut given: HeaderMap, request_id: Option<HeaderValue>) -> Result<HeaderMap, MaxSizeReached> {
    frame::remove_hop_by_hop(&mut given);
    // Of the names alone: one may have any number of values.
    let mut headers = HeaderMap::try_with_capacity(given.keys_len() + 8)?;
    let fill = |headers: &mut HeaderMap, name: HeaderName, default: fn() -> HeaderValue| {
        let value = given.get(&name).cloned().unwrap_or_else(default);
        headers.try_insert(name, value)
    };
    fill(&mut headers, ACCEPT_RANGES, || HeaderValue::from_static("bytes"))?;
    fill(&mut headers, AGE, || HeaderValue::from_static("0"))?;
    fill(&mut headers, CACHE_CONTROL, || HeaderValue::from_static("max-age=0, no-cache, no-store"))?;
    if let Some(content_type) = given.get(CONTENT_TYPE) {
        headers.try_insert(CONTENT_TYPE, content_type.clone())?;
    }
    fill(&mut headers, DATE, date)?;
    headers.try_insert(CONNECTION, HeaderValue::from_static("keep-alive"))?;
    if let Some(id) = request_id {
        headers.try_insert(REQUEST_ID, id)?;
    }
    for (name, value) in &given {
        let is_written = [ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_TYPE, DATE, REQUEST_ID].contains(name);
        if !is_written {
            headers.try_append(name.clone(), value.clone())?;
        }
    }
    Ok(headers)
}

/// Now, as `Date` says it: a text a second.
fn date() -> HeaderValue {
    thread_local! {
        static WRITTEN: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    WRITTEN.with_borrow_mut(|written| match written {
        Some((of, text)) if *of == second => text.clone(),
        _ => {
            let text = HeaderValue::try_from(httpdate::fmt_http_date(now)).expect("a date is printable ASCII");
            written.insert((second, text)).1.clone()
        }
    })
}

/// An error that the edge itself finds.
pub(super) fn error(code: ErrorCode, message: impl Into<String>) -> Response<Bytes> {
    ErrorBody::new(code, message).to_response()
}

/// 503: too much in flight.
pub(super) fn overloaded() -> Response<Bytes> {
    let message = "Too many requests are in flight. Please try again later.";
    let mut response = error(ErrorCode::TemporaryUnavailableError, message);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    response
}

/// 429: too many requests. The next one is taken after `wait`.
pub(super) fn too_many(wait: Duration) -> Response<Bytes> {
    let mut response = error(ErrorCode::TooManyRequests, "Too many requests a second. Please try again later.");
    // Whole seconds, and never none: it would be read as "at once".
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    response
}

/// 500: the service failed. What exactly is for the log alone.
pub(super) fn failed() -> Response<Bytes> {
    error(ErrorCode::UndefinedError, "The service failed.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(response: Response<Bytes>, id: Option<&'static str>) -> String {
        let frame = encode(response, id.map(HeaderValue::from_static));
        String::from_utf8(frame.to_vec()).expect("ASCII")
    }

    fn with_date(mut response: Response<Bytes>) -> Response<Bytes> {
        response.headers_mut().insert(DATE, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
        response
    }

    #[test]
    fn the_documented_answer_is_written_byte_for_byte() {
        let mut response = with_date(Response::new(Bytes::from_static(b"{\n  \"a\" : 1\n}")));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert_eq!(
            text(response, None),
            "200\r\nAccept-Ranges:bytes\r\nAge:0\r\nCache-Control:max-age=0, no-cache, no-store\r\n\
             Content-Type:application/json\r\nDate:Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection:keep-alive\r\n\r\n\
             {\n  \"a\" : 1\n}"
        );
    }

    #[test]
    fn more_headers_than_a_map_can_hold_beside_its_own_are_a_failure_and_no_panic() {
        let mut response = Response::new(Bytes::new());
        for _ in 0..30_000 {
            response.headers_mut().append("set-cookie", HeaderValue::from_static("a=b"));
        }
        assert!(text(response, None).starts_with("500\r\n"));
        let mut response = Response::new(Bytes::new());
        let more = (0..).map(|i| HeaderName::try_from(format!("x-{i}")).expect("a name"));
        let is_full = |name| response.headers_mut().try_append(name, HeaderValue::from_static("1")).is_err();
        assert!(more.take(100_000).any(is_full), "the map has no end");
        let answer = text(response, Some("7"));
        assert!(answer.starts_with("500\r\n") && answer.contains("\r\nX-Kii-RequestID:7\r\n"), "{answer}");
    }

    #[test]
    fn the_request_id_is_the_requests_and_hop_by_hop_headers_stay_behind() {
        let mut response = with_date(Response::new(Bytes::new()));
        *response.status_mut() = http::StatusCode::NO_CONTENT;
        for (name, value) in [
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("content-length", "0"),
            ("transfer-encoding", "chunked"),
            ("x-kii-requestid", "the service's own"),
            ("cache-control", "max-age=9"),
            ("x-of-this-hop", "1"),
            ("connection", "x-of-this-hop, date"),
            ("etag", "\"7\""),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let written = text(response.clone(), Some("vid onboardings"));
        assert!(!written.contains("1970"), "a date of that hop is not one of this");
        let date = written.split("Date:").nth(1).and_then(|rest| rest.split("\r\n").next()).expect("a Date");
        assert_eq!(
            written.replace(date, "now"),
            "204\r\nAccept-Ranges:bytes\r\nAge:0\r\nCache-Control:max-age=9\r\n\
             Date:now\r\nConnection:keep-alive\r\nX-Kii-RequestID:vid onboardings\r\n\
             ETag:\"7\"\r\n\r\n"
        );
        assert!(!text(response, None).contains("X-Kii-RequestID"));
    }

    #[test]
    fn a_missing_date_is_filled_in_as_rfc_1123_has_it() {
        let frame = text(Response::new(Bytes::new()), None);
        let date = frame.split("Date:").nth(1).and_then(|rest| rest.split("\r\n").next()).expect("a Date");
        assert!(httpdate::parse_http_date(date).is_ok(), "{date}");
        assert!(date.ends_with(" GMT"), "{date}");
    }

    #[test]
    fn error_bodies_begin_with_a_lone_brace() {
        let frame = text(overloaded(), Some("7"));
        assert!(frame.starts_with("503\r\n"), "{frame}");
        assert!(frame.contains("\r\nRetry-After:1\r\n"), "{frame}");
        assert!(frame.contains("\r\n\r\n{\n  \"errorCode\" : \"TEMPORARY_UNAVAILABLE_ERROR\",\n"), "{frame}");
    }

    #[test]
    fn a_head_that_no_device_reads_is_a_failure_that_every_device_reads() {
        let with = |fields: usize, len: usize| {
            let mut response = Response::new(Bytes::from_static(b"{}"));
            for number in 0..fields {
                let name = HeaderName::try_from(format!("x-{number}")).expect("a name");
                response.headers_mut().insert(name, HeaderValue::try_from("x".repeat(len)).expect("a value"));
            }
            response
        };
        let status = |response| {
            let frame = encode(response, Some(HeaderValue::from_static("7")));
            let read = frame::decode_response(frame).expect("what a device reads");
            assert_eq!(read.headers()[REQUEST_ID], "7");
            read.status().as_u16()
        };
        // Six are the edge's own, with the id.
        assert_eq!((status(with(58, 1)), status(with(59, 1))), (200, 500));
        assert_eq!((status(with(1, 8_000)), status(with(1, 8_100))), (200, 500));
        let id = HeaderValue::try_from("7".repeat(9_000)).expect("a value");
        assert!(encode(with(0, 0), Some(id)).starts_with(b"500"), "and it ends");
    }
}
