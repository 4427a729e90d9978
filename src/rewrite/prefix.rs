//! A map of address prefixes: the longest that matches wins.

use std::ops::{BitAnd, BitOr, Not};

/// An address as a number: `u32` for IPv4, `u128` for IPv6.
pub(super) trait Address:
    Copy + Ord + BitAnd<Output = Self> + BitOr<Output = Self> + Not<Output = Self>
{
    fn mask(length: u8) -> Self;
    /// Multicast, or the limited broadcast address.
    fn is_multicast_or_broadcast(self) -> bool;
    /// All of it in 64 bits.
    fn folded(self) -> u64;
    /// Whether a prefix lies inside the multicast range, or is one single address: only such a one changes a group address.
    fn names_groups(self, length: u8) -> bool;
}

impl Address for u32 {
    fn mask(length: u8) -> Self {
        Self::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
    }

    #[inline]
    fn is_multicast_or_broadcast(self) -> bool {
        self >> 28 == 0xe || self == Self::MAX
    }

    #[inline]
    fn folded(self) -> u64 {
        u64::from(self)
    }

    fn names_groups(self, length: u8) -> bool {
        length == 32 || (length >= 4 && self >> 28 == 0xe)
    }
}

impl Address for u128 {
    fn mask(length: u8) -> Self {
        Self::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
    }

    #[inline]
    fn is_multicast_or_broadcast(self) -> bool {
        self >> 120 == 0xff
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
    fn folded(self) -> u64 {
        (self >> 64) as u64 ^ (self as u64).rotate_left(32)
    }

    fn names_groups(self, length: u8) -> bool {
        length == 128 || (length >= 8 && self >> 120 == 0xff)
    }
}

#[derive(Debug, Clone, Copy)]
struct Slot<A> {
    from: A,
    to: A,
    /// The bits that stay as they are.
    keep: A,
    entry: usize,
}

/// Prefixes of one length, by their first address: an open hash table that is at most half full. A search through them would
/// take a wrong turn, and the processor's time, wherever addresses alternate.
#[derive(Debug, Clone)]
struct Level<A> {
    mask: A,
    /// How far a hash is shifted to be an index.
    shift: u32,
    /// As many as a power of two.
    slots: Vec<Option<Slot<A>>>,
}

impl<A: Address> Level<A> {
    fn new(prefixes: &[Prefix<A>]) -> Option<Self> {
        let mask = A::mask(prefixes.first()?.length);
        let size = (prefixes.len() * 2).next_power_of_two();
        let mut level = Self { mask, shift: 64 - size.trailing_zeros(), slots: vec![None; size] };
        for prefix in prefixes {
            let slot = Slot {
                from: prefix.from & mask,
                to: prefix.to & A::mask(prefix.to_length),
                keep: !A::mask(prefix.to_length),
                entry: prefix.entry,
            };
            let mut index = level.index(slot.from);
            while level.slots.get(index).is_some_and(Option::is_some) {
                index = (index + 1) % size;
            }
            if let Some(free) = level.slots.get_mut(index) {
                *free = Some(slot);
            }
        }
        Some(level)
    }

    /// Where the search for a prefix begins.
    #[inline]
    fn index(&self, from: A) -> usize {
        // Fibonacci hashing: 2^64 divided by the golden ratio.
        usize::try_from(from.folded().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift).unwrap_or(0)
    }

    #[inline]
    fn find(&self, address: A) -> Option<&Slot<A>> {
        let wanted = address & self.mask;
        let mut index = self.index(wanted);
        while let Some(slot) = self.slots.get(index)?.as_ref() {
            if slot.from == wanted {
                return Some(slot);
            }
            index = (index + 1) & (self.slots.len() - 1);
        }
        None
    }
}

#[derive(Debug, Clone)]
pub(super) struct PrefixMap<A> {
    /// Longest first.
    unicast: Vec<Level<A>>,
    /// The same for group addresses, with the prefixes that may change them.
    groups: Vec<Level<A>>,
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
        prefixes.sort_by(|a, b| b.length.cmp(&a.length).then(a.from.cmp(&b.from)));
        prefixes.dedup_by(|later, first| later.length == first.length && later.from == first.from);
        let groups: Vec<Prefix<A>> =
            prefixes.iter().copied().filter(|prefix| prefix.from.names_groups(prefix.length)).collect();
        Self { unicast: levels(&prefixes), groups: levels(&groups) }
    }

    #[inline]
    pub(super) fn map(&self, address: A) -> Option<(A, usize)> {
        let levels = if address.is_multicast_or_broadcast() { &self.groups } else { &self.unicast };
        levels.iter().find_map(|level| {
            let slot = level.find(address)?;
            Some((slot.to | (address & slot.keep), slot.entry))
        })
    }
}

fn levels<A: Address>(sorted: &[Prefix<A>]) -> Vec<Level<A>> {
    sorted.chunk_by(|a, b| a.length == b.length).filter_map(Level::new).collect()
}
