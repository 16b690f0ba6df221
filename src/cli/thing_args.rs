//! Who a thing is and where it is onboarded, on the command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use crate::cli::app_args::AppArg;
use crate::cli::credential_file::{Onboarded, Settings};
use crate::cli::demo::SchemeArg;
use crate::cli::exit::Failure;
use crate::cli::route_args::RouteArgs;
use crate::cli::secret_input::{self, Unquoted};
use crate::config::{Config, Identity};
use crate::ids::{FirmwareVersion, ThingType, VendorThingId};
use crate::mqtt::Endpoint;
use crate::thing_if::ThingProfile;

/// The environment variable that holds the thing's password when no file does.
pub(crate) const PASSWORD_VARIABLE: &str = "THINGIF_PASSWORD";

/// Flags of the verbs that onboard: `onboard` demands the first of them, `listen` can do without.
#[derive(Debug, Clone, Args)]
pub(crate) struct ThingArgs {
    /// The default broker: mqtt://, mqtts://, ws:// or wss://, HOST, and :PORT where it is not 1883, 8883, 12470 or 12473.
    #[arg(long, value_name = "URL")]
    broker: Option<Endpoint>,
    /// The application. Without :KEY its key comes from --app-key-file or THINGIF_APP_KEY.
    #[arg(long, value_name = "ID[:KEY]", value_parser = Unquoted::<AppArg>::default())]
    app: Option<AppArg>,
    /// The key of --app, from a file or from standard input (-).
    #[arg(long, value_name = "FILE")]
    app_key_file: Option<PathBuf>,
    /// The thing, as its maker names it.
    #[arg(long, value_name = "VENDOR_THING_ID")]
    thing: Option<VendorThingId>,
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
}

fn read_properties(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

/// A thing that the command line names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) broker: &'a Endpoint,
    pub(crate) app: &'a AppArg,
    pub(crate) thing: &'a VendorThingId,
    args: &'a ThingArgs,
}

impl ThingArgs {
    /// The thing, if one is named. Half a name is a mistake; a broker alone may come from the environment and is none.
    pub(crate) fn named(&self) -> Result<Option<Named<'_>>, Failure> {
        match (&self.broker, &self.app, &self.thing) {
            (Some(broker), Some(app), Some(thing)) => Ok(Some(Named { broker, app, thing, args: self })),
            (_, None, None) => Ok(None),
            // The environment's application is a default for whoever names a thing, as its broker is.
            (_, Some(app), None) if app.is_the_environments() => Ok(None),
            (broker, app, thing) => {
                let missing = [("--broker", broker.is_none()), ("--app", app.is_none()), ("--thing", thing.is_none())];
                let missing: Vec<_> =
                    missing.iter().filter(|(_, is_missing)| *is_missing).map(|(flag, _)| *flag).collect();
                Err(Failure::usage(format_args!("{} is missing", missing.join(" and ")))
                    .advise("--broker, --app and --thing together say which thing is to be onboarded, and where."))
            }
        }
    }
}

impl Named<'_> {
    /// What is kept beside the credential. What the flags leave open stays as it was `before` at the same broker.
    pub(crate) fn settings(&self, route: &RouteArgs, before: Option<&Onboarded>) -> Result<Settings, Failure> {
        let before = before.map(|onboarded| &onboarded.settings).filter(|settings| settings.broker == *self.broker);
        let scheme = self.args.assigned.map(Into::into).or(before.map(|settings| settings.scheme));
        Ok(Settings {
            scheme: scheme.unwrap_or(self.broker.scheme),
            broker: self.broker.clone(),
            vendor_thing_id: self.thing.clone(),
            app_key_file: kept(&self.args.app_key_file),
            password_file: kept(&self.args.password_file),
            response_filter: self.args.response_filter || before.is_some_and(|settings| settings.response_filter),
            route: route.files(&before.map(|settings| settings.route.clone()).unwrap_or_default())?,
        })
    }

    /// The configuration that onboards it, with its secrets. `max_time` is for each step; without it there are the
    /// configuration's own limits.
    pub(crate) fn config(&self, settings: &Settings, max_time: Option<Duration>) -> Result<Config, Failure> {
        let args = self.args;
        let from_stdin = |file: &Option<PathBuf>| file.as_deref() == Some("-".as_ref());
        if from_stdin(&args.app_key_file) && from_stdin(&args.password_file) {
            return Err(Failure::usage("--app-key-file and --password-file cannot both be standard input"));
        }
        let app_key = self.app.key(args.app_key_file.as_deref())?;
        let password = match &args.password_file {
            Some(file) => secret_input::read("password", file)?,
            None => secret_input::from_environment(PASSWORD_VARIABLE).ok_or_else(|| {
                Failure::usage("the thing's password is missing")
                    .advise(format_args!("Name a file with --password-file, or set {PASSWORD_VARIABLE}."))
            })?,
        };
        let profile = ThingProfile {
            thing_type: args.thing_type.clone(),
            firmware_version: args.firmware_version.clone(),
            thing_properties: args.properties.clone(),
            ..ThingProfile::default()
        };
        let identity = Identity::VendorThing { vendor_thing_id: self.thing.clone(), password, profile };
        let config = Config::new(self.broker.clone(), self.app.id.clone(), app_key, identity);
        let config = match max_time {
            None => config,
            Some(limit) => config
                .and_then(|config| config.with_connect_timeout(limit))
                .and_then(|config| config.with_call_deadline(limit)),
        };
        let config = config.map_err(Failure::usage)?;
        Ok(config.with_assigned_scheme(settings.scheme).with_response_filter(settings.response_filter))
    }
}

/// A secret's file as it can be found again; standard input cannot.
fn kept(file: &Option<PathBuf>) -> Option<PathBuf> {
    file.as_deref().filter(|file| *file != Path::new("-")).and_then(|file| file.canonicalize().ok())
}
