//! ICMP and ICMPv6: the packets that errors quote (RFC 5508), redirects, neighbour discovery (RFC 4861), and listener discovery.

use super::field::{mac_at, v4_at, v6_at};
use super::ip::{Spot, apply as apply_packet};
use super::rewrite_stats::RewriteStats;
use super::{Rules, group};
use crate::packet::bytes::{array, be16, byte};
use crate::packet::checksum::Change;
use crate::packet::ip::{find, quoted};
use crate::packet::layers::{Ip, Network};

/// ICMP's redirect (RFC 792).
const REDIRECT: u8 = 5;

/// Types of ICMPv6 messages that name neighbours (RFC 4861 §4).
mod neighbour {
    pub(super) const ROUTER_SOLICITATION: u8 = 133;
    pub(super) const ROUTER_ADVERTISEMENT: u8 = 134;
    pub(super) const SOLICITATION: u8 = 135;
    pub(super) const ADVERTISEMENT: u8 = 136;
    pub(super) const REDIRECT: u8 = 137;
}

/// Maps what a message says about packets and addresses; a later fragment has none.
pub(super) fn apply(
    rules: Rules<'_>,
    network: &Network,
    ip: &Ip,
    spot: Spot,
    frame: &mut [u8],
    stats: &mut RewriteStats,
) -> Change {
    if ip.is_later_fragment() {
        return Change::NONE;
    }
    let quotation = quotation(rules, network, spot, frame, stats);
    let Some(message) = frame.get_mut(..ip.end) else { return quotation };
    let Some(kind) = byte(message, ip.payload) else { return quotation };
    match network {
        // The router that packets are to go to from now on: the next one on the way to the destination.
        Network::Ipv4(_) if kind == REDIRECT => {
            quotation.and(v4_at(&rules.tables.destination, ip.payload + 4, message, stats))
        }
        Network::Ipv6(_) => match kind {
            neighbour::ROUTER_SOLICITATION..=neighbour::REDIRECT => {
                neighbours(rules, kind, ip.payload, spot, message, stats)
            }
            _ => quotation.and(group::mld(rules, kind, ip.payload, message, stats)),
        },
        _ => quotation,
    }
}

impl Rules<'_> {
    /// The rules for a packet that went the other way.
    fn for_quoted(self) -> Self {
        Self { tables: self.quoted, quoted: self.tables, ..self }
    }
}

/// The packet that an error quotes is one that came the other way. The error must quote it as it is after rewriting, and that packet's
/// source is mapped as a source, wherever it is met (RFC 5508 §4.2).
pub(super) fn quotation(
    rules: Rules<'_>,
    network: &Network,
    spot: Spot,
    frame: &mut [u8],
    stats: &mut RewriteStats,
) -> Change {
    match quoted(network, frame) {
        Some(inner) => apply_packet(rules.for_quoted(), &inner, spot.quotation(), frame, stats),
        None => Change::NONE,
    }
}

/// Neighbour discovery, as ARP: what a sender says of itself follows the maps of the source, whom it asks for or redirects to those of
/// the destination.
fn neighbours(
    rules: Rules<'_>,
    kind: u8,
    at: usize,
    spot: Spot,
    message: &mut [u8],
    stats: &mut RewriteStats,
) -> Change {
    let (source, destination) = (&rules.tables.source, &rules.tables.destination);
    let (addresses, options) = match kind {
        neighbour::ROUTER_SOLICITATION => (Change::NONE, at + 8),
        neighbour::ROUTER_ADVERTISEMENT => (Change::NONE, at + 16),
        neighbour::SOLICITATION => (v6_at(destination, at + 8, message, stats), at + 24),
        neighbour::ADVERTISEMENT => (v6_at(source, at + 8, message, stats), at + 24),
        _ => {
            let target = v6_at(destination, at + 8, message, stats);
            (target.and(v6_at(destination, at + 24, message, stats)), at + 40)
        }
    };
    addresses.and(self::options(rules, kind, options, spot, message, stats))
}

/// The options from `at` on (RFC 4861 §4.6).
fn options(
    rules: Rules<'_>,
    kind: u8,
    mut at: usize,
    spot: Spot,
    message: &mut [u8],
    stats: &mut RewriteStats,
) -> Change {
    const SOURCE_LINK_LAYER: u8 = 1;
    const TARGET_LINK_LAYER: u8 = 2;
    const REDIRECTED_HEADER: u8 = 4;
    let mut change = Change::NONE;
    while let Some([option, units]) = array(message, at) {
        let next = at + usize::from(units) * 8;
        if units == 0 || next > message.len() {
            break;
        }
        let tables = rules.tables;
        change = change.and(match option {
            SOURCE_LINK_LAYER if units == 1 => mac_at(&tables.source, at + 2, message, stats),
            TARGET_LINK_LAYER if units == 1 => {
                let side = if kind == neighbour::REDIRECT { &tables.destination } else { &tables.source };
                mac_at(side, at + 2, message, stats)
            }
            REDIRECTED_HEADER => match message.get_mut(..next) {
                Some(message) => {
                    let packet = find(message, at + 8);
                    apply_packet(rules.for_quoted(), &packet, spot.quotation(), message, stats)
                }
                None => Change::NONE,
            },
            _ => Change::NONE,
        });
        at = next;
    }
    change
}

/// How many addresses a 16-bit field announces.
pub(super) fn announced(message: &[u8], at: usize) -> usize {
    be16(message, at).map_or(0, usize::from)
}
