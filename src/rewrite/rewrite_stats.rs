//! What each map entry hit, what was left as it is, and the error for an entry that matched nothing.

#![allow(missing_docs, reason = "private to the crate; the words beside the names say it")]

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use super::ip::DEEPEST_TUNNEL;
use super::{Entry, Mapping, Rewriter, Table};
use crate::diagnostic::{Diagnostic, Source};
use crate::figures::count;
use crate::packet::MacAddr;
use crate::packet::bytes::{array, be16};
use crate::packet::layers::{Layers, LinkType, Network, is_known};
use crate::packet::tunnel::carried;
use crate::scenario::rewrite::{Side, TagPosition, TunnelLayers};

/// Counts kept while frames are rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewriteStats {
    /// One for each entry, in the order of [`Rewriter::entries`].
    entries: Vec<FrameCount>,
    left: [FrameCount; Left::ALL.len()],
    reshaped: [FrameCount; Reshaped::ALL.len()],
    frame: u64,
    first_group_mac: Option<MacAddr>,
}

/// How often something occurred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameCount {
    /// In how many frames.
    pub frames: u64,
    /// The first of them; 0 when there is none.
    pub first_frame: u64,
    last_frame: u64,
}

impl FrameCount {
    #[inline]
    fn count(&mut self, frame: u64) {
        if self.last_frame == frame {
            return;
        }
        if self.frames == 0 {
            self.first_frame = frame;
        }
        self.frames += 1;
        self.last_frame = frame;
    }
}

/// Why a packet was not changed, or its checksum or length not fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Left {
    NotIp,
    BrokenIp,
    SctpChecksum,
    LinkType,
    NoTunnel,
    DeepTunnel,
    Length,
    Conversation,
    GroupMac,
    FragmentSum,
    Payload,
    CutPayload,
    FlowRecords,
    FlowNumber,
    FlowTemplates,
}

impl Left {
    /// Every reason, in the order of the variants, in words that end "left as it is:".
    pub const ALL: [(Self, &str); 15] = [
        (Self::NotIp, "neither IP nor ARP"),
        (Self::BrokenIp, "an IP header that is malformed or cut"),
        (Self::SctpChecksum, "an SCTP fragment, whose checksum can't follow"),
        (Self::LinkType, "a link type that is not looked into"),
        (Self::NoTunnel, "no tunnel, whose inside `layers` means"),
        (Self::DeepTunnel, "more than 8 tunnels inside each other"),
        (Self::Length, "a length that its header can't say"),
        (Self::Conversation, "more conversations than can be distinguished: the sender counts as the client"),
        (Self::GroupMac, "the destination MAC of a group whose address became one host's"),
        (Self::FragmentSum, "a datagram whose fragments are not all there, so that its checksum can't be made right"),
        (Self::Payload, "a payload that is not what its port says, is signed, or has another RADIUS secret"),
        (Self::CutPayload, "a datagram that is cut or in fragments, whose payload stays"),
        (Self::FlowRecords, "flow records without a template, or that are not whole"),
        (Self::FlowNumber, "a sequence number of an exporter beyond those that can be numbered"),
        (Self::FlowTemplates, "flow exports before which not all templates are sent, since there are too many"),
    ];

    pub(super) fn no_network_layer(layers: &Layers) -> Self {
        if !is_known(layers.link) {
            return Self::LinkType;
        }
        if matches!(layers.ethertype, Some(0x0800 | 0x86dd)) { Self::BrokenIp } else { Self::NotIp }
    }
}

/// What was done to a frame as a whole, because the scenario or the medium asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reshaped {
    Padded,
    Cut,
    Framed,
    Addressed,
}

impl Reshaped {
    /// Every kind, in the order of the variants, in words.
    pub const ALL: [(Self, &str); 4] = [
        (Self::Padded, "padded to their original length"),
        (Self::Cut, "cut to the MTU"),
        (Self::Framed, "given an Ethernet header"),
        (Self::Addressed, "given MAC addresses, since theirs are zero"),
    ];
}

impl RewriteStats {
    /// Nothing hit yet.
    pub fn new(rewriter: &Rewriter) -> Self {
        Self {
            entries: vec![FrameCount::default(); rewriter.entries.len()],
            left: [FrameCount::default(); Left::ALL.len()],
            reshaped: [FrameCount::default(); Reshaped::ALL.len()],
            frame: 0,
            first_group_mac: None,
        }
    }

    #[inline]
    pub(super) const fn is_at(&mut self, number: u64) {
        self.frame = number;
    }

    #[inline]
    pub(super) const fn frame(&self) -> u64 {
        self.frame
    }

    #[inline]
    pub(super) fn count(&mut self, entry: usize) {
        if let Some(stats) = self.entries.get_mut(entry) {
            stats.count(self.frame);
        }
    }

    #[inline]
    pub(super) fn leave(&mut self, reason: Left) {
        if let Some(stats) = self.left.get_mut(reason as usize) {
            stats.count(self.frame);
        }
    }

