//! `Retry-After`, in both of its forms.

use std::time::Duration;

use http::header::{DATE, HeaderMap, RETRY_AFTER};

/// How long the answer with these headers asks to wait, by its `Retry-After`: seconds, or an HTTP-date, which is taken
/// relative to the answer's own `Date`, so that the device's clock does not matter. A date that has passed is zero.
/// `None` when there is none, it is neither, or it is a date and the answer has no `Date` of its own. (RFC 9110 §10.2.3)
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let wait = text(RETRY_AFTER)?;
    if wait.bytes().all(|digit| digit.is_ascii_digit()) {
        // More digits than a number can have are longer than anybody waits.
        return (!wait.is_empty()).then(|| Duration::from_secs(wait.parse().unwrap_or(u64::MAX)));
    }
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let (then, answered) = (date(wait)?, date(text(DATE)?)?);
    Some(then.duration_since(answered).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(wait: &'static str, date: Option<&'static str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(wait));
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_static(date));
        }
        retry_after(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_dates() {
        const NOON: &str = "Sun, 06 Nov 1994 12:00:00 GMT";
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
        ] {
            assert_eq!(read(wait, None), expected, "{wait:?}");
        }
        assert_eq!(read("Sun, 06 Nov 1994 12:01:00 GMT", Some(NOON)), Some(60));
        assert_eq!(read("Sunday, 06-Nov-94 12:00:30 GMT", Some(NOON)), Some(30));
        assert_eq!(read("Sun, 06 Nov 1994 11:00:00 GMT", Some(NOON)), Some(0));
        assert_eq!(read("Sun, 06 Nov 1994 12:01:00 GMT", None), None);
    }
}
