//! What counters, hooks and sockets mean, each on its own.

use super::super::cause_evidence::{CauseEvidence, CauseEvidences};
use super::super::description::{all_that_came, unread};
use super::super::identity::Digester;
use super::super::matching::{Announced, Matching, Sighting};
use super::super::udp::in_frames;
use super::super::{contradiction, observes_sockets};
use super::{account, delivered, evidence, filtered, losses, told};
use crate::cause::Cause;
use crate::diagnostic::At;
use crate::evidence::{Evidence, SocketRecord, UdpInput};
use crate::host::Socket;
use crate::outcome::{Amount, Stage};
use crate::plan::Plan;
use crate::predict::Disposition;
use crate::scenario::receiver::Listens;
use crate::scenario::require::{Listener, Transport};

fn chain(evidence: &mut Evidence, hook: &str) {
    let chain = format!("filter guard (hook {hook}, 1 rule, policy accept)");
    evidence.stack.as_mut().expect("a lab").filters.push(chain);
}

/// The causes of the losses with their packets, where 8 frames arrived, and so many reached each hook.
fn found(counters: &[(&str, u64)], hooks: [u64; 5], filter: Option<&str>) -> String {
    let (scenario, plan) = delivered();
    let mut evidence = evidence(&plan, counters, Some(hooks));
    if let Some(hook) = filter {
        chain(&mut evidence, hook);
    }
    let ledger = account(&scenario, &plan, &evidence);
    let losses = losses(&ledger).into_iter().map(|(_, cause, packets, ..)| format!("{packets} {cause}"));
    losses.collect::<Vec<_>>().join(", ")
}

/// What a counter names before prerouting was not dropped by a chain of the netdev family.
#[test]
fn what_the_kernel_drops_before_prerouting_is_not_the_filters() {
    // Two more are lost between prerouting and input, which no chain explains.
    let hooks = [8, 5, 5, 3, 3];
    for (counters, cause) in [
        (&[("if.rx.otherhost", 3)][..], "OTHERHOST"),
        (&[("IpExt.InTruncatedPkts", 3)], "PKT_TOO_SMALL"),
        (&[("Ip.InHdrErrors", 3)], "IP_INHDR"),
        // A wrong checksum counts as an error of the header, too.
        (&[("IpExt.InCsumErrors", 3), ("Ip.InHdrErrors", 3)], "IP_CSUM"),
        (&[("Ip6InDiscards", 3)], "IPV6DISABLED"),
    ] {
        let mut counters = counters.to_vec();
        counters.push(("Udp.InDatagrams", 3));
        assert_eq!(found(&counters, hooks, Some("ingress")), format!("3 {cause}, 2 unexplained"));
    }
    assert_eq!(found(&[("Udp.InDatagrams", 3)], hooks, Some("ingress")), "3 NETFILTER_DROP, 2 unexplained");
    assert_eq!(found(&[("Udp.InDatagrams", 3)], hooks, None), "5 unexplained");
}

/// The same where only the kernel's reasons say it.
#[test]
fn a_reason_before_prerouting_is_as_good_as_a_counter() {
    let (scenario, plan) = delivered();
    let mut evidence = evidence(&plan, &[("Udp.InDatagrams", 3)], Some([8, 5, 5, 3, 3]));
    chain(&mut evidence, "ingress");
    told(&mut evidence, "OTHERHOST", "ip_rcv_core", 3, 1..=3);
    let ledger = account(&scenario, &plan, &evidence);
    let found: Vec<_> = losses(&ledger).into_iter().map(|(_, cause, packets, ..)| (cause, packets)).collect();
    assert_eq!(found, [("OTHERHOST", 3), ("unexplained", 2)]);
}

