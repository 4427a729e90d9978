//! Records compared with those that were given: what is missing, altered, doubled, unknown, and what is the same in another form.

use super::*;
use crate::diagnostic::At;
use crate::evidence::StoredRow as Row;
use crate::scenario::expect::StoredFormat;

/// A record: source, port, protocol, packets and bytes; a negative number is absent.
fn row(source: u8, port: i64, protocol: u64, packets: i64, bytes: i64) -> Row {
    let mut row = Row::default();
    let mut set = |column: Column, cell: Option<Cell>| row[column as usize] = cell;
    let number = |number: i64| u64::try_from(number).ok().map(Cell::Number);
    set(Column::Source, Some(Cell::Address([192, 0, 2, source].into())));
    set(Column::Destination, Some(Cell::Address([192, 0, 2, 200].into())));
    set(Column::SourcePort, number(port));
    set(Column::DestinationPort, number(53));
    set(Column::Protocol, Some(Cell::Number(protocol)));
    set(Column::Packets, number(packets));
    set(Column::Bytes, number(bytes));
    row
}

fn compared(format: StoredFormat, key: &[Column], given: &[Row], stored: &[Row]) -> String {
    compared_by(format, key, None, given, stored)
}

fn compared_by(
    format: StoredFormat,
    key: &[Column],
    compare: Option<&[Column]>,
    given: &[Row],
    stored: &[Row],
) -> String {
    let key = key.iter().map(|column| At::default_value(*column)).collect();
    let compare = compare.map(|columns| columns.iter().map(|column| At::default_value(*column)).collect());
    let rule = StoredFlows { format: At::default_value(format), key, compare, columns: Vec::new() };
    let records = (1..).zip(given.iter().cloned()).collect();
    let records = Records { records, too_many: false };
    let rows = StoredRows { rows: stored.to_vec() };
    let found = compare_records(&rule, &records, &rows).expect("they can be compared");
    let Compared { missing, altered, doubled, unknown, absent, columns, shown, .. } = &found;
    assert_eq!(found.is_equal(), missing + altered + doubled + unknown == 0 && absent.is_empty());
    let absent: Vec<&str> = absent.iter().map(|column| column.name()).collect();
    let absent = if absent.is_empty() { String::new() } else { format!("; no {}", absent.join(", ")) };
    let numbers = format!("missing {missing}, altered {altered}, doubled {doubled}, unknown {unknown}{absent}");
    [vec![numbers, columns.clone()], shown.clone()].concat().join("\n")
}

#[test]
fn each_difference_is_named_with_its_frame() {
    let given = [row(1, 1024, 17, 3, 200), row(1, 1024, 17, 4, 300), row(2, 1025, 6, 5, 400), row(3, 0, 1, 1, 64)];
    let [first, second, third, icmp] = given.clone();
    let altered = row(2, 1025, 6, 5, 401);
    // What collectors store as the ports of ICMP differs.
    let other_icmp = row(3, 2048, 1, 1, 64);
    let summed = row(1, 1024, 17, 7, 500);
    let parts = [row(2, 1025, 6, 2, 100), row(2, 1025, 6, 3, 300)];
    let unknown = row(9, 1, 6, 1, 1);
    let [part, rest] = parts;
    let cases = [
        ("all", vec![first.clone(), second.clone(), third.clone(), icmp.clone()]),
        ("in another order, with other ports of ICMP", vec![other_icmp, third.clone(), second.clone(), first.clone()]),
        ("two with one key as their sum", vec![summed, third.clone(), icmp.clone()]),
        ("one in two parts", vec![first.clone(), second.clone(), part, rest, icmp.clone()]),
        ("one is missing", vec![first.clone(), third.clone(), icmp.clone()]),
        ("one is altered", vec![first.clone(), second.clone(), altered, icmp.clone()]),
        ("one is there twice", vec![first.clone(), first.clone(), second.clone(), third.clone(), icmp.clone()]),
        ("one was never given", vec![first, second, third, icmp, unknown]),
        ("nothing is stored", Vec::new()),
    ];
    let shown =
        cases.map(|(name, stored)| format!("{name}\n{}\n", compared(StoredFormat::NfdumpJson, &[], &given, &stored)));
    insta::assert_snapshot!(shown.join("\n"));
}

