//! Keeps the output of a program up to a limit, and discards what exceeds it: the program is never kept waiting. Start at [`Pump::start`].

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, fchmod};

use crate::diagnostic::{Failure, Result};

/// So much is read at once.
const CHUNK: usize = 64 << 10;
/// How much a pipe holds, where the system allows it (pipe(7)).
const PIPE_BYTES: i32 = 1 << 20;
/// The stack of the thread: it holds a buffer, and calls nothing deep.
const STACK: usize = 256 << 10;

/// A thread that moves what a program prints into files.
#[derive(Debug)]
pub(super) struct Pump {
    thread: JoinHandle<()>,
    /// Closed when the program and all that it started have ended.
    release: OwnedFd,
    discarded: Arc<[AtomicU64; 2]>,
}

struct Stream {
    pipe: File,
    kept: File,
    left: u64,
    index: usize,
}

impl Pump {
    /// Gives what a program gets as standard output and standard error. Of each, `most` bytes get into the file.
    pub(super) fn start(kept: [File; 2], most: u64) -> Result<(Self, [Stdio; 2])> {
        let cant = |errno: Errno| Failure::system("can't make a pipe", &errno.into());
        let mut streams = Vec::new();
        let mut ends = Vec::new();
        for (index, kept) in kept.into_iter().enumerate() {
            let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(cant)?;
            fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(cant)?;
            // Without these the program can still write, but not open /dev/stdout again as another user.
            let _ = fchmod(&write, Mode::from_bits_truncate(0o622));
            let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
            streams.push(Stream { pipe: read.into(), kept, left: most, index });
            ends.push(Stdio::from(write));
        }
        let (released, release) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(cant)?;
        let discarded = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let counts = Arc::clone(&discarded);
        let thread = thread::Builder::new()
            .name("output".into())
            .stack_size(STACK)
            .spawn(move || pump(streams, &released, &counts))
            .map_err(|error| Failure::system("can't start a thread", &error))?;
        let [stdout, stderr] = <[Stdio; 2]>::try_from(ends).unwrap_or_else(|_| [Stdio::null(), Stdio::null()]);
        Ok((Self { thread, release, discarded }, [stdout, stderr]))
    }

    /// Waits until everything is kept that was written by now; how many bytes of each stream were discarded.
    pub(super) fn finish(self) -> [u64; 2] {
        drop(self.release);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        [0, 1].map(|index| self.discarded[index].load(Ordering::Relaxed))
    }
}

fn pump(mut streams: Vec<Stream>, released: &OwnedFd, discarded: &[AtomicU64; 2]) {
    let mut buffer = vec![0; CHUNK];
    while !streams.is_empty() {
        let mut waiting: Vec<PollFd> =
            streams.iter().map(|stream| PollFd::new(stream.pipe.as_fd(), PollFlags::POLLIN)).collect();
        waiting.push(PollFd::new(released.as_fd(), PollFlags::POLLIN));
        match poll(&mut waiting, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
        let is_released = waiting.pop().and_then(|released| released.any()).unwrap_or(false);
        let mut moved = false;
        streams.retain_mut(|stream| match stream.pipe.read(&mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                moved = true;
                let kept = length.min(usize::try_from(stream.left).unwrap_or(usize::MAX));
                // A full file system ends what is kept; the program goes on.
                let kept = if stream.kept.write_all(&buffer[..kept]).is_ok() { kept } else { 0 };
                stream.left = if kept == length { stream.left - kept as u64 } else { 0 };
                discarded[stream.index].fetch_add((length - kept) as u64, Ordering::Relaxed);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        });
        if is_released && !moved {
            return;
        }
    }
}
