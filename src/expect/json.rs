//! What JSON texts hold: one text as a whole ([`select`]), or one in each line ([`lines`]).

use std::io::{self, BufRead, BufReader, Read};

use serde_json::Value;

use super::examine::CHUNK_BYTES;
use crate::evidence::{LinesFound, Selected};
use crate::figures::count;
use crate::scenario::expect::{JsonLines, JsonPath, JsonRule};

/// The longest JSON text; its values take some ten times as much memory.
const LONGEST_BYTES: u64 = 16 << 20;
/// How many selected values are shown, and how much of each.
const MOST_SHOWN: usize = 5;
const SHOWN_CHARACTERS: usize = 100;

/// What each path selects in a text; or why it is no JSON text.
pub(super) fn select(rules: &[JsonRule], text: impl Read) -> io::Result<Result<Vec<Selected>, String>> {
    let mut bytes = Vec::new();
    text.take(LONGEST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_BYTES {
        return Ok(Err(too_long()));
    }
    Ok(serde_json::from_slice::<Value>(&bytes)
        .map(|value| rules.iter().map(|rule| selected(rule, &value)).collect())
        .map_err(|error| why_not(&error, error.line() as u64)))
}

/// What the lines of a text are.
pub(super) fn lines(rule: &JsonLines, text: impl Read) -> io::Result<LinesFound> {
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, text);
    let conditions = rule.conditions();
    let mut found = LinesFound { each: vec![0; conditions.len()], ..LinesFound::default() };
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        if reader.by_ref().take(LONGEST_BYTES + 1).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        found.lines += 1;
        let value = if bytes.len() as u64 > LONGEST_BYTES {
            reader.skip_until(b'\n')?;
            Err(format!("line {number}: {}", too_long()))
        } else {
            serde_json::from_slice::<Value>(&bytes).map_err(|error| why_not(&error, number))
        };
        let value = match value {
            Ok(value) => value,
            Err(why) => {
                found.broken += 1;
                found.first_broken.get_or_insert(why);
                continue;
            }
        };
        let mut all = true;
        for (condition, met) in conditions.iter().zip(&mut found.each) {
            let holds = condition.holds(&value);
            *met += u64::from(holds);
            all &= holds;
        }
        found.counted += u64::from(all);
    }
    Ok(found)
}

/// What a line must be so that it is counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Condition<'a> {
    Match(&'a JsonRule),
    HasKey(&'a JsonPath),
    NotHasKey(&'a JsonPath),
}

impl JsonLines {
    /// What a line must be so that it is counted, in the order of [`LinesFound::each`].
    pub(super) fn conditions(&self) -> Vec<Condition<'_>> {
        let matching = self.matching.iter().map(Condition::Match);
        let has = self.has_key.iter().map(|path| Condition::HasKey(&path.value));
        matching.chain(has).chain(self.not_has_key.iter().map(|path| Condition::NotHasKey(&path.value))).collect()
    }
}

impl Condition<'_> {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Match(rule) => rule.path.value.select(value).into_iter().any(|found| equal(found, &rule.value.value)),
            Self::HasKey(path) => !path.select(value).is_empty(),
            Self::NotHasKey(path) => path.select(value).is_empty(),
        }
    }
}

impl std::fmt::Display for Condition<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Match(rule) => write!(f, "`{}` is {}", rule.path.value, rule.value.value),
            Self::HasKey(path) => write!(f, "`{path}` is there"),
            Self::NotHasKey(path) => write!(f, "`{path}` is not there"),
        }
    }
}

fn selected(rule: &JsonRule, value: &Value) -> Selected {
    let values = rule.path.value.select(value);
    let shown = values.iter().take(MOST_SHOWN).map(|value| short(&value.to_string()));
    Selected {
        count: values.len(),
        shown: shown.collect(),
        holds: values.iter().any(|value| equal(value, &rule.value.value)),
    }
}

/// Whether two values are the same: numbers by their values, the members of objects in any order.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || (one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same = |(key, value)| other.get::<String>(key).is_some_and(|other| equal(value, other));
            one.len() == other.len() && one.iter().all(same)
        }
        _ => one == other,
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

fn too_long() -> String {
    format!("a JSON text of more than {} is not read", count(LONGEST_BYTES, "byte"))
}

/// What is wrong with a JSON text, and where.
fn why_not(error: &serde_json::Error, line: u64) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    format!("line {line}, column {}: {}", error.column(), message.strip_suffix(&place).unwrap_or(&message))
}
