//! The first line of a frame: a verb or a status code.

use http::{Method, StatusCode};

use super::block;
use super::{FrameError, FrameErrorKind, MAX_HEAD_LEN, MAX_VERB_LEN};

/// The first line of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start<'a> {
    /// A request.
    Request {
        /// The verb as it was written, without the blanks around it: letters and hyphens, in any letter case.
        verb: &'a str,
    },
    /// A response.
    Response {
        /// The status code. A reason phrase is read over.
        status: StatusCode,
    },
}

impl Start<'_> {
    /// The method of a request, its letters in upper case; `None` for a response, and for a verb that no frame has.
    /// Allocates only for a method that HTTP does not know and that has more than 15 letters.
    pub fn method(&self) -> Option<Method> {
        let Start::Request { verb } = self else { return None };
        let mut upper = [0; MAX_VERB_LEN];
        let upper = upper.get_mut(..verb.len())?;
        upper.copy_from_slice(verb.as_bytes());
        upper.make_ascii_uppercase();
        Method::from_bytes(upper).ok()
    }
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Reads the first line of `head`; also returns the offset after its line end. `cut`: the payload goes on after `head`.
#[inline]
pub(super) fn start_line(head: &[u8], cut: bool) -> Result<(Start<'_>, usize), FrameError> {
    // As every known service writes it; what follows gives the same answer, with more instructions.
    if let [digits @ .., b'\r', b'\n'] = head.get(..5).unwrap_or_default()
        && let Ok(status) = StatusCode::from_bytes(digits)
    {
        return Ok((Start::Response { status }, 5));
    }
    // As every known client does.
    if let Some(block) = head.first_chunk()
        && let beside = block::beside_letters(block)
        && beside != 0
    {
        let (verb, rest) = head.split_at(block::before(beside));
        let len = match rest {
            [b'\n', ..] => verb.len() + 1,
            [b'\r', b'\n', ..] => verb.len() + 2,
            _ => 0,
        };
        if len > 0 && verb.first().is_some_and(u8::is_ascii_alphabetic) {
            return Ok((Start::Request { verb: text(verb) }, len));
        }
    }
    any_start_line(head, cut)
}

/// Letters and hyphens, which are ASCII. Those that everybody sends are known.
fn text(verb: &[u8]) -> &str {
    match verb {
        b"GET" => "GET",
        b"PUT" => "PUT",
        b"POST" => "POST",
        b"PATCH" => "PATCH",
        b"DELETE" => "DELETE",
        _ => str::from_utf8(verb).expect("letters and hyphens are ASCII"),
    }
}

#[inline(never)]
fn any_start_line(head: &[u8], cut: bool) -> Result<(Start<'_>, usize), FrameError> {
    let fail = |kind, offset| Err(FrameError::new(kind, offset));
    let mut at = 0;
    while head.get(at).copied().is_some_and(is_blank) {
        at += 1;
    }
    let from = at;
    let start = match head.get(at) {
        Some(b'0'..=b'9') => {
            for first_digit in [b'1', b'0', b'0'] {
                match head.get(at) {
                    Some(b) if (first_digit..=b'9').contains(b) => at += 1,
                    _ => return fail(FrameErrorKind::Status, at),
                }
            }
            let status = StatusCode::from_bytes(&head[from..at]).expect("three digits from 100 to 999");
            match head.get(at) {
                None | Some(b'\r' | b'\n') => {}
                Some(&b) if is_blank(b) => {
                    // A reason phrase, if anything.
                    while head.get(at).is_some_and(|&b| b == b'\t' || (b >= b' ' && b != 0x7f)) {
                        at += 1;
                    }
                }
                Some(_) => return fail(FrameErrorKind::Status, at),
            }
            Start::Response { status }
        }
        Some(b) if b.is_ascii_alphabetic() => {
            while head.get(at).is_some_and(|b| b.is_ascii_alphabetic() || *b == b'-') {
                at += 1;
            }
            if at - from > MAX_VERB_LEN {
                return fail(FrameErrorKind::StartLine, from + MAX_VERB_LEN);
            }
            let verb = text(&head[from..at]);
            while head.get(at).copied().is_some_and(is_blank) {
                at += 1;
            }
            Start::Request { verb }
        }
        None if cut => return fail(FrameErrorKind::HeadTooLarge, MAX_HEAD_LEN),
        None | Some(b'\r' | b'\n') => return fail(FrameErrorKind::Empty, at),
        Some(_) => return fail(FrameErrorKind::StartLine, at),
    };
    match (head.get(at), head.get(at + 1)) {
        (Some(b'\n'), _) => Ok((start, at + 1)),
        (Some(b'\r'), Some(b'\n')) => Ok((start, at + 2)),
        (None, _) | (Some(b'\r'), None) if cut => fail(FrameErrorKind::HeadTooLarge, MAX_HEAD_LEN),
        (None, _) => Ok((start, at)),
        (Some(b'\r'), None) => Ok((start, at + 1)),
        (Some(b'\r'), Some(_)) => fail(FrameErrorKind::LineEnd, at),
        (Some(_), _) => match start {
            Start::Request { .. } => fail(FrameErrorKind::StartLine, at),
            Start::Response { .. } => fail(FrameErrorKind::HeaderValue, at),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_in_upper_case() {
        let method = |verb: &str| Start::Request { verb }.method();
        assert_eq!(method("get"), Some(Method::GET));
        assert_eq!(method("m-Search").expect("a method").as_str(), "M-SEARCH");
        assert_eq!(Start::Response { status: StatusCode::OK }.method(), None);
        assert_eq!(method(""), None);
        assert_eq!(method(&"A".repeat(MAX_VERB_LEN + 1)), None);
    }

    #[test]
    fn a_verb_of_any_length_ends_where_its_letters_do() {
        for len in 1..=MAX_VERB_LEN {
            let verb = "A".repeat(len);
            for end in ["\n", "\r\n"] {
                for rest in ["", "\n", "Name-of-a-header: value\n\n"] {
                    let payload = format!("{verb}{end}{rest}");
                    let expected = (Start::Request { verb: &verb }, len + end.len());
                    assert_eq!(start_line(payload.as_bytes(), false), Ok(expected), "{payload:?}");
                }
            }
            for other in [":", "1", "\0", "\rA"] {
                let payload = format!("{verb}{other}AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n\n");
                let error = start_line(payload.as_bytes(), false).expect_err("refused");
                assert_eq!(error.offset(), len, "{payload:?}");
            }
        }
    }
}
