//! The frames of a run as text to be reviewed. Start at [`Listing`].

use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Prepared;
use crate::packet::listing::line;

/// So many frames have a line each.
const LINES: u64 = 10_000;
/// Of the frames after them, so many share a line.
const BLOCK: u64 = 1_000;

/// The first frames with a line each, and a digest for each thousand after them, so that a change in a large capture is found within a
/// thousand frames.
#[derive(Default)]
pub(super) struct Listing {
    text: String,
    frames: u64,
    block: Option<Block>,
}

/// Frames that share a line.
struct Block {
    first: u64,
    last: u64,
    frames: u64,
    /// Of the lines that they would have.
    digest: Sha256,
}

impl Listing {
    /// Adds a frame; `first_ns`: the time of the first one.
    pub(super) fn add(&mut self, frame: &Prepared<'_>, first_ns: u64) {
        let since = Duration::from_nanos(frame.time_ns.saturating_sub(first_ns));
        let line = line(frame.number, since, &frame.layers, frame.bytes, frame.original_length);
        self.add_line(frame.number, &line);
    }

    fn add_line(&mut self, number: u64, line: &str) {
        self.frames += 1;
        if self.frames <= LINES {
            self.text.push_str(line);
            self.text.push('\n');
            return;
        }
        let block =
            self.block.get_or_insert_with(|| Block { first: number, last: number, frames: 0, digest: Sha256::new() });
        block.digest.update(line);
        block.digest.update(b"\n");
        (block.last, block.frames) = (number, block.frames + 1);
        if block.frames == BLOCK {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        let Some(Block { first, last, digest, .. }) = self.block.take() else { return };
        let _infallible = write!(self.text, "frames {first}-{last}  sha256 ");
        for byte in digest.finalize().iter().take(8) {
            let _infallible = write!(self.text, "{byte:02x}");
        }
        self.text.push('\n');
    }

    pub(super) fn into_text(mut self) -> String {
        self.end_block();
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(changed: u64) -> String {
        let mut listing = Listing::default();
        for number in 1..=12_500 {
            listing.add_line(number, if number == changed { "other" } else { "same" });
        }
        listing.into_text()
    }

    #[test]
    fn a_change_in_a_large_capture_is_found_within_a_thousand_frames() {
        let [before, after] = [0, 11_700].map(listing);
        let differing: Vec<_> = before.lines().zip(after.lines()).filter(|(one, other)| one != other).collect();
        assert_eq!((before.lines().count(), differing.len()), (10_003, 1));
        assert!(differing[0].0.starts_with("frames 11001-12000  sha256 "), "{differing:?}");
        assert!(before.lines().last().is_some_and(|last| last.starts_with("frames 12001-12500  ")), "{before}");
    }
}
