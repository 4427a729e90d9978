//! Reading a capture frame by frame, whatever its format.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Frame;
use super::input::{Fault, Input};
use super::pcapng::{self, Pcapng};
use super::savefile::{self, Savefile};
use crate::diagnostic::{Failure, Problem, Result};
use crate::packet::crc;
use crate::packet::layers::LinkType;

/// The format of a capture file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// pcap-savefile(5).
    Pcap {
        /// Whether times are in nanoseconds; else in microseconds.
        nanoseconds: bool,
    },
    /// draft-ietf-opsawg-pcapng.
    Pcapng,
}

/// Reads a capture from its first frame to its last, in constant memory.
pub struct Reader {
    path: PathBuf,
    input: Input,
    body: Body,
    /// Frames read.
    frames: u64,
    /// The last frame's time: a simple packet block has none of its own.
    time_ns: u64,
    /// Where the last frame is in the buffer; nowhere before the first and after the last.
    last: Record,
    /// Whether everything is copied.
    copies: bool,
    /// The last frame is copied with an FCS that was right when it was read.
    fcs_was_right: bool,
    /// The record that is written in place of another.
    replacement: Vec<u8>,
}

enum Body {
    Pcap(Savefile),
    Pcapng(Pcapng),
}

/// A packet in the buffer.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// Everything that the file keeps about it.
    pub(super) whole: Range<usize>,
    /// What was captured, with the FCS.
    pub(super) frame: Range<usize>,
    pub(super) time_ns: Option<u64>,
    pub(super) unit: TimeUnit,
    pub(super) original_length: u32,
    pub(super) link: LinkType,
    /// Length of the FCS at the end of the original frame.
    pub(super) fcs: u8,
}

/// The unit in which the file counts a frame's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimeUnit {
    /// Or coarser.
    Microsecond,
    /// Or anything between, and all that the file says about this frame fits nanoseconds.
    Nanosecond,
    /// The file says more about this frame's time than fits nanoseconds.
    Finer,
}

impl Record {
    /// Nothing, nowhere.
    const NONE: Self = Self {
        whole: 0..0,
        frame: 0..0,
        time_ns: None,
        unit: TimeUnit::Microsecond,
        original_length: 0,
        link: LinkType::ETHERNET,
        fcs: 0,
    };

    /// The frame without its FCS, and its original length without it.
    #[inline]
    fn without_fcs(&self) -> (Range<usize>, u32) {
        if self.fcs == 0 {
            return (self.frame.clone(), self.original_length);
        }
        let original = self.original_length.saturating_sub(u32::from(self.fcs));
        let captured = self.frame.len().min(usize::try_from(original).unwrap_or(usize::MAX));
        (self.frame.start..self.frame.start + captured, original)
    }
}

/// Why no further record can be read.
#[derive(Debug)]
pub(super) enum Stop {
    Damage(Damage),
    Fault(Fault),
}

/// What is wrong with the file, and where.
#[derive(Debug)]
pub(super) struct Damage {
    offset: u64,
    what: String,
}

impl Damage {
    #[cold]
    pub(super) fn new(offset: u64, what: impl Into<String>) -> Self {
        Self { offset, what: what.into() }
    }
}

impl From<Damage> for Stop {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Reader {
    /// Opens a capture and reads its file header.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Invalid`] when it can't be read or isn't a capture; the message says what it looks like.
    pub fn open(path: &Path) -> Result<Self> {
        let unreadable = |error: &std::io::Error| {
            Failure::invalid(
                Problem::error(format!("can't read the capture `{}`", path.display())).why(error.to_string()),
            )
        };
        let file = File::open(path).map_err(|error| unreadable(&error))?;
        if file.metadata().map_err(|error| unreadable(&error))?.is_dir() {
            return Err(Failure::invalid(
                Problem::error(format!("`{}` is a folder, not a capture", path.display())).fix("name one file in it"),
            ));
        }
        let mut input = Input::new(Box::new(file));
        let stopped = |stop| match stop {
            Stop::Damage(damage) => damaged(path, None, &damage),
            Stop::Fault(Fault::Read(error) | Fault::Write(error)) => unreadable(&error),
        };
        input.available(24).map_err(|fault| stopped(fault.into()))?;
        let body = if savefile::begins(input.ahead()) {
            Body::Pcap(Savefile::open(&mut input).map_err(stopped)?)
        } else if pcapng::begins(input.ahead()) {
            Body::Pcapng(Pcapng::default())
        } else {
            return Err(Failure::invalid(super::looks::not_a_capture(path, input.ahead())));
        };
        Ok(Self {
            path: path.to_path_buf(),
            input,
            body,
            frames: 0,
            time_ns: 0,
            last: Record::NONE,
            copies: false,
            fcs_was_right: false,
            replacement: Vec::new(),
        })
    }

