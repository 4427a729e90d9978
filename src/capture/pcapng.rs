//! pcapng (draft-ietf-opsawg-pcapng): sections, interfaces with their own link type and clock, packets; all other blocks pass.

use std::collections::BTreeSet;

use super::input::Input;
use super::reader::{Damage, Record, Stop, TimeUnit};
use super::savefile::{LARGEST_RECORD, bytes32, length32, number16, number32};
use crate::packet::bytes::{array, byte};
use crate::packet::layers::LinkType;

/// How many pairs of link type and snaplen are remembered.
const MOST_DESCRIBED: usize = 64;

/// Block types.
mod block {
    pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
    pub(super) const INTERFACE: u32 = 1;
    pub(super) const OBSOLETE_PACKET: u32 = 2;
    pub(super) const SIMPLE_PACKET: u32 = 3;
    pub(super) const ENHANCED_PACKET: u32 = 6;
}

/// The option of a packet that holds its flags, and their part that says how long its FCS is.
const FLAGS: u16 = 2;
const FCS_LENGTH: u32 = 0x1e0;

/// What a section header says that doesn't announce the length of its section.
const UNKNOWN_LENGTH: [u8; 8] = [0xff; 8];

/// Whether the first bytes are a section header's.
pub(super) fn begins(start: &[u8]) -> bool {
    array(start, 0) == Some(block::SECTION_HEADER.to_be_bytes())
}

/// The section that is being read.
#[derive(Debug, Clone, Default)]
pub(super) struct Pcapng {
    pub(super) big_endian: bool,
    interfaces: Vec<Interface>,
    /// What the section headers of a copy are to announce.
    pub(super) lengths: SectionLengths,
    /// The section announces its length.
    announced: bool,
    /// A copy of a section isn't as long as it announces.
    pub(super) contradicted: bool,
    /// Blocks that describe neither a section nor an interface nor a packet.
    pub(super) other_blocks: u64,
    /// What interfaces of all sections have said, up to [`MOST_DESCRIBED`] of it.
    pub(super) described: BTreeSet<(LinkType, u32)>,
}

/// What the section headers of a copy announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SectionLengths {
    /// The length that the original announces.
    #[default]
    Kept,
    /// None, where the original announces one: the copy has another.
    Unknown,
}

/// What an interface description says about the packets of the interface.
#[derive(Debug, Clone)]
struct Interface {
    link: LinkType,
    snaplen: u32,
    clock: Clock,
    fcs: u8,
}

/// `if_tsresol` and `if_tsoffset`.
#[derive(Debug, Clone, Copy)]
struct Clock {
    ticks_per_second: u128,
    offset_seconds: i64,
}

impl Clock {
    /// Nanoseconds since 1970.
    fn nanoseconds(self, ticks: u64) -> (u64, TimeUnit) {
        if self.ticks_per_second == 1_000_000 && self.offset_seconds == 0 {
            return (ticks.saturating_mul(1000), TimeUnit::Microsecond);
        }
        let scaled = u128::from(ticks) * 1_000_000_000;
        let whole = i128::try_from(scaled / self.ticks_per_second).unwrap_or(i128::MAX);
        let time = whole.saturating_add(i128::from(self.offset_seconds) * 1_000_000_000);
        let unit = if 1_000_000_u128.is_multiple_of(self.ticks_per_second) {
            TimeUnit::Microsecond
        } else if scaled.is_multiple_of(self.ticks_per_second) {
            TimeUnit::Nanosecond
        } else {
            TimeUnit::Finer
        };
        (u64::try_from(time.max(0)).unwrap_or(u64::MAX), unit)
    }
}

