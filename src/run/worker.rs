//! The process of one scenario: it reads its job from standard input, and writes an [`Event`] a line to standard output.

use std::io::{Write as _, stdout};
use std::os::unix::process::parent_id;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Options;
use super::outcome::{failed, run_scenario};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::outcome::{Event, Phases};
use crate::process::parent::job;
use crate::scenario::{self, ScenarioText};
use crate::wire::closing;
use crate::wire::trace::KernelTypes;

/// How often a worker that waits looks whether its parent is gone.
const ORPHAN_WAIT: Duration = Duration::from_millis(100);

/// What a worker is to do, as one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) scenario: ScenarioText,
    pub(super) options: Options,
    /// How long to wait before.
    pub(super) delay: Duration,
    /// Whether it is the only scenario.
    pub(super) is_alone: bool,
    /// What its parent knows of this kernel already.
    pub(super) kernel: Option<KernelTypes>,
}

impl Job {
    /// As one line of JSON.
    ///
    /// # Errors
    /// Where a path is not UTF-8.
    pub(super) fn line(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// The whole process.
pub(crate) fn main() -> i32 {
    let mut job = read();
    if let Some(kernel) = job.as_mut().ok().and_then(|job| job.kernel.take()) {
        kernel.keep();
    }
    if job.as_ref().is_ok_and(|job| job.is_alone) {
        closing::leave();
    }
    if let Ok(Job { delay, .. }) = &job
        && !delay.is_zero()
    {
        report(&Event::Phase { name: "delay".to_owned() });
        wait(*delay);
    }
    let (begun, mut phases) = (Instant::now(), Phases::begin("plan"));
    let mut report_and_note = |event: Event| {
        if let Event::Phase { name } = &event {
            phases.next(name);
        }
        report(&event);
    };
    let checked = job.and_then(|job| Ok((scenario::check(&job.scenario)?, job.options)));
    let mut outcome = match checked {
        Ok((scenario, options)) => run_scenario(&scenario, &options, &mut report_and_note),
        // The parent has checked it, and knows its name.
        Err(failure) => failed("", Path::new(""), failure),
    };
    let end = Instant::now();
    outcome.seconds = end.saturating_duration_since(begun).as_secs_f64();
    outcome.phases = phases.until(end);
    report(&Event::Ended { outcome: Box::new(outcome) });
    closing::finish();
    0
}

fn report(event: &Event) {
    // What can't be said is missed by the parent, which says so.
    let Ok(mut line) = serde_json::to_vec(event) else { return };
    line.push(b'\n');
    // At once: the parent wakes up for each write. One that is gone is noticed by the watch; there is no reader then.
    let _ = stdout().lock().write_all(&line);
}

/// Waits, or for as long as the parent lives. No thread may watch it yet: a process with threads can't enter a user namespace.
fn wait(delay: Duration) {
    let (begun, parent) = (Instant::now(), parent_id());
    while begun.elapsed() < delay && parent_id() == parent {
        thread::sleep((delay.saturating_sub(begun.elapsed())).min(ORPHAN_WAIT));
    }
}

fn read() -> Result<Job> {
    serde_json::from_str(&job()?)
        .map_err(|error| Failure::error(Diagnostic::error("the parent gave no scenario").why(error.to_string())))
}
