//! What a value must look like. (the chapter [`format`](super::format), "Matching")

use std::fmt;

use serde_json::{Map, Value};

use crate::secret::Redacted;

/// Where a value differs from what was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// Names and indices, separated by dots; empty for the value itself.
    pub path: String,
    /// What was asked for.
    pub expected: Value,
    /// What is there; `None` when nothing is.
    pub came: Option<Value>,
}

/// What stands in the names of secrets.
const SECRET: [&str; 5] = ["password", "authorization", "token", "secret", "_key"];

/// Shows both sides; what stands below a name that holds a secret is left out.
impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.path.is_empty() { "it" } else { &self.path };
        let name = self.path.to_ascii_lowercase();
        if SECRET.iter().any(|secret| name.contains(secret)) {
            return write!(f, "{place} is not as expected (secrets are not shown)");
        }
        let shown = |value: &Value| Cut(&Redacted::new(&value.to_string()).to_string()).to_string();
        match &self.came {
            Some(came) => write!(f, "{place} must be {}, and is {}", shown(&self.expected), shown(came)),
            None => write!(f, "{place} must be {}, and is not there", shown(&self.expected)),
        }
    }
}

/// A text of bounded length.
pub(super) struct Cut<'a>(pub(super) &'a str);

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 300;
        match self.0.char_indices().nth(MOST) {
            None => f.write_str(self.0),
            Some((end, _)) => write!(f, "{}… ({} bytes)", &self.0[..end], self.0.len()),
        }
    }
}

/// Compares.
///
/// # Errors
/// The first [`Mismatch`].
pub fn matches(expected: &Value, came: Option<&Value>) -> Result<(), Box<Mismatch>> {
    compare("", expected, came)
}

/// Compares all members of an object that are asked for.
///
/// # Errors
/// The first [`Mismatch`].
pub fn matches_all(expected: &Map<String, Value>, came: &Value) -> Result<(), Box<Mismatch>> {
    members("", expected, came)
}

fn compare(path: &str, expected: &Value, came: Option<&Value>) -> Result<(), Box<Mismatch>> {
    let mismatch = || Box::new(Mismatch { path: path.to_owned(), expected: expected.clone(), came: came.cloned() });
    if let Some((rule, operand)) = as_rule(expected) {
        return if holds(rule, operand, came) { Ok(()) } else { Err(mismatch()) };
    }
    match (expected, came) {
        (Value::Object(expected), Some(came @ Value::Object(_))) => members(path, expected, came),
        (Value::Array(expected), Some(Value::Array(came))) if expected.len() == came.len() => expected
            .iter()
            .zip(came)
            .enumerate()
            .try_for_each(|(n, (expected, came))| compare(&below(path, &n.to_string()), expected, Some(came))),
        (Value::Number(a), Some(Value::Number(b))) if a.as_f64() == b.as_f64() => Ok(()),
        (expected, Some(came)) if expected == came => Ok(()),
        _ => Err(mismatch()),
    }
}

fn members(path: &str, expected: &Map<String, Value>, came: &Value) -> Result<(), Box<Mismatch>> {
    expected.iter().try_for_each(|(name, expected)| compare(&below(path, name), expected, came.get(name)))
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// An object with one member whose name begins with `$`.
fn as_rule(value: &Value) -> Option<(&str, &Value)> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    object.iter().next().filter(|(name, _)| name.starts_with('$')).map(|(name, operand)| (name.as_str(), operand))
}

fn holds(rule: &str, operand: &Value, came: Option<&Value>) -> bool {
    let text = came.and_then(Value::as_str);
    let operand_text = operand.as_str().unwrap_or_default();
    let number = came.and_then(Value::as_f64);
    match rule {
        "$absent" => came.is_none_or(Value::is_null) == operand.as_bool().unwrap_or(true),
        "$any" => came.is_some(),
        "$text" => text.is_some_and(|text| !text.is_empty()),
        "$number" => number.is_some(),
        "$prefix" => text.is_some_and(|text| text.starts_with(operand_text)),
        "$suffix" => text.is_some_and(|text| text.ends_with(operand_text)),
        "$contains" => text.is_some_and(|text| text.contains(operand_text)),
        "$ignore_case" => text.is_some_and(|text| text.eq_ignore_ascii_case(operand_text)),
        "$least" => number.is_some_and(|number| operand.as_f64().is_some_and(|least| number >= least)),
        "$most" => number.is_some_and(|number| operand.as_f64().is_some_and(|most| number <= most)),
        "$id" => text.is_some_and(is_request_id),
        "$not" => compare("", operand, came).is_err(),
        "$all" => list(operand).iter().all(|operand| compare("", operand, came).is_ok()),
        "$one_of" => list(operand).iter().any(|operand| compare("", operand, came).is_ok()),
        "$includes" => list_of(came).iter().any(|came| compare("", operand, Some(came)).is_ok()),
        _ => false,
    }
}

