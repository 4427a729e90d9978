//! Flow exports: times, addresses and numbers of each format over bytes that are written here by its specification, and what can't be decoded stays.

use std::net::Ipv6Addr;

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::{Maps, Pass, RewriteStats, Rewriter, compile, length, of, sums, udp4};
use crate::capture::Frame;
use crate::diagnostic::At;
use crate::packet::checksum::{Sum, ip_header_sum, transport_sum};
use crate::packet::layers::{Layers, LinkType};
use crate::rewrite::Left;
use crate::scenario::rewrite::{Flows, Rewrite, Side, TimeTarget};

/// 2017-07-14T02:40:00Z, in seconds.
pub(super) const THEN: u32 = 1_500_000_000;
/// 2026-01-01T00:00:00Z, in seconds.
const NEW: u32 = 1_767_225_600;
/// From 1900 to 1970, in seconds (RFC 5905).
const NTP: u32 = 2_208_988_800;

pub(super) fn rewriter(flows: Flows) -> Rewriter {
    let maps = Maps::of(Side::Both).ip(&[("10.7.0.0/16", "192.0.2.7"), ("2001:db8:1::/48", "2001:db8:2::/48")]);
    compile(&Rewrite { flows: Some(flows), allow_unused: true, ..of([maps]) })
}

pub(super) fn everything() -> Flows {
    let time = TimeTarget::At("2026-01-01T00:00:00Z".parse().expect("a time"));
    Flows { time: Some(At::default_value(time)), addresses: Some(0..0), sequence: Some(0..0), ..Flows::default() }
}

pub(super) fn only_sequence() -> Flows {
    Flows { sequence: Some(0..0), ..Flows::default() }
}

/// What becomes of the payload of the next datagram from 10.1.2.3 port 2055 to port 4739.
fn payload(pass: &mut Pass<'_>, payload: &[u8]) -> Vec<u8> {
    let mut frame = udp4(payload);
    let original_length = length(&frame);
    let number = pass.stats.frame() + 1;
    let captured = Frame { number, time_ns: 0, original_length, link: LinkType::ETHERNET, bytes: &mut frame };
    let rewritten = pass.rewrite(captured);
    assert!(!rewritten.resized);
    assert_eq!(sums(rewritten.bytes), (Sum::Good, Sum::Good));
    rewritten.bytes[42..].to_vec()
}

fn once(flows: Flows, bytes: &[u8]) -> (Vec<u8>, RewriteStats) {
    let rewriter = rewriter(flows);
    let mut pass = Pass::new(&rewriter);
    let new = payload(&mut pass, bytes);
    (new, pass.into_stats())
}

pub(super) fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

