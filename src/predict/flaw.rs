//! What is wrong with a packet whoever receives it: the first thing that the kernel would find. Start at [`flaw`].

use std::net::Ipv4Addr;

use super::headers::{self, Fault, Options, Six};
use crate::packet::checksum::{Sum, ip_header_sum, transport_sum};
use crate::packet::layers::{Fragment, Ip, Network, protocol};
use crate::rewrite::Prepared;

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
    /// The EtherType is IPv6's, the version is not.
    Version,
    /// The IP length is beyond the end of the frame, as it was on the wire or was cut to the MTU.
    Length,
    /// The IP length is beyond the end of what the snaplen left of the frame.
    LengthCaptured,
    HeaderSum,
    /// A source-route option, with the address that is next; `None` where it is used up.
    SourceRoute(Option<Ipv4Addr>),
    /// A header between IP and the transport that the kernel refuses.
    Refused(Fault),
    /// The UDP length does not fit the packet.
    UdpLength,
    /// The UDP checksum is wrong.
    UdpSum,
    /// The UDP checksum was left to an offloading interface: stored is the pseudo-header's sum.
    UdpSumOffload,
    /// UDP over IPv6 without a checksum.
    UdpSumAbsent,
    /// The TCP data offset says less than the 20 bytes of a TCP header. The kernel discards a header that is cut short without a count or a
    /// reason, which is no flaw that anything could show.
    TcpLength,
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

/// The first flaw that `ip_rcv_core` or `ip6_rcv_core`, the options and the transport protocol would find. `six`: the headers of an IPv6
/// packet.
pub(crate) fn flaw(frame: &Prepared<'_>, ip: Ip, six: Option<&Six>) -> Flaw {
    let captured = frame.bytes.len();
    let four = matches!(frame.layers.network, Network::Ipv4(_));
    if four && ip_header_sum(&frame.layers.network, frame.bytes) == Sum::Bad {
        return Flaw::HeaderSum;
    }
    if ip.offset + ip.length > captured {
        let whole = u32::try_from(captured).is_ok_and(|captured| captured >= frame.original_length);
        return if whole { Flaw::Length } else { Flaw::LengthCaptured };
    }
    if four && ip.length < ip.payload.saturating_sub(ip.offset) {
        return Flaw::Header;
    }
    if four && ip.payload > ip.offset + 20 {
        match headers::four(frame.bytes.get(ip.offset + 20..ip.payload).unwrap_or_default()) {
            Options::Fine => {}
            Options::Refused(fault) => return Flaw::Refused(fault),
            Options::SourceRoute(next) => return Flaw::SourceRoute(next),
        }
    }
    if let Some(fault) = six.and_then(|six| six.fault) {
        return Flaw::Refused(fault);
    }
    let hidden = six.is_some_and(|six| six.protocol != ip.protocol);
    if ip.fragment != Fragment::Whole || hidden {
        return Flaw::None;
    }
    match ip.protocol {
        protocol::UDP => udp(frame, ip, four),
        protocol::TCP if is_short_tcp(frame.bytes.get(ip.payload..ip.end).unwrap_or_default()) => Flaw::TcpLength,
        // With segmentation offload only the length on the wire says what the checksum covers.
        protocol::TCP => match transport_sum(&frame.layers.network, frame.bytes, frame.original_length) {
            Sum::Bad => Flaw::TcpSum,
            Sum::Offload => Flaw::TcpSumOffload,
            Sum::None | Sum::Good | Sum::Unverifiable => Flaw::None,
        },
        _ => Flaw::None,
    }
}

/// Whether a TCP header is there, and its data offset is below the least of 5 words (RFC 9293 §3.1).
fn is_short_tcp(segment: &[u8]) -> bool {
    segment.len() >= 20 && segment.get(12).is_some_and(|offset| offset >> 4 < 5)
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
    match transport_sum(&frame.layers.network, frame.bytes, u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX)) {
        Sum::Bad => Flaw::UdpSum,
        Sum::Offload => Flaw::UdpSumOffload,
        Sum::None | Sum::Good | Sum::Unverifiable => Flaw::None,
    }
}

/// Whether the TTL (IPv4, byte 8) or hop limit (IPv6, byte 7) is 0 or 1.
pub(crate) fn ttl_expired(frame: &Prepared<'_>, ip: Ip) -> bool {
    let at = if matches!(frame.layers.network, Network::Ipv4(_)) { 8 } else { 7 };
    frame.bytes.get(ip.offset + at).is_some_and(|hops| *hops <= 1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_tcp_header_is_short_by_its_data_offset_alone() {
        let segment = |length: usize, words: u8| {
            let mut segment = vec![0; length];
            segment[12] = words << 4;
            super::is_short_tcp(&segment)
        };
        assert_eq!([segment(20, 0), segment(20, 4), segment(40, 4)], [true; 3]);
        assert_eq!([segment(20, 5), segment(20, 9), segment(19, 4)], [false; 3]);
    }
}
