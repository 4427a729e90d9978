//! Reviewed texts: `[expect] rewritten`, and whatever else has a snapshot. Start at [`Reviewed`].

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{difference, line};
use crate::diagnostic::{At, Diagnostic, Result};
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

/// A text that is compared with the one that was reviewed.
pub(super) struct Reviewed<'a> {
    /// The key that names the snapshot.
    pub(super) key: &'static str,
    /// What it lists: `rewritten frames`.
    pub(super) what: &'static str,
    pub(super) path: &'a At<PathBuf>,
    pub(super) listing: &'a str,
}

pub(super) fn judge(scenario: &Scenario, plan: &Plan, snapshots: Snapshots) -> Option<Check> {
    let path = scenario.expect.rewritten.as_ref()?;
    let listing = plan.listing.as_deref().unwrap_or_default();
    Some(Reviewed { key: "rewritten", what: "rewritten frames", path, listing }.judge(scenario, snapshots))
}

impl Reviewed<'_> {
    /// Compares, or writes the snapshot anew.
    pub(super) fn judge(&self, scenario: &Scenario, snapshots: Snapshots) -> Check {
        let Self { key, what, path, listing } = *self;
        let shown = path.value.display();
        let head = format!("# The {what} of ");
        let problem = match snapshots {
            Snapshots::Update => {
                let text = format!("{head}{}, written by `restage run --update-snapshots`.\n{listing}", scenario.name);
                write(&path.value, &text).err().and_then(|failure| failure.problems.into_iter().next())
            }
            Snapshots::Compare => match std::fs::read_to_string(&path.value) {
                Ok(reviewed) if without_head(&reviewed, &head) == listing => None,
                Ok(reviewed) => {
                    let all = format!("`git diff {shown}` shows all, after `--update-snapshots`");
                    let why = difference::lines(without_head(&reviewed, &head), listing, ["reviewed", "now"], &all);
                    let fix = format!(
                        "if the new {what} are right, run with `--update-snapshots` and review the difference in git"
                    );
                    Some(Diagnostic::error(format!("the {what} are not those of `{shown}`")).why(why).fix(fix))
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(
                    Diagnostic::error(format!("there is no snapshot `{shown}` yet"))
                        .why("a snapshot is written only when asked for, so that it is reviewed")
                        .fix("run with `--update-snapshots`, review the file, and check it in"),
                ),
                Err(error) => {
                    Some(Diagnostic::error(format!("can't read the snapshot `{shown}`")).why(error.to_string()))
                }
            },
        }
        .map(|problem| problem.at(&scenario.source, path.span.clone()));
        Check {
            what: CheckId::Other(key.to_owned()),
            expected: json!(path.value),
            actual: json!(if problem.is_none() { "equal" } else { "different" }),
            passed: problem.is_none(),
            undecided: false,
            line: line(scenario, path.span.as_ref()),
            problem,
        }
    }
}

/// The listing in a snapshot: whose it is is another matter, since a scenario may be read under another name.
fn without_head<'a>(snapshot: &'a str, head: &str) -> &'a str {
    match snapshot.split_once('\n') {
        Some((first, listing)) if first.starts_with(head) => listing,
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
