//! `[receiver] save-capture`: what arrived, as a pcapng file, with the kernel's receive times and, as comments, which sent frame each is.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use crate::capture::{Frame, Writer};
use crate::diagnostic::Result;
use crate::file::{Replacement, unwritable};
use crate::ledger::matching::Sighting;
use crate::packet::layers::LinkType;
use crate::wire::ring::Seen;

/// Writes frames into the file that is wanted, which is there when all are written.
pub(super) struct ArrivalWriter {
    writer: Writer<BufWriter<File>>,
    replacement: Replacement,
    path: PathBuf,
    frames: u64,
    bytes: Vec<u8>,
    options: Vec<u8>,
    failure: Option<io::Error>,
}

impl ArrivalWriter {
    /// Begins the file; the folders above it are made.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let unwritable = |error| unwritable(path, &error);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(unwritable)?;
        }
        let (replacement, file) = Replacement::begin(path)?;
        let writer = Writer::pcapng(BufWriter::with_capacity(1 << 18, file), true).map_err(unwritable)?;
        Ok(Self {
            writer,
            replacement,
            path: path.to_owned(),
            frames: 0,
            bytes: Vec::new(),
            options: Vec::new(),
            failure: None,
        })
    }

    /// Adds a frame. [`Self::finish`] returns an error that occurs here, so that reading the ring continues.
    pub(super) fn keep(&mut self, seen: &Seen<'_>, sighting: Sighting) {
        if self.failure.is_some() {
            return;
        }
        self.frames += 1;
        self.options.clear();
        comment(
            &mut self.options,
            &match sighting {
                Sighting::Sent(frame) => format!("sent frame {frame}"),
                Sighting::Again(frame) => format!("sent frame {frame}, once more"),
                Sighting::Stranger => "not sent by this run".to_owned(),
            },
        );
        self.bytes.clear();
        self.bytes.extend_from_slice(seen.bytes);
        let frame = Frame {
            number: self.frames,
            time_ns: seen.time_ns,
            original_length: seen.original_length,
            link: LinkType::ETHERNET,
            bytes: &mut self.bytes,
        };
        self.failure = self.writer.write_with(&frame, &self.options).err();
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When something of it could not be written; nothing is left of it then.
    pub(super) fn finish(mut self) -> Result<()> {
        let written = self.failure.take().map_or_else(|| self.writer.flush(), Err);
        written.map_err(|error| unwritable(&self.path, &error))?;
        self.replacement.publish()
    }
}

/// `opt_comment` (draft-ietf-opsawg-pcapng §3.5) as a little-endian file has it, padded to 32 bits.
fn comment(options: &mut Vec<u8>, text: &str) {
    options.extend_from_slice(&1_u16.to_le_bytes());
    options.extend_from_slice(&u16::try_from(text.len()).expect("a short sentence").to_le_bytes());
    options.extend_from_slice(text.as_bytes());
    options.resize(options.len().next_multiple_of(4), 0);
}
