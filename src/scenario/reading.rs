//! From text to the root form, with every problem of the file at once.
//!
//! toml's recovering parser gives all syntax errors. The table is then read into the form; where that fails, the problem is
//! described in the language's own words ([`super::vocabulary`]), the innermost entry that holds the error is taken out, and the
//! rest is read again. Start at [`read_form`].

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::check::Broken;
use super::form::{KEY, LAST_KEY, MARK};
use super::toml_version::later_than_1_0;
use super::vocabulary::{self, Step, VOCABULARY};
use super::{Form, ScenarioText, refused_words};
use crate::diagnostic::Diagnostic;

/// A file with more problems than these is not read to its end.
const ENOUGH: usize = 64;

/// A key that a table must have.
struct Missing {
    /// Of the table, without indexes.
    path: &'static str,
    key: &'static str,
    what: &'static str,
    fix: &'static str,
    /// What is read in its place, so that the rest of the table is read too.
    instead: &'static str,
}

const MISSING: &[Missing] = &[
    Missing {
        path: "expect.command",
        key: "run",
        what: "`[[expect.command]]` has nothing to `run`",
        fix: "add `run = [\"PROGRAM\", \"ARGUMENT\"]`",
        instead: "run = ['true']",
    },
    Missing {
        path: "expect.output",
        key: "from",
        what: "`[[expect.output]]` doesn't say `from` where",
        fix: "add `from = \"stdout\"`, \"stderr\" or a file like \"{work}/flows.csv\"",
        instead: "from = 'stdout'",
    },
    Missing {
        path: "lab.ruleset",
        key: "file",
        what: "`lab.ruleset` names no `file`",
        fix: "write { file = \"rules.nft\" }, or the ruleset itself as a string",
        instead: "file = 'rules.nft'",
    },
    Missing {
        path: "rewrite.vlan.push",
        key: "id",
        what: "`rewrite.vlan.push` has no `id`, which names the VLAN",
        fix: "write it like push = { id = 100 }",
        instead: "id = 1",
    },
];

/// The form, what is broken in the file, and the problems found so far. `None` if too much is broken to go on.
pub(super) fn read_form(text: &ScenarioText) -> (Option<Form>, Broken, Vec<Diagnostic>) {
    let source = &text.source;
    let (mut table, errors) = DeTable::parse_recoverable(text.variation.own(&source.text));
    let mut broken = Broken::default();
    let mut problems = Vec::new();
    for error in errors.iter().take(ENOUGH) {
        let span = clip(&source.text, error.span().unwrap_or(0..0));
        if !broken.on_bad_line(&span) {
            problems.push(syntax_problem(&source.text, error.message(), &span).at(source, Some(span.clone())));
        }
        broken.lines.push(lines_of(&source.text, &span));
    }
    if errors.is_empty() {
        let later = later_than_1_0(text.variation.own(&source.text)).into_iter().take(ENOUGH);
        problems.extend(later.map(|(problem, span)| problem.at(source, Some(span))));
        problems.extend(text.variation.apply(source, table.get_mut()));
    }
    for round in 0.. {
        let error = match Form::deserialize(toml::de::Deserializer::from(table.clone())) {
            Ok(form) => return (Some(form), broken, problems),
            Err(_) if round == ENOUGH => break,
            Err(error) => error,
        };
        // A problem of a value's grammar may bring its own place.
        let (place, problem) = match error.message().strip_prefix(MARK).map(serde_json::from_str) {
            Some(Ok((place, problem))) => (place, Some(problem)),
            _ => (None, None),
        };
        let wanted: Option<Range<usize>> = place.or_else(|| error.span());
        let Some(entry) = wanted.as_ref().and_then(|span| find(table.get_ref(), span, &mut Vec::new())) else {
            // An error without a place in the table: nothing that could be taken out.
            let problem = Diagnostic::error("this is not a scenario").why(error.message());
            problems.push(problem.fix("begin with `format = 1` and `[capture] file = \"…\"`").at(source, Some(0..0)));
            return (None, broken, problems);
        };
        if let Some(missing) = entry.missing(error.message()) {
            let path = entry.table_without(missing.key);
            let span = clip(&source.text, wanted.unwrap_or_default());
            let numbered = format!("{}.{}", vocabulary::numbered(&path), missing.key);
            if broken.lines.is_empty() && !broken.paths.contains(&numbered) {
                problems.push(Diagnostic::error(missing.what).fix(missing.fix).at(source, Some(span)));
            }
            fill(table.get_mut(), &path, missing);
            continue;
        }
        let problem = match problem {
            Some(problem) => entry.complete(problem, &source.text),
            None => entry.explain(error.message()),
        };
        let span = clip(&source.text, entry.span(wanted.as_ref()));
        broken.paths.push(vocabulary::numbered(&entry.path));
        broken.paths.extend(entry.meant());
        if !broken.touches(&span) {
            problems.push(problem.at(source, Some(span.clone())));
        }
        broken.spans.push(span);
        let path = entry.path.clone();
        remove(table.get_mut(), &path);
    }
    problems.push(
        Diagnostic::note("there are more problems than these")
            .why("a file with so many is hardly a scenario")
            .fix("mend these first, or begin with `format = 1` and `[capture] file = \"…\"`")
            .at(source, Some(source.text.len()..source.text.len())),
    );
    (None, broken, problems)
}