/// The first line: how many are missing and so on.
fn numbers_of(compared: &str) -> &str {
    compared.lines().next().expect("a first line")
}

#[test]
fn equal_sums_of_as_many_records_are_altered_records() {
    let given = [row(1, 1024, 17, 1, 100), row(1, 1024, 17, 2, 50)];
    let swapped = [row(1, 1024, 17, 1, 50), row(1, 1024, 17, 2, 100)];
    let found = compared(StoredFormat::NfdumpJson, &[], &given, &swapped);
    assert_eq!(numbers_of(&found), "missing 0, altered 2, doubled 0, unknown 0");
}

#[test]
fn only_packets_and_bytes_have_sums() {
    let at = |seconds: u64, packets, bytes| {
        let mut row = row(1, 1024, 17, packets, bytes);
        row[Column::Start as usize] = Some(Cell::Number(seconds));
        row
    };
    let by = |given: &[Row], stored: &[Row]| {
        let compare = [Column::Packets, Column::Bytes, Column::Start];
        compared_by(StoredFormat::NfdumpJson, &[], Some(&compare), given, stored)
    };
    // Two that began in the same second are stored as one, and another one is stored in two parts.
    let found = by(&[at(9, 1, 10), at(9, 2, 20), at(7, 5, 50)], &[at(9, 3, 30), at(7, 4, 40), at(7, 1, 10)]);
    assert_eq!(numbers_of(&found), "missing 0, altered 0, doubled 0, unknown 0");
    // One is 5 s too late, the other one 5 s too early.
    let found = by(&[at(10, 1, 10), at(20, 1, 10)], &[at(15, 1, 10), at(15, 1, 10)]);
    assert_eq!(numbers_of(&found), "missing 0, altered 2, doubled 0, unknown 0");
    let found = by(&[at(10, 1, 10), at(20, 1, 10)], &[at(30, 2, 20)]);
    assert_eq!(numbers_of(&found), "missing 1, altered 1, doubled 0, unknown 0");
}

#[test]
fn what_is_stored_once_more_is_told_from_what_is_altered_beside_it() {
    let [a, b, c] = [row(1, 1024, 17, 1, 100), row(1, 1024, 17, 2, 50), row(1, 1024, 17, 2, 51)];
    let given = [a.clone(), b];
    for stored in [[a.clone(), a.clone(), c.clone()], [c.clone(), a.clone(), a.clone()], [a.clone(), c, a]] {
        let found = compared(StoredFormat::NfdumpJson, &[], &given, &stored);
        assert_eq!(numbers_of(&found), "missing 0, altered 1, doubled 1, unknown 0");
        assert!(found.contains("packets 2, bytes 50, stored with packets 2, bytes 51"), "{found}");
    }
}

