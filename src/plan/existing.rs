//! The receiver in a network namespace that is there already: which addresses and routes its new interface needs, and which of them it must not
//! get, since what runs there uses them. Start at [`host`].

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use super::lab_host::{captured_mac, listeners};
use super::survey::Survey;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::figures::{agree, count};
use crate::host::interface::InterfaceFacts;
use crate::host::{Existing, Host, Route, RouteKind, RouteTable, Socket};
use crate::scenario::Scenario;
use crate::scenario::topology::{EXISTING_RECEIVER, ExistingTopology, IPV6_LEAST_MTU, LabMac};

/// So many addresses are named in a message.
const MOST_NAMED: usize = 5;

/// An address of the frames that the new interface would be given, or a route to.
struct Taken {
    address: IpAddr,
    is_source: bool,
}

/// The receiver, with the addresses and routes that its interface will be given.
///
/// # Errors
/// [`crate::diagnostic::Kind::Blocked`] where one of them would cut the namespace off from an address that it uses.
pub(super) fn host(
    scenario: &Scenario,
    words: &ExistingTopology,
    survey: &Survey,
    there: &Existing,
    notes: &mut Vec<Diagnostic>,
) -> Result<Host> {
    if survey.destinations_cut || !survey.unclassed.is_empty() {
        return Err(too_many(scenario, words));
    }
    let mac = match words.pair.mac.value {
        LabMac::Literal(mac) => mac,
        LabMac::Captured => captured_mac(survey, scenario.receiver.only_sniffs(), notes),
    };
    let mut settings = there.host.settings;
    settings.ipv6_disabled |= words.pair.mtu.value < IPV6_LEAST_MTU;
    let has_family = |address: &IpAddr| address.is_ipv4() || !settings.ipv6_disabled;
    let routes = &there.host.routes;
    let addresses: Vec<IpAddr> = survey
        .destinations
        .iter()
        .copied()
        .filter(|address| !address.is_unspecified() && !address.is_loopback() && has_family(address))
        .filter(|address| !routes.is_local(*address))
        .collect();
    let sources: BTreeSet<IpAddr> = survey.sources().into_iter().filter(|source| can_be_routed(*source)).collect();
    let sources: BTreeSet<IpAddr> = sources.into_iter().filter(has_family).collect();
    let taken = addresses.iter().map(|address| Taken { address: *address, is_source: false });
    let taken: Vec<Taken> =
        taken.chain(sources.iter().map(|source| Taken { address: *source, is_source: true })).collect();
    refuse_what_is_used(scenario, words, there, &taken)?;
    notes.extend(diverted(scenario, words, there, &taken));
    notes.extend(there.host.caveats());
    let ways_back = IpNet::aggregate(&sources.iter().map(|source| IpNet::from(*source)).collect());
    let listens = listeners(scenario, survey);
    // A receiver that runs is what its sockets are; one that will be started has those that it is to have, too.
    let expected: Vec<Socket> =
        if words.runs_already { Vec::new() } else { listens.iter().copied().map(Socket::from).collect() };
    let own = addresses.iter().map(|address| Route::local(IpNet::from(*address), EXISTING_RECEIVER));
    let link_local =
        (!settings.ipv6_disabled).then(|| Route::local(IpNet::from(IpAddr::V6(mac.link_local())), EXISTING_RECEIVER));
    Ok(Host {
        interface: InterfaceFacts { mtu_bytes: words.pair.mtu.value, ..InterfaceFacts::veth(EXISTING_RECEIVER, mac) },
        mac,
        settings,
        routes: routes
            .iter()
            .cloned()
            .chain(own)
            .chain(link_local)
            .chain(ways_back.into_iter().map(|prefix| Route::out(prefix, EXISTING_RECEIVER)))
            .collect::<RouteTable>(),
        addresses: addresses.into_iter().map(IpNet::from).collect(),
        sockets: there.host.sockets.iter().cloned().chain(expected).collect(),
        joined: words.runs_already.then(|| survey.groups.intersection(&there.joined).copied().collect()),
        listens,
        ..there.host.clone()
    })
}

/// Whether a route to a source makes sense: of no group, no loopback, and not link-local, which no route decides.
fn can_be_routed(source: IpAddr) -> bool {
    let is_link_local = matches!(source, IpAddr::V6(source) if source.is_unicast_link_local());
    let is_broadcast = matches!(source, IpAddr::V4(source) if source.is_broadcast());
    !(source.is_unspecified() || source.is_loopback() || source.is_multicast() || is_link_local || is_broadcast)
}

