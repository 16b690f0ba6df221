//! How a verb fails: an exit status after curl's, a sentence, and what to do next.

use std::fmt;
use std::process::ExitCode;

use http::StatusCode;

use crate::client::causes::with_causes;
use crate::mqtt::{LinkError, LinkErrorKind};
use crate::proto::{ConnectError, OnboardingError, SessionError};

/// Exit statuses, numbered as curl numbers them where curl has the case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Anything that has no number of its own.
    Other = 1,
    /// The command line cannot be obeyed. clap's own errors use it as well.
    Usage = 2,
    /// A host name was not resolved.
    NameNotResolved = 6,
    /// No connection.
    CannotConnect = 7,
    /// The answer's status is 400 or above: of `call --fail`, and of the verbs that need another answer to go on.
    Status = 22,
    /// Standard output is gone, as when `head` has seen enough.
    WriteFailed = 23,
    /// No answer in time.
    TimedOut = 28,
    /// TLS failed before a certificate could be judged.
    Tls = 35,
    /// The peer's certificate, or its name, is not trusted.
    Certificate = 60,
    /// The broker or the service refused who we are.
    LoginRefused = 67,
}

/// Why a verb did not do what it was asked.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    advice: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), advice: None }
    }

    /// A failure without a number of its own.
    pub(crate) fn other(message: impl fmt::Display) -> Self {
        Self::new(Exit::Other, message)
    }

    /// The command line, or a file it names, is wrong.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Adds what to do next, unless something more precise is there already.
    pub(crate) fn advise(mut self, advice: impl fmt::Display) -> Self {
        self.advice.get_or_insert_with(|| advice.to_string());
        self
    }

    /// The same with another exit status.
    pub(crate) fn with_exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Says it on standard error and gives the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        if self.exit != Exit::WriteFailed {
            eprintln!("{self}");
        }
        ExitCode::from(self.exit as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thingif: {}", self.message)?;
        match &self.advice {
            Some(advice) => write!(f, "\n         {}", advice.replace('\n', "\n         ")),
            None => Ok(()),
        }
    }
}

impl From<&LinkError> for Failure {
    fn from(error: &LinkError) -> Self {
        let (exit, advice) = match error.kind() {
            LinkErrorKind::NameNotResolved => {
                (Exit::NameNotResolved, "Check the broker's host name, and that this machine has a resolver.")
            }
            LinkErrorKind::Tcp => (
                Exit::CannotConnect,
                "Check host and port, and that the broker is running: `thingif serve` prints its addresses.",
            ),
            LinkErrorKind::ConnectTimedOut => {
                (Exit::TimedOut, "Check host and port; a firewall that drops packets looks like this too.")
            }
            LinkErrorKind::Tls => (
                Exit::Tls,
                "Check that the port speaks TLS: brokers listen for it on 8883 and 12473, and without it on 1883 and 12470.",
            ),
            LinkErrorKind::Refused(_) => (
                Exit::LoginRefused,
                "Check the app id and its key; a stored credential that is refused is renewed by `thingif onboard`.",
            ),
            LinkErrorKind::WebSocket => {
                (Exit::CannotConnect, "Check that the port speaks WebSocket and the path, /mqtt by default.")
            }
            LinkErrorKind::Proxy => (
                Exit::CannotConnect,
                "Check --proxy and its login. A stored proxy is used until --proxy names another, or off.",
            ),
            LinkErrorKind::Config => (Exit::Usage, "Check the files given with --ca, --cert and --key."),
            _ => (Exit::CannotConnect, "Run it again with -v to see what happened on the connection."),
        };
        Failure::new(exit, error).advise(advice)
    }
}

impl From<&ConnectError> for Failure {
    fn from(error: &ConnectError) -> Self {
        let said = with_causes(error);
        if let Some(link) = error.link_error() {
            let Failure { exit, advice, .. } = Failure::from(link);
            return Failure { exit, message: said, advice };
        }
        match error {
            ConnectError::Onboarding(OnboardingError::Rejected { status, .. })
                if matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =>
            {
                Failure::new(Exit::LoginRefused, said).advise("Check the thing's password: the one of its first onboarding counts.")
            }
            ConnectError::Onboarding(OnboardingError::SchemeNotOffered(_)) => Failure::new(Exit::CannotConnect, said)
                .advise("Name another way with --assigned mqtt, mqtts, ws or wss."),
            ConnectError::Onboarding(OnboardingError::TimedOut) | ConnectError::Session(SessionError::SubscribeTimedOut) => {
                Failure::new(Exit::TimedOut, said).advise(
                    "The broker took the connection and did not answer. An ordinary broker (mosquitto) needs --response-filter.",
                )
            }
            ConnectError::Vault(reason) => Failure::usage(reason),
            ConnectError::Config(reason) => Failure::usage(reason),
            _ => Failure::other(said),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::RefusedReason;

    #[test]
    fn each_kind_of_link_error_has_curls_number() {
        for (kind, detail, exit) in [
            (LinkErrorKind::NameNotResolved, "", 6),
            (LinkErrorKind::Tcp, "", 7),
            (LinkErrorKind::ConnectTimedOut, "", 28),
            (LinkErrorKind::Tls, "", 35),
            (LinkErrorKind::Refused(RefusedReason::BadUserNameOrPassword), "", 67),
            (LinkErrorKind::Closed, "", 7),
            (LinkErrorKind::Proxy, "", 7),
            (LinkErrorKind::Config, "", 2),
        ] {
            let failure = Failure::from(&LinkError::new(kind, detail));
            assert_eq!(failure.exit() as u8, exit, "{kind:?}");
            assert!(failure.to_string().contains("\n         "), "{failure} says what to do");
        }
    }

    #[test]
    fn the_first_advice_stays() {
        let failure = Failure::other("no").advise("first").advise("second");
        assert_eq!(failure.to_string(), "thingif: no\n         first");
    }
}
