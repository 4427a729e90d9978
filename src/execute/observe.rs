//! The receiver's side while frames are sent: what is on its wire, how its counters move, what waits in its queues.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::keep::Keeper;
use super::site::Site;
use super::sockets::SocketWatch;
use super::stack::{Closely, Followers, StackWatch};
use crate::diagnostic::{Failure, Problem, Result};
use crate::evidence::{Arriving, Evidence, Sending, SocketRecord, Stack, UdpInput};
use crate::ledger::following::{head, packet_of};
use crate::ledger::matching::{Announced, Digest, Digester, Matching};
use crate::outcome::Hook;
use crate::wire::counters::{Counters, CountersReader};
use crate::wire::poll::Waker;
use crate::wire::ring::{Ring, Seen};

/// The receive ring: what stays in the processor's cache; larger ones are slower.
const RING_BYTES: usize = 4 << 20;
/// What may be under way to the ring, in its bytes: a part of it, since a block that is not full yet takes its room, too.
const UNDER_WAY_BYTES: u64 = RING_BYTES as u64 / 2;
/// What a frame takes in the ring beside its bytes.
const RING_OVERHEAD: u64 = 112;
/// How long the ring's thread blocks at most.
const BLOCK: Duration = Duration::from_millis(100);

/// What the sending thread and the ring's thread share.
#[derive(Clone, Default)]
pub(super) struct Shared {
    pub(super) digester: Digester,
    followers: Followers,
    board: Arc<Board>,
}

#[derive(Default)]
struct Board {
    /// What was announced and the ring's thread has not taken yet.
    announcements: Mutex<Announcements>,
    arrived: AtomicU64,
    /// Bytes that the ring held for frames that were read.
    seen_bytes: AtomicU64,
}

#[derive(Default)]
struct Announcements {
    frames: Vec<Announced>,
    /// Positions of frames that were announced, and not sent.
    withdrawn: Vec<u64>,
}

impl Shared {
    /// What tells the packet of a frame in the receiver's stack; nothing where nobody looks there.
    pub(super) fn head_of(&self, frame: &[u8]) -> Option<Digest> {
        self.followers.follow().then(|| self.digester.of(head(packet_of(frame))))
    }

    /// These frames are about to be sent; `heads` is what [`Self::head_of`] said of each.
    pub(super) fn announce(&self, frames: &[Announced], heads: &[Digest]) {
        self.announcements().frames.extend_from_slice(frames);
        self.followers.announce(heads.iter().zip(frames).map(|(head, announced)| (*head, announced.frame)));
    }

    /// The frame at this position was not sent.
    pub(super) fn withdraw(&self, position: u64) {
        self.announcements().withdrawn.push(position);
        self.followers.withdraw(position);
    }

    /// How many of the sent frames were seen.
    pub(super) fn arrived(&self) -> u64 {
        self.board.arrived.load(Ordering::Acquire)
    }

    /// What a frame of this length takes in the ring.
    pub(super) fn ring_bytes(length: usize) -> u64 {
        length as u64 + RING_OVERHEAD
    }

    /// What the ring has held so far, in its bytes.
    pub(super) fn seen_bytes(&self) -> u64 {
        self.board.seen_bytes.load(Ordering::Acquire)
    }

    /// Whether the ring has room for more, when so many of its bytes were sent in all.
    pub(super) fn has_room(&self, sent_bytes: u64) -> bool {
        sent_bytes.saturating_sub(self.seen_bytes()) < UNDER_WAY_BYTES
    }

    fn announcements(&self) -> std::sync::MutexGuard<'_, Announcements> {
        self.board.announcements.lock().unwrap_or_else(PoisonError::into_inner)
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
    sockets: Arc<Mutex<SocketWatch>>,
    stack: StackWatch,
    waker: Waker,
    finished: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Option<Arriving>>>>,
}

/// What is cheap to read at any time: how far the capture's frames have come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Glance {
    pub(super) arrived: u64,
    pub(super) sockets: Vec<SocketRecord>,
}

/// Everything that can be read at any time without disturbing anything, of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Moment {
    pub(super) arrived: u64,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) sockets: Vec<SocketRecord>,
    pub(super) hooks: Option<BTreeMap<Hook, u64>>,
    pub(super) udp: Option<UdpInput>,
}

impl Observer {
    /// Begins to observe; everything that comes after this is seen, and kept where a keeper is given.
    /// `closely`: how the receiver's stack is looked at; `pids`: the processes of the application.
    pub(super) fn start(site: &Site, keeper: Option<Keeper>, closely: Closely, pids: &[u32]) -> Result<Self> {
        let mut shared = Shared::default();
        if !site.observed {
            return Ok(Self { shared, lab: None });
        }
        let sockets = Arc::new(Mutex::new(SocketWatch::start(site, pids)?));
        let stack = StackWatch::start(site, shared.digester.clone(), closely, Arc::clone(&sockets))?;
        shared.followers = stack.followers.clone();
        let (mut counters, ring) = site.receiver.run(|| -> Result<_> {
            let interface = site.receiver_interface.as_str();
            Ok((CountersReader::open(interface)?, Ring::open(interface, RING_BYTES)?))
        })??;
        let mut sender = site.sender.run(|| CountersReader::open(&site.sender_interface))??;
        let sender_before = sender.read()?;
        let before = stack.steady(&mut || counters.read())?.read;
        let waker = ring.waker();
        let finished = Arc::new(AtomicBool::new(false));
        let watch = Watch {
            ring,
            shared: shared.clone(),
            matching: Matching::default(),
            keeper,
            finished: Arc::clone(&finished),
            announced: Announcements::default(),
        };
        let thread = std::thread::Builder::new()
            .name("ring".to_owned())
            .spawn(move || watch.run())
            .map_err(|error| Failure::system("can't start a thread", &error))?;
        let lab = LabSide {
            counters,
            before,
            sender,
            sender_before,
            sockets,
            stack,
            waker,
            finished,
            thread: Some(thread),
        };
        Ok(Self { shared, lab: Some(lab) })
    }

