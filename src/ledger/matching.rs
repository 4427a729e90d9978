//! Which of the sent frames arrived: by their bytes, in order, in flat memory.
//!
//! The sending side says each frame before it is sent, the receiving side each frame that it sees. Equal frames are matched in
//! the order in which they were sent.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use crate::evidence::Arriving;
use crate::plan::FrameRanges;

/// How many frames may be under way at once. A frame that is still missing when so many later ones are waiting is given up: a
/// veth pair and a receive ring together hold far fewer.
const WINDOW: usize = 1 << 17;

/// A frame that was announced, and not yet seen.
#[derive(Debug, Clone, Copy)]
struct Announced {
    /// Position in the order of sending.
    position: u64,
    /// Its number in the capture.
    frame: u64,
}

/// What tells equal frames: a keyed 64-bit hash of all bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(u64);

/// The keyed hash of a run. Keyed at random, so that no capture can be made to collide.
#[derive(Debug, Clone, Default)]
pub struct Digester(RandomState);

impl Digester {
    /// The digest of a frame.
    pub fn of(&self, bytes: &[u8]) -> Digest {
        Digest(self.0.hash_one(bytes))
    }
}

/// Sent frames against seen ones.
#[derive(Debug, Default)]
pub struct Matching {
    waiting: HashMap<Digest, VecDeque<Announced>>,
    /// Announced digests in order; an entry whose frame was seen meanwhile is skipped.
    order: VecDeque<(Digest, u64)>,
    outstanding: usize,
    next: u64,
    /// One more than the highest position that was seen.
    reached: u64,
    given_up: FrameRanges,
    arrived: u64,
    foreign: u64,
    reordered: u64,
    first_reordered: Option<u64>,
}

impl Matching {
    /// The frame is about to be sent. Returns what [`Self::withdraw`] takes.
    pub fn announce(&mut self, digest: Digest, frame: u64) -> u64 {
        let position = self.next;
        self.next += 1;
        self.waiting.entry(digest).or_default().push_back(Announced { position, frame });
        self.order.push_back((digest, position));
        self.outstanding += 1;
        while self.outstanding > WINDOW {
            self.give_up_oldest();
        }
        if self.order.len() > 4 * WINDOW {
            self.forget_seen();
        }
        position
    }

    /// The kernel refused the frame: it will not be seen.
    pub fn withdraw(&mut self, digest: Digest, position: u64) {
        self.take(digest, |announced| announced.position == position);
    }

    /// A frame is on the receiver's wire. Says whether it is one of ours.
    pub fn see(&mut self, digest: Digest) -> bool {
        let Some(announced) = self.take(digest, |_| true) else {
            self.foreign += 1;
            return false;
        };
        self.arrived += 1;
        if announced.position < self.reached {
            self.reordered += 1;
            self.first_reordered.get_or_insert(announced.frame);
        } else {
            self.reached = announced.position + 1;
        }
        true
    }

    /// How many of the sent frames were seen.
    pub fn arrived(&self) -> u64 {
        self.arrived
    }

    /// What came, and what is still missing.
    pub fn finish(mut self) -> Arriving {
        while self.outstanding > 0 {
            self.give_up_oldest();
        }
        Arriving {
            arrived: self.arrived,
            missing: self.given_up,
            foreign: self.foreign,
            reordered: self.reordered,
            first_reordered: self.first_reordered,
        }
    }

    fn take(&mut self, digest: Digest, wanted: impl Fn(&Announced) -> bool) -> Option<Announced> {
        let queue = self.waiting.get_mut(&digest)?;
        let index = queue.iter().position(wanted)?;
        let announced = queue.remove(index)?;
        if queue.is_empty() {
            self.waiting.remove(&digest);
        }
        self.outstanding -= 1;
        Some(announced)
    }

    fn give_up_oldest(&mut self) {
        while let Some((digest, position)) = self.order.pop_front() {
            if let Some(announced) = self.take(digest, |announced| announced.position == position) {
                self.given_up.add(announced.frame);
                return;
            }
        }
    }

    fn forget_seen(&mut self) {
        let waiting = &self.waiting;
        self.order.retain(|(digest, position)| {
            waiting.get(digest).is_some_and(|queue| queue.iter().any(|announced| announced.position == *position))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Digester, Matching, WINDOW};

    fn run(sent: &[&[u8]], seen: &[&[u8]]) -> crate::evidence::Arriving {
        let digester = Digester::default();
        let mut matching = Matching::default();
        for (index, frame) in sent.iter().enumerate() {
            matching.announce(digester.of(frame), index as u64 + 1);
        }
        for frame in seen {
            matching.see(digester.of(frame));
        }
        matching.finish()
    }

    #[test]
    fn equal_frames_are_matched_one_by_one() {
        let arriving = run(&[b"a", b"a", b"b"], &[b"a", b"b", b"a", b"a"]);
        assert_eq!((arriving.arrived, arriving.foreign, arriving.reordered), (3, 1, 1));
    }

    #[test]
    fn a_lost_and_an_altered_frame_are_named() {
        let arriving = run(&[b"a", b"b", b"c", b"d"], &[b"a", b"x", b"d"]);
        assert_eq!((arriving.missing.to_string().as_str(), arriving.foreign), ("2-3", 1));
    }

    #[test]
    fn a_frame_that_comes_late_is_counted_and_named() {
        let arriving = run(&[b"a", b"b", b"c"], &[b"b", b"a", b"c"]);
        assert_eq!((arriving.reordered, arriving.first_reordered), (1, Some(1)));
    }

    #[test]
    fn a_withdrawn_frame_is_not_missing() {
        let digester = Digester::default();
        let mut matching = Matching::default();
        let digest = digester.of(b"a");
        let position = matching.announce(digest, 1);
        matching.withdraw(digest, position);
        assert!(matching.finish().missing.is_empty());
    }

    #[test]
    fn memory_stays_flat_when_everything_is_lost() {
        let digester = Digester::default();
        let mut matching = Matching::default();
        let many = WINDOW as u64 * 5;
        for frame in 1..=many {
            matching.announce(digester.of(&frame.to_le_bytes()), frame);
        }
        assert!(matching.waiting.len() <= WINDOW && matching.order.len() <= 4 * WINDOW);
        assert_eq!(matching.finish().missing.to_string(), format!("1-{many}"));
    }
}
