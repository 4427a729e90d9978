//! `restage schema`: the JSON schemas of what restage reads and writes.

use super::output::Output;
use super::status::Status;
use super::terminal::Terminal;
use crate::schema;

const EXAMPLES: &str = "\
Example:
  restage schema scenario > scenario.schema.json

With `#:schema scenario.schema.json` as a scenario's first line an editor completes its words.";

/// Print the JSON schema of a scenario, of the JSON report, of the events of `run --message-format json`, or of what another verb prints with `--json`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Of what.
    #[arg(default_value = "scenario", value_parser = names())]
    of: String,
}

fn names() -> clap::builder::PossibleValuesParser {
    schema::ALL.map(|(name, _)| name).into()
}

/// Prints one schema.
pub(super) fn schema(arguments: &Arguments, terminal: &Terminal) -> Status {
    let mut stdout = Output::stdout(terminal);
    for (_, schema) in schema::ALL.iter().filter(|(name, _)| *name == arguments.of) {
        stdout.write(&format!("{:#}\n", schema()));
    }
    stdout.status()
}
