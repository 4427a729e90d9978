//! The receive ring of another program's packet socket, of which the frames are counted without taking any: a `TPACKET_V3` ring numbers its
//! blocks, and each has how many frames were put into it (packet(7)).
//!
//! `PACKET_STATISTICS` would have the drops, but forgets what it has told: the program's own statistics would be wrong. Start at
//! [`WatchedRing::open`].

use std::collections::BTreeMap;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use super::mapping::{Access, Mapping};

const HEADER: usize = offset_of!(libc::tpacket_block_desc, hdr);
const FRAMES: usize = HEADER + offset_of!(libc::tpacket_hdr_v1, num_pkts);
const NUMBER: usize = HEADER + offset_of!(libc::tpacket_hdr_v1, seq_num);

/// A ring that another program reads.
#[derive(Debug)]
pub struct WatchedRing {
    memory: Mapping,
    block_bytes: usize,
    blocks: usize,
    /// The number of the block that was being filled at the last look.
    open: u64,
    /// Frames in the blocks before it, since the ring is watched.
    before: u64,
    /// Frames in it at the last look.
    in_open: u64,
    /// Frames that were in the block that was being filled at the first look.
    at_first: u64,
    /// Whether the kernel filled blocks again before they were looked at.
    missed: bool,
}

impl WatchedRing {
    /// Watches a ring of `blocks` blocks from now on; `transmit_bytes` are mapped behind it. The socket is not closed as long as it is watched.
    ///
    /// # Errors
    /// When it can't be mapped.
    pub fn open(socket: &OwnedFd, block_bytes: usize, blocks: usize, transmit_bytes: usize) -> io::Result<Self> {
        let length = block_bytes.saturating_mul(blocks).saturating_add(transmit_bytes);
        let memory = Mapping::with(socket.as_fd(), length, 0, Access::Read)?;
        let (open, before, in_open) = (0, 0, 0);
        let mut ring = Self { memory, block_bytes, blocks, open, before, in_open, at_first: 0, missed: false };
        if let Some((number, frames)) = ring.numbered().pop_last() {
            (ring.open, ring.in_open, ring.at_first) = (number, frames, frames);
        }
        Ok(ring)
    }

    /// Counts what came since the last look. To be called before the kernel has filled the whole ring once more.
    pub fn look(&mut self) {
        let blocks = self.numbered();
        let Some((&last, &frames)) = blocks.last_key_value() else { return };
        for number in self.open..last {
            match blocks.get(&number) {
                Some(frames) => self.before += frames,
                None => self.missed = true,
            }
        }
        (self.open, self.in_open) = (last, frames);
    }

    /// Frames that were put into the ring since it is watched, until the last look; `None` where some were missed.
    pub fn frames(&self) -> Option<u64> {
        (!self.missed).then(|| (self.before + self.in_open).saturating_sub(self.at_first))
    }

    /// The frames of each block, by its number. The one with the highest is being filled.
    fn numbered(&self) -> BTreeMap<u64, u64> {
        let block = |index: usize| {
            let start = index * self.block_bytes;
            let number = || self.memory.long(start + NUMBER).load(Ordering::Relaxed);
            loop {
                let before = number();
                let frames = self.memory.word(start + FRAMES).load(Ordering::Relaxed);
                // The kernel may have begun to fill it again meanwhile.
                if number() == before {
                    return (before, u64::from(frames));
                }
            }
        };
        (0..self.blocks).map(block).filter(|(number, _)| *number > 0).collect()
    }
}
