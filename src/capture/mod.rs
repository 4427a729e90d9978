//! Savefiles: read and write pcap and pcapng, choose frames by filter and number.
//!
//! A capture is streamed, never held. May use `packet`, `diagnostic`, `file` and libpcap (for filters, and to record).
//! Start at [`Reader`] for one file, at [`Captures`] for several that are read as one, and at [`Live`] for an interface.

#![warn(clippy::indexing_slicing)]

use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use self::storage::Stored;
use crate::diagnostic::{Diagnostic, Failure, Result};

/// A frame of a capture, borrowed from the reader's buffer until the next one is read.
#[derive(Debug)]
pub struct Frame<'a> {
    /// As Wireshark shows it: 1 for the first frame of the file, or of all files that are read as one.
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

/// The largest snaplen that libpcap takes, in bytes: no frame is longer. What a file announces where nothing else is said.
pub const LARGEST_SNAPLEN: u32 = 262_144;

mod bpf;
mod captures;
mod compression;
mod fcs;
mod files;
mod filter;
mod filter_words;
mod frame_ranges;
mod frame_set;
mod input;
mod live;
mod payloads;
mod pcapng;
mod reader;
mod recording;
mod savefile;
#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
#[path = "../../tests/unit/captures/mod.rs"]
mod savefile_tests;
mod sniff;
mod socket_filter;
mod sorted;
mod splice;
mod storage;
#[cfg(test)]
mod tests;
mod writer;

pub use captures::Captures;
pub use compression::Compression;
pub(crate) use compression::Packed;
pub(crate) use fcs::CopiedFcs;
pub use files::{FileOrder, Files};
pub use filter::{Filter, behind_tags};
pub use frame_ranges::FrameRanges;
pub use frame_set::FrameSet;
pub use live::{LATEST_MS, Live};
pub use payloads::{Encoding, Payloads};
pub(crate) use pcapng::SectionLengths;
pub(crate) use reader::TimeUnit;
pub use reader::{Format, Reader};
pub use recording::{Division, Recording};
pub(crate) use sniff::{begins_like_one, is_named_capture};
pub use socket_filter::{Offered, SocketFilter};
pub(crate) use splice::{Splice, Swept};
pub use storage::STANDARD_INPUT;
pub use writer::Writer;

/// The SHA-256 of the files as they lie on the disk (compressed, if they are), one after the other, as 64 hexadecimal digits: what
/// `cat FILE… | sha256sum` says. Read in pieces.
///
/// # Errors
/// [`Kind::Invalid`](crate::diagnostic::Kind::Invalid) when one can't be read.
pub fn sha256<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 256 << 10];
    for path in paths {
        let unreadable = |error: &io::Error| {
            Failure::invalid(Diagnostic::error(format!("can't read `{}`", path.display())).why(error.to_string()))
        };
        let mut file = Stored::open(path).map_err(|error| unreadable(&error))?;
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => hasher.update(piece.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(&error)),
            }
        }
    }
    Ok(hasher.finalize().iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}")))
}
