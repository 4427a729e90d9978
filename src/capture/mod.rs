//! Savefiles: read and write pcap and pcapng, choose frames by filter and number.
//!
//! A capture is streamed, never held. May use `packet`, `diagnostic` and libpcap (for the filter only).
//! Start at [`Reader`].

/// A frame of a capture, borrowed from the reader's buffer until the next one is read.
#[derive(Debug)]
pub struct Frame<'a> {
    /// As Wireshark shows it: 1 for the first frame of the file.
    pub number: u64,
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub time_ns: u64,
    /// Length on the wire, in bytes; at least `bytes.len()` unless the capture is odd.
    pub original_length: u32,
    /// The link type of the interface that it was captured on.
    pub link: crate::packet::layers::LinkType,
    /// What was captured; may be changed in place.
    pub bytes: &'a mut [u8],
}

mod frame_set;

pub use frame_set::FrameSet;
