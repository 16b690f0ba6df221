//! `--config FILE`: flags, written down.
//!
//! The file is TOML with a table for each verb, `[serve]` or `[app.create]`. A setting in it has the name of its flag, and is read
//! as if the flag had been given. The whole file is checked, whichever verb runs.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

use clap::{Arg, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::cli::exit::Failure;
use crate::cli::request_args::read_input;
use crate::cli::settings;

/// The largest file that is read, in bytes.
const MAX_LEN: u64 = 1024 * 1024;

/// A setting of the file: the flag that it is, and the arguments that it stands for.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) flag: Arg,
    pub(crate) arguments: Vec<OsString>,
}

/// What `file` says for `verb`, a path of verbs of `command` such as `app create`.
pub(crate) fn read(command: &Command, file: &Path, verb: &str) -> Result<Vec<Setting>, Failure> {
    let shown = file.display().to_string();
    let bytes = read_input(&shown, File::open(file), MAX_LEN)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::usage(format_args!("{shown} is not text")))?;
    let place = Place { shown: &shown, text };
    let table = DeTable::parse(text).map_err(|error| {
        // Not the error's own text: that shows the line, in which there may be a key.
        place
            .wrong(error.span().map_or(0, |span| span.start), error.message())
            .advise("It is TOML: name = \"text\", name = 1, name = [\"several\", \"texts\"].")
    })?;
    let mut reader = Reader { place, wanted: verb, found: Vec::new() };
    reader.table(command, "", table.get_ref())?;
    Ok(reader.found)
}

/// The file, for messages.
#[derive(Clone, Copy)]
struct Place<'a> {
    shown: &'a str,
    text: &'a str,
}

impl Place<'_> {
    fn wrong(self, at: usize, what: impl std::fmt::Display) -> Failure {
        let line = self.text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        Failure::usage(format_args!("{} line {line}: {what}", self.shown))
    }
}

struct Reader<'a> {
    place: Place<'a>,
    wanted: &'a str,
    found: Vec<Setting>,
}

