//! What the receiver's stack will do with each class of frame: from the frame, the addresses, the routes, the sysctls and the sockets.
//!
//! The order of the tests is the order of the kernel's: `ip_rcv_core`, `ip_route_input_slow`, `__udp4_lib_rcv` and their
//! IPv6 counterparts. Every branch stands on a case that was provoked on Linux 6.18.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::frame_ranges::FrameRanges;
use super::survey::{Carried, Class, ClassKey, Flaw, is_limited_broadcast};
use crate::cause::Cause;
use crate::packet::MacAddr;
use crate::packet::layers::protocol as ip_protocol;
use crate::scenario::require::{Listener, Transport};
use crate::scenario::site::Routes;

/// What is known of the receiver before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its interface's name.
    pub interface: String,
    /// Its MAC.
    pub mac: MacAddr,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Its routes back.
    pub routes: Routes,
    /// Effective rp_filter: 0, 1 strict, 2 loose.
    pub rp_filter: u8,
    /// Effective accept_local.
    pub accept_local: bool,
    /// Effective route_localnet.
    pub route_localnet: bool,
    /// Effective accept_source_route.
    pub accept_source_route: bool,
    /// disable_ipv6 of the interface.
    pub ipv6_disabled: bool,
    /// UDP sockets that will be bound.
    pub listens: Vec<Listener>,
    /// Groups that will be joined; `None` where the application decides.
    pub joined: Option<BTreeSet<IpAddr>>,
}

/// What becomes of a frame once it is on the receiver's wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// It comes into a UDP socket's queue.
    Delivered,
    /// The kernel itself takes it: ARP, ICMP, TCP and the like.
    Kernel,
    /// It is lost.
    Lost(Cause),
    /// It depends on what isn't known before the run (what the application joins).
    Open,
}

/// A class of frames with its end, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// What they share.
    pub key: ClassKey,
    /// The frames.
    pub frames: FrameRanges,
    /// UDP datagrams among them.
    pub datagrams: u64,
    /// What becomes of them.
    pub end: End,
    /// The rule with its values; empty for what is delivered.
    pub why: String,
    /// What to do; empty for what is delivered.
    pub fix: String,
}

/// The fate of every class.
pub fn fates(classes: Vec<Class>, site: &Site) -> Vec<Fate> {
    classes
        .into_iter()
        .map(|Class { key, frames, datagrams }| {
            let end = end(&key, site);
            let (why, fix) = match end {
                End::Delivered | End::Open => (String::new(), String::new()),
                End::Kernel => (Cause::Kernel.row().why.to_owned(), Cause::Kernel.row().fix.to_owned()),
                End::Lost(cause) => (why(cause, &key, site), fix(cause, &key, site)),
            };
            Fate { key, frames, datagrams, end, why, fix }
        })
        .collect()
}

fn end(key: &ClassKey, site: &Site) -> End {
    let lost = End::Lost;
    if key.flaw == Flaw::NoEthernetHeader {
        return lost(Cause::Unsendable);
    }
    let (source, destination, protocol, port) = match key.carried {
        Carried::Other { ethertype } => {
            return match ethertype {
                _ if key.tagged => lost(Cause::Otherhost),
                Some(0x0800 | 0x86dd) if other_host(key, site) => lost(Cause::Otherhost),
                Some(0x0800 | 0x86dd) => lost(Cause::IpInhdr),
                Some(0x0806) => End::Kernel,
                _ => lost(Cause::UnhandledProto),
            };
        }
        Carried::Ip { source, destination, protocol, port } => (source, destination, protocol, port),
    };
    if key.tagged || other_host(key, site) {
        return lost(Cause::Otherhost);
    }
    if destination.is_ipv6() && site.ipv6_disabled {
        return lost(Cause::Ipv6disabled);
    }
    match key.flaw {
        Flaw::Header => return lost(Cause::IpInhdr),
        Flaw::HeaderSum => return lost(Cause::IpCsum),
        Flaw::Length => return lost(Cause::PktTooSmall),
        Flaw::SourceRoute if !site.accept_source_route => return lost(Cause::SourceRoute),
        _ => {}
    }
    if let Some(end) = route(source, destination, site) {
        return end;
    }
    if key.flaw == Flaw::FragmentMissing {
        return lost(Cause::FragReasmTimeout);
    }
    match protocol {
        ip_protocol::UDP => datagram(key.flaw, destination, port, site),
        // ICMP, IGMP, TCP, ICMPv6, no next header, UDP-Lite: the kernel has handlers of its own.
        1 | 2 | 6 | 58 | 59 | 136 => End::Kernel,
        // Tunnels, IPsec, SCTP and the like have a handler where a module is loaded: not to be known from here.
        0 | 4 | 41 | 43 | 44 | 46 | 47 | 50 | 51 | 60 | 94 | 103 | 108 | 112 | 115 | 132 => End::Open,
        _ => lost(Cause::IpNoproto),
    }
}

