//! What a run came to, for people: one line for each scenario as it ends, the whole story of each that did not pass, and
//! a summary.
//!
//! The story is made so that someone whose collector gets nothing knows why at a glance: the verdict, then the ledger with
//! the loss where it happened and its remedy, then what was expected, then what the application said.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::layout::{padded, shortened, visible, visible_name};
use super::{Look, Role, ledger, paint, paint_lines, word, word_of};
use crate::diagnostic::{Diagnostic, Severity, render};
use crate::figures::{count, plural, scaled, seconds, thousands};
use crate::outcome::{Application, Check, Ledger, Outcome, RateSearch, Replay, Stage, Step, StepResult, Verdict};

/// Columns of the verdict and the space after it; everything else of a scenario stands to the right of it.
pub(super) const MARGIN: usize = 9;
/// Names get at most this many columns; a longer one pushes the rest of its line to the right.
const LONGEST_NAME: usize = 56;
/// Lines of an application's output that are shown; the reports have the rest.
const TAIL: usize = 20;
/// Columns of one such line, and of a headline; some programs print their whole configuration in one.
const LONGEST_LINE: usize = 200;
/// Columns of `5,548 sent  5,548 consumed`, with figures of up to seven.
const REACHED: usize = 31;

/// Columns for the names of these scenarios, so that their lines make a table.
pub fn name_width<'a>(names: impl IntoIterator<Item = &'a str>) -> usize {
    let widths = names.into_iter().map(unicode_width::UnicodeWidthStr::width);
    widths.filter(|width| *width <= LONGEST_NAME).max().unwrap_or_default()
}

/// What is shown when a scenario ends: its line, and under it what is worth knowing although it passed.
pub fn line(outcome: &Outcome, name_width: usize, look: Look) -> String {
    let mut text = heading(outcome, &headline(outcome), name_width, look);
    if outcome.verdict == Verdict::Pass {
        if let Some(ledger) = &outcome.ledger {
            text.push_str(&ledger::losses(ledger, look, MARGIN));
            text.push_str(&ledger::disagreements(ledger, look, MARGIN));
        }
        text.push_str(&replies_line(outcome, look));
        if let Some(find) = outcome.replay.as_ref().and_then(|replay| replay.max_lossless.as_ref()) {
            text.push_str(&ledger::hang(&" ".repeat(MARGIN), &find_line(find), look.width));
        }
        // With a target nothing behind the wire was seen, which a pass must not hide.
        let is_target =
            outcome.ledger.as_ref().is_some_and(|ledger| ledger.arrived.is_none() && ledger.layers.is_none());
        let warnings: Vec<_> = of_severity(outcome, |severity| is_target || severity != Severity::Note);
        if !warnings.is_empty() {
            text.push_str(&problems(&warnings, look));
            text.push('\n');
        }
    }
    text
}

/// What is shown when a try ends that did not pass, and another one follows.
pub fn try_line(outcome: &Outcome, name_width: usize, look: Look) -> String {
    let verdict = word(outcome.verdict);
    let headline = format!("try {}: {verdict}: {}", outcome.earlier_tries.len() + 1, headline(outcome));
    labelled("again", Role::Odd, outcome, &headline, name_width, look)
}

/// Lines that an application printed, each with its scenario and its stream.
pub fn output(name: &str, stream: &str, lines: &str) -> String {
    lines.lines().fold(String::new(), |mut text, line| {
        let _infallible = writeln!(text, "{name} {stream} | {}", visible(line));
        text
    })
}

/// Where the files of an application stay.
pub fn kept(name: &str, folder: &str) -> String {
    format!("{name}: the application's files are kept in {}; remove them with `rm -r`\n", visible(folder))
}

/// A replay that takes long, before it begins.
pub fn long_replay(name: &str, takes: f64) -> String {
    format!(
        "{}: the replay takes {}; `[pacing] max-gap = \"1s\"` shortens silences, and `rate` sets another pace\n",
        visible(name),
        seconds(takes)
    )
}

/// What became of frames that others sent: from their arrival on or, where it is known what was sent, all of it.
pub fn watched(ledger: &Ledger, begins: Stage, look: Look) -> String {
    ledger::table_from(begins, ledger, look, MARGIN)
}

