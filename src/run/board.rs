//! The scenarios of a run and what has come in of each: workers' events and ends become outcomes.
//!
//! Nothing here starts a process or prints; `run` does both.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::turns::Stopped;
use crate::diagnostic::{Diagnostic, Failure, Severity};
use crate::figures::{agree, count, duration};
use crate::outcome::{CaptureFile, Event, Outcome, Verdict};
use crate::process::worker::WorkerEnd;

/// What is known of a scenario before it is run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Label {
    pub name: String,
    /// As given.
    pub file: String,
    /// As in [`Outcome`].
    pub id: String,
    pub summary: Option<String>,
    pub tags: Vec<String>,
    pub captures: Vec<CaptureFile>,
}

#[derive(Debug)]
struct Entry {
    label: Label,
    started: Option<Timestamp>,
    /// When its worker sent its first and its last event.
    events: Option<(Duration, Duration)>,
    /// How many frames it had sent, and how many had arrived, at its last report.
    progress: Option<(u64, Option<u64>)>,
    outcome: Option<Outcome>,
    /// Of the tries before.
    earlier: Vec<Outcome>,
}

/// All scenarios of a run, in the order in which they were given.
#[derive(Debug, Default)]
pub(super) struct Board {
    entries: Vec<Entry>,
}

impl Board {
    /// A scenario that a worker will run; its index.
    pub(super) fn waiting(&mut self, label: Label) -> usize {
        let earlier = Vec::new();
        self.entries.push(Entry { label, started: None, events: None, progress: None, outcome: None, earlier });
        self.entries.len() - 1
    }

    /// A scenario that can't be used.
    pub(super) fn unusable(&mut self, label: Label, failure: Failure) {
        let index = self.waiting(label);
        self.failed(index, failure);
    }

    /// A scenario that is not run because these programs are absent.
    pub(super) fn skipped(&mut self, label: Label, absent: &[&str]) {
        let named: Vec<_> = absent.iter().map(|command| format!("`{command}`")).collect();
        let verb = agree(absent.len() as u64, "is", "are");
        let index = self.waiting(label);
        let skipped = Some(format!("{} {verb} not installed", named.join(", ")));
        let outcome = Outcome { skipped, ..self.blank(index, Verdict::Skipped) };
        self.entries[index].outcome = Some(outcome);
    }

    /// Its worker was started now; when, and what is known of it.
    pub(super) fn started(&mut self, index: usize, now: Timestamp) -> Option<&Label> {
        let entry = self.entries.get_mut(index)?;
        entry.started = Some(now);
        Some(&entry.label)
    }

    /// Something came from a worker, at this time of the run. The outcome, if that was it.
    pub(super) fn event(&mut self, index: usize, event: Event, at: Duration) -> Option<&Outcome> {
        let entry = self.entries.get_mut(index)?;
        entry.events = Some((entry.events.map_or(at, |(first, _)| first), at));
        match event {
            Event::Ended { outcome } => {
                // The name and the file as they were given, whatever the worker made of them. It knows the digests of the captures.
                let Label { name, file, id, summary, tags, captures: _ } = entry.label.clone();
                let (started, earlier_tries) = (entry.started, entry.earlier.clone());
                let outcome = Outcome { name, file, id, summary, tags, started, earlier_tries, ..*outcome };
                Some(entry.outcome.insert(outcome))
            }
            Event::Progress { sent, arrived } => {
                entry.progress = Some((sent, arrived));
                None
            }
            Event::Planned { .. } | Event::Phase { .. } | Event::Output { .. } | Event::Kept { .. } => None,
        }
    }

    /// A worker has ended. The outcome, if it had not reported one.
    pub(super) fn end(&mut self, index: usize, end: &WorkerEnd) -> Option<&Outcome> {
        let entry = self.entries.get_mut(index)?;
        let progress = entry.progress;
        match (entry.outcome.as_mut(), end) {
            (None, end) => {
                let mut problem = mishap(end);
                if let (Some((sent, arrived)), Some(why)) = (progress, &mut problem.why) {
                    let arrived = arrived.map(|arrived| format!(", {arrived} arrived")).unwrap_or_default();
                    let _infallible = write!(why, "; its last report: {sent} sent{arrived}");
                }
                self.failed(index, Failure::error(problem));
                if let Some(outcome) = &mut self.entries[index].outcome {
                    outcome.interrupted = *end == WorkerEnd::Interrupted;
                }
            }
            (Some(_), WorkerEnd::Finished) => return None,
            // Its verdict counts: what went wrong came after it.
            (Some(outcome), end) => {
                outcome.problems.push(Diagnostic { severity: Severity::Warning, ..mishap(end) });
                return None;
            }
        }
        self.entries[index].outcome.as_ref()
    }

