//! Frames to owned `http` types that share the payload's memory.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};

use super::scan::Field;
use super::{Frame, FrameError, FrameErrorKind, Start, header_name};
use crate::topic::Topic;

/// Header lines that are remembered. Those of a frame with more are looked for again.
const USUAL_FIELDS: usize = 12;

/// The request that arrived on `topic`. Its URI is the path and query after `p/{CLIENT_ID}`. (`wire` §3)
///
/// Header values and body are slices of `payload`, so a body that is kept keeps the payload. Credentials
/// (`Authorization`, `X-Kii-AppKey`) are marked sensitive, so `Debug` does not show them.
///
/// Allocates as [`decode_response`] does, and once for the URI: three times if `payload` is shared already.
///
/// # Errors
/// See [`Frame::parse`]; also [`FrameErrorKind::NotARequest`], and [`FrameErrorKind::Topic`] for a topic without a path.
pub fn decode_request(topic: &Topic, payload: Bytes) -> Result<Request<Bytes>, FrameError> {
    let mut fields = [Field::default(); USUAL_FIELDS];
    let frame = parse(&payload, &mut fields)?;
    let method = frame.start().method().ok_or(FrameError::new(FrameErrorKind::NotARequest, 0))?;
    let path = topic.path_of_any_call().ok_or(FrameError::new(FrameErrorKind::Topic, 0))?;
    let uri =
        Uri::try_from(path).map_err(|_| FrameError::new(FrameErrorKind::Topic, topic.as_str().len() - path.len()))?;
    let mut request = Request::new(payload.slice_ref(frame.body()));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers(&frame, &fields, &payload);
    Ok(request)
}

/// The response that a payload holds. Header values and body are slices of `payload`.
///
/// Allocates at most three times if all header names are HTTP's or this protocol's own: twice for the header map, and once
/// if `payload` was a `Vec` before and is now shared for the first time. Any other header name costs one more.
///
/// # Errors
/// See [`Frame::parse`]; also [`FrameErrorKind::NotAResponse`].
pub fn decode_response(payload: Bytes) -> Result<Response<Bytes>, FrameError> {
    let mut fields = [Field::default(); USUAL_FIELDS];
    let frame = parse(&payload, &mut fields)?;
    let Start::Response { status } = frame.start() else {
        return Err(FrameError::new(FrameErrorKind::NotAResponse, 0));
    };
    let mut response = Response::new(payload.slice_ref(frame.body()));
    *response.status_mut() = status;
    *response.headers_mut() = headers(&frame, &fields, &payload);
    Ok(response)
}

/// A checked frame and where its header lines are, so that nothing is looked for twice.
fn parse<'a>(payload: &'a [u8], fields: &mut [Field; USUAL_FIELDS]) -> Result<Frame<'a>, FrameError> {
    let mut free = fields.iter_mut();
    Frame::parse_and(payload, |field| {
        if let Some(free) = free.next() {
            *free = field;
        }
    })
}

fn headers(frame: &Frame<'_>, fields: &[Field; USUAL_FIELDS], payload: &Bytes) -> HeaderMap {
    let count = frame.header_count();
    let mut headers = HeaderMap::with_capacity(count);
    if let Some(fields) = fields.get(..count) {
        fields.iter().for_each(|field| {
            let (name, value) = frame.field(*field);
            insert(&mut headers, name, value, payload);
        });
    } else {
        frame.headers().for_each(|(name, value)| insert(&mut headers, name.as_bytes(), value, payload));
    }
    headers
}

fn insert(headers: &mut HeaderMap, name: &[u8], value: &[u8], payload: &Bytes) {
    let Some(name) = header_name::read(name) else { return };
    let mut value = HeaderValue::from_maybe_shared(payload.slice_ref(value))
        .expect("a frame's header values were checked when it was parsed");
    value.set_sensitive(header_name::is_credential(&name));
    headers.insert(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{self, FrameErrorKind};
    use http::{Method, StatusCode};

    fn topic(text: &str) -> Topic {
        Topic::new(text).expect("a valid topic")
    }

    fn range_of(bytes: &[u8]) -> std::ops::Range<usize> {
        let start = bytes.as_ptr() as usize;
        start..start + bytes.len()
    }

    #[test]
    fn a_request_takes_its_path_from_the_topic() {
        let topic = topic("p/Q2w3/thing-if/apps/a1/targets/thing:th.1/commands?bestEffortLimit=2");
        let request =
            decode_request(&topic, Bytes::from_static(b" get \nAuthorization:Bearer t0k3n\nX-kii-requestid: 7 \n\n"))
                .expect("a frame");
        assert_eq!(request.method(), Method::GET);
        assert_eq!(request.uri(), "/thing-if/apps/a1/targets/thing:th.1/commands?bestEffortLimit=2");
        assert_eq!(request.headers()[frame::REQUEST_ID], "7");
        assert_eq!(request.body(), "");
        assert!(!format!("{request:?}").contains("t0k3n"), "{request:?}");
    }

    #[test]
    fn header_values_and_body_are_slices_of_the_payload() {
        let payload = Bytes::from(
            b"200\r\nContent-Type:application/json\r\nX-Kii-RequestID:17\r\nX-Other: \xff\xfe\r\n\r\n{\n  \"a\" : 1\n}"
                .to_vec(),
        );
        let whole = range_of(&payload);
        let response = decode_response(payload).expect("a frame");
        assert_eq!(response.headers().len(), 3);
        for (name, value) in response.headers() {
            let part = range_of(value.as_bytes());
            assert!(whole.start < part.start && part.end < whole.end, "{name} was copied");
        }
        let body = range_of(response.body());
        assert!(whole.start < body.start && body.end == whole.end, "the body was copied");
    }

    #[test]
    fn the_kind_of_frame_and_the_topic_must_fit() {
        let kind = |r: Result<Request<Bytes>, FrameError>| r.expect_err("refused").kind();
        let call = topic("p/c/x");
        assert_eq!(kind(decode_request(&call, Bytes::from_static(b"200"))), FrameErrorKind::NotARequest);
        assert_eq!(kind(decode_request(&topic("c"), Bytes::from_static(b"GET"))), FrameErrorKind::Topic);
        let spaced = decode_request(&topic("p/c/a b"), Bytes::from_static(b"GET")).expect_err("not a URI");
        assert_eq!((spaced.kind(), spaced.offset()), (FrameErrorKind::Topic, 3));
        let request = decode_response(Bytes::from_static(b"GET")).expect_err("refused");
        assert_eq!(request.kind(), FrameErrorKind::NotAResponse);
    }

    #[test]
    fn the_last_duplicate_counts_and_transport_headers_do_not() {
        let response = decode_response(Bytes::from_static(
            b"204\r\nA: 1\r\na: 2\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\nHost: h\r\nConnection: keep-alive\r\n",
        ))
        .expect("a frame");
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(response.headers().len(), 2);
        assert_eq!(response.headers().get_all("a").iter().collect::<Vec<_>>(), ["2"]);
        assert_eq!(response.headers()["connection"], "keep-alive");
    }
}
