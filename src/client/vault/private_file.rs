//! Files that only their owner may read, replaced whole or not at all.
//!
//! The order that makes a replacement survive a crash: a new file beside the old one, its content synced, renamed over the
//! old one, the directory synced. Whoever writes one path from several processes holds a lock of its own.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::VaultError;

/// Ends the name of a file that is not whole yet.
const UNFINISHED: &str = ".new";

/// The directory of `path`.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// How the name of an unfinished file for `path` begins; hidden, and told apart from those of every other file.
fn unfinished_prefix(path: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    prefix
}

/// Writes `bytes` to `path` with mode 0600. A crash at any moment leaves the old file or the new one, whole; after `Ok` it
/// is the new one. Missing directories are made, for their owner only. Costs two syncs, each some milliseconds on flash.
///
/// An error after the rename (the directory cannot be synced) leaves the new one, which may not survive a power cut.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = directory_of(path);
    make_directory(directory)?;
    let mut name = unfinished_prefix(path);
    name.push(format!("{:016x}{UNFINISHED}", getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?));
    let mut unfinished = Unfinished { path: directory.join(name), is_renamed: false };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished.path)?;
    // The umask may have taken away more than others' share.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&unfinished.path, path)?;
    unfinished.is_renamed = true;
    sync_directory(directory)
}

/// A file that is not whole yet; dropping it removes it.
struct Unfinished {
    path: PathBuf,
    is_renamed: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_renamed {
            // In vain: the next sweep takes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what crashes during [`write`] left beside `path`. Only for whoever knows that nobody writes it now.
pub(crate) fn sweep(path: &Path) -> io::Result<()> {
    let prefix = unfinished_prefix(path);
    for entry in fs::read_dir(directory_of(path))? {
        let entry = entry?;
        if is_unfinished(&entry.file_name(), &prefix) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_unfinished(name: &OsStr, prefix: &OsStr) -> bool {
    let (name, prefix) = (name.as_encoded_bytes(), prefix.as_encoded_bytes());
    name.strip_prefix(prefix)
        .and_then(|rest| rest.strip_suffix(UNFINISHED.as_bytes()))
        .is_some_and(|random| random.len() == 16 && random.iter().all(u8::is_ascii_hexdigit))
}

/// Removes `path` so that it stays removed after a power cut; `false` when nothing was there.
pub(crate) fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory(directory_of(path)).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads `path`, at most `max` bytes; `None` when there is none.
///
/// # Errors
/// A file that is not this user's own and private is refused, and so is what is no file: what somebody else could have
/// written is not believed, and what somebody else could have read is not used.
pub(crate) fn read(path: &Path, max: u64) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
    // Neither follows a link nor waits for the other end of a pipe.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(VaultError::WrongKind { path: path.into(), found: "a symbolic link", wanted: "a file" });
        }
        Err(error) => return Err(VaultError::io("open", path, error)),
    };
    // Of what was opened, so that nobody can exchange it in between.
    let found = file.metadata().map_err(|error| VaultError::io("look at", path, error))?;
    if !found.is_file() {
        return Err(VaultError::WrongKind { path: path.into(), found: kind(&found), wanted: "a file" });
    }
    check_private(path, &found, 0o600)?;
    // With its whole capacity from the start: growing would leave copies that nobody wipes.
    let expected = found.len().min(max) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(expected).unwrap_or(0)));
    file.take(max + 1).read_to_end(&mut bytes).map_err(|error| VaultError::io("read", path, error))?;
    if bytes.len() as u64 > max {
        let reason = format!("it has more than {max} bytes");
        return Err(VaultError::Corrupt { place: path.display().to_string(), reason });
    }
    Ok(Some(bytes))
}

/// Refuses a directory that is not this user's own and private.
pub(crate) fn check_directory(path: &Path) -> Result<(), VaultError> {
    let found = fs::symlink_metadata(path).map_err(|error| VaultError::io("look at", path, error))?;
    if !found.is_dir() {
        return Err(VaultError::WrongKind { path: path.into(), found: kind(&found), wanted: "a directory" });
    }
    check_private(path, &found, 0o700)
}

/// Refuses what others own, or may read or write.
pub(crate) fn check_private(path: &Path, found: &Metadata, wanted: u32) -> Result<(), VaultError> {
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user {
        return Err(VaultError::ForeignOwner { path: path.into(), owner: found.uid(), user });
    }
    if found.mode() & 0o077 != 0 {
        return Err(VaultError::NotPrivate { path: path.into(), mode: found.mode() & 0o7777, wanted });
    }
    Ok(())
}

