//! Changes to requests: what their senders could have meant, and what nobody means.

use fastrand::Rng;
use serde_json::Value;

use crate::story::Asked;

/// Texts that were in earlier answers, of every application: ids, tokens, keys of pages, versions.
#[derive(Default)]
pub(crate) struct Known(Vec<String>);

impl Known {
    pub(crate) fn learn(&mut self, value: &Value) {
        match value {
            Value::String(text) if (1..200).contains(&text.len()) && !self.0.contains(text) => {
                // Old ones go, whatever they are: most of what they named is gone too.
                if self.0.len() >= 400 {
                    self.0.remove(0);
                }
                self.0.push(text.clone());
            }
            Value::Array(all) => all.iter().for_each(|value| self.learn(value)),
            Value::Object(all) => all.values().for_each(|value| self.learn(value)),
            _ => {}
        }
    }

    fn any(&self, rng: &mut Rng) -> String {
        if self.0.is_empty() { "nothing".to_owned() } else { self.0[rng.usize(..self.0.len())].clone() }
    }
}

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"];

#[rustfmt::skip]
const SEGMENTS: [&str; 30] = [
    "", "me", "ME", "all", "%00", "%ff", "%2F", "%2e%2e", "..", "%E2%98%83", "%F0%9F%98%80", "a%20b", "%25", "%",
    "%zz", "*", "thing:", "user:", "group:g", "THING:x", "VENDOR_THING_ID:", "VENDOR_THING_ID:lamp", "LOGIN_NAME:ann",
    "MQTT:x", "EMAIL:a@b", "things", "users", "groups", "__proto__", "'%20OR%201=1--",
];

#[rustfmt::skip]
const QUERIES: [&str; 24] = [
    "bestEffortLimit=0", "bestEffortLimit=1", "bestEffortLimit=-1", "bestEffortLimit=9223372036854775808",
    "bestEffortLimit=1e3", "bestEffortLimit=", "bestEffortLimit=1&bestEffortLimit=x", "bestEffortLimit=200",
    "paginationKey=", "paginationKey=_", "paginationKey=AAAA", "paginationKey=%00", "paginationKey=LTE",
    "paginationKey=OTIyMzM3MjAzNjg1NDc3NTgwOA", "paginationKey=1", "paginationKey=9223372036854775807",
    "paginationKey=MQ", "thingID=x", "userID=%ff", "a=b&&=&c", "%ff=%ff", "disable_cache=1", "nextPaginationKey=MQ",
    "?????",
];

#[rustfmt::skip]
const MEDIA_TYPES: [&str; 34] = [
    "application/json", "APPLICATION/JSON;charset=utf-8", "application/json; charset=\"", "text/plain", "", ";",
    "application/", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "*/*",
    "application/vnd.kii.MultipleTraitState+json", "application/vnd.kii.MultipleTraitStatePatch+json",
    "application/vnd.kii.TraitState+json", "application/vnd.kii.StateBulkUploadRequest+json",
    "application/vnd.kii.StatePatchBulkUploadRequest+json", "application/vnd.kii.TraitStateQueryRequest+json",
    "application/vnd.kii.CommandCreationRequest+json", "application/vnd.kii.CommandResultsUpdateRequest+json",
    "application/vnd.kii.OnboardingWithVendorThingIDByThing+json",
    "application/vnd.kii.OnboardingWithThingIDByThing+json",
    "application/vnd.kii.OnboardingWithVendorThingIDByOwner+json",
    "application/vnd.kii.OnboardingWithThingIDByOwner+json",
    "application/vnd.kii.OnboardingEndNodeWithGatewayThingID+json",
    "application/vnd.kii.OnboardingEndNodeWithGatewayVendorThingID+json",
    "application/vnd.kii.ThingTypeUpdateRequest+json", "application/vnd.kii.ThingFirmwareVersionUpdateRequest+json",
    "application/vnd.kii.QueryRequest+json", "application/vnd.kii.SendPushMessageRequest+json",
    "application/vnd.kii.ThingRegistrationAndAuthorizationRequest+json",
    "application/vnd.kii.InstallationCreationRequest+json", "application/vnd.c1k9abcdef12.mydata+json",
    "application/vnd.kii.OauthTokenRequest+json", "application/vnd.kii.UserUpdateRequest+json",
];

#[rustfmt::skip]
const HEADERS: [(&str, &str); 16] = [
    ("If-Match", "*"), ("If-Match", "1"), ("If-Match", "\""), ("If-Match", "W/\"1\""), ("If-Match", "\"1\", \"2\""),
    ("If-None-Match", "*"), ("If-None-Match", "9223372036854775808"), ("X-HTTP-Method-Override", "PATCH"),
    ("X-HTTP-Method-Override", "DELETE"), ("X-Kii-AppID", "nosuch"), ("X-Kii-AppKey", "wrong"),
    ("Accept", "text/html"), ("Range", "bytes=0-1"), ("Origin", "https://app.example"), ("Expect", "nothing"),
    ("Accept-Encoding", "gzip"),
];

