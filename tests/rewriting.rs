//! Laws of rewriting, over packets that etherparse builds and over bytes that nobody built, and the cases that the RFCs name.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use etherparse::PacketBuilder;
use proptest::prelude::*;
use restage::diagnostic::{At, Source, Style, render};
use restage::packet::MacAddr;
use restage::packet::checksum::{Sum, ip_header_sum, transport_sum};
use restage::packet::layers::{Layers, LinkType};
use restage::packet::listing;
use restage::rewrite::{Hits, Left, Rewriter, Roles, Seen, unused_problems};
use restage::scenario::rewrite::{
    Checksums, IpEntry, IpMap, MacEntry, MacMap, MacTarget, PortEntry, Rewrite, Side, SideMaps,
};

/// Maps of one side that are easy to write down.
struct Maps(SideMaps);

impl Maps {
    fn of(side: Side) -> Self {
        Self(SideMaps { side, ip: None, mac: None, port: Vec::new() })
    }

    fn ip(mut self, entries: &[(&str, &str)]) -> Self {
        let prefix = |text: &str| {
            text.parse().unwrap_or_else(|_| text.parse::<std::net::IpAddr>().expect("an address or prefix").into())
        };
        let entries = entries.iter().map(|(from, to)| IpEntry { from: prefix(from), to: prefix(to), span: 0..0 });
        self.0.ip = Some(IpMap::Prefixes(entries.collect()));
        self
    }

    fn every_mac(mut self, to: MacTarget) -> Self {
        self.0.mac = Some(MacMap::All(At::default_value(to)));
        self
    }

    fn mac(mut self, from: &str, to: &str) -> Self {
        let to = MacTarget::Literal(to.parse().expect("a MAC"));
        let entry = MacEntry { from: from.parse().expect("a MAC"), to, span: 0..0 };
        self.0.mac = Some(MacMap::Entries(vec![entry]));
        self
    }

    fn ports(mut self, entries: &[(u16, u16, u16)]) -> Self {
        self.0.port = entries
            .iter()
            .map(|(from, last, to)| PortEntry { from: *from, last: *last, to: *to, span: 0..0 })
            .collect();
        self
    }
}

fn rewriter(checksums: Checksums, sides: impl IntoIterator<Item = Maps>) -> Rewriter {
    let rewrite = Rewrite { checksums, allow_unused: false, sides: sides.into_iter().map(|maps| maps.0).collect() };
    let roles = Roles { sender: Some(MacAddr([2, 0, 0, 0, 0, 1])), receiver: Some(MacAddr([2, 0, 0, 0, 0, 2])) };
    Rewriter::compile(&rewrite, &roles).expect("both roles are known")
}

fn preserving(sides: impl IntoIterator<Item = Maps>) -> Rewriter {
    rewriter(Checksums::Preserve, sides)
}

fn length(frame: &[u8]) -> u32 {
    u32::try_from(frame.len()).expect("a short frame")
}

fn apply(rewriter: &Rewriter, frame: &mut [u8]) -> Hits {
    let mut hits = Hits::new(rewriter);
    let layers = Layers::find(LinkType::ETHERNET, frame);
    rewriter.apply(&layers, frame, length(frame), &mut hits);
    hits
}

/// The frame as one line, without number and time.
fn line(frame: &[u8]) -> String {
    let layers = Layers::find(LinkType::ETHERNET, frame);
    let line = listing::line(1, Duration::ZERO, &layers, frame, length(frame));
    line.trim_start_matches("     1    0.000000000 ").to_owned()
}

fn sums(frame: &[u8]) -> (Sum, Sum) {
    let layers = Layers::find(LinkType::ETHERNET, frame);
    (ip_header_sum(&layers, frame), transport_sum(&layers, frame, length(frame)))
}

/// A datagram from 10.1.2.3 port 2055 to 10.9.8.7 port 4739.
fn udp4(payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0xa], [2, 0, 0, 0, 0, 0xb])
        .ipv4([10, 1, 2, 3], [10, 9, 8, 7], 64)
        .udp(2055, 4739);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).expect("it fits");
    frame
}

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
    preserving([Maps::of(Side::Both).ip(&halves).ports(&ports)])
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
        rewriter.apply(&layers, &mut cut, length(&whole), &mut Hits::new(rewriter));
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
            let before = frame.len();
            rewriter.apply(&layers, &mut frame, 1500, &mut Hits::new(rewriter));
            prop_assert_eq!(frame.len(), before);
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
    let mut hits = Hits::new(&rewriter);
    for number in [3, 4, 9] {
        let mut frame = if number == 3 { vec![0; 60] } else { udp4(b"x") };
        hits.next_is(number);
        let layers = Layers::find(LinkType::ETHERNET, &frame);
        let length = length(&frame);
        rewriter.apply(&layers, &mut frame, length, &mut hits);
    }
    let [first, second] = hits.entries() else { panic!("two entries") };
    assert_eq!((first.frames, first.first_frame), (2, 4));
    assert_eq!((second.frames, second.first_frame), (0, 0));
    let left = hits.left(Left::NotIp);
    assert_eq!((left.frames, left.first_frame), (1, 3));
    assert_eq!(hits.unused(&rewriter).count(), 1);
}

#[test]
fn an_entry_that_hits_nothing_is_shown_with_what_is_there() {
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
    let problems = unused_problems(&rewriter, &Hits::new(&rewriter), &source, &seen);
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
