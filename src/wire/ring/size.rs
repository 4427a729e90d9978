//! How large a receive ring is to be. Start at [`RingSize`].

use nix::unistd::{SysconfVar, sysconf};

/// The smallest block; of a ring for few frames, since the kernel clears every block. It must hold the largest frame.
const BLOCK_BYTES: usize = 64 << 10;
const SMALL_BLOCK_BYTES: usize = 8 << 10;

/// So many frames of Ethernet's usual length fill less than half of 64 small blocks.
const FEW_FRAMES: u64 = 128;

/// Room in a block beside the frame: the block's header (48), the frame's (48), its address (20) and alignment.
const OVERHEAD_BYTES: usize = 256;

/// How large a ring is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingSize {
    /// Of the whole ring.
    pub bytes: usize,
    /// Of each block, at least; it may be larger so that the longest frame fits.
    block_bytes: usize,
}

impl From<usize> for RingSize {
    fn from(bytes: usize) -> Self {
        Self { bytes, block_bytes: BLOCK_BYTES }
    }
}

impl RingSize {
    /// So many blocks on an interface of this MTU, for so many frames.
    pub fn of_blocks(blocks: usize, mtu_bytes: u32, frames: u64) -> Self {
        let block_bytes = if frames <= FEW_FRAMES { SMALL_BLOCK_BYTES } else { BLOCK_BYTES };
        let size = Self { bytes: 0, block_bytes };
        Self { bytes: size.block_bytes(mtu_bytes) * blocks, ..size }
    }

    /// Whether it is one for few frames.
    pub fn is_small(self) -> bool {
        self.block_bytes < BLOCK_BYTES
    }

    /// The bytes of a block on an interface of this MTU: the longest frame fits into it.
    pub(super) fn block_bytes(self, mtu_bytes: u32) -> usize {
        let frame_bytes = usize::try_from(mtu_bytes).unwrap_or(usize::MAX).min(1 << 20) + OVERHEAD_BYTES;
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| usize::try_from(bytes).ok());
        frame_bytes.next_power_of_two().max(self.block_bytes).max(page.unwrap_or(BLOCK_BYTES))
    }
}