/// The rules there are.
pub(super) const RULES: [&str; 15] = [
    "$absent",
    "$text",
    "$number",
    "$prefix",
    "$suffix",
    "$contains",
    "$ignore_case",
    "$least",
    "$most",
    "$id",
    "$not",
    "$all",
    "$one_of",
    "$includes",
    "$any",
];

/// The first rule below `value` that does not exist, or that is not alone in its object.
pub(super) fn unknown_rule(value: &Value) -> Option<&str> {
    let is_rule = |name: &str| name.starts_with('$') && !name.starts_with("${");
    match value {
        Value::Object(object) => object.iter().find_map(|(name, value)| {
            let is_wrong = is_rule(name) && (object.len() > 1 || !RULES.contains(&name.as_str()));
            if is_wrong { Some(name.as_str()) } else { unknown_rule(value) }
        }),
        Value::Array(list) => list.iter().find_map(unknown_rule),
        _ => None,
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn list_of(value: Option<&Value>) -> &[Value] {
    value.map_or(&[], list)
}

/// At most 64 printable characters of ASCII, without a space. (`wire` §8)
fn is_request_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ok(expected: Value, came: Value) -> bool {
        matches(&expected, Some(&came)).is_ok()
    }

    #[test]
    fn members_that_are_not_asked_for_do_not_count() {
        assert!(ok(json!({"a": 1}), json!({"a": 1.0, "b": 2})));
        assert!(!ok(json!({"a": 1}), json!({"b": 2})));
        assert!(ok(json!([1, {"a": "x"}]), json!([1, {"a": "x", "b": 0}])));
        assert!(!ok(json!([1]), json!([1, 2])));
    }

    #[test]
    fn each_rule_holds_and_does_not() {
        for (rule, yes, no) in [
            (json!({"$absent": true}), json!(null), json!(1)),
            (json!({"$text": true}), json!("x"), json!("")),
            (json!({"$number": true}), json!(1), json!("1")),
            (json!({"$prefix": "ab"}), json!("abc"), json!("ba")),
            (json!({"$suffix": "bc"}), json!("abc"), json!("ab")),
            (json!({"$contains": "b"}), json!("abc"), json!("ac")),
            (json!({"$ignore_case": "Bearer"}), json!("bearer"), json!("Basic")),
            (json!({"$least": 2}), json!(2), json!(1)),
            (json!({"$most": 2}), json!(2), json!(3)),
            (json!({"$id": true}), json!("a-1"), json!("a 1")),
            (json!({"$not": "a"}), json!("b"), json!("a")),
            (json!({"$all": [{"$prefix": "a"}, {"$suffix": "b"}]}), json!("ab"), json!("a")),
            (json!({"$one_of": [1, 2]}), json!(2), json!(3)),
            (json!({"$includes": {"a": 1}}), json!([{"a": 1, "b": 2}]), json!([])),
        ] {
            assert!(ok(rule.clone(), yes), "{rule}");
            assert!(!ok(rule.clone(), no), "{rule}");
        }
        assert!(matches(&json!({"$absent": true}), None).is_ok());
        assert!(matches(&json!({"$not": "a"}), None).is_ok());
        assert!(matches(&json!({"$text": true}), None).is_err());
    }

    #[test]
    fn a_rule_that_does_not_exist_is_found() {
        assert_eq!(unknown_rule(&json!({"a": [{"$prefx": "x"}]})), Some("$prefx"));
        assert_eq!(unknown_rule(&json!({"a": [{"$prefix": "x"}]})), None);
        assert_eq!(unknown_rule(&json!({"${name}": 1, "b": 2})), None);
        unknown_rule(&json!({"$prefix": "x", "$suffix": "y"})).expect("two at once are no rule");
    }

    #[test]
    fn a_mismatch_names_its_place_and_no_secret() {
        let error = matches(&json!({"a": [1, {"b": 2}]}), Some(&json!({"a": [1, {"b": 3}]}))).expect_err("differs");
        assert_eq!(error.to_string(), "a.1.b must be 2, and is 3");
        let error = matches(&json!({"password": "a"}), Some(&json!({"password": "hunter2"}))).expect_err("differs");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let error = matches(&json!({"frame": {"json": {"accessToken": "a"}}}), Some(&json!({}))).expect_err("differs");
        assert_eq!(error.to_string(), r#"frame must be {"json":{"accessToken":"x"}}, and is not there"#);
        let body = json!({"body": "{\"password\":\"hunter2\"}"});
        let error = matches(&json!({"body": "x"}), Some(&body)).expect_err("differs");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
