//! `run --message-format json`: what happens, as JSON lines on standard output.

use clap::ValueEnum;

use crate::cli::output::Output;
use crate::cli::terminal::Terminal;
use crate::outcome::{Counts, Message, Outcome};
use crate::run::batch::Update;

/// `--message-format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum MessageFormat {
    /// Text for people.
    #[default]
    Human,
    /// A JSON object a line.
    Json,
}

impl MessageFormat {
    /// The option, where it has standard output for itself.
    pub(super) fn on_stdout(self) -> Option<&'static str> {
        (self == Self::Json).then_some("--message-format json")
    }
}

/// Writes the lines.
pub(super) struct Messages {
    pub(super) output: Output,
}

impl Messages {
    /// Writes the first line, if lines are asked for. `scenarios`: how many there are.
    pub(super) fn start(format: MessageFormat, scenarios: usize, terminal: &Terminal) -> Option<Self> {
        if format == MessageFormat::Human {
            return None;
        }
        let mut messages = Self { output: Output::stdout(terminal) };
        let (version, scenarios) = (env!("CARGO_PKG_VERSION"), scenarios as u64);
        messages.output.json_line(&Message::RunStarted { format: 1, version, scenarios });
        Some(messages)
    }

    pub(super) fn update(&mut self, update: &Update<'_>) {
        match update {
            Update::Started(_, label, started) => {
                let (name, file, id) = (&label.name, &label.file, &label.id);
                self.output.json_line(&Message::ScenarioStarted { name, file, id, started: *started });
            }
            Update::Tried(outcome) => self.output.json_line(&Message::ScenarioTried { outcome }),
            Update::Outcome(_, outcome) => self.output.json_line(&Message::ScenarioEnded { outcome }),
            Update::Event(..) | Update::Ended(_) | Update::StatusAsked => {}
        }
    }

    /// Writes the last line.
    pub(super) fn end(&mut self, outcomes: &[Outcome], seconds: f64) {
        self.output.json_line(&Message::RunEnded { seconds, counts: Counts::of(outcomes) });
    }
}
