//! Every frame accounted for at every stage: a pure function of plan and evidence.
//!
//! The unit is the frame of the capture, times `repeat`. Counters count datagrams; what that means in frames is told by the
//! survey. Start at [`account`].

pub mod matching;

use std::fmt::Write as _;

use crate::cause::Cause;
use crate::evidence::{Arriving, Evidence};
use crate::outcome::{Layer, Ledger, Loss, Stage};
use crate::packet::layers::protocol;
use crate::plan::fate::{End, Fate};
use crate::plan::survey::Carried;
use crate::plan::{FrameRanges, Plan};
use crate::scenario::Scenario;

/// The ledger of a run.
pub fn account(scenario: &Scenario, plan: &Plan, evidence: &Evidence) -> Ledger {
    let repeat = plan.rounds;
    let selected = plan.frames();
    let mut losses = unsent(evidence);
    let arrived = evidence.arriving.as_ref().map(|arriving| {
        losses.extend(missing(arriving, evidence));
        arriving.arrived
    });
    let received = receive(scenario, plan, evidence, repeat, arrived);
    losses.extend(received.losses);
    let seen = |count: fn(&Arriving) -> u64| evidence.arriving.as_ref().map_or(0, count);
    Ledger {
        read: plan.counts.read * plan.rounds,
        selected,
        rewritten: selected,
        sent: evidence.sending.sent,
        arrived,
        accepted: None,
        delivered: received.delivered,
        consumed: received.consumed,
        foreign: seen(|arriving| arriving.foreign),
        duplicated: seen(|arriving| arriving.duplicated),
        reordered: seen(|arriving| arriving.reordered),
        altered: seen(|arriving| arriving.altered.count()),
        losses,
    }
}

/// Whether delivered and consumed can be observed: UDP is replayed into sockets of the receiver's namespace.
pub fn observes_sockets(scenario: &Scenario, plan: &Plan) -> bool {
    let raw = scenario.receiver.listens.as_ref().is_some_and(|listens| listens.value.is_empty());
    plan.site.is_some() && !raw && !plan.survey.udp_frames.is_empty()
}

fn loss(cause: Cause, packets: u64, evidence: Layer, frames: Option<String>) -> Loss {
    let row = cause.row();
    Loss {
        stage: row.stage,
        cause: row.name.to_owned(),
        packets,
        evidence,
        frames,
        why: row.why.to_owned(),
        fix: row.fix.to_owned(),
    }
}

/// What the kernel did not take.
fn unsent(evidence: &Evidence) -> Vec<Loss> {
    let sending = &evidence.sending;
    [
        (Cause::Unsendable, &sending.unsendable),
        (Cause::FrameTooLong, &sending.too_long),
        (Cause::InterfaceDown, &sending.interface_down),
        (Cause::QdiscDrop, &sending.dropped),
        (Cause::NotSent, &sending.not_sent),
    ]
    .into_iter()
    .filter(|(_, frames)| !frames.is_empty())
    .map(|(cause, frames)| {
        let mut loss = loss(cause, frames.count(), Layer::Stage, Some(frames.to_string()));
        loss.stage = Stage::Sent;
        if let (Cause::NotSent, Some(limit)) = (cause, evidence.timed_out) {
            loss.why = format!("the run's limit of {limit:?} came first");
        }
        loss
    })
    .collect()
}

