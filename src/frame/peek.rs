//! What can be said of a payload without parsing it, or although it cannot be parsed.

use http::HeaderValue;

use super::start::is_blank;
use super::{MAX_HEAD_LEN, MAX_VERB_LEN, REQUEST_ID};

/// Whether the first line is a verb. Looks at that line alone, so it is cheap and does not mind what follows.
///
/// A client uses it to tell its own request, which an ordinary broker echoes, from an answer on the same topic.
pub fn is_request(payload: &[u8]) -> bool {
    let line = &payload[..payload.len().min(MAX_HEAD_LEN)];
    let line = line.split(|&b| b == b'\n').next().unwrap_or_default();
    let verb = trim_blanks(line.strip_suffix(b"\r").unwrap_or(line));
    (1..=MAX_VERB_LEN).contains(&verb.len())
        && verb[0].is_ascii_alphabetic()
        && verb.iter().all(|&b| b.is_ascii_alphabetic() || b == b'-')
}

/// The `X-Kii-RequestID` of a frame that may be broken or cut off, so that the answer that says so can echo it.
///
/// Looks at the first [`MAX_HEAD_LEN`] bytes, up to a blank line. Of duplicates the last one counts. A line that those
/// bytes end in the middle of is left out, because half an id would be another one.
pub fn request_id(payload: &[u8]) -> Option<HeaderValue> {
    let head = &payload[..payload.len().min(MAX_HEAD_LEN)];
    let mut found = None;
    let mut lines = head.split(|&b| b == b'\n').peekable();
    let mut started = false;
    while let Some(line) = lines.next() {
        if lines.peek().is_none() && payload.len() >= MAX_HEAD_LEN {
            break;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if started && line.is_empty() {
            break;
        }
        started |= !line.is_empty();
        let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.trim_ascii().eq_ignore_ascii_case(REQUEST_ID.as_str().as_bytes()) {
            found = HeaderValue::from_bytes(trim_blanks(value)).ok().or(found);
        }
    }
    found
}

/// `text` without the blanks around it. Other white space is a control byte here, and not to be hidden.
pub(crate) fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_line_is_told_from_everything_else() {
        for request in [&b"GET"[..], b"put\nA: b\n\n", b" PUT \r\nbroken", b"M-SEARCH\r\n"] {
            assert!(is_request(request), "{request:?}");
        }
        for other in [&b""[..], b"200\r\n", b"{\"a\":1}", b"\r\nGET", b"GET /x HTTP/1.1\r\n", b"GET\r\r\n", &[b'A'; 40]]
        {
            assert!(!is_request(other), "{other:?}");
        }
    }

    #[test]
    fn an_id_is_found_in_a_broken_frame() {
        let id = |payload: &[u8]| request_id(payload).map(|v| v.as_bytes().to_vec());
        assert_eq!(id(b"PUT\nno colon\nx-kii-REQUESTID:  a b \r\n\nbody"), Some(b"a b".to_vec()));
        assert_eq!(id(b"\n\n\nX-Kii-RequestID: 5"), Some(b"5".to_vec()));
        assert_eq!(id(b"PUT\nX-Kii-RequestID: 1\nX-Kii-RequestID: 2\n"), Some(b"2".to_vec()));
        assert_eq!(id(b"PUT\n\nX-Kii-RequestID: in the body\n"), None);
        assert_eq!(id(b"PUT\nX-Kii-RequestID: a\0b\n"), None);
        assert_eq!(id(b"X-Kii-Request"), None);
    }

    #[test]
    fn an_id_that_is_cut_off_is_not_taken() {
        let mut cut = b"PUT\nPad: ".to_vec();
        cut.resize(MAX_HEAD_LEN - 22, b'x');
        cut.extend_from_slice(b"\nX-Kii-RequestID: 123456");
        assert_eq!(request_id(&cut), None);
        cut.insert(MAX_HEAD_LEN - 2, b'\n');
        assert_eq!(request_id(&cut[..MAX_HEAD_LEN]).expect("whole").as_bytes(), b"12");
    }
}
