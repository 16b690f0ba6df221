//! What a cloud is opened with, and why it may not open.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::ids::AppId;
use crate::secret::Secret;

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In memory: forgotten when the cloud is closed.
    Memory,
    /// In this directory, which is made with mode 0700 when it does not exist, and locked while the cloud is open.
    Dir(PathBuf),
}

/// What `mqttEndpoint` says of the assigned broker. (`wire` §1.2, §4)
///
/// `None` leaves a port out: that listener is off.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Advertise {
    /// Host name or address. Default `None`: the address at which the onboarding request was accepted.
    pub host: Option<String>,
    /// `portTCP`.
    pub tcp: Option<u16>,
    /// `portSSL`.
    pub ssl: Option<u16>,
    /// `portWS`.
    pub ws: Option<u16>,
    /// `portWSS`.
    pub wss: Option<u16>,
}

/// What passwords cost to hash and to check: argon2id with one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordCost {
    /// Memory per hash in KiB, at least 8. Default 19,456 (19 MiB). As many as the machine has cores are hashed at once; what
    /// they took is kept for the next ones.
    pub memory_kib: u32,
    /// Passes over that memory, at least 1. Default 2; about 20 ms on a current core.
    pub passes: u32,
}

impl Default for PasswordCost {
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2 }
    }
}

/// Where the cloud reads the time. Default: the system's clock.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// A clock that asks `now`.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }

    /// Milliseconds since 1970, as timestamps are written (`wire` §5); 0 before that.
    pub(crate) fn millis(&self) -> i64 {
        let since = self.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// What a [`Cloud`](super::Cloud) is opened with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Where the store is. Default: in memory.
    pub store: Location,
    /// The applications and their keys. Default: none, so nobody can do anything.
    pub apps: Vec<(AppId, Secret<String>)>,
    /// What onboarding says of the assigned broker.
    pub advertise: Advertise,
    /// Takes any application key, as the late Kii service did (`wire` §1.1). Default `false`: keys are checked.
    pub accept_any_app_key: bool,
    /// Delays logins after failures, by address and by name (never refuses them). Default `true`. Behind a proxy that does
    /// not pass on the peers' own addresses, all of them are one, and one that fails again and again delays the others
    /// by up to 4 s.
    pub throttle_logins: bool,
    /// What passwords cost. Stored hashes keep the cost they were made with.
    pub password_cost: PasswordCost,
    /// Largest request body over HTTP, in bytes; a longer one is answered 413. Default 65,536, range 1,024 to 16 MiB.
    /// Over MQTT the edge has its own bound.
    pub max_body: usize,
    /// Writes, and as many reads, that may wait for the store; beyond, 503 with Retry-After. Default 4,096, at least 1.
    /// One costs about 200 bytes and its request's body.
    pub store_queue: usize,
    /// Where the time is read.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            store: Location::Memory,
            apps: Vec::new(),
            advertise: Advertise::default(),
            accept_any_app_key: false,
            throttle_logins: true,
            password_cost: PasswordCost::default(),
            max_body: 65_536,
            store_queue: 4_096,
            clock: Clock::default(),
        }
    }
}

/// Why a cloud did not open. Nothing was changed that a second attempt could trip over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The data directory cannot be made, read or written.
    #[error("data directory {}: {error}", path.display())]
    Directory {
        /// Which file or directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The directory is in use by another process.
    #[error("data directory {} is in use by another process", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The directory is open to others and holds files that are not a cloud's, so its mode was not changed.
    #[error("{} is readable by others and is not a data directory: name an empty one, or one with mode 0700", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
    },
    /// There is a database but not the key from which its endpoint passwords are derived.
    #[error("{} is missing or damaged: without it no device could log in again; restore it from a backup", path.display())]
    KeyMissing {
        /// The key file.
        path: PathBuf,
    },
    /// The database was written by a newer version of this program.
    #[error("the database has schema version {found}, this program knows versions up to {known}")]
    NewerSchema {
        /// The version found.
        found: i64,
        /// The newest version known.
        known: usize,
    },
    /// The database is damaged, or no database.
    #[error("database: {0}")]
    Database(String),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// An option is out of its range.
    #[error("option {name} {problem}")]
    Option {
        /// The option.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The operating system has no random numbers.
    #[error("no random numbers from the operating system: {0}")]
    Random(String),
}

impl OpenError {
    pub(crate) fn database(error: rusqlite::Error) -> Self {
        OpenError::Database(error.to_string())
    }
}
