//! Copies, conversions, and what must not be left behind.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::capture::{Format, Frame, Reader, Writer};
use crate::diagnostic::{Failure, Source};
use crate::packet::layers::LinkType;
use crate::rewrite::{Pass, Rewriter, Roles, Selected, Summary, rewrite_file};
use crate::scenario::rewrite::{IpEntry, IpMap, NewTag, PortEntry, Rewrite, Side, SideMaps, TagPosition, Vlan};

use super::{BIG, Folder, LITTLE, Owned, datagram, pcapng, raw, read_all};

/// A map that changes the datagrams of [`datagram`], and with `unused` an entry that matches nothing.
pub(crate) fn rewriter(unused: bool) -> Rewriter {
    compiled(unused, None)
}

fn compiled(unused: bool, vlan: Option<Vlan>) -> Rewriter {
    let prefix = |text: &str| text.parse().expect("a prefix");
    let ip = IpEntry { from: prefix("10.0.0.0/8"), to: prefix("192.0.0.0/8"), span: 0..0 };
    let port = PortEntry { from: 9, last: 9, to: 10, span: 0..0 };
    let side = SideMaps {
        side: Side::Both,
        ip: Some(IpMap::Prefixes(vec![ip])),
        mac: None,
        port: if unused { vec![port] } else { Vec::new() },
    };
    let rewrite = Rewrite { sides: vec![side], vlan, ..Rewrite::default() };
    Rewriter::compile(&rewrite, &Roles::default()).expect("it needs no role")
}

