//! What to do about a loss, to be pasted: a scenario's own words, or on a real machine a shell command, with the values filled in.
//! Never executed by restage. Start at [`fix`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::explain::{drops_in_group, no_socket};
use super::refused;
use crate::cause::Cause;
use crate::host::{Host, RouteKind, sysctl};
use crate::packet::MacAddr;
use crate::packet::layers::is_vlan_tag;
use crate::predict::{Carried, ClassKey, Flaw, Tags};

const MOST_WRITTEN: usize = 8;

pub(super) fn fix(cause: Cause, key: &ClassKey, host: &Host) -> String {
    if let (Cause::NoSocket, Carried::Ip { source, destination, port: Some(port), .. }) = (cause, key.carried) {
        return no_socket(source, destination, port, host).1;
    }
    if host.real { on_the_machine(cause, key, host) } else { in_the_scenario(cause, key, host) }
}

fn in_the_scenario(cause: Cause, key: &ClassKey, host: &Host) -> String {
    let plain = || cause.row().fix.to_owned();
    match key.tags {
        // Where one tag is popped already, that is not enough.
        Tags::One | Tags::Several if cause == Cause::Otherhost || is_tagged_behind(key) => {
            return "`[rewrite.vlan] pop = \"all\"`, or leave tagged frames out: `[capture] filter = \"not vlan\"`"
                .to_owned();
        }
        _ => {}
    }
    if let Flaw::Refused(fault) = key.flaw
        && fault.rule().cause == cause
    {
        return refused::fix(fault);
    }
    let Carried::Ip { source, destination, protocol, port } = key.carried else { return plain() };
    let map_source = || {
        let free = free_source(source, host);
        format!("`[rewrite.source] ip = {{ \"{source}\" = \"{free}\" }}`")
    };
    // Between loopback addresses both sides have to change.
    let map_destination = || {
        let map = to_the_receiver(destination, host);
        if source.is_loopback() { format!("{map} and {}", map_source()) } else { map }
    };
    match cause {
        Cause::NetfilterDrop => match port {
            Some(port) => format!("{}: `udp dport {port} accept`", cause.row().fix),
            None => plain(),
        },
        Cause::UnicastInL2Multicast if drops_in_group(destination, host) => {
            format!(
                "`[rewrite.destination] mac = {{ \"{}\" = \"receiver\" }}`, or take drop_unicast_in_l2_multicast out of `[lab] sysctl`",
                key.mac
            )
        }
        Cause::PktTooSmall if key.flaw == Flaw::UdpLength => "`[rewrite] lengths = \"fix\"`".to_owned(),
        Cause::PktTooSmall if key.flaw == Flaw::Length => {
            "`[rewrite] lengths = \"fix\"` with `checksums = \"fix\"`, or leave the frames out".to_owned()
        }
        Cause::PktTooSmall if key.flaw == Flaw::TcpLength => {
            "leave such segments out: `[capture] filter = \"not (tcp[12] >> 4 < 5)\"`".to_owned()
        }
        Cause::IpInhdr if key.flaw == Flaw::Header => {
            "`[rewrite] lengths = \"fix\"`, or leave the frames out".to_owned()
        }
        Cause::IpInhdr => match (source, destination) {
            (_, IpAddr::V6(to)) if to.is_loopback() => map_destination(),
            (IpAddr::V6(from), _) if from.is_loopback() || from.is_multicast() => map_source(),
            (_, IpAddr::V6(to)) if to.is_multicast() => to_the_receiver(destination, host),
            _ => format!("{}, or raise the TTL: `[rewrite.header] ttl = 64`", to_the_receiver(destination, host)),
        },
        Cause::IpInvalidSource => map_source(),
        Cause::IpLocalnet if destination.is_loopback() => map_destination(),
        Cause::IpLocalnet => map_source(),
        Cause::IpLocalSource => format!(
            "{}, or pick one direction with `[capture] filter`, or `[lab] sysctl = {{ \"net.ipv4.conf.{{receiver}}.accept_local\" \
             = 1 }}`",
            map_source()
        ),
        Cause::IpRpfilter => format!(
            "`[lab] routes = {}` (\"sources\" for all of them), or {}, or `[lab] sysctl = {{ \"net.ipv4.conf.all.rp_filter\" = 0, \
             \"net.ipv4.conf.{{receiver}}.rp_filter\" = 0 }}`",
            list(ways_back(host).into_iter().chain([around(source)])),
            map_source()
        ),
        Cause::IpInvalidDest => to_the_receiver(destination, host),
        // Of IPv6 it is counted as any other.
        Cause::IpInaddrerrors if destination.is_unspecified() => to_the_receiver(destination, host),
        Cause::IpInaddrerrors | Cause::IpInnoroutes | Cause::Forwarded => {
            let all = list(host.addresses.iter().copied().chain([destination.into()]));
            let map = to_the_receiver(destination, host);
            let add = if host.addresses.len() < MOST_WRITTEN {
                format!("`[lab] addresses = {all}`")
            } else {
                format!("add \"{destination}\" to `[lab] addresses`")
            };
            let off = if cause == Cause::Forwarded { ", or take forwarding out of `[lab] sysctl`" } else { "" };
            format!("{map}, or {add}{off}")
        }
        Cause::IpNoproto => {
            let family = if destination.is_ipv4() { "ip" } else { "ip6" };
            format!("leave such packets out: `[capture] filter = \"not {family} proto {protocol}\"`")
        }
        _ => plain(),
    }
}

