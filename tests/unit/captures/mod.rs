//! Reading, copying and converting captures, over files made here: every format, damage at every byte, what is no capture at all.

mod compressed;
mod payloads;
mod reading;
#[path = "../../common/savefile.rs"]
mod savefile;
mod several;
mod writing;

use std::path::Path;

use crate::capture::{Frame, Reader};
use crate::diagnostic::{Failure, Style, render};
use savefile::{BIG, Folder, LITTLE, Order, datagram, raw};

impl Folder {
    /// A message without the name of this folder.
    fn told(&self, failure: &Failure) -> String {
        render(&failure.problems, Style::Plain).replace(&format!("{}/", self.0.display()), "")
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

impl From<Frame<'_>> for Owned {
    fn from(frame: Frame<'_>) -> Self {
        Self {
            number: frame.number,
            time_ns: frame.time_ns,
            original_length: frame.original_length,
            link: frame.link.0,
            bytes: frame.bytes.to_vec(),
        }
    }
}

fn read_all(path: &Path) -> (Vec<Owned>, Option<Failure>) {
    let mut frames = Vec::new();
    let mut reader = match Reader::open(path) {
        Ok(reader) => reader,
        Err(failure) => return (frames, Some(failure)),
    };
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => frames.push(frame.into()),
            Ok(None) => return (frames, None),
            Err(failure) => return (frames, Some(failure)),
        }
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