/// What was sent, and not seen on the receiver's wire.
fn missing(arriving: &Arriving, evidence: &Evidence) -> Option<Loss> {
    if arriving.missing.is_empty() {
        return None;
    }
    let frames = Some(arriving.missing.to_string());
    let dropped = evidence.counter("tx.dropped");
    let mut loss = if dropped >= arriving.missing.count() {
        let mut loss = loss(Cause::InterfaceDown, arriving.missing.count(), Layer::Stage, frames);
        loss.why = format!("the sending interface dropped {dropped} frames (tx.dropped): it, or its peer, was down");
        loss
    } else {
        let mut loss = loss(Cause::Unexplained, arriving.missing.count(), Layer::Stage, frames);
        loss.why = "the kernel took the frames, and they were not seen on the receiver's wire".to_owned();
        loss.fix = "run it again; if it stays, tell us (no known way on a veth pair loses them)".to_owned();
        if !arriving.altered.is_empty() {
            let _infallible = write!(
                loss.why,
                "; in place of {} of them (frames {}) came one of the same length with other bytes: altered on the way",
                arriving.altered.count(),
                arriving.altered
            );
            loss.fix =
                "look for what rewrites packets before the receiver's tap: an XDP program, or tc on the sending side"
                    .to_owned();
        }
        loss
    };
    loss.stage = Stage::Arrived;
    Some(loss)
}

/// The stages past the wire.
#[derive(Debug, Default)]
struct Received {
    delivered: Option<u64>,
    consumed: Option<u64>,
    losses: Vec<Loss>,
}

/// What the predictions say of one cause.
#[derive(Debug, Default)]
struct Predicted<'a> {
    frames: FrameRanges,
    datagrams: u64,
    first: Option<&'a Fate>,
    kinds: usize,
}

fn predicted(plan: &Plan, end: End) -> Predicted<'_> {
    let mut all = Predicted::default();
    for fate in plan.fates.iter().filter(|fate| fate.end == end) {
        all.frames.merge(&fate.frames);
        all.datagrams += fate.datagrams;
        all.first.get_or_insert(fate);
        all.kinds += 1;
    }
    all
}

fn receive(scenario: &Scenario, plan: &Plan, evidence: &Evidence, repeat: u64, arrived: Option<u64>) -> Received {
    if evidence.counters.is_none() {
        return Received::default();
    }
    let sockets = observes_sockets(scenario, plan);
    let mut losses = Vec::new();
    for (cause, observed) in counted(evidence) {
        if observed == 0 || (cause == Cause::NoSocket && !sockets) {
            continue;
        }
        losses.push(attribute(plan, cause, observed, repeat));
    }
    let kernel = kernel_frames(plan) * repeat;
    let Some(arrived) = arrived.filter(|_| sockets) else {
        return Received { delivered: None, consumed: None, losses };
    };
    let datagrams = delivered_datagrams(plan, evidence, repeat);
    let consumed_datagrams = consumed_datagrams(evidence).min(datagrams);
    let extra = fragments_delivered(plan, evidence, repeat);
    let delivered = (datagrams + extra).min(arrived);
    let consumed = if consumed_datagrams == datagrams { delivered } else { consumed_datagrams.min(delivered) };
    let kernel = kernel.min(arrived.saturating_sub(delivered));
    if kernel > 0 {
        let predicted = predicted(plan, End::Kernel);
        let mut row = loss(Cause::Kernel, kernel, Layer::Predicted, Some(predicted.frames.to_string()));
        row.stage = Stage::Delivered;
        losses.push(row);
    }
    let mut open = arrived.saturating_sub(delivered).saturating_sub(losses.iter().map(|loss| loss.packets).sum());
    // No counter of its own has: martians, source routes, groups that nobody joined. The frame says it.
    for cause in [
        Cause::UnhandledProto,
        Cause::SourceRoute,
        Cause::IpInvalidSource,
        Cause::IpLocalnet,
        Cause::IpLocalSource,
        Cause::MulticastNotJoined,
        Cause::FragReasmTimeout,
    ] {
        let predicted = predicted(plan, End::Lost(cause));
        let packets = (predicted.frames.count() * repeat).min(open);
        if packets > 0 {
            losses.push(by_prediction(cause, packets, Layer::Predicted, &predicted));
            open -= packets;
        }
    }
    // What the application joins is not known before the run: a group's frames that nobody got were not joined.
    let groups = unjoined(plan);
    let packets = (groups.frames.count() * repeat).min(open);
    if packets > 0 {
        losses.push(loss(Cause::MulticastNotJoined, packets, Layer::Predicted, Some(groups.frames.to_string())));
        open -= packets;
    }
    if open > 0 {
        losses.push(unexplained(plan, open));
    }
    if consumed < delivered {
        losses.push(unread(evidence, delivered - consumed));
    }
    losses.sort_by_key(|loss| (loss.stage, loss.cause == Cause::Kernel.name()));
    Received { delivered: Some(delivered), consumed: Some(consumed), losses }
}

