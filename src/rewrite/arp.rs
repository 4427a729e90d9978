//! ARP (RFC 826): the sender's addresses follow the maps of the source, the target's those of the destination.

use super::field::{mac_at as map_mac, v4_at};
use super::rewrite_stats::RewriteStats;
use super::{Rules, SideTables};
use crate::packet::bytes::array;
use crate::packet::checksum::Change;

/// Maps the four addresses of the ARP packet at `offset`. It has no checksum; what has changed matters to that of a tunnel.
pub(super) fn apply(rules: Rules<'_>, offset: usize, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
    let sender = map_at(&rules.tables.source, offset + 8, offset + 14, frame, stats);
    sender.and(map_at(&rules.tables.destination, offset + 18, offset + 24, frame, stats))
}

fn map_at(side: &SideTables, mac_at: usize, ip_at: usize, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
    // All zero is not a MAC: a request for one, and it stays.
    let mac = if array(frame, mac_at) == Some([0; 6]) { Change::NONE } else { map_mac(side, mac_at, frame, stats) };
    mac.and(v4_at(side, ip_at, frame, stats))
}
