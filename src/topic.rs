//! MQTT topic names and filters of this protocol, and the mapping between topics and REST paths.
//!
//! ```text
//! request and answer   p/{CLIENT_ID}/thing-if/apps/{APP_ID}/{rest of the REST path}[?query]
//! push                 {CLIENT_ID}
//! ```
//!
//! `CLIENT_ID` is the client identifier of the CONNECT: `anonymous` on the default broker, the assigned `mqttTopic` on
//! the other one. An answer arrives on the very topic string of its request, letter case included, without any
//! subscription; pushes need a SUBSCRIBE to the bare `{CLIENT_ID}`. Everything else is to be ignored. (`wire` §3)

use std::fmt;
use std::sync::Arc;

use crate::ids::ClientId;
use crate::secret::Redacted;

/// MQTT's own bound: a string carries a 16-bit length.
pub const MAX_TOPIC_LEN: usize = 65_535;

/// Why bytes are not a topic name or a topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTopic {
    /// MQTT needs at least one character.
    #[error("topic is empty")]
    Empty,
    /// More than 65,535 bytes.
    #[error("topic has {0} bytes, more than the 65535 that MQTT can carry")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("topic is not UTF-8 at byte {0}")]
    NotUtf8(usize),
    /// U+0000, which MQTT forbids.
    #[error("topic has a NUL at byte {0}")]
    Nul(usize),
    /// `+` or `#` in a topic name, or misplaced in a filter.
    #[error("topic has a misplaced wildcard at byte {0}")]
    Wildcard(usize),
    /// A REST path must begin with `/`.
    #[error("path does not begin with a slash")]
    RelativePath,
}

fn check(text: &str) -> Result<(), InvalidTopic> {
    if text.is_empty() {
        return Err(InvalidTopic::Empty);
    }
    if text.len() > MAX_TOPIC_LEN {
        return Err(InvalidTopic::TooLong(text.len()));
    }
    match text.bytes().position(|b| b == 0) {
        Some(offset) => Err(InvalidTopic::Nul(offset)),
        None => Ok(()),
    }
}

/// Whether there is neither NUL nor wildcard. Without an early exit the compiler checks 16 bytes at a time, which makes
/// this the cheapest part of reading a PUBLISH instead of the dearest.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, &b| plain & !matches!(b, 0 | b'+' | b'#'))
}

/// A topic name: non-empty UTF-8 without NUL or wildcards, at most 65,535 bytes. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Checks `text` and keeps it.
    ///
    /// # Errors
    /// [`InvalidTopic`] names the first offending byte.
    pub fn new(text: &str) -> Result<Self, InvalidTopic> {
        if !text.is_empty() && text.len() <= MAX_TOPIC_LEN && is_plain(text.as_bytes()) {
            return Ok(Self(text.into()));
        }
        check(text)?;
        match text.bytes().position(|b| matches!(b, b'+' | b'#')) {
            Some(offset) => Err(InvalidTopic::Wildcard(offset)),
            None => Ok(Self(text.into())),
        }
    }

    /// Checks the topic name of a packet.
    ///
    /// # Errors
    /// As [`Topic::new`], and [`InvalidTopic::NotUtf8`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidTopic> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::new(text),
            Err(error) => Err(InvalidTopic::NotUtf8(error.valid_up_to())),
        }
    }

    /// The topic on which `client` calls `path_and_query` (`/thing-if/apps/…`) and hears the answer.
    ///
    /// Segments are copied as they stand, `?query` included; `+` and `#`, which no topic name may hold, are
    /// percent-encoded. (`wire` §3)
    ///
    /// # Errors
    /// [`InvalidTopic`] when the path does not begin with `/` or does not fit.
    pub fn for_call(client: &ClientId, path_and_query: &str) -> Result<Self, InvalidTopic> {
        if !path_and_query.starts_with('/') {
            return Err(InvalidTopic::RelativePath);
        }
        let mut text = String::with_capacity(2 + client.as_str().len() + path_and_query.len());
        text.push_str("p/");
        text.push_str(client.as_str());
        if is_plain(path_and_query.as_bytes()) {
            text.push_str(path_and_query);
        } else {
            for c in path_and_query.chars() {
                match c {
                    '+' => text.push_str("%2B"),
                    '#' => text.push_str("%23"),
                    other => text.push(other),
                }
            }
        }
        Self::new(&text)
    }

    /// The topic on which `client` hears pushes: its bare client id.
    pub fn for_pushes(client: &ClientId) -> Self {
        Self(client.as_str().into())
    }

    /// The topic name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The REST path and query of a call by `client`: `p/{client}/thing-if/…` gives `/thing-if/…`.
    /// `None` for a topic that is not below `p/{client}/`.
    pub fn path_of_call(&self, client: &ClientId) -> Option<&str> {
        let path = self.0.strip_prefix("p/")?.strip_prefix(client.as_str())?;
        path.starts_with('/').then_some(path)
    }

    /// The REST path and query of a call by anyone: the part after `p/{CLIENT_ID}`.
    pub fn path_of_any_call(&self) -> Option<&str> {
        let rest = self.0.strip_prefix("p/")?;
        let slash = rest.find('/')?;
        (slash > 0).then(|| &rest[slash..])
    }

    /// What a message on this topic is for the device that connected as `own`.
    pub fn route(&self, own: &ClientId) -> Route {
        if &*self.0 == own.as_str() {
            Route::Push
        } else if self.path_of_call(own).is_some() {
            Route::Response
        } else {
            Route::Foreign
        }
    }
}

/// [Redacts](Redacted): a query is part of the topic, and there may be a token in it. [`as_str`](Topic::as_str) is what goes to
/// the wire.
impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Redacted::new(self.as_str()), f)
    }
}

