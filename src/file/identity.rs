//! Which file a path means: by device and inode where it is there, by its normalised path where it is not there yet.

use std::fs::{self, FileType};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// More symbolic links than this, one leading to the next, are a loop (`MAXSYMLINKS` of Linux).
const MOST_LINKS: usize = 40;

/// Which file a path means, whatever links and `..` are in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A file that is there.
    There {
        /// `st_dev`
        device: u64,
        /// `st_ino`
        inode: u64,
    },
    /// A file that is not there yet: its absolute path, without symbolic links.
    NotYet(PathBuf),
}

impl Identity {
    /// That of `path`. `None` for a device, a pipe or a socket: what is written there replaces nothing.
    pub fn of(path: &Path) -> Option<Self> {
        match fs::metadata(path) {
            Ok(found) if is_stream_kind(found.file_type()) => None,
            Ok(found) => Some(Self::There { device: found.dev(), inode: found.ino() }),
            Err(_) => Some(Self::NotYet(resolved(path))),
        }
    }
}

/// The path that a file which is not there would get: a symbolic link that leads nowhere is followed.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let mut path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(link) => path = path.parent().unwrap_or(Path::new("/")).join(link),
            Err(_) => break,
        }
    }
    // As much of it as is there has one real path; the rest is as it is written.
    let mut rest = Vec::new();
    let mut there = path.as_path();
    loop {
        if let Ok(real) = fs::canonicalize(there) {
            return rest.iter().rev().fold(real, |path, part: &PathBuf| {
                if part.as_os_str() == ".." { path.parent().unwrap_or(&path).to_path_buf() } else { path.join(part) }
            });
        }
        let Some(last) = there.components().next_back() else { return path };
        rest.push(PathBuf::from(last.as_os_str()));
        let Some(parent) = there.parent() else { return path };
        there = parent;
    }
}

/// The number of the file descriptor of this process that a path means: 0 for `/dev/stdin`, `/dev/fd/0`, `/proc/self/fd/0`, and for a
/// symbolic link to one of them.
pub fn descriptor(path: &Path) -> Option<u32> {
    let own = fs::canonicalize("/proc/self/fd").ok()?;
    let mut path = std::path::absolute(path).ok()?;
    for _ in 0..MOST_LINKS {
        let folder = fs::canonicalize(path.parent()?).ok()?;
        if folder == own {
            return path.file_name()?.to_str()?.parse().ok();
        }
        path = folder.join(fs::read_link(&path).ok()?);
    }
    None
}

/// Whether a path is standard input, `-` among others.
pub fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-" || descriptor(path) == Some(0)
}

/// Whether a path is a stream rather than a named file: `-`, a file descriptor of this process, a device, a pipe or a socket.
pub fn is_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
        || fs::metadata(path).is_ok_and(|found| is_stream_kind(found.file_type()))
        || descriptor(path).is_some()
}

fn is_stream_kind(kind: FileType) -> bool {
    kind.is_fifo() || kind.is_socket() || kind.is_char_device()
}
