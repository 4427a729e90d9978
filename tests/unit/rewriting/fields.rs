//! VLAN tags, fields of the IP header, lengths, padding, cutting, and headers for frames that have none.

use crate::diagnostic::At;
use crate::packet::MacAddr;
use crate::packet::checksum::Sum;
use crate::packet::layers::{Layers, LinkType};
use crate::rewrite::{Framing, Left, Pass, Reshaped};
use crate::scenario::rewrite::{
    Checksums, HeaderFields, Lengths, NewTag, Oversize, Rewrite, Side, TagPosition, Ttl, Vlan, VlanEntry,
};

use super::{Maps, apply, compile, length, of, pass, sums, through, udp4};

fn tagged(tags: &[[u8; 4]], payload: &[u8]) -> Vec<u8> {
    let mut frame = udp4(payload);
    frame.splice(12..12, tags.concat());
    frame
}

fn vlan(vlan: Vlan) -> Rewrite {
    Rewrite { vlan: Some(vlan), ..Rewrite::default() }
}

#[test]
fn a_tag_is_pushed_before_the_others() {
    let tag = NewTag { tpid: 0x8100, id: 45, priority: 5, dei: true, span: 0..0 };
    let push = compile(&vlan(Vlan::Push { tags: vec![tag], position: OUTER }));
    let (frame, original) = pass(&push, &udp4(b"x"));
    assert_eq!(frame, tagged(&[[0x81, 0, 0xb0, 45]], b"x"));
    assert_eq!(original, length(&frame));
    let (frame, _) = pass(&push, &tagged(&[[0x88, 0xa8, 0, 7]], b"x"));
    assert_eq!(frame, tagged(&[[0x81, 0, 0xb0, 45], [0x88, 0xa8, 0, 7]], b"x"));
}

#[test]
fn pop_all_takes_every_tag_off() {
    let rewriter = compile(&vlan(Vlan::Pop { tag: None, span: 0..0 }));
    let mut one = Pass::new(&rewriter);
    for (number, tags) in [(1, 1), (2, 2), (3, 3)] {
        let frame = tagged(&[[0x88, 0xa8, 0, 7], [0x81, 0, 0, 8], [0x81, 0, 0, 9]][..tags], b"x");
        let popped = through(&mut one, number, LinkType::ETHERNET, &frame, length(&frame));
        assert_eq!(popped, (tagged(&[], b"x"), length(&frame) - 4 * u32::try_from(tags).unwrap()));
    }
    assert_eq!(one.stats.entries()[0].frames, 3);
}

#[test]
fn the_outermost_tag_is_popped_and_what_has_none_stays() {
    let rewriter = compile(&vlan(Vlan::Pop { tag: Some(OUTER), span: 0..0 }));
    let mut one = Pass::new(&rewriter);
    let double = tagged(&[[0x88, 0xa8, 0, 7], [0x81, 0, 0, 8]], b"x");
    let popped = through(&mut one, 1, LinkType::ETHERNET, &double, 2000);
    assert_eq!(popped, (tagged(&[[0x81, 0, 0, 8]], b"x"), 1996));
    let plain = udp4(b"x");
    assert_eq!(through(&mut one, 2, LinkType::ETHERNET, &plain, length(&plain)).0, plain);
    assert_eq!(one.stats.entries()[0].frames, 1);
    // A MAC is no reason to take 802.3's length for a tag, and other link types have no tags.
    let raw = &plain[14..];
    assert_eq!(through(&mut one, 3, LinkType(101), raw, length(raw)).0, raw);
}

#[test]
fn identifiers_are_mapped_once_and_priority_stays() {
    let entry = |from: Option<u16>, to| VlanEntry { from: from.map(|from| from..=from), to: to..=to, span: 0..0 };
    let entries = vec![entry(Some(10), 20), entry(Some(20), 10), entry(None, 99)];
    let rewriter = compile(&vlan(Vlan::Map { tag: OUTER, entries }));
    for (old, new) in [(10, 20), (20, 10), (30, 99)] {
        let (frame, _) = pass(&rewriter, &tagged(&[[0x81, 0, 0xe0, old], [0x81, 0, 0, 10]], b"x"));
        assert_eq!(frame, tagged(&[[0x81, 0, 0xe0, new], [0x81, 0, 0, 10]], b"x"));
    }
    let plain = udp4(b"x");
    assert_eq!(pass(&rewriter, &plain).0, plain);
}

