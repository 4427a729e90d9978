//! Scenarios that take long are named while they run, terminal or not.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::cli::output::Output;
use crate::report::progress::Progress;

/// How often it is looked whether one is due.
const TICK: Duration = Duration::from_millis(100);

/// A thread that names slow scenarios. Dropping it ends it.
///
/// It is to be started while a run has the signals blocked, so that it takes none of them.
pub(super) struct SlowMarks {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SlowMarks {
    /// Names each scenario that still runs after `period`, and after each further one. Without a thread nothing is named.
    pub(super) fn start(progress: Arc<Mutex<Progress>>, period: Duration, mut output: Output) -> Self {
        let (end, ended) = channel();
        let thread = Builder::new().name("slow".into()).spawn(move || {
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let mut progress = locked(&progress);
                let lines = progress.slow(period, output.look());
                if !lines.is_empty() {
                    progress.aside(|| output.write(&lines));
                }
            }
        });
        Self { end: Some(end), thread: thread.ok() }
    }
}

impl Drop for SlowMarks {
    fn drop(&mut self) {
        self.end = None;
        // It has nothing to give, and what it printed stays if it panicked.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// What is shown of the run. If the other thread panicked while it printed, no more than a line is missing.
pub(super) fn locked(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}
