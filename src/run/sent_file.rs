//! The file that says what was sent, between a run and a watch on the receiver's machine. Start at [`write`] and [`read`].

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use super::Options;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::evidence::Sending;
use crate::file::{Replacement, unwritable};
use crate::ledger::identity::Digest;
use crate::ledger::sent::SentFrames;
use crate::plan::Plan;
use crate::scenario::Scenario;

/// Refuses to say what was sent where the run itself sees what arrives.
pub(super) fn check(scenario: &Scenario, options: &Options) -> Result<()> {
    if options.sent.is_none() || !scenario.topology.is_observed() {
        return Ok(());
    }
    let problem = Diagnostic::error("`--sent` is for a scenario with `[target]`, and no receiver that is observed")
        .why("where the receiver is observed, the run's own ledger has everything")
        .fix("leave it out");
    Err(Failure::invalid(problem))
}

/// Writes the frames that were sent.
pub(super) fn write(
    path: &Path,
    scenario: &Scenario,
    plan: &Plan,
    sending: &Sending,
    frames: Vec<(u64, Digest)>,
) -> Result<()> {
    let (mut read, mut selected) = (plan.counts.read * plan.rounds, plan.frames());
    if sending.limited {
        // What the limit left out was never selected, and what follows it was never read.
        selected = sending.tried;
        let whole_rounds = sending.tried / (plan.frames() / plan.rounds).max(1);
        let last = frames.last().map_or(0, |(number, _)| *number);
        read = read.min(plan.counts.read * whole_rounds + last);
    }
    let sent = SentFrames { scenario: scenario.name.clone(), read, selected, frames };
    let (replacement, file) = Replacement::begin(path)?;
    let mut writer = BufWriter::new(file);
    serde_json::to_writer(&mut writer, &sent)
        .map_err(std::io::Error::from)
        .and_then(|()| writer.flush())
        .map_err(|error| unwritable(path, &error))?;
    replacement.publish()
}

/// Reads such a file.
///
/// # Errors
/// [`crate::diagnostic::Kind::Invalid`] where it can't be read, or is none.
pub fn read(path: &Path) -> Result<SentFrames> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| {
        let problem = Diagnostic::error(format!("can't read `{shown}`")).why(error.to_string());
        Failure::invalid(problem.fix("`restage run --sent FILE` writes it, where the frames are sent from"))
    })?;
    serde_json::from_reader(BufReader::new(file)).map_err(|error| {
        let problem = Diagnostic::error(format!("`{shown}` does not say what was sent")).why(error.to_string());
        Failure::invalid(problem.fix("copy the file that `restage run --sent FILE` wrote"))
    })
}
