//! MAC addresses of Ethernet and Linux "cooked" headers, and the MAC of a group whose IP address is mapped.

use super::Rules;
use super::field::{mac_at, map_at};
use super::rewrite_stats::RewriteStats;
use crate::packet::MacAddr;
use crate::packet::bytes::{array, be16, byte, put};
use crate::packet::checksum::Change;
use crate::packet::layers::{Layers, LinkType, Network};

/// Old MACs and what they become.
#[derive(Debug, Clone)]
pub(super) struct MacMap {
    /// Sorted by the old MAC.
    literal: Vec<(MacAddr, MacAddr, usize)>,
    /// What every other unicast MAC becomes.
    all: Option<(MacAddr, usize)>,
}

impl MacMap {
    /// Of equal old MACs the first wins.
    pub(super) fn new(mut literal: Vec<(MacAddr, MacAddr, usize)>, all: Option<(MacAddr, usize)>) -> Self {
        literal.sort_by_key(|(from, ..)| *from);
        literal.dedup_by_key(|(from, ..)| *from);
        Self { literal, all }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.all.is_none()
    }

    #[inline]
    pub(super) fn map(&self, mac: MacAddr) -> Option<(MacAddr, usize)> {
        if !self.literal.is_empty()
            && let Ok(index) = self.literal.binary_search_by_key(&mac, |(from, ..)| *from)
        {
            return self.literal.get(index).map(|(_, to, entry)| (*to, *entry));
        }
        self.all.filter(|_| !mac.is_multicast())
    }
}

/// What became of the MACs of an Ethernet header.
pub(super) struct Macs {
    pub(super) change: Change,
    pub(super) named_destination: bool,
}

/// Maps the MACs of the link layer. Says whether an entry named the destination.
#[inline]
pub(super) fn apply(rules: Rules<'_>, layers: &Layers, frame: &mut [u8], stats: &mut RewriteStats) -> bool {
    match layers.link {
        LinkType::ETHERNET if frame.len() >= 14 => apply_ethernet(rules, 0, frame, stats).named_destination,
        LinkType::LINUX_SLL if frame.len() >= 16 && be16(frame, 4) == Some(6) => {
            mac_at(&rules.tables.source, 6, frame, stats);
            false
        }
        LinkType::LINUX_SLL2 if frame.len() >= 20 && byte(frame, 11) == Some(6) => {
            mac_at(&rules.tables.source, 12, frame, stats);
            false
        }
        _ => false,
    }
}

#[inline]
pub(super) fn apply_ethernet(rules: Rules<'_>, at: usize, frame: &mut [u8], stats: &mut RewriteStats) -> Macs {
    let source = mac_at(&rules.tables.source, at + 6, frame, stats);
    let destination = map_at::<MacAddr, 6>(&rules.tables.destination, at, frame, stats);
    Macs { change: source.and(destination.unwrap_or(Change::NONE)), named_destination: destination.is_some() }
}

/// What decides, before an IP packet is rewritten, whether the destination MAC of its frame is to follow its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GoesTo {
    /// To a multicast or the broadcast address, with its MAC.
    Group(MacAddr),
    /// To one host, whose address an entry may make a group.
    Host,
}

/// Where the packet `network` goes, whose Ethernet header begins at `at`; `None` where the MAC does not follow.
#[inline]
pub(super) fn goes_to(rules: Rules<'_>, at: usize, network: &Network, frame: &[u8]) -> Option<GoesTo> {
    // Most frames are for one station: the first bit of the first byte says so.
    let is_multicast = frame.get(at)? & 1 == 1;
    if !is_multicast && !rules.rewriter.makes_groups {
        return None;
    }
    network.ip()?;
    match group_mac(network, frame) {
        Some(group) => array(frame, at).map(MacAddr).filter(|mac| *mac == group).map(GoesTo::Group),
        None => rules.rewriter.makes_groups.then_some(GoesTo::Host),
    }
}

/// Makes the destination MAC that of the group to which the packet goes now. Of a group that became a single address it stays, and is
/// counted, unless `station` is whose it is then.
#[inline]
pub(super) fn follow(
    before: Option<GoesTo>,
    at: usize,
    network: &Network,
    station: Option<MacAddr>,
    frame: &mut [u8],
    stats: &mut RewriteStats,
) -> Change {
    let Some(before) = before else { return Change::NONE };
    let after = match (before, group_mac(network, frame)) {
        (_, Some(after)) => after,
        (GoesTo::Host, None) => return Change::NONE,
        (GoesTo::Group(group), None) => match station {
            Some(station) => station,
            None => {
                stats.leave_group_mac(group);
                return Change::NONE;
            }
        },
    };
    let Some(mac) = array(frame, at).map(MacAddr).filter(|mac| *mac != after) else { return Change::NONE };
    put(frame, at, after.0);
    Change::mac(mac, after)
}

/// The Ethernet address of a group: the last 23 bits of an IPv4 address (RFC 1112 §6.4), the last 32 of an IPv6 one (RFC 2464 §7);
/// the broadcast MAC for 255.255.255.255 (RFC 919 §7).
pub(super) fn group_mac(network: &Network, frame: &[u8]) -> Option<MacAddr> {
    match network {
        Network::Ipv4(ip) => match array(frame, ip.offset + 16)? {
            [0xff, 0xff, 0xff, 0xff] => Some(MacAddr::BROADCAST),
            [224..=239, b, c, d] => Some(MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d])),
            _ => None,
        },
        Network::Ipv6(ip) => match array::<16>(frame, ip.offset + 24)? {
            [0xff, .., a, b, c, d] => Some(MacAddr([0x33, 0x33, a, b, c, d])),
            _ => None,
        },
        Network::None | Network::Arp { .. } => None,
    }
}
