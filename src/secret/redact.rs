//! Taking secrets out of payloads that need not be well-formed.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::ops::Range;

use super::unescaped::Unescaped;

/// Names are looked for this many bytes before their colon.
const MAX_NAME_LEN: usize = 96;

/// Shows a frame, a push, a topic or any part of them without its secrets; see [`redact`]. Everything in this crate that
/// shows a payload does it in this way.
///
/// `Display` is for people: lines as they are, and what could confuse a terminal (control bytes, bytes that are not UTF-8)
/// escaped. `Debug` is the same on one line between quotes.
///
/// ```
/// use thingif::secret::Redacted;
/// let frame = b"PUT\r\nAuthorization: Bearer aB3-x\r\n\r\n{\"password\":\"pw\",\"on\":true}";
/// assert_eq!(
///     Redacted::new(frame).to_string(),
///     "PUT\nAuthorization: Bearer xxx-x\n\n{\"password\":\"xx\",\"on\":true}"
/// );
/// assert_eq!(Redacted::new("/x?access_token=abc&v=1").to_string(), "/x?access_token=xxx&v=1");
/// ```
#[derive(Clone, Copy)]
pub struct Redacted<'a>(&'a [u8]);

impl<'a> Redacted<'a> {
    /// Will show `payload`.
    pub fn new(payload: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self(payload.as_ref())
    }

    fn write(self, f: &mut fmt::Formatter<'_>, is_plain: fn(char) -> bool) -> fmt::Result {
        for chunk in redact(self.0).utf8_chunks() {
            let text = chunk.valid();
            for (at, c) in text.char_indices() {
                match c {
                    // The usual line end is one character to people.
                    '\r' if is_plain('\n') && text[at + 1..].starts_with('\n') => {}
                    c if is_plain(c) => f.write_char(c)?,
                    c => write!(f, "{}", c.escape_default())?,
                }
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, |c| matches!(c, '\n' | '\t') || !c.is_control())
    }
}

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        self.write(f, |c| !c.is_control() && !matches!(c, '"' | '\\'))?;
        f.write_char('"')
    }
}

/// `payload` with the values of its secrets masked: every character of a secret becomes `x`, but for blanks and the
/// signs `-`, `_`, `.` and `=`. Lengths and everything around the secrets stay as they are, so JSON stays JSON and a
/// capture still shows what a secret looked like. A bearer token keeps its word `Bearer`.
///
/// A value is secret because of its name: a header (`Authorization`, `X-Kii-AppKey`, `Cookie`), a JSON member or a
/// `name=value` pair whose name, letter case, `-` and `_` aside, ends in `password`, `token`, `secret`, `appkey` or the
/// like. No parser is involved: frames that are cut short or malformed carry secrets as well, and JSON inside a JSON
/// string too. In doubt it masks.
pub fn redact(payload: &[u8]) -> Cow<'_, [u8]> {
    let Shown { mut bytes, .. } = redact_as_written(payload);
    // Once more as it is meant: what an escape hides from this reader it does not hide from the next.
    if let Some(unescaped) = Unescaped::of(payload)
        && let Cow::Owned(masked) = redact_as_written(&unescaped.bytes).bytes
    {
        unescaped.mask(bytes.to_mut(), &masked);
    }
    bytes
}

/// Where [`redact`] masks: the places of the secrets in `payload`, in order and without overlaps. In a payload that was
/// redacted already these are the same places, so that two can be compared without what was never written.
///
/// ```
/// use thingif::secret::secrets_in;
/// assert_eq!(secrets_in(b"{\"password\":\"xx\",\"on\":true}"), [13..15]);
/// ```
pub fn secrets_in(payload: &[u8]) -> Vec<Range<usize>> {
    let mut places = redact_as_written(payload).masked;
    if let Some(unescaped) = Unescaped::of(payload) {
        let masked = redact_as_written(&unescaped.bytes).masked;
        places.extend(masked.into_iter().filter_map(|range| unescaped.place(range)));
    }
    places.sort_unstable_by_key(|place| (place.start, place.end));
    places.dedup_by(|next, before| {
        let overlaps = next.start <= before.end;
        if overlaps {
            before.end = before.end.max(next.end);
        }
        overlaps
    });
    places
}

