//! `[[expect.command]]` and `[[expect.output]]`: what the application made of it.

use serde_json::json;

use super::line;
use crate::diagnostic::{At, Diagnostic};
use crate::evidence::{Difference, Evidence, Output, Text};
use crate::figures::{agree, count, thousands};
use crate::outcome::{Check, CheckId};
use crate::scenario::Scenario;
use crate::scenario::expect::{OutputFrom, TextRule};

/// How much of a text is shown in a message.
const SHOWN_CHARACTERS: usize = 400;

pub(super) fn judge(scenario: &Scenario, evidence: &Evidence) -> Vec<Check> {
    let nothing = Output { failure: Some("the run ended before it".to_owned()), ..Output::default() };
    let mut checks = Vec::new();
    for (index, command) in scenario.expect.command.iter().enumerate() {
        let output = evidence.commands.get(index).unwrap_or(&nothing);
        let program = command.run.value.first().map(String::as_str).unwrap_or_default();
        let what = format!("command {program}");
        if let Some(failure) = &output.failure {
            checks.push(failed(
                scenario,
                &what,
                command.run.span.as_ref(),
                format!("`{program}` gave no result"),
                failure,
            ));
            continue;
        }
        checks.push(status(scenario, &what, program, &command.status, command.run.span.as_ref(), output));
        checks.extend(text(
            scenario,
            &format!("{what} stdout"),
            &format!("what `{program}` printed"),
            &command.stdout,
            &output.stdout,
        ));
        let said = format!("what `{program}` wrote to standard error");
        checks.extend(text(scenario, &format!("{what} stderr"), &said, &command.stderr, &output.stderr));
    }
    for (index, check) in scenario.expect.output.iter().enumerate() {
        let output = evidence.outputs.get(index).unwrap_or(&nothing);
        let (what, who) = match &check.from.value {
            OutputFrom::Stdout => ("output stdout".to_owned(), "the application's standard output".to_owned()),
            OutputFrom::Stderr => ("output stderr".to_owned(), "the application's standard error".to_owned()),
            OutputFrom::File(file) => (format!("output {file}"), format!("`{file}`")),
        };
        match &output.failure {
            Some(failure) => {
                checks.push(failed(scenario, &what, check.from.span.as_ref(), format!("{who} can't be read"), failure))
            }
            None => checks.extend(text(scenario, &what, &who, &check.rule, &output.stdout)),
        }
    }
    checks
}

fn failed(scenario: &Scenario, what: &str, span: Option<&std::ops::Range<usize>>, message: String, why: &str) -> Check {
    Check {
        what: CheckId::Other(what.to_owned()),
        expected: json!("output"),
        actual: json!(null),
        passed: false,
        undecided: false,
        line: line(scenario, span),
        problem: Some(Diagnostic::error(message).at(&scenario.source, span.cloned()).why(why)),
    }
}

fn status(
    scenario: &Scenario,
    what: &str,
    program: &str,
    expected: &At<i32>,
    run: Option<&std::ops::Range<usize>>,
    output: &Output,
) -> Check {
    let passed = output.status == Some(expected.value);
    let span = expected.span.clone().or_else(|| run.cloned());
    let problem = (!passed).then(|| {
        let ended =
            output.status.map_or_else(|| "was ended by a signal".to_owned(), |status| format!("exited with {status}"));
        let problem = Diagnostic::error(format!("expected exit status {} of `{program}`, it {ended}", expected.value))
            .at(&scenario.source, span.clone());
        let said = &output.stderr.head;
        if said.trim().is_empty() { problem } else { problem.why(format!("it said: {}", shorten(said.trim()))) }
    });
    Check {
        what: CheckId::Other(format!("{what} status")),
        expected: json!(expected.value),
        actual: json!(output.status),
        passed,
        undecided: false,
        line: line(scenario, span.as_ref()),
        problem,
    }
}

/// The checks of one text.
fn text(scenario: &Scenario, what: &str, who: &str, rule: &TextRule, text: &Text) -> Vec<Check> {
    let shown = || match text.head.trim_end() {
        "" if text.bytes <= text.head.len() as u64 => "it is empty".to_owned(),
        head => format!("it is: {}", shorten(head)),
    };
    let mut checks = Vec::new();
    let mut add =
        |word: &str, span: &Option<std::ops::Range<usize>>, expected, actual, failure: Option<(String, String)>| {
            checks.push(Check {
                what: CheckId::Other(format!("{what} {word}")),
                expected,
                actual,
                passed: failure.is_none(),
                undecided: false,
                line: line(scenario, span.as_ref()),
                problem: failure
                    .map(|(message, why)| Diagnostic::error(message).at(&scenario.source, span.clone()).why(why)),
            });
        };
    if let Some(part) = &rule.contains {
        let failure = (!text.contains).then(|| (format!("{who} does not contain `{}`", part.value), shown()));
        add("contains", &part.span, json!(part.value), json!(text.contains), failure);
    }
    if let Some(pattern) = &rule.matches {
        let failure = match text.matches {
            Some(true) => None,
            Some(false) => Some((format!("{who} does not match `{}`", pattern.value), shown())),
            None => Some((
                format!("whether {who} matches `{}` can't be judged", pattern.value),
                format!(
                    "it has {}, too many to be held, and Unicode's word boundaries can't be found while it is read: write (?-u:\\b) \
                     for \\b",
                    count(text.bytes, "byte")
                ),
            )),
        };
        add("matches", &pattern.span, json!(pattern.value), json!(text.matches), failure);
    }
    if let Some(lines) = &rule.lines {
        let failure = (text.lines != lines.value).then(|| {
            (
                format!(
                    "expected {} of {who}, there {} {}",
                    count(lines.value, "line"),
                    agree(text.lines, "is", "are"),
                    thousands(text.lines)
                ),
                shown(),
            )
        });
        add("lines", &lines.span, json!(lines.value), json!(text.lines), failure);
    }
    if let Some(path) = &rule.equals_file {
        let failure = text.difference.as_ref().map(|difference| match difference {
            Difference::Unreadable(why) => (format!("can't read `{}`", path.value.display()), why.clone()),
            Difference::At { line, expected, actual } => (
                format!("{who} does not equal `{}`", path.value.display()),
                format!(
                    "expected {}, there are {}; the first difference is in line {line}",
                    count(*expected, "byte"),
                    thousands(*actual)
                ),
            ),
        });
        add("equals-file", &path.span, json!(path.value), json!(failure.is_none()), failure);
    }
    checks
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}
