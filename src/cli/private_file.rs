//! Files that only their owner may read, replaced whole or not at all.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// Writes `bytes` to `path` with mode 0600: to a new file beside it, synced, renamed over it, and the directory synced.
/// A crash leaves the old file or the new one. Missing directories are made, readable by their owner only.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // tempfile makes it 0600 from the first moment on; said again in case a version of it does not.
    let mut file = tempfile::Builder::new().prefix(".thingif-").tempfile_in(directory)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("deep/er/file");
        write(&path, b"one").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("loosened");
        write(&path, b"two").expect("written again");
        assert_eq!(fs::read(&path).expect("read"), b"two");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        let parent = path.parent().expect("has one");
        assert_eq!(fs::metadata(parent).expect("there").mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(parent).expect("listed").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_failure_leaves_the_old_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("name");
        fs::create_dir(&path).expect("a directory in the way");
        write(&path, b"x").expect_err("cannot replace a directory");
        assert!(path.is_dir());
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
    }
}
