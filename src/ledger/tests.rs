//! One answer out of three layers of evidence, without a kernel: the plan of a real scenario, and evidence made by hand.

mod counters;
mod followed;

use std::collections::BTreeMap;
use std::path::Path;

use super::{account, contradiction};
use crate::capture::FrameRanges;
use crate::evidence::{Arriving, DropKind, Dropped, Evidence, Followed, Sending, Stack, UdpInput};
use crate::outcome::{Amount, EvidenceLevel, Hook, Layer, Layers, Ledger, Loss, Stage};
use crate::plan::Plan;
use crate::scenario::Scenario;

/// 8 datagrams to one port, which the prediction delivers.
fn delivered() -> (Scenario, Plan) {
    planned("scenarios/the-rewritten-frames-are-as-reviewed.toml")
}

/// 720 datagrams that strict reverse path filtering drops.
fn filtered() -> (Scenario, Plan) {
    planned("tests/failing/no-route-back-under-strict-rp-filter.toml")
}

fn planned(path: &str) -> (Scenario, Plan) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let scenario = crate::Scenario::from_file(&path).expect("a legal scenario");
    let plan = crate::plan::plan(&scenario, crate::plan::Facts::default()).expect("a plan");
    (scenario, plan)
}

fn frames(numbers: impl IntoIterator<Item = u64>) -> FrameRanges {
    let mut frames = FrameRanges::default();
    numbers.into_iter().for_each(|number| frames.add(number));
    frames
}

/// Everything arrived; `counters` moved, and so many packets passed the hooks from ingress to the end of input.
fn evidence(plan: &Plan, counters: &[(&str, u64)], hooks: Option<[u64; 5]>) -> Evidence {
    let layers = Layers { taps: EvidenceLevel::Packets, ..Layers::default() };
    let sent = plan.frames();
    Evidence {
        sending: Sending { sent, tried: sent, ..Sending::default() },
        arriving: Some(Arriving { arrived: sent, ..Arriving::default() }),
        counters: Some(counters.iter().map(|(name, moved)| ((*name).to_owned(), *moved)).collect()),
        stack: Some(Stack {
            hooks: hooks.map(|hooks| Hook::ALL.into_iter().zip(hooks).collect()),
            udp: hooks.map(|[.., captured]| UdpInput { captured, own_to_ports: Some(0), ..UdpInput::default() }),
            reasons: None,
            followed: Followed::default(),
            filters: Vec::new(),
            layers,
        }),
        ..Evidence::default()
    }
}

/// The kernel says this of so many packets, and of which frames.
fn told(evidence: &mut Evidence, reason: &str, function: &str, packets: u64, known: impl IntoIterator<Item = u64>) {
    let stack = evidence.stack.as_mut().expect("a lab");
    stack.reasons.get_or_insert_default().insert(reason.to_owned(), packets);
    let function = Some(function.to_owned()).filter(|function| !function.is_empty());
    let kind = DropKind { reason: reason.to_owned(), function, version: 4, protocol: 17, ..DropKind::default() };
    let frames = frames(known);
    if frames.count() > 0 {
        stack.followed.drops.insert(kind, Dropped { packets: frames.count(), frames, assumed: false });
    }
}

/// The losses as (stage, cause, packets, evidence, frames); the stages add up.
fn losses(ledger: &Ledger) -> Vec<(Stage, &str, u64, Layer, Option<&str>)> {
    assert_eq!(contradiction(ledger), None, "{ledger:#?}");
    let exact = |loss: &Loss| loss.frames.known().expect("an exact number");
    let losses = ledger.losses.iter();
    losses.map(|loss| (loss.stage, loss.cause.name(), exact(loss), loss.evidence, loss.numbers.as_deref())).collect()
}

