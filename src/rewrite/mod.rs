//! Compiled maps and their application to a frame; one file for each kind of header.
//!
//! The same [`Rewriter`] serves `rewrite`, `plan`, the replay and the snapshot, so they can't disagree. Nothing is touched unless an
//! entry names it, and a result is never mapped again. May use `packet`, `flow`, `capture`, `scenario` and `diagnostic`. Start at [`Pass`],
//! which takes the frames of a capture one after the other.

#![warn(clippy::indexing_slicing)]

mod arp;
mod checksums;
mod compile;
mod conversation;
mod field;
mod file;
mod fragments;
mod framing;
mod group;
mod header;
mod icmp;
mod ip;
mod lengths;
mod mac;
mod making;
mod output;
mod pass;
mod payload;
mod plain;
mod port;
mod prefix;
mod rewrite_stats;
mod vlan;

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
#[path = "../../tests/unit/real_captures.rs"]
mod real_captures;
#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
#[path = "../../tests/unit/rewriting/mod.rs"]
mod tests;

use std::net::IpAddr;

use conversation::Sender;

use crate::packet::MacAddr;
use crate::packet::layers::{Layers, LinkType, Network};
use crate::scenario::rewrite::{Checksums, Lengths, Oversize, TunnelLayers};

pub use compile::{Entry, Mapping, Table};
pub use conversation::Conversations;
#[cfg(test)]
pub use file::Summary;
pub use file::{Selected, rewrite_file};
pub use fragments::{FragmentSums, Learner};
pub use framing::{Framing, Unframed};
pub use pass::{Pass, Rewritten};
pub use payload::{TemplateLearner, Templates};
pub use rewrite_stats::{FrameCount, Left, Reshaped, RewriteStats, Seen, unused_problems};

/// The addresses that the words `sender` and `receiver` stand for, where the site knows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles {
    /// The sending interface's.
    pub sender: Option<MacAddr>,
    /// The receiving interface's.
    pub receiver: Option<MacAddr>,
    /// The router's to other networks, on the sending interface.
    pub gateway: Option<MacAddr>,
    /// The receiver's first IPv4 and first IPv6 address, where it is another machine's interface than the scenario's own.
    pub addresses: Option<(Option<IpAddr>, Option<IpAddr>)>,
}

/// The compiled `[rewrite]` of a scenario.
#[derive(Debug, Clone)]
pub struct Rewriter {
    checksums: Checksums,
    lengths: Lengths,
    layers: TunnelLayers,
    oversize: Oversize,
    allow_unused: bool,
    entries: Vec<Entry>,
    /// What changes in frames that a client sends; without rules for clients and servers, in all.
    from_client: Tables,
    /// What changes in frames that a server sends, where that is something else.
    from_server: Option<Box<Tables>>,
    vlan: Option<vlan::VlanChange>,
    header: Option<header::HeaderChange>,
    /// Whether an entry may make a group of a single address, whose MAC then follows.
    makes_groups: bool,
    /// What makes the checksums of datagrams in fragments right, once that was learnt.
    fragment_sums: std::sync::OnceLock<FragmentSums>,
    /// What changes in payloads.
    payloads: Option<Box<payload::Payloads>>,
    /// The templates of flow exports that are sent first, once they were learnt.
    templates: std::sync::OnceLock<Templates>,
    /// Whether only maps of outer headers change anything but the number of VLAN tags, so that common packets need no detours.
    only_maps: bool,
}

#[derive(Debug, Clone)]
struct Tables {
    source: SideTables,
    destination: SideTables,
}

/// The maps of one side: those of `source` or `destination` with those of `both`, and of `client` or `server`.
#[derive(Debug, Clone)]
struct SideTables {
    v4: prefix::PrefixMap<u32>,
    v6: prefix::PrefixMap<u128>,
    mac: mac::MacMap,
    port: port::PortMap,
}

#[derive(Debug, Clone, Copy)]
struct Rules<'a> {
    rewriter: &'a Rewriter,
    tables: &'a Tables,
    /// For the packet that an error quotes: it went the other way.
    quoted: &'a Tables,
}

impl Rewriter {
    /// Rewrites one frame in place: `layers` are those of `frame`, `original_length` its length on the wire. The length never changes, so
    /// VLAN tags are neither pushed nor popped: [`Pass`] does that.
    ///
    /// `station`: for whom a frame is whose header was made for a group that is none any more.
    #[inline]
    fn apply_from(
        &self,
        sender: Sender,
        layers: &Layers,
        frame: &mut [u8],
        original_length: u32,
        station: Option<MacAddr>,
        stats: &mut RewriteStats,
    ) {
        let from_server = self.from_server.as_deref().unwrap_or(&self.from_client);
        let rules = match sender {
            Sender::Client => Rules { rewriter: self, tables: &self.from_client, quoted: from_server },
            Sender::Server => Rules { rewriter: self, tables: from_server, quoted: &self.from_client },
        };
        if let Some(vlan) = &self.vlan {
            vlan.map(layers, frame, stats);
        }
        let follows = self.layers != TunnelLayers::Inner;
        let goes = if follows && layers.link == LinkType::ETHERNET {
            mac::goes_to(rules, 0, &layers.network, frame)
        } else {
            None
        };
        let named = follows && mac::apply(rules, layers, frame, stats);
        match &layers.network {
            Network::None => stats.leave(Left::no_network_layer(layers)),
            Network::Arp { offset } if follows => _ = arp::apply(rules, *offset, frame, stats),
            Network::Arp { .. } => stats.leave(Left::NoTunnel),
            Network::Ipv4(_) | Network::Ipv6(_) => {
                ip::apply(rules, &layers.network, ip::Spot::frame(original_length), frame, stats);
                if !named {
                    mac::follow(goes, 0, &layers.network, station, frame, stats);
                }
            }
        }
    }

    /// Rewrites a frame that a client sends, if it is a common one; else nothing. Its tags are neither pushed nor popped.
    #[inline]
    fn apply_plainly(&self, frame: &mut [u8], stats: &mut RewriteStats) -> bool {
        self.only_maps && plain::apply(&self.from_client, self.checksums, frame, stats)
    }

    /// What was written in the scenario, entry by entry.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether the templates that are sent first were learnt.
    pub fn knows_templates(&self) -> bool {
        self.templates.get().is_some()
    }

    /// Keeps the templates that are sent first; only the first ones count.
    pub fn learn_templates(&self, templates: Templates) {
        let _already_known = self.templates.set(templates);
    }

    /// Whether checksums are made right.
    pub fn fixes_checksums(&self) -> bool {
        self.checksums == Checksums::Fix
    }

    /// Whether frames are made that the capture doesn't have, each with the number of the captured one that it belongs to.
    pub fn makes_frames(&self) -> bool {
        self.payloads.as_ref().is_some_and(|payloads| payloads.makes_frames())
    }

    /// Whether entries that match nothing are allowed.
    pub fn allows_unused(&self) -> bool {
        self.allow_unused
    }
}

/// A frame as it will be sent, borrowed until the next one is read.
#[derive(Debug)]
pub struct Prepared<'a> {
    /// Its number in the capture.
    pub number: u64,
    /// Its time in the capture, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Its length on the wire when it was captured, with what was put to it and without what was taken off.
    pub original_length: u32,
    /// Where its headers are.
    pub layers: Layers,
    /// What is sent.
    pub bytes: &'a [u8],
    /// Why it has no Ethernet header.
    pub unframed: Option<Unframed>,
}
