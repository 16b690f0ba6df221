//! Settings: what the environment and a file can say as well as the command line. Each is a flag, so there is one account of what
//! is allowed.

use clap::builder::BoolishValueParser;
use clap::{Arg, Command};

/// The file of settings; the one setting that no file has.
pub(crate) const FILE: &str = "config";

/// Flags that are about this very run, by the verbs that have them: a variable that somebody set once for all runs would surprise.
const OF_ONE_RUN: &[(&str, &[&str])] = &[
    ("app create", &["name"]),
    ("backup", &["to"]),
    ("bridge", &["record"]),
    ("call", &["data", "fail", "include", "record"]),
    ("conformance client", &["exec", "junit", "list", "listen", "scenario"]),
    ("conformance server", &["junit", "list", "scenario", "without"]),
    ("decode", &["secrets", "topic"]),
    ("demo", &["over", "record"]),
    ("doctor", &["disruptive", "onboard", "store"]),
    ("encode", &["data", "from"]),
    ("listen", &["record"]),
    ("man", &["out"]),
    ("onboard", &["record"]),
    ("proxy", &["record"]),
    ("record", &["from-pcap", "note", "port", "secrets", "source", "ws-port"]),
    ("replay", &["machine", "without-pushes"]),
    ("serve", &["record"]),
    ("thing create", &["type"]),
    ("thing send", &["no-wait", "title", "traits"]),
];

/// The environment variable of `--flag`.
pub(crate) fn variable(flag: &str) -> String {
    format!("THINGIF_{}", flag.to_ascii_uppercase().replace('-', "_"))
}

/// Whether a file may say it.
pub(crate) fn is_in_files(flag: &Arg) -> bool {
    // Trusting anybody is said each time.
    let is_said_each_time =
        matches!(flag.get_long(), None | Some("help" | "version" | "danger-accept-any-certificate"));
    !is_said_each_time && !flag.is_global_set() && !flag.is_exclusive_set() && !flag.is_hide_set()
}

/// Whether the environment may say it. `verb` is the path of verbs, such as `app create`.
pub(crate) fn is_in_environment(verb: &str, flag: &Arg) -> bool {
    let Some(name) = flag.get_long() else { return false };
    let is_of_one_run = OF_ONE_RUN.iter().any(|(of, flags)| *of == verb && flags.contains(&name));
    name == FILE || (is_in_files(flag) && !is_of_one_run)
}

/// `command` with the variables of those of its settings that are `wanted`, which is given the path of verbs and the flag.
pub(crate) fn with_variables(command: Command, wanted: &dyn Fn(&str, &Arg) -> bool) -> Command {
    below(command, "", wanted)
}

fn below(command: Command, verb: &str, wanted: &dyn Fn(&str, &Arg) -> bool) -> Command {
    let named = |flag: Arg| match flag.get_long().map(variable) {
        Some(name) if is_in_environment(verb, &flag) && wanted(verb, &flag) => with_variable(flag, name),
        _ => flag,
    };
    command.mut_args(named).mut_subcommands(|command| {
        let verb = format!("{verb} {}", command.get_name());
        below(command, verb.trim_start(), wanted)
    })
}

fn with_variable(flag: Arg, name: String) -> Arg {
    // Some values are secrets, and help is shown to others.
    let flag = flag.env(name).hide_env_values(true);
    if flag.get_action().takes_values() { flag } else { flag.value_parser(BoolishValueParser::new()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::{Cli, admin, app_args, route_args, thing_args};

    /// Every verb that does something, by its path.
    fn verbs() -> Vec<(String, Command)> {
        fn collect(verb: &str, command: &Command, found: &mut Vec<(String, Command)>) {
            found.push((verb.to_owned(), command.clone()));
            for below in command.get_subcommands() {
                collect(format!("{verb} {}", below.get_name()).trim_start(), below, found);
            }
        }
        let mut found = Vec::new();
        collect("", &with_variables(Cli::command(), &|_, _| true), &mut found);
        found
    }

    #[test]
    fn every_setting_has_the_variable_of_its_name() {
        let mut seen = 0;
        for (verb, command) in verbs() {
            for flag in command.get_arguments() {
                let Some(name) = flag.get_long() else { continue };
                let found = flag.get_env().map(|name| name.to_str().expect("ASCII").to_owned());
                assert_eq!(found, is_in_environment(&verb, flag).then(|| variable(name)), "{verb} --{name}");
                seen += usize::from(found.is_some());
            }
        }
        assert!(seen > 100, "{seen}");
        assert_eq!(variable("max-command-age"), "THINGIF_MAX_COMMAND_AGE");
    }

    #[test]
    fn help_names_the_variables_and_none_of_their_values() {
        let mut command = with_variables(Cli::command(), &|_, _| true);
        let help = command.find_subcommand_mut("listen").expect("there").render_long_help().to_string();
        for name in ["THINGIF_BROKER", "THINGIF_APP", "THINGIF_MAX_COMMAND_AGE"] {
            assert!(help.contains(&format!("[env: {name}]")), "{name}: {help}");
        }
        assert!(!help.contains("THINGIF_DANGER"), "{help}");
    }

    /// What a secret or a program that `listen --exec` runs is told by is no flag's.
    #[test]
    fn no_setting_has_the_variable_of_something_else() {
        let flags: BTreeSet<_> =
            verbs().iter().flat_map(|(_, verb)| verb.get_arguments().filter_map(Arg::get_long).map(variable)).collect();
        for name in [
            app_args::KEY_VARIABLE,
            thing_args::PASSWORD_VARIABLE,
            admin::PASSWORD_VARIABLE,
            route_args::PROXY_PASSWORD_VARIABLE,
            "THINGIF_LOG",
            "THINGIF_APP_ID",
            "THINGIF_THING_ID",
            "THINGIF_COMMAND_ID",
            "THINGIF_ACTIONS",
        ] {
            assert!(!flags.contains(name), "{name}");
        }
    }

    #[test]
    fn flags_of_one_run_are_there() {
        let verbs = verbs();
        for (verb, flags) in OF_ONE_RUN {
            let (_, command) = verbs.iter().find(|(name, _)| name == verb).unwrap_or_else(|| panic!("no {verb}"));
            for flag in *flags {
                assert!(command.get_arguments().any(|known| known.get_long() == Some(flag)), "{verb} --{flag}");
            }
        }
    }
}
