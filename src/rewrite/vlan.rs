//! VLAN tags of Ethernet frames: pushed, popped, renumbered (IEEE 802.1Q §9.6).

use super::hits::Hits;
use crate::packet::bytes::{be16, put};
use crate::packet::layers::{Layers, LinkType};
use crate::scenario::rewrite::Popped;

/// Where the first tag stands, behind the two MACs.
const TAG: usize = 12;

/// What happens to the tags, and by which entry.
#[derive(Debug, Clone)]
pub(super) enum VlanChange {
    /// The outermost comes off, or all of them.
    Pop { tags: Popped, entry: usize },
    /// This one is put before the others.
    Push { tag: [u8; 4], entry: usize },
    /// The outermost has another identifier.
    Map(Identifiers),
}

/// Old identifiers, sorted, and what they become.
#[derive(Debug, Clone, Default)]
pub(super) struct Identifiers {
    pub(super) named: Vec<(u16, u16, usize)>,
    /// What all others become.
    pub(super) others: Option<(u16, usize)>,
}

impl VlanChange {
    /// Renumbers the outermost tag in place.
    pub(super) fn map(&self, layers: &Layers, frame: &mut [u8], hits: &mut Hits) {
        let Self::Map(identifiers) = self else { return };
        if layers.vlan_tags == 0 {
            return;
        }
        let Some(tci) = be16(frame, TAG + 2) else { return };
        let Some((id, entry)) = identifiers.map(tci & 0x0fff) else { return };
        put(frame, TAG + 2, (tci & 0xf000 | id).to_be_bytes());
        hits.count(entry);
    }

    /// Whether the length of such a frame changes.
    pub(super) fn resizes(&self, layers: &Layers) -> bool {
        match self {
            Self::Pop { .. } => layers.vlan_tags > 0,
            Self::Push { .. } => layers.link == LinkType::ETHERNET,
            Self::Map(_) => false,
        }
    }

    /// Pushes or pops a tag of a frame that has both MACs; how many bytes longer it is then.
    pub(super) fn resize(&self, layers: &Layers, frame: &mut Vec<u8>, hits: &mut Hits) -> i64 {
        if !self.resizes(layers) || frame.len() < 14 {
            return 0;
        }
        match self {
            Self::Pop { tags, entry } if frame.len() >= TAG + 4 => {
                let popped = match tags {
                    Popped::Outermost => 1,
                    Popped::All => layers.vlan_tags.min((frame.len() - TAG) / 4),
                };
                frame.drain(TAG..TAG + 4 * popped);
                hits.count(*entry);
                // At most as many as a frame has bytes.
                -i64::try_from(4 * popped).unwrap_or(0)
            }
            Self::Push { tag, entry } => {
                frame.splice(TAG..TAG, *tag);
                hits.count(*entry);
                4
            }
            Self::Pop { .. } | Self::Map(_) => 0,
        }
    }
}

impl Identifiers {
    fn map(&self, id: u16) -> Option<(u16, usize)> {
        match self.named.binary_search_by_key(&id, |(from, ..)| *from) {
            Ok(index) => self.named.get(index).map(|(_, to, entry)| (*to, *entry)),
            Err(_) => self.others,
        }
    }
}
