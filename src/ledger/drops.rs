//! What a packet's drop means for the ledger: which stage it did not reach, and why. Start at [`meaning`].

use super::cause_evidence::{Key, predicted};
use crate::cause::{Cause, Reason, Row, TABLE};
use crate::evidence::DropKind;
use crate::outcome::Stage;
use crate::packet::layers::protocol;
use crate::plan::Plan;

/// What a drop means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The packet is lost.
    Lost(Key),
    /// The kernel is done with a packet of a protocol of its own; such a packet did not reach this stage.
    Absorbed(Stage),
    /// The packet was in a socket's queue when the socket was closed.
    Closed,
}

/// The stage and the cause of a drop that is a loss. `sockets`: whether datagrams go into sockets of the receiver.
pub(super) fn resolve(plan: &Plan, kind: &DropKind, sockets: bool) -> Option<Key> {
    match meaning(plan, kind, sockets) {
        Meaning::Lost(key) => Some(key),
        Meaning::Absorbed(_) | Meaning::Closed => None,
    }
}

/// Whether a function walks the options of an IPv6 header, and drops packets of several stages.
fn walks_options(function: &str) -> bool {
    function.starts_with("ip6_parse_tlv") || function.starts_with("ip6_tlvopt")
}

/// Whether a drop may be of this cause though the kernel does not say so, or says it of several stages: then the frame's own bytes decide.
pub(super) fn is_told_by_the_frame(kind: &DropKind, cause: Cause) -> bool {
    let function = kind.function.as_deref().unwrap_or_default();
    match (kind.reason.as_str(), cause) {
        ("NOT_SPECIFIED", Cause::Ipv6BadExthdr | Cause::DupFrag) => function.contains("frag"),
        // A datagram over IPv6 that is too short for its header.
        ("NO_SOCKET" | "NOT_SPECIFIED", Cause::PktTooSmall) => function.contains("udp"),
        (reason, Cause::UnhandledProto | Cause::IpInhdr) => cause.name() == reason && walks_options(function),
        _ => false,
    }
}

/// What a drop means. `sockets`: whether datagrams go into sockets of the receiver.
pub(super) fn meaning(plan: &Plan, kind: &DropKind, sockets: bool) -> Meaning {
    let function = kind.function.as_deref().unwrap_or_default();
    let starts = |beginning: &str| function.starts_with(beginning);
    match kind.reason.as_str() {
        "QUEUE_PURGE" | "SOCKET_CLOSE" => return Meaning::Closed,
        "NOT_SPECIFIED" if function.contains("destruct") => return Meaning::Closed,
        "NOT_SPECIFIED" if starts("arp_") => return Meaning::Absorbed(Stage::Accepted),
        // "No next header" (RFC 8200 section 4.7).
        "NOT_SPECIFIED" if kind.version == 6 && kind.protocol == 59 && starts("dst_discard") => {
            return Meaning::Absorbed(Stage::Delivered);
        }
        // PIM where no daemon routes groups.
        "NOT_SPECIFIED" if starts("pim") => return Meaning::Absorbed(Stage::Delivered),
        _ => {}
    }
    let (stage, cause) = match by_table(plan, kind, function) {
        Some(key) => key,
        None if kind.reason == "NOT_SPECIFIED" => {
            let predicts = |cause| kind.version == 0 && is_predicted(plan, cause, Stage::Accepted);
            let stage = stage_in(function);
            if kind.source_route || predicts(Cause::SourceRoute) {
                (Stage::Accepted, Cause::SourceRoute)
            } else if stage == Stage::Accepted && (kind.to_group || predicts(Cause::MulticastNotJoined)) {
                // Of a group that no socket joined a datagram is lost; other protocols' packets (VRRP, OSPF, MLD) are not for this host.
                if kind.version != 0 && kind.protocol != protocol::UDP {
                    return Meaning::Absorbed(Stage::Accepted);
                }
                (stage, Cause::MulticastNotJoined)
            } else {
                (stage, Cause::Unexplained)
            }
        }
        None if kind.reason == "FRAG_TOO_FAR" => (reassembly_stage(kind, function), Cause::Other("FRAG_TOO_FAR")),
        None => (stage_of(&kind.reason, function), Cause::from(kind.reason.as_str())),
    };
    if stage == Stage::Delivered && (is_the_kernels_own(kind) || !sockets) && !is_lost_of_any(cause, function) {
        return Meaning::Absorbed(Stage::Delivered);
    }
    Meaning::Lost((stage, cause))
}

