//! Every expectation judged: pure functions of scenario, plan, evidence and ledger.
//!
//! One file for each kind of expectation. Start at [`judge`].

mod application;
mod counts;
mod examine;
mod snapshot;
mod text_rules;
mod timing;

use crate::evidence::Evidence;
use crate::outcome::{Check, Ledger, Verdict};
use crate::plan::Plan;
use crate::scenario::Scenario;

pub use application::ended_oddly;
pub(crate) use counts::judged;
pub use examine::examine;
pub use snapshot::Snapshots;
pub use timing::rate_not_kept;

/// Judges every expectation of a scenario: how the application ended, where that explains the others, then all in the order in which the
/// language lists them. Losses of `ledger` that fail nothing are marked as expected.
pub fn judge(
    scenario: &Scenario,
    plan: &Plan,
    evidence: &Evidence,
    ledger: &mut Ledger,
    snapshots: Snapshots,
) -> Vec<Check> {
    let mut checks = counts::judge(scenario, plan, evidence, ledger);
    checks.extend(timing::judge(scenario, evidence));
    checks.extend(snapshot::judge(scenario, plan, snapshots));
    checks.extend(text_rules::judge(scenario, evidence));
    let ending = application::judge(scenario, evidence, verdict(&checks, evidence) == Verdict::Fail);
    ending.into_iter().chain(checks).collect()
}

/// The verdict of a run: whether every check passed, in time and without an incident.
pub fn verdict(checks: &[Check], evidence: &Evidence) -> Verdict {
    let went_well = evidence.timed_out.is_none() && evidence.incidents.is_empty();
    if went_well && checks.iter().all(|check| check.passed) { Verdict::Pass } else { Verdict::Fail }
}

/// The 1-based line of a span of the scenario.
fn line(scenario: &Scenario, span: Option<&std::ops::Range<usize>>) -> Option<usize> {
    span.map(|span| crate::diagnostic::Place::new(&scenario.source, span.clone()).line)
}

#[cfg(test)]
mod tests;
