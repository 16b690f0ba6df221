//! What a call that the service did not answer is answered with.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};

use crate::bridge::rules;
use crate::client::causes::with_causes;
use crate::client::{NotSent, RequestError};
use crate::frame::FrameErrorKind;
use crate::thing_if::ErrorCode;

/// Stands in each answer that is the proxy's own, and says in it what became of the call: so it cannot be mistaken for
/// one of the service.
pub(crate) const FATE: HeaderName = HeaderName::from_static("x-thingif-fate");

/// Before whoever has too much in flight asks again.
const OVERLOADED_PAUSE: Duration = Duration::from_secs(1);

/// What became of a call that has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was not sent; sending it again cannot do it twice.
    NotSent,
    /// Its turn to be sent did not come in time.
    NotSentInTime,
    /// It was sent, and no answer came in time.
    TimedOut,
    /// It was sent, and the connection was lost before an answer, or the answer cannot be read.
    Disconnected,
    /// It cannot be sent as it is.
    Invalid,
}

impl Fate {
    #[cfg(any(test, feature = "cli"))]
    pub(crate) const ALL: [Fate; 5] =
        [Fate::NotSent, Fate::NotSentInTime, Fate::TimedOut, Fate::Disconnected, Fate::Invalid];

    pub(crate) fn of(error: &RequestError) -> Self {
        match error {
            RequestError::NotSent(NotSent::TooLarge { .. } | NotSent::InvalidPath(_) | NotSent::InvalidFrame(_)) => {
                Fate::Invalid
            }
            RequestError::NotSent(NotSent::DeadlineExceeded) => Fate::NotSentInTime,
            RequestError::NotSent(_) => Fate::NotSent,
            RequestError::TimedOut => Fate::TimedOut,
            RequestError::Disconnected(_) | RequestError::Closed | RequestError::InvalidAnswer(_) => Fate::Disconnected,
        }
    }

    /// As it stands in [`FATE`].
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Fate::NotSent => "not-sent",
            Fate::NotSentInTime => "not-sent-in-time",
            Fate::TimedOut => "timed-out",
            Fate::Disconnected => "disconnected",
            Fate::Invalid => "invalid",
        }
    }

    /// The inverse of [`as_str`](Self::as_str).
    #[cfg(any(test, feature = "cli"))]
    pub(crate) fn from_text(text: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|fate| fate.as_str().as_bytes() == text)
    }
}

