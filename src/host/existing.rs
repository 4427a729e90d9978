//! A network namespace that is there already, before an interface is made in it: what it has, and which addresses it uses itself. Start at
//! [`Existing::read`].

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;

use super::filter::Filter;
use super::interface::{InterfaceFacts, InterfaceKind};
use super::routes::{Route, RouteKind, RouteTable};
use super::settings::{ByFamily, Settings};
use super::surroundings::Surroundings;
use super::{Host, groups, sysctl};
use crate::diagnostic::Result;
use crate::packet::MacAddr;
use crate::scenario::topology::EXISTING_RECEIVER;

/// A network namespace, and what a new interface in it would be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// It, as seen from the interface that will be made; without addresses and routes of its own, and with a MAC of zeros.
    pub host: Host,
    /// Which one: the inode of `/proc/PID/ns/net`.
    pub inode: u64,
    /// Its first IPv4 and its first IPv6 address, not of the loopback, and of IPv6 not link-local.
    pub first_addresses: (Option<IpAddr>, Option<IpAddr>),
    /// How long it waits for the fragments of a datagram, of IPv4 and of IPv6.
    pub reassembly: (Duration, Duration),
    /// The addresses that it talks to, each with what shows it.
    pub in_use: Vec<(IpAddr, String)>,
    /// Networks that are reached without a gateway, with their interfaces.
    pub on_link: Vec<(IpNet, String)>,
    /// The interfaces with strict reverse path filtering: what comes in there by another way than answers would go is dropped.
    pub strict: BTreeSet<String>,
    /// The multicast groups that are joined on one of its interfaces.
    pub joined: BTreeSet<IpAddr>,
}

impl Existing {
    /// Reads the calling thread's network namespace. `resolver`: a `resolv.conf` of what runs there.
    ///
    /// # Errors
    /// [`Kind::Blocked`](crate::diagnostic::Kind::Blocked) where the kernel can't list sockets.
    pub fn read(inode: u64, resolver: &Path) -> Result<Self> {
        let mut there = Surroundings::read()?;
        let gateways = there.gateways()?;
        let mut in_use: Vec<(IpAddr, String)> = gateways
            .iter()
            .filter_map(|(prefix, gateway)| Some((gateway.as_ref()?, prefix)))
            .map(|(gateway, prefix)| (*gateway, format!("it is the gateway of the route to {prefix}")))
            .collect();
        in_use.extend(name_servers(resolver));
        in_use.extend(
            there.table.peers()?.into_iter().map(|peer| (peer, "a socket there is connected to it".to_owned())),
        );
        let carrying = there.links.iter().filter(|link| link.kind != InterfaceKind::Loopback);
        let carrying: Vec<InterfaceFacts> = carrying.cloned().collect();
        for link in carrying {
            let neighbours = there.neighbours(link.index)?;
            let known = neighbours.into_iter().filter(|(address, _)| !address.is_multicast());
            in_use
                .extend(known.map(|(address, _)| (address, format!("it is in the neighbour table of {}", link.name))));
        }
        let Surroundings { links, addresses, routes, further_rules, sockets, firewall, .. } = there;
        let is_on_link = |route: &&Route| {
            let has_gateway = gateways.iter().any(|(prefix, gateway)| *prefix == route.prefix && gateway.is_some());
            route.kind == RouteKind::Unicast && route.prefix.prefix_len() > 0 && !route.is_link_local() && !has_gateway
        };
        let on_link = routes.iter().filter(is_on_link).map(|route| (route.prefix, route.device.clone())).collect();
        let loopback = links.iter().find(|link| link.kind == InterfaceKind::Loopback).map(|link| link.index);
        let own = addresses.iter().filter(|(index, _)| Some(*index) != loopback).map(|(_, net)| net.addr());
        let own: Vec<IpAddr> = own.filter(|address| !is_link_local(*address) && !address.is_loopback()).collect();
        let host = Host {
            interface: InterfaceFacts::veth(EXISTING_RECEIVER, MacAddr::default()),
            real: true,
            // Link-local addresses are each interface's own.
            routes: routes.into_iter().filter(|route| !route.is_link_local()).collect::<RouteTable>(),
            further_rules,
            settings: settings(),
            sockets,
            filter: Filter::behind(&firewall),
            firewall,
            ..Host::of_lab(EXISTING_RECEIVER, MacAddr::default())
        };
        let seconds = |key: &str, default: u64| {
            Duration::from_secs(sysctl::read(key).ok().and_then(|value| value.parse().ok()).unwrap_or(default))
        };
        Ok(Self {
            host,
            inode,
            first_addresses: (own.iter().copied().find(IpAddr::is_ipv4), own.iter().copied().find(IpAddr::is_ipv6)),
            reassembly: (seconds("net.ipv4.ipfrag_time", 30), seconds("net.ipv6.ip6frag_time", 60)),
            in_use,
            on_link,
            strict: links.iter().map(|link| link.name.clone()).filter(|name| is_strict(name)).collect(),
            joined: links.iter().flat_map(|link| groups::joined(link.index)).collect(),
        })
    }
}

/// The settings of the interface that will be made: those of `default`, which it begins with, and what is the namespace's. It does not forward.
fn settings() -> Settings {
    let own = format!(".conf.{EXISTING_RECEIVER}.");
    let read = Settings::of(EXISTING_RECEIVER, |key| sysctl::read(&key.replace(&own, ".conf.default.")));
    Settings { forwarding: ByFamily { v4: false, ..read.forwarding }, ..read }
}

fn is_strict(interface: &str) -> bool {
    let key = format!("net.ipv4.conf.{}.rp_filter", sysctl::name(interface));
    sysctl::effective(&key).is_ok_and(|effective| effective.value == "1")
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// resolv.conf(5): a name server in a line.
fn name_servers(resolver: &Path) -> Vec<(IpAddr, String)> {
    let text = std::fs::read_to_string(resolver).unwrap_or_default();
    let server = |line: &str| {
        line.split_whitespace().collect::<Vec<_>>().as_slice().get(..2).and_then(|words| match words {
            ["nameserver", address] => address.parse::<IpAddr>().ok(),
            _ => None,
        })
    };
    let servers = text.lines().filter_map(server).filter(|address| !address.is_loopback());
    servers.map(|address| (address, "it is a name server of resolv.conf".to_owned())).collect()
}
