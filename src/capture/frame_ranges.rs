//! Frame numbers as they are met, in bounded memory.

use serde::{Deserialize, Serialize};

use std::fmt;

/// How many ranges are kept; further ones are counted and marked as cut. `outcome` has this in the schema.
const MOST_RANGES: usize = 4096;
/// How many are gathered before they are sorted.
const MOST_UNSORTED: usize = 16 * MOST_RANGES;

/// Frame numbers added in rising order, kept as ranges: `1-40,57,60-99`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FrameRanges {
    ranges: Vec<(u64, u64)>,
    count: u64,
    cut: bool,
}

impl FrameRanges {
    /// Adds a frame. Numbers may come again (`repeat`) or out of order; such a frame is counted, and listed as far as it
    /// extends the list.
    pub fn add(&mut self, number: u64) {
        self.count += 1;
        match self.ranges.last_mut() {
            Some((first, last)) if *first <= number && number <= *last => return,
            Some((_, last)) if *last + 1 == number => {
                *last = number;
                return;
            }
            _ => {}
        }
        if self.ranges.len() < MOST_RANGES {
            self.ranges.push((number, number));
        } else {
            self.cut = true;
        }
    }

    /// Adds frames whose numbers are not known one by one: they are counted, and the list is said to be cut.
    pub fn add_unlisted(&mut self, count: u64) {
        self.count += count;
        self.cut |= count > 0;
    }

    /// How many frames were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether none was added.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first frame.
    pub fn first(&self) -> Option<u64> {
        self.ranges.first().map(|(first, _)| *first)
    }

    /// The frames that the other has, too, and those that it has not. `None` where they are not all known, or where frames came several
    /// times and only some of them are in the other.
    pub fn split(&self, other: &Self) -> Option<(Self, Self)> {
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for &(first, last) in &self.ranges {
            let mut next = first;
            for &(from, to) in other.ranges.iter().filter(|(from, to)| *from <= last && *to >= first) {
                let (from, to) = (from.max(next), to.min(last));
                if next < from {
                    outside.push((next, from - 1));
                }
                inside.push((from, to));
                next = to + 1;
            }
            if next <= last {
                outside.push((next, last));
            }
        }
        let size = |ranges: &[(u64, u64)]| ranges.iter().map(|(first, last)| last - first + 1).sum::<u64>();
        let known = size(&self.ranges);
        if self.cut || other.cut || known == 0 || !self.count.is_multiple_of(known) {
            return None;
        }
        let times = self.count / known;
        let [inside, outside] =
            [inside, outside].map(|ranges| Self { count: size(&ranges) * times, ranges, cut: false });
        Some((inside, outside))
    }

    /// All frames of both.
    pub fn merge(&mut self, other: &Self) {
        *self = Self::union([&*self, other]);
    }

    /// All frames of all of them.
    pub fn union<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.ranges.extend_from_slice(&part.ranges);
            all.count += part.count;
            all.cut |= part.cut;
            if all.ranges.len() > MOST_UNSORTED {
                all.join_ranges();
            }
        }
        all.join_ranges();
        all
    }

    /// The same frames under other numbers.
    pub fn renumbered(&self, number: impl Fn(u64) -> u64) -> Self {
        let mut renumbered = Self { ranges: Vec::new(), ..*self };
        for number in self.ranges.iter().flat_map(|(first, last)| *first..=*last).map(number) {
            match renumbered.ranges.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => renumbered.ranges.push((number, number)),
            }
            if renumbered.ranges.len() > MOST_UNSORTED {
                renumbered.join_ranges();
            }
        }
        renumbered.join_ranges();
        renumbered
    }

    /// Puts ranges that touch each other together, and leaves out those that are too many.
    fn join_ranges(&mut self) {
        self.ranges.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(self.ranges.len().min(MOST_RANGES + 1));
        for &(first, last) in &self.ranges {
            let full = joined.len() == MOST_RANGES;
            match joined.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
                _ if full => {
                    self.cut = true;
                    break;
                }
                _ => joined.push((first, last)),
            }
        }
        self.ranges = joined;
    }
}

