//! `[expect]`: what the receiver must show.

use std::ops::Range;
use std::path::PathBuf;

use crate::diagnostic::At;

/// A count that is expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Count {
    /// This many.
    Exactly(u64),
    /// Every selected frame.
    All,
    /// This many or more.
    AtLeast(u64),
    /// This share of the selected frames or more, in percent; 0 to 100.
    Percent(f64),
}

/// A cause of loss that is allowed, with its count.
#[derive(Debug, Clone, PartialEq)]
pub struct Drop {
    /// The cause's name, one of [`crate::ledger::Cause`]'s.
    pub cause: String,
    /// How many.
    pub count: Count,
    /// The entry in the scenario.
    pub span: Range<usize>,
}

/// What a text must be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextRule {
    /// It contains this.
    pub contains: Option<At<String>>,
    /// This regular expression (the `regex` crate's syntax, multi-line) matches somewhere; it compiles.
    pub matches: Option<At<String>>,
    /// It has this many lines.
    pub lines: Option<At<u64>>,
    /// It equals this file, byte for byte; the path is relative to the working directory.
    pub equals_file: Option<At<PathBuf>>,
}

/// `[[expect.command]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandCheck {
    /// Program and arguments, placeholders still in them.
    pub run: At<Vec<String>>,
    /// What its standard output must be.
    pub stdout: TextRule,
    /// What its standard error must be.
    pub stderr: TextRule,
    /// Its exit status; 0 if nothing is said.
    pub status: At<i32>,
}

/// Where `[[expect.output]]` looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputFrom {
    /// The application's standard output.
    Stdout,
    /// The application's standard error.
    Stderr,
    /// A file, placeholders still in it.
    File(String),
}

/// `[[expect.output]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputCheck {
    /// Where it looks.
    pub from: At<OutputFrom>,
    /// What it must be.
    pub rule: TextRule,
}

/// `[expect]`, with legal values. Nothing is `Some` that the file does not say; what an absent `[expect]` means is the
/// ledger's matter.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Expect {
    /// Whether the file has the table at all.
    pub written: bool,
    /// On the sending interface (a target's default).
    pub sent: Option<At<Count>>,
    /// On the receiver's wire.
    pub arrived: Option<At<Count>>,
    /// Into a UDP socket's queue.
    pub delivered: Option<At<Count>>,
    /// Read by the application.
    pub consumed: Option<At<Count>>,
    /// `order = "captured"`: frames arrive in the order in which they were sent.
    pub order: Option<At<()>>,
    /// Causes that are allowed.
    pub drops: Vec<Drop>,
    /// The snapshot of the rewritten frames.
    pub rewritten: Option<At<PathBuf>>,
    /// Checks by commands, run in order after the application has stopped.
    pub command: Vec<CommandCheck>,
    /// Checks of what the application wrote.
    pub output: Vec<OutputCheck>,
}
