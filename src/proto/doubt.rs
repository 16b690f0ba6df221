//! Whether the service still accepts this session's token and knows its thing.
//!
//! One refusal proves little: a proxy in between, a service that starts up. So the client asks once more, by a GET of its
//! own of the thing's state, before it throws a credential away.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use super::{CallId, Instant, SessionError};
use crate::ids::ClientId;
use crate::thing_if::{Credential, ErrorBody, ErrorCode};
use crate::topic::Topic;

/// After the service was asked, it is not asked again for so long.
const REST: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Doubt {
    path: String,
    /// The topic below which the calls on this thing are.
    target: String,
    asking: Option<CallId>,
    resting_until: Instant,
}

/// What the service's answer to the client's own GET says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The token is good and the thing is there.
    Confirmed,
    /// This session is of no more use.
    Over(SessionError),
    /// Neither: the service could not say.
    Unknown,
}

impl Doubt {
    pub(super) fn new(own: &ClientId, credential: &Credential) -> Self {
        let path = format!("/thing-if/apps/{}/targets/thing:{}", credential.app_id, credential.thing_id);
        let target = format!("p/{own}{path}/");
        Self { path: path + "/states", target, asking: None, resting_until: Instant::ORIGIN }
    }

    /// Whether `answer`, to a call with the session's own token on `topic`, is a reason to ask.
    pub(super) fn arises(&self, now: Instant, topic: &Topic, answer: &Response<Bytes>) -> bool {
        let reason = match refusal(answer) {
            Some(SessionError::TargetGone(_)) => topic.as_str().starts_with(&self.target),
            Some(_) => true,
            None => false,
        };
        reason && self.asking.is_none() && self.resting_until <= now
    }

    /// The question.
    pub(super) fn request(&self) -> Request<Bytes> {
        let mut request = Request::default();
        // Ids are made of letters that stand in a path as they are.
        *request.uri_mut() = self.path.parse().unwrap_or_default();
        request
    }

    pub(super) fn asked(&mut self, call: CallId) {
        self.asking = Some(call);
    }

    pub(super) fn is_own(&self, call: CallId) -> bool {
        self.asking == Some(call)
    }

    /// The question has its end: an answer, or none.
    pub(super) fn answered(&mut self, now: Instant, answer: Option<&Response<Bytes>>) -> Verdict {
        self.asking = None;
        self.resting_until = now + REST;
        match answer {
            Some(answer) => match refusal(answer) {
                Some(error) => Verdict::Over(error),
                None if answer.status().is_server_error() => Verdict::Unknown,
                None if answer.status() == StatusCode::TOO_MANY_REQUESTS => Verdict::Unknown,
                None => Verdict::Confirmed,
            },
            None => Verdict::Unknown,
        }
    }
}

/// What an answer says against the session, if it does. (`wire` §5)
fn refusal(answer: &Response<Bytes>) -> Option<SessionError> {
    let code = || ErrorBody::from_json(answer.body()).ok().map(|body| body.error_code);
    let status = answer.status();
    match status {
        StatusCode::UNAUTHORIZED => Some(SessionError::TokenRefused(status)),
        StatusCode::FORBIDDEN if code() == Some(ErrorCode::WrongToken) => Some(SessionError::TokenRefused(status)),
        StatusCode::NOT_FOUND if matches!(code(), Some(ErrorCode::TargetNotFound | ErrorCode::ThingNotFound)) => {
            Some(SessionError::TargetGone(status))
        }
        StatusCode::GONE => Some(SessionError::TargetGone(status)),
        _ => None,
    }
}
