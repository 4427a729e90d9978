//! `[receiver] keep`: what arrived, as a pcapng file, with the kernel's receive times and, as comments, which sent frame each is.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufWriter};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::capture::{Frame, Writer};
use crate::diagnostic::{Failure, Problem, Result};
use crate::lab::leftover::{Leftover, Registered};
use crate::ledger::matching::Sighting;
use crate::packet::layers::LinkType;
use crate::wire::ring::Seen;

/// Writes frames beside the file that is wanted, and gives them its name when all are written.
///
/// The file beside is locked for as long as it is written. One that is not locked was left by a restage that was killed, and is written
/// anew. Dropping the keeper before [`Self::finish`] removes it.
pub(super) struct Keeper {
    writer: Writer<BufWriter<File>>,
    path: PathBuf,
    beside: PathBuf,
    frames: u64,
    bytes: Vec<u8>,
    options: Vec<u8>,
    failure: Option<io::Error>,
    finished: bool,
    _registered: Registered,
}

impl Keeper {
    /// Begins the file; the folders above it are made.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| unwritable(path, &error))?;
        }
        let file = match locked(&beside) {
            Ok(Some(file)) => file,
            Ok(None) => return Err(kept_by_another_run(path)),
            Err(error) => return Err(unwritable(path, &error)),
        };
        let registered = Registered::new(Leftover::File(beside.clone()));
        let started = file.set_len(0).and_then(|()| Writer::pcapng(BufWriter::with_capacity(1 << 18, file), true));
        let writer = started.map_err(|error| {
            // It is not of use to anybody.
            let _ = std::fs::remove_file(&beside);
            unwritable(path, &error)
        })?;
        Ok(Self {
            writer,
            path: path.to_owned(),
            beside,
            frames: 0,
            bytes: Vec::new(),
            options: Vec::new(),
            failure: None,
            finished: false,
            _registered: registered,
        })
    }

    /// Adds a frame. What goes wrong is told by [`Self::finish`]: reading the ring goes on.
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
                Sighting::Stranger => "nobody sent this".to_owned(),
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
        let written = match self.failure.take() {
            Some(error) => Err(error),
            None => self.writer.flush().and_then(|()| std::fs::rename(&self.beside, &self.path)),
        };
        self.finished = written.is_ok();
        written.map_err(|error| unwritable(&self.path, &error))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if !self.finished {
            // It may not be there.
            let _ = std::fs::remove_file(&self.beside);
        }
    }
}

/// The file, locked by this process alone; `None` where another one is writing it.
fn locked(beside: &Path) -> io::Result<Option<File>> {
    loop {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(beside)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Who wrote it may have given it its name between the two: then it is another file's by now.
        let is_still_there = std::fs::metadata(beside)
            .is_ok_and(|found| file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (found.dev(), found.ino())));
        if is_still_there {
            return Ok(Some(file));
        }
    }
}

fn kept_by_another_run(path: &Path) -> Failure {
    Failure::blocked(
        Problem::error(format!("another run is keeping what arrives in `{}`", path.display()))
            .why("its unfinished file is locked")
            .fix("wait until that run has ended, or have each run write its report to a folder of its own"),
    )
}

/// `opt_comment` (draft-ietf-opsawg-pcapng §3.5) as a little-endian file has it, padded to 32 bits.
fn comment(options: &mut Vec<u8>, text: &str) {
    options.extend_from_slice(&1_u16.to_le_bytes());
    options.extend_from_slice(&u16::try_from(text.len()).expect("a short sentence").to_le_bytes());
    options.extend_from_slice(text.as_bytes());
    options.resize(options.len().next_multiple_of(4), 0);
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::system(format!("what arrived can't be kept in `{}`", path.display()), error)
}
