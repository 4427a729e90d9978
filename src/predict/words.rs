//! What is said of a class of frames that is lost: why, the rule with its values, and what to do about it, to be pasted: a scenario's own
//! words, or on a real machine a shell command. Never executed by restage. Start at [`said`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{refused, sockets, stack};
use crate::cause::Cause;
use crate::host::{Host, RouteKind, sysctl};
use crate::packet::layers::{is_vlan_tag, protocol};
use crate::predict::{Carried, ClassKey, Flaw, Tags};
use crate::scenario::topology::EXISTING_RECEIVER;

const MOST_WRITTEN: usize = 8;

/// Why, what to do in a scenario, and what on a real machine; `None` where the cause's own row says it.
#[derive(Default)]
pub(super) struct Words {
    pub(super) why: Option<String>,
    pub(super) scenario: Option<String>,
    pub(super) machine: Option<String>,
}

/// Why the frames are lost, and what to do.
pub(super) fn said(cause: Cause, key: &ClassKey, host: &Host) -> (String, String) {
    let row = cause.row();
    let Words { why, scenario, machine } = match key.flaw {
        Flaw::Refused(fault) if fault.rule().cause == cause => refused::words(fault, &host.interface.name),
        _ => words(cause, key, host),
    };
    let fix = if host.real && !(host.is_of_a_run() && is_of_the_frames(cause)) {
        let fix = machine.unwrap_or_else(|| match key.carried {
            Carried::Ip { destination, .. } if destination.is_ipv6() => {
                // The effective values of IPv6 do not depend on `all`.
                let six = row.machine.replace("net.ipv4.conf.all.drop_unicast_in_l2_multicast=0 ", "");
                filled(&six.replace("net.ipv4.conf", "net.ipv6.conf"), Some(destination), host)
            }
            Carried::Ip { destination, .. } => filled(row.machine, Some(destination), host),
            Carried::Other { .. } => filled(row.machine, None, host),
        });
        let fix = if host.is_there_already() && cause == Cause::IpRpfilter { another_way_back(host) } else { fix };
        let port = match key.carried {
            Carried::Ip { port: Some(port), .. } if cause == Cause::NetfilterDrop => port.to_string(),
            _ => "PORT".to_owned(),
        };
        there(&fix.replace("PORT", &port), &host.command_prefix)
    } else {
        scenario.unwrap_or_else(|| row.fix.to_owned())
    };
    (why.unwrap_or_else(|| row.why.to_owned()), fix)
}

/// The cause's own remedy for a receiver that is this host.
pub fn remedy(cause: Cause, host: &Host) -> String {
    let row = cause.row();
    match (host.real, host.is_of_a_run() && is_of_the_frames(cause)) {
        (true, false) if host.is_there_already() && cause == Cause::IpRpfilter => {
            there(&another_way_back(host), &host.command_prefix)
        }
        (true, false) => there(&filled(row.machine, None, host), &host.command_prefix),
        _ => row.fix.to_owned(),
    }
}

/// What to do where a route back is there, since restage made it, and another one is taken.
fn another_way_back(host: &Host) -> String {
    let off = filled("`sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.IFACE.rp_filter=0`", None, host);
    format!(
        "look at `ip rule`: a rule sends answers to these sources another way; or {off} (the larger of the two counts)"
    )
}

/// Whether a cause is mended by changing the frames, whatever the receiver is.
fn is_of_the_frames(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::Unsendable
            | Cause::FrameTooLong
            | Cause::Otherhost
            | Cause::PktTooSmall
            | Cause::IpInhdr
            | Cause::IpCsum
            | Cause::TcpCsum
            | Cause::UdpCsum
            | Cause::IpInvalidSource
            | Cause::IpInvalidDest
            | Cause::IpLocalSource
            | Cause::IpLocalnet
            | Cause::FragReasmTimeout
            | Cause::DupFrag
            | Cause::Ipv6BadExthdr
    )
}

