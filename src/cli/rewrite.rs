//! `restage rewrite`: write the rewritten capture, without sending anything.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::output::Output;
use super::plan::entries;
use super::status::Status;
use super::terminal::Terminal;
use crate::diagnostic::{Failure, Problem, Result};
use crate::plan::{Selector, roles};
use crate::rewrite::{Output as Destination, Rewriter, Selected, rewrite_file};
use crate::scenario;
use crate::scenario::capture::Truncated;

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
    /// The scenario.
    scenario: PathBuf,
    /// The file to write, .pcap or .pcapng; `-` is standard output, in the format of the input.
    #[arg(long, short, value_name = "OUT")]
    output: PathBuf,
}

/// Rewrites one capture.
pub(super) fn rewrite(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    let scenario = scenario::read(&arguments.scenario)?;
    let capture = &scenario.capture;
    if capture.truncated.value == Truncated::Pad {
        return Err(Failure::invalid(
            Problem::error("`truncated = \"pad\"` makes frames longer, which `restage rewrite` does not do yet")
                .at(&scenario.source, capture.truncated.span.clone())
                .why("frames are padded only while they are replayed")
                .fix("say `truncated = \"send\"` to write them as they are, or \"skip\""),
        ));
    }
    let rewriter = Rewriter::compile(&scenario.rewrite, &roles(&scenario, None))?;
    let mut selector = Selector::new(&scenario)?;
    let destination =
        if arguments.output.as_os_str() == "-" { Destination::Stdout } else { Destination::Path(&arguments.output) };
    let summary = rewrite_file(
        &capture.file.value,
        &destination,
        &mut |frame| selector.takes(frame).map(|taken| if taken { Selected::Yes } else { Selected::No }),
        &rewriter,
        &scenario.source,
    )?;
    let mut text = String::new();
    for entry in entries(&rewriter, &summary.hits) {
        let _infallible = writeln!(text, "{entry}");
    }
    let _infallible = writeln!(text, "{} of {} frames written", summary.written, summary.read);
    let mut stderr = Output::stderr(terminal);
    stderr.write(&text);
    Ok(stderr.status())
}