    /// The destination MAC was left that of a multicast or broadcast address, which became one host's.
    pub(super) fn leave_group_mac(&mut self, group: MacAddr) {
        self.first_group_mac.get_or_insert(group);
        self.leave(Left::GroupMac);
    }

    /// The first MAC that was left for [`Left::GroupMac`].
    pub fn first_group_mac(&self) -> Option<MacAddr> {
        self.first_group_mac
    }

    pub(super) fn reshape(&mut self, how: Reshaped) {
        if let Some(stats) = self.reshaped.get_mut(how as usize) {
            stats.count(self.frame);
        }
    }

    /// To how many frames this happened.
    pub fn reshaped(&self, how: Reshaped) -> FrameCount {
        self.reshaped.get(how as usize).copied().unwrap_or_default()
    }

    /// One for each entry, in the order of [`Rewriter::entries`].
    pub fn entries(&self) -> &[FrameCount] {
        &self.entries
    }

    /// How many frames were left as they are for this reason.
    pub fn left(&self, reason: Left) -> FrameCount {
        self.left.get(reason as usize).copied().unwrap_or_default()
    }

    /// The entries that matched no frame.
    pub fn unused<'a>(&'a self, rewriter: &'a Rewriter) -> impl Iterator<Item = &'a Entry> {
        rewriter.entries.iter().zip(&self.entries).filter(|(_, stats)| stats.frames == 0).map(|(entry, _)| entry)
    }
}

/// How many different values are kept of each kind.
const KEPT: usize = 1024;

const SHOWN: usize = 5;

/// Values and the number of frames that have them; above [`KEPT`] different ones, the rest is only known to be there.
#[derive(Debug, Clone)]
struct Tally<T> {
    frames: BTreeMap<T, u64>,
    more: bool,
}

impl<T> Default for Tally<T> {
    fn default() -> Self {
        Self { frames: BTreeMap::new(), more: false }
    }
}

impl<T: Ord + Copy + Display> Tally<T> {
    fn add(&mut self, value: T) {
        if let Some(frames) = self.frames.get_mut(&value) {
            *frames += 1;
        } else if self.frames.len() < KEPT {
            self.frames.insert(value, 1);
        } else {
            self.more = true;
        }
    }

    fn merged(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        for (value, frames) in &other.frames {
            *merged.frames.entry(*value).or_default() += frames;
        }
        merged.more |= other.more;
        merged
    }

    fn describe(&self) -> Option<String> {
        let mut by_frames: Vec<(&T, &u64)> = self.frames.iter().collect();
        by_frames.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let shown: Vec<String> = by_frames
            .iter()
            .take(SHOWN)
            .map(|(value, frames)| format!("{value} in {}", count(**frames, "frame")))
            .collect();
        if shown.is_empty() {
            return None;
        }
        let rest = match (by_frames.len() - shown.len(), self.more) {
            (0, false) => String::new(),
            (rest, false) => format!(", and {rest} more"),
            (rest, true) => format!(", and more than {rest} others"),
        };
        Some(shown.join(", ") + &rest)
    }
}

/// The addresses that are there before rewriting, in bounded memory: what the message for an unused entry offers.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    layers: TunnelLayers,
    ip: [Tally<IpAddr>; 2],
    mac: [Tally<MacAddr>; 2],
    port: [Tally<u16>; 2],
    tag: Option<TagPosition>,
    vlan: Tally<u16>,
    without_header: bool,
}

impl Seen {
    /// Nothing seen yet; what is meant by the rewriter's `layers` will be.
    pub fn new(rewriter: &Rewriter) -> Self {
        let tag = rewriter.entries.iter().find_map(|entry| match entry.mapping {
            Mapping::Vlan { tag, .. } => Some(tag),
            _ => None,
        });
        Self { layers: rewriter.layers, tag, ..Self::default() }
    }

    /// Takes in a frame that isn't rewritten yet.
    pub fn add(&mut self, layers: &Layers, frame: &[u8]) {
        self.without_header |= layers.link != LinkType::ETHERNET;
        let tag = self.tag.and_then(|tag| layers.vlan_tag(tag.index(layers.vlan_tags)?));
        if let Some(control) = tag.and_then(|at| be16(frame, at)) {
            self.vlan.add(control & 0x0fff);
        }
        if self.layers != TunnelLayers::Inner {
            self.add_packet(&layers.network, frame);
            if let Some((destination, source)) = layers.macs(frame) {
                add_pair(&mut self.mac, source, destination);
            } else if layers.link == LinkType::LINUX_SLL
                && let (Some(source), [tally, _]) = (array(frame, 6), &mut self.mac)
            {
                tally.add(MacAddr(source));
            }
        }
        if self.layers != TunnelLayers::Outer {
            self.add_carried(layers.network, frame);
        }
    }

    /// Takes in what lies in the tunnels, whose outermost packet is `network`.
    fn add_carried(&mut self, mut network: Network, frame: &[u8]) {
        for _ in 0..DEEPEST_TUNNEL {
            let Some(carried) = carried(&network, frame) else { return };
            self.add_packet(&carried.network, frame);
            let macs = carried.ethernet.and_then(|at| Some((array(frame, at + 6)?, array(frame, at)?)));
            if let Some((source, destination)) = macs {
                add_pair(&mut self.mac, MacAddr(source), MacAddr(destination));
            }
            network = carried.network;
        }
    }

