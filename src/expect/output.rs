//! `[[expect.command]]` and `[[expect.output]]`: what the application made of it.

use regex::Regex;
use serde_json::json;

use super::line;
use crate::diagnostic::{At, Problem};
use crate::evidence::{Evidence, Output};
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
        problem: Some(Problem::error(message).at(&scenario.source, span.cloned()).why(why)),
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
        let problem = Problem::error(format!("expected exit status {} of `{program}`, it {ended}", expected.value))
            .at(&scenario.source, span.clone());
        let said = String::from_utf8_lossy(&output.stderr);
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
fn text(scenario: &Scenario, what: &str, who: &str, rule: &TextRule, bytes: &[u8]) -> Vec<Check> {
    let text = String::from_utf8_lossy(bytes);
    let shown = || {
        if text.trim().is_empty() { "it is empty".to_owned() } else { format!("it is: {}", shorten(text.trim_end())) }
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
                    .map(|(message, why)| Problem::error(message).at(&scenario.source, span.clone()).why(why)),
            });
        };
    if let Some(part) = &rule.contains {
        let holds = text.contains(&part.value);
        let failure = (!holds).then(|| (format!("{who} does not contain `{}`", part.value), shown()));
        add("contains", &part.span, json!(part.value), json!(holds), failure);
    }
    if let Some(pattern) = &rule.matches {
        let compiled = Regex::new(&format!("(?m){}", pattern.value));
        let holds = compiled.is_ok_and(|regex| regex.is_match(&text));
        let failure = (!holds).then(|| (format!("{who} does not match `{}`", pattern.value), shown()));
        add("matches", &pattern.span, json!(pattern.value), json!(holds), failure);
    }
    if let Some(lines) = &rule.lines {
        let actual = text.lines().count() as u64;
        let failure = (actual != lines.value)
            .then(|| (format!("expected {} lines of {who}, there are {actual}", lines.value), shown()));
        add("lines", &lines.span, json!(lines.value), json!(actual), failure);
    }
    if let Some(path) = &rule.equals_file {
        let failure = match std::fs::read(&path.value) {
            Err(error) => Some((format!("can't read `{}`", path.value.display()), error.to_string())),
            Ok(expected) if expected == bytes => None,
            Ok(expected) => {
                let first = expected.iter().zip(bytes).take_while(|(left, right)| left == right).count();
                let line = expected.iter().take(first).filter(|byte| **byte == b'\n').count() + 1;
                Some((
                    format!("{who} does not equal `{}`", path.value.display()),
                    format!(
                        "{} bytes expected, {} are there; the first difference is in line {line}",
                        expected.len(),
                        bytes.len()
                    ),
                ))
            }
        };
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