fn rewrite(
    input: &Path,
    output: &Path,
    rewriter: &Rewriter,
    select: impl Fn(&Frame<'_>) -> Selected,
) -> Result<Summary, Failure> {
    let source = Arc::new(Source { path: "scenario.toml".into(), text: "# nothing".to_owned() });
    rewrite_file(&input.into(), output, &mut |frame| Ok(select(frame)), &Pass::new(rewriter), &source)
}

/// Rewrites nothing.
pub(crate) fn copy(input: &Path, output: &Path) -> Result<Summary, Failure> {
    rewrite(input, output, &identity(), |_| Selected::Yes)
}

pub(crate) fn identity() -> Rewriter {
    Rewriter::compile(&Rewrite::default(), &Roles::default()).expect("it needs no role")
}

#[test]
fn only_the_mapped_bytes_of_a_capture_change_in_either_format() {
    let folder = Folder::new();
    let ng = [
        BIG.section(),
        BIG.interface(101, &[]),
        BIG.block(0x0bad, b"comment"),
        BIG.enhanced(0, 1, 21, &datagram(1)),
        BIG.block(5, &[1; 12]),
        BIG.enhanced(0, 2, 21, &datagram(2)),
    ]
    .concat();
    for (name, whole) in [("out.pcap", raw(0xa1b2_c3d4, 2)), ("out.pcapng", ng)] {
        let input = folder.file("in", &whole);
        let output = folder.0.join(name);
        let summary = rewrite(&input, &output, &rewriter(false), |_| Selected::Yes).expect("it is rewritten");
        assert_eq!((summary.read, summary.written), (2, 2));
        let mut expected = whole.clone();
        for at in 0..expected.len().saturating_sub(8) {
            if expected[at..].starts_with(&[10, 0, 0, 1, 10, 0, 0, 2]) {
                expected[at] = 192;
                expected[at + 4] = 192;
                // 10.0.0.0 to 192.0.0.0, twice: the header's sum of 0 goes down by twice 182 × 256.
                let sum = 0xffff_u32 * 2 - 2 * (182 << 8);
                let sum = ((sum & 0xffff) + (sum >> 16)).to_be_bytes();
                expected[at - 2..at].copy_from_slice(&sum[2..]);
            }
        }
        assert_eq!(fs::read(&output).expect("the output"), expected, "{name}");
    }
}

#[test]
fn frames_left_out_leave_everything_else_where_it_was() {
    let folder = Folder::new();
    let input = folder.file("in.pcapng", &pcapng());
    let output = folder.0.join("out.pcapng");
    let summary =
        rewrite(&input, &output, &Rewriter::compile(&Rewrite::default(), &Roles::default()).expect("roles"), |frame| {
            if frame.number % 2 == 1 { Selected::Yes } else { Selected::No }
        })
        .expect("it is rewritten");
    assert_eq!((summary.read, summary.written), (5, 3));
    let (all, _) = read_all(&input);
    let (kept, failure) = read_all(&output);
    assert_eq!(failure, None);
    assert_eq!(
        kept.iter().map(|frame| &frame.bytes).collect::<Vec<_>>(),
        [&all[0].bytes, &all[2].bytes, &all[4].bytes]
    );
    let bytes = fs::read(&output).expect("the output");
    assert!(bytes.windows(18).any(|window| window == b"some private block"));
}

#[test]
fn converting_keeps_times_lengths_and_link_types() {
    let folder = Folder::new();
    let identity = Rewriter::compile(&Rewrite::default(), &Roles::default()).expect("roles");
    for magic in [0xa1b2_c3d4, 0xa1b2_3c4d] {
        let input = folder.file("in.pcap", &raw(magic, 3));
        let (ng, back) = (folder.0.join("ng.pcapng"), folder.0.join("back.pcap"));
        rewrite(&input, &ng, &identity, |_| Selected::Yes).expect("to pcapng");
        rewrite(&ng, &back, &identity, |_| Selected::Yes).expect("and back");
        let (frames, _) = read_all(&input);
        assert_eq!(read_all(&ng), (frames.clone(), None));
        assert_eq!(read_all(&back), (frames, None));
        assert_eq!(Reader::open(&back).expect("it opens").format(), Format::Pcap { nanoseconds: magic == 0xa1b2_3c4d });
    }
}

#[test]
fn what_can_t_be_written_is_refused_and_nothing_is_left() {
    let folder = Folder::new();
    let input = folder.file("in.pcapng", &pcapng());
    let raw = folder.file("raw.pcap", &raw(0xa1b2_c3d4, 2));
    let cut = folder.file("cut.pcap", &fs::read(&raw).expect("it")[..90]);
    let picoseconds = [
        LITTLE.section(),
        LITTLE.interface(101, &[LITTLE.halves(&[9, 1]), vec![12, 0, 0, 0]].concat()),
        LITTLE.enhanced(0, 1, 21, &datagram(0)),
    ];
    let picoseconds = folder.file("fine.pcapng", &picoseconds.concat());
    let before = folder.names();
    let told: Vec<String> = [
        (&input, "out.pcap", false),
        (&raw, "out.cap", false),
        (&raw, "out.pcap", true),
        (&cut, "out.pcap", false),
        (&picoseconds, "out.pcap", false),
    ]
    .iter()
    .map(|(input, output, unused)| {
        let result = rewrite(input, &folder.0.join(output), &rewriter(*unused), |_| Selected::Yes);
        folder.told(&result.expect_err(output))
    })
    .collect();
    assert_eq!(folder.names(), before);
    insta::assert_snapshot!(told.join("\n"));
}

/// A reflected CRC of so many bits, as its link sends it, the slow way.
fn crc(polynomial: u32, bits: usize, bytes: &[u8]) -> Vec<u8> {
    let ones = u32::MAX >> (32 - bits);
    let mut crc = ones;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ polynomial } else { crc >> 1 };
        }
    }
    (crc ^ ones).to_le_bytes()[..bits / 8].to_vec()
}

/// IEEE 802.3 §3.2.9.
fn crc32(bytes: &[u8]) -> Vec<u8> {
    crc(0xedb8_8320, 32, bytes)
}

/// RFC 1662, appendix C.2.
fn crc16(bytes: &[u8]) -> Vec<u8> {
    crc(0x8408, 16, bytes)
}

fn ethernet() -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0][..], &datagram(1)].concat()
}

