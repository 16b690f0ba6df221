//! What whoever passes HTTP messages on must hold to: which headers go on, how large a body may be, how an error is told.
//! Pure: bytes and types.
//!
//! An error that a bridge itself finds has the form that the service's own have: JSON with `errorCode` and `message`
//! (`wire` §4). Its status says whether the request may be sent again:
//!
//! | status | `errorCode` | the request |
//! |---|---|---|
//! | 404 | `PATH_NOT_FOUND` | was not sent: no route leads there |
//! | 405 | `METHOD_NOT_ALLOWED` | was not sent: see `Allow` |
//! | 413 | `PAYLOAD_TOO_LARGE` | was not sent |
//! | 429 | `TOO_MANY_REQUESTS` | was not sent: see `Retry-After` |
//! | 502 | `BAD_GATEWAY` | may have been executed: the answer did not come whole |
//! | 503 | `TEMPORARY_UNAVAILABLE_ERROR` | was not sent: see `Retry-After` |
//! | 504 | `GATEWAY_TIMEOUT` | may have been executed: no answer came in time |

use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Response};

pub use crate::frame::remove_hop_by_hop;
use crate::thing_if::{ErrorBody, ErrorCode};

/// The most bytes that a push may have. (`wire` §6)
pub const MAX_PUSH_LEN: usize = 4096;

/// An error that the bridge itself has found, with the status that goes with `code`.
pub fn error(code: ErrorCode, message: impl Into<String>) -> Response<Bytes> {
    ErrorBody::new(code, message).to_response()
}

/// The same, to be tried again after `wait`, which is told in whole seconds, rounded up, and never as 0: that would be read as
/// "at once".
pub fn error_to_retry(code: ErrorCode, message: impl Into<String>, wait: Duration) -> Response<Bytes> {
    let mut response = error(code, message);
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// Refuses a body of more than `max` bytes.
///
/// # Errors
/// The answer: 413, with both numbers.
// The answer is what is written next; there is no way on which its size matters.
#[allow(clippy::result_large_err)]
pub fn check_len(len: usize, max: usize) -> Result<(), Response<Bytes>> {
    if len <= max {
        return Ok(());
    }
    Err(error(ErrorCode::PayloadTooLarge, format!("The body has {len} bytes where {max} are allowed.")))
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;

    use super::*;

    #[test]
    fn an_error_is_json_with_its_codes_status() {
        let codes = [
            (ErrorCode::PathNotFound, 404),
            (ErrorCode::MethodNotAllowed, 405),
            (ErrorCode::PayloadTooLarge, 413),
            (ErrorCode::TooManyRequests, 429),
            (ErrorCode::BadGateway, 502),
            (ErrorCode::TemporaryUnavailableError, 503),
            (ErrorCode::GatewayTimeout, 504),
        ];
        for (code, status) in codes {
            let response = error(code.clone(), "why");
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
            let body = ErrorBody::from_json(response.body()).expect("an error body");
            assert_eq!((body.error_code, body.message.as_str()), (code, "why"));
        }
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_as_none() {
        let told = |wait| {
            let response = error_to_retry(ErrorCode::TemporaryUnavailableError, "later", wait);
            response.headers()[RETRY_AFTER].to_str().expect("ASCII").to_owned()
        };
        assert_eq!(told(Duration::ZERO), "1");
        assert_eq!(told(Duration::from_millis(1001)), "2");
        assert_eq!(told(Duration::from_secs(30)), "30");
        assert_eq!(told(Duration::MAX), u64::MAX.to_string());
    }

    #[test]
    fn a_body_may_have_as_many_bytes_as_are_allowed() {
        assert!(check_len(10, 10).is_ok());
        let refused = check_len(11, 10).expect_err("too many");
        assert_eq!(refused.status(), 413);
        let body = ErrorBody::from_json(refused.body()).expect("an error body");
        assert!(body.message.contains("11") && body.message.contains("10"), "{}", body.message);
    }
}
