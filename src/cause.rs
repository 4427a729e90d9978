//! Causes of loss by name: the one table that the prediction, the ledger, the reports and `restage help causes` share.
//!
//! Names are those of Linux 6.18's `enum skb_drop_reason` (`include/net/dropreason-core.h`), whatever kernel runs; where
//! it has none, ours. May use nothing else of the crate. Start at [`Cause::row`]; a new cause is a variant and its row.

mod name;
mod stage;

pub use name::CauseName;
pub use stage::Stage;

/// Why a packet did not come to the next stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant's row says what it means")]
pub enum Cause {
    NotSent,
    Unsendable,
    FrameTooLong,
    InterfaceDown,
    QdiscDrop,
    CpuBacklog,
    Xdp,
    TcIngress,
    Otherhost,
    UnhandledProto,
    UnicastInL2Multicast,
    PktTooSmall,
    IpInhdr,
    IpCsum,
    Ipv6disabled,
    NetfilterDrop,
    SourceRoute,
    IpInvalidSource,
    IpInvalidDest,
    IpLocalnet,
    IpLocalSource,
    IpRpfilter,
    IpInaddrerrors,
    IpInnoroutes,
    Forwarded,
    NeighFailed,
    MulticastNotJoined,
    DupFrag,
    FragReasmTimeout,
    Ipv6BadExthdr,
    IpNoproto,
    TcpCsum,
    UdpCsum,
    NoSocket,
    SocketRcvbuff,
    SocketFilter,
    ProtoMem,
    UdpEncap,
    SocketClosed,
    NotRead,
    Kernel,
    Unexplained,
}

/// What is known of a cause without looking at a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The cause.
    pub cause: Cause,
    /// Its name.
    pub name: &'static str,
    /// The stage that such a packet doesn't come to.
    pub stage: Stage,
    /// What happened.
    pub why: &'static str,
    /// By what it shows: counters, the kernel's reason, how far the taps see it.
    pub signs: &'static str,
    /// What to do in a scenario.
    pub fix: &'static str,
    /// What to do on a real machine; never executed by restage.
    pub machine: &'static str,
}

impl Cause {
    /// The name that the ledger and `[expect] losses` use.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The cause of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == name).map(|row| row.cause)
    }

    /// All names that a scenario may write.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().filter(|row| row.cause != Self::Unexplained).map(|row| row.name)
    }

    /// What is known of it.
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

