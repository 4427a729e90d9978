//! What a packet carries in a tunnel: IP-in-IP, 6in4, GRE, `EtherIP`, VXLAN, Geneve.
//!
//! Start at [`carried`]. Tunnels are looked into only on request.

use super::bytes::{array, be16, byte};
use super::layers::{Ip, LinkType, Network, protocol};
use super::{ip, link};

/// UDP ports of tunnels: VXLAN (RFC 7348 §5, and Linux before the port was assigned), Geneve (RFC 8926 §3.3).
mod port {
    pub(super) const VXLAN: u16 = 4789;
    pub(super) const VXLAN_LINUX: u16 = 8472;
    pub(super) const GENEVE: u16 = 6081;
}

/// Transparent Ethernet bridging, as an `EtherType` (RFC 1701, RFC 8926 §3.4).
const BRIDGED_ETHERNET: u16 = 0x6558;
/// ERSPAN type II, as an `EtherType`.
const ERSPAN: u16 = 0x88be;

/// A packet or frame in a tunnel: its offsets are into the same frame, and nothing of it reaches beyond the packet that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) ethernet: Option<usize>,
    pub(crate) network: Network,
    /// Where the checksum of the GRE header is that carries it, if there is one: it covers the GRE header and all behind it (RFC 2784 §2.5).
    pub(crate) gre_checksum: Option<usize>,
}

/// What the packet carries, if it is the outside of a tunnel, and not a later fragment of one.
pub(crate) fn carried(network: &Network, frame: &[u8]) -> Option<Carried> {
    let ip = network.ip().filter(|ip| !ip.is_later_fragment())?;
    let packet = frame.get(..ip.end)?;
    match ip.protocol {
        protocol::IPV4 | protocol::IPV6 => plain(ip::find(packet, ip.payload)),
        protocol::GRE => gre(packet, ip.payload),
        // RFC 3378: four bits of version, twelve of zero.
        protocol::ETHERIP if byte(packet, ip.payload)? >> 4 == 3 => ethernet(packet, ip.payload + 2),
        protocol::UDP => udp(packet, ip),
        _ => None,
    }
}

fn udp(packet: &[u8], ip: &Ip) -> Option<Carried> {
    let at = ip.payload + 8;
    match be16(packet, ip.payload + 2)? {
        // The flag says that the identifier is valid, and must be set.
        port::VXLAN | port::VXLAN_LINUX if byte(packet, at)? & 0x08 != 0 => ethernet(packet, at + 8),
        port::GENEVE => {
            let first = byte(packet, at)?;
            if first >> 6 != 0 {
                return None;
            }
            by_ethertype(packet, be16(packet, at + 2)?, at + 8 + usize::from(first & 0x3f) * 4)
        }
        _ => None,
    }
}

/// GRE of version 0 (RFC 2784) with key and sequence number (RFC 2890); not with the routes of RFC 1701, and not PPTP's version 1.
fn gre(packet: &[u8], at: usize) -> Option<Carried> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const VERSION: u16 = 0x0007;
    let flags = be16(packet, at)?;
    if flags & (ROUTING | VERSION) != 0 {
        return None;
    }
    let words = [CHECKSUM, KEY, SEQUENCE].into_iter().filter(|flag| flags & flag != 0).count();
    let payload = at + 4 + words * 4;
    let carried = match be16(packet, at + 2)? {
        // The numbered kind has a header of its own.
        ERSPAN if flags & SEQUENCE != 0 => ethernet(packet, payload + 8)?,
        ERSPAN => ethernet(packet, payload)?,
        ethertype => by_ethertype(packet, ethertype, payload)?,
    };
    let gre_checksum = (flags & CHECKSUM != 0).then_some(at + 4);
    Some(Carried { gre_checksum, ..carried })
}

fn by_ethertype(packet: &[u8], ethertype: u16, at: usize) -> Option<Carried> {
    match ethertype {
        BRIDGED_ETHERNET => ethernet(packet, at),
        0x0800 | 0x86dd => plain(ip::find(packet, at)),
        _ => None,
    }
}

fn plain(network: Network) -> Option<Carried> {
    network.ip()?;
    Some(Carried { ethernet: None, network, gre_checksum: None })
}

/// A frame whose header was captured whole.
fn ethernet(packet: &[u8], at: usize) -> Option<Carried> {
    array::<14>(packet, at)?;
    let layers = link::ethernet(LinkType::ETHERNET, packet, at)?;
    Some(Carried { ethernet: Some(at), network: layers.network, gre_checksum: None })
}
