//! What is counted by key: addresses, conversations, ports; each table holds at most so many entries.

use super::HashMap;
use std::cmp::Reverse;
use std::hash::Hash;
use std::net::IpAddr;

use super::{Conversation, MOST_ENTRIES, Port, Protocol, Side, Tally, names};
use crate::packet::layers::{Fragment, Ip, Layers, LinkType, protocol};

/// What an address sent, and what was sent to it.
#[derive(Debug, Clone, Copy, Default)]
struct Both {
    sent: Tally,
    received: Tally,
}

/// Addresses of one kind.
#[derive(Debug)]
pub(super) struct Addresses<A> {
    entries: HashMap<A, Both>,
    /// Frames of addresses that came when the table was full.
    pub(super) unlisted: u64,
}

impl<A> Default for Addresses<A> {
    fn default() -> Self {
        Self { entries: HashMap::default(), unlisted: 0 }
    }
}

impl<A: Copy + Eq + Hash + Ord> Addresses<A> {
    /// Adds a frame.
    pub(super) fn add(&mut self, source: A, destination: A, bytes: u32) {
        if let Some(entry) = self.entry(source) {
            entry.sent.add(bytes);
        }
        if let Some(entry) = self.entry(destination) {
            entry.received.add(bytes);
        }
    }

    fn entry(&mut self, address: A) -> Option<&mut Both> {
        if self.entries.len() >= MOST_ENTRIES && !self.entries.contains_key(&address) {
            self.unlisted += 1;
            return None;
        }
        Some(self.entries.entry(address).or_default())
    }

    /// A row for each address, those with most frames first.
    pub(super) fn finish<R>(self, row: impl Fn(A, Tally, Tally) -> R) -> Vec<R> {
        let mut entries: Vec<_> = self.entries.into_iter().collect();
        entries.sort_unstable_by_key(|(address, both)| (Reverse(both.sent.frames + both.received.frames), *address));
        entries.into_iter().map(|(address, Both { sent, received })| row(address, sent, received)).collect()
    }
}

/// The packets of one protocol between two sides, the lesser of which is named first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Pair {
    protocol: u8,
    sides: [(IpAddr, Option<u16>); 2],
}

#[derive(Debug, Clone, Copy)]
struct Exchange {
    /// Which of the two sides sent first.
    client: usize,
    from_client: Tally,
    from_server: Tally,
    vlan_tags: usize,
    has_fragments: bool,
}

/// Who talked to whom.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    entries: HashMap<Pair, Exchange>,
    /// Frames of conversations that came when the table was full.
    pub(super) unlisted: u64,
}

impl Conversations {
    /// Adds a packet; `ports` are those of its datagram.
    pub(super) fn add(
        &mut self,
        layers: &Layers,
        ip: &Ip,
        addresses: (IpAddr, IpAddr),
        ports: Option<(u16, u16)>,
        bytes: u32,
    ) {
        let (source, destination) =
            ((addresses.0, ports.map(|ports| ports.0)), (addresses.1, ports.map(|ports| ports.1)));
        let (sides, sender) =
            if source <= destination { ([source, destination], 0) } else { ([destination, source], 1) };
        let pair = Pair { protocol: ip.protocol, sides };
        if self.entries.len() >= MOST_ENTRIES && !self.entries.contains_key(&pair) {
            self.unlisted += 1;
            return;
        }
        let exchange = self.entries.entry(pair).or_insert(Exchange {
            client: sender,
            from_client: Tally::default(),
            from_server: Tally::default(),
            // libpcap knows them of Ethernet alone.
            vlan_tags: if layers.link == LinkType::ETHERNET { layers.vlan_tags } else { 0 },
            has_fragments: false,
        });
        exchange.has_fragments |= ip.fragment != Fragment::Whole;
        let tally = if exchange.client == sender { &mut exchange.from_client } else { &mut exchange.from_server };
        tally.add(bytes);
    }

    /// The conversations, those with most frames first.
    pub(super) fn finish(self) -> Vec<Conversation> {
        let mut entries: Vec<_> = self.entries.into_iter().collect();
        entries.sort_unstable_by_key(|(pair, exchange)| {
            (Reverse(exchange.from_client.frames + exchange.from_server.frames), *pair)
        });
        let rows = entries.into_iter().map(|(Pair { protocol, sides: [lesser, greater] }, exchange)| {
            let side = |(address, port)| Side { address, port };
            let (client, server) = if exchange.client == 0 { (lesser, greater) } else { (greater, lesser) };
            Conversation {
                protocol: names::transport(protocol),
                client: side(client),
                server: side(server),
                from_client: exchange.from_client,
                from_server: exchange.from_server,
                vlan_tags: exchange.vlan_tags,
                has_fragments: exchange.has_fragments,
            }
        });
        rows.collect()
    }
}

/// UDP and TCP destination ports.
#[derive(Debug, Default)]
pub(super) struct Ports(HashMap<(u8, u16), Tally>);

impl Ports {
    /// Adds a packet, of whichever protocol.
    pub(super) fn add(&mut self, number: u8, port: u16, bytes: u32) {
        if matches!(number, protocol::UDP | protocol::TCP) {
            self.0.entry((number, port)).or_default().add(bytes);
        }
    }

    /// The ports, those with most frames first.
    pub(super) fn finish(self) -> Vec<Port> {
        let mut entries: Vec<_> = self.0.into_iter().collect();
        entries.sort_unstable_by_key(|(port, tally)| (Reverse(tally.frames), *port));
        let rows = entries.into_iter().map(|((number, port), Tally { frames, bytes })| {
            let protocol = if number == protocol::UDP { "UDP" } else { "TCP" };
            Port { protocol, number: port, frames, bytes }
        });
        rows.collect()
    }
}

/// Protocols by what distinguishes them; there can't be many.
pub(super) fn protocols<K>(tallies: impl IntoIterator<Item = (K, Tally)>, name: impl Fn(K) -> String) -> Vec<Protocol> {
    let named = tallies.into_iter().map(|(key, Tally { frames, bytes })| Protocol { name: name(key), frames, bytes });
    let mut rows: Vec<Protocol> = named.collect();
    rows.sort_by(|one, other| other.frames.cmp(&one.frames).then_with(|| one.name.cmp(&other.name)));
    rows
}
