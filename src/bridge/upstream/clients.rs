//! Clients that are known by a file.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::PasswordHash;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use crate::ids::{AppId, ClientId};
use crate::mqtt::Credentials;
use crate::secret::Secret;

/// The longest file that is read, in bytes.
const MAX_LEN: u64 = 16 * 1024 * 1024;

/// Clients, their user names and passwords, from a TOML file:
///
/// ```toml
/// [[client]]
/// id = "sensor-1"            # the client identifier
/// username = "sensor-1"
/// password-hash = "$argon2id$v=19$m=19456,t=2,p=1$…"
///
/// [[client]]
/// id = "sensor-2"
/// username = "sensor-2"
/// password = "in clear"      # only in a file that nobody but its owner can read (0600)
/// app = "demo"               # the application below /thing-if that is its own; default "default"
/// ```
///
/// A password of this file opens the connection and nothing else: the key of the application is not lent to whoever has one, as
/// it is to a device that has shown the key itself.
///
/// A hash is an argon2id one in the PHC format (`thingif bridge --hash-password -` makes one). Checking it takes as long and as
/// much memory as it says, as many at a time as there are cores.
#[derive(Debug)]
pub struct Clients {
    known: RwLock<Arc<HashMap<ClientId, Client>>>,
    checking: Semaphore,
}

#[derive(Debug, Clone)]
struct Client {
    username: String,
    app_id: AppId,
    password: Password,
}

#[derive(Debug, Clone)]
enum Password {
    Clear(Secret<String>),
    Hash(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    #[serde(default, rename = "client")]
    clients: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    id: ClientId,
    username: String,
    password: Option<Secret<String>>,
    password_hash: Option<String>,
    app: Option<AppId>,
}

/// What is wrong with a file of clients. Says no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidClients(String);

impl Clients {
    /// Reads the file. Blocks.
    ///
    /// # Errors
    /// What is wrong with it, and in which entry.
    pub fn open(path: &Path) -> Result<Self, InvalidClients> {
        let known = RwLock::new(Arc::new(read(path)?));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { known, checking: Semaphore::new(cores) })
    }

    /// Reads the file again; on failure what was known stays. Connections that there are stay as well. Blocks.
    ///
    /// # Errors
    /// As [`Clients::open`].
    pub fn reload(&self, path: &Path) -> Result<(), InvalidClients> {
        let known = Arc::new(read(path)?);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn known(&self) -> Arc<HashMap<ClientId, Client>> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The application of whoever logs in so; `None` for a client identifier that is not known, `Some(None)` when user name or
    /// password are not its own.
    pub(super) async fn judge(&self, credentials: &Credentials) -> Option<Option<AppId>> {
        let client = self.known().get(&credentials.client_id).cloned()?;
        let is_right = match client.password {
            Password::Clear(password) => is_same(&password, &credentials.password),
            Password::Hash(hash) => {
                let Ok(_turn) = self.checking.acquire().await else { return Some(None) };
                let given = credentials.password.clone();
                let check = move || verify(&hash, &given);
                tokio::task::spawn_blocking(check).await.unwrap_or(false)
            }
        };
        Some((is_right && client.username == credentials.username).then_some(client.app_id))
    }
}

/// In a time that says nothing of how much of it is right.
pub(super) fn is_same(one: &Secret<String>, other: &Secret<String>) -> bool {
    let digest = |secret: &Secret<String>| Sha256::digest(secret.expose().as_bytes());
    digest(one).as_slice().ct_eq(digest(other).as_slice()).into()
}

fn verify(hash: &str, given: &Secret<String>) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    Argon2::default().verify_password(given.expose().as_bytes(), &hash).is_ok()
}

