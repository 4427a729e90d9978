//! The side of a worker: its job, and its eye on its parent, which is [`super::worker`]. Start at [`watch_parent`].

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::getppid;

use super::leftover;
use crate::diagnostic::{Failure, Result};

/// An interrupted worker that doesn't end by itself is ended after this time: before its parent's own grace ends.
const WORKER_GRACE: Duration = Duration::from_secs(7);

/// The same where its parent is gone, so that no one reads what it has seen.
const ORPHAN_GRACE: Duration = Duration::from_millis(1500);

/// How often it looks whether its parent is gone.
const ORPHAN_WAIT: Duration = Duration::from_millis(100);

/// The job of this worker, as [`Job::input`](super::worker::Job::input) says it.
pub fn job() -> Result<String> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map(|_| line).map_err(|error| Failure::system("can't read what the parent wants", &error))
}

/// The worker's eye on its parent.
#[derive(Debug, Clone)]
pub struct ParentWatch {
    gone: Arc<AtomicBool>,
    event: Arc<EventFd>,
}

impl ParentWatch {
    /// Whether the run is interrupted: what runs should stop, say what it has seen, clean up and end.
    pub fn parent_is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

impl AsFd for ParentWatch {
    /// Readable from the moment when the parent is gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// Watches this process's standard input, which closes when the parent is gone or the run is interrupted. A worker that
/// has not ended 7 s later (1.5 s if the parent is gone) is ended: its applications are killed, its work folders removed.
///
/// Starts a thread: to be called after [`crate::host::namespace::enter`].
pub fn watch_parent() -> Result<ParentWatch> {
    // Nothing more is said.
    watch_parent_lines(|_| ())
}

/// The same of a parent that says more; `take` gets each line, on that thread.
pub fn watch_parent_lines(mut take: impl FnMut(&str) + Send + 'static) -> Result<ParentWatch> {
    let cant = |error: &std::io::Error| Failure::system("can't watch the parent", error);
    let event =
        EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(|errno| cant(&errno.into()))?;
    let watch = ParentWatch { gone: Arc::new(AtomicBool::new(false)), event: Arc::new(event) };
    let notified = watch.clone();
    let parent = getppid();
    thread::Builder::new()
        .name("parent-watch".into())
        .spawn(move || {
            // It ends when the pipe closes. An error means the same.
            let lines = std::io::stdin().lines().map_while(std::io::Result::ok);
            lines.for_each(|line| take(&line));
            drop(take);
            notified.gone.store(true, Ordering::Release);
            // The counter of an eventfd that was never written has room for one.
            let _ = notified.event.write(1);
            let since = Instant::now();
            let is_orphan = || getppid() != parent && since.elapsed() >= ORPHAN_GRACE;
            while since.elapsed() < WORKER_GRACE && !is_orphan() {
                thread::sleep(ORPHAN_WAIT);
            }
            leftover::clear();
            #[expect(clippy::exit, reason = "the parent is gone, so there is no caller to return to")]
            std::process::exit(1);
        })
        .map_err(|error| cant(&error))?;
    Ok(watch)
}
