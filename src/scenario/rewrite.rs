//! `[rewrite]`: what changes in each frame.

mod flows;
mod header;
mod ip;
mod mac;
pub(crate) mod payload;
mod port;
mod vlan;

use std::fmt;
use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

pub use self::flows::Flows;
#[cfg_attr(not(test), expect(unused_imports, reason = "only tests make one"))]
pub use self::flows::SentTemplates;
pub use self::header::HeaderFields;
pub use self::payload::{PayloadProtocol, PayloadRule, TimeTarget};
pub use self::vlan::NewTag;
use super::check::Checker;
use super::form::{Entries, WordOr};
use super::topology::Topology;
use crate::diagnostic::{At, Diagnostic};
use crate::packet::MacAddr;

/// What happens to checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Checksums {
    /// Updated by what changed (RFC 1624): a bad one stays bad.
    #[default]
    Preserve,
    /// All made valid.
    Fix,
}

/// What happens to the lengths that IP and UDP headers announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Lengths {
    /// They stay.
    #[default]
    Preserve,
    /// One that is 0 (segmentation offload), shorter than its header, or beyond the end of the frame, becomes what is there. The
    /// frame ends at its original length, or where `oversize = "truncate"` cut it. Lengths over 65,535 don't fit: such fields stay, and are counted.
    Fix,
}

/// What happens to frames over the MTU, which counts the layer 3 packet: no Ethernet header, no VLAN tags. A rewrite without a replay
/// obeys it only where `[lab] mtu` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Oversize {
    /// The run is refused.
    #[default]
    Refuse,
    /// They are not selected.
    Skip,
    /// They are cut to the MTU; what their headers say stays, unless `lengths` and `checksums` fix it.
    Truncate,
}

/// What happens to frames that no Ethernet header can be made for: encrypted 802.11, link types that are not parsed. A rewrite
/// without a replay obeys it only with `link-layer = "ethernet"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OtherFrames {
    /// The run is refused.
    #[default]
    Refuse,
    /// They are not selected.
    Skip,
}

/// The link layer of the file that a rewrite without a replay writes. A replay goes over Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LinkLayer {
    /// That of the capture.
    #[default]
    Captured,
    /// Ethernet, as it would be sent: frames without such a header are given one, before they are rewritten.
    Ethernet,
}

/// Which headers of a tunnelled packet are rewritten. Tunnels are IP-in-IP, 6in4, GRE, VXLAN (UDP 4789 and 8472) and Geneve
/// (UDP 6081); a VLAN tag is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelLayers {
    /// Those that the first router sees.
    #[default]
    Outer,
    /// Those inside a tunnel; checksums of the headers around them follow. Frames without a tunnel are left, and counted.
    Inner,
    /// Each header, inside and outside.
    All,
}

/// What happens to the VLAN tags of Ethernet and Linux "cooked" frames: always the frame's own, never those inside a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vlan {
    /// One tag is taken off, or all are.
    Pop {
        /// Which; `None` is all of them.
        tag: Option<TagPosition>,
        /// Its value in the scenario.
        span: Range<usize>,
    },
    /// Tags are inserted.
    Push {
        /// The first is the outermost; at least one.
        tags: Vec<NewTag>,
        /// Where: the first becomes the tag at this position, with `Innermost` all follow the existing ones.
        position: TagPosition,
    },
    /// The identifier of one tag changes.
    Map {
        /// Of which.
        tag: TagPosition,
        /// No two have a common identifier to map from.
        entries: Vec<VlanEntry>,
    },
}

/// One of the VLAN tags of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagPosition {
    /// Counted from the outermost, which is 1. A frame with fewer tags has none at this position.
    Outside(u8),
    /// The last one before the `EtherType` of what the frame carries.
    Innermost,
}

/// One entry of a `vlan` map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VlanEntry {
    /// The old identifiers; `None` is `"*"`, all that no other entry names.
    pub from: Option<RangeInclusive<u16>>,
    /// The new identifier, or as many as `from` has, each for the one at its place.
    pub to: RangeInclusive<u16>,
    /// The entry in the scenario.
    pub span: Range<usize>,
}

/// What the TTL becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// This.
    Set(u8),
    /// So much more, or less; it stops at 1 (RFC 1122 §3.2.1.7) and 255.
    Change(i16),
}

