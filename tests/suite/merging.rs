//! `restage merge`: the JSON reports of shares as one, in every form.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::common::{User, both, fresh_folder, restage};

/// A report of one run with these scenarios, which have this verdict.
fn report(host: &str, scenarios: &[(&str, &str)]) -> Value {
    let scenarios: Vec<_> = scenarios
        .iter()
        .map(|(name, verdict)| {
            json!({
                "name": name, "file": format!("{name}.toml"), "id": format!("scenarios/{name}.toml"), "verdict": verdict, "seconds": 1.5,
                "ledger": null, "replay": null, "checks": [], "key-of-a-later-version": 1
            })
        })
        .collect();
    let run = json!({
        "version": "0.1.0", "started": "2026-01-02T03:04:05Z", "seconds": 2.0, "hostname": host, "kernel": "6.18.0"
    });
    let counts = json!({
        "scenarios": 99, "pass": 99, "fail": 0, "invalid": 0, "blocked": 0, "error": 0, "skipped": 0, "not-run": 0, "flaky": 0
    });
    json!({ "format": 1, "runs": [run], "counts": counts, "scenarios": scenarios })
}

/// A folder with `a.json` and `b.json`.
fn shares() -> PathBuf {
    let folder = fresh_folder("merge");
    let a = report("ci-1", &[("one", "pass"), ("two", "fail")]);
    let b = report("ci-2", &[("three", "pass")]);
    fs::write(folder.join("a.json"), serde_json::to_string_pretty(&a).expect("JSON")).expect("it can be written");
    fs::write(folder.join("b.json"), b.to_string()).expect("it can be written");
    folder
}

fn merge(folder: &Path, arguments: &[&str]) -> Output {
    restage(User::Caller).current_dir(folder).arg("merge").args(arguments).output().expect("restage runs")
}

#[test]
fn reports_are_joined_into_every_form() {
    let folder = shares();
    let forms = ["--report-junit", "junit.xml", "--report-tap", "all.tap", "--report-html", "all.html"];
    let output = merge(&folder, &[&["a.json", "b.json", "-o", "all.json"], &forms[..]].concat());
    assert_eq!((output.status.code(), both(&output).as_str()), (Some(0), "3 scenarios: 2 passed, 1 failed in 4 s\n"));
    let text = |name: &str| fs::read_to_string(folder.join(name)).expect("it is there");
    let merged: Value = serde_json::from_str(&text("all.json")).expect("JSON");
    let of = |key: &str| {
        merged["scenarios"].as_array().expect("a list").iter().map(|one| one[key].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("name"), ["one", "two", "three"]);
    assert_eq!(of("run"), [Value::Null, Value::Null, json!(1)], "the last is of the second run");
    assert_eq!((&merged["runs"][0]["hostname"], &merged["runs"][1]["hostname"]), (&"ci-1".into(), &"ci-2".into()));
    assert_eq!((&merged["counts"]["pass"], &merged["counts"]["fail"]), (&2.into(), &1.into()), "they are counted anew");
    assert!(text("junit.xml").contains(
        "name=\"scenarios.three\" package=\"scenarios\" id=\"2\" timestamp=\"2026-01-02T03:04:05\" hostname=\"ci-2\""
    ));
    assert!(text("all.tap").contains("\nok 3 - three\n"));
    assert!(text("all.html").contains("<p>3 scenarios: 2 passed, 1 failed in 4 s</p>"));

    // What was joined can be joined again, and an only report has other forms.
    fs::write(folder.join("c.json"), report("ci-3", &[("four", "pass")]).to_string()).expect("it can be written");
    let output = merge(&folder, &["c.json", "all.json", "--report-json", "-"]);
    let again: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&again["runs"][2]["hostname"], &again["scenarios"][3]["run"]), (&"ci-2".into(), &2.into()));
    assert_eq!(merge(&folder, &["a.json", "--report-tap", "a.tap"]).status.code(), Some(0));
}

#[test]
fn what_can_not_be_joined_is_refused_and_nothing_is_written() {
    let folder = shares();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("it can be written");
    let whole = fs::read_to_string(folder.join("a.json")).expect("it is there");
    write("cut.json", &whole[..whole.len() / 2]);
    write("cut-line.json", &report("ci-1", &[("one", "pass")]).to_string()[..200]);
    write("typo.json", &whole.replace("\"verdict\": \"fail\"", "\"verdict\": \"failed\""));
    write("other.json", "{\n  \"name\": \"a\"\n}\n");
    write("toml.json", "format = 1\n");
    write("later.json", "{ \"format\": 2, \"everything\": \"else\" }");
    write("lost-run.json", &whole.replacen("\"ledger\": null", "\"run\": 4, \"ledger\": null", 1));
    write("again.json", &report("ci-2", &[("three", "fail"), ("two", "pass")]).to_string());
    let cases: [&[&str]; 13] = [
        &["a.json", "again.json", "b.json", "-o", "x.json"],
        &["a.json", "a.json", "-o", "x.json"],
        &["cut.json", "-o", "x.json"],
        &["cut-line.json", "a.json", "-o", "x.json"],
        &["typo.json", "other.json", "-o", "x.json"],
        &["toml.json", "gone.json", "-o", "x.json"],
        &["later.json", "-o", "x.json"],
        &["lost-run.json", "-o", "x.json"],
        &["a.json", "b.json"],
        &["a.json", "b.json", "-o", "./b.json"],
        &["a.json", "-o", "x.json", "--report-tap", "x.json"],
        &["a.json", "-o", "no-folder/x.json"],
        &["a.json", "-o", "-", "--report-html", "-"],
    ];
    let mut told = String::new();
    for arguments in cases {
        let output = merge(&folder, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", both(&output));
        assert!(!folder.join("x.json").exists(), "{arguments:?} wrote a report");
        let _infallible = writeln!(told, "$ restage merge {}\n{}", arguments.join(" "), both(&output));
    }
    insta::assert_snapshot!(told);
}