/// The row of the table that has this reason in this function, and the stage of its packets.
fn by_table(plan: &Plan, kind: &DropKind, function: &str) -> Option<Key> {
    let means = |row: &Row, reason: &Reason| {
        reason.name == kind.reason
            && reason.is_raised_in(function)
            && (!reason.is_of_udp || kind.protocol == protocol::UDP)
            && (!reason.if_predicted || is_predicted(plan, row.cause, row.stage))
    };
    let found = TABLE.iter().flat_map(|row| row.reasons.iter().map(move |reason| (row, reason)));
    let found: Vec<_> = found.filter(|(row, reason)| means(row, reason)).collect();
    // What the prediction confirms goes first, and what names a function before what doesn't.
    let (row, reason) =
        found.into_iter().min_by_key(|(_, reason)| (!reason.if_predicted, reason.functions.is_empty()))?;
    let only_behind =
        || is_predicted(plan, row.cause, Stage::Delivered) && !is_predicted(plan, row.cause, Stage::Accepted);
    let stage = match row.cause {
        Cause::FragReasmTimeout | Cause::DupFrag => reassembly_stage(kind, function),
        Cause::PktTooSmall if ["udp", "tcp_", "icmp"].iter().any(|name| function.contains(name)) => Stage::Delivered,
        Cause::PktTooSmall if function.is_empty() && only_behind() => Stage::Delivered,
        // The prediction knows from the bytes which header it was.
        Cause::UnhandledProto | Cause::IpInhdr if walks_options(function) && only_behind() => Stage::Delivered,
        _ => reason.stage.unwrap_or(row.stage),
    };
    Some((stage, row.cause))
}

fn is_predicted(plan: &Plan, cause: Cause, stage: Stage) -> bool {
    predicted(plan, cause, stage).packets > 0
}

/// IPv6 reassembles behind the input hook, unless connection tracking does it.
fn reassembly_stage(kind: &DropKind, function: &str) -> Stage {
    if kind.version == 6 && !function.starts_with("nf_") { Stage::Delivered } else { Stage::Accepted }
}

/// Whether a packet is of a protocol that the kernel handles itself. What it refuses of those (a segment without a connection) it has dealt
/// with.
fn is_the_kernels_own(kind: &DropKind) -> bool {
    matches!(kind.protocol, protocol::ICMP | protocol::ICMPV6 | protocol::TCP | protocol::IGMP | protocol::UDPLITE)
}

/// Whether a packet behind the input hook is lost by this cause whatever its protocol. What the kernel finds in a control message, or in the
/// packet that it quotes, is its own.
fn is_lost_of_any(cause: Cause, function: &str) -> bool {
    let is_control = ["icmp", "igmp"].iter().any(|name| function.contains(name));
    match cause {
        Cause::TcpCsum | Cause::UnhandledProto | Cause::IpNoproto => true,
        Cause::FragReasmTimeout | Cause::DupFrag | Cause::Other("FRAG_TOO_FAR") => true,
        Cause::PktTooSmall | Cause::IpInhdr | Cause::Ipv6BadExthdr => !is_control,
        _ => false,
    }
}

/// The stage that a packet with this reason did not reach, by where in the stack Linux 6.18 raises it.
fn stage_of(reason: &str, function: &str) -> Stage {
    const AT_A_SOCKET: [&str; 11] = [
        "SOCKET_BACKLOG",
        "ICMP_CSUM",
        "INVALID_PROTO",
        "XFRM_POLICY",
        "SKB_UCOPY_FAULT",
        "PFMEMALLOC",
        "PACKET_SOCK_ERROR",
        "SECURITY_HOOK",
        "PSP_INPUT",
        "VXLAN_INVALID_HDR",
        "VXLAN_VNI_NOT_FOUND",
    ];
    if AT_A_SOCKET.contains(&reason) || reason.starts_with("TCP_") || reason.starts_with("IPV6_NDISC_") {
        Stage::Delivered
    } else {
        stage_in(function)
    }
}

/// The stage that a packet did not reach which this function of the kernel dropped.
fn stage_in(function: &str) -> Stage {
    const BEHIND_THE_INPUT_HOOK: [&str; 22] = [
        "udp",
        "tcp",
        "icmp",
        "igmp",
        "raw",
        "sock",
        "ping",
        "sctp",
        "dccp",
        "esp",
        "ah_",
        "ah6_",
        "xfrm",
        "gre",
        "vxlan",
        "geneve",
        "l2tp",
        "ndisc",
        "mld",
        "protocol_deliver",
        "local_deliver",
        "ipv6_rthdr",
    ];
    let behind = BEHIND_THE_INPUT_HOOK.iter().any(|name| function.contains(name));
    if behind || function.starts_with("ip6_input") || function.starts_with("ipv6_destopt") {
        Stage::Delivered
    } else {
        Stage::Accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_reasons_have_the_stage_of_the_function_that_raised_them() {
        for (reason, function, stage) in [
            ("XFRM_POLICY", "", Stage::Delivered),
            ("TCP_FLAGS", "tcp_v4_rcv", Stage::Delivered),
            ("NEW_REASON", "udp_queue_rcv_one_skb", Stage::Delivered),
            ("NEW_REASON", "ip_route_input_slow", Stage::Accepted),
            ("NEW_REASON", "tc_run", Stage::Accepted),
            ("NOMEM", "ip6_input_finish", Stage::Delivered),
            ("IPV6_BAD_EXTHDR", "ipv6_parse_hopopts", Stage::Accepted),
        ] {
            assert_eq!(stage_of(reason, function), stage, "{reason} in {function}");
        }
    }
}
