//! Several files read as one capture, and rewritten into one.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crate::capture::{Captures, FileOrder, Files, Format, Frame, Reader, sha256};
use crate::diagnostic::{At, Failure, Source};
use crate::rewrite::{Pass, Selected, Summary, rewrite_file};

use super::writing::identity;
use super::{BIG, Folder, LITTLE, Order, Owned, datagram, pcapng, raw, read_all};

const TEXT: &str = "files = [\"one\", \"two\", \"three\"]\n";

fn source() -> Arc<Source> {
    Arc::new(Source { path: "scenario.toml".into(), text: TEXT.to_owned() })
}

/// The files, at the places of the text above.
fn files(paths: &[PathBuf], order: FileOrder) -> Files {
    let place = |word: &str| TEXT.find(word).map(|start| start..start + word.len());
    let places = [place("\"one\""), place("\"two\""), place("\"three\"")];
    let paths = paths.iter().zip(places).map(|(path, span)| At { value: path.clone(), span }).collect();
    Files::several(paths, order, 8..TEXT.len() - 1).expect("there are some")
}

fn read(paths: &[PathBuf], order: FileOrder) -> (Vec<Owned>, Option<Failure>) {
    let mut frames = Vec::new();
    let mut captures = match Captures::open(&files(paths, order), &source()) {
        Ok(captures) => captures,
        Err(failure) => return (frames, Some(failure)),
    };
    loop {
        match captures.next_frame() {
            Ok(Some(frame)) => frames.push(frame.into()),
            Ok(None) => return (frames, None),
            Err(failure) => return (frames, Some(failure)),
        }
    }
}

fn rewrite(
    paths: &[PathBuf],
    order: FileOrder,
    output: &str,
    folder: &Folder,
    select: impl Fn(&Frame<'_>) -> Selected,
) -> Result<Summary, Failure> {
    let output = folder.0.join(output);
    let mut select = |frame: &Frame<'_>| Ok(select(frame));
    rewrite_file(&files(paths, order), &output, &mut select, &Pass::new(&identity()), &source())
}

/// Raw IPv4 packets at these seconds, whose last byte says from where they are.
fn at_seconds(order: Order, seconds: &[u32], mark: u8) -> Vec<u8> {
    let mut file = order.pcap(0xa1b2_c3d4, 101);
    for second in seconds {
        file.extend(order.words(&[*second, 0, 21, 21]));
        file.extend(datagram(mark));
    }
    file
}

/// Number, seconds and mark.
fn facts(frames: &[Owned]) -> Vec<(u64, u64, u8)> {
    frames.iter().map(|frame| (frame.number, frame.time_ns / 1_000_000_000, frame.bytes[20])).collect()
}

fn three(folder: &Folder) -> Vec<PathBuf> {
    vec![
        folder.file("a.pcap", &at_seconds(LITTLE, &[1, 5, 9], 1)),
        folder.file("b.pcap", &at_seconds(BIG, &[], 2)),
        folder.file("c.pcap", &at_seconds(BIG, &[0, 5, 3, 12], 3)),
    ]
}

#[test]
fn in_sequence_frames_are_numbered_through_all_files() {
    let folder = Folder::new();
    let (frames, failure) = read(&three(&folder), FileOrder::Sequence);
    assert_eq!(failure, None);
    let expected = [(1, 1, 1), (2, 5, 1), (3, 9, 1), (4, 0, 3), (5, 5, 3), (6, 3, 3), (7, 12, 3)];
    assert_eq!(facts(&frames), expected);
}

#[test]
fn by_time_equal_times_go_by_file_and_a_file_is_sorted() {
    let folder = Folder::new();
    let (frames, failure) = read(&three(&folder), FileOrder::Time);
    assert_eq!(failure, None);
    let expected = [(1, 0, 3), (2, 1, 1), (3, 3, 3), (4, 5, 1), (5, 5, 3), (6, 9, 1), (7, 12, 3)];
    assert_eq!(facts(&frames), expected);
    let reversed: Vec<_> = three(&folder).into_iter().rev().collect();
    let (frames, _) = read(&reversed, FileOrder::Time);
    let expected = [(1, 0, 3), (2, 1, 1), (3, 3, 3), (4, 5, 3), (5, 5, 1), (6, 9, 1), (7, 12, 3)];
    assert_eq!(facts(&frames), expected);
}

#[test]
fn one_file_is_read_and_rewritten_in_the_order_of_its_times() {
    let folder = Folder::new();
    let file = folder.file("swapped.pcap", &at_seconds(BIG, &[2, 1, 4, 3, 3], 1));
    let sorted = [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 3, 1), (5, 4, 1)];
    let (frames, failure) = read(std::slice::from_ref(&file), FileOrder::Time);
    assert_eq!((facts(&frames), failure), (sorted.to_vec(), None));
    for output in ["out.pcap", "out.pcapng"] {
        let summary = rewrite(std::slice::from_ref(&file), FileOrder::Time, output, &folder, |_| Selected::Yes);
        assert_eq!(summary.expect("it can be written").written, 5);
        let (frames, _) = read(&[folder.0.join(output)], FileOrder::Sequence);
        assert_eq!(facts(&frames), sorted, "{output}");
    }
}

