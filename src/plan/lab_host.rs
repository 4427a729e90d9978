//! The receiver that the lab will be: from `[lab]`, and from what the frames need.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv6Net};

use super::survey::{self, Reassembly, Survey};
use super::{LAB_RECEIVER, LAB_RECEIVER_MAC, LAB_SENDER_MAC};
use crate::diagnostic::Diagnostic;
use crate::figures::count;
use crate::host::settings::in_lab;
use crate::host::{Host, Route, RouteTable, Settings, Socket};
use crate::packet::MacAddr;
use crate::scenario::Scenario;
use crate::scenario::receiver::Program;
use crate::scenario::require::{Listener, Transport};
use crate::scenario::topology::{IPV6_LEAST_MTU, LabMac, LabTopology, Routes};

/// The lab's receiver.
pub(super) fn host(scenario: &Scenario, lab: &LabTopology, survey: &Survey, notes: &mut Vec<Diagnostic>) -> Host {
    let mac = match lab.mac.value {
        LabMac::Literal(mac) => mac,
        LabMac::Captured => captured_mac(survey, scenario.receiver.only_sniffs(), notes),
    };
    let mut settings = Settings::of(LAB_RECEIVER, |key| in_lab(key, LAB_RECEIVER, &lab.sysctl).ok_or(()));
    settings.ipv6_disabled |= lab.mtu.value < IPV6_LEAST_MTU;
    let addresses = match &lab.addresses {
        Some(addresses) => addresses.value.iter().map(|address| address.value).collect(),
        None => captured_addresses(survey, settings.ipv6_disabled, notes),
    };
    if lab.addresses.is_none() && survey.destinations_cut {
        notes.push(
            Diagnostic::warning(format!(
                "more than {}: the receiver has only the first",
                count(survey::MOST_ENDPOINTS as u64, "destination address")
            ))
            .fix("say `[lab] addresses` with a prefix, or map the destinations"),
        );
    }
    let listens = listeners(scenario, survey);
    let joined: Option<BTreeSet<IpAddr>> = scenario.receiver.program.command.is_none().then(|| {
        // The built-in receiver joins groups where it has a socket at all.
        if survey.udp_ports.is_empty() { BTreeSet::new() } else { survey.groups.clone() }
    });
    Host {
        routes: routes(&addresses, &lab.routes.value, mac, settings.ipv6_disabled),
        addresses,
        settings,
        sockets: listens.iter().copied().map(Socket::from).collect(),
        listens,
        joined,
        ..Host::of_lab(LAB_RECEIVER, mac)
    }
}

/// The sockets that the scenario names, or else those that the datagrams of the frames go to.
pub(super) fn listeners(scenario: &Scenario, survey: &Survey) -> Vec<Listener> {
    let mut listens: Vec<Listener> =
        scenario.receiver.processes.iter().flat_map(Program::named_sockets).copied().collect();
    match &scenario.receiver.program.listens {
        Some(own) => listens.extend_from_slice(&own.value.sockets),
        // Where no process has a socket for them.
        None => {
            let is_served = |port: u16| listens.iter().any(|listener| listener.is_udp() && listener.port == port);
            let ports: BTreeSet<u16> = survey.udp_ports.iter().map(|(port, _)| *port).collect();
            let ports: Vec<u16> = ports.into_iter().filter(|port| *port != 0 && !is_served(*port)).collect();
            let listener = |port| Listener { transport: Transport::Udp, address: None, port };
            listens.extend(ports.into_iter().map(listener));
        }
    }
    listens
}

/// The unicast destinations of the frames; of a family that has none, but packets, a documentation address: programs that look for an
/// address before they bind or join find one.
fn captured_addresses(survey: &Survey, ipv6_disabled: bool, notes: &mut Vec<Diagnostic>) -> Vec<IpNet> {
    let of_family = |six: bool| move |address: &&IpAddr| address.is_ipv6() == six && !address.is_unspecified();
    let sources = survey.sources();
    let mut addresses = Vec::new();
    for six in [false, true] {
        let used = sources.iter().any(|source| source.is_ipv6() == six);
        if six && ipv6_disabled || !used {
            continue;
        }
        let before = addresses.len();
        addresses.extend(survey.destinations.iter().filter(of_family(six)).map(|address| IpNet::from(*address)));
        if addresses.len() > before {
            continue;
        }
        let Some(chosen) = documentation(six).find(|address| !sources.contains(address)) else { continue };
        notes.push(
            Diagnostic::note(format!(
                "no {} packet goes to an address that the receiver can have: it has {chosen}",
                if six { "IPv6" } else { "IPv4" }
            ))
            .fix("`[lab] addresses` gives it others"),
        );
        addresses.push(chosen.into());
    }
    addresses
}