/// Refuses addresses that what runs in the namespace uses: packets to them would go to the new interface instead.
fn refuse_what_is_used(scenario: &Scenario, words: &ExistingTopology, there: &Existing, taken: &[Taken]) -> Result<()> {
    let mut problems = Vec::new();
    for (is_source, table) in [(true, "source"), (false, "destination")] {
        let used: Vec<(IpAddr, String)> = taken
            .iter()
            .filter(|taken| taken.is_source == is_source)
            .filter_map(|taken| Some((taken.address, why_used(taken, there)?)))
            .collect();
        let Some((first, why)) = used.first() else { continue };
        let addresses: Vec<IpAddr> = used.iter().map(|(address, _)| *address).collect();
        let what = format!(
            "{} {} {} in use where the receiver is: {}",
            agree(used.len() as u64, "the captured", "captured"),
            agree(used.len() as u64, table, &format!("{table}s")),
            agree(used.len() as u64, "is", "are"),
            named(&addresses)
        );
        let effect = if is_source {
            format!(
                "the run would need a route to {first} through its own interface, and packets to the real host would go there"
            )
        } else {
            format!("the run would give {first} to its own interface, and packets to the real host would go there")
        };
        let new = match (is_source, first) {
            (false, _) => "`[rewrite.destination] ip = \"receiver\"`".to_owned(),
            (true, IpAddr::V4(_)) => {
                format!("`[rewrite.source] ip = {{ \"{}\" = \"198.51.100.0/24\" }}`", around(*first))
            }
            (true, IpAddr::V6(_)) => {
                format!("`[rewrite.source] ip = {{ \"{}\" = \"2001:db8::/64\" }}`", around(*first))
            }
        };
        let problem = Diagnostic::error(what)
            .at(&scenario.source, words.at.span.clone())
            .why(format!("of {first}: {why}; {effect}"));
        problems.push(problem.fix(format!("map {}: {new}", agree(used.len() as u64, "it", "them"))));
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure { kind: crate::diagnostic::Kind::Blocked, problems }) }
}

/// Why an address must not be taken; `None` if it may be.
fn why_used(taken: &Taken, there: &Existing) -> Option<String> {
    let address = taken.address;
    if taken.is_source && there.host.routes.is_local(address) {
        return Some("it is an address of the receiver's own".to_owned());
    }
    if let Some((_, why)) = there.in_use.iter().find(|(used, _)| *used == address) {
        return Some(why.clone());
    }
    if let Some((network, device)) = there.on_link.iter().find(|(network, _)| network.contains(&address)) {
        return Some(format!("it is in {network}, whose hosts {device} reaches directly"));
    }
    let route = there.host.routes.to(address).first()?;
    let drops = taken.is_source && route.kind == RouteKind::Unicast && there.strict.contains(&route.device);
    (drops && !is_for_documentation(address)).then(|| {
        format!(
            "{} has strict reverse path filtering (rp_filter = 1) and would drop what the real host sends meanwhile",
            route.device
        )
    })
}

/// Packets that go to the new interface while it is there, and not to where they go now.
fn diverted(scenario: &Scenario, words: &ExistingTopology, there: &Existing, taken: &[Taken]) -> Option<Diagnostic> {
    let is_diverted = |address: &IpAddr| {
        let route = there.host.routes.to(*address).first();
        route.is_some_and(|route| route.kind == RouteKind::Unicast) && !is_for_documentation(*address)
    };
    let addresses: Vec<IpAddr> = taken.iter().map(|taken| taken.address).filter(is_diverted).collect();
    let first = addresses.first()?;
    let device = there.host.routes.to(*first).first().map(|route| route.device.clone()).unwrap_or_default();
    let what = format!(
        "while it runs, what the receiver's network namespace sends to {} goes to the replay, and not to {device}",
        named(&addresses)
    );
    Some(
        Diagnostic::warning(what)
            .at(&scenario.source, words.at.span.clone())
            .why("destinations of the frames are given to the interface that restage makes there, and sources get a route through it")
            .fix("if it talks to them, map them into a range for documentation: 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 2001:db8::/32"),
    )
}

/// Ranges that no host has (RFC 5737, RFC 3849, RFC 2544 appendix C.2.2).
fn is_for_documentation(address: IpAddr) -> bool {
    let four = [([192, 0, 2, 0], 24), ([198, 51, 100, 0], 24), ([203, 0, 113, 0], 24), ([198, 18, 0, 0], 15)];
    match address {
        IpAddr::V4(address) => {
            four.iter().any(|(network, length)| Ipv4Net::new_assert((*network).into(), *length).contains(&address))
        }
        IpAddr::V6(address) => {
            ipnet::Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32).contains(&address)
        }
    }
}

/// The network that a fix maps.
fn around(address: IpAddr) -> IpNet {
    let length = if address.is_ipv4() { 24 } else { 64 };
    IpNet::new(address, length).expect("the length fits the family").trunc()
}

/// The first of them, and how many more.
fn named(addresses: &[IpAddr]) -> String {
    let first: Vec<String> = addresses.iter().take(MOST_NAMED).map(IpAddr::to_string).collect();
    match addresses.len().saturating_sub(MOST_NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

fn too_many(scenario: &Scenario, words: &ExistingTopology) -> Failure {
    Failure::blocked(
        Diagnostic::error("the frames have more addresses than are looked at one by one")
            .at(&scenario.source, words.at.span.clone())
            .why(format!(
                "each must be known not to be in use where the receiver is; at most {} are",
                count(super::survey::MOST_CLASSES as u64, "kind of packet")
            ))
            .fix("choose some frames with `[capture] frames` or `filter`, or map the addresses to a few"),
    )
}
