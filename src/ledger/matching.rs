//! Which of the sent frames arrived: by their bytes, in order, in flat memory.
//!
//! The sending side announces each frame before it is sent, the receiving side reports each frame that it sees. Equal frames are
//! matched in the order in which they were sent. As long as frames arrive in that order, which is nearly always, a frame is compared
//! with one other; an index is made only when one comes that wasn't next. Start at [`Matching::see`].

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::identity::Digest;
use crate::evidence::Arriving;

/// How many frames may be under way at once. A frame that is still missing when so many later ones were announced is given up: a
/// veth pair and a receive ring together hold far fewer.
const WINDOW: usize = 1 << 17;
/// So many frames beyond the one that is next are looked at before the index is asked.
const NEAR: usize = 64;
/// So many frames that were matched and forgotten are remembered, for one that comes twice.
const REMEMBERED: usize = 1 << 12;
/// So many unknown frames are remembered, for the missing ones in whose place they came.
const STRANGERS: usize = 1 << 12;
/// A frame that came in another's place came at most so many frames before its turn: others were altered right before it.
const IN_PLACE: u64 = 1024;

/// A frame that is about to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Digest, u64, u32)", into = "(Digest, u64, u32)")]
pub struct Announced {
    /// Of its bytes.
    pub digest: Digest,
    /// Its number in the capture.
    pub frame: u64,
    /// Its length in bytes.
    pub length: u32,
}

impl From<(Digest, u64, u32)> for Announced {
    fn from((digest, frame, length): (Digest, u64, u32)) -> Self {
        Self { digest, frame, length }
    }
}

impl From<Announced> for (Digest, u64, u32) {
    fn from(Announced { digest, frame, length }: Announced) -> Self {
        (digest, frame, length)
    }
}

/// What a frame on the receiver's wire is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// The sent frame of this number.
    Sent(u64),
    /// The sent frame of this number, which was seen before.
    Again(u64),
    /// None that was sent.
    Stranger,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Seen,
    Withdrawn,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    announced: Announced,
    state: State,
}

/// A frame that was not sent by this run: its length, and the position that was next when it came.
#[derive(Debug, Clone, Copy)]
struct Stranger {
    place: u64,
    length: u32,
}

/// Sent frames against seen ones.
#[derive(Debug, Default)]
pub struct Matching {
    /// The frames from position `first` on, in the order of sending.
    slots: VecDeque<Slot>,
    first: u64,
    /// One more than the highest position that was seen.
    reached: u64,
    /// Positions by digest, in rising order; may hold some that are gone. Only once it was needed.
    index: Option<HashMap<Digest, VecDeque<u64>>>,
    indexed: usize,
    remembered: VecDeque<(Digest, u64)>,
    strangers: VecDeque<Stranger>,
    arriving: Arriving,
}

impl Matching {
    /// The frame is about to be sent. Its position is one more than that of the one before, from 0 on.
    pub fn announce(&mut self, announced: Announced) {
        let position = self.first + self.slots.len() as u64;
        self.slots.push_back(Slot { announced, state: State::Waiting });
        if let Some(index) = &mut self.index {
            index.entry(announced.digest).or_default().push_back(position);
            self.indexed += 1;
        }
        while self.slots.len() > WINDOW {
            self.forget_first();
        }
    }

    /// The kernel refused the frame at this position: it will not be seen.
    pub fn withdraw(&mut self, position: u64) {
        if let Some(slot) = self.slot(position) {
            slot.state = State::Withdrawn;
        }
        self.forget_done();
    }

    /// A frame of this length is on the receiver's wire.
    pub fn see(&mut self, digest: Digest, length: u32) -> Sighting {
        if let Some(position) = self.next_waiting(digest).or_else(|| self.anywhere(digest)) {
            return Sighting::Sent(self.take(position));
        }
        if let Some(frame) = self.seen_before(digest) {
            self.arriving.duplicated += 1;
            self.arriving.first_duplicated.get_or_insert(frame);
            return Sighting::Again(frame);
        }
        self.arriving.foreign += 1;
        if self.strangers.len() == STRANGERS {
            self.strangers.pop_front();
        }
        self.strangers.push_back(Stranger { place: self.reached, length });
        Sighting::Stranger
    }

