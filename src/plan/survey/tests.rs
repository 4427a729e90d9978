//! Frames become classes by what the kernel will find in them, and their packets are counted once.

use super::*;
use crate::packet::layers::{Layers, LinkType};

/// An IPv4 packet from 10.9.0.1 to 10.9.0.2 in a frame; `fragment` is the field with flags and offset.
fn four(protocol: u8, ttl: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let [high, low] = fragment.to_be_bytes();
    let mut header =
        vec![0x45, 0, length[0], length[1], 0, 7, high, low, ttl, protocol, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2];
    let sum = !crate::packet::checksum::Accumulator::default().add(&header).fold();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let ethernet = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    [&ethernet, header.as_slice(), payload].concat()
}

/// A UDP datagram of 8 + 24 bytes to port 9, without a checksum.
fn udp() -> Vec<u8> {
    [[0x13, 0x88, 0, 9, 0, 32, 0, 0].as_slice(), &[7; 24]].concat()
}

/// A SYN to port 80 whose checksum is this one.
fn syn(sum: u16) -> Vec<u8> {
    let [high, low] = sum.to_be_bytes();
    vec![0x13, 0x88, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 1, 0, high, low, 0, 0]
}

fn classes(frames: &[Vec<u8>]) -> Vec<(Flaw, bool, String, u64, u64)> {
    let mut survey = Survey::default();
    for (number, bytes) in (1..).zip(frames) {
        let layers = Layers::find(LinkType::ETHERNET, bytes);
        let original_length = u32::try_from(bytes.len()).unwrap();
        survey.add(
            &Prepared { number, time_ns: 0, layers, bytes, original_length, unframed: None },
            1500,
            Duration::ZERO,
        );
    }
    let classes = survey.finish().into_iter();
    classes
        .map(|class| (class.key.flaw, class.key.spent, class.frames.to_string(), class.datagrams, class.packets))
        .collect()
}

/// The parts of [`udp`] as fragments: 8 bytes each, the last one with the flag that says so.
fn part(number: u16) -> Vec<u8> {
    let from = usize::from(number) * 8;
    let more = if number == 3 { 0 } else { 0x2000 };
    four(17, 64, more | number, &udp()[from..from + 8])
}

#[test]
fn a_repeated_fragment_is_lost_alone_and_its_datagram_counts_once() {
    let frames = [part(0), part(0), part(1), part(2), part(3)];
    let whole = (Flaw::None, false, "1,3-5".to_owned(), 1, 1);
    assert_eq!(classes(&frames), [whole, (Flaw::FragmentRepeated, false, "2".to_owned(), 0, 0)]);
}

#[test]
fn a_fragment_that_overlaps_ends_its_datagram() {
    let overlapping = four(17, 64, 0x2000 | 1, &udp()[8..24]);
    let frames = [part(0), part(2), overlapping];
    assert_eq!(classes(&frames), [(Flaw::FragmentOverlaps, false, "1-3".to_owned(), 1, 1)]);
}

#[test]
fn a_missing_fragment_leaves_the_others_waiting() {
    assert_eq!(classes(&[part(0), part(1), part(3)]), [(Flaw::FragmentMissing, false, "1-3".to_owned(), 1, 1)]);
}

#[test]
fn tcp_checksums_are_looked_at() {
    // The pseudo-header's sum, and its complement with the segment: 0x0a09 + 1 + 0x0a09 + 2 + 6 + 20.
    let pseudo = 0x0a09 + 1 + 0x0a09 + 2 + 6 + 20;
    let segment = syn(0).chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).sum::<u16>();
    let good = !(pseudo + segment);
    let frames = [four(6, 64, 0, &syn(good)), four(6, 64, 0, &syn(good ^ 1)), four(6, 64, 0, &syn(pseudo))];
    let flaws: Vec<Flaw> = classes(&frames).into_iter().map(|class| class.0).collect();
    assert_eq!(flaws, [Flaw::None, Flaw::TcpSum, Flaw::TcpSumOffload]);
}

#[test]
fn a_ttl_that_is_used_up_makes_a_class_and_what_is_not_ip_is_no_packet() {
    let arp = [[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 6].as_slice(), &[0; 28]].concat();
    let frames =
        [four(17, 64, 0, &udp()), four(17, 1, 0, &udp()), four(17, 0, 0, &udp()), four(1, 64, 0, &[8; 8]), arp];
    let found = classes(&frames);
    let row = |flaw, spent, frames: &str, datagrams, packets| (flaw, spent, frames.to_owned(), datagrams, packets);
    assert_eq!(
        found,
        [
            row(Flaw::None, false, "1", 1, 1),
            row(Flaw::None, true, "2-3", 2, 2),
            row(Flaw::None, false, "4", 0, 1),
            row(Flaw::None, false, "5", 0, 0),
        ]
    );
}

#[test]
fn of_two_flaws_the_first_that_is_met_makes_the_class() {
    let mut cut = four(17, 64, 0, &udp());
    cut.truncate(40);
    // The header says 40 bytes, the packet 24.
    let mut short = four(17, 64, 0, &udp());
    short[14] = 0x4a;
    short[16..18].copy_from_slice(&24u16.to_be_bytes());
    short[24..26].fill(0);
    let sum = !crate::packet::checksum::Accumulator::default().add(&short[14..54]).fold();
    short[24..26].copy_from_slice(&sum.to_be_bytes());
    let mut bad = short.clone();
    bad[24] ^= 1;
    let flaws: Vec<Flaw> = classes(&[cut, short, bad]).into_iter().map(|class| class.0).collect();
    assert_eq!(flaws, [Flaw::Length, Flaw::Header, Flaw::HeaderSum]);
}

