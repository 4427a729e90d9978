//! The words of `[expect.flows]` and of `flows` in a rule, as `tests/accepted/every_word.toml` has them.

use std::path::Path;

use super::*;
use crate::scenario::Scenario;

#[test]
fn every_word_about_flows_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/accepted/every_word.toml");
    let expect = Scenario::from_file(path).expect("it is accepted").expect;
    let flows = &expect.flows.as_ref().expect("it is there").value;
    let counts = [&flows.records, &flows.options, &flows.templates, &flows.exporters, &flows.undecodable];
    let counts = counts.map(|count| count.as_ref().map(|count| count.value.to_string()));
    assert_eq!(counts, ["1401", ">= 1", "6", "3", "0"].map(|count| Some(count.to_owned())));
    let rules = flows.fields.iter().map(|rule| {
        let matching = rule.value.matching.iter().map(|wanted| format!("{} {}", wanted.element, wanted.value));
        (matching.collect::<Vec<_>>().join(", "), rule.value.count.is_some())
    });
    let first = "destinationTransportPort 443, netscalerRoundTripTime x, sourceIPv6Address 2001:db8::1";
    let second = "reverseOctetDeltaCount >= 1000, sourceIPv4Address 192.0.2.0/24";
    assert_eq!(rules.collect::<Vec<_>>(), [(first.to_owned(), true), (second.to_owned(), false)]);
    let stored = expect.output.iter().find_map(|check| check.rule.flows.as_ref());
    let StoredFlows { format, key, compare, columns } = &stored.expect("one compares them").value;
    assert_eq!(format.value, StoredFormat::Json);
    assert_eq!(key.iter().map(|column| column.value).collect::<Vec<_>>(), [Column::Source, Column::NextHop]);
    assert_eq!(compare.iter().flatten().map(|column| column.value).collect::<Vec<_>>(), [Column::Bytes]);
    let names = [(Column::Source, "src"), (Column::NextHop, "nh"), (Column::Bytes, "octets")];
    assert_eq!(columns.as_slice(), names.map(|(column, name)| (column, name.to_owned())));
}

#[test]
fn values_are_compared_as_they_are_written_or_by_what_they_say() {
    let holds = |text: &str, kind: Type, bytes: &[u8]| {
        let value = field_value(&Scalar::Text(text.to_owned())).expect("a value").of(kind);
        value.holds(&Value::read(kind, bytes))
    };
    assert!(holds("192.0.2.0/24", Type::Ipv4, &[192, 0, 2, 9]));
    assert!(!holds("192.0.2.0/24", Type::Ipv4, &[192, 0, 3, 9]));
    assert!(!holds("192.0.2.0/24", Type::Text, b"192.0.2.9"));
    assert!(holds("2001:db8:0::1", Type::Ipv6, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
    assert!(holds(">= 1000", Type::Unsigned, &[4, 0]));
    assert!(!holds("> 1024", Type::Unsigned, &[4, 0]));
    assert!(holds("eth0", Type::Text, b"eth0\0"));
    assert!(!holds("eth", Type::Text, b"eth0"));
    assert!(holds("443", Type::Unsigned, &[1, 187]));
    assert!(holds("AA:BB:0C:0D:0E:0F", Type::Mac, &[0xaa, 0xbb, 0xc, 0xd, 0xe, 0xf]));
    assert!(holds("DEAD", Type::Octets, &[0xde, 0xad]));
    assert!(!holds("ETH0", Type::Text, b"eth0"));
    assert!(holds("2017-07-14T04:40:00.0+02:00", Type::Seconds, &1_500_000_000_u32.to_be_bytes()));
}
