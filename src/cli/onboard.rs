//! `thingif onboard`: ask the default broker once, keep what it assigns.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::cli::connection_lock::{self, LOCK_PATIENCE, Taken};
use crate::cli::credential_file::{CredentialArgs, Onboarded};
use crate::cli::credential_vault::CredentialVault;
use crate::cli::exit::{Exit, Failure};
use crate::cli::route_args::RouteArgs;
use crate::cli::thing_args::ThingArgs;
use crate::cli::{duration_arg, output, session};
use crate::client;

/// Onboard a thing at the default broker and store the credential that it is given.
///
/// The thing is made if it does not exist; its password is the one of its first onboarding from then on. Onboarding again is
/// always allowed. What is stored is printed, without its secrets.
#[derive(Debug, Args)]
#[command(mut_args(|arg| match arg.get_id().as_str() {
    "broker" | "app" | "thing" => arg.required(true),
    _ => arg,
}))]
#[command(after_help = "Examples:
  thingif onboard --broker mqtt://127.0.0.1 --app demo:KEY --thing thermostat-17 --password-file pw
  thingif onboard --broker mqtts://iot.example.org --app demo --app-key-file key --thing thermostat-17 --password-file - <pw")]
pub(crate) struct Onboard {
    #[command(flatten)]
    thing: ThingArgs,
    #[command(flatten)]
    route: RouteArgs,
    #[command(flatten)]
    credentials: CredentialArgs,
    /// Give up after this long.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = duration_arg::seconds)]
    max_time: Duration,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

impl Onboard {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let path = self.credentials.path()?;
        let Some(named) = self.thing.named()? else { return Err(Failure::usage("no thing is named")) };
        let settings = named.settings(&self.route, None)?;
        let config = self.route.pin(named.config(&settings, Some(self.max_time))?)?;
        let transport = session::transport(&settings.route, &self.route)?;
        let vault = CredentialVault::new(&path, settings.clone()).quiet();
        // Whoever is connected as this thing would be kicked by the new credential's first use, and would not know it.
        let _lock = match connection_lock::take(&path, Instant::now() + LOCK_PATIENCE).await? {
            Taken::Lock(lock) => lock,
            Taken::Served(_, holder) => return Err(connection_lock::busy(&path, holder)),
        };
        // Each step has the whole time, and says best what it was that took too long; all of them have a little more.
        let attempt =
            timeout(self.max_time + Duration::from_millis(250), client::onboard_with(&config, &transport, vault));
        let credential = match attempt.await {
            Ok(Ok(credential)) => credential,
            Ok(Err(error)) => return Err(session::explain(&error, &config, &settings.route).await),
            Err(_) => {
                return Err(Failure::new(Exit::TimedOut, "onboarding did not end in time").advise(
                    "--max-time waits longer. An ordinary broker (mosquitto) answers only with --response-filter.",
                ));
            }
        };
        let onboarded = Onboarded { credential, settings };
        self.print(&onboarded, &path)
    }

    fn print(&self, onboarded: &Onboarded, path: &std::path::Path) -> Result<(), Failure> {
        let credential = &onboarded.credential;
        let broker = credential.endpoint(onboarded.settings.scheme).map(|endpoint| endpoint.to_string());
        if self.json {
            return output::json_line(&json!({
                "thingID": credential.thing_id,
                "vendorThingID": onboarded.settings.vendor_thing_id,
                "broker": broker,
                "mqttEndpoint": credential.endpoint,
                "credentials": path,
            }));
        }
        output::line(&format!(
            "thing        {}\nvendor id    {}\nbroker       {}\nclient id    {}\ncredential   {} (secret; mode 0600)",
            credential.thing_id,
            onboarded.settings.vendor_thing_id,
            broker.as_deref().unwrap_or("none for this scheme"),
            credential.endpoint.mqtt_topic,
            path.display(),
        ))
    }
}