fn read(path: &Path) -> Result<HashMap<ClientId, Client>, InvalidClients> {
    let shown = path.display();
    let failed = |error: std::io::Error| InvalidClients(format!("cannot read {shown}: {error}"));
    let file = File::open(path).map_err(failed)?;
    #[cfg(unix)]
    let is_private =
        std::os::unix::fs::PermissionsExt::mode(&file.metadata().map_err(failed)?.permissions()) & 0o077 == 0;
    #[cfg(not(unix))]
    let is_private = true;
    let mut text = zeroize::Zeroizing::new(String::new());
    file.take(MAX_LEN + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_LEN {
        return Err(InvalidClients(format!("{shown} is longer than {MAX_LEN} bytes")));
    }
    let listed: Listed = toml::from_str(&text).map_err(|error: toml::de::Error| {
        // Not the error's own text: it shows the line, in which there may be a password.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        InvalidClients(format!("{shown} line {}: {}", before.matches('\n').count() + 1, error.message()))
    })?;
    let mut known = HashMap::new();
    for entry in listed.clients {
        let id = entry.id;
        let wrong = |why: &str| InvalidClients(format!("{shown}: client {id}: {why}"));
        if id.is_anonymous() {
            return Err(wrong("this identifier is the default broker's, for everybody"));
        }
        let password = match (entry.password, entry.password_hash) {
            (Some(_), None) if !is_private => {
                return Err(wrong(
                    "has a password in clear, and the file can be read by others: it must have mode 0600",
                ));
            }
            (Some(password), None) => Password::Clear(password),
            (None, Some(hash)) if is_argon2(&hash) => Password::Hash(hash),
            (None, Some(_)) => return Err(wrong("its password-hash is no argon2 hash in the PHC format")),
            _ => return Err(wrong("needs a password or a password-hash, and not both")),
        };
        let app_id = match entry.app {
            Some(app_id) => app_id,
            None => AppId::new(super::door::DEFAULT_APP).map_err(|error| wrong(&error.to_string()))?,
        };
        let client = Client { username: entry.username, app_id, password };
        if known.insert(id.clone(), client).is_some() {
            return Err(wrong("is there twice"));
        }
    }
    Ok(known)
}

fn is_argon2(hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| hash.algorithm.as_str().starts_with("argon2") && hash.hash.is_some())
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordHasher as _;

    use super::*;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        #[cfg(unix)]
        std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("ours");
        file
    }

    fn hash(password: &str) -> String {
        let cheap = argon2::Params::new(8, 1, 1, None).expect("valid");
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cheap);
        argon2.hash_password(password.as_bytes()).expect("memory").to_string()
    }

    async fn judged(clients: &Clients, id: &str, username: &str, password: &str) -> Option<Option<String>> {
        let client_id = ClientId::new(id).expect("valid");
        let credentials = Credentials { client_id, username: username.to_owned(), password: password.into() };
        clients.judge(&credentials).await.map(|app| app.map(|app| app.to_string()))
    }

    #[tokio::test]
    async fn a_client_has_one_user_name_and_one_password() {
        let text = format!(
            "[[client]]\nid = \"a\"\nusername = \"u\"\npassword-hash = \"{}\"\napp = \"demo\"\n\
             [[client]]\nid = \"b\"\nusername = \"v\"\npassword = \"swordfish\"\n",
            hash("hunter2")
        );
        let file = file(&text, 0o600);
        let clients = Clients::open(file.path()).expect("valid");
        assert_eq!(clients.len(), 2);
        assert_eq!(judged(&clients, "a", "u", "hunter2").await, Some(Some(String::from("demo"))));
        assert_eq!(judged(&clients, "b", "v", "swordfish").await, Some(Some(String::from("default"))));
        for (id, username, password) in
            [("a", "u", "hunter3"), ("a", "v", "hunter2"), ("b", "v", ""), ("b", "u", "swordfish")]
        {
            assert_eq!(judged(&clients, id, username, password).await, Some(None), "{id} {username}");
        }
        assert_eq!(judged(&clients, "c", "u", "hunter2").await, None);
        assert!(!format!("{clients:?}").contains("swordfish"));

        std::fs::write(file.path(), "nonsense").expect("written");
        clients.reload(file.path()).expect_err("nonsense");
        assert_eq!(clients.len(), 2, "what was known stays");
        std::fs::write(file.path(), "").expect("written");
        clients.reload(file.path()).expect("empty");
        assert!(clients.is_empty());
    }

    #[test]
    fn hashes_may_be_read_by_all_and_passwords_by_nobody() {
        let hashed = format!("[[client]]\nid = \"a\"\nusername = \"u\"\npassword-hash = \"{}\"\n", hash("x"));
        Clients::open(file(&hashed, 0o644).path()).expect("no secret in it");
        let clear = "[[client]]\nid = \"a\"\nusername = \"u\"\npassword = \"hunter2\"\n";
        let error = Clients::open(file(clear, 0o640).path()).expect_err("readable").to_string();
        assert!(error.contains("0600") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_passwords() {
        for (text, said) in [
            ("[[client]]\nid = \"a\"\nusername = \"u\"\n", "client a: needs a password"),
            (
                "[[client]]\nid = \"a\"\nusername = \"u\"\npassword = \"hunter2\"\npassword-hash = \"hunter2\"\n",
                "not both",
            ),
            ("[[client]]\nid = \"a\"\nusername = \"u\"\npassword-hash = \"hunter2\"\n", "no argon2 hash"),
            ("[[client]]\nid = \"a/b\"\nusername = \"u\"\npassword = \"hunter2\"\n", "line 2"),
            ("[[client]]\nid = \"anonymous\"\nusername = \"u\"\npassword = \"hunter2\"\n", "default broker"),
            ("[[client]]\nid = \"a\"\nusername = \"u\"\npassword = \"hunter2\n", "line 4"),
            ("[[client]]\nid = \"a\"\nusername = \"u\"\npasswort = \"hunter2\"\n", "line 4"),
            (
                "[[client]]\nid=\"a\"\nusername=\"u\"\npassword=\"x\"\n[[client]]\nid=\"a\"\nusername=\"u\"\npassword=\"x\"\n",
                "twice",
            ),
        ] {
            let error = Clients::open(file(text, 0o600).path()).expect_err(text).to_string();
            assert!(error.contains(said) && !error.contains("hunter2"), "{said}: {error}");
        }
        Clients::open(Path::new("/nonexistent")).expect_err("no file");
    }
}
