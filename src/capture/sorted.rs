//! A file whose frames are out of order, in the order of their times: sorted in pieces that fit in memory, each of which becomes a
//! temporary file without a name. Together they are read as several files are that are merged by time. Start at [`Sorted::of`].

use std::fs::File;
use std::io::{self, BufWriter};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::reader::TimeUnit;
use super::storage::{Stored, nameless};
use super::{Frame, Reader, Writer};
use crate::diagnostic::{Failure, Result};
use crate::packet::layers::LinkType;

/// So many bytes are sorted at once; few in the tests, so that there are several pieces.
const PIECE_BYTES: usize = if cfg!(test) { 64 } else { 64 << 20 };

/// The pieces of the files that are out of order, by the place of the file; made once, when they are first read.
#[derive(Debug, Clone, Default)]
pub(super) struct Pieces(Arc<OnceLock<Vec<Option<Sorted>>>>);

impl PartialEq for Pieces {
    /// They follow from the files.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Pieces {}

impl Pieces {
    /// Those that were made before, or are made now.
    pub(super) fn get_or(&self, make: impl FnOnce() -> Result<Vec<Option<Sorted>>>) -> Result<&[Option<Sorted>]> {
        if self.0.get().is_none() {
            let made = make()?;
            return Ok(self.0.get_or_init(|| made));
        }
        Ok(self.0.get().map(Vec::as_slice).unwrap_or_default())
    }
}

/// The pieces of a file, each in the order of its times; of equal times those of an earlier piece go first.
#[derive(Debug)]
pub(super) struct Sorted {
    pieces: Vec<Stored>,
    /// Whether a time of the file is finer than nanoseconds, which the pieces don't keep.
    pub(super) finer: bool,
    /// Blocks of the file that hold no packet, which the pieces don't keep.
    pub(super) other_blocks: u64,
}

impl Sorted {
    /// Sorts the file; `None` where its frames are in order already, or up to where it is damaged.
    ///
    /// # Errors
    /// It can't be read, or there is no room for the temporary files.
    pub(super) fn of(path: &Path) -> Result<Option<Self>> {
        let mut reader = Reader::open(path)?;
        let (mut latest, mut in_order, mut unit) = (0, true, TimeUnit::Microsecond);
        while let Ok(Some(frame)) = reader.next_frame() {
            in_order &= frame.time_ns >= latest;
            latest = frame.time_ns;
            unit = unit.max(reader.time_unit());
        }
        if in_order {
            return Ok(None);
        }
        let mut reader = Reader::open(path)?;
        let folder = std::env::temp_dir();
        let mut pieces = Vec::new();
        let mut piece = Piece::default();
        loop {
            let more = reader.next_frame()?.is_some();
            if !more || piece.bytes.len() + piece.frames.len() * size_of::<Held>() > PIECE_BYTES {
                let stored = piece.store(&folder, unit > TimeUnit::Microsecond).map_err(|error| {
                    let what = format!("can't sort `{}` by time in the folder `{}`", path.display(), folder.display());
                    Failure::system(what, &error)
                })?;
                pieces.push(stored);
            }
            if !more {
                break;
            }
            piece.add(&mut reader);
        }
        Ok(Some(Self { pieces, finer: unit == TimeUnit::Finer, other_blocks: reader.other_blocks() }))
    }

    /// Readers of the pieces, in their order.
    pub(super) fn readers(&self, path: &Path) -> Result<Vec<Reader>> {
        self.pieces.iter().map(|piece| Reader::over(path, piece.clone())).collect()
    }
}

/// Frames in memory.
#[derive(Default)]
struct Piece {
    /// Those of all frames, one after the other, each followed by its options.
    bytes: Vec<u8>,
    frames: Vec<Held>,
}

struct Held {
    time_ns: u64,
    original_length: u32,
    link: LinkType,
    bytes: Range<usize>,
    /// One past the last byte of its options.
    end: usize,
}

impl Piece {
    /// Adds the frame that was read last.
    fn add(&mut self, reader: &mut Reader) {
        let start = self.bytes.len();
        let Frame { time_ns, original_length, link, bytes, .. } = reader.current();
        self.bytes.extend_from_slice(bytes);
        let bytes = start..self.bytes.len();
        reader.packet_options(&mut self.bytes);
        self.frames.push(Held { time_ns, original_length, link, bytes, end: self.bytes.len() });
    }

    /// Writes the frames by their times, and forgets them.
    fn store(&mut self, folder: &Path, nanoseconds: bool) -> io::Result<Stored> {
        self.frames.sort_by_key(|frame| frame.time_ns);
        let mut writer = Writer::pcapng(BufWriter::new(nameless(folder)?), nanoseconds)?;
        for Held { time_ns, original_length, link, bytes, end } in self.frames.drain(..) {
            let (head, options) = self.bytes.split_at_mut(bytes.end);
            let options = options.get(..end - bytes.end).unwrap_or_default();
            let bytes = head.get_mut(bytes).unwrap_or_default();
            writer.write_with(&Frame { number: 0, time_ns, original_length, link, bytes }, options)?;
        }
        self.bytes.clear();
        let file: File = writer.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Stored::from(file))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::capture::{Captures, FileOrder, Files};
    use crate::diagnostic::{At, Source};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Many pieces, whose frames have equal times in each.
        #[test]
        fn frames_are_sorted_by_time_and_equal_times_keep_their_order(times in prop::collection::vec(0..20_u64, 0..100)) {
            let path = std::env::temp_dir().join(format!("restage-sorted-{}.pcapng", std::process::id()));
            let mut writer = Writer::pcapng(File::create(&path).expect("a file"), true).expect("it can be written");
            let mut expected: Vec<(u64, u8)> = times.into_iter().zip(0..).collect();
            for (time_ns, mark) in &expected {
                let link = LinkType(u16::from(*mark % 3));
                let frame = Frame { number: 0, time_ns: *time_ns, original_length: 30, link, bytes: &mut [*mark; 20] };
                writer.write(&frame).expect("it can be written");
            }
            expected.sort_by_key(|(time, _)| *time);

            let source = Arc::new(Source { path: "s.toml".into(), text: String::new() });
            let files = Files::one(At { value: path, span: None }, FileOrder::Time);
            // What was sorted once is read twice.
            for _ in 0..2 {
                let mut captures = Captures::open(&files, &source).expect("it can be read");
                for (index, (time, mark)) in (1..).zip(&expected) {
                    let frame = captures.next_frame().expect("it can be read").expect("one more");
                    prop_assert_eq!((frame.number, frame.time_ns, frame.original_length), (index, *time, 30));
                    prop_assert_eq!((frame.link.0, &*frame.bytes), (u16::from(*mark % 3), &[*mark; 20][..]));
                }
                prop_assert!(captures.next_frame().expect("it can be read").is_none());
            }
            files.paths().try_for_each(std::fs::remove_file).expect("it is there");
        }
    }
}
