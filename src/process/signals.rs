//! The signals that a run takes: those that end it, the one that asks how far it is, and the ends of its workers; and what is removed
//! before a signal ends another verb.
#![expect(unsafe_code, reason = "signal(2)")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, raise, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::diagnostic::{Failure, Result};
use crate::file;

/// Asks how far the running scenarios are, as `dd` is asked.
pub(super) const STATUS: Signal = Signal::SIGUSR1;

/// The signals that interrupt: Ctrl-C, a request to end, the terminal is closed. SIGHUP stays ignored where nohup(1) had it ignored.
fn interruptions() -> impl Iterator<Item = Signal> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    let hangs_up = ignored >> (Signal::SIGHUP as i32 - 1) & 1 == 0;
    [Signal::SIGINT, Signal::SIGTERM].into_iter().chain(hangs_up.then_some(Signal::SIGHUP))
}

pub(super) fn interrupts(signal: Signal) -> bool {
    matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP)
}

/// From here on, a signal that ends this process first removes the files that are not complete. To be called before the process has
/// threads.
pub fn leave_no_unfinished_file() -> Result<()> {
    let ending: SigSet = interruptions().collect();
    let before = ending.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(cant_take)?;
    let waiting = std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Ok(signal) = ending.wait() {
            file::discard_unfinished();
            // The signal ends the process as if it had not been waited for.
            let _ = before.thread_set_mask();
            let _ = raise(signal);
        }
    });
    waiting.map(drop).map_err(|error| Failure::system("can't start a thread", &error))
}

/// From here on, a signal that ends this process only makes the descriptor readable, so that a verb can complete what it writes. To be
/// called before the process has threads.
///
/// # Errors
/// When the kernel refuses, which it has no reason to.
pub fn interruption() -> Result<OwnedFd> {
    let mask: SigSet = interruptions().collect();
    mask.thread_block().map_err(cant_take)?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .and_then(|descriptor| descriptor.as_fd().try_clone_to_owned().map_err(|_| Errno::EMFILE))
        .map_err(cant_take)
}

/// Whether such a signal has come.
pub fn has_come(interruption: BorrowedFd<'_>) -> bool {
    let mut waiting = [PollFd::new(interruption, PollFlags::POLLIN)];
    poll(&mut waiting, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Lets writes fail, instead of ending this process, where a pipe has no reader or a file would be larger than this process may make one
/// (`ulimit -f`).
pub(crate) fn let_writes_fail() {
    for ending in [Signal::SIGPIPE, Signal::SIGXFSZ] {
        // SAFETY: no handler of ours is installed.
        let _cannot_fail = unsafe { signal(ending, SigHandler::SigIgn) };
    }
}

/// Keeps SIGUSR1, which would end this process, waiting until [`super::worker::Supervisor`] takes it, or for ever.
///
/// It is blocked in the calling thread, and in the threads and workers that this one starts from here on: one that is sent
/// to a worker, or to all processes of a run, ends no process. The application is not concerned: it starts with no signal blocked.
///
/// # Errors
/// When the kernel refuses, which it has no reason to.
pub fn await_status_requests() -> Result<()> {
    SigSet::from(STATUS).thread_block().map_err(cant_take)
}

/// Signals of this process, readable, and blocked for as long as this lives.
#[derive(Debug)]
pub(super) struct Signals {
    descriptor: SignalFd,
    /// What the thread blocked before.
    pub(super) mask_before: SigSet,
}

impl Signals {
    pub(super) fn block() -> Result<Self> {
        let mask = interruptions().chain([Signal::SIGCHLD, STATUS]).collect::<SigSet>();
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
