//! `[[step]]`: what fails between the parts of a replay. Start at [`judge`].

use serde_json::json;

use super::line;
use crate::evidence::Evidence;
use crate::outcome::{Check, CheckId};
use crate::scenario::Scenario;

/// The step that failed; nothing was sent after it.
pub(super) fn judge(scenario: &Scenario, evidence: &Evidence) -> Option<Check> {
    let taken = evidence.failed_step()?;
    let step = scenario.steps.get(taken.index)?;
    Some(Check {
        what: CheckId::Step(taken.index + 1),
        expected: json!(step.to_string()),
        actual: json!("failed"),
        passed: false,
        undecided: false,
        line: line(scenario, Some(&step.span)),
        problem: taken.failure.clone(),
    })
}
