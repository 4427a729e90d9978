//! Every expectation judged: pure functions of scenario, plan, evidence and ledger.
//!
//! One file for each kind of expectation. Start at [`judge`].

mod application;
mod captured;
mod comparison;
mod counts;
mod difference;
mod examine;
mod failure;
mod fields;
mod flows;
mod json;
mod replies;
mod search;
mod snapshot;
mod steps;
mod stored;
mod stored_flows;
mod text_rules;
mod timing;

use crate::diagnostic::Diagnostic;
use crate::evidence::Evidence;
use crate::outcome::{Check, Ledger, Verdict};
use crate::plan::Plan;
use crate::scenario::Scenario;

pub use application::{wrong_end, wrote_too_much};
pub(crate) use counts::judged;
pub use examine::examine;
pub use flows::Given;
pub use replies::awaited;
pub use snapshot::{PROPOSED, Snapshots, compared};
pub use text_rules::{command_holds, output_holds};

/// What the expectations of a scenario make of a run.
#[derive(Debug)]
pub struct Judgement {
    pub verdict: Verdict,
    pub checks: Vec<Check>,
    /// What ended the run early, and what is worth knowing though it fails nothing by itself.
    pub problems: Vec<Diagnostic>,
}

impl Judgement {
    /// Nothing can be judged.
    pub fn error(problem: Diagnostic) -> Self {
        Self { verdict: Verdict::Error, checks: Vec::new(), problems: vec![problem] }
    }
}

/// Judges every expectation of a scenario: how the application ended, where that explains the others, then all in the order in which the
/// language lists them. The verdict is *pass* if every check passes, in time and without an incident. Losses of `ledger` that fail
/// nothing are marked as expected.
pub fn judge(
    scenario: &Scenario,
    plan: &Plan,
    evidence: &Evidence,
    ledger: &mut Ledger,
    snapshots: Snapshots,
) -> Judgement {
    let given = match Given::read(scenario, plan, Some(ledger)) {
        Ok(given) => given,
        Err(failure) => return Judgement { verdict: Verdict::Error, checks: Vec::new(), problems: failure.problems },
    };
    let mut checks = counts::judge(scenario, plan, evidence, ledger);
    checks.extend(timing::judge(scenario, evidence));
    checks.extend(snapshot::judge(scenario, plan, snapshots));
    checks.extend(replies::judge(scenario, plan, evidence, snapshots));
    checks.extend(flows::judge(scenario, given.as_ref()));
    checks.extend(text_rules::judge(scenario, evidence, given.as_ref()));
    let went_well = evidence.timed_out.is_none() && evidence.incidents.is_empty();
    let passed = |checks: &[Check]| went_well && checks.iter().all(|check| check.passed);
    let others_failed = !passed(&checks) || evidence.failed_step().is_some();
    let endings = application::judge(scenario, evidence, others_failed);
    let checks: Vec<_> = endings.into_iter().chain(steps::judge(scenario, evidence)).chain(checks).collect();
    let verdict = if passed(&checks) { Verdict::Pass } else { Verdict::Fail };
    let mut problems: Vec<_> = timing::timed_out(scenario, evidence).into_iter().collect();
    problems.extend_from_slice(&evidence.incidents);
    problems.extend_from_slice(&evidence.notes);
    if verdict == Verdict::Pass {
        problems.extend(application::ended_oddly(scenario, evidence));
    }
    problems.extend(timing::rate_not_kept(scenario, evidence));
    match &scenario.expect_failure {
        Some(reason) => failure::expected(scenario, reason, Judgement { verdict, checks, problems }),
        None => Judgement { verdict, checks, problems },
    }
}

/// The 1-based line of a span of the scenario.
fn line(scenario: &Scenario, span: Option<&std::ops::Range<usize>>) -> Option<usize> {
    span.map(|span| crate::diagnostic::Place::new(&scenario.source, span.clone()).line)
}

#[cfg(test)]
#[path = "../../tests/unit/expectations.rs"]
mod expectations_tests;
#[cfg(test)]
mod tests;
