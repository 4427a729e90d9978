//! One scenario, many cases: `[vars]` and `[matrix]`, and what a command line says of them (`--var`, `--set`).
//!
//! All of it changes the TOML table before it is read as a scenario, so that no other part of the language knows of it. Start at
//! [`Variation::apply`] and [`cases`].

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::set_line::{ending, line};
use super::{ScenarioText, placeholders};
use crate::diagnostic::{Diagnostic, Failure, Kind, Result, Source};
use crate::figures::count;

/// Cases that a matrix may have.
const MOST_CASES: usize = 10_000;

/// What is said of scenarios beside their files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variation {
    /// Variables with their values (`--var`).
    vars: Vec<(String, String)>,
    /// Keys with their values, each a line of TOML (`--set`).
    set: Vec<String>,
    /// Which value of each list of `[matrix]`.
    case: Vec<(String, usize)>,
}

impl Variation {
    /// Reads the arguments of `--var` and `--set`.
    ///
    /// # Errors
    /// What is not `NAME=VALUE`, and keys that are none.
    pub fn new(vars: &[String], sets: &[String]) -> Result<Self> {
        let mut problems = Vec::new();
        let mut variation = Self::default();
        for text in vars {
            match text.split_once('=') {
                Some((name, value)) if is_name(name) => variation.vars.push((name.to_owned(), value.to_owned())),
                _ => problems.push(
                    Diagnostic::error(format!("`--var {text}` is not NAME=VALUE"))
                        .why(NAMES)
                        .fix("write it like `--var rate=500`"),
                ),
            }
        }
        for text in sets {
            let line = text.split_once('=').and_then(|(key, value)| line(key.trim(), value.trim()));
            match line {
                Some(line) => variation.set.push(line),
                None => problems.push(
                    Diagnostic::error(format!("`--set {text}` is not KEY=VALUE"))
                        .why("KEY is a key of the scenario language with the names of its tables")
                        .fix("write it like `--set pacing.rate=500pps`"),
                ),
            }
        }
        if problems.is_empty() { Ok(variation) } else { Err(Failure { kind: Kind::Invalid, problems }) }
    }

    /// Sets one more key, to a text; `source` with its line.
    pub(super) fn set(&mut self, key: &str, value: &str, source: &Arc<Source>) -> Arc<Source> {
        let more = Self { set: line(key, &super::quoted(value)).into_iter().collect(), ..Self::default() };
        let source = more.extended(source);
        self.set.extend(more.set);
        source
    }