#[test]
fn what_is_wrong_with_one_file_is_said_with_its_name_and_place() {
    let folder = Folder::new();
    let good = folder.file("good.pcap", &at_seconds(LITTLE, &[1, 2], 1));
    let cut = at_seconds(LITTLE, &[1, 2, 3], 1);
    let cut = folder.file("cut.pcap", &cut[..cut.len() - 1]);
    let text = folder.file("notes.txt", b"no capture");
    let missing = folder.0.join("missing.pcap");
    let mut told = Vec::new();
    for order in [FileOrder::Sequence, FileOrder::Time] {
        for paths in [[&good, &missing, &text], [&good, &cut, &good]] {
            let (frames, failure) = read(&paths.map(Clone::clone), order);
            told.push(format!("{} frames\n{}", frames.len(), folder.told(&failure.expect("one is wrong"))));
        }
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn the_checksum_of_several_files_is_that_of_all_their_bytes() {
    let folder = Folder::new();
    let files = [folder.file("x", b"a"), folder.file("y", b"bc")];
    let whole = folder.file("z", b"abc");
    let sum = |files: &[PathBuf]| sha256(files.iter().map(PathBuf::as_path)).expect("they can be read");
    assert_eq!(sum(&files), sum(&[whole]));
}

#[test]
fn files_with_equal_headers_are_copied_one_after_the_other() {
    let folder = Folder::new();
    let (a, b) = (raw(0xa1b2_c3d4, 3), raw(0xa1b2_c3d4, 2));
    let paths = [folder.file("a.pcap", &a), folder.file("b.pcap", &b)];
    let summary = rewrite(&paths, FileOrder::Sequence, "out.pcap", &folder, |_| Selected::Yes).expect("it is written");
    assert_eq!((summary.read, summary.written, summary.lost_blocks), (5, 5, 0));
    assert_eq!(fs::read(folder.0.join("out.pcap")).expect("the output"), [&a[..], &b[24..]].concat());
    let paths = [folder.file("a.pcapng", &pcapng()), folder.file("b.pcapng", &pcapng())];
    rewrite(&paths, FileOrder::Sequence, "out.pcapng", &folder, |_| Selected::Yes).expect("it is written");
    assert_eq!(fs::read(folder.0.join("out.pcapng")).expect("the output"), pcapng().repeat(2));
    rewrite(&paths, FileOrder::Sequence, "part.pcapng", &folder, |frame| {
        if frame.number == 7 { Selected::No } else { Selected::Yes }
    })
    .expect("it is written");
    let (mut expected, _) = read(&paths, FileOrder::Sequence);
    expected.remove(6);
    let (frames, _) = read_all(&folder.0.join("part.pcapng"));
    let bytes = |frames: Vec<Owned>| frames.into_iter().map(|frame| frame.bytes).collect::<Vec<_>>();
    assert_eq!(bytes(frames), bytes(expected));
}

/// One packet with a comment, of one interface with a link type.
fn commented(order: Order, link: u16, ticks: u64, comment: [u8; 8]) -> Vec<u8> {
    let options =
        [order.halves(&[1, 8]), comment.to_vec(), order.halves(&[2, 4]), order.words(&[0x0102_0204])].concat();
    let frame = [&datagram(1)[..], &[0; 3], &options, &order.halves(&[0, 0])].concat();
    let (high, low) = ((ticks >> 32) as u32, (ticks & 0xffff_ffff) as u32);
    let packet = order.block(6, &[order.words(&[0, high, low, 21, 21]), frame].concat());
    let names = order.block(4, &order.halves(&[0, 0]));
    [order.section(), order.interface(link, &[]), names, packet].concat()
}

#[test]
fn files_that_differ_are_written_anew_with_times_link_types_and_comments() {
    let folder = Folder::new();
    let paths = [
        folder.file("a.pcapng", &commented(BIG, 101, 9_000_000, *b"from big")),
        folder.file("b.pcap", &at_seconds(BIG, &[4], 2)),
        folder.file("c.pcapng", &commented(LITTLE, 1, 2_000_001, *b"from lit")),
    ];
    let summary = rewrite(&paths, FileOrder::Time, "out.pcapng", &folder, |_| Selected::Yes).expect("it is written");
    assert_eq!((summary.written, summary.lost_blocks), (3, 2));
    let (expected, _) = read(&paths, FileOrder::Time);
    assert_eq!(read_all(&folder.0.join("out.pcapng")), (expected, None));
    let bytes = fs::read(folder.0.join("out.pcapng")).expect("the output");
    for comment in [b"from big", b"from lit"] {
        let flags = [2, 0, 4, 0, 4, 2, 2, 1];
        let options = [&[1, 0, 8, 0][..], comment, &flags, &[0; 4]].concat();
        assert!(bytes.windows(options.len()).any(|window| window == options), "comment and flags stay");
    }
    let failure = rewrite(&paths, FileOrder::Time, "out.pcap", &folder, |_| Selected::Yes).expect_err("link types");
    insta::assert_snapshot!(folder.told(&failure));
    let one_link = |frame: &Frame<'_>| if frame.link.0 == 101 { Selected::Yes } else { Selected::No };
    rewrite(&paths, FileOrder::Sequence, "one.pcap", &folder, one_link).expect("one link type");
    assert_eq!(
        Reader::open(&folder.0.join("one.pcap")).expect("it opens").format(),
        Format::Pcap { nanoseconds: false }
    );
}

/// A section with its length announced.
fn announced(order: Order, blocks: &[u8]) -> Vec<u8> {
    let length = u32::try_from(blocks.len()).expect("a short section");
    let length = if order.big { order.words(&[0, length]) } else { order.words(&[length, 0]) };
    let body = [order.words(&[0x1a2b_3c4d]), order.halves(&[1, 0]), length].concat();
    [order.block(0x0a0d_0d0a, &body), blocks.to_vec()].concat()
}

#[test]
fn a_section_announces_no_length_that_its_copy_does_not_have() {
    let folder = Folder::new();
    for order in [LITTLE, BIG] {
        let blocks =
            [order.interface(101, &[]), order.enhanced(0, 1, 21, &datagram(1)), order.enhanced(0, 2, 21, &datagram(2))];
        let section = announced(order, &blocks.concat());
        let paths = [folder.file("in.pcapng", &section)];
        rewrite(&paths, FileOrder::Sequence, "same.pcapng", &folder, |_| Selected::Yes).expect("it is written");
        assert_eq!(fs::read(folder.0.join("same.pcapng")).expect("the output"), section, "what is as long says so");
        rewrite(&paths, FileOrder::Sequence, "less.pcapng", &folder, |frame| {
            if frame.number == 2 { Selected::No } else { Selected::Yes }
        })
        .expect("it is written");
        let mut expected = announced(order, &blocks[..2].concat());
        expected[16..24].fill(0xff);
        assert_eq!(fs::read(folder.0.join("less.pcapng")).expect("the output"), expected);
    }
}
