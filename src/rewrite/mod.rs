//! Compiled maps and their application to a frame, in place; one file for each kind of header.
//!
//! The same [`Rewriter`] serves `rewrite`, `plan`, the replay and the snapshot, so they can't disagree. Nothing is touched unless an
//! entry names it, a result is never mapped again, and the length of a frame never changes. May use `packet`, `capture`, `scenario`
//! and `diagnostic`. Start at [`Rewriter::apply`].

#![warn(clippy::indexing_slicing)]

mod arp;
mod checksums;
mod compile;
mod file;
mod hits;
mod ip;
mod mac;
mod port;
mod prefix;

use crate::packet::MacAddr;
use crate::packet::layers::{Layers, Network};
use crate::scenario::rewrite::Checksums;

pub use compile::{Entry, Mapping};
pub use file::{Output, Selected, Summary, rewrite_file};
pub use hits::{EntryHits, Hits, Left, Seen, unused_problems};

/// The MAC addresses that the words `sender` and `receiver` stand for, where the site knows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles {
    /// The sending interface's.
    pub sender: Option<MacAddr>,
    /// The receiving interface's.
    pub receiver: Option<MacAddr>,
}

/// The compiled `[rewrite]` of a scenario.
#[derive(Debug, Clone)]
pub struct Rewriter {
    checksums: Checksums,
    allow_unused: bool,
    entries: Vec<Entry>,
    /// What changes on the side that sent the frame.
    source: SideTables,
    /// What changes on the side that it is for.
    destination: SideTables,
}

/// The maps of one side: those of `source` or `destination` with those of `both`.
#[derive(Debug, Clone)]
struct SideTables {
    v4: prefix::PrefixMap<u32>,
    v6: prefix::PrefixMap<u128>,
    mac: mac::MacMap,
    port: port::PortMap,
}

impl Rewriter {
    /// Rewrites one frame in place: `layers` are those of `frame`, `original_length` its length on the wire. The length never changes.
    #[inline]
    pub fn apply(&self, layers: &Layers, frame: &mut [u8], original_length: u32, hits: &mut Hits) {
        hits.begin();
        let group = mac::group_of(layers, frame);
        let named = mac::apply(self, layers, frame, hits);
        match &layers.network {
            Network::None => hits.leave(Left::no_network_layer(layers)),
            Network::Arp { offset } => arp::apply(self, *offset, frame, hits),
            Network::Ipv4(_) | Network::Ipv6(_) => {
                ip::apply(self, &layers.network, ip::Depth::Outer, frame, hits);
                if !named {
                    mac::follow_group(group, layers, frame);
                }
                if self.checksums == Checksums::Fix {
                    checksums::fix(layers, frame, original_length);
                }
            }
        }
    }

    /// Every map entry: what it says and where it is written.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether no frame is ever changed.
    pub fn is_identity(&self) -> bool {
        self.entries.is_empty() && self.checksums == Checksums::Preserve
    }

    /// Whether entries that match nothing are allowed.
    pub fn allows_unused(&self) -> bool {
        self.allow_unused
    }
}
