//! `[[expect.command]]` and `[[expect.output]]`: what the application made of it.

use std::ops::Range;

use serde_json::{Value, json};

use super::flows::Given;
use super::line;
use super::stored_flows::{Compared, compare};
use crate::diagnostic::{At, Diagnostic};
use crate::evidence::{Difference, Evidence, Found, LinesFound, Output, Selected, StoredRows, Text, WaitEnd};
use crate::figures::{agree, count, duration, plural, thousands};
use crate::outcome::{Check, CheckId};
use crate::scenario::Scenario;
use crate::scenario::expect::{
    CommandCheck, HowMany, JsonLines, JsonRule, OutputCheck, OutputFrom, Search, StoredFlows, TextRule,
};

/// How much of a text is shown in a message.
const SHOWN_CHARACTERS: usize = 400;

pub(super) fn judge(scenario: &Scenario, evidence: &Evidence, given: Option<&Given>) -> Vec<Check> {
    let nothing = Output::failed("the run ended before it");
    let commands = scenario.expect.command.iter().enumerate();
    let commands = commands.flat_map(|(index, check)| {
        of_command(scenario, check, evidence.commands.get(&index).unwrap_or(&nothing), given)
    });
    let outputs = scenario.expect.output.iter().enumerate();
    let outputs = outputs
        .flat_map(|(index, check)| of_output(scenario, check, evidence.outputs.get(&index).unwrap_or(&nothing), given));
    commands.chain(outputs).collect()
}

/// Whether a command came to what is expected of it.
pub fn command_holds(scenario: &Scenario, check: &CommandCheck, output: &Output, given: Option<&Given>) -> bool {
    of_command(scenario, check, output, given).iter().all(|check| check.passed)
}

/// Whether the application wrote what is expected of it.
pub fn output_holds(scenario: &Scenario, check: &OutputCheck, output: &Output, given: Option<&Given>) -> bool {
    of_output(scenario, check, output, given).iter().all(|check| check.passed)
}

fn of_command(scenario: &Scenario, check: &CommandCheck, output: &Output, given: Option<&Given>) -> Vec<Check> {
    let program = check.run.value.first().map(String::as_str).unwrap_or_default();
    let what = format!("command {program}");
    let run = check.run.span.as_ref();
    if let Some(failure) = &output.failure {
        let checks = vec![failed(scenario, &what, run, format!("`{program}` gave no result"), failure)];
        return with_wait(checks, output);
    }
    let mut checks = vec![status(scenario, &what, program, &check.status, run, output)];
    let printed = format!("what `{program}` printed");
    checks.extend(text(scenario, &format!("{what} stdout"), &printed, &check.stdout, &output.stdout, given));
    let said = format!("what `{program}` wrote to standard error");
    checks.extend(text(scenario, &format!("{what} stderr"), &said, &check.stderr, &output.stderr, given));
    with_wait(checks, output)
}

fn of_output(scenario: &Scenario, check: &OutputCheck, output: &Output, given: Option<&Given>) -> Vec<Check> {
    let of_stream = |stream: &str, name: &str| match &check.process {
        Some(At { value: process, .. }) => {
            (format!("output {process} {stream}"), format!("the {name} of the process `{process}`"))
        }
        None => (format!("output {stream}"), format!("the application's {name}")),
    };
    let (what, who) = match &check.from.value {
        OutputFrom::Stdout => of_stream("stdout", "standard output"),
        OutputFrom::Stderr => of_stream("stderr", "standard error"),
        OutputFrom::File(file) | OutputFrom::Files(file) => (format!("output {file}"), format!("`{file}`")),
    };
    let checks = match &output.failure {
        Some(failure) => {
            vec![failed(scenario, &what, check.from.span.as_ref(), format!("{who} can't be read"), failure)]
        }
        None => text(scenario, &what, &who, &check.rule, &output.stdout, given),
    };
    with_wait(checks, output)
}

/// The same; those that fail say how they were waited for.
fn with_wait(mut checks: Vec<Check>, output: &Output) -> Vec<Check> {
    let Some(waited) = &output.waited else { return checks };
    let until = match waited.until {
        WaitEnd::Within => "",
        WaitEnd::Timeout => ", until the run's `timeout`",
        WaitEnd::ApplicationEnded => ", until the application ended",
    };
    let waited = format!("looked at {} in {}{until}", count(waited.looks, "time"), duration(waited.time));
    for problem in checks.iter_mut().filter_map(|check| check.problem.as_mut()) {
        let why = problem.why.take();
        problem.why = Some(why.map_or_else(|| waited.clone(), |why| format!("{waited}; the last time, {why}")));
    }
    checks
}

