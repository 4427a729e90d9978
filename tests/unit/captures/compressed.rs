//! gzip and zstd: recognised by content, several members, every damage; written by ending.

use std::fs;
use std::io::{Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Folder, LITTLE, pcapng, raw, read_all, writing};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("memory");
    encoder.include_checksum(true).expect("before the first byte");
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

type Pack = fn(&[u8]) -> Vec<u8>;

const PACKERS: [(&str, Pack); 2] = [("gzip", gzip), ("zstd", zstd)];

#[test]
fn a_compressed_capture_is_read_like_what_it_unpacks_to_whatever_its_name() {
    let folder = Folder::new();
    let mut long = LITTLE.pcap(0xa1b2_c3d4, 1);
    for length in [10_u32, 300_000, 5] {
        long.extend(LITTLE.words(&[0, 0, length, length]));
        long.extend((0..length).map(|byte| byte.to_le_bytes()[1]));
    }
    for plain in [raw(0xa1b2_3c4d, 20), pcapng(), long] {
        let (expected, _) = read_all(&folder.file("plain.pcap", &plain));
        for (_, pack) in PACKERS {
            let middle = plain.len() / 2;
            let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(&plain)].concat();
            for packed in [pack(&plain), [pack(&plain[..middle]), pack(&plain[middle..])].concat(), skippable] {
                assert_eq!(read_all(&folder.file("a.pcap", &packed)), (expected.clone(), None));
            }
        }
    }
}

#[test]
fn a_truncated_compressed_file_yields_its_whole_frames_and_the_reason() {
    let folder = Folder::new();
    for plain in [raw(0xa1b2_c3d4, 4), pcapng()] {
        let (all, _) = read_all(&folder.file("plain", &plain));
        for (name, pack) in PACKERS {
            // Two members; the first ends inside a record.
            let first = pack(&plain[..plain.len() / 2]);
            let whole = [first.clone(), pack(&plain[plain.len() / 2..])].concat();
            for length in 4..whole.len() {
                let (frames, failure) = read_all(&folder.file("cut", &whole[..length]));
                assert_eq!(frames, all[..frames.len()], "{name} cut to {length}");
                let told = folder.told(&failure.unwrap_or_else(|| panic!("{name} cut to {length} is read to its end")));
                assert!(told.contains(" of what it unpacks to: "), "{told}");
                if length == first.len() {
                    assert!(told.contains("the file ends inside"), "{told}");
                } else {
                    assert!(told.contains(&format!("the file ends before its {name} compression does")), "{told}");
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_a_compressed_capture_is_never_passed_over() {
    let folder = Folder::new();
    let plain = raw(0xa1b2_c3d4, 4);
    let (all, _) = read_all(&folder.file("plain", &plain));
    for (name, pack) in PACKERS {
        let whole = pack(&plain);
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            let (frames, failure) = read_all(&folder.file("flipped", &flipped));
            assert!(failure.is_some() || frames == all, "{name}: byte {at}");
        }
    }
}

#[test]
fn a_damaged_compressed_file_is_reported_with_frame_offset_and_format() {
    let folder = Folder::new();
    let plain = raw(0xa1b2_c3d4, 3);
    let gzipped = gzip(&plain);
    let mut wrong_sum = gzipped.clone();
    let sum = wrong_sum.len() - 6;
    wrong_sum[sum] ^= 1;
    let mut long = LITTLE.pcap(0xa1b2_c3d4, 1);
    for record in 1..=3_u32 {
        long.extend(LITTLE.words(&[1, 2, 2000, 2000]));
        let noise = |at: u32| (at + 2000 * record).wrapping_mul(at ^ 0x9e37_79b1).to_be_bytes()[1];
        long.extend((0..2000).map(noise));
    }
    let long = gzip(&long);
    let files = [
        ("cut.pcap.gz", long[..long.len() * 5 / 6].to_vec()),
        ("sum.pcap.gz", wrong_sum),
        ("cut.pcap.zst", zstd(&plain)[..40].to_vec()),
        ("inside.pcap.gz", gzip(&plain[..plain.len() - 5])),
        ("text.pcap.gz", gzip(b"no capture at all")),
        ("twice.pcap.gz.gz", gzip(&gzipped)),
    ];
    let mut told = Vec::new();
    for (name, bytes) in files {
        let (_, failure) = read_all(&folder.file(name, &bytes));
        told.push(folder.told(&failure.expect(name)));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn the_output_extension_selects_the_compression() {
    let folder = Folder::new();
    for (plain, ending) in [(raw(0xa1b2_c3d4, 9), "pcap"), (pcapng(), "pcapng")] {
        let input = folder.file("in.gz", &gzip(&plain));
        for compression in ["", ".gz", ".zst"] {
            let output = folder.0.join(format!("out.{ending}{compression}"));
            writing::copy(&input, &output).expect("it is written");
            let bytes = fs::read(&output).expect("the output");
            let unpacked = match compression {
                "" => bytes,
                ".gz" => {
                    let mut unpacked = Vec::new();
                    MultiGzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).expect("it is gzip, to its end");
                    unpacked
                }
                _ => zstd::decode_all(&bytes[..]).expect("it is zstd, to its end"),
            };
            assert_eq!(unpacked, plain, "{}", output.display());
        }
    }
}