/// A syntax error, in toml's words or in clearer ones.
fn syntax_problem(text: &str, message: &str, span: &Range<usize>) -> Diagnostic {
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let value = text.get(span.clone()).unwrap_or_default().trim();
    if what.starts_with("duplicate key") {
        let problem = Diagnostic::error(format!("duplicate key `{value}`"));
        return problem.why("a table has a key only once, and a file has a table only once").fix("keep one of them");
    }
    if what.starts_with("string values must be quoted") || what.starts_with("invalid boolean") {
        let problem = Diagnostic::error("this is not a TOML value").why("strings have quotes");
        return if value.is_empty() || value.contains('"') {
            problem.fix("write a value after the `=`, strings in quotes")
        } else {
            problem.fix(format!("write \"{value}\""))
        };
    }
    let problem = Diagnostic::error(format!("not TOML: {what}"));
    if expected.is_empty() {
        problem
    } else {
        problem.fix(format!("expected here: {}", expected.replace(", ", " or ")))
    }
}

/// A key and its value on the way down the file.
struct Found<'t> {
    path: Vec<Step>,
    /// The key's bytes; the element's own for an element of a list.
    key: Range<usize>,
    value: &'t Spanned<DeValue<'t>>,
}

/// The entry that an error at `wanted` is about: the outermost whose key or value is just that, else the innermost that holds it.
fn find<'t>(table: &'t DeTable<'t>, wanted: &Range<usize>, path: &mut Vec<Step>) -> Option<Found<'t>> {
    let mut entries = table.iter().map(|(key, value)| (Step::Key(key.get_ref().to_string()), key.span(), value));
    find_among(&mut entries, wanted, path)
}

fn find_among<'t>(
    entries: &mut dyn Iterator<Item = (Step, Range<usize>, &'t Spanned<DeValue<'t>>)>,
    wanted: &Range<usize>,
    path: &mut Vec<Step>,
) -> Option<Found<'t>> {
    let holds = |span: &Range<usize>| span.start <= wanted.start && wanted.end <= span.end;
    let mut holder = None;
    for (step, key, value) in entries {
        path.push(step);
        let exact = key == *wanted || value.span() == *wanted;
        let below = match value.get_ref() {
            _ if exact => None,
            DeValue::Table(table) => find(table, wanted, path),
            DeValue::Array(list) => {
                let mut elements =
                    list.iter().enumerate().map(|(index, value)| (Step::Index(index), value.span(), value));
                find_among(&mut elements, wanted, path)
            }
            _ => None,
        };
        let held = exact || holds(&key) || holds(&value.span());
        let here = || Found { path: path.clone(), key, value };
        let found = below.or_else(|| held.then(here));
        path.pop();
        if let Some(found) = found {
            if exact || found.path.len() > path.len() + 1 {
                return Some(found);
            }
            holder = Some(found);
        }
    }
    holder
}

