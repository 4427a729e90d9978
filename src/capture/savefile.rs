//! The classic savefile format (pcap-savefile(5)): microseconds or nanoseconds, either byte order, and Kuznetzov's longer records.

use super::LARGEST_SNAPLEN;
use super::input::{Fault, Input};
use super::reader::{Damage, Record, Stop, TimeUnit};
use super::splice::Swept;
use crate::packet::bytes::{array, put};
use crate::packet::layers::LinkType;

/// Records above this are damage, whatever the file says: no link has frames a hundredth as long.
pub(super) const LARGEST_RECORD: usize = 64 << 20;

/// Length of the file header.
const FILE_HEADER: usize = 24;

/// What the file header says.
#[derive(Debug, Clone)]
pub(super) struct Savefile {
    /// As it is in the file.
    pub(super) file_header: [u8; FILE_HEADER],
    pub(super) big_endian: bool,
    pub(super) nanoseconds: bool,
    /// 16, or 24 with an interface index, a protocol and a packet type.
    record_header: usize,
    pub(super) link: LinkType,
    pub(super) snaplen: u32,
    /// Length of the frame check sequence that each record ends with.
    fcs: u8,
    lengths: Lengths,
}

/// The order of a record's two lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lengths {
    CapturedFirst,
    /// Version 2.3: some writers one way, some the other.
    Either,
    /// Before version 2.3.
    OriginalFirst,
}

/// Whether the first bytes are a savefile's.
pub(super) fn begins(start: &[u8]) -> bool {
    array(start, 0).and_then(magic).is_some()
}

/// Byte order (big?), nanoseconds, record header.
fn magic(start: [u8; 4]) -> Option<(bool, bool, usize)> {
    let kind = |value| match value {
        0xa1b2_c3d4_u32 => Some((false, 16)),
        0xa1b2_3c4d => Some((true, 16)),
        0xa1b2_cd34 => Some((false, 24)),
        _ => None,
    };
    let big = kind(u32::from_be_bytes(start)).map(|(nanoseconds, header)| (true, nanoseconds, header));
    big.or_else(|| kind(u32::from_le_bytes(start)).map(|(nanoseconds, header)| (false, nanoseconds, header)))
}

impl Savefile {
    /// Reads the file header.
    pub(super) fn open(input: &mut Input) -> Result<Self, Stop> {
        let available = input.available(FILE_HEADER)?;
        if available < FILE_HEADER {
            return Err(Damage::new(0, format!("its file header is cut: {available} of {FILE_HEADER} bytes")).into());
        }
        let start: [u8; FILE_HEADER] = array(input.ahead(), 0).unwrap_or_default();
        let (big_endian, nanoseconds, record_header) = array(&start, 0).and_then(magic).unwrap_or_default();
        let field16 = |at| number16(&start, at, big_endian);
        let (major, minor) = (field16(4), field16(6));
        let lengths = match (major, minor) {
            (2, 0..=2) | (543, 0) => Lengths::OriginalFirst,
            (2, 3) => Lengths::Either,
            (2, 4) => Lengths::CapturedFirst,
            _ => return Err(Damage::new(4, format!("it has version {major}.{minor}, which is not defined")).into()),
        };
        let link = number32(&start, 20, big_endian);
        if link & 0x03ff_0000 != 0 {
            return Err(Damage::new(20, format!("its link type {link:#x} has bits set that are reserved")).into());
        }
        // pcap-savefile(5): bit 26 says that bits 28 to 31 are the length of the FCS, in 16-bit words.
        let fcs = if link & 0x0400_0000 == 0 { 0 } else { ((link >> 28) * 2).to_le_bytes()[0] };
        input.consume(FILE_HEADER);
        let link = LinkType(link.to_le_bytes().first_chunk().map_or(0, |low| u16::from_le_bytes(*low)));
        let snaplen = number32(&start, 16, big_endian);
        Ok(Self { file_header: start, big_endian, nanoseconds, record_header, link, snaplen, fcs, lengths })
    }

    /// The field of the file header that announces a snaplen, for a file with longer frames; 0 announces none, and stays.
    pub(super) fn snaplen_of_longer_frames(&self) -> [u8; 4] {
        let snaplen = if self.snaplen == 0 { 0 } else { self.snaplen.max(LARGEST_SNAPLEN) };
        if self.big_endian { snaplen.to_be_bytes() } else { snaplen.to_le_bytes() }
    }

    /// Whether records have Kuznetzov's longer headers.
    pub(super) fn is_modified(&self) -> bool {
        self.record_header > 16
    }

    /// Moves past the next record, and says in `record` where it is; false at the end of the file.
    #[inline]
    pub(super) fn next(&self, input: &mut Input, record: &mut Record) -> Result<bool, Stop> {
        if input.ahead().len() < self.record_header && !self.fetch_header(input)? {
            return Ok(false);
        }
        let [seconds, fraction, first, second] = self.header(input.ahead());
        let (captured, original_length) = match self.lengths {
            Lengths::CapturedFirst => (first, second),
            Lengths::Either if first <= second => (first, second),
            Lengths::Either | Lengths::OriginalFirst => (second, first),
        };
        let captured = captured as usize;
        let length = self.record_header + captured;
        if captured > LARGEST_RECORD || input.ahead().len() < length {
            self.fetch(input, captured)?;
        }
        let unit = if self.nanoseconds { 1 } else { 1000 };
        let whole = input.consume(length);
        record.frame = whole.start + self.record_header..whole.end;
        record.whole = whole;
        record.time_ns = Some(u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * unit);
        record.unit = if self.nanoseconds { TimeUnit::Nanosecond } else { TimeUnit::Microsecond };
        record.original_length = original_length;
        record.link = self.link;
        record.fcs = self.fcs;
        Ok(true)
    }

