//! What messages, help texts and documents tell users to write exists: verbs, options and keys of the scenario language.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use crate::common::pages;

/// Options of other programs that restage advises.
const OF_OTHERS: &[&str] = &[
    "--cap-add",
    "--foreground",
    "--immediate-mode",
    "--keep-in-foreground",
    "--map-current-user",
    "--no-caps",
    "--privileged",
    "--security-opt",
    "--set-version",
];

/// Sources (comments included) and documents, with the lines of a string literal joined.
fn texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // This page names the options of other programs.
    let mut files: Vec<PathBuf> =
        pages().into_iter().filter(|page| !page.ends_with("coming-from-tcpreplay.md")).collect();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources can be listed") {
            let path = entry.expect("an entry of a folder can be read").path();
            if path.ends_with("draft/import") {
                // It names the options of the programs that it reads.
            } else if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    let continued = Regex::new(r"\\\n\s*").expect("a legal expression");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source or document can be read");
        let text = continued.replace_all(&text, "").into_owned();
        (path, text)
    };
    files.into_iter().map(read).collect()
}

/// What `restage help …` prints.
fn help(verb: Option<&str>) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_restage")).arg("help").args(verb).output();
    String::from_utf8(output.expect("the program starts").stdout).expect("a help text is UTF-8")
}

fn options_of(help: &str) -> BTreeSet<String> {
    let option = Regex::new(r"--[a-z][a-z-]*").expect("a legal expression");
    option.find_iter(help).map(|found| found.as_str().to_owned()).collect()
}

/// The verbs that the help text lists, each with its options, and those that all have.
fn verbs() -> Vec<(String, BTreeSet<String>)> {
    let general = help(None);
    let listed = general.split("Verbs:").nth(1).expect("the help text lists the verbs");
    let listed = listed.lines().skip(1).take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("    "));
    let verb = |line: &str| {
        let verb = line.split_whitespace().next()?.to_owned();
        let text = help(Some(&verb));
        Some((verb, options_of(&text)))
    };
    let whole = ("help".to_owned(), options_of(&general));
    // restage starts it itself, so that the help text doesn't list it.
    let hidden = ("agent".to_owned(), BTreeSet::new());
    listed.filter_map(verb).chain([whole, hidden]).collect()
}

#[test]
fn the_commands_that_texts_name_exist() {
    let verbs = verbs();
    assert!(verbs.iter().any(|(verb, options)| verb == "run" && options.contains("--jobs")), "{verbs:?}");
    let command = Regex::new(r"`(?:sudo )?restage ([a-z]+)\b([^`]*)`").expect("a legal expression");
    let lone = Regex::new(r"`(--[a-z][a-z-]*)").expect("a legal expression");
    let option = Regex::new(r"(?:^|\s)(--[a-z][a-z-]*)").expect("a legal expression");
    let mut wrong = BTreeSet::new();
    for (path, text) in texts() {
        for found in command.captures_iter(&text) {
            match verbs.iter().find(|(verb, _)| *verb == found[1]) {
                None => {
                    wrong.insert(format!("{}: {}", path.display(), &found[0]));
                }
                Some((_, options)) => {
                    let rest = found[2].split(" -- ").next().unwrap_or_default();
                    let unknown = option.captures_iter(rest).filter(|named| !options.contains(&named[1]));
                    wrong.extend(unknown.map(|named| format!("{}: {} in {}", path.display(), &named[1], &found[0])));
                }
            }
        }
        let known = |name: &str| OF_OTHERS.contains(&name) || verbs.iter().any(|(_, options)| options.contains(name));
        let unknown = lone.captures_iter(&text).filter(|found| !known(&found[1]));
        wrong.extend(unknown.map(|found| format!("{}: {}", path.display(), &found[1])));
    }
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

/// The schemas that a place of the schema may stand for: itself, or what it refers to or offers as alternatives.
fn alternatives<'a>(schema: &'a Value, root: &'a Value) -> Vec<&'a Value> {
    let mut all = vec![schema];
    if let Some(place) = schema.get("$ref").and_then(Value::as_str) {
        all.extend(
            root.pointer(place.trim_start_matches('#')).into_iter().flat_map(|schema| alternatives(schema, root)),
        );
    }
    for word in ["anyOf", "oneOf", "allOf"] {
        let offered = schema.get(word).and_then(Value::as_array).into_iter().flatten();
        all.extend(offered.flat_map(|schema| alternatives(schema, root)));
    }
    all.extend(schema.get("items").into_iter().flat_map(|schema| alternatives(schema, root)));
    all
}

/// The schema below a key of a table.
fn below<'a>(schemas: &[&'a Value], key: &str, root: &'a Value) -> Vec<&'a Value> {
    let found = schemas.iter().filter_map(|schema| schema.get("properties")?.get(key));
    found.flat_map(|schema| alternatives(schema, root)).collect()
}

#[test]
fn the_keys_that_texts_name_exist() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/scenario.schema.json");
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(path).expect("the schema can be read")).expect("the schema is JSON");
    let key = Regex::new(r"`\[+([a-z.]+)\]+ ([a-z][a-z0-9-]*)").expect("a legal expression");
    let exists = |table: &str, key: &str| {
        let table =
            table.split('.').fold(alternatives(&schema, &schema), |schemas, part| below(&schemas, part, &schema));
        !below(&table, key, &schema).is_empty()
    };
    assert!(exists("rewrite.destination", "mac") && exists("pacing", "rate") && !exists("pacing", "speed"));
    let mut wrong = BTreeSet::new();
    let mut seen = 0;
    for (path, text) in texts() {
        for found in key.captures_iter(&text) {
            seen += 1;
            if !exists(&found[1], &found[2]) {
                wrong.insert(format!("{}: [{}] {}", path.display(), &found[1], &found[2]));
            }
        }
    }
    assert!(seen > 50, "only {seen} keys were found in the texts");
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}
