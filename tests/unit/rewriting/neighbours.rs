//! Neighbour discovery (RFC 4861), redirects, IGMP and MLD.

use std::net::Ipv6Addr;

use crate::packet::checksum::Sum;
use crate::scenario::rewrite::Side;
use etherparse::PacketBuilder;

use super::{Maps, apply, preserving, sums, udp4};

const STATION: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

fn address(last: u16) -> [u8; 16] {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets()
}

/// The address after the maps of [`map`]: source and destination are told apart.
fn mapped(side: Side, last: u16) -> [u8; 16] {
    let first = if side == Side::Source { 0xfd01 } else { 0xfd02 };
    Ipv6Addr::new(first, 0xdb8, 0, 0, 0, 0, 0, last).octets()
}

fn map(frame: &mut [u8]) {
    let source = Maps::of(Side::Source).ip(&[("2001::/16", "fd01::/16"), ("10.0.0.0/8", "11.0.0.0/8")]);
    let source = source.mac("02:00:00:00:00:0a", "02:00:00:00:00:aa");
    let destination = Maps::of(Side::Destination).ip(&[
        ("2001::/16", "fd02::/16"),
        ("10.0.0.0/8", "12.0.0.0/8"),
        ("239.1.0.0/16", "239.2.0.0/16"),
        ("ff05::/16", "ff08::/16"),
    ]);
    let destination = destination.mac("02:00:00:00:00:0b", "02:00:00:00:00:bb");
    apply(&preserving([source, destination]), frame);
    assert!(!matches!(sums(frame), (Sum::Bad, _) | (_, Sum::Bad)), "{:?}", sums(frame));
}

fn icmpv6(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let first = body[..4].try_into().expect("four bytes");
    PacketBuilder::ethernet2(STATION, OTHER)
        .ipv6(address(1), address(2), 255)
        .icmpv6_raw(kind, 0, first)
        .write(&mut frame, &body[4..])
        .expect("it fits");
    assert_eq!(sums(&frame).1, Sum::Good);
    frame
}

#[test]
fn a_neighbour_solicitation_maps_target_as_destination_and_mac_as_source() {
    let mut frame = icmpv6(135, &[&[0; 4][..], &address(3), &[1, 1], &STATION].concat());
    map(&mut frame);
    assert_eq!(frame[62..78], mapped(Side::Destination, 3));
    assert_eq!(frame[80..86], [2, 0, 0, 0, 0, 0xaa]);
}

#[test]
fn a_neighbour_advertisement_maps_target_and_mac_as_source() {
    let mut frame = icmpv6(136, &[&[0x60, 0, 0, 0][..], &address(1), &[2, 1], &STATION].concat());
    map(&mut frame);
    assert_eq!(frame[62..78], mapped(Side::Source, 1));
    assert_eq!(frame[80..86], [2, 0, 0, 0, 0, 0xaa]);
}

#[test]
fn the_options_of_routers_follow_and_others_stay() {
    let prefix = [&[3, 4, 64, 0xc0][..], &[0; 12], &address(0)].concat();
    let mut frame = icmpv6(134, &[&[64, 0, 0, 9][..], &[0; 8], &prefix, &[1, 1], &STATION].concat());
    let before = frame.clone();
    map(&mut frame);
    assert_eq!(frame[70..102], before[70..102], "a prefix is no address");
    assert_eq!(frame[104..110], [2, 0, 0, 0, 0, 0xaa]);
    let mut solicitation = icmpv6(133, &[&[0; 4][..], &[1, 1], &STATION].concat());
    map(&mut solicitation);
    assert_eq!(solicitation[64..70], [2, 0, 0, 0, 0, 0xaa]);
}