pub(super) fn doubles(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// NetFlow v5: a header of 24 bytes, and records of 48.
pub(super) fn v5(seconds: u32, sequence: u32, records: &[[u8; 4]]) -> Vec<u8> {
    let count = u16::try_from(records.len()).expect("few");
    let mut bytes = [words(&[5, count]), doubles(&[60_000, seconds, 5, sequence]), words(&[0x0102, 0x4064])].concat();
    for source in records {
        bytes.extend(source);
        bytes.extend([198, 51, 100, 9, 0, 0, 0, 0]);
        bytes.extend([words(&[1, 2]), doubles(&[3, 4, 50_000, 59_000]), vec![0; 16]].concat());
    }
    bytes
}

#[test]
fn a_version_5_message_has_new_time_addresses_and_number_and_keeps_what_counts_from_the_start_of_its_exporter() {
    let rewriter = rewriter(everything());
    let mut pass = Pass::new(&rewriter);
    let first = payload(&mut pass, &v5(THEN, 100, &[[10, 7, 0, 1], [10, 8, 0, 1]]));
    assert_eq!(first, v5(NEW, 100, &[[192, 0, 2, 7], [10, 8, 0, 1]]));
    // The next datagram is missing: the numbers have no gap any more.
    assert_eq!(payload(&mut pass, &v5(THEN + 9, 130, &[[10, 7, 0, 1]])), v5(NEW + 9, 102, &[[192, 0, 2, 7]]));
    assert_eq!(payload(&mut pass, &v5(THEN + 10, 131, &[])), v5(NEW + 10, 103, &[]));
    let stats = pass.into_stats();
    // Both maps, then time, addresses, sequence.
    assert_eq!(stats.entries().iter().map(|entry| entry.frames).collect::<Vec<_>>(), [2, 0, 3, 2, 3]);
    assert_eq!(stats.left(Left::FlowRecords).frames, 0);
}

/// IPFIX (RFC 7011 §3.1): these sets behind a header.
pub(super) fn ipfix(seconds: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let sets = sets.concat();
    let length = u16::try_from(16 + sets.len()).expect("short");
    [words(&[10, length]), doubles(&[seconds, sequence, 7]), sets].concat()
}

/// A set with this id.
pub(super) fn set(id: u16, content: &[u8]) -> Vec<u8> {
    [words(&[id, u16::try_from(4 + content.len()).expect("short")]), content.to_vec()].concat()
}

/// Template 256: a text of variable length, an enterprise's field, addresses of both families, times of all four units, and seconds since start.
pub(super) fn template() -> Vec<u8> {
    let fields =
        [&[256, 9, 371, 0xffff, 0x8001, 4, 0, 5951][..], &[8, 4, 28, 16, 150, 4, 152, 8, 154, 8, 156, 8, 21, 4]];
    set(2, &words(&fields.concat()))
}

pub(super) fn record(name: &str, v4: [u8; 4], v6: &str, seconds: u32) -> Vec<u8> {
    let milliseconds = u64::from(seconds) * 1000 + 250;
    let ntp = u64::from(seconds.wrapping_add(NTP)) << 32 | 0x8000_0000;
    [
        vec![u8::try_from(name.len()).expect("short")],
        name.as_bytes().to_vec(),
        vec![10, 7, 0, 1],
        v4.to_vec(),
        v6.parse::<Ipv6Addr>().expect("an address").octets().to_vec(),
        doubles(&[seconds]),
        milliseconds.to_be_bytes().to_vec(),
        ntp.to_be_bytes().to_vec(),
        ntp.to_be_bytes().to_vec(),
        doubles(&[seconds]),
    ]
    .concat()
}

#[test]
fn ipfix_records_behind_fields_of_variable_length_change_in_place() {
    let records = |v4, v6, seconds: u32| {
        let longer = record("10.7.0.1 as a text", v4, v6, seconds);
        let mut last = record("", v4, v6, seconds + 3);
        // An element that counts from the start of the exporter is no time.
        let uptime = last.len() - 4;
        last[uptime..].copy_from_slice(&[0, 0, 0, 9]);
        let mut first = longer;
        let uptime = first.len() - 4;
        first[uptime..].copy_from_slice(&[0, 0, 0, 8]);
        set(256, &[first, last].concat())
    };
    let captured = ipfix(THEN + 60, 5, &[template(), records([10, 7, 9, 9], "2001:db8:1::9", THEN)]);
    let (new, stats) = once(everything(), &captured);
    assert_eq!(new, ipfix(NEW, 5, &[template(), records([192, 0, 2, 7], "2001:db8:2::9", NEW - 60)]));
    assert_eq!(stats.left(Left::FlowRecords).frames, 0);
}

#[test]
fn a_time_of_zero_and_one_that_its_field_can_not_hold_stay() {
    let template = set(2, &words(&[256, 1, 150, 4]));
    let captured = ipfix(NEW, 0, &[template.clone(), set(256, &doubles(&[0, 5, NEW]))]);
    let time = TimeTarget::At("2017-07-14T02:40:00Z".parse().expect("a time"));
    let (new, _) = once(Flows { time: Some(At::default_value(time)), ..Flows::default() }, &captured);
    assert_eq!(new, ipfix(THEN, 0, &[template, set(256, &doubles(&[0, 5, THEN]))]));
}

#[test]
fn addresses_inside_of_lists_follow() {
    // RFC 6313: a basicList of IPv4 addresses, and a subTemplateList of template 256.
    let templates = set(2, &words(&[256, 2, 8, 4, 7, 2, 257, 2, 291, 0xffff, 292, 0xffff]));
    let lists = |a: [u8; 4], b: [u8; 4]| {
        let basic = [&[13, 3][..], &words(&[8, 4]), &a, &[10, 9, 0, 1]].concat();
        let sub = [&[9, 3][..], &words(&[256]), &b, &words(&[80])].concat();
        set(257, &[basic, sub].concat())
    };
    let captured = ipfix(THEN, 0, &[templates.clone(), lists([10, 7, 0, 1], [10, 7, 0, 2])]);
    let (new, stats) = once(everything(), &captured);
    assert_eq!(new, ipfix(NEW, 0, &[templates, lists([192, 0, 2, 7], [192, 0, 2, 7])]));
    assert_eq!(stats.left(Left::FlowRecords).frames, 0);
}

#[test]
fn records_without_a_template_stay_and_are_counted_while_others_change() {
    let template = set(2, &words(&[256, 1, 8, 4]));
    let unknown = set(300, &[10, 7, 0, 1]);
    let captured = ipfix(THEN, 0, &[unknown.clone(), template.clone(), set(256, &[10, 7, 0, 1])]);
    let (new, stats) = once(everything(), &captured);
    assert_eq!(new, ipfix(NEW, 0, &[unknown, template, set(256, &[192, 0, 2, 7])]));
    assert_eq!(stats.left(Left::FlowRecords).frames, 1);
}

#[test]
fn ipfix_numbers_count_records_and_go_on_where_they_can_not_be_counted() {
    let rewriter = rewriter(only_sequence());
    let mut pass = Pass::new(&rewriter);
    let template = set(2, &words(&[256, 1, 8, 4]));
    let data = |records: usize| set(256, &vec![1; 4 * records]);
    let number = |bytes: Vec<u8>| u32::from_be_bytes(bytes[8..12].try_into().expect("4 bytes"));
    let mut next = |sequence, sets: &[Vec<u8>]| number(payload(&mut pass, &ipfix(THEN, sequence, sets)));
    assert_eq!(next(1000, &[template, data(3)]), 1000);
    assert_eq!(next(5000, &[data(2)]), 1003);
    assert_eq!(next(5002, &[data(1), set(999, &[0; 8])]), 1005);
    // What the last one had is not known, so that the captured step counts.
    assert_eq!(next(5010, &[data(1)]), 1013);
    assert_eq!(next(1000, &[data(1)]), 1014);
}

#[test]
fn ipfix_numbers_count_records_with_lists_that_can_not_be_read_and_beside_templates_that_have_no_sense() {
    let rewriter = rewriter(only_sequence());
    let mut pass = Pass::new(&rewriter);
    // A subTemplateList; the second of three records names a template that is not known.
    let templates = set(2, &words(&[256, 1, 8, 4, 257, 1, 292, 0xffff]));
    let lists =
        set(257, &[[7, 3, 1, 0, 10, 7, 0, 1], [7, 3, 3, 0xe7, 10, 7, 0, 1], [7, 3, 1, 0, 10, 7, 0, 2]].concat());
    let number = |bytes: Vec<u8>| u32::from_be_bytes(bytes[8..12].try_into().expect("4 bytes"));
    let mut next = |sequence, sets: &[Vec<u8>]| number(payload(&mut pass, &ipfix(THEN, sequence, sets)));
    assert_eq!(next(10, &[templates, lists]), 10);
    let data = set(256, &[1; 4]);
    let bad = set(2, &words(&[255, 1, 8, 4]));
    assert_eq!(next(500, &[data.clone(), bad]), 13);
    assert_eq!(next(900, std::slice::from_ref(&data)), 14);
    assert_eq!(next(901, &[data]), 15);
    assert_eq!(pass.into_stats().left(Left::FlowRecords).frames, 2);
}

#[test]
fn a_template_that_is_defined_anew_changes_what_changes() {
    let rewriter = rewriter(everything());
    let mut pass = Pass::new(&rewriter);
    let of = |element| set(2, &words(&[256, 2, 7, 4, element, 4]));
    let data = |port: [u8; 4], address: [u8; 4]| set(256, &[port, address].concat());
    for (element, new) in [(8, [192, 0, 2, 7]), (7, [10, 7, 0, 1]), (8, [192, 0, 2, 7])] {
        let captured = ipfix(THEN, 0, &[of(element), data([10, 7, 0, 1], [10, 7, 0, 1])]);
        let new = &data([10, 7, 0, 1], new);
        assert!(payload(&mut pass, &captured).ends_with(new), "element {element}");
    }
}

#[test]
fn version_9_numbers_count_messages_of_each_source() {
    let rewriter = rewriter(only_sequence());
    let mut pass = Pass::new(&rewriter);
    let v9 = |sequence, source| [words(&[9, 0]), doubles(&[1, THEN, sequence, source])].concat();
    let mut next = |sequence, source| {
        let new = payload(&mut pass, &v9(sequence, source));
        u32::from_be_bytes(new[12..16].try_into().expect("4 bytes"))
    };
    assert_eq!([next(7, 1), next(70, 2), next(9, 1), next(8, 1), next(1, 2)], [7, 70, 8, 9, 71]);
}

/// sFlow version 5 with a flow sample of the headers of this frame.
fn sflow(agent: [u8; 4], number: u32, header: &[u8]) -> Vec<u8> {
    let length = u32::try_from(header.len()).expect("short");
    let padded = header.len().next_multiple_of(4);
    let mut packet = header.to_vec();
    packet.resize(padded, 0);
    let record = [doubles(&[1, 16 + u32::try_from(padded).expect("short"), 1, 1500, 4, length]), packet].concat();
    let sample = [doubles(&[number, 3, 512, 1024, 0, 1, 2, 1]), record].concat();
    let head = [doubles(&[5, 1]), agent.to_vec(), doubles(&[0, number, 60_000, 1])].concat();
    [head, doubles(&[1, u32::try_from(sample.len()).expect("short")]), sample].concat()
}

#[test]
fn the_sampled_packet_of_sflow_follows_with_its_checksums() {
    let mut whole = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 7, 0, 1], [203, 0, 113, 1], 64)
        .tcp(1, 2, 3, 4)
        .write(&mut whole, &[9; 30])
        .expect("it fits");
    let captured = sflow([10, 7, 0, 9], 5, &whole);
    let (new, stats) = once(everything(), &captured);
    assert_eq!(new.len(), captured.len());
    assert_eq!(&new[8..12], &[192, 0, 2, 7], "the agent");
    let at = captured.windows(whole.len()).position(|window| window == whole).expect("it is there");
    let sampled = &new[at..at + whole.len()];
    let layers = Layers::find(LinkType::ETHERNET, sampled);
    assert_eq!(layers.addresses(sampled).expect("a packet").0.to_string(), "192.0.2.7");
    assert_eq!(ip_header_sum(&layers.network, sampled), Sum::Good);
    assert_eq!(transport_sum(&layers.network, sampled, length(sampled)), Sum::Good);
    assert_eq!(stats.left(Left::FlowRecords).frames, 0);
}

