//! A directory with a file per credential.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lock::Lock;
use super::{Vault, VaultError, VaultKey, layout, private_file};
use crate::thing_if::Credential;
use crate::transport::BoxFuture;

/// Keeps credentials in a directory of their own, one file per [`VaultKey`].
///
/// **Whole.** A credential is written to a new file, synced, renamed over the old one, and the directory synced. A crash or
/// a loss of power at any moment leaves the old credential or the new one (on a first onboarding: none or the new one), and
/// what [`store`](Vault::store) acknowledged stays, as far as the file system keeps its promises; what a crash left
/// unfinished is removed at the next start. A network file system that cannot sync a directory is taken at its word.
///
/// **Private.** Files have mode 0600, the directory has 0700. A directory or file that others may read or write, that is a
/// symbolic link, or that belongs to another user is refused with the command that mends it. (A *store* over such a file
/// replaces it by a private one.) Tokens and passwords stand in clear in the files: whoever is root, or reads the disk, has
/// them.
///
/// **One owner.** From its first use of a key to its end this vault, with its clones, holds a lock of the operating system
/// on that key; another process, or another `FileVault` in this one, is told who holds it. A crash releases it. Locks
/// between machines are as good as the file system's.
///
/// **Checked.** A file says whose it is: one that was exchanged is [`VaultError::OtherKey`]. One that is damaged is
/// [`VaultError::Corrupt`]. At most 64 KiB are read.
///
/// Costs: a load reads one file of about a kilobyte; a store has two syncs, each some milliseconds on flash memory and
/// some tens on a disk; a key has an open file and two directory entries. Nothing is written between two onboardings. The
/// work is done on tokio's blocking threads, so its futures need a runtime; without one there are the `blocking_` methods.
#[derive(Debug, Clone)]
pub struct FileVault {
    directory: Arc<PathBuf>,
    /// Also lets one operation at a time at the files.
    held: Arc<Mutex<HashMap<String, Lock>>>,
}

impl FileVault {
    /// Opens `directory` and makes it if need be, with mode 0700. Blocks for some system calls.
    ///
    /// # Errors
    /// [`VaultError`] when it is not this user's own and private, or cannot be made.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, VaultError> {
        let given = directory.as_ref();
        let directory = std::path::absolute(given).map_err(|error| VaultError::io("find", given, error))?;
        let vault = Self { directory: Arc::new(directory), held: Arc::default() };
        vault.prepare()?;
        // Whoever made it may have crashed before this.
        if let Err(error) = private_file::sync_directory(private_file::directory_of(&vault.directory)) {
            tracing::debug!(%error, path = %vault.directory.display(), "the directory above cannot be synced");
        }
        Ok(vault)
    }

    /// The file of `key`, whether it exists or not.
    pub fn path(&self, key: &VaultKey) -> PathBuf {
        self.directory.join(layout::file_name(key))
    }

    /// As [`Vault::load`], on this thread.
    ///
    /// # Errors
    /// As [`Vault::load`].
    pub fn blocking_load(&self, key: &VaultKey) -> Result<Option<Credential>, VaultError> {
        let (path, _held) = self.claim(key)?;
        let Some(text) = private_file::read(&path, layout::MAX_LEN)? else { return Ok(None) };
        layout::decode(&text, key, &path.display().to_string()).map(Some)
    }

    /// As [`Vault::store`], on this thread.
    ///
    /// # Errors
    /// As [`Vault::store`].
    pub fn blocking_store(&self, key: &VaultKey, credential: &Credential) -> Result<(), VaultError> {
        let (path, _held) = self.claim(key)?;
        let text = layout::encode(key, credential, &path.display().to_string())?;
        private_file::write(&path, &text).map_err(|error| VaultError::io("write", path, error))
    }

    /// As [`Vault::forget`], on this thread.
    ///
    /// # Errors
    /// As [`Vault::forget`].
    pub fn blocking_forget(&self, key: &VaultKey) -> Result<(), VaultError> {
        let (path, _held) = self.claim(key)?;
        private_file::remove(&path).map(drop).map_err(|error| VaultError::io("remove", path, error))
    }

    /// Makes the directory, durably, and refuses one that is not private. It may vanish while a device runs.
    fn prepare(&self) -> Result<(), VaultError> {
        let directory = &**self.directory;
        private_file::make_directory(directory).map_err(|error| VaultError::io("make", directory, error))?;
        private_file::check_directory(directory)
    }

    /// Locks `key`, unless it is locked already, and says where its file is. While the guard lives nobody else works here.
    fn claim(&self, key: &VaultKey) -> Result<(PathBuf, MutexGuard<'_, HashMap<String, Lock>>), VaultError> {
        // Nothing panics while it is held, and every value of it is a valid one.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.prepare()?;
        let name = layout::file_name(key);
        let path = self.directory.join(&name);
        let lock_path = self.directory.join(format!("{name}.lock"));
        if !held.get(&name).is_some_and(|lock| lock.is_at(&lock_path)) {
            // One whose file is gone guards nothing any more.
            held.remove(&name);
            held.insert(name, Lock::take(&lock_path, &path)?);
            if let Err(error) = private_file::sweep(&path) {
                tracing::warn!(%error, path = %self.directory.display(), "what a crash left cannot be removed");
            }
        }
        Ok((path, held))
    }

    /// Does `work` where blocking does no harm.
    fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, VaultError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, VaultError>> {
        let vault = self.clone();
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || work(&vault)).await;
            done.unwrap_or_else(|error| Err(VaultError::other(error)))
        })
    }
}

impl Vault for FileVault {
    fn load<'a>(&'a self, key: &'a VaultKey) -> BoxFuture<'a, Result<Option<Credential>, VaultError>> {
        let key = key.clone();
        self.off_thread(move |vault| vault.blocking_load(&key))
    }

    fn store<'a>(&'a self, key: &'a VaultKey, credential: &'a Credential) -> BoxFuture<'a, Result<(), VaultError>> {
        let (key, credential) = (key.clone(), credential.clone());
        self.off_thread(move |vault| vault.blocking_store(&key, &credential))
    }

    fn forget<'a>(&'a self, key: &'a VaultKey) -> BoxFuture<'a, Result<(), VaultError>> {
        let key = key.clone();
        self.off_thread(move |vault| vault.blocking_forget(&key))
    }
}
