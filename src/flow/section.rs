//! The headers of sampled packets, in sFlow and in IPFIX (RFC 5477 §8.5): their fields as elements of IPFIX.

use super::element::{Element, Type};
use super::record::{Field, Within};
use crate::packet::layers::{Layers, LinkType, Network, protocol};

/// A frame from its Ethernet header on: `dataLinkFrameSection`, and what it was in NetFlow v9, `layer2packetSectionData`.
pub(super) const FRAME: u16 = 315;
const FRAME_V9: u16 = 104;
/// A packet from its IP header on: `ipHeaderPacketSection`.
pub(super) const PACKET: u16 = 313;
/// Link type RAW: IPv4 or IPv6.
const RAW: LinkType = LinkType(101);

/// How packets that a field has begin; `None` where it has none.
pub(super) fn link(element: Element) -> Option<LinkType> {
    match element {
        Element { enterprise: 0, id: FRAME | FRAME_V9 } => Some(LinkType::ETHERNET),
        Element { enterprise: 0, id: PACKET } => Some(RAW),
        _ => None,
    }
}

/// Passes on addresses, protocol, ports, type of service and TCP flags of the packet in a field; nothing where there is none.
pub(super) fn fields<'a>(section: &Field<'a>, each: &mut impl FnMut(Field<'a>)) {
    let Some(link) = link(section.element) else { return };
    let layers = Layers::find(link, section.bytes);
    let mut pass = |id: u16, kind: Type, at: usize, length: usize| {
        if let Some(bytes) = section.bytes.get(at..at + length) {
            let (element, within) = (Element::iana(id), Within::Section);
            each(Field { element, kind, within, at: section.at + at, bytes });
        }
    };
    let ip = match &layers.network {
        Network::Ipv4(ip) => {
            pass(8, Type::Ipv4, ip.offset + 12, 4);
            pass(12, Type::Ipv4, ip.offset + 16, 4);
            pass(4, Type::Unsigned, ip.offset + 9, 1);
            pass(5, Type::Unsigned, ip.offset + 1, 1);
            ip
        }
        Network::Ipv6(ip) => {
            pass(27, Type::Ipv6, ip.offset + 8, 16);
            pass(28, Type::Ipv6, ip.offset + 24, 16);
            // That of the fixed header, which is the protocol where no extension header follows.
            pass(4, Type::Unsigned, ip.offset + 6, 1);
            ip
        }
        Network::None | Network::Arp { .. } => return,
    };
    if let Some((source, destination)) = ip.port_offsets() {
        pass(7, Type::Unsigned, source, 2);
        pass(11, Type::Unsigned, destination, 2);
        if ip.protocol == protocol::TCP {
            pass(6, Type::Unsigned, ip.payload + 13, 1);
        }
    }
}
