//! Two texts compared line by line, for people. Start at [`lines`].

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use similar::{DiffTag, TextDiff};

use crate::figures::{agree, count};

/// How many changed lines are shown.
const MOST_SHOWN: usize = 16;

/// So much of a line is shown.
const SHOWN_CHARACTERS: usize = 200;

/// After so long the shortest difference is given up for one that is found at once.
const LONGEST_SEARCH: Duration = Duration::from_secs(2);

/// The lines that differ, each old one with the new one in its place below it; of more than are shown, how many, and where `all` are.
/// `names` are those of the old and the new text.
pub(super) fn lines(old: &str, new: &str, names: [&str; 2], all: &str) -> String {
    let (differing, changes) = changes(old, new, false);
    let lines = differing as u64;
    let [old, new] = names;
    let mut text = format!(
        "{} {} (- {old}, + {new}){}",
        count(lines, "line"),
        agree(lines, "differs", "differ"),
        listed(&changes)
    );
    if differing > changes.len() {
        let _ = write!(text, "\n… and {} more: {all}", differing - changes.len());
    }
    text
}

/// The first lines that differ; `is_cut`: what the texts end with says nothing, since they go on.
pub(super) fn first_lines(old: &str, new: &str, is_cut: bool) -> String {
    listed(&changes(old, new, is_cut).1)
}

fn listed(changes: &[String]) -> String {
    changes.iter().fold(String::new(), |text, change| text + "\n" + change)
}

/// How many lines differ, and the first of them.
fn changes(old: &str, new: &str, is_cut: bool) -> (usize, Vec<String>) {
    let diff = TextDiff::configure().timeout(LONGEST_SEARCH).diff_lines(old, new);
    let line = |lines: &[&str], range: &Range<usize>, index: usize| {
        let line = lines.get(range.start + index).filter(|_| index < range.len())?;
        Some(match (line.char_indices().nth(SHOWN_CHARACTERS), line.strip_suffix('\n')) {
            (Some((end, _)), _) => format!("{}…", line.get(..end).unwrap_or_default()),
            (None, Some(line)) => line.to_owned(),
            (None, None) => format!("{line} (no line end)"),
        })
    };
    let [before, after] = [old, new].map(|text| text.split_inclusive('\n').collect::<Vec<_>>());
    let mut changes = Vec::new();
    let mut differing = 0;
    let mut ops: Vec<_> = diff.ops().iter().filter(|op| op.tag() != DiffTag::Equal).collect();
    if is_cut && ops.len() > 1 && diff.ops().last().is_some_and(|op| op.tag() != DiffTag::Equal) {
        ops.pop();
    }
    for op in ops {
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
    (differing, changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_line_is_shown_with_the_new_one_and_the_rest_is_counted() {
        let of = |word: &str, count: u32| {
            (1..=count).fold(String::new(), |text, number| text + &format!("{number} {word}\n"))
        };
        let told = |old: &str, new: &str| lines(old, new, ["reviewed", "now"], "`git diff x.snap` shows all");
        let many = told(&of("old", 300), &of("new", 300));
        let shown: Vec<&str> = many.lines().collect();
        assert_eq!(shown[..3], ["600 lines differ (- reviewed, + now)", "-1 old", "+1 new"]);
        assert_eq!((shown.len(), shown[15], shown[16]), (18, "-8 old", "+8 new"));
        assert_eq!(shown[17], "… and 584 more: `git diff x.snap` shows all");
        assert_eq!(told("a\nb\nc\n", "a\nB\nc\nd\n"), "3 lines differ (- reviewed, + now)\n-b\n+B\n+d");
        assert_eq!(told("a\nb\n", "b\n"), "1 line differs (- reviewed, + now)\n-a");
        assert_eq!(told("a\n", "a"), "2 lines differ (- reviewed, + now)\n-a\n+a (no line end)");
    }

    #[test]
    fn a_long_line_is_cut() {
        let shown = first_lines("", &"ü".repeat(300), false);
        assert_eq!(shown, format!("\n+{}…", "ü".repeat(200)));
    }
}
