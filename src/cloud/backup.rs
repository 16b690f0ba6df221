//! A copy of a data directory that is in use: whole, verified, and on the disk before it has its name.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::OpenError;
use super::data_directory::{self, DataDirectory};
use super::endpoint_key;
use super::store::DATABASE;

/// Why there is no backup. Nothing has the name that was asked for, and the data directory is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There is no database in the directory.
    #[error("{} is not a data directory: it has no {DATABASE}", path.display())]
    NoDatabase {
        /// The directory.
        path: PathBuf,
    },
    /// Something has the name already. A backup replaces nothing.
    #[error("{} is there already", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// A file cannot be read, or not be written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which file or directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The place where it is put together cannot be used; another backup to the same name may be under way.
    #[error(transparent)]
    Staging(OpenError),
    /// SQLite could not copy the database.
    #[error("the database was not copied: {0}")]
    Database(String),
    /// What was copied is damaged, and so is, most likely, the database itself.
    #[error("the copy of the database is damaged: {0}")]
    Damaged(String),
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Bytes of the database, without the space that deleted rows had left.
    pub database_bytes: u64,
    /// Version of its schema.
    pub schema: i64,
}

/// Copies the data directory `data` to `to`, which must not exist, or be empty; `to` is a data directory then.
///
/// The cloud may be open meanwhile, in this process or another, and serve: what it answered before this call is in the copy,
/// what it answers later may not be. Writers are not held up; the write-ahead log grows by what they write meanwhile. The copy
/// is put together in `{to}.partial`, private to its user, checked from end to end, synced, and renamed. What an interrupted
/// backup left there is removed by the next one. `besides` names further files, relative to `data`, that are copied if they
/// are there.
///
/// Blocks: it reads all of the database, twice.
///
/// # Errors
/// [`BackupError`].
pub fn backup(data: &Path, to: &Path, besides: &[&Path]) -> Result<Backup, BackupError> {
    let database = data.join(DATABASE);
    if !database.is_file() {
        return Err(BackupError::NoDatabase { path: data.to_owned() });
    }
    check_free(to)?;
    let to = &plain(to)?;
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let staging = DataDirectory::claim(&partial).map_err(BackupError::Staging)?;
    let made = fill(data, &database, &partial, besides).and_then(|made| {
        staging.sync().map_err(BackupError::Staging)?;
        check_free(to)?;
        fs::rename(&partial, to).map_err(|error| file(to, error))?;
        Ok(made)
    });
    match made {
        Ok(made) => {
            sync_parent(to)?;
            Ok(made)
        }
        Err(error) => {
            // What stays is found and removed by the next attempt.
            let _ = clear(&partial, besides).and_then(|()| {
                fs::remove_file(partial.join(data_directory::LOCK))?;
                fs::remove_dir(&partial)
            });
            Err(error)
        }
    }
}

fn fill(data: &Path, database: &Path, partial: &Path, besides: &[&Path]) -> Result<Backup, BackupError> {
    clear(partial, besides).map_err(|error| file(partial, error))?;
    let copied = partial.join(DATABASE);
    let schema = copy_database(database, &copied)?;
    let database_bytes = private(&copied)?;
    copy(&data.join(endpoint_key::FILE), &partial.join(endpoint_key::FILE))?;
    for name in besides.iter().copied().filter(|name| data.join(name).is_file()) {
        let target = partial.join(name);
        let directory = target.parent().unwrap_or(partial);
        if directory != partial {
            fs::create_dir_all(directory).map_err(|error| file(directory, error))?;
            fs::set_permissions(directory, Permissions::from_mode(0o700)).map_err(|error| file(directory, error))?;
        }
        copy(&data.join(name), &target)?;
        sync(directory)?;
    }
    Ok(Backup { database_bytes, schema })
}

/// One snapshot of `from`, through a connection that reads; checked. Its schema's version.
fn copy_database(from: &Path, to: &Path) -> Result<i64, BackupError> {
    let failed = |error: rusqlite::Error| BackupError::Database(error.to_string());
    // Not read-only: a log that a crash left behind has to be taken over first.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags).map_err(failed)?;
    source.execute_batch("PRAGMA busy_timeout = 5000;").map_err(failed)?;
    let to_text = to.to_str().ok_or_else(|| file(to, io::Error::other("its name is not UTF-8")))?;
    source.execute("VACUUM INTO ?1", [to_text]).map_err(failed)?;
    drop(source);

    let copied = Connection::open_with_flags(to, flags).map_err(failed)?;
    let verdict: String = copied.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if verdict != "ok" {
        return Err(BackupError::Damaged(verdict));
    }
    copied.query_row("SELECT MAX(version) FROM schema_migrations", [], |row| row.get(0)).map_err(failed)
}

fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    fs::copy(from, to).map_err(|error| file(from, error))?;
    private(to).map(drop)
}

/// Gives `path` mode 0600 and syncs it; its length.
fn private(path: &Path) -> Result<u64, BackupError> {
    let finish = || {
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        let opened = File::open(path)?;
        opened.sync_all()?;
        Ok(opened.metadata()?.len())
    };
    finish().map_err(|error| file(path, error))
}

