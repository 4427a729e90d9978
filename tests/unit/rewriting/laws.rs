//! What holds for every packet.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;
use std::time::Duration;

use crate::capture::Frame;
use crate::packet::checksum::Sum;
use crate::packet::layers::{Layers, LinkType};
use crate::packet::listing;
use crate::rewrite::{Pass, Rewriter};
use crate::scenario::rewrite::{Checksums, MacTarget, NewTag, Rewrite, Side, TagPosition, Vlan};
use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::{Maps, apply, compile, length, of, preserving, rewrite_in_place, rewriter, sums, through};

/// What may be built.
#[derive(Debug, Clone)]
struct Built {
    v6: bool,
    tcp: bool,
    vlan: Option<u16>,
    source: u32,
    destination: u32,
    ports: (u16, u16),
    payload: Vec<u8>,
}

fn built() -> impl Strategy<Value = Built> {
    let payload = prop::collection::vec(any::<u8>(), 0..64);
    let addresses = (0..0xe000_0000_u32, 0..0xe000_0000_u32);
    (any::<(bool, bool)>(), prop::option::of(1..4095_u16), addresses, any::<(u16, u16)>(), payload).prop_map(
        |((v6, tcp), vlan, (source, destination), ports, payload)| Built {
            v6,
            tcp,
            vlan,
            source,
            destination,
            ports,
            payload,
        },
    )
}

fn build(built: &Built) -> Vec<u8> {
    let mut frame = Vec::new();
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0xa], [2, 0, 0, 0, 0, 0xb]);
    let v6 = |low: u32| Ipv6Addr::from((0x2001_0db8_u128 << 96) | u128::from(low)).octets();
    macro_rules! network {
        ($link:expr) => {
            if built.v6 {
                $link.ipv6(v6(built.source), v6(built.destination), 64)
            } else {
                $link.ipv4(Ipv4Addr::from(built.source).octets(), Ipv4Addr::from(built.destination).octets(), 64)
            }
        };
    }
    let network = match built.vlan {
        Some(id) => network!(link.single_vlan(id.try_into().expect("twelve bits"))),
        None => network!(link),
    };
    let (source, destination) = built.ports;
    if built.tcp {
        network.tcp(source, destination, 1, 1024).write(&mut frame, &built.payload).expect("it fits");
    } else {
        network.udp(source, destination).write(&mut frame, &built.payload).expect("it fits");
    }
    frame
}

/// Swaps parts of the address space, and even ports with odd ones.
fn swapping() -> &'static Rewriter {
    static SWAPPING: LazyLock<Rewriter> = LazyLock::new(compile_swapping);
    &SWAPPING
}

fn compile_swapping() -> Rewriter {
    preserving([halves()])
}

fn halves() -> Maps {
    let halves = [
        ("0.0.0.0/2", "64.0.0.0/2"),
        ("64.0.0.0/2", "0.0.0.0/2"),
        ("128.0.0.0/3", "160.0.0.0/3"),
        ("160.0.0.0/3", "128.0.0.0/3"),
        ("192.0.0.0/4", "208.0.0.0/4"),
        ("208.0.0.0/4", "192.0.0.0/4"),
        ("2001:db8::/97", "2001:db8::8000:0/97"),
        ("2001:db8::8000:0/97", "2001:db8::/97"),
    ];
    let ports: Vec<(u16, u16, u16)> = (0..=u16::MAX).map(|port| (port, port, port ^ 1)).collect();
    Maps::of(Side::Both).ip(&halves).ports(&ports)
}

