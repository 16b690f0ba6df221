//! `thingif conformance`: grade a client or a service.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use comfy_table::{Row, Table};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::app_args::{AppArg, KEY_VARIABLE};
use crate::cli::exit::{Exit, Failure};
use crate::cli::listen_address::ListenAddress;
use crate::cli::secret_input::Unquoted;
use crate::cli::signals::Signals;
use crate::cli::{output, table};
use crate::conformance::{self, ClientRun, End, InvalidPack, Outcome, Scenarios, ServerRun, Verdict};
use crate::mqtt::{Endpoint, Scheme};

/// Grade a client or a service of Thing-IF over MQTT.
///
/// What is graded, scenario by scenario, is in files that any language can read; their format, and what a client must do to
/// be graded, is in the documentation (thingif::conformance::format). The exit status is 1 when a scenario failed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif conformance client --exec ./device --junit report.xml
  thingif conformance server --broker mqtt://127.0.0.1 --app demo:k1")]
pub(crate) struct Conformance {
    #[command(subcommand)]
    end: Graded,
}

#[derive(Debug, Subcommand)]
enum Graded {
    Client(Client),
    Server(Server),
}

/// Play the service, misbehave as scripted, and grade what a client does.
///
/// With --exec the client is run for each scenario, told in THINGIF_BROKER, THINGIF_APP_ID, THINGIF_APP_KEY, THINGIF_THING and
/// THINGIF_PASSWORD where to connect and as whom, and on standard input what to call. Without it whoever connects is graded, in
/// the scenarios that need no calls, one after the other.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif conformance client --list
  thingif conformance client --exec 'python3 device.py' --junit report.xml
  thingif conformance client --exec ./device --scenario answers-out-of-order -v
  thingif conformance client --listen 0.0.0.0:1883 --advertise 192.0.2.7     # then start the client by hand")]
struct Client {
    /// Where to listen; with --exec each scenario takes a port of its own there.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: ListenAddress,
    /// The host that the assigned broker is announced with. Default: that of --listen.
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
    /// Run this with sh for each scenario: the client to be graded.
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// Scenarios at once, with --exec.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    #[command(flatten)]
    usual: Usual,
}

/// Play devices and grade what a service does.
///
/// Things are made in the application: their names begin with conformance- and a number, new for each run. Nothing is deleted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif conformance server --list
  thingif serve --app demo:k1 --app other:k2 &
  thingif conformance server --broker mqtt://127.0.0.1 --app demo:k1 --second-app other:k2 --junit report.xml")]
struct Server {
    /// The default broker: mqtt://HOST, and :PORT where it is not 1883. Only over TCP: a service that has TLS alone is graded
    /// through a program that takes TLS off, such as socat or stunnel, if it tells its things to come back to that.
    #[arg(long, value_name = "URL", required_unless_present = "list")]
    broker: Option<Endpoint>,
    /// The application. Without :KEY its key comes from --app-key-file or THINGIF_APP_KEY.
    #[arg(long, value_name = "ID[:KEY]", value_parser = Unquoted::<AppArg>::default(), required_unless_present = "list")]
    app: Option<AppArg>,
    /// The key of --app, from a file or from standard input (-).
    #[arg(long, value_name = "FILE")]
    app_key_file: Option<PathBuf>,
    /// Another application, for the scenarios in which one must not see the other.
    #[arg(long, value_name = "ID:KEY", value_parser = Unquoted::<AppArg>::default())]
    second_app: Option<AppArg>,
    /// Skip the scenarios that need this: own-commands, of a thing to itself; may be repeated.
    #[arg(long, value_name = "NEED")]
    without: Vec<String>,
    /// Scenarios at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    #[command(flatten)]
    usual: Usual,
}

/// What both ends have.
#[derive(Debug, Args)]
struct Usual {
    /// Only this scenario; may be repeated.
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Scenarios from the files *.json of this directory instead of those that come with the program.
    #[arg(long, value_name = "DIR")]
    scenarios: Option<PathBuf>,
    /// Say which scenarios there are, and do nothing.
    #[arg(long)]
    list: bool,
    /// Wait this many times as long, on machines that are slow.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = read_factor)]
    patience: f64,
    /// Write the results as JUnit's XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// One JSON object a line, each as soon as its scenario has ended, for programs.
    #[arg(long)]
    json: bool,
}

