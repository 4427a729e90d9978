//! The process of one scenario: it reads its job from standard input, and writes an [`Event`] a line to standard output.

use std::io::{Write as _, stdout};
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Options;
use super::outcome::{failed, run_scenario};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::outcome::Event;
use crate::process::parent::job;
use crate::scenario::{self, ScenarioText};

/// What a worker is to do, as one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) scenario: ScenarioText,
    pub(super) options: Options,
}

/// The whole process.
pub(crate) fn main() -> i32 {
    let begun = Instant::now();
    let mut report = |event: Event| {
        let mut stdout = stdout().lock();
        // A parent that is gone is noticed by the watch; there is no reader then.
        let _ = serde_json::to_writer(&mut stdout, &event)
            .map_err(std::io::Error::from)
            .and_then(|()| stdout.write_all(b"\n"));
        let _ = stdout.flush();
    };
    let checked = read().and_then(|job| Ok((scenario::check(&job.scenario)?, job.options)));
    let mut outcome = match checked {
        Ok((scenario, options)) => run_scenario(&scenario, &options, &mut report),
        // The parent has checked it, and knows its name.
        Err(failure) => failed("", Path::new(""), failure),
    };
    outcome.seconds = begun.elapsed().as_secs_f64();
    report(Event::Ended { outcome: Box::new(outcome) });
    0
}

fn read() -> Result<Job> {
    serde_json::from_str(&job()?)
        .map_err(|error| Failure::error(Diagnostic::error("the parent gave no scenario").why(error.to_string())))
}