#[test]
fn datagrams_and_samples_of_sflow_are_numbered_without_gaps() {
    let rewriter = rewriter(only_sequence());
    let mut pass = Pass::new(&rewriter);
    let header = [0; 16];
    for (captured, expected) in [(5, 5), (9, 6), (10, 7)] {
        let new = payload(&mut pass, &sflow([10, 7, 0, 9], captured, &header));
        assert_eq!(new, sflow([10, 7, 0, 9], expected, &header));
    }
}

/// sFlow version 5 with a sample of this kind and number: 1 of flows, 2 of counters, expanded 3 and 4; the highest source that there is.
fn sample(datagram: u32, kind: u32, number: u32) -> Vec<u8> {
    let content = match kind {
        1 => doubles(&[number, u32::MAX, 512, 1024, 0, 1, 2, 0]),
        2 => doubles(&[number, u32::MAX, 0]),
        3 => doubles(&[number, u32::MAX, u32::MAX, 512, 1024, 0, 0, 1, 0, 2, 0]),
        _ => doubles(&[number, u32::MAX, u32::MAX, 0]),
    };
    let head = [doubles(&[5, 1]), vec![10, 9, 0, 9], doubles(&[0, datagram, 60_000, 1])].concat();
    [head, doubles(&[kind, u32::try_from(content.len()).expect("short")]), content].concat()
}

