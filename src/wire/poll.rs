//! Waiting for several descriptors at once (poll(2)), and ending a wait from another thread (eventfd(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Ends another thread's wait; its copies are one.
#[derive(Debug, Clone)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    /// One that was not called yet.
    ///
    /// # Errors
    /// When the kernel gives no eventfd.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?)))
    }

    /// Whoever waits, or else waits next, returns at once with what is there.
    pub fn wake(&self) {
        // EAGAIN: 2^64 - 2 wake-ups are unread, so the other is awake.
        let _ = self.0.write(1);
    }

    /// Forgets that it was called.
    pub(super) fn forget(&self) {
        // EAGAIN: it was not.
        let _ = self.0.read();
    }
}

impl AsFd for Waker {
    /// Readable when it was called.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of them is readable, at most for `limit`; returns early where a signal comes.
pub fn await_readable(descriptors: &[BorrowedFd<'_>], limit: Duration) {
    let mut waiting: Vec<PollFd<'_>> =
        descriptors.iter().map(|descriptor| PollFd::new(*descriptor, PollFlags::POLLIN)).collect();
    // The read that follows returns the error.
    let _ = poll(&mut waiting, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX));
}
