//! The command line, completed: a flag goes before the environment, the environment before the file of `--config`, and that before
//! the default.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::cli::config_file::{self, Setting};
use crate::cli::exit::Failure;
use crate::cli::settings;

/// What the command line says, with what it leaves to others. Help, and mistakes of the command line alone, end the process in
/// clap's way.
pub(crate) fn read(command: Command, arguments: Vec<OsString>) -> Result<ArgMatches, Failure> {
    let Some(line) = Line::look_at(&command, &arguments) else {
        return Ok(settings::with_variables(command, &|_, _| true).get_matches_from(arguments));
    };
    let verb = command_of(&command, &line.verb).expect("the line names a verb of the program");
    let file = line.file.clone();
    let mut given: Vec<Arg> = verb.get_arguments().filter(|flag| line.has(flag)).cloned().collect();
    let left = |flag: &Arg, given: &[Arg]| !given.iter().any(|other| exclude(verb, flag, other));
    let is_read = |flag: &Arg| {
        let name = flag.get_long().map(settings::variable).unwrap_or_default();
        std::env::var_os(name).is_some_and(|value| !value.is_empty())
    };
    let variables: Vec<Arg> = verb
        .get_arguments()
        .filter(|flag| settings::is_in_environment(&line.verb, flag) && is_read(flag))
        .filter(|flag| !line.has(flag) && left(flag, &given))
        .cloned()
        .collect();
    given.extend(variables.iter().cloned());
    let mut from_file = Vec::new();
    if let Some(file) = &file {
        for Setting { flag, arguments } in config_file::read(&command, file, &line.verb)? {
            let is_given = given.iter().any(|other| other.get_id() == flag.get_id());
            if !is_given && left(&flag, &given) {
                from_file.extend(arguments);
            }
        }
    }
    let names: Vec<_> = variables.iter().filter_map(Arg::get_long).map(settings::variable).collect();
    let has_others = !names.is_empty() || !from_file.is_empty();
    let mut completed = arguments;
    completed.splice(line.after_verb..line.after_verb, from_file);
    let wanted = |verb: &str, flag: &Arg| {
        if verb == line.verb { variables.iter().any(|read| read.get_id() == flag.get_id()) } else { is_read(flag) }
    };
    // Help shows the names of all: it is not asked for here.
    let matches = settings::with_variables(command.clone(), &wanted).try_get_matches_from(completed);
    matches.map_err(|error| match error.kind() {
        _ if !has_others || !error.use_stderr() => error.exit(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        _ => blame(&error, &names, file.as_deref()),
    })
}

/// A mistake that may be somewhere else than on the command line.
fn blame(error: &clap::Error, variables: &[String], file: Option<&Path>) -> Failure {
    let said = error.to_string();
    let file = file.map(|file| format!("the settings in {}", file.display()));
    let others: Vec<_> = variables.iter().cloned().chain(file).collect();
    Failure::usage(said.trim_start_matches("error: ").trim_end())
        .advise(format_args!("Beside the command line these count as flags: {}.", others.join(", ")))
}

/// What the command line itself says.
struct Line {
    /// The path of verbs, such as `app create`.
    verb: String,
    /// Where its flags may stand among the arguments.
    after_verb: usize,
    file: Option<PathBuf>,
    matches: ArgMatches,
}

impl Line {
    /// `None` when help is asked for, or no verb that does something is named.
    fn look_at(command: &Command, arguments: &[OsString]) -> Option<Self> {
        // Whatever else is wrong is said when everything is there. The variable of the file is read here already.
        let file = |verb: &str, flag: &Arg| {
            verb.is_empty() && flag.get_long() == Some(settings::FILE) && is_set(settings::FILE)
        };
        let lenient = settings::with_variables(command.clone(), &file).ignore_errors(true);
        let matches = lenient.try_get_matches_from(arguments).ok()?;
        let file = matches.get_one::<PathBuf>(settings::FILE).cloned();
        let (mut verb, mut below) = (Vec::new(), matches);
        while let Some((name, matches)) = below.remove_subcommand() {
            (verb, below) = ([verb, vec![name]].concat(), matches);
        }
        let file = file.or_else(|| below.try_get_one::<PathBuf>(settings::FILE).ok().flatten().cloned());
        let after_verb = position_after(&verb, arguments)?;
        let verb = verb.join(" ");
        let is_whole = command_of(command, &verb).is_some_and(|verb| !verb.has_subcommands());
        is_whole.then_some(Self { verb, after_verb, file, matches: below })
    }

    fn has(&self, flag: &Arg) -> bool {
        self.matches.try_contains_id(flag.get_id().as_str()).unwrap_or(false)
            && self.matches.value_source(flag.get_id().as_str()) == Some(ValueSource::CommandLine)
    }
}

fn is_set(flag: &str) -> bool {
    std::env::var_os(settings::variable(flag)).is_some_and(|value| !value.is_empty())
}

/// Where the last of `verbs` ends. Before it there are only flags of every verb, of which one takes a value.
fn position_after(verbs: &[String], arguments: &[OsString]) -> Option<usize> {
    let file: &OsStr = OsStr::new("--config");
    let mut left = verbs.iter();
    let mut next = left.next()?;
    let mut is_value = false;
    for (at, argument) in arguments.iter().enumerate().skip(1) {
        if std::mem::take(&mut is_value) {
            continue;
        }
        if argument == next.as_str() {
            match left.next() {
                Some(below) => next = below,
                None => return Some(at + 1),
            }
        }
        is_value = argument == file;
    }
    None
}

fn command_of<'a>(command: &'a Command, verb: &str) -> Option<&'a Command> {
    verb.split_whitespace().try_fold(command, |command, name| command.find_subcommand(name))
}