    /// The outcome of a scenario becomes that of an earlier try: there will be another one.
    pub(super) fn try_again(&mut self, index: usize) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        if let Some(outcome) = entry.outcome.take() {
            entry.earlier.push(Outcome { earlier_tries: Vec::new(), ..outcome });
        }
        (entry.events, entry.progress) = (None, None);
    }

    /// A scenario will have no more tries: the last one was it. The outcome.
    pub(super) fn no_other_try(&mut self, index: usize) -> Option<&Outcome> {
        let entry = self.entries.get_mut(index)?;
        let last = entry.earlier.pop()?;
        Some(entry.outcome.insert(Outcome { earlier_tries: entry.earlier.clone(), ..last }))
    }

    /// A scenario was not run. The outcome.
    pub(super) fn not_run(&mut self, index: usize, why: Stopped) -> Option<&Outcome> {
        let problem = match why {
            Stopped::Interrupted => Diagnostic::error("the run was interrupted before it was this scenario's turn"),
            Stopped::Failures(most) => {
                let failed = count(most.get() as u64, "scenario");
                Diagnostic::error(format!(
                    "the run ended before it was this scenario's turn, after {failed} had failed"
                ))
            }
        };
        let outcome = Outcome { problems: vec![problem], ..self.blank(index, Verdict::NotRun) };
        Some(self.entries.get_mut(index)?.outcome.insert(outcome))
    }

    /// The workers could not be supervised: what has no outcome has this one.
    pub(super) fn give_up(&mut self, failure: &Failure) {
        for index in 0..self.entries.len() {
            if self.entries[index].outcome.is_none() {
                self.failed(index, failure.clone());
            }
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.label.name.as_str())
    }

    /// The outcomes that are known, in the order in which the scenarios were given.
    pub(super) fn outcomes(&self) -> Vec<Outcome> {
        self.known().map(|(_, outcome)| outcome.clone()).collect()
    }

    /// The same, each with the index of its scenario.
    pub(super) fn known(&self) -> impl Iterator<Item = (usize, &Outcome)> {
        let outcomes = self.entries.iter().map(|entry| entry.outcome.as_ref());
        outcomes.enumerate().filter_map(|(index, outcome)| Some((index, outcome?)))
    }

    /// The outcomes of all scenarios, should the run be killed now.
    pub(super) fn if_killed(&self) -> Vec<Outcome> {
        let not_ended = |index| {
            let problem = Diagnostic::error("this scenario had not ended when the report was written")
                .why("reports are written while a run goes on; it still does, or it was killed");
            Outcome { problems: vec![problem], ..self.blank(index, Verdict::NotRun) }
        };
        let outcomes = self.entries.iter().map(|entry| entry.outcome.clone());
        outcomes.enumerate().map(|(index, outcome)| outcome.unwrap_or_else(|| not_ended(index))).collect()
    }

    fn failed(&mut self, index: usize, failure: Failure) {
        let outcome = Outcome {
            problems: failure.problems,
            earlier_tries: self.entries[index].earlier.clone(),
            ..self.blank(index, failure.kind.into())
        };
        self.entries[index].outcome = Some(outcome);
    }

    fn blank(&self, index: usize, verdict: Verdict) -> Outcome {
        let entry = &self.entries[index];
        let seconds = entry.events.map_or(0.0, |(first, last)| last.saturating_sub(first).as_secs_f64());
        let Label { name, file, id, summary, tags, captures } = entry.label.clone();
        Outcome {
            seconds,
            id,
            summary,
            tags,
            captures,
            started: entry.started,
            ..Outcome::blank(&name, Path::new(&file), verdict)
        }
    }
}