/// A payload on its way to be shown.
struct Shown<'a> {
    bytes: Cow<'a, [u8]>,
    /// What was masked, in no order.
    masked: Vec<Range<usize>>,
}

fn redact_as_written(payload: &[u8]) -> Shown<'_> {
    let mut shown = Shown { bytes: Cow::Borrowed(payload), masked: Vec::new() };
    mask_tokens(&mut shown, payload);
    mask_user_info(&mut shown, payload);
    let mut at = 0;
    while let Some(separator) = payload[at..].iter().position(|b| matches!(b, b':' | b'=')).map(|found| at + found) {
        at = separator + 1;
        if let Some(name) = name_before(payload, separator)
            && is_secret(&payload[name.text.clone()])
        {
            at = mask_value(&mut shown, payload, separator, &name);
        }
    }
    shown
}

/// Masks the word after each `Bearer`, and after `Basic` where it looks like one, wherever they stand.
fn mask_tokens(shown: &mut Shown<'_>, payload: &[u8]) {
    for (at, _) in payload.iter().enumerate().filter(|(_, byte)| **byte == b' ') {
        let word = payload[..at].iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let word = &payload[at - word..at];
        let token = payload[at + 1..].iter().take_while(|byte| is_token(**byte)).count();
        let token = at + 1..at + 1 + token;
        let looks_like_one = token.len() >= 8 && !payload[token.clone()].iter().all(u8::is_ascii_lowercase);
        if word.eq_ignore_ascii_case(b"bearer") || (word.eq_ignore_ascii_case(b"basic") && looks_like_one) {
            mask(shown, token);
        }
    }
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=' | b'%')
}

/// Masks what stands between the colon and the `@` of `scheme://user:password@host`.
fn mask_user_info(shown: &mut Shown<'_>, payload: &[u8]) {
    let ends = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'/' | b'"' | b'\'' | b'?' | b'#');
    for (at, _) in payload.windows(3).enumerate().filter(|(_, three)| *three == b"://") {
        let start = at + 3;
        let authority = &payload[start..start + payload[start..].iter().take_while(|b| !ends(b)).count()];
        let Some(host) = authority.iter().rposition(|&b| b == b'@') else { continue };
        if let Some(colon) = authority[..host].iter().position(|&b| b == b':') {
            mask(shown, start + colon + 1..start + host);
        }
    }
}

struct Name {
    text: Range<usize>,
    place: Place,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Between quotes, as in JSON.
    Quoted,
    /// At the beginning of a line, as a header.
    Line,
    /// Elsewhere: after a comma, a brace, an ampersand.
    Inline,
}

/// The name that ends right before `separator`.
fn name_before(payload: &[u8], separator: usize) -> Option<Name> {
    let end = payload[..separator].trim_ascii_end().len();
    let start = end.saturating_sub(MAX_NAME_LEN);
    if let Some(quote @ (b'"' | b'\'')) = payload[start..end].last() {
        if payload[separator] != b':' {
            return None;
        }
        let open = payload[start..end - 1].iter().rposition(|b| b == quote).map(|found| start + found + 1)?;
        return Some(Name { text: open..end - 1, place: Place::Quoted });
    }
    let word = payload[start..end].iter().rev().take_while(|b| is_word(**b)).count();
    let text = end - word..end;
    if payload[separator] == b'=' {
        return Some(Name { text, place: Place::Inline });
    }
    let blanks =
        payload[..text.start].iter().rev().take(MAX_NAME_LEN).take_while(|b| matches!(b, b' ' | b'\t')).count();
    match payload[..text.start - blanks].last() {
        None | Some(b'\n' | b'\r') => Some(Name { text, place: Place::Line }),
        // A quote or a backslash: a header inside a JSON string.
        Some(b'{' | b',' | b'[' | b'"' | b'\\') => Some(Name { text, place: Place::Inline }),
        // What is never anything but a header.
        Some(_) if is_header(&payload[text.clone()]) => Some(Name { text, place: Place::Inline }),
        Some(_) => None, // prose: "wrong password: …"
    }
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')
}

fn is_secret(name: &[u8]) -> bool {
    const ENDINGS: [&str; 9] =
        ["password", "passwd", "passphrase", "token", "secret", "appkey", "apikey", "authorization", "cookie"];
    let name = plain(name);
    let singular = name.strip_suffix('s').unwrap_or(&name);
    ENDINGS.iter().any(|ending| name.ends_with(ending) || singular.ends_with(ending))
}