    /// The next frame, borrowed until the one after it is read; `None` after the last. An FCS that the capture announces is
    /// cut off. A frame that the file keeps without a time has the time of the one before it.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Invalid`] when the file is damaged: the message names the frame and the byte; every frame before it
    /// has been given.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>> {
        self.settle_fcs();
        let found = match &mut self.body {
            Body::Pcap(savefile) => savefile.next(&mut self.input, &mut self.last),
            Body::Pcapng(pcapng) => pcapng.next(&mut self.input, &mut self.last),
        };
        match found {
            Ok(true) => {}
            Ok(false) => {
                self.last = Record::NONE;
                return Ok(None);
            }
            Err(stop) => {
                self.last = Record::NONE;
                return Err(self.stopped(&stop));
            }
        }
        self.frames += 1;
        self.time_ns = self.last.time_ns.unwrap_or(self.time_ns);
        if self.last.fcs > 0 && self.copies {
            self.fcs_was_right = self
                .last_with_fcs()
                .is_some_and(|(frame, fcs)| crc::ETHERNET.of(frame.iter().copied()).to_le_bytes() == *fcs);
        }
        Ok(Some(self.current()))
    }

    /// The frame that [`Reader::next_frame`] gave last, again; before the first and after the last one an empty frame.
    #[inline]
    pub fn current(&mut self) -> Frame<'_> {
        let (range, original_length) = self.last.without_fcs();
        let bytes = self.input.consumed(range);
        Frame { number: self.frames, time_ns: self.time_ns, original_length, link: self.last.link, bytes }
    }

    /// The format of the file.
    pub fn format(&self) -> Format {
        match &self.body {
            Body::Pcap(savefile) => Format::Pcap { nanoseconds: savefile.nanoseconds },
            Body::Pcapng(_) => Format::Pcapng,
        }
    }

    /// Whether the file's numbers are big-endian; of pcapng, those of the section that was read last.
    pub fn is_big_endian(&self) -> bool {
        match &self.body {
            Body::Pcap(savefile) => savefile.big_endian,
            Body::Pcapng(pcapng) => pcapng.big_endian,
        }
    }

    /// Whether the records of a pcap file have Kuznetzov's longer headers.
    pub fn is_modified(&self) -> bool {
        matches!(&self.body, Body::Pcap(savefile) if savefile.is_modified())
    }

    /// The distinct pairs of link type and snaplen (0: none) that the file has announced so far, at most 64 of them.
    pub fn described(&self) -> Vec<(LinkType, u32)> {
        match &self.body {
            Body::Pcap(savefile) => vec![(savefile.link, savefile.snaplen)],
            Body::Pcapng(pcapng) => pcapng.described.iter().copied().collect(),
        }
    }

    /// The path, as it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes of the file have been read past; to show progress.
    pub fn bytes_read(&self) -> u64 {
        self.input.offset()
    }

    /// Everything is also written to `copy`, with the changes that were made to the frames, and an FCS that follows them: call it
    /// before the first frame is read, and [`Reader::finish_copy`] after the last.
    pub(crate) fn copy_to(&mut self, copy: Box<dyn Write + Send>) {
        self.copies = true;
        self.input.copy_to(copy);
    }

    /// Keeps the frame that was read last out of the copy; there must be one.
    pub(crate) fn leave_out(&mut self) -> Result<()> {
        self.input.leave_out(self.last.whole.start).map_err(|fault| self.stopped(&Stop::Fault(fault)))
    }

    /// The copy has `bytes` in place of the frame that was read last, and this original length; there must be one, not replaced yet.
    ///
    /// What else the file keeps about the frame stays; an FCS that the file announces stays after a frame that is whole
    /// (`bytes.len() == original_length`), and follows it if it was right. [`Reader::current`] still gives the old frame.
    pub(crate) fn replace(&mut self, bytes: &[u8], original_length: u32) -> Result<()> {
        let fcs_was_right = std::mem::take(&mut self.fcs_was_right);
        let fcs_length = usize::from(self.last.fcs);
        let (old, _) = self.last.without_fcs();
        let was_whole = old.end + fcs_length == self.last.frame.end;
        let is_whole = usize::try_from(original_length) == Ok(bytes.len());
        let right;
        let fcs: &[u8] = match (was_whole && is_whole, fcs_was_right) {
            (false, _) => &[],
            (true, false) => self.input.behind(old.end..self.last.frame.end),
            (true, true) => {
                right = crc::ETHERNET.of(bytes.iter().copied()).to_le_bytes();
                &right
            }
        };
        let original_length = original_length.saturating_add(u32::from(self.last.fcs));
        let whole = self.input.behind(self.last.whole.clone());
        self.replacement.clear();
        match &self.body {
            Body::Pcap(savefile) => savefile.replaced(whole, [bytes, fcs], original_length, &mut self.replacement),
            Body::Pcapng(pcapng) => pcapng.replaced(
                whole,
                self.last.frame.len(),
                [bytes, fcs],
                (original_length, self.time_ns),
                &mut self.replacement,
            ),
        }
        self.input.replace(self.last.whole.start, &self.replacement).map_err(|fault| self.stopped(&Stop::Fault(fault)))
    }

    /// Writes the rest of the copy.
    pub(crate) fn finish_copy(&mut self) -> Result<()> {
        self.settle_fcs();
        self.input.finish_copy().map_err(|fault| self.stopped(&Stop::Fault(fault)))
    }

    /// The unit of the last frame's time.
    pub(crate) fn time_unit(&self) -> TimeUnit {
        self.last.unit
    }

    /// The last frame together with the FCS after it, where it is Ethernet's and all of both was captured.
    fn last_with_fcs(&mut self) -> Option<(&mut [u8], &mut [u8; 4])> {
        let (range, original) = self.last.without_fcs();
        let end = self.last.frame.end;
        if self.last.fcs != 4 || usize::try_from(original) != Ok(range.len()) || end != range.end + 4 {
            return None;
        }
        self.input.consumed(range.start..end).split_last_chunk_mut::<4>()
    }

    /// Makes a right FCS right for the frame as it is now; a wrong one stays.
    fn settle_fcs(&mut self) {
        if !std::mem::take(&mut self.fcs_was_right) {
            return;
        }
        if let Some((frame, fcs)) = self.last_with_fcs() {
            *fcs = crc::ETHERNET.of(frame.iter().copied()).to_le_bytes();
        }
    }

    #[cold]
    fn stopped(&self, stop: &Stop) -> Failure {
        match stop {
            Stop::Damage(damage) => damaged(&self.path, Some(self.frames + 1), damage),
            Stop::Fault(Fault::Read(error)) => {
                Failure::system(format!("reading `{}` failed after frame {}", self.path.display(), self.frames), error)
            }
            Stop::Fault(Fault::Write(error)) => {
                Failure::system(format!("writing the copy of `{}` failed", self.path.display()), error)
            }
        }
    }
}

fn damaged(path: &Path, frame: Option<u64>, damage: &Damage) -> Failure {
    let shown = path.display();
    let what = match frame {
        None => format!("the capture `{shown}` is damaged"),
        Some(number) => format!("the capture `{shown}` is damaged at frame {number}"),
    };
    let fix = match frame {
        None | Some(1) => "capture or copy it again".to_owned(),
        Some(number) => format!(
            "capture or copy it again, or keep what is whole: `tcpdump -r {shown} -c {} -w whole.pcap`",
            number - 1
        ),
    };
    Failure::invalid(Problem::error(what).why(format!("at byte {}: {}", damage.offset, damage.what)).fix(fix))
}
