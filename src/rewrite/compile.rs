//! From the legal values of `[rewrite]` to the tables that a frame is looked up in.

#![allow(missing_docs, reason = "private to the crate; the names say it")]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::header::HeaderChange;
use super::mac::MacMap as MacTable;
use super::payload::{AddressMaps, Payloads};
use super::port::{PortMap, PortRange};
use super::prefix::{Prefix, PrefixMap};
use super::vlan::{IdentifierRange, Identifiers, VlanChange};
use super::{Rewriter, Roles, SideTables, Tables};
use crate::diagnostic::{At, Diagnostic, Failure, Kind, Result};
use crate::packet::MacAddr;
use crate::scenario::rewrite::{
    HeaderFields, IpMap, Lengths, MacMap, MacTarget, Rewrite, Side, SideMaps, TagPosition, Ttl, TunnelLayers, Vlan,
};

/// The table below `[rewrite]` that an entry is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Side(Side),
    Vlan,
    Header,
    Payload,
    Flows,
}

impl Table {
    /// Its name below `rewrite`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Side(side) => side.word(),
            Self::Vlan => "vlan",
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Flows => "flows",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rewrite.{}", self.word())
    }
}

/// One entry of a map, or a field that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub table: Table,
    pub mapping: Mapping,
    /// Where it is in the scenario.
    pub span: Option<Range<usize>>,
}

/// What an entry does: `from` is what it matches, `to` what it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// Replaces the first bits of addresses in `from`.
    Ip {
        from: IpNet,
        to: IpNet,
    },
    /// Makes every unicast address the receiver's.
    IpReceiver {
        v4: Option<IpAddr>,
        v6: Option<IpAddr>,
    },
    Mac {
        from: MacAddr,
        to: MacAddr,
    },
    /// Replaces every unicast MAC.
    MacAll {
        to: MacAddr,
    },
    Port {
        from: u16,
        last: u16,
        to: u16,
    },
    /// Removes this VLAN tag; `None` is all of them.
    VlanPop(Option<TagPosition>),
    VlanPush {
        id: u16,
        position: TagPosition,
    },
    /// Changes identifiers: the first and the last of each range. `from: None` is any that no other entry names.
    Vlan {
        tag: TagPosition,
        from: Option<(u16, u16)>,
        to: (u16, u16),
    },
    Ttl(Ttl),
    Tos(u8),
    TrafficClass(u8),
    Dscp(u8),
    FlowLabel(u32),
    /// Rewrites the payloads of this protocol, or this of flow exports.
    Payload(&'static str),
}

impl Mapping {
    /// What it puts there, as a scenario writes it; `None` where [`Mapping`]'s own text says it already.
    pub fn becomes(&self) -> Option<String> {
        match self {
            Self::Ip { to, .. } if to.prefix_len() == to.max_prefix_len() => Some(to.addr().to_string()),
            Self::Ip { to, .. } => Some(to.to_string()),
            Self::Mac { to, .. } => Some(to.to_string()),
            Self::Port { to, .. } => Some(to.to_string()),
            Self::Vlan { to, .. } => Some(range(*to)),
            _ => None,
        }
    }
}

impl fmt::Display for Mapping {
    /// What the entry matches, as a scenario writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip { from, .. } if from.prefix_len() == from.max_prefix_len() => write!(f, "{}", from.addr()),
            Self::Ip { from, .. } => write!(f, "{from}"),
            Self::IpReceiver { .. } => f.write_str("ip = \"receiver\""),
            Self::Mac { from, .. } => write!(f, "{from}"),
            Self::MacAll { to } => write!(f, "mac = \"{to}\""),
            Self::Port { from, last, .. } if from == last => write!(f, "{from}"),
            Self::Port { from, last, .. } => write!(f, "{from}-{last}"),
            Self::VlanPop(Some(_)) => f.write_str("pop"),
            Self::VlanPop(None) => f.write_str("pop = \"all\""),
            Self::VlanPush { id, .. } => write!(f, "push {id}"),
            Self::Vlan { from: Some(from), .. } => f.write_str(&range(*from)),
            Self::Vlan { from: None, .. } => f.write_str("*"),
            Self::Ttl(Ttl::Set(ttl)) => write!(f, "ttl = {ttl}"),
            Self::Ttl(Ttl::Change(change)) => write!(f, "ttl = \"{change:+}\""),
            Self::Tos(tos) => write!(f, "tos = {tos}"),
            Self::TrafficClass(class) => write!(f, "traffic-class = {class}"),
            Self::Dscp(dscp) => write!(f, "dscp = {dscp}"),
            Self::FlowLabel(label) => write!(f, "flow-label = {label}"),
            Self::Payload(protocol) => f.write_str(protocol),
        }
    }
}

