//! The JSON schemas of what people and programs exchange with restage. Start at [`ALL`].
//!
//! `restage schema` prints them; the copies in `schemas/` are kept equal by a test.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::{api, inspect, outcome, report, scenario};

/// The name of its file in `schemas/`, without `.schema.json`, and what makes it, which takes a millisecond.
type Schema = (&'static str, fn() -> Value);

/// Every schema.
pub const ALL: [Schema; 7] = [
    ("scenario", scenario::schema),
    ("report", written::<outcome::Report>),
    ("list", written::<report::list::List>),
    ("event", written::<outcome::Message<'static>>),
    ("plan", written::<api::Plan>),
    ("rewrite", written::<api::RewriteSummary>),
    ("inspect", written::<inspect::Inspection>),
];

/// A report shows what is written (every key), and is read by programs: the newest draft.
fn written<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>().to_value()
}

#[cfg(test)]
#[path = "../tests/unit/schemas.rs"]
mod tests;
