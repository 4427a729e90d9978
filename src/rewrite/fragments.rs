//! Checksums of datagrams in fragments: what makes each right is learnt in a pass of its own, since the checksum stands in the first
//! fragment and is known with the last.
//!
//! What a wrong checksum is wrong by stays the same while maps update it (RFC 1624), so that it is learnt of the frames as they were
//! captured. Start at [`Learner::add`].

use std::collections::HashMap;

use super::Rewriter;
use super::checksums::write;
use super::ip::Place;
use super::rewrite_stats::{Left, RewriteStats};
use crate::capture::Frame;
use crate::packet::bytes::be16;
use crate::packet::checksum::{Accumulator, Change, Field, Sum};
use crate::packet::datagram_sum::DatagramSum;
use crate::packet::fragments::{Came, Fragments};
use crate::packet::ip::fragment_begins;
use crate::packet::layers::{Datagram, Fragment, Layers, Network};

/// How many datagrams of which fragments are missing are followed at once.
const MOST_OPEN: usize = 4_096;
/// How many wrong or unknown checksums are remembered.
const MOST_REMEMBERED: usize = 65_536;

/// What first fragments need.
#[derive(Debug, Clone)]
pub struct FragmentSums {
    /// By the number of the frame: what makes its checksum right, `None` where that isn't known. Those that are right are not in it.
    wrong: HashMap<u64, Option<Change>>,
    /// Nothing was remembered of this frame and those after it.
    forgotten_from: u64,
}

impl FragmentSums {
    /// What makes the checksum in the first fragment with this number right; `None` where that isn't known.
    pub(super) fn of(&self, frame: u64) -> Option<Change> {
        match self.wrong.get(&frame) {
            Some(mended_by) => *mended_by,
            None => (frame < self.forgotten_from).then_some(Change::NONE),
        }
    }
}

#[derive(Debug, Default)]
struct Open {
    fragments: Fragments,
    payload: Accumulator,
    /// Frames that are its first fragment: the same one may come again.
    firsts: Vec<u64>,
    sum: Option<DatagramSum>,
    order: u64,
}

/// Learns them from the frames of a capture.
#[derive(Debug, Default)]
pub struct Learner {
    open: HashMap<Datagram, Open>,
    order: u64,
    wrong: HashMap<u64, Option<Change>>,
    forgotten_from: Option<u64>,
}

impl Learner {
    /// The next selected frame, as it was captured.
    pub fn add(&mut self, frame: &Frame<'_>) {
        let layers = Layers::find(frame.link, frame.bytes);
        let Some(ip) = layers.network.ip().filter(|ip| ip.fragment != Fragment::Whole) else { return };
        let Some(datagram) = layers.network.datagram(frame.bytes) else { return };
        let (offset, last) = match ip.fragment {
            Fragment::Later { offset, last, .. } => (offset, last),
            Fragment::First { .. } | Fragment::Whole => (0, false),
        };
        if self.open.len() >= MOST_OPEN
            && !self.open.contains_key(&datagram)
            && let Some(oldest) = self.open.iter().min_by_key(|(_, open)| open.order).map(|(datagram, _)| *datagram)
        {
            self.give_up(oldest);
        }
        self.order += 1;
        let begins = fragment_begins(&layers.network, frame.bytes);
        let open = self.open.entry(datagram).or_insert_with(|| Open { order: self.order, ..Open::default() });
        if offset == 0 {
            open.firsts.push(frame.number);
        }
        let came = if ip.is_cut(frame.bytes) {
            Came::Overlapping
        } else {
            open.fragments.add(u64::from(offset), ip.end.saturating_sub(begins) as u64, last)
        };
        match came {
            Came::Again => return,
            Came::Overlapping => return self.give_up(datagram),
            Came::New => {}
        }
        let payload = if offset == 0 { ip.payload } else { begins };
        open.payload = open.payload.add(frame.bytes.get(payload..ip.end).unwrap_or_default());
        if offset == 0 {
            open.sum = DatagramSum::begin(&layers.network, frame.bytes, begins);
        }
        if open.fragments.is_whole()
            && let Some(open) = self.open.remove(&datagram)
        {
            // Of a protocol without a checksum that we know there is nothing to mend.
            let verified = open.sum.map(|sum| sum.verify(open.fragments.length(), open.payload));
            let mended_by = match verified.map(|verified| verified.sum) {
                None | Some(Sum::None | Sum::Good) => return,
                Some(Sum::Unverifiable) => None,
                Some(Sum::Bad | Sum::Offload) => {
                    verified.map(|verified| verified.mended_by).filter(|mended_by| !mended_by.is_none())
                }
            };
            self.remember(&open.firsts, mended_by);
        }
    }

    /// What was learnt. Datagrams that are not whole stay so.
    pub fn finish(mut self) -> FragmentSums {
        let unfinished: Vec<Datagram> = self.open.keys().copied().collect();
        for datagram in unfinished {
            self.give_up(datagram);
        }
        FragmentSums { wrong: self.wrong, forgotten_from: self.forgotten_from.unwrap_or(u64::MAX) }
    }

    fn give_up(&mut self, datagram: Datagram) {
        if let Some(open) = self.open.remove(&datagram) {
            self.remember(&open.firsts, None);
        }
    }

