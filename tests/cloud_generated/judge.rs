//! What every answer must be, whatever was asked.

use std::collections::BTreeMap;

use serde_json::Value;
use thingif::thing_if::ErrorCode;

use crate::cloud_support::Answer;
use crate::story::Asked;

/// The longest body of an answer that fits a frame beside its head. (`wire` §8)
const MAX_BODY: usize = 48 * 1024;

/// Errors of the service's own that are documented: each says when to come again, or that it will never be.
fn is_documented(status: u16, code: &str, answer: &Answer) -> bool {
    match (status, code) {
        (501, "OPERATION_NOT_IMPLEMENTED") => true,
        (503, "MQTT_ENDPOINT_NOT_READY" | "RESOURCE_TEMPORARILY_UNAVAILABLE" | "TEMPORARY_UNAVAILABLE_ERROR") => {
            answer.headers.contains_key("retry-after")
        }
        _ => false,
    }
}

/// What is wrong with the answer, if anything; else its body.
pub(crate) fn judge(asked: &Asked, answer: &Answer, known: &BTreeMap<&str, u16>) -> Result<Value, String> {
    let status = answer.status;
    let Answer { headers, body, .. } = answer;
    if body.len() > MAX_BODY {
        return Err(format!("{} bytes", body.len()));
    }
    // What browsers ask beforehand is answered before the router.
    if headers.get("cache-control").is_none() && asked.method != "OPTIONS" {
        return Err("it may be cached".to_owned());
    }
    // What the edge itself refuses it refuses with a body, whatever the verb is.
    let is_head =
        asked.method == "HEAD" && !(headers.contains_key("x-kii-requestid") && status >= 400 && !body.is_empty());
    let has_none = is_head || matches!(status, 204 | 304) || body.is_empty() && status < 300;
    if has_none {
        return if body.is_empty() { Ok(Value::Null) } else { Err("a body where there is none".to_owned()) };
    }
    let media_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_json = media_type.starts_with("application/")
        && media_type.split(';').next().is_some_and(|t| t.trim_end().ends_with("json"));
    if !is_json {
        return Err(format!("{media_type:?} is no media type of JSON"));
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
    if status < 400 {
        return if value.is_object() { Ok(value) } else { Err("no object".to_owned()) };
    }
    let code = value["errorCode"].as_str().unwrap_or_default();
    if value["message"].as_str().is_none_or(str::is_empty) {
        return Err("no message".to_owned());
    }
    if known.get(code) != Some(&status) {
        return Err(format!("{status} {code:?} is not in the account"));
    }
    if status >= 500 && !is_documented(status, code, answer) {
        return Err("the service failed".to_owned());
    }
    Ok(value)
}

/// Every code and its status.
pub(crate) fn known_errors() -> BTreeMap<&'static str, u16> {
    ErrorCode::KNOWN.iter().map(|code| (code.as_str(), code.status().as_u16())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, media_type: &str, body: &str) -> Answer {
        let mut headers = http::HeaderMap::new();
        headers.insert("cache-control", http::HeaderValue::from_static("no-store"));
        if !media_type.is_empty() {
            headers.insert("content-type", media_type.parse().expect("a header value"));
        }
        Answer { status, headers, body: body.to_owned().into() }
    }

    #[test]
    fn what_no_answer_may_be_is_found() {
        let asked = Asked { method: "GET".into(), path: "/".into(), headers: Vec::new(), body: Vec::new() };
        let told = |answer: &Answer| judge(&asked, answer, &known_errors()).err().unwrap_or_default();
        let json = "application/json";
        let error = |code: &str| format!(r#"{{"errorCode":"{code}","message":"m"}}"#);
        for good in [
            answer(200, json, "{}"),
            answer(200, "application/vnd.app.mydata+json", "{}"),
            answer(204, "", ""),
            answer(404, json, &error("THING_NOT_FOUND")),
            answer(501, json, &error("OPERATION_NOT_IMPLEMENTED")),
        ] {
            assert_eq!(told(&good), "", "{good:?}");
        }
        for bad in [
            answer(500, json, &error("UNDEFINED_ERROR")),
            answer(503, json, &error("RESOURCE_TEMPORARILY_UNAVAILABLE")), // and does not say when to come again
            answer(400, json, &error("THING_NOT_FOUND")),
            answer(400, json, &error("NO_SUCH_CODE")),
            answer(400, json, r#"{"errorCode":"INVALID_JSON"}"#),
            answer(400, json, ""),
            answer(200, json, "[1]"),
            answer(200, json, "{"),
            answer(200, "", "{}"),
            answer(200, "text/html", "{}"),
            answer(204, json, "{}"),
            answer(200, json, &format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BODY))),
        ] {
            assert_ne!(told(&bad), "", "{bad:?}");
        }
    }
}
