//! `restage man`: manual pages, of the program and of each verb.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::output::Output;
use super::status::Status;
use super::terminal::Terminal;
use super::usage::nearest;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::file::Replacement;

const EXAMPLES: &str = "\
Examples:
  restage man run | man -l -
  restage man --folder /usr/local/share/man/man1     all pages";

/// Print a manual page (man(7)), or write all of them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The page of this verb. By default, the program's.
    #[arg(value_name = "VERB")]
    verb: Option<String>,
    /// Write every page to this folder: restage.1, restage-run.1 and so on.
    #[arg(long, value_name = "FOLDER", conflicts_with = "verb")]
    folder: Option<PathBuf>,
}

/// Prints or writes pages.
pub(super) fn man(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    let program = super::CommandLine::command();
    let mut stdout = Output::stdout(terminal);
    if let Some(folder) = &arguments.folder {
        write_all(&program, folder)?;
    } else {
        let page = match &arguments.verb {
            None => page(program, "restage")?,
            Some(verb) => page(of_verb(&program, verb)?, &format!("restage-{verb}"))?,
        };
        stdout.write(&page);
    }
    Ok(stdout.status())
}

fn write_all(program: &Command, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .map_err(|error| Failure::system(format!("can't make `{}`", folder.display()), &error))?;
    Replacement::write(&folder.join("restage.1"), &page(program.clone(), "restage")?)?;
    for verb in shown(program) {
        let name = format!("restage-{}", verb.get_name());
        Replacement::write(&folder.join(format!("{name}.1")), &page(verb.clone(), &name)?)?;
    }
    Ok(())
}

/// The verbs that the help text lists.
fn shown(program: &Command) -> impl Iterator<Item = &Command> {
    program.get_subcommands().filter(|verb| !verb.is_hide_set())
}

fn of_verb(program: &Command, name: &str) -> Result<Command> {
    program.find_subcommand(name).cloned().ok_or_else(|| {
        let verbs: Vec<&str> = shown(program).map(Command::get_name).collect();
        let problem =
            Diagnostic::error(format!("there is no verb `{name}`")).why(format!("the verbs are {}", verbs.join(", ")));
        Failure::invalid(match nearest(name, &verbs) {
            Some(near) => problem.fix(format!("did you mean `restage man {near}`?")),
            None => problem.fix("`restage man` without a verb is the page of the program"),
        })
    })
}

/// A page in the form of man(7).
fn page(command: Command, name: &str) -> Result<String> {
    // `restage run` in the text, `restage-run` as the name of the page.
    let command = command
        .disable_version_flag(name.contains('-'))
        .bin_name(name.replacen('-', " ", 1))
        .version(env!("CARGO_PKG_VERSION"));
    let mut text = Vec::new();
    let man = Man::new(command.display_name(name.to_owned())).title(name.to_uppercase());
    man.render(&mut text).map_err(|error| Failure::system("can't make the manual page", &error))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
