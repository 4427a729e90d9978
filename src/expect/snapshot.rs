//! `[expect] rewritten`: the rewritten frames as reviewed text.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use similar::{DiffTag, TextDiff};

use super::line;
use crate::diagnostic::{Diagnostic, Result};
use crate::figures::{agree, count};
use crate::file::{Replacement, unwritable};
use crate::outcome::{Check, CheckId};
use crate::plan::Plan;
use crate::scenario::Scenario;

/// How many changed lines are shown.
const MOST_SHOWN: usize = 16;

/// After so long the shortest difference is given up for one that is found at once.
const LONGEST_SEARCH: Duration = Duration::from_secs(2);

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
                    .why(difference(frames(&reviewed), listing, &path.value))
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

/// The lines that differ, each old one with the new one in its place below it; of more than are shown, how many, and where all are.
fn difference(reviewed: &str, now: &str, path: &Path) -> String {
    let diff = TextDiff::configure().timeout(LONGEST_SEARCH).diff_lines(reviewed, now);
    let line = |lines: &[&str], range: &Range<usize>, index: usize| {
        let line = lines.get(range.start + index).filter(|_| index < range.len());
        line.map(|line| line.trim_end().to_owned())
    };
    let [before, after] = [reviewed, now].map(|text| text.split_inclusive('\n').collect::<Vec<_>>());
    let mut changes = Vec::new();
    let mut differing = 0;
    for op in diff.ops().iter().filter(|op| op.tag() != DiffTag::Equal) {
        let (old, new) = (op.old_range(), op.new_range());
        differing += old.len() + new.len();
        for index in 0..old.len().max(new.len()) {
            if changes.len() >= MOST_SHOWN {
                break;
            }
            changes.extend(line(&before, &old, index).map(|line| format!("-{line}")));
            changes.extend(line(&after, &new, index).map(|line| format!("+{line}")));
        }
    }
    let lines = differing as u64;
    let mut text = format!("{} {} (- reviewed, + now)", count(lines, "line"), agree(lines, "differs", "differ"));
    for change in &changes {
        text.push('\n');
        text.push_str(change);
    }
    if differing > changes.len() {
        let more = differing - changes.len();
        let _ =
            write!(text, "\n… and {more} more: `git diff {}` shows all, after `--update-snapshots`", path.display());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_line_stands_with_the_new_one_and_what_is_cut_is_counted() {
        let lines = |word: &str, count: u32| {
            (1..=count).fold(String::new(), |text, number| text + &format!("{number} {word}\n"))
        };
        let told = |old: &str, new: &str| difference(old, new, Path::new("x.snap"));
        let many = told(&lines("old", 300), &lines("new", 300));
        let shown: Vec<&str> = many.lines().collect();
        assert_eq!(shown[..3], ["600 lines differ (- reviewed, + now)", "-1 old", "+1 new"]);
        assert_eq!((shown.len(), shown[15], shown[16]), (18, "-8 old", "+8 new"));
        assert_eq!(shown[17], "… and 584 more: `git diff x.snap` shows all, after `--update-snapshots`");
        assert_eq!(told("a\nb\nc\n", "a\nB\nc\nd\n"), "3 lines differ (- reviewed, + now)\n-b\n+B\n+d");
        assert_eq!(told("a\nb\n", "b\n"), "1 line differs (- reviewed, + now)\n-a");
    }
}
