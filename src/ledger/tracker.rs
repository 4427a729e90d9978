//! Packets followed one by one through the receiver's stack, from what the kernel's tracepoints say of each; in bounded memory.
//!
//! A packet is named by its position: the how-manieth it was to arrive. A datagram in fragments ends as its last fragment to arrive
//! does, since the kernel goes on with that one. A socket's queue is first in, first out, so that the first datagram read is the first
//! that was queued. Start at [`PacketTracker`].

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::capture::FrameRanges;
use crate::evidence::{DropKind, Ending};
use crate::figures::{agree, count};
use crate::packet::layers::protocol;

/// So many packets may be on their way at once; with more, what became of all of them is not known.
const MOST_OPEN: usize = 1 << 18;

/// What a packet is, as far as it decides what an end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Class {
    ip: bool,
    udp: bool,
}

/// Which datagram a fragment belongs to: source, destination, identification, protocol (RFC 791 section 3.2, RFC 8200 section 4.5).
type FragmentKey = ([u8; 16], [u8; 16], u32, u8);

#[derive(Debug)]
struct Packet {
    /// `None` for a packet that this run did not send.
    frame: Option<u64>,
    class: Class,
    fragment: Option<FragmentKey>,
    /// Queues that it is in.
    queued: u32,
    read: bool,
    closed: bool,
    dropped: Option<usize>,
    used: Option<usize>,
    /// The fragment whose end is this one's.
    leader: Option<u64>,
    /// The socket that it was queued to last.
    socket: Option<u64>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Positions; `None` for a datagram of the receiver's own.
    waiting: VecDeque<Option<u64>>,
    /// Reads whose datagram was not recorded yet: another processor did both.
    early_reads: u64,
}

/// How the kernel dropped a packet.
#[derive(Debug, Clone, Copy)]
pub struct PacketDrop<'a> {
    /// What it said.
    pub kind: &'a DropKind,
    /// The place in its code.
    pub location: u64,
    /// Whether it is a copy that was dropped, as each socket but one has of a multicast.
    pub clone: bool,
    /// Whether it was still a fragment, and not part of a datagram that was put together.
    pub is_fragment: bool,
}

/// Every packet that arrived, and what became of it.
#[derive(Debug, Default)]
pub struct PacketTracker {
    /// From position `first` on; `None` where nothing was said of its arrival yet.
    packets: VecDeque<Option<Packet>>,
    first: u64,
    /// What came in before is none of the capture's.
    begins: u64,
    queues: HashMap<u64, Queue>,
    /// Fragments of datagrams that are not whole, in the order in which they arrived.
    fragments: HashMap<FragmentKey, Vec<u64>>,
    /// Drops by what the kernel said and where.
    kinds: Vec<(DropKind, u64)>,
    /// Places in the kernel where packets were used up.
    places: Vec<u64>,
    ends: BTreeMap<RawEnding, FrameRanges>,
    overflowed: bool,
    /// Datagrams that were queued without a position: the receiver's own, or the capture's that another processor queued.
    unknown: u64,
    /// Those of them that were read.
    unknown_read: u64,
    /// Whether a packet came into the queues of several sockets.
    shared: bool,
}

/// An ending, with indices instead of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RawEnding {
    Read,
    Unread,
    Closed,
    Dropped(usize),
    Used(usize, bool, bool),
    Incomplete,
    Unseen(bool, bool),
}

impl RawEnding {
    /// Whether it is that of a datagram which may have been queued without a position.
    fn is_unseen_datagram(&self) -> bool {
        matches!(self, Self::Unseen(_, true) | Self::Used(_, _, true))
    }
}

/// `1 datagram was`, `5 datagrams were`.
fn counted(datagrams: u64) -> String {
    format!("{} {}", count(datagrams, "datagram"), agree(datagrams, "was", "were"))
}

impl PacketTracker {
    /// Follows what comes in from this position on.
    pub fn beginning(position: u64) -> Self {
        Self { first: position, begins: position, ..Self::default() }
    }

    /// A packet arrived: `frame` is its number in the capture, `packet` its first bytes from the network header on.
    pub fn arrive(&mut self, position: u64, frame: Option<u64>, packet: &[u8]) {
        if position < self.begins {
            return;
        }
        if let Some(key) = fragment_key(packet) {
            self.fragments.entry(key).or_default().push(position);
        }
        // With several processors, records may be slightly out of order.
        while self.first + self.packets.len() as u64 <= position {
            self.packets.push_back(None);
        }
        match self.slot(position) {
            Some(slot) => *slot = Some(Packet::new(frame, class(packet), fragment_key(packet))),
            None => self.overflowed = true,
        }
        self.settle_first();
        if self.packets.len() > MOST_OPEN {
            self.overflowed = true;
            self.packets.pop_front();
            self.first += 1;
        }
    }

