//! Closing what the kernel closes slowly, beside what is done next: packet sockets, rings and chains wait until every processor has passed the
//! kernel's own code once (an RCU grace period, 10 ms or so), several times each. One after the other, that was more than half of a short run.
//!
//! Start at [`close`]; whoever ends the process calls [`finish`] before.

use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// What is being closed.
static CLOSING: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Drops `value` on a thread of its own; here, where there can be none.
pub fn close(value: impl Send + 'static) {
    if let Ok(thread) = Builder::new().name("close".to_owned()).spawn(move || drop(value)) {
        CLOSING.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }
}

/// Waits until all is closed that was to be closed so far.
pub fn finish() {
    let closing = std::mem::take(&mut *CLOSING.lock().unwrap_or_else(PoisonError::into_inner));
    for thread in closing {
        // A panic while something is dropped says no more than that it is gone.
        let _ = thread.join();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    #[test]
    fn what_is_closed_is_gone_when_closing_is_finished() {
        let (kept, dropped) = mpsc::channel::<()>();
        super::close(kept);
        super::finish();
        assert_eq!(dropped.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }
}
