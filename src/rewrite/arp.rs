//! ARP (RFC 826): the sender's addresses follow the maps of the source, the target's those of the destination.

use super::hits::Hits;
use super::{Rewriter, SideTables};
use crate::packet::MacAddr;
use crate::packet::bytes::{array, be32, put};

/// Maps the four addresses of the ARP packet at `offset`. There is no checksum.
pub(super) fn apply(rewriter: &Rewriter, offset: usize, frame: &mut [u8], hits: &mut Hits) {
    map_at(&rewriter.source, offset + 8, offset + 14, frame, hits);
    map_at(&rewriter.destination, offset + 18, offset + 24, frame, hits);
}

fn map_at(side: &SideTables, mac_at: usize, ip_at: usize, frame: &mut [u8], hits: &mut Hits) {
    // All zero is no station's address: it is what a request asks for, and stays.
    let mac = array(frame, mac_at).map(MacAddr).filter(|mac| *mac != MacAddr::default());
    if let Some((to, entry)) = mac.and_then(|mac| side.mac.map(mac)) {
        put(frame, mac_at, to.0);
        hits.count(entry);
    }
    if let Some((to, entry)) = be32(frame, ip_at).and_then(|ip| side.v4.map(ip)) {
        put(frame, ip_at, to.to_be_bytes());
        hits.count(entry);
    }
}
