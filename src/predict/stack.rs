//! The way of a frame through the receiver's stack: `__netif_receive_skb_core`, `ip_rcv_core`, routing, `ip_forward`, `ip_defrag`, the
//! transport protocol, and their IPv6 counterparts. Start at [`disposition`].

use std::net::{IpAddr, Ipv4Addr};

use super::Disposition;
use super::filter::{At, Walked};
use super::routing::{self, Routed};
use crate::cause::Cause;
use crate::host::{Host, Socket};
use crate::outcome::Stage;
use crate::packet::layers::protocol;
use crate::predict::{Carried, ClassKey, Fault, Flaw, Wrong};

pub(super) fn disposition(key: &ClassKey, host: &Host) -> Disposition {
    let lost = Disposition::Lost;
    if key.flaw == Flaw::NoEthernetHeader {
        return lost(Cause::Unsendable);
    }
    if key.in_vlan && !host.vlans.is_empty() {
        return Disposition::Open;
    }
    match asked(At::Ingress, key, host) {
        Walked::Passed(_) => {}
        Walked::Dropped(_) => return lost(Cause::NetfilterDrop),
        Walked::Open(_) => return Disposition::Open,
    }
    let (source, destination, protocol) = match key.carried {
        Carried::Other { ethertype } => {
            return match ethertype {
                Some(0x0800 | 0x86dd) if other_host(key, host) => lost(Cause::Otherhost),
                Some(0x86dd) if host.settings.ipv6_disabled => lost(Cause::Ipv6disabled),
                // The kernel has no handler for another version.
                Some(0x86dd) if key.flaw == Flaw::Version => lost(Cause::UnhandledProto),
                Some(0x0800 | 0x86dd) => lost(Cause::IpInhdr),
                Some(0x0806) => Disposition::Kernel,
                _ => lost(Cause::UnhandledProto),
            };
        }
        Carried::Ip { source, destination, protocol, .. } => (source, destination, protocol),
    };
    if other_host(key, host) {
        return lost(Cause::Otherhost);
    }
    if let Some(end) = refused_on_arrival(key, source, destination, host) {
        return end;
    }
    let key = &match translated(key, host) {
        Ok(translated) => translated,
        Err(end) => return end,
    };
    let Carried::Ip { destination, .. } = key.carried else { return Disposition::Open };
    let routed = match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => routing::v4(from, to, protocol == protocol::IGMP, host),
        (IpAddr::V6(from), IpAddr::V6(to)) => routing::v6(from, to, key.mac.is_multicast(), host),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return lost(Cause::IpInhdr),
    };
    if let Routed::Lost(cause) = routed {
        // Other protocols' packets to a group (OSPF, VRRP, MLD) are for hosts that are in it.
        if cause == Cause::MulticastNotJoined && protocol != protocol::UDP {
            return Disposition::Kernel;
        }
        return lost(cause);
    }
    if let Some(cause) = refused(key, Stage::Accepted) {
        return lost(cause);
    }
    if let (Flaw::SourceRoute(next), IpAddr::V4(from)) = (key.flaw, source)
        && let Some(cause) = source_route(from, next, key, host)
    {
        return lost(cause);
    }
    let to_all = matches!(routed, Routed::ToAll | Routed::Open);
    if key.mac.is_multicast() && !to_all && destination.is_ipv4() && host.settings.drop_unicast_in_group.v4 {
        return lost(Cause::UnicastInL2Multicast);
    }
    match routed {
        Routed::Lost(cause) | Routed::Nowhere(cause) => lost(cause),
        Routed::On => lost(forward(key)),
        Routed::Open => Disposition::Open,
        Routed::Local | Routed::ToAll => deliver(key, destination, protocol, host),
    }
}

fn asked(at: At, key: &ClassKey, host: &Host) -> Walked {
    host.filter.walk(at, key, &host.interface.name, &host.addresses)
}

/// The class behind the prerouting hook: what is translated has another destination there.
pub(super) fn translated(key: &ClassKey, host: &Host) -> Result<ClassKey, Disposition> {
    match asked(At::Prerouting, key, host) {
        Walked::Passed(None) => Ok(*key),
        Walked::Passed(Some((to, to_port))) => {
            let mut translated = *key;
            if let Carried::Ip { destination, port, .. } = &mut translated.carried {
                (*destination, *port) = (to, to_port);
            }
            Ok(translated)
        }
        Walked::Dropped(_) => Err(Disposition::Lost(Cause::NetfilterDrop)),
        Walked::Open(_) => Err(Disposition::Open),
    }
}

