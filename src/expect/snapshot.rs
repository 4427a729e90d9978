//! Reviewed texts: `[expect] rewritten`, and whatever else has a snapshot. Start at [`Reviewed`].

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{difference, fields, line};
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
    /// Compare, and write what is different beside them, to be reviewed (`restage review`).
    Propose,
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
        let head = format!("{HEAD}{what} of ");
        let text = || format!("{head}{}, written by restage.\n{listing}", scenario.name);
        let proposed = proposal(&path.value);
        let problem = match snapshots {
            Snapshots::Update => {
                let written = write(&path.value, &text());
                let _is_gone = std::fs::remove_file(&proposed);
                written.err().and_then(|failure| failure.problems.into_iter().next())
            }
            Snapshots::Compare | Snapshots::Propose => match std::fs::read_to_string(&path.value) {
                Ok(reviewed) if without_head(&reviewed) == listing => {
                    // That of an earlier run.
                    let _is_gone = std::fs::remove_file(&proposed);
                    None
                }
                Ok(reviewed) => {
                    // Where it can't be written, the difference is shown all the same.
                    let is_proposed = snapshots == Snapshots::Propose && write(&proposed, &text()).is_ok();
                    let (all, fix) = if is_proposed {
                        (
                            "`restage review` shows all",
                            format!("if the new {what} are right, accept them by `restage review`"),
                        )
                    } else {
                        (
                            "`--update-snapshots` and `git diff` show all",
                            format!("if the new {what} are right, run with `--update-snapshots`"),
                        )
                    };
                    let why = compared(&reviewed, listing, all);
                    Some(Diagnostic::error(format!("the {what} are not those of `{shown}`")).why(why).fix(fix))
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let is_proposed = snapshots == Snapshots::Propose && write(&proposed, &text()).is_ok();
                    let fix = if is_proposed {
                        "accept it by `restage review`, and check it in"
                    } else {
                        "run with `--update-snapshots`, review the file, and check it in"
                    };
                    Some(
                        Diagnostic::error(format!("there is no snapshot `{shown}` yet"))
                            .why("a snapshot is written only when asked for, so that it is reviewed")
                            .fix(fix),
                    )
                }
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

/// What the first line of a snapshot begins with.
const HEAD: &str = "# The ";

/// The file beside a snapshot that has what is proposed for it.
pub fn proposal(snapshot: &Path) -> PathBuf {
    let mut name = snapshot.as_os_str().to_owned();
    name.push(PROPOSED);
    PathBuf::from(name)
}

/// What is added to the name of a snapshot.
pub const PROPOSED: &str = ".new";

/// What differs between a snapshot and what is proposed for it, in words. `all`: where all of it is shown.
pub fn compared(reviewed: &str, proposed: &str, all: &str) -> String {
    let (reviewed, proposed) = (without_head(reviewed), without_head(proposed));
    fields::differences(reviewed, proposed, all)
        .unwrap_or_else(|| difference::lines(reviewed, proposed, ["reviewed", "now"], all))
}

/// The listing in a snapshot: whose it is is another matter, since a scenario may be read under another name.
fn without_head(snapshot: &str) -> &str {
    match snapshot.split_once('\n') {
        Some((first, listing)) if first.starts_with(HEAD) => listing,
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