#[test]
fn a_range_becomes_one_identifier_or_a_range_of_as_many() {
    let entry = |from, to| VlanEntry { from: Some(from), to, span: 0..0 };
    let entries = vec![entry(200..=209, 30..=39), entry(100..=199, 7..=7), entry(5..=5, 4000..=4000)];
    let rewriter = compile(&vlan(Vlan::Map { tag: OUTER, entries }));
    for (old, new) in [(99, 99), (100, 7), (199, 7), (200, 30), (209, 39), (210, 210), (5, 4000)] {
        let tag = |id: u16| [0x88, 0xa8, 0xb0 | id.to_be_bytes()[0], id.to_be_bytes()[1]];
        assert_eq!(pass(&rewriter, &tagged(&[tag(old)], b"x")).0, tagged(&[tag(new)], b"x"), "VLAN {old}");
    }
}

const S: [u8; 4] = [0x88, 0xa8, 0, 7];
const C: [u8; 4] = [0x81, 0, 0xa0, 8];
const I: [u8; 4] = [0x91, 0, 0, 9];
const NEW: [u8; 4] = [0x88, 0xa8, 0xf0, 1];
const OUTER: TagPosition = TagPosition::Outside(1);
const SECOND: TagPosition = TagPosition::Outside(2);
const INNER: TagPosition = TagPosition::Innermost;

#[test]
fn any_tag_of_a_stack_is_popped_pushed_or_mapped() {
    let pop = |tag| vlan(Vlan::Pop { tag: Some(tag), span: 0..0 });
    let new = NewTag { tpid: 0x88a8, id: 1, priority: 7, dei: true, span: 0..0 };
    let push = |position| vlan(Vlan::Push { tags: vec![new.clone()], position });
    let map = |tag| {
        let entries = vec![VlanEntry { from: None, to: 1..=1, span: 0..0 }];
        vlan(Vlan::Map { tag, entries })
    };
    let mapped = |tag: [u8; 4]| [tag[0], tag[1], tag[2], 1];
    let none: &[[u8; 4]] = &[];
    for (rewrite, before, after) in [
        (pop(INNER), &[S, C, I][..], &[S, C][..]),
        (pop(SECOND), &[S, C, I], &[S, I]),
        (pop(SECOND), &[S], &[S]),
        (pop(INNER), &[S], none),
        (pop(INNER), none, none),
        (push(OUTER), &[C], &[NEW, C]),
        (push(INNER), &[S, C], &[S, C, NEW]),
        (push(INNER), none, &[NEW]),
        (push(SECOND), &[S, C], &[S, NEW, C]),
        (push(SECOND), &[S], &[S, NEW]),
        (push(SECOND), none, none),
        (map(INNER), &[S, C, I], &[S, C, mapped(I)]),
        (map(SECOND), &[S, C, I], &[S, mapped(C), I]),
        (map(SECOND), &[S], &[S]),
    ] {
        let rewriter = compile(&rewrite);
        for (link, header) in [(LinkType::ETHERNET, 12), (LinkType::LINUX_SLL, 14), (LinkType::LINUX_SLL2, 0)] {
            let frame = |tags: &[[u8; 4]]| cooked(link, header, tags);
            let mut one = Pass::new(&rewriter);
            let captured = frame(before);
            let (bytes, original) = through(&mut one, 1, link, &captured, length(&captured));
            assert_eq!(bytes, frame(after), "{rewrite:?} of link type {}", link.0);
            assert_eq!(original, length(&bytes));
            assert_eq!(one.stats.entries()[0].frames, u64::from(before != after));
        }
    }
}

