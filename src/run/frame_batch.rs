//! What is known of the frames that are placed and not sent. Start at [`Batch`].

use std::time::Duration;

use crate::ledger::identity::Digest;
use crate::ledger::matching::Announced;
use crate::wire::sender::SendResult;

/// What is known of the frames that are placed and not sent.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) frames: Vec<Announced>,
    /// What identifies each in the receiver's stack; empty where the stack is not observed.
    pub(super) heads: Vec<Digest>,
    pub(super) due: Vec<Option<Duration>>,
    /// What they will take in a receive buffer.
    pub(super) room: usize,
    /// What they will take in the receive ring.
    pub(super) ring_bytes: u64,
    pub(super) results: Vec<SendResult>,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.heads.clear();
        self.due.clear();
        self.room = 0;
        self.ring_bytes = 0;
    }
}

/// What a frame takes in a receive buffer: the kernel's buffer is a power of two, and its head some 300 bytes.
pub(super) fn truesize(bytes: usize) -> usize {
    (bytes + 320).next_power_of_two() + 320
}
