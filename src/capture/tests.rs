//! Frames whose length changes in the copy, in every form of record.

#![expect(clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Reader;
use crate::packet::crc;

/// A file that is removed.
struct Temporary(PathBuf);

impl Temporary {
    fn new(bytes: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("restage-capture-{}-{number}", std::process::id()));
        fs::write(&path, bytes).expect("the temporary folder can be written");
        Self(path)
    }

    fn open(&self) -> Reader {
        Reader::open(&self.0).expect("it is a capture")
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The copy of `file` in which every frame is replaced by what `change` makes of it and of its original length.
fn replaced(file: &[u8], change: impl Fn(&[u8], u32) -> (Vec<u8>, u32)) -> Vec<u8> {
    let copy = Shared::default();
    let input = Temporary::new(file);
    let mut reader = input.open();
    reader.copy_to(Box::new(copy.clone()), super::CopiedFcs::Follows);
    while let Some(frame) = reader.next_frame().expect("it is whole") {
        let (bytes, original) = change(frame.bytes, frame.original_length);
        reader.replace(&bytes, original).expect("memory");
    }
    reader.finish_copy().expect("memory");
    copy.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Time, original length and bytes of each frame.
fn frames(file: &[u8]) -> Vec<(u64, u32, Vec<u8>)> {
    let input = Temporary::new(file);
    let mut reader = input.open();
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame().expect("it is whole") {
        frames.push((frame.time_ns, frame.original_length, frame.bytes.to_vec()));
    }
    frames
}

#[derive(Clone, Copy)]
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

    fn pcap(self, magic: u32, minor: u16, link: u32) -> Vec<u8> {
        [self.words(&[magic]), self.halves(&[2, minor]), self.words(&[0, 0, 65535, link])].concat()
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        let length = u32::try_from(12 + body.len() + padding.len()).expect("a short block");
        [self.words(&[kind, length]), body.to_vec(), padding, self.words(&[length])].concat()
    }

    fn section(self) -> Vec<u8> {
        self.block(0x0a0d_0d0a, &[self.words(&[0x1a2b_3c4d]), self.halves(&[1, 0]), vec![0xff; 8]].concat())
    }

    fn interface(self, snaplen: u32, options: &[u8]) -> Vec<u8> {
        self.block(1, &[self.halves(&[1, 0]), self.words(&[snaplen]), options.to_vec()].concat())
    }
}

const ORDERS: [Order; 2] = [Order { big: false }, Order { big: true }];

/// What becomes of a frame's bytes and of its original length.
type Change = dyn Fn(&[u8], u32) -> (Vec<u8>, u32);

/// Longer, shorter, as long, cut, empty.
fn changes() -> Vec<Box<Change>> {
    vec![
        Box::new(|bytes, original| ([&[7, 7, 7, 7], bytes].concat(), original + 4)),
        Box::new(|bytes, original| (bytes[1..].to_vec(), original - 1)),
        Box::new(|bytes, original| (bytes.to_vec(), original)),
        Box::new(|bytes, _| (bytes[..2].to_vec(), 1500)),
        Box::new(|_, _| (Vec::new(), 0)),
    ]
}

fn assert_changed(file: &[u8], change: &Change, what: &str) {
    let expected: Vec<_> = frames(file)
        .into_iter()
        .map(|(time, original, bytes)| {
            let (bytes, original) = change(&bytes, original);
            (time, original, bytes)
        })
        .collect();
    assert_eq!(frames(&replaced(file, change)), expected, "{what}");
}

#[test]
fn a_replaced_frame_is_read_as_it_was_given_from_every_pcap_record() {
    for order in ORDERS {
        for (magic, extra) in [(0xa1b2_c3d4_u32, 0), (0xa1b2_3c4d, 0), (0xa1b2_cd34, 8)] {
            for (minor, lengths) in [(2, [60, 3]), (3, [60, 3]), (3, [3, 60]), (4, [3, 60])] {
                let record = [&order.words(&[7, 8, lengths[0], lengths[1]])[..], &vec![5; extra], &[1, 2, 3]].concat();
                let file = [order.pcap(magic, minor, 1), record.clone(), record].concat();
                for change in changes() {
                    assert_changed(&file, &*change, &format!("{magic:#x}, version 2.{minor}"));
                }
                let same = replaced(&file, |bytes, original| (bytes.to_vec(), original));
                assert_eq!(same, file, "{magic:#x}, version 2.{minor}");
            }
        }
    }
}

/// A packet block of each kind, with options where it can have some, and blocks of other kinds.
fn pcapng(order: Order, snaplen: u32) -> Vec<u8> {
    let comment = [order.halves(&[1, 5]), b"hello\0\0\0".to_vec(), order.halves(&[0, 0])].concat();
    let captured = |frame: &[u8]| u32::try_from(frame.len()).expect("a short frame");
    let packet = |start: Vec<u8>, frame: &[u8]| {
        let padding = vec![0; frame.len().next_multiple_of(4) - frame.len()];
        [start, order.words(&[5, 6, captured(frame), 60]), frame.to_vec(), padding, comment.clone()].concat()
    };
    [
        order.section(),
        order.interface(snaplen, &[order.halves(&[9, 1]), vec![9, 0, 0, 0]].concat()),
        order.block(6, &packet(order.words(&[0]), &[1, 2, 3, 4, 5])),
        order.block(0x0bad, b"private"),
        order.block(2, &packet(order.halves(&[0, 17]), &[6, 7, 8])),
        order.block(3, &[order.words(&[6]), vec![9, 10, 11, 12, 13, 14]].concat()),
        order.block(5, &[0; 12]),
    ]
    .concat()
}

#[test]
fn a_replaced_frame_is_read_as_it_was_given_from_every_pcapng_block() {
    for order in ORDERS {
        for snaplen in [0, 6, 65535] {
            let file = pcapng(order, snaplen);
            for change in changes() {
                assert_changed(&file, &*change, &format!("big: {}, snaplen {snaplen}", order.big));
                let copy = replaced(&file, change);
                let comments = copy.windows(5).filter(|window| window == b"hello").count();
                assert_eq!(comments, 2, "options stay");
                assert!(copy.windows(7).any(|window| window == b"private"));
            }
            assert_eq!(replaced(&file, |bytes, original| (bytes.to_vec(), original)), file);
        }
    }
}

#[test]
fn a_simple_packet_block_becomes_an_enhanced_one_only_where_it_must() {
    let order = ORDERS[0];
    let simple = |snaplen, change: &Change| {
        let frame = order.block(3, &[order.words(&[6]), vec![9, 10, 11, 12, 13, 14]].concat());
        let file = [order.section(), order.interface(snaplen, &[]), frame].concat();
        let copy = replaced(&file, change);
        copy[28 + 20..][..4].to_vec()
    };
    let longer: &Change = &|bytes, original| ([bytes, &[0]].concat(), original + 1);
    assert_eq!(simple(0, longer), [3, 0, 0, 0]);
    assert_eq!(simple(7, longer), [3, 0, 0, 0]);
    assert_eq!(simple(6, longer), [6, 0, 0, 0], "it would be cut by the snaplen");
    assert_eq!(simple(0, &|bytes, original| (bytes[..5].to_vec(), original)), [6, 0, 0, 0], "it can't be cut");
    assert_eq!(simple(6, &|bytes, original| (bytes.to_vec(), original + 9)), [3, 0, 0, 0], "the snaplen cuts it");
}

#[test]
fn an_fcs_follows_a_replaced_frame_if_it_was_right() {
    let order = ORDERS[1];
    let fcs = |frame: &[u8]| crc::ETHERNET.of(frame.iter().copied()).to_le_bytes();
    let frame = [1, 2, 3, 4, 5, 6];
    let record = |fcs: &[u8]| {
        let captured = u32::try_from(frame.len() + fcs.len()).expect("a short frame");
        [&order.words(&[1, 2, captured, 10])[..], &frame, fcs].concat()
    };
    let (right, wrong) = (fcs(&frame), [1, 2, 3, 4]);
    let head = order.pcap(0xa1b2_c3d4, 4, 0x2400_0001);
    let file = [&head[..], &record(&right), &record(&wrong), &record(&[]), &record(&right[..2])].concat();
    let longer = [&frame[..], &[7, 8]].concat();
    let copy = replaced(&file, |_, _| (longer.clone(), 8));
    let captured = |fcs: &[u8]| u32::try_from(8 + fcs.len()).expect("a short frame");
    let with = |fcs: &[u8]| [&order.words(&[1, 2, captured(fcs), 12])[..], &longer, fcs].concat();
    let follows = fcs(&longer);
    assert_eq!(copy, [&head[..], &with(&follows), &with(&wrong), &with(&[]), &with(&follows[..2])].concat());
    let cut = replaced(&file, |_, _| (frame[..3].to_vec(), 6));
    let without = [&order.words(&[1, 2, 3, 10])[..], &frame[..3]].concat();
    assert_eq!(cut, [head, without.repeat(4)].concat(), "a cut frame has none");
}
