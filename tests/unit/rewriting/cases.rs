//! Single packets, as the RFCs and the language want them.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{Source, Style, render};
use crate::packet::checksum::Sum;
use crate::packet::layers::{Layers, LinkType};
use crate::packet::listing;
use crate::rewrite::{Left, Pass, RewriteStats, Seen, unused_problems};
use crate::scenario::rewrite::{Checksums, IpMap, MacMap, MacTarget, Side};
use etherparse::PacketBuilder;

use super::{Maps, apply, length, preserving, rewriter, sums, through, udp4};

/// The frame as one line, without number and time.
fn line(frame: &[u8]) -> String {
    let layers = Layers::find(LinkType::ETHERNET, frame);
    let line = listing::line(1, Duration::ZERO, &layers, frame, length(frame));
    line.trim_start_matches("     1    0.000000000 ").to_owned()
}

#[test]
fn the_longest_prefix_wins_and_a_result_is_never_mapped_again() {
    let entries = [("10.0.0.0/8", "192.0.2.0/24"), ("10.1.2.0/24", "10.9.8.0/24"), ("10.1.2.3", "198.51.100.1")];
    let mut frame = udp4(b"x");
    apply(&preserving([Maps::of(Side::Both).ip(&entries)]), &mut frame);
    assert_eq!(
        line(&frame),
        "   43B  02:00:00:00:00:0a > 02:00:00:00:00:0b  198.51.100.1:2055 > 192.0.2.7:4739  udp  ttl 64  payload 1B 8cdc1683"
    );
}

#[test]
fn a_side_s_own_entry_wins_over_one_of_both() {
    let mut frame = udp4(b"x");
    let both = Maps::of(Side::Both).ports(&[(0, u16::MAX, 1)]);
    let source = Maps::of(Side::Source).ports(&[(2055, 2055, 2)]);
    apply(&preserving([both, source]), &mut frame);
    assert_eq!(Layers::find(LinkType::ETHERNET, &frame).ports(&frame), Some((2, 1)));
}

/// A datagram to a group, with the group's MAC.
fn multicast() -> Vec<u8> {
    let mut frame = udp4(b"group");
    frame[..6].copy_from_slice(&[0x01, 0x00, 0x5e, 0x01, 0x02, 0x03]);
    frame[30..34].copy_from_slice(&[239, 129, 2, 3]);
    apply(&rewriter(Checksums::Fix, []), &mut frame);
    frame
}

#[test]
fn a_group_changes_only_by_an_entry_for_groups_and_its_mac_follows() {
    let before = multicast();
    let mut frame = before.clone();
    let every = [("0.0.0.0/0", "192.0.2.1/32"), ("128.0.0.0/1", "192.0.2.2/32")];
    apply(&preserving([Maps::of(Side::Destination).ip(&every).every_mac(MacTarget::Receiver)]), &mut frame);
    assert_eq!(frame, before);

    apply(&preserving([Maps::of(Side::Destination).ip(&[("239.0.0.0/8", "232.0.0.0/8")])]), &mut frame);
    assert_eq!(frame[30..34], [232, 129, 2, 3]);
    assert_eq!(frame[..6], [0x01, 0x00, 0x5e, 0x01, 0x02, 0x03]);
    apply(&preserving([Maps::of(Side::Destination).ip(&[("232.129.2.3", "224.0.0.9")])]), &mut frame);
    assert_eq!(frame[..6], [0x01, 0x00, 0x5e, 0x00, 0x00, 0x09]);
    assert_eq!(sums(&frame), (Sum::Good, Sum::Good));
}

