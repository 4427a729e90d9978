//! ARP (RFC 826): the sender's addresses follow the maps of the source, the target's those of the destination.

use super::ip::v4_at;
use super::rewrite_stats::RewriteStats;
use super::{Rules, SideTables};
use crate::packet::MacAddr;
use crate::packet::bytes::{array, put};
use crate::packet::checksum::Change;

/// Maps the four addresses of the ARP packet at `offset`. It has no checksum; what has changed matters to that of a tunnel.
pub(super) fn apply(rules: Rules<'_>, offset: usize, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
    let sender = map_at(&rules.tables.source, offset + 8, offset + 14, frame, stats);
    sender.and(map_at(&rules.tables.destination, offset + 18, offset + 24, frame, stats))
}

fn map_at(side: &SideTables, mac_at: usize, ip_at: usize, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
    let mut change = Change::NONE;
    // All zero is no station's address: it is what a request asks for, and stays.
    let mac = array(frame, mac_at).map(MacAddr).filter(|mac| *mac != MacAddr::default());
    if let Some(mac) = mac
        && let Some((to, entry)) = side.mac.map(mac)
    {
        put(frame, mac_at, to.0);
        stats.count(entry);
        change = Change::mac(mac, to);
    }
    change.and(v4_at(side, ip_at, frame, stats))
}
