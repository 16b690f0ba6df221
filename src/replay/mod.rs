//! Captures run again: as the device against a server ([`device`]), as the server against a client ([`server`]), and against the
//! device's machine alone in virtual time ([`machine`]). And made: [`recorder`] is a proxy that writes one.
//!
//! A replay does what one end did, in the order of the capture, and compares what the other end does with what it did then. The
//! first [`Difference`] ends it.
//!
//! # What may vary
//!
//! Two runs are never equal to the byte, so some values are matched by what they stand for, and all others byte by byte:
//!
//! | value | found by | rule |
//! |---|---|---|
//! | request ids | header `X-Kii-RequestID` | the recorded id stands for one id of this run, and no other |
//! | ids that the service makes | members `thingID`, `endNodeThingID`, `installationID`, `mqttTopic`, `commandID`, `triggerID`, `objectID`, `userID`, `issuer`, `owner`, `nextPaginationKey` and their kin; `username` beside an `mqttTopic` | as above; a bound id of six or more characters is then replaced wherever it stands as a word, in topics and messages too |
//! | times | header `Date`; members `createdAt`, `modifiedAt`, `executedAt`, `when`, `_created`, `_modified` | a number for a number, a text for a text |
//! | addresses | `host`, `portTCP`, `portSSL`, `portWS`, `portWSS` beside an `mqttTopic` | a number for a number, a text for a text |
//! | secrets | whatever [`redact`](crate::secret::redact()) masks | in a redacted capture any value that is not empty; otherwise as ids |
//!
//! Of several messages that are on their way at once, the one with the recorded topic and request id (of a device: topic and
//! verb) is compared, so answers on different paths may overtake each other.
//!
//! What a redacted capture does not hold is taken from this run: a device's token and broker password from the answer to its
//! onboarding. The application's key, and tokens that came by another road, must be given.

mod bindings;
pub mod device;
mod dial;
mod difference;
mod known;
pub mod machine;
mod pace;
pub mod recorder;
mod script;
pub mod server;
mod variables;
mod wire;

pub use difference::Difference;
pub use pace::Speed;
pub use script::{Script, Step};

/// How a replay ends that did not come to the end of the capture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The other end did something else than it did then.
    #[error("{0}")]
    Differs(Box<Difference>),
    /// The other end could not be reached.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, std::io::Error),
    /// The capture cannot be replayed in this way, or something is needed that it does not hold.
    #[error("{0}")]
    Unfit(String),
}

impl From<Difference> for ReplayError {
    fn from(difference: Difference) -> Self {
        Self::Differs(Box::new(difference))
    }
}

/// What a replay that came to its end has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Replayed {
    /// Lines of the capture.
    pub steps: usize,
    /// Messages that were compared and found as they were.
    pub compared: usize,
    /// Recorded pushes that were not waited for.
    pub skipped_pushes: usize,
}
