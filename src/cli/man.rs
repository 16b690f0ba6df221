//! `thingif man`: the manual pages, out of the same account of flags as `--help`.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::roff::{Roff, roman};

use crate::cli::exit::Failure;
use crate::cli::{Cli, output, settings};

/// Print a manual page, or write all of them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif man listen | man -l -
  thingif man thing send | man -l -
  thingif man --out ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// The verb, such as: app create. Default: the page of the whole program.
    #[arg(value_name = "VERB", conflicts_with = "out")]
    verb: Vec<String>,
    /// Write every page into this directory, which is made if need be: thingif.1, thingif-serve.1, ….
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let pages = pages();
        if let Some(directory) = &self.out {
            return write(&pages, directory);
        }
        let name = std::iter::once("thingif").chain(self.verb.iter().map(String::as_str)).collect::<Vec<_>>().join("-");
        let page = pages.into_iter().find(|page| page.get_display_name() == Some(&name));
        let Some(page) = page else {
            return Err(Failure::usage(format_args!("there is no verb {:?}", self.verb.join(" ")))
                .advise("`thingif --help` lists them."));
        };
        output::bytes(&render(page).map_err(|error| Failure::other(format_args!("cannot write the page: {error}")))?)
    }
}

/// The program and each verb of it, complete for itself.
fn pages() -> Vec<Command> {
    fn collect(command: &Command, found: &mut Vec<Command>) {
        // `help` has no page: each verb has its own.
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        found.push(command.clone().display_name(name));
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            collect(below, found);
        }
    }
    let mut program = settings::with_variables(Cli::command(), &|_, _| true).disable_help_subcommand(true);
    program.build();
    let mut found = Vec::new();
    collect(&program, &mut found);
    found
}

fn write(pages: &[Command], directory: &Path) -> Result<(), Failure> {
    let failed =
        |what: &Path, error: io::Error| Failure::other(format_args!("cannot write {}: {error}", what.display()));
    std::fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    for page in pages {
        let file = directory.join(format!("{}.1", page.get_display_name().unwrap_or_default()));
        render(page.clone()).and_then(|text| std::fs::write(&file, text)).map_err(|error| failed(&file, error))?;
    }
    eprintln!("thingif: {} pages are in {}", pages.len(), directory.display());
    Ok(())
}

fn render(command: Command) -> io::Result<Vec<u8>> {
    let examples = command.get_after_help().map(ToString::to_string);
    let has_verbs = command.has_subcommands();
    let page = clap_mangen::Man::new(command)
        .source(concat!("thingif ", env!("CARGO_PKG_VERSION")))
        .manual("Thing-IF over MQTT");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if has_verbs {
        page.render_subcommands_section(&mut text)?;
    }
    // Lines as they are: filled, a command line would be none.
    if let Some(examples) = examples {
        let mut roff = Roff::new();
        match examples.strip_prefix("Examples:\n") {
            Some(lines) => roff.control("SH", ["EXAMPLES"]).control("nf", []).text([roman(lines)]).control("fi", []),
            None => roff.control("SH", ["NOTES"]).text([roman(examples)]),
        };
        roff.to_writer(&mut text)?;
    }
    Ok(portable(&String::from_utf8_lossy(&text)).into_bytes())
}

/// roff's own input is ASCII; everything else has names.
fn portable(text: &str) -> String {
    let mut portable = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_ascii() {
            true => portable.push(c),
            false => portable.push_str(&format!("\\[u{:04X}]", u32::from(c))),
        }
    }
    portable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_with_its_flags_variables_and_examples() {
        let pages = pages();
        let names: Vec<_> = pages.iter().filter_map(Command::get_display_name).collect();
        assert!(
            ["thingif", "thingif-serve", "thingif-app-create"].iter().all(|page| names.contains(page)),
            "{names:?}"
        );
        for verb in Cli::command().get_subcommands() {
            let name = format!("thingif-{}", verb.get_name());
            let page = pages.iter().find(|page| page.get_display_name() == Some(&name)).expect("a page");
            let text = String::from_utf8(render(page.clone()).expect("rendered")).expect("text");
            assert!(text.contains(".SH EXAMPLES"), "{name}");
            for flag in verb.get_arguments().filter(|flag| !flag.is_hide_set()).filter_map(clap::Arg::get_long) {
                assert!(text.contains(&flag.replace('-', "\\-")), "{name}: --{flag}");
            }
        }
        let serve = pages.iter().find(|page| page.get_display_name() == Some("thingif-serve")).expect("a page");
        let text = String::from_utf8(render(serve.clone()).expect("rendered")).expect("text");
        assert!(text.contains("THINGIF_MAX_CONNECTIONS") && text.contains("--config".replace('-', "\\-").as_str()));
    }
}
