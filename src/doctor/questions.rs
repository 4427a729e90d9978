//! What `restage doctor --interface` finds out: would such packets come to their socket here; if not, what refuses them. Start at [`ask`];
//! [`answer`] is a pure function of what was seen.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::capture::FrameRanges;
use crate::diagnostic::Result;
use crate::doctor::{Finding, State, bad, good, unknown};
use crate::figures::{agree, count, thousands};
use crate::host::ethtool;
use crate::host::interface::InterfaceFacts;
use crate::host::sysctl;
use crate::host::{Firewall, Host, RouteKind};
use crate::packet::layers::protocol;
use crate::predict::{self, Disposition, Prediction};
use crate::predict::{Carried, Class, ClassKey, Flaw, Tags};
use crate::scenario::require::{Listener, Offload, Transport};
use crate::wire::counters::Counters;

/// So many addresses of an interface are asked about.
const MOST_ADDRESSES: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub interface: String,
    pub listens: Vec<Listener>,
    /// Where packets come from; empty: from the interface's own networks.
    pub from: Vec<IpNet>,
}

/// What a machine reports beside what decides where a packet goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Beside {
    pub rp_filter: Option<String>,
    /// `net.core.rmem_max`, in bytes.
    pub rmem_max: Option<u64>,
    pub counters: Counters,
    /// Whether the card checks checksums, and whether packets are put together on receipt; `None`: its driver doesn't say.
    pub offloads: [Option<bool>; 2],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub findings: Vec<Finding>,
    /// Whether packets that were asked about would not come to their socket.
    pub loses: bool,
}

/// Looks at the machine, and answers.
///
/// # Errors
/// As [`Host::read`].
pub fn ask(question: &Question) -> Result<Answer> {
    let here = Host::read(&question.interface)?;
    let interface = question.interface.as_str();
    let beside = Beside {
        rp_filter: sysctl::effective(&format!("net.ipv4.conf.{}.rp_filter", sysctl::name(interface)))
            .ok()
            .map(|effective| effective.how),
        rmem_max: fs::read_to_string("/proc/sys/net/core/rmem_max").ok().and_then(|text| text.trim().parse().ok()),
        counters: Counters::read(interface)?,
        offloads: [Offload::RxChecksum, Offload::GenericReceive].map(|offload| ethtool::is_on(interface, offload).ok()),
    };
    Ok(answer(question, &here, &beside))
}

pub fn answer(question: &Question, here: &Host, beside: &Beside) -> Answer {
    let mut findings = vec![interface(here)];
    findings.extend(here.caveats().into_iter().filter(|_| here.interface.up).map(|note| {
        let why = [Some(note.what), note.why].into_iter().flatten().collect::<Vec<_>>().join("; ");
        Finding { fix: note.fix, ..unknown("what is not looked at", why) }
    }));
    findings.push(addresses(here));
    let mut loses = !here.interface.up;
    for listener in &question.listens {
        let (asked, buffers) = match listener.transport {
            Transport::Udp => (deliveries(listener, question, here, beside), buffers(listener, here, beside)),
            Transport::Tcp => (vec![tcp(listener, here)], Vec::new()),
        };
        loses |= asked.iter().any(|finding| finding.state == State::Bad);
        findings.extend(asked);
        // A socket that serves several listeners is reported once.
        for buffer in buffers {
            if !findings.contains(&buffer) {
                findings.push(buffer);
            }
        }
    }
    findings.push(counted(here, beside));
    findings.extend(offloads(beside));
    let (filter, look) = here.firewall.description();
    let state = if here.firewall == Firewall::None { State::Good } else { State::Unknown };
    findings.push(Finding { what: "the packet filter".to_owned(), state, why: filter, fix: look });
    Answer { findings, loses }
}

fn interface(here: &Host) -> Finding {
    let InterfaceFacts { name, up, running, mtu_bytes, .. } = &here.interface;
    let what = format!("the interface {name}");
    if !up {
        bad(what, "it is down: nothing comes in there", format!("`ip link set {name} up`"))
    } else if !running && !here.is_loopback() {
        let fix = format!("look at the cable, or at the other end; `ip link show {name}` shows its state");
        bad(what, "it is up, and its link isn't (no carrier)", fix)
    } else {
        good(what, format!("it is up, with the MAC {}; its MTU is {mtu_bytes} bytes", here.mac))
    }
}

