//! What a run came to, for every reader: people at a terminal, programs, CI servers.
//!
//! One file for each format, each a pure function of [`crate::outcome`]: [`text`] for people (its table of stages is in `ledger`), `html` for a
//! browser, `json`, `junit` and `tap` for programs, [`github`] and [`job_summary`] for GitHub's CI; [`Format`] is those that an option asks for.
//! [`progress`] shows what is running, [`list`] what would run, [`inspection`] what is in a capture. May use `outcome`, `inspect`, `file` and
//! `diagnostic` only; nothing here knows
//! how a verdict came about. Start reading at [`text::story`].

pub mod causes;
pub mod flows;
pub mod github;
mod html;
pub mod inspection;
pub mod job_summary;
mod json;
mod junit;
mod layout;
mod ledger;
pub mod list;
pub mod progress;
mod save;
mod tap;
#[cfg(test)]
mod tests;
pub mod text;

pub use json::read as read_json;
pub use save::{Destination, append, save};

use anstyle::{AnsiColor, Color};

use crate::diagnostic::{Result, Style};
use crate::outcome::{Outcome, Report, Verdict};

/// What a report of a run can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Junit,
    Tap,
    Html,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Json, Self::Junit, Self::Tap, Self::Html];

    /// The option that asks for it.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Json => "--report-json",
            Self::Junit => "--report-junit",
            Self::Tap => "--report-tap",
            Self::Html => "--report-html",
        }
    }

    /// The whole report.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Error`] where it can't be made.
    pub fn text(self, report: &Report) -> Result<String> {
        match self {
            Self::Json => json::text(report),
            Self::Junit => junit::text(report),
            Self::Tap => Ok(tap::text(report)),
            Self::Html => html::text(report),
        }
    }
}

/// How text is laid out for whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Whether escape sequences for colours may be in it.
    pub style: Style,
    /// Columns of the terminal; sentences are wrapped at this.
    pub width: usize,
}

impl Look {
    /// What goes into files: no colours, 100 columns.
    pub const FILE: Self = Self { style: Style::Plain, width: 100 };
}

/// What a piece of text means, where it is shown in a colour of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Good,
    Bad,
    Odd,
    Strong,
    Faint,
}

impl From<&Outcome> for Role {
    fn from(outcome: &Outcome) -> Self {
        if outcome.is_flaky() { Self::Odd } else { outcome.verdict.into() }
    }
}

impl From<Verdict> for Role {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Good,
            Verdict::Skipped | Verdict::Blocked | Verdict::NotRun => Self::Odd,
            Verdict::Fail | Verdict::Invalid | Verdict::Error => Self::Bad,
        }
    }
}

/// `text` in the colour of its role, where colours are wanted.
fn paint(style: Style, role: Role, text: &str) -> String {
    let colour = |colour: AnsiColor| anstyle::Style::new().bold().fg_color(Some(Color::Ansi(colour)));
    let look = match (style, role) {
        (Style::Plain, _) => return text.to_owned(),
        (Style::Colour, Role::Good) => colour(AnsiColor::Green),
        (Style::Colour, Role::Bad) => colour(AnsiColor::Red),
        (Style::Colour, Role::Odd) => colour(AnsiColor::Yellow),
        (Style::Colour, Role::Strong) => anstyle::Style::new().bold(),
        (Style::Colour, Role::Faint) => anstyle::Style::new().dimmed(),
    };
    format!("{look}{text}{look:#}")
}

/// Each line painted on its own, so that no colour runs over a line end.
fn paint_lines(style: Style, role: Role, text: &str) -> String {
    text.lines().map(|line| paint(style, role, line) + "\n").collect()
}

/// The word for what a scenario did: its verdict, or `flaky`.
fn word_of(outcome: &Outcome) -> &'static str {
    if outcome.is_flaky() { "flaky" } else { word(outcome.verdict) }
}

/// The word for a verdict, as the JSON report writes it.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Skipped => "skipped",
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Invalid => "invalid",
        Verdict::Blocked => "blocked",
        Verdict::NotRun => "not run",
        Verdict::Error => "error",
    }
}
