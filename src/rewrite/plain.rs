//! The commonest packets, without the detours of all others: TCP or UDP in a whole IPv4 packet without options, or in an IPv6 packet
//! without extension headers, in an Ethernet frame for one station, with or without a VLAN tag.
//!
//! Nothing is decided here: what comes out is what [`super::Rewriter::apply`] makes of every frame, and a property test holds them
//! together. Where a frame, or the rewriter, is anything else, [`apply`] says no and has changed nothing.

use super::hits::Hits;
use super::{SideTables, Tables};
use crate::packet::MacAddr;
use crate::packet::checksum::Change;
use crate::packet::layers::protocol;

/// Length of the Ethernet header.
const ETHERNET: usize = 14;

/// Rewrites a frame in place if it is of the common kind; else nothing.
#[inline]
pub(super) fn apply(tables: &Tables, frame: &mut [u8], hits: &mut Hits) -> bool {
    let Some((link, rest)) = frame.split_first_chunk_mut::<ETHERNET>() else { return false };
    // A group's MAC may have to follow the group's address.
    if link[0] & 1 == 1 {
        return false;
    }
    match [link[12], link[13]] {
        [0x08, 0x00] => v4(tables, link, rest, hits),
        [0x86, 0xdd] => v6(tables, link, rest, hits),
        [0x81, 0x00] => {
            let Some((tag, rest)) = rest.split_first_chunk_mut::<4>() else { return false };
            match [tag[2], tag[3]] {
                [0x08, 0x00] => v4(tables, link, rest, hits),
                [0x86, 0xdd] => v6(tables, link, rest, hits),
                _ => false,
            }
        }
        _ => false,
    }
}

#[inline]
fn v4(tables: &Tables, link: &mut [u8; ETHERNET], packet: &mut [u8], hits: &mut Hits) -> bool {
    let captured = packet.len();
    let Some((ip, transport)) = packet.split_first_chunk_mut::<20>() else { return false };
    let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    // Whole: neither an offset nor more fragments.
    if ip[0] != 0x45 || (ip[6] & 0x3f) | ip[7] != 0 || length < 20 {
        return false;
    }
    let Some(sum) = sum_of(ip[9], length.min(captured) - 20, transport) else { return false };
    macs(tables, link, hits);
    let source = v4_in(&tables.source, ip, 12, hits);
    let addresses = source.and(v4_in(&tables.destination, ip, 16, hits));
    if !addresses.is_none() {
        let new = addresses.update(u16::from_be_bytes([ip[10], ip[11]]));
        [ip[10], ip[11]] = new.to_be_bytes();
    }
    ports(tables, addresses, ip[9], sum, transport, hits);
    true
}

#[inline]
fn v6(tables: &Tables, link: &mut [u8; ETHERNET], packet: &mut [u8], hits: &mut Hits) -> bool {
    let captured = packet.len();
    let Some((ip, transport)) = packet.split_first_chunk_mut::<40>() else { return false };
    let length = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
    if ip[0] >> 4 != 6 || length == 0 {
        return false;
    }
    let Some(sum) = sum_of(ip[6], length.min(captured - 40), transport) else { return false };
    macs(tables, link, hits);
    let source = v6_in(&tables.source, ip, 8, hits);
    let addresses = source.and(v6_in(&tables.destination, ip, 24, hits));
    ports(tables, addresses, ip[6], sum, transport, hits);
    true
}

/// Where the checksum of a transport is whose header is there within `length` bytes.
#[inline]
fn sum_of(protocol: u8, length: usize, transport: &[u8]) -> Option<usize> {
    let at = match protocol {
        protocol::UDP => 6,
        protocol::TCP => 16,
        _ => return None,
    };
    (at + 2 <= length && length <= transport.len()).then_some(at)
}

/// Maps the ports, and lets the checksum follow all that has changed.
#[inline]
fn ports(tables: &Tables, addresses: Change, protocol: u8, sum: usize, transport: &mut [u8], hits: &mut Hits) {
    let mut change = addresses;
    let maps_ports = !(tables.source.port.is_empty() && tables.destination.port.is_empty());
    if maps_ports && let Some(ports) = transport.first_chunk_mut::<4>() {
        let [s0, s1, d0, d1] = ports;
        change = change.and(port_in(&tables.source, s0, s1, hits)).and(port_in(&tables.destination, d0, d1, hits));
    }
    if change.is_none() {
        return;
    }
    let Some(field) = transport.get_mut(sum..).and_then(|rest| rest.first_chunk_mut::<2>()) else { return };
    let old = u16::from_be_bytes(*field);
    let udp = protocol == protocol::UDP;
    // UDP's 0 says that there is none, and a sum of 0 is written as its other form (RFC 768).
    if udp && old == 0 {
        return;
    }
    let new = match change.update(old) {
        0 if udp => 0xffff,
        new => new,
    };
    *field = new.to_be_bytes();
}

#[inline]
fn port_in(side: &SideTables, high: &mut u8, low: &mut u8, hits: &mut Hits) -> Change {
    let old = u16::from_be_bytes([*high, *low]);
    let Some((new, entry)) = side.port.map(old) else { return Change::NONE };
    [*high, *low] = new.to_be_bytes();
    hits.count(entry);
    Change::word(old, new)
}

#[inline]
fn macs(tables: &Tables, link: &mut [u8; ETHERNET], hits: &mut Hits) {
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ..] = link;
    for (side, mac) in [(&tables.source, [s0, s1, s2, s3, s4, s5]), (&tables.destination, [d0, d1, d2, d3, d4, d5])] {
        if side.mac.is_empty() {
            continue;
        }
        let old = MacAddr(mac.each_ref().map(|byte| **byte));
        if let Some((new, entry)) = side.mac.map(old) {
            for (byte, new) in mac.into_iter().zip(new.0) {
                *byte = new;
            }
            hits.count(entry);
        }
    }
}

#[inline]
fn v4_in(side: &SideTables, ip: &mut [u8; 20], at: usize, hits: &mut Hits) -> Change {
    let Some(field) = ip.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) else { return Change::NONE };
    let old = u32::from_be_bytes(*field);
    let Some((new, entry)) = side.v4.map(old) else { return Change::NONE };
    *field = new.to_be_bytes();
    hits.count(entry);
    Change::double(old, new)
}

#[inline]
fn v6_in(side: &SideTables, ip: &mut [u8; 40], at: usize, hits: &mut Hits) -> Change {
    let Some(field) = ip.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<16>()) else { return Change::NONE };
    let old = u128::from_be_bytes(*field);
    let Some((new, entry)) = side.v6.map(old) else { return Change::NONE };
    *field = new.to_be_bytes();
    hits.count(entry);
    Change::address(old, new)
}
