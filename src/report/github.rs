//! Annotations in a pull request: the workflow commands that GitHub's runner reads from the output of a step
//! (docs.github.com, "Workflow commands for GitHub Actions").

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::layout::one_line;
use super::{ledger, text, word_of};
use crate::diagnostic::Severity;
use crate::outcome::Outcome;

/// One `::error` line for each scenario that did not pass, at the first line of it that a problem points to, and a `::warning` for each that
/// passed only at a retry. `workspace`: the folder that paths are relative to for GitHub.
pub fn annotations(outcomes: &[Outcome], workspace: Option<&Path>) -> String {
    let shown = outcomes.iter().filter(|outcome| outcome.verdict.is_failure() || outcome.is_flaky());
    shown.map(|outcome| annotation(outcome, workspace)).collect()
}

fn annotation(outcome: &Outcome, workspace: Option<&Path>) -> String {
    let checks = outcome.checks.iter().filter(|check| !check.passed).filter_map(|check| check.line);
    let errors = outcome.problems.iter().filter(|problem| problem.severity == Severity::Error);
    let places = errors.filter_map(|problem| problem.place.as_ref());
    let lines = places.filter(|place| place.file == Path::new(&outcome.file)).map(|place| place.line);
    let line = checks.chain(lines).next().map_or_else(String::new, |line| format!(",line={line}"));
    let title = format!("restage: {} {}", outcome.name, word_of(outcome));
    let mut said = text::headline(outcome);
    for (name, sentence) in explanation(outcome) {
        let _infallible = write!(said, "\n{name}: {}", one_line(sentence));
    }
    let command = if outcome.is_flaky() { "warning" } else { "error" };
    format!(
        "::{command} file={}{line},title={}::{}\n",
        property(&file_in(workspace, &outcome.file)),
        property(&title),
        message(&said)
    )
}

/// The path of a file from the workspace; as it is given where the file is not in there.
fn file_in(workspace: Option<&Path>, file: &str) -> String {
    let within = |workspace: &Path| {
        let path = fs::canonicalize(file).ok()?;
        Some(path.strip_prefix(fs::canonicalize(workspace).ok()?).ok()?.display().to_string())
    };
    workspace.and_then(within).unwrap_or_else(|| file.to_owned())
}

/// Why it did not pass and what to do: of the largest loss, or of the first expectation that is not met, or of the first error.
fn explanation(outcome: &Outcome) -> impl Iterator<Item = (&'static str, &str)> {
    let loss = outcome.ledger.as_ref().and_then(|ledger| ledger::counting(ledger).into_iter().next());
    let check = outcome.checks.iter().filter(|check| !check.passed).find_map(|check| check.problem.as_ref());
    let error = || outcome.problems.iter().find(|problem| problem.severity == Severity::Error);
    let (why, fix) = match (loss, check.or_else(error)) {
        (Some(loss), _) => (Some(&loss.why), Some(&loss.fix)),
        (None, Some(problem)) => (problem.why.as_ref(), problem.fix.as_ref()),
        (None, None) => (None, None),
    };
    [("why", why), ("fix", fix)].into_iter().filter_map(|(name, sentence)| Some((name, sentence?.as_str())))
}

/// A value after `::`.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A value before `::`, where `:` and `,` have a meaning too.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}
