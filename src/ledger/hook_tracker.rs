//! How far each sent frame was seen in the receiver's stack, and which of them the kernel says that it dropped; in flat memory.
//!
//! The sending side announces the head of each packet before it is sent; taps and drop reasons show the heads of packets. Equal
//! ones are matched in the order in which they were sent. Start at [`HookTracker`].

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::identity::Digest;
use crate::capture::FrameRanges;
use crate::evidence::{DropKind, Dropped, Followed};
use crate::outcome::Hook;
use crate::predict::has_source_route;

/// How many frames are followed at once: a packet is through the stack, or lost, long before so many later ones were sent.
const WINDOW: usize = 1 << 16;
/// What a dropped packet is dropped as; `function` isn't known here.
///
/// `packet`: bytes from the network header on.
pub fn kind(reason: &str, packet: &[u8]) -> DropKind {
    let version = packet.first().map_or(0, |first| first >> 4);
    let at = |offset: usize| packet.get(offset).copied().unwrap_or(0);
    let kind = DropKind { reason: reason.to_owned(), ..DropKind::default() };
    match version {
        4 => {
            let header = usize::from(at(0) & 15) * 4;
            let options = packet.get(20..header).unwrap_or_default();
            let source_route = has_source_route(options);
            DropKind { version, protocol: at(9), to_group: at(16) >> 4 == 14, source_route, ..kind }
        }
        6 => DropKind { version, protocol: upper_protocol(packet), to_group: at(24) == 0xff, ..kind },
        _ => kind,
    }
}

/// The protocol behind an IPv6 packet's extension headers (RFC 8200 section 4), as far as its bytes are there.
pub(super) fn upper_protocol(packet: &[u8]) -> u8 {
    let at = |offset: usize| packet.get(offset).copied();
    let (mut next, mut header) = (at(6).unwrap_or(0), 40);
    // Hop-by-hop options, routing, fragment, destination options, authentication.
    while let (0 | 43 | 44 | 51 | 60, Some(after), Some(length)) = (next, at(header), at(header + 1)) {
        header += match next {
            44 => 8,
            51 => 4 * (usize::from(length) + 2),
            _ => 8 * (usize::from(length) + 1),
        };
        next = after;
    }
    next
}

#[derive(Debug)]
struct Slot {
    digest: Digest,
    frame: u64,
    last: Option<Hook>,
    /// Index into `kinds`.
    dropped: Option<usize>,
    withdrawn: bool,
}

/// What is looked for: a hook, a drop, or an arrival.
const DROP: usize = Hook::ALL.len();
const ARRIVAL: usize = DROP + 1;

/// Frames with one digest, in the order in which they were sent.
#[derive(Debug, Default)]
struct Equals {
    positions: VecDeque<u64>,
    /// How many of them were forgotten.
    gone: u64,
    /// For each hook, for drops and for arrivals: how many of them were found there.
    found: [u64; ARRIVAL + 1],
}

/// The sent frames, as the receiver's stack shows them.
#[derive(Debug, Default)]
pub struct HookTracker {
    slots: VecDeque<Slot>,
    first: u64,
    /// Positions by digest; made up to `indexed` when it is needed.
    index: HashMap<Digest, Equals>,
    indexed: u64,
    last: BTreeMap<Option<Hook>, FrameRanges>,
    /// The keys of `last` that have frames with equals.
    last_equal: BTreeSet<Option<Hook>>,
    /// Kinds of drops by the places in the kernel where they happened.
    kinds: Vec<(DropKind, u64)>,
    drops: Vec<Dropped>,
}

impl HookTracker {
    /// A frame is about to be sent. Its position is one more than that of the one before, from 0 on.
    pub fn announce(&mut self, digest: Digest, frame: u64) {
        self.slots.push_back(Slot { digest, frame, last: None, dropped: None, withdrawn: false });
        if self.slots.len() > WINDOW {
            self.forget_first();
        }
    }

