//! Why a request is refused, as its answer says it.

use std::fmt::Display;

use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use super::answer;
use super::caller::Caller;
use super::store::{StoreError, StoreErrorKind};
use crate::ids::{AppId, ThingId};
use crate::thing_if::{ErrorBody, ErrorCode, InvalidBody};

/// An error answer: a JSON body with `errorCode`, `message` and what belongs to the code. (`wire` §4, §5)
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    body: Box<ErrorBody>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Failure {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { body: Box::new(ErrorBody::new(code, message)), header: None }
    }

    /// Adds a field to the body.
    pub(crate) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        *self.body = self.body.with(field, value);
        self
    }

    /// 400: something in the request is not what it must be.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidInputData, message)
    }

    /// 401: the request says nothing of who sends it, or what it says is wrong.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        let mut failure = Self::new(ErrorCode::Unauthorized, message);
        failure.header = Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"thing-if\"")));
        failure
    }

    /// 401: we know who sends it, and this is not for them.
    pub(crate) fn not_permitted(app: &AppId, caller: &Caller) -> Self {
        Self::unauthorized("The principal does not have enough privileges to execute the operation")
            .with("authenticatedAppID", app.as_str())
            .with("authenticatedPrincipalID", caller.id())
    }

    /// 403: a token that nobody has, or that belongs to another application.
    pub(crate) fn wrong_token() -> Self {
        Self::new(ErrorCode::WrongToken, "The provided token is not valid")
    }

    /// 403: a refresh token that nobody has, or that was used.
    pub(crate) fn wrong_refresh_token() -> Self {
        Self::new(ErrorCode::WrongRefreshToken, "The provided refresh token is not valid")
    }

    /// 401: the password of a thing is another one.
    pub(crate) fn wrong_password() -> Self {
        Self::new(ErrorCode::WrongPassword, "The provided password is not valid")
    }

    /// 401: whoever owns the thing has disabled it.
    pub(crate) fn thing_disabled(app: &AppId, thing: &str) -> Self {
        Self::new(ErrorCode::ThingDisabled, format!("Thing {thing} is disabled"))
            .with("thingID", thing)
            .with("appID", app.as_str())
    }

    pub(crate) fn app_not_found(app: &str) -> Self {
        Self::new(ErrorCode::AppNotFound, format!("Application {app} not found")).with("appID", app)
    }

    pub(crate) fn target_not_found(target: &str) -> Self {
        Self::new(ErrorCode::TargetNotFound, format!("Target {target} not found"))
    }

    /// 404: no state of the thing was put.
    pub(crate) fn state_not_found() -> Self {
        Self::new(ErrorCode::StateNotFound, "Thing state not found")
    }

    pub(crate) fn thing_not_found(app: &AppId, thing: &ThingId) -> Self {
        Self::no_such_thing(app, "thingID", thing.as_str())
    }

    /// 404: no thing whose `field` is `value`, whether or not it could be one.
    pub(crate) fn no_such_thing(app: &AppId, field: &str, value: &str) -> Self {
        Self::new(ErrorCode::ThingNotFound, format!("Thing {value} not found"))
            .with("field", field)
            .with("value", value)
            .with("appID", app.as_str())
    }

    /// 404, as for things.
    pub(crate) fn user_not_found(app: &AppId, user: &str) -> Self {
        Self::no_such_user(app, "userID", user)
    }

    /// 404: no user whose `field` is `value`.
    pub(crate) fn no_such_user(app: &AppId, field: &str, value: &str) -> Self {
        Self::new(ErrorCode::UserNotFound, format!("User {value} not found"))
            .with("field", field)
            .with("value", value)
            .with("appID", app.as_str())
    }

    /// 404: there are no groups.
    pub(crate) fn group_not_found(app: &AppId, group: &str) -> Self {
        Self::new(ErrorCode::GroupNotFound, format!("Group {group} not found"))
            .with("groupID", group)
            .with("appID", app.as_str())
    }

    pub(crate) fn not_implemented(what: &str) -> Self {
        Self::new(ErrorCode::OperationNotImplemented, format!("{what} is not implemented"))
    }

    /// 404: there is nothing at this path.
    pub(crate) fn no_such_path(path: &str) -> Self {
        Self::new(ErrorCode::PathNotFound, format!("There is nothing at {path}"))
    }

    /// 413, with the limit in bytes.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(ErrorCode::PayloadTooLarge, format!("The body is longer than the {limit} bytes that are taken"))
    }

    /// 503: a queue is full. Nothing has happened.
    pub(crate) fn overloaded() -> Self {
        let message = "The service has too much to do. Please try again later.";
        let mut failure = Self::new(ErrorCode::ResourceTemporarilyUnavailable, message);
        failure.header = Some((RETRY_AFTER, HeaderValue::from_static("1")));
        failure
    }

    /// 500: the service itself failed. What it was is for the log alone.
    pub(crate) fn internal(error: impl Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(ErrorCode::UndefinedError, "The service failed.")
    }

    /// The code, for those who decide by it.
    pub(crate) fn status(&self) -> StatusCode {
        self.body.status()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            StoreErrorKind::Overloaded | StoreErrorKind::Closed | StoreErrorKind::RolledBack => Self::overloaded(),
            StoreErrorKind::Unknown => {
                tracing::error!(%error, "a request may or may not have happened");
                Self::new(ErrorCode::UndefinedError, "The service failed. The request may have been executed.")
            }
            StoreErrorKind::Conflict | StoreErrorKind::Failed => Self::internal(error),
        }
    }
}

impl From<InvalidBody> for Failure {
    fn from(error: InvalidBody) -> Self {
        match error {
            InvalidBody::Syntax { .. } => Self::new(ErrorCode::InvalidJson, error.to_string()),
            _ => Self::invalid(error.to_string()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = answer::json(self.status(), &self.body);
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