/// The whole story of a scenario that did not pass.
pub fn story(outcome: &Outcome, look: Look) -> String {
    story_with(&tries(outcome, look), outcome, look)
}

/// The same of one try.
pub(super) fn of_try(outcome: &Outcome, look: Look) -> String {
    story_with("", outcome, look)
}

fn story_with(tries: &str, outcome: &Outcome, look: Look) -> String {
    // Where nothing was sent the problems follow at once, and need no headline.
    let headline = outcome.ledger.as_ref().map(|_| headline(outcome)).unwrap_or_default();
    let mut text = heading(outcome, &headline, 0, look);
    let _infallible = writeln!(text, "{:MARGIN$}{}", "", paint(look.style, Role::Faint, &visible_name(&outcome.file)));
    text.push_str(tries);
    if let Some(ledger) = &outcome.ledger {
        text.push('\n');
        text.push_str(&ledger::table(ledger, look, MARGIN));
    }
    text.push_str(&replies_line(outcome, look));
    if let Some(replay) = &outcome.replay {
        let lines = ledger::hang(&" ".repeat(MARGIN), &replay_line(replay), look.width);
        text.push_str(&paint_lines(look.style, Role::Faint, &lines));
        if let Some(find) = &replay.max_lossless {
            text.push_str(&ledger::hang(&" ".repeat(MARGIN), &find_line(find), look.width));
        }
    }
    for step in &outcome.steps {
        let line = ledger::hang(&" ".repeat(MARGIN), &step_line(step), look.width);
        let role = if step.result == StepResult::Failed { Role::Bad } else { Role::Faint };
        text.push_str(&paint_lines(look.style, role, &line));
    }
    let failed: Vec<_> =
        outcome.checks.iter().filter(|check| !check.passed).map(|check| problem_of(check, outcome)).collect();
    for problems_of in [&failed, &outcome.problems] {
        if !problems_of.is_empty() {
            text.push('\n');
            text.push_str(&problems(problems_of, look));
        }
    }
    for application in outcome.application.iter().chain(&outcome.processes) {
        text.push_str(&application_text(application, look));
    }
    text
}

/// The scenarios that took longest, so many at most; 0: all that were run.
pub fn durations(outcomes: &[Outcome], most: usize) -> String {
    let mut ran: Vec<_> = outcomes.iter().filter(|outcome| outcome.started.is_some()).collect();
    ran.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    let shown = if most == 0 { ran.len() } else { ran.len().min(most) };
    let mut text = String::new();
    if shown > 0 {
        let _infallible =
            writeln!(text, "the slowest {} of {}:", thousands(shown as u64), count(ran.len() as u64, "scenario"));
    }
    for outcome in &ran[..shown] {
        let _infallible = writeln!(text, "{:>8}  {}", seconds(outcome.seconds), visible_name(&outcome.name));
    }
    text
}

/// A line for each earlier try, and one that says which try is shown.
fn tries(outcome: &Outcome, look: Look) -> String {
    let earlier = outcome.earlier_tries.iter().map(|one| format!("{}: {}", word(one.verdict), headline(one)));
    let mut lines: Vec<_> = earlier.collect();
    if !lines.is_empty() {
        lines.push("the last:".to_owned());
    }
    let lines = lines.iter().zip(1..).map(|(line, number)| format!("{:MARGIN$}try {number}, {line}\n", ""));
    paint_lines(look.style, Role::Faint, &lines.collect::<String>())
}

