//! Where a report goes: a file, or standard output.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::diagnostic::{Failure, Result};
use crate::file::{Replacement, descriptor, is_stream, unwritable};

/// Where a report goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard output: `-`, `/dev/stdout`.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl From<&Path> for Destination {
    fn from(path: &Path) -> Self {
        if path == Path::new("-") || descriptor(path) == Some(1) {
            Self::Stdout
        } else {
            Self::File(path.to_path_buf())
        }
    }
}

impl Destination {
    /// Whether it is a file, which a new one replaces.
    pub fn is_regular(&self) -> bool {
        matches!(self, Self::File(path) if !is_stream(path))
    }
}

/// Writes the report: to a file only when it is complete.
///
/// # Errors
/// As [`Replacement::begin`]; what was in the file before is untouched.
pub fn save(destination: &Destination, report: &str) -> Result<()> {
    match destination {
        Destination::Stdout => {
            let mut stdout = io::stdout().lock();
            let written = stdout.write_all(report.as_bytes()).and_then(|()| stdout.flush());
            written.map_err(|error| Failure::system("can't write the report to standard output", &error))
        }
        Destination::File(path) => Replacement::write(path, report),
    }
}

/// Appends to a file that others append to as well.
///
/// # Errors
/// [`crate::diagnostic::Kind::Blocked`] where a permission is missing, [`crate::diagnostic::Kind::Error`] where it can't be written otherwise.
pub fn append(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| unwritable(path, &error))
}
