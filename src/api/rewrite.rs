//! The rewritten capture of a scenario, in a file.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use crate::capture::Frame;
use crate::diagnostic::{Diagnostic, Result};
use crate::figures::{agree, count};
use crate::file::{Claim, Claims};
use crate::outcome::RewriteReport;
use crate::plan::{
    Counts, Facts, LinkFacts, Selector, behind_tags, group_mac, learn_templates, nothing_selected, pass,
    rewrite_report, rewriter_and_framing, roles,
};
use crate::rewrite::{Rewriter, Selected, rewrite_file};
use crate::run::remote;
use crate::scenario::Scenario;
use crate::scenario::rewrite::LinkLayer;
use crate::scenario::topology::Topology;

/// What `Scenario::rewrite` wrote. It serializes as `restage rewrite --json` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RewriteSummary {
    /// The version of this form: 1.
    pub format: u32,
    /// The scenario.
    pub name: String,
    /// Frames in the input.
    pub read: u64,
    /// Frames in the output.
    pub written: u64,
    /// Those of them that the input has, not made by `[rewrite.flows]`.
    pub captured: u64,
    /// Frames that were left out because the snaplen cut them.
    pub skipped_truncated: u64,
    /// Frames that were left out because they are longer than the MTU.
    pub skipped_oversize: u64,
    /// Frames that were left out because they have no Ethernet header and can't be given one.
    pub skipped_other: u64,
    /// What each entry of the maps did.
    pub rewrite: RewriteReport,
}

/// A summary, with what is odd.
pub(crate) struct Rewritten {
    pub(crate) summary: RewriteSummary,
    pub(crate) counts: Counts,
    pub(crate) notes: Vec<Diagnostic>,
}

/// Writes the rewritten capture of `scenario`; `/dev/stdout` is standard output.
pub(crate) fn rewrite_capture(scenario: &Scenario, output: &Path) -> Result<Rewritten> {
    let mut claims = Claims::new(scenario.inputs().into_iter().chain(scenario.snapshot_claims()).collect())?;
    if output != Path::new("/dev/stdout") {
        claims.write(vec![Claim::new(output, "--output")])?;
    }
    // A file has no MTU, and needs the interface only where its MAC is written.
    let is_framed = scenario.rewrite.link_layer == LinkLayer::Ethernet;
    let needs_the_place = match &scenario.topology {
        Topology::Lab(_) => false,
        Topology::Target { agent, .. } => {
            is_framed || scenario.rewrite.names_sender() || scenario.rewrite.names_gateway() || agent.is_some()
        }
        Topology::Existing(_) => scenario.rewrite.names_the_address_there().is_some(),
    };
    let mut facts = if needs_the_place { remote::facts(scenario)? } else { Facts::default() };
    facts.sender = facts.sender.map(|facts| LinkFacts { mtu: u32::MAX, ..facts });
    let (rewriter, framing) = match scenario.rewrite.link_layer {
        LinkLayer::Captured => (Rewriter::compile(&scenario.rewrite, &roles(scenario, &facts))?, None),
        LinkLayer::Ethernet => {
            rewriter_and_framing(scenario, &facts).map(|(rewriter, framing)| (rewriter, Some(framing)))?
        }
    };
    learn_templates(scenario, &rewriter)?;
    // A file has no MTU, unless the scenario says so.
    let mtu = scenario.topology.pair().filter(|lab| lab.mtu.span.is_some()).map(|lab| lab.mtu.value);
    let mut selector = Selector::new(scenario, mtu)?.refusing_at_once();
    let mut pass = pass(scenario, &rewriter, mtu);
    if let Some(framing) = framing {
        (selector, pass) = (selector.framing(framing), pass.framing(framing));
    }
    let mut select =
        |frame: &Frame<'_>| selector.takes(frame).map(|taken| if taken { Selected::Yes } else { Selected::No });
    let written = rewrite_file(&scenario.capture.files, output, &mut select, &pass, &scenario.source)?;
    let counts = selector.counts;
    if written.written == 0 {
        return Err(nothing_selected(scenario, counts, &selector.left_out));
    }
    let mut notes: Vec<Diagnostic> =
        behind_tags(scenario, &selector.left_out).into_iter().chain(group_mac(scenario, &written.stats)).collect();
    if written.lost_blocks > 0 {
        let what = format!(
            "{} of the pcapng input {} not in the output",
            count(written.lost_blocks, "block"),
            agree(written.lost_blocks, "is", "are")
        );
        notes.push(Diagnostic::note(what).why(
            "captures that differ in their format or are merged by time are written anew: frames with their comments, no names, keys or statistics",
        ));
    }
    let summary = RewriteSummary {
        format: 1,
        name: scenario.name.clone(),
        read: written.read,
        written: written.written,
        captured: written.captured,
        skipped_truncated: counts.skipped_truncated,
        skipped_oversize: counts.skipped_oversize,
        skipped_other: counts.skipped_other,
        rewrite: rewrite_report(&rewriter, &written.stats),
    };
    Ok(Rewritten { summary, counts, notes })
}
