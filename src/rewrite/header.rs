//! Fields of the IP header that a scenario sets: TTL and hop limit, type of service and traffic class, flow label.

use super::rewrite_stats::RewriteStats;
use crate::packet::bytes::{array, be16, put};
use crate::packet::checksum::Change;
use crate::packet::layers::{Ip, Network};
use crate::scenario::rewrite::Ttl;

/// What each field becomes, and by which entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct HeaderChange {
    pub(super) ttl: Option<(Ttl, usize)>,
    pub(super) tos: Option<(u8, usize)>,
    pub(super) traffic_class: Option<(u8, usize)>,
    pub(super) dscp: Option<(u8, usize)>,
    pub(super) flow_label: Option<(u32, usize)>,
}

impl HeaderChange {
    /// Sets the fields, and says what that changed; the checksum of the header doesn't follow here.
    pub(super) fn apply(&self, network: &Network, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
        match network {
            Network::Ipv4(ip) => self.v4(ip, frame, stats),
            Network::Ipv6(ip) => self.v6(ip, frame, stats),
            Network::None | Network::Arp { .. } => Change::NONE,
        }
    }

    fn v4(&self, ip: &Ip, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
        let Some([version, tos]) = array(frame, ip.offset) else { return Change::NONE };
        let mut change = Change::NONE;
        if let Some((new, entry)) = self.class(self.tos, tos) {
            stats.count(entry);
            change = change.and(word(ip.offset, [version, new], frame));
        }
        if let (Some((ttl, entry)), Some([old, protocol])) = (self.ttl, array(frame, ip.offset + 8)) {
            stats.count(entry);
            change = change.and(word(ip.offset + 8, [ttl.of(old), protocol], frame));
        }
        change
    }

    fn v6(&self, ip: &Ip, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
        let Some(first) = array(frame, ip.offset).map(u32::from_be_bytes) else { return Change::NONE };
        let mut change = Change::NONE;
        let [_, _, _, class] = (first >> 20).to_be_bytes();
        let mut new = first;
        if let Some((class, entry)) = self.class(self.traffic_class, class) {
            stats.count(entry);
            new = new & 0xf00f_ffff | u32::from(class) << 20;
        }
        if let Some((label, entry)) = self.flow_label {
            stats.count(entry);
            new = new & 0xfff0_0000 | label & 0x000f_ffff;
        }
        if new != first {
            put(frame, ip.offset, new.to_be_bytes());
            change = Change::double(first, new);
        }
        if let (Some((ttl, entry)), Some([next_header, old])) = (self.ttl, array(frame, ip.offset + 6)) {
            stats.count(entry);
            change = change.and(word(ip.offset + 6, [next_header, ttl.of(old)], frame));
        }
        change
    }

    /// What the byte becomes that is `old`: as `whole` says, or its first six bits as `dscp` says (RFC 2474 §3).
    fn class(&self, whole: Option<(u8, usize)>, old: u8) -> Option<(u8, usize)> {
        whole.or_else(|| self.dscp.map(|(dscp, entry)| (dscp << 2 | old & 0b11, entry)))
    }
}

impl Ttl {
    /// What `old` becomes.
    fn of(self, old: u8) -> u8 {
        match self {
            Self::Set(ttl) => ttl,
            // RFC 1122 §3.2.1.7: a host must not send a TTL of 0.
            Self::Change(change) => {
                let new = (i16::from(old).saturating_add(change)).clamp(1, 255);
                u8::try_from(new).unwrap_or(old)
            }
        }
    }
}

/// Writes a word, and says what that changed.
fn word(at: usize, new: [u8; 2], frame: &mut [u8]) -> Change {
    let Some(old) = be16(frame, at) else { return Change::NONE };
    put(frame, at, new);
    Change::word(old, u16::from_be_bytes(new))
}
