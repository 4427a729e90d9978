//! VLAN tags of Ethernet and Linux "cooked" frames: pushed, popped, renumbered (IEEE 802.1Q §9.6).

use super::rewrite_stats::RewriteStats;
use crate::capture::Splice;
use crate::packet::bytes::{be16, put};
use crate::packet::layers::Layers;
use crate::scenario::rewrite::TagPosition;

const TAG: usize = 4;
/// Where the `EtherType` of an Ethernet frame is, or that of its first tag.
const ETHERTYPE: usize = 12;

#[derive(Debug, Clone)]
pub(super) enum VlanChange {
    /// This one comes off; `None` is all of them.
    Pop { tag: Option<TagPosition>, entry: usize },
    /// These are inserted, the outermost first; each with its entry.
    Push { tags: Vec<[u8; TAG]>, entries: Vec<usize>, position: TagPosition },
    /// This one has another identifier.
    Map { tag: TagPosition, identifiers: Identifiers },
}

#[derive(Debug, Clone, Default)]
pub(super) struct Identifiers {
    /// Sorted; they don't overlap.
    pub(super) named: Vec<IdentifierRange>,
    pub(super) others: Option<(u16, usize)>,
}

/// Identifiers from `from` to `last` become `to`, or, where they `spread`, `to` and those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IdentifierRange {
    pub(super) from: u16,
    pub(super) last: u16,
    pub(super) to: u16,
    pub(super) spread: bool,
    pub(super) entry: usize,
}

impl TagPosition {
    /// The index of the tag there, of so many.
    pub(super) fn index(self, tags: usize) -> Option<usize> {
        let index = match self {
            Self::Outside(number) => usize::from(number).checked_sub(1)?,
            Self::Innermost => tags.checked_sub(1)?,
        };
        (index < tags).then_some(index)
    }

    /// Before which index a tag is inserted that shall stand there.
    fn insertion(self, tags: usize) -> Option<usize> {
        match self {
            Self::Outside(number) => usize::from(number).checked_sub(1).filter(|index| *index <= tags),
            Self::Innermost => Some(tags),
        }
    }
}

impl VlanChange {
    pub(super) fn map(&self, layers: &Layers, frame: &mut [u8], stats: &mut RewriteStats) {
        let Self::Map { tag, identifiers } = self else { return };
        let Some(at) = tag.index(layers.vlan_tags).and_then(|index| layers.vlan_tag(index)) else { return };
        let Some(control) = be16(frame, at) else { return };
        let Some((id, entry)) = identifiers.map(control & 0x0fff) else { return };
        put(frame, at, (control & 0xf000 | id).to_be_bytes());
        stats.count(entry);
    }

    pub(super) fn lengthens(&self) -> bool {
        matches!(self, Self::Push { .. })
    }

    pub(super) fn resizes(&self, layers: &Layers, frame: &[u8]) -> bool {
        self.place(layers.vlan_tags).is_some() && layers.ethertype_place(frame).is_some()
    }

    pub(super) fn changes_lengths(&self) -> bool {
        !matches!(self, Self::Map { .. })
    }

    /// What pushes or pops the tags of an Ethernet frame that has so many; `None` where it keeps its length.
    #[inline]
    pub(super) fn splice(&self, tags: usize) -> Option<Splice<'_>> {
        let (index, removed) = self.place(tags)?;
        Some(Splice { at: ETHERTYPE + TAG * index, removed: TAG * removed, inserted: self.inserted() })
    }

    /// Which tag is removed or inserted first, by its index, and how many are removed, of so many.
    #[inline]
    fn place(&self, tags: usize) -> Option<(usize, usize)> {
        match self {
            Self::Pop { tag: Some(tag), .. } => tag.index(tags).map(|index| (index, 1)),
            Self::Pop { tag: None, .. } => (tags > 0).then_some((0, tags)),
            Self::Push { position, .. } => position.insertion(tags).map(|index| (index, 0)),
            Self::Map { .. } => None,
        }
    }

    /// The tags that are pushed.
    #[inline]
    fn inserted(&self) -> &[u8] {
        match self {
            Self::Push { tags, .. } => tags.as_flattened(),
            Self::Pop { .. } | Self::Map { .. } => &[],
        }
    }

    /// Takes note of a frame whose tags were pushed or popped.
    #[inline]
    pub(super) fn count(&self, stats: &mut RewriteStats) {
        match self {
            Self::Push { entries, .. } => entries.iter().for_each(|entry| stats.count(*entry)),
            Self::Pop { entry, .. } => stats.count(*entry),
            Self::Map { .. } => {}
        }
    }

    /// Pushes or pops tags; how many bytes longer the frame is then.
    pub(super) fn resize(&self, layers: &Layers, frame: &mut Vec<u8>, stats: &mut RewriteStats) -> i64 {
        let Some((index, removed)) = self.place(layers.vlan_tags) else { return 0 };
        let Some((field, behind)) = layers.ethertype_place(frame) else { return 0 };
        let before = frame.len();
        if before < behind + TAG * (index + removed) {
            return 0;
        }
        // SLL2 has the `EtherType` apart from what follows it: for the time being it stands before that, as in all others.
        let apart = field + 2 != behind;
        if apart && let Some(ethertype) = be16(frame, field) {
            frame.splice(behind..behind, ethertype.to_be_bytes());
        }
        let first = if apart { behind } else { field };
        let start = first + TAG * index;
        let end = start + TAG * removed;
        frame.splice(start..end, self.inserted().iter().copied());
        self.count(stats);
        if apart && let Some(ethertype) = be16(frame, first) {
            put(frame, field, ethertype.to_be_bytes());
            frame.drain(first..first + 2);
        }
        // A frame's length is far below the limits of both types.
        i64::try_from(frame.len()).unwrap_or_default() - i64::try_from(before).unwrap_or_default()
    }
}

impl Identifiers {
    fn map(&self, id: u16) -> Option<(u16, usize)> {
        let range = self.named.get(self.named.partition_point(|range| range.last < id));
        match range.filter(|range| range.from <= id) {
            Some(range) if range.spread => Some((range.to + (id - range.from), range.entry)),
            Some(range) => Some((range.to, range.entry)),
            None => self.others,
        }
    }
}
