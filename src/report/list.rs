//! What `run --list` prints: the scenarios that would run.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;

use super::layout::{padded, shortened, visible, visible_name};
use super::{Look, Role, paint};

/// Columns that paths and tags get at most; a longer one pushes the rest of its line to the right.
const WIDEST: usize = 60;

/// What `run --list --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct List {
    /// 1.
    pub format: u32,
    /// The scenarios that would run, in the order in which they are started.
    pub scenarios: Vec<Listed>,
}

/// A scenario that would run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Listed {
    /// The scenario's name.
    pub name: String,
    /// Its file, as given.
    pub file: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its summary; null where it has none.
    pub summary: Option<String>,
    /// Whether it is a valid scenario.
    pub valid: bool,
}

impl Listed {
    /// The file, with the case where the name has one.
    fn file_and_case(&self) -> String {
        match self.name.find('[') {
            Some(case) if self.name.ends_with(']') => format!("{}{}", self.file, &self.name[case..]),
            _ => self.file.clone(),
        }
    }
}

/// A line for each file.
pub fn paths(list: &List) -> String {
    let mut files: Vec<_> = list.scenarios.iter().map(|one| visible_name(&one.file) + "\n").collect();
    files.dedup();
    files.concat()
}

/// A line for each: path, tags, summary. On a terminal a line is as long as the terminal is wide.
pub fn text(list: &List, look: Look, is_terminal: bool) -> String {
    let lines: Vec<_> =
        list.scenarios.iter().map(|one| (visible_name(&one.file_and_case()), one.tags.join(", "), one)).collect();
    let width = |texts: &mut dyn Iterator<Item = &str>| {
        let widths = texts.map(unicode_width::UnicodeWidthStr::width);
        widths.filter(|width| *width <= WIDEST).max().unwrap_or_default()
    };
    let paths = width(&mut lines.iter().map(|(path, _, _)| path.as_str()));
    let all_tags = width(&mut lines.iter().map(|(_, tags, _)| tags.as_str()));
    let mut text = String::new();
    for (path, tags, one) in &lines {
        let mut line = padded(path, paths);
        if all_tags > 0 {
            let _infallible = write!(line, "  {}", padded(tags, all_tags));
        }
        let rest = match (&one.summary, one.valid) {
            (_, false) => "(invalid)".into(),
            (Some(summary), true) => visible(summary),
            (None, true) => "".into(),
        };
        let _infallible = write!(line, "  {rest}");
        let line = line.trim_end();
        let line = if is_terminal { shortened(line, look.width) } else { line.into() };
        let role = if one.valid { None } else { Some(Role::Bad) };
        text.push_str(&role.map_or_else(|| line.to_string(), |role| paint(look.style, role, &line)));
        text.push('\n');
    }
    text
}
