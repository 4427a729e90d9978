//! Writing a capture: what is kept of a run, and what is converted from one format to the other.
//!
//! A capture that is only rewritten is not written by this: it is copied as it is read (`Reader::copy_to`).

use std::io::{self, Write};

use super::Frame;
use super::LARGEST_SNAPLEN;
use super::reader::Format;
use crate::packet::layers::LinkType;

/// Writes frames as pcap or pcapng, in the little-endian byte order. Not buffered: give it a buffered writer.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Pcap { link: LinkType, nanoseconds: bool },
    Pcapng { nanoseconds: bool, interfaces: Vec<LinkType> },
}

impl<W: Write> Writer<W> {
    /// Begins a pcap file, whose frames all have `link`. `snaplen` is what the header announces.
    ///
    /// # Errors
    /// What the writer says.
    pub fn pcap(mut out: W, link: LinkType, nanoseconds: bool, snaplen: Option<u32>) -> io::Result<Self> {
        let magic: u32 = if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
        let mut header = Vec::with_capacity(24);
        header.extend(magic.to_le_bytes());
        header.extend(2_u16.to_le_bytes());
        header.extend(4_u16.to_le_bytes());
        header.extend([0; 8]);
        header.extend(snaplen.unwrap_or(LARGEST_SNAPLEN).to_le_bytes());
        header.extend(u32::from(link.0).to_le_bytes());
        out.write_all(&header)?;
        Ok(Self { out, body: Body::Pcap { link, nanoseconds } })
    }

    /// Begins a pcapng file of one section; each link type becomes an interface when its first frame is written.
    ///
    /// # Errors
    /// What the writer says.
    pub fn pcapng(mut out: W, nanoseconds: bool) -> io::Result<Self> {
        let mut body = Vec::with_capacity(16);
        body.extend(0x1a2b_3c4d_u32.to_le_bytes());
        body.extend(1_u16.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        // The length of the section is not known.
        body.extend(u64::MAX.to_le_bytes());
        write_block(&mut out, 0x0a0d_0d0a, &[&body])?;
        Ok(Self { out, body: Body::Pcapng { nanoseconds, interfaces: Vec::new() } })
    }

    /// The format that is written.
    pub fn format(&self) -> Format {
        match self.body {
            Body::Pcap { nanoseconds, .. } => Format::Pcap { nanoseconds },
            Body::Pcapng { .. } => Format::Pcapng,
        }
    }

    /// Writes a frame. Digits of its time below the file's unit are cut off.
    ///
    /// # Errors
    /// What the writer says; [`io::ErrorKind::InvalidInput`] where the format can't say it: another link type or a time after 2106 in
    /// a pcap file.
    #[cfg(test)]
    pub fn write(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        self.write_with(frame, &[])
    }

    /// Writes a frame with the options that a pcapng file keeps of it: little-endian, without their end. pcap keeps none.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub(crate) fn write_with(&mut self, frame: &Frame<'_>, options: &[u8]) -> io::Result<()> {
        let captured = u32::try_from(frame.bytes.len()).map_err(|_| unsayable("a frame is longer than 4 GiB"))?;
        match &mut self.body {
            Body::Pcap { link, nanoseconds } => {
                if *link != frame.link {
                    return Err(unsayable("a pcap file has one link type"));
                }
                let seconds = u32::try_from(frame.time_ns / 1_000_000_000)
                    .map_err(|_| unsayable("a pcap file ends in the year 2106"))?;
                let unit = if *nanoseconds { 1 } else { 1000 };
                let fraction = u32::try_from(frame.time_ns % 1_000_000_000 / unit).unwrap_or_default();
                let fields = [seconds, fraction, captured, frame.original_length].map(u32::to_le_bytes);
                self.out.write_all(fields.as_flattened())?;
                self.out.write_all(frame.bytes)
            }
            Body::Pcapng { nanoseconds, interfaces } => {
                let known = interfaces.iter().position(|link| *link == frame.link);
                let index = known.unwrap_or(interfaces.len());
                if known.is_none() {
                    write_interface(&mut self.out, frame.link, *nanoseconds)?;
                    interfaces.push(frame.link);
                }
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                let ticks = frame.time_ns / if *nanoseconds { 1 } else { 1000 };
                let [low, high] =
                    [ticks & 0xffff_ffff, ticks >> 32].map(|part| u32::try_from(part).unwrap_or_default());
                let fields = [index, high, low, captured, frame.original_length].map(u32::to_le_bytes);
                if options.is_empty() {
                    return write_block(&mut self.out, 6, &[fields.as_flattened(), frame.bytes]);
                }
                let padding = frame.bytes.len().next_multiple_of(4) - frame.bytes.len();
                let padding = [0; 3].get(..padding).unwrap_or_default();
                write_block(&mut self.out, 6, &[fields.as_flattened(), frame.bytes, padding, options, &[0; 4]])
            }
        }
    }

    /// Flushes.
    ///
    /// # Errors
    /// What the writer says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Flushes, and gives the writer back.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

fn unsayable(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn write_interface(out: &mut impl Write, link: LinkType, nanoseconds: bool) -> io::Result<()> {
    let mut body = Vec::with_capacity(20);
    body.extend(link.0.to_le_bytes());
    body.extend([0; 2]);
    // No limit.
    body.extend([0; 4]);
    if nanoseconds {
        // if_tsresol: 10^-9; then the end of the options.
        body.extend([9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    }
    write_block(out, 1, &[&body])
}

/// A block of these parts, padded to four bytes.
fn write_block(out: &mut impl Write, kind: u32, parts: &[&[u8]]) -> io::Result<()> {
    let body: usize = parts.iter().map(|part| part.len()).sum();
    let padding = body.next_multiple_of(4) - body;
    let length = u32::try_from(12 + body + padding).map_err(|_| unsayable("a block is longer than 4 GiB"))?;
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&length.to_le_bytes())?;
    for part in parts {
        out.write_all(part)?;
    }
    out.write_all([0; 3].get(..padding).unwrap_or_default())?;
    out.write_all(&length.to_le_bytes())
}