    fn remember(&mut self, firsts: &[u64], mended_by: Option<Change>) {
        for first in firsts {
            if self.wrong.len() < MOST_REMEMBERED {
                self.wrong.insert(*first, mended_by);
            } else {
                self.forgotten_from = Some(self.forgotten_from.map_or(*first, |from| from.min(*first)));
            }
        }
    }
}

impl Rewriter {
    /// Takes in what was learnt of datagrams in fragments.
    pub fn learn(&self, sums: FragmentSums) {
        // What is there already was learnt from the same frames.
        let _there = self.fragment_sums.set(sums);
    }

    /// Whether a first fragment's checksum was left only since nothing was learnt yet.
    pub fn asks_for_fragments(&self, stats: &RewriteStats) -> bool {
        self.fragment_sums.get().is_none() && stats.left(Left::FragmentSum).frames > 0
    }

    /// Makes the checksum in a first fragment right where that is known, and says what that changed.
    pub(super) fn mend_fragment(
        &self,
        place: Place,
        network: &Network,
        frame: &mut [u8],
        stats: &mut RewriteStats,
    ) -> Change {
        let Some(field) = Field::find(network, frame) else { return Change::NONE };
        let Some(stored) = be16(frame, field.at) else { return Change::NONE };
        let known = self.fragment_sums.get().filter(|_| place == Place::Frame);
        let Some(mended_by) = known.and_then(|sums| sums.of(stats.frame())) else {
            // UDP over IPv4 may have none.
            let is_none = field.zero_means_none && stored == 0 && matches!(network, Network::Ipv4(_));
            if !is_none {
                stats.leave(Left::FragmentSum);
            }
            return Change::NONE;
        };
        // It is right, or there is none.
        if mended_by.is_none() {
            return Change::NONE;
        }
        write(field.at, field.written(mended_by.update(stored)), frame)
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::packet::layers::LinkType;
    use crate::rewrite::{Pass, Roles};
    use crate::scenario::rewrite::{Checksums, Rewrite};

    /// A UDP datagram of 8 + 16 bytes whose checksum is this one, over IPv4 from 10.9.0.1 to 10.9.0.2, in three fragments.
    fn fragments(sum: u16) -> Vec<Vec<u8>> {
        let [high, low] = sum.to_be_bytes();
        let datagram = [[0x13, 0x88, 0, 9, 0, 24, high, low].as_slice(), &[7; 16]].concat();
        let part = |index: usize| {
            let more = if index == 2 { 0 } else { 0x20 };
            let place = u8::try_from(index).unwrap();
            let mut header = vec![0x45, 0, 0, 28, 0, 7, more, place, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2];
            let sum = !Accumulator::default().add(&header).fold();
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            let ethernet = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
            [&ethernet, header.as_slice(), &datagram[index * 8..index * 8 + 8]].concat()
        };
        (0..3).map(part).collect()
    }

    fn frame(number: u64, bytes: &mut [u8]) -> Frame<'_> {
        let original_length = u32::try_from(bytes.len()).unwrap();
        Frame { number, time_ns: 0, original_length, link: LinkType::ETHERNET, bytes }
    }

    /// The checksums after `checksums = "fix"`, and the frames that were left.
    fn fixed(mut frames: Vec<Vec<u8>>) -> (Vec<u16>, u64) {
        let rewrite = Rewrite { checksums: Checksums::Fix, ..Rewrite::default() };
        let rewriter = Rewriter::compile(&rewrite, &Roles::default()).unwrap();
        let mut learner = Learner::default();
        for (number, bytes) in (1..).zip(&mut frames) {
            learner.add(&frame(number, bytes));
        }
        rewriter.learn(learner.finish());
        let mut pass = Pass::new(&rewriter);
        for (number, bytes) in (1..).zip(&mut frames) {
            pass.rewrite(frame(number, bytes));
        }
        let firsts = frames.iter().filter(|bytes| bytes[20..22] == [0x20, 0]);
        (firsts.map(|bytes| be16(bytes, 40).unwrap()).collect(), pass.stats.left(Left::FragmentSum).frames)
    }

    #[test]
    fn the_checksum_of_a_datagram_in_fragments_is_made_right() {
        // The pseudo-header, the header and the data: RFC 768.
        let right = !Accumulator::default()
            .add(&[10, 9, 0, 1, 10, 9, 0, 2, 0, 17, 0, 24, 0x13, 0x88, 0, 9, 0, 24])
            .add(&[7; 16])
            .fold();
        assert_eq!(fixed(fragments(right)), (vec![right], 0));
        assert_eq!(fixed(fragments(0x1234)), (vec![right], 0));
        let [first, middle, last] = fragments(0x1234).try_into().unwrap();
        assert_eq!(fixed(vec![last.clone(), first.clone(), first.clone(), middle]), (vec![right, right], 0));
        // Without all of them it can't be known, and without a checksum there is nothing to mend.
        assert_eq!(fixed(vec![first, last]), (vec![0x1234], 1));
        assert_eq!(fixed(fragments(0)), (vec![0], 0));
    }

    #[test]
    fn what_is_beyond_the_bound_is_not_taken_for_right() {
        let sums = FragmentSums { wrong: HashMap::from([(3, None)]), forgotten_from: 9 };
        assert_eq!([2, 3, 8, 9].map(|frame| sums.of(frame).is_some()), [true, false, true, false]);
    }
}