impl Found<'_> {
    /// Whether the key itself is what is wrong: no table of the language has it here.
    fn key_is_unknown(&self) -> bool {
        VOCABULARY.at(&self.path).is_none()
    }

    /// The bytes that a caret belongs under.
    fn span(&self, wanted: Option<&Range<usize>>) -> Range<usize> {
        let is_about_key = wanted == Some(&self.key);
        if self.key_is_unknown() || is_about_key { self.key.clone() } else { self.value.span() }
    }

    fn parent(&self) -> &[Step] {
        self.path.split_last().map_or(&[], |(_, parent)| parent)
    }

    fn last_key(&self) -> &str {
        match self.path.last() {
            Some(Step::Key(key)) => key,
            _ => "",
        }
    }

    /// What an old key is called now.
    fn renamed(&self) -> Option<&'static str> {
        refused_words::renamed(&vocabulary::dotted(self.parent()), self.last_key())
    }

    /// The key that a mistyped or an old one was meant to be.
    fn suggestion(&self) -> Option<&'static str> {
        if let Some(new) = self.renamed() {
            return Some(new);
        }
        let vocabulary: &'static vocabulary::Vocabulary = &VOCABULARY;
        if self.key_is_unknown() { vocabulary::nearest(self.last_key(), vocabulary.keys(self.parent())) } else { None }
    }

    /// Its path, so that it is not reported as missing.
    fn meant(&self) -> Option<String> {
        let mut path = self.parent().to_vec();
        path.push(Step::Key(self.suggestion()?.to_owned()));
        Some(vocabulary::numbered(&path))
    }

    /// What is wrong; `message` is what the reader said, for what the schema doesn't say.
    fn explain(&self, message: &str) -> Diagnostic {
        let name = vocabulary::dotted(&self.path);
        if self.key_is_unknown() { self.explain_key(&name) } else { self.explain_value(&name, message) }
    }

    /// The key that the table doesn't have.
    fn missing(&self, message: &str) -> Option<&'static Missing> {
        let key = message.strip_prefix("missing field `")?.strip_suffix('`')?;
        MISSING.iter().find(|missing| missing.path == vocabulary::dotted(&self.path) && missing.key == key)
    }

    /// The path of the table that doesn't have the key: a list of tables has the place of its first one.
    fn table_without(&self, key: &str) -> Vec<Step> {
        let mut path = self.path.clone();
        if let DeValue::Array(list) = self.value.get_ref() {
            let lacks = |element: &Spanned<DeValue<'_>>| matches!(element.get_ref(), DeValue::Table(table) if table.get(key).is_none());
            path.extend(list.iter().position(lacks).map(Step::Index));
        }
        path
    }

    /// Says which key has the problem, and what is written there.
    fn complete(&self, mut problem: Diagnostic, text: &str) -> Diagnostic {
        let name = vocabulary::dotted(&self.path);
        if problem.what.is_empty() {
            let verb = if matches!(self.path.last(), Some(Step::Index(_))) { "hold" } else { "be" };
            let written = match self.value.get_ref() {
                DeValue::String(written) => format!("\"{written}\""),
                _ => text.get(self.value.span()).unwrap_or_default().to_owned(),
            };
            problem.what = format!("`{name}` can't {verb} {written}");
        }
        problem.what = problem.what.replace(KEY, &name);
        problem.fix = problem.fix.map(|fix| fix.replace(LAST_KEY, self.last_key()));
        problem
    }

    fn explain_key(&self, name: &str) -> Diagnostic {
        let parent = vocabulary::dotted(self.parent());
        let keys = VOCABULARY.keys(self.parent()).join(", ");
        let (what, why) = match (parent.is_empty(), self.value.get_ref().is_table()) {
            (true, true) => (format!("unknown table `[{}]`", self.last_key()), format!("a scenario has {keys}")),
            (true, false) => (format!("unknown key `{name}` at the top of the file"), format!("a scenario has {keys}")),
            (false, _) => {
                let in_list = matches!(self.parent().last(), Some(Step::Index(_)));
                let table = if in_list { format!("[[{parent}]]") } else { format!("[{parent}]") };
                (format!("unknown key `{}` in `{table}`", self.last_key()), format!("its keys are {keys}"))
            }
        };
        if let Some(new) = self.renamed() {
            let problem = Diagnostic::error(format!("`{}` in `[{parent}]` is an old name", self.last_key()));
            return problem.why(format!("the key is called `{new}` now")).fix(format!("write `{new}`"));
        }
        let problem = Diagnostic::error(what).why(why);
        if let Some(suggestion) = self.suggestion() {
            return problem.label(format!("did you mean `{suggestion}`?")).fix(format!("write `{suggestion}`"));
        }
        let elsewhere: Vec<_> = VOCABULARY
            .tables_with(self.last_key())
            .into_iter()
            .map(|table| if table.is_empty() { "the top of the file".to_owned() } else { format!("`[{table}]`") })
            .collect();
        if elsewhere.is_empty() {
            problem.fix("remove it")
        } else {
            problem.fix(format!("move it to {}", vocabulary::one_of(&elsewhere)))
        }
    }

    fn explain_value(&self, name: &str, message: &str) -> Diagnostic {
        let schema = VOCABULARY.at(&self.path).expect("a key without a schema is unknown");
        let allowed = vocabulary::allowed(schema);
        let types = vocabulary::types(schema);
        let actual = match self.value.get_ref().type_str() {
            "table" => "object",
            other => other,
        };
        if let (DeValue::String(written), false) = (self.value.get_ref(), allowed.is_empty()) {
            let quoted: Vec<_> = allowed.iter().map(|word| format!("\"{word}\"")).collect();
            let wanted = vocabulary::one_of(&quoted);
            let problem = Diagnostic::error(format!("`{name}` can't be \"{written}\"")).why(format!("it is {wanted}"));
            return vocabulary::suggest(problem, written, allowed, '"', format!("write {wanted}"));
        }
        if types.contains(actual) {
            let why = if actual == "integer" { "it doesn't fit into 64 bits" } else { message };
            return Diagnostic::error(format!("`{name}` can't be read")).why(why).fix(self.fix(name));
        }
        let wanted = vocabulary::wanted(schema);
        let whose = if matches!(self.path.last(), Some(Step::Index(_))) { "every entry of " } else { "" };
        let problem = Diagnostic::error(format!("{whose}`{name}` must be {wanted}"))
            .label(format!("this is {}", vocabulary::type_name(actual)));
        problem.fix(self.fix(name))
    }

    /// How it is written: by its own example, as a table, or by the nearest example on the way up.
    fn fix(&self, name: &str) -> String {
        for length in (1..=self.path.len()).rev() {
            let path = self.path.get(..length).unwrap_or_default();
            let (Some(Step::Key(key)), Some(schema)) = (path.last(), VOCABULARY.at(path)) else { continue };
            if let Some(example) = vocabulary::example(schema) {
                return format!("write it like {key} = {example}");
            }
            if schema.get("properties").is_some() {
                return format!("begin a table with `[{}]`, its keys on the lines below", vocabulary::dotted(path));
            }
            if schema.get("items").is_some() {
                return format!("begin each with `[[{}]]`, its keys on the lines below", vocabulary::dotted(path));
            }
        }
        format!("remove `{name}`")
    }
}

