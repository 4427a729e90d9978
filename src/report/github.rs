//! Annotations in a pull request: the workflow commands that GitHub's runner reads from the output of a step
//! (docs.github.com, "Workflow commands for GitHub Actions").

use std::path::Path;

use super::{text, word};
use crate::diagnostic::Severity;
use crate::outcome::{Outcome, Verdict};

/// One `::error` line for each scenario that did not pass, at the first line of it that a problem points to.
pub fn annotations(outcomes: &[Outcome]) -> String {
    outcomes
        .iter()
        .filter(|outcome| !matches!(outcome.verdict, Verdict::Pass | Verdict::Skipped | Verdict::NotRun))
        .map(annotation)
        .collect()
}

fn annotation(outcome: &Outcome) -> String {
    let checks = outcome.checks.iter().filter(|check| !check.passed).filter_map(|check| check.line);
    let errors = outcome.problems.iter().filter(|problem| problem.severity == Severity::Error);
    let places = errors.filter_map(|problem| problem.place.as_ref());
    let lines = places.filter(|place| place.file == Path::new(&outcome.file)).map(|place| place.line);
    let line = checks.chain(lines).next().map_or_else(String::new, |line| format!(",line={line}"));
    let title = format!("restage: {} {}", outcome.name, word(outcome.verdict));
    format!(
        "::error file={}{line},title={}::{}\n",
        property(&outcome.file),
        property(&title),
        message(&text::headline(outcome))
    )
}

/// A value after `::`.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A value before `::`, where `:` and `,` have a meaning too.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}
