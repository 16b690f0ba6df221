//! The lines of a head.

use super::block::{self, LEN, Marks};
use super::{MAX_HEAD_LEN, MAX_HEADERS};

/// One header line, by offsets in the section. Those fit: see [`MAX_HEAD_LEN`].
#[derive(Clone, Copy, Default)]
pub(super) struct Field {
    /// Where the name begins.
    pub(super) name: u16,
    pub(super) colon: u16,
    /// Where the line end begins, or the section ends.
    pub(super) end: u16,
}

const _: () = assert!(MAX_HEAD_LEN <= u16::MAX as usize);

/// Why a section is not read to its end.
pub(super) enum Broken {
    /// It is cut off, and the payload goes on.
    Cut,
    /// `fault` finds where.
    Fault,
}

/// Reads header lines up to and with the blank line, and shows each. The section is what follows the first line in `head`.
/// Unless the payload goes on (`is_cut`), its end is the end of the head. Returns the section's length and the number of
/// fields.
#[inline]
pub(super) fn fields(
    head: &[u8],
    start_len: usize,
    is_cut: bool,
    mut each: impl FnMut(Field),
) -> Result<(usize, usize), Broken> {
    let section = &head[start_len..];
    let mut rest = section;
    let mut count = 0;
    while !matches!(rest, [] | [b'\n', ..] | [b'\r']) && !rest.starts_with(b"\r\n") {
        let (name, colon) = (rest, after_name(head, rest));
        let value = match colon {
            [b':', value @ ..] if name.len() > colon.len() => value,
            [] if is_cut => return Err(Broken::Cut),
            _ => return Err(Broken::Fault),
        };
        let end = after_value(head, value);
        rest = match end {
            [b'\n', after @ ..] | [b'\r', b'\n', after @ ..] => after,
            [] | [b'\r'] if is_cut => return Err(Broken::Cut),
            [] | [b'\r'] => &[],
            _ => return Err(Broken::Fault),
        };
        if count == MAX_HEADERS {
            return Err(Broken::Fault);
        }
        count += 1;
        let offset = |rest: &[u8]| (section.len() - rest.len()) as u16;
        each(Field { name: offset(name), colon: offset(colon), end: offset(end) });
    }
    match rest {
        [b'\n', after @ ..] | [b'\r', b'\n', after @ ..] => Ok((section.len() - after.len(), count)),
        _ if is_cut => Err(Broken::Cut),
        _ => Ok((section.len(), count)),
    }
}

/// Whether a header's name may have the byte (RFC 9110 §5.6.2).
static IS_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_name_byte(byte as u8);
        byte += 1;
    }
    table
};

pub(super) const fn is_name_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// `rest`, the end of `head`, from its first byte on that no name has.
#[inline]
fn after_name<'a>(head: &'a [u8], rest: &'a [u8]) -> &'a [u8] {
    // Names have letters and hyphens, nearly always.
    let mut rest = skip(head, rest, block::beside_letters);
    while let [byte, after @ ..] = rest
        && *byte != b':'
        && IS_NAME[usize::from(*byte)]
    {
        rest = after;
    }
    rest
}

/// `rest`, the end of `head`, from its first control byte on, tabs apart.
#[inline]
fn after_value<'a>(head: &'a [u8], mut rest: &'a [u8]) -> &'a [u8] {
    while let Some((blocks, after)) = rest.split_first_chunk() {
        let marks = block::controls_of_two(blocks);
        if marks != 0 {
            rest = &rest[block::before(marks)..];
            break;
        }
        rest = after;
    }
    if rest.len() < 2 * LEN {
        rest = skip(head, rest, block::controls);
    }
    while let [byte, after @ ..] = rest
        && (*byte == b'\t' || !byte.is_ascii_control())
    {
        rest = after;
    }
    rest
}

/// `rest`, the end of `head`, from the first byte on that is sought, or from one before it if the head is shorter than a block.
#[inline]
fn skip<'a>(head: &'a [u8], mut rest: &'a [u8], sought: impl Fn(&[u8; LEN]) -> Marks) -> &'a [u8] {
    while let Some((block, after)) = rest.split_first_chunk() {
        let marks = sought(block);
        if marks != 0 {
            return &rest[block::before(marks)..];
        }
        rest = after;
    }
    if rest.is_empty() { rest } else { skip_last(head, rest, sought) }
}

/// The same for less than a block, which the head ends with.
#[cold]
#[inline(never)]
fn skip_last<'a>(head: &'a [u8], rest: &'a [u8], sought: impl Fn(&[u8; LEN]) -> Marks) -> &'a [u8] {
    let Some(block) = head.last_chunk() else { return rest };
    // Without the bytes that come before.
    let marks = sought(block) >> (LEN - rest.len());
    &rest[block::before(marks).min(rest.len())..]
}