#[test]
fn several_tags_are_pushed_the_outermost_first() {
    let tag = |tpid, id| NewTag { tpid, id, priority: 0, dei: false, span: 0..0 };
    let tags = vec![tag(0x88a8, 7), tag(0x8100, 3)];
    let rewriter = compile(&vlan(Vlan::Push { tags, position: OUTER }));
    let (frame, original) = pass(&rewriter, &tagged(&[I], b"x"));
    assert_eq!((frame, original), (tagged(&[S, [0x81, 0, 0, 3], I], b"x"), length(&tagged(&[S, C, I], b"x"))));
}

/// A datagram of this link type whose `EtherType` is at `field`, behind these tags.
fn cooked(link: LinkType, field: usize, tags: &[[u8; 4]]) -> Vec<u8> {
    let stack = [tags.concat(), vec![8, 0]].concat();
    let mut header = vec![3; if link == LinkType::LINUX_SLL2 { 20 } else { field }];
    if link == LinkType::LINUX_SLL2 {
        header[..2].copy_from_slice(&stack[..2]);
        header.extend(&stack[2..]);
    } else {
        header.extend(stack);
    }
    [header, udp4(b"x").split_off(14)].concat()
}

fn header(fields: HeaderFields) -> Rewrite {
    Rewrite { header: fields, ..Rewrite::default() }
}

fn udp6() -> Vec<u8> {
    let address = |last| std::net::Ipv6Addr::from((0x2001_0db8_u128 << 96) | last).octets();
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0xa], [2, 0, 0, 0, 0, 0xb])
        .ipv6(address(1), address(2), 64)
        .udp(2055, 4739)
        .write(&mut frame, b"six")
        .expect("it fits");
    // Traffic class 0xab, flow label 0xcdef1.
    frame[14..18].copy_from_slice(&[0x6a, 0xbc, 0xde, 0xf1]);
    frame
}

#[test]
fn ttl_and_hop_limit_are_set_or_changed_and_stop_at_their_ends() {
    for (ttl, new) in [(Ttl::Set(7), 7), (Ttl::Change(-1), 63), (Ttl::Change(-70), 1), (Ttl::Change(250), 255)] {
        let rewriter = compile(&header(HeaderFields { ttl: Some(At::default_value(ttl)), ..HeaderFields::default() }));
        let (mut four, mut six) = (udp4(b"x"), udp6());
        apply(&rewriter, &mut four);
        apply(&rewriter, &mut six);
        assert_eq!((four[22], six[21]), (new, new));
        assert_eq!((sums(&four), sums(&six).1), ((Sum::Good, Sum::Good), Sum::Good));
    }
}

#[test]
fn each_class_and_label_is_set_in_its_own_version_and_ecn_stays() {
    let rewritten = |fields| {
        let rewriter = compile(&header(fields));
        let (mut four, mut six) = (udp4(b"x"), udp6());
        four[15] = 0xfe;
        apply(&compile(&Rewrite { checksums: Checksums::Fix, ..Rewrite::default() }), &mut four);
        apply(&rewriter, &mut four);
        apply(&rewriter, &mut six);
        assert_eq!((sums(&four).0, sums(&six).1), (Sum::Good, Sum::Good));
        (four[15], six[14..18].to_vec())
    };
    let none = HeaderFields::default;
    let stays = vec![0x6a, 0xbc, 0xde, 0xf1];
    assert_eq!(rewritten(HeaderFields { tos: Some(At::default_value(50)), ..none() }), (50, stays));
    let class = HeaderFields { traffic_class: Some(At::default_value(50)), ..none() };
    assert_eq!(rewritten(class), (0xfe, vec![0x63, 0x2c, 0xde, 0xf1]));
    let dscp = HeaderFields { dscp: Some(At::default_value(46)), ..none() };
    assert_eq!(rewritten(dscp), (0xba, vec![0x6b, 0xbc, 0xde, 0xf1]));
    let label = HeaderFields { flow_label: Some(At::default_value(0x12345)), ..none() };
    assert_eq!(rewritten(label), (0xfe, vec![0x6a, 0xb1, 0x23, 0x45]));
}

