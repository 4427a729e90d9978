//! The documents keep what they promise: every TOML block in them is a scenario that restage reads, and the reference
//! knows every word of the language.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use regex::Regex;
use serde_json::Value;

use crate::common::{pages, root};

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect("the document is there")
}

/// The TOML blocks of a document, with the number of their first line.
fn toml_blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.starts_with("```toml") && !line.contains(" not-run: ") {
            let block: Vec<_> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            blocks.push((number + 2, block.join("\n") + "\n"));
        }
    }
    blocks
}

/// A block that shows one table is completed to a scenario.
fn completed(block: &str) -> String {
    let begins = |key: &str| block.lines().any(|line| line.starts_with(key));
    let format = if begins("format") { "" } else { "format = 1\n" };
    let capture = if begins("[capture]") { "" } else { "\n[capture]\nfile = \"captures/any.pcapng\"\n" };
    if format.is_empty() { format!("{block}{capture}") } else { format!("{format}{capture}{block}") }
}

#[test]
fn every_scenario_in_the_documents_is_valid() {
    let mut wrong = String::new();
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page can be read");
        for (line, block) in toml_blocks(&text) {
            seen += 1;
            if let Err(failure) = restage::Scenario::cases_from_text(&completed(&block)) {
                let _infallible = writeln!(wrong, "{} line {line}: {failure}", page.display());
            }
        }
    }
    assert!(seen > 30, "only {seen} scenarios were found");
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The schema of a scenario.
fn schema() -> Value {
    serde_json::from_str(&document("schemas/scenario.schema.json")).expect("JSON")
}

/// Every key of an object anywhere in a schema.
fn keys(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(entries) => {
            if let Some(Value::Object(properties)) = entries.get("properties") {
                found.extend(properties.keys().cloned());
            }
            entries.values().for_each(|value| keys(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_reference_knows_every_word() {
    let reference = document("docs/reference/language.md");
    let mut words = BTreeSet::new();
    keys(&schema(), &mut words);
    assert!(words.len() > 30, "the schema has the keys of every table: {words:?}");
    words.retain(|word| {
        let written =
            ["", "rewrite.", "expect."].map(|table| [format!("`[{table}{word}]`"), format!("`[[{table}{word}]]`")]);
        ![format!("`{word}`"), format!("`{word} = ")]
            .iter()
            .chain(written.as_flattened())
            .any(|written| reference.contains(written))
    });
    assert!(words.is_empty(), "docs/reference/language.md says nothing of {words:?}");
}

/// The defaults of every key with this name, without quotation marks, from `default` or from "Default: …." in the description.
fn defaults(schema: &Value, name: &str, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(entries) => {
            if let Some(key) = entries.get("properties").and_then(|keys| keys.get(name)) {
                let written = key["description"].as_str().and_then(|text| text.split_once("Default: "));
                found.extend(
                    written.and_then(|(_, rest)| rest.split('.').next()).map(|text| text.trim_matches('"').to_owned()),
                );
                let value = key.get("default").filter(|value| !value.is_null());
                found.extend(value.map(|value| value.to_string().trim_matches('"').to_owned()));
            }
            entries.values().for_each(|value| defaults(value, name, found));
        }
        Value::Array(values) => values.iter().for_each(|value| defaults(value, name, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_language_and_the_schema_have_the_same_defaults() {
    let schema = schema();
    // A default that is a value: `"50ms"`, `false` or 1500. Others are explained in words.
    let row = Regex::new(r#"(?m)^\| `([a-z-]+)` \| [^|]+ \| (?:`"([^"`]+)"`|`(true|false)`|([0-9]+)) \|"#)
        .expect("a legal expression");
    let mut seen = 0;
    let mut differ = Vec::new();
    for found in row.captures_iter(&document("docs/reference/language.md")) {
        let written = (2..=4).find_map(|group| found.get(group)).expect("one of the three").as_str();
        let mut known = BTreeSet::new();
        defaults(&schema, &found[1], &mut known);
        seen += 1;
        if !known
            .iter()
            .any(|default| default.trim_matches('`').starts_with(written) || default.contains(&format!("`{written}`")))
        {
            differ.push(format!("{}: {written} in the language, {known:?} in the schema", &found[1]));
        }
    }
    assert!(seen > 20, "only {seen} defaults were found");
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
