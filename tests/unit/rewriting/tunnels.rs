//! What is inside a tunnel, by `layers`.

use etherparse::PacketBuilder;
use proptest::prelude::*;
use std::sync::Arc;

use crate::diagnostic::{At, Source};
use crate::packet::checksum::{Sum, ip_header_sum, transport_sum};
use crate::packet::layers::{Layers, LinkType};
use crate::rewrite::{Left, Pass, Rewriter, Seen, unused_problems};
use crate::scenario::rewrite::{Checksums, HeaderFields, Rewrite, Side, Ttl, TunnelLayers};

use super::{Maps, apply, compile, length, of, rewrite_in_place, sums, udp4};

/// How an inner packet is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tunnel {
    Ip,
    Gre,
    GreChecksumKeySequence,
    Vxlan,
    Geneve,
    GeneveOptions,
}

const ALL: [Tunnel; 6] =
    [Tunnel::Ip, Tunnel::Gre, Tunnel::GreChecksumKeySequence, Tunnel::Vxlan, Tunnel::Geneve, Tunnel::GeneveOptions];

/// A frame from 172.16.0.1 (or 2001:db8:ff::1) to 172.16.0.2 that carries `inner`, an Ethernet frame with an IP packet; and where that
/// packet begins.
fn carry(tunnel: Tunnel, v6: bool, inner: &[u8]) -> (Vec<u8>, usize) {
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0xc], [2, 0, 0, 0, 0, 0xd]);
    let address = |last| std::net::Ipv6Addr::from((0x2001_0db8_00ff_u128 << 80) | last).octets();
    let ip = if v6 { link.ipv6(address(1), address(2), 9) } else { link.ipv4([172, 16, 0, 1], [172, 16, 0, 2], 9) };
    let start = if v6 { 54 } else { 34 };
    let inner_is_v6 = inner[12..14] == [0x86, 0xdd];
    let mut frame = Vec::new();
    let at = match tunnel {
        Tunnel::Ip => {
            let protocol = if inner_is_v6 { 41 } else { 4 };
            ip.write(&mut frame, protocol.into(), &inner[14..]).expect("it fits");
            start
        }
        Tunnel::Gre => {
            let header = [&[0, 0], &inner[12..14]].concat();
            ip.write(&mut frame, 47.into(), &[&header, &inner[14..]].concat()).expect("it fits");
            start + 4
        }
        Tunnel::GreChecksumKeySequence => {
            let mut payload = [&[0xb0, 0, 0x65, 0x58, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 9], inner].concat();
            let sum = !plain_sum(&payload);
            payload[4..6].copy_from_slice(&sum.to_be_bytes());
            ip.write(&mut frame, 47.into(), &payload).expect("it fits");
            start + 16 + 14
        }
        Tunnel::Vxlan => {
            let payload = [&[8, 0, 0, 0, 0, 0, 7, 0], inner].concat();
            ip.udp(40000, 4789).write(&mut frame, &payload).expect("it fits");
            start + 16 + 14
        }
        Tunnel::Geneve => {
            let payload = [&[0, 0, 0x65, 0x58, 0, 0, 7, 0], inner].concat();
            ip.udp(40000, 6081).write(&mut frame, &payload).expect("it fits");
            start + 16 + 14
        }
        Tunnel::GeneveOptions => {
            let payload = [&[1, 0, inner[12], inner[13], 0, 0, 7, 0, 1, 1, 1, 0], &inner[14..]].concat();
            ip.udp(40000, 6081).write(&mut frame, &payload).expect("it fits");
            start + 20
        }
    };
    (frame, at)
}

/// The sum of big-endian words (RFC 1071), the slow way.
fn plain_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded")
}

/// The sums of the packet that begins at `at`, as if it were alone.
fn inner_sums(frame: &[u8], at: usize) -> (Sum, Sum) {
    let packet = &frame[at..];
    let layers = Layers::find(LinkType(101), packet);
    (ip_header_sum(&layers.network, packet), transport_sum(&layers.network, packet, length(packet)))
}

fn mapping(layers: TunnelLayers, checksums: Checksums) -> Rewriter {
    let everything =
        [("10.0.0.0/8", "11.0.0.0/8"), ("172.16.0.0/16", "172.17.0.0/16"), ("2001:db8::/32", "fd00:1::/32")];
    let maps =
        Maps::of(Side::Both).ip(&everything).ports(&[(2055, 2055, 2056), (4789, 4789, 4790), (6081, 6081, 6082)]);
    let maps = maps.mac("02:00:00:00:00:0a", "02:00:00:00:00:aa");
    let header = HeaderFields { ttl: Some(At::default_value(Ttl::Change(-3))), ..HeaderFields::default() };
    compile(&Rewrite { checksums, layers, header, ..of([maps]) })
}