#[test]
fn a_chain_drops_what_reaches_the_beginning_of_its_hook_alone() {
    let read = |count| [("Udp.InDatagrams", count)];
    assert_eq!(found(&read(6), [8, 8, 6, 6, 6], Some("prerouting")), "2 NETFILTER_DROP");
    assert_eq!(found(&read(6), [8, 8, 6, 6, 6], None), "2 unexplained");
    assert_eq!(found(&read(5), [8, 8, 8, 8, 5], Some("input")), "3 NETFILTER_DROP");
    // Fragments that connection tracking holds are missing at the end of prerouting.
    let held = [("Udp.InDatagrams", 5), ("Ip.ReasmReqds", 4), ("Ip.ReasmOKs", 2)];
    assert_eq!(found(&held, [8, 8, 5, 5, 5], Some("prerouting")), "1 NETFILTER_DROP, 2 unexplained");
    let all_held = [("Udp.InDatagrams", 6), ("Ip.ReasmReqds", 4), ("Ip.ReasmOKs", 2)];
    assert_eq!(found(&all_held, [8, 8, 6, 6, 6], Some("prerouting")), "2 unexplained");
}

#[test]
fn datagrams_that_are_given_up_are_at_most_those_that_failed() {
    let (_, plan) = delivered();
    let given_up = |counters: &[(&str, u64)], stage| {
        let claims = CauseEvidences::of(&plan, &evidence(&plan, counters, None), Some(8), None);
        claims.get(stage, Cause::FragReasmTimeout).and_then(|known| known.counted.as_ref()?.known())
    };
    for (four, six, stage) in
        [("Ip.ReasmFails", "Ip.ReasmTimeout", Stage::Accepted), ("Ip6ReasmFails", "Ip6ReasmTimeout", Stage::Delivered)]
    {
        assert_eq!(given_up(&[(four, 3), (six, 1)], stage), Some(1));
        assert_eq!(given_up(&[(four, 1), (six, 3)], stage), Some(1));
    }
}

#[test]
fn a_counter_that_did_not_move_says_something_only_where_the_kernel_does() {
    let (_, plan) = delivered();
    let mut evidence = evidence(&plan, &[], Some([8; 5]));
    let says = |evidence: &Evidence, cause| {
        let causes = CauseEvidences::of(&plan, evidence, Some(8), None);
        causes.get(Stage::Accepted, cause).map(|CauseEvidence { kernel, counted, .. }| (*kernel, counted.clone()))
    };
    let exactly = |count| Some(Amount::exact(count));
    assert_eq!(says(&evidence, Cause::IpRpfilter), None);
    told(&mut evidence, "IP_RPFILTER", "ip_rcv_finish_core", 2, 1..=2);
    assert_eq!(says(&evidence, Cause::IpRpfilter), Some((Some(2), exactly(0))));
    // What is forwarded is no drop, so that the kernel says nothing of it.
    evidence.counters.get_or_insert_default().insert("Ip.ForwDatagrams".to_owned(), 3);
    evidence.counters.get_or_insert_default().insert("IpExt.InNoRoutes".to_owned(), 3);
    assert_eq!(says(&evidence, Cause::Forwarded), Some((None, exactly(3))));
    assert_eq!(says(&evidence, Cause::IpInnoroutes), Some((Some(0), exactly(3))));
    evidence.stack.as_mut().expect("a lab").reasons = None;
    evidence.stack.as_mut().expect("a lab").followed.drops.clear();
    assert_eq!(says(&evidence, Cause::IpInnoroutes), Some((None, exactly(3))));
}

fn socket(port: u16) -> SocketRecord {
    unread_socket(port, 0)
}

fn unread_socket(port: u16, unread_bytes: u32) -> SocketRecord {
    let listener = Listener { transport: Transport::Udp, address: None, port };
    SocketRecord::of(Socket { inode: 1, buffer_bytes: 212_992, unread_bytes, ..listener.into() })
}

#[test]
fn what_is_unread_was_closed_or_is_in_a_queue() {
    let cause = |sockets: Vec<SocketRecord>| {
        let evidence = Evidence { sockets, ..Evidence::default() };
        let loss = unread(&evidence, Amount::exact(3));
        (loss.cause.to_string(), loss.why.contains("udp:4740 holds 900 bytes"))
    };
    let waiting = || unread_socket(4740, 900);
    let closed = || SocketRecord { until_end: false, ..waiting() };
    let found = |cause: &str, holds| (cause.to_owned(), holds);
    assert_eq!(cause(vec![waiting()]), found("NOT_READ", true));
    assert_eq!(cause(vec![socket(4740)]), found("NOT_READ", false));
    assert_eq!(cause(vec![closed()]), found("SOCKET_CLOSED", false));
    assert_eq!(cause(vec![closed(), waiting()]), found("NOT_READ", true));
}

