//! The data directory: private, and one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::OpenError;
use crate::file_lock;

/// The file that is locked while the directory is in use.
pub(crate) const LOCK: &str = "lock";

/// A data directory that this process holds the lock of. Dropping it lets the next process in.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Makes or takes `path`, closes it to others, and locks it.
    pub(crate) fn claim(path: &Path) -> Result<Self, OpenError> {
        let failed = |error: io::Error| OpenError::Directory { path: path.to_owned(), error };
        if !path.exists() {
            make(path).map_err(failed)?;
        }
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            // Only a directory that is ours may have its mode changed: naming /tmp must not lock everybody out of it.
            let is_ours = path.join(LOCK).exists() || fs::read_dir(path).map_err(failed)?.next().is_none();
            if !is_ours {
                return Err(OpenError::NotPrivate { path: path.to_owned() });
            }
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(path.join(LOCK)).map_err(failed)?;
        match file_lock::try_lock(&lock) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.to_owned() }),
            Err(fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// The file `name` in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads the file `name`; `None` when there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, OpenError> {
        let path = self.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(OpenError::Directory { path, error }),
        }
    }

    /// Writes the file `name` with mode 0600: whole and durable, or not at all.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), OpenError> {
        let path = self.join(name);
        let fresh = self.join(&format!("{name}.new"));
        let write = || {
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)
        };
        write().map_err(|error| OpenError::Directory { path: path.clone(), error })?;
        self.sync()
    }

    /// Makes the file `name`, empty, with mode 0600, unless it is there.
    pub(crate) fn make_private(&self, name: &str) -> Result<(), OpenError> {
        let path = self.join(name);
        let made = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        made.map(drop).map_err(|error| OpenError::Directory { path, error })
    }

    /// Makes new files in it, and the directory in its parent, survive a power cut.
    pub(crate) fn sync(&self) -> Result<(), OpenError> {
        let failed = |path: &Path, error| OpenError::Directory { path: path.to_owned(), error };
        let absolute = fs::canonicalize(&self.path).map_err(|error| failed(&self.path, error))?;
        for path in absolute.ancestors().take(2) {
            File::open(path).and_then(|opened| opened.sync_all()).map_err(|error| failed(path, error))?;
        }
        Ok(())
    }
}

/// Makes `path` and what is missing above it. A power cut takes none of it away again.
fn make(path: &Path) -> io::Result<()> {
    let is_missing = |above: &&Path| !above.as_os_str().is_empty() && !above.exists();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for made in missing {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(above)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("exists").permissions().mode() & 0o777
    }

    #[test]
    fn a_new_directory_is_private_and_belongs_to_one() {
        let parent = tempfile::tempdir().expect("temporary directory");
        let path = parent.path().join("a/b");
        let held = DataDirectory::claim(&path).expect("new");
        assert_eq!(mode(&path), 0o700);
        assert!(matches!(DataDirectory::claim(&path), Err(OpenError::Locked { .. })));
        drop(held);
        DataDirectory::claim(&path).expect("free again");
    }

    #[test]
    fn only_its_own_directory_is_closed_to_others() {
        let parent = tempfile::tempdir().expect("temporary directory");
        let path = parent.path().join("open");
        fs::create_dir(&path).expect("created");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
        fs::write(path.join("somebody's"), "file").expect("written");
        assert!(matches!(DataDirectory::claim(&path), Err(OpenError::NotPrivate { .. })));
        assert_eq!(mode(&path), 0o755);
        fs::remove_file(path.join("somebody's")).expect("removed");
        drop(DataDirectory::claim(&path).expect("empty now"));
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn files_are_private_and_whole() {
        let parent = tempfile::tempdir().expect("temporary directory");
        let held = DataDirectory::claim(&parent.path().join("d")).expect("new");
        assert_eq!(held.read("key").expect("readable"), None);
        held.write("key", b"secret").expect("written");
        assert_eq!(mode(&held.join("key")), 0o600);
        assert_eq!(held.read("key").expect("readable").as_deref(), Some(&b"secret"[..]));
        assert!(!held.join("key.new").exists());
    }
}
