//! One expectation, judged. Start at [`Check`].

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_false;
use crate::cause::{Cause, Stage};
use crate::diagnostic::Diagnostic;

/// Which expectation a check is about, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub enum CheckId {
    /// How many frames reached a stage: `consumed`.
    Reached(Stage),
    /// How many frames were lost by a cause: `losses.IP_RPFILTER`.
    Loss(Cause),
    /// The losses that nothing allows: `losses`.
    Losses,
    /// How the application ended: `application`. It is the first check, and there only where it fails, or the scenario says how it must end.
    Application,
    /// How a process beside the application ended: `process postgres`; there like [`Self::Application`].
    Process(String),
    /// A step of the replay that failed, by its number: `step 2`; nothing was sent after it.
    Step(usize),
    /// Anything else: `order`, `lateness.p99`, `command nfdump status`.
    Other(String),
}

impl CheckId {
    /// Whether lost packets can make it fail.
    pub fn is_about_packets(&self) -> bool {
        !matches!(self, Self::Application | Self::Process(_) | Self::Step(_) | Self::Other(_))
    }

    /// Whether it explains what else fails: how a program of the receiver ended, or a step after which nothing was sent.
    pub fn explains_others(&self) -> bool {
        matches!(self, Self::Application | Self::Process(_) | Self::Step(_))
    }
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached(stage) => write!(f, "{stage}"),
            Self::Loss(cause) => write!(f, "losses.{cause}"),
            Self::Losses => f.write_str("losses"),
            Self::Application => f.write_str("application"),
            Self::Process(name) => write!(f, "process {name}"),
            Self::Step(number) => write!(f, "step {number}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl From<CheckId> for String {
    fn from(id: CheckId) -> Self {
        id.to_string()
    }
}

impl From<String> for CheckId {
    fn from(name: String) -> Self {
        if let Some(stage) = Stage::ALL.into_iter().find(|stage| stage.name() == name) {
            return Self::Reached(stage);
        }
        if let Some(process) = name.strip_prefix("process ") {
            return Self::Process(process.to_owned());
        }
        if let Some(Ok(number)) = name.strip_prefix("step ").map(str::parse) {
            return Self::Step(number);
        }
        match name.strip_prefix("losses.") {
            Some(cause) => Self::Loss(cause.into()),
            None if name == "losses" => Self::Losses,
            None if name == "application" => Self::Application,
            None => Self::Other(name),
        }
    }
}

impl From<&str> for CheckId {
    fn from(name: &str) -> Self {
        Self::from(name.to_owned())
    }
}

/// One expectation, judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// `application`, `arrived`, `delivered`, `losses.IP_RPFILTER`, `command nfdump`, `output stdout`, `losses` …
    pub what: CheckId,
    /// What the scenario says.
    pub expected: serde_json::Value,
    /// What was seen.
    pub actual: serde_json::Value,
    /// Whether it holds.
    pub passed: bool,
    /// Whether it does not hold only because the evidence leaves a range, of which a part would meet it.
    #[serde(skip_serializing_if = "is_false", default)]
    pub undecided: bool,
    /// The 1-based line in the scenario; null for what the language expects where nothing is written.
    pub line: Option<usize>,
    /// How the failure reads on a terminal, pointing at the line.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(skip)]
    pub problem: Option<Diagnostic>,
}
