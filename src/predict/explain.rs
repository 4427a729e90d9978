//! Why a class of frames is lost: the rule with its values. Start at [`why`].

use std::net::IpAddr;

use super::{refused, sockets, stack};
use crate::cause::Cause;
use crate::host::{Host, RouteKind};
use crate::packet::layers::{is_vlan_tag, protocol};
use crate::predict::{Carried, ClassKey, Flaw};

pub(super) fn why(cause: Cause, key: &ClassKey, host: &Host) -> String {
    let plain = || cause.row().why.to_owned();
    let Carried::Ip { source, destination, protocol, port } = key.carried else {
        return match (cause, key.carried) {
            (Cause::UnhandledProto, _) if key.flaw == Flaw::Version => {
                "the EtherType is that of IPv6, and the version in the header is another".to_owned()
            }
            (Cause::UnhandledProto, Carried::Other { ethertype: Some(ethertype) }) => {
                unhandled(ethertype, key)
            }
            (Cause::UnhandledProto, Carried::Other { ethertype: None }) => {
                "an 802.2 LLC frame (spanning tree, CDP, SNAP): no handler for what it carries is registered in the kernel"
                    .to_owned()
            }
            (Cause::IpInhdr, _) => {
                "the IP header is cut short, or its version is none that the kernel knows".to_owned()
            }
            (Cause::Otherhost, _) => other_host(key, host),
            _ => plain(),
        };
    };
    if let Flaw::Refused(fault) = key.flaw
        && fault.rule().cause == cause
    {
        return refused::why(fault);
    }
    let interface = &host.interface.name;
    match cause {
        Cause::NetfilterDrop => match stack::filtered(key, host) {
            Some(why) => why,
            None => plain(),
        },
        Cause::Otherhost => other_host(key, host),
        Cause::UnicastInL2Multicast => {
            if drops_in_group(destination, host) {
                format!(
                    "the frame goes to {}, its packet to the unicast address {destination}, and drop_unicast_in_l2_multicast is set",
                    key.mac
                )
            } else {
                format!(
                    "{destination} is no address of the receiver, which does not forward frames with a multicast MAC ({})",
                    key.mac
                )
            }
        }
        Cause::PktTooSmall if key.flaw == Flaw::UdpLength => {
            "the UDP header's length does not fit its packet".to_owned()
        }
        Cause::PktTooSmall if key.flaw == Flaw::TcpLength => {
            "the TCP data offset is below 5 words, the least that a header has (RFC 9293 §3.1)".to_owned()
        }
        Cause::PktTooSmall if key.flaw == Flaw::LengthCaptured => {
            "the IP length field says more bytes than the frame holds: it was cut by the snaplen".to_owned()
        }
        Cause::PktTooSmall => "the IP length field says more bytes than the frame has".to_owned(),
        Cause::IpInhdr => header(key, source, destination),
        Cause::IpInvalidSource if broadcast_source(source, host) => format!(
            "the source {source} is a broadcast address of the receiver's, which rp_filter = {} finds out",
            host.settings.rp_filter
        ),
        Cause::IpInvalidSource => {
            format!("no host may send from {source} (RFC 1812 §5.3.7): the receiver takes it for a martian")
        }
        Cause::IpInvalidDest => {
            format!("{destination} is no destination (RFC 1122 §3.2.1.3): the receiver takes it for a martian")
        }
        Cause::IpLocalnet => {
            let address = if source.is_loopback() { source } else { destination };
            format!("{address} is a loopback address: it is never accepted from a wire (RFC 1122 §3.2.1.3)")
        }
        Cause::IpLocalSource => {
            format!("the source {source} is one of the receiver's own addresses (accept_local = 0)")
        }
        Cause::IpRpfilter => reverse_path(source, host),
        Cause::IpInaddrerrors | Cause::IpInnoroutes => nowhere(cause, source, destination, host),
        Cause::Forwarded => format!(
            "{destination} is no address of the receiver ({}), which forwards: it has a route {}, and sends it on",
            addresses(host),
            way(destination, host)
        ),
        Cause::MulticastNotJoined => format!("no socket of the receiver has joined {destination} on {interface}"),
        Cause::DupFrag if key.flaw == Flaw::FragmentOverlaps => {
            "a fragment overlaps another one of its datagram, or contradicts its end, and the kernel drops them all (RFC 5722)"
                .to_owned()
        }
        Cause::DupFrag => "the fragment's bytes came before; its datagram does without it".to_owned(),
        Cause::IpNoproto => format!("no handler for IP protocol {protocol} is registered in the kernel"),
        Cause::UdpCsum | Cause::TcpCsum => checksum(key.flaw),
        Cause::NoSocket => match port {
            Some(port) => no_socket(source, destination, port, host).0,
            None => plain(),
        },
        _ => plain(),
    }
}

/// Why it is not known before the run what becomes of it.
pub(super) fn open(key: &ClassKey, host: &Host) -> String {
    let interface = &host.interface.name;
    match key.carried {
        _ if let Some(why) = stack::filtered(key, host) => why,
        _ if key.in_vlan => format!("a VLAN interface on {interface} may take the frame"),
        _ if matches!(key.flaw, Flaw::Refused(_)) => {
            "segment routing is switched on, and where it sends the packet is not followed".to_owned()
        }
        Carried::Ip { destination, protocol, .. } if !destination.is_multicast() || protocol != protocol::UDP => {
            format!(
                "a kernel module or a program with a raw socket may take IP protocol {protocol}; without one the packet is lost: IP_NOPROTO"
            )
        }
        Carried::Ip { destination, .. } => format!("the application may join {destination}, or not"),
        Carried::Other { .. } => String::new(),
    }
}

