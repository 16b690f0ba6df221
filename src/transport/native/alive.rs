//! Whether the peer still lives.

use std::time::Duration;

use tokio::time::Instant;

/// The keep-alive of one connection: silence of one period is asked about, silence after that is the end.
///
/// A peer is silent when no byte of it arrives, so that a busy connection is never asked. What is sent counts too,
/// because the broker drops who says nothing for one and a half keep-alives.
#[derive(Debug)]
pub(super) struct Alive {
    period: Duration,
    heard: Instant,
    sent: Instant,
    asked: Option<Instant>,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing before then.
    Fine(Instant),
    /// Send a PINGREQ.
    Ask,
    /// Nothing came for two periods.
    Dead,
}

impl Alive {
    /// Of a peer whose silence is to be noticed within `detect`, but not within less than 2 s.
    pub(super) fn new(detect: Duration, now: Instant) -> Self {
        let longest = Duration::from_secs(u64::from(u16::MAX));
        let period = (detect / 2).clamp(Duration::from_secs(1), longest);
        Self { period, heard: now, sent: now, asked: None }
    }

    /// What CONNECT says, in seconds: never less than what is kept.
    pub(super) fn keep_alive(&self) -> u16 {
        let seconds = self.period.as_secs() + u64::from(self.period.subsec_nanos() > 0);
        u16::try_from(seconds).unwrap_or(u16::MAX)
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = None;
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    pub(super) fn judge(&mut self, now: Instant) -> Verdict {
        let due = self.asked.unwrap_or(self.heard.min(self.sent)) + self.period;
        match self.asked {
            _ if now < due => Verdict::Fine(due),
            None => {
                // Where nothing can be written, what was asked waits as well, and asking again adds nothing.
                (self.asked, self.sent) = (Some(now), now);
                Verdict::Ask
            }
            Some(_) => Verdict::Dead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_is_asked_about_and_then_the_end() {
        let start = Instant::now();
        let mut alive = Alive::new(SECOND * 90, start);
        assert_eq!(alive.keep_alive(), 45);
        assert_eq!(alive.judge(start + SECOND * 44), Verdict::Fine(start + SECOND * 45));
        assert_eq!(alive.judge(start + SECOND * 45), Verdict::Ask);
        assert_eq!(alive.judge(start + SECOND * 46), Verdict::Fine(start + SECOND * 90));
        assert_eq!(alive.judge(start + SECOND * 90), Verdict::Dead);
    }

    #[test]
    fn any_byte_is_a_sign_of_life() {
        let start = Instant::now();
        let mut alive = Alive::new(SECOND * 10, start);
        assert_eq!(alive.judge(start + SECOND * 5), Verdict::Ask);
        alive.heard(start + SECOND * 9);
        alive.sent(start + SECOND * 9);
        assert_eq!(alive.judge(start + SECOND * 10), Verdict::Fine(start + SECOND * 14));
    }

    #[test]
    fn who_only_listens_or_only_speaks_asks_too() {
        let start = Instant::now();
        for says in [Alive::heard, Alive::sent] {
            let mut alive = Alive::new(SECOND * 10, start);
            says(&mut alive, start + SECOND * 4);
            assert_eq!(alive.judge(start + SECOND * 5), Verdict::Ask);
        }
    }

    #[test]
    fn the_broker_is_told_no_less_than_what_is_kept() {
        for (detect, told) in [(0, 1), (1_500, 1), (2_001, 2), (90_000, 45), (1_000_000_000, u16::MAX)] {
            let alive = Alive::new(Duration::from_millis(detect), Instant::now());
            assert_eq!(alive.keep_alive(), told, "{detect} ms");
        }
    }
}
