//! Passwords of users and things: argon2id, away from the async threads.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::Failure;
use super::{OpenError, PasswordCost};
use crate::secret::Secret;

/// Passwords that may wait for their turn; beyond, 503. Each costs a few hundred bytes.
const QUEUE: usize = 1_024;

/// Hashes and checks passwords, a bounded number at a time.
pub(crate) struct Passwords {
    argon2: Argon2<'static>,
    /// What is checked when there is no such user, so that the answer takes as long as for a wrong password.
    nobody: String,
    queue: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new(cost: PasswordCost) -> Result<Self, OpenError> {
        let params = Params::new(cost.memory_kib, cost.passes, 1, None)
            .map_err(|error| OpenError::Option { name: "password_cost", problem: error.to_string() })?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody = argon2
            .hash_password(&super::random::<32>())
            .map_err(|error| OpenError::Option { name: "password_cost", problem: error.to_string() })?
            .to_string();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { argon2, nobody, queue: Arc::new(Semaphore::new(QUEUE)), running: Arc::new(Semaphore::new(cores)) })
    }

    /// The hash of a new password, in the PHC string format.
    ///
    /// # Errors
    /// 503 when too many wait, 500 when the system has no memory for it.
    pub(crate) async fn hash(&self, password: &Secret<String>) -> Result<String, Failure> {
        let (argon2, password) = (self.argon2.clone(), password.clone());
        self.run(move || {
            argon2.hash_password(password.expose().as_bytes()).map(|hash| hash.to_string()).map_err(Failure::internal)
        })
        .await
    }

    /// Whether `password` is the one that `hash` was made of. Without a hash it is not, and takes as long.
    ///
    /// # Errors
    /// As [`Passwords::hash`].
    pub(crate) async fn verify(&self, password: &Secret<String>, hash: Option<String>) -> Result<bool, Failure> {
        let is_known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        let (argon2, password) = (self.argon2.clone(), password.clone());
        self.run(move || {
            let hash = PasswordHash::new(&hash).map_err(Failure::internal)?;
            Ok(argon2.verify_password(password.expose().as_bytes(), &hash).is_ok() && is_known)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let _place = self.queue.clone().try_acquire_owned().map_err(|_| Failure::overloaded())?;
        let turn: OwnedSemaphorePermit = self.running.clone().acquire_owned().await.map_err(Failure::internal)?;
        let work = move || {
            // Held by the work, not by who waits for it: giving up does not make room for more at once.
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(Failure::internal)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: PasswordCost = PasswordCost { memory_kib: 8, passes: 1 };

    #[tokio::test]
    async fn a_password_is_found_by_its_hash_alone() {
        let passwords = Passwords::new(CHEAP).expect("valid cost");
        let hash = passwords.hash(&"hunter2".into()).await.expect("hashed");
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        assert!(passwords.verify(&"hunter2".into(), Some(hash.clone())).await.expect("checked"));
        assert!(!passwords.verify(&"hunter3".into(), Some(hash.clone())).await.expect("checked"));
        assert_ne!(passwords.hash(&"hunter2".into()).await.expect("hashed"), hash, "salted");
        assert!(!passwords.verify(&"hunter2".into(), None).await.expect("checked"));
    }

    #[tokio::test]
    async fn hashes_keep_the_cost_that_they_were_made_with() {
        let old = Passwords::new(CHEAP).expect("valid cost");
        let hash = old.hash(&"hunter2".into()).await.expect("hashed");
        let new = Passwords::new(PasswordCost { memory_kib: 64, passes: 2 }).expect("valid cost");
        assert!(new.verify(&"hunter2".into(), Some(hash)).await.expect("checked"));
    }

    #[test]
    fn an_impossible_cost_is_named() {
        let error = Passwords::new(PasswordCost { memory_kib: 1, passes: 1 }).err().expect("refused");
        assert!(error.to_string().starts_with("option password_cost"), "{error}");
    }
}