/// What the packet filter does with it, wherever it does: the reason of a drop, or why that is open.
pub(super) fn filtered(key: &ClassKey, host: &Host) -> Option<String> {
    let behind = translated(key, host).unwrap_or(*key);
    [(At::Ingress, key), (At::Prerouting, key), (At::Input, &behind)].into_iter().find_map(|(at, key)| {
        match asked(at, key, host) {
            Walked::Passed(_) => None,
            Walked::Dropped(why) | Walked::Open(why) => Some(why),
        }
    })
}

/// `ip_rcv_core`, `ip6_rcv_core`: before the hooks of IP.
fn refused_on_arrival(key: &ClassKey, source: IpAddr, destination: IpAddr, host: &Host) -> Option<Disposition> {
    let cause = match (source, destination) {
        (IpAddr::V4(_), IpAddr::V4(_)) => match key.flaw {
            Flaw::HeaderSum => Cause::IpCsum,
            Flaw::Length | Flaw::LengthCaptured => Cause::PktTooSmall,
            Flaw::Header => Cause::IpInhdr,
            _ => return None,
        },
        (IpAddr::V6(_), IpAddr::V6(_)) if host.settings.ipv6_disabled => Cause::Ipv6disabled,
        // The addresses are looked at before the length, and hop-by-hop options behind it.
        (IpAddr::V6(_), IpAddr::V6(_)) => match refused_addresses(key, host) {
            Some(cause) => cause,
            None if matches!(key.flaw, Flaw::Length | Flaw::LengthCaptured) => Cause::PktTooSmall,
            None => refused(key, Stage::Accepted)?,
        },
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Cause::IpInhdr,
    };
    Some(Disposition::Lost(cause))
}

/// `ip6_rcv_core`: addresses that no IPv6 packet from a wire has.
fn refused_addresses(key: &ClassKey, host: &Host) -> Option<Cause> {
    let Carried::Ip { source: IpAddr::V6(from), destination: IpAddr::V6(to), .. } = key.carried else { return None };
    match routing::v6(from, to, key.mac.is_multicast(), host) {
        Routed::Lost(cause @ (Cause::IpInhdr | Cause::UnicastInL2Multicast)) => Some(cause),
        _ => None,
    }
}

/// What a header that the kernel refuses is lost as, if that is at this stage.
fn refused(key: &ClassKey, stage: Stage) -> Option<Cause> {
    let Flaw::Refused(fault) = key.flaw else { return None };
    Some(fault.rule()).filter(|rule| rule.stage == stage).map(|rule| rule.cause)
}

/// `ip_rcv_options` and `ip_options_rcv_srr`: a source route is followed where that is accepted. `next`: the address that is next.
fn source_route(from: Ipv4Addr, next: Option<Ipv4Addr>, key: &ClassKey, host: &Host) -> Option<Cause> {
    let refused = Some(Cause::SourceRoute);
    if !host.settings.accept_source_route || key.mac.is_multicast() {
        return refused;
    }
    match next.map(|next| routing::v4(from, next, false, host)) {
        None | Some(Routed::Local) => None,
        Some(Routed::On) => Some(forward(key)),
        Some(_) => refused,
    }
}

/// `eth_type_trans`, and for a VLAN that the interface doesn't have `__netif_receive_skb_core`: `PACKET_OTHERHOST`.
fn other_host(key: &ClassKey, host: &Host) -> bool {
    key.in_vlan || !key.mac.is_multicast() && key.mac != host.mac
}

/// `ip_forward`, `ip6_forward`. That the packet is for another host is what the run calls a loss.
fn forward(key: &ClassKey) -> Cause {
    if key.mac.is_multicast() {
        // pkt_type is not PACKET_HOST.
        Cause::UnicastInL2Multicast
    } else if key.spent {
        Cause::IpInhdr
    } else {
        Cause::Forwarded
    }
}

