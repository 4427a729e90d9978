//! The report for programs that read TAP, version 14 of the Test Anything Protocol (testanything.org): `run --report-tap`.
//!
//! A test point for each scenario, with a YAML block of what is known of it. Its values are JSON, which YAML 1.2 contains; only the story is a
//! literal block, since people read it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::layout::{one_line, visible};
use super::{Look, ledger, text as story, word};
use crate::outcome::{Outcome, Report, Verdict};

/// The report.
pub fn text(report: &Report) -> String {
    let count = report.scenarios.len();
    let mut text = format!("TAP version 14\n1..{count}{}\n", if count == 0 { " # SKIP no scenario" } else { "" });
    for run in &report.runs {
        let facts = format!("restage {}, Linux {}, on {}, {}", run.version, run.kernel, run.hostname, run.started);
        let _infallible = writeln!(text, "# {}", one_line(&facts));
    }
    for (index, outcome) in report.scenarios.iter().enumerate() {
        point(index + 1, outcome, &mut text);
    }
    text
}

fn point(number: usize, outcome: &Outcome, text: &mut String) {
    let (ok, directive) = match outcome.verdict {
        Verdict::Pass => ("ok", String::new()),
        Verdict::Skipped => ("ok", format!(" # SKIP {}", escaped(&story::headline(outcome)))),
        // A harness that reads nothing else must not take an interrupted run for one that passed.
        Verdict::Fail | Verdict::Invalid | Verdict::Blocked | Verdict::NotRun | Verdict::Error => {
            ("not ok", String::new())
        }
    };
    let _infallible = writeln!(text, "{ok} {number} - {}{directive}\n  ---", escaped(&outcome.name));
    for (key, value) in facts(outcome) {
        let _infallible = writeln!(text, "  {key}: {value}");
    }
    let losses = outcome.ledger.iter().flat_map(|ledger| &ledger.losses);
    for (index, loss) in losses.enumerate() {
        let _infallible = writeln!(text, "{}    - {}", if index == 0 { "  losses:\n" } else { "" }, json!(loss));
    }
    if !matches!(outcome.verdict, Verdict::Pass | Verdict::Skipped) {
        // The number is the block's indentation: its first line may begin with spaces.
        text.push_str("  story: |2\n");
        for line in printable(&story::story(outcome, Look::FILE)).lines() {
            let _infallible = writeln!(text, "{}", format!("    {line}").trim_end());
        }
    }
    text.push_str("  ...\n");
}

/// What the YAML block says, as JSON.
fn facts(outcome: &Outcome) -> Vec<(&'static str, Value)> {
    let mut facts =
        vec![("verdict", json!(word(outcome.verdict))), ("file", json!(outcome.file)), ("id", json!(outcome.id))];
    let headline = story::headline(outcome);
    if !headline.is_empty() {
        facts.push(("message", json!(headline)));
    }
    if !outcome.tags.is_empty() {
        facts.push(("tags", json!(outcome.tags)));
    }
    facts.push(("seconds", json!(outcome.seconds)));
    if !outcome.earlier_tries.is_empty() {
        let tries = outcome.earlier_tries.iter();
        let tries: Vec<_> =
            tries.map(|one| json!({ "verdict": word(one.verdict), "message": story::headline(one) })).collect();
        facts.push(("earlier-tries", tries.into()));
    }
    if let Some(ledger) = &outcome.ledger {
        let stages = ledger::stages(ledger);
        let stages: serde_json::Map<_, _> =
            stages.into_iter().map(|(stage, frames)| (stage.name().to_owned(), json!(frames))).collect();
        facts.push(("ledger", stages.into()));
    }
    facts
}

/// A text on one line, in which nothing begins a directive.
fn escaped(text: &str) -> String {
    one_line(text).replace('\\', "\\\\").replace('#', "\\#")
}

/// Without what YAML has no place for, not even in a literal block (YAML 1.2.2 §5.1).
fn printable(text: &str) -> String {
    visible(text).replace(['\u{feff}', '\u{fffe}', '\u{ffff}'], "\u{fffd}")
}
