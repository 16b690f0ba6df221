//! Passwords of users and things: argon2id, away from the async threads.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::Failure;
use super::{OpenError, PasswordCost};
use crate::secret::Secret;

/// Passwords that may wait for their turn; beyond, 503. Each costs a few hundred bytes.
const QUEUE: usize = 1_024;

/// Hashes and checks passwords, as many at a time as there are cores.
pub(crate) struct Passwords {
    params: Params,
    /// What is checked when there is no such user, so that the answer takes as long as for a wrong password.
    nobody: String,
    memory: Memory,
    queue: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new(cost: PasswordCost) -> Result<Self, OpenError> {
        let impossible = |error: argon2::Error| OpenError::Option { name: "password_cost", problem: error.to_string() };
        let params = Params::new(cost.memory_kib, cost.passes, 1, None).map_err(impossible)?;
        let memory = Memory::default();
        let nobody = Argon2id::new(params.clone())
            .phc(&super::random::<32>(), &mut memory.take().blocks)
            .map_err(|error| OpenError::Option { name: "password_cost", problem: error.to_string() })?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (queue, running) = (Arc::new(Semaphore::new(QUEUE)), Arc::new(Semaphore::new(cores)));
        Ok(Self { params, nobody, memory, queue, running })
    }

    /// The hash of a new password, in the PHC string format.
    ///
    /// # Errors
    /// 503 when too many wait, 500 when the system has no memory for it.
    pub(crate) async fn hash(&self, password: &Secret<String>) -> Result<String, Failure> {
        let (params, password) = (self.params.clone(), password.clone());
        self.run(move |blocks| {
            Argon2id::new(params).phc(password.expose().as_bytes(), blocks).map_err(Failure::internal)
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
        let password = password.clone();
        self.run(move |blocks| {
            let is_right = verify(password.expose().as_bytes(), &hash, blocks).map_err(Failure::internal)?;
            Ok(is_right && is_known)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Vec<Block>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let _place = self.queue.clone().try_acquire_owned().map_err(|_| Failure::overloaded())?;
        let turn: OwnedSemaphorePermit = self.running.clone().acquire_owned().await.map_err(Failure::internal)?;
        let memory = self.memory.clone();
        let work = move || {
            // Held by the work, not by who waits for it: giving up does not make room for more at once.
            let _turn = turn;
            work(&mut memory.take().blocks)
        };
        tokio::task::spawn_blocking(work).await.map_err(Failure::internal)?
    }
}

/// The memory that hashing works in, used again: an allocator that got 19 MiB back from one thread after the other would
/// keep them for each of them. There is as much of it as was ever needed at once, which is one for each core at most.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<Vec<Block>>>>);

impl Memory {
    /// Some that nobody uses. What is in it is from the last time; the first pass writes over it.
    fn take(&self) -> Taken {
        let blocks = self.idle().pop().unwrap_or_default();
        Taken { blocks, memory: self.clone() }
    }

    // Nothing panics while it holds the lock, so a poisoned lock holds a whole list.
    fn idle(&self) -> MutexGuard<'_, Vec<Vec<Block>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Given back when it is dropped, in whatever way the work ends.
struct Taken {
    blocks: Vec<Block>,
    memory: Memory,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.memory.idle().push(mem::take(&mut self.blocks));
    }
}

/// argon2id, version 19, in memory of the caller's.
struct Argon2id(Argon2<'static>);

impl Argon2id {
    fn new(params: Params) -> Self {
        Self(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }

    /// The hash of a new password, with a new salt.
    fn phc(&self, password: &[u8], blocks: &mut Vec<Block>) -> Result<String, argon2::password_hash::Error> {
        let salt = Salt::new(&super::random::<16>())?;
        let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
        self.fill(password, &salt, &mut output, blocks)?;
        let hash = PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(self.0.params())?,
            salt: Some(salt),
            hash: Some(Output::new(&output)?),
        };
        Ok(hash.to_string())
    }

    fn fill(
        &self,
        password: &[u8],
        salt: &[u8],
        output: &mut [u8],
        blocks: &mut Vec<Block>,
    ) -> Result<(), argon2::Error> {
        let needed = self.0.params().block_count();
        if blocks.len() < needed {
            blocks.try_reserve_exact(needed - blocks.len()).map_err(|_| argon2::Error::OutOfMemory)?;
            blocks.resize(needed, Block::new());
        }
        self.0.hash_password_into_with_memory(password, salt, output, blocks)
    }
}

/// Whether `hash` is of `password`. It says itself what it cost.
fn verify(password: &[u8], hash: &str, blocks: &mut Vec<Block>) -> Result<bool, argon2::password_hash::Error> {
    let hash = PasswordHash::new(hash)?;
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else {
        return Err(argon2::password_hash::Error::EncodingInvalid);
    };
    let is_ours = hash.algorithm == Algorithm::Argon2id.ident() && hash.version == Some(Version::V0x13.into());
    if !is_ours {
        return Err(argon2::password_hash::Error::Algorithm);
    }
    let mut output = [0; Output::MAX_LENGTH];
    let output = output.get_mut(..expected.len()).ok_or(argon2::password_hash::Error::OutputSize)?;
    Argon2id::new(Params::try_from(&hash)?).fill(password, salt, output, blocks)?;
    // `Output` compares in constant time.
    Ok(Output::new(output)? == *expected)
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
    fn hashes_are_those_of_the_library_itself_however_dirty_the_memory() {
        use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
        let mut blocks = Vec::new();
        for (memory_kib, passes) in [(64, 2), (8, 1), (32, 3), (64, 1)] {
            let params = Params::new(memory_kib, passes, 1, None).expect("valid");
            let theirs = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
            let ours = Argon2id::new(params).phc(b"hunter2", &mut blocks).expect("hashed");
            let read = PasswordHash::new(&ours).expect("PHC");
            theirs.verify_password(b"hunter2", &read).expect("the same");
            theirs.verify_password(b"hunter3", &read).expect_err("another");
            let made = theirs.hash_password(b"hunter2").expect("hashed").to_string();
            assert!(verify(b"hunter2", &made, &mut blocks).expect("checked"), "{made}");
            assert!(!verify(b"hunter3", &made, &mut blocks).expect("checked"), "{made}");
        }
        assert_eq!(blocks.len(), 64);
    }

    #[test]
    fn what_is_no_hash_of_ours_is_an_error() {
        let mut blocks = Vec::new();
        for broken in [
            "",
            "plain",
            "$argon2id$v=19$m=8,t=1,p=1",
            "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ",
            "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=16$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=1,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            verify(b"x", broken, &mut blocks).expect_err(broken);
        }
    }

    #[tokio::test]
    async fn memory_is_used_again_and_given_back_by_what_panics() {
        let passwords = Passwords::new(CHEAP).expect("valid cost");
        for _ in 0..3 {
            passwords.hash(&"hunter2".into()).await.expect("hashed");
        }
        assert_eq!(passwords.memory.idle().len(), 1);
        passwords.run::<()>(|_| panic!("on purpose")).await.expect_err("a panic");
        assert_eq!(passwords.memory.idle().len(), 1);
        assert_eq!(passwords.memory.idle()[0].len(), 8);
    }

    #[test]
    fn an_impossible_cost_is_named() {
        let error = Passwords::new(PasswordCost { memory_kib: 1, passes: 1 }).err().expect("refused");
        assert!(error.to_string().starts_with("option password_cost"), "{error}");
    }
}
