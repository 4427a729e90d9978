//! The report for programs: `run --report-json`.
//!
//! It is the serde form of [`Report`]; [`read`] reads it back, for `merge`.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::diagnostic::{Diagnostic, Failure, Result, Source};
use crate::file::{read_long, source_of};
use crate::outcome::Report;

/// A line that is longer is not shown: a report without line ends is one line.
const LONGEST_LINE: usize = 300;

/// The report as JSON, indented, with a line end after it.
///
/// # Errors
/// [`crate::diagnostic::Kind::Error`] where a path in it is not UTF-8.
pub fn text(report: &Report) -> Result<String> {
    let text = serde_json::to_string_pretty(report)
        .map_err(|error| Failure::error(Diagnostic::error("can't make the JSON report").why(error.to_string())))?;
    Ok(text + "\n")
}

/// What a report of every version has.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// Reads a report.
///
/// # Errors
/// [`crate::diagnostic::Kind::Invalid`] with the place, where it can't be read, or is no report, or one of another format.
pub fn read(path: &Path) -> Result<Report> {
    let source = source_of(path, read_long(path)?)?;
    let Head { format } = parse(&source)?;
    if format != 1 {
        let problem = Diagnostic::error(format!("`{}` is a report of format {format}", path.display()));
        return Err(Failure::invalid(
            problem.why("this version of restage reads format 1").fix("read it with the version that wrote it"),
        ));
    }
    parse(&source)
}

fn parse<T: DeserializeOwned>(source: &Arc<Source>) -> Result<T> {
    serde_json::from_str(&source.text).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Eof => "ends too early: it is not complete",
            serde_json::error::Category::Data => "is not a report of restage",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "is not JSON",
        };
        let problem = Diagnostic::error(format!("`{}` {what}", source.path.display()))
            .fix("name a file that `restage run --report-json FILE` wrote");
        let message = error.to_string();
        let at = format!(" at line {} column {}", error.line(), error.column());
        let why = message.strip_suffix(&at).unwrap_or(&message);
        Failure::invalid(match place(source, error.line(), error.column()) {
            Some(place) => problem.why(why).at(source, Some(place..place)),
            None => problem.why(format!("{why}, at line {}, byte {}", error.line(), error.column())),
        })
    })
}

/// The byte at this byte of this line; `None` where the line is too long to be shown.
fn place(source: &Source, line: usize, column: usize) -> Option<usize> {
    let line = source.text.split('\n').nth(line.checked_sub(1)?)?;
    let start = line.as_ptr().addr() - source.text.as_ptr().addr();
    (line.len() <= LONGEST_LINE).then_some(start + column.saturating_sub(1).min(line.len()))
}
