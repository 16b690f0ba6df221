//! The password of the page: argon2id, in a file of the data directory or in memory.

use std::path::PathBuf;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

use crate::secret::Secret;

/// The file of a data directory that holds the hash.
pub(crate) const FILE: &str = "admin.password";
/// Characters that a password has at least.
pub(crate) const MIN_LEN: usize = 8;

/// Where the hash is.
#[derive(Debug, Clone)]
pub(crate) enum Password {
    /// In this file, read at each login, so that a new password counts at once.
    File(PathBuf),
    /// Here.
    Hash(String),
}

/// The hash of a password; takes some 20 ms and 19 MiB.
pub(crate) fn hash(password: &Secret<String>) -> Result<String, String> {
    if password.expose().chars().count() < MIN_LEN {
        return Err(format!("a password has at least {MIN_LEN} characters"));
    }
    let hash = Argon2::default().hash_password(password.expose().as_bytes()).map_err(|error| error.to_string())?;
    Ok(hash.to_string())
}

impl Password {
    /// Whether `given` is it. Blocks as long as [`hash`] does.
    pub(super) fn accepts(&self, given: &Secret<String>) -> bool {
        let stored = match self {
            Self::Hash(hash) => hash.clone(),
            Self::File(path) => match std::fs::read_to_string(path) {
                Ok(hash) => hash,
                Err(error) => {
                    tracing::debug!(%error, "no password is set for the page");
                    return false;
                }
            },
        };
        let Ok(hash) = PasswordHash::new(stored.trim()) else {
            tracing::warn!("the stored password of the page cannot be read: set it again");
            return false;
        };
        Argon2::default().verify_password(given.expose().as_bytes(), &hash).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_password_counts_at_once_and_none_opens_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let password = Password::File(dir.path().join(FILE));
        assert!(!password.accepts(&"".into()) && !password.accepts(&"swordfish".into()));
        for text in ["swordfish", "correct horse"] {
            std::fs::write(dir.path().join(FILE), hash(&text.into()).expect("long enough") + "\n").expect("written");
            assert!(password.accepts(&text.into()));
        }
        assert!(!password.accepts(&"swordfish".into()));
        assert!(hash(&"short".into()).is_err());
    }
}
