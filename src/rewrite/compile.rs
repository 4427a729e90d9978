//! From the legal values of `[rewrite]` to the tables that a frame is looked up in.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::mac::MacMap as MacTable;
use super::port::{PortMap, PortRange};
use super::prefix::{Prefix, PrefixMap};
use super::{Rewriter, Roles, SideTables};
use crate::diagnostic::{Failure, Kind, Problem, Result};
use crate::packet::MacAddr;
use crate::scenario::rewrite::{IpMap, MacMap, MacTarget, Rewrite, Side, SideMaps};

/// One entry of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which address it looks at.
    pub side: Side,
    /// What it does.
    pub mapping: Mapping,
    /// Where it stands in the scenario.
    pub span: Option<Range<usize>>,
}

/// What an entry does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// Replaces the first bits of addresses in `from`.
    Ip {
        /// What it matches.
        from: IpNet,
        /// Whose bits it puts there.
        to: IpNet,
    },
    /// Makes every unicast address the receiver's.
    IpReceiver {
        /// Its IPv4 address.
        v4: Option<IpAddr>,
        /// Its IPv6 address.
        v6: Option<IpAddr>,
    },
    /// Replaces one MAC.
    Mac {
        /// What it matches.
        from: MacAddr,
        /// What it puts there.
        to: MacAddr,
    },
    /// Replaces every unicast MAC.
    MacAll {
        /// What it puts there.
        to: MacAddr,
    },
    /// Replaces ports.
    Port {
        /// The first port that it matches.
        from: u16,
        /// The last.
        last: u16,
        /// What it puts there.
        to: u16,
    },
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
        }
    }
}

impl Rewriter {
    /// Compiles the maps.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when a MAC is a role whose address `roles` doesn't know; the problems have no place.
    pub fn compile(rewrite: &Rewrite, roles: &Roles) -> Result<Self> {
        let mut compiling = Compiling { roles: *roles, ..Compiling::default() };
        // Those of one side before those of both: of equal entries the first wins.
        for both in [false, true] {
            for maps in rewrite.sides.iter().filter(|maps| (maps.side == Side::Both) == both) {
                compiling.add(maps);
            }
        }
        if !compiling.problems.is_empty() {
            return Err(Failure { kind: Kind::Invalid, problems: compiling.problems });
        }
        Ok(Self {
            checksums: rewrite.checksums,
            allow_unused: rewrite.allow_unused,
            entries: compiling.entries,
            source: compiling.source.tables(),
            destination: compiling.destination.tables(),
        })
    }
}

#[derive(Default)]
struct Compiling {
    roles: Roles,
    entries: Vec<Entry>,
    problems: Vec<Problem>,
    source: Collected,
    destination: Collected,
}

/// The entries of one side while they are collected; each with its index in `entries`.
#[derive(Default)]
struct Collected {
    v4: Vec<Prefix<u32>>,
    v6: Vec<Prefix<u128>>,
    macs: Vec<(MacAddr, MacAddr, usize)>,
    all_macs: Option<(MacAddr, usize)>,
    ports: Vec<PortRange>,
}

impl Compiling {
    fn add(&mut self, maps: &SideMaps) {
        match &maps.ip {
            None => {}
            Some(IpMap::Prefixes(prefixes)) => {
                for prefix in prefixes {
                    let mapping = Mapping::Ip { from: prefix.from, to: prefix.to };
                    let entry = self.entry(maps.side, mapping, Some(&prefix.span));
                    self.each(maps.side, |side| side.add_prefix(prefix.from, prefix.to, entry));
                }
            }
            Some(IpMap::Receiver { v4, v6, span }) => {
                let entry = self.entry(maps.side, Mapping::IpReceiver { v4: *v4, v6: *v6 }, Some(span));
                for receiver in [*v4, *v6].into_iter().flatten() {
                    let every = match receiver {
                        IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
                        IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
                    };
                    self.each(maps.side, |side| side.add_prefix(every, IpNet::from(receiver), entry));
                }
            }
        }
        match &maps.mac {
            None => {}
            Some(MacMap::All(target)) => {
                if let Some(to) = self.mac(target.value) {
                    let entry = self.entry(maps.side, Mapping::MacAll { to }, target.span.as_ref());
                    self.each(maps.side, |side| _ = side.all_macs.get_or_insert((to, entry)));
                }
            }
            Some(MacMap::Entries(entries)) => {
                for mac in entries {
                    if let Some(to) = self.mac(mac.to) {
                        let entry = self.entry(maps.side, Mapping::Mac { from: mac.from, to }, Some(&mac.span));
                        self.each(maps.side, |side| side.macs.push((mac.from, to, entry)));
                    }
                }
            }
        }
        for port in &maps.port {
            let mapping = Mapping::Port { from: port.from, last: port.last, to: port.to };
            let entry = self.entry(maps.side, mapping, Some(&port.span));
            let range = PortRange { from: port.from, last: port.last, to: port.to, entry };
            self.each(maps.side, |side| side.ports.push(range));
        }
    }

    fn entry(&mut self, side: Side, mapping: Mapping, span: Option<&Range<usize>>) -> usize {
        self.entries.push(Entry { side, mapping, span: span.cloned() });
        self.entries.len() - 1
    }

    fn each(&mut self, side: Side, mut add: impl FnMut(&mut Collected)) {
        if side != Side::Destination {
            add(&mut self.source);
        }
        if side != Side::Source {
            add(&mut self.destination);
        }
    }

    /// The address of a MAC; notes the problem where its role has none.
    fn mac(&mut self, target: MacTarget) -> Option<MacAddr> {
        let (word, address) = match target {
            MacTarget::Literal(mac) => return Some(mac),
            MacTarget::Sender => ("sender", self.roles.sender),
            MacTarget::Receiver => ("receiver", self.roles.receiver),
        };
        if address.is_none() {
            let what = format!("the MAC of the {word} is not known here");
            if !self.problems.iter().any(|problem| problem.what == what) {
                self.problems.push(
                    Problem::error(what)
                        .why(format!("`{word}` stands for an interface's address, and this site doesn't say which"))
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

    fn tables(self) -> SideTables {
        SideTables {
            v4: PrefixMap::new(self.v4),
            v6: PrefixMap::new(self.v6),
            mac: MacTable::new(self.macs, self.all_macs),
            port: PortMap::new(&self.ports),
        }
    }
}
