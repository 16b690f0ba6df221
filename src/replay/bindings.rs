//! What recorded values stand for in this run.

use std::collections::HashMap;

use super::variables::{Kind, Variable, variables};
use crate::secret::secrets_in;
use crate::topic::Topic;

/// Why a payload is not the recorded one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// Where, in the payload of this run.
    pub(super) offset: usize,
    pub(super) why: String,
}

/// Recorded values, and what was seen in their place.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    /// Whether the capture's secrets are masked, so that any secret is right.
    pub(super) redacted: bool,
    seen: HashMap<(Kind, Vec<u8>), Vec<u8>>,
    recorded: HashMap<(Kind, Vec<u8>), Vec<u8>>,
}

/// Shorter ids may be words.
const MIN_ID: usize = 6;

impl Bindings {
    pub(super) fn new(redacted: bool) -> Self {
        Self { redacted, ..Self::default() }
    }

    /// Lets `recorded` stand for `seen`; false if one of them stands for something else already.
    pub(super) fn bind(&mut self, kind: Kind, recorded: &[u8], seen: &[u8]) -> bool {
        let forward = self.seen.entry((kind, recorded.to_vec())).or_insert_with(|| seen.to_vec());
        let back = self.recorded.entry((kind, seen.to_vec())).or_insert_with(|| recorded.to_vec());
        forward == seen && back == recorded
    }

    fn bind_id(&mut self, kind: Kind, recorded: &[u8], seen: &[u8]) -> bool {
        let ((of, recorded), (seen_of, seen)) = (typed(kind, recorded), typed(kind, seen));
        of == seen_of && self.bind(kind, recorded, seen)
    }

    /// What `recorded` stands for, or itself.
    pub(super) fn value<'a>(&'a self, kind: Kind, recorded: &'a [u8]) -> &'a [u8] {
        self.seen.get(&(kind, recorded.to_vec())).map_or(recorded, Vec::as_slice)
    }

    /// As [`value`](Self::value); of `user:ID` and the like only the id stands for another one.
    fn id(&self, kind: Kind, recorded: &[u8]) -> Vec<u8> {
        let (of, id) = typed(kind, recorded);
        [of, self.value(kind, id)].concat()
    }

    /// Whether `seen` is what `recorded` says now; what is masked may be anything.
    pub(super) fn is_text(&self, recorded: &[u8], seen: &[u8]) -> bool {
        let expected = self.translate(recorded);
        expected == seen || (self.redacted && around_secrets(&expected) == around_secrets(seen))
    }

    /// Whether a message on `seen` is one on `recorded`.
    pub(super) fn is_topic(&self, recorded: &Topic, seen: &Topic) -> bool {
        self.is_text(recorded.as_str().as_bytes(), seen.as_str().as_bytes())
    }