/// An answer of the proxy's own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) fate: Fate,
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    /// One that is the request's own fault.
    pub(crate) fn invalid(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { fate: Fate::Invalid, code, message: message.into(), retry_after: None }
    }

    /// One of a request that was not sent, and may be after `retry_after`.
    pub(crate) fn not_sent(code: ErrorCode, message: impl Into<String>, retry_after: Duration) -> Self {
        Self { fate: Fate::NotSent, code, message: message.into(), retry_after: Some(retry_after) }
    }

    /// What `error` is to a local program. `reconnect` is how long until the next attempt to connect.
    pub(crate) fn of(error: &RequestError, reconnect: Duration) -> Self {
        let message = with_causes(error);
        let (code, retry_after) = match error {
            RequestError::NotSent(reason) => match reason {
                NotSent::Overloaded => (ErrorCode::TooManyRequests, Some(OVERLOADED_PAUSE)),
                NotSent::DeadlineExceeded => (ErrorCode::GatewayTimeout, None),
                NotSent::TooLarge { .. } => (ErrorCode::PayloadTooLarge, None),
                NotSent::InvalidPath(_) => (ErrorCode::InvalidInputData, None),
                NotSent::InvalidFrame(frame) => match frame.kind() {
                    FrameErrorKind::TooManyHeaders | FrameErrorKind::HeadTooLarge => {
                        (ErrorCode::HeaderFieldsTooLarge, None)
                    }
                    _ => (ErrorCode::InvalidInputData, None),
                },
                NotSent::NotConnected | NotSent::Closed | NotSent::Link(_) => {
                    (ErrorCode::TemporaryUnavailableError, Some(reconnect))
                }
            },
            RequestError::TimedOut => (ErrorCode::GatewayTimeout, None),
            RequestError::Disconnected(_) | RequestError::Closed | RequestError::InvalidAnswer(_) => {
                (ErrorCode::BadGateway, None)
            }
        };
        Self { fate: Fate::of(error), code, message, retry_after }
    }

    /// With the status of its code, an error body as the service has it, and [`FATE`].
    pub(crate) fn into_response(self) -> Response<Bytes> {
        let may_have_happened = matches!(self.fate, Fate::TimedOut | Fate::Disconnected);
        let mut message = self.message;
        if may_have_happened {
            message.push_str("; the request may have been processed");
        }
        let mut response = match self.retry_after {
            None => rules::error(self.code, message),
            Some(pause) => rules::error_to_retry(self.code, message, pause),
        };
        response.headers_mut().insert(FATE, HeaderValue::from_static(self.fate.as_str()));
        response
    }
}

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;

    use super::*;
    use crate::client::SessionError;
    use crate::frame::decode_request;
    use crate::mqtt::{LinkError, LinkErrorKind};
    use crate::thing_if::ErrorBody;
    use crate::topic::{InvalidTopic, Topic};

    fn frame_error(payload: &str) -> crate::frame::FrameError {
        let topic = Topic::new("p/me/x").expect("valid");
        decode_request(&topic, Bytes::copy_from_slice(payload.as_bytes())).expect_err("malformed")
    }

    #[test]
    fn each_error_has_its_status_its_fate_and_whether_to_come_again() {
        let link = || LinkError::new(LinkErrorKind::Closed, "");
        let not_sent = RequestError::NotSent;
        let fields = (0..100).map(|i| format!("H{i}: 1\r\n")).collect::<String>();
        for (error, status, code, fate, retry_after) in [
            (not_sent(NotSent::NotConnected), 503, "TEMPORARY_UNAVAILABLE_ERROR", "not-sent", Some("3")),
            (not_sent(NotSent::Closed), 503, "TEMPORARY_UNAVAILABLE_ERROR", "not-sent", Some("3")),
            (not_sent(NotSent::Link(link())), 503, "TEMPORARY_UNAVAILABLE_ERROR", "not-sent", Some("3")),
            (not_sent(NotSent::Overloaded), 429, "TOO_MANY_REQUESTS", "not-sent", Some("1")),
            (not_sent(NotSent::DeadlineExceeded), 504, "GATEWAY_TIMEOUT", "not-sent-in-time", None),
            (not_sent(NotSent::TooLarge { len: 70_000, max: 65_536 }), 413, "PAYLOAD_TOO_LARGE", "invalid", None),
            (not_sent(NotSent::InvalidPath(InvalidTopic::RelativePath)), 400, "INVALID_INPUT_DATA", "invalid", None),
            (not_sent(NotSent::InvalidFrame(frame_error("200\r\n\r\n"))), 400, "INVALID_INPUT_DATA", "invalid", None),
            (
                not_sent(NotSent::InvalidFrame(frame_error(&format!("GET\r\n{fields}\r\n")))),
                431,
                "REQUEST_HEADER_FIELDS_TOO_LARGE",
                "invalid",
                None,
            ),
            (
                not_sent(NotSent::InvalidFrame(frame_error(&format!("GET\r\nX: {}\r\n\r\n", "x".repeat(9_000))))),
                431,
                "REQUEST_HEADER_FIELDS_TOO_LARGE",
                "invalid",
                None,
            ),
            (RequestError::TimedOut, 504, "GATEWAY_TIMEOUT", "timed-out", None),
            (RequestError::Disconnected(SessionError::Link(link())), 502, "BAD_GATEWAY", "disconnected", None),
            (RequestError::Closed, 502, "BAD_GATEWAY", "disconnected", None),
            (RequestError::InvalidAnswer(frame_error("")), 502, "BAD_GATEWAY", "disconnected", None),
        ] {
            let may_have_happened = error.may_have_been_processed();
            let response = Refusal::of(&error, Duration::from_millis(2_001)).into_response();
            let header = |name: &HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
            assert_eq!(response.status(), status, "{error:?}");
            assert_eq!(header(&FATE), Some(fate), "{error:?}");
            assert_eq!(header(&RETRY_AFTER), retry_after, "{error:?}");
            let body = ErrorBody::from_json(response.body()).expect("an error body");
            assert_eq!(body.error_code.as_str(), code, "{error:?}");
            assert_eq!(body.message.contains("may have been processed"), may_have_happened, "{body:?}");
        }
    }

    #[test]
    fn names_and_fates_are_inverse() {
        for fate in Fate::ALL {
            assert_eq!(Fate::from_text(fate.as_str().as_bytes()), Some(fate));
        }
        assert_eq!(Fate::from_text(b"?"), None);
    }
}
