//! What a packet's drop means for the ledger: which stage it did not reach, and why. Start at [`meaning`].

use super::cause_evidence::{Key, predicted};
use crate::cause::{Cause, CauseName};
use crate::evidence::DropKind;
use crate::outcome::Stage;
use crate::packet::layers::protocol;
use crate::plan::Plan;

/// What a drop means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meaning {
    /// The packet is lost.
    Lost(Stage, CauseName),
    /// The kernel is done with a packet of a protocol of its own; such a packet did not reach this stage.
    Kernel(Stage),
    /// The packet was in a socket's queue when the socket was closed.
    Closed,
}

/// The stage and the cause of a drop that is a loss. `sockets`: whether datagrams go into sockets of the receiver.
pub(super) fn resolve(plan: &Plan, kind: &DropKind, sockets: bool) -> Option<Key> {
    match meaning(plan, kind, sockets) {
        Meaning::Lost(stage, name) => Some((stage, name)),
        Meaning::Kernel(_) | Meaning::Closed => None,
    }
}

/// Whether a drop may be of this cause though the kernel does not say so, or says it of several stages: then the frame's own bytes tell.
pub(super) fn is_told_by_the_frame(kind: &DropKind, cause: Cause) -> bool {
    let function = kind.function.as_deref().unwrap_or_default();
    match (kind.reason.as_str(), cause) {
        ("NOT_SPECIFIED", Cause::Ipv6BadExthdr | Cause::DupFrag) => function.contains("frag"),
        // A datagram over IPv6 that is too short for its header.
        ("NO_SOCKET" | "NOT_SPECIFIED", Cause::PktTooSmall) => function.contains("udp"),
        (reason @ ("UNHANDLED_PROTO" | "IP_INHDR"), cause) => {
            cause.name() == reason && (function.starts_with("ip6_parse_tlv") || function.starts_with("ip6_tlvopt"))
        }
        _ => false,
    }
}

/// The kernel's functions that refuse an IPv6 extension header without a reason.
const REFUSING_HEADERS: [&str; 5] =
    ["ipv6_rthdr_rcv", "ipv6_srh_rcv", "ipv6_rpl_srh_rcv", "ipv6_destopt_rcv", "ipv6_parse_hopopts"];