impl Reader<'_> {
    fn table(&mut self, command: &Command, verb: &str, table: &DeTable<'_>) -> Result<(), Failure> {
        for (key, value) in table {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            match (command.find_subcommand(name), value.get_ref()) {
                (Some(below), DeValue::Table(table)) => {
                    self.table(below, format!("{verb} {name}").trim_start(), table)?
                }
                (_, DeValue::Table(_)) => {
                    let verbs: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
                    return Err(self.place.wrong(at, format_args!("there is no verb {name:?}")).advise(format_args!(
                        "A table has the name of a verb{}.",
                        if verbs.is_empty() { String::new() } else { format!(": {}", verbs.join(", ")) }
                    )));
                }
                _ if command.has_subcommands() => {
                    return Err(self
                        .place
                        .wrong(at, format_args!("{name:?} is not in the table of a verb"))
                        .advise("Settings stand below the name of their verb: [serve], [listen], [thing.send]."));
                }
                _ => {
                    let setting = self.setting(command, verb, name, at, value)?;
                    if verb == self.wanted {
                        self.found.push(setting);
                    }
                }
            }
        }
        Ok(())
    }

    fn setting(
        &self,
        command: &Command,
        verb: &str,
        name: &str,
        at: usize,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Setting, Failure> {
        let known = command.get_arguments().find(|known| known.get_long() == Some(name));
        let Some(flag) = known.filter(|flag| settings::is_in_files(flag)) else {
            return Err(self.place.wrong(at, format_args!("there is no setting {name:?} of {verb}")).advise(
                format_args!("Settings have the names of the flags in `thingif {verb} --help`, without the dashes."),
            ));
        };
        // The value may be a secret: what is wrong with it is said without it.
        let wrong = |expected: &str| self.place.wrong(at, format_args!("{name} is not {expected}"));
        let values = match value.get_ref() {
            DeValue::Array(values) if matches!(flag.get_action(), clap::ArgAction::Append) => values.iter().collect(),
            DeValue::Array(_) => return Err(wrong("one value")),
            _ => vec![value],
        };
        let mut arguments = Vec::new();
        for value in values {
            let text = match value.get_ref() {
                DeValue::Boolean(is_on) if !flag.get_action().takes_values() => {
                    arguments.extend(is_on.then(|| OsString::from(format!("--{name}"))));
                    continue;
                }
                _ if !flag.get_action().takes_values() => return Err(wrong("true or false")),
                DeValue::String(text) => text.as_ref(),
                DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
                DeValue::Float(number) => number.as_str(),
                _ => return Err(wrong("a text or a number")),
            };
            arguments.push(format!("--{name}={text}").into());
        }
        Ok(Setting { flag: flag.clone(), arguments })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn completed(text: &str, verb: &str) -> Result<Vec<String>, Failure> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        let found = read(&Cli::command(), file.path(), verb)?;
        let mut flags: Vec<_> = found.into_iter().flat_map(|setting| setting.arguments).collect();
        flags.sort();
        Ok(flags.into_iter().map(|flag| flag.into_string().expect("text")).collect())
    }

    #[test]
    fn settings_are_flags_of_their_verb() {
        let text = "[serve]\napp = [\"a:1\", \"b:2\"]\nhttp = \"off\"\nmqtt = 1884\nendpoint-preparation = 0.25\n\
            any-app-key = true\nname-push-target = false\n[app.create]\nname = \"x\"\n[listen]\nbroker = \"mqtt://h\"\n";
        assert_eq!(
            completed(text, "serve").expect("read"),
            ["--any-app-key", "--app=a:1", "--app=b:2", "--endpoint-preparation=0.25", "--http=off", "--mqtt=1884"]
        );
        assert_eq!(completed(text, "app create").expect("read"), ["--name=x"]);
        assert_eq!(completed(text, "onboard").expect("read"), [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_no_value_is_shown() {
        for (text, said) in [
            ("[serve]\nhtp = \"off\"", "line 2: there is no setting \"htp\" of serve"),
            ("[serve]\nconfig = \"x\"", "line 2: there is no setting \"config\""),
            ("[listen]\ndanger-accept-any-certificate = true", "line 2: there is no setting"),
            ("# first\n[srve]\nhttp = \"off\"", "line 2: there is no verb \"srve\""),
            ("[app.made]\nname = \"x\"", "line 1: there is no verb \"made\""),
            ("http = \"hunter2\"", "line 1: \"http\" is not in the table of a verb"),
            ("[app]\nname = \"hunter2\"", "line 2: \"name\" is not in the table of a verb"),
            ("[serve]\nhttp = [\"hunter2\"]", "line 2: http is not one value"),
            ("[serve]\napp = [[\"hunter2\"]]", "line 2: app is not a text or a number"),
            ("[serve]\nname-push-target = 1", "line 2: name-push-target is not true or false"),
            ("[serve]\nhttp = true", "line 2: http is not a text or a number"),
            ("[serve]\nhttp = \"off\"\napp = \"hunter2", "line 3: "),
            ("[serve]\nhttp = off", "line 2: "),
        ] {
            // Whichever verb runs.
            for verb in ["serve", "decode"] {
                let error = completed(text, verb).expect_err(text).to_string();
                assert!(error.contains(said) && !error.contains("hunter2"), "{text}: {error}");
            }
        }
    }

    #[test]
    fn the_example_names_every_setting_of_serve() {
        let example = include_str!("../../contrib/thingif.toml");
        let command = Cli::command();
        let serve = command.find_subcommand("serve").expect("there");
        let named = |name: &str| {
            example
                .lines()
                .any(|line| line.trim_start_matches("# ").split_once(" = ").is_some_and(|(key, _)| key == name))
        };
        for flag in serve.get_arguments().filter(|flag| flag.get_long().is_some()) {
            let name = flag.get_long().expect("filtered");
            assert_eq!(named(name), settings::is_in_files(flag), "{name}");
        }
        // Commented or not, every line of it can be read.
        let all: String = example
            .lines()
            .filter(|line| line.contains(" = ") || line.starts_with('['))
            .map(|line| line.trim_start_matches("# ").to_owned() + "\n")
            .collect();
        let flags = completed(&all, "serve").expect("read");
        let mut arguments = vec![OsString::from("thingif"), OsString::from("serve")];
        arguments.extend(flags.into_iter().map(OsString::from));
        command.try_get_matches_from(arguments).expect("as the flags are");
    }
}