#[test]
fn the_mac_follows_whatever_becomes_a_group_and_is_left_of_a_group_that_becomes_a_host() {
    const GROUP: [u8; 6] = [0x01, 0x00, 0x5e, 0x01, 0x02, 0x03];
    const HOST: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
    const ALL: [u8; 6] = [0xff; 6];
    for (mac, address, to, new, left) in [
        (HOST, [10, 9, 8, 7], "239.129.2.3", GROUP, 0),
        (HOST, [10, 9, 8, 7], "255.255.255.255", ALL, 0),
        (HOST, [10, 9, 8, 7], "192.0.2.1", HOST, 0),
        (ALL, [255; 4], "239.129.2.3", GROUP, 0),
        (GROUP, [239, 129, 2, 3], "255.255.255.255", ALL, 0),
        (GROUP, [239, 129, 2, 3], "192.0.2.1", GROUP, 1),
        (ALL, [255; 4], "192.0.2.1", ALL, 1),
        // A group's packet that was sent to one station alone stays there.
        (HOST, [239, 129, 2, 3], "239.129.2.4", HOST, 0),
    ] {
        let from = std::net::Ipv4Addr::from(address).to_string();
        let rewriter = preserving([Maps::of(Side::Destination).ip(&[(&from, to)])]);
        let mut frame = frame_of(mac, address);
        let (passed, _) = super::pass(&rewriter, &frame);
        let stats = apply(&rewriter, &mut frame);
        assert_eq!(frame[..6], new, "{from} to {to}");
        assert_eq!((passed, stats.left(Left::GroupMac).frames), (frame.clone(), left), "{from} to {to}");
        assert_eq!(sums(&frame), (Sum::Good, Sum::Good));
        let named = Maps::of(Side::Destination).ip(&[(&from, to)]);
        let named = named.mac(&crate::packet::MacAddr(mac).to_string(), "02:00:00:00:00:77");
        let mut frame = frame_of(mac, address);
        let stats = apply(&preserving([named]), &mut frame);
        assert_eq!((frame[5], stats.left(Left::GroupMac).frames), (0x77, 0), "an entry names it");
    }
    let mut six = udp6_to_a_host();
    apply(&preserving([Maps::of(Side::Destination).ip(&[("2001:db8::2", "ff05::1:3")])]), &mut six);
    assert_eq!(six[..6], [0x33, 0x33, 0, 1, 0, 3]);
}

fn frame_of(mac: [u8; 6], address: [u8; 4]) -> Vec<u8> {
    let mut frame = udp4(b"x");
    frame[..6].copy_from_slice(&mac);
    frame[30..34].copy_from_slice(&address);
    apply(&rewriter(Checksums::Fix, []), &mut frame);
    frame
}

fn udp6_to_a_host() -> Vec<u8> {
    let address = |last| Ipv6Addr::from((0x2001_0db8_u128 << 96) | last).octets();
    let mut frame = Vec::new();
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0xa], [2, 0, 0, 0, 0, 0xb]);
    link.ipv6(address(1), address(2), 64).udp(2055, 4739).write(&mut frame, b"six").expect("it fits");
    frame
}

#[test]
fn a_group_s_mac_that_an_entry_names_does_not_follow() {
    let mut frame = multicast();
    let maps =
        Maps::of(Side::Destination).ip(&[("239.129.2.3", "224.0.0.9")]).mac("01:00:5e:01:02:03", "02:00:00:00:00:77");
    apply(&preserving([maps]), &mut frame);
    assert_eq!(frame[..6], [2, 0, 0, 0, 0, 0x77]);
}

#[test]
fn the_limited_broadcast_changes_only_by_its_own_entry() {
    let mut frame = udp4(b"x");
    frame[30..34].copy_from_slice(&[255; 4]);
    let before = frame.clone();
    apply(&preserving([Maps::of(Side::Both).ip(&[("240.0.0.0/4", "10.0.0.0/8")])]), &mut frame);
    assert_eq!(frame, before);
    apply(&preserving([Maps::of(Side::Both).ip(&[("255.255.255.255", "10.0.0.255")])]), &mut frame);
    assert_eq!(frame[30..34], [10, 0, 0, 255]);
}

#[test]
fn udp_without_a_sum_over_ipv4_stays_without_even_when_fixed() {
    let mut frame = udp4(b"x");
    frame[40..42].copy_from_slice(&[0, 0]);
    let maps = || [Maps::of(Side::Both).ip(&[("10.0.0.0/8", "192.0.0.0/8")]).ports(&[(2055, 2055, 1)])];
    for checksums in [Checksums::Preserve, Checksums::Fix] {
        apply(&rewriter(checksums, maps()), &mut frame);
        assert_eq!(frame[40..42], [0, 0]);
        assert_eq!(sums(&frame), (Sum::Good, Sum::None));
    }
}

