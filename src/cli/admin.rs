//! `thingif admin`: who is let in to the admin page.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::admin::password;
use crate::cli::exit::Failure;
use crate::cli::secret_input;
use crate::client::vault::private_file;

/// The environment variable that holds the password when no file does.
pub(crate) const PASSWORD_VARIABLE: &str = "THINGIF_ADMIN_PASSWORD";

/// Look after the admin page of `thingif serve --admin`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif admin password --data /var/lib/thingif --password-file pw")]
pub(crate) struct Admin {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Password(SetPassword),
}

/// Set the password of the admin page. It counts at once, also while the service runs; who is logged in stays so.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif admin password --data /var/lib/thingif --password-file pw
  pass thingif | thingif admin password --data /var/lib/thingif --password-file -")]
struct SetPassword {
    /// The data directory of `thingif serve`.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The password, from a file or from standard input (-). Default: from THINGIF_ADMIN_PASSWORD.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Admin {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let Verb::Password(verb) = &self.verb;
        verb.run()
    }
}

impl SetPassword {
    fn run(&self) -> Result<(), Failure> {
        if !self.data.is_dir() {
            return Err(Failure::usage(format_args!("there is no directory {}", self.data.display()))
                .advise("--data is the directory that `thingif serve --data` was given."));
        }
        let password = match &self.password_file {
            Some(file) => secret_input::read("password", file)?,
            None => secret_input::from_environment(PASSWORD_VARIABLE).ok_or_else(|| {
                Failure::usage("the password is missing")
                    .advise(format_args!("Give --password-file FILE, or put it in {PASSWORD_VARIABLE}."))
            })?,
        };
        let hash = password::hash(&password).map_err(Failure::usage)?;
        let file = self.data.join(password::FILE);
        private_file::write(&file, format!("{hash}\n").as_bytes())
            .map_err(|error| Failure::other(format_args!("cannot write {}: {error}", file.display())))?;
        eprintln!("thingif: the password of the admin page is set");
        Ok(())
    }
}
