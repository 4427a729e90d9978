//! The checked-in scenarios: each passes as every user, and its rewritten frames are as reviewed.

mod common;

use common::{root, run, scenarios_in, users};

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

#[test]
fn the_rewritten_frames_of_every_scenario_are_as_reviewed() {
    for path in scenarios_in(&root().join("scenarios")) {
        let scenario =
            restage::scenario::read(&path).unwrap_or_else(|failure| panic!("{}: {failure:?}", path.display()));
        let listing =
            restage::plan::listing(&scenario).unwrap_or_else(|failure| panic!("{}: {failure:?}", path.display()));
        // The first frames show what the maps do; the digest in each line covers its payload.
        let shown = listing.lines().take(40).collect::<Vec<_>>().join("\n");
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(format!("rewritten-{}", scenario.name), shown);
        });
    }
}