fn other_host(key: &ClassKey, site: &Site) -> bool {
    !key.mac.is_group() && key.mac != site.mac
}

/// What routing says of a packet; `None`: it is for this host.
fn route(source: IpAddr, destination: IpAddr, site: &Site) -> Option<End> {
    let own = |address: IpAddr| site.addresses.iter().any(|net| net.addr() == address);
    let lost = |cause| Some(End::Lost(cause));
    let (IpAddr::V4(from), IpAddr::V4(to)) = (source, destination) else {
        return match (source, destination) {
            (IpAddr::V6(from), _) if from.is_multicast() || from.is_loopback() => lost(Cause::IpInhdr),
            (_, IpAddr::V6(to)) if to.is_loopback() => lost(Cause::IpInhdr),
            (_, IpAddr::V6(to)) if to.is_multicast() => multicast(destination, site),
            _ if own(destination) => None,
            _ if site.routes == Routes::Sources => lost(Cause::IpInaddrerrors),
            _ => lost(Cause::IpInnoroutes),
        };
    };
    if to.is_multicast() {
        return multicast(destination, site);
    }
    if from.is_multicast() || from.is_broadcast() {
        return lost(Cause::IpInvalidSource);
    }
    let for_everybody = to.is_broadcast() || (from.is_unspecified() && to.is_unspecified());
    if !for_everybody {
        if from.octets()[0] == 0 {
            return lost(Cause::IpInvalidSource);
        }
        if !site.route_localnet && (from.is_loopback() || to.is_loopback()) {
            return lost(Cause::IpLocalnet);
        }
    }
    let broadcast = site.addresses.iter().any(|net| match net {
        IpNet::V4(net) => net.prefix_len() < 31 && net.broadcast() == to,
        IpNet::V6(_) => false,
    });
    if !(for_everybody || broadcast || own(destination) || (to.is_loopback() && site.route_localnet)) {
        return lost(Cause::IpInaddrerrors);
    }
    if from.is_unspecified() {
        return None;
    }
    if (own(source) || from.is_loopback()) && !site.accept_local {
        return lost(Cause::IpLocalSource);
    }
    if site.rp_filter > 0 && !own(source) && !has_route(source, site) {
        return lost(Cause::IpRpfilter);
    }
    None
}

fn multicast(group: IpAddr, site: &Site) -> Option<End> {
    // 224.0.0.1 and ff02::1 are every host's own (RFC 1112 §4, RFC 4291 §2.8).
    let all_hosts = match group {
        IpAddr::V4(group) => group.octets() == [224, 0, 0, 1],
        IpAddr::V6(group) => group.segments() == [0xff02, 0, 0, 0, 0, 0, 0, 1],
    };
    match &site.joined {
        _ if all_hosts => None,
        None => Some(End::Open),
        Some(joined) if joined.contains(&group) => None,
        Some(_) => Some(End::Lost(Cause::MulticastNotJoined)),
    }
}

/// Whether the receiver has a route back to `source`.
fn has_route(source: IpAddr, site: &Site) -> bool {
    site.addresses.iter().any(|net| net.contains(&source))
        || match &site.routes {
            Routes::Sources => true,
            Routes::Prefixes(prefixes) => prefixes.iter().any(|prefix| prefix.contains(&source)),
        }
}

fn datagram(flaw: Flaw, destination: IpAddr, port: Option<u16>, site: &Site) -> End {
    match flaw {
        Flaw::UdpLength => return End::Lost(Cause::PktTooSmall),
        Flaw::UdpSum | Flaw::UdpSumOffload | Flaw::UdpSumAbsent => return End::Lost(Cause::UdpCsum),
        _ => {}
    }
    let served = |listener: &Listener| {
        listener.transport == Transport::Udp
            && Some(listener.port) == port
            && listener.address.is_none_or(|address| {
                address == destination || address.is_unspecified() || is_limited_broadcast(destination)
            })
    };
    if port.is_some() && !site.listens.iter().any(served) { End::Lost(Cause::NoSocket) } else { End::Delivered }
}

