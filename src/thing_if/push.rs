//! What arrives on a thing's own topic. (`wire` §6)

use serde_json::{Map, Value};

use super::fields::Fields;
use super::{BucketEvent, CommandPush, InvalidBody, json};

/// The largest payload of a push, in bytes. (`wire` §6)
pub const MAX_PUSH_LEN: usize = 4096;

/// A push, told apart as the service's own SDKs do.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Push {
    /// It has `commandID` and `actions`: to be executed and reported.
    Command(CommandPush),
    /// Its `origin` is `EVENT`, or it names a bucket.
    BucketEvent(Box<BucketEvent>),
    /// It has a `topic`, a topic of Kii Cloud, which is not one of MQTT.
    TopicMessage(TopicMessage),
    /// Anything else: the sender's fields.
    Direct(Map<String, Value>),
}

/// A message sent to a topic of Kii Cloud. What the sender wrote stands beside what the service added, in one object.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicMessage {
    /// `topic`
    pub topic: String,
    /// `sender`, where the service names it.
    pub sender: Option<String>,
    /// All other fields, the sender's and the service's.
    pub fields: Map<String, Value>,
}

impl Push {
    /// Reads the payload of a push.
    ///
    /// # Errors
    /// [`InvalidBody`] when it is not a JSON object, or looks like one kind and has a wrong field.
    ///
    /// ```
    /// use thingif::thing_if::Push;
    /// let push = Push::from_json(br#"{"commandID":"c1","actions":[{"turnPower":{"power":true}}]}"#)?;
    /// assert!(matches!(push, Push::Command(command) if command.command_id.as_str() == "c1"));
    /// # Ok::<(), thingif::thing_if::InvalidBody>(())
    /// ```
    pub fn from_json(payload: &[u8]) -> Result<Self, InvalidBody> {
        let map: Map<String, Value> = json::from_slice(payload)?;
        let has = |map: &Map<String, Value>, field: &str| map.get(field).is_some_and(|value| !value.is_null());
        if has(&map, "commandID") && has(&map, "actions") {
            return Ok(Push::Command(serde_json::from_value(Value::Object(map))?));
        }
        let is_event = map.get("origin").and_then(Value::as_str) == Some("EVENT");
        if is_event || has(&map, "bucketID") || has(&map, "bucketType") {
            return Ok(Push::BucketEvent(serde_json::from_value(Value::Object(map))?));
        }
        if has(&map, "topic") {
            let mut fields = Fields::of(Value::Object(map))?;
            let topic = fields.required_text("topic")?;
            let sender = fields.text("sender")?;
            return Ok(Push::TopicMessage(TopicMessage { topic, sender, fields: fields.into_rest() }));
        }
        Ok(Push::Direct(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(payload: &str) -> &'static str {
        match Push::from_json(payload.as_bytes()) {
            Ok(Push::Command(_)) => "command",
            Ok(Push::BucketEvent(_)) => "event",
            Ok(Push::TopicMessage(_)) => "topic",
            Ok(Push::Direct(_)) => "direct",
            Err(_) => "error",
        }
    }

    #[test]
    fn kinds_are_told_apart_in_the_order_of_the_sdks() {
        for (payload, expected) in [
            (r#"{"schema":"S","schemaVersion":1,"commandID":"c","actions":[{"a":{}}],"issuer":"user:u"}"#, "command"),
            (r#"{"commandID":"c","actions":[{"A":[{"a":1}]}],"topic":"t","bucketID":"b"}"#, "command"),
            (r#"{"origin":"EVENT","type":"DATA_OBJECT_CREATED"}"#, "event"),
            (r#"{"bucketID":"b","topic":"t"}"#, "event"),
            (r#"{"bucketType":"rw"}"#, "event"),
            (r#"{"topic":"t","sender":"u","origin":"EXPLICIT","score":1}"#, "topic"),
            (r#"{"commandID":"c"}"#, "direct"),
            (r#"{"score":1}"#, "direct"),
            ("{}", "direct"),
            (r#"{"commandID":"c","actions":1}"#, "error"),
            (r#"{"topic":1}"#, "error"),
            ("[]", "error"),
            ("200\r\n\r\n", "error"),
            ("", "error"),
        ] {
            assert_eq!(kind(payload), expected, "{payload}");
        }
    }

    #[test]
    fn a_topic_message_keeps_the_senders_fields_in_order() {
        let payload = br#"{"b":1,"topic":"t","sender":"u","a":2,"objectScopeType":"APP"}"#;
        let Ok(Push::TopicMessage(message)) = Push::from_json(payload) else { panic!("not a topic message") };
        assert_eq!((message.topic.as_str(), message.sender.as_deref()), ("t", Some("u")));
        assert_eq!(message.fields.keys().collect::<Vec<_>>(), ["b", "a", "objectScopeType"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Push::from_json(&bytes);
        }

        #[test]
        fn any_object_is_some_kind_or_a_clear_error(
            name in prop_oneof!["commandID", "actions", "origin", "bucketID", "topic", "[a-z]{0,5}"],
            text in ".{0,20}",
        ) {
            let payload = serde_json::json!({ name: text }).to_string();
            prop_assert_ne!(kind(&payload), "command");
        }
    }
}