/// What stands in the place of a value, as it is written.
#[rustfmt::skip]
const VALUES: [&str; 46] = [
    "null", "true", "false", "0", "-0", "1", "-1", "0.1", "1e400", "-1e400", "1e-400", "1E5", "01", "+1", "NaN", ".5",
    "2.5e3", "2147483648", "9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
    "18446744073709551616", "253402300800000", "{}", "[]", "[[]]", "{\"\":{}}", "[null]", "\"\"", "\" \"", "\"%\"",
    "\"\\u0000\"", "\"a\\u0000b\"", "\"\\ud800\"", "\"\\uD83D\\uDE00\"", "\"ключ 😀 \u{202e}\"", "\"../..\"",
    "\"user:\"", "\"thing:x\"", "\"group:g\"", "\"* * * * *\"", "\"0 0 29 2 *\"", "\"true\"", "{\"type\":\"all\"}",
    "\"\u{7f}\"",
];

#[rustfmt::skip]
const KEYS: [&str; 30] = [
    "", "_id", "_thingID", "type", "clause", "clauses", "field", "value", "alias", "owner", "issuer", "target",
    "actions", "schema", "schemaVersion", "metadata", "title", "predicate", "condition", "triggersWhat", "serverCode",
    "command", "states", "generatedAt", "payload", "grouped", "aggregations", "bestEffortLimit", "paginationKey",
    "expiresAt",
];

fn pick<'c, T>(rng: &mut Rng, all: &'c [T]) -> &'c T {
    &all[rng.usize(..all.len())]
}

/// Changes one thing about a request.
pub(crate) fn change(asked: &mut Asked, known: &Known, tokens: &[String], rng: &mut Rng) {
    match rng.u8(..16) {
        0 => asked.method = (*pick(rng, &METHODS)).to_owned(),
        1..=3 => segment(asked, known, rng),
        4 => query(asked, known, rng),
        5 | 6 => authorization(asked, tokens, rng),
        7 => {
            let value = (*pick(rng, &MEDIA_TYPES)).to_owned();
            asked.set("Content-Type", (rng.u8(..5) > 0).then_some(value));
        }
        8 => {
            let (name, value) = pick(rng, &HEADERS);
            let value = if rng.u8(..4) == 0 { known.any(rng) } else { (*value).to_owned() };
            asked.set(name, Some(value));
        }
        9 => bytes(&mut asked.body, rng),
        _ => json(&mut asked.body, known, rng),
    }
}

/// One part of the path is another.
fn segment(asked: &mut Asked, known: &Known, rng: &mut Rng) {
    let whole = asked.path.clone();
    let (path, query) = whole.split_once('?').map_or((&*whole, None), |(path, query)| (path, Some(query)));
    let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    // Mostly not what leads to the application.
    let from = if parts.len() > 5 && rng.u8(..8) > 0 { 4 } else { 1 };
    let place = rng.usize(from.min(parts.len() - 1)..parts.len());
    let escaped = |text: &str| {
        text.replace('%', "%25").replace([' ', '"', '<', '>', '\\', '^', '`', '{', '|', '}', '#', '?'], "_")
    };
    let other = match rng.u8(..8) {
        0..=2 => escaped(&known.any(rng)),
        3 => format!("thing:{}", escaped(&known.any(rng))),
        4 => "x".repeat(*pick(rng, &[64, 101, 201, 5_000])),
        _ => (*pick(rng, &SEGMENTS)).to_owned(),
    };
    match rng.u8(..8) {
        0 => drop(parts.remove(place)),
        1 => parts.insert(place, other),
        _ => parts[place] = other,
    }
    asked.path = parts.join("/");
    if !asked.path.starts_with('/') {
        asked.path.insert(0, '/');
    }
    if let Some(query) = query {
        asked.path = format!("{}?{query}", asked.path);
    }
}

fn query(asked: &mut Asked, known: &Known, rng: &mut Rng) {
    let more = match rng.u8(..4) {
        0 => format!("paginationKey={}", known.any(rng).replace(['#', ' ', '"', '<', '>', '%'], "_")),
        _ => (*pick(rng, &QUERIES)).to_owned(),
    };
    let separator = if asked.path.contains('?') { '&' } else { '?' };
    asked.path = format!("{}{separator}{more}", asked.path);
}

fn authorization(asked: &mut Asked, tokens: &[String], rng: &mut Rng) {
    let value = match rng.u8(..10) {
        0 => None,
        1 => Some("Bearer nonsense".to_owned()),
        2 => Some(
            (*pick(rng, &["Bearer", "Basic", "Basic %%%", "Basic YTpi", "Digest x", "bearer  ", "Basic OjpeOg=="]))
                .to_owned(),
        ),
        3 => Some(format!("Bearer {}", "t".repeat(7_000))),
        _ => Some(format!("{} {}", pick(rng, &["Bearer", "bearer", "BEARER"]), pick(rng, tokens))),
    };
    asked.set("Authorization", value);
}