/// The Ethernet header of [`four`] replaced.
fn behind(header: &[u8], frame: &[u8]) -> Vec<u8> {
    [&frame[..12], header, &frame[14..]].concat()
}

fn keys(frames: &[Vec<u8>]) -> Vec<(Carried, Tags, bool)> {
    let mut survey = Survey::default();
    for (number, bytes) in (1..).zip(frames) {
        let layers = Layers::find(LinkType::ETHERNET, bytes);
        let original_length = u32::try_from(bytes.len()).unwrap();
        survey.add(
            &Prepared { number, time_ns: 0, layers, bytes, original_length, unframed: None },
            1500,
            Duration::ZERO,
        );
    }
    survey.finish().into_iter().map(|class| (class.key.carried, class.key.tags, class.key.in_vlan)).collect()
}

#[test]
fn ip_is_only_what_the_stack_finds_behind_the_ethernet_header() {
    let plain = four(17, 64, 0, &udp());
    let of = |header: &[u8]| keys(&[behind(header, &plain)])[0];
    let other = |ethertype| Carried::Other { ethertype };
    let (ip, ..) = keys(std::slice::from_ref(&plain))[0];
    assert!(matches!(ip, Carried::Ip { protocol: 17, port: Some(9), .. }));
    assert_eq!(of(&[0x88, 0x47, 0, 0, 1, 64]), (other(Some(0x8847)), Tags::None, false));
    assert_eq!(of(&[0x88, 0x64, 0x11, 0, 0, 1, 0, 54, 0, 0x21]), (other(Some(0x8864)), Tags::None, false));
    assert_eq!(of(&[0, 60, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0]), (other(None), Tags::None, false));
    assert_eq!(of(&[0x81, 0, 0, 0, 8, 0]), (ip, Tags::None, false));
    assert_eq!(of(&[0x81, 0, 0, 5, 8, 0]), (ip, Tags::One, true));
    assert_eq!(of(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0]), (other(Some(0x8100)), Tags::Several, true));
    // An IPv4 header behind the EtherType of IPv6.
    assert_eq!(of(&[0x86, 0xdd]), (other(Some(0x86dd)), Tags::None, false));
}

/// Frames, when they are sent, and the timeout of the reassembly, in seconds: flaw, frames, datagrams, fewest and most frames of one.
fn reassembled(frames: &[(u64, Vec<u8>)], timeout: u64) -> Vec<(Flaw, String, u64, u32, u32)> {
    let timeout = Duration::from_secs(timeout);
    let mut survey = Survey::at(None, Reassembly::new(timeout, timeout));
    for (number, (millis, bytes)) in (1..).zip(frames) {
        let layers = Layers::find(LinkType::ETHERNET, bytes);
        let original_length = u32::try_from(bytes.len()).unwrap();
        let after = Duration::from_millis(*millis);
        survey.add(&Prepared { number, time_ns: 0, layers, bytes, original_length, unframed: None }, 1500, after);
    }
    let of = |class: Class| {
        (class.key.flaw, class.frames.to_string(), class.datagrams, class.fewest_frames, class.most_frames)
    };
    survey.finish().into_iter().map(of).collect()
}

#[test]
fn the_frames_of_a_datagram_are_counted() {
    let whole = four(17, 64, 0, &udp());
    let frames = [(0, whole), (0, part(0)), (0, part(1)), (0, part(2)), (0, part(3))];
    assert_eq!(reassembled(&frames, 1), [(Flaw::None, "1-5".to_owned(), 2, 1, 4)]);
    assert_eq!(reassembled(&frames[1..], 1), [(Flaw::None, "1-4".to_owned(), 1, 4, 4)]);
}

#[test]
fn a_fragment_that_comes_after_the_timeout_begins_a_datagram() {
    let frames = [(0, part(0)), (10, part(1)), (1_500, part(2)), (1_510, part(3))];
    // The second begins without the first fragment, which has the port.
    let missing = |frames: &str| (Flaw::FragmentMissing, frames.to_owned(), 1, 2, 2);
    assert_eq!(reassembled(&frames, 1), [missing("1-2"), missing("3-4")]);
    assert_eq!(reassembled(&frames, 2), [(Flaw::None, "1-4".to_owned(), 1, 4, 4)]);
}

#[test]
fn an_identifier_that_is_used_again_at_once_mixes_two_datagrams() {
    let summed = |byte: u8| {
        let mut udp = [[0x13, 0x88, 0, 9, 0, 32, 0, 0].as_slice(), &[byte; 24]].concat();
        let pseudo = [10, 9, 0, 1, 10, 9, 0, 2, 0, 17, 0, 32];
        let sum = !Accumulator::default().add(&pseudo).add(&udp).fold();
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
        udp
    };
    let (one, two) = (summed(1), summed(2));
    let first = |udp: &[u8]| four(17, 64, 0x2000, &udp[..16]);
    let last = |udp: &[u8]| four(17, 64, 2, &udp[16..]);
    assert_eq!(reassembled(&[(0, first(&one)), (0, last(&one))], 1), [(Flaw::None, "1-2".to_owned(), 1, 2, 2)]);
    let mixed = reassembled(&[(0, first(&one)), (0, first(&two)), (0, last(&two))], 1);
    let repeated = (Flaw::FragmentRepeated, "2".to_owned(), 0, 1, 1);
    assert_eq!(mixed, [(Flaw::UdpSum, "1,3".to_owned(), 1, 2, 2), repeated]);
}