    /// How many frames were announced.
    pub fn announced(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// The frame at this position was not sent.
    pub fn withdraw(&mut self, position: u64) {
        if let Some(slot) = self.slot(position) {
            slot.withdrawn = true;
        }
    }

    /// A packet passed a hook.
    pub fn pass(&mut self, digest: Digest, hook: Hook) {
        if let Some(slot) = self.find(digest, hook as usize) {
            slot.last = slot.last.max(Some(hook));
        }
    }

    /// A packet was seen to arrive; the number of its frame, if this run sent it.
    pub fn arrive(&mut self, digest: Digest) -> Option<u64> {
        self.find(digest, ARRIVAL).map(|slot| slot.frame)
    }

    /// The kernel dropped a packet; `location` is the place in its code.
    pub fn drop_packet(&mut self, digest: Digest, kind: &DropKind, location: u64) {
        let known = self.kinds.iter().position(|(known, at)| *at == location && known == kind);
        let index = known.unwrap_or_else(|| {
            self.kinds.push((kind.clone(), location));
            self.drops.push(Dropped::default());
            self.kinds.len() - 1
        });
        self.drops[index].packets += 1;
        // Of equal fragments the later one is the duplicate.
        let slot = if kind.reason == "DUP_FRAG" { self.find_last(digest) } else { self.find(digest, DROP) };
        if let Some(slot) = slot {
            slot.dropped = Some(index);
        }
    }

    /// The places in the kernel's code where packets were dropped.
    pub fn locations(&self) -> BTreeSet<u64> {
        self.kinds.iter().map(|(_, location)| *location).collect()
    }

    /// All that was seen. `complete`: each packet was tapped, and no record is missing; `functions`: the names of the locations.
    pub fn finish(mut self, complete: bool, functions: &BTreeMap<u64, String>) -> Followed {
        while !self.slots.is_empty() {
            self.forget_first();
        }
        let mut drops: BTreeMap<DropKind, Dropped> = BTreeMap::new();
        for ((mut kind, location), dropped) in self.kinds.into_iter().zip(self.drops) {
            kind.function = functions.get(&location).cloned();
            let all = drops.entry(kind).or_default();
            all.packets += dropped.packets;
            all.frames.merge(&dropped.frames);
            all.assumed |= dropped.assumed;
        }
        let last_assumed = if self.last_equal.len() > 1 { self.last_equal } else { BTreeSet::new() };
        Followed { last: complete.then_some(self.last), last_assumed, drops, ends: None }
    }

    fn slot(&mut self, position: u64) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(position.checked_sub(self.first)?).ok()?)
    }

    /// The first frame with this digest that was sent, and not found at this place yet.
    fn find(&mut self, digest: Digest, place: usize) -> Option<&mut Slot> {
        let end = self.first + self.slots.len() as u64;
        for position in self.indexed.max(self.first)..end {
            let offset = usize::try_from(position - self.first).ok()?;
            self.index.entry(self.slots.get(offset)?.digest).or_default().positions.push_back(position);
        }
        self.indexed = end;
        loop {
            let equals = self.index.get_mut(&digest)?;
            let next = equals.found[place].max(equals.gone);
            let position = *equals.positions.get(usize::try_from(next - equals.gone).ok()?)?;
            equals.found[place] = next + 1;
            let offset = usize::try_from(position.checked_sub(self.first)?).ok()?;
            if !self.slots.get(offset)?.withdrawn {
                return self.slots.get_mut(offset);
            }
        }
    }

    /// The last frame with this digest that was sent, and of which no drop is known.
    fn find_last(&mut self, digest: Digest) -> Option<&mut Slot> {
        self.slots.iter_mut().rev().find(|slot| slot.digest == digest && slot.dropped.is_none() && !slot.withdrawn)
    }

    fn forget_first(&mut self) {
        let Some(slot) = self.slots.pop_front() else { return };
        let position = self.first;
        self.first += 1;
        let mut has_equals = false;
        if position < self.indexed
            && let Some(equals) = self.index.get_mut(&slot.digest)
        {
            has_equals = equals.gone > 0 || equals.positions.len() > 1;
            equals.positions.pop_front();
            equals.gone += 1;
            if equals.positions.is_empty() {
                self.index.remove(&slot.digest);
            }
        }
        if slot.withdrawn {
            return;
        }
        if let Some(dropped) = slot.dropped {
            let dropped = &mut self.drops[dropped];
            dropped.frames.add(slot.frame);
            dropped.assumed |= has_equals;
        }
        if has_equals {
            self.last_equal.insert(slot.last);
        }
        self.last.entry(slot.last).or_default().add(slot.frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::identity::Digester;

    fn kind(reason: &str) -> DropKind {
        DropKind { reason: reason.to_owned(), version: 4, protocol: 17, ..DropKind::default() }
    }

    #[test]
    fn equal_packets_are_followed_in_the_order_of_sending() {
        let digester = Digester::default();
        let (a, b) = (digester.of(b"a"), digester.of(b"b"));
        let mut following = HookTracker::default();
        for (digest, frame) in [(a, 1), (a, 2), (b, 3), (a, 4)] {
            following.announce(digest, frame);
        }
        following.withdraw(1);
        for hook in [Hook::Ingress, Hook::InputLast] {
            following.pass(a, hook);
        }
        following.pass(a, Hook::Ingress);
        following.drop_packet(b, &kind("OTHERHOST"), 1);
        following.drop_packet(b, &kind("OTHERHOST"), 2);
        assert_eq!(following.locations(), [1, 2].into());
        let followed = following.finish(true, &BTreeMap::new());
        let last = followed.last.expect("complete");
        let shown: Vec<String> = last.iter().map(|(hook, frames)| format!("{hook:?}: {frames}")).collect();
        assert_eq!(shown, ["None: 3", "Some(Ingress): 4", "Some(InputLast): 1"]);
        let dropped = &followed.drops[&kind("OTHERHOST")];
        assert_eq!((dropped.packets, dropped.frames.to_string().as_str()), (2, "3"));
    }

    #[test]
    fn memory_stays_flat_and_old_frames_keep_what_was_seen_of_them() {
        let digester = Digester::default();
        let mut following = HookTracker::default();
        let frames = WINDOW as u64 + 1000;
        for frame in 1..=frames {
            let digest = digester.of(&frame.to_be_bytes());
            following.announce(digest, frame);
            following.pass(digest, Hook::Ingress);
        }
        assert!(following.index.len() <= WINDOW);
        let followed = following.finish(true, &BTreeMap::new());
        assert_eq!(followed.last.expect("complete")[&Some(Hook::Ingress)].count(), frames);
    }
}