/// The rule with its values.
fn why(cause: Cause, key: &ClassKey, site: &Site) -> String {
    let Carried::Ip { source, destination, protocol, port } = key.carried else {
        return match (cause, key.carried) {
            (Cause::UnhandledProto, Carried::Other { ethertype: Some(ethertype) }) => {
                format!("no handler for EtherType 0x{ethertype:04x} is registered in the kernel")
            }
            (Cause::Otherhost, _) => other_host_why(key, site),
            _ => cause.row().why.to_owned(),
        };
    };
    let interface = &site.interface;
    match cause {
        Cause::Otherhost => other_host_why(key, site),
        Cause::PktTooSmall if key.flaw == Flaw::UdpLength => {
            "the UDP header's length does not fit its packet".to_owned()
        }
        Cause::PktTooSmall => {
            "the IP length field says more bytes than the frame holds: it was cut by the snaplen".to_owned()
        }
        Cause::IpInvalidSource => {
            format!("no host may send from {source} (RFC 1812 §5.3.7): the receiver takes it for a martian")
        }
        Cause::IpLocalnet => {
            let address = if source.is_loopback() { source } else { destination };
            format!("{address} is a loopback address: it is never accepted from a wire (RFC 1122 §3.2.1.3)")
        }
        Cause::IpLocalSource => {
            format!("the source {source} is one of the receiver's own addresses (accept_local = 0)")
        }
        Cause::IpRpfilter => format!(
            "no route back to {source} through {interface}, and rp_filter = {} there ({}; effective: the larger of all and {interface})",
            site.rp_filter,
            if site.rp_filter == 1 { "strict" } else { "loose" },
        ),
        Cause::IpInaddrerrors | Cause::IpInnoroutes => {
            format!("{destination} is no address of the receiver ({}), and it does not forward", addresses(site))
        }
        Cause::MulticastNotJoined => format!("no socket of the receiver has joined {destination} on {interface}"),
        Cause::IpNoproto => format!("no handler for IP protocol {protocol} is registered in the kernel"),
        Cause::UdpCsum => match key.flaw {
            Flaw::UdpSumOffload => {
                "the stored UDP checksum is the pseudo-header's sum only: captured on the sending host, \
                                    before its interface finished the checksum (offload)"
                    .to_owned()
            }
            Flaw::UdpSumAbsent => "UDP over IPv6 must have a checksum (RFC 8200 §8.1), and this has none".to_owned(),
            _ => "the UDP checksum is wrong".to_owned(),
        },
        Cause::NoSocket => match port {
            Some(port) => format!("nothing listens on UDP port {port}{}", listeners(site)),
            None => cause.row().why.to_owned(),
        },
        _ => cause.row().why.to_owned(),
    }
}

fn other_host_why(key: &ClassKey, site: &Site) -> String {
    if key.tagged {
        format!(
            "the frame carries a VLAN tag, and {} has no such VLAN: the stack leaves it to some other host",
            site.interface
        )
    } else {
        format!("the frame's destination MAC is {}, {} has {}", key.mac, site.interface, site.mac)
    }
}

fn addresses(site: &Site) -> String {
    match site.addresses.as_slice() {
        [] => "it has none".to_owned(),
        [first] => format!("it has {}", first.addr()),
        [first, rest @ ..] => format!("it has {} and {} more", first.addr(), rest.len()),
    }
}

fn listeners(site: &Site) -> String {
    let udp: Vec<String> = site.listens.iter().take(4).map(ToString::to_string).collect();
    if udp.is_empty() { String::new() } else { format!("; there is {}", udp.join(", ")) }
}

/// What to do, in the scenario's own words and values where they are known.
fn fix(cause: Cause, key: &ClassKey, site: &Site) -> String {
    let Carried::Ip { source, port, .. } = key.carried else { return cause.row().fix.to_owned() };
    match cause {
        Cause::Otherhost if key.tagged => {
            "capture without the tag, or leave tagged frames out: `[capture] filter = \"not vlan\"`".to_owned()
        }
        Cause::IpRpfilter => format!(
            "`[lab] routes = \"sources\"` (or a list with {source}), or map the source, or set \
             \"net.ipv4.conf.all.rp_filter\" = 0 and \"net.ipv4.conf.{{receiver}}.rp_filter\" = 0"
        ),
        Cause::NoSocket => match (port, site.listens.first()) {
            (Some(port), Some(listener)) => {
                format!(
                    "`[rewrite.destination] port = {{ {port} = {} }}`, or let the application listen on {port}",
                    listener.port
                )
            }
            _ => cause.row().fix.to_owned(),
        },
        _ => cause.row().fix.to_owned(),
    }
}

#[cfg(test)]
mod tests;
