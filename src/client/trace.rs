//! Notices as tracing events. No notice has a secret, so none can be logged.

use crate::proto::{ConnectError, Notice};

pub(super) fn notice(notice: &Notice) {
    match notice {
        Notice::Onboarding { link, broker } => tracing::info!(%link, %broker, "onboarding"),
        Notice::Onboarded { thing_id } => tracing::info!(%thing_id, "onboarded"),
        Notice::Connecting { link, broker } => tracing::info!(%link, %broker, "connecting"),
        Notice::Connected { link } => tracing::debug!(%link, "connected"),
        Notice::Ready { link } => tracing::info!(%link, "ready"),
        Notice::Lost { link, cause } => tracing::info!(%link, cause = %chain(cause), "connection lost"),
        Notice::CredentialDoubted { link, status } => {
            tracing::warn!(%link, %status, "the service refuses the token or the thing; asking once more");
        }
        Notice::CredentialConfirmed { link } => tracing::info!(%link, "the service accepts the token after all"),
        Notice::DuplicateClientId { kicks } => {
            tracing::warn!(kicks, "the connection is taken away again and again: another device has this client id");
        }
        Notice::OnboardingHeldOff { pause } => tracing::warn!(?pause, "no new credential is asked for"),
        Notice::StoreFailed { reason } => tracing::error!(reason, "the new credential could not be stored"),
        Notice::GaveUp { cause } => tracing::error!(cause = %chain(cause), "no attempt can help"),
        Notice::Waiting { cause, pause, onboarding } => {
            tracing::warn!(cause = %chain(cause), ?pause, onboarding, "not connected; another attempt follows");
        }
        Notice::PeerOmitsRequestIds { link } => {
            tracing::warn!(%link, "the peer omits request ids: calls with the same path go one at a time");
        }
        Notice::PeerEchoesRequestIds { link } => tracing::info!(%link, "the peer echoes request ids after all"),
        Notice::AmbiguousAnswer { topic } => tracing::warn!(%topic, "an answer could belong to several calls"),
        Notice::UnreadableAnswer { topic } => tracing::warn!(%topic, "an answer cannot be read"),
        Notice::QuarantineOverflow => tracing::warn!("too many timed-out and cancelled calls to remember"),
        Notice::LoadFailed { reason } => tracing::warn!(%reason, "no credential from the vault: onboarding"),
        Notice::Lagged(count) => tracing::debug!(count, "notices dropped"),
    }
}

/// An error with all its causes.
fn chain(error: &ConnectError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
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
    use crate::proto::SessionError;

    #[test]
    fn a_cause_is_told_to_its_end() {
        let refused = LinkError::new(LinkErrorKind::Tcp, "connection refused");
        let error = ConnectError::Session(SessionError::Link(refused));
        assert_eq!(
            chain(&error),
            "the session at the assigned broker failed: the link failed: no TCP connection: connection refused"
        );
    }
}
