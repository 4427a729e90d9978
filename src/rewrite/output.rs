//! The file that a rewritten capture goes to: its format by its name.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::capture::{Compression, Format, Packed};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::file::{WriteBehind, WriteError};

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
                    Diagnostic::error(format!("`{}` doesn't say in which format it is to be written", path.display()))
                        .why("the format follows the ending")
                        .fix("end its name in .pcap or .pcapng (each also with .gz or .zst), or write to standard output with `-`"),
                ));
            }
        };
        Ok(Self { format, compression })
    }
}

/// A writer of the file, and what goes wrong with it.
pub(super) fn writer(file: File, compression: Option<Compression>) -> io::Result<(Box<dyn Write + Send>, WriteError)> {
    let (writer, error) = WriteBehind::new(Packed::new(compression, file)?);
    Ok((Box::new(writer), error))
}
