//! Records of flows as collectors store them, read into one form: a file for each collector. Start at [`read`].

mod goflow2;
mod logstash;
mod nfdump;
mod plain;
mod pmacct;
mod rubydebug;
mod telegraf;

use std::io::{self, Read};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::examine::line_ends;
use crate::evidence::{Cell, StoredRow, StoredRows};
use crate::figures::size;
use crate::scenario::expect::{Column, StoredFlows, StoredFormat};

/// The longest text that is read.
const MOST_BYTES: u64 = 512 << 20;

/// How a collector writes records.
struct Form {
    shape: Shape,
    /// The columns with their names; a name with points is that of a key in an object of an object. Of several, the first that is there counts.
    names: &'static [(Column, &'static [&'static str])],
}

enum Shape {
    /// JSON objects, in an array or one after the other.
    Json,
    /// CSV; its head where it may be left out.
    Csv { head: Option<&'static str> },
    /// What the Ruby gem awesome_print makes of objects.
    Rubydebug,
}

fn form(format: StoredFormat) -> &'static Form {
    match format {
        StoredFormat::NfdumpJson => &nfdump::JSON,
        StoredFormat::NfdumpCsv => &nfdump::CSV,
        StoredFormat::PmacctJson => &pmacct::JSON,
        StoredFormat::PmacctCsv => &pmacct::CSV,
        StoredFormat::Goflow2Json => &goflow2::JSON,
        StoredFormat::LogstashJson => &logstash::JSON,
        StoredFormat::LogstashRubydebug => &logstash::RUBYDEBUG,
        StoredFormat::TelegrafJson => &telegraf::JSON,
        StoredFormat::Json => &plain::JSON,
        StoredFormat::Csv => &plain::CSV,
    }
}

/// The records of a text; or why they can't be read.
///
/// # Errors
/// When the text can't be read.
pub(super) fn read(rule: &StoredFlows, text: impl Read) -> io::Result<Result<StoredRows, String>> {
    let mut bytes = Vec::new();
    text.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Ok(Err(format!("a text of more than {} is not read", size(MOST_BYTES))));
    }
    let form = form(rule.format.value);
    let names: Vec<(Column, Vec<&str>)> = Column::ALL
        .into_iter()
        .filter_map(|column| {
            let own: Vec<&str> =
                rule.columns.iter().filter(|(own, _)| *own == column).map(|(_, name)| name.as_str()).collect();
            let known = form.names.iter().find(|(known, _)| *known == column).map(|(_, names)| names.to_vec());
            let names = if own.is_empty() { known? } else { own };
            Some((column, names))
        })
        .collect();
    let mut rows = Rows { names, rows: Vec::new() };
    let read = match form.shape {
        Shape::Json => json(&bytes, &mut rows),
        Shape::Csv { head } => csv(&bytes, head, &mut rows),
        Shape::Rubydebug => rubydebug::objects(&String::from_utf8_lossy(&bytes), &mut |value| rows.add_json(&value)),
    };
    Ok(read.map(|()| StoredRows { rows: rows.rows }))
}

/// The records up to now.
struct Rows<'a> {
    names: Vec<(Column, Vec<&'a str>)>,
    rows: Vec<StoredRow>,
}

impl Rows<'_> {
    /// Adds a row; one without any of the columns is none.
    fn add(&mut self, find: impl Fn(&str) -> Option<String>) -> Result<(), String> {
        let mut row = StoredRow::default();
        for (column, names) in &self.names {
            let text = names.iter().find_map(|name| find(name));
            if let (Some(text), Some(place)) = (text, row.get_mut(*column as usize)) {
                *place = Some(cell(*column, text.trim()));
            }
        }
        if row.iter().all(Option::is_none) {
            return Ok(());
        }
        if self.rows.len() >= StoredRows::MOST {
            return Err(StoredRows::too_many());
        }
        self.rows.push(row);
        Ok(())
    }

    fn add_json(&mut self, value: &Value) -> Result<(), String> {
        // Telegraf writes several at once so.
        if let Some(Value::Array(several)) = value.get("metrics") {
            return several.iter().try_for_each(|value| self.add_json(value));
        }
        self.add(|name| {
            let mut found = value.get(name);
            if found.is_none() {
                found = name.split('.').try_fold(value, |value, key| value.get(key));
            }
            match found? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            }
        })
    }
}

