//! The receiver's side while frames are sent: what is on its wire, how its counters move, what waits in its queues.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::site::Site;
use crate::diagnostic::{Failure, Problem, Result};
use crate::evidence::{Evidence, Queue, Sending};
use crate::ledger::matching::{Digester, Matching};
use crate::wire::counters::{Counters, CountersReader};
use crate::wire::loopback::LoopbackCount;
use crate::wire::ring::{Ring, Waker};
use crate::wire::sockets::{SocketTable, UdpSocket};

/// The receive ring: what stays in the processor's cache; larger ones are slower.
const RING_BYTES: usize = 4 << 20;
/// How long the ring's thread blocks at most.
const BLOCK: Duration = Duration::from_millis(100);

/// What the sending thread and the ring's thread share.
#[derive(Clone, Default)]
pub(super) struct Shared {
    matching: Arc<Mutex<Matching>>,
    pub(super) digester: Digester,
}

impl Shared {
    pub(super) fn matching(&self) -> MutexGuard<'_, Matching> {
        self.matching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receiver's side; with a target there is nothing to see.
pub(super) struct Observer {
    pub(super) shared: Shared,
    lab: Option<LabSide>,
}

struct LabSide {
    counters: CountersReader,
    before: Counters,
    sender: CountersReader,
    sender_before: Counters,
    sockets: SocketTable,
    loopback: LoopbackCount,
    waker: Waker,
    finished: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<bool>>>,
}

/// What can be read at any time without disturbing anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Moment {
    pub(super) arrived: u64,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) queues: Vec<Queue>,
    pub(super) loopback_datagrams: u64,
}

impl Observer {
    /// Begins to observe; everything that comes after this is seen.
    pub(super) fn start(site: &Site) -> Result<Self> {
        let shared = Shared::default();
        if !site.observed {
            return Ok(Self { shared, lab: None });
        }
        let (mut counters, sockets, loopback, mut ring) = site.receiver.run(|| -> Result<_> {
            let interface = site.receiver_interface.as_str();
            let ring = Ring::open(interface, RING_BYTES)?;
            Ok((CountersReader::open(interface)?, SocketTable::open()?, LoopbackCount::open()?, ring))
        })??;
        let mut sender = site.sender.run(|| CountersReader::open(&site.sender_interface))??;
        let (before, sender_before) = (counters.read()?, sender.read()?);
        let waker = ring.waker();
        let finished = Arc::new(AtomicBool::new(false));
        let thread = {
            let (shared, finished) = (shared.clone(), Arc::clone(&finished));
            std::thread::Builder::new()
                .name("ring".to_owned())
                .spawn(move || watch(&mut ring, &shared, &finished))
                .map_err(|error| Failure::system("can't start a thread", &error))?
        };
        let lab = LabSide {
            counters,
            before,
            sender,
            sender_before,
            sockets,
            loopback,
            waker,
            finished,
            thread: Some(thread),
        };
        Ok(Self { shared, lab: Some(lab) })
    }

    /// What is seen now.
    pub(super) fn look(&mut self) -> Result<Moment> {
        let arrived = self.shared.matching().arrived();
        let Some(lab) = &mut self.lab else { return Ok(Moment { arrived, ..Moment::default() }) };
        let mut counters = lab
            .counters
            .read()?
            .since(&lab.before)
            .iter()
            .map(|(name, count)| (name.to_owned(), count))
            .collect::<BTreeMap<_, _>>();
        if let Some(dropped) = lab.sender.read()?.since(&lab.sender_before).get("if.tx.dropped") {
            counters.insert("tx.dropped".to_owned(), dropped);
        }
        let queues = lab.sockets.udp()?.iter().map(queue).collect();
        Ok(Moment { arrived, counters, queues, loopback_datagrams: lab.loopback.datagrams()? })
    }

    /// Ends observing, and says what was seen.
    pub(super) fn evidence(mut self, settled: Settled) -> Result<Evidence> {
        let Some(mut lab) = self.lab.take() else {
            return Ok(Evidence { sending: settled.sending, timed_out: settled.timed_out, ..Evidence::default() });
        };
        lab.finished.store(true, Ordering::Release);
        lab.waker.wake();
        let complete = match lab.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result?,
            Some(Err(_)) | None => {
                return Err(Failure::error(Problem::error("the thread that reads the receive ring ended early")));
            }
        };
        let matching = std::mem::take(&mut *self.shared.matching());
        Ok(Evidence {
            sending: settled.sending,
            arriving: complete.then(|| matching.finish()),
            counters: Some(settled.moment.counters),
            loopback_datagrams: settled.moment.loopback_datagrams,
            queues: settled.moment.queues,
            timed_out: settled.timed_out,
            ..Evidence::default()
        })
    }
}

/// How the run stood when nothing moved any more.
pub(super) struct Settled {
    pub(super) sending: Sending,
    pub(super) moment: Moment,
    pub(super) timed_out: Option<Duration>,
}

fn queue(socket: &UdpSocket) -> Queue {
    Queue { port: socket.port, unread_bytes: socket.receive_queue_bytes }
}

/// The ring's thread: every frame is matched with what was sent. Says whether the ring lost none.
fn watch(ring: &mut Ring, shared: &Shared, finished: &AtomicBool) -> Result<bool> {
    let mut seen = Vec::with_capacity(256);
    loop {
        // Asked before the last look at the ring, so that nothing that came until then is left in it.
        let last = finished.load(Ordering::Acquire);
        ring.read(if last { Duration::ZERO } else { BLOCK }, &mut |frame| seen.push(shared.digester.of(frame.bytes)))?;
        if !seen.is_empty() {
            let mut matching = shared.matching();
            for digest in seen.drain(..) {
                matching.see(digest);
            }
        } else if last {
            return Ok(ring.statistics()?.drops == 0);
        }
    }
}
