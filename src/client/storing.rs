//! Credentials on their way into the vault, one at a time and in their order.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::timeout;

use super::vault::{Vault, VaultKey};
use crate::config::Config;
use crate::proto::{ConnectError, LinkId};
use crate::thing_if::Credential;
use crate::transport::BoxFuture;

/// The vault, and what is being stored in it. Without a vault everything is stored at once, nowhere.
pub(super) struct Storing {
    vault: Option<(Arc<dyn Vault>, VaultKey)>,
    current: Option<(LinkId, BoxFuture<'static, Result<(), String>>)>,
    /// Came while another was being stored. The newest is the one that counts.
    next: Option<(LinkId, Credential)>,
}

impl fmt::Debug for Storing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storing").field("key", &self.vault.as_ref().map(|(_, key)| key)).finish_non_exhaustive()
    }
}

impl Storing {
    pub(super) fn in_vault(vault: Arc<dyn Vault>, key: VaultKey) -> Self {
        Self { vault: Some((vault, key)), current: None, next: None }
    }

    pub(super) fn nowhere() -> Self {
        Self { vault: None, current: None, next: None }
    }

    /// Begins to store what came on `link`. One that is being stored already is stored first.
    pub(super) fn begin(&mut self, link: LinkId, credential: Credential) {
        if self.current.is_some() {
            self.next = Some((link, credential));
            return;
        }
        let stored: BoxFuture<'static, Result<(), String>> = match &self.vault {
            None => Box::pin(std::future::ready(Ok(()))),
            Some((vault, key)) => {
                let (vault, key) = (vault.clone(), key.clone());
                Box::pin(async move { vault.store(&key, &credential).await.map_err(|error| error.in_full()) })
            }
        };
        self.current = Some((link, stored));
    }

    /// What became of the one being stored, and the link that it came on; pending while there is none. Cancel-safe.
    pub(super) fn poll_stored(&mut self, cx: &mut Context<'_>) -> Poll<(LinkId, Result<(), String>)> {
        let Some((link, stored)) = &mut self.current else { return Poll::Pending };
        let link = *link;
        let result = ready!(stored.as_mut().poll(cx));
        self.current = None;
        if let Some((link, credential)) = self.next.take() {
            self.begin(link, credential);
        }
        Poll::Ready((link, result))
    }

    /// Until everything is stored, or cannot be.
    pub(super) async fn finish(&mut self) {
        while self.current.is_some() {
            if let (_, Err(reason)) = std::future::poll_fn(|cx| self.poll_stored(cx)).await {
                tracing::warn!(%reason, "the credential is not stored");
            }
        }
    }
}

/// The configuration that begins with what `vault` has under `key`; and why that cannot be had, where the device onboards
/// instead.
pub(super) async fn load(
    config: Config,
    vault: &dyn Vault,
    key: &VaultKey,
) -> Result<(Config, Option<String>), ConnectError> {
    let limit = config.connect_timeout();
    let reason = match timeout(limit, vault.load(key)).await {
        Ok(Ok(None)) => return Ok((config, None)),
        Ok(Ok(Some(credential))) => return Ok((config.with_resume(credential), None)),
        Ok(Err(error)) if error.is_misconfiguration() => return Err(ConnectError::Vault(error.in_full())),
        Ok(Err(error)) => error.in_full(),
        Err(_) => format!("the vault did not answer within {limit:?}"),
    };
    Ok((config, Some(reason)))
}