/// As bytes, whatever they mean.
fn bytes(body: &mut Vec<u8>, rng: &mut Rng) {
    match rng.u8(..8) {
        0 => body.clear(),
        1 => body.truncate(rng.usize(..=body.len())),
        2 => body.insert(rng.usize(..=body.len()), rng.u8(..)),
        3 if !body.is_empty() => drop(body.remove(rng.usize(..body.len()))),
        4 => drop(body.splice(0..0, *b"\xef\xbb\xbf")),
        5 => body.extend(b" \r\n\t"),
        6 => {
            let n = *pick(rng, &[100, 127, 128, 129, 5_000, 60_000]);
            *body = [b"[".repeat(n), b"]".repeat(if rng.bool() { n } else { 0 })].concat();
        }
        _ => {
            if let Some(place) = (!body.is_empty()).then(|| rng.usize(..body.len())) {
                body[place] = rng.u8(..);
            }
        }
    }
}

const HERE: &str = "\u{1}here";

/// As JSON: one value is another, is gone, has another name, or is there twice.
fn json(body: &mut Vec<u8>, known: &Known, rng: &mut Rng) {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return bytes(body, rng) };
    let count = count(&value);
    let mut place = rng.usize(..count);
    let raw = raw(known, rng);
    at(&mut value, &mut place, &mut |value: &mut Value| match (rng.u8(..8), value) {
        (0, Value::Object(all)) if !all.is_empty() => {
            let key = all.keys().nth(rng.usize(..all.len())).cloned().unwrap_or_default();
            all.shift_remove(&key);
        }
        (1, Value::Object(all)) => {
            all.insert((*pick(rng, &KEYS)).to_owned(), HERE.into());
        }
        (2, Value::Object(all)) if !all.is_empty() => {
            let key = all.keys().nth(rng.usize(..all.len())).cloned().unwrap_or_default();
            let taken = all.shift_remove(&key).unwrap_or_default();
            all.insert(known.any(rng), taken);
        }
        (3, Value::Array(all)) if !all.is_empty() && all.len() < 40 => all.extend(all.clone()),
        (4, value) => {
            let inner = value.take();
            *value = (0..*pick(rng, &[1, 10, 50, 120])).fold(inner, |inner, n| {
                if n % 2 == 0 { Value::Array(vec![inner]) } else { serde_json::json!({ "k": inner }) }
            });
        }
        (_, value) => *value = HERE.into(),
    });
    let text = serde_json::to_string(&value).unwrap_or_default();
    let here = serde_json::to_string(HERE).unwrap_or_default();
    // Once more under the same name.
    let twice = if rng.u8(..16) == 0 { text.replacen('{', r#"{"actions":1,"issuer":[],"type":2,"#, 1) } else { text };
    *body = twice.replace(&here, &raw).into_bytes();
}

/// A value as text, most of them short.
fn raw(known: &Known, rng: &mut Rng) -> String {
    match rng.u8(..12) {
        0..=2 => serde_json::to_string(&known.any(rng)).unwrap_or_default(),
        3 => serde_json::to_string(&format!("{}:{}", pick(rng, &["user", "thing", "USER", "group"]), known.any(rng)))
            .unwrap_or_default(),
        4 => {
            format!("\"{}\"", pick(rng, &["x", "é", "\\u0000", "😀"]).repeat(*pick(rng, &[51, 201, 300, 4_100, 8_000])))
        }
        5 => format!("\"{}\"", "y".repeat(*pick(rng, &[10_300, 20_000, 50_000, 66_000]))),
        6 => {
            let n = *pick(rng, &[20, 100, 126, 2_000]);
            format!("{}1{}", "{\"\":".repeat(n), "}".repeat(n))
        }
        7 => format!("[{}0]", "0,".repeat(*pick(rng, &[30, 300, 3_000]))),
        8 => format!(
            "{{{}\"z\":0}}",
            (0..*pick(rng, &[30, 101, 1_000])).map(|n| format!("\"k{n}\":{{}},")).collect::<String>()
        ),
        _ => (*pick(rng, &VALUES)).to_owned(),
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(all) => all.iter().map(count).sum(),
        Value::Object(all) => all.values().map(count).sum(),
        _ => 0,
    }
}

/// Does it to the value that has the number `place`.
fn at(value: &mut Value, place: &mut usize, to: &mut impl FnMut(&mut Value)) -> bool {
    if *place == 0 {
        to(value);
        return true;
    }
    *place -= 1;
    match value {
        Value::Array(all) => all.iter_mut().any(|value| at(value, place, to)),
        Value::Object(all) => all.values_mut().any(|value| at(value, place, to)),
        _ => false,
    }
}
