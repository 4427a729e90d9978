//! `restage rewrite`: write the rewritten capture, without sending anything.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::output::Output;
use super::status::Status;
use super::terminal::Terminal;
use super::varying::Varying;
use crate::api::{Rewritten, rewrite_capture};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::figures::{count, thousands};
use crate::file::descriptor;
use crate::process::signals::leave_no_unfinished_file;

const EXAMPLES: &str = "\
Examples:
  restage rewrite appflow.toml -o rewritten.pcapng
  restage rewrite appflow.toml -o - | tcpdump -nr -";

/// Write the rewritten capture of a scenario.
///
/// Needs only [capture] and [rewrite]. Nothing is sent. What each entry did is said on standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The scenario; `-` is standard input.
    scenario: PathBuf,
    #[command(flatten)]
    varying: Varying,
    /// The file to write, .pcap or .pcapng, each also with .gz or .zst; `-` is standard output, in the format of the input.
    #[arg(long, short, value_name = "OUT")]
    output: PathBuf,
    /// Print what each entry did as JSON, on standard output.
    #[arg(long)]
    json: bool,
}

/// Rewrites one capture.
pub(super) fn rewrite(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    let to_stdout = arguments.output.as_os_str() == "-" || descriptor(&arguments.output) == Some(1);
    if to_stdout && arguments.json {
        return Err(Failure::invalid(
            Diagnostic::error("`--json` and `--output -` exclude each other")
                .why("both are written to standard output")
                .fix("write the capture to a file"),
        ));
    }
    let scenario = arguments.varying.one(&arguments.scenario)?;
    leave_no_unfinished_file()?;
    let output = if to_stdout { Path::new("/dev/stdout") } else { &arguments.output };
    let Rewritten { summary, counts, notes } = rewrite_capture(&scenario, output)?;
    if arguments.json {
        let mut stdout = Output::stdout(terminal);
        stdout.json(&summary)?;
        return Ok(stdout.status());
    }
    let mut text = String::new();
    for line in summary.rewrite.lines() {
        let _infallible = writeln!(text, "{line}");
    }
    let _infallible = match summary.written.checked_sub(summary.captured).filter(|made| *made > 0) {
        None => write!(text, "{} of {} written", thousands(summary.written), count(summary.read, "frame")),
        Some(_) => write!(
            text,
            "{} written, {} of {} of them captured",
            count(summary.written, "frame"),
            thousands(summary.captured),
            thousands(summary.read)
        ),
    };
    for (frames, why) in counts.skipped() {
        let _infallible = write!(text, ", {} skipped: {why}", thousands(frames));
    }
    text.push('\n');
    let mut stderr = Output::stderr(terminal);
    stderr.write(&text);
    stderr.problems(&notes);
    Ok(stderr.status())
}
