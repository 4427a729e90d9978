//! IPv4 and IPv6: the addresses, then what depends on them; and the packets that ICMP errors quote.

use super::hits::{Hits, Left};
use super::{Rewriter, SideTables, checksums, port};
use crate::packet::bytes::{array, be32, put};
use crate::packet::checksum::Change;
use crate::packet::ip::{PseudoAddresses, pseudo_addresses, quoted};
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
    let Some(ip) = network.ip() else { return Change::NONE };
    // Which addresses the transport's checksum covers is read before they change.
    let covered = pseudo_addresses(network, frame);
    let (addresses, header) = match network {
        Network::Ipv4(_) => {
            let addresses = v4(rewriter, ip, frame, hits);
            let change = addresses.source.and(addresses.destination);
            (addresses, checksums::update(change, ip.offset + 10, frame))
        }
        _ => (v6(rewriter, ip, frame, hits), Change::NONE),
    };
    let first_words = array::<4>(frame, ip.payload).unwrap_or_default();
    let ports = port::apply(rewriter, ip, frame, hits);
    let quotation = if depth == Depth::Outer { quotation(rewriter, network, frame, hits) } else { Change::NONE };
    let payload = ports.and(quotation);
    let pseudo_header = addresses.in_pseudo_header(network, ip, covered);
    let transport = if ip.protocol == protocol::SCTP {
        checksums::update_sctp(ip, first_words, frame).unwrap_or_else(|| {
            hits.leave(Left::SctpChecksum);
            Change::NONE
        })
    } else {
        checksums::update_transport(network, pseudo_header, payload, frame)
    };
    addresses.source.and(addresses.destination).and(header).and(payload).and(transport)
}

/// The packet that an ICMP error quotes is one that came the other way. The error must quote it as it is after rewriting, and that packet's
/// source is mapped as a source, wherever it is met (RFC 5508 §4.2).
fn quotation(rewriter: &Rewriter, network: &Network, frame: &mut [u8], hits: &mut Hits) -> Change {
    match quoted(network, frame) {
        Some(inner) => apply(rewriter, &inner, Depth::Quoted, frame, hits),
        None => Change::NONE,
    }
}

/// What has changed in the two addresses of a header.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    source: Change,
    destination: Change,
}

impl Addresses {
    /// What of it the transport's checksum covers: not an address in whose place a route or an option has another.
    fn in_pseudo_header(self, network: &Network, ip: &Ip, covered: Option<PseudoAddresses>) -> Change {
        let (source_at, destination_at) = match network {
            Network::Ipv4(_) => (ip.offset + 12, ip.offset + 16),
            _ => (ip.offset + 8, ip.offset + 24),
        };
        let Some(covered) = covered else { return Change::NONE };
        let source = if covered.source == source_at { self.source } else { Change::NONE };
        if covered.destination == destination_at { source.and(self.destination) } else { source }
    }
}

#[inline]
fn v4(rewriter: &Rewriter, ip: &Ip, frame: &mut [u8], hits: &mut Hits) -> Addresses {
    let mut map_at = |side: &SideTables, at: usize| {
        let old = be32(frame, at)?;
        let (new, entry) = side.v4.map(old)?;
        put(frame, at, new.to_be_bytes());
        hits.count(entry);
        Some(Change::double(old, new))
    };
    Addresses {
        source: map_at(&rewriter.source, ip.offset + 12).unwrap_or_default(),
        destination: map_at(&rewriter.destination, ip.offset + 16).unwrap_or_default(),
    }
}

fn v6(rewriter: &Rewriter, ip: &Ip, frame: &mut [u8], hits: &mut Hits) -> Addresses {
    let mut map_at = |side: &SideTables, at: usize| {
        let old = array(frame, at).map(u128::from_be_bytes)?;
        let (new, entry) = side.v6.map(old)?;
        put(frame, at, new.to_be_bytes());
        hits.count(entry);
        Some(Change::address(old, new))
    };
    Addresses {
        source: map_at(&rewriter.source, ip.offset + 8).unwrap_or_default(),
        destination: map_at(&rewriter.destination, ip.offset + 24).unwrap_or_default(),
    }
}
