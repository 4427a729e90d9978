//! Copies, conversions, and what must not be left behind.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use restage::capture::{Format, Frame, Reader, Writer};
use restage::diagnostic::{Failure, Source};
use restage::packet::layers::LinkType;
use restage::rewrite::{Output, Pass, Rewriter, Roles, Selected, Summary, rewrite_file};
use restage::scenario::rewrite::{IpEntry, IpMap, NewTag, PortEntry, Rewrite, Side, SideMaps, TagPosition, Vlan};

use crate::{BIG, Folder, LITTLE, Owned, pcapng, read_all};

/// A map that changes the datagrams of [`datagram`], and with `unused` an entry that hits nothing.
pub(crate) fn rewriter(unused: bool) -> Rewriter {
    let prefix = |text: &str| text.parse().expect("a prefix");
    let ip = IpEntry { from: prefix("10.0.0.0/8"), to: prefix("192.0.0.0/8"), span: 0..0 };
    let port = PortEntry { from: 9, last: 9, to: 10, span: 0..0 };
    let side = SideMaps {
        side: Side::Both,
        ip: Some(IpMap::Prefixes(vec![ip])),
        mac: None,
        port: if unused { vec![port] } else { Vec::new() },
    };
    let rewrite = Rewrite { sides: vec![side], ..Rewrite::default() };
    Rewriter::compile(&rewrite, &Roles::default()).expect("it needs no role")
}

/// An IPv4 packet from 10.0.0.1 to 10.0.0.2, of a protocol without ports.
pub(crate) fn datagram(payload: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 21, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.push(payload);
    packet
}

fn rewrite(
    input: &Path,
    output: &Path,
    rewriter: &Rewriter,
    select: impl Fn(&Frame<'_>) -> Selected,
) -> Result<Summary, Failure> {
    let source = Arc::new(Source { path: "scenario.toml".into(), text: "# nothing".to_owned() });
    rewrite_file(&input.into(), &Output::Path(output), &mut |frame| Ok(select(frame)), &Pass::new(rewriter), &source)
}

/// Rewrites nothing.
pub(crate) fn copy(input: &Path, output: &Path) -> Result<Summary, Failure> {
    rewrite(input, output, &identity(), |_| Selected::Yes)
}

pub(crate) fn identity() -> Rewriter {
    Rewriter::compile(&Rewrite::default(), &Roles::default()).expect("it needs no role")
}

/// `count` raw IPv4 packets, a millisecond apart.
pub(crate) fn raw(magic: u32, count: u32) -> Vec<u8> {
    let mut file = BIG.pcap(magic, 101);
    for number in 0..count {
        file.extend(BIG.words(&[1, 1000 * number, 21, 21]));
        file.extend(datagram(number.to_le_bytes()[0]));
    }
    file
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

#[test]
fn an_announced_fcs_is_cut_and_follows_the_frame_in_a_copy() {
    let folder = Folder::new();
    let mut frame = vec![0; 14];
    frame[12] = 0x08;
    frame.extend(datagram(1));
    // CRC-32 of the frame, as IEEE 802.3 sends it.
    let crc = |bytes: &[u8]| {
        let mut crc = u32::MAX;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            }
        }
        (!crc).to_le_bytes()
    };
    // Bit 26, and two 16-bit words of FCS.
    let mut file = LITTLE.pcap(0xa1b2_c3d4, 0x2400_0001);
    for fcs in [crc(&frame), [1, 2, 3, 4]] {
        file.extend(LITTLE.words(&[0, 0, 39, 39]));
        file.extend(&frame);
        file.extend(fcs);
    }
    let input = folder.file("in.pcap", &file);
    let (frames, failure) = read_all(&input);
    assert_eq!(failure, None);
    assert_eq!((frames[0].bytes.len(), frames[0].original_length), (35, 35));
    let output = folder.0.join("out.pcap");
    rewrite(&input, &output, &rewriter(false), |_| Selected::Yes).expect("it is rewritten");
    let written = fs::read(&output).expect("the output");
    let record = &written[24 + 16..24 + 16 + 39];
    assert_eq!(record[26..30], [192, 0, 0, 1]);
    assert_eq!(record[35..], crc(&record[..35]));
    assert_eq!(written[written.len() - 4..], [1, 2, 3, 4], "a wrong one stays");
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

/// Common datagrams, and between them what is swept past only with more thought: ARP, a fragment, a cut frame, a broadcast.
fn mixed(order: crate::Order) -> Vec<u8> {
    let mut file = order.pcap(0xa1b2_c3d4, 1);
    let mut common = Vec::new();
    etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(1, 2)
        .write(&mut common, b"payload")
        .expect("it fits");
    let mut fragment = common.clone();
    fragment[20] = 0x20;
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
            _ => (&common[..], common.len()),
        };
        let length = |bytes: usize| u32::try_from(bytes).expect("a short frame");
        file.extend(order.words(&[1, number, length(frame.len()), length(original)]));
        file.extend(frame);
    }
    file
}

#[test]
fn frames_that_nobody_is_asked_about_come_out_as_those_that_somebody_is() {
    let folder = Folder::new();
    let rewriter = rewriter(false);
    for (name, order) in [("little", LITTLE), ("big", BIG)] {
        let input = folder.file(name, &mixed(order));
        let (asked, unasked) = (folder.0.join("asked.pcap"), folder.0.join("unasked.pcap"));
        let mut frames = 0;
        let mut run = |output: &Path, pass: &Pass<'_>| {
            let source = Arc::new(Source { path: "scenario.toml".into(), text: String::new() });
            let mut select = |_: &Frame<'_>| {
                frames += 1;
                Ok(Selected::Yes)
            };
            rewrite_file(&input.as_path().into(), &Output::Path(output), &mut select, pass, &source).expect("a capture")
        };
        let one = run(&asked, &Pass::new(&rewriter));
        let two = run(&unasked, &Pass::new(&rewriter).taking_every_whole_frame());
        assert_eq!((one.read, one.written, &one.hits), (two.read, two.written, &two.hits));
        assert_eq!(one.read, 10_000);
        // The others, and what lies across the end of the buffer.
        assert!((412..500).contains(&(frames - one.read)), "{frames} frames are asked about");
        let [before, one, two] = [&input, &asked, &unasked].map(|path| fs::read(path).expect("a file"));
        assert!(one == two && one != before, "{name}");
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
        rewrite_file(&input.as_path().into(), &Output::Path(&output), &mut select, &pass, &source).expect("a capture");
        let written = fs::read(&output).expect("the output");
        let tagged = [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat();
        let expected =
            [&file[..16], &order.words(&[262_144])[..], &file[20..24], &order.words(&[1, 0, 39, 39]), &tagged].concat();
        assert_eq!(written, expected);
    }
}
