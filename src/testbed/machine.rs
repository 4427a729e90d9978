//! A real interface of this machine as the receiver: what its stack would do with frames that came in there. Nothing is sent, and nothing
//! needs a privilege. Start at [`machine_site`]; `questions` is what `restage doctor --interface` asks of it.

use std::path::Path;

use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::host::firewall::{self, Firewall};
use crate::host::machine::{Machine, MachineRoute, RouteType};
use crate::host::{Filter, Forwarding, Host, Route, RouteKind, RouteTable, Ruleset};
use crate::host::{ruleset, sysctl};

/// A real interface, as the prediction sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSite {
    /// What decides a frame's fate.
    pub host: Host,
    /// Where that was read.
    pub machine: Machine,
    /// What could be seen of the packet filter, which the prediction doesn't look at.
    pub firewall: Firewall,
    /// What else the prediction doesn't look at, or is odd.
    pub notes: Vec<Diagnostic>,
}

/// The interface of this name in the calling thread's network namespace, with all that decides what becomes of frames there.
///
/// # Errors
/// [`crate::diagnostic::Kind::Invalid`] for an interface that isn't there or isn't Ethernet,
/// [`crate::diagnostic::Kind::Blocked`] where the kernel can't list sockets.
pub fn machine_site(interface: &str) -> Result<MachineSite> {
    let machine = Machine::read(interface)?;
    let Some(mac) = machine.interface.mac else {
        return Err(Failure::invalid(
            Diagnostic::error(format!("`{interface}` is not an Ethernet interface"))
                .why("its frames have no MAC addresses, and captures of Ethernet don't come in there")
                .fix("name one that `ip -br link` lists with a MAC address"),
        ));
    };
    let firewall = firewall::look();
    let four = |name: &str| effective("ipv4", interface, name);
    let host = Host {
        interface: interface.to_owned(),
        real: true,
        loopback: machine.interface.kind == crate::host::interface::InterfaceKind::Loopback,
        vlans: !machine.relations.vlans.is_empty(),
        mac,
        addresses: machine.addresses.clone(),
        routes: routes(&machine),
        rp_filter: four("rp_filter"),
        accept_local: four("accept_local") != 0,
        route_localnet: four("route_localnet") != 0,
        accept_source_route: four("accept_source_route") != 0,
        segment_routing: ["seg6_enabled", "rpl_seg_enabled"].iter().any(|name| effective("ipv6", interface, name) != 0),
        drop_unicast_in_group: four("drop_unicast_in_l2_multicast") != 0,
        drop_unicast_in_group_v6: effective("ipv6", interface, "drop_unicast_in_l2_multicast") != 0,
        forwarding: Forwarding {
            v4: four("forwarding") != 0,
            v6: number("net.ipv6.conf.all.forwarding").unwrap_or(0) != 0,
        },
        // An interface without IPv6 has no such sysctl.
        ipv6_disabled: number(&format!("net.ipv6.conf.{}.disable_ipv6", dotless(interface))).unwrap_or(1) != 0,
        sockets: machine.sockets.clone(),
        listens: Vec::new(),
        filter: filter(&firewall),
        joined: Some(machine.groups.clone()),
    };
    Ok(MachineSite { notes: notes(&machine), firewall, host, machine })
}

/// The rules of this machine, where there are some and they can be seen.
fn filter(firewall: &Firewall) -> Filter {
    match firewall {
        // That it can't be seen is said beside the prediction.
        Firewall::None | Firewall::Unseen(_) => Filter::None,
        Firewall::Chains(chains) if chains.iter().any(|chain| chain.contains("(legacy")) => {
            Filter::Unseen("rules of the old iptables are there".to_owned())
        }
        Firewall::Chains(_) => match ruleset::list("", Path::new(""), "") {
            Ok(json) => Ruleset::read(&json)
                .map_or_else(|| Filter::Unseen("`nft` lists it in a form that is not known".to_owned()), Filter::Rules),
            Err(why) => Filter::Unseen(why),
        },
    }
}

/// sysctl(8): a dot inside a name is written as a slash.
pub(crate) fn dotless(interface: &str) -> String {
    interface.replace('.', "/")
}

fn number(key: &str) -> Option<u8> {
    sysctl::effective(key).ok().and_then(|effective| effective.value.parse().ok())
}

/// What a sysctl of the interface comes to; 0 where this kernel doesn't have it.
fn effective(family: &str, interface: &str, name: &str) -> u8 {
    number(&format!("net.{family}.conf.{}.{name}", dotless(interface))).unwrap_or(0)
}

/// The routes, as a packet that comes in on the interface finds them: link-local addresses are each interface's own.
fn routes(machine: &Machine) -> RouteTable {
    let here = |route: &&MachineRoute| match route.prefix.addr() {
        std::net::IpAddr::V6(address) if address.is_unicast_link_local() => route.device == machine.interface.name,
        _ => true,
    };
    let as_planned = |route: &MachineRoute| Route {
        prefix: route.prefix.trunc(),
        device: route.device.clone(),
        kind: match route.kind {
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::Local => RouteKind::Local,
            RouteType::Broadcast => RouteKind::Broadcast,
            RouteType::Blackhole => RouteKind::Blackhole,
            RouteType::Unreachable => RouteKind::Unreachable,
            RouteType::Prohibit => RouteKind::Prohibit,
        },
        metric: route.metric,
    };
    machine.routes.iter().filter(here).map(as_planned).collect()
}

fn notes(machine: &Machine) -> Vec<Diagnostic> {
    let name = &machine.interface.name;
    let mut notes = Vec::new();
    if !machine.interface.up {
        notes.push(
            Diagnostic::warning(format!("`{name}` is down: nothing comes in there"))
                .why("the prediction takes it for up")
                .fix(format!("`ip link set {name} up`")),
        );
    }
    if let Some(master) = &machine.relations.master {
        notes.push(
            Diagnostic::warning(format!("`{name}` belongs to `{master}`, which takes its frames"))
                .why("a bridge, bond or VRF is not looked at: the prediction takes the interface for itself")
                .fix(format!("ask about `{master}`")),
        );
    }
    if machine.further_rules > 0 {
        let rules = match machine.further_rules {
            1 => "1 policy rule is".to_owned(),
            more => format!("{more} policy rules are"),
        };
        notes.push(
            Diagnostic::note(format!("{rules} not looked at"))
                .why("only the tables local, main and default are")
                .fix("`ip rule` and `ip -6 rule` list them"),
        );
    }
    if !machine.relations.vlans.is_empty() {
        notes.push(Diagnostic::note(format!(
            "tagged frames go to {}, if their tag is theirs: what becomes of them there is not looked at",
            machine.relations.vlans.join(", ")
        )));
    }
    notes
}

/// What is to be said of the packet filter, in a line, and how to look at it.
pub fn of_firewall(firewall: &Firewall) -> (String, Option<String>) {
    match firewall {
        Firewall::None => ("no packet filter drops packets".to_owned(), None),
        Firewall::Chains(chains) => (
            format!("a packet filter is there, and may drop some: {}", chains.join("; ")),
            Some("`nft list ruleset` shows its rules".to_owned()),
        ),
        Firewall::Unseen(why) => (
            format!("whether a packet filter drops some is not known: {why}"),
            Some(
                "`sudo nft list ruleset` shows the rules, `sudo iptables-legacy-save` those of the old iptables"
                    .to_owned(),
            ),
        ),
    }
}