/// A remedy whose commands run where the receiver is. Its interface is made for each run, and begins with the settings of `default`.
pub fn there(fix: &str, prefix: &str) -> String {
    const PROGRAMS: [&str; 5] = ["sysctl", "ip", "nft", "ethtool", "ss"];
    let fix = fix.replace(&format!(".conf.{EXISTING_RECEIVER}."), ".conf.default.");
    PROGRAMS.iter().fold(fix, |fix, program| fix.replace(&format!("`{program} "), &format!("`{prefix}{program} ")))
}

#[expect(clippy::too_many_lines, reason = "one arm for each cause")]
fn words(cause: Cause, key: &ClassKey, host: &Host) -> Words {
    // Where one tag is popped already, that is not enough.
    let pop = || {
        let text = "`[rewrite.vlan] pop = \"all\"`, or leave tagged frames out: `[capture] filter = \"not vlan\"`";
        (key.tags != Tags::None).then(|| text.to_owned())
    };
    let because = |why: &str| Words { why: Some(why.to_owned()), ..Words::default() };
    let interface = &host.interface.name;
    if cause == Cause::Otherhost {
        let (why, machine) = if key.in_vlan {
            let add = "`ip link add link IFACE name IFACE.ID type vlan id ID`, with the tag's number for ID";
            (
                format!(
                    "the frame carries a VLAN tag, and {interface} has no such VLAN: the stack leaves it to some other host"
                ),
                filled(add, None, host),
            )
        } else {
            (
                format!("the frame's destination MAC is {}, {interface} has {}", key.mac, host.mac),
                format!(
                    "send to {}, not to {}; in a scenario for `--interface`, `[rewrite.destination] mac = \"receiver\"` does that",
                    host.mac, key.mac
                ),
            )
        };
        return Words { why: Some(why), scenario: pop(), machine: Some(machine) };
    }
    let (source, destination, protocol, port) = match key.carried {
        Carried::Ip { source, destination, protocol, port } => (source, destination, protocol, port),
        Carried::Other { ethertype } => {
            let why = match (cause, ethertype) {
                (Cause::UnhandledProto, _) if key.flaw == Flaw::Version => {
                    Some("the EtherType is that of IPv6, and the version in the header is another".to_owned())
                }
                (Cause::UnhandledProto, Some(ethertype)) => Some(unhandled(ethertype, key)),
                (Cause::UnhandledProto, None) => Some(
                    "an 802.2 LLC frame (spanning tree, CDP, SNAP): no handler for what it carries is registered in the kernel"
                        .to_owned(),
                ),
                (Cause::IpInhdr, _) => {
                    Some("the IP header is cut short, or its version is none that the kernel knows".to_owned())
                }
                _ => None,
            };
            return Words { why, scenario: pop().filter(|_| ethertype.is_some_and(is_vlan_tag)), machine: None };
        }
    };
    let map_source = || {
        let free = free_source(source, host);
        format!("`[rewrite.source] ip = {{ \"{source}\" = \"{free}\" }}`")
    };
    let to_the_receiver = || to_the_receiver(destination, host);
    // Between loopback addresses both sides have to change.
    let map_destination = || {
        let map = to_the_receiver();
        if source.is_loopback() { format!("{map} and {}", map_source()) } else { map }
    };
    let words = |why: String, scenario: String| Words { why: Some(why), scenario: Some(scenario), machine: None };
    match cause {
        Cause::NetfilterDrop => Words {
            why: stack::filtered(key, host),
            scenario: port.map(|port| format!("{}: `udp dport {port} accept`", cause.row().fix)),
            machine: None,
        },
        Cause::UnicastInL2Multicast if drops_in_group(destination, host) => words(
            format!(
                "the frame goes to {}, its packet to the unicast address {destination}, and drop_unicast_in_l2_multicast is set",
                key.mac
            ),
            format!(
                "`[rewrite.destination] mac = {{ \"{}\" = \"receiver\" }}`, or take drop_unicast_in_l2_multicast out of `[lab] sysctl`",
                key.mac
            ),
        ),
        Cause::UnicastInL2Multicast => Words {
            machine: Some(format!("send to {}", host.mac)),
            ..because(&format!(
                "{destination} is no address of the receiver, which does not forward frames with a multicast MAC ({})",
                key.mac
            ))
        },
        Cause::PktTooSmall => {
            let (why, scenario, machine) = match key.flaw {
                Flaw::UdpLength => (
                    "the UDP header's length does not fit its packet",
                    Some("`[rewrite] lengths = \"fix\"`"),
                    Some("send a UDP length that fits its packet"),
                ),
                Flaw::TcpLength => (
                    "the TCP data offset is below 5 words, the least that a header has (RFC 9293 §3.1)",
                    Some("leave such segments out: `[capture] filter = \"not (tcp[12] >> 4 < 5)\"`"),
                    Some("send a TCP header that fits its segment"),
                ),
                Flaw::LengthCaptured => {
                    ("the IP length field says more bytes than the frame holds: it was cut by the snaplen", None, None)
                }
                _ => (
                    "the IP length field says more bytes than the frame has",
                    Some("`[rewrite] lengths = \"fix\"` with `checksums = \"fix\"`, or leave the frames out"),
                    None,
                ),
            };
            Words { scenario: scenario.map(str::to_owned), machine: machine.map(str::to_owned), ..because(why) }
        }
        Cause::IpInhdr if key.flaw == Flaw::Header => {
            let fix = "`[rewrite] lengths = \"fix\"`, or leave the frames out";
            words("the IP length is less than the header's own".to_owned(), fix.to_owned())
        }
        Cause::IpInhdr => {
            let refuses = |address: IpAddr| address.is_ipv6() && (address.is_loopback() || address.is_multicast());
            let why = if refuses(source) {
                format!("no packet from the source {source} is accepted from a wire (RFC 4291 §2.5.3, §2.7)")
            } else if refuses(destination) {
                format!("no packet to {destination} is accepted from a wire (RFC 4291 §2.5.3, §2.7)")
            } else {
                format!(
                    "{destination} is no address of the receiver, which forwards; the TTL is used up, so that it can't send the packet on"
                )
            };
            let fix = match (refuses(source), refuses(destination)) {
                (_, true) if destination.is_loopback() => map_destination(),
                (true, _) => map_source(),
                (_, true) => to_the_receiver(),
                _ => format!("{}, or raise the TTL: `[rewrite.header] ttl = 64`", to_the_receiver()),
            };
            let send =
                (key.flaw == Flaw::None && !key.spent).then_some("send from and to addresses that a host may have");
            Words { machine: send.map(str::to_owned), ..words(why, fix) }
        }
        Cause::IpInvalidSource => {
            let is_broadcast = host.routes.to(source).first().is_some_and(|route| route.kind == RouteKind::Broadcast);
            let why = if is_broadcast {
                format!(
                    "the source {source} is a broadcast address of the receiver's, which rp_filter = {} finds out",
                    host.settings.rp_filter
                )
            } else {
                format!("no host may send from {source} (RFC 1812 §5.3.7): the receiver takes it for a martian")
            };
            words(why, map_source())
        }
        Cause::IpInvalidDest => words(
            format!("{destination} is no destination (RFC 1122 §3.2.1.3): the receiver takes it for a martian"),
            to_the_receiver(),
        ),
        Cause::IpLocalnet => {
            let address = if source.is_loopback() { source } else { destination };
            let machine = if source.is_loopback() {
                "`sysctl -w net.ipv4.conf.IFACE.route_localnet=1 net.ipv4.conf.IFACE.accept_local=1`, or send from another address"
            } else {
                "`sysctl -w net.ipv4.conf.IFACE.route_localnet=1`, or send to another address"
            };
            Words {
                why: Some(format!(
                    "{address} is a loopback address: it is never accepted from a wire (RFC 1122 §3.2.1.3)"
                )),
                scenario: Some(if destination.is_loopback() { map_destination() } else { map_source() }),
                machine: Some(filled(machine, Some(source), host)),
            }
        }
        Cause::IpLocalSource => words(
            format!("the source {source} is one of the receiver's own addresses (accept_local = 0)"),
            format!(
                "{}, or pick one direction with `[capture] filter`, or `[lab] sysctl = {{ \"net.ipv4.conf.{{receiver}}.accept_local\" \
                 = 1 }}`",
                map_source()
            ),
        ),
        Cause::IpRpfilter => Words {
            machine: Some(filled(cause.row().machine, Some(source), host)),
            ..words(
                reverse_path(source, host),
                format!(
                    "`[lab] routes = {}` (\"sources\" for all of them), or {}, or `[lab] sysctl = {{ \"net.ipv4.conf.all.rp_filter\" = 0, \
                     \"net.ipv4.conf.{{receiver}}.rp_filter\" = 0 }}`",
                    list(ways_back(host).into_iter().chain([around(source)])),
                    map_source()
                ),
            )
        },
        // Of IPv6 it is counted as any other.
        Cause::IpInaddrerrors if destination.is_unspecified() => Words {
            machine: Some("send to an address that a host may have".to_owned()),
            ..words(nowhere(cause, source, destination, host), to_the_receiver())
        },
        Cause::IpInaddrerrors | Cause::IpInnoroutes | Cause::Forwarded => {
            let all = list(host.addresses.iter().copied().chain([destination.into()]));
            let add = if host.addresses.len() < MOST_WRITTEN {
                format!("`[lab] addresses = {all}`")
            } else {
                format!("add \"{destination}\" to `[lab] addresses`")
            };
            let off = if cause == Cause::Forwarded { ", or take forwarding out of `[lab] sysctl`" } else { "" };
            words(nowhere(cause, source, destination, host), format!("{}, or {add}{off}", to_the_receiver()))
        }
        Cause::MulticastNotJoined => {
            because(&format!("no socket of the receiver has joined {destination} on {interface}"))
        }
        Cause::DupFrag if key.flaw == Flaw::FragmentOverlaps => because(
            "a fragment overlaps another one of its datagram, or contradicts its end, and the kernel drops them all (RFC 5722)",
        ),
        Cause::DupFrag => because("the fragment's bytes came before; its datagram does without it"),
        Cause::IpNoproto => {
            let family = if destination.is_ipv4() { "ip" } else { "ip6" };
            words(
                format!("no handler for IP protocol {protocol} is registered in the kernel"),
                format!("leave such packets out: `[capture] filter = \"not {family} proto {protocol}\"`"),
            )
        }
        Cause::UdpCsum | Cause::TcpCsum => because(&checksum(key.flaw)),
        Cause::NoSocket => port.map_or_else(Words::default, |port| {
            // No peer has source port 0, so that a socket connected to another port of this source is named.
            let arrival = host.arrival((source, Some(0)), destination, port);
            let (why, fix) = sockets::why_no_socket(&arrival, &host.sockets, host.real);
            Words { machine: Some(fix.clone()), ..words(why, fix) }
        }),
        _ => Words::default(),
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

/// Whether drop_unicast_in_l2_multicast of the address's family counts.
fn drops_in_group(destination: IpAddr, host: &Host) -> bool {
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
    if cause == Cause::Forwarded {
        let way = host.routes.to(destination).first();
        let way =
            way.map_or_else(|| "to it".to_owned(), |route| format!("to {} through {}", route.prefix, route.device));
        return format!("{who}, which forwards: it has a route {way}, and sends it on");
    }
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

/// The command with interface, address and prefix in their places.
fn filled(command: &str, address: Option<IpAddr>, host: &Host) -> String {
    let interface = &host.interface.name;
    // sysctl(8): a dot inside a name is written as a slash.
    let text = command.replace("conf.IFACE.", &format!("conf.{}.", sysctl::name(interface)));
    let text = text.replace("IFACE", interface);
    let text = match host.firewall.input_chain() {
        // The chain that is there, in place of the usual one.
        Some(chain) => text.replace("inet filter input", chain),
        None => text,
    };
    match address {
        Some(address) => {
            text.replace("ADDRESS", &IpNet::from(address).to_string()).replace("PREFIX", &around(address).to_string())
        }
        None => text,
    }
}