/// Whether a single address in `from` may become a group's or the broadcast address.
fn may_make_a_group(from: IpNet, to: IpNet) -> bool {
    const BROADCAST: Ipv4Addr = Ipv4Addr::BROADCAST;
    let (groups, broadcast): (IpNet, bool) = match to {
        IpNet::V4(to) => (GROUPS_V4.into(), to.contains(&BROADCAST)),
        IpNet::V6(_) => (GROUPS_V6.into(), false),
    };
    let only_groups = groups.contains(&from) || from.addr() == BROADCAST;
    !only_groups && (broadcast || groups.contains(&to) || to.contains(&groups))
}

const GROUPS_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4);
const GROUPS_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8);

/// One number, or the first and the last of several.
fn range((first, last): (u16, u16)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

impl Rewriter {
    /// Compiles the maps.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when a MAC is a role whose address `roles` doesn't know; the problems have no place.
    pub fn compile(rewrite: &Rewrite, roles: &Roles) -> Result<Self> {
        let mut compiling = Compiling { roles: *roles, ..Compiling::default() };
        for maps in &rewrite.sides {
            compiling.add(maps);
        }
        let vlan = rewrite.vlan.as_ref().map(|vlan| compiling.vlan(vlan));
        let header = compiling.header(&rewrite.header);
        if !compiling.problems.is_empty() {
            return Err(Failure { kind: Kind::Invalid, problems: compiling.problems });
        }
        let maps = AddressMaps::new(&compiling.collected);
        let payloads = Payloads::new(rewrite, maps, |table, word, span| {
            compiling.entry(table, Mapping::Payload(word), Some(span))
        });
        let tables = |source, destination| Tables {
            source: SideTables::new(&compiling.collected, &[source, Side::Source, Side::Both]),
            destination: SideTables::new(&compiling.collected, &[destination, Side::Destination, Side::Both]),
        };
        let makes_groups = compiling
            .entries
            .iter()
            .any(|entry| matches!(entry.mapping, Mapping::Ip { from, to } if may_make_a_group(from, to)));
        let has_roles = rewrite.sides.iter().any(|maps| matches!(maps.side, Side::Client | Side::Server));
        Ok(Self {
            checksums: rewrite.checksums,
            lengths: rewrite.lengths,
            layers: rewrite.layers,
            oversize: rewrite.oversize.value,
            allow_unused: rewrite.allow_unused,
            from_client: tables(Side::Client, Side::Server),
            from_server: has_roles.then(|| Box::new(tables(Side::Server, Side::Client))),
            fragment_sums: std::sync::OnceLock::new(),
            templates: std::sync::OnceLock::new(),
            makes_groups,
            only_maps: !makes_groups
                && rewrite.lengths == Lengths::Preserve
                && rewrite.layers == TunnelLayers::Outer
                && vlan.as_ref().is_none_or(VlanChange::changes_lengths)
                && header.is_none(),
            vlan,
            header,
            payloads: payloads.map(Box::new),
            entries: compiling.entries,
        })
    }
}

#[derive(Default)]
struct Compiling {
    roles: Roles,
    entries: Vec<Entry>,
    problems: Vec<Diagnostic>,
    collected: Vec<(Side, Collected)>,
}

/// Maps while they are collected; each entry with its index in `entries`.
#[derive(Default)]
struct Collected {
    /// The maps of prefixes; not the word `receiver`, which names no address.
    named: (Vec<Prefix<u32>>, Vec<Prefix<u128>>),
    v4: Vec<Prefix<u32>>,
    v6: Vec<Prefix<u128>>,
    macs: Vec<(MacAddr, MacAddr, usize)>,
    all_macs: Option<(MacAddr, usize)>,
    ports: Vec<PortRange>,
}

impl Compiling {
    fn add(&mut self, maps: &SideMaps) {
        let mut collected = Collected::default();
        let table = Table::Side(maps.side);
        match &maps.ip {
            None => {}
            Some(IpMap::Prefixes(prefixes)) => {
                for prefix in prefixes {
                    let mapping = Mapping::Ip { from: prefix.from, to: prefix.to };
                    let entry = self.entry(table, mapping, Some(&prefix.span));
                    collected.add_prefix(prefix.from, prefix.to, entry);
                }
                collected.named = (collected.v4.clone(), collected.v6.clone());
            }
            Some(IpMap::Receiver { v4, v6, span }) => {
                let (v4, v6) = self.receiver(*v4, *v6);
                let entry = self.entry(table, Mapping::IpReceiver { v4, v6 }, Some(span));
                for receiver in [v4, v6].into_iter().flatten() {
                    let every = match receiver {
                        IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
                        IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
                    };
                    collected.add_prefix(every, IpNet::from(receiver), entry);
                }
            }
        }
        match &maps.mac {
            None => {}
            Some(MacMap::All(target)) => {
                if let Some(to) = self.mac(target.value) {
                    let entry = self.entry(table, Mapping::MacAll { to }, target.span.as_ref());
                    collected.all_macs = Some((to, entry));
                }
            }
            Some(MacMap::Entries(entries)) => {
                for mac in entries {
                    if let Some(to) = self.mac(mac.to) {
                        let entry = self.entry(table, Mapping::Mac { from: mac.from, to }, Some(&mac.span));
                        collected.macs.push((mac.from, to, entry));
                    }
                }
            }
        }
        for port in &maps.port {
            let mapping = Mapping::Port { from: port.from, last: port.last, to: port.to };
            let entry = self.entry(table, mapping, Some(&port.span));
            collected.ports.push(PortRange { from: port.from, last: port.last, to: port.to, entry });
        }
        self.collected.push((maps.side, collected));
    }

    fn vlan(&mut self, vlan: &Vlan) -> VlanChange {
        match vlan {
            Vlan::Pop { tag, span } => {
                let entry = self.entry(Table::Vlan, Mapping::VlanPop(*tag), Some(span));
                VlanChange::Pop { tag: *tag, entry }
            }
            Vlan::Push { tags, position } => {
                let (tags, entries) = tags
                    .iter()
                    .map(|tag| {
                        let control = u16::from(tag.priority) << 13 | u16::from(tag.dei) << 12 | tag.id;
                        let mapping = Mapping::VlanPush { id: tag.id, position: *position };
                        let entry = self.entry(Table::Vlan, mapping, Some(&tag.span));
                        let ([a, b], [c, d]) = (tag.tpid.to_be_bytes(), control.to_be_bytes());
                        ([a, b, c, d], entry)
                    })
                    .unzip();
                VlanChange::Push { tags, entries, position: *position }
            }
            Vlan::Map { tag, entries } => {
                let mut identifiers = Identifiers::default();
                for map in entries {
                    let from = map.from.as_ref().map(|from| (*from.start(), *from.end()));
                    let (to, last) = (*map.to.start(), *map.to.end());
                    let mapping = Mapping::Vlan { tag: *tag, from, to: (to, last) };
                    let entry = self.entry(Table::Vlan, mapping, Some(&map.span));
                    match from {
                        Some((from, until)) => {
                            let range = IdentifierRange { from, last: until, to, spread: to != last, entry };
                            identifiers.named.push(range);
                        }
                        None => identifiers.others = Some((to, entry)),
                    }
                }
                identifiers.named.sort_unstable();
                VlanChange::Map { tag: *tag, identifiers }
            }
        }
    }

    fn header(&mut self, fields: &HeaderFields) -> Option<HeaderChange> {
        let change = HeaderChange {
            ttl: self.field(fields.ttl.as_ref(), Mapping::Ttl),
            tos: self.field(fields.tos.as_ref(), Mapping::Tos),
            traffic_class: self.field(fields.traffic_class.as_ref(), Mapping::TrafficClass),
            dscp: self.field(fields.dscp.as_ref(), Mapping::Dscp),
            flow_label: self.field(fields.flow_label.as_ref(), Mapping::FlowLabel),
        };
        (change != HeaderChange::default()).then_some(change)
    }

    fn field<T: Copy>(&mut self, field: Option<&At<T>>, mapping: fn(T) -> Mapping) -> Option<(T, usize)> {
        field.map(|At { value, span }| (*value, self.entry(Table::Header, mapping(*value), span.as_ref())))
    }

    fn entry(&mut self, table: Table, mapping: Mapping, span: Option<&Range<usize>>) -> usize {
        self.entries.push(Entry { table, mapping, span: span.cloned() });
        self.entries.len() - 1
    }

    /// The receiver's addresses of the families that the scenario has one of; notes the problem where an interface that stands for the
    /// receiver has none.
    fn receiver(&mut self, v4: Option<IpAddr>, v6: Option<IpAddr>) -> (Option<IpAddr>, Option<IpAddr>) {
        if v4.is_none() && v6.is_none() {
            return self.existing_receiver();
        }
        let Some((ours, ours6)) = self.roles.addresses else { return (v4, v6) };
        for (family, example) in [(v4.filter(|_| ours.is_none()), "IPv4"), (v6.filter(|_| ours6.is_none()), "IPv6")] {
            let what = format!("the interface has no {example} address for `ip = \"receiver\"`");
            if let Some(address) = family.filter(|_| !self.problems.iter().any(|problem| problem.what == what)) {
                let why = "this machine is the receiver here, and `receiver` is the first address of each family that its interface has";
                let fix = format!(
                    "give the interface one with `ip addr add`, or write the map: `{{ \"{}\" = \"{address}\" }}`",
                    if address.is_ipv4() { "0.0.0.0/0" } else { "::/0" }
                );
                self.problems.push(Diagnostic::error(what).why(why).fix(fix));
            }
        }
        (v4.and(ours), v6.and(ours6))
    }

    /// The first addresses of the namespace that the receiver is in; notes the problem where it has none.
    fn existing_receiver(&mut self) -> (Option<IpAddr>, Option<IpAddr>) {
        let addresses = self.roles.addresses.unwrap_or_default();
        let what = "the receiver has no address for `ip = \"receiver\"`";
        if addresses == (None, None) && !self.problems.iter().any(|problem| problem.what == what) {
            let problem = Diagnostic::error(what)
                .why("its network namespace has no address but those of the loopback interface")
                .fix("write a map: the addresses in it are given to the interface that the frames come in by");
            self.problems.push(problem);
        }
        addresses
    }

    /// The address of a MAC; notes the problem where its role has none.
    fn mac(&mut self, target: MacTarget) -> Option<MacAddr> {
        let (word, address) = match target {
            MacTarget::Literal(mac) => return Some(mac),
            MacTarget::Sender => ("sender", self.roles.sender),
            MacTarget::Receiver => ("receiver", self.roles.receiver),
            MacTarget::Gateway => ("gateway", self.roles.gateway),
        };
        if address.is_none() {
            let what = format!("the MAC of the {word} is not known here");
            if !self.problems.iter().any(|problem| problem.what == what) {
                self.problems.push(
                    Diagnostic::error(what)
                        .why(format!("`{word}` means an interface's address, which is not known here"))
                        .fix("write the address itself, like \"02:00:00:00:00:01\""),
                );
            }
        }
        address
    }
}

impl Collected {
    fn add_prefix(&mut self, from: IpNet, to: IpNet, entry: usize) {
        let (length, to_length) = (from.prefix_len(), to.prefix_len());
        match (from.network(), to.network()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                self.v4.push(Prefix { from: from.into(), length, to: to.into(), to_length, entry });
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                self.v6.push(Prefix { from: from.into(), length, to: to.into(), to_length, entry });
            }
            // The scenario's check refuses prefixes of two families.
            _ => {}
        }
    }
}