    /// Whether the receiver's wire can be seen.
    pub(super) fn observes(&self) -> bool {
        self.lab.is_some()
    }

    /// How far the capture's frames have come.
    pub(super) fn glance(&mut self) -> Result<Glance> {
        let arrived = self.shared.arrived();
        let Some(lab) = &self.lab else { return Ok(Glance { arrived, ..Glance::default() }) };
        Ok(Glance { arrived, sockets: lock(&lab.sockets).look()? })
    }

    /// What is seen now.
    pub(super) fn look(&mut self) -> Result<Moment> {
        let arrived = self.shared.arrived();
        let Some(lab) = &mut self.lab else { return Ok(Moment { arrived, ..Moment::default() }) };
        let LabSide { counters, before, sockets, .. } = lab;
        let steady = lab.stack.steady(&mut || Ok((counters.read()?, lock(sockets).look()?)))?;
        let (now, sockets) = steady.read;
        let mut counters =
            now.since(before).iter().map(|(name, count)| (name.to_owned(), count)).collect::<BTreeMap<_, _>>();
        if let Some(dropped) = lab.sender.read()?.since(&lab.sender_before).get("if.tx.dropped") {
            counters.insert("tx.dropped".to_owned(), dropped);
        }
        Ok(Moment { arrived, counters, sockets, hooks: steady.hooks, udp: steady.udp })
    }

    /// Ends observing, and says what was seen.
    pub(super) fn evidence(mut self, settled: Settled) -> Result<Evidence> {
        let Some(mut lab) = self.lab.take() else {
            return Ok(Evidence { sending: settled.sending, timed_out: settled.timed_out, ..Evidence::default() });
        };
        lab.finished.store(true, Ordering::Release);
        lab.waker.wake();
        let arriving = match lab.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result?,
            Some(Err(_)) | None => {
                return Err(Failure::error(Problem::error("the thread that reads the receive ring ended early")));
            }
        };
        Ok(Evidence {
            sending: settled.sending,
            arriving,
            counters: Some(settled.moment.counters),
            stack: Some(Stack { hooks: settled.moment.hooks, udp: settled.moment.udp, ..lab.stack.end()? }),
            sockets: settled.moment.sockets,
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

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ring's thread: every frame is matched with what was sent.
struct Watch {
    ring: Ring,
    shared: Shared,
    matching: Matching,
    keeper: Option<Keeper>,
    finished: Arc<AtomicBool>,
    /// Swapped with the board's, so that neither side waits for the other's work.
    announced: Announcements,
}

impl Watch {
    /// Reads until it is told to end. What arrived, if the ring lost no frame.
    fn run(mut self) -> Result<Option<Arriving>> {
        let digester = self.shared.digester.clone();
        let mut seen: Vec<(Digest, u32)> = Vec::with_capacity(1024);
        loop {
            // Asked before the last look at the ring, so that nothing that came until then is left in it.
            let last = self.finished.load(Ordering::Acquire);
            let timeout = if last { Duration::ZERO } else { BLOCK };
            let read = if let Some(keeper) = &mut self.keeper {
                let (shared, matching, announced) = (&self.shared, &mut self.matching, &mut self.announced);
                self.ring.read(timeout, &mut |frame: Seen<'_>| {
                    // A frame that is seen was announced before it was sent.
                    take_announcements(shared, announced, matching);
                    let sighting = matching.see(digester.of(frame.bytes), frame.original_length);
                    keeper.keep(&frame, sighting);
                    note(shared, matching, Shared::ring_bytes(frame.bytes.len()));
                })?
            } else {
                let mut bytes = 0;
                let read = self.ring.read(timeout, &mut |frame: Seen<'_>| {
                    seen.push((digester.of(frame.bytes), frame.original_length));
                    bytes += Shared::ring_bytes(frame.bytes.len());
                })?;
                take_announcements(&self.shared, &mut self.announced, &mut self.matching);
                for (digest, length) in seen.drain(..) {
                    self.matching.see(digest, length);
                }
                note(&self.shared, &self.matching, bytes);
                read
            };
            if read == 0 && last {
                take_announcements(&self.shared, &mut self.announced, &mut self.matching);
                if let Some(keeper) = self.keeper {
                    keeper.finish()?;
                }
                let complete = self.ring.statistics()?.drops == 0;
                return Ok(complete.then(|| self.matching.finish()));
            }
        }
    }
}

fn take_announcements(shared: &Shared, taken: &mut Announcements, matching: &mut Matching) {
    std::mem::swap(&mut *shared.announcements(), taken);
    for announced in taken.frames.drain(..) {
        matching.announce(announced);
    }
    for position in taken.withdrawn.drain(..) {
        matching.withdraw(position);
    }
}

fn note(shared: &Shared, matching: &Matching, bytes: u64) {
    shared.board.arrived.store(matching.arrived(), Ordering::Release);
    shared.board.seen_bytes.fetch_add(bytes, Ordering::AcqRel);
}
