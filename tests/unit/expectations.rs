//! Every form of expectation on every kind of ledger, as one table: what fails, what can't be decided, and which losses count.
//!
//! The plan is of 8 UDP datagrams. A row that changes is a change of what a verdict means: review it as such.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::tests::{in_order, judged_of, ledger, loss, planned, range};
use super::{judge, judged};
use crate::cause::Cause;
use crate::diagnostic::Diagnostic;
use crate::evidence::{Arriving, Evidence, Sending};
use crate::expect::Snapshots;
use crate::outcome::{Amount, Check, Lateness, Ledger, Stage, TimedBy, Verdict};
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

/// A check that failed: its values, and its message with the line that it points at.
fn shown(check: &Check) -> String {
    let problem = check.problem.as_ref().map(|problem| {
        let why = problem.why.as_deref().unwrap_or("-");
        format!("{}\n    why: {why}\n    fix: {}", problem.what, problem.fix.as_deref().unwrap_or("-"))
    });
    let (expected, actual, line) = (&check.expected, &check.actual, check.line.unwrap_or_default());
    format!("{}: expected {expected}, actual {actual}, line {line}\n    {}\n", check.what, problem.unwrap_or_default())
}

#[test]
fn every_failed_check_has_its_reviewed_message() {
    let mut messages = BTreeSet::new();
    let ends = [Evidence { xdp: true, ..Evidence::default() }, in_order()];
    for lines in EXPECTATIONS {
        let (scenario, plan) = planned(read(lines));
        for ((_, ledger), evidence) in
            ledgers().into_iter().flat_map(|named| ends.iter().map(move |end| (named.clone(), end)))
        {
            let checks = judge(&scenario, &plan, evidence, &mut { ledger }, Snapshots::Compare).checks;
            messages.extend(checks.iter().filter(|check| !check.passed).map(shown));
        }
    }
    insta::assert_snapshot!(messages.into_iter().collect::<String>());
}

#[test]
fn every_failed_timing_check_has_its_reviewed_message() {
    let lines = "lateness = { p50 = \"10us\", max = \"1ms\" }\ngap-error = { p99 = \"20us\" }\nwithin = \"2s\"\norder = \"captured\"";
    let (scenario, plan) = planned(read(lines));
    let lateness = |us: f64| Some(Lateness { p50: us, p90: us, p99: us, p999: us, max: us * 10.0 });
    let sending = |us, seconds, timed_by| Sending {
        lateness: lateness(us),
        gap_error: lateness(us * 2.0),
        seconds,
        timed_by,
        tried: 1000,
        scheduled_seconds: Some(1.0),
        ..Sending::default()
    };
    let arriving =
        |reordered| Some(Arriving { arrived: 8, reordered, first_reordered: Some(3), ..Arriving::default() });
    let mut text = String::new();
    for (what, sending, reordered) in [
        ("just in time", sending(10.0, 2.0, TimedBy::Sender), 0),
        ("late by the sender's clock", sending(10.1, 2.5, TimedBy::Sender), 1),
        ("late by the receive times", sending(200.0, 2.0, TimedBy::Receiver), 2),
    ] {
        let evidence = Evidence { sending, arriving: arriving(reordered), ..Evidence::default() };
        let judgement = judge(&scenario, &plan, &evidence, &mut ledger([8; 4], vec![]), Snapshots::Compare);
        let _infallible = writeln!(text, "{what}: {:?}", judgement.verdict);
        text.extend(judgement.checks.iter().filter(|check| !check.passed).map(shown));
        text.extend(judgement.problems.iter().map(|problem| format!("problem: {}\n", problem.what)));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_losses_that_a_search_counts_are_those_that_are_judged() {
    let no_socket = |frames: u64| loss(Cause::NoSocket, Stage::Delivered, frames);
    let not_read = || loss(Cause::NotRead, Stage::Consumed, 1);
    for (lines, losses, counted) in [
        ("", vec![no_socket(1), not_read()], 2),
        ("delivered = \"all\"", vec![no_socket(1), not_read()], 1),
        ("losses = { NO_SOCKET = 1 }", vec![no_socket(1), not_read()], 0),
        ("consumed = \"all\"\nlosses = { NO_SOCKET = 1 }", vec![no_socket(1), not_read()], 1),
        ("", vec![no_socket(0)], 0),
    ] {
        let (scenario, plan) = planned(read(lines));
        assert_eq!(judged(&scenario, &plan, &ledger([8; 4], losses)).len(), counted, "{lines}");
    }
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
        let problems = judgement.problems.len();
        assert_eq!(
            problems,
            evidence.incidents.len() + usize::from(late == evidence.timed_out),
            "{what}: {judgement:?}"
        );
    }
}