/// Whose addresses and ports in a frame a map changes.
///
/// The client is the sender of a conversation's first frame in the capture, also when `filter` or `frames` leave that frame out. Frames
/// belong to one conversation that share protocol, both addresses and both ports; without ports the addresses, for ARP its two, without
/// either the MACs. A later fragment belongs to the conversation of its datagram's first fragment, an ICMP error to that of the packet that it
/// quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// `[rewrite.source]`.
    Source,
    /// `[rewrite.destination]`.
    Destination,
    /// `[rewrite.both]`.
    Both,
    /// `[rewrite.client]`: the sender of the conversation's first packet: the source in its packets, the destination in those to it.
    Client,
    /// `[rewrite.server]`: the other host.
    Server,
}

impl Rewrite {
    /// Where it maps to the address of a receiver that is there already.
    pub fn names_the_address_there(&self) -> Option<&Range<usize>> {
        self.sides.iter().find_map(|maps| match &maps.ip {
            Some(IpMap::Receiver { v4: None, v6: None, span }) => Some(span),
            _ => None,
        })
    }

    /// Whether a `mac` is `"sender"`.
    pub fn names_sender(&self) -> bool {
        self.names(MacTarget::Sender)
    }

    /// Whether a `mac` is `"gateway"`.
    pub fn names_gateway(&self) -> bool {
        self.names(MacTarget::Gateway)
    }

    fn names(&self, word: MacTarget) -> bool {
        self.sides.iter().any(|maps| match &maps.mac {
            None => false,
            Some(MacMap::All(target)) => target.value == word,
            Some(MacMap::Entries(entries)) => entries.iter().any(|entry| entry.to == word),
        })
    }
}

/// A MAC address by its literal value or by its role in the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacTarget {
    /// The sending interface's.
    Sender,
    /// The receiving interface's.
    Receiver,
    /// That of the router to other networks on the sending interface.
    Gateway,
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
    pub span: Range<usize>,
}

/// `ip = …`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IpMap {
    /// Prefix to prefix. The longest match wins; no two have the same `from`.
    Prefixes(Vec<IpEntry>),
    /// `"receiver"`: every packet to the first `[lab]` address of its family. Both are `None` with `[receiver] at`: to the first address that
    /// is there.
    Receiver {
        /// The first IPv4 address of `[lab] addresses`.
        v4: Option<IpAddr>,
        /// The first IPv6 address of `[lab] addresses`.
        v6: Option<IpAddr>,
        /// The word in the scenario.
        span: Range<usize>,
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
    pub span: Range<usize>,
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
    pub span: Range<usize>,
}

/// The maps of one side.
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
    /// What happens to lengths.
    pub lengths: Lengths,
    /// What happens to frames over the MTU.
    pub oversize: At<Oversize>,
    /// What happens to frames that no Ethernet header can be made for.
    pub other_frames: At<OtherFrames>,
    /// The link layer of a file that is written.
    pub link_layer: LinkLayer,
    /// Which headers of a tunnelled packet.
    pub layers: TunnelLayers,
    /// Whether entries that match nothing are allowed.
    pub allow_unused: bool,
    /// At most one for each side, in the order source, destination, both, client, server.
    pub sides: Vec<SideMaps>,
    /// VLAN tags.
    pub vlan: Option<Vlan>,
    /// Fields of the IP header.
    pub header: HeaderFields,
    /// Payloads that are looked into.
    pub payload: Vec<PayloadRule>,
    /// Flow exports.
    pub flows: Option<Flows>,
}

/// Changes to the frames. Fields that no key names stay.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Form {
    /// What happens to checksums. Default: preserve.
    #[schemars(example = &"fix")]
    checksums: Checksums,
    /// Whether entries that match no packet are allowed. Default: false.
    #[schemars(example = true)]
    allow_unused: bool,
    /// What happens to the lengths that IP and UDP headers announce. Default: preserve.
    #[schemars(example = &"fix")]
    lengths: Lengths,
    /// What happens to frames over the MTU. Default: refuse.
    #[schemars(example = &"refuse")]
    oversize: At<Oversize>,
    /// What happens to frames that no Ethernet header can be made for. Default: refuse.
    #[schemars(example = &"skip")]
    other_frames: At<OtherFrames>,
    /// The link layer of the file that `restage rewrite` writes. Default: captured.
    #[schemars(example = &"ethernet")]
    link_layer: LinkLayer,
    /// Which headers of a tunnelled packet are rewritten. Default: outer.
    #[schemars(example = &"outer")]
    layers: TunnelLayers,
    /// What the source address, MAC and port become.
    source: Option<SideForm>,
    /// What the destination address, MAC and port become.
    destination: Option<SideForm>,
    /// What addresses, MACs and ports become, wherever they are.
    both: Option<SideForm>,
    /// What the address, MAC and port of the sender of a conversation's first packet become, wherever they are.
    client: Option<SideForm>,
    /// What the address, MAC and port of the other host become.
    server: Option<SideForm>,
    vlan: Option<At<vlan::Form>>,
    header: Option<At<HeaderFields>>,
    payload: Option<At<payload::Form>>,
    flows: Option<At<flows::Form>>,
}

