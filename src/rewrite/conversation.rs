//! Who is the client of a conversation: the sender of its first frame.
//!
//! A conversation is what shares protocol, both addresses and both ports; without ports, the addresses; without IP or ARP, the MACs.
//! Only hashes are kept, so that a million conversations take some tens of megabytes. Start at [`Conversations::sender`].

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use crate::packet::layers::{Datagram, Layers, Network};

const MOST: usize = 1 << 20;
/// How many datagrams whose fragments have no ports are followed.
const MOST_DATAGRAMS: usize = 1 << 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum End {
    Socket(IpAddr, u16),
    Host(IpAddr),
    Station([u8; 6]),
}

#[derive(Debug, Clone, Default)]
pub struct Conversations {
    /// By the hash of both ends, the smaller one first: whether the smaller one is the client.
    smaller_is_client: HashMap<u64, bool>,
    /// The protocol and ends of datagrams, for their later fragments.
    datagrams: HashMap<Datagram, (u8, End, End)>,
}

impl Conversations {
    /// Who sent the frame; a first one is its client's, or of an error, its server's. `None`: there are more conversations than are distinguished.
    pub(super) fn sender(&mut self, layers: &Layers, frame: &[u8]) -> Option<Sender> {
        let Some((protocol, source, destination)) = self.ends(layers, frame) else { return Some(Sender::Client) };
        let from_smaller = source <= destination;
        let is_error = layers.quoted(frame).is_some();
        let has_space = self.smaller_is_client.len() < MOST;
        let smaller_is_client = match self.smaller_is_client.entry(hash(protocol, source, destination)) {
            Entry::Occupied(known) => *known.get(),
            // The quoted packet was sent before the error, in the other direction, though it is not in the capture.
            Entry::Vacant(new) if has_space => *new.insert(from_smaller != is_error),
            Entry::Vacant(_) => return None,
        };
        Some(if smaller_is_client == from_smaller { Sender::Client } else { Sender::Server })
    }

    /// What the frames of a conversation have in common, whichever way they go; `None` for what has no addresses. The same in every process.
    pub fn of(&mut self, layers: &Layers, frame: &[u8]) -> Option<u64> {
        self.ends(layers, frame).map(|(protocol, source, destination)| hash(protocol, source, destination))
    }

    /// The protocol of a frame's conversation, who sent it, and to whom.
    fn ends(&mut self, layers: &Layers, frame: &[u8]) -> Option<(u8, End, End)> {
        if let Some((sender, target)) = layers.arp_addresses(frame) {
            return Some((0, End::Host(sender), End::Host(target)));
        }
        // An error belongs to the conversation of the packet that it quotes, and came against it.
        if let Some(quoted) = layers.quoted(frame) {
            let (protocol, source, destination) = self.ip_ends(&quoted, frame)?;
            return Some((protocol, destination, source));
        }
        if layers.network.ip().is_some() {
            return self.ip_ends(&layers.network, frame);
        }
        let (destination, source) = layers.macs(frame)?;
        Some((0, End::Station(source.0), End::Station(destination.0)))
    }

    fn ip_ends(&mut self, network: &Network, frame: &[u8]) -> Option<(u8, End, End)> {
        let ip = network.ip()?;
        let (source, destination) = network.addresses(frame)?;
        let ports = network.ports(frame);
        let ends = match ports {
            Some((from, to)) => (ip.protocol, End::Socket(source, from), End::Socket(destination, to)),
            None => (ip.protocol, End::Host(source), End::Host(destination)),
        };
        let Some(datagram) = network.datagram(frame) else { return Some(ends) };
        if ip.is_later_fragment() {
            return self.datagrams.get(&datagram).copied().or(Some(ends));
        }
        if self.datagrams.len() >= MOST_DATAGRAMS {
            self.datagrams.clear();
        }
        self.datagrams.insert(datagram, ends);
        Some(ends)
    }
}

/// The hash of a conversation, whichever end is first.
fn hash(protocol: u8, one: End, other: End) -> u64 {
    let mut hasher = DefaultHasher::new();
    (protocol, one.min(other), one.max(other)).hash(&mut hasher);
    hasher.finish()
}
