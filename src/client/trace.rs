//! Notices as tracing events. No notice has a secret, so none can be logged.

use super::causes::with_causes;
use crate::proto::Notice;

pub(super) fn notice(notice: &Notice) {
    match notice {
        Notice::Onboarding { link, broker } => tracing::info!(%link, %broker, "onboarding"),
        Notice::Onboarded { thing_id } => tracing::info!(%thing_id, "onboarded"),
        Notice::Connecting { link, broker } => tracing::info!(%link, %broker, "connecting"),
        Notice::Connected { link } => tracing::debug!(%link, "connected"),
        Notice::Ready { link } => tracing::info!(%link, "ready"),
        Notice::Lost { link, cause } => tracing::info!(%link, cause = %with_causes(cause), "connection lost"),
        Notice::CredentialDoubted { link, status } => {
            tracing::warn!(%link, %status, "the service refuses the token or the thing; asking once more");
        }
        Notice::CredentialConfirmed { link } => tracing::info!(%link, "the service accepts the token after all"),
        Notice::DuplicateClientId { kicks } => {
            tracing::warn!(kicks, "the connection is taken away again and again: another device has this client id");
        }
        Notice::OnboardingHeldOff { pause } => tracing::warn!(?pause, "no new credential is asked for"),
        Notice::StoreFailed { reason } => tracing::error!(reason, "the new credential could not be stored"),
        Notice::GaveUp { cause } => tracing::error!(cause = %with_causes(cause), "no attempt can help"),
        Notice::Waiting { cause, pause, onboarding } => {
            tracing::warn!(cause = %with_causes(cause), ?pause, onboarding, "not connected; another attempt follows");
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
