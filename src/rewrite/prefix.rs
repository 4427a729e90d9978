//! A map of address prefixes: the longest that matches wins.

use std::collections::BTreeMap;
use std::ops::{BitAnd, BitOr, Not};

/// An address as a number: `u32` for IPv4, `u128` for IPv6.
pub(super) trait Address:
    Copy + Ord + Default + BitAnd<Output = Self> + BitOr<Output = Self> + Not<Output = Self> + 'static
{
    /// Multicast, and the limited broadcast address: prefixes with their lengths.
    const GROUPS: &'static [(Self, u8)];
    fn mask(length: u8) -> Self;
    /// The one after it; `None` after the last.
    fn next(self) -> Option<Self>;
    /// Whether a prefix lies inside the multicast range, or is one single address: only such a one changes a group address.
    fn names_groups(self, length: u8) -> bool;
}

impl Address for u32 {
    const GROUPS: &'static [(Self, u8)] = &[(0xe000_0000, 4), (Self::MAX, 32)];

    fn mask(length: u8) -> Self {
        Self::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn names_groups(self, length: u8) -> bool {
        length == 32 || (length >= 4 && self >> 28 == 0xe)
    }
}

impl Address for u128 {
    const GROUPS: &'static [(Self, u8)] = &[(0xff << 120, 8)];

    fn mask(length: u8) -> Self {
        Self::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn names_groups(self, length: u8) -> bool {
        length == 128 || (length >= 8 && self >> 120 == 0xff)
    }
}

/// What becomes of the addresses of a range.
#[derive(Debug, Clone, Copy)]
struct Target<A> {
    to: A,
    /// The bits that stay as they are.
    keep: A,
    entry: usize,
}

/// The ranges that the prefixes cut the addresses into. They are searched by halves, which takes no branches, however many lengths there are:
/// where addresses alternate, a wrong guess of the processor would cost more than the search.
#[derive(Debug, Clone)]
pub(super) struct PrefixMap<A> {
    /// Where ranges begin, sorted, the first at 0; none where the map is empty.
    starts: Vec<A>,
    /// What becomes of each.
    targets: Vec<Option<Target<A>>>,
}

/// A prefix of `length` bits to be replaced by the first `to_length` bits of `to`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prefix<A> {
    pub(super) from: A,
    pub(super) length: u8,
    pub(super) to: A,
    pub(super) to_length: u8,
    pub(super) entry: usize,
}

impl<A: Address> PrefixMap<A> {
    /// Of equal prefixes the first wins.
    pub(super) fn new(mut prefixes: Vec<Prefix<A>>) -> Self {
        if prefixes.is_empty() {
            return Self { starts: Vec::new(), targets: Vec::new() };
        }
        // Whoever wins an address comes last, and takes it.
        prefixes.reverse();
        prefixes.sort_by_key(|prefix| prefix.length);
        let (groups, others): (Vec<_>, Vec<_>) =
            prefixes.iter().partition(|prefix| prefix.from.names_groups(prefix.length));
        let mut ranges = BTreeMap::from([(A::default(), None)]);
        let targets = |prefixes: Vec<Prefix<A>>| {
            prefixes.into_iter().map(|prefix| {
                let Prefix { from, length, to, to_length, entry } = prefix;
                let mask = A::mask(to_length);
                (from, length, Some(Target { to: to & mask, keep: !mask, entry }))
            })
        };
        let stay = A::GROUPS.iter().map(|(group, length)| (*group, *length, None));
        for (from, length, target) in targets(others).chain(stay).chain(targets(groups)) {
            take(&mut ranges, from, length, target);
        }
        let (starts, targets) = ranges.into_iter().unzip();
        Self { starts, targets }
    }

    #[inline]
    pub(super) fn map(&self, address: A) -> Option<(A, usize)> {
        let index = self.starts.partition_point(|start| *start <= address).checked_sub(1)?;
        let target = self.targets.get(index)?.as_ref()?;
        Some((target.to | (address & target.keep), target.entry))
    }
}

/// Gives a prefix its target. What was taken before covers all of it or none; or it is inside, and is covered itself now.
fn take<A: Address>(ranges: &mut BTreeMap<A, Option<Target<A>>>, from: A, length: u8, target: Option<Target<A>>) {
    let mask = A::mask(length);
    let (first, last) = (from & mask, from | !mask);
    let behind = ranges.range(..=last).next_back().and_then(|(_, target)| *target);
    let inside: Vec<A> = ranges.range(first..=last).map(|(start, _)| *start).collect();
    for start in inside {
        ranges.remove(&start);
    }
    ranges.insert(first, target);
    if let Some(next) = last.next() {
        ranges.entry(next).or_insert(behind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What [`PrefixMap::map`] means: of the prefixes that may change the address the longest, of equal ones the first.
    fn longest<A: Address>(prefixes: &[Prefix<A>], is_group: bool, address: A) -> Option<usize> {
        let matching = prefixes.iter().filter(|prefix| {
            let mask = A::mask(prefix.length);
            address & mask == prefix.from & mask && (!is_group || prefix.from.names_groups(prefix.length))
        });
        let first = matching.rev().max_by_key(|prefix| prefix.length);
        first.map(|prefix| prefix.entry)
    }

    /// Numbers that share many of their first bits, and both ends of their prefixes.
    fn near() -> impl Strategy<Value = u32> {
        let begins = prop::sample::select(vec![0, 0x0a00_0000, 0x0aff_0000, 0xe000_0000, 0xf000_0000, 0xffff_ff00]);
        (begins, any::<u32>(), 0..33_u32)
            .prop_map(|(begin, random, bits)| begin | random.checked_shr(bits).unwrap_or(0))
    }

    fn prefixes() -> impl Strategy<Value = Vec<(u32, u8)>> {
        prop::collection::vec((near(), 0..=32_u8), 0..40)
    }

    proptest! {
        #[test]
        fn the_longest_prefix_wins(prefixes in prefixes(), addresses in prop::collection::vec(near(), 1..100)) {
            let prefix = |(entry, (from, length)): (usize, &(u32, u8))| {
                let length = *length;
                Prefix { from: from & u32::mask(length), length, to: 0x0102_0304, to_length: 32, entry }
            };
            let prefixes: Vec<_> = prefixes.iter().enumerate().map(prefix).collect();
            let wide = |prefix: &Prefix<u32>| Prefix {
                from: u128::from(prefix.from) << 96,
                length: prefix.length,
                to: 1,
                to_length: 128,
                entry: prefix.entry,
            };
            let wide: Vec<_> = prefixes.iter().map(wide).collect();
            let (map, map_of_wide) = (PrefixMap::new(prefixes.clone()), PrefixMap::new(wide.clone()));
            let ends = prefixes.iter().flat_map(|prefix| {
                let last = prefix.from | !u32::mask(prefix.length);
                [prefix.from.wrapping_sub(1), prefix.from, last, last.wrapping_add(1)]
            });
            for address in addresses.into_iter().chain(ends) {
                let is_group = address >> 28 == 0xe || address == u32::MAX;
                prop_assert_eq!(map.map(address).map(|found| found.1), longest(&prefixes, is_group, address));
                for low in [0, u128::MAX >> 32] {
                    let address = u128::from(address) << 96 | low;
                    let found = map_of_wide.map(address).map(|found| found.1);
                    prop_assert_eq!(found, longest(&wide, address >> 120 == 0xff, address));
                }
            }
        }
    }
}