#[test]
fn a_length_of_zero_or_beyond_the_frame_is_fixed_and_padding_is_no_payload() {
    let rewriter = compile(&Rewrite { lengths: Lengths::Fix, ..Rewrite::default() });
    let good = udp4(b"payload");
    for length in [0_u16, 12, 5000] {
        let mut frame = good.clone();
        frame[16..18].copy_from_slice(&length.to_be_bytes());
        apply(&compile(&Rewrite { checksums: Checksums::Fix, ..Rewrite::default() }), &mut frame);
        frame[40..42].copy_from_slice(&good[40..42]);
        apply(&rewriter, &mut frame);
        assert_eq!(frame, good, "{length}");
    }
    let mut padded = good.clone();
    padded.extend([0; 11]);
    let before = padded.clone();
    apply(&rewriter, &mut padded);
    assert_eq!(padded, before);
}

#[test]
fn a_length_that_can_not_be_said_is_left_and_counted() {
    let mut frame = udp4(&[7; 100]);
    frame[16..18].copy_from_slice(&[0, 0]);
    let rewriter = compile(&Rewrite { lengths: Lengths::Fix, ..Rewrite::default() });
    let mut one = Pass::new(&rewriter);
    let (after, _) = through(&mut one, 1, LinkType::ETHERNET, &frame, 70_000);
    assert_eq!(after, frame);
    assert_eq!(one.stats.left(Left::Length).frames, 1);
}

#[test]
fn a_cut_frame_is_padded_before_it_is_rewritten() {
    let whole = udp4(&[0; 40]);
    let rewriter = compile(&Rewrite {
        checksums: Checksums::Fix,
        ..of([Maps::of(Side::Both).ip(&[("10.0.0.0/8", "11.0.0.0/8")])])
    });
    let mut padding = Pass::new(&rewriter).padding();
    let (after, original) = through(&mut padding, 1, LinkType::ETHERNET, &whole[..60], length(&whole));
    assert_eq!((after.len(), original), (whole.len(), length(&whole)));
    assert_eq!(sums(&after), (Sum::Good, Sum::Good));
    assert_eq!(after[60..], whole[60..]);
    assert_eq!(padding.stats.reshaped(Reshaped::Padded).first_frame, 1);
}

#[test]
fn a_frame_over_the_mtu_is_cut_and_its_lengths_follow_only_where_asked() {
    let whole = tagged(&[[0x81, 0, 0, 9]], &[5; 300]);
    let truncate = At::default_value(Oversize::Truncate);
    let plain = compile(&Rewrite { oversize: truncate.clone(), ..Rewrite::default() });
    let mut cutting = Pass::new(&plain).cutting(200);
    let (cut, original) = through(&mut cutting, 1, LinkType::ETHERNET, &whole, length(&whole));
    assert_eq!(cutting.stats.reshaped(Reshaped::Cut).frames, 1);
    assert_eq!(cut, whole[..218]);
    assert_eq!(original, 218);
    let mending =
        Rewrite { oversize: truncate, lengths: Lengths::Fix, checksums: Checksums::Fix, ..Rewrite::default() };
    let mending = compile(&mending);
    let (mended, _) = through(&mut Pass::new(&mending).cutting(200), 1, LinkType::ETHERNET, &whole, length(&whole));
    assert_eq!(mended[20..22], 200_u16.to_be_bytes());
    assert_eq!(mended[42..44], 180_u16.to_be_bytes());
    assert_eq!(sums(&mended), (Sum::Good, Sum::Good));
    // What fits stays.
    let small = udp4(b"x");
    assert_eq!(through(&mut Pass::new(&mending).cutting(200), 1, LinkType::ETHERNET, &small, length(&small)).0, small);
}

const THE_RECEIVER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const FRAMING: Framing = Framing { sender: MacAddr([2, 0, 0, 0, 0, 1]), receiver: Some(THE_RECEIVER) };