fn is_header(name: &[u8]) -> bool {
    ["authorization", "cookie", "appkey"].iter().any(|ending| plain(name).ends_with(ending))
}

/// A name in lower case, letters and digits only, with `\u0041` decoded: there is more than one way to write it.
fn plain(name: &[u8]) -> String {
    let mut plain = String::new();
    let mut rest = name;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'\\' && after.first() == Some(&b'u') {
            let digits = after.get(1..5).and_then(|digits| std::str::from_utf8(digits).ok());
            if let Some(code) = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
                plain.extend(char::from_u32(code));
                rest = &after[5..];
            }
        } else if first.is_ascii_alphanumeric() {
            plain.push(char::from(*first));
        }
    }
    plain.make_ascii_lowercase();
    plain
}

/// Masks the value after `separator` and tells where it ends.
fn mask_value(shown: &mut Shown<'_>, payload: &[u8], separator: usize, name: &Name) -> usize {
    let skip = |from: usize, skipped: fn(&u8) -> bool| from + payload[from..].iter().take_while(|b| skipped(b)).count();
    if name.place == Place::Line {
        let end = skip(separator + 1, |b| !matches!(b, b'\r' | b'\n'));
        let mut start = skip(separator + 1, |b| matches!(b, b' ' | b'\t'));
        let scheme_end = skip(start, u8::is_ascii_alphabetic);
        let scheme = &payload[start..scheme_end];
        if [&b"bearer"[..], b"basic"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            start = scheme_end;
        }
        // A folded line belongs to the value.
        let mut end = end.max(start);
        while matches!(payload.get(skip(end, |b| *b == b'\r')), Some(b'\n')) {
            let next = skip(end, |b| *b == b'\r') + 1;
            let text = skip(next, |b| matches!(b, b' ' | b'\t'));
            if text == next || text >= payload.len() || matches!(payload[text], b'\r' | b'\n') {
                break;
            }
            end = skip(text, |b| !matches!(b, b'\r' | b'\n'));
        }
        mask(shown, start..end);
        return end;
    }
    let blanks: fn(&u8) -> bool =
        if name.place == Place::Quoted { u8::is_ascii_whitespace } else { |b| matches!(b, b' ' | b'\t') };
    let start = if payload[separator] == b'=' { separator + 1 } else { skip(separator + 1, blanks) };
    let quote = skip(start, |b| *b == b'\\');
    match payload.get(quote) {
        // The end of the JSON string that the name stands in, and no value.
        Some(b'"') if name.place == Place::Inline && ends_a_string(&payload[quote + 1..]) => start,
        Some(b'"') => {
            let end = string_end(payload, quote + 1, quote - start);
            mask(shown, quote + 1..end);
            end
        }
        Some(b'\'') if name.place == Place::Quoted => {
            let end = skip(quote + 1, |b| *b != b'\'');
            mask(shown, quote + 1..end);
            end
        }
        Some(b'{' | b'[') if payload[separator] == b':' => mask_nested(shown, payload, start),
        _ => {
            // Nothing quotes the value, so only what certainly ends it does.
            let mut end = match (name.place, payload[separator]) {
                (Place::Quoted, _) => {
                    skip(start, |b| !b.is_ascii_whitespace() && !matches!(b, b',' | b'}' | b']' | b'"'))
                }
                (_, b'=') => skip(start, |b| !b.is_ascii_whitespace() && !matches!(b, b'"' | b'&')),
                _ => skip(start, |b| !matches!(b, b'\r' | b'\n' | b',' | b'}' | b']' | b'"')),
            };
            // The backslashes of an escaped quote are the quote's.
            if payload.get(end) == Some(&b'"') {
                end -= payload[start..end].iter().rev().take_while(|b| **b == b'\\').count();
            }
            if !matches!(&payload[start..end], b"null" | b"true" | b"false") {
                mask_scalar(shown, start..end);
            }
            end
        }
    }
}

/// Whether a quote that `after` follows looks like the end of a JSON string.
fn ends_a_string(after: &[u8]) -> bool {
    matches!(after.trim_ascii_start().first(), None | Some(b',' | b'}' | b']' | b':'))
}

