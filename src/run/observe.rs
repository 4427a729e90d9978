//! The receiver's side while frames are sent: what is on its wire, how its counters move, what waits in its queues.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, ScopedJoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::arrival_writer::ArrivalWriter;
use super::evidence_plan::EvidencePlan;
use super::remote::{Agent, Upstream};
use super::replies::{ReplyPlace, ReplyWatch};
use super::ring_watch::{Watch, Watched};
use super::shared::{Announcements, Far, Shared};
use super::sniffers::Sniffers;
use super::sockets::SocketWatch;
use super::stack::{StackWatch, lock};
use super::timing::Arrivals;
use super::watching::Taker;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::evidence::{Evidence, OTHERS, Sending, SocketRecord, Stack, UdpInput};
use crate::figures::{count, thousands};
use crate::ledger::identity::Digester;
use crate::ledger::matching::Matching;
use crate::outcome::Hook;
use crate::plan::Brief;
use crate::scenario::Scenario;
use crate::testbed::Testbed;
use crate::wire::closing;
use crate::wire::counters::{Counters, CountersReader, UNKNOWN};
use crate::wire::poll::Waker;
use crate::wire::ring::RingSize;

/// The receive ring at least: what stays in the processor's cache; larger ones are slower.
const RING_BYTES: usize = 4 << 20;
/// The receive ring at most: several runs at once, and ordinary users, have no more to spare.
const MOST_RING_BYTES: usize = 32 << 20;
/// So many of the longest frames fit into the ring.
const RING_FRAMES: usize = 512;
/// What is sent in this time fits into the ring: on a busy machine its thread may wait that long for a processor.
const RING_TIME: Duration = Duration::from_millis(200);
/// The fewest blocks of the ring: while frames arrive slowly, each takes one.
const RING_BLOCKS: usize = 64;

/// The receiver's side; with a target there is nothing to see.
pub(super) struct Observer {
    pub(super) shared: Shared,
    place: Place,
}

enum Place {
    /// With a target nothing can be seen.
    Nowhere,
    Here(Box<LabSide>),
    There(Agent),
    /// This machine sends, and the run, elsewhere, has what is seen.
    Upstream,
}

struct LabSide {
    counters: CountersReader,
    before: Counters,
    sender: CountersReader,
    sender_before: Counters,
    sockets: Arc<Mutex<SocketWatch>>,
    stack: StackWatch,
    /// `None` where they are not looked for.
    replies: Option<ReplyWatch>,
    sniffers: Sniffers,
    /// The inode of the ring's socket.
    own_inode: u64,
    waker: Waker,
    finished: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Watched>>>,
    /// Whether others send to the receiver as well.
    is_shared: bool,
}

/// What is cheap to read at any time: how far the capture's frames have come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Glance {
    pub(super) arrived: u64,
    /// Frames that the receiver sent.
    pub(super) replied: u64,
    /// Whether the application may read past its UDP sockets.
    pub(super) reads_past_sockets: bool,
    /// Whether it has frames of the capture in rings of packet sockets, and has not read them.
    pub(super) sniffers_are_behind: bool,
    pub(super) sockets: Vec<SocketRecord>,
}

/// Everything that can be read at any time without disturbing anything, of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Moment {
    pub(super) arrived: u64,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) sockets: Vec<SocketRecord>,
    pub(super) hooks: Option<BTreeMap<Hook, u64>>,
    pub(super) udp: Option<UdpInput>,
    pub(super) xdp: bool,
}

/// What becomes of frames that arrive.
pub(super) struct Taking {
    /// Where their receive times go.
    pub(super) arrivals: Arrivals,
    /// Where they are kept, if anywhere.
    pub(super) keeper: Option<ArrivalWriter>,
    /// What takes them for the frames of a run, where others send them.
    pub(super) taker: Option<Taker>,
}

