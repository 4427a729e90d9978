//! The commonest packets, without the detours of all others: TCP, UDP and pings over IPv4 without options, whole or in fragments, or
//! over IPv6 without extension headers, in an Ethernet frame for one station, with or without a VLAN tag.
//!
//! Where checksums are to be right, only packets whose checksums are: those stay so. Nothing is decided here: the result is that of the slow path,
//! `Rewriter::apply_from`; a property test compares them. Where a frame, or the rewriter, is anything else, [`apply`] says no and has changed
//! nothing.

use super::field::{Value, map_in};
use super::rewrite_stats::RewriteStats;
use super::{SideTables, Tables};
use crate::packet::MacAddr;
use crate::packet::bytes::{array, be16};
use crate::packet::checksum::{Accumulator, Change};
use crate::packet::layers::protocol;
use crate::scenario::rewrite::Checksums;

const ETHERNET: usize = 14;

/// How many VLAN tags an Ethernet frame has, if it is of the common kind.
#[inline]
pub(super) fn vlan_tags(frame: &[u8]) -> usize {
    usize::from(array(frame, 12) == Some([0x81, 0x00]))
}

/// Rewrites a frame in place if it is of the common kind; else nothing.
#[inline]
pub(super) fn apply(tables: &Tables, checksums: Checksums, frame: &mut [u8], stats: &mut RewriteStats) -> bool {
    let Some((link, rest)) = frame.split_first_chunk_mut::<ETHERNET>() else { return false };
    // A group's MAC may have to follow the group's address.
    if link[0] & 1 == 1 {
        return false;
    }
    match [link[12], link[13]] {
        [0x08, 0x00] => v4(tables, checksums, link, rest, stats),
        [0x86, 0xdd] => v6(tables, checksums, link, rest, stats),
        [0x81, 0x00] => {
            let Some((tag, rest)) = rest.split_first_chunk_mut::<4>() else { return false };
            match [tag[2], tag[3]] {
                [0x08, 0x00] => v4(tables, checksums, link, rest, stats),
                [0x86, 0xdd] => v6(tables, checksums, link, rest, stats),
                _ => false,
            }
        }
        _ => false,
    }
}

#[inline]
fn v4(
    tables: &Tables,
    checksums: Checksums,
    link: &mut [u8; ETHERNET],
    packet: &mut [u8],
    stats: &mut RewriteStats,
) -> bool {
    let captured = packet.len();
    let Some((ip, transport)) = packet.split_first_chunk_mut::<20>() else { return false };
    let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    if ip[0] != 0x45 || length < 20 {
        return false;
    }
    let is_later_fragment = (ip[6] & 0x1f) | ip[7] != 0;
    let Some(sum) = Sum::of_v4(ip[9], is_later_fragment, length.min(captured) - 20, transport) else { return false };
    if checksums == Checksums::Fix {
        let is_whole = (ip[6] & 0x3f) | ip[7] == 0;
        let header = Accumulator::default().add(ip);
        if !is_whole || header.fold() != 0xffff || !is_right(ip[9], &ip[12..], transport.get(..length - 20)) {
            return false;
        }
    }
    macs(tables, link, stats);
    let source = map::<u32, 4>(&tables.source, ip, 12, stats);
    let addresses = source.and(map::<u32, 4>(&tables.destination, ip, 16, stats));
    if !addresses.is_none() {
        let new = addresses.update(u16::from_be_bytes([ip[10], ip[11]]));
        [ip[10], ip[11]] = new.to_be_bytes();
    }
    behind(tables, addresses, sum, transport, stats);
    true
}

#[inline]
fn v6(
    tables: &Tables,
    checksums: Checksums,
    link: &mut [u8; ETHERNET],
    packet: &mut [u8],
    stats: &mut RewriteStats,
) -> bool {
    let captured = packet.len();
    let Some((ip, transport)) = packet.split_first_chunk_mut::<40>() else { return false };
    let length = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
    if ip[0] >> 4 != 6 || length == 0 {
        return false;
    }
    let Some(sum) = Sum::of_v6(ip[6], length.min(captured - 40), transport) else { return false };
    if checksums == Checksums::Fix && !is_right(ip[6], &ip[8..], transport.get(..length)) {
        return false;
    }
    macs(tables, link, stats);
    let source = map::<u128, 16>(&tables.source, ip, 8, stats);
    let addresses = source.and(map::<u128, 16>(&tables.destination, ip, 24, stats));
    behind(tables, addresses, sum, transport, stats);
    true
}

