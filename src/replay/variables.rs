//! The parts of a payload that vary from run to run, found by their names.

use std::ops::Range;

use crate::frame::Frame;
use crate::secret::secrets_in;

/// What a part that varies is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// `X-Kii-RequestID`.
    RequestId,
    /// What the service names things, commands, installations and the like.
    Id,
    /// When something happened.
    Time,
    /// Where a broker is.
    Address,
    /// What is masked in a capture.
    Secret,
}

/// A part of a payload that varies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) kind: Kind,
    /// The header's or the member's name, in lower case.
    pub(super) name: String,
    pub(super) place: Range<usize>,
}

const IDS: [&str; 14] = [
    "thingid",
    "endnodethingid",
    "installationid",
    "installationregistrationid",
    "mqtttopic",
    "commandid",
    "triggerid",
    "firedbytriggerid",
    "pushmessageid",
    "objectid",
    "userid",
    "issuer",
    "owner",
    "nextpaginationkey",
];
const TIMES: [&str; 6] = ["createdat", "modifiedat", "executedat", "when", "_created", "_modified"];
const ADDRESSES: [&str; 5] = ["host", "porttcp", "portssl", "portws", "portwss"];

/// All of them, in order and without overlaps.
pub(super) fn variables(payload: &[u8]) -> Vec<Variable> {
    let mut named = Vec::new();
    let body = match Frame::parse(payload) {
        Ok(frame) => {
            for (name, value) in frame.headers() {
                let start = value.as_ptr().addr() - payload.as_ptr().addr();
                named.push((name.to_ascii_lowercase(), start..start + value.len(), true));
            }
            payload.len() - frame.body().len()
        }
        Err(_) => 0,
    };
    members(payload, body, &mut named);
    let is_endpoint = named.iter().any(|(name, ..)| name == "mqtttopic");
    let kind = |name: &str, is_header: bool| match (is_header, name) {
        (true, "x-kii-requestid") => Some(Kind::RequestId),
        (true, "date") => Some(Kind::Time),
        (true, _) => None,
        (false, "username") if is_endpoint => Some(Kind::Id),
        (false, name) if is_endpoint && ADDRESSES.contains(&name) => Some(Kind::Address),
        (false, name) if IDS.contains(&name) => Some(Kind::Id),
        (false, name) if TIMES.contains(&name) => Some(Kind::Time),
        (false, _) => None,
    };
    let secrets = secrets_in(payload);
    let mut found: Vec<_> = secrets.iter().filter_map(|place| secret(payload, place, &named)).collect();
    for (name, place, is_header) in &named {
        let overlaps = secrets.iter().any(|secret| secret.start < place.end && place.start < secret.end);
        if let Some(kind) = kind(name, *is_header)
            && !overlaps
        {
            found.push(Variable { kind, name: name.clone(), place: place.clone() });
        }
    }
    found.sort_unstable_by_key(|variable| variable.place.start);
    found
}

type Named = (String, Range<usize>, bool);

/// A secret without the blanks around it, under the name of what it stands in.
fn secret(payload: &[u8], place: &Range<usize>, named: &[Named]) -> Option<Variable> {
    let text = &payload[place.clone()];
    let start = place.start + (text.len() - text.trim_ascii_start().len());
    let place = start..start + text.trim_ascii().len();
    let within = named.iter().find(|(_, value, _)| value.start < place.end && place.start < value.end);
    let name = within.map_or_else(String::new, |(name, ..)| name.clone());
    (!place.is_empty()).then_some(Variable { kind: Kind::Secret, name, place })
}

/// Members of JSON whose value is a string, a number or a word, at any depth. Malformed JSON has members, too.
fn members(payload: &[u8], from: usize, found: &mut Vec<Named>) {
    let blanks = |at: usize| at + payload[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let mut at = from;
    while let Some(quote) = payload[at..].iter().position(|byte| *byte == b'"').map(|found| at + found) {
        let end = string_end(payload, quote + 1);
        at = (end + 1).min(payload.len());
        let colon = blanks(at);
        if payload.get(colon) != Some(&b':') {
            continue;
        }
        at = colon + 1;
        let value = blanks(at);
        let place = match payload.get(value) {
            Some(b'"') => value + 1..string_end(payload, value + 1),
            Some(b'{' | b'[') | None => continue,
            Some(_) => {
                let len = payload[value..]
                    .iter()
                    .take_while(|byte| !byte.is_ascii_whitespace() && !matches!(byte, b',' | b'}' | b']' | b'"'));
                value..value + len.count()
            }
        };
        let name = String::from_utf8_lossy(&payload[quote + 1..end]).to_ascii_lowercase();
        // A value is no name, whatever follows it.
        at = if payload[value] == b'"' { (place.end + 1).min(payload.len()) } else { place.end };
        found.push((name, place, false));
    }
}

/// Where the string that begins at `start` has its closing quote, or the end.
fn string_end(payload: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(byte) = payload.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    payload.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(payload: &str) -> Vec<(Kind, String, &str)> {
        variables(payload.as_bytes())
            .into_iter()
            .map(|variable| (variable.kind, variable.name, &payload[variable.place]))
            .collect()
    }

    #[test]
    fn what_varies_is_found_by_name() {
        let answer = "200\r\nDate:Fri, 27 May 2016 05:44:17 GMT\r\nX-Kii-RequestID:17\r\n\r\n{\n  \"commandID\" : \"c-1\",\n  \
                      \"createdAt\" : 1464327857000,\n  \"accessToken\" : \"xxxx\",\n  \"host\" : \"h\",\n  \"on\" : true\n}";
        let expected = [
            (Kind::Time, "date", "Fri, 27 May 2016 05:44:17 GMT"),
            (Kind::RequestId, "x-kii-requestid", "17"),
            (Kind::Id, "commandid", "c-1"),
            (Kind::Time, "createdat", "1464327857000"),
            (Kind::Secret, "accesstoken", "xxxx"),
        ];
        assert_eq!(found(answer), expected.map(|(kind, name, value)| (kind, name.to_owned(), value)));
        let endpoint = "{\"mqttTopic\":\"t\",\"host\":\"h\",\"portTCP\":1883,\"username\":\"u\",\"ttl\":5}";
        let kinds: Vec<_> = found(endpoint).into_iter().map(|(kind, _, value)| (kind, value)).collect();
        assert_eq!(kinds, [(Kind::Id, "t"), (Kind::Address, "h"), (Kind::Address, "1883"), (Kind::Id, "u")]);
    }

    #[test]
    fn a_bearer_token_is_found_without_its_word() {
        let request =
            "PUT\r\nAuthorization: Bearer xx-x\r\nX-Kii-RequestID: a b\r\n\r\n{\"commandID\":\"when\",\"x\":\"\\\"\"}";
        let expected = [
            (Kind::Secret, "authorization", "xx-x"),
            (Kind::RequestId, "x-kii-requestid", "a b"),
            (Kind::Id, "commandid", "when"),
        ];
        assert_eq!(found(request), expected.map(|(kind, name, value)| (kind, name.to_owned(), value)));
    }

    #[test]
    fn malformed_payloads_have_what_they_have() {
        for text in [
            "\"",
            "\"thingID\"",
            "\"thingID\":",
            "\"thingID\":\"",
            "{\"thingID\":\"a\\",
            "\"a\":\"b\":\"c\":1",
            "\\\"x\":",
        ] {
            for variable in variables(text.as_bytes()) {
                assert!(variable.place.end <= text.len(), "{text}");
            }
        }
        assert_eq!(found("\"thingID\":\"abc"), [(Kind::Id, String::from("thingid"), "abc")]);
    }
}
