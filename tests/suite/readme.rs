//! The documents keep what they promise: every TOML block in them is a scenario that restage reads, and the reference
//! knows every word of the language.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("the document is there")
}

/// The TOML blocks of a document, with the number of their first line.
fn toml_blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line == "```toml" {
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
    let mut told = String::new();
    for name in ["README.md", "docs/language.md", "docs/coming-from-tcpreplay.md"] {
        let text = document(name);
        let blocks = toml_blocks(&text);
        assert!(!blocks.is_empty(), "{name} shows a scenario");
        for (line, block) in blocks {
            if let Err(failure) = restage::Scenario::cases_from_text(&completed(&block)) {
                let _infallible = writeln!(told, "{name} line {line}: {failure}");
            }
        }
    }
    assert!(told.is_empty(), "\n{told}");
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
    let reference = document("docs/language.md");
    let mut words = BTreeSet::new();
    keys(&schema(), &mut words);
    assert!(words.len() > 30, "the schema has the keys of every table: {words:?}");
    words.retain(|word| {
        let written =
            ["", "rewrite.", "expect."].map(|table| [format!("`[{table}{word}]`"), format!("`[[{table}{word}]]`")]);
        ![format!("`{word}`")].iter().chain(written.as_flattened()).any(|written| reference.contains(written))
    });
    assert!(words.is_empty(), "docs/language.md says nothing of {words:?}");
}
