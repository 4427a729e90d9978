//! What is wrong with a packet whoever receives it: the first thing that the kernel would find. Start at [`flaw`].

use super::super::stream::Prepared;
use crate::packet::checksum::{Sum, ip_header_sum, transport_sum};
use crate::packet::layers::{Fragment, Ip, Network, protocol};

/// The IPv6 next header "hop-by-hop options", with which alone a payload length of 0 is a jumbogram's (RFC 2675).
const HOP_BY_HOP: u8 = 0;

/// What is wrong with a packet whoever receives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flaw {
    /// Nothing that shows.
    None,
    /// Under 14 bytes.
    NoEthernetHeader,
    /// The IP header is too short, of the wrong version, or its lengths contradict each other.
    Header,
    /// The IP length is beyond the end of the frame, as it was on the wire or was cut to the MTU.
    Length,
    /// The IP length is beyond the end of what the snaplen left of the frame.
    LengthCaptured,
    /// The IPv4 header checksum is wrong.
    HeaderSum,
    /// A source-route option.
    SourceRoute,
    /// The UDP length does not fit the packet.
    UdpLength,
    /// The UDP checksum is wrong.
    UdpSum,
    /// The UDP checksum was left to an offloading interface: stored is the pseudo-header's sum.
    UdpSumOffload,
    /// UDP over IPv6 without a checksum.
    UdpSumAbsent,
    /// The TCP checksum is wrong.
    TcpSum,
    /// The TCP checksum was left to an offloading interface.
    TcpSumOffload,
    /// A fragment of a datagram that the capture does not hold whole.
    FragmentMissing,
    /// A fragment whose bytes came before; the datagram does without it.
    FragmentRepeated,
    /// A fragment of a datagram in which one overlaps another with other bounds (RFC 5722): all of them are thrown away.
    FragmentOverlaps,
}

/// The first flaw that `ip_rcv_core` or `ip6_rcv_core`, the options and the transport protocol would find.
pub(super) fn flaw(frame: &Prepared<'_>, ip: Ip) -> Flaw {
    let captured = frame.bytes.len();
    let four = matches!(frame.layers.network, Network::Ipv4(_));
    if four && ip_header_sum(&frame.layers, frame.bytes) == Sum::Bad {
        return Flaw::HeaderSum;
    }
    if ip.offset + ip.length > captured {
        let whole = u32::try_from(captured).is_ok_and(|captured| captured >= frame.original_length);
        return if whole { Flaw::Length } else { Flaw::LengthCaptured };
    }
    if four && ip.length < ip.payload.saturating_sub(ip.offset) {
        return Flaw::Header;
    }
    if four && has_source_route(frame.bytes.get(ip.offset + 20..ip.payload).unwrap_or_default()) {
        return Flaw::SourceRoute;
    }
    if ip.fragment != Fragment::Whole {
        return Flaw::None;
    }
    match ip.protocol {
        protocol::UDP => udp(frame, ip, four),
        // With segmentation offload only the length on the wire says what the checksum stands for.
        protocol::TCP => match transport_sum(&frame.layers, frame.bytes, frame.original_length) {
            Sum::Bad => Flaw::TcpSum,
            Sum::Offload => Flaw::TcpSumOffload,
            Sum::None | Sum::Good | Sum::Unverifiable => Flaw::None,
        },
        _ => Flaw::None,
    }
}

fn udp(frame: &Prepared<'_>, ip: Ip, four: bool) -> Flaw {
    let Some(udp) = frame.bytes.get(ip.payload..ip.end) else { return Flaw::UdpLength };
    let &[_, _, _, _, high, low, sum_high, sum_low, ..] = udp else { return Flaw::UdpLength };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < 8 && (four || length != 0) || length > udp.len() {
        return Flaw::UdpLength;
    }
    // A payload length of 0 is taken at its word, but for a jumbogram's.
    if !four && ip.length == 0 && frame.bytes.get(ip.offset + 6) != Some(&HOP_BY_HOP) {
        return Flaw::UdpLength;
    }
    if !four && [sum_high, sum_low] == [0, 0] {
        return Flaw::UdpSumAbsent;
    }
    match transport_sum(&frame.layers, frame.bytes, u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX)) {
        Sum::Bad => Flaw::UdpSum,
        Sum::Offload => Flaw::UdpSumOffload,
        Sum::None | Sum::Good | Sum::Unverifiable => Flaw::None,
    }
}

/// Whether the TTL (IPv4, byte 8) or hop limit (IPv6, byte 7) is 0 or 1.
pub(super) fn is_spent(frame: &Prepared<'_>, ip: Ip) -> bool {
    let at = if matches!(frame.layers.network, Network::Ipv4(_)) { 8 } else { 7 };
    frame.bytes.get(ip.offset + at).is_some_and(|hops| *hops <= 1)
}

/// Whether IPv4 options hold a loose (131) or strict (137) source route (RFC 791 §3.1).
pub fn has_source_route(options: &[u8]) -> bool {
    let mut rest = options;
    while let [kind, tail @ ..] = rest {
        match (*kind, tail) {
            (0, _) => return false,
            (1, _) => rest = tail,
            (131 | 137, _) => return true,
            (_, [length, ..]) if *length >= 2 => rest = rest.get(usize::from(*length)..).unwrap_or_default(),
            _ => return false,
        }
    }
    false
}
