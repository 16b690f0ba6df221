//! What tells links and calls apart.

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;

/// The decimal digits of [`u64::MAX`].
const LONGEST_NUMBER: usize = 20;

/// One connection or attempt at one. It only grows, so an event of an earlier link is known by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

impl LinkId {
    /// The link after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}", self.0)
    }
}

/// One call, for the life of the process. Later calls have greater numbers; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(u64);

impl CallId {
    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The call with a number that [`get`](CallId::get) gave.
    pub fn new(number: u64) -> Self {
        Self(number)
    }
}

/// Makes call ids and writes them as `X-Kii-RequestID`: 16 hexadecimal digits that differ between processes, a dash,
/// the call's number. At most 37 characters, printable, without a space. (`wire` §8)
#[derive(Debug)]
pub(super) struct RequestIds {
    prefix: String,
    last: u64,
}

impl RequestIds {
    pub(super) fn new(seed: u64) -> Self {
        // Scrambled, so that seeds that differ little give prefixes that differ much.
        Self { prefix: format!("{:016x}-", fastrand::Rng::with_seed(seed).u64(..)), last: 0 }
    }

    pub(super) fn next(&mut self) -> CallId {
        self.last += 1;
        CallId(self.last)
    }

    pub(super) fn write(&self, call: CallId) -> HeaderValue {
        // By hand: one is written for each call, and formatting costs more than all else that is done with it.
        let (mut digits, mut begin) = ([0; LONGEST_NUMBER], LONGEST_NUMBER);
        let mut rest = call.0;
        loop {
            begin -= 1;
            digits[begin] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let id = [self.prefix.as_bytes(), &digits[begin..]].concat();
        HeaderValue::from_maybe_shared(Bytes::from(id)).expect("digits and a dash can stand in a header")
    }

    /// The call whose id this is, byte for byte; `None` for an id that this process has not written.
    pub(super) fn read(&self, id: &[u8]) -> Option<CallId> {
        let digits = id.strip_prefix(self.prefix.as_bytes())?;
        if !digits.iter().all(u8::is_ascii_digit) || digits.first() == Some(&b'0') {
            return None;
        }
        let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
        (1..=self.last).contains(&number).then_some(CallId(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back_only_as_written() {
        let mut ids = RequestIds::new(7);
        let (first, second) = (ids.next(), ids.next());
        let written = ids.write(second);
        let text = written.to_str().expect("printable").to_owned();
        assert!(text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic()), "{text}");
        assert_eq!(ids.read(text.as_bytes()), Some(second));
        assert_eq!(ids.read(ids.write(first).as_bytes()), Some(first));
        let prefix = text.strip_suffix('2').expect("the second");
        for other in ["", "-2", "0", "02", "+2", "3", "2 ", " 2", "99999999999999999999999"] {
            assert_eq!(ids.read(format!("{prefix}{other}").as_bytes()), None, "{other:?}");
        }
        assert_eq!(ids.read(text.to_uppercase().as_bytes()), None);
        assert_eq!(ids.read(b""), None);
    }

    #[test]
    fn the_number_is_written_as_everybody_writes_it() {
        let ids = RequestIds::new(7);
        for number in [1, 9, 10, 1_234_567_890, u64::MAX] {
            assert_eq!(ids.write(CallId(number)), format!("{}{number}", ids.prefix));
        }
    }

    #[test]
    fn processes_have_prefixes_of_their_own() {
        let written = |seed| {
            let mut ids = RequestIds::new(seed);
            let call = ids.next();
            ids.write(call)
        };
        assert_eq!(written(1), written(1));
        assert_ne!(written(1), written(2));
    }
}