impl Clock {
    /// The ticks of a time in nanoseconds since 1970; what is finer is cut off.
    fn ticks(self, time_ns: u64) -> u64 {
        let since = i128::from(time_ns) - i128::from(self.offset_seconds) * 1_000_000_000;
        let since = u128::try_from(since).unwrap_or_default();
        let (seconds, rest) = (since / 1_000_000_000, since % 1_000_000_000);
        let ticks = seconds.saturating_mul(self.ticks_per_second).saturating_add(
            // A clock finer than in nanoseconds: what is cut off here is nothing.
            rest.checked_mul(self.ticks_per_second).map_or(0, |product| product / 1_000_000_000),
        );
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

/// Where a block is in what is ahead, by its own length.
struct Block {
    kind: u32,
    length: usize,
}

impl Pcapng {
    /// Moves past blocks to the next packet and past it, and says in `record` where it is; false at the end of the file.
    pub(super) fn next(&mut self, input: &mut Input, record: &mut Record) -> Result<bool, Stop> {
        while let Some(block) = self.block(input)? {
            let body = input.ahead().get(8..block.length - 4).unwrap_or_default();
            let at = input.offset();
            let is_packet = match block.kind {
                block::SECTION_HEADER => {
                    check_version(body, self.big_endian).map_err(|what| Damage::new(at, what))?;
                    self.interfaces.clear();
                    self.announced = array(body, 8) != Some(UNKNOWN_LENGTH);
                    false
                }
                block::INTERFACE => {
                    let interface = Interface::read(body, self.big_endian).map_err(|what| Damage::new(at, what))?;
                    if self.described.len() < MOST_DESCRIBED {
                        self.described.insert((interface.link, interface.snaplen));
                    }
                    self.interfaces.push(interface);
                    false
                }
                block::ENHANCED_PACKET | block::OBSOLETE_PACKET | block::SIMPLE_PACKET => {
                    *record = self.packet(block.kind, body).map_err(|what| Damage::new(at, what))?;
                    true
                }
                _ => {
                    self.other_blocks += 1;
                    false
                }
            };
            let whole = input.consume(block.length);
            if block.kind == block::SECTION_HEADER && self.lengths == SectionLengths::Unknown {
                input.consumed(whole.start + 16..whole.start + 24).copy_from_slice(&UNKNOWN_LENGTH);
                self.announced = false;
            }
            if is_packet {
                record.frame = whole.start + record.frame.start..whole.start + record.frame.end;
                record.whole = whole;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The copy of the section is longer or shorter than the section.
    pub(super) fn length_changes(&mut self) {
        self.contradicted |= self.announced;
    }

    /// Makes the next block available, and takes the byte order of a new section from it.
    fn block(&mut self, input: &mut Input) -> Result<Option<Block>, Stop> {
        let available = input.available(12)?;
        if available == 0 {
            return Ok(None);
        }
        let at = input.offset();
        if available < 12 {
            return Err(
                Damage::new(at, format!("the file ends inside a block: {available} of at least 12 bytes")).into()
            );
        }
        let start: [u8; 12] = array(input.ahead(), 0).unwrap_or_default();
        if begins(&start) {
            self.big_endian = match array(&start, 8) {
                Some([0x1a, 0x2b, 0x3c, 0x4d]) => true,
                Some([0x4d, 0x3c, 0x2b, 0x1a]) => false,
                _ => return Err(Damage::new(at, "its section header has no valid byte-order magic").into()),
            };
        }
        let kind = number32(&start, 0, self.big_endian);
        let announced = number32(&start, 4, self.big_endian);
        let length = usize::try_from(announced).unwrap_or(usize::MAX);
        if length < 12 || !length.is_multiple_of(4) || length > LARGEST_RECORD {
            return Err(Damage::new(at, format!("a block announces {announced} bytes, which none can have")).into());
        }
        let available = input.available(length)?;
        if available < length {
            return Err(Damage::new(at, format!("the file ends inside a block: {available} of {length} bytes")).into());
        }
        let repeated = number32(input.ahead(), length - 4, self.big_endian);
        if repeated != announced {
            let what = format!("the length of a block is {announced} at its start and {repeated} at its end");
            return Err(Damage::new(at, what).into());
        }
        Ok(Some(Block { kind, length }))
    }

    /// Appends the packet block `old`, whose frame has `old_captured` bytes, with the frame `parts` in place of that, and with this
    /// original length. Options stay.
    ///
    /// A simple packet block has no captured length, it follows from the original one and from the interface's snaplen. Where it
    /// can't say the new one it becomes an enhanced packet block, with the time that the reader gives its frame.
    pub(super) fn replaced(
        &self,
        old: &[u8],
        old_captured: usize,
        parts: [&[u8]; 2],
        (original_length, time_ns): (u32, u64),
        block: &mut Vec<u8>,
    ) {
        let number = |value| bytes32(value, self.big_endian);
        let captured = length32(parts);
        let kind = number32(old, 0, self.big_endian);
        let start = block.len();
        if kind == block::SIMPLE_PACKET {
            let interface = self.interfaces.first();
            let limit = interface.map_or(0, |interface| interface.snaplen);
            let limit = if limit == 0 { u32::MAX } else { limit };
            if captured == original_length.min(limit) {
                block.extend([kind, 0, original_length].map(number).as_flattened());
            } else {
                let ticks = interface.map_or(0, |interface| interface.clock.ticks(time_ns));
                let [high, low] =
                    [ticks >> 32, ticks & 0xffff_ffff].map(|half| u32::try_from(half).unwrap_or_default());
                let fields = [block::ENHANCED_PACKET, 0, 0, high, low, captured, original_length];
                block.extend(fields.map(number).as_flattened());
            }
        } else {
            block.extend(old.get(..20).unwrap_or_default());
            block.extend([captured, original_length].map(number).as_flattened());
        }
        for part in parts {
            block.extend_from_slice(part);
        }
        block.resize(start + (block.len() - start).next_multiple_of(4), 0);
        if kind != block::SIMPLE_PACKET {
            let options = 28 + old_captured.next_multiple_of(4);
            block.extend(old.get(options..old.len().saturating_sub(4)).unwrap_or_default());
        }
        let length = number(u32::try_from(block.len() - start + 4).unwrap_or(u32::MAX));
        block.extend(length);
        if let Some(field) = block.get_mut(start + 4..start + 8) {
            field.copy_from_slice(&length);
        }
    }

    /// Appends the options of the packet block `block`, whose frame has `captured` bytes, in the little-endian byte order, without
    /// their end; its flags announce no FCS, since the frame is given without one.
    pub(super) fn options(&self, block: &[u8], captured: usize, options: &mut Vec<u8>) {
        if number32(block, 0, self.big_endian) == block::SIMPLE_PACKET {
            return;
        }
        let mut rest = block.get(28 + captured.next_multiple_of(4)..block.len().saturating_sub(4)).unwrap_or_default();
        while rest.len() >= 4 {
            let (code, length) = (number16(rest, 0, self.big_endian), number16(rest, 2, self.big_endian));
            let padded = usize::from(length).next_multiple_of(4);
            let Some(value) = rest.get(4..4 + padded).filter(|_| code != 0) else { return };
            options.extend([code, length].map(u16::to_le_bytes).as_flattened());
            if (code, length) == (FLAGS, 4) {
                options.extend((number32(value, 0, self.big_endian) & !FCS_LENGTH).to_le_bytes());
                rest = rest.get(4 + padded..).unwrap_or_default();
                continue;
            }
            let number = match (code, length) {
                // Lost packets, the packet's own number, queue; the enterprise that an option belongs to.
                (6, 4) | (4 | 5, 8) => usize::from(length),
                (2988 | 2989 | 19372 | 19373, 4..) => 4,
                _ => 0,
            };
            let (number, text) = value.split_at_checked(number).unwrap_or((&[], value));
            if self.big_endian {
                options.extend(number.iter().rev());
            } else {
                options.extend(number);
            }
            options.extend(text);
            rest = rest.get(4 + padded..).unwrap_or_default();
        }
    }

    /// The length of the FCS that the flags of a packet announce, in bytes; `options` follow the packet.
    fn announced_fcs(&self, kind: u32, options: Option<&[u8]>) -> Option<u8> {
        let mut rest = options.filter(|options| kind != block::SIMPLE_PACKET && options.len() >= 8)?;
        loop {
            let (code, length) = (number16(rest, 0, self.big_endian), number16(rest, 2, self.big_endian));
            match (code, length) {
                (0, _) => return None,
                (FLAGS, 4) => {
                    // Bits 5 to 8; 0 says nothing.
                    let fcs = (number32(rest, 4, self.big_endian) & FCS_LENGTH) >> 5;
                    return u8::try_from(fcs).ok().filter(|fcs| *fcs > 0);
                }
                _ => rest = rest.get(4 + usize::from(length).next_multiple_of(4)..).filter(|rest| rest.len() >= 8)?,
            }
        }
    }

    /// A packet block; the record's `frame` counts from the block's first byte.
    fn packet(&self, kind: u32, body: &[u8]) -> Result<Record, String> {
        let field = |at| number32(body, at, self.big_endian);
        let (interface, header) = match kind {
            block::SIMPLE_PACKET => (0, 4),
            block::ENHANCED_PACKET => (field(0), 20),
            _ => (u32::from(number16(body, 0, self.big_endian)), 20),
        };
        if body.len() < header {
            return Err(format!("a packet block has {} bytes where {header} are needed", body.len()));
        }
        let index = usize::try_from(interface).unwrap_or(usize::MAX);
        let described = self.interfaces.get(index).ok_or_else(|| {
            format!(
                "it is on interface {interface}, which is not among the {} that the section describes",
                self.interfaces.len()
            )
        })?;
        let room = body.len() - header;
        let (captured, original_length, time) = if kind == block::SIMPLE_PACKET {
            let limit = if described.snaplen == 0 { u32::MAX } else { described.snaplen };
            let captured = usize::try_from(field(0).min(limit)).unwrap_or(usize::MAX).min(room);
            (captured, field(0), None)
        } else {
            let ticks = u64::from(field(4)) << 32 | u64::from(field(8));
            let captured = usize::try_from(field(12)).unwrap_or(usize::MAX);
            if captured > room {
                return Err(format!("it announces {captured} captured bytes in a block that has room for {room}"));
            }
            (captured, field(16), Some(described.clock.nanoseconds(ticks)))
        };
        Ok(Record {
            whole: 0..0,
            frame: 8 + header..8 + header + captured,
            time_ns: time.map(|(time, _)| time),
            unit: time.map_or(TimeUnit::Microsecond, |(_, unit)| unit),
            original_length,
            link: described.link,
            fcs: self.announced_fcs(kind, body.get(header + captured.next_multiple_of(4)..)).unwrap_or(described.fcs),
        })
    }
}

fn check_version(body: &[u8], big_endian: bool) -> Result<(), String> {
    let (major, minor) = (number16(body, 4, big_endian), number16(body, 6, big_endian));
    // 1.2 was written by mistake, for the same format.
    if body.len() < 16 {
        Err("a section header has less than 28 bytes".to_owned())
    } else if major != 1 || !matches!(minor, 0 | 2) {
        Err(format!("a section has version {major}.{minor}, which is not defined"))
    } else {
        Ok(())
    }
}

impl Interface {
    fn read(body: &[u8], big_endian: bool) -> Result<Self, String> {
        if body.len() < 8 {
            return Err("an interface description has less than 20 bytes".to_owned());
        }
        let mut interface = Self {
            link: LinkType(number16(body, 0, big_endian)),
            snaplen: number32(body, 4, big_endian),
            clock: Clock { ticks_per_second: 1_000_000, offset_seconds: 0 },
            fcs: 0,
        };
        let mut at = 8;
        while at + 4 <= body.len() {
            let (code, length) = (number16(body, at, big_endian), usize::from(number16(body, at + 2, big_endian)));
            let value = body.get(at + 4..at + 4 + length).ok_or("an interface's option is longer than its block")?;
            match code {
                0 => break,
                9 => {
                    let resolution = byte(value, 0).ok_or("an if_tsresol option is empty")?;
                    interface.clock.ticks_per_second = ticks_per_second(resolution).ok_or_else(|| {
                        format!("an if_tsresol of {resolution:#04x} makes no clock that counts in 64 bits")
                    })?;
                }
                // The draft says bits and shows 4 as an example: bytes are what is written.
                13 => interface.fcs = byte(value, 0).map_or(0, |length| if length < 16 { length } else { length / 8 }),
                14 => {
                    let offset: [u8; 8] = array(value, 0).ok_or("an if_tsoffset option has less than 8 bytes")?;
                    interface.clock.offset_seconds =
                        if big_endian { i64::from_be_bytes(offset) } else { i64::from_le_bytes(offset) };
                }
                _ => {}
            }
            at += 4 + length.next_multiple_of(4);
        }
        Ok(interface)
    }
}

/// A power of ten, or with the highest bit of two.
fn ticks_per_second(resolution: u8) -> Option<u128> {
    let exponent = u32::from(resolution & 0x7f);
    if resolution & 0x80 == 0 { 10_u128.checked_pow(exponent) } else { 1_u128.checked_shl(exponent) }
}