fn kind(found: &Metadata) -> &'static str {
    match found.file_type() {
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_dir() => "a directory",
        kind if kind.is_file() => "a file",
        _ => "neither a file nor a directory",
    }
}

/// Makes `path` and what is missing above it, for their owner only, durably. One that is there already is left as it is.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.is_dir()).collect();
    for directory in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
            made => made?,
        }
        sync_directory(directory_of(directory))?;
    }
    Ok(())
}

/// Makes new, renamed and removed names in `path` survive a power cut, where the file system can promise that.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some network file systems cannot sync directories, and say so in this way.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("changed");
    }

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let dir = directory();
        let path = dir.path().join("deep/er/file");
        write(&path, b"one").expect("written");
        set_mode(&path, 0o644);
        write(&path, b"two").expect("written again");
        assert_eq!(fs::read(&path).expect("read"), b"two");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        let parent = path.parent().expect("has one");
        assert_eq!(fs::metadata(parent).expect("there").mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(parent).expect("listed").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let dir = directory();
        let path = dir.path().join("name");
        fs::create_dir(&path).expect("a directory in the way");
        write(&path, b"x").expect_err("cannot replace a directory");
        assert!(path.is_dir());
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
    }

    #[test]
    fn what_others_may_read_or_write_is_refused() {
        let dir = directory();
        let path = dir.path().join("file");
        write(&path, b"secret").expect("written");
        assert_eq!(read(&path, 6).expect("private").expect("there").as_slice(), b"secret");
        for mode in [0o604, 0o602, 0o640, 0o620, 0o601, 0o666] {
            set_mode(&path, mode);
            let error = read(&path, 6).expect_err("refused");
            assert!(matches!(&error, VaultError::NotPrivate { mode: found, .. } if *found == mode), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        set_mode(&path, 0o400);
        assert!(read(&path, 6).expect("read-only is private").is_some());
    }

    #[test]
    fn links_and_pipes_are_no_files() {
        let dir = directory();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        write(&file, b"secret").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        let error = read(&link, 6).expect_err("refused").to_string();
        assert!(error.contains("a symbolic link"), "{error}");
        write(&link, b"new").expect("a link is replaced, not followed");
        assert_eq!(fs::read(&file).expect("read"), b"secret");

        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg("-m").arg("600").arg(&pipe).status().expect("mkfifo(1)");
        assert!(made.success());
        assert!(matches!(read(&pipe, 6), Err(VaultError::WrongKind { .. })), "and is not waited for");
        assert!(matches!(read(dir.path(), 6), Err(VaultError::WrongKind { found: "a directory", .. })));
        assert!(matches!(check_directory(&file), Err(VaultError::WrongKind { found: "a file", .. })));
    }

    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        // Root's own in every system; root itself finds nobody else's file for sure.
        let path = Path::new("/etc/passwd");
        let found = fs::metadata(path).expect("there");
        let checked = check_private(path, &found, 0o600);
        if rustix::process::geteuid().is_root() {
            let mine = directory();
            let file = mine.path().join("file");
            fs::write(&file, "").expect("written");
            std::os::unix::fs::chown(&file, Some(54321), None).expect("root may");
            set_mode(&file, 0o600);
            assert!(matches!(read(&file, 6), Err(VaultError::ForeignOwner { owner: 54321, user: 0, .. })));
        } else {
            assert!(matches!(checked, Err(VaultError::ForeignOwner { owner: 0, .. })), "{checked:?}");
        }
    }

    #[test]
    fn reading_is_bounded() {
        let dir = directory();
        let path = dir.path().join("file");
        assert!(read(&path, 3).expect("no error").is_none());
        write(&path, b"1234").expect("written");
        assert!(matches!(read(&path, 3), Err(VaultError::Corrupt { .. })));
        assert_eq!(read(&path, 4).expect("fits").expect("there").as_slice(), b"1234");
    }

    #[test]
    fn a_sweep_takes_what_a_crash_left_and_nothing_else() {
        let dir = directory();
        let path = dir.path().join("c.json");
        write(&path, b"kept").expect("written");
        let kept = ["c.json.lock", ".c.json.notes.new", ".c.json.0123456789abcdef.old", ".d.json.0123456789abcdef.new"];
        for name in kept.into_iter().chain([".c.json.0123456789abcdef.new", ".c.json.fedcba9876543210.new"]) {
            fs::write(dir.path().join(name), "").expect("written");
        }
        sweep(&path).expect("swept");
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .expect("listed")
            .map(|entry| entry.expect("listed").file_name().into_string().expect("text"))
            .collect();
        left.sort();
        let mut expected: Vec<_> = kept.into_iter().chain(["c.json"]).collect();
        expected.sort_unstable();
        assert_eq!(left, expected);
    }
}
