//! `thingif onboard`: ask the default broker once, keep what it assigns.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout};

use crate::cli::app_args::AppArg;
use crate::cli::connection_lock::{self, LOCK_PATIENCE, Taken};
use crate::cli::credential_file::{CredentialArgs, Onboarded};
use crate::cli::demo::SchemeArg;
use crate::cli::exit::{Exit, Failure};
use crate::cli::tls_args::{TlsArgs, TlsFiles};
use crate::cli::{duration_arg, output, secret_input, session};
use crate::client;
use crate::config::{Config, Identity};
use crate::ids::{FirmwareVersion, ThingType, VendorThingId};
use crate::mqtt::Endpoint;
use crate::thing_if::ThingProfile;

/// The environment variable that holds the thing's password when no file does.
pub(crate) const PASSWORD_VARIABLE: &str = "THINGIF_PASSWORD";

/// Onboard a thing at the default broker and store the credential that it is given.
///
/// The thing is made if it does not exist; its password is the one of its first onboarding from then on. Onboarding again is
/// always allowed. What is stored is printed, without its secrets.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif onboard --broker mqtt://127.0.0.1 --app demo:KEY --thing thermostat-17 --password-file pw
  thingif onboard --broker mqtts://iot.example.org --app demo --app-key-file key --thing thermostat-17 --password-file - <pw")]
pub(crate) struct Onboard {
    /// The default broker: mqtt://, mqtts://, ws:// or wss://, HOST, and :PORT where it is not 1883, 8883, 12470 or 12473.
    #[arg(long, value_name = "URL", env = "THINGIF_BROKER")]
    broker: Endpoint,
    /// The application. Without :KEY its key comes from --app-key-file or THINGIF_APP_KEY.
    #[arg(long, value_name = "ID[:KEY]")]
    app: AppArg,
    /// The key of --app, from a file or from standard input (-).
    #[arg(long, value_name = "FILE")]
    app_key_file: Option<PathBuf>,
    /// The thing, as its maker names it.
    #[arg(long, value_name = "VENDOR_THING_ID")]
    thing: VendorThingId,
    /// The thing's password, from a file or from standard input (-). Default: from THINGIF_PASSWORD.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The thing's type, used when it is made.
    #[arg(long, value_name = "TYPE")]
    thing_type: Option<ThingType>,
    /// The thing's firmware version, used when it is made.
    #[arg(long, value_name = "VERSION")]
    firmware_version: Option<FirmwareVersion>,
    /// The thing's own fields, a JSON object, used when it is made.
    #[arg(long, value_name = "JSON", value_parser = read_properties)]
    properties: Option<Map<String, Value>>,
    /// How to reach the assigned broker. Default: as the default broker.
    #[arg(long, value_name = "SCHEME")]
    assigned: Option<SchemeArg>,
    /// The broker is an ordinary one: subscribe to answers as well, and ignore our own requests heard back.
    #[arg(long)]
    response_filter: bool,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    credentials: CredentialArgs,
    /// Give up after this long.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = duration_arg::seconds)]
    max_time: Duration,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

fn read_properties(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

impl Onboard {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let path = self.credentials.path()?;
        let files = self.tls.files(&TlsFiles::default())?;
        let config = self.config()?;
        let transport = session::transport(&files, &self.tls)?;
        // Whoever is connected as this thing would be kicked by the new credential's first use, and would not know it.
        let _lock = match connection_lock::take(&path, Instant::now() + LOCK_PATIENCE).await? {
            Taken::Lock(lock) => lock,
            Taken::Served(_, holder) => return Err(connection_lock::busy(&path, holder)),
        };
        // Each step has the whole time, and says best what it was that took too long; all of them have a little more.
        let attempt = timeout(self.max_time + Duration::from_millis(250), client::onboard(&config, &transport));
        let credential = match attempt.await {
            Ok(Ok(credential)) => credential,
            Ok(Err(error)) => return Err(session::explain(&error, &config).await),
            Err(_) => {
                return Err(Failure::new(Exit::TimedOut, "onboarding did not end in time").advise(
                    "--max-time waits longer. An ordinary broker (mosquitto) answers only with --response-filter.",
                ));
            }
        };
        let onboarded = Onboarded {
            credential,
            scheme: config.assigned_scheme(),
            broker: self.broker.clone(),
            vendor_thing_id: self.thing.clone(),
            app_key_file: kept(&self.app_key_file),
            password_file: kept(&self.password_file),
            response_filter: self.response_filter,
            tls: files,
        };
        onboarded.store(&path)?;
        self.print(&onboarded, &path)
    }

    fn config(&self) -> Result<Config, Failure> {
        let from_stdin = |file: &Option<PathBuf>| file.as_deref() == Some("-".as_ref());
        if from_stdin(&self.app_key_file) && from_stdin(&self.password_file) {
            return Err(Failure::usage("--app-key-file and --password-file cannot both be standard input"));
        }
        let app_key = self.app.key(self.app_key_file.as_deref())?;
        let password = match &self.password_file {
            Some(file) => secret_input::read("password", file)?,
            None => secret_input::from_environment(PASSWORD_VARIABLE).ok_or_else(|| {
                Failure::usage("the thing's password is missing")
                    .advise(format_args!("Name a file with --password-file, or set {PASSWORD_VARIABLE}."))
            })?,
        };
        let profile = ThingProfile {
            thing_type: self.thing_type.clone(),
            firmware_version: self.firmware_version.clone(),
            thing_properties: self.properties.clone(),
            ..ThingProfile::default()
        };
        let identity = Identity::VendorThing { vendor_thing_id: self.thing.clone(), password, profile };
        let config = Config::new(self.broker.clone(), self.app.id.clone(), app_key, identity)
            .and_then(|config| config.with_connect_timeout(self.max_time))
            .and_then(|config| config.with_call_deadline(self.max_time))
            .map_err(Failure::usage)?
            .with_response_filter(self.response_filter);
        Ok(match self.assigned {
            Some(scheme) => config.with_assigned_scheme(scheme.into()),
            None => config,
        })
    }

    fn print(&self, onboarded: &Onboarded, path: &std::path::Path) -> Result<(), Failure> {
        let credential = &onboarded.credential;
        let broker = credential.endpoint(onboarded.scheme).map(|endpoint| endpoint.to_string());
        if self.json {
            return output::json_line(&json!({
                "thingID": credential.thing_id,
                "vendorThingID": onboarded.vendor_thing_id,
                "broker": broker,
                "mqttEndpoint": credential.endpoint,
                "credentials": path,
            }));
        }
        output::line(&format!(
            "thing        {}\nvendor id    {}\nbroker       {}\nclient id    {}\ncredential   {} (secret; mode 0600)",
            credential.thing_id,
            onboarded.vendor_thing_id,
            broker.as_deref().unwrap_or("none for this scheme"),
            credential.endpoint.mqtt_topic,
            path.display(),
        ))
    }
}

/// A secret's file as it can be found again; standard input cannot.
fn kept(file: &Option<PathBuf>) -> Option<PathBuf> {
    file.as_ref().filter(|file| file.as_os_str() != "-").and_then(|file| file.canonicalize().ok())
}
