//! Sixteen bytes looked at together.
//!
//! Each function marks the bytes that it looks for, in a number whose lowest bit is the first byte.

use wide::u8x16;

pub(super) const LEN: usize = 16;

/// Some bytes of a block, as bits.
pub(super) type Marks = u32;

/// Neither letters nor hyphens.
#[inline]
pub(super) fn beside_letters(bytes: &[u8; LEN]) -> Marks {
    const LETTERS: u8 = b'z' - b'a';
    let bytes = u8x16::new(*bytes);
    let from_a = (bytes | u8x16::splat(0x20)) - u8x16::splat(b'a');
    let letters = from_a.min(u8x16::splat(LETTERS)).simd_eq(from_a);
    ALL ^ (letters | bytes.simd_eq(u8x16::splat(b'-'))).to_bitmask()
}

/// Control bytes.
#[inline]
pub(super) fn controls(bytes: &[u8; LEN]) -> Marks {
    const LAST: u8 = b' ' - 1;
    let bytes = u8x16::new(*bytes);
    let below_blank = bytes.min(u8x16::splat(LAST)).simd_eq(bytes);
    (below_blank | bytes.simd_eq(u8x16::splat(0x7f))).to_bitmask()
}

const ALL: Marks = (1 << LEN) - 1;

/// Control bytes of two blocks, the first block in the lower bits.
#[inline]
pub(super) fn controls_of_two(bytes: &[u8; 2 * LEN]) -> Marks {
    let (blocks, _) = bytes.as_chunks();
    controls(&blocks[0]) | controls(&blocks[1]) << LEN
}

/// How many bytes there are before the first that is marked; more than any block has if none is.
#[inline]
pub(super) fn before(marks: Marks) -> usize {
    marks.trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place, among others and before one that is marked.
    #[test]
    fn the_first_is_found_as_a_loop_finds_it() {
        let is_beside_letters = |byte: &u8| !byte.is_ascii_alphabetic() && *byte != b'-';
        for others in [b'a', b'Z', b'-', 0xff, b' '] {
            for (at, byte) in (0..LEN).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
                for last in [others, b':', b'\r'] {
                    let mut bytes = [others; LEN];
                    bytes[LEN - 1] = last;
                    bytes[at] = byte;
                    let first = |is_sought: &dyn Fn(&u8) -> bool| bytes.iter().position(is_sought).unwrap_or(LEN);
                    assert_eq!(before(beside_letters(&bytes)).min(LEN), first(&is_beside_letters), "{bytes:?}");
                    assert_eq!(before(controls(&bytes)).min(LEN), first(&u8::is_ascii_control), "{bytes:?}");
                    let mut two = [b'x'; 2 * LEN];
                    two[LEN..].copy_from_slice(&bytes);
                    let expected = LEN + first(&u8::is_ascii_control);
                    assert_eq!(before(controls_of_two(&two)), expected, "{two:?}");
                    two[..LEN].copy_from_slice(&bytes);
                    let expected = two.iter().position(u8::is_ascii_control).unwrap_or(2 * LEN);
                    assert_eq!(before(controls_of_two(&two)), expected, "{two:?}");
                }
            }
        }
    }
}
