//! How many frames passed the stages behind the wire, from hooks and counters.

use crate::evidence::Evidence;
use crate::outcome::{Hook, Stage};
use crate::packet::layers::protocol;
use crate::plan::Plan;
use crate::plan::fate::{End, Fate};
use crate::plan::survey::Carried;

/// Delivered and consumed, in frames.
pub(super) fn through_sockets(plan: &Plan, evidence: &Evidence, arrived: u64) -> (Option<u64>, Option<u64>) {
    let datagrams = delivered_datagrams(plan, evidence);
    let read = consumed_datagrams(evidence).min(datagrams);
    let delivered = (datagrams + fragments_delivered(plan, evidence)).min(arrived);
    let consumed = if read == datagrams { delivered } else { read.min(delivered) };
    (Some(delivered), Some(consumed))
}

/// Accepted, in frames: what came to the end of the input hook, or else what IP gave to the protocols above it, which is the same (RFC
/// 4293). IPv4 datagrams are whole there, IPv6 ones come to the hook in fragments.
pub(super) fn past_the_filter(plan: &Plan, evidence: &Evidence, arrived: u64, delivered: Option<u64>) -> Option<u64> {
    let hooks = evidence.stack.as_ref()?.hooks.as_ref();
    let counter = |name: &str| evidence.counter(name);
    let packets = hooks.map_or_else(
        || {
            let taken = counter("Ip.InDelivers") + counter("Ip.InUnknownProtos");
            let taken = taken + counter("Ip6InDelivers") + counter("Ip6InUnknownProtos");
            taken.saturating_sub(evidence.loopback_datagrams)
        },
        |hooks| hooks.get(&Hook::InputLast).copied().unwrap_or(0),
    );
    let in_pieces = |fate: &&Fate| {
        let Carried::Ip { destination, .. } = fate.key.carried else { return false };
        let whole = if destination.is_ipv4() { "Ip.ReasmOKs" } else { "Ip6ReasmOKs" };
        counter(whole) > 0 && (destination.is_ipv4() || hooks.is_none())
    };
    let fragments: u64 = plan
        .fates
        .iter()
        .filter(in_pieces)
        .filter(|fate| !matches!(fate.end, End::Lost(_)) || fate.stage != Stage::Accepted)
        .map(|fate| fate.frames.count().saturating_sub(fate.packets))
        .sum();
    Some((packets + fragments * plan.rounds).max(delivered.unwrap_or(0)).min(arrived))
}

/// UDP datagrams that came into a socket's queue: what IP delivered to UDP, less what found no socket and what a socket refused.
/// `InDelivers` counts every protocol's, so the others' own counters are taken off (RFC 4293, RFC 4113).
fn delivered_datagrams(plan: &Plan, evidence: &Evidence) -> u64 {
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
        .map(|fate| fate.frames.count() * plan.rounds)
        .sum();
    let others = counter("Icmp.InMsgs") + counter("Icmp6InMsgs") + counter("Tcp.InSegs") + uncounted;
    let refused = counter("Udp.NoPorts") + counter("Udp6NoPorts") + counter("Udp.InErrors") + counter("Udp6InErrors");
    delivers.saturating_sub(others).saturating_sub(refused).saturating_sub(evidence.loopback_datagrams)
}

/// Frames of delivered datagrams beyond one each: the fragments.
fn fragments_delivered(plan: &Plan, evidence: &Evidence) -> u64 {
    if evidence.counter("Ip.ReasmOKs") + evidence.counter("Ip6ReasmOKs") == 0 {
        return 0;
    }
    let delivered =
        plan.fates.iter().filter(|fate| matches!(fate.end, End::Delivered | End::Open) && fate.datagrams > 0);
    delivered.map(|fate| fate.frames.count().saturating_sub(fate.datagrams) * plan.rounds).sum()
}

/// UDP datagrams that the application read.
pub fn consumed_datagrams(evidence: &Evidence) -> u64 {
    let read = evidence.counter("Udp.InDatagrams") + evidence.counter("Udp6InDatagrams");
    read.saturating_sub(evidence.loopback_datagrams)
}
