//! Why a credential cannot be loaded, stored or removed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// What is wrong, where, and what to do about it. Never shows a credential.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// Other users may read or write it. A mistake of whoever set the device up.
    #[error(
        "others may get at {} (mode {mode:04o}): run `chmod {wanted:o} '{}'`; if somebody may have read it, remove it, and the \
         device onboards again", .path.display(), .path.display()
    )]
    NotPrivate {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The permission bits that it should have.
        wanted: u32,
    },
    /// It belongs to another user. A mistake of whoever set the device up.
    #[error(
        "{} belongs to user {owner} and this process runs as user {user}: run it as that user, or `chown {user} '{}'`",
        .path.display(), .path.display()
    )]
    ForeignOwner {
        /// The file or directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asks.
        user: u32,
    },
    /// It is a symbolic link, a directory where a file should be, or the like. A mistake of whoever set the device up.
    #[error("{} is {found}, not {wanted}: name the real one, or remove this", .path.display())]
    WrongKind {
        /// Where.
        path: PathBuf,
        /// What is there.
        found: &'static str,
        /// What should be there.
        wanted: &'static str,
    },
    /// The operating system does not let this user at it. A mistake of whoever set the device up.
    #[error("no permission to {action} {}: give the user that this process runs as its own directory", .path.display())]
    NoPermission {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// Another process, or another vault in this one, works with this credential. Two connections with one credential would
    /// end each other. (`wire` §1.2)
    #[error("{} uses the credential in {}: end it first", shown(.holder), .path.display())]
    Locked {
        /// The credential's file.
        path: PathBuf,
        /// Its process id, when it could be read.
        holder: Option<u32>,
    },
    /// What is stored cannot be read as a credential. Damage, or a newer version's form.
    #[error("{place} is not a credential: {reason}")]
    Corrupt {
        /// Where it is stored.
        place: String,
        /// What is wrong with it, without showing it.
        reason: String,
    },
    /// What is stored there is the credential of another thing, application or broker: somebody moved files about.
    #[error("{place} is the credential of another thing, application or broker")]
    OtherKey {
        /// Where it is stored.
        place: String,
    },
    /// The operating system failed.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What it said.
        #[source]
        error: Arc<io::Error>,
    },
    /// For implementations outside this crate.
    #[error("the vault failed")]
    Other(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

fn shown(id: &Option<u32>) -> String {
    match id {
        Some(id) if *id == std::process::id() => String::from("this process itself"),
        Some(id) => format!("process {id}"),
        None => String::from("another process"),
    }
}

impl VaultError {
    /// Wraps the error of an implementation of its own. It is taken for one that passes, not for a misconfiguration.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(Arc::from(error.into()))
    }

    /// An error of the operating system; one that says "permission" is the set-up's.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, error: io::Error) -> Self {
        let path = path.into();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::NoPermission { action, path },
            _ => Self::Io { action, path, error: Arc::new(error) },
        }
    }

    /// Whether a person must mend this: it was there from the start, and trying again or onboarding again changes nothing.
    pub fn is_misconfiguration(&self) -> bool {
        match self {
            Self::NotPrivate { .. }
            | Self::ForeignOwner { .. }
            | Self::WrongKind { .. }
            | Self::NoPermission { .. }
            | Self::Locked { .. } => true,
            Self::Corrupt { .. } | Self::OtherKey { .. } | Self::Io { .. } | Self::Other(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::causes::with_causes;

    #[test]
    fn a_refusal_says_what_to_do() {
        let error = VaultError::NotPrivate { path: "/v/a b".into(), mode: 0o644, wanted: 0o600 };
        let text = error.to_string();
        assert!(text.contains("(mode 0644)") && text.contains("`chmod 600 '/v/a b'`"), "{text}");
        let error = VaultError::ForeignOwner { path: "/v".into(), owner: 0, user: 1000 };
        assert!(error.to_string().contains("`chown 1000 '/v'`"), "{error}");
        assert!(error.is_misconfiguration());
    }

    #[test]
    fn a_lock_names_its_holder() {
        let error = |holder| VaultError::Locked { path: "/v/c".into(), holder }.to_string();
        assert_eq!(error(Some(u32::MAX)), "process 4294967295 uses the credential in /v/c: end it first");
        assert!(error(Some(std::process::id())).starts_with("this process itself"));
        assert!(error(None).starts_with("another process"));
    }

    #[test]
    fn only_what_a_person_did_is_a_misconfiguration() {
        let denied = VaultError::io("read", "/v", io::ErrorKind::PermissionDenied.into());
        assert!(denied.is_misconfiguration());
        let broken = VaultError::io("read", "/v", io::Error::from_raw_os_error(5));
        assert!(!broken.is_misconfiguration());
        assert!(with_causes(&broken).starts_with("cannot read /v: "), "{}", with_causes(&broken));
        assert!(!VaultError::other("the chip is silent").is_misconfiguration());
    }
}
