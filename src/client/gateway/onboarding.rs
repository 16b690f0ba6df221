//! What an owner says to bring a thing in behind the gateway, and what the service says to it. (`wire` §4)

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value};

use super::{said, text};
use crate::client::retry::retry_after;
use crate::ids::{AccessToken, AppId, FirmwareVersion, GroupId, ThingType, UserId, VendorThingId};
use crate::proto::{NotSent, RequestError};
use crate::secret::Secret;
use crate::thing_if::{
    EndNodeOnboarding, EndNodeOnboardingAnswer, ErrorBody, ErrorCode, InvalidBody, OnboardingRequest, Principal,
    ThingIdentity, check_thing_properties,
};

/// Whose the end nodes become, and the user token that proves it.
#[derive(Debug, Clone)]
pub struct Owner {
    id: Principal,
    access_token: Secret<AccessToken>,
}

impl Owner {
    /// A user, with a token of theirs.
    pub fn user(id: UserId, access_token: AccessToken) -> Self {
        Self { id: Principal::User(id), access_token: Secret::new(access_token) }
    }

    /// A group, with a token of one of its members.
    pub fn group(id: GroupId, access_token: AccessToken) -> Self {
        Self { id: Principal::Group(id), access_token: Secret::new(access_token) }
    }

    /// `user:{id}` or `group:{id}`.
    pub fn id(&self) -> &Principal {
        &self.id
    }
}

/// An end node to be onboarded: its maker's id, its password, and what else is known of it.
///
/// ```
/// use thingif::client::gateway::NodeOnboarding;
/// let lamp = NodeOnboarding::new("lamp-3".parse()?, "its password".into()).with_thing_type("lamp".parse()?);
/// # Ok::<(), thingif::ids::InvalidId>(())
/// ```
#[derive(Debug, Clone)]
pub struct NodeOnboarding {
    vendor_thing_id: VendorThingId,
    password: Secret<String>,
    thing_type: Option<ThingType>,
    firmware_version: Option<FirmwareVersion>,
    thing_properties: Option<Map<String, Value>>,
}

impl NodeOnboarding {
    /// `endNodeVendorThingID` and `endNodePassword`: the password given first is required from then on. (`wire` §4)
    pub fn new(vendor_thing_id: VendorThingId, password: Secret<String>) -> Self {
        Self { vendor_thing_id, password, thing_type: None, firmware_version: None, thing_properties: None }
    }

    /// `endNodeThingType`; ignored by the service once the thing exists.
    #[must_use]
    pub fn with_thing_type(mut self, thing_type: ThingType) -> Self {
        self.thing_type = Some(thing_type);
        self
    }

    /// `endNodeFirmwareVersion`.
    #[must_use]
    pub fn with_firmware_version(mut self, version: FirmwareVersion) -> Self {
        self.firmware_version = Some(version);
        self
    }

    /// `endNodeThingProperties`: custom fields, at most 63 KB as JSON.
    ///
    /// # Errors
    /// [`InvalidBody::Field`] when they are too large or a name begins with `_`.
    pub fn with_thing_properties(mut self, properties: Map<String, Value>) -> Result<Self, InvalidBody> {
        check_thing_properties(&properties)
            .map_err(|expected| InvalidBody::Field { field: "endNodeThingProperties".into(), expected })?;
        self.thing_properties = Some(properties);
        Ok(self)
    }

    /// The maker's id.
    pub fn vendor_thing_id(&self) -> &VendorThingId {
        &self.vendor_thing_id
    }

    /// The call that onboards it behind `gateway`. (`wire` §3, §4)
    pub(super) fn request(&self, app: &AppId, gateway: ThingIdentity, owner: &Owner) -> Request<Bytes> {
        let onboarding = OnboardingRequest::EndNode(EndNodeOnboarding {
            gateway,
            vendor_thing_id: self.vendor_thing_id.clone(),
            password: self.password.clone(),
            owner: owner.id.clone(),
            thing_type: self.thing_type.clone(),
            firmware_version: self.firmware_version.clone(),
            thing_properties: self.thing_properties.clone(),
        });
        let mut request = super::request(
            Method::POST,
            &format!("/thing-if/apps/{app}/onboardings"),
            onboarding.to_json_exposed().to_string().into(),
        );
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(onboarding.media_type()));
        request.headers_mut().insert(AUTHORIZATION, super::bearer(&owner.access_token));
        request
    }
}

impl NodeOnboarding {
    /// What no word of the service about this may repeat.
    pub(super) fn secrets(&self, owner: &Owner, gateway: &Secret<AccessToken>) -> [Secret<String>; 3] {
        [self.password.clone(), text(&owner.access_token), text(gateway)]
    }
}