/// Puts in what is read in the place of a missing key.
fn fill(table: &mut DeTable<'_>, path: &[Step], missing: &Missing) {
    let mut below = path.iter();
    let Some(Step::Key(key)) = below.next() else { return };
    let mut value = table.get_mut(key.as_str()).map(Spanned::get_mut);
    for step in below {
        value = match (value, step) {
            (Some(DeValue::Table(table)), Step::Key(key)) => table.get_mut(key.as_str()).map(Spanned::get_mut),
            (Some(DeValue::Array(list)), Step::Index(index)) => list.get_mut(*index).map(Spanned::get_mut),
            _ => None,
        };
    }
    if let (Some(DeValue::Table(table)), Ok(instead)) = (value, DeTable::parse(missing.instead)) {
        table.extend(instead.into_inner());
    }
}

/// Takes one entry out.
fn remove(table: &mut DeTable<'_>, path: &[Step]) {
    let Some((Step::Key(key), below)) = path.split_first() else { return };
    if below.is_empty() {
        table.remove(key.as_str());
    } else if let Some(value) = table.get_mut(key.as_str()) {
        remove_below(value.get_mut(), below);
    }
}

fn remove_below(value: &mut DeValue<'_>, path: &[Step]) {
    match (value, path) {
        (DeValue::Table(table), path) => remove(table, path),
        (DeValue::Array(list), [Step::Index(index)]) => {
            let kept = std::mem::replace(list, DeArray::new()).into_iter().enumerate();
            *list = kept.filter(|(at, _)| at != index).map(|(_, value)| value).collect();
        }
        (DeValue::Array(list), [Step::Index(index), below @ ..]) => {
            if let Some(value) = list.get_mut(*index) {
                remove_below(value.get_mut(), below);
            }
        }
        _ => {}
    }
}

/// The same bytes, inside the text and on character boundaries.
fn clip(text: &str, span: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
    start..end
}

/// The bytes of all lines that a span touches, without the last newline.
fn lines_of(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[span.end..].find('\n').map_or(text.len(), |newline| span.end + newline);
    start..end
}