/// Whether the checksum behind the IP header is there and right, or one of UDP over IPv4 that there is none: then there is nothing to fix, and what
/// follows the changes stays right. `transport`: all that is behind the header, where that was captured.
#[inline]
fn is_right(protocol: u8, addresses: &[u8], transport: Option<&[u8]>) -> bool {
    let Some(transport) = transport else { return false };
    let is_v4 = addresses.len() == 8;
    let covered = match protocol {
        protocol::UDP => {
            let [length, sum] = [4, 6].map(|at| be16(transport, at).unwrap_or_default());
            if is_v4 && sum == 0 {
                return true;
            }
            transport.get(..usize::from(length)).filter(|covered| covered.len() >= 8 && sum != 0)
        }
        protocol::ICMP | protocol::ICMPV6 => Some(transport).filter(|covered| covered.len() >= 4),
        _ => Some(transport),
    };
    let Some(covered) = covered else { return false };
    let sum = Accumulator::default().add(covered);
    if is_v4 && protocol == protocol::ICMP {
        return sum.fold() == 0xffff;
    }
    let length = u16::try_from(covered.len()).unwrap_or_default();
    sum.add(addresses).add_word(length).add_word(u16::from(protocol)).fold() == 0xffff
}

/// The checksum behind the IP header, by its offset there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sum {
    None,
    Tcp,
    Udp,
    Icmpv6,
}

impl Sum {
    /// That of a protocol whose header is there within `length` bytes; `None` for what needs more thought.
    #[inline]
    fn of_v4(protocol: u8, is_later_fragment: bool, length: usize, transport: &[u8]) -> Option<Self> {
        match protocol {
            protocol::TCP | protocol::UDP | protocol::ICMP if is_later_fragment => Some(Self::None),
            protocol::TCP if length >= 18 => Some(Self::Tcp),
            protocol::UDP if length >= 8 => Some(Self::Udp),
            // Not an error, which quotes a packet, or a redirect.
            protocol::ICMP if length >= 1 && !matches!(transport.first(), Some(3 | 4 | 5 | 11 | 12)) => {
                Some(Self::None)
            }
            _ => None,
        }
    }

    /// The same over IPv6; without extension headers nothing is a fragment.
    #[inline]
    fn of_v6(protocol: u8, length: usize, transport: &[u8]) -> Option<Self> {
        match protocol {
            protocol::TCP if length >= 18 => Some(Self::Tcp),
            protocol::UDP if length >= 8 => Some(Self::Udp),
            // An echo request or reply.
            protocol::ICMPV6 if length >= 4 && matches!(transport.first(), Some(128 | 129)) => Some(Self::Icmpv6),
            _ => None,
        }
    }

    const fn offset(self) -> usize {
        match self {
            Self::None => 0,
            Self::Tcp => 16,
            Self::Udp => 6,
            Self::Icmpv6 => 2,
        }
    }
}

/// Maps the ports behind the IP header, and lets the checksum follow all that has changed.
#[inline]
fn behind(tables: &Tables, addresses: Change, sum: Sum, transport: &mut [u8], stats: &mut RewriteStats) {
    if sum == Sum::None {
        return;
    }
    let mut change = addresses;
    let maps_ports = !(tables.source.port.is_empty() && tables.destination.port.is_empty());
    if maps_ports && sum != Sum::Icmpv6 {
        let ports = map::<u16, 2>(&tables.source, transport, 0, stats);
        change = change.and(ports).and(map::<u16, 2>(&tables.destination, transport, 2, stats));
    }
    if change.is_none() {
        return;
    }
    let Some(field) = transport.get_mut(sum.offset()..).and_then(|rest| rest.first_chunk_mut::<2>()) else { return };
    let old = u16::from_be_bytes(*field);
    // UDP's 0 says that there is none, and a sum of 0 is written as its other form (RFC 768).
    if sum == Sum::Udp && old == 0 {
        return;
    }
    let new = match change.update(old) {
        0 if sum == Sum::Udp => 0xffff,
        new => new,
    };
    *field = new.to_be_bytes();
}

#[inline]
fn macs(tables: &Tables, link: &mut [u8; ETHERNET], stats: &mut RewriteStats) {
    for (side, at) in [(&tables.destination, 0), (&tables.source, 6)] {
        if !side.mac.is_empty() {
            map::<MacAddr, 6>(side, link, at, stats);
        }
    }
}

#[inline]
fn map<V: Value<N>, const N: usize>(
    side: &SideTables,
    header: &mut [u8],
    at: usize,
    stats: &mut RewriteStats,
) -> Change {
    let field = header.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>());
    field.and_then(|field| map_in::<V, N>(side, field, stats)).unwrap_or(Change::NONE)
}