impl Observer {
    /// Begins to observe; everything that comes after this is seen. `replies`: where answers are looked for, if they are; `taking`: what
    /// becomes of what arrives; `level`: how the receiver's stack is looked at; `pids`: the processes of the application.
    pub(super) fn start(
        mut shared: Shared,
        testbed: &Testbed,
        brief: &Brief,
        replies: Option<(ReplyPlace, &Scenario)>,
        taking: Taking,
        level: EvidencePlan<'_>,
        pids: &[u32],
    ) -> Result<Self> {
        let Some(side) = testbed.observed() else { return Ok(Self { shared, place: Place::Nowhere }) };
        let mut counters = side.counters()?;
        let sockets = Arc::new(Mutex::new(SocketWatch::start(side, pids)?));
        let sniffers = Sniffers::start(side, pids)?;
        // Who sends from elsewhere can't wait for room in it.
        let is_elsewhere = !shared.horizon.is_everywhere();
        let size = if is_elsewhere { MOST_RING_BYTES.into() } else { ring_size(brief) };
        // The kernel takes its time for each ring: 10 ms or so, which it takes but once for what waits at the same time.
        let (ring, replies, stack) = thread::scope(|scope| {
            let ring = scope.spawn(|| side.ring(size));
            let looking = sniffers.clone();
            let replies = replies.map(|(place, scenario)| {
                scope.spawn(move || ReplyWatch::start(testbed, place, scenario, brief, looking))
            });
            let stack = StackWatch::start(side, &shared, level, Arc::clone(&sockets));
            (joined(ring), replies.map(joined), stack)
        });
        let (ring, replies, mut stack) = (ring?, replies.transpose()?, stack?);
        shared.followers = stack.followers.clone();
        let own_inode = ring.inode();
        let mut sender = testbed.sender().counters()?;
        let sender_before = sender.read()?;
        let before = stack.begin(&mut || {
            lock(&sockets).begin()?;
            counters.read()
        })?;
        let waker = ring.waker();
        shared.ring = Some(ring.space());
        let finished = Arc::new(AtomicBool::new(false));
        let watch = Watch {
            ring,
            shared: shared.clone(),
            sniffers: sniffers.clone(),
            matching: Matching::default(),
            arrivals: taking.arrivals,
            keeper: taking.keeper,
            taker: taking.taker,
            finished: Arc::clone(&finished),
            announced: Announcements::default(),
        };
        let thread = thread::Builder::new()
            .name("ring".to_owned())
            .spawn(move || watch.run())
            .map_err(|error| Failure::system("can't start a thread", &error))?;
        let thread = Some(thread);
        let lab = LabSide {
            counters,
            before,
            sender,
            sender_before,
            sockets,
            stack,
            replies,
            sniffers,
            own_inode,
            waker,
            finished,
            thread,
            is_shared: side.is_shared(),
        };
        Ok(Self { shared, place: Place::Here(Box::new(lab)) })
    }

    /// What an agent observes on the receiver's machine.
    pub(super) fn elsewhere(agent: Agent) -> Result<Self> {
        let shared =
            Shared { digester: agent.observe()?, far: Some(Far::Receiver(agent.clone())), ..Shared::default() };
        Ok(Self { shared, place: Place::There(agent) })
    }

    /// Nothing is seen here: frames are announced to a run elsewhere.
    pub(super) fn announcing(digester: Digester, upstream: Arc<Upstream>) -> Self {
        let shared = Shared { digester, far: Some(Far::Run(upstream)), ..Shared::default() };
        Self { shared, place: Place::Upstream }
    }

    pub(super) fn observes(&self) -> bool {
        !matches!(self.place, Place::Nowhere)
    }

    /// Whether the receiver's machine can't be reached any more.
    pub(super) fn is_lost(&self) -> bool {
        matches!(&self.place, Place::There(agent) if agent.is_lost())
    }

