//! The pages in docs/reference that are generated: keys.md from the schema, causes.md from the table of causes, commands.md from the command line.
//! `RESTAGE_UPDATE=1 cargo test --lib reference` writes them anew.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory as _};
use serde_json::Value;

use crate::cause::{Cause, TABLE};

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference").join(name)
}

fn assert_fresh(name: &str, source: &str, text: &str) {
    let fresh = format!("<!-- Generated from {source}: RESTAGE_UPDATE=1 cargo test --lib reference -->\n\n{text}");
    if std::env::var_os("RESTAGE_UPDATE").is_some() {
        fs::write(page(name), &fresh).unwrap();
    }
    let committed = fs::read_to_string(page(name)).unwrap_or_default();
    assert!(committed == fresh, "docs/reference/{name} is stale: run RESTAGE_UPDATE=1 cargo test --lib reference");
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

#[test]
fn the_page_of_causes_is_fresh() {
    let mut text = "# Causes of loss\n\n\
        Why a packet did not reach the next stage of the ledger, in the order in which a packet meets the causes. Names are those of\n\
        `enum skb_drop_reason` of Linux 6.18, whatever kernel runs; where it has none, restage's own. `restage help CAUSE` prints one of\n\
        these; [How a loss is found](../explanation/losses.md) explains the evidence.\n\n\
        | cause | lost before | because |\n|---|---|---|\n"
        .to_owned();
    let rows = || TABLE.iter().filter(|row| row.cause != Cause::Unexplained);
    for row in rows() {
        let link = row.name.to_lowercase();
        let _infallible = writeln!(text, "| [`{}`](#{link}) | `{}` | {} |", row.name, row.stage, cell(row.why));
    }
    text += "\nWhat nothing explains is called `unexplained`, and always fails a run that judges that stage. What the receiver's kernel answers or absorbs\n\
        itself (ARP, ND, ICMP, IGMP, MLD, TCP) is no loss: the report has it apart, as `absorbed`.\n";
    for row in rows() {
        let _infallible = write!(
            text,
            "\n## `{}`\n\nLost before `{}`: {}.\n\n- Evidence: {}.\n- In a scenario: {}.\n- On a machine: {}.\n",
            row.name, row.stage, row.why, row.signs, row.fix, row.machine
        );
    }
    assert_fresh("causes.md", "src/cause/table.rs", &text);
}

/// A value as a scenario has it.
fn toml(value: &Value) -> String {
    toml::Value::try_from(value).unwrap().to_string()
}

/// What a value may be, in a few words.
fn kind(schema: &Value) -> String {
    if schema["properties"].is_object() {
        return "table".to_owned();
    }
    let alternatives = ["oneOf", "anyOf"].iter().find_map(|word| schema[word].as_array());
    if let Some(alternatives) = alternatives {
        let is_value = |schema: &&Value| schema["type"] != "null" && schema.get("const") != Some(&Value::Null);
        let mut kinds: Vec<String> = alternatives.iter().filter(is_value).map(kind).collect();
        kinds.dedup();
        return kinds.join(", ");
    }
    if let Some(constant) = schema.get("const") {
        return format!("`{}`", toml(constant));
    }
    if let Some(choices) = schema["enum"].as_array() {
        return choices
            .iter()
            .filter(|choice| !choice.is_null())
            .map(|choice| format!("`{}`", toml(choice)))
            .collect::<Vec<_>>()
            .join(", ");
    }
    let is_duration = schema["pattern"].as_str().is_some_and(|pattern| pattern.ends_with("(ns|us|ms|s|min|h)$"));
    // `["string", "null"]` is what may be left out.
    match schema["type"].as_str().or(schema["type"][0].as_str()) {
        Some("string") if is_duration => "duration".to_owned(),
        Some("string") => "text".to_owned(),
        Some("integer") => match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
            (Some(least), Some(most)) if least == most => least.to_string(),
            (Some(least), Some(most)) => format!("{least} to {most}"),
            (Some(least), None) => format!("{least} and more"),
            _ => "number".to_owned(),
        },
        Some("array") => format!("list of: {}", kind(&schema["items"])),
        Some("object") => "map".to_owned(),
        Some(other) => other.to_owned(),
        None => "any".to_owned(),
    }
}

/// What a key means, with what each of its choices means.
fn meaning(schema: &Value) -> String {
    let mut text = schema["description"].as_str().unwrap_or_default().to_owned();
    if let Some(default) = schema.get("default").filter(|default| !default.is_null() && !text.contains("Default:")) {
        let _infallible = write!(text, " Default: `{}`.", toml(default));
    }
    for choice in schema["oneOf"].as_array().into_iter().flatten() {
        if let (Some(value), Some(means)) = (choice.get("const"), choice["description"].as_str()) {
            let _infallible = write!(text, "<br>`{}`: {means}", toml(value));
        }
    }
    cell(&text)
}

