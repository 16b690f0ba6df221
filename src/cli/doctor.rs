//! `thingif doctor`: which step of a device's way fails, and what to do about it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::time::Instant;

use crate::cli::call_failure::Fate;
use crate::cli::connection_lock::{self, ConnectionLock, LOCK_PATIENCE, Taken};
use crate::cli::credential_file::{self, CredentialArgs, Onboarded, Settings};
use crate::cli::exit::{Exit, Failure};
use crate::cli::route_args::RouteArgs;
use crate::cli::thing_args::{Named, ThingArgs};
use crate::cli::{duration_arg, local_socket, output, progress, session};
use crate::client::causes::with_causes;
use crate::config::Config;
use crate::doctor::{self, Broker, Fault, Held, Probe, Progress, Verdict};

/// Find out why a thing does not get through: probe each step of its way, and say which fails and what to do.
///
/// With a stored credential the thing's assigned broker is probed with it, and the default broker as far as that changes
/// nothing. Without one the thing that the flags name is onboarded, which makes it if it does not exist; nothing is stored
/// unless --store says so. When a step fails, those that need it are skipped. What fails at the default broker is only a
/// warning while there is a credential.
///
/// A device that runs with the same client id is disconnected while this is connected, and comes back by itself. If `thingif
/// listen` or `thingif proxy` holds the connection on this machine, it is left alone, and the round trip goes through it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif doctor
  thingif doctor --broker mqtts://iot.example.org --app demo --app-key-file key --thing thermostat-17 --password-file pw
  thingif doctor --watch 60      # and have the owner post a command meanwhile
  thingif doctor --json | jq -r 'select(.verdict == \"failed\") | .probe, .remedy'

The exit status is that of the first probe that failed: 6 name, 7 connection, 35 TLS, 60 certificate, 67 login refused, 28
no answer in time, 1 anything else; 0 if none did, warnings or not.")]
#[command(mut_arg("record", |arg| arg.hide(true)))]
pub(crate) struct Doctor {
    #[command(flatten)]
    thing: ThingArgs,
    #[command(flatten)]
    route: RouteArgs,
    #[command(flatten)]
    credentials: CredentialArgs,
    /// Onboard although there is a stored credential: is the password still right? The service may drop the oldest of the
    /// thing's tokens for the new one.
    #[arg(long)]
    onboard: bool,
    /// Store the credential of this onboarding, as `thingif onboard` does.
    #[arg(long)]
    store: bool,
    /// Listen so long for another device with the same client id, and for pushes; 0 leaves both out.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = zero_or_seconds)]
    watch: Duration,
    /// Connect twice with the same client id, to see that the newer connection takes over, or that one which was ended is ended
    /// again. DISTURBS a device that runs with it: it is disconnected once more.
    #[arg(long)]
    disruptive: bool,
    /// Give each step so long.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = duration_arg::seconds)]
    max_time: Duration,
    /// Print each probe as one line of JSON.
    #[arg(long)]
    json: bool,
}

fn zero_or_seconds(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { duration_arg::seconds(text) }
}

/// Whom to examine.
struct Patient {
    config: Config,
    settings: Settings,
    /// The file has this thing's credential, so whoever holds its connection must not be disturbed.
    is_stored: bool,
}

