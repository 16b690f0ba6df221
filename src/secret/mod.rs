//! Values that must not be seen: passwords, tokens, application keys. [`Secret`] holds one; [`redact()`] and [`Redacted`] take
//! them out of payloads that are shown, logged or captured.

mod redact;
mod unescaped;

use std::borrow::Cow;
use std::fmt;

pub use redact::{Redacted, redact, secrets_in};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroize;

/// What every rendering of a secret says instead of its value.
const REDACTED: &str = "[redacted]";

/// A credential. It has one way out, [`expose`](Secret::expose), which is easy to search for in a review.
///
/// `Debug`, `Display` and `Serialize` write `[redacted]`, so a secret cannot reach a log, an error message or a capture
/// by being part of something larger. The memory is wiped when the value is dropped. Equality is deliberately absent:
/// comparing secrets needs constant time, which belongs to whoever checks a login.
///
/// ```
/// use thingif::secret::Secret;
/// let key = Secret::new(String::from("c0ffee"));
/// assert_eq!(format!("{key:?} {key}"), "[redacted] [redacted]");
/// assert_eq!(key.expose(), "c0ffee");
/// ```
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Wraps a value; from here on it is rendered as `[redacted]`.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. The only way out.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl Secret<String> {
    /// `text` with this value, wherever it stands in it, replaced by `[redacted]`: for words of a peer that may repeat what it
    /// was sent. A value of less than four bytes is left, because its holes would tell more than they hide.
    pub fn masked_in<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.0.len() >= 4 && text.contains(self.0.as_str()) {
            Cow::Owned(text.replace(self.0.as_str(), REDACTED))
        } else {
            Cow::Borrowed(text)
        }
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T: Zeroize> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl From<&str> for Secret<String> {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

/// The error of the value's own reader is dropped: serde's words quote what they found.
impl<'de, T: Zeroize + Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self).map_err(|_| D::Error::custom("a secret is not of the expected form"))
    }
}

/// Redacts. Whoever must write a secret to a wire or a file builds that JSON by hand from [`Secret::expose`].
impl<T: Zeroize> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize)]
    struct Login {
        user: &'static str,
        password: Secret<String>,
    }

    #[test]
    fn no_rendering_shows_the_value() {
        let login = Login { user: "ann", password: "hunter2".into() };
        let shown = format!("{login:?} {:#?} {}", login, login.password);
        let json = serde_json::to_string(&login).expect("plain struct");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(json, r#"{"user":"ann","password":"[redacted]"}"#);
        assert_eq!(login.user, "ann");
    }

    #[test]
    fn a_value_is_found_in_what_a_peer_says() {
        let secret = Secret::from("hunter2");
        assert_eq!(secret.masked_in("hunter2 is wrong, hunter2!"), "[redacted] is wrong, [redacted]!");
        assert!(matches!(secret.masked_in("wrong"), Cow::Borrowed("wrong")));
        assert_eq!(Secret::from("a").masked_in("a banana"), "a banana");
        assert_eq!(Secret::from("").masked_in("a banana"), "a banana");
    }

    #[test]
    fn reading_keeps_the_value() {
        let secret: Secret<String> = serde_json::from_str("\"hunter2\"").expect("a string");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_reading_error_does_not_quote_the_value() {
        let error = serde_json::from_str::<Secret<String>>("31337").expect_err("not a string");
        assert!(!error.to_string().contains("31337"), "{error}");
    }
}
