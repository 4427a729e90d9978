//! Captures made by hand, and a folder for them.

#![allow(dead_code, reason = "each test uses its part")]

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that is removed with everything in it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("restage-captures-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder in the temporary folder");
        Self(folder)
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("it can be written");
        path
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("it can be read");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Numbers in either byte order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) big: bool,
}

impl Order {
    pub(crate) fn words(self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| if self.big { word.to_be_bytes() } else { word.to_le_bytes() }).collect()
    }

    pub(crate) fn halves(self, halves: &[u16]) -> Vec<u8> {
        halves.iter().flat_map(|half| if self.big { half.to_be_bytes() } else { half.to_le_bytes() }).collect()
    }

    pub(crate) fn pcap(self, magic: u32, link: u32) -> Vec<u8> {
        [self.words(&[magic]), self.halves(&[2, 4]), self.words(&[0, 0, 65535, link])].concat()
    }

    pub(crate) fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        let length = u32::try_from(12 + body.len() + padding.len()).expect("a short block");
        [self.words(&[kind, length]), body.to_vec(), padding, self.words(&[length])].concat()
    }

    pub(crate) fn section(self) -> Vec<u8> {
        let body = [self.words(&[0x1a2b_3c4d]), self.halves(&[1, 0]), vec![0xff; 8]].concat();
        self.block(0x0a0d_0d0a, &body)
    }

    pub(crate) fn interface(self, link: u16, options: &[u8]) -> Vec<u8> {
        self.block(1, &[self.halves(&[link, 0]), self.words(&[0]), options.to_vec()].concat())
    }

    pub(crate) fn enhanced(self, interface: u32, ticks: u64, original: u32, bytes: &[u8]) -> Vec<u8> {
        let captured = u32::try_from(bytes.len()).expect("a short frame");
        let (high, low) = ((ticks >> 32) as u32, (ticks & 0xffff_ffff) as u32);
        self.block(6, &[self.words(&[interface, high, low, captured, original]), bytes.to_vec()].concat())
    }
}

pub(crate) const LITTLE: Order = Order { big: false };
pub(crate) const BIG: Order = Order { big: true };

/// An IPv4 packet from 10.0.0.1 to 10.0.0.2, of a protocol without ports.
pub(crate) fn datagram(payload: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 21, 0, 0, 0, 0, 64, 253, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.push(payload);
    packet
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
