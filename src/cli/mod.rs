//! The command line: one file for each verb, the exit status in `status`.
//!
//! May use every room. `collect` finds scenarios, `choose` takes those that are wanted, `terminal` knows who reads, `output` writes, `usage` says what is wrong
//! with a command line. Start reading at [`main`], and for a run at `run`.

mod agent;
mod capture;
mod check;
mod choose;
mod collect;
mod completions;
mod doctor;
mod help;
mod import;
mod init;
mod inspect;
mod man;
mod merge;
mod output;
mod plan;
mod predictions;
mod profile;
mod reports;
mod review;
mod rewrite;
mod run;
mod schema;
mod shell;
mod status;
mod terminal;
mod usage;
mod varying;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::Output;
use status::Status;
use terminal::{Colour, Terminal};

use crate::process::signals::let_writes_fail;

const EXAMPLES: &str = "\
Examples:
  restage run scenarios                        run every scenario below a folder
  restage run appflow.toml --report-json -     one scenario, the result as JSON
  restage check scenarios                      are they valid? Needs no privilege, sends nothing

Exit status:
  0  every expectation met
  1  an expectation was not met
  2  usage, or a scenario or capture that can't be used
  3  a precondition is not met, or a permission is missing
  4  the system failed while running, or the run was interrupted
  With several scenarios, the highest status is returned.";

/// Replay a packet capture against your receiver, and learn which packets were lost, where, and why.
#[derive(Debug, Parser)]
#[command(
    name = "restage",
    version,
    after_help = EXAMPLES,
    arg_required_else_help = true,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs",
    disable_help_subcommand = true,
    max_term_width = 100
)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
    /// Colours: auto (on a terminal, unless `NO_COLOR` is set), always, or never.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, hide_possible_values = true, global = true)]
    color: Colour,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(Box<run::Arguments>),
    Check(check::Arguments),
    Plan(plan::Arguments),
    Rewrite(rewrite::Arguments),
    Inspect(inspect::Arguments),
    Doctor(doctor::Arguments),
    Merge(merge::Arguments),
    Schema(schema::Arguments),
    // Beside `run`: what newcomers need first.
    #[command(display_order = 0)]
    Try(init::TryArguments),
    #[command(display_order = 1)]
    Init(init::InitArguments),
    Review(review::Arguments),
    Shell(shell::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
    Import(import::Arguments),
    Capture(capture::Arguments),
    Watch(watch::Arguments),
    Agent(agent::Arguments),
    Help(help::Arguments),
}

/// Does what the command line says. `arguments`: the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let_writes_fail();
    let arguments: Vec<_> = arguments.into_iter().collect();
    let arguments = match profile::apply(&arguments) {
        Ok(arguments) => arguments,
        Err(failure) => {
            Output::stderr(&Terminal::new(usage::colour(&arguments))).problems(&failure.problems);
            return Status::from(failure.kind).into();
        }
    };
    let status = match CommandLine::try_parse_from(&arguments) {
        Ok(line) => dispatch(&line),
        Err(error) => usage::answer(&error, &Terminal::new(usage::colour(&arguments))),
    };
    status.into()
}

fn dispatch(line: &CommandLine) -> Status {
    let terminal = Terminal::new(line.color);
    let done = match &line.verb {
        Verb::Run(arguments) => run::run(arguments, &terminal),
        Verb::Check(arguments) => check::check(arguments, &terminal),
        Verb::Plan(arguments) => plan::plan(arguments, &terminal),
        Verb::Rewrite(arguments) => rewrite::rewrite(arguments, &terminal),
        Verb::Inspect(arguments) => inspect::inspect(arguments, &terminal),
        Verb::Doctor(arguments) => doctor::doctor(arguments, &terminal),
        Verb::Merge(arguments) => merge::merge(arguments, &terminal),
        Verb::Schema(arguments) => Ok(schema::schema(arguments, &terminal)),
        Verb::Try(arguments) => init::try_capture(arguments, &terminal),
        Verb::Shell(arguments) => shell::shell(arguments, &terminal),
        Verb::Review(arguments) => review::review(arguments, &terminal),
        Verb::Init(arguments) => init::init(arguments, &terminal),
        Verb::Completions(arguments) => Ok(completions::completions(arguments, &terminal)),
        Verb::Man(arguments) => man::man(arguments, &terminal),
        Verb::Import(arguments) => import::import(arguments, &terminal),
        Verb::Capture(arguments) => capture::capture(arguments, &terminal),
        Verb::Watch(arguments) => watch::watch(arguments, &terminal),
        Verb::Agent(agent::Arguments {}) => Ok(agent::agent()),
        Verb::Help(arguments) => help::help(arguments, &terminal),
    };
    done.unwrap_or_else(|failure| {
        Output::stderr(&terminal).problems(&failure.problems);
        failure.kind.into()
    })
}

#[cfg(test)]
#[path = "../../tests/unit/reference.rs"]
mod reference;
