//! Why a call brought no answer, in a form that also crosses the local socket.

pub(crate) use crate::bridge::proxy::Fate;
use crate::cli::exit::{Exit, Failure};
use crate::client::causes::with_causes;
use crate::proto::RequestError;

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
        Self::new(Fate::of(&error), with_causes(&error))
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
    fn each_fate_has_its_exit_status() {
        let exits = Fate::ALL.map(|fate| Failure::from(CallFailure::new(fate, "x")).exit() as u8);
        assert_eq!(exits, [7, 28, 28, 1, 2]);
    }
}
