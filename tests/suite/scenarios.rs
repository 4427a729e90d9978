//! The checked-in scenarios: each passes as every user.

use crate::common::{root, run, scenarios_in, users};

#[test]
fn every_scenario_passes_as_every_user() {
    all_pass_as_every_user("scenarios", |_, _| {});
}

/// Runs all scenarios of a folder: each passes, all its frames are sent, and each loss has a cause. Those that are skipped go to `skipped`,
/// with their names and reasons.
pub(crate) fn all_pass_as_every_user(folder: &str, skipped: impl Fn(&str, &str)) {
    for user in users() {
        let run = run(*user, [folder]);
        assert_eq!(run.status, 0, "as {user:?}:\n{}", run.text);
        let outcomes = run.report["scenarios"].as_array().expect("a report");
        assert_eq!(outcomes.len(), scenarios_in(&root().join(folder)).len());
        for outcome in outcomes {
            let name = outcome["name"].as_str().expect("a name");
            if outcome["verdict"] == "skipped" {
                println!("{name} as {user:?} skipped: {}", outcome["skipped"]);
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
