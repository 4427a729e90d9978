//! `restage help causes`: every cause of loss, by what it shows and what to do about it; from the table in `cause`.

use clap::CommandFactory;

use super::output::Output;
use super::status::Status;
use super::terminal::Terminal;
use super::usage::nearest;
use crate::cause::{Cause, TABLE};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::report::causes;

/// Explain the causes of loss, one of them by its name, or a verb.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// `causes`, the name of one cause, or a verb.
    #[arg(value_name = "TOPIC")]
    topic: Option<String>,
}

/// Prints a page of the manual.
pub(super) fn help(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    let mut stdout = Output::stdout(terminal);
    let mut command = super::CommandLine::command();
    let text = match arguments.topic.as_deref() {
        None => command.render_help().to_string(),
        Some("causes") => causes::all(stdout.look()),
        Some(topic) => {
            let verb = command.find_subcommand_mut(topic).filter(|verb| !verb.is_hide_set());
            match (Cause::by_name(&topic.to_ascii_uppercase()), verb) {
                (Some(cause), _) => causes::page(cause.row(), stdout.look()),
                (None, Some(verb)) => verb.clone().bin_name(format!("restage {topic}")).render_help().to_string(),
                (None, None) => return Err(no_help(topic, &command)),
            }
        }
    };
    stdout.write(&text);
    Ok(stdout.status())
}

fn no_help(topic: &str, command: &clap::Command) -> Failure {
    let causes = TABLE.iter().map(|row| row.name.to_lowercase());
    let verbs = command.get_subcommands().map(|verb| verb.get_name().to_owned());
    let topics: Vec<String> = causes.chain(verbs).chain(["causes".to_owned()]).collect();
    let near = nearest(topic, &topics.iter().map(String::as_str).collect::<Vec<_>>());
    let near = near
        .map(|near| if Cause::by_name(&near.to_uppercase()).is_some() { near.to_uppercase() } else { near.to_owned() });
    let problem = Diagnostic::error(format!("there is no help on `{topic}`"))
        .why("there is help on `causes`, on each cause by its name, and on each verb");
    Failure::invalid(match near {
        Some(near) => problem.fix(format!("did you mean `restage help {near}`?")),
        None => problem.fix("write `restage help causes`, or `restage --help`"),
    })
}
