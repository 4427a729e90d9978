//! The words of the language, asked from the schema of the forms: which keys a table has, what a key wants, an example.
//!
//! So the messages, the editors' completion and the reader can't disagree. Start at [`schema`].

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::Value as Json;

use crate::diagnostic::Diagnostic;

/// A key of a table, or an index of a list, on the way to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The JSON schema (draft 7, which TOML editors know) of a form.
pub(super) fn schema<F: JsonSchema>() -> Json {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let settings = settings.with_transform(RecursiveTransform(without_null));
    settings.into_generator().into_root_schema_for::<F>().to_value()
}

/// TOML has no null: an optional key is absent.
fn without_null(schema: &mut Schema) {
    let Some(Json::Array(types)) = schema.get_mut("type") else {
        return drop_null_branch(schema);
    };
    types.retain(|name| name != "null");
    if let [only] = types.as_slice() {
        let only = only.clone();
        schema.insert("type".to_owned(), only);
    }
    drop_null_branch(schema);
}

/// The same where the option is a choice of schemas: of two, the other takes its place.
fn drop_null_branch(schema: &mut Schema) {
    let Some(Json::Array(branches)) = schema.get_mut("anyOf") else { return };
    branches.retain(|branch| branch.get("type").is_none_or(|name| name != "null"));
    if let [Json::Object(only)] = branches.as_slice() {
        let only = only.clone();
        schema.remove("anyOf");
        for (key, value) in only {
            let object = schema.ensure_object();
            object.entry(key).or_insert(value);
        }
    }
}

/// The language, by the schema of its root form.
#[derive(Debug)]
pub(super) struct Vocabulary(Json);

/// The words of the whole scenario.
pub(super) static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| Vocabulary(super::schema()));

impl Vocabulary {
    /// The schema of the value at `path`; `None` where the language has no such key.
    pub(super) fn at(&self, path: &[Step]) -> Option<&Json> {
        path.iter().try_fold(&self.0, |schema, step| child(schema, step))
    }

    /// The keys of the table at `path`; empty where the keys are free.
    pub(super) fn keys(&self, path: &[Step]) -> Vec<&str> {
        let Some(schema) = self.at(path) else { return Vec::new() };
        branches(schema)
            .filter_map(|branch| branch.get("properties")?.as_object())
            .flat_map(|keys| keys.keys().map(String::as_str))
            .collect()
    }

    /// The tables (dotted) that have this key.
    pub(super) fn tables_with(&self, key: &str) -> Vec<String> {
        let mut found = Vec::new();
        find_tables(&self.0, "", key, &mut found);
        found
    }
}

/// All shapes that a value may have.
fn branches(schema: &Json) -> impl Iterator<Item = &Json> {
    let choice = |name: &str| schema.get(name).and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    std::iter::once(schema).chain(choice("anyOf")).chain(choice("oneOf"))
}

fn child<'a>(schema: &'a Json, step: &Step) -> Option<&'a Json> {
    branches(schema).find_map(|branch| match step {
        Step::Index(_) => branch.get("items"),
        Step::Key(key) => branch
            .get("properties")
            .and_then(|keys| keys.get(key))
            .or_else(|| branch.get("additionalProperties").filter(|values| values.is_object())),
    })
}

fn find_tables(schema: &Json, path: &str, key: &str, found: &mut Vec<String>) {
    let Some(keys) = schema.get("properties").and_then(Json::as_object) else { return };
    if keys.contains_key(key) {
        found.push(path.to_owned());
    }
    for (name, below) in keys {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        find_tables(below, &path, key, found);
    }
}

/// The JSON types that a schema allows.
pub(super) fn types(schema: &Json) -> BTreeSet<&str> {
    branches(schema)
        .filter_map(|branch| branch.get("type"))
        .flat_map(|name| match name {
            Json::Array(names) => names.iter().filter_map(Json::as_str).collect(),
            name => name.as_str().into_iter().collect::<Vec<_>>(),
        })
        .collect()
}

/// The strings that a schema allows; empty where any is allowed.
pub(super) fn allowed(schema: &Json) -> Vec<&str> {
    branches(schema)
        .flat_map(|branch| {
            let several = branch.get("enum").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
            branch.get("const").into_iter().chain(several).filter_map(Json::as_str)
        })
        .collect()
}

/// `a string`, `a table or a list` …
pub(super) fn wanted(schema: &Json) -> String {
    one_of(&types(schema).into_iter().map(type_name).collect::<Vec<_>>())
}

/// The name of a JSON or TOML type in a sentence.
pub(super) fn type_name(name: &str) -> &'static str {
    match name {
        "integer" => "an integer",
        "float" | "number" => "a number with a decimal point",
        "boolean" => "true or false",
        "datetime" => "a date or time",
        "array" => "a list",
        "table" | "object" => "a table",
        _ => "a string",
    }
}

/// `a, b or c`.
pub(super) fn one_of<S: AsRef<str>>(names: &[S]) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            text.push_str(if index + 1 == names.len() { " or " } else { ", " });
        }
        text.push_str(name.as_ref());
    }
    text
}

/// The known word that was probably meant: few edits away (case and separators don't count), or longer than what is written.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| word.to_lowercase().replace(['_', ' '], "-");
    let written = plain(written);
    let distance = |word: &&str| strsim::damerau_levenshtein(&written, &plain(word));
    let known: Vec<_> = known.into_iter().collect();
    let best = known.iter().copied().min_by_key(distance)?;
    let allowed = (best.chars().count().max(written.chars().count()) / 3).max(1);
    if distance(&best) <= allowed {
        return Some(best);
    }
    let holds = |word: &&str| written.len() >= 3 && plain(word).contains(&written);
    known.into_iter().find(holds)
}

/// The problem with the nearest of the known words, in its quotes, as what to write; or else with `fix`.
pub(super) fn suggest<'a>(
    problem: Diagnostic,
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
    quote: char,
    fix: impl Into<String>,
) -> Diagnostic {
    match nearest(written, known) {
        Some(near) => {
            problem.label(format!("did you mean {quote}{near}{quote}?")).fix(format!("write {quote}{near}{quote}"))
        }
        None => problem.fix(fix),
    }
}

/// A path as TOML writes it: `rewrite.source.port."8000-8099"`. An index is left out.
pub(super) fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        if let Step::Key(key) = step {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(&toml_key(key));
        }
    }
    text
}

/// A path with its indexes, to compare: `expect.command.0.run`.
pub(super) fn numbered(path: &[Step]) -> String {
    let steps = path.iter().map(|step| match step {
        Step::Key(key) => key.clone(),
        Step::Index(index) => index.to_string(),
    });
    steps.collect::<Vec<_>>().join(".")
}

fn toml_key(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if bare { key.to_owned() } else { toml::Value::from(key).to_string() }
}

/// An example of the schema as TOML writes it on one line.
pub(super) fn example(schema: &Json) -> Option<String> {
    let mut text = String::new();
    write_toml(schema.get("examples")?.get(0)?, &mut text);
    Some(text)
}

fn write_toml(value: &Json, out: &mut String) {
    match value {
        Json::String(text) => out.push_str(&toml::Value::from(text.as_str()).to_string()),
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_toml(item, out);
            }
            out.push(']');
        }
        Json::Object(entries) => {
            for (index, (key, item)) in entries.iter().enumerate() {
                let _ = write!(out, "{} {} = ", if index > 0 { "," } else { "{" }, toml_key(key));
                write_toml(item, out);
            }
            out.push_str(" }");
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => out.push_str(&value.to_string()),
    }
}
