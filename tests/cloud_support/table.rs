//! Tables of requests, each with its whole answer.

use serde_json::Value;

use super::Road;

/// Method and path, Authorization, Content-Type (`-` none), body; status, and what the answer says: an error code, or JSON
/// in which `"*"` stands for any value, or nothing. Names in the table are filled in everywhere.
pub(crate) type Case<'a> = (&'a str, &'a str, &'a str, &'a str, u16, &'a str);

/// What the cases may name: a text, and what stands for it.
#[derive(Default)]
pub(crate) struct Names(Vec<(&'static str, String)>);

impl Names {
    pub(crate) fn add(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
        // Longer names first: `$gw2` is not `$gw` followed by something.
        self.0.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    }

    pub(crate) fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    pub(crate) async fn run(&self, road: &Road, cases: &[Case<'_>]) {
        for case in cases {
            self.check(road, case).await;
        }
    }

    /// Sends one request and checks every part of its answer.
    pub(crate) async fn check(&self, road: &Road, (line, authorization, content_type, body, status, says): &Case<'_>) {
        let (method, path) = line.split_once(' ').expect("method and path");
        let (path, authorization, body) = (self.fill(path), self.fill(authorization), self.fill(body));
        let mut headers = Vec::new();
        if authorization != "-" {
            headers.push(("Authorization", authorization.as_str()));
        }
        if *content_type != "-" {
            headers.push(("Content-Type", *content_type));
        }
        let answer = road.send(method, &path, &headers, &body).await;
        let shown = String::from_utf8_lossy(&answer.body).into_owned();
        let what = format!("{line} [{authorization}] {body}: {} {shown}", answer.status);
        assert_eq!(answer.status, *status, "{what}");
        assert_eq!(answer.headers["cache-control"], "max-age=0, no-cache, no-store", "{what}");
        assert!(!shown.contains("secret of"), "{what}");
        if says.is_empty() || method == "HEAD" {
            assert_eq!(shown, "", "{what}");
            return;
        }
        assert_eq!(answer.headers["content-type"], "application/json", "{what}");
        assert!(shown.starts_with("{\n"), "{what}");
        if *status >= 400 {
            assert_eq!(answer.code(), *says, "{what}");
            assert!(!answer.text("message").is_empty(), "{what}");
        } else {
            let expected: Value =
                serde_json::from_str(&self.fill(says)).unwrap_or_else(|error| panic!("{error}: {says}"));
            assert!(matches(&expected, &answer.json()), "{what}\nexpected {expected}");
        }
    }
}

/// Whether `actual` has the same members in the same order, with the same values.
fn matches(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::String(any), _) if any == "*" => true,
        (Value::Object(expected), Value::Object(actual)) => {
            expected.keys().eq(actual.keys()) && expected.iter().all(|(key, value)| matches(value, &actual[key]))
        }
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len() && expected.iter().zip(actual).all(|(e, a)| matches(e, a))
        }
        _ => expected == actual,
    }
}
