//! Ethernet headers for frames that were captured without: what a replay to Ethernet needs.
//!
//! Of the two "cooked" link types the sender's MAC is known; all others have none. Start at [`Framing::frame`].

use super::mac::group_mac;
use crate::packet::MacAddr;
use crate::packet::bytes::{array, put};
use crate::packet::layers::{Framed, Layers, LinkType, Network, framed, is_limited_broadcast};

/// No address.
const NONE: MacAddr = MacAddr([0; 6]);

/// The addresses of the headers that are made, where the capture has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// The source.
    pub sender: MacAddr,
    /// The destination of what goes to one station.
    pub receiver: MacAddr,
}

impl Framing {
    /// Writes the frame with an Ethernet header into `to`; false where its link type, or what it carries, can't be put into one.
    pub(super) fn frame(&self, link: LinkType, frame: &[u8], to: &mut Vec<u8>) -> bool {
        let Some(Framed { ethertype, payload, source, broadcast, network }) = framed(link, frame) else { return false };
        let Some(packet) = frame.get(payload..) else { return false };
        to.clear();
        to.extend(self.destination(broadcast, &network, frame).0);
        to.extend(source.unwrap_or(self.sender).0);
        to.extend(ethertype.to_be_bytes());
        to.extend_from_slice(packet);
        true
    }

    /// Gives an Ethernet frame whose destination MAC is zero the MACs that it lacks: it was captured on a device without addresses, such
    /// as `lo`. Says whether it was one.
    #[inline]
    pub(super) fn address(&self, frame: &mut [u8]) -> bool {
        frame.first_chunk() == Some(&NONE.0) && self.receiver != NONE && self.address_any(frame)
    }

    #[cold]
    fn address_any(&self, frame: &mut [u8]) -> bool {
        let network = Layers::find(LinkType::ETHERNET, frame).network;
        let destination = self.destination(is_limited_broadcast(&network, frame), &network, frame);
        put(frame, 0, destination.0);
        if array(frame, 6) == Some(NONE.0) {
            put(frame, 6, self.sender.0);
        }
        true
    }

    fn destination(&self, broadcast: bool, network: &Network, frame: &[u8]) -> MacAddr {
        if broadcast { MacAddr::BROADCAST } else { group_mac(network, frame).unwrap_or(self.receiver) }
    }
}
