//! A savefile, or a row of them, that frames are written to as they come. Start at [`Recording::begin`].

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use super::{Frame, Writer};
use crate::diagnostic::{Failure, Result};
use crate::file::{Replacement, is_stream, unwritable};
use crate::packet::layers::LinkType;

/// How frames are divided among files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Division {
    /// A file has at most so many bytes, or one frame.
    pub file_bytes: u64,
    /// So many of the newest files are kept; `None`: all.
    pub keep: Option<usize>,
}

/// Files that are written, each of them under its name when it is complete.
pub struct Recording {
    path: PathBuf,
    link: LinkType,
    snaplen: Option<u32>,
    division: Option<Division>,
    current: Part,
    /// The complete ones.
    files: VecDeque<PathBuf>,
    begun: u64,
    frames: u64,
}

struct Part {
    path: PathBuf,
    writer: Writer<BufWriter<File>>,
    replacement: Replacement,
    bytes: u64,
    frames: u64,
}

impl Recording {
    /// Begins the file `path`, pcap where its name ends so, else pcapng. With a division its name gets a number: `a-00001.pcapng`.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn begin(path: &Path, link: LinkType, snaplen: Option<u32>, division: Option<Division>) -> Result<Self> {
        let first = if division.is_some() { numbered(path, 1) } else { path.to_path_buf() };
        let current = Part::begin(first, link, snaplen)?;
        let path = path.to_path_buf();
        Ok(Self { path, link, snaplen, division, current, files: VecDeque::new(), begun: 1, frames: 0 })
    }

    /// Frames that were written.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// Where it can't be written; `None` where a pipe's reader has left.
    pub fn write(&mut self, frame: &Frame<'_>) -> std::result::Result<(), Option<Failure>> {
        let bytes = self.current.bytes_of(frame);
        if let Some(division) = self.division
            && self.current.frames > 0
            && self.current.bytes + bytes > division.file_bytes
        {
            self.next_file(division).map_err(Some)?;
        }
        let path = self.current.path.as_path();
        self.current.writer.write_with(frame, &[]).map_err(|error| left(path, &error))?;
        self.current.bytes += bytes;
        self.current.frames += 1;
        self.frames += 1;
        Ok(())
    }

    /// What was written can be read by whoever reads a pipe.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn flush(&mut self) -> std::result::Result<(), Option<Failure>> {
        let path = self.current.path.as_path();
        if is_stream(path) { self.current.writer.flush().map_err(|error| left(path, &error)) } else { Ok(()) }
    }

    /// Completes the last file. Returns those that are kept.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn finish(mut self) -> std::result::Result<Vec<PathBuf>, Option<Failure>> {
        let path = self.current.path.clone();
        self.current.finish()?;
        self.files.push_back(path);
        Ok(self.files.into())
    }

    fn next_file(&mut self, division: Division) -> Result<()> {
        self.begun += 1;
        let next = Part::begin(numbered(&self.path, self.begun), self.link, self.snaplen)?;
        let complete = std::mem::replace(&mut self.current, next);
        self.files.push_back(complete.path.clone());
        // A file with a number is no pipe.
        complete
            .finish()
            .map_err(|failure| failure.unwrap_or_else(|| unwritable(&self.path, &io::ErrorKind::BrokenPipe.into())))?;
        while division.keep.is_some_and(|keep| self.files.len() >= keep) {
            let Some(oldest) = self.files.pop_front() else { break };
            fs::remove_file(&oldest).map_err(|error| unwritable(&oldest, &error))?;
        }
        Ok(())
    }
}

impl Part {
    fn begin(path: PathBuf, link: LinkType, snaplen: Option<u32>) -> Result<Self> {
        let (replacement, file) = Replacement::begin(&path)?;
        let out = BufWriter::with_capacity(1 << 18, file);
        let is_pcap = path.extension().is_some_and(|ending| ending == "pcap");
        let writer = if is_pcap { Writer::pcap(out, link, true, snaplen) } else { Writer::pcapng(out, true) };
        let writer = writer.map_err(|error| unwritable(&path, &error))?;
        // The headers of the file, and of the interface.
        let bytes = if is_pcap { 24 } else { 28 + 32 };
        Ok(Self { path, writer, replacement, bytes, frames: 0 })
    }

    /// The bytes that a frame takes in the file.
    fn bytes_of(&self, frame: &Frame<'_>) -> u64 {
        let length = frame.bytes.len() as u64;
        match self.writer.format() {
            super::Format::Pcapng => 32 + length.next_multiple_of(4),
            super::Format::Pcap { .. } => 16 + length,
        }
    }

    fn finish(self) -> std::result::Result<(), Option<Failure>> {
        self.writer.finish().map_err(|error| left(&self.path, &error))?;
        self.replacement.publish().map_err(Some)
    }
}

/// A pipe whose reader has left is no failure.
fn left(path: &Path, error: &io::Error) -> Option<Failure> {
    (error.kind() != io::ErrorKind::BrokenPipe).then(|| unwritable(path, error))
}

/// `a.pcapng` as `a-00001.pcapng`.
fn numbered(path: &Path, number: u64) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{number:05}{ending}"))
}
