//! `Retry-After`, as a number.

use std::time::Duration;

use http::header::{HeaderMap, RETRY_AFTER};

/// How many seconds the answer with these headers asks to wait, by its `Retry-After`. `None` when there is none, and when
/// it is a date: what that means depends on a clock. (RFC 9110 §10.2.3)
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let wait = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !wait.is_empty() && wait.bytes().all(|digit| digit.is_ascii_digit());
    // More digits than a number can have are longer than anybody waits.
    is_number.then(|| Duration::from_secs(wait.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_number_is_one() {
        assert_eq!(retry_after(&HeaderMap::new()), None);
        for (wait, expected) in [
            ("10", Some(10)),
            (" 10 ", Some(10)),
            ("0", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 12:00:00 GMT", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(wait));
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{wait:?}");
        }
    }
}
