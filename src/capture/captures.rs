//! Several captures read as one: one after the other, or merged by time.
//!
//! One file costs nothing more than its [`Reader`]. In sequence one file is open at a time, by time all are. Start at
//! [`Captures::open`].

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io::Write;
use std::sync::Arc;

use super::fcs::CopiedFcs;
use super::pcapng::SectionLengths;
use super::reader::{Head, TimeUnit};
use super::sorted::Sorted;
use super::splice::Swept;
use super::{FileOrder, Files, Format, Frame, Reader};
use crate::diagnostic::{Failure, Kind, Result, Source};

/// Reads the frames of one file or several, numbered through all of them.
pub struct Captures {
    files: Files,
    source: Arc<Source>,
    heads: Vec<Head>,
    /// The file that the last frame is from.
    active: Box<Reader>,
    active_index: usize,
    active_rank: usize,
    rest: Rest,
    frames: u64,
    lengths: SectionLengths,
    fcs: CopiedFcs,
    /// A copy of a section that announces its length isn't as long as that.
    contradicted: bool,
    /// Whether what is read was sorted, and so lies in no file as it is.
    sorted: bool,
    /// Whether a sorted file has a time finer than nanoseconds.
    finer: bool,
    /// Blocks of the files before the active one that hold no packet.
    other_blocks: u64,
}

/// The files beside the active one.
enum Rest {
    /// From this one on they haven't been read.
    Sequence(usize),
    /// The first frame of all has been read already, and is not given yet.
    Merging(BinaryHeap<Waiting>),
    /// Each has a frame that isn't given yet, or has ended.
    Merged(BinaryHeap<Waiting>),
}

/// A file whose next frame is read.
struct Waiting {
    time_ns: u64,
    /// Of equal times the lowest goes first.
    rank: usize,
    /// The place of the file.
    index: usize,
    reader: Box<Reader>,
}

impl Captures {
    /// Opens the files; each must be there, and a capture. `source` is the scenario that names them: what is wrong with one is
    /// said at its place.
    ///
    /// # Errors
    /// [`Kind::Invalid`] with every file that can't be read or isn't a capture.
    pub fn open(files: &Files, source: &Arc<Source>) -> Result<Self> {
        let mut heads = Vec::new();
        let mut readers = Vec::new();
        let mut problems = Vec::new();
        for (index, path) in files.places().iter().enumerate() {
            match files.open(index, &path.value) {
                Err(failure) => problems.extend(placed(failure, files, index, source).problems),
                Ok(reader) => {
                    heads.push(reader.head());
                    // In sequence the others are opened again when it is their turn, so that many files need little.
                    if readers.is_empty() || files.order() == FileOrder::Time {
                        readers.push((index, Box::new(reader)));
                    }
                }
            }
        }
        if !problems.is_empty() {
            return Err(Failure { kind: Kind::Invalid, problems });
        }
        let (mut sorted, mut finer, mut other_blocks) = (false, false, 0);
        if files.order() == FileOrder::Time {
            let pieces = files.pieces.get_or(|| sort(files, source))?;
            for (index, pieces) in
                pieces.iter().enumerate().filter_map(|(index, pieces)| Some((index, pieces.as_ref()?)))
            {
                let path =
                    readers.iter().find(|(place, _)| *place == index).map(|(_, reader)| reader.path().to_owned());
                let of_pieces = pieces
                    .readers(&path.unwrap_or_default())
                    .map_err(|failure| placed(failure, files, index, source))?;
                readers.retain(|(place, _)| *place != index);
                readers.extend(of_pieces.into_iter().map(|reader| (index, Box::new(reader))));
                sorted = true;
                finer |= pieces.finer;
                other_blocks += pieces.other_blocks;
            }
            readers.sort_by_key(|(index, _)| *index);
        }
        let mut readers = readers.into_iter();
        let Some((active_index, active)) = readers.next() else {
            return Err(Failure { kind: Kind::Invalid, problems });
        };
        let mut captures = Self {
            files: files.clone(),
            source: Arc::clone(source),
            heads,
            active,
            active_index,
            active_rank: 0,
            rest: Rest::Sequence(1),
            frames: 0,
            lengths: SectionLengths::Kept,
            fcs: CopiedFcs::Follows,
            contradicted: false,
            sorted,
            finer,
            other_blocks,
        };
        if files.order() == FileOrder::Time {
            let ranked = (1..).zip(readers);
            let waiting = ranked.map(|(rank, (index, reader))| Waiting { time_ns: 0, rank, index, reader }).collect();
            captures.rest = Rest::Merging(waiting);
        }
        Ok(captures)
    }