impl Doctor {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        if self.route.record.is_some() {
            return Err(Failure::usage("doctor records nothing").advise("`thingif listen --record` does."));
        }
        let file = self.credentials.path()?;
        let Patient { config, settings, is_stored } = self.patient(&file)?;
        let mut options = doctor::Options {
            tls: session::tls(&settings.route, &self.route),
            proxy: session::proxy(&settings.route, &self.route)?,
            watch: self.watch,
            disruptive: self.disruptive,
            held: None,
        };
        let mut lock = None;
        if is_stored || self.store {
            (lock, options.held) = self.lock(&file).await?;
        }
        if self.disruptive && options.held.is_none() {
            eprintln!("thingif: connecting twice as the thing; a device that runs with its client id is disturbed");
        }
        let mut shown = Shown { json: self.json, spinner: progress::waiting(), broker: None, failed: None };
        let examined = doctor::examine(&config, &options, &mut |told| shown.tell(told)).await;
        shown.spinner.finish_and_clear();
        let examined = examined.map_err(Failure::usage)?;
        if let (true, Some(credential)) = (self.store, &examined.credential) {
            let stored = Onboarded { credential: credential.clone(), settings }.write(&file);
            stored.map_err(|error| Failure::other(with_causes(&error)))?;
            eprintln!("thingif: the new credential is in {}", file.display());
        }
        drop(lock);
        if let Some(failure) = shown.failed {
            return Err(failure);
        }
        match examined.failure() {
            None => Ok(()),
            Some(probe) => {
                let place = probe.broker.map(|broker| format!(" at the {broker}")).unwrap_or_default();
                let failure = Failure::new(exit(probe.verdict), format_args!("{}{place}: {}", probe.step, probe.said));
                // A person has read the remedy beside the probe.
                let remedy = probe.remedy.iter().filter(|_| self.json);
                Err(remedy.fold(failure, |failure, remedy| failure.advise(remedy)))
            }
        }
    }

    /// The stored credential, if it is of the thing that the flags name or if they name none; else the thing that they name.
    fn patient(&self, file: &Path) -> Result<Patient, Failure> {
        let named = self.thing.named()?;
        let stored = match (Onboarded::read(file), &named) {
            (Ok(stored), _) => stored,
            (Err(error), Some(_)) if !self.store => {
                eprintln!("thingif: {}; it is left alone", with_causes(&error));
                None
            }
            (Err(error), _) => return Err(credential_file::unusable(&error)),
        };
        let patient = match (stored, &named) {
            (None, None) => return Err(missing(file)),
            (Some(stored), None) => self.resumed(&stored, None)?,
            (Some(stored), Some(named)) if is_of(&stored, named) => self.resumed(&stored, Some(named))?,
            (other, Some(named)) => {
                if other.is_some() && self.store {
                    let said = format_args!("{} has another thing's credential", file.display());
                    return Err(Failure::usage(said).advise("Name another file with --credentials."));
                }
                let settings = named.settings(&self.route, None)?;
                let config = named.config(&settings, Some(self.max_time))?;
                Patient { config, settings, is_stored: false }
            }
        };
        Ok(Patient { config: self.route.pin(patient.config)?, ..patient })
    }

    fn resumed(&self, stored: &Onboarded, named: Option<&Named<'_>>) -> Result<Patient, Failure> {
        let settings = match named {
            Some(named) => named.settings(&self.route, Some(stored))?,
            None => Settings { route: self.route.files(&stored.settings.route)?, ..stored.settings.clone() },
        };
        // Without --onboard the secrets are needed for nothing but the login at the default broker.
        let given = named.map(|named| named.config(&settings, Some(self.max_time)));
        let config = match given {
            Some(Ok(config)) => config,
            Some(Err(failure)) if self.onboard => return Err(failure),
            _ => session::onboard_again(stored, None)?
                .with_assigned_scheme(settings.scheme)
                .with_response_filter(settings.response_filter)
                .with_connect_timeout(self.max_time)
                .and_then(|config| config.with_call_deadline(self.max_time))
                .map_err(Failure::usage)?,
        };
        let is_known = !config.app_key().expose().is_empty() && !config.identity().password().expose().is_empty();
        if self.onboard && !is_known {
            return Err(Failure::usage("the app's key or the thing's password is not known here").advise(
                "Give --broker, --app, --thing, --app-key-file and --password-file; a credential does not keep them.",
            ));
        }
        let config = if self.onboard { config } else { config.with_resume(stored.credential.clone()) };
        Ok(Patient { config, settings, is_stored: true })
    }

    /// The connection, or who has it.
    async fn lock(&self, file: &Path) -> Result<(Option<ConnectionLock>, Option<Held>), Failure> {
        match connection_lock::take(file, Instant::now() + LOCK_PATIENCE).await? {
            Taken::Lock(lock) => Ok((Some(lock), None)),
            // A new credential's first use would disturb it, and it would not know why.
            Taken::Served(_, holder) if self.onboard || self.store => Err(connection_lock::busy(file, holder)),
            Taken::Served(socket, holder) => Ok((None, Some(self.held(socket, holder)))),
        }
    }

    fn held(&self, socket: PathBuf, holder: Option<u32>) -> Held {
        let max_time = self.max_time;
        Held {
            holder: holder.map_or_else(|| "another process".to_owned(), |id| format!("process {id}")),
            call: Arc::new(move |request| {
                let socket = socket.clone();
                Box::pin(async move {
                    match local_socket::call(&socket, request, max_time).await {
                        Ok(Some(Ok(answer))) => Ok(answer),
                        Ok(Some(Err(failure))) => {
                            let fault = match failure.fate {
                                Fate::NotSent => Fault::Connect,
                                Fate::TimedOut | Fate::NotSentInTime => Fault::TimedOut,
                                _ => Fault::Other,
                            };
                            Err((fault, failure.message))
                        }
                        Ok(None) => Err((Fault::Connect, "it has ended".to_owned())),
                        Err(error) => Err((Fault::Connect, format!("its socket cannot be used: {error}"))),
                    }
                })
            }),
        }
    }
}

