//! Why a knob was refused.

use std::time::Duration;

use crate::mqtt::Scheme;

/// Why a [`Config`](super::Config) cannot be made: a knob is outside its range. Always the caller's mistake; nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A duration is too short or too long.
    #[error("{knob} is {given:?}, outside {min:?} to {max:?}")]
    Duration {
        /// The knob.
        knob: &'static str,
        /// What was given.
        given: Duration,
        /// The shortest allowed.
        min: Duration,
        /// The longest allowed.
        max: Duration,
    },
    /// A number is too small or too large.
    #[error("{knob} is {given}, outside {min} to {max}")]
    Number {
        /// The knob.
        knob: &'static str,
        /// What was given.
        given: usize,
        /// The smallest allowed.
        min: usize,
        /// The largest allowed.
        max: usize,
    },
    /// A text is too long for its field, or has a NUL, which no MQTT string can carry.
    #[error("{knob} has {len} bytes or a NUL; at most {max} bytes without NUL are allowed")]
    Text {
        /// The knob.
        knob: &'static str,
        /// Length of what was given, in bytes.
        len: usize,
        /// The longest allowed, in bytes.
        max: usize,
    },
    /// SPKI pins are given, and the transport cannot check them. Nothing was sent.
    #[error(
        "SPKI pins are given, and this transport cannot check them: use one that can, or trust one authority of your own \
         instead (a CA file) and give no pins"
    )]
    PinsNotChecked,
    /// SPKI pins are given, and a broker is to be reached without TLS, where there is no key to check. Nothing was sent.
    #[error("SPKI pins are given, and {0}:// has no TLS, so no key to check: use mqtts:// or wss://, or give no pins")]
    PinsWithoutTls(Scheme),
}

pub(super) fn duration(
    knob: &'static str,
    given: Duration,
    min: Duration,
    max: Duration,
) -> Result<Duration, ConfigError> {
    if (min..=max).contains(&given) { Ok(given) } else { Err(ConfigError::Duration { knob, given, min, max }) }
}

pub(super) fn number(knob: &'static str, given: usize, min: usize, max: usize) -> Result<usize, ConfigError> {
    if (min..=max).contains(&given) { Ok(given) } else { Err(ConfigError::Number { knob, given, min, max }) }
}

pub(super) fn text(knob: &'static str, given: &str, max: usize) -> Result<(), ConfigError> {
    if given.len() <= max && !given.contains('\0') {
        Ok(())
    } else {
        Err(ConfigError::Text { knob, len: given.len(), max })
    }
}