/// The frame as an interface of this link type would have captured the IP packet, and what Ethernet header it is given.
fn framed(link: u16, header: &[u8], packet: &[u8]) -> Option<(MacAddr, MacAddr, u16)> {
    let rewriter = compile(&Rewrite::default());
    let frame = [header, packet].concat();
    let mut pass = Pass::new(&rewriter).framing(FRAMING);
    let (made, original) = through(&mut pass, 1, LinkType(link), &frame, length(&frame) + 100);
    if made == frame {
        return None;
    }
    assert_eq!(made[14..], *packet, "link type {link}");
    assert_eq!(original, length(&made) + 100, "link type {link}");
    let (destination, source) = Layers::find(LinkType::ETHERNET, &made).macs(&made)?;
    Some((destination, source, u16::from_be_bytes([made[12], made[13]])))
}

#[test]
fn every_link_type_that_carries_ip_is_given_an_ethernet_header() {
    let (four, six) = (&udp4(b"x")[14..], &udp6()[14..]);
    let to_receiver = |ethertype| Some((THE_RECEIVER, FRAMING.sender, ethertype));
    for (link, header, packet, ethertype) in [
        (0, &[2, 0, 0, 0][..], four, 0x0800),
        (0, &[0, 0, 0, 30], six, 0x86dd),
        (108, &[0, 0, 0, 2], four, 0x0800),
        (101, &[], four, 0x0800),
        (12, &[], six, 0x86dd),
        (228, &[], four, 0x0800),
        (229, &[], six, 0x86dd),
        (9, &[0xff, 3, 0, 0x21], four, 0x0800),
        (9, &[0, 0x57], six, 0x86dd),
        (104, &[0x0f, 0, 8, 0], four, 0x0800),
    ] {
        assert_eq!(framed(link, header, packet), to_receiver(ethertype), "link type {link}");
    }
    let cooked = |kind, mac: [u8; 6]| {
        let header = [&[0, kind, 0, 1, 0, 6][..], &mac, &[0, 0, 8, 0]].concat();
        framed(113, &header, four)
    };
    let station = MacAddr([2, 0, 0, 0, 0, 9]);
    assert_eq!(cooked(0, station.0), Some((THE_RECEIVER, station, 0x0800)));
    assert_eq!(cooked(1, station.0), Some((MacAddr([0xff; 6]), station, 0x0800)));
    assert_eq!(cooked(0, [0; 6]), to_receiver(0x0800));
    let sll2 = [&[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6][..], &station.0, &[0, 0]].concat();
    assert_eq!(framed(276, &sll2, four), Some((THE_RECEIVER, station, 0x0800)));
}

#[test]
fn a_new_header_has_the_multicast_or_broadcast_mac_of_its_packet() {
    let mut packet = udp4(b"x")[14..].to_vec();
    packet[16..20].copy_from_slice(&[239, 129, 2, 3]);
    assert_eq!(framed(101, &[], &packet).map(|made| made.0), Some(MacAddr([1, 0, 0x5e, 1, 2, 3])));
    packet[16..20].copy_from_slice(&[255; 4]);
    assert_eq!(framed(101, &[], &packet).map(|made| made.0), Some(MacAddr([0xff; 6])));
}

#[test]
fn what_has_no_ethertype_is_given_no_header() {
    assert_eq!(framed(113, &[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0, 0, 4], b"802.2"), None);
    assert_eq!(framed(105, &[8, 0, 0, 0], b"802.11"), None);
    assert_eq!(framed(101, &[], b"neither"), None);
}

#[test]
fn a_made_header_follows_the_maps() {
    let maps = Maps::of(Side::Destination).mac("02:00:00:00:00:02", "02:00:00:00:00:99");
    let rewriter = compile(&of([maps]));
    let packet = &udp4(b"x")[14..];
    let (made, _) = through(&mut Pass::new(&rewriter).framing(FRAMING), 1, LinkType(101), packet, length(packet));
    assert_eq!(made[..6], [2, 0, 0, 0, 0, 0x99]);
}
