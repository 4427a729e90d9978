//! Reading, copying and converting captures, over files made here: every format, damage at every byte, what is no capture at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use restage::capture::{Format, Frame, Reader, Writer, sha256};
use restage::diagnostic::{Failure, Source, Style, render};
use restage::packet::layers::LinkType;
use restage::rewrite::{Output, Rewriter, Roles, Selected, Summary, rewrite_file};
use restage::scenario::rewrite::{IpEntry, IpMap, PortEntry, Rewrite, Side, SideMaps};

/// A folder that is removed with everything in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("restage-captures-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder in the temporary folder");
        Self(folder)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("it can be written");
        path
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("it can be read");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// A message without the name of this folder.
    fn told(&self, failure: &Failure) -> String {
        render(&failure.problems, Style::Plain).replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A frame, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    number: u64,
    time_ns: u64,
    original_length: u32,
    link: u16,
    bytes: Vec<u8>,
}

fn read_all(path: &Path) -> (Vec<Owned>, Option<Failure>) {
    let mut frames = Vec::new();
    let mut reader = match Reader::open(path) {
        Ok(reader) => reader,
        Err(failure) => return (frames, Some(failure)),
    };
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => frames.push(Owned {
                number: frame.number,
                time_ns: frame.time_ns,
                original_length: frame.original_length,
                link: frame.link.0,
                bytes: frame.bytes.to_vec(),
            }),
            Ok(None) => return (frames, None),
            Err(failure) => return (frames, Some(failure)),
        }
    }
}

/// Numbers in either byte order.
#[derive(Debug, Clone, Copy)]
struct Order {
    big: bool,
}

impl Order {
    fn words(self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| if self.big { word.to_be_bytes() } else { word.to_le_bytes() }).collect()
    }

    fn halves(self, halves: &[u16]) -> Vec<u8> {
        halves.iter().flat_map(|half| if self.big { half.to_be_bytes() } else { half.to_le_bytes() }).collect()
    }

    fn pcap(self, magic: u32, link: u32) -> Vec<u8> {
        [self.words(&[magic]), self.halves(&[2, 4]), self.words(&[0, 0, 65535, link])].concat()
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        let length = u32::try_from(12 + body.len() + padding.len()).expect("a short block");
        [self.words(&[kind, length]), body.to_vec(), padding, self.words(&[length])].concat()
    }

    fn section(self) -> Vec<u8> {
        let body = [self.words(&[0x1a2b_3c4d]), self.halves(&[1, 0]), vec![0xff; 8]].concat();
        self.block(0x0a0d_0d0a, &body)
    }

    fn interface(self, link: u16, options: &[u8]) -> Vec<u8> {
        self.block(1, &[self.halves(&[link, 0]), self.words(&[0]), options.to_vec()].concat())
    }

    fn enhanced(self, interface: u32, ticks: u64, original: u32, bytes: &[u8]) -> Vec<u8> {
        let captured = u32::try_from(bytes.len()).expect("a short frame");
        let (high, low) = ((ticks >> 32) as u32, (ticks & 0xffff_ffff) as u32);
        self.block(6, &[self.words(&[interface, high, low, captured, original]), bytes.to_vec()].concat())
    }
}

const LITTLE: Order = Order { big: false };
const BIG: Order = Order { big: true };

#[test]
fn both_byte_orders_units_and_record_forms_are_read() {
    let folder = Folder::new();
    for order in [LITTLE, BIG] {
        for (magic, extra, unit) in [(0xa1b2_c3d4_u32, 0, 1000), (0xa1b2_3c4d, 0, 1), (0xa1b2_cd34, 8, 1000)] {
            let mut file = order.pcap(magic, 101);
            file.extend(order.words(&[7, 123_456, 3, 60]));
            file.extend(vec![0; extra]);
            file.extend([1, 2, 3]);
            let (frames, failure) = read_all(&folder.file("x", &file));
            assert_eq!(failure, None);
            let time_ns = 7_000_000_000 + 123_456 * unit;
            assert_eq!(frames, [Owned { number: 1, time_ns, original_length: 60, link: 101, bytes: vec![1, 2, 3] }]);
        }
    }
}

