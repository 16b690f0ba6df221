//! [`Frame`]: a payload checked once and then only looked at.

use std::fmt;

use http::{Method, StatusCode};

use super::{FrameError, FrameErrorKind, MAX_HEAD_LEN, MAX_HEADERS, MAX_VERB_LEN};

/// Header fields for which the usual frame needs room. More are read at the cost of a second pass.
const USUAL_HEADERS: usize = 16;

/// A view of a payload that is a frame. It is checked when it is made, allocates nothing and is cheap to copy.
///
/// ```
/// use thingif::frame::{Frame, Start};
/// let frame = Frame::parse(b"200\r\nX-Kii-RequestID:17\r\n\r\n{}")?;
/// assert_eq!(frame.start(), Start::Response { status: http::StatusCode::OK });
/// assert_eq!(frame.header("x-kii-requestid"), Some(&b"17"[..]));
/// assert_eq!(frame.body(), b"{}");
/// # Ok::<(), thingif::frame::FrameError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    start: Start<'a>,
    /// The header lines, with their line ends and, if there was one, the blank line.
    section: &'a [u8],
    fields: usize,
    body: &'a [u8],
}

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
    /// The method of a request, its letters in upper case; `None` for a response.
    /// Allocates only for a method that HTTP does not know and that has more than 15 letters.
    pub fn method(&self) -> Option<Method> {
        let Start::Request { verb } = self else { return None };
        let mut upper = [0; MAX_VERB_LEN];
        let upper = &mut upper[..verb.len()];
        upper.copy_from_slice(verb.as_bytes());
        upper.make_ascii_uppercase();
        Some(Method::from_bytes(upper).expect("letters and hyphens are a method"))
    }
}

impl<'a> Frame<'a> {
    /// Checks a payload. (`wire` §2.2)
    ///
    /// It costs one pass over the head; the body is not looked at, so the payload's length does not matter.
    ///
    /// # Errors
    /// [`FrameError`] says what is wrong and at which byte. A payload that begins with `{` is a push, not a frame.
    pub fn parse(payload: &'a [u8]) -> Result<Self, FrameError> {
        let head = &payload[..payload.len().min(MAX_HEAD_LEN)];
        let cut = head.len() < payload.len();
        let (start, at) = start_line(head, cut)?;
        let rest = &head[at..];

        let mut fields = [httparse::EMPTY_HEADER; USUAL_HEADERS];
        match httparse::parse_headers(rest, &mut fields) {
            Ok(httparse::Status::Complete((len, fields))) => {
                Ok(Self { start, section: &rest[..len], fields: fields.len(), body: &payload[at + len..] })
            }
            _ => Self::parse_unusual(payload, start, at, rest, cut),
        }
    }

    /// A head with many fields, without a blank line, or with a fault.
    #[cold]
    #[inline(never)]
    fn parse_unusual(
        payload: &'a [u8],
        start: Start<'a>,
        at: usize,
        rest: &'a [u8],
        cut: bool,
    ) -> Result<Self, FrameError> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let result = match httparse::parse_headers(rest, &mut fields) {
            Ok(httparse::Status::Partial) if cut => {
                return Err(FrameError::new(FrameErrorKind::HeadTooLarge, MAX_HEAD_LEN));
            }
            // The end of the payload ends the head. Saying so to the parser needs a copy, of at most 8 KiB.
            Ok(httparse::Status::Partial) => {
                let mut closed = [b'\n'; MAX_HEAD_LEN + 2];
                closed[..rest.len()].copy_from_slice(rest);
                let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
                count(httparse::parse_headers(&closed[..rest.len() + 2], &mut fields)).map(|(_, n)| (rest.len(), n))
            }
            other => count(other),
        };
        match result {
            Some((len, n)) => Ok(Self { start, section: &rest[..len], fields: n, body: &payload[at + len..] }),
            None => Err(fault(rest, at)),
        }
    }

    /// The first line: a verb or a status code.
    pub fn start(&self) -> Start<'a> {
        self.start
    }

    /// The header fields in the order they were sent, duplicates included; values without the blanks around them.
    /// Names are as the peer spelled them.
    pub fn headers(&self) -> Headers<'a> {
        Headers { rest: self.section }
    }

    /// How many header fields there are, duplicates counted.
    pub fn header_count(&self) -> usize {
        self.fields
    }

    /// The value of a header, its name in any letter case. Of duplicates the last one counts. (`wire` §2.1)
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).last()
    }

    /// What follows the blank line; empty if nothing does. White space at its end is part of it.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }
}

/// Shows lengths and no contents: frames carry tokens.
impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, fields, body, .. } = self;
        write!(f, "Frame({start:?}, {fields} headers, {} body bytes)", body.len())
    }
}

/// The header fields of a [`Frame`].
#[derive(Clone)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // Checked by `parse`: a line without a colon is the blank one.
        let colon = self.rest.iter().position(|&b| b == b':' || b == b'\n')?;
        if self.rest[colon] == b'\n' {
            self.rest = &[];
            return None;
        }
        let (name, after) = (&self.rest[..colon], &self.rest[colon + 1..]);
        let end = after.iter().position(|&b| b == b'\n').unwrap_or(after.len());
        self.rest = after.get(end + 1..).unwrap_or_default();
        let name = str::from_utf8(name).expect("a frame's header names were checked to be ASCII");
        Some((name, after[..end].trim_ascii()))
    }
}

/// Shows names only.
impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone().map(|(name, _)| name)).finish()
    }
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Reads the first line of `head`; also returns the offset after its line end. `cut`: the payload goes on after `head`.
fn start_line(head: &[u8], cut: bool) -> Result<(Start<'_>, usize), FrameError> {
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

type Parsed<'h, 'b> = httparse::Result<(usize, &'h [httparse::Header<'b>])>;

/// Length of the section and number of its fields.
fn count(parsed: Parsed<'_, '_>) -> Option<(usize, usize)> {
    match parsed {
        Ok(httparse::Status::Complete((len, fields))) => Some((len, fields.len())),
        _ => None,
    }
}

/// Finds what `httparse`, which tells no offsets, refused in a header section that begins at `base`.
fn fault(section: &[u8], base: usize) -> FrameError {
    let mut at = 0;
    let mut field = 0;
    loop {
        let line = &section[at..];
        let fail = |kind, offset: usize| FrameError::new(kind, base + at + offset);
        if line.first().copied().is_some_and(is_blank) {
            return fail(FrameErrorKind::Folded, 0);
        }
        let name = line.iter().position(|&b| !is_name_byte(b)).unwrap_or(line.len());
        if name == 0 || line.get(name) != Some(&b':') {
            let cr = name == 0 && line.first() == Some(&b'\r');
            return fail(if cr { FrameErrorKind::LineEnd } else { FrameErrorKind::HeaderName }, name);
        }
        let value = name + 1;
        let end = line[value..].iter().position(|&b| b != b'\t' && (b < b' ' || b == 0x7f));
        let end = end.map_or(line.len(), |n| value + n);
        let next = match (line.get(end), line.get(end + 1)) {
            (Some(b'\n'), _) => end + 1,
            (Some(b'\r'), Some(b'\n')) => end + 2,
            (Some(b'\r'), Some(_)) => return fail(FrameErrorKind::LineEnd, end),
            (Some(b'\r'), None) | (None, _) => line.len(),
            (Some(_), _) => return fail(FrameErrorKind::HeaderValue, end),
        };
        if field == MAX_HEADERS || next == line.len() {
            return fail(FrameErrorKind::TooManyHeaders, 0);
        }
        at += next;
        field += 1;
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
