//! Ports of TCP, UDP, UDP-Lite and SCTP.

use std::cmp::Reverse;

use super::Rules;
use super::field::map_at;
use super::rewrite_stats::RewriteStats;
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

/// Maps the ports, and says what has changed. A later fragment has none (RFC 791).
#[inline]
pub(super) fn apply(rules: Rules<'_>, ip: &Ip, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
    let tables = rules.tables;
    let has_ports = matches!(ip.protocol, protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP)
        && !ip.is_later_fragment();
    if !has_ports || (tables.source.port.is_empty() && tables.destination.port.is_empty()) {
        return Change::NONE;
    }
    let mut map = |side, at| match ip.payload + at + 2 <= ip.end {
        true => map_at::<u16, 2>(side, ip.payload + at, frame, stats).unwrap_or(Change::NONE),
        false => Change::NONE,
    };
    map(&tables.source, 0).and(map(&tables.destination, 2))
}
