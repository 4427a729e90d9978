//! What became of the programs of the receiver, and of the steps that are about them. Start at [`ProgramEnd`].

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;
use crate::outcome::Application;

/// A program of the receiver that ended, or was stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProgramEnd {
    /// The name of a process; `None` for the application.
    pub process: Option<String>,
    pub ending: ApplicationEnd,
    /// The same for reports, with what it printed.
    pub report: Application,
    /// Whether a step that failed says so.
    pub is_judged: bool,
}

/// How the application under test ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ApplicationEnd {
    /// Its exit status; `None` where a signal ended it.
    pub status: Option<i32>,
    /// The number of the signal that ended it; `None` where it ended itself.
    pub signal: Option<i32>,
    /// Whether its stop signal was sent to it before, or it had done its work: it ended as `ready.exit` says.
    pub stopped: bool,
    /// How long it was waited for before it was killed; `None` where it ended by itself.
    pub killed_after: Option<Duration>,
    /// Whether it went into the background.
    pub background: bool,
    /// What lets it run until its stop signal, where it ended before.
    pub remedy: String,
    /// Whether it was killed because it wrote more into `{work}` than its limit.
    pub wrote_too_much: bool,
    /// `{work}`, where nothing more can be written to its file system.
    pub full: Option<PathBuf>,
}

/// A step of a replay, as it was taken.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StepTaken {
    /// Its index in the scenario.
    pub index: usize,
    pub seconds: f64,
    /// The frames that were sent; `None` where it does something else.
    pub sent: Option<u64>,
    /// Whether the run ended before all its frames were sent.
    pub is_cut: bool,
    /// How the program that it stopped had ended, in words.
    pub ended: Option<String>,
    /// Why it failed; nothing was sent after it.
    pub failure: Option<Diagnostic>,
}
