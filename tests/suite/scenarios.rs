//! The checked-in scenarios: each passes as every user.

use std::fs::read_to_string;

use crate::common::{User, is_root, root, run, scenarios_in, users};

#[test]
fn every_scenario_passes_as_every_user() {
    all_pass_as_every_user("scenarios", |name, reason| println!("{name} is skipped: {reason}"));
}

/// Runs all scenarios of a folder: each passes, all its frames are sent, and each loss has a cause. Those that are skipped go to `skipped`,
/// with their names and reasons. Those that require `CAP_BPF` are for root only.
pub(crate) fn all_pass_as_every_user(folder: &str, skipped: impl Fn(&str, &str)) {
    for user in users() {
        let has_bpf = *user == User::Caller && is_root();
        let paths: Vec<_> = scenarios_in(&root().join(folder))
            .into_iter()
            .filter(|path| has_bpf || !read_to_string(path).expect("a scenario").contains("\"CAP_BPF\""))
            .map(|path| path.strip_prefix(root()).expect("a path below the root").to_owned())
            .collect();
        let run = run(*user, &paths);
        assert_eq!(run.status, 0, "as {user:?}:\n{}", run.text);
        let outcomes = run.report["scenarios"].as_array().expect("a report");
        assert_eq!(outcomes.len(), paths.len());
        for outcome in outcomes {
            let name = outcome["name"].as_str().expect("a name");
            if outcome["verdict"] == "skipped" {
                skipped(name, outcome["skipped"].as_str().unwrap_or_default());
            } else {
                let ledger = &outcome["ledger"];
                assert_eq!(ledger["sent"], ledger["selected"], "{name}");
                let unexplained =
                    ledger["losses"].as_array().expect("losses").iter().any(|loss| loss["cause"] == "unexplained");
                assert!(!unexplained, "{name}");
            }
        }
    }
}
