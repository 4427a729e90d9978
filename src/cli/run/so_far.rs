//! Reports of a run that goes on, so that one that is killed leaves what it has done.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::{Began, Reports};
use crate::outcome::{Outcome, Report, Verdict};
use crate::run::batch::Batch;

/// So much time is between two writes, at least,
const PAUSE: Duration = Duration::from_secs(1);

/// and so many times as much as the last one took, so that the reports of thousands of scenarios don't keep a processor busy.
const TIMES: u32 = 20;

/// A thread that writes the reports that are regular files. Dropping it ends it, when what it writes is complete.
///
/// It is to be started while a run has the signals blocked, so that it takes none of them.
pub(super) struct SoFar {
    known: Arc<Known>,
    thread: Option<JoinHandle<()>>,
}

/// What is known, and what wakes the thread.
struct Known {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Of all scenarios, should the run be killed now.
    outcomes: Vec<Outcome>,
    /// Whether one of them is in no report.
    is_new: bool,
    is_over: bool,
}

impl SoFar {
    /// The first reports are written with the first outcome, or soon: those that are there are of another run. Without a report that is a
    /// regular file, there is nothing to do; without a thread, they are written when the run has ended.
    pub(super) fn start(reports: &Reports, batch: &Batch, began: Began) -> Option<Self> {
        if !reports.has_files() {
            return None;
        }
        let state = State { outcomes: batch.if_killed(), is_new: false, is_over: false };
        let known = Arc::new(Known { state: Mutex::new(state), changed: Condvar::new() });
        let (reports, shared) = (reports.clone(), Arc::clone(&known));
        let thread = Builder::new().name("reports".into()).spawn(move || write(&reports, began, &shared));
        Some(Self { known, thread: thread.ok() })
    }

    /// The outcome of the scenario with this index is known.
    pub(super) fn add(&self, index: usize, outcome: &Outcome) {
        let mut state = self.known.state();
        if let Some(slot) = state.outcomes.get_mut(index) {
            *slot = outcome.clone();
        }
        // After the last one, the whole report is written.
        state.is_new = state.outcomes.iter().any(|outcome| outcome.verdict == Verdict::NotRun);
        drop(state);
        self.known.changed.notify_one();
    }
}

impl Drop for SoFar {
    fn drop(&mut self) {
        self.known.state().is_over = true;
        self.known.changed.notify_one();
        // It has nothing to give, and what it wrote is complete if it panicked.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Known {
    /// If the other thread panicked, it has changed nothing that is wrong now.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the reports until the run is over.
fn write(reports: &Reports, began: Began, known: &Known) {
    let wait = |state, pause, holds: fn(&mut State) -> bool| {
        known.changed.wait_timeout_while(state, pause, holds).unwrap_or_else(PoisonError::into_inner).0
    };
    let mut state = wait(known.state(), PAUSE, |state| !state.is_new && !state.is_over);
    while !state.is_over {
        state.is_new = false;
        let outcomes = state.outcomes.clone();
        drop(state);
        let begun = Instant::now();
        // What can't be written is said when the run has ended.
        let _ = reports.save_files(&Report::of_run(began.facts(), outcomes));
        state = wait(known.state(), PAUSE.max(begun.elapsed() * TIMES), |state| !state.is_over);
        state = known
            .changed
            .wait_while(state, |state| !state.is_new && !state.is_over)
            .unwrap_or_else(PoisonError::into_inner);
    }
}
