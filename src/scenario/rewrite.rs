//! `[rewrite]`: what changes in each frame.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::diagnostic::At;
use crate::packet::MacAddr;

/// What happens to checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksums {
    /// Updated by what changed (RFC 1624): a bad one stays bad.
    #[default]
    Preserve,
    /// All made valid.
    Fix,
}

/// Which address of a frame a map looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// `[rewrite.source]`.
    Source,
    /// `[rewrite.destination]`.
    Destination,
    /// `[rewrite.both]`.
    Both,
}

/// A MAC address by its literal value or by the role that the site gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacTarget {
    /// The sending interface's.
    Sender,
    /// The receiving interface's.
    Receiver,
    /// This one.
    Literal(MacAddr),
}

/// One entry of an `ip` map: the bits of `to` replace the first bits of what `from` matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpEntry {
    /// What it matches; host bits are zero.
    pub from: IpNet,
    /// Same family, at least as long; host bits are zero.
    pub to: IpNet,
    /// The entry in the scenario.
    pub span: std::ops::Range<usize>,
}

/// `ip = …`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IpMap {
    /// Prefix to prefix. Of several that match the longest wins; no two have the same `from`.
    Prefixes(Vec<IpEntry>),
    /// `"receiver"`: every packet to the first `[lab]` address of its family. Both are at least `Some` once.
    Receiver {
        /// The first IPv4 address of `[lab] addresses`.
        v4: Option<IpAddr>,
        /// The first IPv6 address of `[lab] addresses`.
        v6: Option<IpAddr>,
        /// The word in the scenario.
        span: std::ops::Range<usize>,
    },
}

/// `mac = …`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MacMap {
    /// One value for every unicast MAC.
    All(At<MacTarget>),
    /// By literal old value.
    Entries(Vec<MacEntry>),
}

/// One entry of a `mac` map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacEntry {
    /// The old MAC.
    pub from: MacAddr,
    /// The new one.
    pub to: MacTarget,
    /// The entry in the scenario.
    pub span: std::ops::Range<usize>,
}

/// One entry of a `port` map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortEntry {
    /// The first old port.
    pub from: u16,
    /// The last old port, inclusive; ranges of one map don't overlap.
    pub last: u16,
    /// The new one.
    pub to: u16,
    /// The entry in the scenario.
    pub span: std::ops::Range<usize>,
}

/// `[rewrite.source]`, `[rewrite.destination]` or `[rewrite.both]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideMaps {
    /// Which address.
    pub side: Side,
    /// IP addresses.
    pub ip: Option<IpMap>,
    /// MAC addresses.
    pub mac: Option<MacMap>,
    /// Ports of TCP, UDP, UDP-Lite and SCTP.
    pub port: Vec<PortEntry>,
}

/// `[rewrite]`, with legal values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    /// What happens to checksums.
    pub checksums: Checksums,
    /// Whether entries that match nothing are allowed.
    pub allow_unused: bool,
    /// At most one for each side, in the order source, destination, both.
    pub sides: Vec<SideMaps>,
}