#[test]
fn outer_leaves_what_is_inside_a_tunnel() {
    for tunnel in ALL {
        for v6 in [false, true] {
            let (before, at) = carry(tunnel, v6, &udp4(b"inside"));
            let mut frame = before.clone();
            apply(&mapping(TunnelLayers::Outer, Checksums::Preserve), &mut frame);
            let inner_ip = at..frame.len();
            assert_eq!(frame[inner_ip.clone()], before[inner_ip], "{tunnel:?}");
            assert_ne!(frame, before);
            assert_ne!(sums(&frame).0, Sum::Bad, "{tunnel:?}");
        }
    }
}

#[test]
fn inner_changes_what_is_inside_and_the_outer_sums_alone() {
    for tunnel in ALL {
        for v6 in [false, true] {
            let (before, at) = carry(tunnel, v6, &udp4(b"inside"));
            let mut frame = before.clone();
            apply(&mapping(TunnelLayers::Inner, Checksums::Preserve), &mut frame);
            let outer_addresses = if v6 { 14..54 } else { 14..34 };
            assert_eq!(frame[outer_addresses.clone()], before[outer_addresses], "{tunnel:?}");
            assert_eq!(frame[at + 12..at + 20], [11, 1, 2, 3, 11, 9, 8, 7], "{tunnel:?}");
            assert_eq!(frame[at + 8], 61, "{tunnel:?}");
            assert_eq!(frame[at + 20..at + 22], 2056_u16.to_be_bytes(), "{tunnel:?}");
            assert_eq!(inner_sums(&frame, at), (Sum::Good, Sum::Good), "{tunnel:?}");
            assert!(!matches!(sums(&frame), (Sum::Bad, _) | (_, Sum::Bad)), "{tunnel:?} {:?}", sums(&frame));
        }
    }
}

#[test]
fn all_changes_both_and_every_sum_follows() {
    for tunnel in ALL {
        for checksums in [Checksums::Preserve, Checksums::Fix] {
            let (mut frame, at) = carry(tunnel, false, &udp4(b"inside"));
            apply(&mapping(TunnelLayers::All, checksums), &mut frame);
            assert_eq!(frame[26..34], [172, 17, 0, 1, 172, 17, 0, 2]);
            assert_eq!((frame[22], frame[at + 8]), (6, 61));
            assert_eq!(frame[at + 12..at + 20], [11, 1, 2, 3, 11, 9, 8, 7], "{tunnel:?}");
            assert_eq!(inner_sums(&frame, at), (Sum::Good, Sum::Good), "{tunnel:?}");
            assert!(!matches!(sums(&frame), (Sum::Bad, _) | (_, Sum::Bad)), "{tunnel:?}");
        }
    }
}

#[test]
fn a_gre_checksum_follows() {
    let (mut frame, _) = carry(Tunnel::GreChecksumKeySequence, false, &udp4(b"inside!"));
    assert_eq!(plain_sum(&frame[34..]), 0xffff);
    let before = frame.clone();
    apply(&mapping(TunnelLayers::Inner, Checksums::Preserve), &mut frame);
    assert_ne!(frame, before);
    assert_eq!(plain_sum(&frame[34..]), 0xffff);
}

#[test]
fn a_mac_inside_changes_only_where_the_inside_is_meant() {
    let (before, at) = carry(Tunnel::Vxlan, false, &udp4(b"x"));
    for (layers, changed) in [(TunnelLayers::Outer, false), (TunnelLayers::Inner, true), (TunnelLayers::All, true)] {
        let mut frame = before.clone();
        apply(&mapping(layers, Checksums::Preserve), &mut frame);
        assert_eq!(frame[at - 8..at - 2] == [2, 0, 0, 0, 0, 0xaa], changed, "{layers:?}");
        assert_eq!(sums(&frame).1, Sum::Good);
    }
}

#[test]
fn bad_sums_inside_are_fixed_where_they_are_meant_and_the_outer_sum_follows() {
    let mut inner = udp4(b"inside");
    inner[40] ^= 0x55;
    let (before, at) = carry(Tunnel::Vxlan, false, &inner);
    assert_eq!((inner_sums(&before, at).1, sums(&before).1), (Sum::Bad, Sum::Good));
    for (layers, expected) in
        [(TunnelLayers::Outer, Sum::Bad), (TunnelLayers::Inner, Sum::Good), (TunnelLayers::All, Sum::Good)]
    {
        let mut frame = before.clone();
        apply(&compile(&Rewrite { layers, checksums: Checksums::Fix, ..Rewrite::default() }), &mut frame);
        assert_eq!((inner_sums(&frame, at).1, sums(&frame).1), (expected, Sum::Good), "{layers:?}");
    }
}

#[test]
fn what_is_in_no_tunnel_is_left_and_counted_where_the_inside_is_meant() {
    let rewriter = mapping(TunnelLayers::Inner, Checksums::Preserve);
    let before = udp4(b"alone");
    let mut frame = before.clone();
    let stats = apply(&rewriter, &mut frame);
    assert_eq!(frame, before);
    assert_eq!(stats.left(Left::NoTunnel).frames, 1);
}

