//! MQTT installations: what makes pushes possible. (`wire` §5)

use serde::{Deserialize, Deserializer, Serialize};

use super::{InvalidBody, json};
use crate::ids::{ThingId, UserId};

/// The only kind of installation that this protocol knows.
const MQTT: &str = "MQTT";

/// The body of `POST /api/apps/{APP}/installations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallationRequest {
    /// `MQTT`; ANDROID and IOS exist and are none of ours.
    #[serde(rename = "deviceType")]
    pub device_type: String,
    /// For the development or the production environment; one client sends it as a string.
    #[serde(default, deserialize_with = "lenient_bool")]
    pub development: bool,
    /// The thing, when an administrator asks; else it is the token's.
    #[serde(default, rename = "thingID", skip_serializing_if = "Option::is_none")]
    pub thing_id: Option<ThingId>,
    /// The user, when an administrator asks; else it is the token's.
    #[serde(default, rename = "userID", skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
}

impl InstallationRequest {
    /// An MQTT installation for whoever's token is sent along.
    pub fn mqtt(development: bool) -> Self {
        Self { device_type: MQTT.to_owned(), development, thing_id: None, user_id: None }
    }

    /// Reads the body.
    ///
    /// # Errors
    /// [`InvalidBody`] when it is not JSON or a field is missing or wrong.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidBody> {
        json::from_slice(body)
    }

    /// Whether it is for MQTT.
    pub fn is_mqtt(&self) -> bool {
        self.device_type.eq_ignore_ascii_case(MQTT)
    }
}

/// The answer: 201.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallationCreated {
    /// The installation.
    #[serde(rename = "installationID")]
    pub installation_id: String,
    /// Its other name, with which it can be deleted as well.
    #[serde(rename = "installationRegistrationID")]
    pub installation_registration_id: String,
}

/// An installation as it is read back. It belongs to a thing or to a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// The installation.
    #[serde(rename = "installationID")]
    pub installation_id: String,
    /// Its other name.
    #[serde(rename = "installationRegistrationID")]
    pub installation_registration_id: String,
    /// The environment.
    #[serde(default, deserialize_with = "lenient_bool")]
    pub development: bool,
    /// The thing.
    #[serde(default, rename = "thingID", skip_serializing_if = "Option::is_none")]
    pub thing_id: Option<ThingId>,
    /// The user.
    #[serde(default, rename = "userID", skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// `MQTT`
    #[serde(rename = "deviceType")]
    pub device_type: String,
}

/// The list of a thing's installations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installations {
    /// All of them.
    pub installations: Vec<Installation>,
}

fn lenient_bool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "true or false, or these as a string")]
    enum Lenient {
        Bool(bool),
        Text(Text),
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Text {
        True,
        False,
    }
    Ok(match Lenient::deserialize(deserializer)? {
        Lenient::Bool(value) => value,
        Lenient::Text(text) => matches!(text, Text::True),
    })
}

#[cfg(test)]
mod tests {
    use super::super::json::to_pretty;
    use super::*;

    /// The documented list, with values in place of the placeholders.
    const DOCUMENTED: &str = r#"{
  "installations" : [ {
    "installationID" : "i1",
    "installationRegistrationID" : "r1",
    "development" : true,
    "thingID" : "th.1",
    "deviceType" : "MQTT"
  }, {
    "installationID" : "i2",
    "installationRegistrationID" : "r2",
    "development" : true,
    "thingID" : "th.1",
    "deviceType" : "MQTT"
  } ]
}"#;

    #[test]
    fn the_documented_list_is_read_and_written_byte_for_byte() {
        let list: Installations = json::from_slice(DOCUMENTED.as_bytes()).expect("documented");
        assert_eq!(to_pretty(&list), DOCUMENTED);
    }

    #[test]
    fn the_documented_creation_is_read_and_written() {
        let request = InstallationRequest::from_json(br#"{"deviceType": "MQTT", "development": true}"#);
        assert_eq!(request, Ok(InstallationRequest::mqtt(true)));
        let created = "{\n  \"installationID\" : \"i\",\n  \"installationRegistrationID\" : \"r\"\n}";
        let answer: InstallationCreated = json::from_slice(created.as_bytes()).expect("documented");
        assert_eq!(to_pretty(&answer), created);
    }

    #[test]
    fn development_may_be_a_string() {
        for (given, expected) in [("\"true\"", true), ("\"false\"", false), ("false", false)] {
            let body = format!(r#"{{"deviceType":"mqtt","development":{given},"thingID":"th.1"}}"#);
            let request = InstallationRequest::from_json(body.as_bytes()).expect("lenient");
            assert_eq!((request.development, request.is_mqtt()), (expected, true));
        }
        let error = InstallationRequest::from_json(br#"{"deviceType":"MQTT","development":"yes"}"#);
        assert!(error.is_err_and(|e| e.to_string().contains("true or false")));
    }
}