    /// It was put into a socket's queue; `None` for a datagram of the receiver's own, and where the position isn't known.
    pub fn queue(&mut self, position: Option<u64>, socket: u64) {
        // No datagram comes into a queue twice: this is one that was queued together with it.
        let first = self.first;
        let known = position.and_then(|position| self.packet(position));
        let is_new = |packet: &&mut Packet| packet.socket != Some(socket) && packet.dropped.is_none();
        // Of a packet that is forgotten, another socket has read its copy.
        let is_forgotten = position.is_some_and(|position| position < first);
        let position = if is_forgotten { position } else { known.filter(is_new).and(position) };
        let queue = self.queues.entry(socket).or_default();
        let is_read = queue.early_reads > 0;
        if is_read {
            queue.early_reads -= 1;
        } else {
            queue.waiting.push_back(position);
        }
        let Some(position) = position else {
            self.unknown += 1;
            self.unknown_read += u64::from(is_read);
            return;
        };
        if let Some(packet) = self.packet(position) {
            let is_shared = packet.socket.replace(socket).is_some();
            packet.read |= is_read;
            packet.queued += u32::from(!is_read);
            self.shared |= is_shared;
        }
        self.conclude(position);
    }

    /// A datagram was read of a socket.
    pub fn read(&mut self, socket: u64) {
        let queue = self.queues.entry(socket).or_default();
        match queue.waiting.pop_front() {
            None => queue.early_reads += 1,
            Some(None) => self.unknown_read += 1,
            Some(Some(position)) => {
                if let Some(packet) = self.packet(position) {
                    packet.queued = packet.queued.saturating_sub(1);
                    packet.read = true;
                }
            }
        }
    }

    /// The kernel dropped it.
    pub fn drop_packet(&mut self, position: u64, drop: &PacketDrop<'_>) {
        const CLOSING: [&str; 3] = ["NOT_SPECIFIED", "QUEUE_PURGE", "SOCKET_CLOSE"];
        let PacketDrop { kind, location, clone, is_fragment } = *drop;
        let known = self.kinds.iter().position(|(known, at)| *at == location && known == kind);
        let index = known.unwrap_or_else(|| {
            self.kinds.push((kind.clone(), location));
            self.kinds.len() - 1
        });
        let Some(packet) = self.packet(position) else { return };
        // A fragment that was put together with others goes with them.
        if packet.leader.is_some() {
            return;
        }
        let closing = packet.queued > 0 && CLOSING.contains(&kind.reason.as_str());
        // A wrong checksum is found by the reader of a long datagram.
        let late = packet.queued > 0 && kind.reason == "UDP_CSUM";
        packet.closed |= closing;
        if closing || late {
            packet.queued -= 1;
        }
        // The kernel uses addresses again: what is said of a packet after its drop is about another one.
        if !closing && (late || !clone) {
            packet.dropped.get_or_insert(index);
        }
        if closing || late {
            self.take_out(position);
        }
        match (clone, is_fragment && kind.reason != "NOT_SPECIFIED") {
            (true, _) => {}
            // It never came to the others.
            (false, true) => self.leave_out(position),
            // The datagram is whole, or the kernel gives up all of it, since the fragment contradicts the others.
            (false, false) => self.conclude(position),
        }
    }

    /// The kernel used it up without losing it; `location` is the place in its code.
    pub fn use_up(&mut self, position: u64, location: u64) {
        let known = self.places.iter().position(|place| *place == location);
        let index = known.unwrap_or_else(|| {
            self.places.push(location);
            self.places.len() - 1
        });
        if let Some(packet) = self.packet(position)
            && packet.queued == 0
            && !packet.read
        {
            packet.used = Some(index);
        }
    }

    /// The places in the kernel's code that were named.
    pub fn locations(&self) -> impl Iterator<Item = u64> {
        self.kinds.iter().map(|(_, location)| *location).chain(self.places.iter().copied())
    }

    /// Whether an event that was missed would show: a datagram would have no end, or a queue another length. `talks` as in [`Self::finish`].
    pub fn is_conclusive(&self, talks: bool) -> bool {
        let is_queued_elsewhere = self.unknown > 0 && !self.shared && self.unknown_explained(talks).is_ok();
        let still_open = |packet: &Option<Packet>| {
            packet.as_ref().is_none_or(|packet| match self.ending(packet) {
                RawEnding::Unseen(_, true) => !is_queued_elsewhere,
                RawEnding::Unseen(ip, false) => !ip,
                ending => matches!(ending, RawEnding::Unread | RawEnding::Incomplete),
            })
        };
        self.queues.values().all(|queue| queue.early_reads == 0) && !self.packets.iter().any(still_open)
    }

