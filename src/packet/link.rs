//! From the first byte of a frame to its layer 3 header, for each link type.
//!
//! Numbers are those of <https://www.tcpdump.org/linktypes.html>. Start at [`walk`].

use super::bytes::{array, be16, byte};
use super::carrier::{self, Carrier, NO_IP};
use super::layers::{Layers, LinkType, Network};
use super::{MacAddr, ip};

/// `EtherType` values (IEEE 802 Numbers registry).
pub(super) mod ethertype {
    pub(in crate::packet) const IPV4: u16 = 0x0800;
    pub(in crate::packet) const ARP: u16 = 0x0806;
    pub(in crate::packet) const IPV6: u16 = 0x86dd;
    pub(in crate::packet) const MPLS: u16 = 0x8847;
    pub(in crate::packet) const MPLS_UPSTREAM: u16 = 0x8848;
    pub(in crate::packet) const PPPOE_SESSION: u16 = 0x8864;
    /// Smaller values are an 802.3 length.
    pub(in crate::packet) const FIRST: u16 = 0x0600;
}

/// The tag protocol identifiers of 802.1Q and 802.1ad, and those in use before 802.1ad.
#[inline]
pub(crate) fn is_vlan_tag(ethertype: u16) -> bool {
    matches!(ethertype, 0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300)
}

/// Finds every header of a frame.
#[inline]
pub(super) fn walk(link: LinkType, frame: &[u8]) -> Layers {
    let none = Layers { link, vlan_tags: 0, ethertype: None, network: Network::None };
    match link.0 {
        1 => ethernet(link, frame, 0).unwrap_or(none),
        12 | 14 | 101 | 228 | 229 => Layers { network: ip::find(frame, 0), ..none },
        0 | 108 => Layers { network: loopback(link, frame).unwrap_or(Network::None), ..none },
        9 | 50 => Layers { network: ppp(frame).unwrap_or(Network::None), ..none },
        51 => Layers { network: pppoe(frame, 0).unwrap_or(Network::None), ..none },
        104 => Layers { network: cisco_hdlc(frame).unwrap_or(Network::None), ..none },
        113 => cooked(none, frame, 14, 16),
        276 => cooked(none, frame, 0, 20),
        _ => match carrier::find(link, frame) {
            Ok(Carrier { ethertype, payload, .. }) if ethertype >= ethertype::FIRST => {
                Layers { ethertype: Some(ethertype), network: by_ethertype(frame, ethertype, payload), ..none }
            }
            Ok(_) | Err(_) => none,
        },
    }
}

/// How many VLAN tags begin with `ethertype`, the `EtherType` behind them, and where what follows that begins.
#[inline]
fn behind_tags(frame: &[u8], mut ethertype: u16, mut offset: usize) -> (usize, u16, usize) {
    let mut tags = 0;
    while is_vlan_tag(ethertype) {
        let Some(inner) = be16(frame, offset + 2) else { break };
        ethertype = inner;
        offset += 4;
        tags += 1;
    }
    (tags, ethertype, offset)
}

/// Ethernet II and 802.3, with any number of VLAN tags, from `at` on.
#[inline]
pub(super) fn ethernet(link: LinkType, frame: &[u8], at: usize) -> Option<Layers> {
    let (vlan_tags, ethertype, offset) = behind_tags(frame, be16(frame, at + 12)?, at + 14);
    if ethertype < ethertype::FIRST {
        let network = snap(frame, offset).unwrap_or(Network::None);
        return Some(Layers { link, vlan_tags, ethertype: None, network });
    }
    let network = by_ethertype(frame, ethertype, offset);
    Some(Layers { link, vlan_tags, ethertype: Some(ethertype), network })
}

/// 802.2 LLC with a SNAP header that names an `EtherType` (RFC 1042).
fn snap(frame: &[u8], offset: usize) -> Option<Network> {
    let header: [u8; 6] = array(frame, offset)?;
    if header != [0xaa, 0xaa, 0x03, 0, 0, 0] {
        return None;
    }
    Some(by_ethertype(frame, be16(frame, offset + 6)?, offset + 8))
}

