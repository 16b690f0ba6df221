//! `thingif completions`: what a shell completes.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::exit::Failure;
use crate::cli::{Cli, output};

/// Print the completions of a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif completions bash > ~/.local/share/bash-completion/completions/thingif
  thingif completions zsh > ~/.zfunc/_thingif        # with fpath+=~/.zfunc before compinit
  thingif completions fish > ~/.config/fish/completions/thingif.fish")]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        output::bytes(&text(self.shell))
    }
}

fn text(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "thingif", &mut text);
    text
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_knows_every_verb() {
        for shell in Shell::value_variants() {
            let text = String::from_utf8(text(*shell)).expect("text");
            for verb in Cli::command().get_subcommands() {
                assert!(text.contains(verb.get_name()), "{shell}: {}", verb.get_name());
                for below in verb.get_subcommands() {
                    assert!(text.contains(below.get_name()), "{shell}: {} {}", verb.get_name(), below.get_name());
                }
            }
        }
    }
}
