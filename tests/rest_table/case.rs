//! A case, and what its answer must be.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cloud_support::Answer;
use crate::cloud_support::names::Names;

/// Method and path, Authorization, Content-Type (`-` none; further headers on lines of their own), body; status, and what the
/// answer says: an error code, or JSON in which `"*"` stands for any value and `"={N}"` or `"=$n"` for one that later cases
/// name so, or nothing. Names are filled in everywhere; `{tgt}` begins the paths of the thing `{TH}`, as in `wire` §5.
pub(crate) type Case = (&'static str, &'static str, &'static str, &'static str, u16, &'static str);

/// In what circumstances cases are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Usual,
    /// The cloud was closed, and is still asked.
    Closed,
    /// Somebody has damaged the database under it.
    Broken,
    /// The edge takes one request a second.
    Hurried,
    /// The edge takes none.
    Full,
}

/// A case as it is sent.
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn of((line, authorization, content_type, body, ..): &Case, names: &Names) -> Self {
        let (method, path) = line.split_once(' ').expect("method and path");
        let mut headers = Vec::new();
        if *authorization != "-" {
            headers.push(("Authorization".to_owned(), names.fill(authorization)));
        }
        let mut lines = content_type.lines();
        match lines.next() {
            Some("-") | None => {}
            Some(media_type) => headers.push(("Content-Type".to_owned(), media_type.to_owned())),
        }
        for line in lines {
            let (name, value) = line.split_once(": ").expect("name and value");
            headers.push((name.to_owned(), names.fill(value)));
        }
        let path = names.fill(&path.replace("{tgt}", "/thing-if/apps/{APP}/targets/thing:{TH}"));
        Self { method, path, headers, body: names.fill(body) }
    }

    /// Whether it is an operation that there is over MQTT.
    pub(crate) fn is_thing_if(&self) -> bool {
        self.path.starts_with("/thing-if/")
    }
}

/// What was answered, without what differs from one world to another.
#[derive(Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) status: u16,
    headers: BTreeMap<&'static str, String>,
    pub(crate) body: Value,
}

/// The headers that are part of what an answer says.
const HEADERS: [&str; 7] =
    ["content-type", "cache-control", "location", "etag", "www-authenticate", "retry-after", "allow"];

/// Checks every part of an answer, and learns the names it gives.
pub(crate) fn check(case: &Case, request: &Request, answer: &Answer, names: &mut Names) -> Result<Told, String> {
    let (line, authorization, content_type, body, status, says) = case;
    let shown = String::from_utf8_lossy(&answer.body).into_owned();
    let wrong = |what: &str| {
        Err(format!(
            "{line} [{authorization}] [{content_type}] {body}\n  {what}, not {status} {says}: {} {shown}",
            answer.status
        ))
    };
    let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if answer.status != *status {
        return wrong("another status");
    }
    if header("cache-control") != "max-age=0, no-cache, no-store" {
        return wrong("it may be cached");
    }
    if shown.contains("secret of") {
        return wrong("a password is told");
    }
    let mut any = Vec::new();
    let body = if says.is_empty() || request.method == "HEAD" {
        if !shown.is_empty() {
            return wrong("a body");
        }
        Value::Null
    } else {
        let media_type = header("content-type");
        let is_own = media_type.starts_with("application/vnd.") && media_type.ends_with("+json");
        if media_type != "application/json" && (request.is_thing_if() || !is_own) {
            return wrong("another media type");
        }
        let Ok(body) = serde_json::from_str::<Value>(&shown) else { return wrong("no JSON") };
        if !shown.starts_with("{\n") {
            return wrong("not the layout that every client reads");
        }
        if *status >= 400 {
            if body["errorCode"] != *says || body["message"].as_str().is_none_or(str::is_empty) {
                return wrong("another error");
            }
            body
        } else {
            let expected = serde_json::from_str(says).unwrap_or_else(|error| panic!("{error}: {says}"));
            // A name that is learnt may begin with one that is known.
            let expected = texts(expected, &|text| if text.starts_with('=') { text } else { names.fill(&text) });
            let mut learnt = Vec::new();
            if !matches(&expected, &body, &mut any, &mut learnt) {
                return wrong("another body");
            }
            for (name, value) in learnt {
                names.add(name, value);
            }
            expected
        }
    };
    let without = |text: &str| any.iter().fold(names.unfill(text), |text, any| text.replace(any, "*"));
    let headers = HEADERS.into_iter().filter(|name| answer.headers.contains_key(*name));
    let headers = headers.map(|name| (name, without(header(name)))).collect();
    Ok(Told { status: *status, headers, body: texts(body, &|text| names.unfill(&text)) })
}

/// Whether `actual` has the same members in the same order, with the same values. `any` collects the texts that stand where
/// everything may.
fn matches(expected: &Value, actual: &Value, any: &mut Vec<String>, learnt: &mut Vec<(String, String)>) -> bool {
    match (expected, actual) {
        (Value::String(star), actual) if star == "*" => {
            any.extend(actual.as_str().filter(|text| text.len() > 5).map(str::to_owned));
            true
        }
        (Value::String(name), Value::String(value)) if name.starts_with('=') => {
            learnt.push((name[1..].to_owned(), value.clone()));
            true
        }
        (Value::Object(expected), Value::Object(actual)) => {
            expected.keys().eq(actual.keys())
                && expected.iter().all(|(key, value)| matches(value, &actual[key], any, learnt))
        }
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len() && expected.iter().zip(actual).all(|(e, a)| matches(e, a, any, learnt))
        }
        _ => expected == actual,
    }
}

/// The same with other texts.
fn texts(value: Value, of: &dyn Fn(String) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(of(text)),
        Value::Array(all) => all.into_iter().map(|value| texts(value, of)).collect(),
        Value::Object(all) => all.into_iter().map(|(key, value)| (key, texts(value, of))).collect(),
        other => other,
    }
}