/// Why an end node is not onboarded. Doing it again is always harmless: the same node comes out. (`wire` §4)
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeOnboardingError {
    /// Nobody said whose it becomes: [`Gateway::set_owner`](super::Gateway::set_owner). Nothing was sent.
    #[error("no owner is set")]
    NoOwner,
    /// The gateway has as many nodes as it may. Nothing was sent.
    #[error("the gateway has {max} end nodes already, as many as it may")]
    TooManyNodes {
        /// [`Builder::with_max_nodes`](super::Builder::with_max_nodes).
        max: usize,
    },
    /// The service refuses the owner: the token is not valid (any more), or the owner does not exist.
    #[error("the owner was refused with status {status}{}", super::shown(.body))]
    OwnerRefused {
        /// 401, 403 or 404.
        status: StatusCode,
        /// What the service says, where it is the documented error body.
        body: Option<Box<ErrorBody>>,
    },
    /// The password is not the one given at the first onboarding.
    #[error("the end node's password is wrong")]
    WrongPassword,
    /// The node belongs to another gateway, and must leave that one first.
    #[error("the end node belongs to another gateway")]
    OtherGateway,
    /// The service refuses for another reason.
    #[error("onboarding the end node was refused with status {status}{}", super::shown(.body))]
    Refused {
        /// Any other 4xx, or what is no HTTP error at all.
        status: StatusCode,
        /// What the service says, where it is the documented error body.
        body: Option<Box<ErrorBody>>,
    },
    /// The service cannot do it now.
    #[error("the service cannot onboard the end node now: status {status}")]
    Unavailable {
        /// 408, 429 or 5xx.
        status: StatusCode,
        /// How long the service asks to wait: its `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// There is no answer.
    #[error("no answer to the onboarding of the end node")]
    NoAnswer(#[source] RequestError),
    /// The answer lacks something.
    #[error("the answer to the onboarding of the end node is incomplete")]
    InvalidAnswer(#[source] InvalidBody),
}

impl NodeOnboardingError {
    /// Whether the same onboarding may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::NoAnswer(error) => match error {
                RequestError::NotSent(reason) => matches!(
                    reason,
                    NotSent::NotConnected | NotSent::Overloaded | NotSent::DeadlineExceeded | NotSent::Link(_)
                ),
                RequestError::TimedOut | RequestError::Disconnected(_) => true,
                RequestError::Closed | RequestError::InvalidAnswer(_) => false,
            },
            _ => false,
        }
    }

    /// How long the service asks to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Reads the answer to [`NodeOnboarding::request`], in which `sent` was. (`wire` §4)
pub(super) fn read(
    answer: &Response<Bytes>,
    sent: &[Secret<String>],
) -> Result<EndNodeOnboardingAnswer, NodeOnboardingError> {
    let status = answer.status();
    if status.is_success() {
        return EndNodeOnboardingAnswer::from_json(answer.body()).map_err(NodeOnboardingError::InvalidAnswer);
    }
    let body = said(answer, sent);
    let code = body.as_ref().map(|body| &body.error_code);
    Err(match (status, code) {
        (_, Some(ErrorCode::EndNodeAlreadyBelongsToGateway)) => NodeOnboardingError::OtherGateway,
        (_, Some(ErrorCode::WrongPassword)) => NodeOnboardingError::WrongPassword,
        (StatusCode::UNAUTHORIZED, _) | (_, Some(ErrorCode::WrongToken | ErrorCode::UserNotFound)) => {
            NodeOnboardingError::OwnerRefused { status, body }
        }
        (StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT, _) => {
            NodeOnboardingError::Unavailable { status, retry_after: retry_after(answer) }
        }
        _ if status.is_server_error() => NodeOnboardingError::Unavailable { status, retry_after: retry_after(answer) },
        _ => NodeOnboardingError::Refused { status, body },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &Value) -> Response<Bytes> {
        Response::builder().status(status).header("Retry-After", "7").body(body.to_string().into()).expect("an answer")
    }

    fn owner() -> Owner {
        let token = AccessToken::new("owner-token").expect("valid");
        Owner::group(GroupId::new("g1").expect("valid"), token)
    }

    #[test]
    fn every_field_reaches_the_wire_and_no_secret_a_log() {
        let properties = json!({ "room": "cellar" }).as_object().expect("an object").clone();
        let lamp = NodeOnboarding::new("lamp-3".parse().expect("valid"), "its password".into())
            .with_thing_type("lamp".parse().expect("valid"))
            .with_firmware_version("v2".parse().expect("valid"))
            .with_thing_properties(properties)
            .expect("allowed");
        let app = AppId::new("app1").expect("valid");
        let gateway = ThingIdentity::VendorThing("hub-1".parse().expect("valid"));
        let request = lamp.request(&app, gateway, &owner());
        assert_eq!(request.uri().path(), "/thing-if/apps/app1/onboardings");
        assert_eq!(
            request.headers()[CONTENT_TYPE],
            "application/vnd.kii.OnboardingEndNodeWithGatewayVendorThingID+json"
        );
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer owner-token");
        let expected = r#"{"gatewayVendorThingID":"hub-1","endNodeVendorThingID":"lamp-3","endNodePassword":"its password","owner":"group:g1","endNodeThingType":"lamp","endNodeFirmwareVersion":"v2","endNodeThingProperties":{"room":"cellar"}}"#;
        assert_eq!(request.body(), expected);
        let shown = format!("{lamp:?} {:?} {:?}", owner(), request.headers());
        assert!(!shown.contains("its password") && !shown.contains("owner-token"), "{shown}");
    }

    #[test]
    fn properties_that_no_service_takes_are_refused_at_once() {
        let lamp = || NodeOnboarding::new("lamp-3".parse().expect("valid"), "pw".into());
        let of = |value: Value| value.as_object().expect("an object").clone();
        assert!(lamp().with_thing_properties(of(json!({ "_own": 1 }))).is_err());
        assert!(lamp().with_thing_properties(of(json!({ "a": "x".repeat(64 * 1024) }))).is_err());
    }

    #[test]
    fn each_refusal_is_told_apart() {
        let code = |status, code: &str| read(&answer(status, &json!({ "errorCode": code })), &[]).expect_err("refused");
        assert!(matches!(code(401, "UNAUTHORIZED"), NodeOnboardingError::OwnerRefused { .. }));
        assert!(matches!(code(403, "WRONG_TOKEN"), NodeOnboardingError::OwnerRefused { .. }));
        assert!(matches!(code(404, "USER_NOT_FOUND"), NodeOnboardingError::OwnerRefused { .. }));
        assert_eq!(code(401, "WRONG_PASSWORD"), NodeOnboardingError::WrongPassword);
        assert_eq!(code(409, "THING_END_NODE_ALREADY_BELONGS_TO_GATEWAY"), NodeOnboardingError::OtherGateway);
        assert!(matches!(code(404, "THING_NOT_FOUND"), NodeOnboardingError::Refused { .. }));
        assert!(matches!(code(403, "OPERATION_NOT_SUPPORTED"), NodeOnboardingError::Refused { .. }));
        for status in [408, 429, 500, 503] {
            let error = code(status, "UNDEFINED_ERROR");
            assert!(error.is_retryable(), "{error}");
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        }
        for error in [code(401, "UNAUTHORIZED"), code(409, "THING_END_NODE_ALREADY_BELONGS_TO_GATEWAY")] {
            assert!(!error.is_retryable(), "{error}");
        }
        assert!(NodeOnboardingError::NoAnswer(RequestError::TimedOut).is_retryable());
        assert!(NodeOnboardingError::NoAnswer(NotSent::NotConnected.into()).is_retryable());
        assert!(!NodeOnboardingError::NoAnswer(NotSent::Closed.into()).is_retryable());
        let incomplete = read(&answer(200, &json!({ "accessToken": "t" })), &[]).expect_err("incomplete");
        assert!(matches!(incomplete, NodeOnboardingError::InvalidAnswer(_)));
    }

    #[test]
    fn what_was_sent_is_not_shown_where_the_service_repeats_it() {
        let lamp = NodeOnboarding::new("lamp-3".parse().expect("valid"), "its pass\"word".into());
        let gateway = Secret::new(AccessToken::new("gateway-token").expect("valid"));
        let sent = lamp.secrets(&owner(), &gateway);
        let message = "`its pass\"word`, owner-token and gateway-token are not valid";
        for code in ["INVALID_INPUT_DATA", "UNAUTHORIZED", "its pass\"word"] {
            for status in [400, 401, 403, 409] {
                let body = json!({ "errorCode": code, "message": message, "field": [message], "endNodePassword": "its pass\"word" });
                let error = read(&answer(status, &body), &sent).expect_err("refused");
                let shown = format!("{error} {error:?}");
                for secret in ["its pass", "owner-token", "gateway-token"] {
                    assert!(!shown.contains(secret), "{shown}");
                }
                assert!(shown.contains("are not valid"), "{shown}");
            }
        }
    }
}