/// Masks every string and number inside the brackets that open at `start`, names included.
fn mask_nested(shown: &mut Shown<'_>, payload: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while let Some(&byte) = payload.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let end = string_end(payload, at, 0);
                mask(shown, at..end);
                at = end + 1;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return at,
            b'}' | b']' => depth -= 1,
            b'0'..=b'9' => mask_scalar(shown, at - 1..at),
            _ => {}
        }
    }
    payload.len()
}

/// Where the string ends that begins at `start` and whose opening quote had `escapes` backslashes before it: 0 in JSON,
/// 1 in JSON inside a JSON string, 3 one level deeper. A string without an end goes to the end of the string that it
/// stands in, or of the payload.
fn string_end(payload: &[u8], start: usize, escapes: usize) -> usize {
    let mut backslashes = 0;
    for (at, &byte) in payload.iter().enumerate().skip(start) {
        match byte {
            b'\\' => backslashes += 1,
            b'"' if backslashes % (2 * (escapes + 1)) == escapes => return at - escapes,
            b'"' if escapes > 0 && backslashes % 2 == 0 => return at,
            _ => backslashes = 0,
        }
    }
    payload.len()
}

fn mask(shown: &mut Shown<'_>, range: Range<usize>) {
    if range.is_empty() {
        return;
    }
    shown.masked.push(range.clone());
    for byte in &mut shown.bytes.to_mut()[range] {
        if !byte.is_ascii_whitespace() && !matches!(byte, b'-' | b'_' | b'.' | b'=') {
            *byte = b'x';
        }
    }
}

