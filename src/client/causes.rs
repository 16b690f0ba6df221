//! An error with all that led to it.

use std::error::Error;

/// `error` and its causes in one line, outermost first.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{LinkError, LinkErrorKind};
    use crate::proto::{ConnectError, SessionError};

    #[test]
    fn a_cause_is_told_to_its_end() {
        let refused = LinkError::new(LinkErrorKind::Tcp, "connection refused");
        let error = ConnectError::Session(SessionError::Link(refused));
        assert_eq!(
            with_causes(&error),
            "the session at the assigned broker failed: the link failed: no TCP connection: connection refused"
        );
    }
}
