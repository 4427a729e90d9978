//! Ports of TCP, UDP, UDP-Lite and SCTP.

use std::cmp::Reverse;

use super::rewrite_stats::RewriteStats;
use super::{Rules, SideTables};
use crate::packet::bytes::{be16, put};
use crate::packet::checksum::Change;
use crate::packet::layers::{Ip, protocol};

/// Ports from `from` to `last` become `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PortRange {
    pub(super) from: u16,
    pub(super) last: u16,
    pub(super) to: u16,
    pub(super) entry: usize,
}

/// Ports and what they become.
#[derive(Debug, Clone)]
pub(super) struct PortMap {
    /// Sorted; they don't overlap.
    ranges: Vec<PortRange>,
}

impl PortMap {
    /// Where ranges overlap (one of `both` and one of a side) the shorter wins, of equal ones the first.
    pub(super) fn new(ranges: &[PortRange]) -> Self {
        let mut longest_first: Vec<&PortRange> = ranges.iter().rev().collect();
        longest_first.sort_by_key(|range| Reverse(range.last.saturating_sub(range.from)));
        // Whoever wins a port comes last, and takes it.
        let mut winners: Vec<Option<&PortRange>> = if ranges.is_empty() { Vec::new() } else { vec![None; 1 << 16] };
        for range in longest_first {
            if let Some(ports) = winners.get_mut(usize::from(range.from)..=usize::from(range.last)) {
                ports.fill(Some(range));
            }
        }
        let mut disjoint: Vec<PortRange> = Vec::new();
        for (port, winner) in (0..=u16::MAX).zip(winners) {
            let Some(winner) = winner else { continue };
            match disjoint.last_mut() {
                Some(range) if range.entry == winner.entry && range.last + 1 == port => range.last = port,
                _ => disjoint.push(PortRange { from: port, last: port, ..*winner }),
            }
        }
        Self { ranges: disjoint }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(super) fn map(&self, port: u16) -> Option<(u16, usize)> {
        let range = self.ranges.get(self.ranges.partition_point(|range| range.last < port))?;
        (range.from <= port).then_some((range.to, range.entry))
    }
}

/// Maps the ports, and says what has changed.
#[inline]
pub(super) fn apply(rules: Rules<'_>, ip: &Ip, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
    let tables = rules.tables;
    if tables.source.port.is_empty() && tables.destination.port.is_empty() {
        return Change::NONE;
    }
    if !matches!(ip.protocol, protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP) {
        return Change::NONE;
    }
    let source = map_at(&tables.source, ip, 0, frame, stats);
    source.and(map_at(&tables.destination, ip, 2, frame, stats))
}

/// The port at `at` of the transport header, unless this is a later fragment, which has none (RFC 791).
fn map_at(side: &SideTables, ip: &Ip, at: usize, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
    if ip.is_later_fragment() || ip.payload + at + 2 > ip.end {
        return Change::NONE;
    }
    let Some(old) = be16(frame, ip.payload + at) else { return Change::NONE };
    let Some((new, entry)) = side.port.map(old) else { return Change::NONE };
    put(frame, ip.payload + at, new.to_be_bytes());
    stats.count(entry);
    Change::word(old, new)
}
