//! Every scenario that fails on purpose fails as its second line says: verdict, status and cause, as every user.

mod common;

use common::{root, run, scenarios_in, users};

#[test]
fn every_failing_scenario_fails_as_it_says() {
    let mut wrong = Vec::new();
    for path in scenarios_in(&root().join("tests/failing")) {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let expected: Vec<&str> = text
            .lines()
            .find_map(|line| line.strip_prefix("# expect: "))
            .unwrap_or_else(|| panic!("{} has no `# expect:` line", path.display()))
            .split_whitespace()
            .collect();
        let [verdict, status, causes @ ..] = expected.as_slice() else {
            panic!("{}: verdict and status", path.display())
        };
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        for user in users() {
            let run = run(*user, [format!("tests/failing/{name}")]);
            let outcome = &run.report["scenarios"][0];
            let found: Vec<&str> = outcome["ledger"]["losses"]
                .as_array()
                .map(|losses| losses.iter().filter_map(|loss| loss["cause"].as_str()).collect())
                .unwrap_or_default();
            let skipped = outcome["verdict"] == "skipped";
            if skipped {
                println!("{name} as {user:?} skipped: {}", outcome["skipped"]);
                continue;
            }
            let same = outcome["verdict"] == **verdict && run.status.to_string() == **status;
            let missing: Vec<_> = causes.iter().filter(|cause| !found.contains(cause)).collect();
            if !same || !missing.is_empty() {
                wrong.push(format!(
                    "{name} as {user:?}: expected {expected:?}, got {} {} {found:?}\n{}",
                    outcome["verdict"], run.status, run.text
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
