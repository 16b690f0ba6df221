//! The program's credential file as the vault of its connections.

use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use crate::cli::credential_file::{Onboarded, Settings};
use crate::client::causes::with_causes;

use crate::client::vault::{Vault, VaultError, VaultKey, private_file};
use crate::thing_if::Credential;
use crate::transport::BoxFuture;

/// Loads the credential from its file and stores each new one there, with the settings that it was had with, before the
/// default broker is left; says so on standard error. Whoever has it holds the
/// [`ConnectionLock`](crate::cli::connection_lock::ConnectionLock) of the file.
#[derive(Debug, Clone)]
pub(crate) struct CredentialVault {
    path: PathBuf,
    settings: Settings,
    /// Nothing is said of what goes well.
    is_quiet: bool,
}

impl CredentialVault {
    pub(crate) fn new(path: &Path, settings: Settings) -> Self {
        Self { path: path.to_owned(), settings, is_quiet: false }
    }

    /// For a verb that says itself where the credential is.
    pub(crate) fn quiet(self) -> Self {
        Self { is_quiet: true, ..self }
    }

    fn read(&self, key: &VaultKey) -> Result<Option<Credential>, VaultError> {
        // Only the holder of the lock comes here, so what is unfinished is left from a crash.
        if let Err(error) = private_file::sweep(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "what a crash left cannot be removed");
        }
        let Some(Onboarded { credential, settings }) = Onboarded::read(&self.path)? else { return Ok(None) };
        let is_its = VaultKey::new(
            credential.app_id.clone(),
            crate::thing_if::ThingIdentity::VendorThing(settings.vendor_thing_id),
            settings.broker,
        );
        if is_its == *key {
            Ok(Some(credential))
        } else {
            Err(VaultError::OtherKey { place: self.path.display().to_string() })
        }
    }

    fn write(&self, credential: &Credential) -> Result<(), VaultError> {
        let onboarded = Onboarded { credential: credential.clone(), settings: self.settings.clone() };
        let shown = self.path.display();
        let written = onboarded.write(&self.path);
        match &written {
            Ok(()) if self.is_quiet => {}
            Ok(()) => eprintln!("thingif: onboarded; the new credential is in {shown}"),
            Err(error) => {
                eprintln!(
                    "thingif: onboarded, but the new credential will be lost with this process: {}",
                    with_causes(error)
                )
            }
        }
        written
    }
}

/// What blocking work came to.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, VaultError> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(VaultError::other(error)))
}

impl Vault for CredentialVault {
    fn load<'a>(&'a self, key: &'a VaultKey) -> BoxFuture<'a, Result<Option<Credential>, VaultError>> {
        let (vault, key) = (self.clone(), key.clone());
        Box::pin(off_thread(move || vault.read(&key)))
    }

    fn store<'a>(&'a self, _key: &'a VaultKey, credential: &'a Credential) -> BoxFuture<'a, Result<(), VaultError>> {
        let (vault, credential) = (self.clone(), credential.clone());
        Box::pin(off_thread(move || vault.write(&credential)))
    }

    fn forget<'a>(&'a self, _key: &'a VaultKey) -> BoxFuture<'a, Result<(), VaultError>> {
        let path = self.path.clone();
        Box::pin(off_thread(move || {
            private_file::remove(&path).map(drop).map_err(|error| VaultError::io("remove", path, error))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::credential_file::tests::onboarded;
    use crate::thing_if::ThingIdentity;

    fn key(broker: &str) -> VaultKey {
        let thing = ThingIdentity::VendorThing("v".parse().expect("valid"));
        VaultKey::new("app".parse().expect("valid"), thing, broker.parse().expect("valid"))
    }

    #[tokio::test]
    async fn the_file_is_a_vault_for_one_key() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let Onboarded { credential, settings } = onboarded();
        let path = dir.path().join("c.json");
        let vault = CredentialVault::new(&path, settings);
        assert!(vault.load(&key("mqtts://h")).await.expect("empty is no error").is_none());
        vault.store(&key("mqtts://h"), &credential).await.expect("stored");
        assert!(vault.load(&key("mqtts://h")).await.expect("loaded").is_some());
        let other = vault.load(&key("mqtts://another")).await.expect_err("of another broker");
        assert!(matches!(other, VaultError::OtherKey { .. }), "{other}");
        assert_eq!(Onboarded::load(&path).expect("as onboard stores it").settings.password_file, Some("/p".into()));
        vault.forget(&key("mqtts://h")).await.expect("forgotten");
        assert!(!path.exists());
    }
}
