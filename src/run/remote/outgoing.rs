//! What is on its way to the other end of a connection. Start at [`Outgoing`].

use std::io::Write;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::stack::lock;
use super::connection::PATIENCE;

/// So many bytes may be on their way to it: more than the frames of a second.
const MOST_UNDER_WAY: usize = 16 << 20;
/// So many are written at once: on a slow network, that some were written is known before all are.
const AT_ONCE: usize = 64 << 10;
/// Whoever waits for room looks so often whether some were written.
const LOOK: Duration = Duration::from_millis(500);

/// Lines that are on their way, in their order. A thread writes them, so that whoever sends frames does not wait for a network.
#[derive(Default)]
pub(super) struct Outgoing {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    /// How many times some were written.
    writes: u64,
    /// Whether there are no more, or no one takes them.
    closed: bool,
}

impl Outgoing {
    /// Adds lines; false where no one takes them any more. Waits where too many are on their way, as long as the other end takes some of them.
    pub(super) fn push(&self, line: &[u8]) -> bool {
        self.push_within(line, PATIENCE)
    }

    /// The same; `patience` is how long the other end may take nothing.
    fn push_within(&self, line: &[u8], patience: Duration) -> bool {
        let mut lines = lock(&self.lines);
        let mut standstill = Standstill::new(lines.writes, Instant::now());
        while lines.bytes.len() > MOST_UNDER_WAY && !lines.closed {
            if standstill.lasts(lines.writes, Instant::now()) >= patience {
                lines.bytes = Vec::new();
                lines.closed = true;
                break;
            }
            let waited = self.changed.wait_timeout(lines, patience.min(LOOK));
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if !lines.closed {
            lines.bytes.extend_from_slice(line);
        }
        self.changed.notify_all();
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
            let write = |part: &[u8]| {
                out.write_all(part).and_then(|()| out.flush()).inspect(|()| lock(&self.lines).writes += 1)
            };
            if taken.is_empty() || taken.chunks(AT_ONCE).try_for_each(write).is_err() {
                return self.close();
            }
        }
    }
}

/// How long nothing was written.
struct Standstill {
    writes: u64,
    since: Instant,
}

impl Standstill {
    fn new(writes: u64, now: Instant) -> Self {
        Self { writes, since: now }
    }

    fn lasts(&mut self, writes: u64, now: Instant) -> Duration {
        if writes != self.writes {
            *self = Self::new(writes, now);
        }
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::mpsc::{self, Receiver};

    use super::*;

    /// Takes nothing until the other end of the channel is dropped.
    struct Frozen(Receiver<()>);

    impl Write for Frozen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_no_one_takes_are_given_up() {
        let (thaw, frozen) = mpsc::channel();
        let outgoing = Outgoing::default();
        let pushed = std::thread::scope(|scope| {
            scope.spawn(|| outgoing.write_to(Frozen(frozen)));
            let line = vec![b'x'; MOST_UNDER_WAY + 1];
            // The thread has the first one at most, and the second one leaves no room.
            let pushed = [(); 3].map(|()| outgoing.push_within(&line, Duration::from_millis(20)));
            drop(thaw);
            pushed
        });
        assert!(pushed[0] && !pushed[2], "{pushed:?}");
    }

    #[test]
    fn a_slow_network_is_no_standstill() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut standstill = Standstill::new(7, begun);
        let looks = [(7, 15), (8, 19), (8, 38), (9, 40), (9, 41)];
        let lasts = looks.map(|(writes, now)| standstill.lasts(writes, at(now)).as_secs());
        assert_eq!(lasts, [15, 0, 19, 0, 1]);
    }
}
