//! The records of flow exports, a line each: CSV with a column for each element that occurs, or JSON.

use std::collections::HashMap;
use std::io::Write;

use serde_json::{Map, Number, Value as Json, json};

use super::TimeUnit;
use super::calendar::rfc3339;
use crate::capture::{Reader, TimeUnit as Unit};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::flow::{Element, Field, FlowRecord, Flows, Kind, Value, Within};
use crate::packet::layers::Layers;

/// What says which record it is, before its fields.
const COLUMNS: [&str; 6] = ["frame", "time", "exporter", "domain", "template", "kind"];
/// `paddingOctets`, which says nothing.
const PADDING: Element = Element::iana(210);

/// Writes every record as CSV. Its columns need a pass before, through `first`, which is the same capture.
///
/// # Errors
/// With what was written before, where the capture is damaged; and where it can't be written.
pub fn as_csv(first: &mut Reader, second: &mut Reader, out: &mut impl Write) -> Result<()> {
    let mut columns = Vec::new();
    let mut places: HashMap<Element, usize> = HashMap::new();
    let looked = each_record(first, |_, _, exported| {
        exported.record.each_field(|field| {
            if field.element != PADDING && !field.kind.is_list() {
                places.entry(field.element).or_insert_with(|| {
                    columns.push(field.element.to_string());
                    columns.len() - 1
                });
            }
        });
        Ok(())
    });
    let mut writer = csv::Writer::from_writer(out);
    writer
        .write_record(COLUMNS.into_iter().chain(columns.iter().map(String::as_str)))
        .map_err(|error| unwritten(&error))?;
    let mut cells = vec![String::new(); columns.len()];
    each_record(second, |frame, time, exported| {
        cells.iter_mut().for_each(String::clear);
        exported.record.each_field(|field| {
            let Some(cell) = places.get(&field.element).and_then(|place| cells.get_mut(*place)) else { return };
            // The record itself is surer than the packet that it quotes.
            if !cell.is_empty() {
                if field.within == Within::Section {
                    return;
                }
                cell.push(';');
            }
            cell.push_str(&field.value().to_string());
        });
        let head = head(frame, time, exported).map(|value| match value {
            Json::String(text) => text,
            Json::Null => String::new(),
            other => other.to_string(),
        });
        writer.write_record(head.iter().chain(&cells)).map_err(|error| unwritten(&error))
    })?;
    writer.flush().map_err(|error| unwritten(&error.into()))?;
    looked
}

/// Writes every record as a line of JSON. A field that a record has more than once is a list.
///
/// # Errors
/// As [`as_csv`].
pub fn as_json(reader: &mut Reader, out: &mut impl Write) -> Result<()> {
    each_record(reader, |frame, time, exported| {
        let mut fields = Map::new();
        exported.record.each_field(|field| {
            if field.element == PADDING || field.kind.is_list() {
                return;
            }
            let value = json_of(&field);
            match fields.get_mut(&field.element.to_string()) {
                None => drop(fields.insert(field.element.to_string(), value)),
                Some(_) if field.within == Within::Section => {}
                Some(Json::Array(values)) => values.push(value),
                Some(other) => *other = json!([other.take(), value]),
            }
        });
        let mut line: Map<String, Json> =
            COLUMNS.iter().map(|name| (*name).to_owned()).zip(head(frame, time, exported)).collect();
        line.insert("fields".to_owned(), Json::Object(fields));
        writeln!(out, "{}", Json::Object(line)).map_err(|error| unwritten(&error.into()))
    })
}

/// Goes through the records with the number of their frame and its time.
fn each_record(reader: &mut Reader, mut each: impl FnMut(u64, &str, &FlowRecord<'_>) -> Result<()>) -> Result<()> {
    let mut flows = Flows::default();
    let mut done = Ok(());
    loop {
        let unit = if reader.time_unit() > Unit::Microsecond { TimeUnit::Nanosecond } else { TimeUnit::Microsecond };
        let Some(frame) = reader.next_frame()? else { return done };
        let time = rfc3339(frame.time_ns, unit);
        let layers = Layers::find(frame.link, frame.bytes);
        flows.add(frame.number, &layers, frame.bytes, |exported| {
            if done.is_ok() {
                done = each(frame.number, &time, exported);
            }
        });
        std::mem::replace(&mut done, Ok(()))?;
    }
}

/// The values of [`COLUMNS`].
fn head(frame: u64, time: &str, exported: &FlowRecord<'_>) -> [Json; COLUMNS.len()] {
    let session = exported.session;
    let kind = match exported.record.kind() {
        Kind::Flow => "flow",
        Kind::Options => "options",
        Kind::Counters => "counters",
    };
    let exporter = session.agent.unwrap_or(session.exporter).to_string();
    let template = exported.record.template().map(|template| template.id).filter(|id| *id > 0);
    [json!(frame), json!(time), json!(exporter), json!(session.domain), json!(template), json!(kind)]
}

fn json_of(field: &Field<'_>) -> Json {
    match field.value() {
        Value::Unsigned(number) => json!(number),
        Value::Signed(number) => json!(number),
        Value::Float(number) => Number::from_f64(number).map_or(Json::Null, Json::Number),
        Value::Boolean(value) => json!(value),
        other => json!(other.to_string()),
    }
}

fn unwritten(error: &csv::Error) -> Failure {
    Failure::error(Diagnostic::error("the records can't be written").why(error.to_string()))
}