    /// Text with its ids replaced, wherever they stand in it.
    pub(super) fn translate(&self, text: &[u8]) -> Vec<u8> {
        let is_id = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let mut translated = Vec::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let word = rest.iter().take_while(|byte| is_id(byte)).count();
            if word == 0 {
                translated.push(rest[0]);
                rest = &rest[1..];
                continue;
            }
            let (word, after) = rest.split_at(word);
            // A full stop after an id is not part of it.
            let full_stops = word.iter().rev().take_while(|byte| **byte == b'.').count();
            let (id, stops) = word.split_at(word.len() - full_stops);
            let is_long = id.len() >= MIN_ID;
            translated.extend_from_slice(if is_long { self.value(Kind::Id, id) } else { id });
            translated.extend_from_slice(stops);
            rest = after;
        }
        translated
    }

    pub(super) fn topic(&self, recorded: &Topic) -> Topic {
        Topic::from_bytes(&self.translate(recorded.as_str().as_bytes())).unwrap_or_else(|_| recorded.clone())
    }

    /// The payload of this run that is like the recorded one: ids as they are now, and what `other` says of the rest.
    pub(super) fn fill(&self, recorded: &[u8], other: impl Fn(&Variable, &[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
        let mut filled = Vec::with_capacity(recorded.len());
        let mut at = 0;
        for variable in variables(recorded) {
            filled.extend(self.translate(&recorded[at..variable.place.start]));
            let value = &recorded[variable.place.clone()];
            match other(&variable, value) {
                Some(value) => filled.extend(value),
                None => filled.extend(self.id(variable.kind, value)),
            }
            at = variable.place.end;
        }
        filled.extend(self.translate(&recorded[at..]));
        filled
    }

    /// What was recorded as it would be in this run, with what varies taken from what was `seen`: so only what is wrong differs.
    pub(super) fn expected(&self, recorded: &[u8], seen: &[u8]) -> Vec<u8> {
        let theirs = std::cell::RefCell::new(variables(seen));
        self.fill(recorded, |variable, _| {
            if matches!(variable.kind, Kind::Id | Kind::RequestId) {
                return None;
            }
            let mut theirs = theirs.borrow_mut();
            let place = theirs.iter().position(|their| (their.kind, &their.name) == (variable.kind, &variable.name))?;
            Some(seen[theirs.remove(place).place].to_vec())
        })
    }

    /// Compares, and learns what the values of this run are. Everything outside of what varies must be the same to the byte.
    pub(super) fn compare(&mut self, recorded: &[u8], seen: &[u8]) -> Result<(), Mismatch> {
        let (ours, theirs) = (variables(recorded), variables(seen));
        let (mut at, mut there) = (0, 0);
        for index in 0..=ours.len().max(theirs.len()) {
            let (our, their) = (ours.get(index), theirs.get(index));
            let expected = &recorded[at..our.map_or(recorded.len(), |our| our.place.start)];
            let found = &seen[there..their.map_or(seen.len(), |their| their.place.start)];
            let expected = self.translate(expected);
            if expected != found {
                let same = expected.iter().zip(found).take_while(|(one, other)| one == other).count();
                return Err(Mismatch { offset: there + same, why: "it is not as recorded".into() });
            }
            let (Some(our), Some(their)) = (our, their) else { break };
            let values = (&recorded[our.place.clone()], &seen[their.place.clone()]);
            if let Err(why) = self.variable(our, their, values) {
                return Err(Mismatch { offset: their.place.start, why });
            }
            (at, there) = (our.place.end, their.place.end);
        }
        match ours.len() == theirs.len() {
            true => Ok(()),
            false => Err(Mismatch { offset: seen.len(), why: "it is not as recorded".into() }),
        }
    }

    fn variable(&mut self, our: &Variable, their: &Variable, values: (&[u8], &[u8])) -> Result<(), String> {
        let (recorded, seen) = values;
        let name = &our.name;
        if (our.kind, name) != (their.kind, &their.name) {
            return Err(format!("`{name}` is not there"));
        }
        let is_number = |value: &[u8]| value.iter().all(u8::is_ascii_digit);
        let is_same_form = recorded.is_empty() == seen.is_empty() && is_number(recorded) == is_number(seen);
        let shown = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let words = [&b"null"[..], b"true", b"false"];
        let is_word = words.contains(&recorded) || words.contains(&seen);
        match our.kind {
            Kind::Time | Kind::Address | Kind::Id if is_word && recorded != seen => {
                Err(format!("`{name}` has another form"))
            }
            Kind::Time | Kind::Address if is_same_form => Ok(()),
            Kind::Time | Kind::Address => Err(format!("`{name}` has another form")),
            Kind::Secret if self.redacted && recorded.is_empty() == seen.is_empty() => Ok(()),
            Kind::Secret if self.redacted => Err(format!("`{name}` is empty in one of them")),
            Kind::Secret if self.bind(Kind::Secret, recorded, seen) => Ok(()),
            Kind::Secret => Err(format!("`{name}` is another one than before")),
            Kind::Id | Kind::RequestId if recorded.is_empty() != seen.is_empty() => {
                Err(format!("`{name}` is empty in one of them"))
            }
            Kind::Id | Kind::RequestId if self.bind_id(our.kind, recorded, seen) => Ok(()),
            Kind::Id | Kind::RequestId => Err(format!(
                "`{name}` should be {} here: the recorded {} stands for it",
                shown(&self.id(our.kind, recorded)),
                shown(recorded)
            )),
        }
    }
}

/// `user:` and the id of `user:ID`.
fn typed(kind: Kind, value: &[u8]) -> (&[u8], &[u8]) {
    let of = value.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    match value.get(of) {
        Some(b':') if kind == Kind::Id && of > 0 => value.split_at(of + 1),
        _ => (&[], value),
    }
}

/// What stands before, between and after the secrets of a text.
fn around_secrets(text: &[u8]) -> Vec<&[u8]> {
    let (mut around, mut at) = (Vec::new(), 0);
    for place in secrets_in(text) {
        around.push(&text[at..place.start]);
        at = place.end;
    }
    around.push(&text[at..]);
    around
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "200\r\nDate:Fri, 27 May 2016 05:44:17 GMT\r\nX-Kii-RequestID:17\r\n\r\n{\n  \"thingID\" : \"th.aaaa-1\",\n  \
                          \"accessToken\" : \"xx-x\",\n  \"message\" : \"Target thing:th.aaaa-1 is known.\"\n}";

    #[test]
    fn what_varies_may_vary_and_nothing_else() {
        let mut bindings = Bindings::new(true);
        let now = ANSWER
            .replace("Fri, 27 May 2016 05:44:17", "Sat, 28 May 2016 05:44:18")
            .replace("th.aaaa-1", "th.bbbbbbb-2")
            .replace("xx-x", "0123456789");
        assert_eq!(bindings.compare(ANSWER.as_bytes(), now.as_bytes()), Ok(()));
        // Every other byte counts.
        let ours = variables(now.as_bytes());
        for at in 0..now.len() {
            if ours.iter().any(|variable| variable.place.contains(&at)) {
                continue;
            }
            let mut changed = now.clone().into_bytes();
            changed[at] ^= 1;
            let found = bindings.compare(ANSWER.as_bytes(), &changed).expect_err("a byte differs");
            // A quote that is missing lets a value swallow what follows; then the difference is told behind it.
            let swallowed = variables(&changed).into_iter().find(|variable| variable.place.contains(&at));
            let latest = swallowed.map_or(at, |variable| variable.place.end);
            assert!(found.offset <= latest, "{found:?} for {at} of {now}");
        }
    }

    #[test]
    fn an_id_stands_for_one_and_the_same() {
        let mut bindings = Bindings::new(true);
        let of = |id: &str| format!("{{\"commandID\":\"{id}\"}}").into_bytes();
        assert_eq!(bindings.compare(&of("one-one"), &of("two-two")), Ok(()));
        assert_eq!(bindings.compare(&of("one-one"), &of("two-two")), Ok(()));
        assert!(bindings.compare(&of("one-one"), &of("three")).is_err());
        assert!(bindings.compare(&of("four"), &of("two-two")).is_err());
        assert_eq!(bindings.translate(b"p/x/one-one/one-one2, one-one."), b"p/x/two-two/one-one2, two-two.");
        let filled = bindings
            .fill(b"GET\r\nAuthorization: Bearer xx\r\n\r\n{\"commandID\":\"one-one\"}", |variable, _| {
                (variable.name == "authorization").then(|| b"T0k3n".to_vec())
            });
        assert_eq!(filled, b"GET\r\nAuthorization: Bearer T0k3n\r\n\r\n{\"commandID\":\"two-two\"}");
    }

    #[test]
    fn an_id_that_is_there_is_not_one_that_is_missing() {
        for (recorded, seen) in [
            (r#"{"thingID":""}"#, r#"{"thingID":"th.1"}"#),
            (r#"{"thingID":"th.1"}"#, r#"{"thingID":""}"#),
            (r#"{"nextPaginationKey":null}"#, r#"{"nextPaginationKey":true}"#),
            (r#"{"modifiedAt":null}"#, r#"{"modifiedAt":false}"#),
            (r#"{"issuer":"user:one-one"}"#, r#"{"issuer":"group:two-two"}"#),
        ] {
            let same = Bindings::new(true).compare(recorded.as_bytes(), seen.as_bytes());
            assert!(same.is_err(), "{recorded} {seen}");
        }
    }

    #[test]
    fn an_issuer_is_the_user_that_the_topics_name() {
        let mut bindings = Bindings::new(true);
        bindings.compare(br#"{"issuer":"user:one-one"}"#, br#"{"issuer":"user:two-two"}"#).expect("bound");
        bindings.compare(br#"{"userID":"one-one"}"#, br#"{"userID":"two-two"}"#).expect("the same user");
        bindings.compare(br#"{"userID":"one-one"}"#, br#"{"userID":"three-three"}"#).expect_err("another");
        assert_eq!(bindings.translate(b"/users/one-one"), b"/users/two-two");
        assert_eq!(bindings.fill(br#"{"owner":"user:one-one"}"#, |_, _| None), br#"{"owner":"user:two-two"}"#);
    }

    #[test]
    fn a_masked_query_is_any_token() {
        let topic = |text: &str| Topic::new(text).expect("a topic");
        let recorded = topic("p/me/x?access_token=xxxx&v=1");
        let redacted = Bindings::new(true);
        assert!(redacted.is_topic(&recorded, &topic("p/me/x?access_token=T0k3nT0k3n&v=1")));
        assert!(!redacted.is_topic(&recorded, &topic("p/me/x?access_token=T0k3nT0k3n&v=2")));
        assert!(!redacted.is_topic(&recorded, &topic("p/me/x?v=1")));
        assert!(!Bindings::new(false).is_topic(&recorded, &topic("p/me/x?access_token=T0k3n&v=1")));
    }

    #[test]
    fn secrets_that_are_not_masked_are_bound_as_ids_are() {
        let mut bindings = Bindings::new(false);
        let of = |token: &str| format!("{{\"accessToken\":\"{token}\"}}").into_bytes();
        assert_eq!(bindings.compare(&of("aa"), &of("bb")), Ok(()));
        assert!(bindings.compare(&of("aa"), &of("cc")).is_err());
        let mut redacted = Bindings::new(true);
        assert_eq!(redacted.compare(&of("xx"), &of("cccc")), Ok(()));
        assert!(redacted.compare(&of("xx"), &of("")).is_err());
    }
}