    /// Appends the record `old` with the frame `parts` in place of the old one, and with this original length.
    pub(super) fn replaced(&self, old: &[u8], parts: [&[u8]; 2], original_length: u32, record: &mut Vec<u8>) {
        let captured = length32(parts);
        let [_, _, first, second] = self.header(old);
        let (first, second) = match self.lengths {
            Lengths::CapturedFirst => (captured, original_length),
            Lengths::Either if first <= second => (captured, original_length),
            Lengths::Either | Lengths::OriginalFirst => (original_length, captured),
        };
        record.extend(old.get(..8).unwrap_or_default());
        record.extend([first, second].map(|length| bytes32(length, self.big_endian)).as_flattened());
        record.extend(old.get(16..self.record_header).unwrap_or_default());
        for part in parts {
            record.extend_from_slice(part);
        }
    }

    /// Gives `visit` the frames that lie whole in the buffer, each with its original length, as long as it doesn't decline them, and moves
    /// past those; says how many they were. A file whose records need more thought gives none.
    #[inline]
    pub(super) fn sweep<'s>(
        &self,
        input: &mut Input,
        visit: &mut impl FnMut(&mut [u8], u32) -> Swept<'s>,
    ) -> Result<u64, Fault> {
        let mut frames = 0;
        if self.fcs != 0 || self.lengths != Lengths::CapturedFirst {
            return Ok(frames);
        }
        loop {
            let mut ahead = input.ahead_mut();
            let there = ahead.len();
            let (mut left, mut spliced) = (there, None);
            while let Some((header, rest)) = ahead.split_at_mut_checked(self.record_header) {
                let [_, _, captured, original_length] = self.header(header);
                let Some((frame, after)) = rest.split_at_mut_checked(captured as usize) else { break };
                let swept = visit(frame, original_length);
                if swept == Swept::Declined {
                    break;
                }
                frames += 1;
                left = after.len();
                if let Swept::Spliced(splice) = swept {
                    let length = bytes32(splice.length(captured), self.big_endian);
                    put(header, 8, length);
                    put(header, 12, length);
                    spliced = Some((captured as usize, splice));
                    break;
                }
                ahead = after;
            }
            let swept = input.consume(there - left);
            let Some((captured, splice)) = spliced else { return Ok(frames) };
            let frame = swept.end - captured;
            input.splice(frame - self.record_header, frame + splice.at, &splice)?;
        }
    }

    /// The four numbers that every record begins with.
    #[inline]
    fn header(&self, ahead: &[u8]) -> [u32; 4] {
        let bytes: [u8; 16] = array(ahead, 0).unwrap_or_default();
        let fields = [0, 4, 8, 12].map(|at| array(&bytes, at).unwrap_or_default());
        if self.big_endian { fields.map(u32::from_be_bytes) } else { fields.map(u32::from_le_bytes) }
    }

    /// Reads on until the next record's header is there; false at the end of the file.
    #[cold]
    fn fetch_header(&self, input: &mut Input) -> Result<bool, Stop> {
        let wanted = self.record_header;
        match input.available(wanted)? {
            0 => Ok(false),
            available if available < wanted => {
                let what = format!("the file ends inside its header: {available} of {wanted} bytes");
                Err(Damage::new(input.offset(), what).into())
            }
            _ => Ok(true),
        }
    }

    /// Reads on until the next record is there, whose header is.
    #[cold]
    fn fetch(&self, input: &mut Input, captured: usize) -> Result<(), Stop> {
        if captured > LARGEST_RECORD {
            let what = format!("it announces {captured} captured bytes, more than any frame has");
            return Err(Damage::new(input.offset(), what).into());
        }
        let available = input.available(self.record_header + captured)? - self.record_header;
        if available < captured {
            let what = format!("the file ends inside it: {available} of {captured} captured bytes");
            return Err(Damage::new(input.offset(), what).into());
        }
        Ok(())
    }
}

/// A 16-bit field of the file, in its byte order; 0 outside `bytes`.
pub(super) fn number16(bytes: &[u8], at: usize, big_endian: bool) -> u16 {
    let field = array(bytes, at).unwrap_or_default();
    if big_endian { u16::from_be_bytes(field) } else { u16::from_le_bytes(field) }
}

/// A 32-bit field of the file, in its byte order; 0 outside `bytes`.
#[inline]
pub(super) fn number32(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let field = array(bytes, at).unwrap_or_default();
    if big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) }
}

/// A 32-bit field of the file, in its byte order.
pub(super) fn bytes32(value: u32, big_endian: bool) -> [u8; 4] {
    if big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
}

/// The length of both parts together.
pub(super) fn length32(parts: [&[u8]; 2]) -> u32 {
    u32::try_from(parts.iter().map(|part| part.len()).sum::<usize>()).unwrap_or(u32::MAX)
}
