//! Onboarding: the answers. (`wire` §4)

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::{Credential, InvalidBody, MqttEndpoint, TtlField, json as dialect};
use crate::ids::{AccessToken, AppId, ThingId};
use crate::secret::Secret;

/// The answer to the onboarding of a thing.
#[derive(Debug, Clone)]
pub struct OnboardingAnswer {
    /// `accessToken`: the thing's own token.
    pub access_token: Secret<AccessToken>,
    /// `thingID`.
    pub thing_id: ThingId,
    /// `mqttEndpoint`: the assigned broker.
    pub endpoint: MqttEndpoint,
}

impl OnboardingAnswer {
    /// Reads the body of a 200.
    ///
    /// # Errors
    /// [`InvalidBody`] names the first field that is missing or wrong, without showing it.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidBody> {
        let mut fields = Fields::parse(body)?;
        Ok(Self {
            access_token: Secret::new(fields.required::<AccessToken>("accessToken", "an access token")?),
            thing_id: fields.required("thingID", "a thing id")?,
            endpoint: MqttEndpoint::read(&mut fields.required_object("mqttEndpoint")?)?,
        })
    }

    /// The body of a 200, token and password in clear.
    pub fn to_body_exposed(&self) -> Bytes {
        dialect::to_pretty(&json!({
            "accessToken": self.access_token.expose().as_str(),
            "thingID": self.thing_id,
            "mqttEndpoint": self.endpoint.to_json_exposed(TtlField::Ttl),
        }))
    }

    /// What a device keeps.
    pub fn into_credential(self, app_id: AppId) -> Credential {
        Credential { app_id, thing_id: self.thing_id, access_token: self.access_token, endpoint: self.endpoint }
    }
}

/// The answer to the onboarding of an end node, which has no endpoint: it uses its gateway's connection.
#[derive(Debug, Clone)]
pub struct EndNodeOnboardingAnswer {
    /// `accessToken`: the end node's own token.
    pub access_token: Secret<AccessToken>,
    /// `endNodeThingID`.
    pub end_node_thing_id: ThingId,
}

impl EndNodeOnboardingAnswer {
    /// Reads the body of a 200.
    ///
    /// # Errors
    /// [`InvalidBody`] names the first field that is missing or wrong, without showing it.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidBody> {
        let mut fields = Fields::parse(body)?;
        Ok(Self {
            access_token: Secret::new(fields.required::<AccessToken>("accessToken", "an access token")?),
            end_node_thing_id: fields.required("endNodeThingID", "a thing id")?,
        })
    }

    /// The body of a 200, token in clear. It has no inner object, because one known gateway takes everything up to the
    /// first `}` for the whole body. (`wire` §2.3)
    pub fn to_body_exposed(&self) -> Bytes {
        let mut map = Map::new();
        map.insert("accessToken".into(), self.access_token.expose().as_str().into());
        map.insert("endNodeThingID".into(), self.end_node_thing_id.as_str().into());
        dialect::to_pretty(&Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documented answer, with values in place of the placeholders.
    const DOCUMENTED: &str = r#"{
  "accessToken" : "t0k3n",
  "thingID" : "th.1",
  "mqttEndpoint" : {
    "installationID" : "4vlc9ugn3dpe3xvy21hq7kmz0",
    "username" : "c1k9abcdef12-AbCdEfGhIjKlMnOpQrStUvW",
    "password" : "hunter2",
    "mqttTopic" : "AbCdEfGhIjKlMnOpQrStUvW",
    "host" : "jp-mqtt-0123456789ab.kii.com",
    "portTCP" : 1883,
    "portSSL" : 8883,
    "portWS" : 12470,
    "portWSS" : 12473,
    "ttl" : 2147483647
  }
}"#;

    #[test]
    fn the_documented_answer_is_read_and_written_byte_for_byte() {
        let answer = OnboardingAnswer::from_json(DOCUMENTED.as_bytes()).expect("documented");
        assert_eq!(answer.to_body_exposed(), DOCUMENTED);
        assert!(!format!("{answer:?}").contains("hunter2"), "{answer:?}");
        assert!(!format!("{answer:?}").contains("t0k3n"), "{answer:?}");
        let credential = answer.into_credential(AppId::new("a1").expect("valid"));
        assert_eq!(credential.thing_id.as_str(), "th.1");
    }

    #[test]
    fn the_strictest_readers_can_read_it() {
        // One embedded reader has a pool of 1000 bytes for the whole answer; the longest of the look-alike values fit.
        let long = DOCUMENTED
            .replace("t0k3n", &"t".repeat(43))
            .replace("hunter2", &"p".repeat(64))
            .replace("th.1", "th.0123456789ab-0123-4567-89ab-01234567");
        assert!(long.len() < 1000, "{}", long.len());
        let body = OnboardingAnswer::from_json(long.as_bytes()).expect("valid").to_body_exposed();
        assert!(body.starts_with(b"{\n") && !body.contains(&b'\r') && !body.contains(&b'%'));
    }

    #[test]
    fn an_end_node_gets_a_flat_body() {
        let body = b"{\n  \"accessToken\" : \"t0k3n\",\n  \"endNodeThingID\" : \"th.2\"\n}";
        let answer = EndNodeOnboardingAnswer::from_json(body).expect("valid");
        let written = answer.to_body_exposed();
        assert_eq!(written, body.as_slice());
        assert_eq!(written.iter().filter(|b| **b == b'{').count(), 1);
    }

    #[test]
    fn an_answer_of_the_other_kind_is_refused() {
        let missing = |field: &str| Some(InvalidBody::Missing { field: field.into() });
        let end_node = br#"{"accessToken":"t","endNodeThingID":"th.2"}"#;
        assert_eq!(OnboardingAnswer::from_json(end_node).err(), missing("thingID"));
        assert_eq!(EndNodeOnboardingAnswer::from_json(DOCUMENTED.as_bytes()).err(), missing("endNodeThingID"));
    }
}