/// The section of a table, and behind it those of the tables in it. `section` is the heading in language.md that explains it.
fn table(schema: &Value, path: &str, section: &str, text: &mut String) {
    let of = if schema["items"]["properties"].is_object() { &schema["items"] } else { schema };
    let Some(keys) = of["properties"].as_object() else { return };
    let is_list = of != schema;
    let heading = match (path, is_list) {
        ("", _) => "At the top".to_owned(),
        (path, true) => format!("`[[{path}]]`"),
        (path, false) => format!("`[{path}]`"),
    };
    let language = fs::read_to_string(page("language.md")).unwrap();
    let own = language.lines().find(|line| line.starts_with('#') && line.contains(&heading));
    let section = own.map_or(section.to_owned(), |line| line.trim_start_matches('#').trim().to_owned());
    let anchor: String = section
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .collect::<String>()
        .replace(' ', "-");
    let describes = of["description"].as_str().or(schema["description"].as_str()).unwrap_or_default();
    let describes = describes.replace('\n', " ");
    let _infallible = write!(text, "\n## {heading}\n\n{describes} [Explained here](language.md#{anchor}).\n\n");
    text.push_str("| key | value | example | meaning |\n|---|---|---|---|\n");
    let required: Vec<&str> = of["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let is_table = |key: &Value| key["properties"].is_object() || key["items"]["properties"].is_object();
    for (name, key) in keys {
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let example = match key["examples"].get(0) {
            Some(example) => format!("`{name} = {}`", cell(&toml(example))),
            None if key["items"].is_object() => format!("`[[{below}]]`"),
            None => format!("`[{below}]`"),
        };
        let needed = if required.contains(&name.as_str()) { ", required" } else { "" };
        let kind = if is_table(key) && key["items"].is_object() { "tables".to_owned() } else { cell(&kind(key)) };
        let _infallible = writeln!(text, "| `{name}` | {kind}{needed} | {example} | {} |", meaning(key));
    }
    for (name, key) in keys {
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        table(key, &below, &section, text);
    }
}

#[test]
fn the_page_of_keys_is_fresh() {
    let mut text = "# Keys of a scenario\n\n\
        Every key of every table, to look up. [The scenario language](language.md) explains them and has the rules that hold between them.\n"
        .to_owned();
    table(&crate::scenario::schema(), "", "At the top", &mut text);
    assert_fresh("keys.md", "the schema of scenarios", &text);
}

/// `-E`, `--filterset EXPRESSION`.
fn written(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default().iter().map(|name| format!("<{name}>"));
    let values = if argument.get_action().takes_values() { names.collect::<Vec<_>>().join(" ") } else { String::new() };
    let long = argument.get_long().map(|long| format!("--{long} {values}").trim().to_owned());
    let short = argument.get_short().map(|short| format!("-{short}"));
    let all: Vec<_> = [short, long].into_iter().flatten().map(|name| format!("`{name}`")).collect();
    if all.is_empty() { format!("`{values}`") } else { all.join(", ") }
}

fn arguments(verb: &Command, text: &mut String) {
    let hidden = |argument: &&Arg| !argument.is_hide_set() && argument.get_id() != "help" && !argument.is_global_set();
    for argument in verb.get_arguments().filter(hidden) {
        let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut also = Vec::new();
        let choices: Vec<_> =
            argument.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
        if !choices.is_empty() && !argument.is_hide_possible_values_set() && argument.get_action().takes_values() {
            also.push(format!("One of {}", choices.join(", ")));
        }
        let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if !defaults.is_empty() && argument.get_action().takes_values() {
            also.push(format!("Default: `{}`", defaults.join(" ")));
        }
        let sentences = [vec![help.trim_end_matches('.').to_owned()], also].concat().join(". ");
        let _infallible = writeln!(text, "- {}: {sentences}", written(argument));
    }
}

#[test]
fn the_page_of_commands_is_fresh() {
    let mut program = crate::cli::CommandLine::command();
    program.build();
    let mut text = "# Commands\n\n\
        `restage help VERB` prints the same in a terminal, `restage man VERB` as a manual page. [Running scenarios](running.md) explains the options of `run`.\n\n\
        Every verb has `--color auto|always|never` and `--help`; `restage --version` prints the version.\n"
        .to_owned();
    for verb in program.get_subcommands_mut().filter(|verb| !verb.is_hide_set()) {
        let usage = verb.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").lines().map(str::trim).collect::<Vec<_>>().join("\n");
        let about = verb.get_long_about().or(verb.get_about()).map(ToString::to_string).unwrap_or_default();
        let about = about.trim_end_matches('.');
        let _infallible = write!(text, "\n## `restage {}`\n\n{about}.\n\n```text\n{usage}\n```\n\n", verb.get_name());
        arguments(verb, &mut text);
        if let Some(after) = verb.get_after_help() {
            let _infallible = write!(text, "\n```text\n{}\n```\n", after.to_string().trim_end());
        }
    }
    assert_fresh("commands.md", "the command line", &text);
}