    /// How many frames were announced.
    pub fn announced(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// How many of the sent frames were seen.
    pub fn arrived(&self) -> u64 {
        self.arriving.arrived
    }

    /// What came, and what is still missing.
    pub fn finish(mut self) -> Arriving {
        while !self.slots.is_empty() {
            self.forget_first();
        }
        self.arriving
    }

    fn slot(&mut self, position: u64) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(position.checked_sub(self.first)?).ok()?)
    }

    /// The next position or one shortly after it, if that frame is waited for.
    fn next_waiting(&self, digest: Digest) -> Option<u64> {
        let from = usize::try_from(self.reached.saturating_sub(self.first)).ok()?;
        let is_it = |slot: &Slot| slot.state == State::Waiting && slot.announced.digest == digest;
        let offset = self.slots.range(from.min(self.slots.len())..).take(NEAR).position(is_it)?;
        Some(self.first + (from + offset) as u64)
    }

    /// The first position at which that frame is waited for.
    fn anywhere(&mut self, digest: Digest) -> Option<u64> {
        self.refresh_index();
        let (slots, first) = (&self.slots, self.first);
        let positions = self.index.as_ref()?.get(&digest)?;
        positions.iter().copied().find(|position| {
            let slot = position.checked_sub(first).and_then(|offset| slots.get(usize::try_from(offset).ok()?));
            slot.is_some_and(|slot| slot.state == State::Waiting)
        })
    }

    /// The frame with this digest, if it was seen before.
    fn seen_before(&self, digest: Digest) -> Option<u64> {
        let of_slots = self.index.as_ref().and_then(|index| index.get(&digest)).and_then(|positions| {
            positions.iter().find_map(|position| {
                let slot = self.slots.get(usize::try_from(position.checked_sub(self.first)?).ok()?)?;
                (slot.state == State::Seen).then_some(slot.announced.frame)
            })
        });
        of_slots.or_else(|| {
            self.remembered.iter().rev().find(|(remembered, _)| *remembered == digest).map(|(_, frame)| *frame)
        })
    }

    /// Makes the index, or makes it anew where most of it is about frames that are gone.
    fn refresh_index(&mut self) {
        if self.index.is_some() && self.indexed <= 2 * self.slots.len() + 1024 {
            return;
        }
        let mut index: HashMap<Digest, VecDeque<u64>> = HashMap::with_capacity(self.slots.len());
        for (position, slot) in (self.first..).zip(&self.slots) {
            index.entry(slot.announced.digest).or_default().push_back(position);
        }
        self.indexed = self.slots.len();
        self.index = Some(index);
    }

    /// The frame at `position` was seen; its number.
    fn take(&mut self, position: u64) -> u64 {
        let reached = self.reached;
        let Some(slot) = self.slot(position) else { return 0 };
        slot.state = State::Seen;
        let frame = slot.announced.frame;
        self.arriving.arrived += 1;
        if position < reached {
            self.arriving.reordered += 1;
            self.arriving.first_reordered.get_or_insert(frame);
        } else {
            self.reached = position + 1;
        }
        self.forget_done();
        frame
    }

    /// Forgets what is done at the front.
    fn forget_done(&mut self) {
        while self.slots.front().is_some_and(|slot| slot.state != State::Waiting) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some(Slot { announced, state }) = self.slots.pop_front() else { return };
        let position = self.first;
        self.first += 1;
        match state {
            State::Withdrawn => {}
            State::Seen => {
                if self.remembered.len() == REMEMBERED {
                    self.remembered.pop_front();
                }
                self.remembered.push_back((announced.digest, announced.frame));
            }
            State::Waiting => {
                self.arriving.missing.add(announced.frame);
                if self.substitutes(position, announced.length) {
                    self.arriving.foreign -= 1;
                    self.arriving.altered.add(announced.frame);
                }
            }
        }
    }

    /// Whether an unknown frame of the same length came when this missing one was due; it stands in for no other.
    fn substitutes(&mut self, position: u64, length: u32) -> bool {
        let fits = |stranger: &Stranger| {
            stranger.length == length && stranger.place <= position && position - stranger.place < IN_PLACE
        };
        self.strangers.iter().position(fits).and_then(|index| self.strangers.remove(index)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::identity::Digester;
    use super::{Announced, Matching, Sighting, WINDOW};
    use crate::evidence::Arriving;

    fn announced(digester: &Digester, bytes: &[u8], frame: u64) -> Announced {
        Announced { digest: digester.of(bytes), frame, length: u32::try_from(bytes.len()).expect("short") }
    }

    fn run(sent: &[&[u8]], seen: &[&[u8]]) -> Arriving {
        let digester = Digester::default();
        let mut matching = Matching::default();
        for (index, frame) in sent.iter().enumerate() {
            matching.announce(announced(&digester, frame, index as u64 + 1));
        }
        for frame in seen {
            matching.see(digester.of(frame), u32::try_from(frame.len()).expect("short"));
        }
        matching.finish()
    }

    #[test]
    fn equal_frames_are_matched_one_by_one() {
        let arriving = run(&[b"a", b"a", b"b"], &[b"a", b"b", b"a", b"a"]);
        assert_eq!((arriving.arrived, arriving.duplicated, arriving.foreign, arriving.reordered), (3, 1, 0, 1));
    }

    #[test]
    fn a_lost_an_altered_and_a_foreign_frame_are_told_apart() {
        let arriving = run(&[b"a", b"b", b"c", b"d"], &[b"a", b"x", b"d", b"foreign"]);
        assert_eq!(arriving.missing.to_string(), "2-3");
        assert_eq!((arriving.altered.to_string().as_str(), arriving.foreign), ("2", 1));
    }

    #[test]
    fn frames_altered_one_after_the_other_are_each_counted() {
        let arriving = run(&[b"a", b"b", b"c", b"d", b"e"], &[b"a", b"x", b"y", b"z", b"e"]);
        assert_eq!((arriving.altered.to_string().as_str(), arriving.foreign, arriving.arrived), ("2-4", 0, 2));
    }

    #[test]
    fn a_frame_that_comes_late_is_counted_and_named() {
        let arriving = run(&[b"a", b"b", b"c"], &[b"b", b"a", b"c"]);
        assert_eq!((arriving.reordered, arriving.first_reordered), (1, Some(1)));
        assert!(arriving.missing.is_empty());
    }

    #[test]
    fn a_frame_that_comes_twice_is_no_stranger() {
        let arriving = run(&[b"a", b"b", b"c"], &[b"a", b"b", b"b", b"c", b"a"]);
        assert_eq!((arriving.arrived, arriving.duplicated, arriving.first_duplicated), (3, 2, Some(2)));
        assert_eq!((arriving.foreign, arriving.reordered), (0, 0));
    }

    #[test]
    fn a_withdrawn_frame_is_not_missing() {
        let digester = Digester::default();
        let mut matching = Matching::default();
        for (bytes, frame) in [(b"a", 1), (b"b", 2), (b"c", 3)] {
            matching.announce(announced(&digester, bytes, frame));
        }
        matching.withdraw(1);
        assert_eq!(matching.see(digester.of(b"a"), 1), Sighting::Sent(1));
        assert_eq!(matching.see(digester.of(b"c"), 1), Sighting::Sent(3));
        let arriving = matching.finish();
        assert!(arriving.missing.is_empty() && arriving.reordered == 0);
    }

    #[test]
    fn memory_stays_flat_when_everything_is_lost_or_one_frame_is() {
        let digester = Digester::default();
        for lost in [u64::MAX, 1] {
            let mut matching = Matching::default();
            let many = WINDOW as u64 * 3;
            for frame in 1..=many {
                let bytes = frame.to_le_bytes();
                matching.announce(announced(&digester, &bytes, frame));
                if frame > lost {
                    matching.see(digester.of(&bytes), 8);
                }
            }
            assert!(matching.slots.len() <= WINDOW && matching.indexed <= 3 * WINDOW);
            let missing = if lost == 1 { "1".to_owned() } else { format!("1-{many}") };
            assert_eq!(matching.finish().missing.to_string(), missing);
        }
    }

    proptest! {
        /// Whatever is lost, doubled, changed or exchanged: every sent frame arrived or is missing, and every seen one is something.
        #[test]
        fn the_counts_add_up(kinds in proptest::collection::vec(0..4u8, 0..200), events in proptest::collection::vec(0..8u8, 0..200)) {
            let digester = Digester::default();
            let mut matching = Matching::default();
            for (frame, kind) in (1..).zip(&kinds) {
                matching.announce(announced(&digester, &[*kind; 60], frame));
            }
            let mut seen = 0;
            let mut put = |bytes: &[u8]| {
                matching.see(digester.of(bytes), 60);
                seen += 1;
            };
            for (kind, event) in kinds.iter().zip(&events) {
                match event {
                    0 => {}
                    1 => { put(&[*kind; 60]); put(&[*kind; 60]); }
                    2 => put(&[9; 60]),
                    _ => put(&[*kind; 60]),
                }
            }
            let arriving = matching.finish();
            prop_assert_eq!(arriving.arrived + arriving.missing.count(), kinds.len() as u64);
            prop_assert_eq!(arriving.arrived + arriving.duplicated + arriving.foreign + arriving.altered.count(), seen);
        }
    }
}