#[test]
fn a_bad_checksum_stays_bad_by_the_same_difference() {
    let mut frame = udp4(b"payload");
    frame[40] ^= 0x55;
    frame[24] ^= 0x55;
    assert_eq!(sums(&frame), (Sum::Bad, Sum::Bad));
    let mut good = udp4(b"payload");
    let maps = || [Maps::of(Side::Source).ip(&[("10.1.2.3", "172.16.254.1")])];
    apply(&preserving(maps()), &mut frame);
    apply(&preserving(maps()), &mut good);
    assert_eq!(sums(&frame), (Sum::Bad, Sum::Bad));
    assert_eq!(sums(&good), (Sum::Good, Sum::Good));
    // In one's complement arithmetic the bad one is as far from the good one as before.
    let difference = |a: &[u8], b: &[u8], at: usize| {
        let field = |frame: &[u8]| u32::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
        (field(a) + 0xffff - field(b)) % 0xffff
    };
    let mut unmapped = udp4(b"payload");
    unmapped[40] ^= 0x55;
    unmapped[24] ^= 0x55;
    let original = udp4(b"payload");
    for at in [24, 40] {
        assert_eq!(difference(&frame, &good, at), difference(&unmapped, &original, at));
    }
}

#[test]
fn arp_sender_and_target_follow_the_maps_and_an_unknown_target_stays_unknown() {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 0xa, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([2, 0, 0, 0, 0, 0xa, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 10, 9, 8, 7]);
    let maps = [
        Maps::of(Side::Source).ip(&[("10.0.0.0/8", "192.0.2.0/24")]).every_mac(MacTarget::Sender),
        Maps::of(Side::Destination).ip(&[("10.9.8.7", "198.51.100.7")]).every_mac(MacTarget::Receiver),
    ];
    apply(&preserving(maps), &mut frame);
    assert_eq!(
        line(&frame),
        "   42B  02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff  arp request  sender 192.0.2.3 02:00:00:00:00:01  target 198.51.100.7 00:00:00:00:00:00"
    );
}

#[test]
fn the_packet_that_an_icmp_error_quotes_is_mapped_as_it_was_itself() {
    let mut quoted = udp4(b"quoted");
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0xb], [2, 0, 0, 0, 0, 0xa])
        .ipv4([10, 9, 8, 7], [10, 1, 2, 3], 64)
        .icmpv4_raw(3, 3, [0; 4]);
    builder.write(&mut frame, &quoted[14..]).expect("it fits");
    let rewriter = preserving([
        Maps::of(Side::Source).ip(&[("10.1.2.3", "192.0.2.1")]).ports(&[(2055, 2055, 9995)]),
        Maps::of(Side::Destination).ip(&[("10.9.8.7", "198.51.100.1")]),
    ]);
    apply(&rewriter, &mut frame);
    apply(&rewriter, &mut quoted);
    assert_eq!(frame[42..], quoted[14..]);
    assert_eq!(sums(&frame), (Sum::Good, Sum::Good));
}

#[test]
fn a_source_route_s_last_address_is_the_one_in_the_sum() {
    // A loose source route with one hop left: RFC 791 §3.1.
    let mut frame = udp4(b"routed");
    frame.splice(34..34, [131, 7, 4, 203, 0, 113, 9, 0]);
    frame[14] = 0x47;
    frame[16..18].copy_from_slice(&(20_u16 + 8 + 8 + 6).to_be_bytes());
    apply(&rewriter(Checksums::Fix, []), &mut frame);
    assert_eq!(sums(&frame), (Sum::Good, Sum::Good));
    let transport = frame[42..].to_vec();
    apply(&preserving([Maps::of(Side::Destination).ip(&[("10.9.8.7", "192.0.2.1")])]), &mut frame);
    assert_eq!(frame[42..], transport, "the final destination didn't change");
    assert_eq!(sums(&frame), (Sum::Good, Sum::Good));
}

