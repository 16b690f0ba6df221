//! Where a head is wrong.

use super::scan::is_name_byte;
use super::start::is_blank;
use super::{FrameError, FrameErrorKind, MAX_HEADERS};

/// Finds what was refused in a header section that begins at `base`. A second pass, slow and exact, so that the first one
/// needs to keep nothing for it.
pub(super) fn fault(section: &[u8], base: usize) -> FrameError {
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
