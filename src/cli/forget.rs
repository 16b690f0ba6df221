//! `thingif forget`: remove a stored credential.

use clap::Args;
use tokio::time::Instant;

use crate::cli::connection_lock::{self, LOCK_PATIENCE, Taken};
use crate::cli::credential_file::CredentialArgs;
use crate::cli::exit::Failure;
use crate::client::vault::{VaultError, private_file};

/// Remove a thing's stored credential, so that it stays removed.
///
/// Nobody may be connected with it. The service is not told: there the credential stays valid, and whoever has a copy can
/// use it. To make it worthless, delete the thing or its installation at the service.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif forget
  thingif forget --credentials /var/lib/lamp/credential.json")]
pub(crate) struct Forget {
    #[command(flatten)]
    credentials: CredentialArgs,
}

impl Forget {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let file = self.credentials.path()?;
        let failed = |error| Failure::other(VaultError::io("remove", &file, error));
        // Without this an empty directory for the lock would be made.
        if !file.try_exists().map_err(failed)? && !file.is_symlink() {
            eprintln!("thingif: there is no credential in {}", file.display());
            return Ok(());
        }
        let _lock = match connection_lock::take(&file, Instant::now() + LOCK_PATIENCE).await? {
            Taken::Lock(lock) => lock,
            Taken::Served(_, holder) => return Err(connection_lock::busy(&file, holder)),
        };
        private_file::remove(&file).map_err(failed)?;
        private_file::sweep(&file).map_err(failed)?;
        eprintln!("thingif: the credential in {} is forgotten", file.display());
        Ok(())
    }
}
