//! One direction of a TCP connection, put together again.

use std::collections::BTreeMap;

/// Bytes that may wait for those before them, a direction. Real receivers offer windows of this size at most.
const MAX_WAITING: usize = 1024 * 1024;

/// Pieces that may wait, a direction.
const MAX_PIECES: usize = 4096;

/// Bytes that are not in the recording and never came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// Where they would be: bytes since the beginning of the direction.
    pub(super) offset: u64,
    /// How many, if something that follows them is known.
    pub(super) len: u64,
}

/// Puts segments in order: repeated, overlapping and late ones too. Where segments contradict each other, what came first counts.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The sequence number before the first byte; unknown before the first segment. It outlives all that is given up, so that
    /// a port that is used again is told from a repeated SYN.
    opened: Option<u32>,
    /// The sequence number of the byte at `offset`; unknown before the first segment.
    next: Option<u32>,
    /// Bytes handed out so far.
    offset: u64,
    waiting: BTreeMap<u64, Vec<u8>>,
    waiting_len: usize,
    /// Where the sender said that there is nothing more.
    end: Option<u64>,
    /// How far the sender has come, bytes included that the recording has cut off.
    reached: u64,
    is_broken: bool,
}

impl Stream {
    /// Takes nothing and hands out nothing.
    pub(super) fn into_broken(self) -> Self {
        Self { is_broken: true, opened: self.opened, ..Self::default() }
    }

    /// SYN: the byte after it is the first. A repeated SYN changes nothing.
    pub(super) fn open(&mut self, sequence: u32) {
        if self.next.is_none() && !self.is_broken {
            self.opened = Some(sequence);
            self.next = Some(sequence.wrapping_add(1));
        }
    }

    /// Whether `sequence` is the one that this direction was opened with, or it was not opened.
    pub(super) fn is_opened_by(&self, sequence: u32) -> bool {
        self.opened.is_none_or(|opened| opened == sequence)
    }

    /// Takes a segment, of whose payload the last `cut` bytes were not recorded, and hands out what is in order now.
    pub(super) fn segment(
        &mut self,
        sequence: u32,
        (payload, cut): (&[u8], usize),
        fin: bool,
        mut deliver: impl FnMut(&[u8]),
    ) -> Result<(), Gap> {
        if self.is_broken || self.is_finished() {
            return Ok(());
        }
        self.opened.get_or_insert(sequence.wrapping_sub(1));
        let next = *self.next.get_or_insert(sequence);
        // At most 2 GiB before or after.
        let distance = i64::from(sequence.wrapping_sub(next).cast_signed());
        let start = self.offset.saturating_add_signed(distance);
        let before = if distance < 0 { distance.unsigned_abs().min(payload.len() as u64) as usize } else { 0 };
        let sent = start.saturating_add((payload.len() + cut) as u64);
        if distance < 0 && sent < self.offset {
            return Ok(());
        }
        self.reached = self.reached.max(sent);
        let (start, payload) = (start.max(self.offset), &payload[before..]);
        if fin {
            self.end.get_or_insert(sent.max(self.offset));
        }
        if start > self.offset {
            return self.wait(start, payload);
        }
        self.hand_out(payload, &mut deliver);
        while let Some(entry) = self.waiting.first_entry() {
            if *entry.key() > self.offset {
                break;
            }
            let (start, piece) = entry.remove_entry();
            self.waiting_len -= piece.len();
            let known = usize::try_from(self.offset - start).unwrap_or(usize::MAX);
            if let Some(rest) = piece.get(known..) {
                self.hand_out(rest, &mut deliver);
            }
        }
        Ok(())
    }

    fn hand_out(&mut self, bytes: &[u8], deliver: &mut impl FnMut(&[u8])) {
        if !bytes.is_empty() {
            self.offset += bytes.len() as u64;
            self.next = self.next.map(|next| next.wrapping_add(bytes.len() as u32));
            deliver(bytes);
        }
    }

    fn wait(&mut self, start: u64, payload: &[u8]) -> Result<(), Gap> {
        if payload.is_empty() {
            return Ok(());
        }
        if self.waiting_len + payload.len() > MAX_WAITING || self.waiting.len() >= MAX_PIECES {
            return Err(self.give_up(start));
        }
        let known = self.waiting.get(&start).map_or(0, Vec::len);
        if known < payload.len() {
            self.waiting_len += payload.len() - known;
            let mut piece = self.waiting.remove(&start).unwrap_or_default();
            piece.extend_from_slice(&payload[known..]);
            self.waiting.insert(start, piece);
        }
        Ok(())
    }

    fn give_up(&mut self, known: u64) -> Gap {
        let known = self.waiting.first_key_value().map_or(known, |(start, _)| known.min(*start));
        *self = Self { offset: self.offset, opened: self.opened, is_broken: true, ..Self::default() };
        Gap { offset: self.offset, len: known.saturating_sub(self.offset) }
    }

    /// Whether the sender has said that there is nothing more, and all before that was handed out.
    pub(super) fn is_finished(&self) -> bool {
        self.end.is_some_and(|end| end <= self.offset)
    }

