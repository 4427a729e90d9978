//! Scenarios that restage writes: of a capture (`init`, `try`), and of commands of other programs (`import`).
//!
//! [`Draft`] is the text as tables, so that it is laid out in one place; `direction` finds who receives in a capture, `capture` makes a
//! draft of it, and `import` makes one of command lines. May use `diagnostic`, `packet`, `inspect`, `capture`, `scenario` and `figures`. Start at [`of_capture`].

mod capture;
mod direction;
mod import;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

pub(crate) use capture::{Concession, Wanted, of_capture};
pub(crate) use import::of_commands;

use crate::scenario::quoted;

/// Characters of a comment's line.
const WIDTH: usize = 110;

/// A scenario as text: tables with comments.
#[derive(Debug, Default)]
pub(crate) struct Draft(Vec<Table>);

/// A table of a draft.
#[derive(Debug)]
pub(super) struct Table {
    /// With its brackets; empty for the keys before the first table.
    header: &'static str,
    /// Above it, a line each.
    comments: Vec<String>,
    /// Its keys, with the comment above each.
    keys: Vec<(Vec<String>, &'static str, String)>,
}

impl Table {
    fn new(header: &'static str) -> Self {
        Self { header, comments: Vec::new(), keys: Vec::new() }
    }

    fn comment(mut self, text: impl Into<String>) -> Self {
        self.comments.push(text.into());
        self
    }

    /// A key with its value as TOML.
    fn key(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.keys.push((Vec::new(), key, value.into()));
        self
    }

    fn text(self, key: &'static str, value: &str) -> Self {
        self.key(key, quoted(value))
    }

    /// A comment above the key that was added last.
    fn because(mut self, text: impl Into<String>) -> Self {
        if let Some((comments, ..)) = self.keys.last_mut() {
            comments.push(text.into());
        }
        self
    }
}

impl Draft {
    fn push(&mut self, table: Table) {
        self.0.push(table);
    }

    fn extend(&mut self, tables: Vec<Table>) {
        self.0.extend(tables);
    }

    /// The scenario. `with_comments`: with what teaches a reader.
    pub(crate) fn text(&self, with_comments: bool) -> String {
        let mut text = String::new();
        for table in &self.0 {
            if table.keys.is_empty() && (!with_comments || table.comments.is_empty()) {
                continue;
            }
            if !text.is_empty() {
                text.push('\n');
            }
            let comment = |lines: &[String], text: &mut String| {
                for line in lines.iter().filter(|_| with_comments).flat_map(|line| wrapped(line)) {
                    let _infallible = writeln!(text, "# {line}");
                }
            };
            comment(&table.comments, &mut text);
            if !table.header.is_empty() && !table.keys.is_empty() {
                let _infallible = writeln!(text, "{}", table.header);
            }
            let width = table.keys.iter().map(|(_, key, _)| key.len()).max().unwrap_or(0);
            for (comments, key, value) in &table.keys {
                comment(comments, &mut text);
                let _infallible = writeln!(text, "{key:width$} = {value}");
            }
        }
        text
    }
}

/// A comment in lines that fit on a screen.
fn wrapped(comment: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in comment.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A list of texts as TOML.
fn list<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let all: Vec<_> = texts.into_iter().map(|text| quoted(text.as_ref())).collect();
    format!("[{}]", all.join(", "))
}
