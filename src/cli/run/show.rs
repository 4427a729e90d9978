//! What the terminal shows of a run: lines while workers run, and below them the stories and the summary.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Reports;
use super::messages::{MessageFormat, Messages};
use super::slow::{SlowMarks, locked};
use crate::cli::output::Output;
use crate::cli::status::Status;
use crate::cli::terminal::Terminal;
use crate::outcome::{Event, Outcome, Verdict};
use crate::report::progress::Progress;
use crate::report::text;
use crate::run::batch::{Batch, Update};

/// What is shown, beside the stories of what did not pass and the summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::Args)]
pub(super) struct Detail {
    /// Show no line for scenarios that passed, were skipped or are tried again, and not what is running.
    #[arg(long, short, help_heading = crate::cli::reports::HEADING, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// Show the whole story of scenarios that passed, too: their ledger, how they were sent, and notes.
    #[arg(long, short, help_heading = crate::cli::reports::HEADING)]
    verbose: bool,
    /// Name the N scenarios that took longest, 0 for all.
    #[arg(long, value_name = "N", value_parser = super::a_count::<usize>, allow_negative_numbers = true, help_heading = crate::cli::reports::HEADING)]
    durations: Option<usize>,
    /// Name scenarios that still run after this time, and after each further one.
    #[arg(long, value_name = "DURATION", value_parser = super::a_duration, default_value = "60s", help_heading = crate::cli::reports::HEADING)]
    slow_after: Option<Duration>,
}

/// A replay that takes so long is named before it begins.
const LONG: Duration = Duration::from_mins(10);

/// What the terminal shows while workers run.
pub(super) struct Show<'a> {
    pub(super) output: Output,
    pub(super) errors: Output,
    progress: Arc<Mutex<Progress>>,
    detail: Detail,
    terminal: &'a Terminal,
    slow: Option<SlowMarks>,
    names: Vec<String>,
    name_width: usize,
    many: bool,
    /// Whether there is anything above the stories.
    printed: bool,
    messages: Option<Messages>,
}

impl<'a> Show<'a> {
    pub(super) fn new(
        batch: &Batch,
        reports: &Reports,
        format: MessageFormat,
        detail: Detail,
        terminal: &'a Terminal,
    ) -> Self {
        let names: Vec<_> = batch.names().map(str::to_owned).collect();
        let name_width = text::name_width(batch.names());
        // What programs read on standard output has it for itself.
        let messages = Messages::start(format, names.len(), terminal);
        let is_taken = messages.is_some() || reports.on_stdout().next().is_some();
        let output = if is_taken { Output::stderr(terminal) } else { Output::stdout(terminal) };
        let many = names.len() > 1;
        let progress = if terminal.progress() && !detail.quiet {
            Progress::on_terminal(names.clone(), name_width)
        } else {
            Progress::hidden(names.clone(), name_width)
        };
        Self {
            output,
            errors: Output::stderr(terminal),
            progress: Arc::new(Mutex::new(progress)),
            detail,
            terminal,
            slow: None,
            names,
            name_width,
            many,
            printed: false,
            messages,
        }
    }

    /// One line; of a single scenario that did not pass the story follows at once, and begins with that line.
    fn ended(&mut self, outcome: &Outcome) {
        let look = self.output.look();
        match outcome.verdict {
            Verdict::Pass if self.detail.verbose => {
                let gap = if self.printed { "\n" } else { "" };
                self.print(&format!("{gap}{}", text::story(outcome, look)));
            }
            Verdict::Pass | Verdict::Skipped | Verdict::NotRun if self.detail.quiet => {}
            verdict if verdict.is_failure() && !self.many => {}
            _ => self.print(&text::line(outcome, self.name_width, look)),
        }
    }

    fn print(&mut self, text: &str) {
        self.printed = true;
        locked(&self.progress).aside(|| self.output.write(text));
    }

    /// The run has ended: what is printed below the lines is the stories, and the summary.
    pub(super) fn end(&mut self, outcomes: &[Outcome], seconds: f64, left_out: usize) {
        self.slow = None;
        locked(&self.progress).end();
        let look = self.output.look();
        let failed = outcomes.iter().filter(|outcome| outcome.verdict.is_failure());
        let mut parts: Vec<_> = failed.map(|outcome| text::story(outcome, look)).collect();
        parts.extend(self.detail.durations.map(|most| text::durations(outcomes, most)).filter(|text| !text.is_empty()));
        parts.push(text::summary(outcomes, seconds, left_out, look));
        let gap = if self.printed { "\n" } else { "" };
        self.output.write(&format!("{gap}{}", parts.join("\n")));
        self.messages.iter_mut().for_each(|messages| messages.end(outcomes, seconds));
    }

    /// That of what was written.
    pub(super) fn status(&self) -> Status {
        let messages = self.messages.as_ref().map_or(Status::Pass, |messages| messages.output.status());
        self.output.status().max(messages)
    }

    /// Something happened in [`Batch::run`], or before: outcomes that are known without a run.
    pub(super) fn update(&mut self, update: &Update<'_>) {
        self.messages.iter_mut().for_each(|messages| messages.update(update));
        match update {
            Update::Started(index, ..) => {
                self.mark_slow_ones();
                locked(&self.progress).started(*index);
            }
            Update::Event(index, event) => self.event(*index, event),
            Update::Ended(index) => locked(&self.progress).over(*index),
            Update::Outcome(_, outcome) => self.ended(outcome),
            Update::Tried(outcome) if !self.detail.quiet => {
                self.print(&text::try_line(outcome, self.name_width, self.output.look()));
            }
            Update::Tried(_) => {}
            Update::StatusAsked => self.show_status(),
        }
    }

    /// From the first scenario on: the run has the signals blocked then.
    fn mark_slow_ones(&mut self) {
        let period = self.detail.slow_after.filter(|_| self.slow.is_none() && !self.detail.quiet);
        let start = |period| SlowMarks::start(Arc::clone(&self.progress), period, Output::stderr(self.terminal));
        self.slow = self.slow.take().or_else(|| period.map(start));
    }

    fn event(&mut self, index: usize, event: &Event) {
        let name = self.names.get(index).map(String::as_str).unwrap_or_default();
        let text = match event {
            Event::Output { stream, text } => text::output(name, stream, text),
            Event::Kept { folder } => text::kept(name, folder),
            Event::Planned { seconds: Some(seconds), .. } if *seconds >= LONG.as_secs_f64() => {
                locked(&self.progress).event(index, event);
                text::long_replay(name, *seconds)
            }
            _ => return locked(&self.progress).event(index, event),
        };
        locked(&self.progress).aside(|| self.errors.write(&text));
    }

    /// How far everything is that runs, on standard error.
    fn show_status(&mut self) {
        let progress = locked(&self.progress);
        let lines = progress.status();
        progress.aside(|| self.errors.write(&lines));
    }
}
