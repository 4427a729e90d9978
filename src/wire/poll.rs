//! Waiting for several descriptors at once (poll(2)).

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Waits until one of them is readable, at most for `limit`; returns early where a signal comes.
pub fn await_readable(descriptors: &[BorrowedFd<'_>], limit: Duration) {
    let mut waiting: Vec<PollFd<'_>> =
        descriptors.iter().map(|descriptor| PollFd::new(*descriptor, PollFlags::POLLIN)).collect();
    // What went wrong is told by the read that follows.
    let _ = poll(&mut waiting, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX));
}
