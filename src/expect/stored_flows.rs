//! Records that a collector stored, compared with those that it was given: which are missing, altered, doubled, or were never sent.
//!
//! Records are found by their key, and must be equal in what is compared. A collector may store equal keys as one record with the sums. Start at
//! [`compare`].

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use jiff::Timestamp;

use super::flows::Given;
use crate::evidence::{Cell, StoredRow, StoredRows};
use crate::figures::thousands;
use crate::flow::{Field, FlowRecord, Value, Within};
use crate::scenario::expect::{Column, StoredFlows};

/// So many of each kind are shown.
const MOST_SHOWN: usize = 4;
/// Protocols that have ports: TCP, UDP, DCCP, SCTP and UDP-Lite. What collectors store as the ports of others differs.
const WITH_PORTS: [u64; 5] = [6, 17, 33, 132, 136];

/// `octetDeltaCount` and `packetDeltaCount`.
const DELTAS: [u16; 2] = [1, 2];

/// The records that were given to the collector.
#[derive(Debug, Default)]
pub(super) struct Records {
    records: Vec<(u64, StoredRow)>,
    too_many: bool,
}

impl Records {
    /// Adds a record in this frame.
    pub(super) fn add(&mut self, frame: u64, record: &FlowRecord<'_>) {
        if self.records.len() >= StoredRows::MOST {
            self.too_many = true;
            return;
        }
        let mut row = StoredRow::default();
        let is_sample = record.record.template().is_none();
        record.record.each_field(|field| {
            if field.within == Within::List {
                return;
            }
            if let Some((column, seconds)) = time(&field, record)
                && let Some(place @ None) = row.get_mut(column as usize)
            {
                *place = Some(Cell::Number(seconds));
            }
            let Some(column) = column(field.element.enterprise, field.element.id) else { return };
            // How collectors count a sampled packet differs.
            if is_sample && Column::COMPARED.contains(&column) {
                return;
            }
            let cell = match field.value() {
                Value::Unsigned(number) => Cell::Number(number),
                Value::Ip(address) => Cell::Address(address),
                _ => return,
            };
            let Some(place) = row.get_mut(column as usize) else { return };
            // Templates with fields for both families have zeros in one of them. Where a record has totals too, collectors store what is new.
            if place.as_ref().is_none_or(is_unspecified) || DELTAS.contains(&field.element.id) {
                *place = Some(cell);
            }
        });
        let session = record.session;
        if let Some(place) = row.get_mut(Column::Exporter as usize) {
            *place = Some(Cell::Address(session.agent.unwrap_or(session.exporter)));
        }
        self.records.push((frame, row));
    }
}

fn is_unspecified(cell: &Cell) -> bool {
    matches!(cell, Cell::Address(address) if address.is_unspecified())
}

/// The column of an element of IANA's registry.
fn column(enterprise: u32, id: u16) -> Option<Column> {
    if enterprise != 0 {
        return None;
    }
    Some(match id {
        8 | 27 => Column::Source,
        12 | 28 => Column::Destination,
        7 | 180 | 182 => Column::SourcePort,
        11 | 181 | 183 => Column::DestinationPort,
        4 => Column::Protocol,
        // Delta, total, of the initiator.
        2 | 86 | 298 => Column::Packets,
        1 | 85 | 231 => Column::Bytes,
        5 => Column::Tos,
        10 => Column::Input,
        14 => Column::Output,
        16 => Column::SourceAs,
        17 => Column::DestinationAs,
        15 | 62 => Column::NextHop,
        _ => return None,
    })
}

