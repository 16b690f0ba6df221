//! Credentials on their way into the vault, one at a time and in their order.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::timeout;

use super::causes::with_causes;
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
                Box::pin(async move { vault.store(&key, &credential).await.map_err(|error| with_causes(&error)) })
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
        Ok(Err(error)) if error.is_misconfiguration() => return Err(ConnectError::Vault(with_causes(&error))),
        Ok(Err(error)) => with_causes(&error),
        Err(_) => format!("the vault did not answer within {limit:?}"),
    };
    Ok((config, Some(reason)))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::client::vault::VaultError;
    use crate::config::Identity;

    /// Takes a second for each store and remembers their order.
    #[derive(Default)]
    struct Slow(Mutex<Vec<String>>);

    impl Vault for Slow {
        fn load<'a>(&'a self, _key: &'a VaultKey) -> BoxFuture<'a, Result<Option<Credential>, VaultError>> {
            Box::pin(async { Ok(None) })
        }

        fn store<'a>(
            &'a self,
            _key: &'a VaultKey,
            credential: &'a Credential,
        ) -> BoxFuture<'a, Result<(), VaultError>> {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.0.lock().expect("no panic").push(credential.access_token.expose().as_str().to_owned());
                Ok(())
            })
        }

        fn forget<'a>(&'a self, _key: &'a VaultKey) -> BoxFuture<'a, Result<(), VaultError>> {
            Box::pin(async { Ok(()) })
        }
    }

    fn credential(token: &str) -> Credential {
        let endpoint = r#"{"username":"u","password":"pw","mqttTopic":"me","host":"h","portTCP":1883}"#;
        Credential::from_json(format!(
            r#"{{"appID":"a","thingID":"th.1","accessToken":"{token}","mqttEndpoint":{endpoint}}}"#
        ))
        .expect("complete")
    }

    fn key() -> VaultKey {
        let identity = Identity::vendor_thing("v".parse().expect("valid"), "pw".into());
        let broker = "mqtt://h".parse().expect("valid");
        VaultKey::of(&Config::new(broker, "a".parse().expect("valid"), "k".into(), identity).expect("valid"))
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_credential_never_overwrites_a_newer_one() {
        let vault = Arc::new(Slow::default());
        let mut storing = Storing::in_vault(vault.clone(), key());
        for (link, token) in [(1, "first"), (2, "overtaken"), (3, "last")] {
            storing.begin(LinkId(link), credential(token));
        }
        assert_eq!(poll_fn(|cx| storing.poll_stored(cx)).await, (LinkId(1), Ok(())));
        storing.finish().await;
        assert_eq!(*vault.0.lock().expect("no panic"), ["first", "last"]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_vault_it_is_done_at_once() {
        let mut storing = Storing::nowhere();
        storing.begin(LinkId(4), credential("t"));
        assert_eq!(poll_fn(|cx| storing.poll_stored(cx)).await, (LinkId(4), Ok(())));
        assert!(tokio::time::timeout(Duration::from_secs(9), poll_fn(|cx| storing.poll_stored(cx))).await.is_err());
    }
}
