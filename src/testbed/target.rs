//! `[target]`: a real interface of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Side;
use crate::diagnostic::{At, Diagnostic, Failure, Kind, Result, Source};
use crate::figures::{agree, count, thousands};
use crate::host::Host;
use crate::host::namespace::Namespace;
use crate::host::neighbours::NextHop;
use crate::host::{interface, neighbours};
use crate::packet::MacAddr;
use crate::plan::{LinkFacts, Plan};
use crate::scenario::Scenario;
use crate::scenario::rewrite::MacMap;

/// So many destinations are looked up in the neighbour table.
const MOST_NEIGHBOURS: usize = 256;
/// So long the kernel may take to learn the MAC of a next hop.
const MOST_ASKING: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(5);

/// A real interface. Sender and receiver are the namespace that restage runs in: it is where `[require]` and commands look.
#[derive(Debug)]
pub struct Target {
    pub(super) side: Side,
}

impl Target {
    pub(super) fn open(interface: &str) -> Result<Self> {
        Ok(Self { side: Side::shared(Namespace::current()?, interface) })
    }
}

/// Blocks a scenario whose interface is not among `allowed`.
pub(super) fn allow(interface: &At<String>, source: &Arc<Source>, allowed: &[String]) -> Result<()> {
    let name = &interface.value;
    if allowed.contains(name) {
        return Ok(());
    }
    Err(Failure::blocked(
        Diagnostic::error(format!("sending on the real interface `{name}` is not allowed"))
            .at(source, interface.span.clone())
            .why("frames on a real interface reach other hosts: the command line must name it as well")
            .fix(format!("`restage run --allow-interface {name} …`, if that network may have these frames")),
    ))
}

/// So many frames may be due in one second, where the caller doesn't say it.
const MOST_A_SECOND: u64 = 10_000;

/// Blocks a scenario whose frames go to addresses that hosts elsewhere may have, or that sends more than `rate` of them in a second.
pub(super) fn limit(interface: &At<String>, scenario: &Scenario, plan: &Plan, rate: Option<u64>) -> Result<()> {
    let mut problems = Vec::new();
    let name = &interface.value;
    if let Some((frame, destination)) = plan.reach.beyond {
        let all = count(plan.reach.frames_beyond, "frame");
        let verb = agree(plan.reach.frames_beyond, "goes", "go");
        problems.push(
            Diagnostic::error(format!("frame {frame} goes to {destination}, which may be a host of others"))
                .at(&scenario.source, interface.span.clone())
                .why(format!(
                    "{all} {verb} to such addresses; on a real interface they are sent to private, link-local, loopback and documentation \
                     addresses, and to groups whose scope is the site at most"
                ))
                .fix(format!(
                    "map it to the receiver's address (`[rewrite.destination] ip`), or `restage run --allow-interface {name} \
                     --allow-destination {destination} …`, if that host may have these frames; a prefix allows all of its addresses"
                )),
        );
    }
    let most = rate.unwrap_or(MOST_A_SECOND);
    if plan.reach.busiest > most {
        let pace = &scenario.pacing.rate;
        let span = pace.span.clone().or_else(|| interface.span.clone());
        problems.push(
            Diagnostic::error(format!("{} in one second are too many for a real interface", count(plan.reach.busiest, "frame")))
                .at(&scenario.source, span)
                .why(format!("at most {} a second are sent there, so that others can use the network, too", thousands(most)))
                .fix(format!(
                    "write a lower `[pacing] rate`, or `restage run --allow-interface {name} --allow-rate {} …`, if the network can carry that",
                    plan.reach.busiest
                )),
        );
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure { kind: Kind::Blocked, problems }) }
}

/// What is known of the interface.
///
/// # Errors
/// [`crate::diagnostic::Kind::Invalid`] for an interface that isn't there or can't carry Ethernet,
/// [`crate::diagnostic::Kind::Blocked`] for one that is down.
///
/// `gateway`: whether the router to other networks is asked for.
pub(super) fn facts(named: &At<String>, source: &Arc<Source>, gateway: bool) -> Result<LinkFacts> {
    let name = &named.value;
    let problem = |what: String| Diagnostic::error(what).at(source, named.span.clone());
    let Some(facts) = interface::facts(name)? else {
        return Err(Failure::invalid(
            problem(format!("there is no interface `{name}`"))
                .why(format!("there are: {}", interface::names()?.join(", "))),
        ));
    };
    let Some(mac) = facts.mac else {
        return Err(Failure::invalid(problem(format!("`{name}` is not an Ethernet interface"))));
    };
    if !facts.up {
        return Err(Failure::blocked(problem(format!("`{name}` is down")).fix(format!("`ip link set {name} up`"))));
    }
    let gateway =
        if gateway { Some(router(name).map_err(|failure| failure.at(source, named.span.as_ref()))?) } else { None };
    Ok(LinkFacts { mac, mtu: facts.mtu_bytes, gateway })
}

