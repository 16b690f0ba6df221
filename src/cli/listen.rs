//! `thingif listen`: stay connected as a thing, print its pushes, run a program for its commands, serve `call`.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::bridge::proxy::Proxy;
use crate::cli::connection_lock::{self, ConnectionLock, LOCK_PATIENCE, Taken};
use crate::cli::credential_file::CredentialArgs;
use crate::cli::exec::Exec;
use crate::cli::exit::Failure;
use crate::cli::held::{self, Ending, Held};
use crate::cli::route_args::RouteArgs;
use crate::cli::thing_args::ThingArgs;
use crate::cli::{duration_arg, output, session};
use crate::client::commands::{self, CommandEvent, CommandEvents, Commands, FileJournal};
use crate::client::{Client, Connection, Notices, Push, Pushes};
use crate::ids::AppId;

/// Stay connected as a thing and print its pushes, one JSON value a line.
///
/// A push that is no JSON is printed as a JSON string. A lost connection is made again. `thingif call` with the same
/// credential goes through this process.
///
/// With --exec each command is run once: what was pushed while nobody listened is found in the service's list, and a journal
/// beside the credential knows what has run, also after a restart.
///
/// The thing is one that was onboarded before. With --broker, --app, --thing and its secrets it need not be: without a
/// credential, or with one that is lost, damaged or refused, it is onboarded, and the credential is stored.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif listen | jq .commandID
  thingif listen --exec './actuate'        # command on stdin; exit status 0: every action succeeded
  thingif listen --exec './unlock' --max-command-age 10
  thingif listen --broker mqtts://iot.example.org --app demo --app-key-file key --thing lamp-1 --password-file pw
  thingif listen --exec 'jq -e .actions[0].turnPower.power >/dev/null && gpioset 0 17=1'

--exec sets THINGIF_COMMAND_ID, THINGIF_ACTIONS (names, separated by spaces), THINGIF_THING_ID and THINGIF_APP_ID. Its standard
output goes to standard error; the last line of its own standard error becomes the errorMessage of a failure.")]
pub(crate) struct Listen {
    /// Run this with sh for each command, in the order they come, and report the results of its actions.
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// Kill the program of --exec after this long; the command has failed then.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = duration_arg::seconds, requires = "exec")]
    exec_timeout: Duration,
    /// A command that is older when it is found is reported as failed, and not run.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = duration_arg::seconds, requires = "exec")]
    max_command_age: Duration,
    /// Run a command again that was running when this program ended, instead of reporting it as failed.
    #[arg(long, requires = "exec")]
    at_least_once: bool,
    #[command(flatten)]
    thing: ThingArgs,
    #[command(flatten)]
    route: RouteArgs,
    #[command(flatten)]
    credentials: CredentialArgs,
}

