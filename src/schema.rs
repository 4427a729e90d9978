//! The JSON schemas of what people and programs exchange with restage. Start at [`all`].
//!
//! `restage schema` prints them; the copies in `schemas/` are kept equal by a test.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::{api, inspect, outcome, report, scenario};

/// Every schema with the name of its file in `schemas/`, without `.schema.json`.
pub fn all() -> Vec<(&'static str, Value)> {
    // A report shows what is written (every key), and is read by programs: the newest draft.
    let written = || SchemaSettings::draft2020_12().for_serialize().into_generator();
    vec![
        ("scenario", scenario::schema()),
        ("report", written().into_root_schema_for::<outcome::Report>().to_value()),
        ("list", written().into_root_schema_for::<report::list::List>().to_value()),
        ("event", written().into_root_schema_for::<outcome::Message<'static>>().to_value()),
        ("plan", written().into_root_schema_for::<api::Plan>().to_value()),
        ("rewrite", written().into_root_schema_for::<api::RewriteSummary>().to_value()),
        ("inspect", written().into_root_schema_for::<inspect::Inspection>().to_value()),
    ]
}

#[cfg(test)]
#[path = "../tests/unit/schemas.rs"]
mod tests;
