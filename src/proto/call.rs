//! A caller's request as a frame, and the answer as the caller's response.

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Request, Response};

use super::NotSent;
use crate::frame::{self, Frame, FrameError, FrameErrorKind, REQUEST_ID, Start};
use crate::ids::{AccessToken, ClientId};
use crate::secret::Secret;
use crate::topic::Topic;

/// What becomes of a call while the assigned broker is not connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IfDown {
    /// It fails at once, as [`NotSent::NotConnected`].
    #[default]
    Fail,
    /// It waits for the next connection, until its deadline. It counts among the calls in flight. A call that was written
    /// and whose connection is lost fails all the same: it may have been processed.
    Wait,
}

/// The topic for the request's path and query; scheme and authority of an absolute URI are not looked at.
pub(super) fn topic(client: &ClientId, request: &Request<Bytes>) -> Result<Topic, NotSent> {
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    Topic::for_call(client, path).map_err(NotSent::InvalidPath)
}

/// The `X-Kii-RequestID` that the caller has set; of several the last one, as everywhere.
pub(super) fn take_request_id(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let last = headers.get_all(REQUEST_ID).iter().next_back().cloned();
    headers.remove(REQUEST_ID);
    last
}

/// The frame of `request` with the id `id`, and with `authorization` where the caller has set none.
pub(super) fn frame(
    mut request: Request<Bytes>,
    id: HeaderValue,
    authorization: &HeaderValue,
    max_frame: usize,
) -> Result<Bytes, NotSent> {
    let headers = request.headers_mut();
    headers.insert(REQUEST_ID, id);
    if !headers.contains_key(AUTHORIZATION) {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    let mut frame = BytesMut::new();
    frame::encode_request(&request, &mut frame);
    if frame.len() > max_frame {
        return Err(NotSent::TooLarge { len: frame.len(), max: max_frame });
    }
    // What no peer could read is better refused here, where the caller hears why. A method such as `200` would be read
    // as an answer, and by this client too where an ordinary broker echoes it.
    match Frame::parse(&frame).map_err(NotSent::InvalidFrame)?.start() {
        Start::Request { .. } => Ok(frame.freeze()),
        Start::Response { .. } => Err(NotSent::InvalidFrame(FrameError::new(FrameErrorKind::NotARequest, 0))),
    }
}

/// Gives the answer the caller's own `X-Kii-RequestID`, or none if the caller had none.
pub(super) fn restore_request_id(response: &mut Response<Bytes>, callers_id: Option<HeaderValue>) {
    match callers_id {
        Some(id) => response.headers_mut().insert(REQUEST_ID, id),
        None => response.headers_mut().remove(REQUEST_ID),
    };
}

/// `Bearer {token}`, masked wherever headers are shown. (`wire` §2.1)
pub(super) fn bearer(token: &Secret<AccessToken>) -> HeaderValue {
    let text = zeroize::Zeroizing::new(format!("Bearer {}", token.expose().as_str()));
    let mut value = HeaderValue::from_str(&text).expect("a token is printable ASCII");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&'static str, &'static str)], body: &'static [u8]) -> Request<Bytes> {
        let mut request = Request::put("/thing-if/apps/a/targets/thing:t/states");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Bytes::from_static(body)).expect("valid")
    }

    fn written(request: Request<Bytes>) -> Result<String, NotSent> {
        let id = HeaderValue::from_static("id-1");
        let token = Secret::new(AccessToken::new("t0k3n").expect("valid"));
        frame(request, id, &bearer(&token), 256).map(|frame| String::from_utf8(frame.into()).expect("UTF-8"))
    }

    #[test]
    fn id_and_authorization_are_added() {
        let frame = written(request(&[("content-type", "application/json")], b"{}")).expect("fits");
        assert!(frame.starts_with("PUT\r\n"), "{frame}");
        assert!(frame.contains("X-Kii-RequestID: id-1\r\n"), "{frame}");
        assert!(frame.contains("Authorization: Bearer t0k3n\r\n"), "{frame}");
        assert!(frame.ends_with("\r\n\r\n{}"), "{frame}");
    }

    #[test]
    fn the_callers_authorization_stays_and_the_callers_id_is_swapped() {
        let mut given =
            request(&[("authorization", "Bearer mine"), ("x-kii-requestid", "a"), ("x-kii-requestid", "b")], b"");
        assert_eq!(take_request_id(given.headers_mut()), Some(HeaderValue::from_static("b")));
        let frame = written(given).expect("fits");
        assert!(frame.contains("Authorization: Bearer mine\r\n") && !frame.contains("t0k3n"), "{frame}");
        assert_eq!(frame.matches("X-Kii-RequestID").count(), 1, "{frame}");
    }

    #[test]
    fn the_answer_has_the_callers_id_or_none() {
        let mut answer = Response::builder().header("X-Kii-RequestID", "ours").body(Bytes::new()).expect("valid");
        restore_request_id(&mut answer, Some(HeaderValue::from_static("theirs")));
        assert_eq!(answer.headers()[REQUEST_ID], "theirs");
        restore_request_id(&mut answer, None);
        assert!(!answer.headers().contains_key(REQUEST_ID));
    }

    #[test]
    fn what_cannot_be_sent_says_why() {
        let error = written(request(&[], &[b'x'; 300])).expect_err("too large");
        assert!(matches!(error, NotSent::TooLarge { len, max: 256 } if len > 300), "{error}");
        let with_method = |method: &str| {
            let mut odd = request(&[], b"");
            *odd.method_mut() = http::Method::from_bytes(method.as_bytes()).expect("a token");
            match written(odd).expect_err("no verb") {
                NotSent::InvalidFrame(error) => error.kind(),
                other => panic!("{other}"),
            }
        };
        assert_eq!(with_method("1!"), FrameErrorKind::Status);
        assert_eq!(with_method("X1"), FrameErrorKind::StartLine);
        assert_eq!(with_method("200"), FrameErrorKind::NotARequest);
        let star = Request::options("*").body(Bytes::new()).expect("valid");
        assert!(matches!(topic(&ClientId::anonymous(), &star), Err(NotSent::InvalidPath(_))));
    }

    #[test]
    fn the_token_is_masked() {
        let token = Secret::new(AccessToken::new("t0k3n").expect("valid"));
        assert!(!format!("{:?}", bearer(&token)).contains("t0k3n"));
    }
}
