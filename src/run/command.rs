//! A command beside the application, for a check or a step of the replay. Start at [`run`].

use std::time::{Duration, Instant};

use super::application::{Output, Site};
use super::control::Control;
use super::setting::Setting;
use crate::diagnostic::{At, Result};
use crate::figures::duration;
use crate::process::application::{Around, Ended};

/// How often it is looked whether the run is interrupted meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// How long a command has.
pub(super) struct Limit {
    pub(super) time: Duration,
    /// Where that comes from, in words.
    pub(super) whose: &'static str,
}

/// How a command ended.
pub(super) struct Ran {
    /// Its exit status; `None` where a signal ended it.
    pub(super) status: Option<i32>,
    pub(super) ended: Ended,
    /// How many bytes of its standard output and its standard error were discarded.
    pub(super) discarded: [u64; 2],
}

/// Runs a command to its end; why that came to nothing, otherwise.
///
/// # Errors
/// When the system fails.
pub(super) fn run(
    site: Site<'_>,
    written: &At<Vec<String>>,
    setting: &Setting,
    around: Around<'_>,
    output: &Output,
    limit: &Limit,
    control: &Control<'_>,
) -> Result<std::result::Result<Ran, String>> {
    let found = match site.find(written) {
        Ok(found) => found,
        Err(failure) => {
            let said = failure.problems.into_iter().next();
            let why = said.map(|said| format!("{}: {}", said.what, said.why.unwrap_or_default()));
            return Ok(Err(why.unwrap_or_default()));
        }
    };
    let mut running = match site.start(&found, setting, around, output) {
        Ok(running) => running,
        // The namespaces of an application end with it.
        Err(failure) if matches!(around, Around::Beside(_)) => {
            let said = failure.problems.into_iter().next().map_or_else(String::new, |said| said.what);
            return Ok(Err(format!("it could not be started beside the application: {said}")));
        }
        Err(failure) => return Err(failure),
    };
    let begun = Instant::now();
    let ended = loop {
        if let Some(ended) = running.wait_for_program(LOOK)? {
            break ended;
        }
        if begun.elapsed() >= limit.time || control.is_interrupted() {
            let _ = running.stop(9, Duration::from_secs(1));
            return Ok(Err(format!("it did not end within {}, {}, and was killed", duration(limit.time), limit.whose)));
        }
    };
    let status = match &ended {
        Ended::Exited(status) => Some(*status),
        Ended::Signalled(_) => None,
        Ended::NotStarted(why) => return Ok(Err(format!("it could not be started: {why}"))),
    };
    Ok(Ok(Ran { status, ended, discarded: running.discarded() }))
}
