//! Group membership: IGMP (RFC 1112, RFC 2236, RFC 3376) and MLD (RFC 2710, RFC 3810). A group follows the maps of the destination, as
//! packets to it do; the lists of senders follow those of the source.

use super::field::{v4_at, v6_at};
use super::icmp::announced;
use super::rewrite_stats::RewriteStats;
use super::{Rules, SideTables};
use crate::packet::bytes::byte;
use crate::packet::checksum::Change;
use crate::packet::layers::Ip;

/// Maps the addresses of an IGMP message.
pub(super) fn igmp(rules: Rules<'_>, ip: &Ip, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
    const QUERY: u8 = 0x11;
    const REPORT_V3: u8 = 0x22;
    if ip.is_later_fragment() {
        return Change::NONE;
    }
    let at = ip.payload;
    let Some(message) = frame.get_mut(..ip.end) else { return Change::NONE };
    let mut addresses = Addresses { rules, width: 4, message, stats };
    match byte(addresses.message, at) {
        Some(QUERY) => addresses.group(at + 4).and(addresses.sources(at + 10, at + 12)),
        Some(0x12 | 0x16 | 0x17) => addresses.group(at + 4),
        Some(REPORT_V3) => addresses.records(at),
        _ => Change::NONE,
    }
}

/// Maps the addresses of an MLD message that begins at `at`.
pub(super) fn mld(rules: Rules<'_>, kind: u8, at: usize, message: &mut [u8], stats: &mut RewriteStats) -> Change {
    const QUERY: u8 = 130;
    const REPORT_V2: u8 = 143;
    let mut addresses = Addresses { rules, width: 16, message, stats };
    match kind {
        QUERY => addresses.group(at + 8).and(addresses.sources(at + 26, at + 28)),
        131 | 132 => addresses.group(at + 8),
        REPORT_V2 => addresses.records(at),
        _ => Change::NONE,
    }
}

/// The addresses of a message, all of one width in bytes.
struct Addresses<'a> {
    rules: Rules<'a>,
    width: usize,
    message: &'a mut [u8],
    stats: &'a mut RewriteStats,
}

impl Addresses<'_> {
    /// The group at `at`; all zero is none.
    fn group(&mut self, at: usize) -> Change {
        self.address(&self.rules.tables.destination, at)
    }

    /// As many senders from `at` on as the field at `count` says; there is none where the message is too short for one.
    fn sources(&mut self, count: usize, at: usize) -> Change {
        let there = self.message.len().saturating_sub(at) / self.width;
        let sources = announced(self.message, count).min(there);
        (0..sources).fold(Change::NONE, |change, index| {
            change.and(self.address(&self.rules.tables.source, at + index * self.width))
        })
    }

    /// The records of a report that begins at `at`: type, length of what follows in words, number of sources, group, sources.
    fn records(&mut self, at: usize) -> Change {
        let mut change = Change::NONE;
        let mut record = at + 8;
        for _ in 0..announced(self.message, at + 6) {
            let Some(auxiliary) = byte(self.message, record + 1) else { break };
            let group = record + 4;
            let sources = group + self.width;
            change = change.and(self.group(group)).and(self.sources(record + 2, sources));
            record = sources + announced(self.message, record + 2) * self.width + usize::from(auxiliary) * 4;
        }
        change
    }

    fn address(&mut self, side: &SideTables, at: usize) -> Change {
        let zero = self.message.get(at..at + self.width).is_none_or(|address| address.iter().all(|byte| *byte == 0));
        match self.width {
            _ if zero => Change::NONE,
            4 => v4_at(side, at, self.message, self.stats),
            _ => v6_at(side, at, self.message, self.stats),
        }
    }
}
