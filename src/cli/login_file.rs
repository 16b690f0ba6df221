//! What `user login` leaves on the disk and `thing` starts from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::credential_file::state_directory;
use crate::cli::duration_arg;
use crate::cli::exit::{Exit, Failure};
use crate::cli::service::{Answer, Caller, Service};
use crate::client::causes::with_causes;
use crate::client::vault::private_file;
use crate::ids::{AccessToken, AppId, UserId};
use crate::secret::Secret;

/// The largest file that is read, in bytes.
const MAX_LEN: u64 = 64 * 1024;
/// A newer layout has another number and is refused instead of misread.
const VERSION: u32 = 1;

/// The flag that names the file.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoginArgs {
    /// Where the user's login is kept. Default: thingif/login.json under $XDG_STATE_HOME or ~/.local/state.
    #[arg(long, value_name = "FILE")]
    login: Option<PathBuf>,
    /// Give up after this long, for each request.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = duration_arg::seconds)]
    pub(crate) max_time: Duration,
}

impl LoginArgs {
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        match &self.login {
            Some(path) => Ok(path.clone()),
            None => Ok(state_directory()?.join("thingif/login.json")),
        }
    }

    /// The user who has logged in.
    pub(crate) fn load(&self) -> Result<User, Failure> {
        let path = self.path()?;
        let again = "Log in with `thingif user login`.";
        let unusable = |why: &dyn std::fmt::Display| {
            Failure::usage(format_args!("{} cannot be used: {why}", path.display())).advise(again)
        };
        let text = private_file::read(&path, MAX_LEN).map_err(|error| unusable(&with_causes(&error)))?;
        let Some(text) = text else {
            return Err(
                Failure::usage(format_args!("nobody has logged in: there is no {}", path.display())).advise(again)
            );
        };
        // Not serde's own words: they may quote the token.
        let stored: Stored =
            serde_json::from_slice(&text).map_err(|_| unusable(&"it is not what was written there"))?;
        if stored.version != VERSION {
            return Err(unusable(&format_args!("it has version {}, and this program reads {VERSION}", stored.version)));
        }
        let token = AccessToken::new(stored.access_token).map_err(|error| unusable(&error))?;
        let url = stored.service.parse().map_err(|error: String| unusable(&error))?;
        Ok(User {
            service: Service::new(url, stored.ca.as_deref(), self.max_time)?,
            app: stored.app_id,
            id: stored.user_id,
            token: Secret::new(token),
        })
    }
}

/// The file's layout.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Stored {
    pub(crate) version: u32,
    pub(crate) service: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    #[serde(rename = "appID")]
    pub(crate) app_id: AppId,
    #[serde(rename = "userID")]
    pub(crate) user_id: UserId,
    pub(crate) access_token: String,
}

impl Stored {
    pub(crate) const VERSION: u32 = VERSION;

    /// Writes `path`: whole or not at all, for its user only.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = zeroize::Zeroizing::new(serde_json::to_string_pretty(self).map_err(Failure::other)?);
        private_file::write(path, text.as_bytes())
            .map_err(|error| Failure::other(format_args!("cannot write {}: {error}", path.display())))
    }
}

/// A user who has logged in.
pub(crate) struct User {
    service: Service,
    pub(crate) app: AppId,
    pub(crate) id: UserId,
    token: Secret<AccessToken>,
}

impl User {
    /// Calls `path` as this user.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Answer, Failure> {
        self.service.call(method, path, Caller::Token(&self.token), body).await.map_err(|failure| {
            if failure.exit() == Exit::LoginRefused {
                failure.advise("It may be another user's; or log in again with `thingif user login`.")
            } else {
                failure
            }
        })
    }
}