/// The maps of one side.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct SideForm {
    /// Prefix or address to a prefix at least as long, or `receiver`: the first `[lab]` address of the packet's family.
    #[schemars(example = ip::example())]
    ip: Option<At<WordOr<Entries<String>>>>,
    /// One value for every unicast MAC (`sender`, `receiver` or an address), or a map from old to new.
    #[schemars(example = &"receiver")]
    mac: Option<At<WordOr<Entries<String>>>>,
    /// Port, or range of ports, to port.
    #[schemars(example = port::example())]
    port: Option<Entries<i64>>,
}

impl Side {
    /// The word of the language.
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Both => "both",
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rewrite.{}", self.word())
    }
}

/// The legal values of `[rewrite]`; `"receiver"` needs a topology with a receiver, so none with `[target]`.
pub(super) fn check(form: Form, topology: Option<&Topology>, checker: &mut Checker) -> Rewrite {
    let written = [
        (Side::Source, form.source),
        (Side::Destination, form.destination),
        (Side::Both, form.both),
        (Side::Client, form.client),
        (Side::Server, form.server),
    ];
    let mut sides = Vec::new();
    for (side, form) in written {
        let Some(SideForm { ip, mac, port }) = form else { continue };
        sides.push(SideMaps {
            side,
            ip: ip.and_then(|ip| ip::check(ip, side, topology, checker)),
            mac: mac.and_then(|mac| mac::check(mac, side, topology, checker)),
            port: port.map_or(Vec::new(), |port| port::check(port, side, checker)),
        });
    }
    compare(&sides, checker);
    let Form {
        checksums,
        allow_unused,
        lengths,
        oversize,
        other_frames,
        link_layer,
        layers,
        vlan,
        header,
        payload,
        flows,
        ..
    } = form;
    Rewrite {
        checksums,
        lengths,
        oversize,
        other_frames,
        link_layer,
        layers,
        allow_unused,
        sides,
        vlan: vlan.and_then(|vlan| vlan::check(vlan, checker)),
        header: header.map(|header| header::check(header, checker)).unwrap_or_default(),
        payload: payload.map_or(Vec::new(), |payload| payload::check(payload, checker)),
        flows: flows.and_then(|flows| flows::check(flows, checker)),
    }
}

/// Reports equal entries of two sides that can be the same host in one frame.
fn compare(sides: &[SideMaps], checker: &mut Checker) {
    for (index, other) in sides.iter().enumerate() {
        for one in sides.iter().take(index) {
            if let (Side::Source, Side::Destination) | (Side::Client, Side::Server) = (one.side, other.side) {
                continue;
            }
            ip::compare(one, other, checker);
            mac::compare(one, other, checker);
            port::compare(one, other, checker);
        }
    }
}

/// Reports that two tables map the same `what`.
fn ambiguous(what: &str, one: (Side, &Range<usize>), other: (Side, &Range<usize>), checker: &mut Checker) {
    let (first, later) = if one.1.start < other.1.start { (one, other) } else { (other, one) };
    let problem = Diagnostic::error(format!("{what} is mapped by `[{}]` and by `[{}]`", first.0, later.0))
        .label(format!("line {} maps it too", checker.line(first.1.start)))
        .why("the order of entries does not matter, so neither of two equal entries takes precedence")
        .fix("keep one of the two entries");
    checker.refuse(later.1.clone(), problem);
}

/// Reports that one map has two entries for the same `what`.
fn duplicate(what: &str, first: &Range<usize>, later: &Range<usize>, checker: &mut Checker) {
    let problem = Diagnostic::error(format!("{what} is mapped twice"))
        .label(format!("line {} maps it too", checker.line(first.start)))
        .why("the order of entries does not matter, so neither of two equal entries takes precedence")
        .fix("keep one of the two entries");
    checker.refuse(later.clone(), problem);
}