#[test]
fn lengths_of_old_versions_stand_the_other_way_round() {
    let folder = Folder::new();
    for (minor, lengths) in [(2, [60, 3]), (3, [60, 3]), (3, [3, 60]), (4, [3, 60])] {
        let mut file = LITTLE.pcap(0xa1b2_c3d4, 1);
        file[6] = minor;
        file.extend(LITTLE.words(&[0, 0, lengths[0], lengths[1]]));
        file.extend([1, 2, 3]);
        let (frames, failure) = read_all(&folder.file("x", &file));
        assert_eq!(failure, None, "version 2.{minor}");
        assert_eq!((frames[0].bytes.len(), frames[0].original_length), (3, 60), "version 2.{minor}");
    }
}

/// Two sections, one in each byte order; three interfaces with clocks of their own; all kinds of packet block, and others.
fn blocks() -> Vec<Vec<u8>> {
    let resolution = |order: Order, value: u8| [order.halves(&[9, 1]), vec![value, 0, 0, 0]].concat();
    let mut offset = LITTLE.halves(&[14, 8]);
    offset.extend(1_000_i64.to_le_bytes());
    let mut obsolete = BIG.halves(&[0, 0]);
    obsolete.extend(BIG.words(&[0, 5, 2, 2]));
    obsolete.extend([8, 9]);
    vec![
        LITTLE.section(),
        LITTLE.interface(1, &[]),
        LITTLE.interface(101, &[resolution(LITTLE, 9), offset].concat()),
        LITTLE.block(0x0bad, b"some private block"),
        LITTLE.enhanced(0, 1_500_000, 60, &[1, 2, 3]),
        LITTLE.enhanced(1, 42, 4, &[4, 5, 6, 7]),
        LITTLE.block(3, &[LITTLE.words(&[2]), vec![0xaa, 0xbb]].concat()),
        LITTLE.block(5, &[0; 12]),
        BIG.section(),
        BIG.interface(113, &resolution(BIG, 0x81)),
        BIG.enhanced(0, 3, 1, &[7]),
        BIG.block(2, &obsolete),
    ]
}

fn pcapng() -> Vec<u8> {
    blocks().concat()
}

#[test]
fn every_packet_of_a_pcapng_file_has_its_own_link_type_and_clock() {
    let folder = Folder::new();
    let (frames, failure) = read_all(&folder.file("x", &pcapng()));
    assert_eq!(failure, None);
    let facts: Vec<_> = frames.iter().map(|frame| (frame.link, frame.time_ns, frame.bytes.len())).collect();
    let (second, half) = (1_000_000_000, 500_000_000);
    assert_eq!(
        facts,
        [
            (1, second + half, 3),
            (101, 1000 * second + 42, 4),
            // A simple packet block has no time: it keeps the one before.
            (1, 1000 * second + 42, 2),
            // Half seconds.
            (113, second + half, 1),
            (113, 2 * second + half, 2),
        ]
    );
}

/// A small file of each format, with the offsets at which a record begins or the file ends.
fn samples() -> Vec<(Vec<u8>, Vec<usize>)> {
    let mut pcap = BIG.pcap(0xa1b2_c3d4, 1);
    let mut boundaries = vec![pcap.len()];
    for length in [0_u32, 1, 30] {
        pcap.extend(BIG.words(&[1, 2, length, length]));
        pcap.extend((0..length).map(|byte| byte.to_le_bytes()[0]));
        boundaries.push(pcap.len());
    }
    let blocks = blocks();
    let ends = blocks.iter().scan(0, |at, block| {
        *at += block.len();
        Some(*at)
    });
    vec![(pcap, boundaries), (pcapng(), ends.collect())]
}

