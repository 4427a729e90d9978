//! A file read through one buffer that stays in the processor's cache, and, on demand, copied as it goes.
//!
//! `consume` moves past a record; its bytes stay where they are, and may still be changed, until the buffer is next filled. Then
//! they are written to the copy, if there is one. So a capture is rewritten without moving a byte of it inside the program.

use std::io::{self, Read, Write};
use std::ops::Range;

use super::compression::{self, Compression};
use super::splice::Splice;

/// Big enough to read fast, small enough for the second-level cache.
const BUFFER_BYTES: usize = 256 << 10;

/// What failed.
#[derive(Debug)]
pub(super) enum Fault {
    Read(io::Error),
    /// The compression is damaged, and how.
    Unpack(String),
    Write(io::Error),
}

/// The buffered file.
pub(super) struct Input {
    file: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// Consumed bytes from here on aren't copied yet.
    kept: usize,
    /// The first byte that isn't consumed.
    start: usize,
    /// One past the last byte read.
    end: usize,
    /// Where `start` is in the file.
    offset: u64,
    copy: Option<Box<dyn Write + Send>>,
    /// What `file` unpacks.
    compression: Option<Compression>,
}

impl Input {
    /// Reads `file`, which unpacks what is compressed so.
    pub(super) fn new(file: Box<dyn Read + Send>, compression: Option<Compression>) -> Self {
        Self { file, buffer: vec![0; BUFFER_BYTES], kept: 0, start: 0, end: 0, offset: 0, copy: None, compression }
    }

    /// Everything consumed that is still in the buffer, and everything after it, goes to `copy`.
    pub(super) fn copy_to(&mut self, copy: Box<dyn Write + Send>) {
        self.copy = Some(copy);
    }

    /// Only what is consumed from now on goes to `copy`.
    pub(super) fn copy_on(&mut self, copy: Box<dyn Write + Send>) {
        self.kept = self.start;
        self.copy = Some(copy);
    }

    /// Writes what is kept for the copy, and gives it up, so that it can be continued elsewhere.
    pub(super) fn release_copy(&mut self) -> Result<Option<Box<dyn Write + Send>>, Fault> {
        self.write_kept()?;
        Ok(self.copy.take())
    }

    /// What is unpacked.
    pub(super) fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// Where the next byte is in the file; in what is unpacked, if it is compressed.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Makes `wanted` bytes available and says how many are: fewer only at the end of the file.
    #[inline]
    pub(super) fn available(&mut self, wanted: usize) -> Result<usize, Fault> {
        let there = self.end - self.start;
        if there >= wanted { Ok(there) } else { self.fill(wanted) }
    }

    #[cold]
    fn fill(&mut self, wanted: usize) -> Result<usize, Fault> {
        self.write_kept()?;
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        self.kept = 0;
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        while self.end < wanted {
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.file.read(room) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let damage = self.compression.and_then(|compression| compression::damage(compression, &error));
                    return Err(damage.map_or(Fault::Read(error), Fault::Unpack));
                }
            }
        }
        Ok(self.end - self.start)
    }

    fn write_kept(&mut self) -> Result<(), Fault> {
        if let Some(copy) = &mut self.copy {
            let kept = self.buffer.get(self.kept..self.start).unwrap_or_default();
            if !kept.is_empty() {
                copy.write_all(kept).map_err(Fault::Write)?;
            }
        }
        self.kept = self.start;
        Ok(())
    }

    /// The bytes that are available and not consumed.
    #[inline]
    pub(super) fn ahead(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// The same, to be changed where they lie.
    #[inline]
    pub(super) fn ahead_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Moves past `bytes`, which must be available, and says where they are until more is made available.
    #[inline]
    pub(super) fn consume(&mut self, bytes: usize) -> Range<usize> {
        let consumed = self.start..(self.start + bytes).min(self.end);
        self.start = consumed.end;
        self.offset += consumed.len() as u64;
        consumed
    }

    /// Consumed bytes that are still in the buffer.
    #[inline]
    pub(super) fn behind(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// The same, to be changed.
    #[inline]
    pub(super) fn consumed(&mut self, range: Range<usize>) -> &mut [u8] {
        self.buffer.get_mut(range).unwrap_or_default()
    }

    /// Keeps the last consumed bytes, from `from` on, out of the copy.
    pub(super) fn leave_out(&mut self, from: usize) -> Result<(), Fault> {
        let after = std::mem::replace(&mut self.start, from);
        self.write_kept()?;
        self.start = after;
        self.kept = after;
        Ok(())
    }

    /// The copy has `with` in place of the last consumed bytes, from `from` on.
    pub(super) fn replace(&mut self, from: usize, with: &[u8]) -> Result<(), Fault> {
        self.leave_out(from)?;
        match &mut self.copy {
            Some(copy) => copy.write_all(with).map_err(Fault::Write),
            None => Ok(()),
        }
    }

    /// The copy has what is spliced in place of what it says, from the place `at` in the buffer on, in the consumed bytes that begin at `from`.
    pub(super) fn splice(&mut self, from: usize, at: usize, splice: &Splice<'_>) -> Result<(), Fault> {
        self.leave_out(from)?;
        if let Some(copy) = &mut self.copy {
            copy.write_all(self.buffer.get(from..at).unwrap_or_default()).map_err(Fault::Write)?;
            copy.write_all(splice.inserted).map_err(Fault::Write)?;
        }
        self.kept = at + splice.removed;
        Ok(())
    }

    /// Writes what is still kept for the copy, and ends it.
    pub(super) fn finish_copy(&mut self) -> Result<(), Fault> {
        self.write_kept()?;
        match self.copy.take() {
            Some(mut copy) => copy.flush().map_err(Fault::Write),
            None => Ok(()),
        }
    }
}
