//! The body of an error answer.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ErrorCode, InvalidBody, json};
use crate::secret::Secret;

/// `errorCode`, `message`, and fields that depend on the code, such as `appID`. (`wire` §4)
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong, for programs.
    #[serde(rename = "errorCode")]
    pub error_code: ErrorCode,
    /// What went wrong, for people; empty when the service did not say.
    #[serde(default)]
    pub message: String,
    /// Everything else, in the order in which it was added.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ErrorBody {
    /// An error without further fields.
    pub fn new(error_code: ErrorCode, message: impl Into<String>) -> Self {
        Self { error_code, message: message.into(), extra: Map::new() }
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(field.to_owned(), value.into());
        self
    }

    /// Reads the body of an answer.
    ///
    /// # Errors
    /// [`InvalidBody`] when it is not JSON or has no `errorCode`.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidBody> {
        json::from_slice(body)
    }

    /// The same with `secret` [masked](Secret::masked_in) wherever the service has repeated it.
    #[must_use]
    pub fn masking(mut self, secret: &Secret<String>) -> Self {
        self.message = secret.masked_in(&self.message).into_owned();
        if let ErrorCode::Other(code) = &mut self.error_code {
            *code = secret.masked_in(code).into();
        }
        self.extra.values_mut().for_each(|value| mask(value, secret));
        self
    }

    /// The status that goes with [`error_code`](Self::error_code).
    pub fn status(&self) -> StatusCode {
        self.error_code.status()
    }

    /// The answer with the code's own status, in the service's dialect.
    pub fn to_response(&self) -> Response<Bytes> {
        let mut response = Response::new(json::to_pretty(self));
        *response.status_mut() = self.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(super::media_type::JSON));
        response
    }
}

fn mask(value: &mut Value, secret: &Secret<String>) {
    match value {
        Value::String(text) => *text = secret.masked_in(text).into_owned(),
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, secret)),
        Value::Object(members) => members.values_mut().for_each(|member| mask(member, secret)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documented body of an endpoint that is not ready.
    const DOCUMENTED: &str = r#"{
  "errorCode" : "MQTT_ENDPOINT_NOT_READY",
  "message" : "MQTT endpoint for  {INSTALLATION_ID} is not ready. Please try again later.",
  "installationID" : "{INSTALLATION_ID}",
  "appID" : "{APP_ID}"
}"#;

    #[test]
    fn the_documented_body_is_read_and_written_byte_for_byte() {
        let body = ErrorBody::from_json(DOCUMENTED.as_bytes()).expect("documented");
        assert_eq!(body.error_code, ErrorCode::MqttEndpointNotReady);
        assert_eq!(body.extra["appID"], "{APP_ID}");
        assert_eq!(json::to_pretty(&body), DOCUMENTED);
        assert_eq!(body.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn an_answer_has_status_type_and_body() {
        let body = ErrorBody::new(ErrorCode::ThingNotFound, "Thing th.1 not found").with("field", "thingID");
        let response = body.to_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(ErrorBody::from_json(response.body()), Ok(body));
    }

    #[test]
    fn a_secret_that_the_service_repeats_is_masked() {
        let said = br#"{"errorCode":"hunter2","message":"hunter2?","detail":{"sent":["a hunter2",2]}}"#;
        let masked = ErrorBody::from_json(said).expect("an error").masking(&"hunter2".into());
        let shown = format!("{masked:?}");
        assert!(!shown.contains("hunter2") && shown.contains("a [redacted]"), "{shown}");
    }

    #[test]
    fn a_body_without_code_is_no_error_body() {
        assert!(ErrorBody::from_json(br#"{"message":"x"}"#).is_err());
        assert_eq!(ErrorBody::from_json(br#"{"errorCode":"X"}"#).map(|b| b.message), Ok(String::new()));
    }
}