/// When a flow began or ended, in seconds since 1970: of an element of IANA's registry that says one of these.
fn time(field: &Field<'_>, record: &FlowRecord<'_>) -> Option<(Column, u64)> {
    if field.element.enterprise != 0 {
        return None;
    }
    let column = match field.element.id {
        22 | 150 | 152 | 154 | 156 | 158 => Column::Start,
        21 | 151 | 153 | 155 | 157 | 159 => Column::End,
        _ => return None,
    };
    let seconds = match (field.element.id, field.value()) {
        // By the exporter's clock, which said at the time of the export that it runs for so long.
        (21 | 22, Value::Unsigned(uptime_ms)) => {
            let (seconds, nanoseconds) = record.exported?;
            let exported_ms = i64::from(seconds) * 1_000 + i64::from(nanoseconds / 1_000_000);
            let before_ms = record.uptime_ms?.wrapping_sub(u32::try_from(uptime_ms).ok()?).cast_signed();
            (exported_ms - i64::from(before_ms)).div_euclid(1_000)
        }
        // Microseconds before the export.
        (158 | 159, Value::Unsigned(before_us)) => {
            let exported_us = i64::from(record.exported?.0) * 1_000_000;
            (exported_us - i64::try_from(before_us).ok()?).div_euclid(1_000_000)
        }
        (_, Value::Time(time)) => time.as_second(),
        _ => return None,
    };
    Some((column, u64::try_from(seconds).ok()?))
}

/// What the comparison found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// Records that were given.
    pub given: u64,
    /// Records that are stored.
    pub stored: u64,
    /// Given, and not stored.
    pub missing: u64,
    /// Stored with other values.
    pub altered: u64,
    /// Stored once more.
    pub doubled: u64,
    /// Stored, and never given.
    pub unknown: u64,
    /// What these are, a line each.
    pub shown: Vec<String>,
    /// Columns that the rule names and nothing stored has.
    pub absent: Vec<Column>,
    /// What the records were found by, and what was compared.
    pub columns: String,
}

impl Compared {
    pub(super) fn is_equal(&self) -> bool {
        self.missing + self.altered + self.doubled + self.unknown == 0 && self.absent.is_empty()
    }
}

/// What a record has in the columns that are compared.
type Values = Vec<Option<u64>>;

/// The records with one key.
#[derive(Default)]
struct Group {
    given: Vec<(Values, u64)>,
    stored: Vec<Values>,
}

impl Group {
    /// What of the columns is compared: what a record that was given lacks, collectors make up.
    fn compared(&mut self, columns: &[Column]) -> Vec<Column> {
        let given = &self.given;
        let is_there: Vec<bool> = (0..columns.len())
            .map(|at| given.iter().all(|(values, _)| values.get(at).is_some_and(Option::is_some)))
            .collect();
        let keep = |values: &mut Values| {
            let mut is_there = is_there.iter();
            values.retain(|_| is_there.next().copied().unwrap_or(false));
        };
        self.given.iter_mut().for_each(|(values, _)| keep(values));
        self.stored.iter_mut().for_each(keep);
        columns.iter().zip(&is_there).filter(|(_, there)| **there).map(|(column, _)| *column).collect()
    }
}

/// Compares what was stored with what was given; or says why that is not possible.
pub(super) fn compare(rule: &StoredFlows, given: &Given, stored: &StoredRows) -> Result<Compared, String> {
    compare_records(rule, &given.records, stored)
}