/// Whether `flag` cannot stand beside `other`: then whoever gave the other one did not mean this one.
fn exclude(verb: &Command, flag: &Arg, other: &Arg) -> bool {
    let conflict = |one: &Arg, two: &Arg| {
        verb.get_arg_conflicts_with(one).iter().any(|excluded| excluded.get_id() == two.get_id())
    };
    let is_alternative = |group: &clap::ArgGroup| {
        let has = |flag: &Arg| group.get_args().any(|id| id == flag.get_id());
        !group.clone().is_multiple() && has(flag) && has(other)
    };
    flag.get_id() != other.get_id()
        && (other.is_exclusive_set()
            || conflict(flag, other)
            || conflict(other, flag)
            || verb.get_groups().any(is_alternative))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn line(arguments: &[&str]) -> Option<Line> {
        let arguments: Vec<_> =
            std::iter::once("thingif").chain(arguments.iter().copied()).map(OsString::from).collect();
        Line::look_at(&Cli::command(), &arguments)
    }

    #[test]
    fn verbs_are_found_among_flags_and_their_values() {
        for (arguments, verb, after) in [
            (&["serve", "--http", "off"][..], "serve", 2),
            (&["-v", "--config", "serve", "serve"], "serve", 5),
            (&["--config=x", "-vv", "app", "-v", "create", "--name", "create"], "app create", 6),
            (&["call", "GET", "call"], "call", 2),
            (&["onboard", "--unknown", "x"], "onboard", 2),
        ] {
            let line = line(arguments).unwrap_or_else(|| panic!("{arguments:?}"));
            assert_eq!((line.verb.as_str(), line.after_verb), (verb, after), "{arguments:?}");
        }
        for arguments in [&[][..], &["app"], &["serve", "--help"], &["--version"], &["nothing"]] {
            assert!(line(arguments).is_none(), "{arguments:?}");
        }
    }

    #[test]
    fn the_file_is_found_before_and_behind_the_verb() {
        for arguments in [&["--config", "f", "serve"][..], &["serve", "--config", "f"], &["app", "--config=f", "list"]]
        {
            assert_eq!(line(arguments).expect("a line").file, Some(PathBuf::from("f")), "{arguments:?}");
        }
    }

    #[test]
    fn whoever_says_one_thing_does_not_mean_what_it_excludes() {
        let command = Cli::command();
        let verb = command_of(&command, "replay").expect("there");
        let flag = |name: &str| verb.get_arguments().find(|flag| flag.get_long() == Some(name)).expect(name);
        assert!(exclude(verb, flag("broker"), flag("machine")), "one of a group");
        assert!(exclude(verb, flag("app"), flag("machine")));
        assert!(!exclude(verb, flag("app"), flag("broker")));
        let bridge = command_of(&command, "bridge").expect("there");
        let flag = |name: &str| bridge.get_arguments().find(|flag| flag.get_long() == Some(name)).expect(name);
        assert!(exclude(bridge, flag("upstream"), flag("hash-password")));
    }
}