impl AddressMaps {
    /// The prefixes of all tables; of equal ones that of `both` wins, then that of the first table.
    fn new(collected: &[(Side, Collected)]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let both = collected.iter().filter(|(side, _)| *side == Side::Both);
        for (_, maps) in both.chain(collected.iter().filter(|(side, _)| *side != Side::Both)) {
            v4.extend_from_slice(&maps.named.0);
            v6.extend_from_slice(&maps.named.1);
        }
        Self { v4: PrefixMap::new(v4), v6: PrefixMap::new(v6) }
    }
}

impl SideTables {
    /// The maps of these tables; of equal entries that of the first table wins.
    fn new(collected: &[(Side, Collected)], sides: &[Side]) -> Self {
        let mut all = Collected::default();
        for side in sides {
            for (_, maps) in collected.iter().filter(|(of, _)| of == side) {
                all.v4.extend_from_slice(&maps.v4);
                all.v6.extend_from_slice(&maps.v6);
                all.macs.extend_from_slice(&maps.macs);
                all.all_macs = all.all_macs.or(maps.all_macs);
                all.ports.extend_from_slice(&maps.ports);
            }
        }
        Self {
            v4: PrefixMap::new(all.v4),
            v6: PrefixMap::new(all.v6),
            mac: MacTable::new(all.macs, all.all_macs),
            port: PortMap::new(&all.ports),
        }
    }
}