fn addresses(here: &Host) -> Finding {
    let what = "its addresses";
    if here.addresses.is_empty() {
        let fix = format!("`ip address add ADDRESS/LENGTH dev {}`", here.interface.name);
        return bad(what, "it has none; other interfaces' addresses are taken there too", fix);
    }
    good(what, here.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

fn deliveries(listener: &Listener, question: &Question, here: &Host, beside: &Beside) -> Vec<Finding> {
    let host = here;
    let to: Vec<IpAddr> = match listener.address.filter(|address| !address.is_unspecified()) {
        Some(address) => vec![address],
        None => host
            .addresses
            .iter()
            .map(IpNet::addr)
            .filter(|address| !is_link_local(*address))
            .take(MOST_ADDRESSES)
            .collect(),
    };
    let own_networks: Vec<IpNet> = host.addresses.iter().map(IpNet::trunc).collect();
    let from = if question.from.is_empty() { &own_networks } else { &question.from };
    let mut findings = Vec::new();
    for destination in to {
        for network in from.iter().filter(|network| network.addr().is_ipv4() == destination.is_ipv4()) {
            let source = sample(*network, destination, here, question.from.is_empty());
            let Some(source) = source else { continue };
            findings.push(delivery(listener, (*network, source), destination, here, beside));
        }
    }
    if findings.is_empty() {
        let why = "the interface has no address of a family that packets come from, or none with a network around it";
        let fix =
            "say where they come from with `--from`, and to which address they go with `--listen udp:ADDRESS:PORT`";
        findings.push(Finding { fix: Some(fix.to_owned()), ..unknown(listener.to_string(), why) });
    }
    findings
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// A sender in a network: one that isn't this machine itself, where there is one. `None` for a single address that was not asked about.
fn sample(network: IpNet, destination: IpAddr, here: &Host, by_default: bool) -> Option<IpAddr> {
    if network.prefix_len() == network.max_prefix_len() {
        return (!by_default || here.is_loopback()).then(|| network.addr());
    }
    if here.is_loopback() && by_default {
        return Some(destination);
    }
    // The first addresses of a very short prefix belong to no host.
    let documentation: [IpAddr; 2] =
        [Ipv4Addr::new(198, 51, 100, 1).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()];
    if let Some(address) =
        documentation.into_iter().find(|address| network.prefix_len() < 8 && network.contains(address))
    {
        return Some(address);
    }
    let other = |host: &IpAddr| !here.routes.is_local(*host) && *host != network.network();
    network.hosts().take(64).find(other).or_else(|| network.hosts().next())
}

fn delivery(
    listener: &Listener,
    (network, source): (IpNet, IpAddr),
    destination: IpAddr,
    here: &Host,
    beside: &Beside,
) -> Finding {
    let from = if network.prefix_len() == network.max_prefix_len() {
        source.to_string()
    } else {
        format!("{network} (such as {source})")
    };
    let what = format!("UDP from {from} to {destination} port {}", listener.port);
    let prediction = of_datagram(source, destination, listener.port, here);
    let receivers = || {
        let sockets = bound(&Listener { address: Some(destination), ..*listener }, here);
        if sockets.is_empty() {
            "a connected socket receives from its peer only".to_owned()
        } else {
            format!("bound there: {}", sockets.join(", "))
        }
    };
    match prediction.disposition {
        Disposition::Delivered => {
            let back = if here.is_loopback() { String::new() } else { format!("{}; ", way_back(source, here, beside)) };
            good(what, format!("it is delivered: {back}{}", receivers()))
        }
        Disposition::Lost(cause) => bad(what, format!("{}: {}", cause.name(), prediction.why), prediction.fix),
        Disposition::Open if !prediction.why.is_empty() => unknown(what, prediction.why),
        Disposition::Kernel | Disposition::Open => unknown(what, "it is not known before"),
    }
}

/// The prediction for a datagram. On the loopback packets are this machine's own: they come with their route, and only a socket is missing.
fn of_datagram(source: IpAddr, destination: IpAddr, port: u16, here: &Host) -> Prediction {
    let carried = Carried::Ip { source, destination, protocol: protocol::UDP, port: Some(port) };
    let key = ClassKey { mac: here.mac, tags: Tags::None, in_vlan: false, carried, spent: false, flaw: Flaw::None };
    let mut frames = FrameRanges::default();
    frames.add(1);
    let mut host = here.clone();
    if here.is_loopback() {
        (host.settings.rp_filter, host.settings.accept_local, host.settings.route_localnet) = (0, true, true);
    }
    predict::prediction(Class { frames, datagrams: 1, packets: 1, ..Class::new(key) }, &host)
}

/// The route back, and what rp_filter makes of it.
fn way_back(source: IpAddr, here: &Host, beside: &Beside) -> String {
    let route = match here.routes.to(source).first() {
        Some(route) if route.kind == RouteKind::Unicast => {
            format!("the way back to {source} is {} dev {}", route.prefix, route.device)
        }
        Some(route) => format!("the way back to {source} is {} {}", route.kind.name(), route.prefix),
        None => format!("there is no way back to {source}, so that answers can't be sent"),
    };
    match &beside.rp_filter {
        Some(how) if source.is_ipv4() => {
            let strictness = match here.settings.rp_filter {
                0 => "off",
                1 => "strict",
                _ => "loose",
            };
            format!("{route}; rp_filter is {strictness} ({how})")
        }
        _ => route,
    }
}

/// The receive buffers of the sockets that listen there, and what they dropped.
fn buffers(listener: &Listener, here: &Host, beside: &Beside) -> Vec<Finding> {
    here.sockets
        .iter()
        .filter(|socket| socket.serves(listener))
        .map(|socket| {
            let what = format!(
                "the receive buffer of udp:{}",
                Listener { address: Some(socket.address), ..*listener }.to_string().trim_start_matches("udp:")
            );
            let most = beside.rmem_max.map_or_else(String::new, |most| {
                // The kernel doubles what a program asks for: half of it is for its own overhead (socket(7)).
                format!("; net.core.rmem_max = {most} lets a program ask for at most {}", most.saturating_mul(2))
            });
            let why = format!(
                "{}, {} in use; {} {} dropped since the socket was made{most}",
                count(socket.buffer_bytes.into(), "byte"),
                thousands(socket.unread_bytes.into()),
                count(socket.drops.into(), "datagram"),
                agree(socket.drops.into(), "was", "were")
            );
            if socket.drops == 0 {
                return good(what, why);
            }
            bad(
                what,
                why,
                "`sysctl -w net.core.rmem_max=8388608`, and let the application ask for it (SO_RCVBUF), or read faster",
            )
        })
        .collect()
}

fn bound(listener: &Listener, here: &Host) -> Vec<String> {
    let serving = here.sockets.iter().filter(|socket| socket.serves(listener));
    serving.map(|socket| format!("{} (uid {})", socket.address, socket.uid)).collect()
}

fn tcp(listener: &Listener, here: &Host) -> Finding {
    let bound = bound(listener, here);
    if bound.is_empty() {
        let fix = format!("start what is to listen on TCP port {}; `ss -tlnp` shows who listens where", listener.port);
        return bad(listener.to_string(), "nothing listens there", fix);
    }
    good(listener.to_string(), format!("bound there: {}", bound.join(", ")))
}

fn counted(here: &Host, beside: &Beside) -> Finding {
    let what = format!("what {} dropped so far", here.interface.name);
    let counters = [
        ("if.rx.dropped", "rx_dropped", "no handler, no room, or a longer frame than the MTU"),
        ("if.rx.missed", "rx_missed", "the card had no room: the machine was too slow"),
        ("if.rx.errors", "rx_errors", "broken on the wire"),
        ("if.rx.otherhost", "rx_otherhost_dropped", "for another MAC, or with the tag of a VLAN that has no interface"),
    ];
    let moved: Vec<String> = counters
        .iter()
        .filter_map(|(counter, name, meaning)| {
            let count = beside.counters.get(counter).filter(|count| *count > 0)?;
            Some(format!("{name} = {count} ({meaning})"))
        })
        .collect();
    if moved.is_empty() {
        return good(what, "nothing");
    }
    let name = &here.interface.name;
    let fix = format!("look whether they move while packets are lost: `ip -s -s link show {name}`");
    Finding { fix: Some(fix), ..unknown(what, moved.join("; ")) }
}

fn offloads(beside: &Beside) -> Option<Finding> {
    let word = |on: bool| if on { "on" } else { "off" };
    let [checksums, receive] = beside.offloads;
    let said: Vec<String> = [("receive checksums", checksums), ("generic receive offload", receive)]
        .into_iter()
        .filter_map(|(name, on)| on.map(|on| format!("{name} {}", word(on))))
        .collect();
    let why = format!("{}; packets with wrong checksums are dropped either way", said.join(", "));
    (!said.is_empty()).then(|| good("offloads", why))
}