fn read_factor(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|factor| (0.1..=100.0).contains(factor)).ok_or_else(|| String::from("expected 0.1 to 100"))
}

impl From<InvalidPack> for Failure {
    fn from(error: InvalidPack) -> Self {
        Failure::usage(error).advise("--list says which scenarios there are.")
    }
}

impl Conformance {
    pub(crate) async fn run(&self, is_verbose: bool) -> Result<(), Failure> {
        match &self.end {
            Graded::Client(client) => client.run(is_verbose).await,
            Graded::Server(server) => server.run().await,
        }
    }
}

impl Client {
    async fn run(&self, is_verbose: bool) -> Result<(), Failure> {
        let Some(scenarios) = self.usual.scenarios(End::Client)? else { return Ok(()) };
        let Some(listener) = self.listen.bind("--listen").await? else {
            return Err(Failure::usage("--listen cannot be off"));
        };
        let listen = listener.local_addr().map_err(Failure::other)?;
        let mut run = ClientRun::new(listen.ip());
        if let Some(host) = &self.advertise {
            run.advertise.clone_from(host);
        }
        run.exec.clone_from(&self.exec);
        run.jobs = self.jobs.into();
        run.patience = self.usual.patience;
        run.shows_errors = is_verbose;
        if self.exec.is_none() {
            eprintln!(
                "Start the client against {listen}: app {}, key {}, thing {}, password {}; and again when it ends.",
                conformance::APP_ID,
                conformance::APP_KEY,
                conformance::THING,
                conformance::PASSWORD
            );
        }
        let mut signals = Signals::install()?;
        let progress = progress(scenarios.scenarios.len());
        let mut told = Ok(());
        let tell = |outcome: &Outcome| {
            step(&progress, outcome);
            if self.exec.is_none() {
                eprintln!("{}: {}", outcome.scenario, word(&outcome.verdict));
            }
            self.usual.tell(outcome, &mut told);
        };
        let outcomes = tokio::select! {
            outcomes = run.grade(listener, scenarios, tell) => outcomes,
            // What is dropped with the run is killed; left to itself, a client that hangs would outlive us.
            () = signals.until_stop(|| {}) => return Err(Failure::other("stopped")),
        };
        progress.finish_and_clear();
        told?;
        self.usual.report(End::Client, &outcomes.map_err(Failure::other)?)
    }
}

impl Server {
    async fn run(&self) -> Result<(), Failure> {
        let Some(scenarios) = self.usual.scenarios(End::Server)? else { return Ok(()) };
        let is_needed = |need: &String| scenarios.scenarios.iter().any(|scenario| scenario.needs.contains(need));
        if self.usual.scenario.is_empty()
            && let Some(unknown) = self.without.iter().find(|need| !is_needed(need))
        {
            return Err(
                Failure::usage(format_args!("no scenario needs {unknown}")).advise("--list says what scenarios need.")
            );
        }
        let (Some(broker), Some(app)) = (&self.broker, &self.app) else {
            return Err(Failure::usage("--broker and --app say what is graded"));
        };
        if broker.scheme != Scheme::Mqtt {
            return Err(Failure::usage(
                "--broker must be mqtt://: a service is graded over TCP alone, without TLS and WebSocket",
            )
            .advise("Grade its TCP listener, or let a program such as socat or stunnel take TLS off before it."));
        }
        let key = app.key(self.app_key_file.as_deref())?;
        let prefix = format!("conformance-{:08x}", fastrand::Rng::with_seed(random()?).u32(..));
        let mut run = ServerRun::new(resolve(broker).await?, (app.id.clone(), key), prefix);
        run.second_app = match &self.second_app {
            Some(app) => Some((
                app.id.clone(),
                app.own_key().ok_or_else(|| {
                    Failure::usage("--second-app needs its key")
                        .advise(format_args!("{KEY_VARIABLE} is that of --app."))
                })?,
            )),
            None => None,
        };
        run.without.clone_from(&self.without);
        run.jobs = self.jobs.into();
        run.patience = self.usual.patience;
        let progress = progress(scenarios.scenarios.len());
        let mut told = Ok(());
        let tell = |outcome: &Outcome| {
            step(&progress, outcome);
            self.usual.tell(outcome, &mut told);
        };
        let outcomes = run.grade(scenarios, tell).await;
        progress.finish_and_clear();
        told?;
        self.usual.report(End::Server, &outcomes.map_err(Failure::other)?)
    }
}