/// Addresses for documentation (RFC 5737, RFC 3849).
fn documentation(six: bool) -> impl Iterator<Item = IpAddr> {
    (20..=254).map(move |host| match six {
        false => Ipv4Addr::new(192, 0, 2, host).into(),
        true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into()).into(),
    })
}

/// The sender's MAC: another one than the receiver's.
pub fn sender_mac(receiver: MacAddr) -> MacAddr {
    if receiver == LAB_SENDER_MAC { LAB_RECEIVER_MAC } else { LAB_SENDER_MAC }
}

/// How long a lab's receiver waits for fragments: a step may stand between those of one datagram.
pub(super) fn needed_reassembly(scenario: &Scenario, survey: &Survey) -> Duration {
    let paused = scenario.steps.iter().map(|step| step.waits().saturating_add(step.may_take(&scenario.receiver))).sum();
    survey.reassembly().needed(paused)
}

/// The timeouts of the lab's reassembly: `needed`, where `[lab] sysctl` doesn't set them.
pub(super) fn reassembly(lab: &LabTopology, needed: Duration) -> Reassembly {
    let of = |key| {
        let seconds = in_lab(key, LAB_RECEIVER, &lab.sysctl).and_then(|value| value.parse().ok());
        seconds.map_or(needed, Duration::from_secs)
    };
    Reassembly::new(of("net.ipv4.ipfrag_time"), of("net.ipv6.ip6frag_time"))
}

/// What the lab gives its receiver: addresses, ways back, and the link-local address of its MAC (RFC 4291 appendix A).
fn routes(addresses: &[IpNet], ways_back: &Routes, mac: MacAddr, ipv6_disabled: bool) -> RouteTable {
    let any = [IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    let ways_back: Vec<IpNet> = match ways_back {
        Routes::Sources => any.to_vec(),
        Routes::Prefixes(prefixes) => prefixes.clone(),
    };
    let link_local = Ipv6Net::new(mac.link_local(), 64).map(IpNet::V6).ok();
    RouteTable::of_loopback()
        .chain(RouteTable::of_addresses(addresses, LAB_RECEIVER))
        .chain(RouteTable::of_addresses(link_local.as_slice(), LAB_RECEIVER))
        .chain(ways_back.into_iter().map(|prefix| Route::out(prefix, LAB_RECEIVER)))
        .filter(|route| route.prefix.addr().is_ipv4() || !ipv6_disabled)
        .collect()
}

/// The destination MAC that the frames share, or the commonest one, with a note. A sniffer gets the frames to other ones, too.
pub(super) fn captured_mac(survey: &Survey, only_sniffs: bool, notes: &mut Vec<Diagnostic>) -> MacAddr {
    let Some((mac, frames)) = commonest(survey.macs.iter()) else { return LAB_RECEIVER_MAC };
    if survey.macs.len() > 1 && !only_sniffs {
        notes.push(
            Diagnostic::note(format!(
                "the rewritten frames go to {}; the receiver has the commonest, {mac} ({})",
                count(survey.macs.len() as u64, "MAC address"),
                count(frames, "frame")
            ))
            .fix("`[rewrite.destination] mac = \"receiver\"` sends them all to it"),
        );
    }
    mac
}

/// The MAC with the most frames, and how many.
pub(super) fn commonest<'a>(macs: impl Iterator<Item = (&'a MacAddr, &'a u64)>) -> Option<(MacAddr, u64)> {
    macs.map(|(mac, frames)| (*mac, *frames)).max_by_key(|(mac, frames)| (*frames, std::cmp::Reverse(*mac)))
}
