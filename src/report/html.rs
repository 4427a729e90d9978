//! The report for people, as a page: `run --report-html`. One file, which loads nothing.
//!
//! `page.html` is the page, with its style and its script beside it; [`flow`] and [`charts`] draw. Everything that comes from elsewhere (names, what
//! the application printed, messages) is escaped by the template, or by [`escaped`] where it is put into a drawing; and a page that a mistake in
//! this let something into would not run it, since its policy knows the digest of its own script. Start at [`text`].

mod charts;
mod flow;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use askama::Template;

use super::layout::{one_line, unstyled, visible};
use super::{Look, Role, ledger, text as story, word_of};
use crate::diagnostic::{Diagnostic, Failure, Place, Result, Severity};
use crate::figures::{count, numbered, seconds, thousands};
use crate::outcome::{
    Application, Layer, Ledger, Loss, Outcome, OverTime, Replay, Report, RunFacts, Stage, Step, StepResult, TimedBy,
};

const CSS: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");
/// The SHA-256 of [`SCRIPT`], as a content security policy has it; a test says what it is.
const SCRIPT_HASH: &str = "sha256-KzyVZ2T15c4bnmY0xKF/6Z2GcNiVULXS9t2+PqDU0ZE=";

/// So many scenarios that did not pass are open at first; with more, none is.
const MOST_OPEN: usize = 10;

/// The page.
///
/// # Errors
/// [`crate::diagnostic::Kind::Error`] where the template can't be filled.
pub fn text(report: &Report) -> Result<String> {
    let page = Page::of(report);
    page.render()
        .map_err(|error| Failure::error(Diagnostic::error("can't make the HTML report").why(error.to_string())))
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    css: &'static str,
    script: &'static str,
    script_hash: &'static str,
    summary: String,
    runs: Vec<String>,
    verdicts: Vec<Chip>,
    tags: BTreeSet<String>,
    scenarios: Vec<Scenario<'a>>,
}

/// A filter for a verdict.
struct Chip {
    word: &'static str,
    class: &'static str,
    /// How many scenarios have it.
    count: usize,
}

struct Scenario<'a> {
    outcome: &'a Outcome,
    /// Unique in the page.
    anchor: String,
    word: &'static str,
    class: &'static str,
    headline: String,
    figures: String,
    tags: Vec<String>,
    /// What the filter for text looks at, in small letters.
    text: String,
    open: bool,
    /// When and where it ran.
    facts: Vec<String>,
    notes: Vec<String>,
    flow: Option<String>,
    losses: Vec<LossRow>,
    problems: Vec<Problem>,
    replay: Option<String>,
    over_time: Option<String>,
    over_time_note: &'static str,
    has_lost: bool,
    has_arrived: bool,
    lateness: Option<String>,
    lateness_note: String,
    /// Each with its class.
    steps: Vec<(&'static str, String)>,
    applications: Vec<Program>,
    tries: Vec<Try>,
}

/// Texts that are HTML are called so.
struct LossRow {
    class: &'static str,
    heading: String,
    evidence: String,
    /// HTML.
    why: String,
    /// HTML.
    fix: Option<String>,
}