    /// The next frame, as [`Reader::next_frame`], with its number among those of all files.
    ///
    /// # Errors
    /// As [`Reader::next_frame`]; the message names the file, and counts the frames of that file.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>> {
        if !self.advance()? {
            return Ok(None);
        }
        self.frames += 1;
        Ok(Some(self.current()))
    }

    /// Gives `visit` the number, bytes and original length of the next frames where they are those of a plain Ethernet capture that
    /// lie in the buffer, as long as it doesn't decline them; says how many they were. What it declines is the next frame of
    /// [`Captures::next_frame`]. So common frames cost little more than to be looked at.
    #[inline]
    pub(crate) fn sweep<'s>(&mut self, mut visit: impl FnMut(u64, &mut [u8], u32) -> Swept<'s>) -> Result<u64> {
        if !matches!(self.rest, Rest::Sequence(_)) {
            return Ok(0);
        }
        let mut number = self.frames;
        let frames = self.active.sweep(&mut |frame, original_length| {
            number += 1;
            visit(number, frame, original_length)
        });
        let frames = frames.map_err(|failure| self.placed(failure))?;
        self.frames += frames;
        Ok(frames)
    }

    /// How many frames were read so far.
    pub(crate) fn frames_read(&self) -> u64 {
        self.frames
    }

    /// The frame that [`Captures::next_frame`] gave last, again.
    #[inline]
    pub fn current(&mut self) -> Frame<'_> {
        Frame { number: self.frames, ..self.active.current() }
    }

    #[inline]
    fn advance(&mut self) -> Result<bool> {
        if let Rest::Merging(_) = self.rest {
            self.begin_merging()?;
        }
        let time_ns = match self.active.next_frame() {
            Ok(Some(frame)) => frame.time_ns,
            Ok(None) => return self.next_file(),
            Err(failure) => return Err(self.placed(failure)),
        };
        if let Rest::Merged(waiting) = &mut self.rest
            && let Some(mut earliest) = waiting.peek_mut()
            && (earliest.time_ns, earliest.rank) < (time_ns, self.active_rank)
        {
            std::mem::swap(&mut earliest.reader, &mut self.active);
            std::mem::swap(&mut earliest.index, &mut self.active_index);
            std::mem::swap(&mut earliest.rank, &mut self.active_rank);
            earliest.time_ns = time_ns;
        }
        Ok(true)
    }

    /// Reads the first frame of every file but the active one.
    #[cold]
    fn begin_merging(&mut self) -> Result<()> {
        let Rest::Merging(unread) = std::mem::replace(&mut self.rest, Rest::Sequence(usize::MAX)) else {
            return Ok(());
        };
        let mut waiting = BinaryHeap::new();
        for mut file in unread {
            match file.reader.next_frame() {
                Ok(Some(frame)) => {
                    file.time_ns = frame.time_ns;
                    waiting.push(file);
                }
                Ok(None) => self.close(&file.reader),
                Err(failure) => return Err(placed(failure, &self.files, file.index, &self.source)),
            }
        }
        self.rest = Rest::Merged(waiting);
        Ok(())
    }

    /// The active file has ended: goes on to the first frame of the next one that has any.
    #[cold]
    fn next_file(&mut self) -> Result<bool> {
        loop {
            match &mut self.rest {
                Rest::Merging(_) => return Ok(false),
                Rest::Merged(waiting) => {
                    let Some(next) = waiting.pop() else { return Ok(false) };
                    let ended = std::mem::replace(&mut self.active, next.reader);
                    (self.active_index, self.active_rank) = (next.index, next.rank);
                    self.close(&ended);
                    return Ok(true);
                }
                Rest::Sequence(next) => {
                    let index = *next;
                    let Some(path) = self.files.places().get(index) else { return Ok(false) };
                    *next += 1;
                    let reader = self.files.open(index, &path.value);
                    let reader = reader.map_err(|failure| placed(failure, &self.files, index, &self.source))?;
                    let copy = self.active.release_copy().map_err(|failure| self.placed(failure))?;
                    let ended = std::mem::replace(&mut self.active, Box::new(reader));
                    self.active_index = index;
                    self.active.set_section_lengths(self.lengths);
                    if let Some(copy) = copy {
                        self.active.copy_on(copy, self.fcs);
                    }
                    self.close(&ended);
                    match self.active.next_frame() {
                        Ok(Some(_)) => return Ok(true),
                        Ok(None) => {}
                        Err(failure) => return Err(self.placed(failure)),
                    }
                }
            }
        }
    }

    /// Remembers what is asked for at the end.
    fn close(&mut self, ended: &Reader) {
        self.contradicted |= ended.contradicts_a_section();
        self.other_blocks += ended.other_blocks();
    }

    #[cold]
    fn placed(&self, failure: Failure) -> Failure {
        placed(failure, &self.files, self.active_index, &self.source)
    }

    /// The file that the last frame is from.
    pub fn path(&self) -> &std::path::Path {
        self.active.path()
    }

    /// What the files announce, in their order.
    pub(crate) fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// The format in which all files can be copied, one after the other, into one: of one kind, and of pcap with equal headers.
    pub(crate) fn format_of_copy(&self) -> Option<Format> {
        let (first, others) = self.heads.split_first()?;
        let equal = others.iter().all(|head| head == first);
        (others.is_empty() && !self.sorted || equal && self.files.order() == FileOrder::Sequence)
            .then_some(first.format)
    }

    /// As [`Reader::copy_to`]; only with a [`Captures::format_of_copy`]. The file header of a pcap file is copied once.
    pub(crate) fn copy_to(&mut self, copy: Box<dyn Write + Send>, lengths: SectionLengths, fcs: CopiedFcs) {
        (self.lengths, self.fcs) = (lengths, fcs);
        self.active.set_section_lengths(lengths);
        self.active.copy_to(copy, fcs);
    }

    /// As [`Reader::raise_snaplen`]; call it after [`Captures::copy_to`].
    pub(crate) fn raise_snaplen(&mut self) {
        self.active.raise_snaplen();
    }

    /// As [`Reader::leave_out`].
    pub(crate) fn leave_out(&mut self) -> Result<()> {
        self.active.leave_out().map_err(|failure| self.placed(failure))
    }

    /// As [`Reader::replace`].
    pub(crate) fn replace(&mut self, bytes: &[u8], original_length: u32) -> Result<()> {
        self.active.replace(bytes, original_length).map_err(|failure| self.placed(failure))
    }

    /// As [`Reader::finish_copy`].
    pub(crate) fn finish_copy(&mut self) -> Result<()> {
        self.active.finish_copy().map_err(|failure| self.placed(failure))
    }

    /// The unit of the last frame's time.
    pub(crate) fn time_unit(&self) -> TimeUnit {
        if self.finer { TimeUnit::Finer } else { self.active.time_unit() }
    }

    /// As [`Reader::packet_options`].
    pub(crate) fn packet_options(&self, options: &mut Vec<u8>) {
        self.active.packet_options(options);
    }

    /// Whether, in what was read so far, a section announces a length that a copy of it doesn't have, since frames were left out or
    /// replaced.
    pub(crate) fn contradicts_a_section(&self) -> bool {
        self.contradicted || self.active.contradicts_a_section()
    }

    /// How many blocks of pcapng files, read so far, describe neither a section nor an interface nor a packet.
    pub(crate) fn other_blocks(&self) -> u64 {
        self.other_blocks + self.active.other_blocks()
    }
}

/// Sorts the files that are out of order.
fn sort(files: &Files, source: &Arc<Source>) -> Result<Vec<Option<Sorted>>> {
    let places = files.places().iter().enumerate();
    places
        .map(|(index, path)| Sorted::of(&path.value).map_err(|failure| placed(failure, files, index, source)))
        .collect()
}

fn placed(mut failure: Failure, files: &Files, index: usize, source: &Arc<Source>) -> Failure {
    let span = files.places().get(index).and_then(|path| path.span.clone());
    for problem in &mut failure.problems {
        *problem = problem.clone().at(source, span.clone());
    }
    failure
}

/// The greatest is the one whose frame is next.
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.time_ns, other.rank).cmp(&(self.time_ns, self.rank))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}
