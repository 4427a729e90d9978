//! The checked-in scenarios: each passes as every user.

use crate::common::{root, run, scenarios_in, users};

#[test]
fn every_scenario_passes_as_every_user() {
    for user in users() {
        let run = run(*user, ["scenarios"]);
        assert_eq!(run.status, 0, "as {user:?}:\n{}", run.text);
        let outcomes = run.report["scenarios"].as_array().expect("a report");
        assert_eq!(outcomes.len(), scenarios_in(&root().join("scenarios")).len());
        for outcome in outcomes {
            if outcome["verdict"] == "skipped" {
                println!("{} as {user:?} skipped: {}", outcome["name"], outcome["skipped"]);
            } else {
                let ledger = &outcome["ledger"];
                assert_eq!(ledger["sent"], ledger["selected"], "{}", outcome["name"]);
                let unexplained =
                    ledger["losses"].as_array().expect("losses").iter().any(|loss| loss["cause"] == "unexplained");
                assert!(!unexplained, "{}", outcome["name"]);
            }
        }
    }
}
