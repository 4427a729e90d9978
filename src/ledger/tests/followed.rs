//! Packets that were followed one by one: what became of each is its stage and its cause.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{account, delivered, evidence, filtered, frames, losses};
use crate::capture::FrameRanges;
use crate::diagnostic::At;
use crate::evidence::{DropKind, Ending, Evidence, SocketRecord};
use crate::host::Socket;
use crate::outcome::{Amount, Ledger, Stage};
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::scenario::receiver::Listens;
use crate::scenario::require::{Listener, Transport};

fn dropped(reason: &str, function: &str) -> Ending {
    Ending::Dropped(DropKind {
        reason: reason.to_owned(),
        function: Some(function.to_owned()),
        version: 4,
        protocol: 17,
        ..DropKind::default()
    })
}

fn followed(plan: &Plan, counters: &[(&str, u64)], ends: Vec<(Ending, FrameRanges)>) -> Evidence {
    let mut evidence = evidence(plan, counters, Some([8; 5]));
    evidence.stack.as_mut().expect("a lab").followed.ends = Some(ends.into_iter().collect::<BTreeMap<_, _>>());
    evidence
}

/// The losses, and what the kernel absorbed.
fn rows(ledger: &Ledger) -> Vec<(Stage, &str, u64)> {
    let absorbed = ledger.absorbed.iter().map(|absorbed| (absorbed.stage, "absorbed", absorbed.frames.low()));
    losses(ledger).into_iter().map(|(stage, cause, frames, ..)| (stage, cause, frames)).chain(absorbed).collect()
}

fn reached(ledger: &Ledger) -> [Option<u64>; 3] {
    [&ledger.accepted, &ledger.delivered, &ledger.consumed].map(|amount| amount.as_ref().and_then(Amount::known))
}

fn run(scenario: &Scenario, plan: &Plan, counters: &[(&str, u64)], ends: Vec<(Ending, FrameRanges)>) -> Ledger {
    account(scenario, plan, &followed(plan, counters, ends))
}

#[test]
fn each_ending_is_a_stage_and_a_cause() {
    let (scenario, plan) = delivered();
    let used = |function: &str, ip, udp| Ending::Used { function: Some(function.to_owned()), ip, udp };
    for (ending, stage, cause) in [
        (Ending::Unread, Stage::Consumed, "NOT_READ"),
        (Ending::Closed, Stage::Consumed, "SOCKET_CLOSED"),
        (dropped("IP_CSUM", "ip_rcv_core"), Stage::Accepted, "IP_CSUM"),
        (dropped("NO_SOCKET", "__udp4_lib_rcv"), Stage::Delivered, "NO_SOCKET"),
        (used("tpacket_rcv", false, false), Stage::Accepted, "UNHANDLED_PROTO"),
        (used("arp_process", false, false), Stage::Accepted, "absorbed"),
        (used("icmp_rcv", true, false), Stage::Delivered, "absorbed"),
        (used("udp_queue_rcv_one_skb", true, true), Stage::Delivered, "UDP_ENCAP"),
        (Ending::Unseen { ip: false, udp: false }, Stage::Accepted, "absorbed"),
        (Ending::Unseen { ip: true, udp: false }, Stage::Delivered, "absorbed"),
        (Ending::Unseen { ip: true, udp: true }, Stage::Delivered, "unexplained"),
    ] {
        let ledger = run(&scenario, &plan, &[], vec![(Ending::Read, frames(1..=6)), (ending.clone(), frames(7..=8))]);
        assert_eq!(rows(&ledger), [(stage, cause, 2)], "{ending:?}");
        let after = |at: Stage| Some(if at >= stage { 6 } else { 8 });
        assert_eq!(reached(&ledger), [Stage::Accepted, Stage::Delivered, Stage::Consumed].map(after), "{ending:?}");
    }
}

#[test]
fn what_was_in_the_queue_of_a_socket_that_is_closed_is_not_waiting_there() {
    let (scenario, plan) = delivered();
    let cause = |sockets: &[SocketRecord]| {
        let ends = vec![(Ending::Read, frames(1..=6)), (Ending::Unread, frames(7..=8))];
        let evidence = Evidence { sockets: sockets.to_vec(), ..followed(&plan, &[], ends) };
        rows(&account(&scenario, &plan, &evidence))[0].1.to_owned()
    };
    let record = |until_end: bool, unread_bytes: u32| {
        let listener = Listener { transport: Transport::Udp, address: None, port: 4739 };
        SocketRecord { until_end, ..SocketRecord::of(Socket { unread_bytes, ..listener.into() }) }
    };
    assert_eq!(cause(&[record(false, 900)]), "SOCKET_CLOSED");
    assert_eq!(cause(&[record(false, 900), record(true, 0)]), "SOCKET_CLOSED");
    assert_eq!(cause(&[record(false, 900), record(true, 900)]), "NOT_READ");
    assert_eq!(cause(&[record(true, 900)]), "NOT_READ");
}

