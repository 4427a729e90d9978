//! `[capture]`: which frames are replayed.

use std::path::PathBuf;

use crate::diagnostic::At;

/// What happens to frames that the capture's snaplen cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Truncated {
    /// The run is refused.
    #[default]
    Refuse,
    /// They are not selected.
    Skip,
    /// Zero bytes are added up to the original length.
    Pad,
    /// They are sent as they are.
    Send,
}

/// `[capture]`, with legal values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// The savefile, already relative to the working directory (the scenario's folder joined with what is written).
    pub file: At<PathBuf>,
    /// A pcap-filter(7) expression; its syntax is checked when the capture's link types are known.
    pub filter: Option<At<String>>,
    /// Frame numbers.
    pub frames: Option<At<crate::capture::FrameSet>>,
    /// What to do with cut frames.
    pub truncated: At<Truncated>,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub sha256: Option<At<String>>,
}
