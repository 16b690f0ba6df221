//! `thingif replay`: a capture, once more.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args};
use serde_json::json;

use crate::cli::app_args::AppArg;
use crate::cli::exit::{Exit, Failure};
use crate::cli::listen_address::ListenAddress;
use crate::cli::secret_input::{self, Unquoted};
use crate::cli::{duration_arg, output, progress, server_tls, service};
use crate::mqtt::Endpoint;
use crate::replay::{ReplayError, Replayed, Script, Speed, device, machine, server};
use crate::secret::Secret;

/// Run a capture again and compare.
///
/// As the device against a server (--broker), as the server against a client (--listen), or against this program's own device
/// without any network, in no time (--machine). Everything must be as it was recorded, to the byte, but for what cannot be: request ids, the ids that
/// a service makes, times, addresses and secrets. The first difference is shown with both sides next to each other and ends
/// with status 1.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("role").required(true).args(["broker", "listen", "machine"])))]
#[command(after_help = "Examples:
  thingif replay session.jsonl --broker mqtt://127.0.0.1 --app demo:KEY --speed max
  thingif replay session.jsonl --listen 127.0.0.1:1883     # then start the client under test
  thingif replay session.jsonl --machine

A capture holds no passwords. As the device: --app has the key of the default broker; tokens and the assigned broker's password
come from the answers to onboardings in the capture itself, or --token-file. A fresh server takes the masked password of a thing
as its first one. What causes a push is often not in a capture: --without-pushes does not wait for them.")]
pub(crate) struct Replay {
    /// The capture; standard input if it is -.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Be the device, against this server: mqtt:// or mqtts://, HOST, and :PORT where it is not 1883 or 8883.
    #[arg(long, value_name = "URL")]
    broker: Option<Endpoint>,
    /// Be the server, here, for the client under test.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<ListenAddress>,
    /// Play it against this program's own device, in virtual time.
    #[arg(long)]
    machine: bool,
    /// The application at --broker, which may be another one than the recorded. Without :KEY its key comes from --app-key-file or
    /// THINGIF_APP_KEY.
    #[arg(long, value_name = "ID[:KEY]", value_parser = Unquoted::<AppArg>::default(), conflicts_with_all = ["listen", "machine"])]
    app: Option<AppArg>,
    /// The key of --app, from a file or from standard input (-).
    #[arg(long, value_name = "FILE", requires = "app", conflicts_with_all = ["listen", "machine"])]
    app_key_file: Option<PathBuf>,
    /// The things' password instead of the masked one, from a file or from standard input (-).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "machine"])]
    password_file: Option<PathBuf>,
    /// The token of calls whose own did not come by an onboarding in the capture, from a file or from standard input (-).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "machine"])]
    token_file: Option<PathBuf>,
    /// Trust the authorities in this PEM file at --broker, instead of the system's.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "machine"])]
    ca: Option<PathBuf>,
    /// Speak TLS with the client of --listen: the certificate and its chain (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with_all = ["broker", "machine"])]
    tls_cert: Option<PathBuf>,
    /// The key of --tls-cert (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert", conflicts_with_all = ["broker", "machine"])]
    tls_key: Option<PathBuf>,
    /// So many times as fast as recorded, or max: without any pause.
    #[arg(long, value_name = "N|max", default_value = "1")]
    speed: Speed,
    /// Wait so long for each message of the other end.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = duration_arg::seconds)]
    wait: Duration,
    /// Do not wait for recorded pushes, and let others come.
    #[arg(long, requires = "broker")]
    without_pushes: bool,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        let script = self.script()?;
        if let Some(why) = &script.stopped {
            eprintln!("thingif: the capture is not whole: {why}");
        }
        let bar = progress::steps(script.steps.len());
        let progress = |done: usize| bar.set_position(done as u64);
        let result = if self.machine {
            machine::run(&script)
        } else if let Some(listen) = self.listen {
            self.serve(listen, &script, &progress).await?
        } else if let Some(broker) = &self.broker {
            device::run(&script, &self.device(broker)?, &progress).await
        } else {
            return Err(Failure::usage("give --broker, --listen or --machine"));
        };
        bar.finish_and_clear();
        self.report(result)
    }

    fn script(&self) -> Result<Script, Failure> {
        let name = self.file.display();
        let source: Box<dyn BufRead> = if self.file == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            let file =
                File::open(&self.file).map_err(|error| Failure::other(format_args!("cannot read {name}: {error}")))?;
            Box::new(BufReader::new(file))
        };
        let script = Script::read(source).map_err(|error| Failure::other(format_args!("{name}: {error}")))?;
        match script.steps.is_empty() {
            true => Err(Failure::other(format_args!("{name} is a capture of nothing"))),
            false => Ok(script),
        }
    }

    fn device(&self, broker: &Endpoint) -> Result<device::Options, Failure> {
        let secret = |what, file: &Option<PathBuf>| -> Result<Option<Secret<String>>, Failure> {
            file.as_deref().map(|file| secret_input::read(what, file)).transpose()
        };
        let mut options = device::Options::new(broker.clone());
        if let Some(app) = &self.app {
            options.app = Some(app.id.clone());
            options.app_key = Some(app.key(self.app_key_file.as_deref())?);
        }
        options.thing_password = secret("password", &self.password_file)?;
        options.token = secret("token", &self.token_file)?;
        options.tls = Some(service::tls_config(self.ca.as_deref())?);
        (options.speed, options.wait, options.pushes) = (self.speed, self.wait, !self.without_pushes);
        Ok(options)
    }

    async fn serve(
        &self,
        listen: ListenAddress,
        script: &Script,
        progress: &dyn Fn(usize),
    ) -> Result<Result<Replayed, ReplayError>, Failure> {
        let listener =
            listen.bind("--listen").await?.ok_or_else(|| Failure::usage("--listen needs an address and a port"))?;
        let address = listener
            .local_addr()
            .map_err(|error| Failure::other(format_args!("the listener has no address: {error}")))?;
        let mut options = server::Options::default();
        (options.speed, options.wait) = (self.speed, self.wait);
        if let (Some(certificates), Some(key)) = (&self.tls_cert, &self.tls_key) {
            options.tls = Some(server_tls::ServerTls::from_files(certificates, key)?.configs().things);
        }
        eprintln!("thingif: waiting for the client at {address}");
        Ok(server::run(script, listener, &options, progress).await)
    }

    fn report(&self, result: Result<Replayed, ReplayError>) -> Result<(), Failure> {
        match result {
            Ok(done) if self.json => output::json_line(&json!({
                "same": true, "steps": done.steps, "compared": done.compared, "skippedPushes": done.skipped_pushes,
            })),
            Ok(done) => {
                let skipped = match done.skipped_pushes {
                    0 => String::new(),
                    count => format!(", {count} pushes not waited for"),
                };
                output::line(&format!(
                    "as recorded: {} steps, {} messages compared{skipped}",
                    done.steps, done.compared
                ))
            }
            Err(ReplayError::Differs(difference)) => {
                if self.json {
                    output::json_line(&json!({
                        "same": false, "line": difference.line, "link": difference.link, "what": difference.what,
                        "recorded": difference.recorded, "seen": difference.seen,
                    }))?;
                } else {
                    output::line(difference.to_string().trim_end())?;
                }
                Err(Failure::other("the replay is not as it was recorded"))
            }
            Err(error @ ReplayError::Connect(..)) => Err(Failure::new(Exit::CannotConnect, error)),
            Err(error) => Err(Failure::usage(error).advise(
                "See thingif replay --help: --app, --password-file and --token-file give what a capture does not hold.",
            )),
        }
    }
}