#[test]
fn columns_that_are_not_stored_are_no_part_of_the_key_unless_it_is_written() {
    let given = [row(1, 1024, 17, 3, 200), row(1, 1025, 17, 4, 300)];
    let without_ports = |mut row: Row| {
        row[Column::SourcePort as usize] = None;
        row[Column::DestinationPort as usize] = None;
        row
    };
    let stored = [without_ports(row(1, 0, 17, 7, 500))];
    let by = |key: &[Column]| compared(StoredFormat::PmacctJson, key, &given, &stored);
    let shown = [by(&[]), by(&[Column::Source]), by(&[Column::Source, Column::SourcePort])];
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn what_records_lack_is_not_compared_for_their_key() {
    // A firewall's event has no packets; one collector stores zeros, another puts equal keys together.
    let given = [row(1, 1024, 6, -1, 200), row(1, 1024, 6, -1, 200), row(2, 1024, 6, 1, 100)];
    let zeros = [row(1, 1024, 6, 0, 200), row(1, 1024, 6, 0, 200), row(2, 1024, 6, 1, 100)];
    assert!(
        compared(StoredFormat::NfdumpJson, &[], &given, &zeros)
            .starts_with("missing 0, altered 0, doubled 0, unknown 0\n")
    );
    let nothing = given.clone().map(|mut row| {
        row[Column::Bytes as usize] = None;
        row[Column::Packets as usize] = None;
        row
    });
    let once = [row(1, 1024, 6, 0, 0), row(2, 1024, 6, 0, 0)];
    let by = |format| numbers_of(&compared(format, &[], &nothing, &once)).to_owned();
    assert_eq!(by(StoredFormat::PmacctJson), "missing 0, altered 0, doubled 0, unknown 0");
    assert_eq!(by(StoredFormat::NfdumpJson), "missing 1, altered 0, doubled 0, unknown 0");
}

#[test]
fn times_by_the_exporters_clock_are_counted_from_the_export_also_where_it_wrapped() {
    // NetFlow v5 of an exporter that runs for 60 s; the flow began before that, and ended 1.25 s before the export.
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let header = words(&[0x0005_0001, 60_000, 1_500_000_000, 250_000_000, 0, 0]);
    let (began, ended) = (0_u32.wrapping_sub(2_000), 58_750);
    let record = words(&[0xc000_0201, 0xc000_0202, 0, 0, 3, 200, began, ended, 0x0035_0400, 0x0000_1100, 0, 0]);
    let mut records = Records::default();
    let side = std::net::SocketAddr::from(([192, 0, 2, 1], 2055));
    let datagram = [header, record].concat();
    crate::flow::Survey::default().add(&datagram, side, side, 7, |record| records.add(7, record));
    let [(7, row)] = records.records.as_slice() else { panic!("one record in frame 7: {records:?}") };
    let of = |column: Column| row[column as usize].clone();
    assert_eq!(of(Column::Start), Some(Cell::Number(1_500_000_000 - 62)));
    assert_eq!(of(Column::End), Some(Cell::Number(1_500_000_000 - 1)));
    assert_eq!((of(Column::Packets), of(Column::Bytes)), (Some(Cell::Number(3)), Some(Cell::Number(200))));
}

#[test]
fn times_inside_of_lists_are_not_those_of_the_flow() {
    let words = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    // IPFIX: template 256 is flowStartSeconds, template 257 a source address and a subTemplateList of 256 (RFC 6313).
    let templates = words(&[2, 28, 256, 1, 150, 4, 257, 2, 8, 4, 292, 0xffff, 0, 0]);
    let list = [vec![7, 3], words(&[256, 0x5968, 0x2f00])].concat();
    let record = [vec![192, 0, 2, 1], list].concat();
    let data = [words(&[257, 4 + u16::try_from(record.len()).expect("short")]), record].concat();
    let sets = [templates, data].concat();
    let length = 16 + u16::try_from(sets.len()).expect("short");
    let datagram = [words(&[10, length, 0x5968, 0x2f00, 0, 0, 0, 7]), sets].concat();
    let mut records = Records::default();
    let side = std::net::SocketAddr::from(([192, 0, 2, 1], 4739));
    let mut lists = 0;
    crate::flow::Survey::default().add(&datagram, side, side, 7, |record| {
        record.record.each_field(|field| lists += usize::from(field.within == Within::List));
        records.add(7, record);
    });
    assert_eq!(lists, 1);
    let [(7, row)] = records.records.as_slice() else { panic!("one record in frame 7: {records:?}") };
    assert_eq!(row[Column::Start as usize], None);
    assert_eq!(row[Column::Source as usize], Some(Cell::Address([192, 0, 2, 1].into())));
}