/// Redacts, as `Display`.
impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Redacted::new(self.as_str()), f)
    }
}

/// What a message received by a device is, judged by its topic alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Below `p/{own id}/`: an answer, or the own request heard back from an ordinary broker.
    Response,
    /// On the bare `{own id}`: a push.
    Push,
    /// Anything else: to be ignored, says the documentation, "for future enhancement".
    Foreign,
}

/// A topic filter of a SUBSCRIBE.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TopicFilter(Arc<str>);

impl TopicFilter {
    /// Checks `text`: `+` stands alone in its level, `#` alone in the last one.
    ///
    /// # Errors
    /// [`InvalidTopic`] names the first offending byte.
    pub fn new(text: &str) -> Result<Self, InvalidTopic> {
        check(text)?;
        let mut offset = 0;
        for level in text.split('/') {
            let last = offset + level.len() == text.len();
            if let Some(at) = level.find(['+', '#']) {
                let alone = level.len() == 1;
                if !alone || (level == "#" && !last) {
                    return Err(InvalidTopic::Wildcard(offset + at));
                }
            }
            offset += level.len() + 1;
        }
        Ok(Self(text.into()))
    }

    /// The filter for the pushes of `client`: its bare client id.
    pub fn for_pushes(client: &ClientId) -> Self {
        Self(client.as_str().into())
    }

    /// `p/{client}/#`: all answers. Only ordinary brokers need it; a Thing-IF broker answers unasked.
    pub fn for_responses(client: &ClientId) -> Self {
        Self(format!("p/{client}/#").into())
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a message on `topic` matches (MQTT 3.1.1 §4.7).
    pub fn matches(&self, topic: &Topic) -> bool {
        let mut filter = self.0.split('/');
        let mut levels = topic.as_str().split('/');
        if topic.as_str().starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        loop {
            match (filter.next(), levels.next()) {
                (Some("#"), _) => return true,
                (Some("+"), Some(_)) => {}
                (Some(wanted), Some(level)) if wanted == level => {}
                (None, None) => return true,
                _ => return false,
            }
        }
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_a_query_is_not_shown() {
        let topic = Topic::new("p/me/thing-if/apps/a/x?access_token=t0k3n&v=1").expect("valid");
        assert_eq!(topic.to_string(), "p/me/thing-if/apps/a/x?access_token=xxxxx&v=1");
        assert_eq!(format!("{topic:?}"), r#""p/me/thing-if/apps/a/x?access_token=xxxxx&v=1""#);
        assert!(topic.as_str().ends_with("access_token=t0k3n&v=1"));
    }

    fn client(id: &str) -> ClientId {
        ClientId::new(id).expect("a valid id")
    }

    fn topic(text: &str) -> Topic {
        Topic::new(text).expect("a valid topic")
    }

    #[test]
    fn a_call_and_its_path_are_inverse() {
        let id = client("Q2w3");
        let call =
            Topic::for_call(&id, "/thing-if/apps/a1/targets/THING:th.1/commands?bestEffortLimit=2").expect("fits");
        assert_eq!(call.as_str(), "p/Q2w3/thing-if/apps/a1/targets/THING:th.1/commands?bestEffortLimit=2");
        assert_eq!(call.path_of_call(&id), Some("/thing-if/apps/a1/targets/THING:th.1/commands?bestEffortLimit=2"));
        assert_eq!(call.path_of_any_call(), call.path_of_call(&id));
    }

    #[test]
    fn a_client_id_that_is_a_prefix_of_another_is_foreign() {
        assert_eq!(topic("p/abc/thing-if").path_of_call(&client("ab")), None);
        assert_eq!(topic("p/abc/thing-if").route(&client("ab")), Route::Foreign);
        assert_eq!(topic("p//thing-if").path_of_any_call(), None);
    }

    #[test]
    fn wildcards_in_a_path_are_percent_encoded() {
        let call = Topic::for_call(&client("c"), "/a+b#c").expect("fits");
        assert_eq!(call.as_str(), "p/c/a%2Bb%23c");
        assert_eq!(Topic::for_call(&client("c"), "a"), Err(InvalidTopic::RelativePath));
    }

    #[test]
    fn routes_follow_the_topic_alone() {
        let own = client("me");
        assert_eq!(topic("me").route(&own), Route::Push);
        assert_eq!(topic("p/me/x").route(&own), Route::Response);
        assert_eq!(topic("p/you/x").route(&own), Route::Foreign);
        assert_eq!(topic("me/x").route(&own), Route::Foreign);
    }

    #[test]
    fn invalid_names_say_where() {
        assert_eq!(Topic::from_bytes(b"p/\xff"), Err(InvalidTopic::NotUtf8(2)));
        assert_eq!(Topic::new("a\0"), Err(InvalidTopic::Nul(1)));
        assert_eq!(Topic::new("a/#"), Err(InvalidTopic::Wildcard(2)));
        assert_eq!(Topic::new(""), Err(InvalidTopic::Empty));
        assert_eq!(TopicFilter::new("a/#/b"), Err(InvalidTopic::Wildcard(2)));
        assert_eq!(TopicFilter::new("a/b+"), Err(InvalidTopic::Wildcard(3)));
    }

    #[test]
    fn filters_match_as_mqtt_says() {
        let matches = |filter: &str, name: &str| TopicFilter::new(filter).expect("valid").matches(&topic(name));
        assert!(matches("p/me/#", "p/me/thing-if/x"));
        assert!(matches("p/me/#", "p/me"));
        assert!(matches("p/+/x", "p/me/x"));
        assert!(!matches("p/+/x", "p/me/y/x"));
        assert!(!matches("#", "$SYS/x"));
        assert!(!matches("p/me", "p/me/x"));
    }
}