    /// Frames by what became of them, or why that isn't known of all. `functions`: the names of the locations; `talks`: whether the receiver sent
    /// datagrams to itself.
    pub fn finish(
        mut self,
        functions: &BTreeMap<u64, String>,
        talks: bool,
    ) -> Result<BTreeMap<Ending, FrameRanges>, String> {
        let explained = self.unknown_explained(talks);
        for index in 0..self.packets.len() {
            let Some(packet) = &self.packets[index] else {
                self.overflowed = true;
                continue;
            };
            let Some(frame) = packet.frame else { continue };
            let ending = self.ending(packet);
            self.ends.entry(ending).or_default().add(frame);
        }
        if self.overflowed {
            return Err("of a packet that came in there is no record, or more than 262,144 were on their way at once"
                .to_owned());
        }
        self.place_unknown(explained)?;
        let mut ends: BTreeMap<Ending, FrameRanges> = BTreeMap::new();
        for (raw, frames) in self.ends {
            let ending = match raw {
                RawEnding::Read => Ending::Read,
                RawEnding::Unread => Ending::Unread,
                RawEnding::Closed => Ending::Closed,
                RawEnding::Dropped(kind) => {
                    let (kind, location) = &self.kinds[kind];
                    Ending::Dropped(DropKind { function: functions.get(location).cloned(), ..kind.clone() })
                }
                RawEnding::Used(place, ip, udp) => {
                    Ending::Used { function: functions.get(&self.places[place]).cloned(), ip, udp }
                }
                RawEnding::Incomplete => Ending::Incomplete,
                RawEnding::Unseen(ip, udp) => Ending::Unseen { ip, udp },
            };
            ends.entry(ending).or_default().merge(&frames);
        }
        Ok(ends)
    }

    /// Datagrams that were queued without a position are those of which nothing else was said, if they are as many, all of them were read, and the
    /// receiver sent none to itself; else why that can't be known.
    fn unknown_explained(&self, talks: bool) -> Result<(), String> {
        let endings = self.packets.iter().flatten().map(|packet| self.ending(packet));
        let unseen = endings.filter(RawEnding::is_unseen_datagram).count() as u64;
        let queued = || format!("{} queued without saying which", counted(self.unknown));
        if talks {
            Err(format!("{}, and the receiver sent some to itself", queued()))
        } else if unseen != self.unknown {
            Err(format!("{}, and nothing is known of {unseen} that came in", queued()))
        } else if self.unknown_read != self.unknown {
            Err(format!("{}, of which {} read", queued(), counted(self.unknown_read)))
        } else {
            Ok(())
        }
    }

    /// Those that were queued without a position were read, where that is the explanation.
    fn place_unknown(&mut self, explained: Result<(), String>) -> Result<(), String> {
        let unseen: Vec<RawEnding> = self.ends.keys().copied().filter(RawEnding::is_unseen_datagram).collect();
        if self.unknown == 0 || unseen.is_empty() {
            return Ok(());
        }
        explained?;
        let frames = FrameRanges::union(unseen.iter().filter_map(|ending| self.ends.get(ending)));
        self.ends.retain(|ending, _| !ending.is_unseen_datagram());
        self.ends.entry(RawEnding::Read).or_default().merge(&frames);
        Ok(())
    }

    fn slot(&mut self, position: u64) -> Option<&mut Option<Packet>> {
        self.packets.get_mut(usize::try_from(position.checked_sub(self.first)?).ok()?)
    }

    fn packet(&mut self, position: u64) -> Option<&mut Packet> {
        self.slot(position)?.as_mut()
    }

    /// Takes a packet out of the queue that was closed with it: what was queued before it is gone as well.
    fn take_out(&mut self, position: u64) {
        for queue in self.queues.values_mut() {
            if let Some(at) = queue.waiting.iter().position(|waiting| *waiting == Some(position)) {
                queue.waiting.remove(at);
                // The receiver's own datagrams that were queued before it.
                while queue.waiting.front() == Some(&None) && at > 0 {
                    queue.waiting.pop_front();
                }
                return;
            }
        }
    }

    /// The datagram that this fragment completed goes on as this one.
    fn conclude(&mut self, position: u64) {
        let Some(key) = self.packet(position).and_then(|packet| packet.fragment) else { return };
        let Some(members) = self.fragments.get(&key) else { return };
        if members.last() != Some(&position) {
            return;
        }
        for member in self.fragments.remove(&key).unwrap_or_default() {
            if member != position
                && let Some(packet) = self.packet(member)
                && packet.dropped.is_none()
            {
                packet.leader = Some(position);
            }
        }
    }

