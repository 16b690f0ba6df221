//! Payloads as they may be shown: with every credential in them replaced, and nothing else changed.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

/// What stands in place of a credential.
const REDACTED: &str = "[redacted]";

/// Header fields that carry credentials.
const HEADERS: [&str; 2] = ["authorization", "x-kii-appkey"];

/// JSON members that carry credentials, in any of this protocol's bodies, HTTP or MQTT.
const MEMBERS: [&str; 9] = [
    "accesstoken",
    "_accesstoken",
    "access_token",
    "refresh_token",
    "password",
    "_password",
    "thingpassword",
    "endnodepassword",
    "client_secret",
];

/// `payload` as text, credentials replaced: those in the header fields of a frame, and those in its JSON.
pub(crate) fn redact(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    if text.trim_start().starts_with(['{', '[']) {
        return redact_json(&text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = &*text;
    for line in text.split_inclusive('\n') {
        rest = &rest[line.len()..];
        let bare = line.trim_end_matches(['\r', '\n']);
        shown.push_str(&redact_header(bare));
        shown.push_str(&line[bare.len()..]);
        if bare.is_empty() {
            break;
        }
    }
    shown.push_str(&redact_json(rest));
    shown
}

/// A line of a head; the scheme of an Authorization stays.
fn redact_header(line: &str) -> Cow<'_, str> {
    match line.split_once(':') {
        Some((name, value)) if HEADERS.iter().any(|header| name.trim().eq_ignore_ascii_case(header)) => {
            let blanks = &value[..value.len() - value.trim_start().len()];
            let scheme = value.trim().split_once(' ').map(|(scheme, _)| format!("{scheme} ")).unwrap_or_default();
            format!("{name}:{blanks}{scheme}{REDACTED}").into()
        }
        _ => line.into(),
    }
}

/// `text`, if it is JSON, with the values of credentials replaced and its layout kept.
fn redact_json(text: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
    let mut secrets = BTreeSet::new();
    collect(&value, false, &mut secrets);
    let mut shown = text.to_owned();
    // Longest first, so that no secret hides inside what another one left.
    let mut secrets: Vec<_> = secrets.into_iter().collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in secrets {
        shown = shown.replace(&format!("\"{secret}\""), &format!("\"{REDACTED}\""));
    }
    // A value that was escaped otherwise than serde_json does it is still there: then the layout goes instead.
    match serde_json::from_str::<Value>(&shown) {
        Ok(again) if is_clean(&again, false) => shown,
        _ => {
            let mut value = value;
            replace(&mut value, false);
            format!("{value:#}")
        }
    }
}

fn is_secret(name: &str) -> bool {
    MEMBERS.iter().any(|member| name.eq_ignore_ascii_case(member))
}

/// The inner text of every secret string, as serde_json escapes it.
fn collect(value: &Value, secret: bool, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if secret && !text.is_empty() => {
            let quoted = Value::from(text.as_str()).to_string();
            found.insert(quoted[1..quoted.len() - 1].to_owned());
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, secret, found)),
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| collect(member, secret || is_secret(name), found))
        }
        _ => {}
    }
}

fn is_clean(value: &Value, secret: bool) -> bool {
    match value {
        Value::String(text) => !secret || text.is_empty() || text == REDACTED,
        Value::Array(items) => items.iter().all(|item| is_clean(item, secret)),
        Value::Object(members) => members.iter().all(|(name, member)| is_clean(member, secret || is_secret(name))),
        Value::Null | Value::Bool(_) => true,
        Value::Number(_) => !secret,
    }
}

fn replace(value: &mut Value, secret: bool) {
    match value {
        Value::String(_) | Value::Number(_) if secret => *value = Value::from(REDACTED),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, secret)),
        Value::Object(members) => {
            members.iter_mut().for_each(|(name, member)| replace(member, secret || is_secret(name)));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_and_the_rest_stays_as_it_is() {
        for (payload, shown) in [
            (
                "PUT\r\nAuthorization: Bearer t0k3n\r\nX-Kii-AppKey:k3y\r\nA: b\r\n\r\n{\"power\": true}",
                "PUT\r\nAuthorization: Bearer [redacted]\r\nX-Kii-AppKey:[redacted]\r\nA: b\r\n\r\n{\"power\": true}",
            ),
            ("put\nauthorization:t0k3n\n\n", "put\nauthorization:[redacted]\n\n"),
            (
                "200\r\n\r\n{\n  \"accessToken\" : \"t0k3n\",\n  \"mqttEndpoint\" : { \"password\" : \"s3cret\" }\n}",
                "200\r\n\r\n{\n  \"accessToken\" : \"[redacted]\",\n  \"mqttEndpoint\" : { \"password\" : \"[redacted]\" }\n}",
            ),
            ("{\"commandID\":\"c\"}", "{\"commandID\":\"c\"}"),
            ("204\r\n\r\n", "204\r\n\r\n"),
            ("", ""),
            ("PUT\nAuthorization: Bearer t0k3n", "PUT\nAuthorization: Bearer [redacted]"),
            ("{\n  \"password\": \"s3cret\"\n}\n", "{\n  \"password\": \"[redacted]\"\n}\n"),
            ("no JSON, no frame", "no JSON, no frame"),
        ] {
            assert_eq!(redact(payload.as_bytes()), shown);
        }
    }

    #[test]
    fn no_spelling_of_a_secret_survives() {
        for body in [
            r#"{"ThingPassword":"s3cret"}"#,
            r#"{"a":[{"client_secret":"s3cret"}]}"#,
            r#"{"password":"\u0073\u0033cret"}"#,
            r#"{"password":["s3cret",{"x":"s3cret"}]}"#,
            r#"{"password":"s3cret\"\\"}"#,
            r#"{"password":73313337}"#,
        ] {
            let shown = redact(format!("POST\n\n{body}").as_bytes());
            for part in ["s3cret", "\\u0073", "73313337"] {
                assert!(!shown.contains(part), "{body} became {shown}");
            }
            assert!(shown.contains(REDACTED), "{shown}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_somehow() {
        assert_eq!(redact(b"200\r\n\r\n\xff"), "200\r\n\r\n\u{fffd}");
    }
}
