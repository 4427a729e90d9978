//! The summary of a job of GitHub Actions, in Markdown (docs.github.com, "Adding a job summary"). Start at [`text`].

use std::fmt::Write as _;

use super::layout::one_line;
use super::{Look, ledger, text as story_text, word};
use crate::figures::{count, seconds, thousands};
use crate::outcome::{Outcome, Report, Verdict};

/// A summary has at most 1 MiB for all that a step writes into it; this leaves room for the rest.
const MOST_BYTES: usize = 512 << 10;

/// The summary of a job: the counts, what did not pass with its story, then what did.
pub fn text(report: &Report) -> String {
    let elapsed = report.runs.iter().map(|run| run.seconds).sum();
    let mut text = format!("## restage: {}", story_text::summary(&report.scenarios, elapsed, 0, Look::FILE));
    let (passed, others): (Vec<_>, Vec<_>) =
        report.scenarios.iter().partition(|outcome| outcome.verdict == Verdict::Pass);
    if !others.is_empty() {
        text.push_str(&table(&others));
    }
    let with_story = others.iter().filter(|outcome| !matches!(outcome.verdict, Verdict::Skipped | Verdict::NotRun));
    let mut left_out = 0;
    for outcome in with_story {
        let story = folded(&format!("{} {}", word(outcome.verdict), outcome.name), &story(outcome));
        if text.len() + story.len() > MOST_BYTES {
            left_out += 1;
        } else {
            text.push_str(&story);
        }
    }
    if left_out > 0 {
        let _infallible = writeln!(
            text,
            "\n{} not shown: the summary would be too long. The reports have all.",
            count(left_out, "scenario")
        );
    }
    let passed_table = table(&passed);
    if !passed.is_empty() && text.len() + passed_table.len() < MOST_BYTES {
        text.push_str(&folded(&format!("{} passed", thousands(passed.len() as u64)), &passed_table));
    }
    text + "\n"
}

fn table(outcomes: &[&Outcome]) -> String {
    let mut text = "\n| | scenario | sent | arrived | consumed | time | |\n|---|---|--:|--:|--:|--:|---|\n".to_owned();
    for outcome in outcomes {
        let sign = match outcome.verdict {
            Verdict::Pass => "✅",
            Verdict::Fail | Verdict::Invalid | Verdict::Blocked | Verdict::Error => "❌",
            Verdict::Skipped | Verdict::NotRun => "⚠️",
        };
        let ledger = outcome.ledger.as_ref();
        let figure = |frames: Option<String>| frames.unwrap_or_default();
        let _infallible = writeln!(
            text,
            "| {sign} {} | {} | {} | {} | {} | {} | {} |",
            word(outcome.verdict),
            escaped(&outcome.name),
            figure(ledger.map(|ledger| thousands(ledger.sent))),
            figure(ledger.and_then(|ledger| ledger.arrived.as_ref()).map(ledger::figure)),
            figure(ledger.and_then(|ledger| ledger.consumed.as_ref()).map(ledger::figure)),
            seconds(outcome.seconds),
            escaped(&story_text::headline(outcome)),
        );
    }
    text
}

/// What is shown once its title is clicked on.
fn folded(title: &str, content: &str) -> String {
    format!("\n<details><summary>{}</summary>\n{content}\n</details>\n", escaped(title))
}

/// The story as a block of code, with more backticks around it than are in it.
fn story(outcome: &Outcome) -> String {
    let story = story_text::story(outcome, Look::FILE);
    let longest = story.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    format!("\n{fence}text\n{story}{fence}\n")
}

/// A text on one line in which nothing is Markdown or HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' | '$' | '@' => {
                // As a reference it is no Markdown, and it is the same inside of HTML.
                let _infallible = write!(escaped, "&#{};", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}
