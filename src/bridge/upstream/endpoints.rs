//! The logins of devices that were onboarded through the bridge.

mod log;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::ids::{AppId, ClientId};
use crate::mqtt::Credentials;
use crate::secret::Secret;
use crate::thing_if::MqttEndpoint;
use log::Log;

/// The most logins that are known at once, some 300 bytes each in memory and in the file.
pub const MAX_ENDPOINTS: usize = 100_000;

/// What the upstream's onboarding answers have said of logins: client identifier, user name, and a salted SHA-256 of the
/// password, which is a service's random text and not what a person has thought of.
///
/// In a file they survive the bridge: one JSON object a line, mode 0600, each there before the device is told of it. The file
/// is written anew when most of its lines were replaced. A login that is not known any more costs its device an onboarding.
pub struct Endpoints {
    known: RwLock<HashMap<ClientId, Known>>,
    /// Taken before `known`, and held while the disk is waited for, which is not for those who only read.
    log: Mutex<Option<Log>>,
    max: usize,
}

#[derive(Clone)]
struct Known {
    app_id: AppId,
    username: String,
    salt: [u8; 16],
    hash: [u8; 32],
}

/// Why logins cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointsError {
    /// There are as many already as there may be.
    #[error("there are {0} logins already, as many as are kept")]
    Full(usize),
    /// Another process has the file.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// Somebody else may read the file.
    #[error("{0} can be read by others than its owner: it must have mode 0600")]
    Readable(PathBuf),
    /// A line before the last one is none of ours.
    #[error("{path} line {line} cannot be read: it is not a file of this version of the bridge, or is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A user name that no CONNECT could have.
    #[error("a login of {len} bytes is none: a line has {max} at most")]
    TooLong {
        /// What it would take.
        len: usize,
        /// What a line may have.
        max: usize,
    },
    /// The system says no.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
}

impl Known {
    fn of(app_id: &AppId, endpoint: &MqttEndpoint) -> Result<Self, getrandom::Error> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt)?;
        let hash = digest(&salt, &endpoint.password);
        Ok(Self { app_id: app_id.clone(), username: endpoint.username.clone(), salt, hash })
    }

    fn accepts(&self, username: &str, password: &Secret<String>) -> bool {
        let is_right: bool = digest(&self.salt, password).ct_eq(&self.hash).into();
        is_right && self.username == username
    }
}

fn digest(salt: &[u8; 16], password: &Secret<String>) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(password.expose().as_bytes()).finalize().into()
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Default for Endpoints {
    /// In memory.
    fn default() -> Self {
        Self::with_room_for(MAX_ENDPOINTS)
    }
}

impl Endpoints {
    /// Those in the file at `path`, which is made if it is not there, and rewritten without what no longer counts. Blocks.
    ///
    /// # Errors
    /// Every [`EndpointsError`] but `Full`. A last line that is not whole was never relied on, and is left out.
    pub fn open(path: &Path) -> Result<Self, EndpointsError> {
        let (log, known) = Log::open(path)?;
        Ok(Self { known: RwLock::new(known), log: Mutex::new(Some(log)), max: MAX_ENDPOINTS })
    }

