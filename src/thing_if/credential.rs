//! What onboarding leaves behind: all that a device needs to come back without onboarding again.

use serde::Serialize;
use serde_json::json;

use super::fields::Fields;
use super::{InvalidBody, MqttEndpoint, TtlField, json as dialect};
use crate::ids::{AccessToken, AppId, ThingId};
use crate::mqtt::{Credentials, Endpoint, Scheme};
use crate::secret::Secret;

/// The result of an onboarding, to be stored. (`wire` §4, §7)
///
/// `Serialize` redacts and is for display. [`to_json_exposed`](Credential::to_json_exposed) and
/// [`from_json`](Credential::from_json) are the storage form: the onboarding answer itself with `appID` before it.
#[derive(Debug, Clone, Serialize)]
pub struct Credential {
    /// The application in which the thing was onboarded.
    #[serde(rename = "appID")]
    pub app_id: AppId,
    /// The thing.
    #[serde(rename = "thingID")]
    pub thing_id: ThingId,
    /// The token for the Authorization header of every call.
    #[serde(rename = "accessToken")]
    pub access_token: Secret<AccessToken>,
    /// The assigned broker.
    #[serde(rename = "mqttEndpoint")]
    pub endpoint: MqttEndpoint,
}

impl Credential {
    /// Who to connect as at the assigned broker.
    pub fn credentials(&self) -> Credentials {
        self.endpoint.credentials()
    }

    /// Where to connect with `scheme`; `None` where the assigned broker does not offer it.
    pub fn endpoint(&self, scheme: Scheme) -> Option<Endpoint> {
        self.endpoint.endpoint(scheme)
    }

    /// The storage form, token and password in clear, ending in LF. Whoever writes it to a file gives it mode 0600.
    pub fn to_json_exposed(&self) -> String {
        let value = json!({
            "appID": self.app_id,
            "thingID": self.thing_id,
            "accessToken": self.access_token.expose().as_str(),
            "mqttEndpoint": self.endpoint.to_json_exposed(TtlField::Ttl),
        });
        let mut text = String::from_utf8_lossy(&dialect::to_pretty(&value)).into_owned();
        text.push('\n');
        text
    }

    /// Reads the storage form.
    ///
    /// # Errors
    /// [`InvalidBody`] names the first field that is missing or wrong, without showing it.
    pub fn from_json(stored: impl AsRef<[u8]>) -> Result<Self, InvalidBody> {
        let mut fields = Fields::parse(stored.as_ref())?;
        Ok(Self {
            app_id: fields.required("appID", "an app id")?,
            thing_id: fields.required("thingID", "a thing id")?,
            access_token: Secret::new(fields.required("accessToken", "an access token")?),
            endpoint: MqttEndpoint::read(&mut fields.required_object("mqttEndpoint")?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> String {
        json!({
            "appID": "c1k9abcdef12", "thingID": "th.1", "accessToken": "t0k3n",
            "mqttEndpoint": { "installationID": "i", "username": "u", "password": "hunter2", "mqttTopic": "me",
                "host": "h", "portTCP": 1883, "ttl": 2_147_483_647 }
        })
        .to_string()
    }

    #[test]
    fn storing_and_reading_are_inverse() {
        let credential = Credential::from_json(stored()).expect("complete");
        let written = credential.to_json_exposed();
        let again = Credential::from_json(&written).expect("own form");
        assert_eq!(again.to_json_exposed(), written);
        assert_eq!(again.access_token.expose().as_str(), "t0k3n");
        assert_eq!(again.credentials().client_id.as_str(), "me");
        assert_eq!(again.endpoint(Scheme::Mqtt).map(|e| e.to_string()).as_deref(), Some("mqtt://h:1883"));
        assert!(again.endpoint(Scheme::Wss).is_none());
    }

    #[test]
    fn display_forms_redact_token_and_password() {
        let credential = Credential::from_json(stored()).expect("complete");
        let shown = format!("{credential:?} {}", dialect_text(&credential));
        assert!(!shown.contains("hunter2") && !shown.contains("t0k3n"), "{shown}");
        assert!(shown.contains(r#""thingID" : "th.1""#), "{shown}");
    }

    fn dialect_text(credential: &Credential) -> String {
        String::from_utf8(dialect::to_pretty(credential).into()).expect("UTF-8")
    }

    #[test]
    fn every_field_is_required_by_name() {
        for field in ["appID", "thingID", "accessToken", "mqttEndpoint"] {
            let mut value: serde_json::Value = serde_json::from_str(&stored()).expect("JSON");
            value.as_object_mut().expect("object").shift_remove(field);
            let error = Credential::from_json(value.to_string()).expect_err("refused");
            assert_eq!(error, InvalidBody::Missing { field: field.into() });
        }
        let mut value: serde_json::Value = serde_json::from_str(&stored()).expect("JSON");
        value["mqttEndpoint"]["host"] = serde_json::Value::Null;
        let error = Credential::from_json(value.to_string()).expect_err("refused");
        assert_eq!(error, InvalidBody::Missing { field: "mqttEndpoint.host".into() });
    }
}
