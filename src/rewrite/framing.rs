//! Ethernet headers for frames that were captured without: what a replay to Ethernet needs.
//!
//! 802.11 and a few others have both MACs, the two "cooked" link types the sender's, all others none. Start at [`Framing::frame`].

use super::mac::group_mac;
use crate::packet::MacAddr;
use crate::packet::bytes::{array, put};
use crate::packet::layers::{Carrier, Layers, LinkType, Network, framed};

const NONE: MacAddr = MacAddr([0; 6]);

/// The length of an FCS in bytes.
const FCS: usize = 4;

/// The addresses of the headers that are made, where the capture has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// The source.
    pub sender: MacAddr,
    /// The destination of what goes to one station, where it is known.
    pub receiver: Option<MacAddr>,
}

/// Why a frame can't be given an Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unframed {
    /// Its receiver's MAC is neither in the frame nor known.
    NoReceiver,
    /// There is none for it: what it is.
    Frame(&'static str),
}

struct Header {
    destination: MacAddr,
    carrier: Carrier,
    /// One past the last byte of the payload that was captured.
    end: usize,
}

impl Framing {
    /// Whether the frame can be given an Ethernet header, or has one.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, link: LinkType, frame: &[u8]) -> Result<(), Unframed> {
        if link == LinkType::ETHERNET { Ok(()) } else { self.header(link, frame, 0).map(|_| ()) }
    }

    /// How long the layer 3 packet is that a frame carries, of which so many bytes go; `None` where it can't be given a header.
    pub fn packet_length(&self, link: LinkType, frame: &[u8], length: usize) -> Option<usize> {
        let Header { carrier, .. } = self.header(link, frame, 0).ok()?;
        let around = carrier.payload + carrier.fcs_from.map_or(0, |_| FCS);
        Some(length.saturating_sub(around))
    }

    fn header(&self, link: LinkType, frame: &[u8], original_length: u32) -> Result<Header, Unframed> {
        let (carrier, network) = framed(link, frame).map_err(Unframed::Frame)?;
        let destination = carrier.destination.or_else(|| self.destination(&network, frame));
        let destination = destination.ok_or(Unframed::NoReceiver)?;
        // An FCS is at the end of the frame as it was on the wire.
        let whole = usize::try_from(original_length).unwrap_or(usize::MAX).max(frame.len());
        let end = carrier.fcs_from.map_or(frame.len(), |_| frame.len().min(whole - FCS.min(whole)));
        Ok(Header { destination, carrier, end })
    }

    /// Writes the frame with an Ethernet header into `to`, and gives its length on the wire.
    ///
    /// # Errors
    /// Why it can't be put into one; then nothing is written.
    pub(super) fn frame(
        &self,
        link: LinkType,
        frame: &[u8],
        original_length: u32,
        to: &mut Vec<u8>,
    ) -> Result<u32, Unframed> {
        let Header { destination, carrier: Carrier { ethertype, payload, source, fcs_from, .. }, end } =
            self.header(link, frame, original_length)?;
        to.clear();
        to.extend(destination.0);
        to.extend(source.unwrap_or(self.sender).0);
        to.extend(ethertype.to_be_bytes());
        to.extend_from_slice(frame.get(payload..end).unwrap_or_default());
        let around = payload + fcs_from.map_or(0, |_| FCS);
        let original = (original_length as usize + 14).saturating_sub(around).max(to.len());
        Ok(u32::try_from(original).unwrap_or(u32::MAX))
    }

    /// Gives an Ethernet frame whose destination MAC is zero the MACs that it lacks: it was captured on a device without addresses, such
    /// as `lo`. Says whether it was one.
    #[inline]
    pub(super) fn address(&self, frame: &mut [u8]) -> bool {
        frame.first_chunk() == Some(&NONE.0) && self.receiver.is_some_and(|mac| mac != NONE) && self.address_any(frame)
    }

    #[cold]
    fn address_any(&self, frame: &mut [u8]) -> bool {
        let network = Layers::find(LinkType::ETHERNET, frame).network;
        let Some(destination) = self.destination(&network, frame) else { return false };
        put(frame, 0, destination.0);
        if array(frame, 6) == Some(NONE.0) {
            put(frame, 6, self.sender.0);
        }
        true
    }

    fn destination(&self, network: &Network, frame: &[u8]) -> Option<MacAddr> {
        group_mac(network, frame).or(self.receiver)
    }
}