    /// Bytes that wait for those before them.
    pub(super) fn waiting(&self) -> usize {
        self.waiting_len
    }

    /// Whether nothing is missing before what was handed out last, nor after it as far as is known.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_broken && self.waiting.is_empty() && self.end.unwrap_or(self.reached) <= self.offset
    }

    /// Nothing more will come: what is missing is missing for good.
    pub(super) fn finish(&mut self) -> Option<Gap> {
        let said = self.end.unwrap_or(self.reached);
        let known = self.waiting.keys().next().copied().or((said > self.offset).then_some(said))?;
        Some(self.give_up(known))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fed(stream: &mut Stream, segments: &[(u32, &[u8])]) -> (Vec<u8>, Option<Gap>) {
        let (mut all, mut gap) = (Vec::new(), None);
        for (sequence, payload) in segments {
            if let Err(found) = stream.segment(*sequence, (payload, 0), false, |bytes| all.extend_from_slice(bytes)) {
                gap = gap.or(Some(found));
            }
        }
        (all, gap)
    }

    #[test]
    fn late_repeated_and_overlapping_segments_make_one_stream() {
        let mut stream = Stream::default();
        stream.open(u32::MAX - 2); // the numbers come round in the middle
        let first = u32::MAX - 1;
        let at = |offset: u32| first.wrapping_add(offset);
        let segments: [(u32, &[u8]); 7] = [
            (at(0), b"ab"),
            (at(4), b"ef"),
            (at(6), b"gh"),
            (at(4), b"ef"),
            (at(0), b"XXcd"), // what came first counts
            (at(7), b"hij"),
            (at(3), b"d"),
        ];
        let (all, gap) = fed(&mut stream, &segments);
        assert_eq!((String::from_utf8_lossy(&all).as_ref(), gap), ("abcdefghij", None));
        assert_eq!(stream.finish(), None);
    }

    #[test]
    fn what_never_came_is_told_with_its_place() {
        let mut stream = Stream::default();
        stream.open(99);
        let (all, gap) = fed(&mut stream, &[(100, b"abc"), (110, b"xyz")]);
        assert_eq!((all, gap), (b"abc".to_vec(), None));
        assert_eq!(stream.finish(), Some(Gap { offset: 3, len: 7 }));
        assert!(!stream.is_whole());
        let mut ended = Stream::default();
        ended.open(99);
        ended.segment(105, (b"", 0), true, |_| {}).expect("no gap yet");
        assert!(!ended.is_finished());
        assert_eq!(ended.finish(), Some(Gap { offset: 0, len: 5 }));
    }

    #[test]
    fn what_was_cut_off_is_missing() {
        for fin in [false, true] {
            let mut stream = Stream::default();
            stream.open(99);
            stream.segment(100, (b"abc", 7), fin, |_| {}).expect("no gap yet");
            assert!(!stream.is_whole() && !stream.is_finished());
            assert_eq!(stream.finish(), Some(Gap { offset: 3, len: 7 }));
        }
        let mut repeated = Stream::default();
        repeated.open(99);
        repeated.segment(100, (b"abc", 7), true, |_| {}).expect("no gap yet");
        repeated.segment(100, (b"abcdefghij", 0), true, |_| {}).expect("no gap");
        assert!(repeated.is_finished() && repeated.is_whole());
    }

    #[test]
    fn a_stream_that_was_given_up_still_knows_its_beginning() {
        let mut stream = Stream::default();
        stream.open(99);
        fed(&mut stream, &[(100, b"abc"), (110, b"xyz")]);
        stream.finish().expect("a gap");
        assert!(stream.is_opened_by(99) && !stream.is_opened_by(5_000));
        let stream = stream.into_broken();
        assert!(stream.is_opened_by(99) && !stream.is_opened_by(5_000));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut stream = Stream::default();
        stream.open(0);
        let piece = vec![b'x'; 64 * 1024];
        let gap = (0..100u32).find_map(|n| stream.segment(10 + n * 65_536, (&piece, 0), false, |_| {}).err());
        assert_eq!(gap, Some(Gap { offset: 0, len: 9 }));
        assert!(!stream.is_whole() && stream.waiting.is_empty());
    }

    proptest! {
        #[test]
        fn any_order_gives_the_same_stream(
            text in proptest::collection::vec(any::<u8>(), 1..200),
            cuts in proptest::collection::vec((any::<proptest::sample::Index>(), 1usize..40), 0..60),
            first in any::<u32>(),
        ) {
            let mut stream = Stream::default();
            stream.open(first.wrapping_sub(1));
            let mut all = Vec::new();
            let pieces = cuts.iter().map(|(at, len)| (at.index(text.len()), *len));
            for (at, len) in pieces.chain((0..text.len()).map(|at| (at, 1))) {
                let payload = &text[at..(at + len).min(text.len())];
                stream.segment(first.wrapping_add(at as u32), (payload, 0), false, |bytes| all.extend_from_slice(bytes)).expect("bounded");
            }
            prop_assert_eq!(all, text);
            prop_assert_eq!(stream.waiting_len, stream.waiting.values().map(Vec::len).sum::<usize>());
        }
    }
}