fn compare_records(rule: &StoredFlows, records: &Records, stored: &StoredRows) -> Result<Compared, String> {
    if records.too_many {
        return Err(StoredRows::too_many());
    }
    let is_stored =
        |column: &Column| stored.rows.iter().any(|row| row.get(*column as usize).is_some_and(Option::is_some));
    let is_given =
        |column: &Column| records.records.iter().any(|(_, row)| row.get(*column as usize).is_some_and(Option::is_some));
    let named: Vec<Column> = rule.key.iter().chain(rule.compare.iter().flatten()).map(|column| column.value).collect();
    let absent = if stored.rows.is_empty() {
        Vec::new()
    } else {
        named.into_iter().filter(|column| !is_stored(column)).collect()
    };
    let key: Vec<Column> = if rule.key.is_empty() {
        Column::KEY.into_iter().filter(|column| stored.rows.is_empty() || is_stored(column)).collect()
    } else {
        rule.key.iter().map(|column| column.value).collect()
    };
    let compared: Vec<Column> = match &rule.compare {
        Some(columns) => columns.iter().map(|column| column.value).collect(),
        None => Column::COMPARED.into_iter().filter(|column| is_stored(column) && is_given(column)).collect(),
    };
    let mut groups: HashMap<Vec<Option<Cell>>, Group> = HashMap::new();
    for (frame, row) in &records.records {
        groups.entry(key_of(&key, row)).or_default().given.push((numbers(&compared, row), *frame));
    }
    for row in &stored.rows {
        groups.entry(key_of(&key, row)).or_default().stored.push(numbers(&compared, row));
    }
    let names = |columns: &[Column]| columns.iter().map(|column| column.name()).collect::<Vec<_>>().join(", ");
    let columns = match compared.as_slice() {
        [] => format!("found by {}", names(&key)),
        compared => format!("found by {}, compared by {}", names(&key), names(compared)),
    };
    let mut found = Compared {
        given: records.records.len() as u64,
        stored: stored.rows.len() as u64,
        absent,
        columns,
        ..Compared::default()
    };
    let mut differing: Vec<(u64, String)> = Vec::new();
    let sums = rule.format.value.has_sums();
    for (key_values, mut group) in groups {
        let name = named_key(&key, &key_values);
        let compared = group.compared(&compared);
        found.add(group, &compared, sums, &name, &mut differing);
    }
    differing.sort();
    found.shown = differing.into_iter().take(MOST_SHOWN).map(|(_, line)| line).collect();
    Ok(found)
}

impl Compared {
    /// Adds the records of one key. What is equal is taken out first; then what has the same sums; the rest differs.
    /// `sums`: whether the collector stores equal keys as one record.
    fn add(
        &mut self,
        mut group: Group,
        compared: &[Column],
        sums: bool,
        name: &str,
        differing: &mut Vec<(u64, String)>,
    ) {
        let was_given = !group.given.is_empty();
        if sums && compared.is_empty() && was_given && !group.stored.is_empty() {
            return;
        }
        let mut equal: HashMap<Values, u64> = HashMap::new();
        // In the order of their values, so that the same is found each time.
        let mut left: BTreeMap<Values, usize> = BTreeMap::new();
        for row in &group.stored {
            *left.entry(row.clone()).or_default() += 1;
        }
        group.given.retain(|(values, frame)| match left.get_mut(values) {
            Some(times) if *times > 0 => {
                *times -= 1;
                equal.entry(values.clone()).or_insert(*frame);
                false
            }
            _ => true,
        });
        let mut stored: Vec<Values> =
            left.into_iter().flat_map(|(values, times)| std::iter::repeat_n(values, times)).collect();
        take_out_sums(&mut group.given, &mut stored, compared);
        // What is there once more is no other record that was altered.
        let (again, stored): (Vec<_>, Vec<_>) = stored.into_iter().partition(|values| equal.contains_key(values));
        for (values, frame) in again.iter().filter_map(|values| Some((values, equal.get(values)?))) {
            self.doubled += 1;
            let line = format!("stored once more: frame {}: {name}{}", thousands(*frame), with(compared, values));
            differing.push((*frame, line));
        }
        let pairs = group.given.len().min(stored.len());
        for (at, (values, frame)) in group.given.iter().enumerate() {
            let (what, other) = match stored.get(at) {
                Some(other) => {
                    self.altered += 1;
                    ("altered", format!(", stored with {}", shown(compared, other)))
                }
                None => {
                    self.missing += 1;
                    ("missing", String::new())
                }
            };
            let line = format!("{what}: frame {}: {name}{}{other}", thousands(*frame), with(compared, values));
            differing.push((*frame, line));
        }
        for values in stored.get(pairs..).unwrap_or_default() {
            self.unknown += 1;
            differing.push((u64::MAX, format!("stored, and not sent: {name}{}", with(compared, values))));
        }
    }
}

