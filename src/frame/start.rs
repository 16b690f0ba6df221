//! The first line of a frame: a verb or a status code.

use http::{Method, StatusCode};

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
    any_start_line(head, cut)
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
            let verb = str::from_utf8(&head[from..at]).expect("letters and hyphens are ASCII");
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
}
