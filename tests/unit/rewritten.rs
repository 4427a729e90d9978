//! The rewritten frames of every checked-in scenario are as reviewed.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::diagnostic::At;
use crate::plan::{Facts, plan};
use crate::scenario::Scenario;
use crate::scenario::rewrite::TimeTarget;

#[test]
fn the_rewritten_frames_of_every_scenario_are_as_reviewed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let paths = fs::read_dir(&folder).expect("the folder is there").map(|entry| entry.expect("an entry").path());
    for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        let mut scenario = Scenario::from_file(&path).expect("it is valid");
        // A snapshot is what makes a plan list the frames.
        scenario.expect.rewritten = Some(At { value: PathBuf::from("listing"), span: None });
        // "now" is another time for each test.
        if let Some(time) = scenario.rewrite.flows.as_mut().and_then(|flows| flows.time.as_mut()) {
            time.value = TimeTarget::At(Timestamp::UNIX_EPOCH);
        }
        let planned = plan(&scenario, Facts::default()).expect("it can be planned");
        // The first frames show what the maps do; the digest in each line covers its payload.
        let shown = planned.listing.expect("a listing").lines().take(40).collect::<Vec<_>>().join("\n");
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(format!("rewritten-{}", scenario.name), shown);
        });
    }
}
