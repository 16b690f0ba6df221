//! [`Frame`]: a payload checked once and then only looked at.

use std::fmt;

use super::fault::fault;
use super::peek::trim_blanks;
use super::scan::{self, Broken, Field};
use super::start::{Start, start_line};
use super::{FrameError, FrameErrorKind, MAX_HEAD_LEN};

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

impl<'a> Frame<'a> {
    /// Checks a payload. (`wire` §2.2)
    ///
    /// It costs one pass over the head; the body is not looked at, so the payload's length does not matter.
    ///
    /// # Errors
    /// [`FrameError`] says what is wrong and at which byte. A payload that begins with `{` is a push, not a frame.
    pub fn parse(payload: &'a [u8]) -> Result<Self, FrameError> {
        Self::parse_and(payload, |_| {})
    }

    /// The same, and shows each header line, by offsets in the section.
    #[inline]
    pub(super) fn parse_and(payload: &'a [u8], each: impl FnMut(Field)) -> Result<Self, FrameError> {
        let head = &payload[..payload.len().min(MAX_HEAD_LEN)];
        let cut = head.len() < payload.len();
        let (start, at) = start_line(head, cut)?;
        let rest = &head[at..];
        // No fields at all; what follows finds the same.
        if let [b'\r', b'\n', body @ ..] = &payload[at..]
            && !cut
        {
            return Ok(Self { start, section: &rest[..2], fields: 0, body });
        }
        match scan::fields(head, at, cut, each) {
            Ok((len, fields)) => Ok(Self { start, section: &rest[..len], fields, body: &payload[at + len..] }),
            Err(Broken::Cut) => Err(FrameError::new(FrameErrorKind::HeadTooLarge, MAX_HEAD_LEN)),
            Err(Broken::Fault) => Err(fault(rest, at)),
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

    /// Name and value of a line that [`parse_and`](Self::parse_and) has shown.
    #[inline]
    pub(super) fn field(&self, field: Field) -> (&'a [u8], &'a [u8]) {
        let Field { name, colon, end } = field;
        let line = &self.section[usize::from(name)..usize::from(end)];
        let (name, value) = line.split_at(usize::from(colon - name));
        (name, trim_blanks(&value[1..]))
    }

    /// How many header fields there are, duplicates counted.
    pub fn header_count(&self) -> usize {
        self.fields
    }

    /// The value of a header, its name in any letter case. Of duplicates the last one counts. (`wire` §2.1)
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        if name.contains(':') {
            return None;
        }
        let mut lines = self.headers();
        let mut found = None;
        while let Some(line) = lines.next_line() {
            // Neither name has a colon, so this is the whole of it.
            if line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name.as_bytes()) {
                found = Some(line[name.len() + 1..].trim_ascii());
            }
        }
        found
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

impl<'a> Headers<'a> {
    /// The next line up to its LF; `None` at the blank line or the end.
    fn next_line(&mut self) -> Option<&'a [u8]> {
        let (line, rest) = match memchr::memchr(b'\n', self.rest) {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        (!matches!(line, [] | [b'\r'])).then_some(line)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.next_line()?;
        let colon = line.iter().position(|&b| b == b':').expect("a frame's header lines were checked to have a colon");
        let name = str::from_utf8(&line[..colon]).expect("a frame's header names were checked to be ASCII");
        Some((name, line[colon + 1..].trim_ascii()))
    }
}

impl std::iter::FusedIterator for Headers<'_> {}

/// Shows names only.
impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_small_and_shows_no_contents() {
        assert!(size_of::<Frame<'_>>() <= 7 * size_of::<usize>());
        let frame = Frame::parse(b"PUT\r\nAuthorization: Bearer t0k3n\r\n\r\npassw0rd").expect("a frame");
        assert_eq!(format!("{frame:?}"), "Frame(Request { verb: \"PUT\" }, 1 headers, 8 body bytes)");
        assert_eq!(format!("{:?}", frame.headers()), "[\"Authorization\"]");
    }

    #[test]
    fn a_header_is_found_by_its_whole_name_only() {
        let frame = Frame::parse(b"200\nLocation:http://h:80/\nEmpty:\n").expect("a frame");
        assert_eq!(frame.header("LOCATION"), Some(&b"http://h:80/"[..]));
        assert_eq!(frame.header("Empty"), Some(&b""[..]));
        for other in ["", "Locatio", "Location:http", "Location:http://h", ":"] {
            assert_eq!(frame.header(other), None, "{other:?}");
        }
    }

    #[test]
    fn headers_end_and_stay_ended() {
        let frame = Frame::parse(b"200\r\nA:1\r\n\r\nB:2\r\n").expect("a frame");
        let mut headers = frame.headers();
        assert_eq!(headers.next(), Some(("A", &b"1"[..])));
        assert_eq!((headers.next(), headers.next()), (None, None));
    }
}
