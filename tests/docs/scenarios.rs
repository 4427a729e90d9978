//! The documents keep what they promise: every TOML block in them is a scenario that restage reads, and the reference
//! knows every word of the language.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

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
        ![format!("`{word}`")].iter().chain(written.as_flattened()).any(|written| reference.contains(written))
    });
    assert!(words.is_empty(), "docs/reference/language.md says nothing of {words:?}");
}
