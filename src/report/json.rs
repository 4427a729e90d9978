//! The report for programs: `run --report-json`.
//!
//! It is the serde form of [`Report`].

use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::outcome::Report;

/// The report as JSON, indented, with a line end after it.
///
/// # Errors
/// [`crate::diagnostic::Kind::Error`] where a path in it is not UTF-8.
pub fn text(report: &Report) -> Result<String> {
    let text = serde_json::to_string_pretty(report)
        .map_err(|error| Failure::error(Diagnostic::error("can't make the JSON report").why(error.to_string())))?;
    Ok(text + "\n")
}
