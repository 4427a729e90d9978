//! IPv4 and IPv6 headers: options, extension headers, fragments, routes, and the packets that ICMP errors quote.
//!
//! Start at [`find`]. The extension headers are walked a second time, by [`pseudo_addresses`], only for the packets that have some.

use super::bytes::{array, be16, be32, byte};
use super::layers::{Fragment, Ip, Network, protocol};

/// IPv6 next-header values that are extension headers (RFC 8200 §4, RFC 4302, RFC 7401, RFC 5533).
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const HIP: u8 = 139;
    pub(super) const SHIM6: u8 = 140;
    pub(super) const NO_NEXT_HEADER: u8 = 59;
}

/// The IP packet that begins at `offset`, by the version in its first four bits. The slice ends where the packet must end.
#[inline]
pub(crate) fn find(frame: &[u8], offset: usize) -> Network {
    match byte(frame, offset).map(|first| first >> 4) {
        Some(4) => v4(frame, offset).map_or(Network::None, Network::Ipv4),
        Some(6) => v6(frame, offset).map_or(Network::None, Network::Ipv6),
        _ => Network::None,
    }
}

/// IPv4 (RFC 791): the header with its options must have been captured whole.
#[inline]
fn v4(frame: &[u8], offset: usize) -> Option<Ip> {
    let header: [u8; 20] = array(frame, offset)?;
    let [first, _, length_high, length_low, id_high, id_low, flags_high, flags_low, _, protocol, ..] = header;
    let header_length = usize::from(first & 0x0f) * 4;
    let payload = offset + header_length;
    if header_length < 20 || payload > frame.len() {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    let end = if length == 0 { frame.len() } else { (offset + length).clamp(payload, frame.len()) };
    let flags = u16::from_be_bytes([flags_high, flags_low]);
    let id = u32::from(u16::from_be_bytes([id_high, id_low]));
    let fragment = fragment(id, u32::from(flags & 0x1fff) * 8, flags & 0x2000 != 0);
    let final_destination = if header_length > 20 { source_route(frame, offset + 20, payload) } else { None };
    Some(Ip { offset, payload, end, length, protocol, fragment, final_destination })
}

#[inline]
fn fragment(id: u32, offset: u32, more: bool) -> Fragment {
    match (offset, more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First { id },
        (offset, more) => Fragment::Later { id, offset, last: !more },
    }
}

/// The last address of a loose or strict source route that isn't used up.
fn source_route(frame: &[u8], mut at: usize, end: usize) -> Option<usize> {
    const LOOSE: u8 = 131;
    const STRICT: u8 = 137;
    let mut found = None;
    while at < end {
        match byte(frame, at)? {
            0 => break,
            1 => at += 1,
            kind => {
                let length = byte(frame, at + 1).filter(|_| at + 1 < end)?;
                let next = at + usize::from(length);
                if length < 2 || next > end {
                    break;
                }
                if matches!(kind, LOOSE | STRICT) && length >= 7 && byte(frame, at + 2)? <= length {
                    found = Some(next - 4);
                }
                at = next;
            }
        }
    }
    found
}

/// IPv6 (RFC 8200).
fn v6(frame: &[u8], offset: usize) -> Option<Ip> {
    let header: [u8; 8] = array(frame, offset)?;
    let [_, _, _, _, length_high, length_low, next_header, _] = header;
    if offset + 40 > frame.len() {
        return None;
    }
    let payload_length = usize::from(u16::from_be_bytes([length_high, length_low]));
    let (length, end) = match (payload_length, next_header) {
        (0, extension::NO_NEXT_HEADER) => (40, offset + 40),
        (0, _) => (0, frame.len()),
        _ => (payload_length + 40, (offset + 40 + payload_length).min(frame.len())),
    };
    let mut ip = Ip {
        offset,
        payload: offset + 40,
        end,
        length,
        protocol: next_header,
        fragment: Fragment::Whole,
        final_destination: None,
    };
    let mut walk = Extensions { next_header, at: ip.payload, end };
    while let Some(header) = walk.next(frame) {
        match header.kind {
            extension::FRAGMENT => {
                let field = be16(frame, header.at + 2)?;
                ip.fragment = fragment(be32(frame, header.at + 4)?, u32::from(field & 0xfff8), field & 1 == 1);
            }
            extension::ROUTING => ip.final_destination = route(frame, &header).or(ip.final_destination),
            _ => {}
        }
        if ip.is_later_fragment() {
            break;
        }
    }
    ip.protocol = walk.next_header;
    ip.payload = walk.at;
    Some(ip)
}

struct Extensions {
    next_header: u8,
    at: usize,
    end: usize,
}

struct Extension {
    kind: u8,
    at: usize,
    length: usize,
}

impl Extensions {
    fn next(&mut self, frame: &[u8]) -> Option<Extension> {
        let kind = self.next_header;
        let [next_header, units, ..] = array::<8>(frame, self.at).filter(|_| self.at + 8 <= self.end)?;
        let length = match kind {
            extension::FRAGMENT => 8,
            extension::AUTHENTICATION => (usize::from(units) + 2) * 4,
            extension::HOP_BY_HOP
            | extension::ROUTING
            | extension::DESTINATION
            | extension::MOBILITY
            | extension::HIP
            | extension::SHIM6 => (usize::from(units) + 1) * 8,
            _ => return None,
        };
        if self.at + length > self.end {
            return None;
        }
        let header = Extension { kind, at: self.at, length };
        self.next_header = next_header;
        self.at += length;
        Some(header)
    }
}

/// Where the bytes of a fragment begin that are put together with those of others: behind its IPv4 header, or its IPv6 fragment header.
pub(crate) fn fragment_begins(network: &Network, frame: &[u8]) -> usize {
    match network {
        Network::Ipv6(ip) => {
            let next_header = byte(frame, ip.offset + 6).unwrap_or(extension::NO_NEXT_HEADER);
            let mut walk = Extensions { next_header, at: ip.offset + 40, end: ip.payload };
            while let Some(header) = walk.next(frame) {
                if header.kind == extension::FRAGMENT {
                    return walk.at;
                }
            }
            ip.payload
        }
        Network::Ipv4(ip) => ip.payload,
        Network::None | Network::Arp { .. } => 0,
    }
}

fn has_segments_left(frame: &[u8], routing: &Extension) -> bool {
    byte(frame, routing.at + 3).is_some_and(|left| left > 0)
}

/// The final destination of a routing header that has segments left: the last address of types 0 and 2 (RFC 5095, RFC 6275), the
/// first of a segment list, which is written backwards (RFC 8754).
fn route(frame: &[u8], routing: &Extension) -> Option<usize> {
    if !has_segments_left(frame, routing) || routing.length < 24 {
        return None;
    }
    match byte(frame, routing.at + 2)? {
        0 | 2 => Some(routing.at + routing.length - 16),
        4 => Some(routing.at + 8),
        _ => None,
    }
}

/// The addresses that a transport checksum covers, as offsets into the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PseudoAddresses {
    /// The source: the header's, or the home address option's (RFC 6275 §11.3.1).
    pub(crate) source: usize,
    /// The destination: the header's, or the route's last.
    pub(crate) destination: usize,
    /// False where a route that we can't read has segments left, so that the final destination is unknown.
    pub(crate) known: bool,
}

