//! `thingif backup`: a copy of a data directory, also while it is served.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::admin::password;
use crate::cli::exit::Failure;
use crate::cli::{local_ca, output};
use crate::client::causes::with_causes;
use crate::cloud::{self, BackupError};

/// Copy a data directory, also while `thingif serve` uses it.
///
/// The copy has everything that was answered before the command began, is checked from end to end, and is on the disk when the
/// command ends; if it fails, nothing is left. It is a data directory itself, as secret as the first one: things, users,
/// tokens and the key of the endpoints' passwords are in it, and the local certificate authority and the admin page's password if there are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif backup --data /var/lib/thingif --to /backup/thingif-$(date +%F)
To restore it, serve it, or a copy of it:
  thingif serve --data /backup/thingif-2026-01-31 --app …")]
pub(crate) struct Backup {
    /// The data directory of `thingif serve`.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where to put the copy: a directory that is not there yet, or is empty.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

impl Backup {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let authority = local_ca::FILES.map(|name| Path::new("tls").join(name));
        let page = PathBuf::from(password::FILE);
        let besides: Vec<&Path> = authority.iter().chain([&page]).map(PathBuf::as_path).collect();
        let made = cloud::backup(&self.data, &self.to, &besides).map_err(|error| {
            let failure = Failure::other(with_causes(&error));
            match error {
                BackupError::NoDatabase { .. } => {
                    failure.advise("--data is the directory that `thingif serve --data` was given.")
                }
                BackupError::Exists { .. } => failure.advise("A backup replaces nothing: give --to another name."),
                BackupError::Damaged(_) => failure.advise("Keep the backups that there are, and look at the disk."),
                _ => failure,
            }
        })?;
        if self.json {
            return output::json_line(&json!({
                "to": self.to, "databaseBytes": made.database_bytes, "schema": made.schema,
            }));
        }
        output::line(&format!(
            "backup       {}\ndatabase     {} bytes, schema version {}",
            self.to.display(),
            made.database_bytes,
            made.schema,
        ))
    }
}
