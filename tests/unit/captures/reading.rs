//! Every format and every damage.

use std::fs;

use crate::capture::sha256;
use proptest::prelude::*;

use super::{BIG, Folder, LITTLE, Owned, blocks, pcapng, read_all};

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
fn old_pcap_versions_have_swapped_lengths() {
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
fn a_truncated_file_yields_its_whole_frames_and_the_offset() {
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
        ("appflow.pcap.xz", &[0xfd, b'7', b'z', b'X', b'Z', 0]),
        ("appflow.pcapng.bz2", b"BZh91AY&SY"),
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
    assert_eq!(sha256([file.as_path()]).expect("it can be read"), expected);
}