    fn add_packet(&mut self, network: &Network, frame: &[u8]) {
        if let Some((source, destination)) = network.addresses(frame).or_else(|| network.arp_addresses(frame)) {
            add_pair(&mut self.ip, source, destination);
        }
        if let Some((source, destination)) = network.ports(frame) {
            add_pair(&mut self.port, source, destination);
        }
    }

    fn describe(&self, entry: &Entry) -> Option<String> {
        let side = match entry.table {
            Table::Side(side) => side,
            Table::Vlan | Table::Header | Table::Payload | Table::Flows => Side::Both,
        };
        match entry.mapping {
            Mapping::Ip { .. } | Mapping::IpReceiver { .. } => describe(&self.ip, side, "IP addresses"),
            Mapping::Mac { .. } | Mapping::MacAll { .. } => describe(&self.mac, side, "MAC addresses"),
            Mapping::Port { .. } => describe(&self.port, side, "ports"),
            Mapping::Vlan { tag, .. } => match self.vlan.describe() {
                Some(values) => Some(format!("the identifiers of the {} are {values}", tags(tag))),
                None => Some(no_tag(tag)),
            },
            Mapping::VlanPop(tag) => Some(no_tag(tag.unwrap_or(TagPosition::Outside(1)))),
            Mapping::VlanPush { position: TagPosition::Outside(number @ 2..), .. } => {
                Some(format!("no selected frame has {} in front of it", at_least(number - 1)))
            }
            Mapping::VlanPush { .. } => Some("no selected frame is of Ethernet or Linux cooked (SLL, SLL2)".to_owned()),
            Mapping::Tos(_) => Some("no selected frame holds an IPv4 packet".to_owned()),
            Mapping::TrafficClass(_) | Mapping::FlowLabel(_) => {
                Some("no selected frame holds an IPv6 packet".to_owned())
            }
            Mapping::Payload(_) if entry.table == Table::Flows => {
                Some("no selected frame has a flow export with anything to change".to_owned())
            }
            Mapping::Payload(_) => {
                Some("no selected frame has a whole datagram on its ports with anything to change".to_owned())
            }
            Mapping::Ttl(_) | Mapping::Dscp(_) => Some("no selected frame holds an IP packet".to_owned()),
        }
    }
}

fn tags(position: TagPosition) -> String {
    match position {
        TagPosition::Outside(1) => "outermost VLAN tags".to_owned(),
        TagPosition::Outside(number) => format!("VLAN tags number {number}"),
        TagPosition::Innermost => "innermost VLAN tags".to_owned(),
    }
}

fn no_tag(position: TagPosition) -> String {
    match position {
        TagPosition::Outside(number @ 2..) => format!("no selected frame has {}", at_least(number)),
        TagPosition::Outside(_) | TagPosition::Innermost => "no selected frame has a VLAN tag".to_owned(),
    }
}

fn at_least(tags: u8) -> String {
    if tags == 1 { "a VLAN tag".to_owned() } else { format!("{tags} VLAN tags") }
}

fn add_pair<T: Ord + Copy + Display>([sources, destinations]: &mut [Tally<T>; 2], source: T, destination: T) {
    sources.add(source);
    destinations.add(destination);
}

fn describe<T: Ord + Copy + Display>([source, destination]: &[Tally<T>; 2], side: Side, what: &str) -> Option<String> {
    let (side, values) = match side {
        Side::Source => ("source ", source.describe()),
        Side::Destination => ("destination ", destination.describe()),
        Side::Both | Side::Client | Side::Server => ("", source.merged(destination).describe()),
    };
    values.map(|values| format!("the {side}{what} are {values}"))
}

/// One error for each entry that matched no frame; none where `allow-unused` is set.
pub fn unused_problems(
    rewriter: &Rewriter,
    stats: &RewriteStats,
    source: &Arc<Source>,
    seen: &Seen,
) -> Vec<Diagnostic> {
    if rewriter.allow_unused {
        return Vec::new();
    }
    stats
        .unused(rewriter)
        .map(|entry| {
            let mut there = seen.describe(entry).unwrap_or_else(|| "no selected frame has such a field".to_owned());
            if rewriter.layers == TunnelLayers::Inner && entry.table != Table::Vlan {
                there.push_str("; `layers = \"inner\"` looks inside tunnels only");
            }
            let is_mac = matches!(entry.mapping, Mapping::Mac { .. } | Mapping::MacAll { .. });
            let fix = if is_mac && seen.without_header {
                "`[rewrite] link-layer = \"ethernet\"` gives frames Ethernet headers, as a run does"
            } else {
                "mend the entry, or take it out, or set `allow-unused = true` in [rewrite]"
            };
            Diagnostic::error(format!("`{}` in [{}] matches no frame", entry.mapping, entry.table))
                .at(source, entry.span.clone())
                .label("matches nothing")
                .why(there)
                .fix(fix)
        })
        .collect()
}