/// Whether a VLAN tag is what the stack has no handler for.
fn is_tagged_behind(key: &ClassKey) -> bool {
    matches!(key.carried, Carried::Other { ethertype: Some(ethertype) } if is_vlan_tag(ethertype))
}

fn to_the_receiver(destination: IpAddr, host: &Host) -> String {
    let own = host.addresses.iter().find(|net| net.addr().is_ipv4() == destination.is_ipv4());
    match own {
        Some(own) => format!("`[rewrite.destination] ip = {{ \"{destination}\" = \"{}\" }}`", own.addr()),
        None => "map the destination to an address of the receiver (`[rewrite.destination] ip`)".to_owned(),
    }
}

fn list(networks: impl Iterator<Item = IpNet>) -> String {
    let quoted: Vec<String> = networks.map(|net| format!("\"{net}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

/// The ways back that `[lab] routes` names now, where they are few.
fn ways_back(host: &Host) -> Vec<IpNet> {
    let networks: Vec<IpNet> = host.addresses.iter().map(IpNet::trunc).collect();
    let written = |prefix: &IpNet| !networks.contains(prefix) && !is_link_local(prefix);
    host.routes
        .iter()
        .filter(|route| route.kind == RouteKind::Unicast && route.device == host.interface.name)
        .map(|route| route.prefix)
        .filter(written)
        .take(MOST_WRITTEN)
        .collect()
}

fn is_link_local(prefix: &IpNet) -> bool {
    matches!(prefix, IpNet::V6(net) if net.addr().is_unicast_link_local())
}

/// The network that a host is likely to be in: /24 or /64.
fn around(address: IpAddr) -> IpNet {
    let length = if address.is_ipv4() { 24 } else { 64 };
    IpNet::new(address, length).map_or_else(|_| address.into(), |net| net.trunc())
}

/// An address that a sender may have here: in the receiver's network, or one for documentation (RFC 5737, RFC 3849).
fn free_source(source: IpAddr, host: &Host) -> IpAddr {
    let near = host.addresses.iter().filter(|net| net.addr().is_ipv4() == source.is_ipv4());
    let near = near.filter_map(|net| net.hosts().find(|host| *host != net.addr() && *host != net.network()));
    let documentation: [IpAddr; 3] = if source.is_ipv4() {
        [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(203, 0, 113, 1)].map(IpAddr::V4)
    } else {
        [1, 2, 3].map(|host| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host)))
    };
    let [first, ..] = documentation;
    near.chain(documentation).find(|address| !host.routes.is_local(*address)).unwrap_or(first)
}

fn on_the_machine(cause: Cause, key: &ClassKey, host: &Host) -> String {
    let row = cause.row().machine;
    if cause == Cause::Otherhost && key.in_vlan {
        return filled(
            "`ip link add link IFACE name IFACE.ID type vlan id ID`, with the tag's number for ID",
            None,
            host,
        );
    }
    if cause == Cause::Otherhost {
        return format!("send to {}{}", host.mac, in_a_scenario_too(key.mac));
    }
    if let Flaw::Refused(fault) = key.flaw
        && fault.rule().cause == cause
    {
        return refused::on_the_machine(fault, &host.interface.name);
    }
    let Carried::Ip { source, destination, .. } = key.carried else { return filled(row, None, host) };
    match cause {
        Cause::IpRpfilter => filled(row, Some(source), host),
        Cause::IpLocalnet if source.is_loopback() => filled(
            "`sysctl -w net.ipv4.conf.IFACE.route_localnet=1 net.ipv4.conf.IFACE.accept_local=1`, or send from another address",
            Some(source),
            host,
        ),
        Cause::IpLocalnet => {
            filled("`sysctl -w net.ipv4.conf.IFACE.route_localnet=1`, or send to another address", Some(source), host)
        }
        Cause::UnicastInL2Multicast if !drops_in_group(destination, host) => format!("send to {}", host.mac),
        Cause::PktTooSmall if key.flaw == Flaw::UdpLength => "send a UDP length that fits its packet".to_owned(),
        Cause::PktTooSmall if key.flaw == Flaw::TcpLength => "send a TCP header that fits its segment".to_owned(),
        Cause::IpInhdr if key.flaw == Flaw::None && !key.spent => {
            "send from and to addresses that a host may have".to_owned()
        }
        Cause::IpInaddrerrors if destination.is_unspecified() => "send to an address that a host may have".to_owned(),
        _ if destination.is_ipv6() => filled(&of_ipv6(row), Some(destination), host),
        _ => filled(row, Some(destination), host),
    }
}

fn in_a_scenario_too(mac: MacAddr) -> String {
    format!(", not to {mac}; in a scenario for `--interface`, `[rewrite.destination] mac = \"receiver\"` does that")
}

/// The sysctls of IPv6, whose effective values do not depend on `all`.
fn of_ipv6(row: &str) -> String {
    row.replace("net.ipv4.conf.all.drop_unicast_in_l2_multicast=0 ", "").replace("net.ipv4.conf", "net.ipv6.conf")
}

/// The command with interface, address and prefix in their places.
fn filled(command: &str, address: Option<IpAddr>, host: &Host) -> String {
    let interface = &host.interface.name;
    // sysctl(8): a dot inside a name is written as a slash.
    let text = command.replace("conf.IFACE.", &format!("conf.{}.", sysctl::name(interface)));
    let text = text.replace("IFACE", interface);
    match address {
        Some(address) => {
            text.replace("ADDRESS", &IpNet::from(address).to_string()).replace("PREFIX", &around(address).to_string())
        }
        None => text,
    }
}
