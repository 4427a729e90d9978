//! What flow exports hold when some frames of them are lost, and when they are sent several times.

use std::path::Path;

use super::*;
use crate::cause::Cause;
use crate::expect::tests::{ledger, loss};
use crate::outcome::Stage;
use crate::plan::{Facts, plan};

/// Records, options, undecodable sets and lost frames of softflowd's 13 datagrams, which have their templates in the first. `lost`: which of them
/// were lost.
fn given(repeat: u32, lost: Option<&str>) -> (u64, u64, u64, u64) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/every-flow-is-stored-by-nfcapd.toml");
    let mut scenario = Scenario::from_file(&path).expect("a legal scenario");
    scenario.pacing.repeat.value = repeat;
    let plan = plan(&scenario, Facts::default()).expect("a plan");
    let losses = lost.map(|numbers| {
        let loss = loss(Cause::SocketRcvbuff, Stage::Delivered, 1);
        crate::outcome::Loss { numbers: Some(numbers.to_owned()), ..loss }
    });
    let ledger = ledger([8; 4], losses.into_iter().collect());
    let given = Given::read(&scenario, &plan, Some(&ledger)).expect("a capture").expect("flows are expected");
    let exports = &given.exports;
    let (records, options) =
        (exports.sum(|exporter| exporter.records), exports.sum(|exporter| exporter.options_records));
    (records, options, exports.undecodable(), given.lost)
}

#[test]
fn what_is_in_lost_frames_is_not_counted() {
    assert_eq!(given(1, None), (292, 1, 0, 0));
    let (records, options, undecodable, lost) = given(1, Some("13"));
    assert!(records < 292 && records > 200, "{records}");
    assert_eq!((options, undecodable, lost), (1, 0, 1));
}

#[test]
fn records_whose_templates_were_lost_are_undecodable() {
    let (records, options, undecodable, lost) = given(1, Some("1"));
    assert_eq!((records, options, undecodable, lost), (0, 0, 137, 1));
}

#[test]
fn each_repetition_counts_and_which_of_them_was_lost_is_not_known() {
    assert_eq!(given(3, Some("1,…")), (876, 3, 0, 0));
}