#[test]
fn a_capture_cut_at_any_byte_gives_what_is_whole_and_says_where_it_ends() {
    let folder = Folder::new();
    for (whole, boundaries) in samples() {
        let (all, _) = read_all(&folder.file("whole", &whole));
        for length in 0..whole.len() {
            let (frames, failure) = read_all(&folder.file("cut", &whole[..length]));
            assert_eq!(frames, all[..frames.len()]);
            assert_eq!(failure.is_none(), boundaries.contains(&length), "cut to {length} bytes: {failure:?}");
            if let Some(failure) = failure.filter(|_| length > boundaries[0]) {
                let told = folder.told(&failure);
                let start = boundaries.iter().rev().find(|boundary| **boundary < length).expect("one before");
                assert!(told.contains(&format!("damaged at frame {}", frames.len() + 1)), "{told}");
                assert!(told.contains(&format!("at byte {start}:")), "cut to {length} bytes: {told}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        start in prop::sample::select(vec![0, 1, 2]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        tail in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let folder = Folder::new();
        let mut bytes = samples().into_iter().nth(start).map(|(bytes, _)| bytes).unwrap_or_default();
        for (at, value) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        bytes.extend(tail);
        let (frames, failure) = read_all(&folder.file("x", &bytes));
        prop_assert!(failure.is_none_or(|failure| !failure.problems.is_empty()));
        prop_assert!(frames.len() < 100);
    }
}

#[test]
fn a_record_longer_than_the_buffer_is_read_whole() {
    let folder = Folder::new();
    let mut file = LITTLE.pcap(0xa1b2_c3d4, 1);
    for length in [10_u32, 300_000, 5] {
        file.extend(LITTLE.words(&[0, 0, length, length]));
        file.extend((0..length).map(|byte| byte.to_le_bytes()[1]));
    }
    let (frames, failure) = read_all(&folder.file("x", &file));
    assert_eq!(failure, None);
    assert_eq!(frames.iter().map(|frame| frame.bytes.len()).collect::<Vec<_>>(), [10, 300_000, 5]);
    assert_eq!(frames[1].bytes[299_999], 299_999_u32.to_le_bytes()[1]);
}

#[test]
fn what_is_no_capture_is_said_with_what_it_looks_like() {
    let folder = Folder::new();
    fs::create_dir(folder.0.join("folder")).expect("a folder");
    let mut damaged = LITTLE.pcap(0xa1b2_c3d4, 1);
    damaged.extend(LITTLE.words(&[1, 2, 0x1000_0000, 60]));
    let mut cut = LITTLE.pcap(0xa1b2_c3d4, 1);
    cut.extend(LITTLE.words(&[1, 2, 1, 1]));
    cut.extend([9]);
    cut.extend(LITTLE.words(&[1, 2, 20, 20]));
    cut.extend([0; 13]);
    let mut version = LITTLE.pcap(0xa1b2_c3d4, 1);
    version[4] = 9;
    let files: [(&str, &[u8]); 12] = [
        ("appflow.pcap.gz", &[0x1f, 0x8b, 8, 0]),
        ("appflow.pcapng.zst", &[0x28, 0xb5, 0x2f, 0xfd, 1]),
        ("solaris.snoop", b"snoop\0\0\0\0\0\0\x02"),
        ("notes.txt", b"a text of some lines\nand no capture\n"),
        ("empty.pcap", b""),
        ("short.pcap", &LITTLE.pcap(0xa1b2_c3d4, 1)[..10]),
        ("noise.pcap", &[0x80, 0x81, 0x00, 0x83, 0x84]),
        ("damaged.pcap", &damaged),
        ("cut.pcap", &cut),
        ("version.pcap", &version),
        ("interface.pcapng", &[LITTLE.section(), LITTLE.enhanced(2, 0, 0, &[])].concat()),
        ("reserved.pcap", &LITTLE.pcap(0xa1b2_c3d4, 0x0030_0000)),
    ];
    let mut told = Vec::new();
    for (name, bytes) in files {
        let (_, failure) = read_all(&folder.file(name, bytes));
        told.push(folder.told(&failure.expect(name)));
    }
    for name in ["folder", "missing.pcap"] {
        let (_, failure) = read_all(&folder.0.join(name));
        told.push(folder.told(&failure.expect(name)));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn the_checksum_of_a_file_is_that_of_sha256sum() {
    let folder = Folder::new();
    let file = folder.file("x", b"abc");
    // FIPS 180-2, appendix B.1.
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256(&file).expect("it can be read"), expected);
}

/// A map that changes the datagrams of [`datagram`], and with `unused` an entry that hits nothing.
fn rewriter(unused: bool) -> Rewriter {
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
fn datagram(payload: u8) -> Vec<u8> {
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
    rewrite_file(input, &Output::Path(output), &mut |frame| Ok(select(frame)), rewriter, &source)
}

/// `count` raw IPv4 packets, a millisecond apart.
fn raw(magic: u32, count: u32) -> Vec<u8> {
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
