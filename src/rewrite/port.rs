//! Ports of TCP, UDP, UDP-Lite and SCTP.

use super::hits::Hits;
use super::{Rewriter, SideTables};
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
        let mut by_length: Vec<PortRange> = ranges.to_vec();
        by_length.sort_by_key(|range| range.last - range.from);
        // Every port at which another range may begin to win.
        let mut bounds: Vec<u32> =
            ranges.iter().flat_map(|range| [u32::from(range.from), u32::from(range.last) + 1]).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let mut disjoint: Vec<PortRange> = Vec::with_capacity(bounds.len());
        for (first, after) in bounds.iter().zip(bounds.iter().skip(1)) {
            let (Ok(from), Ok(last)) = (u16::try_from(*first), u16::try_from(*after - 1)) else { continue };
            if let Some(winner) = by_length.iter().find(|range| range.from <= from && last <= range.last) {
                disjoint.push(PortRange { from, last, ..*winner });
            }
        }
        Self { ranges: disjoint }
    }

    fn map(&self, port: u16) -> Option<(u16, usize)> {
        let range = self.ranges.get(self.ranges.partition_point(|range| range.last < port))?;
        (range.from <= port).then_some((range.to, range.entry))
    }
}

/// Maps the ports, and says what has changed.
#[inline]
pub(super) fn apply(rewriter: &Rewriter, ip: &Ip, frame: &mut [u8], hits: &mut Hits) -> Change {
    if rewriter.source.port.ranges.is_empty() && rewriter.destination.port.ranges.is_empty() {
        return Change::NONE;
    }
    if !matches!(ip.protocol, protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP) {
        return Change::NONE;
    }
    let source = map_at(&rewriter.source, ip, 0, frame, hits);
    source.and(map_at(&rewriter.destination, ip, 2, frame, hits))
}

/// The port at `at` of the transport header, unless this is a later fragment, which has none (RFC 791).
fn map_at(side: &SideTables, ip: &Ip, at: usize, frame: &mut [u8], hits: &mut Hits) -> Change {
    if ip.is_later_fragment() || ip.payload + at + 2 > ip.end {
        return Change::NONE;
    }
    let Some(old) = be16(frame, ip.payload + at) else { return Change::NONE };
    let Some((new, entry)) = side.port.map(old) else { return Change::NONE };
    put(frame, ip.payload + at, new.to_be_bytes());
    hits.count(entry);
    Change::word(old, new)
}
