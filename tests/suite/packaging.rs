//! Files that others read: the GitHub action, the container, the Debian package, Taplo. What can be tried without them is.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use regex::Regex;
use saphyr::{LoadableYamlNode as _, Yaml};

use crate::common::small::{capture, datagrams, scenario};
use crate::common::{User, both, restage, root, stage, users};

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A TOML file of the project, where taplo.toml and Cargo.toml have lists of paths.
fn toml_file(file: &str) -> toml::Table {
    read(file).parse().unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What one group of a pattern is in a text.
fn matches(pattern: &str, text: &str) -> BTreeSet<String> {
    Regex::new(pattern).expect("a pattern").captures_iter(text).map(|found| found[1].to_owned()).collect()
}

fn action() -> Yaml<'static> {
    let text: &'static str = Box::leak(read("action.yml").into_boxed_str());
    Yaml::load_from_str(text).expect("YAML").remove(0)
}

/// The script of the action's step with this name.
fn step(action: &Yaml<'static>, name: &str) -> String {
    let steps = action["runs"]["steps"].as_sequence().expect("a list");
    let step = steps.iter().find(|step| step["name"].as_str() == Some(name));
    step.and_then(|step| step["run"].as_str()).expect("a script").to_owned()
}

#[test]
fn the_action_declares_its_inputs_and_run_has_its_options() {
    let action = action();
    let declared: BTreeSet<_> =
        action["inputs"].as_mapping().expect("a map").keys().filter_map(Yaml::as_str).map(str::to_owned).collect();
    assert_eq!(matches(r"\binputs\.([a-z-]+)", &read("action.yml")), declared);

    let script = step(&action, "Run the scenarios");
    let options = matches(r"(--[a-z][a-z-]+)", &script);
    assert!(options.len() > 4, "{options:?}");
    let help = both(&restage(User::Caller).args(["run", "--help"]).output().expect("restage runs"));
    let unknown: Vec<_> = options.iter().filter(|option| !help.contains(option.as_str())).collect();
    assert_eq!(unknown, Vec::<&String>::new());
}

#[test]
fn the_steps_of_the_action_are_bash_and_the_last_one_runs_scenarios() {
    let action = action();
    for step in action["runs"]["steps"].as_sequence().expect("a list") {
        let script = step["run"].as_str().expect("each step is a script");
        let read = Command::new("bash").args(["-n", "-c", script]).output().expect("bash runs");
        assert!(read.status.success(), "{}", both(&read));
        // An input is never a part of a script: it could be any command.
        assert!(!script.contains("${{"), "{script}");
    }

    let Some(_) = users().first() else { return };
    let folder = scenario(&capture(&datagrams(3), 10), "");
    fs::rename(folder.join("s.toml"), folder.join("first.toml")).expect("it can be renamed");
    fs::copy(folder.join("first.toml"), folder.join("second.toml")).expect("it can be copied");
    fs::write(folder.join("restage.toml"), "[profile.ci]\njobs = 1\n").expect("it can be written");
    let path = std::env::var("PATH").unwrap_or_default();
    let run = |scenarios: &str, partition: &str, options: &str| {
        let mut command = restage(User::Caller);
        let environment: Vec<_> =
            command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        command = Command::new("bash");
        // As GitHub runs `shell: bash`.
        command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &step(&action, "Run the scenarios")]);
        command.current_dir(&folder).envs(environment).env_remove("CI").env_remove("GITHUB_STEP_SUMMARY");
        command.env("PATH", format!("{}:{path}", stage().display())).env("SCENARIOS", scenarios).env("PROFILE", "ci");
        command.env("PARTITION", partition).env("REPORT", "reports/here").env("OPTIONS", options);
        command.output().expect("bash runs")
    };
    let both_shown = run("first.toml second.toml", "", "--durations 0");
    assert!(both_shown.status.success(), "{}", both(&both_shown));
    assert!(both(&both_shown).contains("2 scenarios: 2 passed"), "{}", both(&both_shown));
    for report in ["restage.json", "restage.xml", "restage.html"] {
        assert!(folder.join("reports/here").join(report).is_file(), "{report}");
    }
    let share = run(".", "slice:1/2", "");
    assert!(both(&share).contains("1 scenario: 1 passed"), "{}", both(&share));
    let none = run("missing.toml", "", "");
    assert_eq!(none.status.code(), Some(2), "{}", both(&none));
}

#[test]
fn the_container_and_the_action_build_with_the_projects_rust() {
    let minimum = toml_file("Cargo.toml")["package"]["rust-version"].as_str().expect("a version").to_owned();
    assert_eq!(matches(r"library/rust:([0-9.]+)-", &read("Containerfile")), BTreeSet::from([minimum]));
}

#[test]
fn what_the_package_and_taplo_name_is_there() {
    let glob = |pattern: &str| {
        let pattern = root().join(pattern);
        glob::glob(pattern.to_str().expect("UTF-8")).expect("a pattern").flatten().next()
    };
    let manifest = toml_file("Cargo.toml");
    for asset in manifest["package"]["metadata"]["deb"]["assets"].as_array().expect("a list") {
        let from = asset[0].as_str().expect("a path");
        // What is built is not there yet.
        assert!(from.starts_with("target/") || glob(from).is_some(), "{from}");
    }
    let taplo = toml_file("taplo.toml");
    let rule = &taplo["rule"][0];
    assert!(root().join(rule["schema"]["path"].as_str().expect("a path")).is_file());
    for list in [&taplo["include"], &rule["include"]] {
        for pattern in list.as_array().expect("a list").iter().filter_map(toml::Value::as_str) {
            assert!(glob(pattern).is_some(), "{pattern}");
        }
    }
}
