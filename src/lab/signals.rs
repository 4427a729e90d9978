//! The signals that a run takes: those that end it, the one that asks how far it is, and the ends of its workers.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::diagnostic::{Failure, Result};

/// Asks how far the running scenarios are, as `dd` is asked.
pub(super) const STATUS: Signal = Signal::SIGUSR1;

/// Keeps SIGUSR1, which would end this process, waiting until [`super::worker::supervise`] takes it, or for ever.
///
/// It is blocked in the calling thread, and in the threads and workers that this one starts from here on: one that is sent
/// to a worker, or to all processes of a run, ends nobody. The application is not concerned: it starts with no signal blocked.
///
/// # Errors
/// When the kernel refuses, which it has no reason to.
pub fn await_status_requests() -> Result<()> {
    SigSet::from(STATUS).thread_block().map_err(cant_take)
}

/// Signals of this process, readable, and blocked for as long as this lives.
pub(super) struct Signals {
    descriptor: SignalFd,
    /// What the thread blocked before.
    pub(super) mask_before: SigSet,
}

impl Signals {
    pub(super) fn block() -> Result<Self> {
        let mask = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD, STATUS]);
        let mask_before = mask.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(cant_take)?;
        let descriptor =
            SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(cant_take)?;
        Ok(Self { descriptor, mask_before })
    }

    /// What is to be polled for them.
    pub(super) fn readable(&self) -> PollFd<'_> {
        PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)
    }

    /// Those that have come.
    pub(super) fn take(&self) -> Result<Vec<Signal>> {
        let mut signals = Vec::new();
        loop {
            match self.descriptor.read_signal() {
                Ok(Some(record)) => signals.extend(Signal::try_from(record.ssi_signo.cast_signed())),
                Ok(None) => return Ok(signals),
                Err(errno) => return Err(Failure::system("can't read the signals", &errno.into())),
            }
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // A mask that was in force can be put in force again.
        let _ = self.mask_before.thread_set_mask();
    }
}

fn cant_take(errno: Errno) -> Failure {
    Failure::system("can't take over the signals", &errno.into())
}