/// What went wrong with a worker that ended like this before it reported an outcome.
fn mishap(end: &WorkerEnd) -> Diagnostic {
    match end {
        WorkerEnd::Finished => Diagnostic::error("the worker ended without a verdict")
            .why("this is a mistake in restage")
            .fix("report it, with the scenario"),
        WorkerEnd::TimedOut { limit } => {
            Diagnostic::error(format!("the worker did not end within {}, and was killed", duration(*limit)))
                .why("at `timeout` a worker stops sending and judges what it saw, and this one did not")
                .fix("make `timeout` longer if the machine was busy; else report it, with the scenario")
        }
        WorkerEnd::NotStarted | WorkerEnd::Interrupted => {
            Diagnostic::error("interrupted").why("the run was asked to stop before this scenario had ended")
        }
        WorkerEnd::Crashed { how, stderr } => {
            let said = stderr.trim();
            let why = if said.is_empty() { String::new() } else { format!("; it wrote: {said}") };
            Diagnostic::error(format!("the worker ended by {how}"))
                .why(format!("this is a mistake in restage, or something on this machine killed it{why}"))
                .fix("see in `dmesg` whether memory ran out; else report it, with the scenario")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "scenarios/one.toml";

    fn label(name: &str, file: &str) -> Label {
        let tags = vec!["a tag".to_owned()];
        Label { name: name.to_owned(), file: file.to_owned(), id: format!("root/{file}"), tags, ..Label::default() }
    }

    fn board() -> Board {
        let mut board = Board::default();
        assert_eq!(board.waiting(label("one", FILE)), 0);
        board
    }

    fn ended(verdict: Verdict) -> Event {
        Event::Ended {
            outcome: Box::new(Outcome { seconds: 0.5, ..Outcome::blank("x", Path::new("/x.toml"), verdict) }),
        }
    }

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn an_outcome_is_listed_by_the_name_that_was_given() {
        let mut board = board();
        assert_eq!(board.started(0, Timestamp::UNIX_EPOCH), Some(&label("one", FILE)));
        assert_eq!(board.event(0, Event::Phase { name: "lab".into() }, at(10)), None);
        let outcome = board.event(0, ended(Verdict::Pass), at(500)).expect("the outcome is known at once").clone();
        assert_eq!((outcome.name.as_str(), outcome.file.as_str(), outcome.seconds), ("one", FILE, 0.5));
        assert_eq!(
            (outcome.tags.as_slice(), outcome.started),
            (["a tag".to_owned()].as_slice(), Some(Timestamp::UNIX_EPOCH))
        );
        assert_eq!(board.end(0, &WorkerEnd::Finished), None);
        assert_eq!(board.outcomes(), [outcome]);
    }

    #[test]
    fn a_worker_without_a_verdict_is_an_error_that_says_how_it_ended() {
        let crashed = |stderr: &str| WorkerEnd::Crashed { how: "signal 9 (SIGKILL)".into(), stderr: stderr.into() };
        let ends = [
            WorkerEnd::Finished,
            WorkerEnd::TimedOut { limit: Duration::from_secs(32) },
            WorkerEnd::Interrupted,
            crashed(""),
            crashed("thread panicked\nhere\n"),
        ];
        let mut text = String::new();
        for end in ends {
            let mut board = board();
            board.event(0, Event::Phase { name: "lab".into() }, at(100));
            board.event(0, Event::Progress { sent: 1, arrived: Some(1) }, at(350));
            let outcome = board.end(0, &end).expect("it is known now");
            assert_eq!((outcome.verdict, outcome.seconds), (Verdict::Error, 0.25));
            text.push_str(&crate::report::text::problems(&outcome.problems, crate::report::Look::FILE));
            text.push('\n');
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_scenario_whose_turn_never_came_is_not_run() {
        let mut board = board();
        let outcome = board.not_run(0, Stopped::Interrupted).expect("it is known now");
        assert_eq!(outcome.verdict, Verdict::NotRun);
        assert_eq!(serde_json::to_value(outcome.verdict).expect("a word"), "not run");
    }

    #[test]
    fn an_outcome_holds_those_of_the_tries_before_it() {
        let mut board = board();
        board.event(0, ended(Verdict::Fail), at(1));
        board.try_again(0);
        assert_eq!(board.outcomes(), []);
        board.end(0, &WorkerEnd::Finished);
        board.try_again(0);
        let outcome = board.event(0, ended(Verdict::Pass), at(9)).expect("it is known now");
        assert!(outcome.is_flaky());
        let verdicts: Vec<_> = outcome.earlier_tries.iter().map(|one| one.verdict).collect();
        assert_eq!(verdicts, [Verdict::Fail, Verdict::Error]);
        assert!(outcome.earlier_tries.iter().all(|one| one.earlier_tries.is_empty() && one.name == "one"));
    }

    #[test]
    fn a_try_that_is_not_followed_by_another_one_counts() {
        let mut board = board();
        board.event(0, ended(Verdict::Fail), at(1));
        board.try_again(0);
        board.event(0, ended(Verdict::Blocked), at(1));
        board.try_again(0);
        let outcome = board.no_other_try(0).expect("it is known now");
        assert_eq!((outcome.verdict, outcome.earlier_tries.len()), (Verdict::Blocked, 1));
    }

    #[test]
    fn a_crash_after_the_verdict_changes_no_verdict_but_is_told() {
        let mut board = board();
        board.event(0, ended(Verdict::Pass), at(1));
        assert_eq!(board.end(0, &WorkerEnd::TimedOut { limit: Duration::from_secs(32) }), None);
        let outcomes = board.outcomes();
        assert_eq!(outcomes[0].verdict, Verdict::Pass);
        assert_eq!(outcomes[0].problems[0].severity, Severity::Warning);
    }

    #[test]
    fn a_skipped_scenario_names_every_program_that_is_absent() {
        let mut board = Board::default();
        board.skipped(label("one", FILE), &["nfcapd"]);
        board.skipped(label("two", "two.toml"), &["nfcapd", "nfdump"]);
        let reasons: Vec<_> = board.outcomes().into_iter().filter_map(|outcome| outcome.skipped).collect();
        assert_eq!(reasons, ["`nfcapd` is not installed", "`nfcapd`, `nfdump` are not installed"]);
    }

    #[test]
    fn when_nothing_can_be_supervised_only_what_has_no_verdict_fails() {
        let mut board = board();
        board.waiting(label("two", "two.toml"));
        board.event(0, ended(Verdict::Pass), at(1));
        board.give_up(&Failure::blocked(Diagnostic::error("no more processes")));
        let verdicts: Vec<_> = board.outcomes().iter().map(|outcome| outcome.verdict).collect();
        assert_eq!(verdicts, [Verdict::Pass, Verdict::Blocked]);
    }

    #[test]
    fn an_unknown_index_is_ignored() {
        assert_eq!(board().event(7, ended(Verdict::Pass), at(1)), None);
        assert_eq!(board().end(7, &WorkerEnd::Finished), None);
    }
}