fn failed(scenario: &Scenario, what: &str, span: Option<&Range<usize>>, message: String, why: &str) -> Check {
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
    run: Option<&Range<usize>>,
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

/// What a key of a rule says, and what became of it.
struct Judged {
    word: String,
    span: Option<Range<usize>>,
    expected: Value,
    actual: Value,
    /// What is wrong, and why; `None` where it holds.
    failure: Option<(String, String)>,
}

/// The checks of one text: one for each key.
fn text(scenario: &Scenario, what: &str, who: &str, rule: &TextRule, text: &Text, given: Option<&Given>) -> Vec<Check> {
    let mut judged = searches(who, rule, text);
    judged.extend(rule.lines.as_ref().map(|lines| {
        let failure = (!lines.value.holds(text.lines)).then(|| {
            let (wanted, verb) = (how_many(&lines.value, "line"), agree(text.lines, "is", "are"));
            (format!("expected {wanted} of {who}, there {verb} {}", thousands(text.lines)), shown(text))
        });
        let (span, expected) = (lines.span.clone(), lines.value.to_json());
        Judged { word: "lines".to_owned(), span, expected, actual: json!(text.lines), failure }
    }));
    judged.extend(rule.equals_file.as_ref().map(|path| {
        let file = path.value.display();
        let failure = text.difference.as_ref().map(|difference| match difference {
            Difference::Unreadable(why) => (format!("can't read `{file}`"), why.clone()),
            Difference::At { line, expected, actual, lines } => (
                format!("{who} does not equal `{file}`"),
                format!(
                    "expected {}, there are {}; the first difference is in line {line} (- the file, + now){lines}",
                    count(*expected, "byte"),
                    thousands(*actual)
                ),
            ),
        });
        let actual = json!(failure.is_none());
        Judged { word: "equals-file".to_owned(), span: path.span.clone(), expected: json!(path.value), actual, failure }
    }));
    judged.extend(selections(who, rule, text));
    if let (Some(rule), Some(found)) = (&rule.json_lines, &text.json_lines) {
        judged.push(json_lines(who, rule, found, text));
    }
    if let (Some(rule), Some(found)) = (&rule.flows, &text.flows) {
        judged.push(stored_flows(who, rule, found, given, text));
    }
    let check = |Judged { word, span, expected, actual, failure }| Check {
        what: CheckId::Other(format!("{what} {word}")),
        expected,
        actual,
        passed: failure.is_none(),
        undecided: false,
        line: line(scenario, span.as_ref()),
        problem: failure.map(|(message, why)| Diagnostic::error(message).at(&scenario.source, span).why(why)),
    };
    judged.into_iter().map(check).collect()
}

/// What is looked for in the text.
fn searches(who: &str, rule: &TextRule, text: &Text) -> Vec<Judged> {
    let of = |(search, found): (Search<'_>, &Found)| {
        let wanted = &search.wanted.value;
        let first = || match &found.first {
            Some((line, first)) => format!("the first is in line {}: {first}", thousands(*line)),
            None => shown(text),
        };
        let judged = |actual, failure| Judged {
            word: search.key.to_owned(),
            span: search.wanted.span.clone(),
            expected: json!(wanted),
            actual,
            failure,
        };
        match (search.count, found.count) {
            (_, None) => {
                let message = format!("whether {who} has `{wanted}` can't be judged");
                let why = format!(
                    "it has {}, too many to be held, and this can't be looked for while it is read: write (?-u:\\b) for \\b, and no \
                     pattern that goes on over many lines",
                    count(text.bytes, "byte")
                );
                judged(json!(null), Some((message, why)))
            }
            (Some(expected), Some(times)) => {
                let failure = (!expected.value.holds(times)).then(|| {
                    let times = if times == 0 { "not at all".to_owned() } else { count(times, "time") };
                    let expected = how_many(&expected.value, "time");
                    (format!("expected `{wanted}` {expected} in {who}, it is there {times}"), first())
                });
                let (word, span) = ("count".to_owned(), expected.span.clone());
                Judged { word, span, expected: expected.value.to_json(), ..judged(json!(times), failure) }
            }
            (None, Some(times)) => {
                let failure = ((times > 0) == search.negated).then(|| {
                    let message = match (search.is_literal, search.negated) {
                        (true, true) => format!("{who} contains `{wanted}`"),
                        (true, false) => format!("{who} does not contain `{wanted}`"),
                        (false, true) => format!("{who} matches `{wanted}`"),
                        (false, false) => format!("{who} does not match `{wanted}`"),
                    };
                    (message, first())
                });
                judged(json!(failure.is_none()), failure)
            }
        }
    };
    rule.searches().zip(&text.searches).map(of).collect()
}

/// What the paths of `json` select.
fn selections(who: &str, rule: &TextRule, text: &Text) -> Vec<Judged> {
    let Some(selected) = &text.json else { return Vec::new() };
    let of = |(index, rule): (usize, &JsonRule)| {
        let (path, wanted) = (&rule.path.value, &rule.value.value);
        let selected = selected.as_ref().map(|selected| selected.get(index));
        let failure = match selected {
            Err(why) => Some((format!("{who} is no JSON text"), format!("{why}; {}", shown(text)))),
            Ok(Some(selected)) if selected.holds => None,
            Ok(Some(Selected { count: 1, shown: values, .. })) => {
                Some((format!("expected {wanted} at `{path}` of {who}, it is {}", values.concat()), shown(text)))
            }
            Ok(Some(Selected { count: values @ 2.., shown: some, .. })) => {
                let more = (values - some.len()) as u64;
                let more = if more > 0 { format!(" and {} more", thousands(more)) } else { String::new() };
                let message = format!("expected {wanted} among the {values} values at `{path}` of {who}");
                Some((message, format!("they are {}{more}", some.join(", "))))
            }
            Ok(_) => Some((format!("expected {wanted} at `{path}` of {who}, which selects nothing"), shown(text))),
        };
        let actual = json!(selected.ok().flatten().map(|selected| &selected.shown));
        let (word, span) = (format!("json {path}"), rule.path.span.clone());
        Judged { word, span, expected: wanted.clone(), actual, failure }
    };
    rule.json.iter().enumerate().map(of).collect()
}

fn json_lines(who: &str, rule: &At<JsonLines>, found: &LinesFound, text: &Text) -> Judged {
    let (wanted, span) = match &rule.value.count {
        Some(count) => (count.value.clone(), count.span.clone()),
        None => (HowMany::at_least(1), rule.span.clone()),
    };
    let failure = match &found.first_broken {
        Some(why) if rule.value.ignore.is_none() => {
            let verb = agree(found.broken, "is", "are");
            let message = format!("{} of {who} {verb} no JSON text", count(found.broken, "line"));
            Some((message, format!("the first is {why}")))
        }
        _ if wanted.holds(found.counted) => None,
        _ => {
            let (wanted, verb) = (how_many(&wanted, "matching JSON line"), agree(found.counted, "is", "are"));
            let message = format!("expected {wanted} in {who}, there {verb} {}", thousands(found.counted));
            let each = rule.value.conditions().into_iter().zip(&found.each);
            let each = each.map(|(condition, met)| format!(", {condition} in {}", thousands(*met)));
            let why = format!("of {}{}; {}", count(found.lines, "line"), each.collect::<String>(), shown(text));
            Some((message, why))
        }
    };
    let (word, expected) = ("json-lines".to_owned(), wanted.to_json());
    Judged { word, span, expected, actual: json!(found.counted), failure }
}

/// Whether the records of flows are there that were sent.
fn stored_flows(
    who: &str,
    rule: &At<StoredFlows>,
    found: &Result<StoredRows, String>,
    given: Option<&Given>,
    text: &Text,
) -> Judged {
    let judged = |expected, actual, failure| Judged {
        word: "flows".to_owned(),
        span: rule.span.clone(),
        expected,
        actual,
        failure,
    };
    let unreadable = |why: String| Some((format!("the records of flows in {who} can't be compared"), why));
    let (Some(given), Ok(rows)) = (given, found) else {
        let why = found
            .as_ref()
            .err()
            .map_or_else(|| "what was sent is not known here".to_owned(), |why| format!("{why}; {}", shown(text)));
        return judged(json!(null), json!(null), unreadable(why));
    };
    let compared = match compare(&rule.value, given, rows) {
        Ok(compared) => compared,
        Err(why) => return judged(json!(null), json!(null), unreadable(why)),
    };
    let Compared { given: sent, stored, missing, altered, doubled, unknown, .. } = compared;
    let actual = json!({
        "stored": stored, "missing": missing, "altered": altered, "doubled": doubled, "unknown": unknown,
    });
    let failure = (!compared.is_equal()).then(|| {
        let wrong =
            [(missing, "missing"), (altered, "altered"), (doubled, "stored twice"), (unknown, "stored and not sent")];
        let wrong: Vec<String> = wrong
            .into_iter()
            .filter(|(times, _)| *times > 0)
            .map(|(times, what)| format!("{} {what}", thousands(times)))
            .collect();
        let absent: Vec<&str> = compared.absent.iter().map(|column| column.name()).collect();
        let message = if absent.is_empty() {
            format!("{who} differs from the {} that were sent: {}", count(sent, "record"), wrong.join(", "))
        } else {
            format!("{who} has no {}", absent.join(" and no "))
        };
        let mut why = format!("it has {}, {}", count(stored, "record"), compared.columns);
        let not_compared = given.not_compared();
        if !not_compared.is_empty() {
            why = format!("{why}; {not_compared}");
        }
        for line in &compared.shown {
            why = format!("{why}\n{line}");
        }
        (message, why)
    });
    judged(json!({ "records": sent }), actual, failure)
}

/// What a text is, in words.
fn shown(text: &Text) -> String {
    match text.head.trim_end() {
        "" if text.bytes <= text.head.len() as u64 => "it is empty".to_owned(),
        head => format!("it is: {}", shorten(head)),
    }
}

/// `1 line`, `>= 3 lines`.
fn how_many(wanted: &HowMany, noun: &str) -> String {
    match wanted.to_json().as_u64() {
        Some(number) => count(number, noun),
        None => format!("{wanted} {}", plural(2, noun)),
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
#[path = "../../tests/unit/text_rules.rs"]
mod tests;
