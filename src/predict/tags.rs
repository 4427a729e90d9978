//! Which VLAN tags the receiver's stack takes off before it looks for a protocol handler, and what it finds behind them.
//!
//! `__netif_receive_skb_core` takes off the first 802.1Q or 802.1ad tag. Where its identifier is 0 (a priority tag), the next tag is
//! taken off as well, and so on. A tag with another identifier ends that: the frame is for another host where no VLAN interface has it,
//! and a tag behind it is an `EtherType` like any other. Provoked on Linux 6.18. Start at [`received`].

use crate::packet::bytes::be16;
use crate::packet::layers::{Layers, is_vlan_tag};

/// The VLAN tags of a frame, as far as they decide what the stack does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tags {
    None,
    /// One tag, whose identifier isn't 0.
    One,
    /// Several tags, one of them with an identifier that isn't 0.
    Several,
}

/// What the receiver's stack finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) tags: Tags,
    /// Whether the kernel took off a tag with an identifier: without a VLAN interface the frame is for another host.
    pub(crate) in_vlan: bool,
    /// The `EtherType` behind the tags that were taken off; `None` for an 802.3 length.
    pub(crate) ethertype: Option<u16>,
}

/// Smaller values are an 802.3 length.
const FIRST_ETHERTYPE: u16 = 0x0600;

/// What the receiver's stack finds in an Ethernet frame.
#[inline]
pub(crate) fn received(layers: &Layers, frame: &[u8]) -> Received {
    if layers.vlan_tags == 0 {
        return Received { tags: Tags::None, in_vlan: false, ethertype: layers.ethertype };
    }
    let (mut at, mut in_vlan) = (12, false);
    let mut ethertype = be16(frame, at).unwrap_or(0);
    while matches!(ethertype, 0x8100 | 0x88a8) && !in_vlan {
        let (Some(control), Some(inner)) = (be16(frame, at + 2), be16(frame, at + 4)) else { break };
        in_vlan = control & 0x0fff != 0;
        ethertype = inner;
        at += 4;
    }
    let tags = match (in_vlan || is_vlan_tag(ethertype), layers.vlan_tags) {
        (false, _) => Tags::None,
        (true, 1) => Tags::One,
        (true, _) => Tags::Several,
    };
    Received { tags, in_vlan, ethertype: (ethertype >= FIRST_ETHERTYPE).then_some(ethertype) }
}

#[cfg(test)]
mod tests {
    use super::{Received, Tags, received};
    use crate::packet::layers::{Layers, LinkType};

    /// What the stack finds in a frame with these tags in front of IPv4.
    fn behind(tags: &[(u16, u16)]) -> (Tags, bool, Option<u16>) {
        let tags = tags.iter().flat_map(|(kind, id)| [kind.to_be_bytes(), id.to_be_bytes()].concat());
        let frame: Vec<u8> = [2; 12].into_iter().chain(tags).chain([0x08, 0x00]).chain([0x45; 40]).collect();
        let Received { tags, in_vlan, ethertype } = received(&Layers::find(LinkType::ETHERNET, &frame), &frame);
        (tags, in_vlan, ethertype)
    }

    #[test]
    fn priority_tags_are_taken_off() {
        for tags in [
            vec![],
            vec![(0x8100, 0)],
            vec![(0x8100, 0xa000)],
            vec![(0x88a8, 0)],
            vec![(0x8100, 0), (0x88a8, 0)],
            vec![(0x88a8, 0), (0x8100, 0), (0x8100, 0)],
        ] {
            assert_eq!(behind(&tags), (Tags::None, false, Some(0x0800)), "{tags:x?}");
        }
    }

    #[test]
    fn one_tag_with_an_identifier_is_taken_off() {
        assert_eq!(behind(&[(0x8100, 5)]), (Tags::One, true, Some(0x0800)));
        assert_eq!(behind(&[(0x88a8, 5)]), (Tags::One, true, Some(0x0800)));
        assert_eq!(behind(&[(0x8100, 0), (0x8100, 5)]), (Tags::Several, true, Some(0x0800)));
    }

    #[test]
    fn a_tag_behind_one_with_an_identifier_is_an_ethertype() {
        assert_eq!(behind(&[(0x88a8, 5), (0x8100, 6)]), (Tags::Several, true, Some(0x8100)));
        assert_eq!(behind(&[(0x8100, 5), (0x8100, 0)]), (Tags::Several, true, Some(0x8100)));
        assert_eq!(behind(&[(0x8100, 5), (0x88a8, 6)]), (Tags::Several, true, Some(0x88a8)));
        assert_eq!(behind(&[(0x9100, 5)]), (Tags::One, false, Some(0x9100)));
        assert_eq!(behind(&[(0x8100, 0), (0x9100, 5)]), (Tags::Several, false, Some(0x9100)));
    }
}
