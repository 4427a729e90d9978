//! What a run of several scenarios reports: at its end as a [`Report`], and while it goes on as [`Message`]s.

use std::collections::HashMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Outcome, Verdict};
use crate::diagnostic::{Diagnostic, Failure, Kind, Result};
use crate::figures::count;

/// So many problems of reports that can't be merged are shown.
const MOST_SHOWN: usize = 10;

/// What `run --report-json` writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// 1.
    pub format: u32,
    /// The run; several, in the order of the files, where `restage merge` joined reports.
    pub runs: Vec<RunFacts>,
    /// How many scenarios have which verdict.
    pub counts: Counts,
    /// In the order in which they were given.
    pub scenarios: Vec<Outcome>,
}

/// When and where scenarios were run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunFacts {
    /// restage's version.
    pub version: String,
    /// When it began.
    pub started: Timestamp,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The machine's name.
    pub hostname: String,
    /// The kernel's release, as `uname -r` shows it.
    pub kernel: String,
}

/// How many scenarios have which verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// All of them.
    pub scenarios: u64,
    /// Every expectation met.
    pub pass: u64,
    /// Those of them that passed at a retry.
    #[serde(default)]
    pub flaky: u64,
    /// An expectation not met.
    pub fail: u64,
    /// The scenario or its capture can't be used.
    pub invalid: u64,
    /// A precondition not met, or a permission missing.
    pub blocked: u64,
    /// The system failed, or the run was interrupted.
    pub error: u64,
    /// A program that the scenario needs is absent.
    pub skipped: u64,
    /// The run ended before its turn.
    pub not_run: u64,
}

/// What `run --message-format json` prints while it goes on, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Message<'a> {
    /// The first line.
    RunStarted {
        /// 1.
        format: u32,
        /// restage's version.
        version: &'a str,
        /// How many scenarios are chosen.
        scenarios: u64,
    },
    /// A scenario's worker was started.
    ScenarioStarted {
        /// The scenario's name.
        name: &'a str,
        /// Its file, as given.
        file: &'a str,
        /// Its file by a path that is the same whatever path was given, as in its outcome.
        id: &'a str,
        /// When.
        started: Timestamp,
    },
    /// A try did not pass, and the scenario is tried again.
    ScenarioTried {
        /// The result of this try.
        outcome: &'a Outcome,
    },
    /// A scenario has ended. Of one that is not started (skipped, invalid, not run), this is the only line.
    ScenarioEnded {
        /// The result, as in the JSON report.
        outcome: &'a Outcome,
    },
    /// The last line.
    RunEnded {
        /// How long it took, in seconds.
        seconds: f64,
        /// How many scenarios have which verdict.
        counts: Counts,
    },
}

/// The time now, to the millisecond.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

impl Report {
    /// The report of one run.
    pub fn of_run(run: RunFacts, scenarios: Vec<Outcome>) -> Self {
        Self { format: 1, runs: vec![run], counts: Counts::of(&scenarios), scenarios }
    }
}

impl Report {
    /// The reports of several runs as one, each with its name: all runs and all scenarios, in their order.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where a scenario is in two of them, or a scenario names a run that is not there.
    pub fn merge(reports: Vec<(String, Self)>) -> Result<Self> {
        let mut merged = Self { format: 1, runs: Vec::new(), counts: Counts::default(), scenarios: Vec::new() };
        let mut files: HashMap<(String, String), String> = HashMap::new();
        let mut problems = Vec::new();
        for (file, report) in reports {
            let (before, own) = (merged.runs.len(), report.runs.len());
            merged.runs.extend(report.runs);
            for mut outcome in report.scenarios {
                if outcome.run >= own {
                    let what =
                        format!("`{}` in `{file}` is of run {}, and the report has {own}", outcome.id, outcome.run);
                    problems.push(Diagnostic::error(what).fix("name the report as restage wrote it"));
                }
                // The cases of a matrix have one path, and names of their own.
                let key = (outcome.id.clone(), outcome.name.clone());
                if let Some(other) = files.insert(key, file.clone()) {
                    problems.push(twice(&outcome, &other, &file));
                }
                outcome.run += before;
                merged.scenarios.push(outcome);
            }
        }
        if !problems.is_empty() {
            let more = problems.len().saturating_sub(MOST_SHOWN);
            problems.truncate(MOST_SHOWN);
            if more > 0 {
                problems.push(Diagnostic::note(format!("{} not shown", count(more as u64, "problem"))));
            }
            return Err(Failure { kind: Kind::Invalid, problems });
        }
        merged.counts = Counts::of(&merged.scenarios);
        Ok(merged)
    }
}

fn twice(outcome: &Outcome, one: &str, other: &str) -> Diagnostic {
    let place = if one == other { format!("twice in `{one}`") } else { format!("in `{one}` and in `{other}`") };
    Diagnostic::error(format!("`{}` ({}) is {place}", outcome.name, outcome.id))
        .why("each scenario is in one share, and has one outcome")
        .fix("name each report once, of runs that have no scenario in common: `restage run --partition slice:1/2`")
}

impl Counts {
    /// Of these.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            counts.scenarios += 1;
            counts.flaky += u64::from(outcome.is_flaky());
            *match outcome.verdict {
                Verdict::Pass => &mut counts.pass,
                Verdict::Fail => &mut counts.fail,
                Verdict::Invalid => &mut counts.invalid,
                Verdict::Blocked => &mut counts.blocked,
                Verdict::Error => &mut counts.error,
                Verdict::Skipped => &mut counts.skipped,
                Verdict::NotRun => &mut counts.not_run,
            } += 1;
        }
        counts
    }
}
