//! The frame check sequence at the end of a frame, where the file announces one (IEEE 802.3 §3.2.9, RFC 1662).

use crate::packet::crc;

/// What happens to the FCS of the frames in a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopiedFcs {
    /// One that was right follows the frame, another stays.
    Follows,
    /// It is made right.
    IsFixed,
}

/// The FCS of a frame, of so many bytes: Ethernet's and PPP's CRC-32, or PPP's CRC-16. `None`: no link has such a one.
pub(super) fn right(frame: &[u8], length: u8) -> Option<Vec<u8>> {
    let bytes = || frame.iter().copied();
    match length {
        4 => Some(crc::ETHERNET.of(bytes()).to_le_bytes().to_vec()),
        2 => Some(crc::PPP.of(bytes()).to_le_bytes()[..2].to_vec()),
        _ => None,
    }
}
