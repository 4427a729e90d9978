//! `restage completions`: for the user's shell.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::output::Output;
use super::status::Status;
use super::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  restage completions bash > ~/.local/share/bash-completion/completions/restage
  restage completions zsh > ~/.zfunc/_restage        # with ~/.zfunc in $fpath
  restage completions fish > ~/.config/fish/completions/restage.fish";

/// Print the completions of a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The shell.
    shell: Shell,
}

/// Prints the script.
pub(super) fn completions(arguments: &Arguments, terminal: &Terminal) -> Status {
    let mut script = Vec::new();
    generate(arguments.shell, &mut super::CommandLine::command(), "restage", &mut script);
    let mut stdout = Output::stdout(terminal);
    stdout.write(&String::from_utf8_lossy(&script));
    stdout.status()
}