#[test]
fn samples_of_flows_and_of_counters_have_numbers_of_their_own() {
    let rewriter = rewriter(only_sequence());
    let mut pass = Pass::new(&rewriter);
    let captured = [(1, 1000), (2, 50), (3, 7), (4, 70), (1, 1005), (2, 51), (3, 8), (4, 79)];
    let expected = [(1, 1000), (2, 50), (3, 7), (4, 70), (1, 1001), (2, 51), (3, 8), (4, 71)];
    for ((at, (kind, number)), (_, new)) in (1..).zip(captured).zip(expected) {
        assert_eq!(payload(&mut pass, &sample(at, kind, number)), sample(at, kind, new), "kind {kind}");
    }
}

#[test]
fn the_next_round_goes_on_in_time_and_number() {
    let rewriter = rewriter(everything());
    let mut pass = Pass::new(&rewriter);
    let round =
        |pass: &mut Pass<'_>| [v5(THEN, 1, &[[1; 4]]), v5(THEN + 99, 2, &[[1; 4]])].map(|bytes| payload(pass, &bytes));
    assert_eq!(round(&mut pass), [v5(NEW, 1, &[[1; 4]]), v5(NEW + 99, 2, &[[1; 4]])]);
    let mut next = Pass::new(&rewriter);
    next.continues(pass);
    assert_eq!(round(&mut next), [v5(NEW + 100, 3, &[[1; 4]]), v5(NEW + 199, 4, &[[1; 4]])]);
}

