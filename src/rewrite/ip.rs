//! IPv4 and IPv6: the addresses and fields of the header, then what depends on them; the packets that ICMP errors quote, and those
//! that tunnels carry.

use super::field::{v4_at, v6_at};
use super::rewrite_stats::{Left, RewriteStats};
use super::{Rules, arp, checksums, group, icmp, lengths, mac, port};
use crate::packet::bytes::array;
use crate::packet::checksum::Change;
use crate::packet::ip::{pseudo_addresses, quoted};
use crate::packet::layers::{Fragment, Ip, Network, protocol};
use crate::packet::tunnel::{Carried, carried};
use crate::scenario::rewrite::{Checksums, Lengths, TunnelLayers};

/// How many tunnels inside each other are looked into.
pub(super) const DEEPEST_TUNNEL: u8 = 8;

/// Where a packet stands, and where that ended on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) place: Place,
    /// Whether an ICMP error quotes it, or the packet that carries it: its own length says what can be known.
    pub(super) quoted: bool,
    /// The length of the frame on the wire, or up to where the packet around it ended.
    pub(super) original_length: u32,
}

impl Spot {
    pub(super) const fn frame(original_length: u32) -> Self {
        Self { place: Place::Frame, quoted: false, original_length }
    }

    pub(super) const fn quotation(self) -> Self {
        Self { quoted: true, original_length: 0, ..self }
    }
}

/// In what a packet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the frame's own, or quoted as one that was.
    Frame,
    /// In a tunnel, inside so many others.
    Tunnel(u8),
}

impl Place {
    /// Whether `[rewrite] layers` means the packets there.
    #[inline]
    fn is_meant(self, layers: TunnelLayers) -> bool {
        match (self, layers) {
            (_, TunnelLayers::All) => true,
            (Self::Frame, TunnelLayers::Outer) | (Self::Tunnel(_), TunnelLayers::Inner) => true,
            (Self::Frame, TunnelLayers::Inner) | (Self::Tunnel(_), TunnelLayers::Outer) => false,
        }
    }
}

/// Rewrites a packet: header, ports, the packet that it quotes or carries, and the checksums that cover them. Says what has changed in all of it, for a checksum that covers it.
#[inline]
pub(super) fn apply(
    rules: Rules<'_>,
    network: &Network,
    spot: Spot,
    frame: &mut [u8],
    stats: &mut RewriteStats,
) -> Change {
    if !spot.place.is_meant(rules.rewriter.layers) {
        return around_a_tunnel(rules, network, spot, frame, stats);
    }
    if rules.rewriter.lengths == Lengths::Fix
        && !spot.quoted
        && let Some((network, lengths)) = lengths::fix(network, spot.original_length, frame, stats)
    {
        return lengths.and(packet(rules, &network, spot, frame, stats));
    }
    packet(rules, network, spot, frame, stats)
}

/// A packet that stays, but for what it carries.
fn around_a_tunnel(
    rules: Rules<'_>,
    network: &Network,
    spot: Spot,
    frame: &mut [u8],
    stats: &mut RewriteStats,
) -> Change {
    let changed = match carried(network, frame) {
        Some(carried) => tunnel(rules, network, &carried, spot, frame, stats),
        None if !spot.quoted && quoted(network, frame).is_some() => icmp::quotation(rules, network, spot, frame, stats),
        None => {
            stats.leave(Left::NoTunnel);
            return Change::NONE;
        }
    };
    changed.and(checksums::update_transport(network, Change::NONE, changed, frame))
}