    /// Whether others send to the receiver as well.
    pub(super) fn is_shared(&self) -> bool {
        match &self.place {
            Place::Nowhere | Place::Upstream => false,
            Place::Here(lab) => lab.is_shared,
            Place::There(_) => true,
        }
    }

    /// Whether the application may read past its UDP sockets, so that a queue that isn't empty says nothing.
    pub(super) fn reads_past_the_sockets(&self) -> bool {
        match &self.place {
            Place::Nowhere | Place::Upstream => false,
            Place::Here(lab) => lab.sniffers.took_datagrams(),
            Place::There(agent) => agent.reads_past_sockets(),
        }
    }

    /// How far the capture's frames have come.
    pub(super) fn glance(&mut self) -> Result<Glance> {
        let arrived = self.shared.arrived();
        let lab = match &self.place {
            Place::Nowhere | Place::Upstream => return Ok(Glance { arrived, ..Glance::default() }),
            Place::There(agent) => return agent.glance(),
            Place::Here(lab) => lab,
        };
        Ok(Glance {
            arrived,
            replied: lab.replies.as_ref().map_or(0, ReplyWatch::seen),
            reads_past_sockets: lab.sniffers.took_datagrams(),
            sniffers_are_behind: lab.sniffers.are_behind(),
            sockets: lock(&lab.sockets).look()?,
        })
    }

    /// A program with these processes is stopped next, to be started again; no frame is under way.
    pub(super) fn before_stop(&mut self, pids: &[u32]) -> Result<()> {
        let Place::Here(lab) = &mut self.place else { return Ok(()) };
        // What comes after this, and is not read, is in no look.
        lab.stack.before_stop()?;
        lock(&lab.sockets).before_stop()?;
        lab.sniffers.end_of(pids);
        Ok(())
    }

    /// It was started again; `pids` are the processes of all programs now.
    pub(super) fn started_again(&mut self, pids: &[u32]) -> Result<()> {
        let Place::Here(lab) = &mut self.place else { return Ok(()) };
        lab.sniffers.started_again(pids, lab.own_inode);
        lock(&lab.sockets).started_again(pids)?;
        lab.stack.started_again()
    }

    /// What is seen now.
    pub(super) fn look(&mut self) -> Result<Moment> {
        let arrived = self.shared.arrived();
        let lab = match &mut self.place {
            Place::Nowhere | Place::Upstream => return Ok(Moment { arrived, ..Moment::default() }),
            Place::There(agent) => return agent.look(),
            Place::Here(lab) => lab,
        };
        let LabSide { counters, before, sockets, stack, sender, sender_before, .. } = &mut **lab;
        let steady = stack.steady(&mut || {
            // In this order: what is in no queue now is counted as read then.
            let sockets = lock(sockets).look()?;
            Ok((counters.read()?, sockets))
        })?;
        let (now, sockets) = steady.read;
        let mut counters =
            now.since(before).iter().map(|(name, count)| (name.to_owned(), count)).collect::<BTreeMap<_, _>>();
        if let Some(dropped) = sender.read()?.since(sender_before).get("if.tx.dropped") {
            counters.insert("tx.dropped".to_owned(), dropped);
        }
        if lab.is_shared {
            counters.insert(OTHERS.to_owned(), lab.counters.others()?);
        }
        let xdp = lab.counters.has_xdp();
        Ok(Moment { arrived, counters, sockets, hooks: steady.hooks, udp: steady.udp, xdp })
    }

