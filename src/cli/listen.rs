//! `thingif listen`: stay connected as a thing, print its pushes, run a program for its commands, serve `call`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::cli::call_failure::{CallFailure, Fate};
use crate::cli::connection_lock::{self, LOCK_PATIENCE, Taken};
use crate::cli::credential_file::CredentialArgs;
use crate::cli::credential_vault::CredentialVault;
use crate::cli::exec::{self, Exec};
use crate::cli::exit::{Failure, with_causes};
use crate::cli::thing_args::ThingArgs;
use crate::cli::tls_args::TlsArgs;
use crate::cli::{duration_arg, local_socket, output, session};
use crate::client::{self, Client, Push, Pushes};
use crate::proto::Notice;
use crate::thing_if::{self, CommandPush};

/// How long the report of a command's results may take, each time.
const REPORT_TIME: Duration = Duration::from_secs(30);
/// How often a report is tried.
const REPORT_TRIES: u32 = 5;

/// Stay connected as a thing and print its pushes, one JSON value a line.
///
/// A push that is no JSON is printed as a JSON string. A lost connection is made again. `thingif call` with the same
/// credential goes through this process.
///
/// The thing is one that was onboarded before. With --broker, --app, --thing and its secrets it need not be: without a
/// credential, or with one that is lost, damaged or refused, it is onboarded, and the credential is stored.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif listen | jq .commandID
  thingif listen --exec './actuate'        # command on stdin; exit status 0: every action succeeded
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
    #[command(flatten)]
    thing: ThingArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    credentials: CredentialArgs,
}

impl Listen {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let file = self.credentials.path()?;
        let (config, settings) = session::resume_or_onboard(&file, &self.thing, &self.tls)?;
        let stop = stop_signal()?;
        tokio::pin!(stop);
        let lock = match connection_lock::take(&file, Instant::now() + LOCK_PATIENCE).await? {
            Taken::Lock(lock) => lock,
            Taken::Served(_, holder) => return Err(connection_lock::busy(&file, holder)),
        };
        let transport = session::transport(&settings.tls, &self.tls)?;
        let vault = CredentialVault::new(&file, settings);
        let connected = tokio::select! {
            connected = client::connect_with(config.clone(), transport, vault) => connected,
            () = &mut stop => return Ok(()),
        };
        let (client, pushes, mut connection) = match connected {
            Ok(connected) => connected,
            Err(error) => return Err(session::explain(&error, &config).await),
        };
        let socket = local_socket::bind(lock.socket()).map_err(|error| {
            Failure::other(format_args!("cannot listen on {}: {error}", lock.socket().display()))
                .advise("A Unix socket's path has at most 107 bytes: choose a shorter --credentials.")
        })?;
        let notices = connection.notices();
        let mut connection = tokio::spawn(connection.run());
        eprintln!("thingif: connected as {}", client.credential().thing_id);
        let ended = tokio::select! {
            ended = &mut connection => return match ended {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(session::explain(&error, &config).await),
                Err(error) => Err(Failure::other(format_args!("the connection's task ended: {error}"))),
            },
            never = follow(notices) => match never {},
            ended = self.receive(pushes, &client) => ended,
            never = local_socket::serve(socket, through(&client)) => match never {},
            () = &mut stop => Ok(()),
        };
        client.close().await;
        ended
    }

    /// Prints pushes and obeys commands, one after the other: a slow program makes the queue grow, and a full queue is
    /// reported.
    async fn receive(&self, mut pushes: Pushes, client: &Client) -> Result<(), Failure> {
        while let Some(push) = pushes.next().await {
            match push {
                Push::Message(payload) => {
                    output::line(&as_json(&payload))?;
                    self.obey(&payload, client).await;
                }
                Push::Lagged(count) => {
                    eprintln!("thingif: {count} pushes were dropped: they came faster than they were read")
                }
            }
        }
        std::future::pending().await
    }

    async fn obey(&self, payload: &Bytes, client: &Client) {
        let Some(command) = &self.exec else { return };
        let push = match thing_if::Push::from_json(payload) {
            Ok(thing_if::Push::Command(push)) => push,
            Ok(_) => return,
            Err(error) => return eprintln!("thingif: a push cannot be read: {error}"),
        };
        let exec = Exec { command: command.clone(), timeout: self.exec_timeout };
        let credential = client.credential();
        let outcome = exec.run(&credential.app_id, &credential.thing_id, &push, payload).await;
        match &outcome {
            Ok(()) => eprintln!("thingif: command {}: succeeded", push.command_id),
            Err(message) => eprintln!("thingif: command {}: failed: {message}", push.command_id),
        }
        report(client, &push, &outcome).await;
    }
}

/// Reports the results, again when no answer came: reporting twice is harmless. (`wire` §8)
async fn report(client: &Client, push: &CommandPush, outcome: &Result<(), String>) {
    let credential = client.credential();
    let results = exec::results(&push.actions, outcome);
    let request = exec::report(&credential.app_id, &credential.thing_id, push, results);
    let mut pause = Duration::from_secs(1);
    for tries_left in (0..REPORT_TRIES).rev() {
        let why = match client.send_within(request.clone(), REPORT_TIME).await {
            Ok(answer) if answer.status().is_success() => return,
            Ok(answer) if answer.status().is_client_error() => {
                return eprintln!(
                    "thingif: command {}: the results were refused: {}",
                    push.command_id,
                    answer.status()
                );
            }
            Ok(answer) => answer.status().to_string(),
            Err(error) => with_causes(&error),
        };
        eprintln!("thingif: command {}: the results were not taken ({why}), {tries_left} tries left", push.command_id);
        if tries_left > 0 {
            tokio::time::sleep(pause).await;
            pause *= 2;
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

/// What the local socket does with a call.
fn through(
    client: &Client,
) -> impl Fn(
    http::Request<Bytes>,
    Duration,
) -> crate::transport::BoxFuture<'static, Result<http::Response<Bytes>, CallFailure>>
+ Clone
+ Send
+ Sync
+ 'static
+ use<> {
    let client = Arc::new(client.clone());
    move |request, max_time| {
        let client = Arc::clone(&client);
        Box::pin(async move {
            if !request.uri().path().starts_with("/thing-if/apps/") {
                return Err(CallFailure::new(Fate::Invalid, "the path does not begin with /thing-if/apps/"));
            }
            client.send_within(request, max_time).await.map_err(CallFailure::from)
        })
    }
}

/// Says what happens to the connection. The vault says itself what it stores.
async fn follow(mut notices: client::Notices) -> Infallible {
    let mut lost = false;
    while let Some(notice) = notices.next().await {
        match notice {
            Notice::Waiting { cause, pause, .. } => {
                lost = true;
                eprintln!("thingif: {}; trying again in {:.1} s", with_causes(&*cause), pause.as_secs_f64());
            }
            Notice::Ready { .. } if lost => {
                lost = false;
                eprintln!("thingif: connected again");
            }
            other => tracing::info!(notice = ?other),
        }
    }
    std::future::pending().await
}

/// Resolves when the process is asked to end.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let install = |kind| signal(kind).map_err(|error| Failure::other(format_args!("cannot wait for signals: {error}")));
    let (mut terminate, mut interrupt) = (install(SignalKind::terminate())?, install(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
