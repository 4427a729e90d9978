//! The commands of a command line or of a shell script, as far as scripts that call replay programs go.
//!
//! Each word keeps the bytes that it was written in, so that a message can point at them. That is why no crate splits the words: those
//! that do keep neither places nor operators. Start at [`commands`].

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Failure, Result, Source};

/// A word without its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// Where it is in the source, quotes included.
    pub(super) span: Range<usize>,
}

/// Words of a shell that decide which commands run.
const CONTROL: [&str; 7] = ["for", "while", "until", "if", "case", "function", "select"];

/// The commands, each with at least one word. `A=b` gives `$A` a value, and is no command.
///
/// # Errors
/// A quote without its end, a variable without a value, and what only a shell can do.
pub(super) fn commands(source: &Arc<Source>) -> Result<Vec<Vec<Word>>> {
    let mut scanner =
        Scanner { source, at: 0, variables: HashMap::new(), commands: Vec::new(), words: Vec::new(), word: None };
    while scanner.step()? {}
    scanner.end_command()?;
    Ok(scanner.commands)
}

#[derive(Debug)]
struct Scanner<'a> {
    source: &'a Arc<Source>,
    at: usize,
    variables: HashMap<String, String>,
    commands: Vec<Vec<Word>>,
    words: Vec<Word>,
    /// The word that is being read: its text, and where it begins.
    word: Option<(String, usize)>,
}

impl Scanner<'_> {
    /// Reads a character, or what it opens; false at the end.
    fn step(&mut self) -> Result<bool> {
        let start = self.at;
        let Some(next) = self.next() else { return Ok(false) };
        match next {
            ' ' | '\t' | '\r' => self.end_word(start),
            '\n' | ';' | '|' | '(' | ')' => self.end_at(start)?,
            '&' if self.peek() != Some('>') => self.end_at(start)?,
            '#' if self.word.is_none() => while self.peek().is_some_and(|c| c != '\n') && self.next().is_some() {},
            '&' | '>' => {
                // The number before it is a file descriptor.
                self.word.take_if(|(text, _)| text.chars().all(|c| c.is_ascii_digit()));
                self.end_word(start);
                while matches!(self.peek(), Some('>' | '&' | ' ')) && self.next().is_some() {}
                let words = self.words.len();
                while self.peek().is_some_and(|c| !" \t\r\n;|&()".contains(c)) && self.step()? {}
                self.end_word(self.at);
                self.words.truncate(words);
            }
            '<' => {
                return Err(self.error(start, "standard input from a file can't be imported", "name the file instead"));
            }
            '`' => return Err(self.substitution(start)),
            '\\' => match self.next() {
                Some('\n') => {}
                other => self.push(start, &other.map(String::from).unwrap_or_default()),
            },
            '\'' => {
                let text = self.until('\'', start)?;
                self.push(start, &text);
            }
            '"' => {
                self.push(start, "");
                self.double_quoted(start)?;
            }
            '$' => {
                let value = self.value(start)?;
                let mut parts = value.split_whitespace();
                if let Some(first) = parts.next() {
                    self.push(start, first);
                }
                for part in parts {
                    self.end_word(self.at);
                    self.push(start, part);
                }
            }
            other => self.push(start, other.encode_utf8(&mut [0; 4])),
        }
        Ok(true)
    }

    fn peek(&self) -> Option<char> {
        self.source.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn push(&mut self, start: usize, text: &str) {
        self.word.get_or_insert_with(|| (String::new(), start)).0.push_str(text);
    }

    fn until(&mut self, end: char, start: usize) -> Result<String> {
        let rest = &self.source.text[self.at..];
        let Some(length) = rest.find(end) else {
            return Err(self.error(
                start,
                "this quote has no end",
                &format!("write `{end}` behind the last character"),
            ));
        };
        let text = rest[..length].to_owned();
        self.at += length + end.len_utf8();
        Ok(text)
    }

    fn double_quoted(&mut self, start: usize) -> Result<()> {
        loop {
            let at = self.at;
            match self.next() {
                None => {
                    return Err(self.error(start, "this quote has no end", "write `\"` behind the last character"));
                }
                Some('"') => return Ok(()),
                Some('$') => {
                    let value = self.value(at)?;
                    self.push(start, &value);
                }
                Some('`') => return Err(self.substitution(at)),
                Some('\\') => match self.next() {
                    Some('\n') | None => {}
                    Some(c @ ('$' | '`' | '"' | '\\')) => self.push(start, &c.to_string()),
                    Some(c) => self.push(start, &format!("\\{c}")),
                },
                Some(c) => self.push(start, &c.to_string()),
            }
        }
    }

    /// The value of the variable behind a `$`.
    fn value(&mut self, start: usize) -> Result<String> {
        let name = match self.peek() {
            Some('(') => return Err(self.substitution(start)),
            Some('{') => {
                self.next();
                self.until('}', start)?
            }
            _ => {
                let rest = &self.source.text[self.at..];
                let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                self.at += length;
                rest[..length].to_owned()
            }
        };
        match self.variables.get(&name) {
            Some(value) => Ok(value.clone()),
            None if name.is_empty() => Ok("$".to_owned()),
            None => Err(self.error(
                start,
                &format!("`${name}` has no value here"),
                &format!("write its value, or a line `{name}=…` before it"),
            )),
        }
    }

    fn end_word(&mut self, end: usize) {
        let Some((text, start)) = self.word.take() else { return };
        let name = text.split_once('=').filter(|(name, _)| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        match name {
            Some((name, value)) if self.words.is_empty() => {
                self.variables.insert(name.to_owned(), value.to_owned());
            }
            _ => self.words.push(Word { text, span: start..end }),
        }
    }

    fn end_at(&mut self, end: usize) -> Result<()> {
        self.end_word(end);
        self.end_command()
    }

    fn end_command(&mut self) -> Result<()> {
        self.end_word(self.at);
        let Some(first) = self.words.first() else { return Ok(()) };
        if CONTROL.contains(&first.text.as_str()) {
            return Err(Failure::invalid(
                Diagnostic::error(format!("`{}` of a shell can't be imported", first.text))
                    .at(self.source, Some(first.span.clone()))
                    .why("which commands it runs is only known when it runs")
                    .fix("import the commands of one round; `[matrix]` runs a scenario with several values"),
            ));
        }
        self.commands.push(std::mem::take(&mut self.words));
        Ok(())
    }

    fn substitution(&self, start: usize) -> Failure {
        self.error(start, "the output of a command can't be imported", "write what it prints")
    }

    fn error(&self, start: usize, what: &str, fix: &str) -> Failure {
        Failure::invalid(Diagnostic::error(what).at(self.source, Some(start..self.at)).fix(fix))
    }
}
