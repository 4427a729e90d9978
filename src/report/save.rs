//! Where a report goes: a file that is whole or isn't there, or standard output.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::diagnostic::{Failure, Result};

/// Where a report goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard output; written `-`.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl From<&Path> for Destination {
    fn from(path: &Path) -> Self {
        if path == Path::new("-") { Self::Stdout } else { Self::File(path.to_path_buf()) }
    }
}

/// Writes the report beside its destination and renames it, so that nobody ever reads half of one. What exists and is no
/// regular file (`/dev/null`, a pipe) is written to as it is.
///
/// # Errors
/// [`crate::diagnostic::Kind::Error`] where it can't be written; what stood there before is untouched.
pub fn save(destination: &Destination, report: &str) -> Result<()> {
    let written = match destination {
        Destination::Stdout => write_stdout(report),
        Destination::File(path) => match fs::canonicalize(path) {
            Ok(real) if !real.is_file() => {
                OpenOptions::new().write(true).open(&real).and_then(|mut file| file.write_all(report.as_bytes()))
            }
            // Through the symbolic link, which stays one.
            Ok(real) => replace(&real, report),
            Err(_) => replace(path, report),
        },
    };
    written.map_err(|error| {
        let place = match destination {
            Destination::Stdout => "standard output".to_owned(),
            Destination::File(path) => format!("`{}`", path.display()),
        };
        Failure::system(format!("can't write the report to {place}"), &error)
    })
}

fn write_stdout(report: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(report.as_bytes())?;
    stdout.flush()
}

fn replace(path: &Path, report: &str) -> io::Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?);
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    let written = fs::write(&beside, report).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error is the one to tell; a file that was never made can't be removed either.
        let _already_failing = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("restage-save-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_report_replaces_the_last_one_and_leaves_nothing_beside_it() {
        let folder = folder("replaces");
        let path = folder.join("report.json");
        save(&Destination::File(path.clone()), "first").unwrap();
        save(&Destination::File(path.clone()), "second").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_symbolic_link_stays_one() {
        let folder = folder("link");
        let (real, link) = (folder.join("real.json"), folder.join("link.json"));
        fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        save(&Destination::File(link.clone()), "text").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "text");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_device_is_written_to_and_stays() {
        save(&Destination::File(PathBuf::from("/dev/null")), "text").unwrap();
        assert!(!Path::new("/dev/null").is_file());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let failure = save(&Destination::File(PathBuf::from("no-such-folder/report.json")), "text").unwrap_err();
        assert_eq!(failure.problems[0].what, "can't write the report to `no-such-folder/report.json`");
        assert!(failure.problems[0].why.is_some());
    }
}
