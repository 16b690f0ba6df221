//! Why a call brought no answer, in a form that also crosses the local socket.

use crate::cli::exit::{Exit, Failure};
use crate::client::causes::with_causes;
use crate::proto::{NotSent, RequestError};

/// What became of a call that has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was not sent; sending it again cannot do it twice.
    NotSent,
    /// Its turn to be sent did not come in time.
    NotSentInTime,
    /// It was sent, and no answer came in time.
    TimedOut,
    /// It was sent, and the connection was lost before an answer.
    Disconnected,
    /// It cannot be sent as it is.
    Invalid,
}

impl Fate {
    const ALL: [Fate; 5] = [Fate::NotSent, Fate::NotSentInTime, Fate::TimedOut, Fate::Disconnected, Fate::Invalid];

    /// As it stands in a header of the local socket.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Fate::NotSent => "not-sent",
            Fate::NotSentInTime => "not-sent-in-time",
            Fate::TimedOut => "timed-out",
            Fate::Disconnected => "disconnected",
            Fate::Invalid => "invalid",
        }
    }

    /// The inverse of [`as_str`](Self::as_str).
    pub(crate) fn from_text(text: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|fate| fate.as_str().as_bytes() == text)
    }
}

/// A call without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallFailure {
    pub(crate) fate: Fate,
    pub(crate) message: String,
}

impl CallFailure {
    pub(crate) fn new(fate: Fate, message: impl std::fmt::Display) -> Self {
        Self { fate, message: message.to_string() }
    }
}

impl From<RequestError> for CallFailure {
    fn from(error: RequestError) -> Self {
        let fate = match &error {
            RequestError::NotSent(NotSent::TooLarge { .. } | NotSent::InvalidPath(_) | NotSent::InvalidFrame(_)) => {
                Fate::Invalid
            }
            RequestError::NotSent(NotSent::DeadlineExceeded) => Fate::NotSentInTime,
            RequestError::NotSent(_) => Fate::NotSent,
            RequestError::TimedOut => Fate::TimedOut,
            _ => Fate::Disconnected,
        };
        Self::new(fate, with_causes(&error))
    }
}

impl From<CallFailure> for Failure {
    fn from(failure: CallFailure) -> Self {
        let CallFailure { fate, message } = failure;
        match fate {
            Fate::NotSent => Failure::new(Exit::CannotConnect, message).advise("It was not sent. Trying again is safe."),
            Fate::NotSentInTime => Failure::new(Exit::TimedOut, message).advise("It was not sent. Trying again is safe; --max-time waits longer."),
            Fate::TimedOut => Failure::new(Exit::TimedOut, message)
                .advise("It may have been processed. Check before repeating what must not happen twice; --max-time waits longer."),
            Fate::Disconnected => Failure::new(Exit::Other, message)
                .advise("It may have been processed. Check before repeating what must not happen twice."),
            Fate::Invalid => Failure::new(Exit::Usage, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_fates_are_inverse() {
        for fate in Fate::ALL {
            assert_eq!(Fate::from_text(fate.as_str().as_bytes()), Some(fate));
        }
        assert_eq!(Fate::from_text(b"?"), None);
    }

    #[test]
    fn each_fate_has_its_exit_status() {
        let exits = Fate::ALL.map(|fate| Failure::from(CallFailure::new(fate, "x")).exit() as u8);
        assert_eq!(exits, [7, 28, 28, 1, 2]);
    }
}