/// The interface of this name, of this machine that sends, and the receiver as it is reached by it.
///
/// # Errors
/// [`crate::diagnostic::Kind::Invalid`] for an interface that isn't there or can't carry Ethernet,
/// [`crate::diagnostic::Kind::Blocked`] for one that is down.
pub fn reach(interface: &str, gateway: bool, host: Host) -> Result<(LinkFacts, Host)> {
    let source = Arc::new(Source { path: PathBuf::new(), text: String::new() });
    let link = facts(&At::default_value(interface.to_owned()), &source, gateway)?;
    Ok((link, reached(interface, host)?))
}

/// Sends an empty datagram to the discard port (RFC 863), so that the kernel asks for the MAC of the next hop. What is not reachable stays so.
fn call(address: IpAddr) {
    let own = if address.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let _ = UdpSocket::bind((own, 0)).and_then(|socket| socket.send_to(&[], (address, 9)));
}

/// The MAC of the router to other networks.
///
/// # Errors
/// [`crate::diagnostic::Kind::Blocked`] where there is none, or it does not answer.
fn router(interface: &str) -> Result<MacAddr> {
    let routers = neighbours::routers(interface)?;
    let hops = asked(interface, &routers)?;
    if let Some(hop) = hops.values().next() {
        return Ok(hop.mac);
    }
    let why = match routers.first() {
        Some(router) => format!("by its routes it is {router}, and the neighbour table has no MAC for that"),
        None => "it has no route to other networks".to_owned(),
    };
    let problem = Diagnostic::error(format!("the MAC of the gateway of `{interface}` is not known"));
    Err(Failure::blocked(
        problem.why(why).fix("write the router's MAC; `ip route` and `ip neigh` show routers and their MACs"),
    ))
}

/// The next hops to these addresses. Where the neighbour table has none of them, the kernel is made to ask.
fn asked(interface: &str, addresses: &BTreeSet<IpAddr>) -> Result<BTreeMap<IpAddr, NextHop>> {
    let mut hops = neighbours::next_hops(interface, addresses)?;
    let begun = Instant::now();
    if hops.is_empty() {
        for address in addresses {
            call(*address);
        }
    }
    while hops.is_empty() && !addresses.is_empty() && begun.elapsed() < MOST_ASKING {
        std::thread::sleep(LOOK);
        hops = neighbours::next_hops(interface, addresses)?;
    }
    Ok(hops)
}

/// A host as it is reached from here: where it is behind a router, with the router's MAC.
pub(super) fn reached(interface: &str, host: Host) -> Result<Host> {
    let addresses: BTreeSet<IpAddr> = host.addresses.iter().map(IpNet::addr).collect();
    let hops = asked(interface, &addresses)?;
    // One that is on this network has its own MAC.
    let is_here = hops.iter().any(|(address, hop)| hop.address == *address && hop.mac == host.mac);
    let hop = hops.values().find(|hop| !addresses.contains(&hop.address)).filter(|_| !is_here);
    Ok(Host { mac: hop.map_or(host.mac, |hop| hop.mac), ..host })
}

/// Frames whose destination MAC is none that this machine itself would use: most often still the captured one, which nothing on this network
/// has. Silent where a scenario gives all frames a MAC.
pub(super) fn foreign_macs(interface: &At<String>, scenario: &Scenario, plan: &Plan) -> Result<Vec<Diagnostic>> {
    if scenario.rewrite.sides.iter().any(|maps| matches!(maps.mac, Some(MacMap::All(_)))) {
        return Ok(Vec::new());
    }
    let name = &interface.value;
    let destinations: BTreeSet<IpAddr> =
        plan.sent_to.iter().map(|(address, _)| *address).take(MOST_NEIGHBOURS).collect();
    let hops = neighbours::next_hops(name, &destinations)?;
    let mut seen = BTreeSet::new();
    let mut warnings = Vec::new();
    for (destination, mac) in &plan.sent_to {
        let Some(hop) = hops.get(destination).filter(|hop| hop.mac != *mac) else { continue };
        if !seen.insert((*mac, hop.mac)) {
            continue;
        }
        let whose = if hop.address == *destination {
            format!("{destination} has {}", hop.mac)
        } else {
            format!("{destination} is behind {}, which has {}", hop.address, hop.mac)
        };
        let what = format!("frames to {destination} go to the MAC {mac}, and this machine knows another one");
        warnings.push(
            Diagnostic::warning(what)
                .at(&scenario.source, interface.span.clone())
                .why(format!("by `ip neigh show dev {name}`, {whose}; the host with another MAC drops the frames"))
                .fix(format!("`[rewrite.destination] mac = {{ \"{mac}\" = \"{}\" }}`", hop.mac)),
        );
    }
    Ok(warnings)
}
