//! Whose credential it is.

use std::fmt;

use crate::config::{Config, Identity};
use crate::ids::AppId;
use crate::mqtt::Endpoint;
use crate::thing_if::ThingIdentity;

/// Whose credential: a thing of an application, onboarded at a default broker. What differs in any of the three is
/// another credential.
///
/// ```
/// # use thingif::client::vault::VaultKey;
/// # use thingif::thing_if::ThingIdentity;
/// let thing = ThingIdentity::VendorThing("thermostat-17".parse()?);
/// let key = VaultKey::new("c1k9abcdef12".parse()?, thing, "mqtts://IoT.Example.org".parse()?);
/// assert_eq!(key.to_string(), "vendor thing thermostat-17 of app c1k9abcdef12 at mqtts://iot.example.org:8883");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VaultKey {
    app: AppId,
    thing: ThingIdentity,
    broker: Endpoint,
}

impl VaultKey {
    /// The key of `thing` of `app` at the default `broker`, whose host name is taken in lower case.
    pub fn new(app: AppId, thing: ThingIdentity, mut broker: Endpoint) -> Self {
        broker.host.make_ascii_lowercase();
        Self { app, thing, broker }
    }

    /// The key under which the credential of a device with this configuration is kept.
    pub fn of(config: &Config) -> Self {
        let thing = match config.identity() {
            Identity::VendorThing { vendor_thing_id, .. } => ThingIdentity::VendorThing(vendor_thing_id.clone()),
            Identity::Thing { thing_id, .. } => ThingIdentity::Thing(thing_id.clone()),
        };
        Self::new(config.app_id().clone(), thing, config.broker().clone())
    }

    /// The application.
    pub fn app(&self) -> &AppId {
        &self.app
    }

    /// The thing: by its maker's id or by the service's, which are two different keys even where the texts are equal.
    pub fn thing(&self) -> &ThingIdentity {
        &self.thing
    }

    /// The default broker.
    pub fn broker(&self) -> &Endpoint {
        &self.broker
    }
}

impl fmt::Display for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.thing {
            ThingIdentity::VendorThing(id) => write!(f, "vendor thing {id}")?,
            ThingIdentity::Thing(id) => write!(f, "thing {id}")?,
        }
        write!(f, " of app {} at {}", self.app, self.broker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_has_one_key() {
        let config = |identity| {
            let broker = "mqtt://H:1".parse().expect("valid");
            Config::new(broker, "a".parse().expect("valid"), "k".into(), identity).expect("valid")
        };
        let vendor = VaultKey::of(&config(Identity::vendor_thing("t".parse().expect("valid"), "pw".into())));
        let thing = VaultKey::of(&config(Identity::thing("t".parse().expect("valid"), "pw".into())));
        assert_ne!(vendor, thing, "the two kinds of id are told apart");
        assert_eq!(thing.to_string(), "thing t of app a at mqtt://h:1");
    }
}