    /// In memory, at most `max` of them.
    pub fn with_room_for(max: usize) -> Self {
        Self { known: RwLock::default(), log: Mutex::default(), max }
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.known().len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the login of `client` is one that an onboarding to `app` has given away.
    pub(super) fn has(&self, client: &ClientId, app: &AppId) -> bool {
        self.known().get(client).is_some_and(|known| known.app_id == *app)
    }

    /// Keeps a login. Blocks until the file has it; one that is known already costs nothing.
    ///
    /// # Errors
    /// `Full`, `TooLong`, `Io`. Nothing has changed then.
    pub fn learn(&self, app_id: &AppId, endpoint: &MqttEndpoint) -> Result<(), EndpointsError> {
        let mut log = self.log();
        {
            let known = self.known();
            let before = known.get(&endpoint.mqtt_topic);
            if before
                .is_some_and(|known| known.app_id == *app_id && known.accepts(&endpoint.username, &endpoint.password))
            {
                return Ok(());
            }
            if before.is_none() && known.len() >= self.max {
                return Err(EndpointsError::Full(self.max));
            }
        }
        let learnt = Known::of(app_id, endpoint).map_err(|error| EndpointsError::Io {
            path: PathBuf::from("random numbers"),
            error: io::Error::other(error.to_string()),
        })?;
        if let Some(log) = &mut *log {
            log.learnt(&endpoint.mqtt_topic, &learnt)?;
        }
        self.known_mut().insert(endpoint.mqtt_topic.clone(), learnt);
        if let Some(log) = &mut *log {
            log.shorten(&self.known());
        }
        Ok(())
    }

    /// Forgets the login of `client`; `false` when there was none. Blocks.
    ///
    /// # Errors
    /// `Io`: the file still has it, so it would be back after a restart. It is taken out there by the next call of this, or of
    /// [`learn`](Self::learn), that succeeds.
    pub fn forget(&self, client: &ClientId) -> Result<bool, EndpointsError> {
        let mut log = self.log();
        let was_known = self.known_mut().remove(client).is_some();
        match &mut *log {
            Some(log) => log.forgotten(client, was_known),
            None => Ok(was_known),
        }
    }

    /// The application of whoever logs in so; `None` for a client identifier that is not known, `Some(None)` when user name or
    /// password are not its own.
    pub fn judge(&self, credentials: &Credentials) -> Option<Option<AppId>> {
        let known = self.known().get(&credentials.client_id).cloned()?;
        Some(known.accepts(&credentials.username, &credentials.password).then_some(known.app_id))
    }

    // Nothing panics while it holds one of these, so a poisoned one holds whole state.
    fn log(&self) -> MutexGuard<'_, Option<Log>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> RwLockReadGuard<'_, HashMap<ClientId, Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, HashMap<ClientId, Known>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use serde_json::json;

    use super::log::HEAD;
    use super::*;

    fn app() -> AppId {
        AppId::new("app1").expect("valid")
    }

    fn endpoint(topic: &str, password: &str) -> MqttEndpoint {
        let body = json!({ "username": format!("u-{topic}"), "password": password, "mqttTopic": topic, "host": "h" });
        MqttEndpoint::try_from(body).expect("complete")
    }

    fn judged(endpoints: &Endpoints, topic: &str, username: &str, password: &str) -> Option<bool> {
        let credentials = Credentials {
            client_id: ClientId::new(topic).expect("valid"),
            username: username.to_owned(),
            password: password.into(),
        };
        endpoints.judge(&credentials).map(|app_id| app_id == Some(app()))
    }

    #[test]
    fn a_login_is_the_one_that_was_learnt_last() {
        let endpoints = Endpoints::default();
        assert_eq!(judged(&endpoints, "t", "u-t", "one"), None);
        endpoints.learn(&app(), &endpoint("t", "one")).expect("room");
        assert_eq!(judged(&endpoints, "t", "u-t", "one"), Some(true));
        assert_eq!(judged(&endpoints, "t", "u-t", "two"), Some(false));
        assert_eq!(judged(&endpoints, "t", "u-x", "one"), Some(false));
        endpoints.learn(&app(), &endpoint("t", "two")).expect("room");
        assert_eq!(judged(&endpoints, "t", "u-t", "one"), Some(false));
        assert_eq!(judged(&endpoints, "t", "u-t", "two"), Some(true));
        assert!(endpoints.forget(&ClientId::new("t").expect("valid")).expect("in memory"));
        assert_eq!(judged(&endpoints, "t", "u-t", "two"), None);
    }

    #[test]
    fn there_are_as_many_as_there_may_be_and_known_ones_can_still_change() {
        let endpoints = Endpoints::with_room_for(1);
        endpoints.learn(&app(), &endpoint("t", "one")).expect("room");
        let full = endpoints.learn(&app(), &endpoint("u", "one")).expect_err("full");
        assert!(matches!(full, EndpointsError::Full(1)));
        endpoints.learn(&app(), &endpoint("t", "two")).expect("known");
        assert_eq!(endpoints.len(), 1);
    }

    #[test]
    fn the_file_survives_a_restart_private_and_without_passwords() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("endpoints.jsonl");
        let endpoints = Endpoints::open(&path).expect("made");
        for password in ["one", "hunter2"] {
            endpoints.learn(&app(), &endpoint("t", password)).expect("written");
        }
        endpoints.learn(&app(), &endpoint("gone", "one")).expect("written");
        endpoints.forget(&ClientId::new("gone").expect("valid")).expect("written");
        let len = || std::fs::metadata(&path).expect("there").len();
        let before = len();
        endpoints.learn(&app(), &endpoint("t", "hunter2")).expect("known");
        assert_eq!(len(), before, "what is known is not written again");
        assert!(matches!(Endpoints::open(&path), Err(EndpointsError::InUse(_))));
        drop(endpoints);
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(!text.contains("hunter2") && text.lines().count() == 5, "{text}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = || std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode(), 0o600);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("ours");
            assert!(matches!(Endpoints::open(&path), Err(EndpointsError::Readable(_))));
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("ours");
        }
        let again = Endpoints::open(&path).expect("read");
        assert_eq!((again.len(), judged(&again, "t", "u-t", "hunter2")), (1, Some(true)));
        assert!(len() < before, "what was replaced is left out");
    }