#[test]
fn what_goes_to_a_collector_and_is_no_export_stays_and_is_counted() {
    // Version 9 and nothing more.
    let (new, stats) = once(everything(), &[0, 9]);
    assert_eq!((new.as_slice(), stats.left(Left::Payload).frames), (&[0, 9][..], 1));
    // Anything else there is left alone.
    let (new, stats) = once(everything(), b"hello");
    assert_eq!((new.as_slice(), stats.left(Left::Payload).frames), (&b"hello"[..], 0));
}

/// Messages of each format with something that changes in it, and where.
fn messages() -> [(Vec<u8>, Vec<std::ops::Range<usize>>); 4] {
    let v9 = {
        let template = set(0, &words(&[256, 3, 7, 2, 8, 4, 11, 2]));
        let data = set(256, &[0, 1, 10, 7, 0, 1, 0, 2]);
        [words(&[9, 2]), doubles(&[1, THEN, 4, 7]), template, data].concat()
    };
    let ipfix = ipfix(THEN, 5, &[template(), set(256, &record("abc", [10, 7, 0, 1], "2001:db8:1::9", THEN))]);
    let of_ipfix = 16 + template().len() + 4 + 4 + 4;
    let sampled = sflow([10, 7, 0, 9], 5, &udp4(b"sampled"));
    let ip = sampled.windows(4).position(|window| window == [10, 1, 2, 3]).expect("a sampled packet") - 12;
    [
        (v5(THEN, 100, &[[10, 7, 0, 1], [10, 7, 0, 2]]), vec![8..12, 16..20, 24..36, 72..84]),
        (v9, vec![8..16, 20 + 20 + 4 + 2..20 + 20 + 4 + 6]),
        // Source, destination, four times; seconds since start are behind them.
        (ipfix.clone(), vec![4..12, of_ipfix..ipfix.len() - 4]),
        // Agent, both numbers, the addresses of the packet, and both checksums.
        (sampled, vec![8..12, 16..20, 36..40, ip + 10..ip + 20, ip + 26..ip + 28]),
    ]
}

#[test]
fn each_message_changes_where_it_may() {
    for (bytes, places) in messages() {
        let (new, _) = once(everything(), &bytes);
        let changed = (0..bytes.len()).filter(|at| new[*at] != bytes[*at]);
        let unexpected: Vec<usize> = changed.filter(|at| !places.iter().any(|place| place.contains(at))).collect();
        assert!(new != bytes && unexpected.is_empty(), "{unexpected:?} of {bytes:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_of_a_message_change_but_those_that_are_decoded(which in 0_usize..4, at in 0_usize..400, value in any::<u8>(), cut in 0_usize..40) {
        let (mut bytes, places) = messages()[which].clone();
        // What defines the fields stays, and so do lengths and counts: everything else may be anything.
        let at = at % bytes.len();
        if places.iter().any(|place| place.contains(&at)) {
            bytes[at] = value;
        }
        bytes.truncate(bytes.len() - cut.min(bytes.len() - 4));
        let (new, stats) = once(everything(), &bytes);
        prop_assert_eq!(new.len(), bytes.len());
        for at in (0..bytes.len()).filter(|at| new[*at] != bytes[*at]) {
            prop_assert!(places.iter().any(|place| place.contains(&at)), "byte {}", at);
        }
        prop_assert!(stats.left(Left::Payload).frames == 0 || new == bytes);
    }

    #[test]
    fn no_bytes_are_too_odd_for_a_message(version in prop::sample::select(vec![1_u16, 5, 7, 9, 10, 0]), rest in prop::collection::vec(any::<u8>(), 0..400)) {
        let bytes = [&version.to_be_bytes()[..], &rest].concat();
        let (new, stats) = once(everything(), &bytes);
        prop_assert_eq!(new.len(), bytes.len());
        prop_assert!(stats.left(Left::Payload).frames == 0 || new == bytes);
    }

    #[test]
    fn records_of_an_unknown_template_never_change(content in prop::collection::vec(any::<u8>(), 0..200)) {
        let captured = ipfix(THEN, 9, &[set(400, &content)]);
        let (new, _) = once(everything(), &captured);
        prop_assert_eq!(new, ipfix(NEW, 9, &[set(400, &content)]));
    }
}
