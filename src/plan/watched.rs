//! A plan of what was not planned: what arrived, seen from its end. Start at [`watched`].

use std::collections::BTreeSet;
use std::time::Duration;

use super::reach::Reach;
use super::survey::Survey;
use super::{Counts, LAB_SENDER_MAC, Medium, Plan, predictions};
use crate::diagnostic::Result;
use crate::host::Host;
use crate::rewrite::{Framing, RewriteStats, Rewriter, Roles};
use crate::scenario::rewrite::Rewrite;

/// What became of these frames at a host. `frames`: how many there are.
///
/// # Errors
/// None that can happen: maps that change nothing can be compiled.
pub fn watched(mut survey: Survey, host: Host, frames: u64) -> Result<Plan> {
    let rewriter = Rewriter::compile(&Rewrite::default(), &Roles::default())?;
    let classes = survey.finish();
    let predictions = predictions(classes, Some(&host), &rewriter);
    Ok(Plan {
        stats: RewriteStats::new(&rewriter),
        rewriter,
        counts: Counts { read: frames, selected: frames, ..Counts::default() },
        rounds: 1,
        survey,
        medium: Medium {
            mtu: host.interface.mtu_bytes,
            framing: Framing { sender: LAB_SENDER_MAC, receiver: Some(host.mac) },
        },
        host: Some(host),
        namespace: None,
        predictions,
        sent_to: BTreeSet::new(),
        reach: Reach::default(),
        lab_reassembly: Duration::ZERO,
        reassembly_timeout: Duration::ZERO,
        first_ns: None,
        duration: None,
        steps: Vec::new(),
        timeout: Duration::ZERO,
        listing: None,
        questions: None,
        notes: Vec::new(),
    })
}