#[test]
fn tunnels_inside_tunnels_are_followed_to_a_depth_of_eight() {
    let mut frame = udp4(b"deep");
    for _ in 0..12 {
        frame = carry(Tunnel::Ip, false, &frame).0;
    }
    let rewriter = mapping(TunnelLayers::All, Checksums::Preserve);
    let stats = apply(&rewriter, &mut frame);
    let changed = (0..13).take_while(|depth| frame[14 + depth * 20 + 13] == 17).count();
    assert_eq!(changed, 9);
    assert_eq!(stats.left(Left::DeepTunnel).frames, 1);
}

#[test]
fn the_depth_of_a_mountain_of_tunnels_breaks_nothing() {
    let mut packet = Vec::new();
    let header = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 4, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    (0..100_000).for_each(|_| packet.extend(header));
    let mut frame = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0], &packet[..]].concat();
    apply(&mapping(TunnelLayers::All, Checksums::Fix), &mut frame);
}

proptest! {
    #[test]
    fn no_bytes_in_a_tunnel_make_it_panic(
        tunnel in prop::sample::select(ALL.to_vec()),
        mut inner in prop::collection::vec(any::<u8>(), 14..120),
        cut in any::<prop::sample::Index>(),
        fix in any::<bool>(),
    ) {
        let ethertype = if inner[0] & 1 == 0 { [8, 0] } else { [0x86, 0xdd] };
        inner[12..14].copy_from_slice(&ethertype);
        let (mut frame, _) = carry(tunnel, inner[1] & 1 == 0, &inner);
        let original = length(&frame);
        frame.truncate(cut.index(frame.len()) + 1);
        let rewriter = mapping(TunnelLayers::All, if fix { Checksums::Fix } else { Checksums::Preserve });
        rewrite_in_place(&mut Pass::new(&rewriter), LinkType::ETHERNET, &mut frame, original);
    }
}

#[test]
fn an_unused_entry_names_the_layers_that_were_searched() {
    let maps = Maps::of(Side::Source).ip(&[("10.1.2.3", "192.0.2.1")]);
    let rewriter = compile(&Rewrite { layers: TunnelLayers::Inner, ..of([maps]) });
    let source = Arc::new(Source { path: "scenario.toml".into(), text: String::new() });
    let (mut frame, _) = carry(Tunnel::Vxlan, false, &udp6(b"inside"));
    let mut seen = Seen::new(&rewriter);
    seen.add(&Layers::find(LinkType::ETHERNET, &frame), &frame);
    let stats = apply(&rewriter, &mut frame);
    let problems = unused_problems(&rewriter, &stats, &source, &seen);
    let why = problems[0].why.as_deref();
    assert_eq!(
        why,
        Some("the source IP addresses are 2001:db8::1 in 1 frame; `layers = \"inner\"` looks inside tunnels only")
    );
}

fn udp6(payload: &[u8]) -> Vec<u8> {
    let address = |last| std::net::Ipv6Addr::from((0x2001_0db8_u128 << 96) | last).octets();
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv6(address(1), address(2), 64)
        .udp(7, 9)
        .write(&mut frame, payload)
        .expect("it fits");
    frame
}

/// An ICMP error of a router about `frame`.
fn error_about(frame: &[u8]) -> Vec<u8> {
    let mut error = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0xe], [2, 0, 0, 0, 0, 0xc])
        .ipv4([172, 16, 0, 9], [172, 16, 0, 1], 64)
        .icmpv4_raw(3, 1, [0; 4])
        .write(&mut error, &frame[14..])
        .expect("it fits");
    error
}

#[test]
fn what_a_quoted_tunnel_packet_carries_is_as_the_packet_itself_is_rewritten() {
    let sides = || {
        let source = Maps::of(Side::Source).ip(&[("10.1.0.0/16", "192.0.0.0/16"), ("172.16.0.1", "198.51.100.1")]);
        let destination = Maps::of(Side::Destination).ip(&[("10.9.0.0/16", "203.0.0.0/16")]).ports(&[(4739, 4739, 9)]);
        [source, destination]
    };
    for layers in [TunnelLayers::Outer, TunnelLayers::Inner, TunnelLayers::All] {
        let rewriter = compile(&Rewrite { layers, ..of(sides()) });
        for tunnel in ALL {
            let (mut packet, _) = carry(tunnel, false, &udp4(b"carried"));
            let mut error = error_about(&packet);
            apply(&rewriter, &mut packet);
            let stats = apply(&rewriter, &mut error);
            assert_eq!(error[42..], packet[14..], "{layers:?} {tunnel:?}");
            assert_eq!(sums(&error), (Sum::Good, Sum::Good), "{layers:?} {tunnel:?}");
            assert_eq!(stats.left(Left::NoTunnel).frames, 0);
        }
        // Of a short quotation only what is there is looked at.
        let (packet, _) = carry(Tunnel::Ip, false, &udp4(b"carried"));
        for length in 34..packet.len() {
            apply(&rewriter, &mut error_about(&packet[..length]));
        }
    }
    let mut plain = error_about(&udp4(b"x"));
    let before = plain.clone();
    let inner = compile(&Rewrite { layers: TunnelLayers::Inner, ..of(sides()) });
    assert_eq!((apply(&inner, &mut plain).left(Left::NoTunnel).frames, plain), (1, before));
}