pub(super) fn no_socket(source: IpAddr, destination: IpAddr, port: u16, host: &Host) -> (String, String) {
    // No peer has source port 0, so that a socket connected to another port of this source is named.
    let arrival = host.arrival((source, Some(0)), destination, port);
    sockets::why_no_socket(&arrival, &host.sockets, host.real)
}

/// Whether drop_unicast_in_l2_multicast of the address's family counts.
pub(super) fn drops_in_group(destination: IpAddr, host: &Host) -> bool {
    if destination.is_ipv4() { host.settings.drop_unicast_in_group.v4 } else { host.settings.drop_unicast_in_group.v6 }
}

/// No handler for an EtherType: its name where it has a common one, and that a tag was taken off before.
fn unhandled(ethertype: u16, key: &ClassKey) -> String {
    let name = match ethertype {
        _ if is_vlan_tag(ethertype) => " (a VLAN tag)",
        0x8847 | 0x8848 => " (MPLS)",
        0x8863 | 0x8864 => " (PPPoE)",
        0x8035 => " (RARP)",
        0x8808 => " (Ethernet flow control)",
        0x8809 => " (LACP and other slow protocols)",
        0x888e => " (802.1X)",
        0x88cc => " (LLDP)",
        0x88f7 => " (PTP)",
        _ => "",
    };
    let behind = if key.in_vlan { ", which follows the first VLAN tag," } else { "" };
    format!("no handler for EtherType 0x{ethertype:04x}{name}{behind} is registered in the kernel")
}

fn other_host(key: &ClassKey, host: &Host) -> String {
    if key.in_vlan {
        format!(
            "the frame carries a VLAN tag, and {} has no such VLAN: the stack leaves it to some other host",
            host.interface.name
        )
    } else {
        format!("the frame's destination MAC is {}, {} has {}", key.mac, host.interface.name, host.mac)
    }
}

fn header(key: &ClassKey, source: IpAddr, destination: IpAddr) -> String {
    if key.flaw == Flaw::Header {
        return "the IP length is less than the header's own".to_owned();
    }
    match (source, destination) {
        (IpAddr::V6(from), _) if from.is_loopback() || from.is_multicast() => {
            format!("no packet from the source {source} is accepted from a wire (RFC 4291 §2.5.3, §2.7)")
        }
        (_, IpAddr::V6(to)) if to.is_loopback() || to.is_multicast() => {
            format!("no packet to {destination} is accepted from a wire (RFC 4291 §2.5.3, §2.7)")
        }
        _ => format!(
            "{destination} is no address of the receiver, which forwards; the TTL is used up, so that it can't send the packet on"
        ),
    }
}

fn broadcast_source(source: IpAddr, host: &Host) -> bool {
    host.routes.to(source).first().is_some_and(|route| route.kind == RouteKind::Broadcast)
}

fn reverse_path(source: IpAddr, host: &Host) -> String {
    let interface = &host.interface.name;
    let strictness = if host.settings.rp_filter == 1 { "strict" } else { "loose" };
    let rule = format!(
        "rp_filter = {} there ({strictness}; effective: the larger of all and {interface})",
        host.settings.rp_filter
    );
    match host.routes.to(source).first() {
        Some(route) if matches!(route.kind, RouteKind::Unicast | RouteKind::Local) => {
            format!(
                "the route back to {source} is {} dev {}, not through {interface}, and {rule}",
                route.prefix, route.device
            )
        }
        Some(route) => format!("the route back to {source} is {} {}, and {rule}", route.kind.name(), route.prefix),
        None => format!("no route back to {source} through {interface}, and {rule}"),
    }
}

fn nowhere(cause: Cause, source: IpAddr, destination: IpAddr, host: &Host) -> String {
    let who = format!("{destination} is no address of the receiver ({})", addresses(host));
    let forwards = if destination.is_ipv4() { host.settings.forwarding.v4 } else { host.settings.forwarding.v6 };
    let route = host.routes.to(destination).first();
    match (cause, route) {
        (Cause::IpInaddrerrors, _) if forwards => {
            format!("{who}, and nothing is sent on from the source {source}")
        }
        (Cause::IpInaddrerrors, _) => format!("{who}, and it does not forward"),
        (_, Some(route)) => format!("{who}, and its route to it is {} {}", route.kind.name(), route.prefix),
        (_, None) => format!("{who}, and it has no route to it"),
    }
}

fn way(destination: IpAddr, host: &Host) -> String {
    match host.routes.to(destination).first() {
        Some(route) => format!("to {} through {}", route.prefix, route.device),
        None => "to it".to_owned(),
    }
}

fn checksum(flaw: Flaw) -> String {
    match flaw {
        Flaw::UdpSumOffload | Flaw::TcpSumOffload => {
            let transport = if flaw == Flaw::UdpSumOffload { "UDP" } else { "TCP" };
            format!(
                "the stored {transport} checksum is the pseudo-header's sum only: captured on the sending host, before its \
                 interface finished the checksum (offload)"
            )
        }
        Flaw::UdpSumAbsent => "UDP over IPv6 must have a checksum (RFC 8200 §8.1), and this has none".to_owned(),
        Flaw::TcpSum => "the TCP checksum is wrong".to_owned(),
        _ => "the UDP checksum is wrong".to_owned(),
    }
}

fn addresses(host: &Host) -> String {
    match host.addresses.as_slice() {
        [] => format!("{} has none", host.interface.name),
        [first] => format!("it has {}", first.addr()),
        [first, rest @ ..] => format!("it has {} and {} more", first.addr(), rest.len()),
    }
}