#[inline]
fn by_ethertype(frame: &[u8], ethertype: u16, offset: usize) -> Network {
    match ethertype {
        ethertype::IPV4 | ethertype::IPV6 => ip::find(frame, offset),
        ethertype::ARP => arp(frame, offset),
        ethertype::MPLS | ethertype::MPLS_UPSTREAM => mpls(frame, offset),
        ethertype::PPPOE_SESSION => pppoe(frame, offset).unwrap_or(Network::None),
        _ => Network::None,
    }
}

/// ARP with six-byte hardware and IPv4 addresses, all of it captured (RFC 826).
fn arp(frame: &[u8], offset: usize) -> Network {
    let is_for_ipv4 = array::<28>(frame, offset).is_some()
        && be16(frame, offset + 2) == Some(ethertype::IPV4)
        && byte(frame, offset + 4) == Some(6)
        && byte(frame, offset + 5) == Some(4);
    if is_for_ipv4 { Network::Arp { offset } } else { Network::None }
}

/// IP below a stack of MPLS labels (RFC 3032): nothing but its first four bits says that it is IP.
fn mpls(frame: &[u8], mut offset: usize) -> Network {
    while let Some([_, _, third, _]) = array::<4>(frame, offset) {
        offset += 4;
        if third & 1 == 1 {
            return ip::find(frame, offset);
        }
    }
    Network::None
}

/// IP in a `PPPoE` session (RFC 2516).
fn pppoe(frame: &[u8], offset: usize) -> Option<Network> {
    carrier::ppp(frame, offset + 6).map(|carrier| ip::find(frame, carrier.payload))
}

/// PPP (RFC 1661), in HDLC-like framing (RFC 1662) or not, or Cisco HDLC with the same link type.
fn ppp(frame: &[u8]) -> Option<Network> {
    let offset = match array::<2>(frame, 0)? {
        [0x0f | 0x8f, 0] => return cisco_hdlc(frame),
        [0xff, 0x03] => 2,
        _ => 0,
    };
    carrier::ppp(frame, offset).map(|carrier| ip::find(frame, carrier.payload))
}

fn cisco_hdlc(frame: &[u8]) -> Option<Network> {
    matches!(be16(frame, 2)?, ethertype::IPV4 | ethertype::IPV6).then(|| ip::find(frame, 4))
}

/// BSD loopback: an address family that differs by system, then the packet.
fn loopback(link: LinkType, frame: &[u8]) -> Option<Network> {
    let family: [u8; 4] = array(frame, 0)?;
    let little = link == LinkType::NULL && family.first() != Some(&0);
    let family = if little { u32::from_le_bytes(family) } else { u32::from_be_bytes(family) };
    let network = ip::find(frame, 4);
    match (family, network) {
        (2, Network::Ipv4(_)) | (10 | 24 | 28 | 30, Network::Ipv6(_)) => Some(network),
        _ => None,
    }
}

/// Linux "cooked" captures: the `EtherType` at `field`, the packet, or a VLAN tag, at `offset`.
fn cooked(none: Layers, frame: &[u8], field: usize, offset: usize) -> Layers {
    let Some(ethertype) = be16(frame, field).filter(|_| frame.len() >= offset) else { return none };
    let (vlan_tags, ethertype, offset) = behind_tags(frame, ethertype, offset);
    Layers { vlan_tags, ethertype: Some(ethertype), network: by_ethertype(frame, ethertype, offset), ..none }
}

/// Where a frame of this link type has its `EtherType`, or that of its first VLAN tag, and where what follows it begins; `None` for
/// link types without VLAN tags.
#[inline]
pub(super) fn ethertype_place(link: LinkType) -> Option<(usize, usize)> {
    match link {
        LinkType::ETHERNET => Some((12, 14)),
        LinkType::LINUX_SLL => Some((14, 16)),
        LinkType::LINUX_SLL2 => Some((0, 20)),
        _ => None,
    }
}