    /// The names of the variables that a command line sets.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.vars.iter().map(|(name, _)| name.as_str())
    }

    /// Puts the values into a table. The problems of `[vars]` and `[matrix]` are returned.
    pub(super) fn apply<'t>(&'t self, source: &'t Arc<Source>, table: &mut DeTable<'t>) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        self.replace_keys(source, table);
        let mut vars: Vec<Var<'t>> = Vec::new();
        for (name, span, value, in_matrix) in declared(table) {
            let refuse = |problem: Diagnostic| problem.at(source, Some(span.clone()));
            if !is_name(&name) || placeholders::NAMES.contains(&name.as_str()) {
                let why = if is_name(&name) { "restage itself gives it a value" } else { NAMES };
                let problem = Diagnostic::error(format!("a variable can't be called `{name}`"));
                problems.push(refuse(problem.why(why).fix("choose another name")));
                continue;
            }
            if vars.iter().any(|var| var.name == name) {
                let problem = Diagnostic::error(format!("`{name}` is in `[vars]` and in `[matrix]`"));
                problems.push(refuse(problem.fix("remove one of the two")));
                continue;
            }
            if in_matrix && let Some(problem) = self.undecided(&name, &value) {
                problems.push(refuse(problem));
            }
            let value = if in_matrix { self.value_of_case(&name, &value) } else { Some(value) };
            let Some(value) = value.filter(is_scalar) else {
                let (what, fix) = if in_matrix {
                    (format!("`matrix.{name}` is no list of values"), "write a list of strings or numbers")
                } else {
                    (format!("`vars.{name}` can't have this value"), "write a string, a number, true or false")
                };
                problems.push(refuse(Diagnostic::error(what).fix(fix)));
                continue;
            };
            let given = self.vars.iter().rev().find(|(given, _)| *given == name);
            let value = given.map_or(value.clone(), |(_, text)| like(&value, text));
            vars.push(Var { name, span, value, used: false });
        }
        for (key, value) in table.iter_mut() {
            if !matches!(key.get_ref().as_ref(), VARS | MATRIX) {
                replace_in(value.get_mut(), &mut vars);
            }
        }
        let unused = vars.iter().filter(|var| !var.used).map(|var| {
            let problem = Diagnostic::error(format!("the variable `{}` is used nowhere", var.name));
            problem
                .fix(format!("write `{{{}}}` in a string, or remove it", var.name))
                .at(source, Some(var.span.clone()))
        });
        problems.extend(unused);
        problems
    }

    /// What is wrong where no case is chosen of a list of `[matrix]` with several values.
    fn undecided(&self, name: &str, list: &DeValue<'_>) -> Option<Diagnostic> {
        let DeValue::Array(list) = list else { return None };
        let is_decided =
            self.case.iter().any(|(chosen, _)| chosen == name) || self.vars.iter().any(|(given, _)| given == name);
        if is_decided || list.len() < 2 {
            return None;
        }
        let problem =
            Diagnostic::error(format!("`matrix.{name}` has {}, and none is chosen", count(list.len() as u64, "value")));
        let why = format!("each combination of values is a case; at most {MOST_CASES} are run");
        let fix = format!("`restage run` and `check` take all; choose one by `--var {name}=…`");
        Some(problem.why(why).fix(fix))
    }

    /// The value of this case, of a list of `[matrix]`; any one where nothing is chosen.
    fn value_of_case<'t>(&self, name: &str, list: &DeValue<'t>) -> Option<DeValue<'t>> {
        let index = self.case.iter().find(|(chosen, _)| chosen == name).map_or(0, |(_, index)| *index);
        let DeValue::Array(list) = list else { return None };
        list.get(index).map(|value| value.get_ref().clone())
    }

    /// Replaces what `--set` names, in the text that [`Self::extended`] made.
    fn replace_keys<'t>(&'t self, source: &'t Arc<Source>, table: &mut DeTable<'t>) {
        let mut end = source.text.len();
        let starts = self.set.iter().rev().map(|line| {
            end -= ending(line).len();
            end
        });
        let starts: Vec<usize> = starts.collect();
        for (line, start) in self.set.iter().zip(starts.into_iter().rev()) {
            // It was parsed before.
            let Ok(mut changed) = DeTable::parse(line) else { continue };
            shift(changed.get_mut(), start);
            merge(table, changed.into_inner());
        }
    }

    /// The text of a scenario with the lines of `--set`, for messages that point at them.
    fn extended(&self, source: &Arc<Source>) -> Arc<Source> {
        if self.set.is_empty() {
            return Arc::clone(source);
        }
        let mut text = source.text.clone();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.extend(self.set.iter().map(|line| ending(line)));
        Arc::new(Source { path: source.path.clone(), text })
    }

    /// How much of a text is the file's own.
    pub(super) fn own<'t>(&self, text: &'t str) -> &'t str {
        let added: usize = self.set.iter().map(|line| ending(line).len()).sum();
        text.get(..text.len().saturating_sub(added)).unwrap_or(text)
    }
}

const VARS: &str = "vars";
const MATRIX: &str = "matrix";
const NAMES: &str = "a name has lower-case letters and `-`";

/// A variable with its value.
struct Var<'t> {
    name: String,
    span: Range<usize>,
    value: DeValue<'t>,
    used: bool,
}

/// The scenarios that a text stands for: one for each case of its matrix, and one where it has none.
pub fn cases(text: &ScenarioText, variation: &Variation) -> Vec<ScenarioText> {
    let lists: Vec<(String, Vec<String>)> = {
        let (table, _) = DeTable::parse_recoverable(&text.source.text);
        let lists = declared(table.get_ref())
            .into_iter()
            .filter(|(name, _, _, in_matrix)| *in_matrix && !variation.vars.iter().any(|(given, _)| given == name));
        lists
            .filter_map(|(name, _, value, _)| match value {
                DeValue::Array(list) => Some((name, list.iter().map(|value| shown(value.get_ref())).collect())),
                _ => None,
            })
            .filter(|(_, list): &(String, Vec<String>)| !list.is_empty())
            .collect()
    };
    let count = lists.iter().try_fold(1_usize, |count, (_, list)| count.checked_mul(list.len()));
    let source = variation.extended(&text.source);
    let varied = |case: Vec<(String, usize)>, name: String| ScenarioText {
        source: Arc::clone(&source),
        name,
        variation: Variation { case, ..variation.clone() },
        ..text.clone()
    };
    if lists.is_empty() || count.is_none_or(|count| count > MOST_CASES) {
        return vec![varied(Vec::new(), text.name.clone())];
    }
    let mut cases: Vec<Vec<(String, usize)>> = vec![Vec::new()];
    for (name, list) in &lists {
        let with = |case: &Vec<(String, usize)>, index| case.iter().cloned().chain([(name.clone(), index)]).collect();
        cases = cases.iter().flat_map(|case| (0..list.len()).map(move |index| with(case, index))).collect();
    }
    let value = |(name, index): &(String, usize)| {
        let list = lists.iter().find(|(other, _)| other == name).map_or(&[][..], |(_, list)| list);
        format!("{name}={}", list.get(*index).map_or("", String::as_str))
    };
    cases
        .into_iter()
        .map(|case| {
            let label = case.iter().map(value).collect::<Vec<_>>().join(",");
            varied(case, format!("{}[{label}]", text.name))
        })
        .collect()
}

