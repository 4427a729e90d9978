//! The file that a rewritten capture goes to: its format by its name, and there only when it is complete.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::capture::{Compression, Format, Packed};
use crate::diagnostic::{Failure, Problem, Result};

/// What the name of a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    /// Of pcap, in microseconds.
    pub(super) format: Format,
    /// What the whole file is compressed with.
    pub(super) compression: Option<Compression>,
}

impl Ending {
    /// That of `path`.
    ///
    /// # Errors
    /// It says no format.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let ending = |path: &Path| path.extension().and_then(OsStr::to_str).map(str::to_owned);
        let compression = match ending(path).as_deref() {
            Some("gz") => Some(Compression::Gzip),
            Some("zst") => Some(Compression::Zstd),
            _ => None,
        };
        let unpacked = if compression.is_some() { path.with_extension("") } else { path.to_path_buf() };
        let format = match ending(&unpacked).as_deref() {
            Some("pcap") => Format::Pcap { nanoseconds: false },
            Some("pcapng") => Format::Pcapng,
            _ => {
                return Err(Failure::invalid(
                    Problem::error(format!("`{}` doesn't say in which format it is to be written", path.display()))
                        .why("the format follows the ending")
                        .fix("end its name in .pcap or .pcapng (each also with .gz or .zst), or write to standard output with `-`"),
                ));
            }
        };
        Ok(Self { format, compression })
    }
}

/// The runs of kept bytes are as long as the reader's buffer, and pass this one by; where frames are left out it gathers them.
pub(super) fn buffered(file: File, compression: Option<Compression>) -> io::Result<Box<dyn Write + Send>> {
    Ok(Box::new(BufWriter::with_capacity(64 << 10, Packed::new(compression, file)?)))
}

pub(super) fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::system(format!("can't write `{}`", path.display()), error)
}

/// A file that is written beside its target, and takes the target's name when it is complete. Dropped before, it is removed.
pub(super) struct Beside {
    target: PathBuf,
    partial: Option<PathBuf>,
}

impl Beside {
    /// Begins the file.
    pub(super) fn create(target: &Path) -> Result<(Self, File)> {
        let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let partial = target.with_file_name(format!(".{name}.{}.partial", std::process::id()));
        let file = File::create_new(&partial).map_err(|error| unwritable(target, &error))?;
        Ok((Self { target: target.to_path_buf(), partial: Some(partial) }, file))
    }

    /// Gives it its name.
    pub(super) fn publish(mut self) -> Result<()> {
        let Some(partial) = self.partial.take() else { return Ok(()) };
        fs::rename(&partial, &self.target).map_err(|error| {
            self.partial = Some(partial);
            unwritable(&self.target, &error)
        })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // There is nobody to tell; the error that led here is on its way.
            let _ = fs::remove_file(partial);
        }
    }
}
