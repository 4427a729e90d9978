//! `expect-failure`: a scenario that is known to fail.

use serde_json::json;

use super::{Judgement, line};
use crate::diagnostic::{At, Diagnostic};
use crate::outcome::{Check, CheckId, Verdict};
use crate::scenario::Scenario;

/// The other way round: a failure passes, and what passes fails.
pub(super) fn expected(scenario: &Scenario, reason: &At<String>, judgement: Judgement) -> Judgement {
    let Judgement { verdict, mut checks, mut problems } = judgement;
    let place = |problem: Diagnostic| problem.at(&scenario.source, reason.span.clone());
    if verdict == Verdict::Fail {
        problems.insert(0, place(Diagnostic::note(format!("it failed, as expected: {}", reason.value))));
        return Judgement { verdict: Verdict::Pass, checks, problems };
    }
    let problem = Diagnostic::error("it passed, and is expected to fail")
        .why(format!("`expect-failure` says: {}", reason.value))
        .fix("if what failed is mended, remove `expect-failure`");
    checks.push(Check {
        what: CheckId::Other("expect-failure".to_owned()),
        expected: json!("fail"),
        actual: json!("pass"),
        passed: false,
        undecided: false,
        line: line(scenario, reason.span.as_ref()),
        problem: Some(place(problem)),
    });
    Judgement { verdict: Verdict::Fail, checks, problems }
}
