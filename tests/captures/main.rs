//! Reading, copying and converting captures, over files made here: every format, damage at every byte, what is no capture at all.

mod compressed;
mod program;
mod reading;
mod several;
mod writing;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use restage::capture::{Frame, Reader};
use restage::diagnostic::{Failure, Style, render};

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
