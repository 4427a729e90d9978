//! A map of address prefixes: the longest that matches wins.

use std::ops::{BitAnd, BitOr, Range};

/// An address as a number: `u32` for IPv4, `u128` for IPv6.
pub(super) trait Address: Copy + Ord + BitAnd<Output = Self> + BitOr<Output = Self> {
    /// The first `length` bits set.
    fn mask(length: u8) -> Self;
    /// All bits but the first `length` set.
    fn host_mask(length: u8) -> Self;
    /// Multicast, or the limited broadcast address.
    fn is_group(self) -> bool;
    /// Whether a prefix lies inside the multicast range, or is one single address: only such a one changes a group address.
    fn names_groups(self, length: u8) -> bool;
}

impl Address for u32 {
    fn mask(length: u8) -> Self {
        Self::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
    }

    fn host_mask(length: u8) -> Self {
        !Self::mask(length)
    }

    #[inline]
    fn is_group(self) -> bool {
        self >> 28 == 0xe || self == Self::MAX
    }

    fn names_groups(self, length: u8) -> bool {
        length == 32 || (length >= 4 && self >> 28 == 0xe)
    }
}

impl Address for u128 {
    fn mask(length: u8) -> Self {
        Self::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
    }

    fn host_mask(length: u8) -> Self {
        !Self::mask(length)
    }

    #[inline]
    fn is_group(self) -> bool {
        self >> 120 == 0xff
    }

    fn names_groups(self, length: u8) -> bool {
        length == 128 || (length >= 8 && self >> 120 == 0xff)
    }
}

/// A prefix and what its addresses become.
#[derive(Debug, Clone, Copy)]
struct Slot<A> {
    from: A,
    to: A,
    /// The bits that stay as they are.
    keep: A,
    entry: usize,
}

/// Prefixes of one length, sorted.
#[derive(Debug, Clone)]
struct Level<A> {
    mask: A,
    slots: Range<usize>,
}

/// Prefixes of one address family.
#[derive(Debug, Clone)]
pub(super) struct PrefixMap<A> {
    /// Longest first.
    levels: Vec<Level<A>>,
    slots: Vec<Slot<A>>,
    /// The same for group addresses, with the prefixes that may change them.
    group_levels: Vec<Level<A>>,
    group_slots: Vec<Slot<A>>,
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
        let (unicast_levels, unicast_slots) = levels(&prefixes);
        let (group_levels, group_slots) = levels(&groups);
        Self { levels: unicast_levels, slots: unicast_slots, group_levels, group_slots }
    }

    /// What the address becomes, and by which entry.
    #[inline]
    pub(super) fn map(&self, address: A) -> Option<(A, usize)> {
        let (levels, slots) =
            if address.is_group() { (&self.group_levels, &self.group_slots) } else { (&self.levels, &self.slots) };
        levels.iter().find_map(|level| {
            let wanted = address & level.mask;
            let candidates = slots.get(level.slots.clone())?;
            let slot = candidates.binary_search_by_key(&wanted, |slot| slot.from).ok()?;
            let slot = candidates.get(slot)?;
            Some((slot.to | (address & slot.keep), slot.entry))
        })
    }
}

fn levels<A: Address>(sorted: &[Prefix<A>]) -> (Vec<Level<A>>, Vec<Slot<A>>) {
    let mut levels: Vec<Level<A>> = Vec::new();
    let mut slots = Vec::with_capacity(sorted.len());
    for same_length in sorted.chunk_by(|a, b| a.length == b.length) {
        let first = slots.len();
        slots.extend(same_length.iter().map(|prefix| Slot {
            from: prefix.from & A::mask(prefix.length),
            to: prefix.to & A::mask(prefix.to_length),
            keep: A::host_mask(prefix.to_length),
            entry: prefix.entry,
        }));
        if let Some(prefix) = same_length.first() {
            levels.push(Level { mask: A::mask(prefix.length), slots: first..slots.len() });
        }
    }
    (levels, slots)
}
