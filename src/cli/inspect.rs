//! `restage inspect`: what is in a capture.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::output::Output;
use super::run::a_number;
use super::status::Status;
use super::terminal::Terminal;
use crate::capture::Reader;
use crate::diagnostic::{Diagnostic, Result};
use crate::file::{Claim, Claims};
use crate::inspect::inspect as inspect_capture;
use crate::report::inspection;

const EXAMPLES: &str = "\
Examples:
  restage inspect appflow.pcapng
  restage inspect appflow.pcapng --json | jq '.conversations[0]'
  tcpdump -i eth0 -c 1000 -w - | restage inspect -

Of a damaged capture what can be read is shown; then the exit status is 2.";

/// Show what is in a capture: endpoints, conversations, ports, times, checksums, what is odd.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The capture, compressed or not; `-` is standard input.
    capture: PathBuf,
    /// Print JSON, with every row.
    #[arg(long)]
    json: bool,
    /// How many rows of a table are shown.
    #[arg(long, value_name = "N", default_value = "10", value_parser = a_number)]
    top: NonZeroUsize,
}

/// Prints what one pass finds, also if it ends early.
pub(super) fn inspect(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    let (mut stdout, mut stderr) = (Output::stdout(terminal), Output::stderr(terminal));
    Claims::new(vec![Claim::new(&arguments.capture, "the capture")])?;
    let (found, failure) = inspect_capture(&mut Reader::open(&arguments.capture)?);
    if arguments.json {
        stdout.json(&found)?;
    } else {
        stdout.write(&inspection::text(&found, arguments.top.get(), stdout.look()));
        let notes = found.notes.iter().map(|note| Diagnostic::note(&note.what).why(&note.why).fix(&note.fix));
        let notes: Vec<Diagnostic> = notes.collect();
        if !notes.is_empty() {
            stderr.write("\n");
            stderr.problems(&notes);
        }
    }
    let status = match failure {
        None => Status::Pass,
        Some(failure) => {
            // So that it stands apart from the text before it.
            stderr.write("\n");
            stderr.problems(&failure.problems);
            failure.kind.into()
        }
    };
    Ok(status.max(stdout.status()).max(stderr.status()))
}
