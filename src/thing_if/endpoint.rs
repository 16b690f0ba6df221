//! `mqttEndpoint`: where a thing's assigned broker is and how to log in there.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::Fields;
use super::{InvalidBody, json};
use crate::ids::ClientId;
use crate::mqtt::{Credentials, Endpoint, Scheme};
use crate::secret::Secret;

/// The broker that was assigned to a thing, as onboarding and `/installations/{id}/mqtt-endpoint` name it.
/// (`wire` §1.2, §4, §5)
///
/// Reading takes `userName` for `username`, `X-MQTT-TTL` for `ttl`, numbers in strings, and ignores what it does not
/// know; a port that is `null`, 0 or absent is one that the broker does not offer. `Serialize` redacts the password and
/// is for display; the wire form comes from [`to_json_exposed`](MqttEndpoint::to_json_exposed).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Value", rename_all = "camelCase")]
pub struct MqttEndpoint {
    /// The MQTT installation; empty when the service did not say.
    #[serde(rename = "installationID")]
    pub installation_id: String,
    /// User name of the CONNECT.
    pub username: String,
    /// Password of the CONNECT.
    pub password: Secret<String>,
    /// Client identifier of the CONNECT and topic of the pushes.
    pub mqtt_topic: ClientId,
    /// Host name or address.
    pub host: String,
    /// Port of plain TCP.
    #[serde(rename = "portTCP", skip_serializing_if = "Option::is_none")]
    pub port_tcp: Option<u16>,
    /// Port of TLS.
    #[serde(rename = "portSSL", skip_serializing_if = "Option::is_none")]
    pub port_ssl: Option<u16>,
    /// Port of WebSocket; absent in answers of 2015.
    #[serde(rename = "portWS", skip_serializing_if = "Option::is_none")]
    pub port_ws: Option<u16>,
    /// Port of WebSocket over TLS; absent in answers of 2015.
    #[serde(rename = "portWSS", skip_serializing_if = "Option::is_none")]
    pub port_wss: Option<u16>,
    /// Seconds for which `mqtt_topic` is valid; in practice always 2147483647, for ever. (`wire` §7)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
}

/// What the lifetime is called, which depends on who writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TtlField {
    /// `ttl`, inside an onboarding answer. (`wire` §4)
    Ttl,
    /// `X-MQTT-TTL`, in the answer of `/installations/{id}/mqtt-endpoint`. (`wire` §5)
    XMqttTtl,
}

impl MqttEndpoint {
    /// Reads the answer of `/installations/{id}/mqtt-endpoint`.
    ///
    /// # Errors
    /// [`InvalidBody`] names the first field that is missing or wrong.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidBody> {
        Self::read(&mut Fields::parse(body)?)
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, InvalidBody> {
        let host = fields.required_text("host")?;
        if Endpoint::new(Scheme::Mqtt, host.as_str(), 1).is_err() {
            return Err(fields.wrong("host", "a host name or address"));
        }
        let username = match fields.text("username")? {
            Some(username) => username,
            None => fields.text("userName")?.ok_or_else(|| fields.missing("username"))?,
        };
        Ok(Self {
            installation_id: fields.text("installationID")?.unwrap_or_default(),
            username,
            password: fields.required_text("password")?.into(),
            mqtt_topic: fields.required("mqttTopic", "a client identifier")?,
            host,
            port_tcp: port(fields, "portTCP")?,
            port_ssl: port(fields, "portSSL")?,
            port_ws: port(fields, "portWS")?,
            port_wss: port(fields, "portWSS")?,
            ttl: match fields.integer("ttl")? {
                Some(ttl) => Some(ttl),
                None => fields.integer("X-MQTT-TTL")?,
            },
        })
    }

    /// The port for `scheme`; `None` where the broker does not offer it.
    pub fn port(&self, scheme: Scheme) -> Option<u16> {
        match scheme {
            Scheme::Mqtt => self.port_tcp,
            Scheme::Mqtts => self.port_ssl,
            Scheme::Ws => self.port_ws,
            Scheme::Wss => self.port_wss,
        }
    }

    /// Where to connect with `scheme`; `None` where the broker does not offer it. The WebSocket path is `/mqtt`.
    pub fn endpoint(&self, scheme: Scheme) -> Option<Endpoint> {
        Endpoint::new(scheme, self.host.as_str(), self.port(scheme)?).ok()
    }

    /// Who to connect as.
    pub fn credentials(&self) -> Credentials {
        Credentials {
            client_id: self.mqtt_topic.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
        }
    }

    /// The wire form, password included, fields in the documented order; `ttl` chooses the name of the lifetime.
    pub fn to_json_exposed(&self, ttl: TtlField) -> Value {
        let mut map = Map::new();
        map.insert("installationID".into(), self.installation_id.as_str().into());
        map.insert("username".into(), self.username.as_str().into());
        map.insert("password".into(), self.password.expose().as_str().into());
        map.insert("mqttTopic".into(), self.mqtt_topic.as_str().into());
        map.insert("host".into(), self.host.as_str().into());
        let ports = ["portTCP", "portSSL", "portWS", "portWSS"];
        for (name, scheme) in ports.into_iter().zip(Scheme::ALL) {
            if let Some(port) = self.port(scheme) {
                map.insert(name.into(), port.into());
            }
        }
        if let Some(seconds) = self.ttl {
            let name = match ttl {
                TtlField::Ttl => "ttl",
                TtlField::XMqttTtl => "X-MQTT-TTL",
            };
            map.insert(name.into(), seconds.into());
        }
        Value::Object(map)
    }