    #[test]
    fn half_a_last_line_is_left_out_and_any_other_damage_is_named() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("endpoints.jsonl");
        let endpoints = Endpoints::open(&path).expect("made");
        endpoints.learn(&app(), &endpoint("t", "one")).expect("written");
        endpoints.learn(&app(), &endpoint("u", "one")).expect("written");
        drop(endpoints);
        let whole = std::fs::read(&path).expect("readable");
        for cut in (0..whole.len()).step_by(13).chain([HEAD.len(), HEAD.len() + 1, whole.len() - 1]) {
            std::fs::write(&path, &whole[..cut]).expect("written");
            let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            let again = Endpoints::open(&path).unwrap_or_else(|error| panic!("{cut}: {error}"));
            assert_eq!(again.len(), lines.saturating_sub(1), "{cut}");
            again.learn(&app(), &endpoint("v", "one")).expect("written");
            drop(again);
            assert_eq!(judged(&Endpoints::open(&path).expect("whole"), "v", "u-v", "one"), Some(true));
        }
        for (text, line) in [
            ("{\"thingif-endpoints\":2}\n", 1),
            ("{\"thingif-endpoints\":1}\nx\n", 2),
            (
                "{\"thingif-endpoints\":1}\n{\"clientId\":\"t\",\"login\":{\"app\":\"a\",\"username\":\"u\",\"salt\":\"\",\"sha256\":\"\"}}\n",
                2,
            ),
        ] {
            std::fs::write(&path, text).expect("written");
            match Endpoints::open(&path) {
                Err(EndpointsError::Damaged { line: found, .. }) => assert_eq!(found, line, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    /// Runs `act` while nothing can be written to the file.
    fn on_a_dead_disk<T>(endpoints: &Endpoints, path: &Path, act: impl FnOnce() -> T) -> T {
        let swap = |file| std::mem::replace(&mut endpoints.log().as_mut().expect("a file").file, file);
        let file = swap(File::open(path).expect("there"));
        let done = act();
        swap(file);
        done
    }

    #[test]
    fn what_was_forgotten_while_the_disk_failed_does_not_come_back() {
        let (gone, other) = (ClientId::new("t").expect("valid"), ClientId::new("x").expect("valid"));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("endpoints.jsonl");
        for again in [true, false] {
            let endpoints = Endpoints::open(&path).expect("made");
            endpoints.learn(&app(), &endpoint("t", "one")).expect("written");
            on_a_dead_disk(&endpoints, &path, || {
                for _ in 0..2 {
                    endpoints.forget(&gone).expect_err("it is still in the file");
                }
                assert_eq!(judged(&endpoints, "t", "u-t", "one"), None);
            });
            if again {
                assert!(endpoints.forget(&gone).expect("written"), "it was in the file");
                assert!(!endpoints.forget(&gone).expect("written"));
            } else {
                assert!(!endpoints.forget(&other).expect("written"), "this one was not known");
            }
            drop(endpoints);
            assert!(Endpoints::open(&path).expect("whole").is_empty(), "{again}");
        }
    }

    #[test]
    fn half_a_line_that_could_not_be_cut_off_is_before_the_next_one() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("endpoints.jsonl");
        let endpoints = Endpoints::open(&path).expect("made");
        on_a_dead_disk(&endpoints, &path, || {
            let mut half = File::options().append(true).open(&path).expect("there");
            half.write_all(b"{\"clientId\":\"h").expect("written");
            endpoints.learn(&app(), &endpoint("t", "one")).expect_err("not written");
        });
        endpoints.learn(&app(), &endpoint("u", "one")).expect("written");
        drop(endpoints);
        let again = Endpoints::open(&path).expect("whole");
        assert_eq!((again.len(), judged(&again, "u", "u-u", "one")), (1, Some(true)));
    }

    #[test]
    fn a_device_that_onboards_again_and_again_does_not_fill_the_disk() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("endpoints.jsonl");
        let endpoints = Endpoints::open(&path).expect("made");
        endpoints.learn(&app(), &endpoint("u", "one")).expect("written");
        endpoints.log().as_mut().expect("a file").max_lines = 20;
        let lines = || std::fs::read_to_string(&path).expect("readable").lines().count();
        for number in 0..30 {
            endpoints.learn(&app(), &endpoint("t", &number.to_string())).expect("written");
            assert!(lines() <= 20, "{number}: {}", lines());
        }
        assert_eq!(lines(), 1 + 2 + (30 - 19), "written anew once, and by lines since");
        drop(endpoints);
        let again = Endpoints::open(&path).expect("whole");
        assert_eq!((judged(&again, "t", "u-t", "29"), judged(&again, "u", "u-u", "one")), (Some(true), Some(true)));
    }

    #[test]
    fn whoever_logs_in_does_not_wait_for_the_disk() {
        let endpoints = Endpoints::default();
        endpoints.learn(&app(), &endpoint("t", "one")).expect("room");
        let _writing = endpoints.log();
        assert_eq!((endpoints.len(), judged(&endpoints, "t", "u-t", "one")), (1, Some(true)));
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("endpoints.jsonl");
        let endpoints = Endpoints::open(&path).expect("made");
        let body = json!({ "username": "\u{1}".repeat(20_000), "password": "p", "mqttTopic": "t", "host": "h" });
        let long = MqttEndpoint::try_from(body).expect("complete");
        let refused = endpoints.learn(&app(), &long).expect_err("too long");
        assert!(matches!(refused, EndpointsError::TooLong { .. }), "{refused}");
        drop(endpoints);
        assert!(Endpoints::open(&path).expect("whole").is_empty());
    }
}
