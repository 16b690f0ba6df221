//! Where a device keeps its credential, so that it comes back after a restart without onboarding again.
//!
//! [`connect_with`](super::connect_with) takes a [`Vault`]: it loads first, and stores every new credential *before* the
//! default broker is left. A device that is cut off at any moment finds the old credential or the new one, whole, and a
//! device whose credential is lost onboards again by itself.
//!
//! [`FileVault`] is the one to use on a device with a file system, [`MemoryVault`] is for tests and for devices that
//! onboard at every start. Anything else that can hold a kilobyte (a secure element, a database) is an implementation of
//! three methods.
//!
//! # What a failure means
//!
//! | `load` says | `connect_with` then |
//! |---|---|
//! | nothing is there | onboards |
//! | [`Corrupt`](VaultError::Corrupt), [`OtherKey`](VaultError::OtherKey) | onboards, and the next store replaces it: a device in the field has nobody to ask |
//! | [`Io`](VaultError::Io), [`Other`](VaultError::Other), or no answer within the connect timeout | the same |
//! | [a mistake in the set-up](VaultError::is_misconfiguration): readable by others, not ours, a symbolic link, no permission, in use by another process | fails at once, before anything is sent: a person made it, a person must mend it, and until then the credential is not safe |
//!
//! The second and third are a [`Notice::LoadFailed`](super::Notice::LoadFailed) and a warning in the log. A store that
//! fails, or takes longer than the connect timeout, is a [`Notice::StoreFailed`](super::Notice::StoreFailed), and life
//! goes on with the credential in memory; the next start finds the old one, which usually still works.

mod error;
#[cfg(unix)]
mod file;
mod key;
#[cfg(unix)]
mod layout;
#[cfg(unix)]
pub(in crate::client) mod lock;
mod memory;
#[cfg(unix)]
pub(crate) mod private_file;

use std::sync::Arc;

pub use error::VaultError;
#[cfg(unix)]
pub use file::FileVault;
pub use key::VaultKey;
pub use memory::MemoryVault;

use crate::thing_if::Credential;
use crate::transport::BoxFuture;

/// Keeps credentials between runs of a program, one per [`VaultKey`].
///
/// What `store` acknowledged is what `load` returns from then on, also after a loss of power, unless the implementation
/// says otherwise. A future that is dropped half-way must leave the old credential or the new one, never a mixture.
pub trait Vault: Send + Sync + 'static {
    /// The credential stored last under `key`; `None` when there is none.
    ///
    /// # Errors
    /// [`VaultError`] says why it cannot be had; [`is_misconfiguration`](VaultError::is_misconfiguration) decides whether
    /// the device onboards instead.
    fn load<'a>(&'a self, key: &'a VaultKey) -> BoxFuture<'a, Result<Option<Credential>, VaultError>>;

    /// Puts `credential` in place of what is there. Resolves when it is durable.
    ///
    /// # Errors
    /// [`VaultError`]; whatever was there before is still there, or the new one is, whole.
    fn store<'a>(&'a self, key: &'a VaultKey, credential: &'a Credential) -> BoxFuture<'a, Result<(), VaultError>>;

    /// Removes what is stored under `key`, durably. Nothing there is no error. The service is not told: the credential
    /// stays valid there.
    ///
    /// # Errors
    /// [`VaultError`]; the credential may still be there.
    fn forget<'a>(&'a self, key: &'a VaultKey) -> BoxFuture<'a, Result<(), VaultError>>;
}

macro_rules! forward {
    ($pointer:ident) => {
        impl<V: Vault + ?Sized> Vault for $pointer<V> {
            fn load<'a>(&'a self, key: &'a VaultKey) -> BoxFuture<'a, Result<Option<Credential>, VaultError>> {
                (**self).load(key)
            }

            fn store<'a>(
                &'a self,
                key: &'a VaultKey,
                credential: &'a Credential,
            ) -> BoxFuture<'a, Result<(), VaultError>> {
                (**self).store(key, credential)
            }

            fn forget<'a>(&'a self, key: &'a VaultKey) -> BoxFuture<'a, Result<(), VaultError>> {
                (**self).forget(key)
            }
        }
    };
}

forward!(Arc);
forward!(Box);
