//! Onboarding through the bridge: the device is told of the bridge's listeners instead of the upstream's brokers.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Map, Value};

use crate::ids::AppId;
use crate::mqtt::Scheme;
use crate::thing_if::{MqttEndpoint, json};

/// Where devices find the bridge.
#[derive(Debug, Clone, Default)]
pub struct Advertise {
    /// Host name or address. `None`: the address that has accepted the connection of whoever asks.
    pub host: Option<String>,
    /// Port of MQTT over TCP; `None`: none.
    pub tcp: Option<u16>,
    /// Port of MQTT over TLS.
    pub ssl: Option<u16>,
    /// Port of MQTT over WebSocket.
    pub ws: Option<u16>,
    /// Port of MQTT over WebSocket over TLS.
    pub wss: Option<u16>,
}

impl Advertise {
    fn port(&self, scheme: Scheme) -> Option<u16> {
        match scheme {
            Scheme::Mqtt => self.tcp,
            Scheme::Mqtts => self.ssl,
            Scheme::Ws => self.ws,
            Scheme::Wss => self.wss,
        }
    }
}

const PORTS: [(&str, Scheme); 4] =
    [("portTCP", Scheme::Mqtt), ("portSSL", Scheme::Mqtts), ("portWS", Scheme::Ws), ("portWSS", Scheme::Wss)];

/// Whether a request is an onboarding of `app`. (`wire` §4)
pub(super) fn is_onboarding(app: &AppId, method: &Method, path: &str) -> bool {
    let of_app = |path: &str| path.strip_prefix(app.as_str()).map(|rest| rest == "/onboardings");
    method == Method::POST && path.strip_prefix("/thing-if/apps/").and_then(of_app) == Some(true)
}

/// The body with the bridge in place of the upstream's broker, and the login that it gives away. `None` for an answer that
/// gives none: an error, or that of an end node, which uses its gateway's connection.
pub(super) fn rewrite(
    status: StatusCode,
    body: &Bytes,
    host: &str,
    advertise: &Advertise,
) -> Option<(MqttEndpoint, Bytes)> {
    if !status.is_success() {
        return None;
    }
    let mut answer: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let Some(Value::Object(theirs)) = answer.get("mqttEndpoint") else { return None };
    let mut ours = Map::new();
    for (name, value) in theirs {
        // The single `port` is that of no known service; one device reads it. (`wire` §2.3)
        if name == "port" || PORTS.iter().any(|(port, _)| port == name) {
            continue;
        }
        if name == "host" {
            ours.insert(name.clone(), host.into());
            for (name, scheme) in PORTS {
                if let Some(port) = advertise.port(scheme) {
                    ours.insert(name.to_owned(), port.into());
                }
            }
        } else {
            ours.insert(name.clone(), value.clone());
        }
    }
    let ours = Value::Object(ours);
    let endpoint = MqttEndpoint::try_from(ours.clone()).ok()?;
    answer.insert(String::from("mqttEndpoint"), ours);
    Some((endpoint, json::to_pretty(&answer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{
  "accessToken" : "t0k3n",
  "thingID" : "th.1",
  "mqttEndpoint" : {
    "installationID" : "i",
    "username" : "u",
    "password" : "hunter2",
    "mqttTopic" : "topic",
    "host" : "jp-mqtt-0123456789ab.kii.com",
    "portTCP" : 1883,
    "portSSL" : 8883,
    "portWS" : 12470,
    "portWSS" : 12473,
    "ttl" : 2147483647,
    "new" : [ 1 ]
  }
}"#;

    #[test]
    fn the_bridge_is_the_broker_and_all_else_is_as_it_was() {
        let advertise = Advertise { host: None, tcp: Some(1), ssl: None, ws: Some(3), wss: None };
        let (endpoint, body) =
            rewrite(StatusCode::OK, &Bytes::from(ANSWER), "192.0.2.1", &advertise).expect("an endpoint");
        let expected = ANSWER
            .replace("jp-mqtt-0123456789ab.kii.com", "192.0.2.1")
            .replace("\"portTCP\" : 1883", "\"portTCP\" : 1")
            .replace("    \"portSSL\" : 8883,\n", "")
            .replace("\"portWS\" : 12470", "\"portWS\" : 3")
            .replace("    \"portWSS\" : 12473,\n", "");
        assert_eq!(body, expected);
        assert_eq!((endpoint.username.as_str(), endpoint.password.expose().as_str()), ("u", "hunter2"));
        assert_eq!(endpoint.mqtt_topic.as_str(), "topic");
    }

    #[test]
    fn an_upstream_without_brokers_of_its_own_will_do() {
        let body = r#"{"accessToken":"t","thingID":"th.1","mqttEndpoint":{"username":"u","password":"p","mqttTopic":"t","host":"h"}}"#;
        let advertise = Advertise { ssl: Some(8883), ..Advertise::default() };
        let (endpoint, _) = rewrite(StatusCode::OK, &Bytes::from(body), "b", &advertise).expect("an endpoint");
        assert_eq!((endpoint.host.as_str(), endpoint.port_ssl, endpoint.port_tcp), ("b", Some(8883), None));
    }

    #[test]
    fn what_gives_no_login_stays_as_it_is() {
        let advertise = Advertise::default();
        let gives = |status, body: &'static str| rewrite(status, &Bytes::from(body), "h", &advertise).is_some();
        assert!(!gives(StatusCode::OK, r#"{"accessToken":"t","endNodeThingID":"th.2"}"#));
        assert!(!gives(StatusCode::OK, "<html>"));
        assert!(!gives(StatusCode::OK, r#"{"mqttEndpoint":{"username":"u"}}"#));
        assert!(!gives(StatusCode::UNAUTHORIZED, ANSWER));
    }

    #[test]
    fn only_a_post_to_the_applications_own_path_is_an_onboarding() {
        let app = AppId::new("app1").expect("valid");
        let is = |method, path| is_onboarding(&app, &method, path);
        assert!(is(Method::POST, "/thing-if/apps/app1/onboardings"));
        for (method, path) in [
            (Method::GET, "/thing-if/apps/app1/onboardings"),
            (Method::POST, "/thing-if/apps/app2/onboardings"),
            (Method::POST, "/thing-if/apps/app1/onboardings/x"),
            (Method::POST, "/thing-if/apps/app1x/onboardings"),
            (Method::POST, "/onboardings"),
        ] {
            assert!(!is(method.clone(), path), "{method} {path}");
        }
    }
}