    /// Ends observing, and says what was seen.
    pub(super) fn evidence(mut self, settled: Settled) -> Result<Evidence> {
        let mut lab = match self.place {
            Place::Nowhere | Place::Upstream => {
                return Ok(Evidence { sending: settled.sending, timed_out: settled.timed_out, ..Evidence::default() });
            }
            Place::There(agent) => return agent.evidence(settled),
            Place::Here(lab) => *lab,
        };
        self.shared.horizon.end();
        closing::close(self.shared.ring.take());
        lab.finished.store(true, Ordering::Release);
        lab.waker.wake();
        let watched = match lab.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result?,
            Some(Err(_)) | None => {
                return Err(Failure::error(Diagnostic::error("the thread that reads the receive ring ended early")));
            }
        };
        let mut sending = settled.sending;
        if watched.arriving.as_ref().is_some_and(|arriving| arriving.missing.is_empty() && arriving.reordered == 0) {
            watched.arrivals.apply(&mut sending);
        }
        let mut counters = settled.moment.counters;
        let notes = if lab.is_shared {
            let others = counters.entry(OTHERS.to_owned()).or_default();
            let note = of_others(*others, settled.moment.udp.as_ref());
            if !self.shared.horizon.is_everywhere() {
                // They come in by the same interface.
                *others += watched.arriving.as_ref().map_or(UNKNOWN, |arriving| arriving.foreign);
            }
            note
        } else {
            None
        };
        Ok(Evidence {
            notes: notes.into_iter().collect(),
            sending,
            arrived_over_time: watched.arriving.is_some().then(|| watched.arrivals.over_time()).flatten(),
            arriving: watched.arriving,
            counters: Some(counters),
            stack: Some(Stack { hooks: settled.moment.hooks, udp: settled.moment.udp, ..lab.stack.end()? }),
            replies: lab.replies.map(ReplyWatch::end).transpose()?,
            sniffing: lab.sniffers.end(lab.own_inode),
            xdp: settled.moment.xdp,
            sockets: settled.moment.sockets,
            still: settled.still,
            timed_out: settled.timed_out,
            ..Evidence::default()
        })
    }
}

/// What a thread returns; its panic goes on here.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What others sent to the receiver meanwhile.
fn of_others(packets: u64, udp: Option<&UdpInput>) -> Option<Diagnostic> {
    if packets == 0 {
        return None;
    }
    let datagrams = udp.map_or_else(String::new, |udp| format!(", {} of them UDP datagrams", thousands(udp.foreign)));
    let to_ports =
        udp.and_then(|udp| udp.own_to_ports).filter(|to_ports| *to_ports > 0).map_or_else(String::new, |to_ports| {
            format!(
                "; {} to ports of the capture came from them or from the receiver's own host",
                count(to_ports, "datagram")
            )
        });
    Some(
        Diagnostic::note(format!(
            "others sent {} to the receiver's network namespace while it ran{datagrams}{to_ports}",
            count(packets, "packet")
        ))
        .why("they came in by other interfaces, and are in no number of the ledger; where a counter could not be separated, a number is a range"),
    )
}

/// How the run stood when nothing moved any more.
pub(super) struct Settled {
    pub(super) sending: Sending,
    pub(super) moment: Moment,
    /// How long nothing of the capture's had moved.
    pub(super) still: Duration,
    pub(super) timed_out: Option<Duration>,
}

/// How large the receive ring is to be: it holds many of the longest frames, and what is sent while its thread waits for a processor.
pub(super) fn ring_size(brief: &Brief) -> RingSize {
    let of_blocks = RingSize::of_blocks(RING_BLOCKS, brief.mtu, brief.frames);
    if of_blocks.is_small() {
        return of_blocks;
    }
    // Of Ethernet and two VLAN tags.
    let longest = brief.longest as usize + 22;
    let seconds = brief.duration.map_or(f64::INFINITY, |duration| duration.as_secs_f64().max(1e-3));
    #[expect(clippy::cast_precision_loss, reason = "bytes of a run are far below 2^53")]
    let bytes_per_second = brief.bytes as f64 / seconds;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive here, and `as` saturates")]
    let of_time = (bytes_per_second * RING_TIME.as_secs_f64()) as usize;
    let bytes = (longest * RING_FRAMES).max(of_time).clamp(RING_BYTES, MOST_RING_BYTES).max(of_blocks.bytes);
    bytes.into()
}