/// A value as the schema has it.
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "it is only a schema")]
pub(super) enum Scalar {
    Text(String),
    Integer(i64),
    Number(f64),
    Truth(bool),
}

pub(super) fn example_vars() -> serde_json::Value {
    serde_json::json!({ "rate": 500 })
}

pub(super) fn example_matrix() -> serde_json::Value {
    serde_json::json!({ "capture": ["a.pcap", "b.pcap"], "rate": [500, 5000] })
}

/// The names of the variables of a text.
pub fn names(text: &ScenarioText) -> BTreeSet<String> {
    let (table, _) = DeTable::parse_recoverable(text.variation.own(&text.source.text));
    declared(table.get_ref()).into_iter().map(|(name, ..)| name).collect()
}

/// What `[vars]` and `[matrix]` declare: name, place, value, and whether it is of the matrix.
fn declared<'t>(table: &DeTable<'t>) -> Vec<(String, Range<usize>, DeValue<'t>, bool)> {
    let of = |key: &'static str| {
        let entries = match table.get(key).map(Spanned::get_ref) {
            Some(DeValue::Table(entries)) => Some(entries),
            _ => None,
        };
        let all = entries.into_iter().flatten();
        all.map(move |(name, value)| (name.get_ref().to_string(), name.span(), value.get_ref().clone(), key == MATRIX))
    };
    of(VARS).chain(of(MATRIX)).collect()
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

fn is_scalar(value: &DeValue<'_>) -> bool {
    matches!(value, DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_))
}

/// A value in a text.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => String::new(),
    }
}

/// A value from a command line: a string where the declared one is a string.
fn like<'t>(declared: &DeValue<'t>, text: &'t str) -> DeValue<'t> {
    match declared {
        DeValue::String(_) => DeValue::String(Cow::Borrowed(text)),
        _ => parsed(text).unwrap_or(DeValue::String(Cow::Borrowed(text))),
    }
}

fn parsed(text: &str) -> Option<DeValue<'_>> {
    DeValue::parse(text).ok().map(Spanned::into_inner).filter(is_scalar)
}

