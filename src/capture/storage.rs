//! Where the bytes of a capture lie: in a file, or, of what can be read only once, in a copy that is made first.
//!
//! Standard input (`-`), pipes and terminals are copied once into a temporary file without a name, so that each pass over the
//! capture reads the same bytes. Start at [`Stored::open`].

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The path that stands for standard input.
pub const STANDARD_INPUT: &str = "-";

/// A file open for one pass, with its own position.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    file: Arc<File>,
    at: u64,
}

/// What this process has read that can be read only once, by its path. It stays until the process ends.
static KEPT: Mutex<Vec<(PathBuf, Stored)>> = Mutex::new(Vec::new());

impl Stored {
    /// Opens a file at its start. What can be read only once is read to its end when it is opened first.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let is_stdin = path.as_os_str() == STANDARD_INPUT;
        if !is_stdin && !is_read_once(&fs::metadata(path)?) {
            return Ok(File::open(path)?.into());
        }
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, stored)) = kept.iter().find(|(known, _)| known == path) {
            return Ok(stored.clone());
        }
        let file = if is_stdin { standard_input()? } else { File::open(path)? };
        let stored = Self::keep(file)?;
        kept.push((path.to_path_buf(), stored.clone()));
        Ok(stored)
    }

    /// A copy of what is left of `file`; no copy if it can be read again.
    fn keep(mut file: File) -> io::Result<Self> {
        if !is_read_once(&file.metadata()?) {
            let at = file.stream_position()?;
            return Ok(Self { file: Arc::new(file), at });
        }
        let folder = std::env::temp_dir();
        let unwritten = |error: &io::Error| {
            let what =
                format!("it is read more than once, so it is copied into `{}`, and that fails", folder.display());
            io::Error::new(error.kind(), format!("{what}: {error}"))
        };
        let mut copy = nameless(&folder).map_err(|error| unwritten(&error))?;
        let mut piece = vec![0; 256 << 10];
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => {
                    copy.write_all(piece.get(..length).unwrap_or_default()).map_err(|error| unwritten(&error))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(copy.into())
    }

    /// Whether it is a folder.
    pub(super) fn is_dir(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.is_dir())
    }

    /// The bytes at the position, fewer than asked for at the end of the file. The position stays.
    pub(super) fn ahead(&self, wanted: usize) -> io::Result<Vec<u8>> {
        let mut ahead = Vec::with_capacity(wanted);
        self.clone().take(wanted as u64).read_to_end(&mut ahead)?;
        Ok(ahead)
    }
}

impl From<File> for Stored {
    fn from(file: File) -> Self {
        Self { file: Arc::new(file), at: 0 }
    }
}

impl Read for Stored {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

fn is_read_once(metadata: &Metadata) -> bool {
    let kind = metadata.file_type();
    kind.is_fifo() || kind.is_socket() || kind.is_char_device()
}

fn standard_input() -> io::Result<File> {
    io::stdin().as_fd().try_clone_to_owned().map(File::from)
}

/// A file without a name, deleted when it is closed.
pub(super) fn nameless(folder: &Path) -> io::Result<File> {
    let mut number = 0_u32;
    loop {
        let path = folder.join(format!(".restage-{}-{number}", std::process::id()));
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
            Err(error) => return Err(error),
        }
    }
}
