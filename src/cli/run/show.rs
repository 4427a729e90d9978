//! What the terminal shows of a run: lines while workers run, and below them the stories and the summary.

use super::Reports;
use super::messages::{MessageFormat, Messages};
use crate::cli::output::Output;
use crate::cli::status::Status;
use crate::cli::terminal::Terminal;
use crate::outcome::{Event, Outcome};
use crate::report::progress::Progress;
use crate::report::{Look, text};
use crate::run::batch::{Batch, Update};

/// What the terminal shows while workers run.
pub(super) struct Show {
    pub(super) output: Output,
    pub(super) errors: Output,
    pub(super) progress: Progress,
    names: Vec<String>,
    name_width: usize,
    many: bool,
    messages: Option<Messages>,
}

impl Show {
    pub(super) fn new(batch: &Batch, reports: &Reports, format: MessageFormat, terminal: &Terminal) -> Self {
        let names: Vec<_> = batch.names().map(str::to_owned).collect();
        let name_width = text::name_width(batch.names());
        // What programs read on standard output has it for itself.
        let messages = Messages::start(format, names.len(), terminal);
        let is_taken = messages.is_some() || reports.on_stdout().next().is_some();
        let output = if is_taken { Output::stderr(terminal) } else { Output::stdout(terminal) };
        let many = names.len() > 1;
        let progress = if terminal.progress() {
            Progress::on_terminal(names.clone(), name_width)
        } else {
            Progress::hidden(names.clone())
        };
        Self { output, errors: Output::stderr(terminal), progress, names, name_width, many, messages }
    }

    /// One line; of a single scenario that did not pass the story follows at once, and begins with that line.
    fn ended(&mut self, outcome: &Outcome) {
        if self.many || !has_story(outcome) {
            let line = text::line(outcome, self.name_width, self.output.look());
            self.progress.aside(|| self.output.write(&line));
        }
    }

    /// The run has ended.
    pub(super) fn end(&mut self, outcomes: &[Outcome], seconds: f64) {
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
            Update::Started(index, ..) => self.progress.started(*index),
            Update::Event(index, event) => self.event(*index, event),
            Update::Ended(index) => self.progress.over(*index),
            Update::Outcome(outcome) => self.ended(outcome),
            Update::Tried(outcome) => {
                let line = text::try_line(outcome, self.name_width, self.output.look());
                self.progress.aside(|| self.output.write(&line));
            }
            Update::StatusAsked => self.show_status(),
        }
    }

    fn event(&mut self, index: usize, event: &Event) {
        let name = self.names.get(index).map(String::as_str).unwrap_or_default();
        let text = match event {
            Event::Output { stream, text } => text::output(name, stream, text),
            Event::Kept { folder } => text::kept(name, folder),
            _ => return self.progress.event(index, event),
        };
        self.progress.aside(|| self.errors.write(&text));
    }

    /// How far everything is that runs, on standard error.
    fn show_status(&mut self) {
        let lines = self.progress.status();
        self.progress.aside(|| self.errors.write(&lines));
    }
}

fn has_story(outcome: &Outcome) -> bool {
    outcome.verdict.is_failure()
}

/// What is printed below the lines: the stories, and the summary.
pub(super) fn conclusion(outcomes: &[Outcome], elapsed: f64, left_out: usize, look: Look) -> String {
    let mut stories: Vec<_> =
        outcomes.iter().filter(|outcome| has_story(outcome)).map(|outcome| text::story(outcome, look)).collect();
    stories.push(text::summary(outcomes, elapsed, left_out, look));
    let stories = stories.join("\n");
    // With one scenario nothing is printed above its story, and without one nothing at all.
    match outcomes {
        [] => stories,
        [only] if has_story(only) => stories,
        _ => format!("\n{stories}"),
    }
}