/// Replaces the variables in every string and every key of a value.
fn replace_in<'t>(value: &mut DeValue<'t>, vars: &mut [Var<'t>]) {
    match value {
        DeValue::String(text) => {
            // A string that is nothing but a variable has its type.
            let whole = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            if let Some(var) = whole.and_then(|name| vars.iter_mut().find(|var| var.name == name)) {
                var.used = true;
                *value = var.value.clone();
            } else if let Some(replaced) = replaced(text, vars) {
                *text = Cow::Owned(replaced);
            }
        }
        DeValue::Array(list) => list.iter_mut().for_each(|value| replace_in(value.get_mut(), vars)),
        DeValue::Table(table) => {
            for (key, mut value) in std::mem::take(table) {
                replace_in(value.get_mut(), vars);
                let span = key.span();
                let name = replaced(key.get_ref(), vars).map_or(key.into_inner(), Cow::Owned);
                table.insert(Spanned::new(span, name), value);
            }
        }
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

/// A text with the variables that it names; `None` if it names none.
fn replaced(text: &str, vars: &mut [Var<'_>]) -> Option<String> {
    let named: Vec<String> = placeholders::find(text).into_iter().map(|(name, _)| name.to_owned()).collect();
    let mut any = false;
    for var in vars.iter_mut().filter(|var| named.contains(&var.name)) {
        (var.used, any) = (true, true);
    }
    let value = |name: &str| vars.iter().find(|var| var.name == name).map(|var| shown(&var.value));
    any.then(|| placeholders::replace(text, value))
}

/// Puts what `changed` has into a table: tables are joined, anything else takes the place of what was there.
fn merge<'t>(table: &mut DeTable<'t>, changed: DeTable<'t>) {
    for (key, value) in changed {
        match (table.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut), value.get_ref()) {
            (Some(DeValue::Table(old)), DeValue::Table(_)) => {
                if let DeValue::Table(new) = value.into_inner() {
                    merge(old, new);
                }
            }
            _ => {
                table.remove(key.get_ref().as_ref());
                table.insert(key, value);
            }
        }
    }
}

/// Moves the places of everything in a table.
fn shift(table: &mut DeTable<'_>, by: usize) {
    let moved = |span: Range<usize>| span.start + by..span.end + by;
    for (key, mut value) in std::mem::take(table) {
        shift_value(value.get_mut(), by);
        let (key_span, value_span) = (moved(key.span()), moved(value.span()));
        table.insert(Spanned::new(key_span, key.into_inner()), Spanned::new(value_span, value.into_inner()));
    }
}

fn shift_value(value: &mut DeValue<'_>, by: usize) {
    match value {
        DeValue::Table(table) => shift(table, by),
        DeValue::Array(list) => {
            for value in list.iter_mut() {
                shift_value(value.get_mut(), by);
                let span = value.span();
                let inner = std::mem::replace(value.get_mut(), DeValue::Boolean(false));
                *value = Spanned::new(span.start + by..span.end + by, inner);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Style, render};
    use crate::scenario::{self, Scenario};

    const TEXT: &str = r#"format = 1
summary = "{rate} of {port}"
[vars]
port = 514
name = "x"
[matrix]
rate = [1, 20]
file = ["a.pcap", "b.pcap"]
[capture]
file = "{file}"
[pacing]
rate = "{rate} pps"
repeat = "{port}"
[rewrite.source]
port = { "{port}" = "{port}" }
[[expect.command]]
run = ["echo", "{name}{name}", "{work}"]
"#;

    fn texts(text: &str, vars: &[&str], sets: &[&str]) -> Vec<ScenarioText> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let variation = Variation::new(&owned(vars), &owned(sets)).expect("legal arguments");
        let source = Source { path: "m.toml".into(), text: text.to_owned() };
        cases(&ScenarioText::of(Arc::new(source)).expect("a folder"), &variation)
    }

    fn checked(text: &ScenarioText) -> Scenario {
        scenario::check(text).unwrap_or_else(|failure| panic!("{}", render(&failure.problems, Style::Plain)))
    }

    #[test]
    fn each_combination_is_a_case_with_its_values() {
        let cases = texts(TEXT, &[], &[]);
        let names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
        let expected = ["file=a.pcap,rate=1", "file=a.pcap,rate=20", "file=b.pcap,rate=1", "file=b.pcap,rate=20"];
        assert_eq!(names, expected.map(|case| format!("m[{case}]")));
        let last = checked(&cases[3]);
        assert_eq!(last.summary.as_deref(), Some("20 of 514"));
        assert_eq!(last.capture.files.paths().next(), Some(std::path::Path::new("b.pcap")));
        // A string that is nothing but a variable has its type.
        assert_eq!(last.pacing.repeat.value, 514);
        // Other placeholders stay.
        assert_eq!(last.expect.command[0].run.value, ["echo", "xx", "{work}"]);
    }

    #[test]
    fn the_command_line_goes_first() {
        let cases = texts(
            TEXT,
            &["rate=7", "file=c.pcap", "port=53"],
            &["pacing.rate=9pps", "timeout=300s", "expect.consumed = 3"],
        );
        assert_eq!(cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(), ["m"]);
        let only = checked(&cases[0]);
        assert_eq!((only.summary.as_deref(), only.pacing.repeat.value), (Some("7 of 53"), 53));
        assert_eq!(only.timeout.as_ref().map(|limit| limit.value.as_secs()), Some(300));
        // A worker reads it again.
        let json = serde_json::to_string(&only.text()).expect("JSON");
        assert_eq!(checked(&serde_json::from_str(&json).expect("the same")), only);
    }

    #[test]
    fn a_message_points_at_what_the_command_line_says() {
        let case = &texts(TEXT, &["rate=7", "file=c.pcap"], &["pacing.rate=fast", "expect.consumd=3"])[0];
        let failure = scenario::check(case).expect_err("it is wrong");
        insta::assert_snapshot!(render(&failure.problems, Style::Plain));
    }

    #[test]
    fn a_wrong_table_is_told_with_its_place() {
        let text = "format = 1\n[capture]\nfile = \"a.pcap\"\n[vars]\nwork = 1\nUP = 2\nlist = [1]\nunused = 3\n[matrix]\nunused = [4]\nnone = []\n";
        let failure = scenario::check(&texts(text, &[], &[])[0]).expect_err("it is wrong");
        insta::assert_snapshot!(render(&failure.problems, Style::Plain));
        // Read without a choice.
        let source = Source { path: "m.toml".into(), text: TEXT.to_owned() };
        let failure = scenario::check(&ScenarioText::of(Arc::new(source)).expect("a folder")).expect_err("no case");
        insta::assert_snapshot!(render(&failure.problems, Style::Plain));
    }

    #[test]
    fn arguments_that_can_not_be_read_are_refused() {
        for (var, set) in
            [("rate", ""), ("Rate=3", ""), ("=3", ""), ("", "pacing"), ("", "=3"), ("", "a..b=3"), ("", "a=1\nb=2")]
        {
            let list = |text: &str| if text.is_empty() { vec![] } else { vec![text.to_owned()] };
            assert_eq!(Variation::new(&list(var), &list(set)).expect_err(var).problems.len(), 1, "{var} {set}");
        }
    }
}