#[test]
fn hits_are_counted_once_a_frame_with_the_first_of_them() {
    let rewriter =
        preserving([Maps::of(Side::Both).ip(&[("10.0.0.0/8", "192.0.0.0/8"), ("172.16.0.0/12", "10.16.0.0/12")])]);
    let mut pass = Pass::new(&rewriter);
    for number in [3, 4, 9] {
        let frame = if number == 3 { vec![0; 60] } else { udp4(b"x") };
        through(&mut pass, number, LinkType::ETHERNET, &frame, length(&frame));
    }
    let stats = pass.into_stats();
    let [first, second] = stats.entries() else { panic!("two entries") };
    assert_eq!((first.frames, first.first_frame), (2, 4));
    assert_eq!((second.frames, second.first_frame), (0, 0));
    let left = stats.left(Left::NotIp);
    assert_eq!((left.frames, left.first_frame), (1, 3));
    assert_eq!(stats.unused(&rewriter).count(), 1);
}

#[test]
fn an_entry_that_matches_nothing_is_shown_with_what_is_there() {
    let text = "[rewrite.source]\nip = { \"172.16.0.0/12\" = \"10.16.0.0/12\" }\nport = { 53 = 54 }\n\n[rewrite.both]\nmac = { \"02:00:00:00:00:99\" = \"sender\" }\n";
    let span = |words: &str| text.find(words).map(|at| at..at + words.len()).expect("it is there");
    let mut source = Maps::of(Side::Source).ip(&[("172.16.0.0/12", "10.16.0.0/12")]).ports(&[(53, 53, 54)]).0;
    if let Some(IpMap::Prefixes(entries)) = &mut source.ip {
        entries[0].span = span("\"172.16.0.0/12\" = \"10.16.0.0/12\"");
    }
    source.port[0].span = span("53 = 54");
    let mut both = Maps::of(Side::Both).mac("02:00:00:00:00:99", "02:00:00:00:00:01").0;
    if let Some(MacMap::Entries(entries)) = &mut both.mac {
        entries[0].span = span("\"02:00:00:00:00:99\" = \"sender\"");
    }
    let rewriter = preserving([Maps(source), Maps(both)]);
    let mut seen = Seen::default();
    for _ in 0..3 {
        let frame = udp4(b"x");
        seen.add(&Layers::find(LinkType::ETHERNET, &frame), &frame);
    }
    let source = Arc::new(Source { path: "scenario.toml".into(), text: text.to_owned() });
    let problems = unused_problems(&rewriter, &RewriteStats::new(&rewriter), &source, &seen);
    insta::assert_snapshot!(render(&problems, Style::Plain));
}

#[test]
fn a_line_says_what_a_reviewer_looks_for() {
    let mut tagged = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0xa], [2, 0, 0, 0, 0, 0xb])
        .single_vlan(100.try_into().expect("an id"))
        .ipv6(Ipv6Addr::LOCALHOST.octets(), [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 3)
        .tcp(80, 40000, 7, 1024)
        .syn()
        .ack(1)
        .write(&mut tagged, b"hello")
        .expect("it fits");
    let mut bad = udp4(b"bad sums");
    bad[24] ^= 1;
    bad[40] ^= 1;
    bad.extend([0; 10]);
    let mut unsummed = udp4(b"no sum");
    unsummed[40..42].copy_from_slice(&[0, 0]);
    unsummed[15] = 0xb8;
    apply(&rewriter(Checksums::Fix, []), &mut unsummed);
    let mut fragment = udp4(b"fragment");
    fragment[20..22].copy_from_slice(&[0x20, 0x10]);
    apply(&rewriter(Checksums::Fix, []), &mut fragment);
    let cut = udp4(b"cut by the snaplen")[..50].to_vec();
    let frames = [tagged, bad, unsummed, fragment, cut, vec![1, 2, 3], vec![0; 20]];
    let lines: Vec<String> = frames
        .iter()
        .zip(1..)
        .map(|(frame, number)| {
            let layers = Layers::find(LinkType::ETHERNET, frame);
            let wire = if number == 5 { 60 } else { length(frame) };
            listing::line(number, Duration::from_micros(number * 1500), &layers, frame, wire)
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}
