//! The report for programs: `run --report-json`.
//!
//! It is the serde form of [`Report`], but where a problem points into a file it names file, line and column instead of
//! carrying the file's whole text, as it does between the worker and `run`.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::diagnostic::{Diagnostic, Failure, Place, Result};
use crate::outcome::Report;

/// The report as JSON, indented, with a line end after it.
///
/// # Errors
/// [`crate::diagnostic::Kind::Error`] where a path in it is not UTF-8.
pub fn text(report: &Report) -> Result<String> {
    let mut report = serde_json::to_value(report)
        .map_err(|error| Failure::error(Diagnostic::error("can't make the JSON report").why(error.to_string())))?;
    shorten_places(&mut report);
    Ok(format!("{report:#}\n"))
}

/// Replaces the `place` of every problem by where it is.
fn shorten_places(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(shorten_places),
        Value::Object(entries) => {
            for (key, value) in entries {
                if key == "place"
                    && let Ok(place) = Place::deserialize(&*value)
                {
                    *value = where_it_is(&place);
                } else {
                    shorten_places(value);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// File, line and column, both counted from 1; columns are characters.
fn where_it_is(place: &Place) -> Value {
    let before = place.source.text.get(..place.span.start).unwrap_or_default();
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    json!({ "file": place.source.path, "line": place.line(), "column": column })
}