#[test]
fn without_root_a_firewall_is_found_by_where_packets_stop() {
    let (scenario, plan) = delivered();
    let mut evidence = evidence(&plan, &[], Some([8, 8, 8, 8, 3]));
    evidence.counters =
        Some([("Ip.InDelivers", 3), ("Udp.InDatagrams", 3)].map(|(name, n)| (name.to_owned(), n)).into());
    let stack = evidence.stack.as_mut().expect("a lab");
    stack.filters.push("filter input (hook input, 1 rule, policy drop)".to_owned());
    stack.followed.last = Some(BTreeMap::from([
        (Some(Hook::InputFirst), frames([2, 4, 5, 6, 8])),
        (Some(Hook::InputLast), frames([1, 3, 7])),
    ]));
    let ledger = account(&scenario, &plan, &evidence);
    assert_eq!(losses(&ledger), [(Stage::Accepted, "NETFILTER_DROP", 5, Layer::Stage, Some("2,4-6,8"))]);
    assert_eq!((ledger.accepted, ledger.consumed), (Some(Amount::exact(3)), Some(Amount::exact(3))));
    assert!(ledger.losses[0].why.contains("5 in the input hook"), "{}", ledger.losses[0].why);
    assert!(ledger.losses[0].fix.contains("`udp dport 4740 accept`"), "{}", ledger.losses[0].fix);
    assert!(ledger.disagreements.is_empty());
}

#[test]
fn a_chain_of_the_netdev_family_is_found_too() {
    let (scenario, plan) = delivered();
    let mut evidence = evidence(&plan, &[], Some([8, 0, 0, 0, 0]));
    let ledger = account(&scenario, &plan, &evidence);
    assert_eq!(losses(&ledger), [(Stage::Accepted, "unexplained", 8, Layer::Stage, Some("1-8"))]);
    let chain = "filter in (hook ingress, 1 rule, policy accept)".to_owned();
    evidence.stack.as_mut().expect("a lab").filters.push(chain);
    let ledger = account(&scenario, &plan, &evidence);
    assert_eq!(losses(&ledger), [(Stage::Accepted, "NETFILTER_DROP", 8, Layer::Stage, Some("1-8"))]);
    assert!(ledger.losses[0].why.contains("netdev ingress"), "{}", ledger.losses[0].why);
}

#[test]
fn the_kernels_word_goes_before_the_counters() {
    let (scenario, plan) = filtered();
    let mut evidence = evidence(&plan, &[("TcpExt.IPReversePathFilter", 720)], Some([720, 720, 720, 0, 0]));
    told(&mut evidence, "IP_RPFILTER", "ip_rcv_finish_core", 720, 1..=720);
    let ledger = account(&scenario, &plan, &evidence);
    assert_eq!(losses(&ledger), [(Stage::Accepted, "IP_RPFILTER", 720, Layer::Kernel, Some("1-720"))]);
    assert!(ledger.losses[0].why.contains("[ip_rcv_finish_core]"), "{}", ledger.losses[0].why);
    assert!(ledger.disagreements.is_empty(), "{:?}", ledger.disagreements);
}

#[test]
fn layers_that_disagree_are_both_shown() {
    let (scenario, plan) = filtered();
    let counters = [("TcpExt.IPReversePathFilter", 719), ("Ip.InDelivers", 0)];
    let mut evidence = evidence(&plan, &counters, Some([720, 720, 720, 0, 0]));
    told(&mut evidence, "IP_RPFILTER", "", 720, []);
    let ledger = account(&scenario, &plan, &evidence);
    assert_eq!(losses(&ledger), [(Stage::Accepted, "IP_RPFILTER", 720, Layer::Kernel, Some("1-720"))]);
    let [disagreement] = ledger.disagreements.as_slice() else { panic!("{:?}", ledger.disagreements) };
    assert_eq!((disagreement.kernel, disagreement.stage, disagreement.predicted), (Some(720), Some(719), None));
}

#[test]
fn a_prediction_that_does_not_come_true_is_told() {
    let (scenario, plan) = filtered();
    let counters = [("Ip.InDelivers", 720), ("Udp.InDatagrams", 720)];
    let ledger = account(&scenario, &plan, &evidence(&plan, &counters, Some([720; 5])));
    assert_eq!(losses(&ledger), []);
    let [disagreement] = ledger.disagreements.as_slice() else { panic!("{:?}", ledger.disagreements) };
    assert_eq!((disagreement.cause.name(), disagreement.predicted), ("IP_RPFILTER", Some(720)));
}

