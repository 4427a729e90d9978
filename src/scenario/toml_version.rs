//! Scenarios are TOML 1.0: what only later versions have is refused, so that editors and other programs read the same file.
//!
//! toml reads TOML 1.1. That added four things, and each is looked for in the parser's events. Start at [`later_than_1_0`].

use std::ops::Range;

use toml_parser::Source;
use toml_parser::decoder::Encoding;
use toml_parser::parser::{Event, EventKind, parse_document};

use crate::diagnostic::Diagnostic;

/// What a text without syntax errors has that is not TOML 1.0, in its order, each with its bytes. Of an inline table the first is enough.
pub(super) fn later_than_1_0(text: &str) -> Vec<(Diagnostic, Range<usize>)> {
    let tokens = Source::new(text).lex().into_vec();
    let mut found = Vec::new();
    // What the parser is inside of: whether it is an inline table that has no line end so far.
    let mut inside: Vec<bool> = Vec::new();
    let mut before: Option<Event> = None;
    let mut on_event = |event: Event| {
        let mut add = |problem: Diagnostic, at: Event| found.push((problem, at.span().start()..at.span().end()));
        match event.kind() {
            EventKind::InlineTableOpen => inside.push(true),
            EventKind::ArrayOpen => inside.push(false),
            EventKind::Newline => {
                if let Some(on_one_line @ true) = inside.last_mut() {
                    *on_one_line = false;
                    add(inline_table("a line end in an inline table"), event);
                }
            }
            EventKind::ArrayClose => drop(inside.pop()),
            EventKind::InlineTableClose => {
                let comma = before.filter(|before| before.kind() == EventKind::ValueSep);
                if let (Some(true), Some(comma)) = (inside.pop(), comma) {
                    add(inline_table("a comma after the last entry of an inline table"), comma);
                }
            }
            EventKind::SimpleKey | EventKind::Scalar => {
                if let Some(problem) = scalar(text, &event) {
                    add(problem, event);
                }
            }
            _ => {}
        }
        if event.kind() != EventKind::Whitespace {
            before = Some(event);
        }
    };
    parse_document(&tokens, &mut on_event, &mut ());
    found
}

fn problem(what: &str) -> Diagnostic {
    Diagnostic::error(format!("{what} is not TOML 1.0"))
        .why("scenarios are TOML 1.0, which all editors and libraries read; TOML 1.1 added this")
}

fn inline_table(what: &str) -> Diagnostic {
    problem(what).fix("write the table on one line without a comma at its end, or as a table of its own: `[TABLE.KEY]`, its keys on the lines below")
}

/// A string with an escape sequence, or a time without seconds, of TOML 1.1.
fn scalar(text: &str, event: &Event) -> Option<Diagnostic> {
    let written = text.get(event.span().start()..event.span().end())?;
    match event.encoding() {
        Some(Encoding::BasicString | Encoding::MlBasicString) => {
            let mut characters = written.chars();
            let escape = std::iter::from_fn(|| {
                characters.by_ref().find(|character| *character == '\\')?;
                characters.next()
            })
            .find(|escaped| matches!(escaped, 'e' | 'x'))?;
            let problem = problem(&format!("the escape sequence `\\{escape}` in a string"));
            Some(problem.fix("write `\\u` with four hexadecimal digits; the escape character is `\\u001b`"))
        }
        Some(Encoding::LiteralString | Encoding::MlLiteralString) => None,
        None => {
            let time = written.split_once(['T', 't', ' ']).map_or(written, |(_, time)| time).as_bytes();
            let is_time = time.get(2) == Some(&b':');
            (is_time && time.get(5) != Some(&b':'))
                .then(|| problem("a time without seconds").fix("add them: `07:32:00`"))
        }
    }
}