/// Causes that a counter of the receiver's namespace names, with how far it moved. The unit is the packet; UDP's count datagrams.
fn counted(evidence: &Evidence) -> Vec<(Cause, u64)> {
    let counter = |name: &str| evidence.counter(name);
    let both = |four: &str, six: &str| counter(four) + counter(six);
    let checksums = counter("IpExt.InCsumErrors");
    let udp_checksums = both("Udp.InCsumErrors", "Udp6InCsumErrors");
    let full = both("Udp.RcvbufErrors", "Udp6RcvbufErrors");
    let udp_errors = both("Udp.InErrors", "Udp6InErrors");
    vec![
        (Cause::Otherhost, counter("if.rx.otherhost")),
        (Cause::PktTooSmall, both("IpExt.InTruncatedPkts", "Ip6InTruncatedPkts")),
        (Cause::IpCsum, checksums),
        (Cause::IpInhdr, both("Ip.InHdrErrors", "Ip6InHdrErrors").saturating_sub(checksums)),
        (Cause::IpRpfilter, counter("TcpExt.IPReversePathFilter")),
        (Cause::IpInaddrerrors, both("Ip.InAddrErrors", "Ip6InAddrErrors")),
        (Cause::IpInnoroutes, both("IpExt.InNoRoutes", "Ip6InNoRoutes")),
        (Cause::IpNoproto, both("Ip.InUnknownProtos", "Ip6InUnknownProtos")),
        (Cause::Ipv6disabled, counter("Ip6InDiscards")),
        (Cause::UdpCsum, udp_checksums),
        (Cause::NoSocket, both("Udp.NoPorts", "Udp6NoPorts")),
        (Cause::SocketRcvbuff, full),
        (Cause::SocketFilter, udp_errors.saturating_sub(udp_checksums).saturating_sub(full)),
    ]
}

/// A counter's loss, in frames, with the prediction's frames and words where the two agree.
fn attribute(plan: &Plan, cause: Cause, observed: u64, repeat: u64) -> Loss {
    // A UDP length that does not fit moves the same counter as a socket filter: the frame tells which.
    let too_small = predicted(plan, End::Lost(Cause::PktTooSmall));
    let cause = match cause {
        Cause::SocketFilter if too_small.datagrams * repeat == observed => Cause::PktTooSmall,
        cause => cause,
    };
    let predicted = predicted(plan, End::Lost(cause));
    let datagram_counter =
        matches!(cause, Cause::UdpCsum | Cause::NoSocket | Cause::SocketRcvbuff | Cause::SocketFilter);
    if datagram_counter && predicted.datagrams * repeat == observed {
        return by_prediction(cause, predicted.frames.count() * repeat, Layer::Stage, &predicted);
    }
    if predicted.frames.count() * repeat == observed {
        return by_prediction(cause, observed, Layer::Stage, &predicted);
    }
    loss(cause, observed, Layer::Stage, None)
}

fn by_prediction(cause: Cause, packets: u64, evidence: Layer, predicted: &Predicted<'_>) -> Loss {
    let mut loss = loss(cause, packets, evidence, Some(predicted.frames.to_string()));
    if let Some(fate) = predicted.first {
        loss.why.clone_from(&fate.why);
        if predicted.kinds > 1 {
            let _infallible = write!(loss.why, " (and {} more such kinds of packet)", predicted.kinds - 1);
        }
        loss.fix.clone_from(&fate.fix);
    }
    loss
}