struct Problem {
    class: &'static str,
    /// HTML.
    what: String,
    place: Option<Marked>,
    /// HTML.
    label: Option<String>,
    /// Each with its name; the sentence is HTML.
    sentences: Vec<(&'static str, String)>,
}

/// A line of a file, in which a part is marked.
struct Marked {
    place: String,
    before: String,
    meant: String,
    after: String,
}

struct Program {
    heading: String,
    command: String,
    ended: String,
    streams: Vec<(&'static str, String)>,
}

struct Try {
    number: usize,
    word: &'static str,
    story: String,
}

impl<'a> Page<'a> {
    fn of(report: &'a Report) -> Self {
        let failures = report.scenarios.iter().filter(|outcome| outcome.verdict.is_failure()).count();
        let mut anchors = BTreeMap::new();
        let scenarios: Vec<_> = report
            .scenarios
            .iter()
            .map(|outcome| {
                let open = outcome.verdict.is_failure() && failures <= MOST_OPEN;
                Scenario::of(outcome, anchor(outcome, &mut anchors), report.runs.get(outcome.run), open)
            })
            .collect();
        let elapsed = report.runs.iter().map(|run| run.seconds).sum();
        let summary = story::summary(&report.scenarios, elapsed, 0, Look::FILE);
        Self {
            css: CSS,
            script: SCRIPT,
            script_hash: SCRIPT_HASH,
            summary: summary.trim_end().to_owned(),
            runs: report.runs.iter().map(of_run).collect(),
            verdicts: verdicts(&scenarios),
            tags: scenarios.iter().flat_map(|scenario| scenario.tags.iter().cloned()).collect(),
            scenarios,
        }
    }
}

/// A text in which nothing is HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// HTML of a sentence, in which what is between back-ticks is code.
fn sentence(text: &str) -> String {
    let text = visible(text);
    let parts: Vec<_> = text.split('`').collect();
    if parts.len() % 2 == 0 {
        // One of them has no other.
        return escaped(&text);
    }
    let html = parts.iter().enumerate().map(|(place, part)| match place % 2 {
        0 => escaped(part),
        _ => format!("<code>{}</code>", escaped(part)),
    });
    html.collect()
}

/// A figure of the template.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "a template passes references")]
fn number(number: &u64) -> String {
    thousands(*number)
}

/// A text in which nothing steers how it is shown; the template escapes it.
fn shown(text: impl AsRef<str>) -> String {
    visible(text.as_ref()).into_owned()
}

/// What is expected or seen, as people write it.
fn value(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => visible(text).into_owned(),
        serde_json::Value::Number(number) => number.as_u64().map_or_else(|| number.to_string(), thousands),
        other => visible(&other.to_string()).into_owned(),
    }
}

fn of_run(run: &RunFacts) -> String {
    let started = run.started.strftime("%Y-%m-%d %H:%M:%S UTC");
    let (hostname, kernel, version) = (shown(&run.hostname), shown(&run.kernel), shown(&run.version));
    format!("{started}, {}, on {hostname} (Linux {kernel}), restage {version}", seconds(run.seconds))
}

/// One for each word that occurs.
fn verdicts(scenarios: &[Scenario<'_>]) -> Vec<Chip> {
    let mut chips: Vec<Chip> = Vec::new();
    for scenario in scenarios {
        match chips.iter_mut().find(|chip| chip.word == scenario.word) {
            Some(chip) => chip.count += 1,
            None => chips.push(Chip { word: scenario.word, class: scenario.class, count: 1 }),
        }
    }
    chips.sort_by_key(|chip| (chip.class, chip.word));
    chips
}

/// The name of a scenario in links: its path and its case, in characters that need no escape there.
fn anchor(outcome: &Outcome, known: &mut BTreeMap<String, usize>) -> String {
    let path = outcome.id.strip_suffix(".toml").unwrap_or(&outcome.id);
    // The cases of a matrix have the name of their file before their own.
    let stem = path.rsplit('/').next().unwrap_or(path);
    let case = outcome.name.strip_prefix(stem).unwrap_or_default();
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let anchor: String = path.trim_start_matches('/').chars().chain(case.chars()).map(safe).collect();
    let anchor = if anchor.is_empty() { "scenario".to_owned() } else { anchor };
    let number = known.entry(anchor.clone()).and_modify(|number| *number += 1).or_insert(1);
    // No path has this in it, so that it can't be another one's name.
    if *number == 1 { anchor } else { format!("{anchor}~{number}") }
}

fn class(role: Role) -> &'static str {
    match role {
        Role::Good => "good",
        Role::Bad => "bad",
        Role::Odd | Role::Strong | Role::Faint => "odd",
    }
}

impl<'a> Scenario<'a> {
    fn of(outcome: &'a Outcome, anchor: String, run: Option<&RunFacts>, open: bool) -> Self {
        let headline = story::headline(outcome);
        let replay = outcome.replay.as_ref();
        let times = replay.and_then(|replay| replay.over_time.as_ref());
        let ledger = outcome.ledger.as_ref();
        let losses: Vec<_> = ledger.map(|ledger| ledger::losses_before(ledger, &Stage::ALL)).unwrap_or_default();
        Self {
            text: words(outcome, &headline, &losses),
            tags: outcome.tags.iter().map(|tag| one_line(tag)).collect(),
            word: word_of(outcome),
            class: class(outcome.into()),
            figures: ledger.map(|ledger| figures(ledger, outcome.seconds)).unwrap_or_default(),
            facts: facts(outcome, run),
            notes: notes(outcome),
            flow: ledger.map(flow::svg),
            losses: losses.into_iter().map(LossRow::of).collect(),
            problems: problems(outcome),
            replay: replay.map(story::replay_line),
            over_time: times.map(charts::over_time),
            over_time_note: over_time_note(times),
            has_lost: times
                .is_some_and(|times| times.lost.as_ref().is_some_and(|lost| lost.iter().any(|lost| *lost > 0))),
            has_arrived: times.is_some_and(|times| times.arrived.is_some()),
            lateness: replay
                .filter(|replay| !replay.lateness_histogram.is_empty())
                .map(|replay| charts::lateness(&replay.lateness_histogram)),
            lateness_note: replay.map(lateness_note).unwrap_or_default(),
            steps: outcome.steps.iter().map(step).collect(),
            applications: outcome.application.iter().chain(&outcome.processes).map(Program::of).collect(),
            tries: tries(outcome),
            outcome,
            anchor,
            headline,
            open,
        }
    }
}

/// A step, with its class.
fn step(step: &Step) -> (&'static str, String) {
    let class = match step.result {
        StepResult::Done => "good",
        StepResult::Failed => "bad",
        StepResult::NotDone => "odd",
    };
    (class, story::step_line(step))
}

/// What the filter for text looks at: names, tags, verdict, causes.
fn words(outcome: &Outcome, headline: &str, losses: &[&Loss]) -> String {
    let mut words = vec![outcome.name.as_str(), &outcome.id, headline, word_of(outcome)];
    words.extend(outcome.summary.as_deref());
    words.extend(outcome.tags.iter().map(String::as_str));
    words.extend(losses.iter().map(|loss| loss.cause.name()));
    one_line(&words.join(" ")).to_lowercase()
}

/// `720 sent, 720 consumed, 314 ms`.
fn figures(ledger: &Ledger, elapsed: f64) -> String {
    let reached = story::reached(ledger);
    let reached = reached.split("  ").map(str::trim).filter(|part| !part.is_empty());
    reached.map(str::to_owned).chain([seconds(elapsed)]).collect::<Vec<_>>().join(", ")
}

fn facts(outcome: &Outcome, run: Option<&RunFacts>) -> Vec<String> {
    let started = outcome.started.map(|started| started.strftime("started %Y-%m-%d %H:%M:%S UTC").to_string());
    started.into_iter().chain(run.map(|run| format!("on {}", shown(&run.hostname)))).collect()
}

/// What is known beside the ledger, a line each.
fn notes(outcome: &Outcome) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(ledger) = &outcome.ledger {
        let beside = [
            (ledger.foreign, "on the receiver's wire that this run did not send"),
            (ledger.duplicated, "on the receiver's wire once more than sent"),
            (ledger.reordered.unwrap_or_default(), "arrived after one that was sent later"),
            (ledger.altered, "arrived with other bytes than it was sent with"),
        ];
        let beside = beside.into_iter().filter(|(frames, _)| *frames > 0);
        notes.extend(beside.map(|(frames, what)| format!("{} {what}", count(frames, "frame"))));
        notes.extend(ledger.disagreements.iter().map(ledger::disagree));
        notes.extend(ledger::stages(ledger).into_iter().filter_map(|(stage, frames)| {
            let frames = frames.filter(|frames| !frames.why().is_empty())?;
            Some(format!("{stage}: {}, {}", ledger::figure(&frames), frames.why()))
        }));
    }
    notes.extend(story::replies(outcome));
    notes.extend(outcome.replay.as_ref().and_then(|replay| replay.max_lossless.as_ref()).map(story::find_line));
    notes
}