/// A number stays a number: JSON allows no leading zero, so digits become 1.
fn mask_scalar(shown: &mut Shown<'_>, range: Range<usize>) {
    if range.is_empty() {
        return;
    }
    shown.masked.push(range.clone());
    let bytes = &mut shown.bytes.to_mut()[range];
    let is_number = bytes.iter().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E'));
    for byte in bytes {
        match byte {
            b'0'..=b'9' if is_number => *byte = b'1',
            b'-' | b'_' | b'.' | b'=' | b' ' | b'\t' => {}
            b'+' | b'e' | b'E' if is_number => {}
            _ => *byte = b'x',
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        String::from_utf8(redact(text.as_bytes()).into_owned()).expect("still UTF-8")
    }

    #[test]
    fn headers_keep_their_names_and_shapes() {
        for (given, expected) in [
            ("PUT\r\nAuthorization: Bearer aB3-_.x9\r\n\r\n{}", "PUT\r\nAuthorization: Bearer xxx-_.xx\r\n\r\n{}"),
            ("PUT\nauthorization:bearer T0k3n\n\n{}", "PUT\nauthorization:bearer xxxxx\n\n{}"),
            ("GET\r\nAuthorization: T0k3n\r\n\r\n", "GET\r\nAuthorization: xxxxx\r\n\r\n"),
            ("GET\r\nAUTHORIZATION:Basic YTpi==", "GET\r\nAUTHORIZATION:Basic xxxx=="),
            ("GET\r\nAuthorization: Bearer\r\n abc\r\nX: y", "GET\r\nAuthorization: Bearer\r\n xxx\r\nX: y"),
            ("X-Kii-AppKey:0123abc\r\nX-Kii-AppID:a1\r\n", "X-Kii-AppKey:xxxxxxx\r\nX-Kii-AppID:a1\r\n"),
            ("Set-Cookie: a=b; c", "Set-Cookie: x=xx x"),
            (
                "Content-Type: text/html;charset=UTF-8\r\nX-Kii-RequestID: a:b\r\n",
                "Content-Type: text/html;charset=UTF-8\r\nX-Kii-RequestID: a:b\r\n",
            ),
        ] {
            assert_eq!(shown(given), expected);
        }
    }

    #[test]
    fn json_members_keep_their_names_and_stay_json() {
        for (given, expected) in [
            (r#"{"accessToken" : "aB3", "thingID" : "th.1"}"#, r#"{"accessToken" : "xxx", "thingID" : "th.1"}"#),
            (r#"{"thingPassword":"p\"w\\","x":1}"#, r#"{"thingPassword":"xxxxxx","x":1}"#),
            (r#"{"_password":"p","password":"ü"}"#, r#"{"_password":"x","password":"xx"}"#),
            (r#"{"access_token":"a","token_type":"bearer"}"#, r#"{"access_token":"x","token_type":"bearer"}"#),
            (r#"{"password":1234,"a":null}"#, r#"{"password":1111,"a":null}"#),
            (r#"{"password":-1.5e3}"#, r#"{"password":-1.1e1}"#),
            (r#"{"password":null}"#, r#"{"password":null}"#),
            (r#"{"password":{"v":["a",12]},"b":"c"}"#, r#"{"password":{"x":["x",11]},"b":"c"}"#),
            (r#"{"pass\u0077ord":"abc"}"#, r#"{"pass\u0077ord":"xxx"}"#),
            ("{\"password\"\n:\n\"abc\"}", "{\"password\"\n:\n\"xxx\"}"),
            (r#"{"paginationKey":"a/1","username":"u"}"#, r#"{"paginationKey":"a/1","username":"u"}"#),
            (r#"{"message":"wrong password: x"}"#, r#"{"message":"wrong password: x"}"#),
        ] {
            assert_eq!(shown(given), expected);
        }
    }

    #[test]
    fn broken_frames_are_masked_too() {
        for (given, expected) in [
            (r#"200 {"accessToken":"abc"#, r#"200 {"accessToken":"xxx"#),
            ("X: \"\r\n\r\n{\"password\":\"abc\"}", "X: \"\r\n\r\n{\"password\":\"xxx\"}"),
            (r#"{thingPassword: "abc", a: b}"#, r#"{thingPassword: "xxx", a: b}"#),
            ("grant_type=password&client_secret=abc&x=y", "grant_type=password&client_secret=xxx&x=y"),
            ("client_secret=a,b}c&x=y", "client_secret=xxxxx&x=y"),
            ("{Authorization: Bearer abc, a: b}", "{Authorization: xxxxxx xxx, a: b}"),
            (r#"{"sent":"Authorization: Bearer abc"}"#, r#"{"sent":"Authorization: xxxxxx xxx"}"#),
            (r#"{"sent":"GET\nAuthorization: Bearer abc\n"}"#, r#"{"sent":"GET\nAuthorization: xxxxxx xxxxx"}"#),
            (r#"{"url":"/x?token=","a":"b"}"#, r#"{"url":"/x?token=","a":"b"}"#),
            (r#"<a token="abc" b="c"/>"#, r#"<a token="xxx" b="c"/>"#),
            (r#"{"url":"\"/x?token=abc\""}"#, r#"{"url":"\"/x?token=xxx\""}"#),
            (r#"{"v":"{\"accessToken\":\"a\\\"b\",\"x\":1}"}"#, r#"{"v":"{\"accessToken\":\"xxxxxx\",\"x\":1}"}"#),
        ] {
            assert_eq!(shown(given), expected);
        }
        assert_eq!(&redact(b"\xFF\"password\":\"\xFE\"\xFD")[..], b"\xFF\"password\":\"x\"\xFD");
    }

    #[test]
    fn what_is_shown_cannot_confuse_a_terminal() {
        let shown = Redacted::new(b"200\r\nA: \x1b[2J\xff\r\xc3\xa9\n\n{\"token\":\"\xc3\xa9\"}");
        assert_eq!(shown.to_string(), "200\nA: \\u{1b}[2J\\xff\\r\u{e9}\n\n{\"token\":\"xx\"}");
        assert_eq!(format!("{shown:?}").lines().count(), 1);
        assert_eq!(format!("{:?}", Redacted::new("a\"\\\r\n")), r#""a\"\\\r\n""#);
    }

    #[test]
    fn what_has_no_secret_is_not_copied() {
        assert!(matches!(redact(b"200\r\nDate:Fri\r\n\r\n{\"a\" : 1}"), Cow::Borrowed(_)));
    }

    fn any_value() -> impl Strategy<Value = serde_json::Value> {
        let name =
            prop_oneof![Just("accessToken"), Just("thingPassword"), Just("a"), Just("x:y=z"), Just("say \"\\\"")];
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "[a-z\"\\\\:=\u{0}-\u{1F}é]{0,8}".prop_map(Into::into),
            "[ab\"\n]{0,2}(token=|token:|Authorization: )[a-z0-9\"\\\\&,}\n]{0,6}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 20, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::vec((name.clone(), inner), 0..4).prop_map(|members| {
                    serde_json::Value::Object(
                        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                    )
                }),
            ]
        })
    }

    /// Whether any secret member still has a letter or digit that masking does not produce.
    fn leaks(value: &serde_json::Value, secret: bool) -> bool {
        match value {
            serde_json::Value::Object(members) => {
                members.iter().any(|(name, value)| leaks(value, secret || is_secret(name.as_bytes())))
            }
            serde_json::Value::Array(items) => items.iter().any(|item| leaks(item, secret)),
            serde_json::Value::String(text) => secret && !text.chars().all(|c| matches!(c, 'x' | '=' | ' ')),
            serde_json::Value::Number(number) => secret && !number.to_string().chars().all(|c| matches!(c, '1' | '-')),
            _ => false,
        }
    }

    const PLANTED: &str = "Zq7xY2kW9vB4";

    /// A head's line, its name in any case, with or without the secret.
    fn any_header() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            Just("Authorization"),
            Just("Proxy-Authorization"),
            Just("Cookie"),
            Just("Set-Cookie"),
            Just("X-Kii-AppKey"),
            Just("X-Api-Key"),
            Just("X-Auth-Token"),
            Just("X-Password"),
        ];
        let value = prop_oneof![
            Just(PLANTED.to_owned()),
            Just(format!("Bearer {PLANTED}")),
            Just(format!("Basic {PLANTED}==")),
            Just(format!("sid={PLANTED}; Path=/")),
            Just(format!("\"{PLANTED}\", \"{PLANTED}\"")),
        ];
        let harmless = prop_oneof![
            Just("Content-Type: application/json".to_owned()),
            Just("X-Kii-RequestID:17".to_owned()),
            Just("Date: a=b".to_owned()),
        ];
        let secret = (name, 0usize..3, "[ \t]{0,2}", value).prop_map(|(name, case, blanks, value)| {
            let name = [name.to_owned(), name.to_ascii_lowercase(), name.to_ascii_uppercase()][case].clone();
            format!("{name}:{blanks}{value}")
        });
        prop_oneof![secret, harmless]
    }

    fn any_body() -> impl Strategy<Value = String> {
        let member = prop_oneof![
            Just("accessToken"),
            Just("access_token"),
            Just("refresh_token"),
            Just("thingPassword"),
            Just("_password"),
            Just("client_secret"),
            Just("appKey"),
        ];
        (member, any::<bool>(), 0usize..4).prop_map(|(member, pretty, shape)| {
            let leaf = serde_json::json!({"a": 1, member: PLANTED, "b": "c:d"});
            let value = match shape {
                0 => leaf,
                1 => serde_json::json!({"mqttEndpoint": {"username": "u", "password": PLANTED, "host": "h"}, "x": [leaf]}),
                // The service quotes what it was sent.
                2 => serde_json::json!({"message": leaf.to_string()}),
                _ => return format!("a=b&{member}={PLANTED}&c=d"),
            };
            if pretty { format!("{value:#}") } else { value.to_string() }
        })
    }

    proptest! {
        #[test]
        fn no_secret_of_a_frame_is_shown_whole_or_cut_off(
            start in prop_oneof![Just("PUT"), Just("200"), Just(""), Just("GET /x?access_token=Zq7xY2kW9vB4&v=1 HTTP/1.1")],
            end in prop_oneof![Just("\r\n"), Just("\n")],
            headers in proptest::collection::vec(any_header(), 0..6),
            body in any_body(),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut frame = format!("{start}{end}");
            for header in headers {
                frame.push_str(&header);
                frame.push_str(end);
            }
            frame.push_str(end);
            frame.push_str(&body);
            let cut = cut.index(frame.len() + 1);
            for frame in [&frame[..], &frame[..cut]] {
                let shown = Redacted::new(frame);
                for text in [shown.to_string(), format!("{shown:?}")] {
                    prop_assert!(!text.contains(&PLANTED[..4]), "{text}");
                }
                prop_assert_eq!(redact(frame.as_bytes()).len(), frame.len());
            }
        }
    }

    proptest! {
        #[test]
        fn json_stays_json_of_the_same_length_without_its_secrets(value in any_value(), pretty in any::<bool>()) {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let shown = shown(&text);
            prop_assert_eq!(shown.len(), text.len());
            let after: serde_json::Value = serde_json::from_str(&shown).expect("still JSON");
            prop_assert!(!leaks(&after, false), "{}", shown);
        }

        #[test]
        fn any_bytes_keep_their_length(bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), Just(b'"'), Just(b':'), Just(b'\\'), Just(b'\n'), Just(b'{')], 0..60,
        ), at in any::<proptest::sample::Index>()) {
            let mut payload = bytes;
            let at = at.index(payload.len() + 1);
            payload.splice(at..at, *b"\"password\":");
            let shown = redact(&payload);
            prop_assert_eq!(shown.len(), payload.len());
        }
    }

    proptest! {
        /// A redacted payload has its secrets where the payload had them, and nothing else was changed.
        #[test]
        fn the_places_of_secrets_survive_redaction(value in any_value(), pretty in any::<bool>(), header in any_header()) {
            let body = if pretty { format!("{value:#}") } else { value.to_string() };
            let text = format!("PUT\r\n{header}\r\n\r\n{body}");
            let shown = redact(text.as_bytes());
            let places = secrets_in(text.as_bytes());
            prop_assert_eq!(&secrets_in(&shown), &places);
            let mut at = 0;
            for place in &places {
                prop_assert!(place.start >= at && place.end > place.start);
                prop_assert_eq!(&shown[at..place.start], &text.as_bytes()[at..place.start]);
                at = place.end;
            }
            prop_assert_eq!(&shown[at..], &text.as_bytes()[at..]);
        }
    }

    #[test]
    fn what_is_escaped_is_found_all_the_same() {
        for text in [
            r#"{"message":"{\u0022password\u0022:\u0022hunter2\u0022}"}"#,
            r#"{"message":"{\"password\"\u003a\"hunter2\"}"}"#,
            r#"{"url":"/x?access_token\u003dhunter2\u0026b=c"}"#,
            r#"{"url":"/x?a=1\u0026access_token=hunter2"}"#,
            r#"{"url":"/x?u=https%3A%2F%2Fh%3Faccess_token%3Dhunter2"}"#,
            r#"{"url":"/x?u=https%253A%252F%252Fh%253Faccess_token%253Dhunter2"}"#,
            "grant_type=password&passwor%64=hunter2",
            r#"{"p\u0061ssword":"hun\u0074er2"}"#,
        ] {
            let shown = shown(text);
            assert!(!shown.contains("hunter2") && !shown.contains("er2") && shown.len() == text.len(), "{shown}");
        }
        let quoted = r#"{"message":"{\u0022password\u0022:\u0022hunter2\u0022,\u0022on\u0022:\u0022yes\u0022}"}"#;
        assert!(
            shown(quoted).ends_with(r#"\u0022xxxxxxx\u0022,\u0022on\u0022:\u0022yes\u0022}"}"#),
            "{}",
            shown(quoted)
        );
        assert_eq!(shown("100%25 of %41 and a\\u0041=1"), "100%25 of %41 and a\\u0041=1");
    }

    #[test]
    fn credentials_are_found_wherever_they_stand() {
        let far = format!("{{\"password\" {} :\"hunter2\"}}", " ".repeat(200));
        for text in [
            r#"{"message":"bad header Authorization: Bearer aB3hunter2"}"#,
            "the token bearer hunter2 is not known",
            "wrong credentials: Basic YW5uOmh1bnRlcjI=",
            "Location: https://ann:hunter2@h/",
            "proxy http://ann:hunter2@h:3128 refused",
            r#"{"accessTokens":["hunter2"]}"#,
            "{'password':'hunter2'}",
            "GET\r\nX: a\r\n Authorization: Bearer hunter2\r\n\r\n",
            "GET\r\nAuthorization:\r\n\thunter2\r\n\r\n",
            "a=1;password=hunter2",
            &far,
        ] {
            let shown = shown(text);
            assert!(!shown.contains("hunter2") && !shown.contains("h1bnRlcjI") && shown.len() == text.len(), "{shown}");
        }
        for text in ["Basic usage is shown", "http://h:80/a@b", "mailto:ann@h", "it's 10:30 o'clock"] {
            assert_eq!(shown(text), text);
        }
    }
}
