//! Where a packet is routed: `ip_rcv_finish_core` with `ip_route_input_slow` and `fib_validate_source`, and what IPv6 has instead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::cause::Cause;
use crate::host::{Host, Route, RouteKind};

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Routed {
    /// To this host alone.
    Local,
    /// To all hosts of a network, or to a group that is joined.
    ToAll,
    /// To a group of which isn't known whether it is joined.
    Open,
    /// On, to another host.
    On,
    /// Nowhere, which is found out behind the tests of options and MAC.
    Nowhere(Cause),
    /// It is thrown away at once.
    Lost(Cause),
}

/// `ip_route_input_slow` of an IPv4 packet.
pub(super) fn v4(from: Ipv4Addr, to: Ipv4Addr, igmp: bool, host: &Host) -> Routed {
    let lost = Routed::Lost;
    if from.is_multicast() || from.is_broadcast() {
        return lost(Cause::IpInvalidSource);
    }
    if to.is_multicast() {
        return group_v4(from, to, igmp, host);
    }
    if to.is_broadcast() || (from.is_unspecified() && to.is_unspecified()) {
        return broadcast(from, host);
    }
    // The rest of 0.0.0.0/8 is like any other network since Linux 5.3.
    if from.is_unspecified() {
        return lost(Cause::IpInvalidSource);
    }
    if to.is_unspecified() {
        return lost(Cause::IpInvalidDest);
    }
    if (to.is_loopback() || from.is_loopback()) && !host.settings.route_localnet {
        return lost(Cause::IpLocalnet);
    }
    let found = host.routes.to(to.into());
    match found.first().map(|route| route.kind) {
        Some(RouteKind::Broadcast) => broadcast(from, host),
        Some(RouteKind::Local) => refused_source(from, host).map_or(Routed::Local, lost),
        _ if !host.settings.forwarding.v4 => Routed::Nowhere(Cause::IpInaddrerrors),
        Some(RouteKind::Unicast) => refused_source(from, host).map_or(Routed::On, lost),
        Some(RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit) | None => {
            Routed::Nowhere(Cause::IpInnoroutes)
        }
    }
}

fn broadcast(from: Ipv4Addr, host: &Host) -> Routed {
    let refused = if from.is_unspecified() { None } else { refused_source(from, host) };
    refused.map_or(Routed::ToAll, Routed::Lost)
}

/// `ip_check_mc_rcu`, then `ip_mc_validate_source`.
fn group_v4(from: Ipv4Addr, group: Ipv4Addr, igmp: bool, host: &Host) -> Routed {
    let routed = joined(group.into(), host);
    if matches!(routed, Routed::Lost(_)) {
        return routed;
    }
    let link_local = matches!(group.octets(), [224, 0, 0, _]);
    let refused = if from.is_loopback() && !host.settings.route_localnet {
        Some(Cause::IpLocalnet)
    } else if from.is_unspecified() {
        (!link_local && !igmp).then_some(Cause::IpInvalidSource)
    } else {
        refused_source(from, host)
    };
    refused.map_or(routed, Routed::Lost)
}

/// `fib_validate_source`: an address of the receiver's own, and reverse path filtering.
fn refused_source(from: Ipv4Addr, host: &Host) -> Option<Cause> {
    let found = host.routes.to(from.into());
    let kind = found.first().map(|route| route.kind);
    if kind == Some(RouteKind::Local) && !host.settings.accept_local && !is_loopback_without_address(from, host) {
        return Some(Cause::IpLocalSource);
    }
    if host.settings.rp_filter == 0 {
        return None;
    }
    match kind {
        Some(RouteKind::Broadcast) => Some(Cause::IpInvalidSource),
        Some(RouteKind::Local | RouteKind::Unicast) => {
            (host.settings.rp_filter == 1 && !comes_by(found, host)).then_some(Cause::IpRpfilter)
        }
        Some(RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit) | None => Some(Cause::IpRpfilter),
    }
}

/// Whether a source in 127.0.0.0/8 is not refused as the receiver's own. With `rp_filter` 0 the kernel compares sources with the addresses of
/// its interfaces, of which 127.0.0.1 is the only one there, and not with the local routes, unless a local route was added by hand.
fn is_loopback_without_address(from: Ipv4Addr, host: &Host) -> bool {
    let is_added = |route: &Route| {
        route.kind == RouteKind::Local
            && matches!(route.prefix, IpNet::V4(net) if net.prefix_len() < 32 && !net.addr().is_loopback())
    };
    host.settings.rp_filter == 0
        && from.is_loopback()
        && from != Ipv4Addr::LOCALHOST
        && !host.routes.iter().any(is_added)
}

fn comes_by(routes: &[Route], host: &Host) -> bool {
    routes.iter().any(|route| route.device == host.interface.name)
}

/// `ip6_rcv_core` from the addresses on, then `ip6_route_input`. `in_group`: the frame's MAC is a group's.
pub(super) fn v6(from: Ipv6Addr, to: Ipv6Addr, in_group: bool, host: &Host) -> Routed {
    let scope = to.octets()[1] & 0x0f;
    if (from.is_loopback() || to.is_loopback()) && !host.is_loopback()
        || to.is_multicast() && (scope == 0 || scope == 1 && !host.is_loopback())
        || from.is_multicast()
    {
        return Routed::Lost(Cause::IpInhdr);
    }
    if in_group && !to.is_multicast() && host.settings.drop_unicast_in_group.v6 {
        return Routed::Lost(Cause::UnicastInL2Multicast);
    }
    if to.is_multicast() {
        return joined(to.into(), host);
    }
    match host.routes.to(to.into()).first().map(|route| route.kind) {
        Some(RouteKind::Local) => Routed::Local,
        Some(RouteKind::Unicast | RouteKind::Broadcast) if !host.settings.forwarding.v6 => {
            Routed::Nowhere(Cause::IpInaddrerrors)
        }
        // A router sends nothing on from such a source (RFC 4291 §2.5.2, §2.5.6).
        Some(RouteKind::Unicast | RouteKind::Broadcast) if from.is_unspecified() || from.is_unicast_link_local() => {
            Routed::Nowhere(Cause::IpInaddrerrors)
        }
        Some(RouteKind::Unicast | RouteKind::Broadcast) => Routed::On,
        None | Some(RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit) => {
            Routed::Nowhere(if to.is_unspecified() { Cause::IpInaddrerrors } else { Cause::IpInnoroutes })
        }
    }
}

fn joined(group: IpAddr, host: &Host) -> Routed {
    // 224.0.0.1 and ff02::1 are every host's own (RFC 1112 §4, RFC 4291 §2.8).
    let all_hosts = match group {
        IpAddr::V4(group) => group.octets() == [224, 0, 0, 1],
        IpAddr::V6(group) => group.segments() == [0xff02, 0, 0, 0, 0, 0, 0, 1],
    };
    match &host.joined {
        _ if all_hosts => Routed::ToAll,
        None => Routed::Open,
        Some(joined) if joined.contains(&group) => Routed::ToAll,
        Some(_) => Routed::Lost(Cause::MulticastNotJoined),
    }
}
