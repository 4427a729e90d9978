//! What is on its way to the other end of a connection. Start at [`Outgoing`].

use std::io::Write;
use std::sync::{Condvar, Mutex, PoisonError};

use super::super::stack::lock;

/// So many bytes may be on their way to it: more than the frames of a second.
const MOST_UNDER_WAY: usize = 16 << 20;

/// Lines that are on their way, in their order. A thread writes them, so that whoever sends frames does not wait for a network.
#[derive(Default)]
pub(super) struct Outgoing {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Whether there are no more, or no one takes them.
    closed: bool,
}

impl Outgoing {
    /// Adds lines; false where no one takes them any more. Waits where too many are on their way.
    pub(super) fn push(&self, line: &[u8]) -> bool {
        let mut lines = lock(&self.lines);
        while lines.bytes.len() > MOST_UNDER_WAY && !lines.closed {
            lines = self.changed.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
        if !lines.closed {
            lines.bytes.extend_from_slice(line);
            self.changed.notify_all();
        }
        !lines.closed
    }

    /// What was added is still written.
    pub(super) fn close(&self) {
        lock(&self.lines).closed = true;
        self.changed.notify_all();
    }

    pub(super) fn write_to(&self, mut out: impl Write) {
        let mut taken = Vec::new();
        loop {
            let mut lines = lock(&self.lines);
            while lines.bytes.is_empty() && !lines.closed {
                lines = self.changed.wait(lines).unwrap_or_else(PoisonError::into_inner);
            }
            taken.clear();
            std::mem::swap(&mut taken, &mut lines.bytes);
            self.changed.notify_all();
            drop(lines);
            if taken.is_empty() || out.write_all(&taken).and_then(|()| out.flush()).is_err() {
                return self.close();
            }
        }
    }
}
