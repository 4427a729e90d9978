//! Causes of loss by name: the one table that the prediction, the ledger and the reports share.
//!
//! Names are those of Linux 6.18's `enum skb_drop_reason` (`include/net/dropreason-core.h`), whatever kernel runs; where
//! it has none, ours. May use nothing else of the crate but the stages. Start at [`Cause::row`]; a new cause is a variant and its row.

use crate::outcome::Stage;

/// Why a packet did not come to the next stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant's row says what it means")]
pub enum Cause {
    NotSent,
    Unsendable,
    FrameTooLong,
    InterfaceDown,
    QdiscDrop,
    Otherhost,
    UnhandledProto,
    PktTooSmall,
    IpInhdr,
    IpCsum,
    SourceRoute,
    IpInvalidSource,
    IpLocalnet,
    IpLocalSource,
    IpRpfilter,
    IpInaddrerrors,
    IpInnoroutes,
    MulticastNotJoined,
    FragReasmTimeout,
    Ipv6disabled,
    IpNoproto,
    UdpCsum,
    NoSocket,
    SocketRcvbuff,
    SocketFilter,
    NotRead,
    Kernel,
    Unexplained,
}

/// What is known of a cause without looking at a run.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// The stage that such a packet doesn't come to.
    pub stage: Stage,
    /// What happened.
    pub why: &'static str,
    /// What to do.
    pub fix: &'static str,
}

/// Every cause, in the order of a packet's way.
pub const ALL: [Cause; 28] = [
    Cause::NotSent,
    Cause::Unsendable,
    Cause::FrameTooLong,
    Cause::InterfaceDown,
    Cause::QdiscDrop,
    Cause::Otherhost,
    Cause::UnhandledProto,
    Cause::PktTooSmall,
    Cause::IpInhdr,
    Cause::IpCsum,
    Cause::SourceRoute,
    Cause::IpInvalidSource,
    Cause::IpLocalnet,
    Cause::IpLocalSource,
    Cause::IpRpfilter,
    Cause::IpInaddrerrors,
    Cause::IpInnoroutes,
    Cause::MulticastNotJoined,
    Cause::FragReasmTimeout,
    Cause::Ipv6disabled,
    Cause::IpNoproto,
    Cause::UdpCsum,
    Cause::NoSocket,
    Cause::SocketRcvbuff,
    Cause::SocketFilter,
    Cause::NotRead,
    Cause::Kernel,
    Cause::Unexplained,
];

