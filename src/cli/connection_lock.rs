//! One connection per credential: whoever holds this lock may connect, everybody else goes through its socket.
//!
//! Beside the credential file `NAME` stands a directory `NAME.d`, readable by its owner only, with `lock` (locked by the
//! operating system, so a crash releases it; it holds the process id, for messages) and, while it is served, `socket`.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cli::exit::{Exit, Failure};
use crate::cli::local_socket;

/// How often a lock that somebody has is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// How long a verb that needs the lock for itself waits for a `call` to end.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// The right to connect with a credential, until dropped.
#[derive(Debug)]
pub(crate) struct ConnectionLock {
    /// Locked as long as it is open.
    _file: File,
    socket: PathBuf,
}

/// What came of asking for the lock.
#[derive(Debug)]
enum Asked {
    /// It is ours.
    Held(ConnectionLock),
    /// Another process has it; its id, when it could be read.
    Busy(Option<u32>),
}

/// The directory beside `credentials`.
fn directory(credentials: &Path) -> PathBuf {
    let mut name = credentials.as_os_str().to_owned();
    name.push(".d");
    PathBuf::from(name)
}

/// Where the holder of the lock listens.
fn socket_path(credentials: &Path) -> PathBuf {
    directory(credentials).join("socket")
}

/// Asks for the lock of `credentials` without waiting.
fn ask(credentials: &Path) -> Result<Asked, Failure> {
    let directory = directory(credentials);
    let failed = |error: io::Error| {
        Failure::other(format_args!("cannot lock {}: {error}", directory.display()))
            .advise("The directory of the credential file must be writable for the user who connects.")
    };
    private_directory(&directory).map_err(failed)?;
    let path = directory.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let holder = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Ok(Asked::Busy(holder));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(Asked::Held(ConnectionLock { _file: file, socket: directory.join("socket") }))
}

/// What came of waiting for the lock.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is ours.
    Lock(ConnectionLock),
    /// Another process has it and serves calls at this socket; its id, when it could be read.
    Served(PathBuf, Option<u32>),
}

/// Asks for the lock of `credentials` until `deadline`: a `call` has it for a moment only, and a `listen` that begins serves
/// its socket soon.
pub(crate) async fn take(credentials: &Path, deadline: Instant) -> Result<Taken, Failure> {
    let socket = socket_path(credentials);
    loop {
        match ask(credentials)? {
            Asked::Held(lock) => return Ok(Taken::Lock(lock)),
            Asked::Busy(holder) if local_socket::is_served(&socket).await => return Ok(Taken::Served(socket, holder)),
            Asked::Busy(holder) if Instant::now() + ASK_AGAIN >= deadline => {
                return Err(busy(credentials, holder).with_exit(Exit::TimedOut));
            }
            Asked::Busy(_) => sleep(ASK_AGAIN).await,
        }
    }
}

/// Says that another process is connected as this thing.
pub(crate) fn busy(credentials: &Path, holder: Option<u32>) -> Failure {
    let holder = holder.map_or_else(|| String::from("another process"), |id| format!("process {id}"));
    Failure::other(format_args!("{holder} holds the connection of {}", credentials.display()))
        .advise("A thing has one connection: end that process first. `thingif call` works through it meanwhile.")
}

/// Makes `path` a directory that only its owner, this user, can look into.
fn private_directory(path: &Path) -> io::Result<()> {
    // Its parents as well: the first credential of a user has none. One that is there already is no error.
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let found = std::fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return Err(io::Error::other("there is something else of that name"));
    }
    if found.mode() & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

impl ConnectionLock {
    /// Where the holder, and only the holder, may listen. Whatever stands there is left from a process that is gone.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl ConnectionLock {
    /// Where whoever holds the connection writes down which commands have run.
    pub(crate) fn journal(&self) -> PathBuf {
        self.socket.with_file_name("commands")
    }
}

impl Drop for ConnectionLock {
    fn drop(&mut self) {
        // Still locked here, so this cannot take away the next holder's socket.
        let _ = std::fs::remove_file(&self.socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let credentials = dir.path().join("c.json");
        let Asked::Held(first) = ask(&credentials).expect("asked") else { panic!("nobody else has it") };
        let Asked::Busy(holder) = ask(&credentials).expect("asked") else { panic!("it is taken") };
        assert_eq!(holder, Some(std::process::id()));
        drop(first);
        assert!(matches!(ask(&credentials), Ok(Asked::Held(_))), "released when dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_is_waited_for_and_not_for_ever() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let credentials = dir.path().join("c.json");
        let Asked::Held(lock) = ask(&credentials).expect("asked") else { panic!("nobody else has it") };
        let waiting = take(&credentials, Instant::now() + Duration::from_secs(1));
        assert!(waiting.await.is_err(), "nobody serves a socket");
        let listener = local_socket::bind(lock.socket()).expect("bound");
        let taken = take(&credentials, Instant::now() + Duration::from_secs(1)).await.expect("served");
        assert!(matches!(taken, Taken::Served(_, Some(id)) if id == std::process::id()));
        drop((listener, lock));
        let taken = take(&credentials, Instant::now() + Duration::from_secs(1)).await.expect("free");
        assert!(matches!(taken, Taken::Lock(_)));
    }

    #[test]
    fn its_directory_is_private() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let credentials = dir.path().join("c.json");
        std::fs::create_dir(directory(&credentials)).expect("made with the usual mode");
        let _lock = ask(&credentials).expect("asked");
        let mode = std::fs::metadata(directory(&credentials)).expect("there").mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_socket_left_behind_goes_with_its_lock() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let credentials = dir.path().join("c.json");
        let Asked::Held(lock) = ask(&credentials).expect("asked") else { panic!("nobody else has it") };
        std::fs::write(lock.socket(), "").expect("stands for a socket");
        drop(lock);
        assert!(!socket_path(&credentials).exists());
    }
}