/// The last line of a run: `12 scenarios: 10 passed, 1 failed, 1 skipped in 3.2 s; 7 not chosen`.
pub fn summary(outcomes: &[Outcome], elapsed: f64, left_out: usize, look: Look) -> String {
    let total = u64::try_from(outcomes.len()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    for verdict in [
        Verdict::Pass,
        Verdict::Fail,
        Verdict::Invalid,
        Verdict::Blocked,
        Verdict::Error,
        Verdict::Skipped,
        Verdict::NotRun,
    ] {
        let of_it = outcomes.iter().filter(|outcome| outcome.verdict == verdict).count();
        if of_it > 0 {
            let of_it = u64::try_from(of_it).unwrap_or(u64::MAX);
            let flaky = outcomes.iter().filter(|outcome| outcome.is_flaky()).count();
            let words = match verdict {
                Verdict::Pass if flaky > 0 => format!("passed ({} flaky)", thousands(flaky as u64)),
                Verdict::Pass => "passed".to_owned(),
                Verdict::Fail => "failed".to_owned(),
                Verdict::Error => plural(of_it, "error"),
                other => word(other).to_owned(),
            };
            parts.push(paint(look.style, verdict.into(), &format!("{} {words}", thousands(of_it))));
        }
    }
    let mut text = count(total, "scenario");
    if !parts.is_empty() {
        let _infallible = write!(text, ": {}", parts.join(", "));
    }
    let _infallible = write!(text, " in {}", seconds(elapsed));
    if left_out > 0 {
        let _infallible = write!(text, "; {} not chosen", thousands(left_out as u64));
    }
    text + "\n"
}

/// Why it is not a pass at the first try, in a few words; empty for one that is.
pub(super) fn headline(outcome: &Outcome) -> String {
    let text = match outcome.verdict {
        Verdict::Pass if outcome.is_flaky() => {
            let first = outcome.earlier_tries.first().map(headline).unwrap_or_default();
            format!("passed at try {}; try 1: {first}", outcome.earlier_tries.len() + 1)
        }
        // A failure that is expected is the only one in a scenario that passes; its note comes first.
        Verdict::Pass if outcome.checks.iter().any(|check| !check.passed) => {
            outcome.problems.first().map(|note| note.what.clone()).unwrap_or_default()
        }
        Verdict::Pass => String::new(),
        Verdict::Skipped => outcome.skipped.clone().unwrap_or_default(),
        Verdict::Invalid | Verdict::Blocked | Verdict::NotRun | Verdict::Error => errors(outcome),
        Verdict::Fail => failure(outcome),
    };
    // The first line is the headline; the story has the rest.
    shortened(&visible(text.lines().next().unwrap_or_default()), LONGEST_LINE).into_owned()
}

/// The first of these that made it fail: how the application ended, what went wrong with the run, a count that can't be decided, the losses that
/// nothing allows, any other expectation.
fn failure(outcome: &Outcome) -> String {
    let failed = || outcome.checks.iter().filter(|check| !check.passed);
    let in_words = |check: &Check| match &check.problem {
        Some(problem) => problem.what.clone(),
        None => format!("{} is not as expected", check.what),
    };
    if let Some(check) = failed().find(|check| check.what.explains_others()) {
        return in_words(check);
    }
    let incidents = errors(outcome);
    if !incidents.is_empty() {
        return incidents;
    }
    let losses = outcome.ledger.as_ref().map(ledger::counting).unwrap_or_default();
    let undecided = failed().find(|check| check.undecided);
    match (undecided, losses.as_slice()) {
        (Some(check), _) => in_words(check),
        (None, [first, more @ ..]) => {
            let worst = format!("{} × {}", ledger::figure(&first.frames), first.cause);
            let others = more.iter().filter(|loss| loss.cause != first.cause).map(|loss| &loss.cause);
            let others = others.collect::<HashSet<_>>().len() as u64;
            if others == 0 { worst } else { format!("{worst}, and {}", count(others, "more cause")) }
        }
        (None, []) => failed().next().map(in_words).unwrap_or_default(),
    }
}

/// The first error, and how many more there are.
fn errors(outcome: &Outcome) -> String {
    match of_severity(outcome, |severity| severity == Severity::Error).as_slice() {
        [] => String::new(),
        [only] => only.what.clone(),
        [first, more @ ..] => format!("{}, and {} more", first.what, more.len()),
    }
}

/// Verdict, name, how far the packets came, how long it took, and why it is not a pass.
fn heading(outcome: &Outcome, headline: &str, name_width: usize, look: Look) -> String {
    labelled(word_of(outcome), outcome.into(), outcome, headline, name_width, look)
}

/// The same with another word for the verdict.
fn labelled(label: &str, role: Role, outcome: &Outcome, headline: &str, name_width: usize, look: Look) -> String {
    let verdict = paint(look.style, role, &padded(label, MARGIN - 2));
    let name = visible_name(&outcome.name);
    let name = paint(look.style, Role::Strong, &padded(&name, name_width));
    let mut text = format!("{verdict}  {name}");
    if let Some(ledger) = &outcome.ledger {
        let _infallible = write!(text, "  {}  {:>7}", reached(ledger), seconds(outcome.seconds));
    }
    if !headline.is_empty() {
        let role = if outcome.verdict == Verdict::Skipped { Role::Faint } else { role };
        let _infallible = write!(text, "  {}", paint(look.style, role, headline));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// How many were sent, and how many reached the last stage that can be seen; padded, so that lines make a table.
pub(super) fn reached(ledger: &Ledger) -> String {
    let last =
        ledger::stages(ledger).into_iter().rev().find_map(|(stage, packets)| packets.map(|packets| (stage, packets)));
    // What a sniffer has is further than any stage of the stack.
    let last = ledger.captured.clone().map(|captured| (Stage::Captured, captured)).or(last);
    let sent = format!("{:>7} sent", thousands(ledger.sent));
    match last {
        Some((stage, packets)) if stage > Stage::Sent => {
            format!("{sent}  {:>7} {:<9}", ledger::figure(&packets), stage)
        }
        _ => padded(&sent, REACHED),
    }
}

/// What became of a step: `step 2, line 15: run rndc reload: failed`.
pub(super) fn step_line(step: &Step) -> String {
    let result = match (step.sent, &step.ended) {
        (Some(sent), _) if step.result == StepResult::Done => format!("{} sent", thousands(sent)),
        (Some(sent), _) => format!("{}, {} sent", step.result.name(), thousands(sent)),
        (None, Some(ended)) => format!("{}, it had ended: {}", step.result.name(), visible(ended)),
        (None, None) => step.result.name().to_owned(),
    };
    format!("step {}, line {}: {}: {result}", step.number, step.line, visible(&step.what))
}

/// How the frames were sent.
pub(super) fn replay_line(replay: &Replay) -> String {
    let mut text = format!("sent in {} ({}", seconds(replay.seconds), visible(&replay.sender));
    if let Some(pps) = replay.pps {
        let _infallible = write!(text, ", {}", scaled(pps, "pps"));
    }
    if let Some(bits) = replay.bits_per_second {
        let _infallible = write!(text, ", {}", scaled(bits, "bps"));
    }
    text.push(')');
    if let Some(lateness) = replay.lateness_us {
        let deviations = [("median", lateness.p50), ("p99", lateness.p99), ("max", lateness.max)];
        let figures = deviations.map(|(name, microseconds)| format!("{name} {}", seconds(microseconds / 1e6)));
        let _infallible = write!(text, "; off schedule by {}", figures.join(", "));
    }
    if !replay.senders.is_empty() {
        let senders =
            replay.senders.iter().map(|sender| format!("{} by {}", thousands(sender.sent), visible(&sender.at)));
        let _infallible = write!(text, "; {}", senders.collect::<Vec<_>>().join(", "));
    }
    text
}

fn replies_line(outcome: &Outcome, look: Look) -> String {
    let Some(replies) = replies(outcome) else { return String::new() };
    paint_lines(look.style, Role::Faint, &ledger::hang(&" ".repeat(MARGIN), &replies, look.width))
}

/// What the receiver sent back: `replies: 50 datagrams; 50 of 50 questions answered`.
pub(super) fn replies(outcome: &Outcome) -> Option<String> {
    let replies = outcome.replies.as_ref()?;
    // A receiver that sends nothing back, such as a collector, was asked nothing.
    let is_asked = outcome.checks.iter().any(|check| check.what.to_string().starts_with("replies."));
    let errors = replies.errors_in_words();
    let mut parts = Vec::new();
    let datagrams = replies.datagrams.filter(|datagrams| *datagrams > 0 || is_asked || errors.is_empty());
    parts.extend(datagrams.map(|datagrams| count(datagrams, "datagram")));
    if let (Some(1..), Some(answered), Some(questions @ 1..)) = (datagrams, replies.answered, replies.questions) {
        parts.push(format!("{} of {} answered", thousands(answered), count(questions, "question")));
    }
    if !errors.is_empty() {
        parts.push(format!("ICMP errors: {errors}"));
    }
    if replies.datagrams.is_none() {
        parts.push(format!("not known: {}", visible(replies.why.as_deref().unwrap_or_default())));
    }
    Some(format!("replies: {}", parts.join("; ")))
}

/// What the search for the highest rate found, and what ends it.
pub(super) fn find_line(find: &RateSearch) -> String {
    let trials = count(u64::try_from(find.trials.len()).unwrap_or(u64::MAX), "trial");
    let found = match find.pps {
        Some(pps) => format!("{} without loss, found in {trials}", scaled(pps, "pps")),
        None => format!("no rate without loss, in {trials}"),
    };
    let above = if find.pps.is_some() { "; above it " } else { "; " };
    let ends = match (&find.limit, &find.queued) {
        (Some(loss), _) => format!(
            "{above}{} × {}: {}; {}",
            ledger::figure(&loss.frames),
            visible(loss.cause.name()),
            visible(&loss.why),
            visible(&loss.fix)
        ),
        (None, Some(queued)) => format!("; {}", visible(queued)),
        (None, None) if find.pps.is_some() && find.unfinished.is_none() => {
            ": the receiver takes all that this machine sends".to_owned()
        }
        (None, None) => String::new(),
    };
    format!("{found}{ends}")
}

/// The failed expectation as the judge wrote it down, or from its figures.
pub(super) fn problem_of(check: &Check, outcome: &Outcome) -> Diagnostic {
    let has_loss = outcome.ledger.as_ref().is_some_and(|ledger| !ledger::counting(ledger).is_empty());
    if let Some(problem) = &check.problem
        && check.what.is_about_packets()
        && !check.undecided
        && has_loss
    {
        // The loss behind it is in the ledger above, with why and fix.
        return Diagnostic { why: None, fix: None, ..problem.clone() };
    }
    check.problem.clone().unwrap_or_else(|| {
        let what = format!("expected `{}` = {}, it is {}", check.what, check.expected, check.actual);
        let problem = Diagnostic::error(what);
        match check.line {
            Some(line) => problem.why(format!("line {line} of {}", outcome.file)),
            None => problem,
        }
    })
}

fn of_severity(outcome: &Outcome, wanted: impl Fn(Severity) -> bool) -> Vec<Diagnostic> {
    outcome.problems.iter().filter(|problem| wanted(problem.severity)).cloned().collect()
}

/// Problems as compilers show them, with a line end after the last.
pub fn problems(problems: &[Diagnostic], look: Look) -> String {
    let mut text = render(problems, look.style);
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// How the application ended, and the last that it said.
fn application_text(application: &Application, look: Look) -> String {
    let command = application.command.join(" ");
    let who = application.name.as_ref().map(|name| format!("process {}: ", visible(name))).unwrap_or_default();
    let how = format!("{who}`{}` ended: {}", shortened(&visible(&command), 60), visible(&application.ended));
    let said: Vec<_> = [("standard error", &application.stderr), ("standard output", &application.stdout)]
        .into_iter()
        .filter(|(_, text)| !text.trim().is_empty())
        .collect();
    // Its own words explain most failures, and its standard output seldom does when it complained elsewhere.
    let Some((stream, output)) = said.first() else {
        return format!("\n{how}; it wrote nothing\n");
    };
    let output = visible(output.trim_end());
    let lines: Vec<_> = output.lines().collect();
    let shown = lines.len().min(TAIL);
    let which =
        if shown < lines.len() { format!("the last {} of its", count(shown as u64, "line")) } else { "its".to_owned() };
    let mut text = format!("\n{how}; {which} {stream}:\n");
    for line in &lines[lines.len() - shown..] {
        let bar = paint(look.style, Role::Faint, "|");
        let _infallible = writeln!(text, "  {bar} {}", shortened(line.trim_end(), LONGEST_LINE));
    }
    text
}
