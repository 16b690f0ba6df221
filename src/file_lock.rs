//! One process at a time.

use std::fs::{File, TryLockError};
use std::time::Duration;

/// Locks `file`, unless somebody else has it. Blocks for up to 200 ms: a program that another thread is just starting holds
/// every file, and so every lock, until it has begun, and a lock that was released meanwhile only seems to be held.
pub(crate) fn try_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..20 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            done => return done,
        }
    }
    file.try_lock()
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn a_lock_that_was_released_is_free_although_programs_are_being_started() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("lock");
        let open = || OpenOptions::new().write(true).create(true).truncate(false).open(&path).expect("opened");
        std::thread::scope(|scope| {
            let starting = scope.spawn(|| {
                for _ in 0..200 {
                    std::process::Command::new("true").status().expect("true(1)");
                }
            });
            while !starting.is_finished() {
                try_lock(&open()).expect("nobody has it");
            }
        });
        let held = open();
        try_lock(&held).expect("free");
        assert!(matches!(try_lock(&open()), Err(TryLockError::WouldBlock)), "it is held");
    }
}
