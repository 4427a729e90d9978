//! What the receiver has not read while a trial is sent, and how long it reads afterwards.
//!
//! A thread asks for the sockets some hundred times a second, so that the sender is not disturbed. Start at [`Backlog::start`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::host::sockets::SocketTable;
use crate::plan::Plan;
use crate::scenario::require::Transport;
use crate::testbed::Side;

/// The time between two looks at the sockets.
const LOOK: Duration = Duration::from_millis(5);

/// Watches the sockets that receive the capture.
pub(super) struct Backlog {
    state: Arc<State>,
    thread: Option<JoinHandle<Result<Drained>>>,
}

struct State {
    begun: Instant,
    /// When sending ended, in nanoseconds from `begun`; 0: it has not.
    sent_ns: AtomicU64,
    /// A socket has dropped datagrams: there is no need to send more.
    dropped: Arc<AtomicBool>,
    over: AtomicBool,
}

/// How the queues were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Drained {
    /// How long after the last send there were unread datagrams.
    pub(super) time: Duration,
    /// Unread bytes when sending had ended, in the kernel's own accounting.
    pub(super) unread_bytes: u64,
    /// The smallest receive buffer; 0 where there is none.
    pub(super) buffer_bytes: u64,
}

impl Backlog {
    pub(super) fn start(receiver: &Side, plan: &Plan, dropped: Arc<AtomicBool>) -> Result<Self> {
        let table = receiver.sockets()?;
        let ports = plan.survey.udp_ports.iter().map(|(port, _)| *port).collect();
        let state = Arc::new(State {
            begun: Instant::now(),
            sent_ns: AtomicU64::new(0),
            dropped,
            over: AtomicBool::new(false),
        });
        let watched = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("backlog".to_owned())
            .spawn(move || watch(&table, &ports, &watched))
            .map_err(|error| Failure::system("can't start a thread", &error))?;
        Ok(Self { state, thread: Some(thread) })
    }

    pub(super) fn sending_ended(&self) {
        self.state.sent_ns.store(nanoseconds(self.state.begun.elapsed()).max(1), Ordering::Release);
    }

    pub(super) fn finish(mut self) -> Result<Drained> {
        self.state.over.store(true, Ordering::Release);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(drained)) => drained,
            Some(Err(_)) | None => {
                Err(Failure::error(Diagnostic::error("the thread that watches the queues ended early")))
            }
        }
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Release);
    }
}

fn watch(table: &SocketTable, ports: &BTreeSet<u16>, state: &State) -> Result<Drained> {
    let mut drained = Drained::default();
    let mut dropped_before = None;
    loop {
        let over = state.over.load(Ordering::Acquire);
        let now = nanoseconds(state.begun.elapsed());
        let (mut unread, mut dropped) = (0, 0);
        for socket in table.list(Transport::Udp)?.iter().filter(|socket| ports.contains(&socket.port)) {
            unread += u64::from(socket.unread_bytes);
            dropped += u64::from(socket.drops);
            let buffer = u64::from(socket.buffer_bytes);
            drained.buffer_bytes = if drained.buffer_bytes == 0 { buffer } else { drained.buffer_bytes.min(buffer) };
        }
        if dropped > *dropped_before.get_or_insert(dropped) {
            state.dropped.store(true, Ordering::Release);
        }
        let sent = state.sent_ns.load(Ordering::Acquire);
        if sent > 0 && now > sent && unread > 0 {
            if drained.unread_bytes == 0 {
                drained.unread_bytes = unread;
            }
            drained.time = Duration::from_nanos(now - sent);
        }
        if over {
            return Ok(drained);
        }
        std::thread::sleep(LOOK);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