/// `ip_local_deliver`, `ip6_input`.
fn deliver(key: &ClassKey, destination: IpAddr, protocol: u8, host: &Host) -> Disposition {
    let lost = Disposition::Lost;
    // IPv6 puts fragments together behind the input hook, IPv4 before it.
    let in_pieces = matches!(key.flaw, Flaw::FragmentMissing | Flaw::FragmentRepeated | Flaw::FragmentOverlaps);
    if !in_pieces {
        match asked(At::Input, key, host) {
            Walked::Passed(_) => {}
            Walked::Dropped(_) => return lost(Cause::NetfilterDrop),
            Walked::Open(_) => return Disposition::Open,
        }
    }
    if matches!(key.flaw, Flaw::Refused(Fault { wrong: Wrong::SwitchedOff { .. }, .. }))
        && host.settings.segment_routing
    {
        return Disposition::Open;
    }
    if let Some(cause) = refused(key, Stage::Delivered) {
        return lost(cause);
    }
    match key.flaw {
        Flaw::FragmentMissing => return lost(Cause::FragReasmTimeout),
        Flaw::FragmentRepeated | Flaw::FragmentOverlaps => return lost(Cause::DupFrag),
        _ => {}
    }
    match (protocol, destination.is_ipv4()) {
        (protocol::UDP, _) => datagram(key, host),
        // The kernel takes a segment to a group or in a group's frame, for no socket.
        (protocol::TCP, _) if key.mac.is_multicast() => Disposition::Kernel,
        (protocol::TCP, _) if key.flaw == Flaw::TcpLength => lost(Cause::PktTooSmall),
        (protocol::TCP, _) if matches!(key.flaw, Flaw::TcpSum | Flaw::TcpSumOffload) => lost(Cause::TcpCsum),
        // The kernel has handlers of its own. It verifies checksums of ICMP and IGMP too, and only counters show that.
        (protocol::ICMP | protocol::IGMP, true) | (protocol::ICMPV6 | NO_NEXT_HEADER, false) | (protocol::TCP, _) => {
            Disposition::Kernel
        }
        // Tunnels, IPsec, SCTP and the like have a handler where a module is loaded, EIGRP, OSPF, PIM, VRRP and their like where a program
        // has a raw socket, and UDP-Lite has sockets of its own: not known before the run.
        (protocol, _) if may_have_a_handler(protocol) => Disposition::Open,
        _ => lost(Cause::IpNoproto),
    }
}

/// IP protocols that a module or a program takes where one is there.
fn may_have_a_handler(protocol: u8) -> bool {
    let known = [4, 9, 33, 41, 46, 47, 50, 51, 88, 89, 94, 97, 103, 108, 112, 115, 124, 132, 135, 136, 137, 139, 140];
    known.contains(&protocol)
}

/// IPv6's "no next header" (RFC 8200 §4.7).
const NO_NEXT_HEADER: u8 = 59;

/// `__udp4_lib_rcv`, `__udp6_lib_rcv`: length, checksum, socket.
fn datagram(key: &ClassKey, host: &Host) -> Disposition {
    match key.flaw {
        Flaw::UdpLength => return Disposition::Lost(Cause::PktTooSmall),
        Flaw::UdpSum | Flaw::UdpSumOffload | Flaw::UdpSumAbsent => return Disposition::Lost(Cause::UdpCsum),
        _ => {}
    }
    let Carried::Ip { source, destination, port: Some(port), .. } = key.carried else { return Disposition::Delivered };
    // The source port is not part of a class: a connected socket is taken to receive from any port of its peer.
    let arrival = host.arrival((source, None), destination, port);
    let mut receiving = host.sockets.iter().filter(|socket| socket.receives(&arrival));
    // An IPv6 socket receives an IPv4 multicast only if it has joined the group itself (IP_MULTICAST_ALL is off there), which the kernel doesn't report.
    let uncertain = |socket: &Socket| host.real && socket.address.is_ipv6();
    let group_v4 = matches!(destination, IpAddr::V4(group) if group.is_multicast());
    match receiving.next() {
        None => Disposition::Lost(Cause::NoSocket),
        Some(first) if group_v4 && uncertain(first) && receiving.all(uncertain) => Disposition::Open,
        Some(_) => Disposition::Delivered,
    }
}

pub(super) fn stage(cause: Cause, key: &ClassKey, host: &Host) -> Stage {
    let six = matches!(key.carried, Carried::Ip { destination: IpAddr::V6(_), .. });
    match cause {
        _ if let Flaw::Refused(fault) = key.flaw
            && fault.rule().cause == cause
            && refused_addresses(key, host).is_none() =>
        {
            fault.rule().stage
        }
        Cause::PktTooSmall if matches!(key.flaw, Flaw::UdpLength | Flaw::TcpLength) => Stage::Delivered,
        // IPv6 puts fragments together behind the input hook, IPv4 before it.
        Cause::DupFrag | Cause::FragReasmTimeout if six => Stage::Delivered,
        _ => cause.row().stage,
    }
}