/// Files with these frames and FCSs, all of which announce their FCS of `length` bytes, and the names of their formats.
fn with_fcs(link: u16, length: u8, records: &[(&[u8], &[u8])]) -> Vec<(&'static str, Vec<u8>)> {
    let pcap = |order: super::Order| {
        let words = u32::from(length / 2) << 28 | 0x0400_0000 | u32::from(link);
        let mut file = order.pcap(0xa1b2_c3d4, words);
        for (frame, fcs) in records {
            let captured = u32::try_from(frame.len() + fcs.len()).expect("a short frame");
            let original = u32::try_from(frame.len()).expect("a short frame") + u32::from(length);
            file.extend([&order.words(&[0, 0, captured, original])[..], frame, fcs].concat());
        }
        file
    };
    // The length is that of the interface, in bytes or bits, or that of each packet.
    let pcapng = |interface: &[u8], flags: &[u8]| {
        let mut file = [BIG.section(), BIG.interface(link, interface)].concat();
        for (frame, fcs) in records {
            let bytes = [*frame, *fcs].concat();
            let captured = u32::try_from(bytes.len()).expect("a short frame");
            let original = u32::try_from(frame.len()).expect("a short frame") + u32::from(length);
            let padding = vec![0; bytes.len().next_multiple_of(4) - bytes.len()];
            let body = [BIG.words(&[0, 0, 9, captured, original]), bytes, padding, flags.to_vec()].concat();
            file.extend(BIG.block(6, &body));
        }
        file
    };
    let option = |code: u16, value: &[u8]| [BIG.halves(&[code, 4]), value.to_vec(), BIG.halves(&[0, 0])].concat();
    let one = |length: u8| [BIG.halves(&[13, 1]), vec![length, 0, 0, 0]].concat();
    let flags = u32::from(length) << 5 | 1;
    vec![
        ("little.pcap", pcap(LITTLE)),
        ("big.pcap", pcap(BIG)),
        ("bytes.pcapng", pcapng(&one(length), &[])),
        ("bits.pcapng", pcapng(&one(length * 8), &[])),
        ("flags.pcapng", pcapng(&one(0), &option(2, &flags.to_be_bytes()))),
        ("other-flags.pcapng", pcapng(&one(6), &option(2, &flags.to_be_bytes()))),
    ]
}

/// The frames of a file with an FCS of `length` bytes, and these.
fn read_with_fcs(path: &Path, length: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bytes = fs::read(path).expect("the output");
    let (frames, failure) = read_all(path);
    assert_eq!(failure, None);
    let mut after = 0;
    let records = frames.into_iter().map(|frame| {
        let found = bytes[after..].windows(frame.bytes.len()).position(|window| window == frame.bytes);
        let end = after + found.expect("the frame") + frame.bytes.len();
        after = end;
        (frame.bytes, bytes[end..(end + length).min(bytes.len())].to_vec())
    });
    records.collect()
}

/// Through every way that a frame can take.
fn rewrite_in_every_way(input: &Path, output: &Path, rewriter: &Rewriter, see: &mut dyn FnMut(&str)) {
    let source = Arc::new(Source { path: "scenario.toml".into(), text: "# nothing".to_owned() });
    let ways = [("asked", Pass::new(rewriter)), ("not asked", Pass::new(rewriter).taking_every_whole_frame())];
    for (way, pass) in ways {
        let mut select = |_: &Frame<'_>| Ok(Selected::Yes);
        rewrite_file(&input.into(), output, &mut select, &pass, &source).expect("it is rewritten");
        see(way);
    }
}