#[test]
fn without_watched_sockets_what_was_accepted_is_followed_no_further() {
    let (mut scenario, plan) = delivered();
    scenario.receiver.program.listens = Some(At::default_value(Listens::default()));
    let ends = vec![
        (Ending::Read, frames(1..=2)),
        (Ending::Unread, frames([3])),
        (Ending::Used { function: None, ip: true, udp: true }, frames([4])),
        (dropped("UDP_CSUM", "udp_rcv"), frames([5])),
        (dropped("FRAG_REASM_TIMEOUT", "ip_expire"), frames([6])),
        (dropped("IP_NOPROTO", "ip_protocol_deliver_rcu"), frames(7..=8)),
    ];
    let ledger = run(&scenario, &plan, &[], ends);
    assert_eq!(rows(&ledger), [(Stage::Accepted, "FRAG_REASM_TIMEOUT", 1), (Stage::Delivered, "IP_NOPROTO", 2)]);
    assert_eq!(reached(&ledger), [Some(7), None, None]);
}

#[test]
fn fragments_that_never_became_whole_stopped_where_they_are_put_together() {
    let (scenario, plan) = delivered();
    let stage = |counters: &[(&str, u64)]| {
        let ends = vec![(Ending::Read, frames(1..=6)), (Ending::Incomplete, frames(7..=8))];
        rows(&run(&scenario, &plan, counters, ends))[0].0
    };
    assert_eq!(stage(&[]), Stage::Accepted);
    assert_eq!(stage(&[("Ip6ReasmReqds", 2)]), Stage::Delivered);
}

#[test]
fn the_prediction_explains_a_loss_where_it_is_the_same() {
    let (scenario, mut plan) = filtered();
    let rest = dropped("NO_SOCKET", "__udp4_lib_rcv");
    let why = |plan: &Plan, lost: FrameRanges, read: FrameRanges| {
        let mut ends = vec![(dropped("IP_RPFILTER", "ip_rcv_finish_core"), lost)];
        if !read.is_empty() {
            ends.push((rest.clone(), read));
        }
        let mut evidence = followed(plan, &[], ends);
        evidence.arriving.get_or_insert_default().arrived = plan.frames();
        let ledger = account(&scenario, plan, &evidence);
        ledger.losses[0].why.contains("no route back to 10.44.1.11 through rx0")
    };
    assert!(why(&plan, frames(1..=720), frames([])));
    assert!(!why(&plan, frames(1..=719), frames([720])), "not all that was predicted");
    plan.rounds = 1;
    assert!(why(&plan, frames(1..=720), frames([])));
}

#[test]
fn counters_that_say_otherwise_are_shown_unless_the_run_ended_early() {
    let (scenario, plan) = delivered();
    let ends = || vec![(Ending::Read, frames(1..=6)), (dropped("NO_SOCKET", "__udp4_lib_rcv"), frames(7..=8))];
    let counters = [("Udp.NoPorts", 1), ("Udp.InDatagrams", 6)];
    let mut evidence = followed(&plan, &counters, ends());
    let told = |evidence: &Evidence| {
        let ledger = account(&scenario, &plan, evidence);
        ledger.disagreements.iter().map(|told| (told.cause.to_string(), told.kernel, told.stage)).collect::<Vec<_>>()
    };
    // The prediction is compared, too: it says that all are delivered.
    assert_eq!(told(&evidence), [("NO_SOCKET".to_owned(), Some(2), Some(1))]);
    evidence.timed_out = Some(Duration::from_secs(1));
    assert_eq!(told(&evidence), []);
    // Of fragments a counter knows datagrams.
    let (_, mut plan) = delivered();
    plan.predictions[0].class.most_frames = 2;
    let evidence = followed(&plan, &counters, ends());
    let ledger = account(&scenario, &plan, &evidence);
    assert!(ledger.disagreements.iter().all(|told| told.stage.is_none()), "{:?}", ledger.disagreements);
}
