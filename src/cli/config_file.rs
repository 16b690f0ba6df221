//! `thingif serve --config FILE`: the flags of `serve`, written down.
//!
//! A setting has the name of its flag, and is read as if the flag had been given: there is one account of what is allowed. What
//! the command line or the environment says goes before the file.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use toml::{Table, Value};

use crate::cli::exit::Failure;
use crate::cli::request_args::read_input;

const VERB: &str = "serve";
const FLAG: &str = "config";
/// The largest file that is read, in bytes.
const MAX_LEN: u64 = 1024 * 1024;

/// `arguments`, with those of the file that they name, and the file; `None` when they name none, or are wrong anyway.
pub(crate) fn complete(command: &Command, arguments: &[OsString]) -> Result<Option<(Vec<OsString>, PathBuf)>, Failure> {
    let Ok(matches) = command.clone().try_get_matches_from(arguments) else { return Ok(None) };
    let Some((VERB, given)) = matches.subcommand() else { return Ok(None) };
    let Some(file) = given.get_one::<PathBuf>(FLAG) else { return Ok(None) };
    let Some(serve) = command.find_subcommand(VERB) else { return Ok(None) };
    let mut completed = arguments.to_vec();
    completed.extend(flags(serve, given, file)?);
    Ok(Some((completed, file.clone())))
}

fn flags(serve: &Command, given: &ArgMatches, file: &Path) -> Result<Vec<OsString>, Failure> {
    let shown = file.display();
    let mut flags = Vec::new();
    for (name, value) in read(file)? {
        let known = serve.get_arguments().find(|known| known.get_long() == Some(name.as_str()));
        let Some(flag) = known.filter(|_| name != FLAG && name != "help") else {
            return Err(Failure::usage(format_args!("{shown}: there is no setting {name:?}"))
                .advise("Settings have the names of the flags in `thingif serve --help`, without the dashes."));
        };
        // What is given otherwise is not asked for; a default is.
        if matches!(
            given.value_source(flag.get_id().as_str()),
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        ) {
            continue;
        }
        // The value may be a secret: what is wrong with it is said without it.
        let wrong = |expected: &str| Failure::usage(format_args!("{shown}: {name} is not {expected}"));
        let is_repeatable = matches!(flag.get_action(), clap::ArgAction::Append);
        let values = match &value {
            Value::Array(values) if is_repeatable => values.as_slice(),
            Value::Array(_) => return Err(wrong("one value")),
            single => std::slice::from_ref(single),
        };
        for value in values {
            let text = match value {
                Value::Boolean(true) if !flag.get_action().takes_values() => {
                    flags.push(format!("--{name}").into());
                    continue;
                }
                Value::Boolean(false) if !flag.get_action().takes_values() => continue,
                _ if !flag.get_action().takes_values() => return Err(wrong("true or false")),
                Value::String(text) => text.clone(),
                Value::Integer(number) => number.to_string(),
                Value::Float(number) => number.to_string(),
                _ => return Err(wrong("a text or a number")),
            };
            flags.push(format!("--{name}={text}").into());
        }
    }
    Ok(flags)
}

fn read(file: &Path) -> Result<Table, Failure> {
    let shown = file.display().to_string();
    let bytes = read_input(&shown, File::open(file), MAX_LEN)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::usage(format_args!("{shown} is not text")))?;
    text.parse().map_err(|error: toml::de::Error| {
        // Not the error's own text: that shows the line, in which there may be a key.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        Failure::usage(format_args!("{shown} line {}: {}", before.matches('\n').count() + 1, error.message()))
            .advise("It is TOML: name = \"text\", name = 1, name = [\"several\", \"texts\"].")
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn completed(text: &str, more: &[&str]) -> Result<Vec<String>, Failure> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        let mut arguments: Vec<OsString> = ["thingif", "serve", "--config"].map(OsString::from).to_vec();
        arguments.push(file.path().into());
        arguments.extend(more.iter().map(OsString::from));
        let (completed, _) = complete(&Cli::command(), &arguments)?.expect("names a file");
        Ok(completed[arguments.len()..].iter().map(|flag| flag.to_str().expect("text").to_owned()).collect())
    }

    #[test]
    fn settings_are_flags_and_the_command_line_goes_before_them() {
        let text = "app = [\"a:1\", \"b:2\"]\nhttp = \"off\"\nmqtt = 1884\nendpoint-preparation = 0.25\n";
        let mut flags = completed(text, &[]).expect("read");
        flags.sort();
        assert_eq!(flags, ["--app=a:1", "--app=b:2", "--endpoint-preparation=0.25", "--http=off", "--mqtt=1884"]);
        assert_eq!(completed("http = \"off\"\nmqtt = 1884\n", &["--http", "0"]).expect("read"), ["--mqtt=1884"]);
    }

    #[test]
    fn what_is_wrong_is_named_and_no_value_is_shown() {
        for (text, said) in [
            ("htp = \"off\"", "there is no setting \"htp\""),
            ("config = \"x\"", "there is no setting \"config\""),
            ("http = [\"hunter2\"]", "http is not one value"),
            ("app = [[\"hunter2\"]]", "app is not a text or a number"),
            ("name-push-target = 1", "name-push-target is not true or false"),
            ("http = true", "http is not a text or a number"),
            ("http = \"off\"\napp = \"hunter2", "line 2: "),
            ("http = off", "line 1: "),
        ] {
            let error = completed(text, &[]).expect_err(text).to_string();
            assert!(error.contains(said) && !error.contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn the_example_names_every_setting() {
        let example = include_str!("../../contrib/thingif.toml");
        let command = Cli::command();
        let serve = command.find_subcommand(VERB).expect("there");
        let named = |name: &str| {
            example
                .lines()
                .any(|line| line.trim_start_matches("# ").split_once(" = ").is_some_and(|(key, _)| key == name))
        };
        for name in serve.get_arguments().filter_map(clap::Arg::get_long) {
            let is_setting = !matches!(name, FLAG | "help" | "verbose" | "version");
            assert_eq!(named(name), is_setting, "{name}");
        }
        // Commented or not, every line of it can be read.
        let all: String = example
            .lines()
            .filter(|line| line.contains(" = "))
            .map(|line| line.trim_start_matches("# ").to_owned() + "\n")
            .collect();
        let flags = completed(&all, &[]).expect("read");
        let mut arguments = vec![OsString::from("thingif"), OsString::from("serve")];
        arguments.extend(flags.into_iter().map(OsString::from));
        command.try_get_matches_from(arguments).expect("as the flags are");
    }
}
