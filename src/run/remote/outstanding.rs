//! How many announcements are on their way. Start at [`Outstanding`].

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ledger::matching::Announced;

/// Announcements that the receiver's machine has not taken in, as one that announces knows it.
#[derive(Default)]
pub(in crate::run) struct Outstanding {
    announced: AtomicU64,
    taken_in: AtomicU64,
}

impl Outstanding {
    pub(super) fn announce(&self, frames: &[Announced]) {
        self.announced.fetch_add(frames.len() as u64, Ordering::AcqRel);
    }

    /// So many of all that were announced are taken in.
    pub(super) fn take_in(&self, taken_in: u64) {
        self.taken_in.store(taken_in, Ordering::Release);
    }

    /// Of how many announcements nothing is waited for any more.
    pub(in crate::run) fn taken_in(&self) -> u64 {
        self.taken_in.load(Ordering::Acquire)
    }

    /// Whether fewer than `most` are outstanding.
    pub(super) fn has_room(&self, most: u64) -> bool {
        self.announced.load(Ordering::Acquire).saturating_sub(self.taken_in()) < most
    }
}