/// What a drop means. `sockets`: whether datagrams go into sockets of the receiver.
pub(super) fn meaning(plan: &Plan, kind: &DropKind, sockets: bool) -> Meaning {
    let six = kind.version == 6;
    let function = kind.function.as_deref().unwrap_or_default();
    let predicts = |cause, stage| predicted(plan, cause, stage).packets > 0;
    let lost = |cause: Cause| Meaning::Lost(cause.row().stage, CauseName::Known(cause));
    let meaning = match kind.reason.as_str() {
        "QUEUE_PURGE" | "SOCKET_CLOSE" => return Meaning::Closed,
        "NOT_SPECIFIED" if function.contains("destruct") => return Meaning::Closed,
        "NOT_SPECIFIED" if ["stp_", "snap_", "llc_", "garp_", "mrp_"].iter().any(|name| function.starts_with(name)) => {
            lost(Cause::UnhandledProto)
        }
        "NOT_SPECIFIED" if function.starts_with("arp_") => return Meaning::Kernel(Stage::Accepted),
        // A datagram that a socket handed to its encapsulation.
        "NOT_SPECIFIED" | "XFRM_POLICY" if kind.protocol == protocol::UDP && is_encapsulation(function) => {
            lost(Cause::UdpEncap)
        }
        // "No next header" (RFC 8200 §4.7).
        "NOT_SPECIFIED" if six && kind.protocol == 59 && function.starts_with("dst_discard") => {
            return Meaning::Kernel(Stage::Delivered);
        }
        // PIM with nobody who routes groups.
        "NOT_SPECIFIED" if function.starts_with("pim") => return Meaning::Kernel(Stage::Delivered),
        // With an MTU below 1,280 the interface has no IPv6 at all, for which the kernel has no name.
        "NOT_SPECIFIED" if function.starts_with("ip6_rcv") && predicts(Cause::Ipv6disabled, Stage::Accepted) => {
            lost(Cause::Ipv6disabled)
        }
        // A frame that is too short for an IPv6 header.
        "NOT_SPECIFIED" if function.starts_with("ip6_rcv_core") => lost(Cause::IpInhdr),
        "NOT_SPECIFIED" if REFUSING_HEADERS.iter().any(|name| function.starts_with(name)) => {
            let stage = if function.contains("hopopts") { Stage::Accepted } else { Stage::Delivered };
            Meaning::Lost(stage, CauseName::Known(Cause::Ipv6BadExthdr))
        }
        // The prediction tells from the bytes which header it was.
        reason @ ("UNHANDLED_PROTO" | "IP_INHDR")
            if function.starts_with("ip6_parse_tlv") || function.starts_with("ip6_tlvopt") =>
        {
            let cause = CauseName::from(reason);
            let only_behind = cause
                .known()
                .is_some_and(|cause| predicts(cause, Stage::Delivered) && !predicts(cause, Stage::Accepted));
            Meaning::Lost(if only_behind { Stage::Delivered } else { Stage::Accepted }, cause)
        }
        // Fragments that overlap or contradict each other.
        "NOT_SPECIFIED" if function.contains("frag") => {
            let stage = if six && !function.starts_with("nf_") { Stage::Delivered } else { Stage::Accepted };
            Meaning::Lost(stage, CauseName::Known(Cause::DupFrag))
        }
        // A broadcast or multicast datagram that no socket is for (Udp.IgnoredMulti).
        "NOT_SPECIFIED" if function.starts_with("__udp4_lib_") || function.starts_with("__udp6_lib_") => {
            lost(Cause::NoSocket)
        }
        // A bridge that the interface is in has no other port for the frame's MAC.
        "NO_TX_TARGET" if function.starts_with("br_") => lost(Cause::Otherhost),
        "NOT_SPECIFIED" => {
            let source_route = kind.source_route || kind.version == 0 && predicts(Cause::SourceRoute, Stage::Accepted);
            let to_group = kind.to_group || kind.version == 0 && predicts(Cause::MulticastNotJoined, Stage::Accepted);
            match (source_route, to_group) {
                (true, _) => lost(Cause::SourceRoute),
                (false, true) if stage_in(function) == Stage::Accepted => not_joined(kind),
                (false, true | false) => Meaning::Lost(stage_in(function), CauseName::Known(Cause::Unexplained)),
            }
        }
        "PKT_TOO_SMALL" => {
            let in_udp = ["udp", "tcp_", "icmp"].iter().any(|name| function.contains(name));
            let only_udp = function.is_empty()
                && predicts(Cause::PktTooSmall, Stage::Delivered)
                && !predicts(Cause::PktTooSmall, Stage::Accepted);
            let stage = if in_udp || only_udp { Stage::Delivered } else { Stage::Accepted };
            Meaning::Lost(stage, CauseName::Known(Cause::PktTooSmall))
        }
        // IPv6 reassembles behind the input hook, unless connection tracking does it.
        reason @ ("FRAG_REASM_TIMEOUT" | "DUP_FRAG" | "FRAG_TOO_FAR") => {
            let stage = if six && !function.starts_with("nf_") { Stage::Delivered } else { Stage::Accepted };
            Meaning::Lost(stage, CauseName::from(reason))
        }
        reason => {
            let name = CauseName::from(reason);
            let stage = name.known().map_or_else(|| stage_of(reason, function), |cause| cause.row().stage);
            Meaning::Lost(stage, name)
        }
    };
    let Meaning::Lost(Stage::Delivered, name) = &meaning else { return meaning };
    // What is found in a control message, or in the packet that it quotes, is the kernel's own.
    let is_control = ["icmp", "igmp"].iter().any(|name| function.contains(name));
    let is_told = matches!(
        name.as_str(),
        "TCP_CSUM" | "UNHANDLED_PROTO" | "IP_NOPROTO" | "FRAG_REASM_TIMEOUT" | "DUP_FRAG" | "FRAG_TOO_FAR"
    ) || !is_control && matches!(name.as_str(), "PKT_TOO_SMALL" | "IP_INHDR" | "IPV6_BAD_EXTHDR");
    let own =
        matches!(kind.protocol, protocol::ICMP | protocol::ICMPV6 | protocol::TCP | protocol::IGMP | protocol::UDPLITE);
    // What the kernel refuses of its own protocols (a segment without a connection) it has dealt with.
    if !is_told && (own || !sockets) { Meaning::Kernel(Stage::Delivered) } else { meaning }
}

/// Whether this function of the kernel is one of a protocol inside UDP: ESP (RFC 3948), L2TP, VXLAN, Geneve and the like.
fn is_encapsulation(function: &str) -> bool {
    ["xfrm", "esp", "l2tp", "vxlan", "geneve", "gtp", "fou", "gue", "wg_", "bareudp", "encap"]
        .iter()
        .any(|name| function.contains(name))
}

/// A multicast packet of a group that no socket joined: a datagram is lost; other protocols' packets (VRRP, OSPF, MLD) are not for this
/// host.
fn not_joined(kind: &DropKind) -> Meaning {
    let cause = Cause::MulticastNotJoined;
    if kind.version != 0 && kind.protocol != protocol::UDP {
        return Meaning::Kernel(Stage::Accepted);
    }
    Meaning::Lost(cause.row().stage, CauseName::Known(cause))
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