#[test]
fn all_frames_that_reached_a_stage_are_named_where_so_many_were_lost() {
    let (_, mut plan) = filtered();
    assert_eq!(all_that_came(&plan, Stage::Accepted, 720).as_deref(), Some("1-720"));
    assert_eq!(all_that_came(&plan, Stage::Accepted, 719), None);
    assert_eq!(all_that_came(&plan, Stage::Accepted, 721), None);
    assert_eq!(all_that_came(&plan, Stage::Delivered, 720), None, "they were lost before");
    plan.rounds = 2;
    assert_eq!(all_that_came(&plan, Stage::Accepted, 1440).as_deref(), Some("1-720"));
}

/// Six datagrams, of which some come in fragments.
fn fragmented(fewest: u32, most: u32, frames: u64) -> Plan {
    let (_, mut plan) = delivered();
    plan.predictions.truncate(1);
    let prediction = &mut plan.predictions[0];
    assert_eq!(prediction.disposition, Disposition::Delivered);
    (
        prediction.class.datagrams,
        prediction.class.packets,
        prediction.class.fewest_frames,
        prediction.class.most_frames,
    ) = (6, 6, fewest, most);
    prediction.class.frames = super::frames(1..=frames);
    plan
}

#[test]
fn datagrams_in_fragments_are_a_range_of_frames() {
    let frames = |plan: &Plan, datagrams: u64| {
        let frames = in_frames(plan, &Amount::exact(datagrams));
        (frames.low(), frames.high())
    };
    // Three of one frame, three of three.
    let mixed = fragmented(1, 3, 12);
    assert_eq!([0, 1, 3, 5, 6].map(|datagrams| frames(&mixed, datagrams)), [(0, 0), (1, 3), (3, 9), (9, 11), (12, 12)]);
    assert_eq!(frames(&mixed, 7), (7, 7), "more than the capture has");
    // Each of two.
    let even = fragmented(2, 2, 12);
    assert_eq!([1, 5].map(|datagrams| frames(&even, datagrams)), [(2, 2), (10, 10)]);
    assert_eq!(frames(&fragmented(1, 1, 6), 4), (4, 4));
}

/// The causes of the losses with their packets, where all 8 reached the transport, and so many were read.
fn of_udp(counters: &[(&str, u64)], sockets: Vec<SocketRecord>) -> (String, Option<Amount>) {
    let (scenario, plan) = delivered();
    let mut evidence = evidence(&plan, counters, Some([8; 5]));
    evidence.sockets = sockets;
    let ledger = account(&scenario, &plan, &evidence);
    assert_eq!(contradiction(&ledger), None, "{ledger:#?}");
    let losses = ledger.losses.iter().map(|loss| format!("{} {}", loss.frames, loss.cause));
    (losses.collect::<Vec<_>>().join(", "), ledger.consumed)
}

#[test]
fn each_counter_of_udp_is_one_cause() {
    let read = ("Udp.InDatagrams", 5);
    for (counters, cause) in [
        (&[("Udp.InErrors", 3), ("Udp.InCsumErrors", 3)][..], "UDP_CSUM"),
        (&[("Udp.InErrors", 3), ("Udp.RcvbufErrors", 3)], "SOCKET_RCVBUFF"),
        (&[("Udp.InErrors", 3), ("Udp.MemErrors", 3)], "PROTO_MEM"),
        (&[("Udp.InErrors", 3)], "SOCKET_FILTER"),
        (&[("Udp.NoPorts", 3)], "NO_SOCKET"),
    ] {
        let counters: Vec<_> = counters.iter().copied().chain([read]).collect();
        let (found, consumed) = of_udp(&counters, vec![socket(4740)]);
        assert_eq!((found, consumed), (format!("3 {cause}"), Some(Amount::exact(5))));
    }
}