fn random() -> Result<u64, Failure> {
    getrandom::u64().map_err(|error| Failure::other(format_args!("no random numbers: {error}")))
}

async fn resolve(broker: &Endpoint) -> Result<SocketAddr, Failure> {
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::NameNotResolved, format_args!("{} is not resolved: {why}", broker.host))
    };
    let mut addresses = tokio::net::lookup_host(broker.authority()).await.map_err(|error| failed(&error))?;
    addresses.next().ok_or_else(|| failed(&"no address"))
}

/// On standard error, and only where somebody looks at it.
fn progress(scenarios: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(scenarios.try_into().unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn step(progress: &ProgressBar, outcome: &Outcome) {
    progress.set_message(outcome.scenario.clone());
    progress.inc(1);
}

impl Usual {
    /// What is to be played; `None` when it was only to be listed.
    fn scenarios(&self, end: End) -> Result<Option<Scenarios>, Failure> {
        let scenarios = match &self.scenarios {
            Some(directory) => Scenarios::in_directory(end, directory)?,
            None => Scenarios::built_in(end)?,
        };
        let scenarios = scenarios.named(&self.scenario)?;
        if !self.list {
            return Ok(Some(scenarios));
        }
        let rows = conformance::listed(end, &scenarios);
        if self.json {
            rows.iter().try_for_each(output::json_line)?;
            return Ok(None);
        }
        let mut list = table::with_header(["SCENARIO", "WIRE", "NEEDS", "ABOUT"]);
        for row in &rows {
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            let needs: Vec<_> =
                row["needs"].as_array().into_iter().flatten().filter_map(|need| need.as_str()).collect();
            list.add_row([text("scenario"), text("wire"), needs.join(", "), text("about")]);
        }
        output::line(&list.to_string())?;
        Ok(None)
    }

    /// With --json each outcome is a line as soon as it is there. The first failure to write is kept.
    fn tell(&self, outcome: &Outcome, told: &mut Result<(), Failure>) {
        if self.json && told.is_ok() {
            *told = output::json_line(outcome);
        }
    }

    fn report(&self, end: End, outcomes: &[Outcome]) -> Result<(), Failure> {
        if let Some(file) = &self.junit {
            write_junit(file, end, outcomes)?;
        }
        if !self.json {
            output::line(&results(outcomes).to_string())?;
            for outcome in outcomes {
                if let Verdict::Failed(failure) = &outcome.verdict {
                    let failure = failure.to_string().replace('\n', "\n    ");
                    output::line(&format!("\n{}: {}\n    {failure}", outcome.scenario, outcome.about))?;
                }
            }
        }
        let failed = outcomes.iter().filter(|outcome| outcome.has_failed()).count();
        let skipped = outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Skipped { .. })).count();
        eprintln!("{} passed, {failed} failed, {skipped} skipped", outcomes.len() - failed - skipped);
        match failed {
            0 => Ok(()),
            failed => Err(Failure::other(format_args!("{failed} of {} scenarios failed", outcomes.len()))),
        }
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed(_) => "failed",
        Verdict::Skipped { .. } => "skipped",
    }
}

fn results(outcomes: &[Outcome]) -> Table {
    let mut results = table::with_header(["SCENARIO", "VERDICT", "TIME"]);
    for outcome in outcomes {
        let verdict = match &outcome.verdict {
            Verdict::Passed => String::from("passed"),
            Verdict::Failed(failure) => format!("FAILED at step {} (wire {})", failure.step, failure.wire),
            Verdict::Skipped { because } => format!("skipped: {because}"),
        };
        results.add_row(Row::from([outcome.scenario.clone(), verdict, format!("{} ms", outcome.ms)]));
    }
    results
}

fn write_junit(file: &Path, end: End, outcomes: &[Outcome]) -> Result<(), Failure> {
    let text = conformance::to_junit(end, outcomes).map_err(Failure::other)?;
    std::fs::write(file, text).map_err(|error| Failure::other(format_args!("cannot write {}: {error}", file.display())))
}
