//! Answers in the one dialect that every known device reads. (`wire` §2.1, §2.3)

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, Response};

use super::config::RETRY_AFTER_SECONDS;
use crate::frame::{self, MAX_HEAD_LEN, MAX_HEADERS};
use crate::thing_if::{ErrorBody, ErrorCode};

/// The largest body that is written, in bytes; a service that gives more has failed. MQTT itself ends at 256 MiB.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Writes `response` as the frame that answers a request with this `X-Kii-RequestID`, if it had one.
///
/// The headers of the documented answer come first and in its order. What the service left out of them is filled in:
/// `Accept-Ranges`, `Age`, `Cache-Control` and `Date`, `Connection` always. The request's id is echoed byte for byte; one that
/// the service set is not its to set. A head that no device reads, of more than 8 KiB or 64 fields, is a failure of the service:
/// an answer that is refused with its id is one that never came.
pub(super) fn encode(mut response: Response<Bytes>, request_id: Option<&HeaderValue>) -> Bytes {
    frame::remove_hop_by_hop(response.headers_mut());
    let head = Head::of(response.headers(), request_id);
    if head.fields <= MAX_HEADERS && response.body().len() <= MAX_BODY {
        let frame = head.write(&response);
        if frame.len() - response.body().len() <= MAX_HEAD_LEN {
            return frame;
        }
    }
    tracing::warn!("the service gave an answer that is too long for a frame");
    let failed = failed();
    // Too long only by an id which the asker has made so long itself.
    Head::of(failed.headers(), request_id).write(&failed)
}

/// The lines of the documented answer, in its order.
const LINES: [&str; 7] = [
    "\r\nAccept-Ranges:",
    "\r\nAge:",
    "\r\nCache-Control:",
    "\r\nContent-Type:",
    "\r\nDate:",
    "\r\nConnection:",
    "\r\nX-Kii-RequestID:",
];

/// What of a service's headers is written in one of [`LINES`], by its place there. The id is never the service's.
fn line_of(name: &str) -> Option<usize> {
    Some(match name {
        "accept-ranges" => 0,
        "age" => 1,
        "cache-control" => 2,
        "content-type" => 3,
        "date" => 4,
        "x-kii-requestid" => 6,
        _ => return None,
    })
}

/// The head of an answer before it is written: not as a map, which costs as much as all the rest of an answer.
struct Head<'a> {
    /// What the service, or else the request, gives for each of [`LINES`].
    values: [Option<&'a [u8]>; LINES.len()],
    /// The service's headers, of which those that have no line above are written after them.
    given: &'a HeaderMap,
    /// Whether there are any of those.
    has_others: bool,
    /// The bytes of their lines.
    others_len: usize,
    /// How many fields there are in all, each value counted.
    fields: usize,
}

impl<'a> Head<'a> {
    fn of(given: &'a HeaderMap, request_id: Option<&'a HeaderValue>) -> Self {
        let mut values = [None; LINES.len()];
        let mut others = 0;
        let mut others_len = 0;
        for (name, value) in given {
            if let Some(line) = line_of(name.as_str()) {
                values[line].get_or_insert(value);
            } else {
                others += 1;
                others_len += "\r\n:".len() + name.as_str().len() + value.len();
            }
        }
        values[LINES.len() - 1] = request_id;
        let values = values.map(|value| value.map(|value| frame::trim_blanks(value.as_bytes())));
        // A type is there only if it was given, an id only if the request had one; the other five always.
        let fields = 5 + usize::from(values[3].is_some()) + usize::from(values[6].is_some()) + others;
        Self { values, given, has_others: others > 0, others_len, fields }
    }

    fn write(&self, response: &Response<Bytes>) -> Bytes {
        let [accept_ranges, age, cache_control, content_type, given_date, _, request_id] = self.values;
        let now;
        let date = match given_date {
            Some(date) => date,
            None => {
                now = date_now();
                &now
            }
        };
        let values: [Option<&[u8]>; LINES.len()] = [
            accept_ranges.or(Some(b"bytes")),
            age.or(Some(b"0")),
            cache_control.or(Some(b"max-age=0, no-cache, no-store")),
            content_type,
            Some(date),
            Some(b"keep-alive"),
            request_id,
        ];
        let lines = || LINES.iter().zip(values).filter_map(|(line, value)| Some((line.as_bytes(), value?)));
        let lines_len: usize = lines().map(|(line, value)| line.len() + value.len()).sum();
        let (body, end) = (response.body(), b"\r\n\r\n");
        let mut frame = BytesMut::with_capacity(3 + lines_len + self.others_len + end.len() + body.len());
        frame.extend_from_slice(response.status().as_str().as_bytes());
        for (line, value) in lines() {
            frame.extend_from_slice(line);
            frame.extend_from_slice(value);
        }
        if self.has_others {
            let others = self.given.iter().filter(|(name, _)| line_of(name.as_str()).is_none());
            frame::write_response_fields(others, &mut frame);
        }
        frame.extend_from_slice(end);
        frame.extend_from_slice(body);
        frame.freeze()
    }
}

/// `Thu, 01 Jan 1970 00:00:00 GMT`
const DATE_LEN: usize = 29;

/// Now, as `Date` says it: a text a second.
fn date_now() -> [u8; DATE_LEN] {
    thread_local! {
        static WRITTEN: Cell<(u64, [u8; DATE_LEN])> = const { Cell::new((u64::MAX, [b' '; DATE_LEN])) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (of, text) = WRITTEN.get();
    if of == second {
        return text;
    }
    let text = httpdate::fmt_http_date(now).into_bytes().try_into().expect("a date has one length");
    WRITTEN.set((second, text));
    text
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
    use http::HeaderName;
    use http::header::{CONTENT_TYPE, DATE};

    use super::*;

    fn text(response: Response<Bytes>, id: Option<&'static str>) -> String {
        let frame = encode(response, id.map(HeaderValue::from_static).as_ref());
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
            let frame = encode(response, Some(&HeaderValue::from_static("7")));
            let read = frame::decode_response(frame).expect("what a device reads");
            assert_eq!(read.headers()[frame::REQUEST_ID], "7");
            read.status().as_u16()
        };
        // Six are the edge's own, with the id.
        assert_eq!((status(with(58, 1)), status(with(59, 1))), (200, 500));
        assert_eq!((status(with(1, 8_000)), status(with(1, 8_100))), (200, 500));
        let id = HeaderValue::try_from("7".repeat(9_000)).expect("a value");
        assert!(encode(with(0, 0), Some(&id)).starts_with(b"500"), "and it ends");
    }
}