impl FrameRanges {
    /// At most sixteen ranges, then an ellipsis: what people read.
    pub fn shown(&self) -> String {
        const SHOWN: usize = 16;
        let mut first = Self { cut: self.cut || self.ranges.len() > SHOWN, ..Self::default() };
        first.ranges = self.ranges.iter().take(SHOWN).copied().collect();
        first.to_string()
    }
}

impl fmt::Display for FrameRanges {
    /// All ranges; `,…` behind them says that there are more than are kept.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            if first == last { write!(f, "{first}")? } else { write!(f, "{first}-{last}")? }
        }
        if self.cut { f.write_str(",…") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::FrameRanges;

    fn of(numbers: impl IntoIterator<Item = u64>) -> FrameRanges {
        let mut ranges = FrameRanges::default();
        numbers.into_iter().for_each(|number| ranges.add(number));
        ranges
    }

    #[test]
    fn neighbours_become_a_range() {
        assert_eq!(of([1, 2, 3, 7, 9, 10]).to_string(), "1-3,7,9-10");
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let ranges = of((0..50_000).map(|index| index * 2 + 1));
        assert_eq!(ranges.count(), 50_000);
        let text = ranges.to_string();
        assert_eq!((text.split(',').count(), text.ends_with(",…")), (super::MOST_RANGES + 1, true));
        assert_eq!(ranges.shown(), "1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,…");
        let all = of((0..1_000).map(|index| index * 2 + 1));
        assert_eq!(all.to_string().split(',').count(), 1_000, "it is complete");
        assert!(ranges.ranges.len() <= super::MOST_RANGES);
    }

    #[test]
    fn frames_are_split_by_what_another_list_has() {
        let split = |of: &FrameRanges, by: &FrameRanges| {
            of.split(by)
                .map(|(inside, outside)| [(inside.to_string(), inside.count()), (outside.to_string(), outside.count())])
        };
        let text = |text: &str, count| (text.to_owned(), count);
        assert_eq!(split(&of(1..=9), &of([2, 3, 7, 12])), Some([text("2-3,7", 3), text("1,4-6,8-9", 6)]));
        assert_eq!(split(&of(1..=3), &of([])), Some([text("", 0), text("1-3", 3)]));
        assert_eq!(split(&of([1, 2, 1, 2]), &of([2])), Some([text("2", 2), text("1", 2)]));
        assert_eq!(split(&of([1, 2, 1]), &of([2])), None);
    }

    #[test]
    fn frames_have_other_numbers() {
        let mut some = of([1, 2, 4]);
        some.add_unlisted(3);
        let other = some.renumbered(|number| 100 - number);
        assert_eq!((other.to_string().as_str(), other.count()), ("96,98-99,…", 6));
        // As a share of a capture that is repeated has them.
        let again = of(1..=6).renumbered(|number| 2 * ((number - 1) % 3));
        assert_eq!((again.to_string().as_str(), again.count()), ("0,2,4", 6));
        // A long range is never a list of its frames.
        let long = FrameRanges { ranges: vec![(1, 3_000_000)], count: 3_000_000, cut: false };
        let other = long.renumbered(|number| number + 7);
        assert_eq!((other.to_string().as_str(), other.count()), ("8-3000007", 3_000_000));
        assert!(other.ranges.capacity() <= 4, "{}", other.ranges.capacity());
        let even = of(1..=200_000).renumbered(|number| 2 * number);
        assert!(even.to_string().ends_with(",8190,8192,…") && even.count() == 200_000, "{even}");
    }

    #[test]
    fn merging_keeps_every_frame() {
        let mut left = of([1, 2, 8]);
        left.merge(&of([3, 9, 20]));
        assert_eq!((left.to_string().as_str(), left.count()), ("1-3,8-9,20", 6));
    }
}
