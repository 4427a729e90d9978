//! What flow exports hold when some frames of them are lost, and when they are sent several times.

use std::path::Path;

use super::*;
use crate::cause::Cause;
use crate::expect::tests::{ledger, loss};
use crate::outcome::Stage;
use crate::plan::{Facts, plan};
use crate::scenario::rewrite::{Flows, SentTemplates};

/// Records, options, undecodable sets and lost frames of softflowd's 13 datagrams, which have their templates in the first. `lost`: which of them
/// were lost.
fn given(repeat: u32, lost: Option<&str>) -> (u64, u64, u64, u64) {
    let (counts, _) = given_of(|scenario| scenario.pacing.repeat.value = repeat, lost);
    counts
}

/// The same, and how many frames were lost of which it is not known which.
fn given_of(change: impl Fn(&mut Scenario), lost: Option<&str>) -> ((u64, u64, u64, u64), (u64, u64)) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/every-flow-is-stored-by-nfcapd.toml");
    let mut scenario = Scenario::from_file(&path).expect("a legal scenario");
    change(&mut scenario);
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
    ((records, options, exports.undecodable(), given.lost), given.unknown)
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

#[test]
fn a_frame_that_is_made_for_a_lost_one_is_not_lost_with_it() {
    let templates_first = |scenario: &mut Scenario| {
        let templates = Some(SentTemplates { span: 0..0, repeat_every: None, from: None });
        scenario.rewrite.flows = Some(Flows { templates, ..Flows::default() });
    };
    // The made frame has the number of the first one, too, and which of both was lost is not known.
    assert_eq!(given_of(templates_first, Some("1")), ((292, 1, 0, 0), (1, 1)));
    let two_exporters = |scenario: &mut Scenario| {
        let copies = std::num::NonZeroU32::new(2).map(At::default_value);
        scenario.rewrite.flows = Some(Flows { copies, ..Flows::default() });
    };
    assert_eq!(given_of(two_exporters, Some("1")), ((584, 2, 0, 0), (1, 1)));
}

#[test]
fn a_number_of_losses_that_is_a_range_is_told_as_one() {
    let told = |unknown| {
        let records = Records::default();
        Given { exports: crate::flow::Flows::default().finish(), matched: Vec::new(), lost: 0, unknown, records }
            .not_compared()
    };
    assert_eq!(told((0, 0)), "");
    assert_eq!(told((5, 5)), "5 frames were lost, and it is not known which: what is in them is counted");
    assert_eq!(told((0, 5)), "up to 5 frames were lost, and it is not known which: what is in them is counted");
}

#[test]
fn a_list_of_lost_frames_that_is_not_whole_leaves_out_none() {
    assert_eq!(given_of(|_| {}, Some("1")), ((0, 0, 137, 1), (0, 0)));
    assert_eq!(given_of(|_| {}, Some("1,…")), ((292, 1, 0, 0), (1, 1)));
}
