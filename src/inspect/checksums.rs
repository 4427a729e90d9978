//! What the checksums of a capture say, by kind.

use super::{Checksum, Finding};
use crate::capture::Frame;
use crate::packet::checksum::{Sum, ip_header_sum, transport_sum};
use crate::packet::layers::{Ip, Layers, Network, protocol};

/// The kinds, in the order in which they are shown.
const KINDS: [&str; 7] = ["IPv4 header", "TCP", "UDP", "UDP-Lite", "ICMP", "ICMPv6", "SCTP"];

/// Counts for each kind.
#[derive(Debug, Default)]
pub(super) struct Checksums([Counts; KINDS.len()]);

#[derive(Debug, Default)]
struct Counts {
    good: u64,
    bad: Finding,
    offload: Finding,
    absent: u64,
    unverifiable: u64,
}

impl Checksums {
    /// Adds the sums of an IP packet.
    pub(super) fn add(&mut self, frame: &Frame<'_>, layers: &Layers, ip: &Ip) {
        if matches!(layers.network, Network::Ipv4(_)) {
            self.count(0, ip_header_sum(&layers.network, frame.bytes), frame.number);
        }
        let kind = match ip.protocol {
            protocol::TCP => 1,
            protocol::UDP => 2,
            protocol::UDPLITE => 3,
            protocol::ICMP => 4,
            protocol::ICMPV6 => 5,
            protocol::SCTP => 6,
            _ => return,
        };
        // Where there is no header there is no sum: one that could not be captured is not absent.
        let sum = match transport_sum(&layers.network, frame.bytes, frame.original_length) {
            Sum::None if ip.protocol != protocol::UDP || ip.payload + 8 > ip.end || ip.is_later_fragment() => return,
            sum => sum,
        };
        self.count(kind, sum, frame.number);
    }

    fn count(&mut self, kind: usize, sum: Sum, number: u64) {
        let Some(counts) = self.0.get_mut(kind) else { return };
        match sum {
            Sum::None => counts.absent += 1,
            Sum::Good => counts.good += 1,
            Sum::Bad => counts.bad.add(number),
            Sum::Offload => counts.offload.add(number),
            Sum::Unverifiable => counts.unverifiable += 1,
        }
    }

    /// The kinds that occur.
    pub(super) fn finish(self) -> Vec<Checksum> {
        let rows = KINDS.into_iter().zip(self.0).map(|(of, counts)| {
            let Counts { good, bad, offload, absent, unverifiable } = counts;
            Checksum { of, good, bad, offload, absent, unverifiable }
        });
        rows.filter(|row| row.good + row.bad.frames + row.offload.frames + row.absent + row.unverifiable > 0).collect()
    }
}
