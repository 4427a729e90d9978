//! `restage inspect`: what is in a capture.

use std::io::BufWriter;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::output::Output;
use super::run::a_number;
use super::status::Status;
use super::terminal::Terminal;
use crate::capture::Reader;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::file::{Claim, Claims};
use crate::inspect::{as_csv, as_json, inspect as inspect_capture, inspect_flows};
use crate::report::{self, inspection};

const EXAMPLES: &str = "\
Examples:
  restage inspect appflow.pcapng
  restage inspect appflow.pcapng --json | jq '.conversations[0]'
  tcpdump -i eth0 -c 1000 -w - | restage inspect -
  restage inspect netflow.pcap --flows
  restage inspect netflow.pcap --flows=records > records.csv

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
    /// Show what flow exports (NetFlow, IPFIX, sFlow) hold: exporters, templates, records, gaps. `records` prints every record, as CSV, or with
    /// `--json` as lines of JSON.
    #[arg(long, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "summary", value_enum)]
    flows: Option<FlowsOf>,
    /// How many rows of a table are shown.
    #[arg(long, value_name = "N", default_value = "10", value_parser = a_number)]
    top: NonZeroUsize,
}

/// What is shown of flow exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FlowsOf {
    /// Exporters, templates, counts.
    Summary,
    /// Every record.
    Records,
}

/// Prints what one pass finds, also if it ends early.
pub(super) fn inspect(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    let (mut stdout, mut stderr) = (Output::stdout(terminal), Output::stderr(terminal));
    Claims::new(vec![Claim::new(&arguments.capture, "the capture")])?;
    if arguments.flows == Some(FlowsOf::Records) {
        return records(arguments, stdout, stderr);
    }
    let mut reader = Reader::open(&arguments.capture)?;
    let (found, failure) =
        if arguments.flows.is_some() { inspect_flows(&mut reader) } else { inspect_capture(&mut reader) };
    if arguments.json {
        stdout.json(&found)?;
    } else if let Some(flows) = &found.flows {
        stdout.write(&report::flows::text(&found, flows, arguments.top.get(), stdout.look()));
    } else {
        stdout.write(&inspection::text(&found, arguments.top.get(), stdout.look()));
        let notes = found.notes.iter().map(|note| Diagnostic::note(&note.what).why(&note.why).fix(&note.fix));
        let notes: Vec<Diagnostic> = notes.collect();
        if !notes.is_empty() {
            stderr.write("\n");
            stderr.problems(&notes);
        }
    }
    Ok(ended(failure, &stdout, stderr))
}

/// Prints every record of flow exports.
fn records(arguments: &Arguments, mut stdout: Output, stderr: Output) -> Result<Status> {
    let open = || Reader::open(&arguments.capture);
    let written = if arguments.json {
        let mut out = BufWriter::new(&mut stdout);
        as_json(&mut open()?, &mut out)
    } else if is_read_once(&arguments.capture) {
        let problem = Diagnostic::error("records of a pipe can't be written as CSV")
            .why("the columns are the elements that occur, so that the capture is read twice")
            .fix("write it to a file first, or add `--json`");
        return Err(Failure::invalid(problem));
    } else {
        as_csv(&mut open()?, &mut open()?, &mut stdout)
    };
    Ok(ended(written.err(), &stdout, stderr))
}

/// Whether a capture can't be opened again.
fn is_read_once(capture: &Path) -> bool {
    capture == Path::new("-") || !capture.is_file()
}

/// Reports where reading ended early.
fn ended(failure: Option<Failure>, stdout: &Output, mut stderr: Output) -> Status {
    let status = match failure {
        None => Status::Pass,
        Some(failure) => {
            // So that it stands apart from the text before it.
            stderr.write("\n");
            stderr.problems(&failure.problems);
            failure.kind.into()
        }
    };
    status.max(stdout.status()).max(stderr.status())
}
