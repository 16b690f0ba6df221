//! One owner per credential.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use super::{VaultError, private_file};
use crate::file_lock;

/// How often a lock file that was replaced while it was being locked is opened anew.
const TRIES: usize = 8;

/// The right to work with one credential, until dropped or until the process ends in whatever way: the operating system
/// keeps it.
#[derive(Debug)]
pub(in crate::client) struct Lock(File);

impl Lock {
    /// Takes the lock file at `path`, for the credential in `credential`.
    pub(in crate::client) fn take(path: &Path, credential: &Path) -> Result<Self, VaultError> {
        let failed = |error| VaultError::io("lock", path, error);
        for _ in 0..TRIES {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
                .open(path)
                .map_err(failed)?;
            private_file::check_private(path, &file.metadata().map_err(failed)?, 0o600)?;
            match file_lock::try_lock(&file) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(VaultError::Locked { path: credential.into(), holder: holder(&mut file) });
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            let lock = Self(file);
            if lock.is_at(path) {
                lock.sign().map_err(failed)?;
                return Ok(lock);
            }
        }
        Err(failed(io::Error::other("it is replaced again and again")))
    }

    /// Whether `path` is still the file that is locked. It is not when somebody emptied the directory.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        match (self.0.metadata(), fs::symlink_metadata(path)) {
            (Ok(held), Ok(found)) => (held.dev(), held.ino()) == (found.dev(), found.ino()),
            _ => false,
        }
    }

    /// Writes the process id, for whoever comes in vain.
    fn sign(&self) -> io::Result<()> {
        self.0.set_len(0)?;
        (&self.0).write_all(format!("{}\n", std::process::id()).as_bytes())
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