#[inline]
pub(crate) fn pseudo_addresses(network: &Network, frame: &[u8]) -> Option<PseudoAddresses> {
    match network {
        Network::Ipv4(ip) => Some(PseudoAddresses {
            source: ip.offset + 12,
            destination: ip.final_destination.unwrap_or(ip.offset + 16),
            known: true,
        }),
        Network::Ipv6(ip) => {
            let mut addresses = PseudoAddresses {
                source: ip.offset + 8,
                destination: ip.final_destination.unwrap_or(ip.offset + 24),
                known: true,
            };
            if ip.payload > ip.offset + 40 {
                read_extensions(ip, frame, &mut addresses);
            }
            Some(addresses)
        }
        Network::None | Network::Arp { .. } => None,
    }
}

fn read_extensions(ip: &Ip, frame: &[u8], addresses: &mut PseudoAddresses) {
    let next_header = byte(frame, ip.offset + 6).unwrap_or(extension::NO_NEXT_HEADER);
    let mut walk = Extensions { next_header, at: ip.offset + 40, end: ip.payload };
    while let Some(header) = walk.next(frame) {
        match header.kind {
            extension::ROUTING if has_segments_left(frame, &header) && ip.final_destination.is_none() => {
                addresses.known = false;
            }
            extension::DESTINATION => {
                if let Some(home) = home_address(frame, &header) {
                    addresses.source = home;
                }
            }
            _ => {}
        }
    }
}

/// The home address option (RFC 6275 §6.3) of a destination options header.
fn home_address(frame: &[u8], options: &Extension) -> Option<usize> {
    const HOME_ADDRESS: u8 = 0xc9;
    let end = options.at + options.length;
    let mut at = options.at + 2;
    while at + 2 <= end {
        let kind = byte(frame, at)?;
        if kind == 0 {
            at += 1;
            continue;
        }
        let length = byte(frame, at + 1)?;
        if kind == HOME_ADDRESS && length == 16 && at + 18 <= end {
            return Some(at + 2);
        }
        at += 2 + usize::from(length);
    }
    None
}

/// The packet that an ICMP or ICMPv6 error quotes: of the same IP version, and cut to the error.
#[inline]
pub(crate) fn quoted(network: &Network, frame: &[u8]) -> Option<Network> {
    let ip = network.ip()?;
    if ip.is_later_fragment() {
        return None;
    }
    let error = frame.get(..ip.end)?;
    let kind = byte(error, ip.payload)?;
    match (network, ip.protocol, kind) {
        (Network::Ipv4(_), protocol::ICMP, 3 | 4 | 5 | 11 | 12) => {
            Some(find(error, ip.payload + 8)).filter(|found| matches!(found, Network::Ipv4(_)))
        }
        (Network::Ipv6(_), protocol::ICMPV6, 1..=4) => {
            Some(find(error, ip.payload + 8)).filter(|found| matches!(found, Network::Ipv6(_)))
        }
        _ => None,
    }
}