impl Cause {
    /// The name that the ledger and `[expect] drops` use.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The cause of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        ALL.into_iter().find(|cause| cause.name() == name)
    }

    /// What is known of it.
    #[expect(clippy::too_many_lines, reason = "a table reads best in one piece")]
    pub fn row(self) -> Row {
        let row = |name, stage, why, fix| Row { name, stage, why, fix };
        match self {
            Self::NotSent => row(
                "NOT_SENT",
                Stage::Sent,
                "the run ended before it was sent",
                "raise `timeout`, or pace faster (`[pacing] rate`, `max-gap`)",
            ),
            Self::Unsendable => row(
                "UNSENDABLE",
                Stage::Sent,
                "a frame under 14 bytes has no Ethernet header, and the kernel refuses it (EINVAL)",
                "leave it out with `[capture] filter = \"greater 14\"` or `frames`",
            ),
            Self::FrameTooLong => row(
                "FRAME_TOO_LONG",
                Stage::Sent,
                "the layer 3 packet is longer than the interface's MTU (EMSGSIZE, or ENOBUFS where the peer's is smaller)",
                "raise `[lab] mtu`",
            ),
            Self::InterfaceDown => row(
                "INTERFACE_DOWN",
                Stage::Arrived,
                "the interface was down: send() takes the frame and the queue drops it",
                "bring both interfaces up before the replay",
            ),
            Self::QdiscDrop => row(
                "QDISC_DROP",
                Stage::Sent,
                "the kernel took the frame and dropped it at once: the receiving interface's queue was full",
                "send more slowly (`[pacing] rate`), or with `[pacing] sender = \"packet\"`",
            ),
            Self::Otherhost => row(
                "OTHERHOST",
                Stage::Delivered,
                "the frame's destination MAC is not the receiver's, so its stack leaves it to some other host",
                "`[rewrite.destination] mac = \"receiver\"`",
            ),
            Self::UnhandledProto => row(
                "UNHANDLED_PROTO",
                Stage::Delivered,
                "no handler for the frame's EtherType is registered in the kernel",
                "leave such frames out with `[capture] filter = \"ip or ip6 or arp\"`",
            ),
            Self::PktTooSmall => row(
                "PKT_TOO_SMALL",
                Stage::Delivered,
                "a length field says more than the frame holds",
                "capture with a larger snaplen, or `[capture] truncated = \"pad\"` or \"skip\"",
            ),
            Self::IpInhdr => row(
                "IP_INHDR",
                Stage::Delivered,
                "the IP header is malformed, or its source is one that IPv6 never accepts (::1, a multicast group)",
                "map the source, or leave the frames out with `[capture] filter`",
            ),
            Self::IpCsum => {
                row("IP_CSUM", Stage::Delivered, "the IPv4 header checksum is wrong", "`[rewrite] checksums = \"fix\"`")
            }
            Self::SourceRoute => row(
                "SOURCE_ROUTE",
                Stage::Delivered,
                "the packet carries a source-route option, which the receiver does not accept (accept_source_route = 0)",
                "`[lab] sysctl = { \"net.ipv4.conf.{receiver}.accept_source_route\" = 1, \"net.ipv4.conf.all.accept_source_route\" = 1 }`",
            ),
            Self::IpInvalidSource => row(
                "IP_INVALID_SOURCE",
                Stage::Delivered,
                "no host may send from this source address (RFC 1812 §5.3.7)",
                "map the source: `[rewrite.source] ip = { … }`",
            ),
            Self::IpLocalnet => row(
                "IP_LOCALNET",
                Stage::Delivered,
                "127.0.0.0/8 is never accepted from a wire (RFC 1122 §3.2.1.3)",
                "map the address, or set route_localnet = 1 in `[lab] sysctl`",
            ),
            Self::IpLocalSource => row(
                "IP_LOCAL_SOURCE",
                Stage::Delivered,
                "the source is one of the receiver's own addresses",
                "pick one direction with `[capture] filter`, map the source, or set accept_local = 1 in `[lab] sysctl`",
            ),
            Self::IpRpfilter => row(
                "IP_RPFILTER",
                Stage::Delivered,
                "reverse path filtering: the receiver has no route back to the source through the interface that it came in on",
                "give the sources a route (`[lab] routes`), map them, or set rp_filter = 0 for both `all` and the interface",
            ),
            Self::IpInaddrerrors => row(
                "IP_INADDRERRORS",
                Stage::Delivered,
                "the destination is no address of the receiver, and it does not forward",
                "map the destination (`[rewrite.destination] ip = \"receiver\"`), or add the address to `[lab] addresses`",
            ),
            Self::IpInnoroutes => row(
                "IP_INNOROUTES",
                Stage::Delivered,
                "the destination is no address of the receiver, and it has no route to it",
                "map the destination (`[rewrite.destination] ip = \"receiver\"`), or add the address to `[lab] addresses`",
            ),
            Self::MulticastNotJoined => row(
                "MULTICAST_NOT_JOINED",
                Stage::Delivered,
                "no socket of the receiver has joined the group",
                "let the application join it, or map the destination to a unicast address",
            ),
            Self::FragReasmTimeout => row(
                "FRAG_REASM_TIMEOUT",
                Stage::Delivered,
                "fragments of the datagram are missing, so it is never put together",
                "a filter on ports loses later fragments: filter by host, or capture them all",
            ),
            Self::Ipv6disabled => row(
                "IPV6DISABLED",
                Stage::Delivered,
                "IPv6 is switched off on the receiving interface",
                "set net.ipv6.conf.<interface>.disable_ipv6 = 0",
            ),
            Self::IpNoproto => row(
                "IP_NOPROTO",
                Stage::Delivered,
                "no handler for the IP protocol is registered in the kernel",
                "leave such packets out with `[capture] filter`",
            ),
            Self::UdpCsum => row(
                "UDP_CSUM",
                Stage::Delivered,
                "the UDP checksum is wrong (or absent over IPv6)",
                "`[rewrite] checksums = \"fix\"`: the usual reason is a capture taken on the sending host, with checksum offload",
            ),
            Self::NoSocket => row(
                "NO_SOCKET",
                Stage::Delivered,
                "no socket is bound to the destination address and port",
                "map the port (`[rewrite.destination] port = { … }`), or let the application listen there",
            ),
            Self::SocketRcvbuff => row(
                "SOCKET_RCVBUFF",
                Stage::Delivered,
                "the socket's receive buffer was full: the application reads slower than packets come",
                "pace slower (`[pacing] rate`), or let the application raise SO_RCVBUF (and the host net.core.rmem_max)",
            ),
            Self::SocketFilter => row(
                "SOCKET_FILTER",
                Stage::Delivered,
                "the application's own socket filter, or a length in the UDP header, made the socket refuse it",
                "look at the filter that the application attaches (SO_ATTACH_FILTER)",
            ),
            Self::NotRead => row(
                "NOT_READ",
                Stage::Consumed,
                "it was still in the socket's queue when the run ended, and the queue did not move any more",
                "look why the application stopped reading",
            ),
            Self::Kernel => row(
                "KERNEL",
                Stage::Delivered,
                "answered or absorbed by the receiver's kernel itself (ARP, ND, ICMP, IGMP, TCP); not a loss",
                "nothing to do; `[capture] filter = \"udp\"` leaves such frames out",
            ),
            Self::Unexplained => row(
                "unexplained",
                Stage::Delivered,
                "no counter moved, and nothing in the frame explains it",
                "a firewall rule is the commonest reason: `nft list ruleset` in the receiver's namespace; as root, `perf trace -e skb:kfree_skb` names the place",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, Cause};

    #[test]
    fn every_cause_is_found_by_its_name_and_says_what_to_do() {
        for cause in ALL {
            assert_eq!(Cause::by_name(cause.name()), Some(cause));
            assert!(!cause.row().why.is_empty() && !cause.row().fix.is_empty());
        }
    }

    #[test]
    fn the_table_is_in_the_order_of_the_variants() {
        assert!(ALL.is_sorted());
    }
}
