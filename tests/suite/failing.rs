//! Every scenario that fails on purpose fails as its second line says, as every user; its losses, checks and messages are in a snapshot.
//!
//! One run for each user. A scenario with a line `# varies: …` has counts that depend on the machine: they are left out. What an ordinary user sees otherwise than root has a snapshot of its own, with `-as-ordinary-user` in its name.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::common::{User, is_root, root, run, scenarios_in, users};
use regex::Regex;
use serde_json::Value;

#[test]
fn every_failing_scenario_fails_as_it_says_with_these_losses_and_messages() {
    let mut as_root = BTreeMap::new();
    for user in users() {
        let report = run(*user, ["tests/failing".to_owned(), "--jobs=4".to_owned()]).report;
        let outcomes = report["scenarios"].as_array().expect("a report");
        assert_eq!(outcomes.len(), scenarios_in(&root().join("tests/failing")).len());
        for outcome in outcomes {
            let name = outcome["name"].as_str().expect("a name");
            if outcome["verdict"] == "skipped" {
                println!("{name} as {user:?} skipped: {}", outcome["skipped"]);
                continue;
            }
            check_expectation(name, outcome);
            let text = as_text(name, outcome);
            let is_ordinary = *user == User::Ordinary || !is_root();
            if !is_ordinary {
                insta::assert_snapshot!(name, text);
                as_root.insert(name.to_owned(), text);
            } else if as_root.get(name).is_none_or(|known| *known != text) {
                insta::assert_snapshot!(format!("{name}-as-ordinary-user"), text);
            }
        }
    }
}

/// The second line: verdict, exit status of a run of this scenario alone, causes.
fn check_expectation(name: &str, outcome: &Value) {
    let text = std::fs::read_to_string(root().join(format!("tests/failing/{name}.toml"))).expect("it can be read");
    let line = text.lines().find_map(|line| line.strip_prefix("# expect: "));
    let mut expected = line.unwrap_or_else(|| panic!("{name} has no `# expect:` line")).split_whitespace();
    let (verdict, status) = (expected.next(), expected.next());
    assert_eq!(outcome["verdict"].as_str(), verdict, "{name}: {outcome:#}");
    let of_verdict = match verdict {
        Some("fail") => "1",
        Some("invalid") => "2",
        Some("blocked") => "3",
        _ => "4",
    };
    assert_eq!(status, Some(of_verdict), "{name}: `# expect:` gives a status that no {verdict:?} has");
    let losses = outcome["ledger"]["losses"].as_array().cloned().unwrap_or_default();
    for cause in expected {
        assert!(losses.iter().any(|loss| loss["cause"] == cause), "{name}: no {cause} in {losses:#?}");
    }
}

/// What a user reads of it, without what differs from machine to machine and from run to run.
fn as_text(name: &str, outcome: &Value) -> String {
    let mut text = String::new();
    let scenario = std::fs::read_to_string(root().join(format!("tests/failing/{name}.toml"))).expect("it can be read");
    let varies = scenario.contains("# varies");
    let is_told = |loss: &&Value| !varies || loss["cause"].as_str().is_some_and(|cause| scenario.contains(cause));
    for loss in outcome["ledger"]["losses"].as_array().into_iter().flatten().filter(is_told) {
        let said = |key: &str| loss[key].as_str().unwrap_or_default().to_owned();
        let count = ["frames", "packets"].iter().find_map(|key| loss[*key].as_u64()).unwrap_or_default();
        let expected = if loss["expected"] == true { ", expected" } else { "" };
        let _infallible = writeln!(text, "lost before {}: {count} {}{expected}", said("stage"), said("cause"));
        let _infallible = writeln!(text, "  why: {}\n  fix: {}", said("why"), said("fix"));
    }
    for check in outcome["checks"].as_array().into_iter().flatten().filter(|check| check["passed"] == false) {
        let _infallible = writeln!(text, "failed: {}: {}", check["what"], check["problem"]["what"]);
    }
    let rate = "the rate was not kept";
    let is_of_the_machine = |problem: &&Value| problem["what"].as_str().is_some_and(|what| what.starts_with(rate));
    for problem in outcome["problems"].as_array().into_iter().flatten().filter(|problem| !is_of_the_machine(problem)) {
        let _infallible = writeln!(text, "{}: {}", problem["severity"], problem["what"]);
        for line in ["why", "fix"].iter().filter(|line| problem[**line].is_string()) {
            let _infallible = writeln!(text, "  {line}: {}", problem[*line]);
        }
    }
    let mut patterns = vec![
        // The kernel's functions, where it may be asked, and folders.
        (r" \[\w+(, \w+)*\]", ""),
        (r"/\S*/restage-[^/\s]*/[^/\s`\x22]*", "RUN"),
        (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[\d.]*", "DATE"),
        (r"the kernel is `[^`]*`", "the kernel is RELEASE"),
        // A process and its thread, in kea's log.
        (r"/\d+\.\d{9,}\]", "]"),
        (r"\b\d[\d,.]*(e-?\d+)? ?(s|ms|us|µs|ns|min|kpps|pps|Mpps|Mbps)\b", "TIME"),
    ];
    if varies {
        patterns.extend([(r"\d[\d,]*", "N"), (r"N was\b", "N were")]);
    }
    for (pattern, instead) in patterns {
        text = Regex::new(pattern).expect("a pattern").replace_all(&text, instead).into_owned();
    }
    text
}