/// Every cause, in the order in which a packet meets them. That is their priority as well: where the evidence for two causes of one stage
/// counts more packets than are missing, the earlier row is served first.
pub const TABLE: [Row; 42] = [
    Row {
        cause: Cause::NotSent,
        name: "NOT_SENT",
        stage: Stage::Sent,
        why: "the run ended before it was sent",
        signs: "the run's limit came first",
        fix: "raise `timeout`, or pace faster (`[pacing] rate`, `max-gap`)",
        machine: "as in a scenario",
    },
    Row {
        cause: Cause::Unsendable,
        name: "UNSENDABLE",
        stage: Stage::Sent,
        why: "a frame under 14 bytes has no Ethernet header, and the kernel refuses it",
        signs: "send() says EINVAL",
        fix: "leave it out: `[capture] filter = \"greater 14\"` or `frames`",
        machine: "as in a scenario",
    },
    Row {
        cause: Cause::FrameTooLong,
        name: "FRAME_TOO_LONG",
        stage: Stage::Sent,
        why: "the layer 3 packet is longer than the interface's MTU",
        signs: "send() says EMSGSIZE, or ENOBUFS where the peer's MTU is smaller (then `rx.dropped` of the peer moves)",
        fix: "`[lab] mtu = 9000`, or `[rewrite] oversize = \"truncate\"` or \"skip\"",
        machine: "`ip link set IFACE mtu 9000`, on both ends of the link",
    },
    Row {
        cause: Cause::InterfaceDown,
        name: "INTERFACE_DOWN",
        stage: Stage::Arrived,
        why: "the interface was down: send() takes the frame and the queue drops it",
        signs: "`tx.dropped` of the sending interface; the kernel's reason there is QDISC_DROP",
        fix: "look for what sets the interface down: the lab brings both up",
        machine: "`ip link set IFACE up`",
    },
    Row {
        cause: Cause::QdiscDrop,
        name: "QDISC_DROP",
        stage: Stage::Sent,
        why: "the kernel took the frame and dropped it at once: the receiving interface's queue was full",
        signs: "send() took it, and the sender's result says that it was dropped",
        fix: "send more slowly (`[pacing] rate`), or with `[pacing] sender = \"packet\"`",
        machine: "send more slowly, or `ip link set IFACE txqueuelen 10000`",
    },
    Row {
        cause: Cause::CpuBacklog,
        name: "CPU_BACKLOG",
        stage: Stage::Accepted,
        why: "the queue between the interface and the stack was full (net.core.netdev_max_backlog)",
        signs: "reason CPU_BACKLOG at enqueue_to_backlog; `/proc/net/softnet_stat`, second column",
        fix: "send more slowly (`[pacing] rate`)",
        machine: "`sysctl -w net.core.netdev_max_backlog=10000`, or send more slowly",
    },
    Row {
        cause: Cause::Xdp,
        name: "XDP",
        stage: Stage::Accepted,
        why: "an XDP program on the interface took the frame before the stack saw it: it dropped, sent back or redirected it",
        signs: "`ip link show IFACE` lists a program; reason XDP",
        fix: "where the application reads by XDP, expect `losses = { XDP = \"all\" }` and judge what it made of the packets: `[[expect.output]]`",
        machine: "`ip link set IFACE xdp off` removes the program",
    },
    Row {
        cause: Cause::TcIngress,
        name: "TC_INGRESS",
        stage: Stage::Accepted,
        why: "a traffic control program or filter on the interface dropped the packet (tc, tcx)",
        signs: "reason TC_INGRESS; not seen at the ingress hook; `tc filter show dev IFACE ingress`, `bpftool net`",
        fix: "look at what the application attaches to the interface",
        machine: "`tc filter show dev IFACE ingress` and `bpftool net` list what is attached",
    },
    Row {
        cause: Cause::Otherhost,
        name: "OTHERHOST",
        stage: Stage::Accepted,
        why: "the frame's destination MAC is not the receiver's, so its stack leaves it to some other host",
        signs: "`rx_otherhost_dropped` of the interface (`ip -s -s link`); reason OTHERHOST at ip_rcv_core; seen at ingress only. A VLAN tag that no VLAN interface takes off looks the same",
        fix: "`[rewrite.destination] mac = \"receiver\"`",
        machine: "send to the MAC that `ip link show IFACE` shows; for a tagged frame `ip link add link IFACE name IFACE.ID type vlan id ID`",
    },
    Row {
        cause: Cause::UnhandledProto,
        name: "UNHANDLED_PROTO",
        stage: Stage::Accepted,
        why: "no handler for the frame's EtherType is registered in the kernel",
        signs: "`rx.dropped` of the interface; reason UNHANDLED_PROTO at __netif_receive_skb_core; seen at ingress only",
        fix: "leave such frames out: `[capture] filter = \"ip or ip6 or arp\"`",
        machine: "open a packet socket for that EtherType (packet(7)), or leave the frames out",
    },
    Row {
        cause: Cause::UnicastInL2Multicast,
        name: "UNICAST_IN_L2_MULTICAST",
        stage: Stage::Accepted,
        why: "the frame's MAC is a multicast or broadcast one, its IP address is unicast, and drop_unicast_in_l2_multicast is set",
        signs: "reason UNICAST_IN_L2_MULTICAST; seen at prerouting, not at input; no counter for IPv4, `Ip6InHdrErrors` for IPv6",
        fix: "`[rewrite.destination] mac = { \"01:00:5e:…\" = \"receiver\" }`, with the frame's MAC",
        machine: "`sysctl -w net.ipv4.conf.all.drop_unicast_in_l2_multicast=0 net.ipv4.conf.IFACE.drop_unicast_in_l2_multicast=0`",
    },
    Row {
        cause: Cause::PktTooSmall,
        name: "PKT_TOO_SMALL",
        stage: Stage::Accepted,
        why: "a length field says more than the frame holds",
        signs: "`IpExt.InTruncatedPkts` or `Ip6InTruncatedPkts`, seen at ingress only (the IP length); `Udp.InErrors`, seen at the end of input (the UDP length); reason PKT_TOO_SMALL",
        fix: "`[capture] truncated = \"pad\"` or \"skip\"; better, capture with a larger snaplen",
        machine: "capture with the whole frame: `tcpdump -s 0`",
    },
    Row {
        cause: Cause::IpInhdr,
        name: "IP_INHDR",
        stage: Stage::Accepted,
        why: "the IP header is malformed, or its source is one that IPv6 never accepts (::1, a multicast group)",
        signs: "`Ip.InHdrErrors` or `Ip6InHdrErrors`; reason IP_INHDR at ip_rcv_core (seen at ingress only), or at ip_forward, where a router finds a TTL of 1",
        fix: "map the source (`[rewrite.source] ip`), raise the TTL (`[rewrite.header] ttl = 64`), or leave the frames out",
        machine: "send a whole IP header; behind a router, with a TTL above 1",
    },
    Row {
        cause: Cause::IpCsum,
        name: "IP_CSUM",
        stage: Stage::Accepted,
        why: "the IPv4 header checksum is wrong",
        signs: "`IpExt.InCsumErrors` and `Ip.InHdrErrors`; reason IP_CSUM at ip_rcv_core; seen at ingress only",
        fix: "`[rewrite] checksums = \"fix\"`",
        machine: "capture where the checksums are finished, or `ethtool -K IFACE tx off` on the capturing sender",
    },
    Row {
        cause: Cause::Ipv6disabled,
        name: "IPV6DISABLED",
        stage: Stage::Accepted,
        why: "IPv6 is switched off on the receiving interface",
        signs: "`Ip6InDiscards`; reason IPV6DISABLED at ip6_rcv_core; seen at ingress only",
        fix: "remove disable_ipv6 from `[lab] sysctl`, and have an MTU of 1280 or more",
        machine: "`sysctl -w net.ipv6.conf.IFACE.disable_ipv6=0`",
    },
    Row {
        cause: Cause::NetfilterDrop,
        name: "NETFILTER_DROP",
        stage: Stage::Accepted,
        why: "a rule of the receiver's packet filter drops it, or its chain's policy does",
        signs: "seen at the beginning of a hook and not at its end; reason NETFILTER_DROP; no counter",
        fix: "accept it in `[lab] ruleset`, or in the rules that the application loads",
        machine: "`nft insert rule inet filter input udp dport PORT accept`, or `firewall-cmd --add-port=PORT/udp`; `nft list ruleset` shows the rules",
    },
    Row {
        cause: Cause::SourceRoute,
        name: "SOURCE_ROUTE",
        stage: Stage::Accepted,
        why: "the packet carries a source-route option, which the receiver does not accept (accept_source_route = 0)",
        signs: "reason NOT_SPECIFIED at ip_rcv_finish_core, and the option in the frame; seen at prerouting, not at input; no counter",
        fix: "`[lab] sysctl = { \"net.ipv4.conf.all.accept_source_route\" = 1, \"net.ipv4.conf.{receiver}.accept_source_route\" = 1 }`",
        machine: "`sysctl -w net.ipv4.conf.all.accept_source_route=1 net.ipv4.conf.IFACE.accept_source_route=1`",
    },
    Row {
        cause: Cause::IpInvalidSource,
        name: "IP_INVALID_SOURCE",
        stage: Stage::Accepted,
        why: "no host may send from this source address (RFC 1812 §5.3.7)",
        signs: "reason IP_INVALID_SOURCE; seen at prerouting, not at input; the only counter, in_martian_src of /proc/net/stat/rt_cache, is the whole machine's",
        fix: "map the source: `[rewrite.source] ip = { \"ADDRESS\" = \"192.0.2.1\" }`",
        machine: "send from an address that a host may have",
    },
    Row {
        cause: Cause::IpInvalidDest,
        name: "IP_INVALID_DEST",
        stage: Stage::Accepted,
        why: "no host has this destination address (RFC 1122 §3.2.1.3)",
        signs: "reason IP_INVALID_DEST; seen at prerouting, not at input; no counter but the machine's in_martian_dst of /proc/net/stat/rt_cache",
        fix: "map the destination: `[rewrite.destination] ip = \"receiver\"`",
        machine: "send to an address that `ip address show` lists",
    },
    Row {
        cause: Cause::IpLocalnet,
        name: "IP_LOCALNET",
        stage: Stage::Accepted,
        why: "127.0.0.0/8 is never accepted from a wire (RFC 1122 §3.2.1.3)",
        signs: "reason IP_LOCALNET; seen at prerouting, not at input; no counter but the machine's in_martian_src or in_martian_dst",
        fix: "map the address: `[rewrite.both] ip = { \"127.0.0.0/8\" = \"198.18.0.0/8\" }`",
        machine: "`sysctl -w net.ipv4.conf.IFACE.route_localnet=1`; for a source also accept_local=1",
    },
    Row {
        cause: Cause::IpLocalSource,
        name: "IP_LOCAL_SOURCE",
        stage: Stage::Accepted,
        why: "the source is one of the receiver's own addresses",
        signs: "reason IP_LOCAL_SOURCE; seen at prerouting, not at input; no counter but the machine's in_martian_src",
        fix: "pick one direction with `[capture] filter`, map the source, or `[lab] sysctl = { \"net.ipv4.conf.{receiver}.accept_local\" = 1 }`",
        machine: "`sysctl -w net.ipv4.conf.IFACE.accept_local=1`, or send from another address",
    },
    Row {
        cause: Cause::IpRpfilter,
        name: "IP_RPFILTER",
        stage: Stage::Accepted,
        why: "reverse path filtering: the receiver has no route back to the source through the interface that it came in on",
        signs: "`TcpExt.IPReversePathFilter`; reason IP_RPFILTER; seen at prerouting, not at input",
        fix: "`[lab] routes = \"sources\"`, map the sources, or set rp_filter = 0 for both `all` and the interface",
        machine: "`ip route add PREFIX dev IFACE`, or `sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.IFACE.rp_filter=0` (the larger of the two counts)",
    },
    Row {
        cause: Cause::IpInaddrerrors,
        name: "IP_INADDRERRORS",
        stage: Stage::Accepted,
        why: "the destination is no address of the receiver, and it does not forward",
        signs: "`Ip.InAddrErrors` or `Ip6InAddrErrors`; reason IP_INADDRERRORS; seen at prerouting, not at input",
        fix: "`[rewrite.destination] ip = \"receiver\"`, or add the address to `[lab] addresses`",
        machine: "`ip address add ADDRESS dev IFACE`, or send to an address that `ip address show` lists",
    },
    Row {
        cause: Cause::IpInnoroutes,
        name: "IP_INNOROUTES",
        stage: Stage::Accepted,
        why: "the destination is no address of the receiver, and it has no route to it",
        signs: "`IpExt.InNoRoutes` or `Ip6InNoRoutes`; reason IP_INNOROUTES; seen at prerouting, not at input",
        fix: "`[rewrite.destination] ip = \"receiver\"`, or add the address to `[lab] addresses`",
        machine: "`ip address add ADDRESS dev IFACE`, or `ip route add PREFIX via ROUTER` where it is to be forwarded",
    },
    Row {
        cause: Cause::Forwarded,
        name: "FORWARDED",
        stage: Stage::Accepted,
        why: "the receiver forwards: it took the packet for one on its way elsewhere, and sent it on",
        signs: "`Ip.ForwDatagrams` or `Ip6OutForwDatagrams`; seen at forward, not at input; no drop at all",
        fix: "`[rewrite.destination] ip = \"receiver\"`, or take forwarding out of `[lab] sysctl`",
        machine: "`ip address add ADDRESS dev IFACE`, or `sysctl -w net.ipv4.conf.all.forwarding=0`",
    },
    Row {
        cause: Cause::NeighFailed,
        name: "NEIGH_FAILED",
        stage: Stage::Accepted,
        why: "the receiver forwards, and no host answers for the next hop",
        signs: "`Ip.ForwDatagrams`; seen at forward; reason NEIGH_FAILED some 3 s later, when the neighbour is given up",
        fix: "`[rewrite.destination] ip = \"receiver\"`, or take forwarding out of `[lab] sysctl`",
        machine: "`ip neigh show` lists it as FAILED: look for the next hop, or take forwarding off",
    },
    Row {
        cause: Cause::MulticastNotJoined,
        name: "MULTICAST_NOT_JOINED",
        stage: Stage::Accepted,
        why: "no socket of the receiver has joined the group",
        signs: "reason NOT_SPECIFIED at ip_rcv_finish_core or ip6_mc_input, and a group as destination; seen at prerouting, not at input; no counter of its own",
        fix: "let the application join it, or map the destination to a unicast address",
        machine: "let the application join it (IP_ADD_MEMBERSHIP) on IFACE; `ip maddress show IFACE` lists what is joined",
    },
    Row {
        cause: Cause::DupFrag,
        name: "DUP_FRAG",
        stage: Stage::Accepted,
        why: "the same fragment, or one that overlaps it, came before",
        signs: "reason DUP_FRAG at ip_defrag; `Ip.ReasmReqds` moves by more than the datagrams need",
        fix: "leave the second one out with `[capture] frames`",
        machine: "look where the capture saw each packet twice: one interface is enough",
    },
    Row {
        cause: Cause::FragReasmTimeout,
        name: "FRAG_REASM_TIMEOUT",
        stage: Stage::Accepted,
        why: "fragments of the datagram are missing, so it is never put together",
        signs: "`Ip.ReasmFails` or `Ip6ReasmFails` after ipfrag_time; reason FRAG_REASM_TIMEOUT once for each datagram",
        fix: "select every fragment of the datagram: later ones have no ports, so filter by host, and name them all in `frames`; or capture it again, whole",
        machine: "capture with `host`, not `port`: later fragments have no ports",
    },
    Row {
        cause: Cause::Ipv6BadExthdr,
        name: "IPV6_BAD_EXTHDR",
        stage: Stage::Delivered,
        why: "the receiver does not take one of the packet's IPv6 extension headers: a routing header with segments left, or one that is cut short",
        signs: "`Ip6InHdrErrors`, or `Ip6InAddrErrors` for a routing header in a packet to a group; none for segment routing that is switched off; reason NOT_SPECIFIED at ipv6_rthdr_rcv, ipv6_destopt_rcv, ipv6_parse_hopopts or ipv6_frag_rcv; an ICMPv6 parameter problem goes back for most",
        fix: "leave such packets out: `[capture] filter = \"not ip6 protochain 43\"` (routing headers)",
        machine: "send without that header",
    },
    Row {
        cause: Cause::IpNoproto,
        name: "IP_NOPROTO",
        stage: Stage::Delivered,
        why: "no handler for the IP protocol is registered in the kernel",
        signs: "`Ip.InUnknownProtos` or `Ip6InUnknownProtos`; reason IP_NOPROTO; seen at the end of input",
        fix: "leave such packets out with `[capture] filter`",
        machine: "load the module of that protocol, or open a raw socket for it",
    },
    Row {
        cause: Cause::TcpCsum,
        name: "TCP_CSUM",
        stage: Stage::Delivered,
        why: "the TCP checksum is wrong",
        signs: "`Tcp.InCsumErrors`; reason TCP_CSUM at tcp_v4_rcv or tcp_v6_rcv; seen at the end of input",
        fix: "`[rewrite] checksums = \"fix\"`: the usual reason is a capture taken on the sending host, with checksum offload",
        machine: "capture on the receiving side, or `ethtool -K IFACE tx off` on the capturing sender",
    },
    Row {
        cause: Cause::UdpCsum,
        name: "UDP_CSUM",
        stage: Stage::Delivered,
        why: "the UDP checksum is wrong (or absent over IPv6)",
        signs: "`Udp.InCsumErrors` or `Udp6InCsumErrors`; reason UDP_CSUM; seen at the end of input. In a long datagram it is found only when the application reads, and counts in the socket's drops",
        fix: "`[rewrite] checksums = \"fix\"`: the usual reason is a capture taken on the sending host, with checksum offload",
        machine: "capture on the receiving side, or `ethtool -K IFACE tx off` on the capturing sender",
    },
    Row {
        cause: Cause::NoSocket,
        name: "NO_SOCKET",
        stage: Stage::Delivered,
        why: "no socket is bound to the destination address and port",
        signs: "`Udp.NoPorts` or `Udp6NoPorts`; reason NO_SOCKET; seen at the end of input; ICMP port unreachable goes back, rarely",
        fix: "map the port (`[rewrite.destination] port = { … }`), or let the application listen there",
        machine: "`ss -ulnp` shows who listens where: on another port or address, connected to one peer, bound to one device, or IPv6 only",
    },
    Row {
        cause: Cause::SocketRcvbuff,
        name: "SOCKET_RCVBUFF",
        stage: Stage::Delivered,
        why: "the socket's receive buffer was full: the application reads slower than packets come",
        signs: "`Udp.RcvbufErrors` or `Udp6RcvbufErrors`, and the socket's drops; reason SOCKET_RCVBUFF",
        fix: "pace slower (`[pacing] rate`), or let the application raise SO_RCVBUF (and the host net.core.rmem_max)",
        machine: "`sysctl -w net.core.rmem_max=8388608`, and let the application ask for it (SO_RCVBUF)",
    },
    Row {
        cause: Cause::SocketFilter,
        name: "SOCKET_FILTER",
        stage: Stage::Delivered,
        why: "the application's own socket filter refuses it",
        signs: "`Udp.InErrors` without RcvbufErrors and InCsumErrors, and the socket's drops; reason SOCKET_FILTER",
        fix: "look at the filter that the application attaches (SO_ATTACH_FILTER)",
        machine: "`ss -ulnpe --bpf` shows the filter of each socket",
    },
    Row {
        cause: Cause::ProtoMem,
        name: "PROTO_MEM",
        stage: Stage::Delivered,
        why: "all UDP sockets of the machine together hold more than net.ipv4.udp_mem allows",
        signs: "`Udp.MemErrors`; reason PROTO_MEM",
        fix: "raise net.ipv4.udp_mem on the machine: a lab can't",
        machine: "`sysctl -w net.ipv4.udp_mem=\"MIN PRESSURE MAX\"` (pages)",
    },
    Row {
        cause: Cause::UdpEncap,
        name: "UDP_ENCAP",
        stage: Stage::Delivered,
        why: "the socket is an encapsulation socket (UDP_ENCAP): the kernel took the datagram out, and the application cannot read it",
        signs: "`Udp.InDatagrams` counts it as read, and no socket's queue held it",
        fix: "look at what the application sets up for the tunnel: IPsec needs a state for the datagram's SPI (`ip xfrm state`)",
        machine: "`ip xfrm state`, `ip -s xfrm state`, `/proc/net/xfrm_stat`",
    },
    Row {
        cause: Cause::SocketClosed,
        name: "SOCKET_CLOSED",
        stage: Stage::Consumed,
        why: "the application closed the socket while the datagram was in its queue",
        signs: "reason NOT_SPECIFIED at udp_destruct_common, or the socket is gone and less was read than delivered",
        fix: "let the application read its socket until nothing is left, or keep the socket open",
        machine: "as in a scenario",
    },
    Row {
        cause: Cause::NotRead,
        name: "NOT_READ",
        stage: Stage::Consumed,
        why: "it was still in the socket's queue when the run ended, and the queue did not move any more",
        signs: "the socket's queue isn't empty, and hasn't moved for 10 s, or for `settle` where that is longer",
        fix: "look why the application stopped reading",
        machine: "`ss -uln` shows it in Recv-Q",
    },
    Row {
        cause: Cause::Kernel,
        name: "KERNEL",
        stage: Stage::Delivered,
        why: "answered or absorbed by the receiver's kernel itself (ARP, ND, ICMP, IGMP, TCP); not a loss",
        signs: "a protocol that the kernel handles",
        fix: "nothing to do; `[capture] filter = \"udp\"` leaves such frames out",
        machine: "nothing to do",
    },
    Row {
        cause: Cause::Unexplained,
        name: "unexplained",
        stage: Stage::Delivered,
        why: "no counter moved, and nothing in the frame explains it",
        signs: "none",
        fix: "run it as root, where the kernel reports what it does with each packet; if it stays, report it with the capture",
        machine: "`perf trace -e skb:kfree_skb` names the place where the kernel drops it",
    },
];

#[cfg(test)]
mod tests {
    use super::{Cause, TABLE};

    #[test]
    fn every_cause_has_the_row_of_its_place_and_a_name_of_its_own() {
        for (place, row) in TABLE.iter().enumerate() {
            assert_eq!(row.cause as usize, place, "{}", row.name);
            assert_eq!(Cause::by_name(row.name), Some(row.cause));
            for text in [row.why, row.signs, row.fix, row.machine] {
                assert!(!text.is_empty(), "{}", row.name);
            }
        }
    }
}
