//! Breaking inputs in seeded ways.

/// Bytes that mean something to one reader or another.
const MEANINGFUL: &[u8] = b"\0\x01\x10\x30\x7f\x80\xc0\xe0\xff\r\n :/+#%\"{}[],.-0129azAZ\\";

/// One case: an input of the corpus and a few changes to it.
pub(crate) struct Mutator<'c> {
    rng: fastrand::Rng,
    corpus: &'c [&'c [u8]],
}

impl<'c> Mutator<'c> {
    /// Equal seeds make equal inputs of one corpus.
    pub(crate) fn new(seed: u64, corpus: &'c [&'c [u8]]) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed), corpus }
    }

    pub(crate) fn input(&mut self) -> Vec<u8> {
        let mut input = self.any().to_vec();
        for _ in 0..1 + self.rng.usize(..4).min(self.rng.usize(..8)) {
            self.change(&mut input);
        }
        input.truncate(80_000);
        input
    }

    fn any(&mut self) -> &'c [u8] {
        self.corpus[self.rng.usize(..self.corpus.len())]
    }

    /// A place in `input`, its end included.
    fn place(&mut self, input: &[u8]) -> usize {
        self.rng.usize(..=input.len())
    }

    /// A part of `input`, mostly a short one.
    fn part(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let from = self.place(input);
        let most = input.len() - from;
        let len = if self.rng.u8(..4) == 0 { self.rng.usize(..=most) } else { self.rng.usize(..=most.min(8)) };
        from..from + len
    }

    fn byte(&mut self) -> u8 {
        if self.rng.bool() { MEANINGFUL[self.rng.usize(..MEANINGFUL.len())] } else { self.rng.u8(..) }
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        match self.rng.u8(..10) {
            0 => {
                let byte = self.byte();
                if let Some(place) = self.inside(input) {
                    input[place] = byte;
                }
            }
            1 => {
                let bit = 1 << self.rng.u8(..8);
                if let Some(place) = self.inside(input) {
                    input[place] ^= bit;
                }
            }
            2 => {
                let (place, byte) = (self.place(input), self.byte());
                input.insert(place, byte);
            }
            3 => drop(input.drain(self.part(input))),
            4 => {
                let part = input[self.part(input)].to_vec();
                let place = self.place(input);
                input.splice(place..place, part);
            }
            // A part of another input, in place of one of this.
            5 | 6 => {
                let other = self.any();
                let part = &other[self.part(other)];
                let range = if self.rng.bool() { self.part(input) } else { input.len()..input.len() };
                input.splice(range, part.iter().copied());
            }
            // A byte as often as it takes to reach a limit.
            7 => {
                let (place, byte) = (self.place(input), self.byte());
                let count = [2, 16, 127, 128, 200, 255, 256, 8_192, 65_536][self.rng.usize(..9)];
                input.splice(place..place, std::iter::repeat_n(byte, count));
            }
            // A number becomes another.
            8 => {
                let digits: Vec<usize> = (0..input.len()).filter(|at| input[*at].is_ascii_digit()).collect();
                if !digits.is_empty() {
                    let place = digits[self.rng.usize(..digits.len())];
                    let numbers = ["0", "-1", "1e99", "999", "1000", "65536", "18446744073709551616", "1.5"];
                    let number = numbers[self.rng.usize(..numbers.len())];
                    input.splice(place..=place, number.bytes());
                }
            }
            _ => input.truncate(self.place(input)),
        }
    }

    fn inside(&mut self, input: &[u8]) -> Option<usize> {
        (!input.is_empty()).then(|| self.rng.usize(..input.len()))
    }
}