    /// Takes a fragment out of its datagram.
    fn leave_out(&mut self, position: u64) {
        let Some(key) = self.packet(position).and_then(|packet| packet.fragment) else { return };
        if let Some(members) = self.fragments.get_mut(&key) {
            members.retain(|member| *member != position);
        }
    }

    /// What became of it, as far as is known now.
    fn ending(&self, packet: &Packet) -> RawEnding {
        let Class { ip, udp } = packet.class;
        let leader = packet.leader.and_then(|leader| usize::try_from(leader.checked_sub(self.first)?).ok());
        let packet = match leader.and_then(|leader| self.packets.get(leader)?.as_ref()) {
            Some(leader) if packet.dropped.is_none() => leader,
            _ => packet,
        };
        if ip && !udp && (packet.read || packet.queued > 0 || packet.closed) {
            // UDP-Lite: no datagram of those that the ledger follows to their reader.
            RawEnding::Unseen(ip, udp)
        } else if packet.read {
            RawEnding::Read
        } else if packet.queued > 0 {
            RawEnding::Unread
        } else if packet.closed {
            RawEnding::Closed
        } else if let Some(kind) = packet.dropped {
            RawEnding::Dropped(kind)
        } else if let Some(place) = packet.used {
            RawEnding::Used(place, ip, udp)
        } else if packet.fragment.is_some_and(|key| self.fragments.contains_key(&key)) {
            RawEnding::Incomplete
        } else {
            RawEnding::Unseen(ip, udp)
        }
    }

    /// Forgets the packets at the front of which nothing more will be said.
    fn settle_first(&mut self) {
        while let Some(Some(packet)) = self.packets.front() {
            // A fragment's end may be that of one that arrives later.
            let decides = match packet.leader.and_then(|leader| leader.checked_sub(self.first)) {
                Some(leader) => usize::try_from(leader).ok().and_then(|leader| self.packets.get(leader)?.as_ref()),
                None if packet.fragment.is_some_and(|key| self.fragments.contains_key(&key)) => None,
                None => Some(packet),
            };
            if !decides.is_some_and(Packet::is_over) {
                return;
            }
            let ending = self.ending(packet);
            if let Some(frame) = packet.frame {
                self.ends.entry(ending).or_default().add(frame);
            }
            self.packets.pop_front();
            self.first += 1;
        }
    }
}

impl Packet {
    /// Whether nothing more will be said of it.
    fn is_over(&self) -> bool {
        self.queued == 0 && (self.read || self.closed || self.dropped.is_some())
    }

    fn new(frame: Option<u64>, class: Class, fragment: Option<FragmentKey>) -> Self {
        Self {
            frame,
            class,
            fragment,
            queued: 0,
            read: false,
            closed: false,
            dropped: None,
            used: None,
            leader: None,
            socket: None,
        }
    }
}

/// Whether a packet, given by its first bytes from the network header on, is a fragment.
pub fn is_fragment(packet: &[u8]) -> bool {
    fragment_key(packet).is_some()
}

fn class(packet: &[u8]) -> Class {
    match packet.first().map(|first| first >> 4) {
        Some(4) => Class { ip: true, udp: packet.get(9) == Some(&protocol::UDP) },
        Some(6) => Class { ip: true, udp: super::hook_tracker::upper_protocol(packet) == protocol::UDP },
        _ => Class { ip: false, udp: false },
    }
}

/// `None` for a packet that is no fragment.
fn fragment_key(packet: &[u8]) -> Option<FragmentKey> {
    match packet.first()? >> 4 {
        4 => {
            let field = u16::from_be_bytes(*packet.get(6..)?.first_chunk()?);
            let identification = u16::from_be_bytes(*packet.get(4..)?.first_chunk()?);
            let (mut source, mut destination) = ([0; 16], [0; 16]);
            source[..4].copy_from_slice(packet.get(12..16)?);
            destination[..4].copy_from_slice(packet.get(16..20)?);
            (field & 0x3fff != 0).then_some((source, destination, identification.into(), *packet.get(9)?))
        }
        6 => {
            let (mut next, mut at) = (*packet.get(6)?, 40);
            while matches!(next, 0 | 43 | 60) {
                let length = 8 * (usize::from(*packet.get(at + 1)?) + 1);
                next = *packet.get(at)?;
                at += length;
            }
            if next != 44 {
                return None;
            }
            let field = u16::from_be_bytes(*packet.get(at + 2..)?.first_chunk()?);
            let identification = u32::from_be_bytes(*packet.get(at + 4..)?.first_chunk()?);
            let source = *packet.get(8..)?.first_chunk()?;
            let destination = *packet.get(24..)?.first_chunk()?;
            (field & 0xfff9 != 0).then_some((source, destination, identification, 0))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