/// Where lengths are in front of IP that count it, too, and the most that each can say: of 802.3, where larger numbers are an `EtherType`, and of
/// `PPPoE` (RFC 2516).
pub(crate) fn lengths_before_ip(link: LinkType, frame: &[u8]) -> [Option<(usize, u16)>; 2] {
    const LONGEST_802_3: u16 = 1500;
    let behind_ethertype = match ethertype_place(link) {
        Some((field, offset)) => be16(frame, field).map(|ethertype| {
            let (_, ethertype, offset) = behind_tags(frame, ethertype, offset);
            (ethertype, offset)
        }),
        None if link.0 == 51 => Some((ethertype::PPPOE_SESSION, 0)),
        None => carrier::find(link, frame).ok().map(|carrier| (carrier.ethertype, carrier.payload)),
    };
    let Some((ethertype, offset)) = behind_ethertype else { return [None, None] };
    let pppoe = |ethertype, offset| (ethertype == ethertype::PPPOE_SESSION).then_some((offset + 4, u16::MAX));
    if link == LinkType::ETHERNET && ethertype < ethertype::FIRST {
        let inside = be16(frame, offset + 6).and_then(|ethertype| pppoe(ethertype, offset + 8));
        return [Some((offset - 2, LONGEST_802_3)), inside];
    }
    [pppoe(ethertype, offset), None]
}

/// Whether frames of this link type are looked into.
pub(crate) fn is_known(link: LinkType) -> bool {
    matches!(link.0, 0 | 1 | 9 | 12 | 14 | 50 | 51 | 101 | 104 | 108 | 113 | 228 | 229 | 276) || carrier::is_known(link)
}

/// What an Ethernet header for this frame would say, and its layer 3; else what the frame is, for which there is none.
pub(crate) fn framed(link: LinkType, frame: &[u8]) -> Result<(Carrier, Network), &'static str> {
    let network = walk(link, frame).network;
    let (ethertype, payload) = match link.0 {
        0 | 9 | 12 | 14 | 50 | 101 | 108 | 228 | 229 => match &network {
            Network::Ipv4(ip) => (ethertype::IPV4, ip.offset),
            Network::Ipv6(ip) => (ethertype::IPV6, ip.offset),
            Network::None | Network::Arp { .. } => return Err(NO_IP),
        },
        51 => (ethertype::PPPOE_SESSION, 0),
        104 => (be16(frame, 2).ok_or(NO_IP)?, 4),
        113 => (be16(frame, 14).ok_or(NO_IP)?, 16),
        276 => (be16(frame, 0).ok_or(NO_IP)?, 20),
        _ => return Ok((carrier::find(link, frame)?, network)),
    };
    // Smaller numbers are not of the registry, but Linux's own for 802.2 and the like.
    if ethertype < ethertype::FIRST || frame.len() < payload {
        return Err(NO_IP);
    }
    // Packet type 1 is a broadcast; the address is a MAC where it has six bytes.
    let (source, kind) = match link {
        LinkType::LINUX_SLL => (array(frame, 6).filter(|_| be16(frame, 4) == Some(6)), be16(frame, 0)),
        LinkType::LINUX_SLL2 => {
            (array(frame, 12).filter(|_| byte(frame, 11) == Some(6)), byte(frame, 10).map(u16::from))
        }
        _ => (None, None),
    };
    // A device without addresses, such as lo, shows zeroes.
    let source = source.map(MacAddr).filter(|mac| *mac != MacAddr::default() && !mac.is_multicast());
    let destination = (kind == Some(1)).then_some(MacAddr::BROADCAST);
    Ok((Carrier { source, destination, ..carrier::plain(ethertype, payload) }, network))
}
