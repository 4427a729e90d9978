//! IPv4 and IPv6: the addresses, then what depends on them; and the packets that ICMP errors quote.

use super::hits::{Hits, Left};
use super::{Rewriter, SideTables, checksums, port};
use crate::packet::bytes::{array, be32, put};
use crate::packet::checksum::Change;
use crate::packet::ip::{pseudo_addresses, quoted};
use crate::packet::layers::{Ip, Network, protocol};

/// Whether a packet is the frame's own, or quoted by its ICMP error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    Outer,
    Quoted,
}

/// Maps a packet: addresses, ports, the packet that it quotes, and the checksums that cover them. Says what has changed in
/// all of it, for the checksum of an error that quotes it.
pub(super) fn apply(rewriter: &Rewriter, network: &Network, depth: Depth, frame: &mut [u8], hits: &mut Hits) -> Change {
    match network {
        Network::Ipv4(ip) => {
            let source = v4_at(&rewriter.source, ip.offset + 12, frame, hits);
            let destination = v4_at(&rewriter.destination, ip.offset + 16, frame, hits);
            let addresses = source.and(destination);
            let header = checksums::update(addresses, ip.offset + 10, frame);
            let pseudo_header = if ip.final_destination.is_none() { addresses } else { source };
            addresses.and(header).and(payload(rewriter, network, ip, pseudo_header, depth, frame, hits))
        }
        Network::Ipv6(ip) => {
            // Which addresses the transport's checksum covers is read before they change.
            let covered = pseudo_addresses(network, frame);
            let source = v6_at(&rewriter.source, ip.offset + 8, frame, hits);
            let destination = v6_at(&rewriter.destination, ip.offset + 24, frame, hits);
            // Not an address in whose place a route or an option has another.
            let part = |change, covered| if covered { change } else { Change::NONE };
            let pseudo_header = covered.map_or(Change::NONE, |covered| {
                let source = part(source, covered.source == ip.offset + 8);
                source.and(part(destination, covered.destination == ip.offset + 24))
            });
            let payload = payload(rewriter, network, ip, pseudo_header, depth, frame, hits);
            source.and(destination).and(payload)
        }
        Network::None | Network::Arp { .. } => Change::NONE,
    }
}

/// Maps what stands behind the IP headers, and updates its checksum, by what changed in the pseudo-header too.
#[inline]
fn payload(
    rewriter: &Rewriter,
    network: &Network,
    ip: &Ip,
    pseudo_header: Change,
    depth: Depth,
    frame: &mut [u8],
    hits: &mut Hits,
) -> Change {
    let changed = match ip.protocol {
        protocol::ICMP | protocol::ICMPV6 if depth == Depth::Outer => quotation(rewriter, network, frame, hits),
        protocol::SCTP => return sctp(rewriter, ip, frame, hits),
        _ => port::apply(rewriter, ip, frame, hits),
    };
    changed.and(checksums::update_transport(network, pseudo_header, changed, frame))
}

/// SCTP's checksum covers no address, and isn't a sum.
fn sctp(rewriter: &Rewriter, ip: &Ip, frame: &mut [u8], hits: &mut Hits) -> Change {
    let before = array::<4>(frame, ip.payload).unwrap_or_default();
    let ports = port::apply(rewriter, ip, frame, hits);
    let Some(checksum) = checksums::update_sctp(ip, before, frame) else {
        hits.leave(Left::SctpChecksum);
        return ports;
    };
    ports.and(checksum)
}

/// The packet that an ICMP error quotes is one that came the other way. The error must quote it as it is after rewriting, and that packet's
/// source is mapped as a source, wherever it is met (RFC 5508 §4.2).
fn quotation(rewriter: &Rewriter, network: &Network, frame: &mut [u8], hits: &mut Hits) -> Change {
    match quoted(network, frame) {
        Some(inner) => apply(rewriter, &inner, Depth::Quoted, frame, hits),
        None => Change::NONE,
    }
}

#[inline]
fn v4_at(side: &SideTables, at: usize, frame: &mut [u8], hits: &mut Hits) -> Change {
    let Some(old) = be32(frame, at) else { return Change::NONE };
    let Some((new, entry)) = side.v4.map(old) else { return Change::NONE };
    put(frame, at, new.to_be_bytes());
    hits.count(entry);
    Change::double(old, new)
}

fn v6_at(side: &SideTables, at: usize, frame: &mut [u8], hits: &mut Hits) -> Change {
    let Some(old) = array(frame, at).map(u128::from_be_bytes) else { return Change::NONE };
    let Some((new, entry)) = side.v6.map(old) else { return Change::NONE };
    put(frame, at, new.to_be_bytes());
    hits.count(entry);
    Change::address(old, new)
}