proptest! {
    #[test]
    fn what_etherparse_builds_has_its_layers_and_good_sums(built in built()) {
        let frame = build(&built);
        let layers = Layers::find(LinkType::ETHERNET, &frame);
        prop_assert_eq!(layers.ports(&frame), Some(built.ports));
        prop_assert_eq!(layers.vlan_tags, usize::from(built.vlan.is_some()));
        let (header, transport) = sums(&frame);
        prop_assert_eq!(header, if built.v6 { Sum::None } else { Sum::Good });
        prop_assert_eq!(transport, Sum::Good);
    }

    #[test]
    fn an_updated_sum_is_the_sum_of_the_new_packet(built in built()) {
        let mut frame = build(&built);
        let rewriter = swapping();
        apply(rewriter, &mut frame);
        let (header, transport) = sums(&frame);
        prop_assert_ne!(header, Sum::Bad);
        prop_assert_eq!(transport, Sum::Good);
        let layers = Layers::find(LinkType::ETHERNET, &frame);
        prop_assert_eq!(layers.ports(&frame), Some((built.ports.0 ^ 1, built.ports.1 ^ 1)));
    }

    #[test]
    fn mapping_there_and_back_gives_the_frame_back(built in built(), flipped in any::<prop::sample::Index>()) {
        let mut frame = build(&built);
        // A bad sum must come back too.
        let at = flipped.index(frame.len() - 34) + 34;
        frame[at] ^= 0x10;
        let before = frame.clone();
        let rewriter = swapping();
        apply(rewriter, &mut frame);
        prop_assert_eq!(frame.len(), before.len());
        apply(rewriter, &mut frame);
        let differing: Vec<usize> = (0..frame.len()).filter(|at| frame[*at] != before[*at]).collect();
        // 0xffff is the same sum as 0, and an update writes 0 (RFC 1624 §3).
        prop_assert!(differing.iter().all(|at| before[*at] == 0xff && frame[*at] == 0), "{:?}", differing);
    }

    #[test]
    fn only_what_is_named_changes(built in built()) {
        let before = build(&built);
        let mut frame = before.clone();
        apply(&preserving([Maps::of(Side::Destination).ports(&[(0, u16::MAX, 4739)])]), &mut frame);
        let layers = Layers::find(LinkType::ETHERNET, &before);
        let ip = layers.network.ip().expect("it is IP");
        let sum = ip.payload + if built.tcp { 16 } else { 6 };
        for at in (0..frame.len()).filter(|at| frame[*at] != before[*at]) {
            let named = (ip.payload + 2..ip.payload + 4).contains(&at) || (sum..sum + 2).contains(&at);
            prop_assert!(named, "byte {} changed", at);
        }
    }

    #[test]
    fn a_cut_frame_is_updated_as_the_whole_one_is(built in built(), kept in any::<prop::sample::Index>()) {
        let mut whole = build(&built);
        let mut cut = whole[..kept.index(whole.len())].to_vec();
        let rewriter = swapping();
        apply(rewriter, &mut whole);
        let layers = Layers::find(LinkType::ETHERNET, &cut);
        rewrite_in_place(&mut Pass::new(rewriter), LinkType::ETHERNET, &mut cut, length(&whole));
        if let Some(ip) = layers.network.ip().filter(|ip| ip.port_offsets().is_some()) {
            // Half a checksum says nothing, and stays.
            prop_assume!(cut.len() != ip.payload + if built.tcp { 17 } else { 7 });
            prop_assert_eq!(&cut[..], &whole[..cut.len()]);
        }
    }

    #[test]
    fn no_bytes_make_anything_panic(
        link in prop::sample::select(vec![0_u16, 1, 9, 12, 50, 51, 101, 104, 108, 113, 228, 276, 147]),
        start in prop::collection::vec(any::<u8>(), 0..24),
        ethertype in prop::sample::select(vec![&[0x08, 0x00, 0x45][..], &[0x08, 0x06], &[0x86, 0xdd, 0x60], &[0x81, 0x00], &[0x88, 0x64], &[0x88, 0x47], &[]]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut frame = [&start[..], ethertype, &rest[..]].concat();
        let link = LinkType(link);
        let fixing = rewriter(Checksums::Fix, [Maps::of(Side::Both).every_mac(MacTarget::Sender)]);
        for rewriter in [swapping(), &fixing] {
            let layers = Layers::find(link, &frame);
            rewrite_in_place(&mut Pass::new(rewriter), link, &mut frame, 1500);
            let line = listing::line(1, Duration::ZERO, &layers, &frame, 1500);
            prop_assert!(!line.is_empty());
        }
    }

    #[test]
    fn fixed_sums_are_good(built in built(), flipped in any::<prop::sample::Index>()) {
        let mut frame = build(&built);
        let layers = Layers::find(LinkType::ETHERNET, &frame);
        let payload = layers.network.ip().expect("it is IP").payload;
        // Not the lengths, which say what a sum covers.
        let at = payload + if built.tcp { [0, 1, 2, 3, 16, 17][flipped.index(6)] } else { [0, 1, 2, 3, 6, 7][flipped.index(6)] };
        frame[at] ^= 0x10;
        prop_assume!(sums(&frame).1 == Sum::Bad);
        apply(&rewriter(Checksums::Fix, []), &mut frame);
        prop_assert_eq!(sums(&frame).1, Sum::Good);
    }
}

proptest! {
    #[test]
    fn fast_path_equals_slow_path(
        built in built(),
        flipped in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        kept in prop::option::of(any::<prop::sample::Index>()),
        protocol in prop::option::of(prop::sample::select(vec![1_u8, 58, 132])),
        kind in prop::sample::select(vec![0_u8, 3, 5, 8, 128, 129, 135]),
        fragment in prop::option::of(prop::sample::select(vec![[0x20_u8, 0], [0x20, 9], [0, 9], [0x40, 0]])),
        checksums in prop::sample::select(vec![Checksums::Preserve, Checksums::Fix]),
        vlan in prop::option::of(pushed_or_popped()),
        says_less in prop::bool::weighted(0.1),
    ) {
        let mut frame = build(&built);
        let ip = Layers::find(LinkType::ETHERNET, &frame).network.ip().copied().expect("it is IP");
        if let Some(protocol) = protocol {
            frame[ip.offset + if built.v6 { 6 } else { 9 }] = protocol;
            frame[ip.payload] = kind;
        }
        if let Some(fragment) = fragment.filter(|_| !built.v6) {
            frame[ip.offset + 6..ip.offset + 8].copy_from_slice(&fragment);
        }
        for (at, bits) in flipped {
            let at = at.index(frame.len());
            frame[at] ^= bits;
        }
        if let Some(kept) = kept {
            frame.truncate(kept.index(frame.len()));
        }
        let original_length = if says_less { 3 } else { length(&frame) };
        let macs = Maps::of(Side::Destination).every_mac(MacTarget::Receiver);
        let sides = [halves(), macs, Maps::of(Side::Source).mac("02:00:00:00:00:0a", "02:00:00:00:00:0c")];
        let rewriter = &compile(&Rewrite { checksums, vlan, ..of(sides) });
        let (mut fast, mut slow) = (Pass::new(rewriter), Pass::new(rewriter));
        let by_fast_path = through(&mut fast, 1, LinkType::ETHERNET, &frame, original_length);
        prop_assert_eq!(by_fast_path, by_slow_path(&mut slow, &mut frame, original_length));
        prop_assert_eq!(fast.into_stats(), slow.into_stats());
    }
}

/// Pushes or pops tags somewhere.
fn pushed_or_popped() -> impl Strategy<Value = Vlan> {
    let position = prop::sample::select(vec![TagPosition::Outside(1), TagPosition::Outside(2), TagPosition::Innermost]);
    let new = |id| NewTag { tpid: 0x88a8, id, priority: 1, dei: false, span: 0..0 };
    prop_oneof![
        (position.clone(), 1..3_u16)
            .prop_map(move |(position, last)| Vlan::Push { tags: (1..=last).map(new).collect(), position }),
        prop::option::of(position).prop_map(|tag| Vlan::Pop { tag, span: 0..0 }),
    ]
}

fn by_slow_path(pass: &mut Pass<'_>, bytes: &mut [u8], original_length: u32) -> (Vec<u8>, u32) {
    pass.stats.is_at(1);
    let frame = Frame { number: 1, time_ns: 0, original_length, link: LinkType::ETHERNET, bytes };
    let rewritten = pass.rewrite_any(frame);
    (rewritten.bytes.to_vec(), rewritten.original_length)
}
