//! A vault without a disk.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Vault, VaultError, VaultKey};
use crate::thing_if::Credential;
use crate::transport::BoxFuture;

/// Keeps credentials as long as the program runs: for tests, and for devices that have nowhere to write. Clones share what
/// is stored. Costs about a kilobyte per key; never fails.
#[derive(Clone, Default)]
pub struct MemoryVault(Arc<Mutex<HashMap<VaultKey, Credential>>>);

impl MemoryVault {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn stored(&self) -> MutexGuard<'_, HashMap<VaultKey, Credential>> {
        // Nothing panics while it is held, and every value of it is a valid one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.stored().keys()).finish()
    }
}

impl Vault for MemoryVault {
    fn load<'a>(&'a self, key: &'a VaultKey) -> BoxFuture<'a, Result<Option<Credential>, VaultError>> {
        Box::pin(async move { Ok(self.stored().get(key).cloned()) })
    }

    fn store<'a>(&'a self, key: &'a VaultKey, credential: &'a Credential) -> BoxFuture<'a, Result<(), VaultError>> {
        Box::pin(async move {
            self.stored().insert(key.clone(), credential.clone());
            Ok(())
        })
    }

    fn forget<'a>(&'a self, key: &'a VaultKey) -> BoxFuture<'a, Result<(), VaultError>> {
        Box::pin(async move {
            self.stored().remove(key);
            Ok(())
        })
    }
}
