//! A step of a replay, and what became of it. Start at [`Step`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A step of a replay, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Its place among the steps, from 1.
    pub number: usize,
    /// The 1-based line in the scenario.
    pub line: usize,
    /// What it does: `frames 1-13`, `run rndc reload`, `signal SIGHUP to postgres`, `wait 2 s`, `restart`.
    pub what: String,
    /// What became of it.
    pub result: StepResult,
    /// How long it took; null where it was not begun.
    pub seconds: Option<f64>,
    /// The frames that it sent; absent for a step that sends none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sent: Option<u64>,
    /// How the program that it stopped had ended: `exit status 0`; absent for a step that stops none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<String>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepResult {
    /// It was taken.
    Done,
    /// It failed, and nothing was sent after it.
    Failed,
    /// The run ended before it, or before it had sent all its frames.
    #[serde(rename = "not done")]
    NotDone,
}

impl StepResult {
    /// As the report has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::NotDone => "not done",
        }
    }
}