#[test]
fn an_announced_fcs_is_cut_and_follows_the_frame_in_every_copy() {
    let folder = Folder::new();
    let frame = ethernet();
    let ppp = [&[0xff, 3, 0, 0x21][..], &datagram(1)].concat();
    let cut = &frame[..30];
    let right = crc32(&frame);
    let map = rewriter(false);
    let fixing = Rewrite { checksums: crate::scenario::rewrite::Checksums::Fix, ..Rewrite::default() };
    let fixing = Rewriter::compile(&fixing, &Roles::default()).expect("no role");
    let records = [(&frame[..], &right[..]), (&frame, &[1, 2, 3, 4]), (&frame, &right[..2]), (&frame, &right)];
    for (name, file) in with_fcs(1, 4, &records) {
        let (input, output) = (folder.file(name, &file), folder.0.join(format!("out-{name}")));
        let (frames, failure) = read_all(&input);
        assert_eq!((failure, frames[0].bytes.len(), frames[0].original_length), (None, 35, 35), "{name}");
        rewrite_in_every_way(&input, &output, &map, &mut |way| {
            let written = read_with_fcs(&output, 4);
            assert_eq!(written[0].0[26..30], [192, 0, 0, 1]);
            for index in [0, 3] {
                assert_eq!(written[index].1, crc32(&written[index].0), "{name} {way}, frame {index}");
            }
            assert_eq!(written[1].1, [1, 2, 3, 4], "{name} {way}: a wrong one stays");
            assert_eq!(written[2].1[..2], crc32(&written[2].0)[..2], "{name} {way}: what was captured of it");
        });
        rewrite_in_every_way(&input, &output, &fixing, &mut |way| {
            let written = read_with_fcs(&output, 4);
            assert_eq!(written[1].1, crc32(&written[1].0), "{name} {way}");
        });
    }
    for (name, file) in with_fcs(9, 2, &[(&ppp, &crc16(&ppp)), (&ppp, &[7, 7]), (&ppp, &crc16(&ppp))]) {
        let (input, output) = (folder.file(name, &file), folder.0.join(format!("out-{name}")));
        rewrite_in_every_way(&input, &output, &map, &mut |way| {
            let written = read_with_fcs(&output, 2);
            assert_eq!(written[0].0[16..20], [192, 0, 0, 1]);
            assert_eq!((&written[0].1, &written[1].1), (&crc16(&written[0].0), &vec![7, 7]), "{name} {way}");
            assert_eq!(written[2].1, crc16(&written[2].0), "{name} {way}");
        });
    }
    // Written anew, nothing is left of it, and nothing announces it.
    for (name, file) in with_fcs(1, 4, &[(&frame, &right), (cut, &[])]) {
        let (input, other) = (folder.file(name, &file), if name.ends_with("ng") { "o.pcap" } else { "o.pcapng" });
        rewrite(&input, &folder.0.join(other), &identity(), |_| Selected::Yes).expect("it is converted");
        let (frames, _) = read_all(&folder.0.join(other));
        assert_eq!((&frames[0].bytes, frames[0].original_length), (&frame, 35), "{name}");
        let ng = with_pcapng_from(&folder, &input);
        assert_eq!(ng[0].bytes, frame, "{name}");
    }
}

/// The frames of a pcapng file that is written anew of `input`, twice.
fn with_pcapng_from(folder: &Folder, input: &Path) -> Vec<Owned> {
    let source = Arc::new(Source { path: "scenario.toml".into(), text: "# nothing".to_owned() });
    let paths = [input, input].map(|path| crate::diagnostic::At { value: path.to_path_buf(), span: None });
    let order = crate::capture::FileOrder::Time;
    let files = crate::capture::Files::several(paths.to_vec(), order, 0..0).expect("two");
    let output = folder.0.join("merged.pcapng");
    let rewriter = identity();
    let mut select = |_: &Frame<'_>| Ok(Selected::Yes);
    rewrite_file(&files, &output, &mut select, &Pass::new(&rewriter), &source).expect("merged");
    read_all(&output).0
}

#[test]
fn what_the_writer_writes_the_reader_reads() {
    let folder = Folder::new();
    let frame = |number: u64, link: u16, bytes: &'static [u8]| (number, number * 1_000_000_007, link, bytes);
    let frames = [frame(1, 1, &[1, 2, 3]), frame(2, 101, &[4]), frame(3, 1, &[])];
    let mut writer = Writer::pcapng(Vec::new(), true).expect("memory");
    for (number, time_ns, link, bytes) in frames {
        let mut bytes = bytes.to_vec();
        let frame = Frame { number, time_ns, original_length: 99, link: LinkType(link), bytes: &mut bytes };
        writer.write(&frame).expect("memory");
    }
    let written = writer.finish().expect("memory");
    let (read, failure) = read_all(&folder.file("x", &written));
    assert_eq!(failure, None);
    for (read, (number, time_ns, link, bytes)) in read.iter().zip(frames) {
        assert_eq!(*read, Owned { number, time_ns, original_length: 99, link, bytes: bytes.to_vec() });
    }
    assert_eq!(read.len(), 3);
}