/// Frames that the kernel itself takes.
fn kernel_frames(plan: &Plan) -> u64 {
    plan.fates
        .iter()
        .filter(|fate| fate.end == End::Kernel || (fate.end == End::Open && fate.datagrams == 0))
        .map(|fate| fate.frames.count())
        .sum()
}

/// UDP datagrams that came into a socket's queue: what IP delivered to UDP, less what found no socket and what a socket refused.
/// `InDelivers` counts every protocol's, so the others' own counters are taken off (RFC 4293, RFC 4113).
fn delivered_datagrams(plan: &Plan, evidence: &Evidence, repeat: u64) -> u64 {
    let counter = |name| evidence.counter(name);
    let delivers = counter("Ip.InDelivers") + counter("Ip6InDelivers");
    let uncounted: u64 = plan
        .fates
        .iter()
        .filter(|fate| matches!(fate.end, End::Kernel | End::Open))
        .filter(|fate| {
            let own_counter = [protocol::ICMP, protocol::ICMPV6, protocol::TCP, protocol::UDP];
            matches!(fate.key.carried, Carried::Ip { protocol, .. } if !own_counter.contains(&protocol))
        })
        .map(|fate| fate.frames.count() * repeat)
        .sum();
    let others = counter("Icmp.InMsgs") + counter("Icmp6InMsgs") + counter("Tcp.InSegs") + uncounted;
    let refused = counter("Udp.NoPorts") + counter("Udp6NoPorts") + counter("Udp.InErrors") + counter("Udp6InErrors");
    delivers.saturating_sub(others).saturating_sub(refused).saturating_sub(evidence.loopback_datagrams)
}

/// UDP datagrams that the application read.
pub fn consumed_datagrams(evidence: &Evidence) -> u64 {
    let read = evidence.counter("Udp.InDatagrams") + evidence.counter("Udp6InDatagrams");
    read.saturating_sub(evidence.loopback_datagrams)
}

/// Frames of delivered datagrams beyond one each: the fragments.
fn fragments_delivered(plan: &Plan, evidence: &Evidence, repeat: u64) -> u64 {
    if evidence.counter("Ip.ReasmOKs") + evidence.counter("Ip6ReasmOKs") == 0 {
        return 0;
    }
    let delivered =
        plan.fates.iter().filter(|fate| matches!(fate.end, End::Delivered | End::Open) && fate.datagrams > 0);
    delivered.map(|fate| fate.frames.count().saturating_sub(fate.datagrams) * repeat).sum()
}

/// Datagrams to groups whose fate was not known before the run.
fn unjoined(plan: &Plan) -> Predicted<'_> {
    let mut all = Predicted::default();
    for fate in plan.fates.iter().filter(|fate| fate.end == End::Open && fate.datagrams > 0) {
        if matches!(fate.key.carried, Carried::Ip { destination, .. } if destination.is_multicast()) {
            all.frames.merge(&fate.frames);
        }
    }
    all
}

fn unexplained(plan: &Plan, packets: u64) -> Loss {
    let mut loss = loss(Cause::Unexplained, packets, Layer::Stage, None);
    let delivered = predicted(plan, End::Delivered);
    if delivered.frames.count() == packets {
        loss.frames = Some(delivered.frames.to_string());
    }
    loss
}

fn unread(evidence: &Evidence, packets: u64) -> Loss {
    let mut loss = loss(Cause::NotRead, packets, Layer::Stage, None);
    let queues: Vec<String> = evidence
        .queues
        .iter()
        .filter(|queue| queue.unread_bytes > 0)
        .map(|queue| format!("udp:{} holds {} bytes", queue.port, queue.unread_bytes))
        .collect();
    if !queues.is_empty() {
        loss.why = format!("still unread when the run ended: {}", queues.join(", "));
    }
    loss
}