#[inline]
fn packet(rules: Rules<'_>, network: &Network, spot: Spot, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
    let change = match network {
        Network::Ipv4(ip) => {
            let source = v4_at(&rules.tables.source, ip.offset + 12, frame, stats);
            let destination = v4_at(&rules.tables.destination, ip.offset + 16, frame, stats);
            let addresses = source.and(destination);
            let fields = match &rules.rewriter.header {
                Some(header) if !spot.quoted => header.apply(network, frame, stats),
                _ => Change::NONE,
            };
            let covered = addresses.and(fields);
            let header = checksums::update(covered, ip.offset + 10, frame);
            let pseudo_header = if ip.final_destination.is_none() { addresses } else { source };
            let payload = payload(rules, network, ip, pseudo_header, spot, frame, stats);
            covered.and(header).and(payload)
        }
        Network::Ipv6(ip) => {
            // Which addresses the transport's checksum covers is read before they change.
            let covered = pseudo_addresses(network, frame);
            let source = v6_at(&rules.tables.source, ip.offset + 8, frame, stats);
            let destination = v6_at(&rules.tables.destination, ip.offset + 24, frame, stats);
            let fields = match &rules.rewriter.header {
                Some(header) if !spot.quoted => header.apply(network, frame, stats),
                _ => Change::NONE,
            };
            // Not an address in whose place a route or an option has another.
            let part = |change, covered| if covered { change } else { Change::NONE };
            let pseudo_header = covered.map_or(Change::NONE, |covered| {
                let source = part(source, covered.source == ip.offset + 8);
                source.and(part(destination, covered.destination == ip.offset + 24))
            });
            let payload = payload(rules, network, ip, pseudo_header, spot, frame, stats);
            source.and(destination).and(fields).and(payload)
        }
        Network::None | Network::Arp { .. } => return Change::NONE,
    };
    if rules.rewriter.checksums == Checksums::Fix && !spot.quoted {
        let change = change.and(checksums::fix(network, spot.original_length, frame));
        if network.ip().is_some_and(|ip| matches!(ip.fragment, Fragment::First { .. })) {
            return change.and(rules.rewriter.mend_fragment(spot.place, network, frame, stats));
        }
        return change;
    }
    change
}

/// Maps what stands behind the IP headers, and updates its checksum, by what changed in the pseudo-header too.
#[inline]
fn payload(
    rules: Rules<'_>,
    network: &Network,
    ip: &Ip,
    pseudo_header: Change,
    spot: Spot,
    frame: &mut [u8],
    stats: &mut RewriteStats,
) -> Change {
    // A port that is mapped may be what identifies a tunnel.
    let carried = if rules.rewriter.layers == TunnelLayers::Outer { None } else { carried(network, frame) };
    let changed = match ip.protocol {
        protocol::UDP | protocol::TCP => port::apply(rules, ip, frame, stats),
        protocol::ICMP | protocol::ICMPV6 if !spot.quoted => icmp::apply(rules, network, ip, spot, frame, stats),
        protocol::IGMP => group::igmp(rules, ip, frame, stats),
        protocol::SCTP => return sctp(rules, ip, frame, stats),
        _ => port::apply(rules, ip, frame, stats),
    };
    let changed = match carried {
        Some(carried) => changed.and(tunnel(rules, network, &carried, spot, frame, stats)),
        None => changed,
    };
    changed.and(checksums::update_transport(network, pseudo_header, changed, frame))
}

fn tunnel(
    rules: Rules<'_>,
    network: &Network,
    carried: &Carried,
    spot: Spot,
    frame: &mut [u8],
    stats: &mut RewriteStats,
) -> Change {
    let depth = if let Place::Tunnel(depth) = spot.place { depth + 1 } else { 0 };
    let Some(ip) = network.ip() else { return Change::NONE };
    if depth >= DEEPEST_TUNNEL {
        stats.leave(Left::DeepTunnel);
        return Change::NONE;
    }
    // What is carried ends, on the wire too, where the packet around it does.
    let original_end = match ip.length {
        0 => spot.original_length,
        length => u32::try_from(ip.offset + length).unwrap_or(u32::MAX),
    };
    let Some(packet) = frame.get_mut(..ip.end) else { return Change::NONE };
    let goes = carried.ethernet.and_then(|at| mac::goes_to(rules, at, &carried.network, packet));
    let (mut change, mut named) = (Change::NONE, false);
    if let Some(at) = carried.ethernet {
        let macs = mac::apply_ethernet(rules, at, packet, stats);
        (change, named) = (macs.change, macs.named_destination);
    }
    change = change.and(match &carried.network {
        Network::None => Change::NONE,
        Network::Arp { offset } => arp::apply(rules, *offset, packet, stats),
        inner @ (Network::Ipv4(_) | Network::Ipv6(_)) => {
            let spot = Spot { place: Place::Tunnel(depth), original_length: original_end, ..spot };
            apply(rules, inner, spot, packet, stats)
        }
    });
    if !named && let Some(at) = carried.ethernet {
        change = change.and(mac::follow(goes, at, &carried.network, None, packet, stats));
    }
    match carried.gre_checksum {
        Some(at) => change.and(checksums::update(change, at, packet)),
        None => change,
    }
}

/// SCTP's checksum covers no address, and isn't a sum.
fn sctp(rules: Rules<'_>, ip: &Ip, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
    let before = array::<4>(frame, ip.payload).unwrap_or_default();
    let ports = port::apply(rules, ip, frame, stats);
    let Some(checksum) = checksums::update_sctp(ip, before, frame) else {
        stats.leave(Left::SctpChecksum);
        return ports;
    };
    ports.and(checksum)
}