/// Takes out records that are stored together, or in parts: another number of records has the same sums of packets and bytes, and is the same in
/// all other columns.
fn take_out_sums(given: &mut Vec<(Values, u64)>, stored: &mut Vec<Values>, compared: &[Column]) {
    if !compared.iter().any(|column| Column::COMPARED.contains(column)) {
        return;
    }
    let of = |values: &Values, are_summed: bool| -> Values {
        let columns = compared.iter().zip(values);
        columns.filter(|(column, _)| Column::COMPARED.contains(column) == are_summed).map(|(_, value)| *value).collect()
    };
    let sums = |rows: &mut dyn Iterator<Item = &Values>| -> HashMap<Values, (usize, [u128; 2])> {
        let mut sums: HashMap<Values, (usize, [u128; 2])> = HashMap::new();
        for row in rows {
            let (rows, sums) = sums.entry(of(row, false)).or_default();
            *rows += 1;
            for (sum, value) in sums.iter_mut().zip(of(row, true)) {
                *sum += u128::from(value.unwrap_or(0));
            }
        }
        sums
    };
    let (of_given, of_stored) = (sums(&mut given.iter().map(|(values, _)| values)), sums(&mut stored.iter()));
    let differs = |values: &Values| {
        let same = of(values, false);
        match (of_given.get(&same), of_stored.get(&same)) {
            (Some((given, sums)), Some((stored, others))) => given == stored || sums != others,
            _ => true,
        }
    };
    given.retain(|(values, _)| differs(values));
    stored.retain(differs);
}

fn key_of(key: &[Column], row: &StoredRow) -> Vec<Option<Cell>> {
    let of = |column: Column| row.get(column as usize).cloned().flatten();
    let has_ports = match of(Column::Protocol) {
        Some(Cell::Number(number)) => WITH_PORTS.contains(&number),
        _ => true,
    };
    let is_port = |column| matches!(column, Column::SourcePort | Column::DestinationPort);
    key.iter().map(|column| of(*column).filter(|_| has_ports || !is_port(*column))).collect()
}

fn numbers(compared: &[Column], row: &StoredRow) -> Values {
    let number = |column: &Column| match row.get(*column as usize)?.as_ref()? {
        Cell::Number(number) => Some(*number),
        Cell::Address(IpAddr::V4(address)) => Some(u64::from(u32::from(*address))),
        // Such columns are no numbers: equal ones have the same digest.
        other => Some(twox_hash::XxHash64::oneshot(0, other.to_string().as_bytes())),
    };
    compared.iter().map(number).collect()
}

/// `192.0.2.1:53 > 192.0.2.2:1024 udp`, or what the key has.
fn named_key(key: &[Column], values: &[Option<Cell>]) -> String {
    let parts = key.iter().zip(values).filter_map(|(column, value)| Some(format!("{column} {}", value.as_ref()?)));
    parts.collect::<Vec<_>>().join(", ")
}

fn with(compared: &[Column], values: &[Option<u64>]) -> String {
    if compared.is_empty() { String::new() } else { format!(", {}", shown(compared, values)) }
}

fn shown(compared: &[Column], values: &[Option<u64>]) -> String {
    let parts = compared.iter().zip(values).map(|(column, value)| match (column, value) {
        (_, None) => format!("no {column}"),
        (Column::Start | Column::End, Some(seconds)) => {
            let time = i64::try_from(*seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
            time.map_or_else(|| format!("{column} {seconds}"), |time| format!("{column} {time}"))
        }
        (_, Some(value)) => format!("{column} {}", thousands(*value)),
    });
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "../../tests/unit/stored_flows.rs"]
mod tests;