fn is_of(stored: &Onboarded, named: &Named<'_>) -> bool {
    stored.credential.app_id == named.app.id
        && stored.settings.vendor_thing_id == *named.thing
        && stored.settings.broker == *named.broker
}

fn missing(file: &Path) -> Failure {
    Failure::usage(format_args!("there is no credential in {}", file.display())).advise(
        "Name the thing with --broker, --app, --thing and --password-file, as for `thingif onboard`, or its credential with \
         --credentials.",
    )
}

fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Failed(Fault::Name) => Exit::NameNotResolved,
        Verdict::Failed(Fault::Connect) => Exit::CannotConnect,
        Verdict::Failed(Fault::Tls) => Exit::Tls,
        Verdict::Failed(Fault::Certificate) => Exit::Certificate,
        Verdict::Failed(Fault::Login) => Exit::LoginRefused,
        Verdict::Failed(Fault::TimedOut) => Exit::TimedOut,
        _ => Exit::Other,
    }
}

/// What is printed as it comes.
struct Shown {
    json: bool,
    spinner: ProgressBar,
    /// Under whose heading the last line stands.
    broker: Option<Broker>,
    /// Why nothing can be printed any more.
    failed: Option<Failure>,
}

impl Shown {
    fn tell(&mut self, told: Progress) {
        match told {
            Progress::Begun(step, Some(broker)) => self.spinner.set_message(format!("{step} at the {broker}")),
            Progress::Begun(step, None) => self.spinner.set_message(step.to_string()),
            Progress::Ended(probe) => {
                let printed = self.spinner.suspend(|| if self.json { json_line(&probe) } else { self.line(&probe) });
                self.broker = probe.broker;
                if let Err(failure) = printed {
                    self.failed.get_or_insert(failure);
                }
            }
        }
    }

    fn line(&self, probe: &Probe) -> Result<(), Failure> {
        let mut text = String::new();
        if let Some(broker) = probe.broker.filter(|broker| self.broker != Some(*broker)) {
            let endpoint = probe.endpoint.as_ref().map(|endpoint| format!("  {endpoint}")).unwrap_or_default();
            text.push_str(&format!("{broker}{endpoint}\n"));
        } else if probe.broker.is_none() {
            text.push_str("this machine\n");
        }
        let verdict = match probe.verdict {
            Verdict::Failed(_) => "FAILED",
            other => other.as_str(),
        };
        let took = match probe.verdict {
            Verdict::Skipped => String::new(),
            _ => format!("{:.1} ms", probe.took.as_secs_f64() * 1000.0),
        };
        text.push_str(&format!("  {verdict:<8} {:<20} {took:>10}  {}", probe.step, probe.said));
        if let Some(remedy) = &probe.remedy {
            text.push_str(&format!("\n{:43} -> {remedy}", ""));
        }
        output::line(&text)
    }
}

fn json_line(probe: &Probe) -> Result<(), Failure> {
    let mut line = json!({
        "probe": probe.step.as_str(),
        "broker": probe.broker.map(|broker| match broker {
            Broker::Default => "default",
            Broker::Assigned => "assigned",
        }),
        "endpoint": probe.endpoint.as_ref().map(ToString::to_string),
        "verdict": probe.verdict.as_str(),
        "ms": (probe.took.as_secs_f64() * 1e4).round() / 10.0,
        "said": probe.said,
        "remedy": probe.remedy,
    });
    if matches!(probe.verdict, Verdict::Failed(_)) {
        line["exit"] = (exit(probe.verdict) as u8).into();
    }
    output::json_line(&line)
}
