//! The program `thingif`: one file per verb, and the few things that verbs share.
//!
//! Data goes to standard output, everything else to standard error. Exit statuses follow curl: 0 done, 1 anything without
//! a number of its own, 2 usage, 6 name not resolved, 7 cannot connect, 22 status ≥ 400 with `--fail`, 23 standard output
//! is closed, 28 timed out, 35 TLS, 60 certificate, 67 login refused.

mod advertise_arg;
mod app_args;
mod call_failure;
mod connection_lock;
mod credential_file;
mod decode;
mod encode;
mod exec;
mod exit;
mod http1;
mod listen_address;
mod local_ca;
mod local_socket;
mod logging;
mod message;
mod onboard;
mod output;
mod private_file;
mod redaction;
mod request_args;
mod secret_input;
mod server_tls;
mod tls_args;

use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};

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
    67 login refused, 1 anything else.\nLogs: -v, or THINGIF_LOG in the syntax of RUST_LOG, such as thingif::edge=debug."
)]
struct Cli {
    /// Say on standard error what happens; twice for every step.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Encode(encode::Encode),
    Decode(decode::Decode),
}

/// Reads the command line, does what it says, and gives the exit status.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::init(cli.verbose);
    let done = match &cli.verb {
        Verb::Encode(verb) => verb.run(),
        Verb::Decode(verb) => verb.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
