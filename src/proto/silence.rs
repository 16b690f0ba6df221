//! A connection that stands and says nothing: a broker that still acknowledges the keep-alive but has lost the way to the
//! service, or a transport that does not notice its end.

use std::time::Duration;

use super::{Instant, SessionError};

/// So many calls in a row without an answer are no accident of one call.
const MANY: u32 = 3;
/// A service that is down for hours is not to see its devices reconnect more often than that.
const LONGEST: Duration = Duration::from_secs(3600);

/// Finds out when calls are not answered any more.
#[derive(Debug)]
pub(super) struct Silence {
    /// Calls whose time ran out since anything was heard.
    unanswered: u32,
    heard: Instant,
    /// The least that a silence lasts.
    least: Duration,
    /// The same, as long as nothing has been heard on this connection.
    at_first: Duration,
}

impl Silence {
    pub(super) fn new(now: Instant, least: Duration) -> Self {
        Self { unanswered: 0, heard: now, least, at_first: least }
    }

    /// Nothing was heard on the connection before either: bears it so long on this one.
    pub(super) fn bear(&mut self, time: Duration) {
        self.at_first = time.max(self.least);
    }

    /// The connection is ready.
    pub(super) fn begin(&mut self, now: Instant) {
        (self.unanswered, self.heard) = (0, now);
    }

    /// Something arrived, whatever it was.
    pub(super) fn broken(&mut self, now: Instant) {
        (self.unanswered, self.heard, self.at_first) = (0, now, self.least);
    }

    /// The time of a call ran out.
    pub(super) fn unanswered(&mut self) {
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// When the connection is not worth to be kept any longer, unless something is heard before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.unanswered >= MANY).then(|| self.heard + self.at_first)
    }

    /// What there is to say of it then.
    pub(super) fn error(&self, now: Instant) -> SessionError {
        SessionError::Unanswered { calls: self.unanswered, silence: now.since(self.heard) }
    }
}

/// For how long the next connection may be silent, after one that was for `silence`.
pub(super) fn next(silence: Duration) -> Duration {
    silence.saturating_mul(2).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn after(calls: usize, silence: &mut Silence) -> Option<Instant> {
        (0..calls).for_each(|_| silence.unanswered());
        silence.deadline()
    }

    #[test]
    fn it_takes_both_calls_and_time() {
        let began = Instant::ORIGIN;
        let mut silence = Silence::new(began, MINUTE);
        silence.begin(began + MINUTE);
        assert_eq!(after(2, &mut silence), None);
        assert_eq!(after(1, &mut silence), Some(began + MINUTE * 2));
        let error = silence.error(began + MINUTE * 2);
        assert_eq!(error, SessionError::Unanswered { calls: 3, silence: MINUTE });
        assert_eq!(error.to_string(), "3 calls in a row had no answer, and nothing was heard for 60 s");
    }

    #[test]
    fn whatever_is_heard_ends_it() {
        let began = Instant::ORIGIN;
        let mut silence = Silence::new(began, MINUTE);
        silence.bear(MINUTE * 4);
        assert_eq!(after(9, &mut silence), Some(began + MINUTE * 4));
        silence.broken(began + MINUTE * 3);
        assert_eq!(after(2, &mut silence), None);
        let deadline = after(1, &mut silence);
        assert_eq!(deadline, Some(began + MINUTE * 4), "one that was heard need not be borne so long");
    }

    #[test]
    fn each_silent_connection_is_borne_longer_up_to_an_hour() {
        assert_eq!(next(MINUTE), MINUTE * 2);
        assert_eq!(next(MINUTE * 50), LONGEST);
        let mut silence = Silence::new(Instant::ORIGIN, MINUTE * 90);
        silence.bear(LONGEST);
        assert_eq!(after(3, &mut silence), Some(Instant::ORIGIN + MINUTE * 90), "but never shorter than without");
    }
}
