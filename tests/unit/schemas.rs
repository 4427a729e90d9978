//! The schemas in `schemas/` are what the types say. `RESTAGE_UPDATE=1 cargo test --lib schemas` rewrites them.

use std::path::{Path, PathBuf};

use serde_json::Value;

fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(format!("{name}.schema.json"))
}

#[test]
fn the_committed_schemas_are_fresh() {
    let update = std::env::var_os("RESTAGE_UPDATE").is_some();
    for (name, schema) in super::ALL {
        let path = committed(name);
        let fresh = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
        if update {
            std::fs::write(&path, &fresh).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mend = "RESTAGE_UPDATE=1 cargo test --lib schemas";
        assert!(text == fresh, "schemas/{name}.schema.json is stale: run {mend}");
    }
}

/// Every key of every table, as `lab.mtu`.
fn keys(schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        found.push((path.clone(), below.clone()));
        keys(below, &path, found);
        keys(&below["items"], &path, found);
    }
}

#[test]
fn every_key_of_the_language_is_described_and_has_an_example() {
    let mut found = Vec::new();
    keys(&crate::scenario::schema(), "", &mut found);
    assert!(found.len() > 40, "only {} keys", found.len());
    for (path, key) in found {
        assert!(key["description"].is_string(), "{path} has no description");
        let is_table = key["properties"].is_object() || key["items"]["properties"].is_object();
        assert!(is_table || key["examples"].is_array(), "{path} has no example");
    }
}