#[test]
fn a_reason_without_a_row_keeps_the_kernels_name() {
    let (scenario, plan) = delivered();
    let mut evidence = evidence(&plan, &[], Some([8, 8, 8, 8, 8]));
    told(&mut evidence, "PSP_INPUT", "udp_rcv", 8, 1..=8);
    let ledger = account(&scenario, &plan, &evidence);
    assert_eq!(losses(&ledger), [(Stage::Delivered, "PSP_INPUT", 8, Layer::Kernel, Some("1-8"))]);
    assert!(!ledger.losses[0].fix.is_empty());
}

#[test]
fn what_nothing_explains_says_so_at_its_stage() {
    let (scenario, plan) = delivered();
    let ledger = account(&scenario, &plan, &evidence(&plan, &[], Some([8, 8, 8, 8, 8])));
    assert_eq!(losses(&ledger), [(Stage::Delivered, "unexplained", 8, Layer::Stage, Some("1-8"))]);
    let mut untapped = evidence(&plan, &[], None);
    let ledger = account(&scenario, &plan, &untapped);
    assert_eq!(losses(&ledger), [(Stage::Accepted, "unexplained", 8, Layer::Stage, Some("1-8"))]);
    let chain = "filter input (hook input, 1 rule, policy accept)".to_owned();
    untapped.stack.as_mut().expect("a lab").filters.push(chain);
    let ledger = account(&scenario, &plan, &untapped);
    assert_eq!(losses(&ledger), [(Stage::Accepted, "NETFILTER_DROP", 8, Layer::Stage, Some("1-8"))]);
}

#[test]
fn more_reasons_than_records_are_counted_without_frames() {
    let (scenario, plan) = delivered();
    let counters = [("Udp.NoPorts", 5), ("Ip.InDelivers", 8), ("Udp.InDatagrams", 3)];
    let mut evidence = evidence(&plan, &counters, Some([8; 5]));
    told(&mut evidence, "NO_SOCKET", "__udp4_lib_rcv", 5, 1..=3);
    let ledger = account(&scenario, &plan, &evidence);
    assert_eq!(losses(&ledger), [(Stage::Delivered, "NO_SOCKET", 5, Layer::Kernel, None)]);
}

/// Every pair of causes of one stage that counters can claim: where both counters moved by all that is missing, the one that is first in
/// this list gets it. The list is the order that is expected, and not that of the table.
#[test]
fn of_two_causes_that_claim_the_same_packets_the_one_with_priority_gets_them() {
    let accepted = [
        (&["if.rx.otherhost"][..], "OTHERHOST"),
        (&["IpExt.InTruncatedPkts"], "PKT_TOO_SMALL"),
        (&["Ip6InHdrErrors"], "IP_INHDR"),
        (&["IpExt.InCsumErrors", "Ip.InHdrErrors"], "IP_CSUM"),
        (&["Ip6InDiscards"], "IPV6DISABLED"),
        (&["TcpExt.IPReversePathFilter"], "IP_RPFILTER"),
        (&["Ip.InAddrErrors"], "IP_INADDRERRORS"),
        (&["IpExt.InNoRoutes"], "IP_INNOROUTES"),
        (&["Ip.ForwDatagrams"], "FORWARDED"),
        (&["Ip.ReasmTimeout", "Ip.ReasmFails"], "FRAG_REASM_TIMEOUT"),
    ];
    let delivered = [
        (&["Ip6ReasmTimeout", "Ip6ReasmFails"][..], "FRAG_REASM_TIMEOUT"),
        (&["Ip.InUnknownProtos"], "IP_NOPROTO"),
        (&["Tcp.InCsumErrors"], "TCP_CSUM"),
        (&["Udp.InCsumErrors", "Udp.InErrors"], "UDP_CSUM"),
        (&["Udp.NoPorts"], "NO_SOCKET"),
    ];
    let (scenario, plan) = self::delivered();
    let claims: [(&[_], [u64; 5]); 2] = [(&accepted, [8, 0, 0, 0, 0]), (&delivered, [8; 5])];
    for (causes, hooks) in claims {
        for (index, (one, first)) in causes.iter().enumerate() {
            for (other, second) in &causes[index + 1..] {
                let counters: Vec<_> = other.iter().chain(*one).map(|name| (*name, 8)).collect();
                let ledger = account(&scenario, &plan, &evidence(&plan, &counters, Some(hooks)));
                let found: Vec<_> = ledger.losses.iter().map(|loss| (loss.cause.name(), loss.frames.high())).collect();
                assert_eq!(found, [(*first, 8)], "{first} and {second}");
            }
        }
    }
}

