//! The receive ring of another program's packet socket, of which the frames are counted without taking any: a `TPACKET_V3` ring numbers its
//! blocks, and each has how many frames were put into it (packet(7)).
//!
//! `PACKET_STATISTICS` would have the drops, but forgets what it has told: the program's own statistics would be wrong. Start at
//! [`WatchedRing::open`].

use std::collections::BTreeMap;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{Ordering, fence};

use super::mapping::{Access, Mapping};

const HEADER: usize = offset_of!(libc::tpacket_block_desc, hdr);
const FRAMES: usize = HEADER + offset_of!(libc::tpacket_hdr_v1, num_pkts);
const NUMBER: usize = HEADER + offset_of!(libc::tpacket_hdr_v1, seq_num);
const STATUS: usize = HEADER + offset_of!(libc::tpacket_hdr_v1, block_status);
/// So often a look is begun again where the kernel has gone on to another block meanwhile.
const MOST_LOOKS: u32 = 16;

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
    /// How many blocks the kernel could begin after the one that was being filled at the last look.
    free: u64,
    /// Whether the ring may have been full since it is watched.
    may_have_been_full: bool,
}

impl WatchedRing {
    /// Watches a ring of `blocks` blocks from now on; `transmit_bytes` are mapped behind it. The socket is not closed as long as it is watched.
    ///
    /// # Errors
    /// When it can't be mapped.
    pub fn open(socket: &OwnedFd, block_bytes: usize, blocks: usize, transmit_bytes: usize) -> io::Result<Self> {
        let length = block_bytes.saturating_mul(blocks).saturating_add(transmit_bytes);
        let memory = Mapping::with(socket.as_fd(), length, 0, Access::Read)?;
        let mut ring = Self {
            memory,
            block_bytes,
            blocks,
            open: 0,
            before: 0,
            in_open: 0,
            at_first: 0,
            missed: false,
            free: 0,
            may_have_been_full: false,
        };
        let (mut blocks, free) = ring.state();
        if let Some((number, frames)) = blocks.pop_last() {
            (ring.open, ring.in_open, ring.at_first) = (number, frames, frames);
        }
        ring.free = free.unwrap_or_default();
        ring.may_have_been_full = free.is_none();
        Ok(ring)
    }