#[test]
fn only_sockets_that_the_capture_may_reach_hold_its_datagrams() {
    let waiting = |port| unread_socket(port, 512);
    let loopback = |mut record: SocketRecord| {
        record.socket.address = [127, 0, 0, 1].into();
        record
    };
    let seven = [("Udp.InDatagrams", 7)];
    assert_eq!(of_udp(&seven, vec![waiting(4740)]).0, "1 NOT_READ");
    // In a queue of another's port, or on the loopback, none of the capture's can be.
    assert_eq!(of_udp(&seven, vec![socket(4740), waiting(9)]).0, "1 unexplained");
    assert_eq!(of_udp(&seven, vec![socket(4740), loopback(waiting(4740))]).0, "1 unexplained");
    // A rule may send them to another port.
    let (scenario, plan) = delivered();
    let mut evidence = evidence(&plan, &seven, Some([8; 5]));
    evidence.sockets = vec![socket(4740), waiting(9)];
    chain(&mut evidence, "prerouting");
    let ledger = account(&scenario, &plan, &evidence);
    assert_eq!(ledger.losses.iter().map(|loss| loss.cause.name()).collect::<Vec<_>>(), ["NOT_READ"]);
}

#[test]
fn ipv6_fragments_pass_the_input_hook_one_by_one() {
    let (scenario, plan) = delivered();
    let counters = [("Ip6ReasmReqds", 3), ("Ip6ReasmOKs", 1), ("Udp6InDatagrams", 6)];
    let mut evidence = evidence(&plan, &counters, Some([8; 5]));
    evidence.stack.as_mut().expect("a lab").udp =
        Some(UdpInput { captured: 8, own_to_ports: Some(0), ..UdpInput::default() });
    evidence.sockets = vec![socket(4740)];
    let ledger = account(&scenario, &plan, &evidence);
    assert_eq!(ledger.consumed, Some(Amount::exact(6)), "three fragments were one datagram");
}

#[test]
fn sockets_are_watched_where_datagrams_go_into_them() {
    let (mut scenario, mut plan) = delivered();
    assert!(observes_sockets(&scenario, &plan));
    scenario.receiver.program.listens = Some(At::default_value(Listens::default()));
    assert!(!observes_sockets(&scenario, &plan));
    scenario.receiver.program.listens = None;
    plan.survey.udp_frames = super::frames([]);
    assert!(!observes_sockets(&scenario, &plan));
}

#[test]
fn more_lost_than_came_does_not_add_up() {
    let (scenario, plan) = delivered();
    let seen = evidence(&plan, &[("Udp.InDatagrams", 8)], Some([8; 5]));
    let mut ledger = account(&scenario, &plan, &seen);
    ledger.accepted = Some(Amount::exact(0));
    (ledger.delivered, ledger.consumed) = (None, None);
    ledger.losses = vec![super::super::loss(Cause::IpCsum, 9, crate::outcome::Layer::Stage)];
    assert!(contradiction(&ledger).is_some(), "9 of 8 can't be lost");
}

#[test]
fn a_foreign_frame_substitutes_a_missing_frame_of_its_length_nearby() {
    let digester = Digester::default();
    let run = |missing: u64, length: u32| {
        let mut matching = Matching::default();
        for frame in 0..2_000_u64 {
            matching.announce(Announced { digest: digester.of(&frame.to_le_bytes()), frame: frame + 1, length: 8 });
        }
        matching.see(digester.of(b"stranger"), length);
        for frame in (0..2_000_u64).filter(|frame| *frame != missing) {
            matching.see(digester.of(&frame.to_le_bytes()), 8);
        }
        let arriving = matching.finish();
        (arriving.altered.count(), arriving.foreign)
    };
    assert_eq!(run(0, 8), (1, 0));
    assert_eq!(run(0, 9), (0, 1), "of another length");
    assert_eq!(run(1_023, 8), (1, 0));
    assert_eq!(run(1_024, 8), (0, 1), "too far away");
}

#[test]
fn a_withdrawn_frame_is_neither_seen_nor_seen_again() {
    let digester = Digester::default();
    let mut matching = Matching::default();
    for (bytes, frame) in [(b"a", 1), (b"b", 2), (b"c", 3)] {
        matching.announce(Announced { digest: digester.of(bytes), frame, length: 1 });
    }
    matching.withdraw(1);
    assert_eq!(matching.see(digester.of(b"b"), 1), Sighting::Stranger);
}