#[test]
fn a_redirect_names_destinations_and_quotes_a_packet() {
    let mut quoted = Vec::new();
    PacketBuilder::ipv6(address(1), address(2), 64).udp(7, 9).write(&mut quoted, &[0; 8]).expect("it fits");
    let option = [&[4, 8][..], &[0; 6], &quoted].concat();
    let body = [&[0; 4][..], &address(3), &address(2), &[2, 1], &OTHER, &option].concat();
    let mut frame = icmpv6(137, &body);
    map(&mut frame);
    assert_eq!(frame[62..78], mapped(Side::Destination, 3));
    assert_eq!(frame[78..94], mapped(Side::Destination, 2));
    assert_eq!(frame[96..102], [2, 0, 0, 0, 0, 0xbb]);
    assert_eq!(frame[118..134], mapped(Side::Source, 1));
    assert_eq!(frame[134..150], mapped(Side::Destination, 2));
}

#[test]
fn an_option_without_a_length_ends_the_options() {
    let mut frame = icmpv6(135, &[&[0; 4][..], &address(3), &[1, 0], &STATION].concat());
    map(&mut frame);
    assert_eq!(frame[80..86], STATION);
}

#[test]
fn a_gateway_in_a_redirect_is_a_destination() {
    let quoted = &udp4(b"quoted")[14..42];
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(STATION, OTHER)
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .icmpv4_raw(5, 1, [10, 0, 0, 9])
        .write(&mut frame, quoted)
        .expect("it fits");
    map(&mut frame);
    assert_eq!(frame[38..42], [12, 0, 0, 9]);
    assert_eq!(frame[54..62], [11, 1, 2, 3, 12, 9, 8, 7]);
}

fn igmp(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    let mut sum: u32 = body.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    body[2..4].copy_from_slice(&(!u16::try_from(sum).expect("folded")).to_be_bytes());
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(STATION, [1, 0, 0x5e, 1, 0, 5])
        .ipv4([10, 0, 0, 1], [239, 1, 0, 5], 1)
        .write(&mut frame, 2.into(), &body)
        .expect("it fits");
    assert_eq!(sums(&frame).1, Sum::Good);
    frame
}

#[test]
fn an_igmp_report_maps_its_group_as_destination() {
    let mut frame = igmp(&[0x16, 0, 0, 0, 239, 1, 0, 5]);
    map(&mut frame);
    assert_eq!((&frame[30..34], &frame[38..42]), (&[239, 2, 0, 5][..], &[239, 2, 0, 5][..]));
    assert_eq!(frame[..6], [1, 0, 0x5e, 2, 0, 5]);
}

#[test]
fn a_query_for_no_group_stays_one_and_its_senders_are_sources() {
    let mut frame = igmp(&[0x11, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 10, 9, 9, 9]);
    map(&mut frame);
    assert_eq!(frame[38..50], [0, 0, 0, 0, 0, 0, 0, 1, 11, 9, 9, 9]);
}

#[test]
fn each_record_of_a_version_3_report_follows() {
    let first = [4, 1, 0, 2, 239, 1, 0, 6, 10, 0, 0, 7, 10, 0, 0, 8, 0xaa, 0xbb, 0xcc, 0xdd];
    let second = [4, 0, 0, 0, 239, 1, 0, 9];
    let mut frame = igmp(&[&[0x22, 0, 0, 0, 0, 0, 0, 2][..], &first, &second].concat());
    map(&mut frame);
    assert_eq!(frame[46..62], [239, 2, 0, 6, 11, 0, 0, 7, 11, 0, 0, 8, 0xaa, 0xbb, 0xcc, 0xdd]);
    assert_eq!(frame[66..70], [239, 2, 0, 9]);
}

#[test]
fn listeners_of_ipv6_follow_too() {
    let group = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 3).octets();
    let wide = Ipv6Addr::new(0xff08, 0, 0, 0, 0, 0, 1, 3).octets();
    let mut report = icmpv6(131, &[&[0; 4][..], &group].concat());
    map(&mut report);
    assert_eq!(report[62..78], wide);
    let record = [&[4, 0, 0, 1][..], &group, &address(9)].concat();
    let mut second = icmpv6(143, &[&[0, 0, 0, 1][..], &record].concat());
    map(&mut second);
    assert_eq!(second[66..82], wide);
    assert_eq!(second[82..98], mapped(Side::Source, 9));
}
