//! `errorCode` and the HTTP status that goes with it.

use std::fmt;

use http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $wire:literal, $status:ident;)*) => {
        /// The `errorCode` of an error body; each stands for one HTTP status. (`wire` §5)
        ///
        /// The set is open: what a service sends and this list does not know is [`ErrorCode::Other`].
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])* #[doc = concat!("`", $wire, "`")] $name,)*
            /// Any other text; it stands for no status of its own.
            Other(Box<str>),
        }

        impl ErrorCode {
            /// Every code of the table.
            pub const KNOWN: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// As on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(ErrorCode::$name => $wire,)*
                    ErrorCode::Other(text) => text,
                }
            }

            /// The status that goes with it; 500 for [`ErrorCode::Other`].
            pub fn status(&self) -> StatusCode {
                match self {
                    $(ErrorCode::$name => StatusCode::$status,)*
                    ErrorCode::Other(_) => StatusCode::INTERNAL_SERVER_ERROR,
                }
            }
        }

        impl From<&str> for ErrorCode {
            fn from(text: &str) -> Self {
                match text {
                    $($wire => ErrorCode::$name,)*
                    other => ErrorCode::Other(other.into()),
                }
            }
        }
    };
}

codes! {
    InvalidInputData = "INVALID_INPUT_DATA", BAD_REQUEST;
    InvalidJson = "INVALID_JSON", BAD_REQUEST;
    InvalidDataType = "INVALID_DATA_TYPE", BAD_REQUEST;
    MissingData = "MISSING_DATA", BAD_REQUEST;
    InvalidObjectId = "INVALID_OBJECT_ID", BAD_REQUEST;
    InvalidBucket = "INVALID_BUCKET", BAD_REQUEST;
    WrongCommand = "WRONG_COMMAND", BAD_REQUEST;
    WrongTrigger = "WRONG_TRIGGER", BAD_REQUEST;
    WrongPredicate = "WRONG_PREDICATE", BAD_REQUEST;
    CommandTraitValidation = "COMMAND_TRAIT_VALIDATION", BAD_REQUEST;
    QueryNotSupported = "QUERY_NOT_SUPPORTED", BAD_REQUEST;
    PasswordTooShort = "PASSWORD_TOO_SHORT", BAD_REQUEST;
    /// Kii's login answers with OAuth's own code.
    InvalidGrant = "invalid_grant", BAD_REQUEST;
    Unauthorized = "UNAUTHORIZED", UNAUTHORIZED;
    WrongPassword = "WRONG_PASSWORD", UNAUTHORIZED;
    ThingDisabled = "THING_DISABLED", UNAUTHORIZED;
    WrongToken = "WRONG_TOKEN", FORBIDDEN;
    WrongRefreshToken = "WRONG_REFRESH_TOKEN", FORBIDDEN;
    AppDisabled = "APP_DISABLED", FORBIDDEN;
    OperationNotSupported = "OPERATION_NOT_SUPPORTED", FORBIDDEN;
    AppNotFound = "APP_NOT_FOUND", NOT_FOUND;
    ThingNotFound = "THING_NOT_FOUND", NOT_FOUND;
    UserNotFound = "USER_NOT_FOUND", NOT_FOUND;
    GroupNotFound = "GROUP_NOT_FOUND", NOT_FOUND;
    ThingOwnershipNotFound = "THING_OWNERSHIP_NOT_FOUND", NOT_FOUND;
    TargetNotFound = "TARGET_NOT_FOUND", NOT_FOUND;
    CommandNotFound = "COMMAND_NOT_FOUND", NOT_FOUND;
    TriggerNotFound = "TRIGGER_NOT_FOUND", NOT_FOUND;
    StateNotFound = "STATE_NOT_FOUND", NOT_FOUND;
    TraitAliasNotFound = "TRAIT_ALIAS_NOT_FOUND", NOT_FOUND;
    ThingTypeNotFound = "THING_TYPE_NOT_FOUND", NOT_FOUND;
    ThingWithoutThingType = "THING_WITHOUT_THING_TYPE", NOT_FOUND;
    FirmwareVersionNotFound = "FIRMWARE_VERSION_NOT_FOUND", NOT_FOUND;
    ThingWithoutFirmwareVersion = "THING_WITHOUT_FIRMWARE_VERSION", NOT_FOUND;
    EndNodeDoesNotBelongToGateway = "THING_END_NODE_DOES_NOT_BELONG_TO_GATEWAY", NOT_FOUND;
    InstallationNotFound = "INSTALLATION_NOT_FOUND", NOT_FOUND;
    MqttEndpointNotFound = "MQTT_ENDPOINT_NOT_FOUND", NOT_FOUND;
    BucketNotFound = "BUCKET_NOT_FOUND", NOT_FOUND;
    FilterNotFound = "FILTER_NOT_FOUND", NOT_FOUND;
    ObjectNotFound = "OBJECT_NOT_FOUND", NOT_FOUND;
    TopicNotFound = "TOPIC_NOT_FOUND", NOT_FOUND;
    PushSubscriptionNotFound = "PUSH_SUBSCRIPTION_NOT_FOUND", NOT_FOUND;
    /// Ours: no operation has this path. No document gives a code for it.
    PathNotFound = "PATH_NOT_FOUND", NOT_FOUND;
    /// Ours: the path has no operation of this verb.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", METHOD_NOT_ALLOWED;
    OperationNotAllowed = "OPERATION_NOT_ALLOWED", CONFLICT;
    ThingAlreadyExists = "THING_ALREADY_EXISTS", CONFLICT;
    ThingOwnershipAlreadyExists = "THING_OWNERSHIP_ALREADY_EXISTS", CONFLICT;
    UserAlreadyExists = "USER_ALREADY_EXISTS", CONFLICT;
    EndNodeAlreadyBelongsToGateway = "THING_END_NODE_ALREADY_BELONGS_TO_GATEWAY", CONFLICT;
    StateHistoryNotAvailable = "STATE_HISTORY_NOT_AVAILABLE", CONFLICT;
    PushSubscriptionAlreadyExists = "PUSH_SUBSCRIPTION_ALREADY_EXISTS", CONFLICT;
    TopicAlreadyExists = "TOPIC_ALREADY_EXISTS", CONFLICT;
    ObjectAlreadyExists = "OBJECT_ALREADY_EXISTS", CONFLICT;
    ObjectVersionIsStale = "OBJECT_VERSION_IS_STALE", CONFLICT;
    /// Ours, of a proxy: the request came too slowly.
    RequestTimeout = "REQUEST_TIMEOUT", REQUEST_TIMEOUT;
    /// Ours: the frame or body is larger than the service takes.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", PAYLOAD_TOO_LARGE;
    /// Ours: the head of the frame has more bytes or more fields than the service takes.
    HeaderFieldsTooLarge = "REQUEST_HEADER_FIELDS_TOO_LARGE", REQUEST_HEADER_FIELDS_TOO_LARGE;
    /// Named so by clients; the service's own body for 429 was never seen.
    TooManyRequests = "TOO_MANY_REQUESTS", TOO_MANY_REQUESTS;
    UndefinedError = "UNDEFINED_ERROR", INTERNAL_SERVER_ERROR;
    OperationNotImplemented = "OPERATION_NOT_IMPLEMENTED", NOT_IMPLEMENTED;
    ResourceTemporarilyUnavailable = "RESOURCE_TEMPORARILY_UNAVAILABLE", SERVICE_UNAVAILABLE;
    LockFailed = "LOCK_FAILED", SERVICE_UNAVAILABLE;
    TemporaryUnavailableError = "TEMPORARY_UNAVAILABLE_ERROR", SERVICE_UNAVAILABLE;
    MqttEndpointNotReady = "MQTT_ENDPOINT_NOT_READY", SERVICE_UNAVAILABLE;
    /// Ours: who was asked in turn gave no whole answer. The request may have been executed.
    BadGateway = "BAD_GATEWAY", BAD_GATEWAY;
    /// Ours: who was asked in turn did not answer in time. The request may have been executed.
    GatewayTimeout = "GATEWAY_TIMEOUT", GATEWAY_TIMEOUT;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| ErrorCode::from(text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire_and_is_an_error() {
        for code in ErrorCode::KNOWN {
            assert_eq!(&ErrorCode::from(code.as_str()), code);
            assert!(code.status().as_u16() >= 400, "{code}");
        }
    }

    #[test]
    fn an_unknown_code_is_kept() {
        let code: ErrorCode = serde_json::from_str("\"NEW_ONE\"").expect("a string");
        assert_eq!(code, ErrorCode::Other("NEW_ONE".into()));
        assert_eq!(serde_json::to_string(&code).expect("a string"), "\"NEW_ONE\"");
    }
}
