//! Identifiers as validated newtypes: once made, they can stand in a topic, a path or a header without another check.
//! None is `.` or `..`, which HTTP programs on the way would take out of a path.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// The longest identifier accepted, in bytes (`wire` §4: `vendorThingID` has 1 to 200 characters).
pub const MAX_ID_LEN: usize = 200;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidId {
    /// The text is empty.
    #[error("{kind} is empty")]
    Empty {
        /// Which identifier it was to become.
        kind: &'static str,
    },
    /// The text is longer than the identifier may be.
    #[error("{kind} has {len} bytes, more than the {max} allowed")]
    TooLong {
        /// Which identifier it was to become.
        kind: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The longest allowed, in bytes.
        max: usize,
    },
    /// A byte is outside the identifier's alphabet.
    #[error("{kind} has a character that is not allowed at byte {offset}")]
    Character {
        /// Which identifier it was to become.
        kind: &'static str,
        /// Offset of the first such byte.
        offset: usize,
    },
    /// It is `.` or `..`, which mean something else in a path.
    #[error("{kind} is `.` or `..`, which mean something else in a path")]
    Dots {
        /// Which identifier it was to become.
        kind: &'static str,
    },
}

fn check(kind: &'static str, text: &str, max: usize, allowed: fn(u8) -> bool) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty { kind });
    }
    if text.len() > max {
        return Err(InvalidId::TooLong { kind, len: text.len(), max });
    }
    match text.bytes().position(|b| !allowed(b)) {
        Some(offset) => Err(InvalidId::Character { kind, offset }),
        None => Ok(()),
    }
}

fn is_id_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and keeps it.
            ///
            /// # Errors
            /// [`InvalidId`] names the first thing wrong with it.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
                let text = text.as_ref();
                check($kind, text, $max, is_id_byte)?;
                if matches!(text, "." | "..") {
                    return Err(InvalidId::Dots { kind: $kind });
                }
                Ok(Self(text.into()))
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }
    };
}

id! {
    /// An application, `{APP_ID}`: `[A-Za-z0-9._-]{1,200}`; Kii's have 8 hexadecimal or 12 alphanumeric characters.
    AppId, "app id", MAX_ID_LEN
}
id! {
    /// A thing as the service names it: `[A-Za-z0-9._-]{1,200}`, such as `th.7b2c…`.
    ThingId, "thing id", MAX_ID_LEN
}
id! {
    /// A thing as its maker names it, `vendorThingID`: `[A-Za-z0-9._-]{1,200}`, unique per application.
    VendorThingId, "vendor thing id", MAX_ID_LEN
}
id! {
    /// An MQTT client identifier: `anonymous` on the default broker, `mqttTopic` on the assigned one.
    /// `[A-Za-z0-9._-]{1,200}`, so it can be a topic level; real ones have 23 alphanumeric characters.
    ClientId, "client id", MAX_ID_LEN
}
id! {
    /// A command, `commandID`: `[A-Za-z0-9._-]{1,200}`, so it can stand in the path of its action results. Kii's are
    /// UUIDs.
    CommandId, "command id", MAX_ID_LEN
}
id! {
    /// A trigger, `triggerID`: `[A-Za-z0-9._-]{1,200}`.
    TriggerId, "trigger id", MAX_ID_LEN
}
id! {
    /// A user, as in `user:{id}`: `[A-Za-z0-9._-]{1,200}`. (`wire` §4)
    UserId, "user id", MAX_ID_LEN
}
id! {
    /// A group of users, as in `group:{id}`: `[A-Za-z0-9._-]{1,200}`. (`wire` §4)
    GroupId, "group id", MAX_ID_LEN
}
id! {
    /// `thingType`: `[A-Za-z0-9._-]{1,100}`. (`wire` §4)
    ThingType, "thing type", 100
}
id! {
    /// `firmwareVersion`: `[A-Za-z0-9._-]{1,100}`. (`wire` §4)
    FirmwareVersion, "firmware version", 100
}

impl ClientId {
    /// `anonymous`, which every device of every application uses on the default broker.
    pub fn anonymous() -> Self {
        Self("anonymous".into())
    }

    /// Whether this is the shared id of the default broker.
    pub fn is_anonymous(&self) -> bool {
        &*self.0 == "anonymous"
    }
}

/// A bearer token: 1 to 2048 printable ASCII bytes without a space, so it can stand in `Authorization: Bearer …`.
///
/// It is a credential and travels as [`Secret<AccessToken>`](crate::secret::Secret); its own `Debug` redacts as well.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct AccessToken(String);

impl AccessToken {
    /// Checks `text` and keeps it.
    ///
    /// # Errors
    /// [`InvalidId`] names the first thing wrong with it, without showing it.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
        let text = text.into();
        check("access token", &text, 2048, |b| b.is_ascii_graphic())?;
        Ok(Self(text))
    }

    /// The token as text, for the one header that carries it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl TryFrom<String> for AccessToken {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::new(text)
    }
}

impl Zeroize for AccessToken {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_accept_their_alphabet_and_nothing_else() {
        assert_eq!(AppId::new("a.B_9-").expect("allowed").as_str(), "a.B_9-");
        assert_eq!(AppId::new(""), Err(InvalidId::Empty { kind: "app id" }));
        assert_eq!(ThingId::new("th/1"), Err(InvalidId::Character { kind: "thing id", offset: 2 }));
        assert_eq!(CommandId::new(".."), Err(InvalidId::Dots { kind: "command id" }));
        assert!(CommandId::new("...").is_ok());
        assert_eq!(ClientId::new("a+b"), Err(InvalidId::Character { kind: "client id", offset: 1 }));
        assert_eq!(
            VendorThingId::new("x".repeat(201)),
            Err(InvalidId::TooLong { kind: "vendor thing id", len: 201, max: 200 })
        );
    }

    #[test]
    fn an_access_token_is_never_shown() {
        let token = AccessToken::new("T0k3n").expect("allowed");
        assert_eq!(format!("{token:?}"), "[redacted]");
        assert!(AccessToken::new("two words").is_err());
    }

    #[test]
    fn json_goes_through_the_same_check() {
        assert!(serde_json::from_str::<AppId>("\"ok\"").is_ok());
        let error = serde_json::from_str::<AppId>("\"no/slash\"").expect_err("refused");
        assert!(error.to_string().contains("byte 2"), "{error}");
    }
}
