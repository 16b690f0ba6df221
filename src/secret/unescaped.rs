//! Bytes as they are meant, and where they stand: escapes hide names and separators from whoever looks for them.

use std::ops::Range;

/// So often one escape may stand in another: a URL in a query, in JSON, in a string of JSON.
const DEPTH: usize = 4;

/// A payload with `%3D` and `\u003d` read as what they stand for.
pub(super) struct Unescaped {
    pub(super) bytes: Vec<u8>,
    /// Where each of them stands in the payload.
    places: Vec<Range<usize>>,
}

impl Unescaped {
    /// `None` when there is nothing to be read.
    pub(super) fn of(payload: &[u8]) -> Option<Self> {
        if !payload.iter().any(|byte| matches!(byte, b'%' | b'\\')) {
            return None;
        }
        let mut read = Self { bytes: payload.to_vec(), places: (0..payload.len()).map(|at| at..at + 1).collect() };
        let is_changed = (0..DEPTH).map(|_| read.once()).take_while(|is_changed| *is_changed).count() > 0;
        is_changed.then_some(read)
    }

    fn once(&mut self) -> bool {
        let (mut bytes, mut places, mut at) = (Vec::with_capacity(self.bytes.len()), Vec::new(), 0);
        while at < self.bytes.len() {
            let (byte, len) = match escape(&self.bytes[at..]) {
                Some(escape) => escape,
                None => (self.bytes[at], 1),
            };
            let place = self.places[at].start..self.places[at + len - 1].end;
            // In JSON an escaped quote ends no string, however it is written.
            if byte == b'"' && len == 6 {
                bytes.push(b'\\');
                places.push(place.clone());
            }
            bytes.push(byte);
            places.push(place);
            at += len;
        }
        let is_changed = bytes.len() != self.bytes.len();
        (self.bytes, self.places) = (bytes, places);
        is_changed
    }

    /// Where `range` of these bytes stands in the payload.
    pub(super) fn place(&self, range: Range<usize>) -> Option<Range<usize>> {
        let places = self.places.get(range)?;
        Some(places.first()?.start..places.last()?.end)
    }

    /// Masks in `payload` what is masked in `shown`, which was made of these bytes.
    pub(super) fn mask(&self, payload: &mut [u8], shown: &[u8]) {
        for ((shown, byte), place) in shown.iter().zip(&self.bytes).zip(&self.places) {
            if shown == byte {
                continue;
            }
            let is_itself = place.len() == 1;
            payload[place.clone()].fill(if is_itself { *shown } else { b'x' });
        }
    }
}

/// What the escape at the beginning stands for, and its length. Only ASCII: nothing else hides anything.
fn escape(bytes: &[u8]) -> Option<(u8, usize)> {
    let (digits, len) = match bytes {
        [b'%', high, low, ..] => ([b'0', b'0', *high, *low], 3),
        [b'\\', b'u', a, b, c, d, ..] => ([*a, *b, *c, *d], 6),
        _ => return None,
    };
    let code = u16::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
    let byte = u8::try_from(code).ok().filter(|byte| byte.is_ascii_graphic() || *byte == b' ')?;
    Some((byte, len))
}
