//! The program `thingif`: one file per verb, and the few things that verbs share.
//!
//! Data goes to standard output, everything else to standard error. Exit statuses follow curl: 0 done, 1 anything without
//! a number of its own, 2 usage, 6 name not resolved, 7 cannot connect, 22 status ≥ 400 with `--fail`, 23 standard output
//! is closed, 28 timed out, 35 TLS, 60 certificate, 67 login refused.

mod admin;
mod admin_file;
mod advertise_arg;
mod app;
mod app_args;
mod backup;
mod bridge;
mod call;
mod call_failure;
mod command_line;
mod completions;
mod config_file;
mod conformance;
mod connection_lock;
mod credential_file;
mod credential_vault;
mod decode;
mod decode_capture;
mod demo;
mod doctor;
mod duration_arg;
mod encode;
mod exec;
mod exit;
mod forget;
mod held;
mod http1;
mod limits;
mod listen;
mod listen_address;
mod local_ca;
mod local_socket;
mod logging;
mod login_file;
mod man;
mod message;
mod narrator;
mod onboard;
mod output;
mod owner;
mod progress;
mod proxy;
mod record;
mod relay;
mod replay;
mod request_args;
mod route_args;
mod secret_input;
mod serve;
mod server;
mod server_tls;
mod service;
mod session;
mod settings;
mod signals;
mod table;
mod tap;
mod thing;
mod thing_args;
mod thing_send;
mod tls_probe;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use exit::Failure;

/// The largest file or pipe that `encode` and `decode` read, in bytes.
const MAX_INPUT: u64 = 16 * 1024 * 1024;

/// Thing-IF over MQTT: HTTP requests and answers for devices that have MQTT and no HTTPS.
#[derive(Debug, Parser)]
#[command(
    name = "thingif",
    version,
    max_term_width = 100,
    after_help = "Exit statuses follow curl: 0 done, 2 usage, \
    6 name not resolved, 7 cannot connect, 22 status >= 400 with --fail, 28 timed out, 35 TLS, 60 certificate, \
    67 login refused, 1 anything else.\n\n\
    Settings: a flag goes before its variable, a variable before the file of --config, and that before the default. The variable \
    of --some-flag is THINGIF_SOME_FLAG; [env: …] says which flags have one. An empty one counts as not set; of a flag that \
    may be repeated it is one value. Secrets alone are in THINGIF_APP_KEY, THINGIF_PASSWORD, THINGIF_ADMIN_PASSWORD and \
    THINGIF_PROXY_PASSWORD, or in files.\n\n\
    Logs: -v, or THINGIF_LOG in the syntax of RUST_LOG, such as thingif::edge=debug."
)]
struct Cli {
    /// Say on standard error what happens; twice for every step.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Settings from a TOML file: a table for each verb, in it its flags by their names, without the dashes.
    #[arg(long, global = true, value_name = "FILE")]
    #[allow(dead_code, reason = "read before the other flags are")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Demo(demo::Demo),
    Serve(serve::Serve),
    Bridge(Box<bridge::Bridge>),
    Onboard(onboard::Onboard),
    Call(call::Call),
    Listen(listen::Listen),
    Proxy(proxy::ProxyVerb),
    Forget(forget::Forget),
    App(app::App),
    Admin(admin::Admin),
    User(user::User),
    Thing(thing::Thing),
    Backup(backup::Backup),
    Encode(encode::Encode),
    Decode(decode::Decode),
    Record(record::Record),
    Replay(replay::Replay),
    Doctor(Box<doctor::Doctor>),
    Conformance(conformance::Conformance),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Reads the command line, does what it says, and gives the exit status.
pub fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(failure) => return failure.report(),
    };
    logging::init(cli.verbose);
    let done = match &cli.verb {
        Verb::Demo(verb) => wait_for(verb.run()),
        Verb::Serve(verb) => wait_for(verb.run()),
        Verb::Bridge(verb) => wait_for(verb.run()),
        Verb::Onboard(verb) => wait_for(verb.run()),
        Verb::Call(verb) => wait_for(verb.run(cli.verbose > 0)),
        Verb::Listen(verb) => wait_for(verb.run()),
        Verb::Proxy(verb) => wait_for(verb.run()),
        Verb::Forget(verb) => wait_for(verb.run()),
        Verb::App(verb) => wait_for(verb.run()),
        Verb::Admin(verb) => verb.run(),
        Verb::User(verb) => wait_for(verb.run()),
        Verb::Thing(verb) => wait_for(verb.run()),
        Verb::Backup(verb) => verb.run(),
        Verb::Encode(verb) => verb.run(),
        Verb::Decode(verb) => verb.run(),
        Verb::Record(verb) => wait_for(verb.run()),
        Verb::Replay(verb) => wait_for(verb.run()),
        Verb::Doctor(verb) => wait_for(verb.run()),
        Verb::Conformance(verb) => wait_for(verb.run(cli.verbose > 0)),
        Verb::Completions(verb) => verb.run(),
        Verb::Man(verb) => verb.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// The command line, completed by the environment and the file of settings.
fn parse() -> Result<Cli, Failure> {
    let matches = command_line::read(Cli::command(), std::env::args_os().collect())?;
    Cli::from_arg_matches(&matches).map_err(|error| error.exit())
}

/// Runs a verb that does more than one thing at once.
fn wait_for(verb: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::other(format_args!("cannot start: {error}")))?;
    let done = runtime.block_on(verb);
    // What still blocks, such as a name lookup that was given up, does not hold the end up.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Whatever an example names is there: its verb, and each of its flags.
    #[test]
    fn every_verb_has_examples_and_they_are_true() {
        let program = Cli::command();
        for verb in program.get_subcommands() {
            let name = verb.get_name();
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:\n  "), "{name} has no examples");
            let examples = examples_in(&help);
            assert!(examples.iter().any(|example| example.starts_with(name)), "{name}: {help}");
            examples.iter().for_each(|example| check(&program, example));
        }
    }

    #[test]
    fn the_manual_names_only_what_is_there() {
        let program = Cli::command();
        let mut seen = 0;
        for chapter in [
            include_str!("../manual/bridging.md"),
            include_str!("../manual/capturing.md"),
            include_str!("../manual/conformance.md"),
            include_str!("../manual/device.md"),
            include_str!("../manual/server.md"),
            include_str!("../manual/shell.md"),
        ] {
            let lines: Vec<_> = chapter.lines().filter(|line| line.starts_with("thingif ")).collect();
            seen += lines.len();
            lines.iter().for_each(|line| check(&program, line.trim_start_matches("thingif ")));
        }
        assert!(seen >= 20, "{seen}");
    }

    /// What stands behind `thingif` in each line of `text`.
    fn examples_in(text: &str) -> Vec<String> {
        let lines = text.replace("\\\n", " ");
        lines.lines().filter_map(|line| line.split_once("thingif ")).map(|(_, example)| example.to_owned()).collect()
    }

    fn check(program: &clap::Command, example: &str) {
        // What stands behind a pipe or a comment is something else's.
        let own = example.split(['|', '#']).next().unwrap_or_default();
        let mut words = own.split_whitespace();
        let mut command =
            program.find_subcommand(words.next().unwrap_or_default()).unwrap_or_else(|| panic!("{example}"));
        for word in words {
            match word.strip_prefix("--") {
                Some(flag) => {
                    let known = command
                        .get_arguments()
                        .chain(program.get_arguments())
                        .any(|argument| argument.get_long() == Some(flag));
                    assert!(known, "--{flag} in {example}");
                }
                None => command = command.find_subcommand(word).unwrap_or(command),
            }
        }
    }
}
