//! Why a call, a session or an onboarding failed.

use std::time::Duration;

use http::StatusCode;

use super::Cause;
use crate::config::ConfigError;
use crate::frame::FrameError;
use crate::mqtt::{LinkError, LinkErrorKind, RefusedReason, Scheme};
use crate::thing_if::{ErrorBody, InvalidBody};
use crate::topic::{InvalidTopic, TopicFilter};

/// Why a call has no answer. An answer with status 4xx or 5xx is an answer, not an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request was never written: it has not happened, and calling again is safe.
    #[error("request was not sent")]
    NotSent(#[source] NotSent),
    /// The request was written and no answer came before the deadline. It may have been processed.
    #[error("no answer before the deadline")]
    TimedOut,
    /// The request was written and the connection ended before its answer. It may have been processed.
    #[error("the connection ended before the answer")]
    Disconnected(#[source] SessionError),
    /// The request was written and this client was closed before its answer. It may have been processed.
    #[error("the client was closed before the answer")]
    Closed,
    /// The answer to this very request arrived and cannot be read. It has probably been processed.
    #[error("the answer cannot be read")]
    InvalidAnswer(#[source] FrameError),
}

impl RequestError {
    /// Whether the service may have acted on the request. `false` means that it certainly has not.
    pub fn may_have_been_processed(&self) -> bool {
        !matches!(self, RequestError::NotSent(_))
    }
}

impl From<NotSent> for RequestError {
    fn from(reason: NotSent) -> Self {
        RequestError::NotSent(reason)
    }
}

/// Why a request was never written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSent {
    /// There is no connection to the assigned broker at the moment.
    #[error("not connected")]
    NotConnected,
    /// As many calls wait as are allowed to.
    #[error("too many calls in flight")]
    Overloaded,
    /// The deadline passed while the request still waited for its turn.
    #[error("the deadline passed before the request's turn came")]
    DeadlineExceeded,
    /// The client is closed, or its connection is no longer driven.
    #[error("the client is closed")]
    Closed,
    /// The frame would be larger than allowed.
    #[error("request frame has {len} bytes, more than the {max} allowed")]
    TooLarge {
        /// Its length in bytes, head included.
        len: usize,
        /// The largest allowed.
        max: usize,
    },
    /// The URI's path and query cannot be a topic.
    #[error("the URI's path cannot be a topic")]
    InvalidPath(#[source] InvalidTopic),
    /// The request cannot be a frame: a verb that is no word, more header than a frame may have.
    #[error("the request cannot be a frame")]
    InvalidFrame(#[source] FrameError),
    /// The transport did not take it.
    #[error("the transport did not take the request")]
    Link(#[source] LinkError),
}

/// Why a session at the assigned broker could not begin, or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The link could not be made, or was lost.
    #[error("the link failed")]
    Link(#[source] LinkError),
    /// The broker did not answer a SUBSCRIBE in time.
    #[error("the broker did not answer a SUBSCRIBE in time")]
    SubscribeTimedOut,
    /// The broker refused a subscription that this client cannot do without.
    #[error("the broker refused the subscription to {0}")]
    SubscriptionRefused(TopicFilter),
    /// The broker closed the connection within seconds of its being ready, as it does when another connection with the
    /// same client identifier takes over. (`wire` §1.2)
    #[error("the broker closed the connection as soon as it was ready")]
    Kicked(#[source] LinkError),
    /// The service refuses the access token of this session, and did so again when it was asked once more.
    #[error("the service refuses the access token with status {0}")]
    TokenRefused(StatusCode),
    /// The service no longer knows this thing, and said so again when it was asked once more.
    #[error("the service no longer knows this thing (status {0})")]
    TargetGone(StatusCode),
    /// Calls were not answered, so many in a row, and nothing else was heard either, although the connection was said to
    /// stand.
    #[error("{calls} calls in a row had no answer, and nothing was heard for {} s", silence.as_secs())]
    Unanswered {
        /// How many.
        calls: u32,
        /// For how long nothing was heard.
        silence: Duration,
    },
    /// The time for which the endpoint was assigned is over. (`wire` §7)
    #[error("the time for which the broker was assigned is over")]
    EndpointExpired,
}

impl SessionError {
    /// The CONNACK's refusal, if that is what it was.
    pub fn refusal(&self) -> Option<RefusedReason> {
        match self {
            SessionError::Link(error) => refusal(error),
            _ => None,
        }
    }

    /// The broker answered CONNECT with a refusal: it looked at nothing that followed. [MQTT-3.1.4-5]
    pub(super) fn refused_connect(&self) -> bool {
        matches!(self, SessionError::Link(error) if matches!(error.kind(), LinkErrorKind::Refused(_)))
    }

    /// What kind of failure this is.
    pub fn cause(&self) -> Cause {
        match self {
            SessionError::Link(error) => Cause::of_link(error.kind()),
            SessionError::SubscribeTimedOut => Cause::SubscribeTimedOut,
            SessionError::SubscriptionRefused(_) => Cause::SubscriptionRefused,
            SessionError::Kicked(_) => Cause::Kicked,
            SessionError::TokenRefused(_) => Cause::TokenRefused,
            SessionError::TargetGone(_) => Cause::TargetGone,
            SessionError::Unanswered { .. } => Cause::Unanswered,
            SessionError::EndpointExpired => Cause::EndpointExpired,
        }
    }
}

/// Why an onboarding failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OnboardingError {
    /// The link could not be made, was lost, or did not take the request.
    #[error("the link failed")]
    Link(#[source] LinkError),
    /// No answer came in time. The thing may have been created; onboarding again is safe. (`wire` §4)
    #[error("the onboarding request was not answered in time")]
    TimedOut,
    /// The broker refused the subscription to the answer's topic. Only with `response_filter`.
    #[error("the broker refused the subscription to {0}")]
    SubscriptionRefused(TopicFilter),
    /// The service answered with an error.
    #[error("onboarding was refused with status {status}{}", shown(.body))]
    Rejected {
        /// The status, anything but 2xx.
        status: StatusCode,
        /// The body, where it is the documented error body.
        body: Option<Box<ErrorBody>>,
        /// How long the service asks to wait before the next attempt: its `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The answer is not a frame.
    #[error("the onboarding answer cannot be read")]
    InvalidFrame(#[source] FrameError),
    /// The answer's body lacks something.
    #[error("the onboarding answer is incomplete")]
    InvalidBody(#[source] InvalidBody),
    /// The assigned broker does not offer the scheme that the configuration asks for.
    #[error("the assigned broker offers no {0}")]
    SchemeNotOffered(Scheme),
    /// The attempt was closed before its end.
    #[error("the onboarding was closed")]
    Closed,
}

fn shown(body: &Option<Box<ErrorBody>>) -> String {
    match body {
        Some(body) if body.message.is_empty() => format!(": {}", body.error_code),
        Some(body) => format!(": {}: {}", body.error_code, body.message),
        None => String::new(),
    }
}

impl OnboardingError {
    /// Whether asking again with the same configuration will fail in the same way. 5xx and 429 are temporary, as is
    /// everything that the network does.
    pub fn is_permanent(&self) -> bool {
        matches!(self, OnboardingError::Closed) || self.cause().is_refusal()
    }

    /// What kind of failure this is.
    pub fn cause(&self) -> Cause {
        match self {
            OnboardingError::Link(error) => Cause::of_link(error.kind()),
            OnboardingError::TimedOut => Cause::OnboardingUnanswered,
            OnboardingError::SubscriptionRefused(_) => Cause::SubscriptionRefused,
            OnboardingError::Rejected { status, .. } if is_for_good(*status) => Cause::OnboardingRefused,
            OnboardingError::Rejected { .. } => Cause::OnboardingPostponed,
            OnboardingError::InvalidFrame(_) | OnboardingError::InvalidBody(_) => Cause::OnboardingUnreadable,
            OnboardingError::SchemeNotOffered(_) => Cause::SchemeNotOffered,
            OnboardingError::Closed => Cause::Closed,
        }
    }

    /// How long the service asks to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            OnboardingError::Rejected { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// 5xx, 408 and 429 may pass; the other refusals stay as long as the request does.
fn is_for_good(status: StatusCode) -> bool {
    status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS && status != StatusCode::REQUEST_TIMEOUT
}

/// Why there is no connection and no further attempt at one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// At the default broker.
    #[error("onboarding at the default broker failed")]
    Onboarding(#[from] OnboardingError),
    /// At the assigned broker.
    #[error("the session at the assigned broker failed")]
    Session(#[from] SessionError),
    /// It was closed before it was ready.
    #[error("closed before the connection was ready")]
    Closed,
    /// The operating system gave no random numbers to seed request ids with.
    #[error("no random numbers: {0}")]
    NoRandomness(String),
    /// The vault is set up wrongly: says where and what to do. Nothing was sent.
    #[error("the credential cannot be kept: {0}")]
    Vault(String),
    /// The configuration and the transport do not go together. Nothing was sent.
    #[error("the configuration cannot be carried out")]
    Config(#[from] ConfigError),
}

impl ConnectError {
    /// What happened to the link, where a link is what failed.
    pub fn link_error(&self) -> Option<&LinkError> {
        match self {
            ConnectError::Onboarding(OnboardingError::Link(error)) => Some(error),
            ConnectError::Session(SessionError::Link(error) | SessionError::Kicked(error)) => Some(error),
            _ => None,
        }
    }

    /// What kind of failure this is; `None` for what is no failure of a connection.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            ConnectError::Onboarding(error) => Some(error.cause()),
            ConnectError::Session(error) => Some(error.cause()),
            ConnectError::Config(_) => Some(Cause::Config),
            ConnectError::Closed | ConnectError::NoRandomness(_) | ConnectError::Vault(_) => None,
        }
    }
}

fn refusal(error: &LinkError) -> Option<RefusedReason> {
    match error.kind() {
        LinkErrorKind::Refused(reason) => Some(reason),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thing_if::ErrorCode;

    #[test]
    fn only_what_was_not_sent_is_certain() {
        assert!(!RequestError::from(NotSent::Overloaded).may_have_been_processed());
        for error in [RequestError::TimedOut, RequestError::Closed] {
            assert!(error.may_have_been_processed(), "{error}");
        }
        let cut = SessionError::Link(LinkErrorKind::Closed.into());
        assert!(RequestError::Disconnected(cut).may_have_been_processed());
    }

    #[test]
    fn causes_are_sources_and_are_not_said_twice() {
        use std::error::Error as _;
        let error = RequestError::NotSent(NotSent::TooLarge { len: 70_000, max: 65_536 });
        assert_eq!(error.to_string(), "request was not sent");
        let cause = error.source().expect("the reason").to_string();
        assert_eq!(cause, "request frame has 70000 bytes, more than the 65536 allowed");
    }

    #[test]
    fn a_refusal_says_what_the_service_said() {
        let body = ErrorBody::new(ErrorCode::WrongPassword, "The password is wrong");
        let error = OnboardingError::Rejected {
            status: StatusCode::UNAUTHORIZED,
            body: Some(Box::new(body)),
            retry_after: None,
        };
        assert_eq!(
            error.to_string(),
            "onboarding was refused with status 401 Unauthorized: WRONG_PASSWORD: The password is wrong"
        );
        assert!(error.is_permanent());
        let busy = OnboardingError::Rejected { status: StatusCode::SERVICE_UNAVAILABLE, body: None, retry_after: None };
        assert!(!busy.is_permanent());
        let refused = |reason| OnboardingError::Link(LinkErrorKind::Refused(reason).into());
        assert!(refused(RefusedReason::NotAuthorised).is_permanent());
        assert!(!refused(RefusedReason::ServerUnavailable).is_permanent());
    }
}
