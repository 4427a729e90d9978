//! `restage rewrite`: write the rewritten capture, without sending anything.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::entries;
use super::output::Output;
use super::status::Status;
use super::terminal::Terminal;
use crate::capture::Frame;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::figures::{agree, count, thousands};
use crate::file::{Claim, Claims, descriptor};
use crate::plan::{LinkFacts, Selector, behind_tags, group_mac, nothing_selected, pass, rewriter_and_framing, roles};
use crate::process::signals::leave_no_unfinished_file;
use crate::rewrite::{Rewriter, Selected, rewrite_file};
use crate::scenario;
use crate::scenario::rewrite::LinkLayer;
use crate::scenario::topology::Topology;
use crate::testbed::Testbed;

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
    let scenario = scenario::read(&arguments.scenario)?;
    let mut claims = Claims::new(scenario.inputs().into_iter().chain(scenario.snapshot()).collect())?;
    let output = if to_stdout { Path::new("/dev/stdout") } else { &arguments.output };
    if !to_stdout {
        claims.write(vec![Claim::new(output, "--output")])?;
    }
    leave_no_unfinished_file()?;
    // A file has no MTU, and needs the interface only where its MAC is written.
    let is_framed = scenario.rewrite.link_layer == LinkLayer::Ethernet;
    let target = if is_framed || scenario.rewrite.names_sender() { Testbed::facts(&scenario)?.sender } else { None };
    let target = target.map(|facts| LinkFacts { mtu: u32::MAX, ..facts });
    let (rewriter, framing) = match scenario.rewrite.link_layer {
        LinkLayer::Captured => (Rewriter::compile(&scenario.rewrite, &roles(&scenario, target.as_ref()))?, None),
        LinkLayer::Ethernet => {
            rewriter_and_framing(&scenario, target.as_ref()).map(|(rewriter, framing)| (rewriter, Some(framing)))?
        }
    };
    // A file has no MTU, unless the scenario says so.
    let mtu = match &scenario.topology {
        Topology::Lab(lab) => lab.mtu.span.is_some().then_some(lab.mtu.value),
        Topology::Target { .. } => None,
    };
    let mut selector = Selector::new(&scenario, mtu)?.refusing_at_once();
    let mut pass = pass(&scenario, &rewriter, mtu);
    if let Some(framing) = framing {
        (selector, pass) = (selector.framing(framing), pass.framing(framing));
    }
    let mut select =
        |frame: &Frame<'_>| selector.takes(frame).map(|taken| if taken { Selected::Yes } else { Selected::No });
    let summary = rewrite_file(&scenario.capture.files, output, &mut select, &pass, &scenario.source)?;
    let counts = selector.counts;
    if summary.written == 0 {
        return Err(nothing_selected(&scenario, counts, &selector.left_out));
    }
    if arguments.json {
        let mut stdout = Output::stdout(terminal);
        let told = json!({
            "format": 1,
            "name": scenario.name,
            "read": summary.read,
            "written": summary.written,
            "skipped-truncated": counts.skipped_truncated,
            "skipped-oversize": counts.skipped_oversize,
            "skipped-other": counts.skipped_other,
            "rewrite": entries::as_json(&rewriter, &summary.hits),
        });
        stdout.write(&format!("{told:#}\n"));
        return Ok(stdout.status());
    }
    let mut text = String::new();
    for entry in entries::as_lines(&rewriter, &summary.hits) {
        let _infallible = writeln!(text, "{entry}");
    }
    let _infallible = write!(text, "{} of {} written", thousands(summary.written), count(summary.read, "frame"));
    for (frames, why) in counts.skipped() {
        let _infallible = write!(text, ", {} skipped: {why}", thousands(frames));
    }
    text.push('\n');
    let mut stderr = Output::stderr(terminal);
    stderr.write(&text);
    let notes = behind_tags(&scenario, &selector.left_out).into_iter().chain(group_mac(&scenario, &summary.hits));
    stderr.problems(&notes.collect::<Vec<_>>());
    if summary.lost_blocks > 0 {
        stderr.problems(&[Diagnostic::note(format!(
            "{} of the pcapng input {} not in the output",
            count(summary.lost_blocks, "block"),
            agree(summary.lost_blocks, "is", "are")
        ))
        .why("captures that differ in their format or are merged by time are written anew: frames with their comments, no names, keys or statistics")]);
    }
    Ok(stderr.status())
}
