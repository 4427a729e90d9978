//! Ethernet headers for frames that were captured without: what a replay to Ethernet needs.
//!
//! Of the two "cooked" link types the sender's MAC is known; all others have none. Start at [`Framing::frame`].

use super::mac::group_mac;
use crate::packet::MacAddr;
use crate::packet::layers::{Framed, LinkType, framed};

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
        let destination =
            if broadcast { MacAddr([0xff; 6]) } else { group_mac(&network, frame).unwrap_or(self.receiver) };
        to.clear();
        to.extend(destination.0);
        to.extend(source.unwrap_or(self.sender).0);
        to.extend(ethertype.to_be_bytes());
        to.extend_from_slice(packet);
        true
    }
}
