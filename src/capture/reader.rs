//! Reading a capture frame by frame, whatever its format.

use std::io::{Cursor, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Frame;
use super::compression::Compression;
use super::fcs::{self, CopiedFcs};
use super::input::{Fault, Input};
use super::pcapng::{self, Pcapng, SectionLengths};
use super::savefile::{self, Savefile};
use super::sniff::unreadable;
use super::splice::Swept;
use super::storage::{STANDARD_INPUT, Stored};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::figures::count;
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

/// What a file says of all its frames; two files with the same can be copied into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) format: Format,
    /// The header of a pcap file.
    file_header: Option<[u8; 24]>,
    /// The link type of a pcap file.
    pub(crate) link: Option<LinkType>,
}

/// Reads a capture from its first frame to its last, in constant memory.
pub struct Reader {
    path: PathBuf,
    input: Input,
    body: Body,
    /// Frames read.
    frames: u64,
    /// The last frame's time: a simple packet block has none.
    time_ns: u64,
    /// Where the last frame is in the buffer; nowhere before the first and after the last.
    last: Record,
    /// What happens to the FCS of a frame that is copied; `None`: nothing is copied.
    copied_fcs: Option<CopiedFcs>,
    /// The last frame is copied with an FCS that is to be right for it.
    fcs_follows: bool,
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
    /// Opens a capture and reads its file header. It is unpacked if it is compressed; `-` is standard input.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Invalid`] when it can't be read or isn't a capture; the message says what it looks like.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Stored::open(path).map_err(|error| unreadable(path, &error))?;
        Self::over(path, file)
    }

    /// Reads `file`, which stands for the capture at `path`.
    pub(super) fn over(path: &Path, file: Stored) -> Result<Self> {
        let unreadable = |error: &std::io::Error| unreadable(path, error);
        if file.is_dir().map_err(|error| unreadable(&error))? {
            return Err(Failure::invalid(
                Diagnostic::error(format!("`{}` is a folder, not a capture", path.display()))
                    .fix("name one file in it"),
            ));
        }
        let start = file.ahead(4).map_err(|error| unreadable(&error))?;
        let compression = Compression::of(&start);
        let file = match compression {
            None => Box::new(file),
            Some(compression) => compression.unpack(file).map_err(|error| unreadable(&error))?,
        };
        let mut input = Input::new(file, compression);
        let stopped = |stop| match stop {
            Stop::Damage(damage) => damaged(path, compression, None, &damage),
            Stop::Fault(Fault::Unpack(what)) => damaged(path, compression, None, &Damage::new(0, what)),
            Stop::Fault(Fault::Read(error) | Fault::Write(error)) => unreadable(&error),
        };
        input.available(24).map_err(|fault| stopped(fault.into()))?;
        let body = if savefile::begins(input.ahead()) {
            Body::Pcap(Savefile::open(&mut input).map_err(stopped)?)
        } else if pcapng::begins(input.ahead()) {
            Body::Pcapng(Pcapng::default())
        } else {
            return Err(Failure::invalid(super::sniff::not_a_capture(path, input.ahead())));
        };
        Ok(Self::new(path, input, body))
    }

    /// Reads a pcap file that is in memory, not compressed; messages name `path`.
    pub(super) fn in_memory(path: &Path, file: Cursor<Vec<u8>>) -> Result<Self> {
        let mut input = Input::new(Box::new(file), None);
        let savefile = Savefile::open(&mut input);
        let savefile = savefile.map_err(|_| Failure::invalid(super::sniff::not_a_capture(path, &[])))?;
        Ok(Self::new(path, input, Body::Pcap(savefile)))
    }

    fn new(path: &Path, input: Input, body: Body) -> Self {
        Self {
            path: path.to_path_buf(),
            input,
            body,
            frames: 0,
            time_ns: 0,
            last: Record::NONE,
            copied_fcs: None,
            fcs_follows: false,
            replacement: Vec::new(),
        }
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
        if self.last.fcs > 0
            && let Some(copied) = self.copied_fcs
        {
            let length = self.last.fcs;
            let is_right = |(frame, fcs): (&mut [u8], &mut [u8])| {
                fcs::right(frame, length).is_some_and(|right| right.starts_with(fcs))
            };
            self.fcs_follows = copied == CopiedFcs::IsFixed || self.last_with_fcs().is_some_and(is_right);
        }
        Ok(Some(self.current()))
    }

    /// Gives `visit` the next frames of an Ethernet capture where that takes nothing but to look at them, each with its original
    /// length, as long as it doesn't decline them; says how many they were. What it declines, or what needs more, is the
    /// next frame of [`Reader::next_frame`].
    #[inline]
    pub(super) fn sweep<'s>(&mut self, visit: &mut impl FnMut(&mut [u8], u32) -> Swept<'s>) -> Result<u64> {
        self.settle_fcs();
        let Body::Pcap(savefile) = &self.body else { return Ok(0) };
        if savefile.link != LinkType::ETHERNET {
            return Ok(0);
        }
        self.last = Record::NONE;
        let frames = savefile.sweep(&mut self.input, visit).map_err(|fault| self.stopped(&Stop::Fault(fault)))?;
        self.frames += frames;
        Ok(frames)
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

    /// What the file says of all its frames.
    pub(super) fn head(&self) -> Head {
        let savefile = match &self.body {
            Body::Pcap(savefile) => Some(savefile),
            Body::Pcapng(_) => None,
        };
        Head {
            format: self.format(),
            file_header: savefile.map(|savefile| savefile.file_header),
            link: savefile.map(|savefile| savefile.link),
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

    /// Everything is also written to `copy`, with the changes that were made to the frames, and an FCS that follows them: call it
    /// before the first frame is read, and [`Reader::finish_copy`] after the last.
    pub(crate) fn copy_to(&mut self, copy: Box<dyn Write + Send>, fcs: CopiedFcs) {
        self.copied_fcs = Some(fcs);
        self.input.copy_to(copy);
    }

    /// Lets the header of a copied pcap file announce the largest snaplen, since frames become longer: readers cut what is longer than
    /// the file announces. Call it before the first frame is read.
    pub(super) fn raise_snaplen(&mut self) {
        let Body::Pcap(savefile) = &self.body else { return };
        let snaplen = savefile.snaplen_of_longer_frames();
        // Nothing but the file header has been read past.
        if let Some(field) = self.input.consumed(16..20).first_chunk_mut() {
            *field = snaplen;
        }
    }

    /// Continues the copy of another file: as [`Reader::copy_to`], but without the header of a pcap file.
    pub(super) fn copy_on(&mut self, copy: Box<dyn Write + Send>, fcs: CopiedFcs) {
        self.copied_fcs = Some(fcs);
        self.input.copy_on(copy);
    }

    /// Gives up the copy after the last frame, so that another file can continue it.
    pub(super) fn release_copy(&mut self) -> Result<Option<Box<dyn Write + Send>>> {
        self.input.release_copy().map_err(|fault| self.stopped(&Stop::Fault(fault)))
    }

    /// What the section headers of a copy are to announce; call it before the first frame is read.
    pub(super) fn set_section_lengths(&mut self, lengths: SectionLengths) {
        if let Body::Pcapng(pcapng) = &mut self.body {
            pcapng.lengths = lengths;
        }
    }

    /// Whether a section announces a length that a copy of it doesn't have, since frames were left out or replaced.
    pub(super) fn contradicts_a_section(&self) -> bool {
        matches!(&self.body, Body::Pcapng(pcapng) if pcapng.contradicted)
    }

    /// How many blocks, read so far, describe neither a section nor an interface nor a packet.
    pub(super) fn other_blocks(&self) -> u64 {
        match &self.body {
            Body::Pcap(_) => 0,
            Body::Pcapng(pcapng) => pcapng.other_blocks,
        }
    }

    /// Appends the options of the last frame as a little-endian pcapng file has them, without their end.
    pub(super) fn packet_options(&self, options: &mut Vec<u8>) {
        if let Body::Pcapng(pcapng) = &self.body {
            pcapng.options(self.input.behind(self.last.whole.clone()), self.last.frame.len(), options);
        }
    }

    /// Keeps the frame that was read last out of the copy; there must be one.
    pub(crate) fn leave_out(&mut self) -> Result<()> {
        if let Body::Pcapng(pcapng) = &mut self.body {
            pcapng.length_changes();
        }
        self.input.leave_out(self.last.whole.start).map_err(|fault| self.stopped(&Stop::Fault(fault)))
    }

    /// The copy has `bytes` in place of the frame that was read last, and this original length; there must be one, not replaced yet.
    ///
    /// What else the file keeps about the frame stays. So does what was captured of an FCS that the file announces, after a frame that is
    /// whole (`bytes.len() == original_length`), and it follows that frame if it was right. [`Reader::current`] still gives the old frame.
    pub(crate) fn replace(&mut self, bytes: &[u8], original_length: u32) -> Result<()> {
        let follows = std::mem::take(&mut self.fcs_follows);
        let (old, old_length) = self.last.without_fcs();
        let is_whole = |length: u32, bytes: usize| usize::try_from(length) == Ok(bytes);
        let captured = self.input.behind(old.end..self.last.frame.end);
        let right = if follows { fcs::right(bytes, self.last.fcs) } else { None };
        let fcs = match &right {
            _ if !is_whole(old_length, old.len()) || !is_whole(original_length, bytes.len()) => &[],
            None => captured,
            Some(right) => right.get(..captured.len()).unwrap_or_default(),
        };
        let original_length = original_length.saturating_add(u32::from(self.last.fcs));
        let whole = self.input.behind(self.last.whole.clone());
        self.replacement.clear();
        match &mut self.body {
            Body::Pcap(savefile) => savefile.replaced(whole, [bytes, fcs], original_length, &mut self.replacement),
            Body::Pcapng(pcapng) => {
                let times = (original_length, self.time_ns);
                pcapng.replaced(whole, self.last.frame.len(), [bytes, fcs], times, &mut self.replacement);
                if self.replacement.len() != whole.len() {
                    pcapng.length_changes();
                }
            }
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

    /// The last frame and what was captured of the FCS after it; `None` where not all of the frame was captured.
    fn last_with_fcs(&mut self) -> Option<(&mut [u8], &mut [u8])> {
        let (range, original) = self.last.without_fcs();
        if usize::try_from(original) != Ok(range.len()) {
            return None;
        }
        self.input.consumed(range.start..self.last.frame.end).split_at_mut_checked(range.len())
    }

    /// Makes an FCS that is to be right so for the frame as it is now.
    fn settle_fcs(&mut self) {
        if !std::mem::take(&mut self.fcs_follows) {
            return;
        }
        let length = self.last.fcs;
        if let Some((frame, fcs)) = self.last_with_fcs()
            && let Some(right) = fcs::right(frame, length)
        {
            fcs.copy_from_slice(right.get(..fcs.len()).unwrap_or_default());
        }
    }

    #[cold]
    fn stopped(&self, stop: &Stop) -> Failure {
        match stop {
            Stop::Damage(damage) => self.damaged(damage),
            Stop::Fault(Fault::Unpack(what)) => self.damaged(&Damage::new(self.input.offset(), what)),
            Stop::Fault(Fault::Read(error)) => {
                Failure::system(format!("reading `{}` failed after frame {}", self.path.display(), self.frames), error)
            }
            Stop::Fault(Fault::Write(error)) => {
                Failure::system(format!("writing the copy of `{}` failed", self.path.display()), error)
            }
        }
    }

    fn damaged(&self, damage: &Damage) -> Failure {
        damaged(&self.path, self.input.compression(), Some(self.frames + 1), damage)
    }
}

fn damaged(path: &Path, compression: Option<Compression>, frame: Option<u64>, damage: &Damage) -> Failure {
    let shown = path.display();
    let what = match frame {
        None => format!("the capture `{shown}` is damaged"),
        Some(number) => format!("the capture `{shown}` is damaged at frame {number}"),
    };
    let place = if compression.is_some() { " of what it unpacks to" } else { "" };
    // What a checksum at the end of the compression would say of them isn't known.
    let before = match (frame, compression) {
        (None | Some(1), _) => String::new(),
        (Some(2), None) => "; the frame before it is whole".to_owned(),
        (Some(2), Some(_)) => "; the frame before it could be read".to_owned(),
        (Some(number), None) => format!("; the {} before it are whole", count(number - 1, "frame")),
        (Some(number), Some(_)) => format!("; the {} before it could be read", count(number - 1, "frame")),
    };
    let fix = match frame {
        Some(number) if number > 1 && path.as_os_str() != STANDARD_INPUT => {
            let keep = match compression {
                None => format!("tcpdump -r {shown} -c {} -w whole.pcap", number - 1),
                Some(compression) => {
                    format!("{} {shown} | tcpdump -r - -c {} -w whole.pcap", compression.unpacker(), number - 1)
                }
            };
            format!("capture or copy it again, or keep what is whole: `{keep}`")
        }
        _ => "capture or copy it again".to_owned(),
    };
    let why = format!("at byte {}{place}: {}{before}", damage.offset, damage.what);
    Failure::invalid(Diagnostic::error(what).why(why).fix(fix))
}