    /// Counts what came since the last look. To be called before the kernel has filled the whole ring once more.
    pub fn look(&mut self) {
        let (blocks, free) = self.state();
        let Some((&last, &frames)) = blocks.last_key_value() else { return };
        // The program only ever gives blocks back. Where the last free block was begun, it may have been full before another one was given back.
        self.may_have_been_full |= last.saturating_sub(self.open) >= self.free || free.is_none();
        self.free = free.unwrap_or_default();
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

    /// The number of the block that was being filled at the last look.
    pub fn newest(&self) -> u64 {
        self.open
    }

    /// Whether the other program has read every frame of the blocks up to this number.
    pub fn is_read(&self, up_to: u64) -> bool {
        let (blocks, _) = self.state();
        let is_filled = blocks.last_key_value().is_none_or(|(newest, frames)| *newest > up_to || *frames == 0);
        is_filled && !blocks.range(..=up_to).any(|(number, _)| self.is_full(self.place(*number)))
    }

    /// Where the block with this number is: blocks are filled in turn.
    fn place(&self, number: u64) -> usize {
        usize::try_from((number - 1) % self.blocks as u64).unwrap_or_default()
    }

    /// Whether a block is handed over to the program.
    fn is_full(&self, place: usize) -> bool {
        let status = self.memory.word(place * self.block_bytes + STATUS).load(Ordering::Acquire);
        status & libc::TP_STATUS_USER != 0
    }

    /// Whether at each moment until the last look there was room for a frame, so that none was dropped.
    pub fn had_room(&self) -> bool {
        !self.may_have_been_full
    }

    /// The frames of each block, by its number, and how many blocks are free beside the one that is being filled; `None` where none is being
    /// filled, or the kernel is too fast to say so.
    fn state(&self) -> (BTreeMap<u64, u64>, Option<u64>) {
        let mut blocks = self.numbered();
        for _ in 0..MOST_LOOKS {
            fence(Ordering::Acquire);
            let full: Vec<usize> = (0..self.blocks).filter(|place| self.is_full(*place)).collect();
            fence(Ordering::Acquire);
            let now = self.numbered();
            let newest = |blocks: &BTreeMap<u64, u64>| blocks.last_key_value().map(|(number, _)| *number);
            if newest(&now) == newest(&blocks) {
                // Where the newest is full, the kernel could not begin another one.
                let is_begun = newest(&now).is_none_or(|number| !full.contains(&self.place(number)));
                return (now, is_begun.then(|| (self.blocks - full.len()).saturating_sub(1) as u64));
            }
            blocks = now;
        }
        (blocks, None)
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

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;

    use super::*;

    const BLOCK: usize = 4096;

    /// A file in place of the memory that the kernel shares: the number, the frames and the owner of each block.
    struct Blocks(File);

    impl Blocks {
        fn set(&self, index: usize, number: u64, frames: u32, is_full: bool) {
            let put = |offset: usize, bytes: &[u8]| {
                self.0.write_all_at(bytes, (index * BLOCK + offset) as u64).expect("the file can be written");
            };
            put(NUMBER, &number.to_ne_bytes());
            put(FRAMES, &frames.to_ne_bytes());
            put(STATUS, &u32::from(is_full).to_ne_bytes());
        }
    }

    fn watched(name: &str) -> (Blocks, WatchedRing) {
        let path = std::env::temp_dir().join(format!("restage-{name}-{}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("a file");
        fs::remove_file(&path).expect("it is there");
        file.set_len(4 * BLOCK as u64).expect("it has room");
        let blocks = Blocks(file.try_clone().expect("a descriptor"));
        blocks.set(0, 1, 5, false);
        (blocks, WatchedRing::open(&file.into(), BLOCK, 4, 0).expect("it is mapped"))
    }

    #[test]
    fn a_ring_had_room_if_fewer_blocks_were_begun_than_were_free() {
        let (blocks, mut ring) = watched("room");
        // Two are full, and the program has not read them.
        blocks.set(0, 1, 7, true);
        blocks.set(1, 2, 3, true);
        blocks.set(2, 3, 1, false);
        ring.look();
        assert_eq!((ring.frames(), ring.had_room(), ring.newest()), (Some(6), true, 3));
        assert_eq!([0, 1, 3].map(|up_to| ring.is_read(up_to)), [true, false, false]);
        // The program reads both.
        blocks.set(0, 1, 7, false);
        blocks.set(1, 2, 3, false);
        ring.look();
        assert!(ring.is_read(2) && !ring.is_read(3), "one frame is in the block that is being filled");
        blocks.set(2, 3, 4, true);
        blocks.set(3, 4, 1, false);
        ring.look();
        assert_eq!((ring.frames(), ring.had_room()), (Some(10), true));
        assert!(!ring.is_read(3), "the program has not read it");
        blocks.set(2, 3, 4, false);
        assert!(ring.is_read(3) && !ring.is_read(4));
        // The last one that was free is begun: it may have been full for a while.
        blocks.set(3, 4, 2, true);
        blocks.set(0, 5, 1, true);
        blocks.set(1, 6, 1, false);
        ring.look();
        assert_eq!((ring.frames(), ring.had_room()), (Some(13), false));
    }

    #[test]
    fn a_ring_that_is_full_when_it_is_looked_at_had_no_room() {
        let (blocks, mut ring) = watched("full");
        for (index, number) in (0..4).zip(1..) {
            blocks.set(index, number, 5, true);
        }
        ring.look();
        assert!(!ring.had_room());
    }
}
