//! `thingif user`: sign up and log in, as an owner's app does.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use crate::cli::app_args::AppArg;
use crate::cli::exit::{Exit, Failure};
use crate::cli::login_file::{LoginArgs, Stored};
use crate::cli::output;
use crate::cli::secret_input::{self, Unquoted};
use crate::cli::service::{Caller, Service, ServiceUrl};
use crate::cli::thing_args::PASSWORD_VARIABLE;
use crate::ids::UserId;
use crate::secret::Secret;
use crate::thing_if::media_type;

/// Be a user of an application: the owner of things.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif user create --app demo:KEY --user ann --password-file pw
  thingif user login --service https://iot.example.org --app demo --app-key-file key --user ann --password-file pw")]
pub(crate) struct User {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(Create),
    Login(Login),
}

impl User {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        match &self.verb {
            Verb::Create(verb) => verb.run().await,
            Verb::Login(verb) => verb.run().await,
        }
    }
}

/// Who, and where.
#[derive(Debug, Args)]
struct UserArgs {
    /// The service: http://HOST[:PORT] or https://HOST[:PORT].
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    service: ServiceUrl,
    /// Trust the certificate authorities in this PEM file instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The application. Without :KEY its key comes from --app-key-file or THINGIF_APP_KEY.
    #[arg(long, value_name = "ID[:KEY]", value_parser = Unquoted::<AppArg>::default())]
    app: AppArg,
    /// The key of --app, from a file or from standard input (-).
    #[arg(long, value_name = "FILE")]
    app_key_file: Option<PathBuf>,
    /// The name to log in with.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// The user's password, from a file or from standard input (-). Default: from THINGIF_PASSWORD.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

impl UserArgs {
    fn service(&self, patience: Duration) -> Result<Service, Failure> {
        Service::new(self.service.clone(), self.ca.as_deref(), patience)
    }

    fn key(&self) -> Result<Secret<String>, Failure> {
        self.app.key(self.app_key_file.as_deref())
    }

    fn password(&self) -> Result<Secret<String>, Failure> {
        if let Some(file) = &self.password_file {
            return secret_input::read("password", file);
        }
        secret_input::from_environment(PASSWORD_VARIABLE).ok_or_else(|| {
            Failure::usage("the user's password is missing")
                .advise(format_args!("Give --password-file FILE, or put it in {PASSWORD_VARIABLE}."))
        })
    }
}

/// Sign a user up.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif user create --app demo:KEY --user ann --password-file pw
  thingif user create --service https://iot.example.org --app demo --app-key-file key --user ann --password-file pw")]
struct Create {
    #[command(flatten)]
    user: UserArgs,
    /// Give up after this long.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = crate::cli::duration_arg::seconds)]
    max_time: Duration,
}

impl Create {
    async fn run(&self) -> Result<(), Failure> {
        let (key, password) = (self.user.key()?, self.user.password()?);
        let app = &self.user.app.id;
        let body = json!({"loginName": self.user.user, "password": password.expose()});
        let media_type = "application/vnd.kii.RegistrationRequest+json";
        let path = format!("/api/apps/{app}/users");
        let service = self.user.service(self.max_time)?;
        let answer = service
            .call(Method::POST, &path, Caller::App(app, &key), Some((media_type, &body)))
            .await
            .map_err(|failure| match failure.exit() {
                Exit::LoginRefused => failure.advise("Check the app id and its key."),
                _ => failure,
            })?;
        let id = answer.text("userID")?;
        if self.user.json {
            return output::json_line(&json!({"userID": id, "loginName": self.user.user}));
        }
        output::line(&format!("user         {id}\nlogin name   {}", self.user.user))
    }
}

/// Log a user in, and keep the login for `thingif thing`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif user login --app demo:KEY --user ann --password-file pw
  thingif thing list")]
struct Login {
    #[command(flatten)]
    user: UserArgs,
    #[command(flatten)]
    login: LoginArgs,
}

impl Login {
    async fn run(&self) -> Result<(), Failure> {
        let path = self.login.path()?;
        let (key, password) = (self.user.key()?, self.user.password()?);
        let app = &self.user.app.id;
        let body = json!({"username": self.user.user, "password": password.expose(), "grant_type": "password"});
        let service = self.user.service(self.login.max_time)?;
        let token_path = format!("/api/apps/{app}/oauth2/token");
        let answer = service
            .call(Method::POST, &token_path, Caller::App(app, &key), Some((media_type::JSON, &body)))
            .await
            .map_err(|failure| match failure.exit() {
                Exit::Status if failure.to_string().contains("invalid_grant") => failure
                    .with_exit(Exit::LoginRefused)
                    .advise("Check name and password; `thingif user create` makes a user."),
                Exit::LoginRefused => failure.advise("Check the app id and its key."),
                _ => failure,
            })?;
        let user_id = UserId::new(answer.text("id")?).map_err(Failure::other)?;
        // The file may be read from another directory than this one.
        let ca = self.user.ca.as_ref().map(std::fs::canonicalize).transpose().map_err(Failure::usage)?;
        let stored = Stored {
            version: Stored::VERSION,
            service: self.user.service.to_string(),
            ca,
            app_id: app.clone(),
            user_id,
            access_token: answer.text("access_token")?,
        };
        stored.write(&path)?;
        if self.user.json {
            return output::json_line(&json!({"userID": stored.user_id, "login": path}));
        }
        output::line(&format!("user         {}\nlogin        {} (secret; mode 0600)", stored.user_id, path.display()))
    }
}
