//! What an answer says against an end node. (`wire` §5)

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::thing_if::{ErrorBody, ErrorCode};

/// What is held against a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its token.
    Token(StatusCode),
    /// That it is not there.
    Gone(StatusCode),
}

/// What an answer to a call with the node's own token says against it, if it does.
pub(super) fn refusal(answer: &Response<Bytes>) -> Option<Refusal> {
    let code = || ErrorBody::from_json(answer.body()).ok().map(|body| body.error_code);
    let status = answer.status();
    match status {
        StatusCode::UNAUTHORIZED => Some(Refusal::Token(status)),
        StatusCode::FORBIDDEN if code() == Some(ErrorCode::WrongToken) => Some(Refusal::Token(status)),
        StatusCode::NOT_FOUND if matches!(code(), Some(ErrorCode::TargetNotFound | ErrorCode::ThingNotFound)) => {
            Some(Refusal::Gone(status))
        }
        StatusCode::GONE => Some(Refusal::Gone(status)),
        _ => None,
    }
}

/// Whether the service says that the node is not behind this gateway.
pub(super) fn is_unpaired(answer: &Response<Bytes>) -> bool {
    answer.status() == StatusCode::NOT_FOUND
        && ErrorBody::from_json(answer.body())
            .is_ok_and(|body| body.error_code == ErrorCode::EndNodeDoesNotBelongToGateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_state_or_command_is_nothing_against_the_node() {
        let answer = |status: u16, code: &str| {
            let body = format!(r#"{{"errorCode":"{code}","message":""}}"#);
            Response::builder().status(status).body(Bytes::from(body)).expect("an answer")
        };
        for (status, code, expected) in [
            (401, "UNAUTHORIZED", Some(Refusal::Token(StatusCode::UNAUTHORIZED))),
            (403, "WRONG_TOKEN", Some(Refusal::Token(StatusCode::FORBIDDEN))),
            (403, "OPERATION_NOT_SUPPORTED", None),
            (404, "TARGET_NOT_FOUND", Some(Refusal::Gone(StatusCode::NOT_FOUND))),
            (404, "THING_NOT_FOUND", Some(Refusal::Gone(StatusCode::NOT_FOUND))),
            (404, "STATE_NOT_FOUND", None),
            (404, "COMMAND_NOT_FOUND", None),
            (503, "UNAUTHORIZED", None),
            (200, "UNAUTHORIZED", None),
        ] {
            assert_eq!(refusal(&answer(status, code)), expected, "{status} {code}");
        }
        assert!(is_unpaired(&answer(404, "THING_END_NODE_DOES_NOT_BELONG_TO_GATEWAY")));
        assert!(!is_unpaired(&answer(404, "THING_NOT_FOUND")));
    }
}