/// Removes what an interrupted backup left, and nothing else.
fn clear(partial: &Path, besides: &[&Path]) -> io::Result<()> {
    let journal = format!("{DATABASE}-journal");
    let names = [Path::new(DATABASE), Path::new(&journal), Path::new(endpoint_key::FILE)];
    for name in names.iter().chain(besides) {
        match fs::remove_file(partial.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let directories = besides.iter().filter_map(|name| name.parent()).filter(|name| !name.as_os_str().is_empty());
    for directory in directories {
        match fs::remove_dir(partial.join(directory)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// `to` without a slash at its end and, where it is there already, by its own name: another name is put beside it.
fn plain(to: &Path) -> Result<PathBuf, BackupError> {
    match fs::canonicalize(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(to.components().collect()),
        found => found.map_err(|error| file(to, error)),
    }
}

fn check_free(to: &Path) -> Result<(), BackupError> {
    let exists = || BackupError::Exists { path: to.to_owned() };
    match fs::read_dir(to).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(false) => Err(exists()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(exists()),
        Err(error) => Err(file(to, error)),
    }
}

fn sync_parent(path: &Path) -> Result<(), BackupError> {
    let absolute = fs::canonicalize(path).map_err(|error| file(path, error))?;
    absolute.parent().map_or(Ok(()), sync)
}

fn sync(directory: &Path) -> Result<(), BackupError> {
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(|error| file(directory, error))
}

fn file(path: &Path, error: io::Error) -> BackupError {
    BackupError::File { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::store::{Bounds, SqliteStore};

    const BOUNDS: Bounds = Bounds { queue: 10, writes_per_commit: 10 };

    fn data_directory(path: &Path) {
        let directory = DataDirectory::claim(path).expect("new");
        directory.write(endpoint_key::FILE, &[7; 32]).expect("written");
        let store = SqliteStore::in_directory(directory, BOUNDS, 0).expect("opens");
        crate::cloud::store::Store::close(&store);
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn a_backup_is_a_private_data_directory() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let (data, to) = (parent.path().join("data"), parent.path().join("copy"));
        data_directory(&data);
        fs::create_dir(data.join("tls")).expect("made");
        fs::write(data.join("tls/ca.key"), "key").expect("written");
        let besides = [Path::new("tls/ca.key"), Path::new("not there")];
        let made = backup(&data, &to, &besides).expect("made");
        assert_eq!(made.database_bytes, fs::metadata(to.join(DATABASE)).expect("there").len());
        assert_eq!((mode(&to), mode(&to.join("tls"))), (0o700, 0o700));
        for name in [DATABASE, endpoint_key::FILE, "tls/ca.key"] {
            assert_eq!(mode(&to.join(name)), 0o600, "{name}");
        }
        assert_eq!(fs::read(to.join(endpoint_key::FILE)).expect("there"), [7; 32]);
        assert!(!parent.path().join("copy.partial").exists());
        SqliteStore::in_directory(DataDirectory::claim(&to).expect("free"), BOUNDS, 0).expect("opens");
    }

    #[test]
    fn nothing_is_replaced_and_what_was_interrupted_is_not_in_the_way() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let (data, to) = (parent.path().join("data"), parent.path().join("copy"));
        assert!(matches!(backup(&data, &to, &[]), Err(BackupError::NoDatabase { .. })));
        data_directory(&data);

        fs::create_dir(&to).expect("made");
        fs::write(to.join("file"), "somebody's").expect("written");
        assert!(matches!(backup(&data, &to, &[]), Err(BackupError::Exists { .. })));
        fs::remove_file(to.join("file")).expect("removed");

        let partial = parent.path().join("copy.partial");
        let other = DataDirectory::claim(&partial).expect("new");
        fs::write(partial.join(DATABASE), "half of one").expect("written");
        assert!(matches!(backup(&data, &to, &[]), Err(BackupError::Staging(OpenError::Locked { .. }))));
        assert_eq!(fs::read(partial.join(DATABASE)).expect("there"), b"half of one", "another one's, under way");
        drop(other);
        backup(&data, &to, &[]).expect("made, into the empty directory");
        assert!(matches!(backup(&data, &to, &[]), Err(BackupError::Exists { .. })));
    }

    #[test]
    fn a_place_may_be_named_as_shells_complete_it() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let data = parent.path().join("data");
        data_directory(&data);
        fs::create_dir(parent.path().join("empty")).expect("made");
        std::os::unix::fs::symlink("empty", parent.path().join("link")).expect("made");
        for (name, place) in [("new/", "new"), ("link", "empty"), ("new2/.", "new2")] {
            backup(&data, &parent.path().join(name), &[]).expect(name);
            assert!(parent.path().join(place).join(DATABASE).is_file(), "{name}");
        }
        let left = fs::read_dir(parent.path()).expect("there").map(|entry| entry.expect("one").file_name());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, ["data", "empty", "link", "new", "new2"]);
    }

    #[test]
    fn without_the_key_there_is_no_backup_and_nothing_is_left() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let (data, to) = (parent.path().join("data"), parent.path().join("copy"));
        data_directory(&data);
        fs::remove_file(data.join(endpoint_key::FILE)).expect("removed");
        assert!(matches!(backup(&data, &to, &[]), Err(BackupError::File { .. })));
        fs::write(data.join(DATABASE), "no database at all").expect("written");
        assert!(matches!(backup(&data, &to, &[]), Err(BackupError::Database(_))));
        let left: Vec<_> =
            fs::read_dir(parent.path()).expect("there").map(|entry| entry.expect("one").file_name()).collect();
        assert_eq!(left, ["data"]);
    }
}