/// What a reader should know of the chart.
fn over_time_note(times: Option<&OverTime>) -> &'static str {
    match times {
        None => "The report has no times of frames.",
        Some(OverTime { lost: None, .. }) => {
            "It is not known which frames were lost when: the evidence does not name them, or frames were sent more than once."
        }
        Some(OverTime { lost: Some(lost), .. }) if lost.iter().any(|lost| *lost > 0) => {
            "A frame that was lost is shown at the time at which it was sent."
        }
        Some(OverTime { arrived: None, .. }) => "What arrives can't be seen here.",
        Some(_) => "",
    }
}

fn lateness_note(replay: &Replay) -> String {
    match (&replay.lateness_us, replay.lateness_histogram.is_empty()) {
        (None, _) => "Frames had no deadlines, or there was only one.".to_owned(),
        (Some(_), true) => "The report has no histogram.".to_owned(),
        (Some(_), false) => {
            let clock = match replay.timed_by {
                TimedBy::Sender => "the sender's clock",
                TimedBy::Receiver => "the kernel's receive times",
            };
            format!("Frames by how far they were off their schedule, which is aligned to the median; by {clock}.")
        }
    }
}

/// What is wrong or odd: expectations that are not met first.
fn problems(outcome: &Outcome) -> Vec<Problem> {
    let failed = outcome.checks.iter().filter(|check| !check.passed).map(|check| story::problem_of(check, outcome));
    failed.chain(outcome.problems.iter().cloned()).map(|problem| Problem::of(&problem)).collect()
}

