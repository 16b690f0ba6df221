//! The MQTT vocabulary that both ends share: messages, endpoints, credentials, and why a link failed.
//!
//! [`packet`] reads and writes MQTT 3.1 and 3.1.1 packets; nothing else in the crate does.

mod endpoint;
mod link_error;
pub mod packet;
mod spki_pin;

use std::fmt;

use bytes::Bytes;

pub use endpoint::{Endpoint, InvalidEndpoint, Scheme};
pub use link_error::{LinkError, LinkErrorKind, RefusedReason};
pub use spki_pin::{InvalidSpkiPin, SpkiPin};

use crate::ids::{AppId, ClientId};
use crate::secret::Secret;
use crate::topic::Topic;

/// Quality of service of a PUBLISH. This protocol uses 0 only (`wire` §1.3); some clients send 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Qos {
    /// QoS 0.
    #[default]
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

/// An application message: what a PUBLISH carries. Retain and DUP are never used by this protocol.
#[derive(Clone, PartialEq, Eq)]
pub struct Publish {
    /// The topic name.
    pub topic: Topic,
    /// The payload; a slice of the packet it arrived in where that is possible.
    pub payload: Bytes,
    /// Quality of service.
    pub qos: Qos,
}

impl Publish {
    /// A QoS 0 message, the only kind that this protocol's service sends.
    pub fn new(topic: Topic, payload: impl Into<Bytes>) -> Self {
        Self { topic, payload: payload.into(), qos: Qos::AtMostOnce }
    }
}

/// Shows topic and length. Payloads carry tokens and are not shown.
impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publish({:?}, {} bytes, {:?})", self.topic, self.payload.len(), self.qos)
    }
}

/// What a CONNECT says of who connects.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Client identifier.
    pub client_id: ClientId,
    /// User name. Not shown to be secret by any document, but it names the application.
    pub username: String,
    /// Password.
    pub password: Secret<String>,
}

impl Credentials {
    /// The credentials of the default broker: client id `anonymous`, user name `type=oauth2&client_id={APP_ID}`,
    /// password `client_secret={APP_KEY}`, without any encoding. (`wire` §1.1)
    pub fn anonymous(app: &AppId, app_key: &Secret<String>) -> Self {
        Self {
            client_id: ClientId::anonymous(),
            username: format!("type=oauth2&client_id={app}"),
            password: Secret::new(format!("client_secret={}", app_key.expose())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_credentials_are_literal_text() {
        let app = AppId::new("c1k9abcdef12").expect("valid");
        let credentials = Credentials::anonymous(&app, &"k&y%".into());
        assert_eq!(credentials.client_id.as_str(), "anonymous");
        assert_eq!(credentials.username, "type=oauth2&client_id=c1k9abcdef12");
        assert_eq!(credentials.password.expose(), "client_secret=k&y%");
        assert!(!format!("{credentials:?}").contains("k&y%"));
    }

    #[test]
    fn a_payload_is_not_shown() {
        let publish = Publish::new(Topic::new("p/a/b").expect("valid"), "Authorization: Bearer t0k3n");
        assert_eq!(format!("{publish:?}"), r#"Publish("p/a/b", 27 bytes, AtMostOnce)"#);
    }
}
