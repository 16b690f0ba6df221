//! Passwords of MQTT endpoints: derived, so that they can be told again without being stored.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::data_directory::DataDirectory;
use super::store::installations::Installation;
use super::{OpenError, random};
use crate::secret::Secret;

/// The file of a data directory that is the key.
pub(crate) const FILE: &str = "endpoint.key";

/// The key from which endpoint passwords are derived. It lives in a 0600 file of the data directory.
#[derive(Debug, Clone)]
pub(crate) struct EndpointKey(Secret<[u8; 32]>);

impl EndpointKey {
    /// A new key, for a store in memory.
    pub(crate) fn generate() -> Self {
        Self(Secret::new(random()))
    }

    /// The key of `directory`. A new one is made only where there is no database yet that depends on the old one.
    pub(crate) fn load(directory: &DataDirectory, has_database: bool) -> Result<Self, OpenError> {
        match directory.read(FILE)?.map(Secret::new) {
            Some(bytes) => match bytes.expose().as_slice().try_into() {
                Ok(key) => Ok(Self(Secret::new(key))),
                Err(_) => Err(OpenError::KeyMissing { path: directory.join(FILE) }),
            },
            None if has_database => Err(OpenError::KeyMissing { path: directory.join(FILE) }),
            None => {
                let key = Self::generate();
                directory.write(FILE, key.0.expose())?;
                Ok(key)
            }
        }
    }

    /// The password of an installation: 64 letters. (`wire` §4, at its end)
    pub(crate) fn password(&self, installation: &Installation) -> Secret<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose()).expect("HMAC takes keys of any length");
        // A NUL ends each part, and no part has one: no two installations feed the same bytes.
        mac.update(b"mqtt endpoint password\0");
        mac.update(installation.app_id.as_str().as_bytes());
        mac.update(b"\0");
        mac.update(installation.installation_id.as_bytes());
        mac.update(b"\0");
        mac.update(&installation.generation.to_be_bytes());
        let code = mac.finalize().into_bytes();
        let letter = |nibble: u8| char::from(b"abcdefghijklmnop"[usize::from(nibble & 15)]);
        Secret::new(code.iter().flat_map(|byte| [letter(byte >> 4), letter(*byte)]).collect())
    }

    /// Whether `given` is the password of `installation`; takes the same time for every wrong one.
    pub(crate) fn accepts(&self, installation: &Installation, given: &Secret<String>) -> bool {
        self.password(installation).expose().as_bytes().ct_eq(given.expose().as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AppId, ClientId};

    fn installation(id: &str, generation: i64) -> Installation {
        Installation {
            app_id: AppId::new("app").expect("valid"),
            installation_id: id.to_owned(),
            registration_id: String::new(),
            mqtt_topic: ClientId::new("topic").expect("valid"),
            username: String::new(),
            generation,
            development: false,
            ready_at: 0,
        }
    }

    #[test]
    fn a_password_is_64_letters_and_belongs_to_one_installation_and_generation() {
        let key = EndpointKey::generate();
        let password = key.password(&installation("i", 1));
        assert_eq!(password.expose().len(), 64);
        assert!(password.expose().bytes().all(|b| b.is_ascii_lowercase()));
        assert!(key.accepts(&installation("i", 1), &password));
        assert!(!key.accepts(&installation("i", 2), &password));
        assert!(!key.accepts(&installation("j", 1), &password));
        assert!(!EndpointKey::generate().accepts(&installation("i", 1), &password));
        assert!(!key.accepts(&installation("i", 1), &"".into()));
    }

    #[test]
    fn the_key_survives_a_restart_and_is_never_replaced_in_silence() {
        let parent = tempfile::tempdir().expect("temporary directory");
        let directory = DataDirectory::claim(&parent.path().join("d")).expect("new");
        let password = EndpointKey::load(&directory, false).expect("made").password(&installation("i", 1));
        let again = EndpointKey::load(&directory, true).expect("found").password(&installation("i", 1));
        assert_eq!(again.expose(), password.expose());
        directory.write(FILE, b"short").expect("written");
        assert!(matches!(EndpointKey::load(&directory, true), Err(OpenError::KeyMissing { .. })));
        std::fs::remove_file(directory.join(FILE)).expect("removed");
        assert!(matches!(EndpointKey::load(&directory, true), Err(OpenError::KeyMissing { .. })));
    }
}