/// The objects of a text: in an array, one in each line, or, as nfdump writes them with `-q`, separated by commas alone.
fn json(bytes: &[u8], rows: &mut Rows<'_>) -> Result<(), String> {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..) {
        let between = rest.iter().take_while(|byte| byte.is_ascii_whitespace() || matches!(byte, b',' | b'[' | b']'));
        at += between.count();
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        // What nfdump writes where there is none.
        if let Some(rest) = rest.strip_prefix(b"No matching flows") {
            at = bytes.len() - rest.len();
            continue;
        }
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => rows.add_json(&value)?,
            Some(Err(error)) => {
                let line = line_ends(bytes.get(..at).unwrap_or_default()) + error.line() as u64;
                // Its own place counts from where this value begins.
                let place = format!(" at line {} column {}", error.line(), error.column());
                return Err(format!("line {line} is no JSON: {}", error.to_string().trim_end_matches(&place)));
            }
            None => break,
        }
        at += values.byte_offset();
    }
    Ok(())
}

/// The rows behind a head; `known` is the head of a text that has none.
fn csv(bytes: &[u8], known: Option<&str>, rows: &mut Rows<'_>) -> Result<(), String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut head: Option<Vec<String>> = None;
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let cells: Vec<&str> = record.iter().map(str::trim).collect();
        let is_name = |cell: &str| rows.names.iter().any(|(_, names)| names.contains(&cell));
        let is_head = cells.iter().filter(|cell| is_name(cell)).count() > usize::from(rows.names.len() > 1);
        // A file that is continued may have its head again.
        if is_head {
            head = Some(cells.iter().map(|cell| (*cell).to_owned()).collect());
            continue;
        }
        // What nfdump writes behind the records.
        if cells == ["Summary"] {
            break;
        }
        if head.is_none() {
            let Some(known) = known else {
                let names: Vec<&str> = rows.names.iter().filter_map(|(_, names)| names.first().copied()).collect();
                let several = if names.len() > 1 { "at least two of " } else { "" };
                return Err(format!("its first line is no head with {several}{}", names.join(", ")));
            };
            head = Some(known.split(',').map(str::to_owned).collect());
        }
        let find = |name: &str| {
            let place = head.as_ref()?.iter().position(|cell| cell == name)?;
            cells.get(place).filter(|cell| !cell.is_empty()).map(|cell| (*cell).to_owned())
        };
        rows.add(find)?;
    }
    Ok(())
}

/// What a text says in a column.
fn cell(column: Column, text: &str) -> Cell {
    match column {
        Column::Source | Column::Destination | Column::NextHop | Column::Exporter => {
            text.parse().map_or_else(|_| Cell::Text(text.to_owned()), Cell::Address)
        }
        Column::Protocol => protocol(text),
        Column::Start | Column::End => time(text).map_or_else(|| Cell::Text(text.to_owned()), Cell::Number),
        _ => number(text),
    }
}

/// Seconds since 1970: of RFC 3339, of a date and time of day without a zone, which is taken as UTC, or of a number, whose unit its size shows.
fn time(text: &str) -> Option<u64> {
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    if let Ok(number) = whole.parse::<u64>() {
        // The first 3,000 years in seconds, then milliseconds, microseconds and nanoseconds from 1973 on.
        let per_second = match number {
            0..100_000_000_000 => 1,
            100_000_000_000..100_000_000_000_000 => 1_000,
            100_000_000_000_000..100_000_000_000_000_000 => 1_000_000,
            _ => 1_000_000_000,
        };
        return Some(number / per_second);
    }
    let time = text.parse::<Timestamp>().ok().or_else(|| {
        let of_day: DateTime = text.parse().ok()?;
        TimeZone::UTC.to_timestamp(of_day).ok()
    })?;
    u64::try_from(time.as_second()).ok()
}

fn number(text: &str) -> Cell {
    let whole = text.strip_suffix(".0").unwrap_or(text);
    whole.parse().map_or_else(|_| Cell::Text(text.to_owned()), Cell::Number)
}

/// A protocol by its number, or by its name in the registry of IANA and in /etc/protocols.
fn protocol(text: &str) -> Cell {
    const NAMES: [(&str, u64); 20] = [
        ("icmp", 1),
        ("igmp", 2),
        ("ipip", 4),
        ("ipencap", 4),
        ("tcp", 6),
        ("egp", 8),
        ("udp", 17),
        ("dccp", 33),
        ("ipv6", 41),
        ("gre", 47),
        ("esp", 50),
        ("ah", 51),
        ("ipv6-icmp", 58),
        ("icmp6", 58),
        ("icmpv6", 58),
        ("ospf", 89),
        ("pim", 103),
        ("vrrp", 112),
        ("sctp", 132),
        ("udplite", 136),
    ];
    let lower = text.to_ascii_lowercase();
    let named = NAMES.iter().find(|(name, _)| *name == lower).map(|(_, number)| Cell::Number(*number));
    named.unwrap_or_else(|| number(text))
}

#[cfg(test)]
mod tests;
