//! The files that `[[expect.output]]` looks at, as the application sees them. Start at [`examine`].

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern, glob_with};

use super::application::{Output, Process, Site};
use crate::diagnostic::Result;
use crate::evidence::Text;
use crate::expect;
use crate::figures::{count, size};
use crate::scenario::expect::{OutputCheck, OutputFrom, TextRule};
use crate::scenario::receiver::Size;

/// A text, as far as a rule asks; or why there is none.
type Examined = std::result::Result<Text, String>;
/// Files that are open; or why they are not.
type Opened = std::result::Result<Vec<File>, String>;

/// No more files than these are read as one text.
const MOST_FILES: usize = 500;
/// How many names of files are shown.
const MOST_SHOWN: usize = 20;

/// Examines what the application wrote, or `process`, the one that the check names; why there is nothing to examine otherwise.
///
/// # Errors
/// When its files can't be looked at.
pub(super) fn examine(check: &OutputCheck, site: Site<'_>, process: Option<&Process>) -> Result<Examined> {
    let [stdout, stderr] = process.map_or([0; 2], Process::discarded);
    let output = Output::of(site.folder, check.process.as_ref().map(|process| process.value.as_str()));
    let words = site.scenario.receiver.named(check.process.as_ref());
    let most = words.unwrap_or(&site.scenario.receiver.program).limits.output.value;
    let work = site.folder.work();
    let open: &(dyn Fn() -> Opened + Sync) = match &check.from.value {
        OutputFrom::Stdout => return Ok(examine_whole(&check.rule, &output.stdout, stdout, most)),
        OutputFrom::Stderr => return Ok(examine_whole(&check.rule, &output.stderr, stderr, most)),
        OutputFrom::File(file) => {
            let path = work.join(site.fill(file));
            &move || {
                if !path.exists() {
                    return Err(format!("there is no such file; {}", what_is_in(work)));
                }
                open(&path).map(|file| vec![file])
            }
        }
        OutputFrom::Files(pattern) => {
            let pattern = absolute(pattern, site);
            &move || open_all(&pattern, work)
        }
    };
    // As the application sees them: some folders are its own. The expected file is opened as restage sees it.
    let files = site.look(process, open)?;
    Ok(files.and_then(|files| expect::examine(&check.rule, || Chain::of(&files)).map_err(|error| error.to_string())))
}

/// Examines the output of a program, unless a part of it was discarded. `most`: how much of it is kept.
pub(super) fn examine_whole(rule: &TextRule, path: &Path, discarded: u64, most: Size) -> Examined {
    if discarded > 0 {
        let most = size(most.bytes);
        return Err(format!(
            "it is longer than {most}, the limit by `[receiver] limits`, `output`, and the rest was discarded"
        ));
    }
    let file = open(path)?;
    expect::examine(rule, || Chain::of(std::slice::from_ref(&file))).map_err(|error| said(path, &error))
}

fn said(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn open(path: &Path) -> std::result::Result<File, String> {
    // A pipe would be waited for, and a device may have no end.
    if !fs::metadata(path).map_err(|error| said(path, &error))?.is_file() {
        return Err(format!("{}: it is not a regular file", path.display()));
    }
    File::open(path).map_err(|error| said(path, &error))
}

/// The pattern as an absolute one; what placeholders bring is no pattern.
fn absolute(pattern: &str, site: Site<'_>) -> String {
    let mut filled = pattern.to_owned();
    for name in ["{work}", "{scenario}"] {
        filled = filled.replace(name, &Pattern::escape(&site.fill(name)));
    }
    let filled = site.fill(&filled);
    if filled.starts_with('/') {
        return filled;
    }
    format!("{}/{filled}", Pattern::escape(&site.folder.work().to_string_lossy()))
}

/// Opens all regular files whose names match, in the order of their names.
fn open_all(pattern: &str, work: &Path) -> Opened {
    let options =
        MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let found = glob_with(pattern, options).map_err(|error| error.to_string())?;
    let mut files = Vec::new();
    for path in found {
        let path = path.map_err(|error| error.to_string())?;
        if !path.is_file() {
            continue;
        }
        if files.len() == MOST_FILES {
            return Err(format!("more than {} match", count(MOST_FILES as u64, "file")));
        }
        files.push(open(&path)?);
    }
    if files.is_empty() { Err(format!("no file matches; {}", what_is_in(work))) } else { Ok(files) }
}

/// The files in {work}, in words.
fn what_is_in(work: &Path) -> String {
    let mut found = Vec::new();
    // Entries that can't be read hide nothing that could be named.
    list(work, &mut found);
    found.sort();
    let shown = found.iter().take(MOST_SHOWN).filter_map(|path| path.strip_prefix(work).ok());
    let shown: Vec<_> = shown.map(|path| path.display().to_string()).collect();
    match found.len().saturating_sub(shown.len()) {
        0 if shown.is_empty() => "{work} is empty".to_owned(),
        0 => format!("{{work}} has {}", shown.join(", ")),
        _ => format!("{{work}} has {} and more", shown.join(", ")),
    }
}

fn list(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if found.len() > MOST_FILES {
            return;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

/// Files read one after the other, from the beginning.
struct Chain<'a> {
    files: std::slice::Iter<'a, File>,
    now: Option<&'a File>,
}

impl<'a> Chain<'a> {
    fn of(files: &'a [File]) -> io::Result<Self> {
        for mut file in files {
            file.rewind()?;
        }
        let mut files = files.iter();
        Ok(Self { now: files.next(), files })
    }
}

impl Read for Chain<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(mut file) = self.now {
            let length = file.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            self.now = self.files.next();
        }
        Ok(0)
    }
}
