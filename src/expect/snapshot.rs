//! `[expect] rewritten`: the rewritten frames as reviewed text.

use std::path::Path;

use serde_json::json;

use super::{difference, line};
use crate::diagnostic::{Diagnostic, Result};
use crate::file::{Replacement, unwritable};
use crate::outcome::{Check, CheckId};
use crate::plan::Plan;
use crate::scenario::Scenario;

/// What to do about snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snapshots {
    /// Compare.
    Compare,
    /// Write them anew (`--update-snapshots`).
    Update,
}

pub(super) fn judge(scenario: &Scenario, plan: &Plan, snapshots: Snapshots) -> Option<Check> {
    let path = scenario.expect.rewritten.as_ref()?;
    let listing = plan.listing.as_deref().unwrap_or_default();
    let text =
        format!("# The rewritten frames of {}, written by `restage run --update-snapshots`.\n{listing}", scenario.name);
    let shown = path.value.display();
    let problem = match snapshots {
        Snapshots::Update => write(&path.value, &text).err().and_then(|failure| failure.problems.into_iter().next()),
        Snapshots::Compare => match std::fs::read_to_string(&path.value) {
            Ok(reviewed) if frames(&reviewed) == listing => None,
            Ok(reviewed) => Some(
                Diagnostic::error(format!("the rewritten frames are not those of `{shown}`"))
                    .why({
                        let all = format!("`git diff {shown}` shows all, after `--update-snapshots`");
                        difference::lines(frames(&reviewed), listing, ["reviewed", "now"], &all)
                    })
                    .fix("if the new frames are right, run with `--update-snapshots` and review the difference in git"),
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(
                Diagnostic::error(format!("there is no snapshot `{shown}` yet"))
                    .why("a snapshot is written only when asked for, so that it is reviewed")
                    .fix("run with `--update-snapshots`, review the file, and check it in"),
            ),
            Err(error) => Some(Diagnostic::error(format!("can't read the snapshot `{shown}`")).why(error.to_string())),
        },
    }
    .map(|problem| problem.at(&scenario.source, path.span.clone()));
    Some(Check {
        what: CheckId::Other("rewritten".to_owned()),
        expected: json!(path.value),
        actual: json!(if problem.is_none() { "equal" } else { "different" }),
        passed: problem.is_none(),
        undecided: false,
        line: line(scenario, path.span.as_ref()),
        problem,
    })
}

/// The listing in a snapshot: whose frames they are is another matter, since a scenario may be read under another name.
fn frames(snapshot: &str) -> &str {
    match snapshot.split_once('\n') {
        Some((first, frames)) if first.starts_with("# The rewritten frames of ") => frames,
        _ => snapshot,
    }
}

/// The folders above it are made.
fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| unwritable(path, &error))?;
    }
    Replacement::write(path, text)
}
