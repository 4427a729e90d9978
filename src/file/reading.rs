//! Reading a text that a user writes: a scenario, a ruleset.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::identity::is_standard_input;
use crate::diagnostic::{Diagnostic, Failure, Result, Source};
use crate::figures::size;

/// A text that a user writes is not longer, in bytes: what is, is something else.
pub const MOST_BYTES: u64 = 16 << 20;
/// What programs write for programs is not longer.
const MOST_LONG: u64 = 1 << 30;

/// Reads a text file whole; `-` and `/dev/stdin` are standard input.
///
/// # Errors
/// [`crate::diagnostic::Kind::Invalid`] when it can't be read, is longer than 16 MiB or isn't UTF-8.
pub fn read_source(path: &Path) -> Result<Arc<Source>> {
    source_of(path, read_bytes(path)?)
}

/// Reads a text file whole, whatever is in it.
///
/// # Errors
/// [`crate::diagnostic::Kind::Invalid`] when it can't be read or is longer than 16 MiB.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, MOST_BYTES)
}

/// The same of a file that a program wrote: it may have 1 GiB.
///
/// # Errors
/// As [`read_bytes`].
pub fn read_long(path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, MOST_LONG)
}

fn read_at_most(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A socket, and a pipe of another user's, can't be opened by its name.
    let read = if is_standard_input(path) {
        io::stdin().lock().take(most + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
    };
    let name = if path == Path::new("-") { "standard input".to_owned() } else { format!("`{}`", path.display()) };
    match read {
        Err(error) => {
            let problem = Diagnostic::error(format!("can't read {name}")).why(error.to_string());
            Err(Failure::invalid(match error.kind() {
                io::ErrorKind::PermissionDenied => problem.fix("let this user read it, and enter its folders"),
                io::ErrorKind::IsADirectory => problem.fix("name a file in this folder"),
                _ => problem,
            }))
        }
        Ok(length) if length as u64 > most => Err(Failure::invalid(
            Diagnostic::error(format!("{name} is too long"))
                .why(format!("a file of this kind has at most {}", size(most))),
        )),
        Ok(_) => Ok(bytes),
    }
}

/// What to do where there is no such file or folder: one with a similar name may have been meant.
pub fn misspelt(path: &Path) -> String {
    similar(path).unwrap_or_else(|| "check the name, and the folder that it is relative to".to_owned())
}

/// "did you mean …?" of what is in the same folder.
pub fn similar(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = path.file_name()?.to_str()?;
    let names = folder.read_dir().ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let (distance, name) = names.map(|name| (strsim::damerau_levenshtein(written, &name), name)).min()?;
    let is_near = distance <= written.chars().count() / 3;
    is_near.then(|| format!("did you mean `{}`?", path.with_file_name(name).display()))
}

/// The text in these bytes of a file.
///
/// # Errors
/// [`crate::diagnostic::Kind::Invalid`] when it isn't UTF-8.
pub fn source_of(path: &Path, bytes: Vec<u8>) -> Result<Arc<Source>> {
    let (starts, has_zeros) =
        ([b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| bytes.starts_with(*mark)), bytes.contains(&0));
    let text = String::from_utf8(bytes).map_err(|error| error.utf8_error().valid_up_to());
    match text {
        Ok(text) if !has_zeros => Ok(Arc::new(Source { path: path.to_path_buf(), text })),
        not_text => {
            let problem = Diagnostic::error(format!("`{}` is not UTF-8 text", path.display()));
            let name = path.display();
            Err(Failure::invalid(match not_text {
                Err(valid) if !starts => problem
                    .why(format!("byte {valid} is not part of a UTF-8 character"))
                    .fix(format!("write it in UTF-8; if it is Latin-1: `iconv -f LATIN1 -t UTF-8 '{name}'`")),
                _ => problem
                    .why(if starts { "it is UTF-16" } else { "it holds bytes that are zero, as UTF-16 does" })
                    .fix(format!("write it in UTF-8; if it is UTF-16: `iconv -f UTF-16 -t UTF-8 '{name}'`")),
            }))
        }
    }
}