fn tries(outcome: &Outcome) -> Vec<Try> {
    let tries = outcome.earlier_tries.iter().enumerate();
    let tries =
        tries.map(|(index, one)| Try { number: index + 1, word: word_of(one), story: story::of_try(one, Look::FILE) });
    tries.collect()
}

impl LossRow {
    fn of(loss: &Loss) -> Self {
        let happened = if loss.stage <= Stage::Sent { "not" } else { "lost before" };
        let evidence = match loss.evidence {
            Layer::Kernel => "the kernel's drop reason",
            Layer::Stage => "counters and what was seen",
            Layer::Predicted => "a prediction",
        };
        let numbers = loss.numbers.as_deref().map_or_else(String::new, |numbers| {
            let assumed = if loss.numbers_assumed { ", assumed among identical ones" } else { "" };
            format!("{}{assumed}; ", numbered("frame", &visible(&ledger::first_of(numbers))))
        });
        let expected = if loss.expected { " (expected)" } else { "" };
        Self {
            class: if loss.expected { "left" } else { "lost" },
            heading: format!("{} × {}{expected}", ledger::figure(&loss.frames), visible(loss.cause.name())),
            evidence: format!("{happened} {}; {numbers}evidence: {evidence}", loss.stage),
            why: sentence(&loss.why),
            fix: (!loss.expected).then(|| sentence(&loss.fix)),
        }
    }
}

impl Problem {
    fn of(problem: &Diagnostic) -> Self {
        let sentences = [("why", &problem.why), ("fix", &problem.fix)];
        Self {
            class: match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            },
            what: sentence(&problem.what),
            place: problem.place.as_ref().map(Marked::of),
            label: problem.label.as_deref().map(sentence),
            sentences: sentences
                .into_iter()
                .filter_map(|(name, text)| Some((name, sentence(text.as_ref()?))))
                .collect(),
        }
    }
}

impl Marked {
    fn of(place: &Place) -> Self {
        let caret = place.caret();
        let part =
            |range: std::ops::Range<usize>| place.text.get(range).map(visible).map(Cow::into_owned).unwrap_or_default();
        Self {
            place: format!("{}:{}:{}", shown(place.file.to_string_lossy()), place.line, place.column),
            before: part(0..caret.start),
            meant: part(caret.clone()),
            after: part(caret.end..place.text.len()),
        }
    }
}

impl Program {
    fn of(application: &Application) -> Self {
        let streams = [("standard error", &application.stderr), ("standard output", &application.stdout)];
        let mut streams: Vec<_> = streams.map(|(name, text)| (name, shown(unstyled(text)))).into();
        streams.retain(|(_, text)| !text.trim().is_empty());
        let heading = match &application.name {
            Some(name) => format!("Process {}", one_line(name)),
            None => "Application".to_owned(),
        };
        Self { heading, command: one_line(&application.command.join(" ")), ended: shown(&application.ended), streams }
    }
}
