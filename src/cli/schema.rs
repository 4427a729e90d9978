//! `restage schema`: the JSON schemas of what restage reads and writes. They are committed in `schemas/`.

use clap::ValueEnum;
use schemars::schema_for;

use super::output::Output;
use super::status::Status;
use super::terminal::Terminal;
use crate::outcome::{Event, Report};

/// Print the JSON schema of a scenario, of the JSON report, or of a worker's events.
///
/// With `#:schema <path>/scenario.schema.json` as a scenario's first line an editor completes its words.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Of what.
    #[arg(value_enum, default_value_t)]
    of: Document,
}

/// What has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Document {
    /// A scenario file.
    #[default]
    Scenario,
    /// What `run --report-json` writes.
    Report,
    /// One line of what a worker tells `run`.
    Event,
}

/// Prints one schema.
pub(super) fn schema(arguments: &Arguments, terminal: &Terminal) -> Status {
    let mut stdout = Output::stdout(terminal);
    stdout.write(&text(arguments.of));
    stdout.status()
}

fn text(of: Document) -> String {
    let schema = match of {
        Document::Scenario => crate::scenario::schema(),
        Document::Report => schema_for!(Report).to_value(),
        Document::Event => schema_for!(Event).to_value(),
    };
    format!("{schema:#}\n")
}
