//! Writing a file: beside its target, which it replaces when it is complete.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::identity::{descriptor, is_stream, resolved};
use crate::diagnostic::{Diagnostic, Failure, Result};

/// A file name has at most 255 bytes; so many of the target's are in that of the unfinished file.
const NAME_BYTES: usize = 200;

/// A file that is written beside its target, and takes the target's name when it is complete. Dropped before, it is removed.
///
/// The unfinished file is locked for as long as it is written. One that is not locked was left by a process that was killed, and is removed.
/// What is no regular file (a device, a pipe, a descriptor that is open already) is written to as it is.
#[derive(Debug)]
pub struct Replacement {
    target: PathBuf,
    /// With what keeps it locked; `None`: the target itself is written to.
    partial: Option<(PathBuf, File)>,
}

impl Replacement {
    /// Begins the file that `path` means, through symbolic links.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] where another process is writing it or a permission is missing,
    /// [`crate::diagnostic::Kind::Error`] where it can't be written otherwise. What is there is untouched.
    pub fn begin(path: &Path) -> Result<(Self, File)> {
        if is_stream(path) {
            let file = open_stream(path).map_err(|error| unwritable(path, &error))?;
            return Ok((Self { target: path.to_path_buf(), partial: None }, file));
        }
        let (partial, file) = begin_beside(path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Failure::blocked(
                Diagnostic::error(format!("another restage is writing `{}`", path.display()))
                    .why("its unfinished file is locked")
                    .fix("wait until it has ended, or write to another file"),
            ),
            _ => unwritable(path, &error),
        })?;
        let lock = file.try_clone().map_err(|error| unwritable(path, &error));
        let lock = lock.inspect_err(|_| remove(&partial))?;
        Ok((Self { target: resolved(path), partial: Some((partial, lock)) }, file))
    }

    /// Whether `path` can be written, as far as that can be known without writing it.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn try_out(path: &Path) -> Result<()> {
        if is_stream(path) { Ok(()) } else { Self::begin(path).map(drop) }
    }

    /// Gives it its name. Everything is to be written to the file by then.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn publish(mut self) -> Result<()> {
        let Some((partial, _)) = &self.partial else { return Ok(()) };
        fs::rename(partial, &self.target).map_err(|error| unwritable(&self.target, &error))?;
        forget(partial);
        self.partial = None;
        Ok(())
    }

    /// Writes a whole text.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn write(path: &Path, text: &str) -> Result<()> {
        let (replacement, mut file) = Self::begin(path)?;
        file.write_all(text.as_bytes()).map_err(|error| unwritable(path, &error))?;
        replacement.publish()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Some((partial, _)) = &self.partial {
            remove(partial);
        }
    }
}

fn remove(partial: &Path) {
    // This error is not reported: the one that caused it is.
    let _ = fs::remove_file(partial);
    forget(partial);
}

/// The error of a file that can't be written.
pub(crate) fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let what = format!("can't write `{}`", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::blocked(
            Diagnostic::error(what)
                .why(error.to_string())
                .fix("write to a folder, and a file, that this user may write to"),
        ),
        // A folder, a block device: no place for a file.
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput => {
            Failure::invalid(Diagnostic::error(what).why(error.to_string()).fix("name a file"))
        }
        _ => Failure::system(what, error),
    }
}

/// Opens what is no regular file. A descriptor that is open keeps its position.
fn open_stream(path: &Path) -> io::Result<File> {
    match descriptor(path) {
        Some(1) => io::stdout().as_fd().try_clone_to_owned().map(File::from),
        Some(2) => io::stderr().as_fd().try_clone_to_owned().map(File::from),
        Some(_) => OpenOptions::new().append(true).open(path),
        None => OpenOptions::new().write(true).open(path),
    }
}

/// The unfinished file for `path`, new, locked and registered.
fn begin_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let there = match OpenOptions::new().write(true).open(path) {
        // One that is protected against writing is not replaced either.
        Ok(file) => Some(file.metadata()?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if there.as_ref().is_some_and(|there| there.file_type().is_block_device()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a block device, and what is on it would be lost",
        ));
    }
    let target = resolved(path);
    let name = target.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
    let mut hidden = b".".to_vec();
    hidden.extend_from_slice(name.as_bytes().get(..NAME_BYTES).unwrap_or(name.as_bytes()));
    hidden.extend_from_slice(b".restage-partial");
    let partial = target.with_file_name(OsString::from_vec(hidden));
    loop {
        let created = File::create_new(&partial).and_then(|file| Ok(lock(&file, &partial)?.then_some(file)));
        if let Ok(Some(file)) = created {
            register().push(partial.clone());
            if let Some(there) = there {
                // Whom it was hidden from, it stays hidden from. Where that can't be said, it is as a new file is.
                let _ = file.set_permissions(there.permissions());
            }
            return Ok((partial, file));
        }
        match created {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => remove_left_over(&partial)?,
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
}

/// Removes an unfinished file that no living process is writing.
fn remove_left_over(partial: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(partial)?.is_file() {
        return Err(io::Error::from(io::ErrorKind::AlreadyExists));
    }
    match File::open(partial) {
        Ok(file) if lock(&file, partial)? => fs::remove_file(partial),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Locks the file; false where `path` is another file by now. [`io::ErrorKind::WouldBlock`] where another process has it.
fn lock(file: &File, path: &Path) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
        // A file system without locks.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let own = file.metadata()?;
    Ok(fs::symlink_metadata(path).is_ok_and(|found| (own.dev(), own.ino()) == (found.dev(), found.ino())))
}

/// The unfinished files of this process.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn register() -> MutexGuard<'static, Vec<PathBuf>> {
    // A list of values is whole at every moment, also where a holder of the lock panicked.
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn forget(partial: &Path) {
    register().retain(|known| known != partial);
}

/// Removes the unfinished files of this process, which is about to end.
pub fn discard_unfinished() {
    for partial in register().drain(..) {
        // It may be complete by now, and have its name.
        let _ = fs::remove_file(partial);
    }
}