impl Listen {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let file = self.credentials.path()?;
        let (config, settings) = session::resume_or_onboard(&file, &self.thing, &self.route)?;
        let stop = held::stop_signal()?;
        tokio::pin!(stop);
        let lock = match connection_lock::take(&file, Instant::now() + LOCK_PATIENCE).await? {
            Taken::Lock(lock) => lock,
            Taken::Served(_, holder) => return Err(connection_lock::busy(&file, holder)),
        };
        let held = tokio::select! {
            held = Held::connect(&file, &config, &settings, &self.route, lock) => held?,
            () = &mut stop => return Ok(()),
        };
        let Held { client, pushes, mut connection, lock, socket } = held;
        let local =
            Proxy::new(client.clone()).map_err(|error| Failure::other(format_args!("no random numbers: {error}")))?;
        let notices = connection.notices();
        let own = client.onboarded().await.map_err(|error| Failure::from(&error))?;
        let obedience = self.obedience(own.app_id, &client, &mut connection, &lock)?;
        let mut connection = tokio::spawn(connection.run());
        eprintln!("thingif: connected as {}", own.thing_id);
        let ending = Ending::new();
        let serving = local.serve_unix(socket, ending.begun());
        tokio::pin!(serving);
        let ended = tokio::select! {
            ended = &mut connection => return match ended {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(session::explain(&error, &config, &settings.route).await),
                Err(error) => Err(Failure::other(format_args!("the connection's task ended: {error}"))),
            },
            never = held::follow(notices, |notice| local.notice(notice)) => match never {},
            ended = self.receive(pushes, obedience, &local) => ended,
            () = &mut serving => Ok(()),
            () = &mut stop => {
                // Whoever goes through this process gets the answers that are under way.
                ending.begin();
                serving.await;
                Ok(())
            }
        };
        client.close().await;
        ended
    }

    /// Prints pushes as they come, and carries commands out beside, one after the other.
    async fn receive(&self, pushes: Pushes, obedience: Option<Obedience>, local: &Proxy) -> Result<(), Failure> {
        let (failed, failure) = oneshot::channel();
        let mut failed = Some(failed);
        let local = local.clone();
        let show = move |push: &Push| {
            local.push(push);
            if let Err(error) = print(push)
                && let Some(failed) = failed.take()
            {
                // Nobody waits for it when the program is about to end.
                drop(failed.send(error));
            }
        };
        let received = async {
            match obedience {
                None => each(pushes, show).await,
                Some(Obedience { builder, notices }) => {
                    let (commands, events) = builder.with_tap(show).build();
                    tokio::join!(commands.run(pushes, notices), tell(events));
                }
            }
        };
        tokio::select! {
            () = received => {}
            Ok(failure) = failure => return Err(failure),
        }
        std::future::pending().await
    }

    /// What carries commands out, if they are to be.
    fn obedience(
        &self,
        app: AppId,
        client: &Client,
        connection: &mut Connection,
        lock: &ConnectionLock,
    ) -> Result<Option<Obedience>, Failure> {
        let Some(command) = &self.exec else { return Ok(None) };
        let exec = Exec { app, command: command.clone(), timeout: self.exec_timeout };
        let path = lock.journal();
        let journal = FileJournal::open(&path).map_err(|error| {
            Failure::other(format_args!("cannot keep a journal of commands: {error}"))
                .advise("Without it a command could be carried out twice. It is beside the credential.")
        })?;
        let builder =
            Commands::builder(client.clone(), exec).with_journal(journal).with_max_command_age(self.max_command_age);
        let builder = if self.at_least_once { builder.at_least_once() } else { builder };
        Ok(Some(Obedience { builder, notices: connection.notices() }))
    }
}

/// What carries commands out.
struct Obedience {
    builder: commands::Builder,
    notices: Notices,
}

async fn each(mut pushes: Pushes, mut show: impl FnMut(&Push)) {
    while let Some(push) = pushes.next().await {
        show(&push);
    }
}

fn print(push: &Push) -> Result<(), Failure> {
    match push {
        Push::Message(payload) => output::line(&as_json(payload)),
        Push::Lagged(count) => {
            eprintln!("thingif: {count} pushes were dropped: they came faster than they were read");
            Ok(())
        }
    }
}

/// Says what becomes of commands, as far as the program that carries them out does not.
async fn tell(mut events: CommandEvents) {
    while let Some(event) = events.next().await {
        match event {
            CommandEvent::TooOld(command) => eprintln!("thingif: command {command}: too old, reported as failed"),
            CommandEvent::Interrupted(command) => {
                eprintln!("thingif: command {command}: interrupted by a restart, reported as failed");
            }
            CommandEvent::NotJournalled(command, why) => {
                eprintln!("thingif: command {command}: not carried out, because the journal cannot be written: {why}");
            }
            CommandEvent::ReportRefused(command, status) => {
                eprintln!("thingif: command {command}: the results were refused: {status}");
            }
            CommandEvent::ReportPostponed(command, why) => {
                eprintln!("thingif: command {command}: the results were not taken ({why}), trying again later");
            }
            CommandEvent::ListFailed(why) => {
                eprintln!("thingif: cannot ask for missed commands ({why}), trying again later")
            }
            CommandEvent::TooManyMissed => eprintln!("thingif: there are more missed commands than are looked at"),
            CommandEvent::Dropped(command) => eprintln!("thingif: command {command}: too many wait; it is put off"),
            other => tracing::debug!(event = ?other),
        }
    }
}

/// The payload as one line of JSON.
fn as_json(payload: &Bytes) -> String {
    match serde_json::from_slice::<serde_json::Value>(payload) {
        Ok(value) => value.to_string(),
        Err(_) => serde_json::Value::from(String::from_utf8_lossy(payload)).to_string(),
    }
}