/// The order of the whole table, by stage: the rows above are those that can claim the same packets without a prediction.
#[test]
fn the_priority_of_every_cause_is_reviewed() {
    let lines = Stage::ALL.into_iter().filter_map(|stage| {
        let causes: Vec<_> = crate::cause::TABLE.iter().filter(|row| row.stage == stage).map(|row| row.name).collect();
        (!causes.is_empty()).then(|| format!("{stage}: {}\n", causes.join(", ")))
    });
    insta::assert_snapshot!(lines.collect::<String>());
}

#[test]
fn own_datagrams_are_no_part_of_the_ledger() {
    let (scenario, plan) = delivered();
    let counters = [("Udp.InDatagrams", 28), ("Udp.NoPorts", 5)];
    let mut evidence = evidence(&plan, &counters, Some([8; 5]));
    let udp = UdpInput { captured: 8, own: 25, own_to_ports: Some(0), own_unreachable: 5, ..UdpInput::default() };
    evidence.stack.as_mut().expect("a lab").udp = Some(udp);
    let ledger = account(&scenario, &plan, &evidence);
    assert_eq!(losses(&ledger), []);
    assert_eq!(ledger.consumed, Some(Amount::exact(8)));
}

#[test]
fn own_datagrams_that_a_stopped_program_had_not_read_are_none_of_the_capture() {
    let (scenario, plan) = delivered();
    let mut evidence = evidence(&plan, &[("Udp.InDatagrams", 30)], Some([8; 5]));
    let udp = UdpInput { captured: 8, own: 25, own_to_ports: Some(25), own_at_stops: 3, ..UdpInput::default() };
    evidence.stack.as_mut().expect("a lab").udp = Some(udp);
    let ledger = account(&scenario, &plan, &evidence);
    assert_eq!(losses(&ledger), []);
    assert_eq!(ledger.consumed, Some(Amount::exact(8)));
}

#[test]
fn drops_that_may_be_of_own_datagrams_leave_a_range() {
    let (scenario, plan) = delivered();
    let counters = [("Udp.InDatagrams", 9), ("Udp.InErrors", 3), ("Udp.RcvbufErrors", 3)];
    let mut evidence = evidence(&plan, &counters, Some([8; 5]));
    let udp = UdpInput { captured: 8, own: 4, own_to_ports: Some(4), ..UdpInput::default() };
    evidence.stack.as_mut().expect("a lab").udp = Some(udp);
    let ledger = account(&scenario, &plan, &evidence);
    let consumed = ledger.consumed.clone().expect("seen");
    assert_eq!((consumed.low(), consumed.high()), (5, 8), "{ledger:#?}");
    assert_eq!(contradiction(&ledger), None, "{ledger:#?}");
}

#[test]
fn a_ledger_that_does_not_add_up_is_noticed() {
    let (scenario, plan) = delivered();
    let mut ledger = account(&scenario, &plan, &evidence(&plan, &[("Udp.InDatagrams", 8)], Some([8; 5])));
    assert_eq!(contradiction(&ledger), None);
    ledger.accepted = Some(Amount::exact(7));
    assert!(contradiction(&ledger).is_some_and(|what| what.contains("8 arrived less 0 lost are not 7 accepted")));
}