/// Common datagrams, some with a VLAN tag, and between them what is swept past only with more thought: ARP, a fragment, a cut frame, a broadcast.
fn mixed(order: super::Order) -> Vec<u8> {
    let mut file = order.pcap(0xa1b2_c3d4, 1);
    let mut common = Vec::new();
    etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(1, 2)
        .write(&mut common, b"payload")
        .expect("it fits");
    let mut fragment = common.clone();
    fragment[20] = 0x20;
    let tagged = [&common[..12], &[0x81, 0, 0, 5], &common[12..]].concat();
    let mut broadcast = common.clone();
    broadcast[..6].fill(0xff);
    let arp =
        [&common[..12], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[0; 6], &[10, 0, 0, 1], &[0; 6], &[10, 0, 0, 2]].concat();
    for number in 0..10_000_u32 {
        let (frame, original) = match number % 97 {
            13 => (&fragment[..], fragment.len()),
            50 => (&broadcast[..], broadcast.len()),
            51 => (&arp[..], arp.len()),
            77 => (&common[..45], common.len()),
            96 => (&common[..5], 5),
            90.. => (&tagged[..], tagged.len()),
            _ => (&common[..], common.len()),
        };
        let length = |bytes: usize| u32::try_from(bytes).expect("a short frame");
        file.extend(order.words(&[1, number, length(frame.len()), length(original)]));
        file.extend(frame);
    }
    file
}

#[test]
fn copied_frames_equal_parsed_and_rewritten_frames() {
    let folder = Folder::new();
    let new_tag = |tpid| NewTag { tpid, id: 7, priority: 0, dei: false, span: 0..0 };
    let vlans = [
        None,
        Some(Vlan::Push { tags: vec![new_tag(0x88a8), new_tag(0x8100)], position: TagPosition::Innermost }),
        Some(Vlan::Pop { tag: None, span: 0..0 }),
    ];
    for (vlan, (name, order)) in vlans.iter().flat_map(|vlan| [(vlan, ("little", LITTLE)), (vlan, ("big", BIG))]) {
        let rewriter = compiled(false, vlan.clone());
        let input = folder.file(name, &mixed(order));
        let (asked, unasked) = (folder.0.join("asked.pcap"), folder.0.join("unasked.pcap"));
        let mut frames = 0;
        let mut run = |output: &Path, pass: &Pass<'_>| {
            let source = Arc::new(Source { path: "scenario.toml".into(), text: String::new() });
            let mut select = |_: &Frame<'_>| {
                frames += 1;
                Ok(Selected::Yes)
            };
            rewrite_file(&input.as_path().into(), output, &mut select, pass, &source).expect("a capture")
        };
        let one = run(&asked, &Pass::new(&rewriter));
        let two = run(&unasked, &Pass::new(&rewriter).taking_every_whole_frame());
        assert_eq!((one.read, one.written, &one.stats), (two.read, two.written, &two.stats));
        assert_eq!(one.read, 10_000);
        // The others, and what lies across the end of the buffer.
        assert!((412..500).contains(&(frames - one.read)), "{frames} frames are asked about");
        let [before, one, two] = [&input, &asked, &unasked].map(|path| fs::read(path).expect("a file"));
        assert!(one == two && one != before, "{name}, {vlan:?}");
    }
}

#[test]
fn a_file_of_frames_that_become_longer_announces_a_snaplen_that_holds_them() {
    let folder = Folder::new();
    let tag = NewTag { tpid: 0x8100, id: 7, priority: 0, dei: false, span: 0..0 };
    let push = Vlan::Push { tags: vec![tag], position: TagPosition::Outside(1) };
    let rewrite = Rewrite { vlan: Some(push), ..Rewrite::default() };
    let rewriter = Rewriter::compile(&rewrite, &Roles::default()).expect("it needs no role");
    for order in [LITTLE, BIG] {
        let frame = [&[2; 12][..], &[8, 0], &datagram(1)].concat();
        let mut file = order.pcap(0xa1b2_c3d4, 1);
        file.splice(16..20, order.words(&[35]));
        file.extend(order.words(&[1, 0, 35, 35]));
        file.extend(&frame);
        let input = folder.file("in", &file);
        let output = folder.0.join("out.pcap");
        let source = Arc::new(Source { path: "scenario.toml".into(), text: String::new() });
        let mut select = |_: &Frame<'_>| Ok(Selected::Yes);
        let pass = Pass::new(&rewriter);
        rewrite_file(&input.as_path().into(), &output, &mut select, &pass, &source).expect("a capture");
        let written = fs::read(&output).expect("the output");
        let tagged = [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat();
        let expected =
            [&file[..16], &order.words(&[262_144])[..], &file[20..24], &order.words(&[1, 0, 39, 39]), &tagged].concat();
        assert_eq!(written, expected);
    }
}
