//! What a cloud is opened with, and why it may not open.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

use super::apps::AdminClient;
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

/// Which web pages may read answers, by the origin that their browser names (CORS).
///
/// Credentials are tokens that a page sends itself, never cookies, so a page of any origin can do no more with an answer
/// than its user could with curl.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AllowedOrigins {
    /// Every one.
    #[default]
    Any,
    /// These, as `https://app.example`: none when it is empty.
    Only(Vec<HeaderValue>),
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

/// How much of their past the aliases of a thing with traits keep: the newest states, all aliases together, that are
/// not too old. What came first goes first. (`wire` §5)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateHistory {
    /// States of one thing. Default 10,000, at most 1,000,000; 0 keeps no history, and queries are answered 409. A state
    /// takes its JSON, at most 10 KB, and about 150 bytes.
    pub states: u32,
    /// Days, by the times of the states. Default 30, range 1 to 36,500.
    pub days: u32,
}

impl Default for StateHistory {
    fn default() -> Self {
        Self { states: 10_000, days: 30 }
    }
}

impl StateHistory {
    /// The time of the oldest state that is kept, in milliseconds since 1970.
    pub(crate) fn oldest(self, now: i64) -> i64 {
        now.saturating_sub(i64::from(self.days) * 86_400_000)
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
    /// Who administers them, besides those that [`Cloud::create_app`](super::Cloud::create_app) made. Default: nobody.
    pub admins: Vec<AdminClient>,
    /// What onboarding says of the assigned broker.
    pub advertise: Advertise,
    /// How long after `POST …/installations` the endpoint of the new installation is answered with 503 and Retry-After, as
    /// the late Kii service did while it prepared one (`wire` §5). Default 500 ms, range 0 to 60 s. At most 1 s suits the
    /// SDK that tries three times, a second apart. Onboarding tells its endpoint at once in any case.
    pub endpoint_preparation: Duration,
    /// Which web pages may read answers over HTTP. Default: every one, as with the late Kii service.
    pub allowed_origins: AllowedOrigins,
    /// Takes any application key, as the late Kii service did (`wire` §1.1). Default `false`: keys are checked.
    pub accept_any_app_key: bool,
    /// Adds `target`, `thing:{id}`, to every command that is pushed, so that a gateway can tell for which of its end nodes
    /// it is. Costs about 60 of the 4,096 bytes of a push. Default `false`: Kii's pushes were never seen with it (`wire`
    /// §8).
    pub name_push_target: bool,
    /// Delays logins after failures, by address and by name (never refuses them). Default `true`. Behind a proxy that does
    /// not pass on the peers' own addresses, all of them are one, and one that fails again and again delays the others
    /// by up to 4 s.
    pub throttle_logins: bool,
    /// What passwords cost. Stored hashes keep the cost they were made with.
    pub password_cost: PasswordCost,
    /// Largest request body, in bytes; a longer one is answered 413. Default 65,536, range 1,024 to 16 MiB. Over MQTT the
    /// edge bounds the whole frame before, by [`Config::max_frame`](crate::edge::Config::max_frame).
    pub max_body: usize,
    /// Writes, and as many reads, that may wait for the store; beyond, 503 with Retry-After. Default 4,096, at least 1.
    /// One costs about 200 bytes and its request's body.
    pub store_queue: usize,
    /// For how long a command can be read after it was posted. Default 90 days, at least 1 minute. Older ones are removed
    /// within the hour, by [`Cloud::run`](super::Cloud::run). Of one thing the newest 10,000 commands are kept at most.
    pub command_retention: Duration,
    /// Writes that share a commit, and so a sync of the disk, at most. Default 512, range 1 to 4,096; 1 syncs for each. The
    /// more there are, the longer the first of them waits.
    pub writes_per_commit: usize,
    /// How much of their past things with traits keep.
    pub state_history: StateHistory,
    /// Triggers of one thing; beyond, 409. Default 100, range 1 to 10,000. Each that watches states is judged at every change
    /// of the thing's state.
    pub max_triggers: u16,
    /// How often one trigger makes a command or a result within a minute. Default 60, range 1 to 6,000. Beyond, it makes
    /// nothing until the minute is over, which [`TriggerCounts`](super::TriggerCounts) counts: a command may make its
    /// thing put the state that fires the trigger again.
    pub trigger_firings_per_minute: u16,
    /// Where the time is read.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            store: Location::Memory,
            apps: Vec::new(),
            admins: Vec::new(),
            advertise: Advertise::default(),
            endpoint_preparation: Duration::from_millis(500),
            allowed_origins: AllowedOrigins::default(),
            accept_any_app_key: false,
            name_push_target: false,
            throttle_logins: true,
            password_cost: PasswordCost::default(),
            max_body: 65_536,
            store_queue: 4_096,
            command_retention: Duration::from_secs(90 * 24 * 60 * 60),
            writes_per_commit: 512,
            state_history: StateHistory::default(),
            max_triggers: 100,
            trigger_firings_per_minute: 60,
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