    /// The body of an answer to `/installations/{id}/mqtt-endpoint`, password included.
    pub fn to_retrieval_body_exposed(&self) -> bytes::Bytes {
        json::to_pretty(&self.to_json_exposed(TtlField::XMqttTtl))
    }
}

fn port(fields: &mut Fields, field: &str) -> Result<Option<u16>, InvalidBody> {
    match fields.integer(field)? {
        None | Some(0) => Ok(None),
        Some(number) => u16::try_from(number).map(Some).map_err(|_| fields.wrong(field, "a port")),
    }
}

impl TryFrom<Value> for MqttEndpoint {
    type Error = InvalidBody;

    fn try_from(value: Value) -> Result<Self, InvalidBody> {
        Self::read(&mut Fields::of(value)?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The documented answer of `mqtt-endpoint`, with values in place of the placeholders.
    const DOCUMENTED: &str = r#"{
  "installationID" : "4vlc9ugn3dpe3xvy21hq7kmz0",
  "username" : "c1k9abcdef12-AbCdEfGhIjKlMnOpQrStUvW",
  "password" : "hunter2",
  "mqttTopic" : "AbCdEfGhIjKlMnOpQrStUvW",
  "host" : "jp-mqtt-0123456789ab.kii.com",
  "portTCP" : 1883,
  "portSSL" : 8883,
  "portWS" : 12470,
  "portWSS" : 12473,
  "X-MQTT-TTL" : 2147483647
}"#;

    fn minimal() -> Value {
        json!({ "username": "u", "password": "hunter2", "mqttTopic": "t", "host": "h", "portTCP": 1883 })
    }

    #[test]
    fn the_documented_body_is_read_and_written_byte_for_byte() {
        let endpoint = MqttEndpoint::from_json(DOCUMENTED.as_bytes()).expect("documented");
        assert_eq!(endpoint.ttl, Some(2_147_483_647));
        assert_eq!(endpoint.to_retrieval_body_exposed(), DOCUMENTED);
        let urls: Vec<_> = Scheme::ALL.iter().map(|s| endpoint.endpoint(*s).expect("offered").to_string()).collect();
        let host = "jp-mqtt-0123456789ab.kii.com";
        let expected = [
            format!("mqtt://{host}:1883"),
            format!("mqtts://{host}:8883"),
            format!("ws://{host}:12470/mqtt"),
            format!("wss://{host}:12473/mqtt"),
        ];
        assert_eq!(urls, expected);
        assert_eq!(endpoint.credentials().client_id.as_str(), "AbCdEfGhIjKlMnOpQrStUvW");
        assert_eq!(endpoint.credentials().password.expose(), "hunter2");
    }

    #[test]
    fn known_misspellings_and_strange_numbers_are_read() {
        let given = json!({
            "userName": "u", "password": "p", "mqttTopic": "t", "host": "h",
            "portTCP": "1883", "portSSL": 0, "portWS": null, "ttl": "60", "somethingNew": [1]
        });
        let endpoint = MqttEndpoint::try_from(given).expect("lenient");
        assert_eq!(endpoint.username, "u");
        assert_eq!((endpoint.port_tcp, endpoint.port_ssl, endpoint.port_ws), (Some(1883), None, None));
        assert_eq!(endpoint.ttl, Some(60));
        assert!(endpoint.endpoint(Scheme::Mqtts).is_none());
        let written = endpoint.to_json_exposed(TtlField::Ttl).to_string();
        assert!(written.contains(r#""username":"u""#) && written.contains(r#""ttl":60"#), "{written}");
        assert!(!written.contains("userName") && !written.contains("portSSL"), "{written}");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_and_not_shown() {
        for (field, value, message) in [
            ("host", Value::Null, "body has no `host`"),
            ("host", json!("a b"), "`host` is not a host name or address"),
            ("username", Value::Null, "body has no `username`"),
            ("password", json!(31_337), "`password` is not a string"),
            ("mqttTopic", json!("a/b"), "`mqttTopic` is not a client identifier"),
            ("portTCP", json!(65_536), "`portTCP` is not a port"),
            ("portTCP", json!(-1), "`portTCP` is not a port"),
            ("portSSL", json!("x"), "`portSSL` is not a whole number"),
            ("portWS", json!(1.5), "`portWS` is not a whole number"),
        ] {
            let mut body = minimal();
            body[field] = value;
            let error = MqttEndpoint::try_from(body).expect_err("refused");
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn display_forms_redact_the_password() {
        let endpoint = MqttEndpoint::try_from(minimal()).expect("complete");
        let shown = format!("{endpoint:?} {}", serde_json::to_string(&endpoint).expect("plain"));
        assert!(!shown.contains("hunter2") && shown.contains("[redacted]"), "{shown}");
    }
}
