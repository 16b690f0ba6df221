//! Where the credentials of end nodes are kept.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::NodeCredential;
use crate::client::vault::VaultError;
use crate::ids::ThingId;
use crate::transport::BoxFuture;

/// Keeps the credentials of a gateway's end nodes between runs of a program, so that none is onboarded again.
///
/// As with a [`Vault`](crate::client::vault::Vault), what `store` acknowledged is what `load` returns from then on, and a
/// future that is dropped half-way leaves what was there before or what was to be there, never a mixture.
pub trait NodeStore: Send + Sync + 'static {
    /// Everything that is stored.
    ///
    /// # Errors
    /// [`VaultError`] says why it cannot be had; [`is_misconfiguration`](VaultError::is_misconfiguration) decides whether
    /// the gateway begins without.
    fn load(&self) -> BoxFuture<'_, Result<Vec<NodeCredential>, VaultError>>;

    /// Adds `node`, in place of what is stored [of the same node](NodeCredential::is_of_same_node). Resolves when it is
    /// durable.
    ///
    /// # Errors
    /// [`VaultError`]; what was there before is still there, or the new one is, whole.
    fn store<'a>(&'a self, node: &'a NodeCredential) -> BoxFuture<'a, Result<(), VaultError>>;

    /// Removes what is stored of the node `thing`, durably. Nothing there is no error.
    ///
    /// # Errors
    /// [`VaultError`]; it may still be there.
    fn forget<'a>(&'a self, thing: &'a ThingId) -> BoxFuture<'a, Result<(), VaultError>>;
}

impl<S: NodeStore + ?Sized> NodeStore for Arc<S> {
    fn load(&self) -> BoxFuture<'_, Result<Vec<NodeCredential>, VaultError>> {
        (**self).load()
    }

    fn store<'a>(&'a self, node: &'a NodeCredential) -> BoxFuture<'a, Result<(), VaultError>> {
        (**self).store(node)
    }

    fn forget<'a>(&'a self, thing: &'a ThingId) -> BoxFuture<'a, Result<(), VaultError>> {
        (**self).forget(thing)
    }
}

/// Replaces what is there of the same node.
pub(super) fn put(nodes: &mut Vec<NodeCredential>, node: NodeCredential) {
    nodes.retain(|other| !other.is_of_same_node(&node));
    nodes.push(node);
}

/// Keeps them as long as the program runs. Clones share what is stored; never fails.
#[derive(Clone, Default)]
pub struct MemoryNodeStore(Arc<Mutex<Vec<NodeCredential>>>);

impl MemoryNodeStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<NodeCredential>> {
        // Nothing panics while it is held, and every value of it is a valid one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryNodeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.nodes().iter().map(|node| &node.thing_id)).finish()
    }
}

impl NodeStore for MemoryNodeStore {
    fn load(&self) -> BoxFuture<'_, Result<Vec<NodeCredential>, VaultError>> {
        Box::pin(async move { Ok(self.nodes().clone()) })
    }

    fn store<'a>(&'a self, node: &'a NodeCredential) -> BoxFuture<'a, Result<(), VaultError>> {
        Box::pin(async move {
            put(&mut self.nodes(), node.clone());
            Ok(())
        })
    }

    fn forget<'a>(&'a self, thing: &'a ThingId) -> BoxFuture<'a, Result<(), VaultError>> {
        Box::pin(async move {
            self.nodes().retain(|node| node.thing_id != *thing);
            Ok(())
        })
    }
}
