//! Every form of expectation on every kind of ledger, as one table: what fails, what can't be decided, and which losses count.
//!
//! The plan is of 8 UDP datagrams. A row that changes is a change of what a verdict means: review it as such.

use std::fmt::Write as _;

use super::judge;
use super::tests::{in_order, judged_of, ledger, loss, planned, range};
use crate::cause::Cause;
use crate::diagnostic::Diagnostic;
use crate::evidence::{Arriving, Evidence};
use crate::expect::Snapshots;
use crate::outcome::{Amount, Ledger, Stage, Verdict};
use crate::scenario::Scenario;
use crate::scenario::expect::Expect;

const EXPECTATIONS: [&str; 23] = [
    "",
    "arrived = \"all\"",
    "arrived = 7",
    "arrived = \">= 7\"",
    "accepted = \"all\"",
    "accepted = 0",
    "delivered = \"all\"",
    "delivered = 7",
    "delivered = \"99%\"",
    "consumed = \"all\"",
    "consumed = 0",
    "consumed = 6",
    "consumed = \">= 6\"",
    "consumed = \">= 0\"",
    "consumed = \"75%\"",
    "consumed = \"100%\"",
    "arrived = \"all\"\nconsumed = \">= 6\"",
    "delivered = \"all\"\nconsumed = 6",
    "losses = { NO_SOCKET = 2 }",
    "losses = { NO_SOCKET = \">= 1\" }",
    "losses = { NO_SOCKET = \"all\" }",
    "losses = { NO_SOCKET = 2, CPU_BACKLOG = 1 }",
    "consumed = 6\nlosses = { NO_SOCKET = 2 }",
];

/// Ledgers that add up, by name: arrived, accepted, delivered, consumed, and what was lost.
fn ledgers() -> Vec<(&'static str, Ledger)> {
    let unseen = |stages: [Option<u64>; 4], losses| {
        let [arrived, accepted, delivered, consumed] = stages.map(|stage| stage.map(Amount::exact));
        Ledger { arrived, accepted, delivered, consumed, ..ledger([8; 4], losses) }
    };
    let between = |low, high, losses| Ledger { consumed: Some(range(low, high)), ..ledger([8, 8, 8, 8], losses) };
    let no_socket = |frames: Amount| loss(Cause::NoSocket, Stage::Delivered, frames);
    let not_read = |frames: Amount| loss(Cause::NotRead, Stage::Consumed, frames);
    let backlog = |frames: u64| loss(Cause::CpuBacklog, Stage::Arrived, frames);
    vec![
        ("nothing lost", ledger([8; 4], vec![])),
        ("1 before arrived", ledger([7; 4], vec![backlog(1)])),
        ("2 before accepted", ledger([8, 6, 6, 6], vec![loss(Cause::IpRpfilter, Stage::Accepted, 2)])),
        ("1 before delivered", ledger([8, 8, 7, 7], vec![no_socket(1.into())])),
        ("2 before delivered", ledger([8, 8, 6, 6], vec![no_socket(2.into())])),
        ("3 before delivered", ledger([8, 8, 5, 5], vec![no_socket(3.into())])),
        ("2 before consumed", ledger([8, 8, 8, 6], vec![not_read(2.into())])),
        ("1 before arrived, 2 before delivered", ledger([7, 7, 5, 5], vec![backlog(1), no_socket(2.into())])),
        ("all before accepted", ledger([8, 0, 0, 0], vec![loss(Cause::IpCsum, Stage::Accepted, 8)])),
        ("1 unexplained", ledger([8, 8, 8, 7], vec![loss(Cause::Unexplained, Stage::Consumed, 1)])),
        ("0 to 1 unexplained", between(7, 8, vec![loss(Cause::Unexplained, Stage::Consumed, range(0, 1))])),
        ("5 to 6 consumed", between(5, 6, vec![not_read(range(2, 3))])),
        ("6 to 8 consumed", between(6, 8, vec![not_read(range(0, 2))])),
        ("consumed not seen", unseen([Some(8), Some(8), Some(8), None], vec![])),
        ("arrived not seen", unseen([None, Some(8), Some(8), Some(8)], vec![])),
        ("accepted not seen", unseen([Some(8), None, Some(8), Some(8)], vec![])),
        ("1 of another protocol", ledger([8, 7, 7, 7], vec![loss(Cause::UnhandledProto, Stage::Accepted, 1)])),
        ("more consumed than sent", ledger([8, 8, 9, 9], vec![])),
    ]
}

/// What `[expect]` with these lines means.
fn read(lines: &str) -> Expect {
    let text = format!("format = 1\n[capture]\nfile = \"a.pcap\"\n[expect]\n{lines}\n");
    Scenario::from_text(&text).unwrap_or_else(|failure| panic!("{failure}")).expect
}

#[test]
fn every_expectation_on_every_ledger_fails_and_blames_as_reviewed() {
    let mut table = String::new();
    for lines in EXPECTATIONS {
        let _infallible = writeln!(table, "[expect] {}", lines.replace('\n', ", "));
        let planned = planned(read(lines));
        for (name, ledger) in ledgers() {
            let (failed, counting) = judged_of(&planned, ledger, &in_order());
            let failed = if failed.is_empty() { "pass".to_owned() } else { format!("fail: {failed}") };
            let because = if counting.is_empty() { String::new() } else { format!(" because of {counting}") };
            let _infallible = writeln!(table, "  {name}: {failed}{because}");
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_verdict_is_pass_only_if_every_check_passes_in_time_and_without_an_incident() {
    let (scenario, plan) = planned(read("order = \"captured\"\narrived = \"all\""));
    let arriving = |reordered| Some(Arriving { arrived: 8, reordered, ..Arriving::default() });
    let late = Some(std::time::Duration::from_secs(1));
    let incident = || vec![Diagnostic::error("a precondition changed")];
    for (what, evidence, arrived, expected) in [
        ("all well", Evidence { arriving: arriving(0), ..Evidence::default() }, 8, Verdict::Pass),
        ("reordered", Evidence { arriving: arriving(1), ..Evidence::default() }, 8, Verdict::Fail),
        ("order not seen", Evidence::default(), 8, Verdict::Fail),
        ("too few", Evidence { arriving: arriving(0), ..Evidence::default() }, 7, Verdict::Fail),
        ("too late", Evidence { arriving: arriving(0), timed_out: late, ..Evidence::default() }, 8, Verdict::Fail),
        (
            "incident",
            Evidence { arriving: arriving(0), incidents: incident(), ..Evidence::default() },
            8,
            Verdict::Fail,
        ),
    ] {
        let mut ledger = ledger([arrived, 8, 8, 8], vec![]);
        let judgement = judge(&scenario, &plan, &evidence, &mut ledger, Snapshots::Compare);
        assert_eq!(judgement.verdict, expected, "{what}: {judgement:?}");
    }
}
