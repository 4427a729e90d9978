//! The receiver's stack while frames are sent: taps at its hooks, and the kernel's drop reasons, on a thread of their own.
//!
//! Start at [`StackWatch::start`].

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::evidence_plan::{EvidencePlan, MORE_SLOWLY};
use super::remote::Horizon;
use super::shared::Shared;
use super::sockets::SocketWatch;
use super::tracing::{await_rest, open_trace};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::evidence::{DropKind, Stack, UdpInput};
use crate::figures::count;
use crate::host::Firewall;
use crate::ledger::hook_tracker::{self, HookTracker};
use crate::ledger::identity::{Digest, Digester};
use crate::ledger::tracker::{self, PacketDrop, PacketTracker};
use crate::outcome::{EvidenceLevel, Hook, Layers};
use crate::testbed::Side;
use crate::wire::closing;
use crate::wire::poll::{Waker, await_readable};
use crate::wire::taps::{self, Counts, Tally, Taps};
use crate::wire::trace::{self, Event, PacketTrace};

/// How long the thread blocks at most.
const BLOCK: Duration = Duration::from_millis(20);
/// The kernel keeps records of packets for 10 ms or a tick before it sends them; on a busy machine they are read later.
const FLUSH: Duration = Duration::from_millis(100);

/// So long records are read at the end, where there are always more.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// What was announced and the thread has not taken yet.
#[derive(Default)]
pub(super) struct Announcements {
    /// The digest of a packet's head, and the number of its frame.
    pub(super) frames: Vec<(Digest, u64)>,
    /// Positions of frames that were announced, and not sent.
    pub(super) withdrawn: Vec<u64>,
}

pub(super) fn lock<T>(board: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks into the receiver's stack until it is asked to end.
pub(super) struct StackWatch {
    /// `None` where frames are not followed through the stack.
    pub(super) followers: Option<Arc<Mutex<Announcements>>>,
    finished: Arc<AtomicBool>,
    waker: Waker,
    thread: JoinHandle<Result<Stack>>,
    taps: Option<Arc<Mutex<Taps>>>,
    /// What the taps had counted when observing began.
    before: Counts,
    /// By how much they moved meanwhile.
    unsteady_before: u64,
    /// Whether the taps know the capture's ports.
    counts_ports: bool,
    /// The receiver's own datagrams until a program was stopped, to be started again.
    own_before_stop: u64,
    /// Those that came from then on until it was started again.
    own_at_stops: u64,
}

/// What was read, and what the taps counted until then.
pub(super) struct Steady<T> {
    pub(super) read: T,
    /// Since the taps were installed.
    counts: Counts,
    pub(super) hooks: Option<BTreeMap<Hook, u64>>,
    pub(super) udp: Option<UdpInput>,
}

/// So often counters are read again until nothing of the receiver's own moved meanwhile.
const STEADY_TRIES: usize = 100;

impl StackWatch {
    /// Begins to look; everything that is sent after this is seen.
    pub(super) fn start(
        receiver: &Side,
        shared: &Shared,
        level: EvidencePlan<'_>,
        sockets: Arc<Mutex<SocketWatch>>,
    ) -> Result<Self> {
        let mut layers = Layers::default();
        let traced = level.trace();
        let mut monitor = open_trace(receiver, &traced, level.frames, &mut layers)?;
        let mut tracker = PacketTracker::default();
        if let Some(monitor) = monitor.as_mut().filter(|_| receiver.is_shared() && layers.followed) {
            if let Some(begins) = await_rest(monitor, &sockets, level.ports.as_deref())? {
                tracker = PacketTracker::beginning(begins);
            } else {
                layers.followed = false;
                layers.followed_why =
                    "others send to the receiver's sockets all the time, so that their queues can't be followed"
                        .to_owned();
            }
        }
        layers.closer = level.closer(&layers).map(str::to_owned);
        let (tapping, why) = level.taps(layers.followed);
        (layers.taps, layers.taps_why) = (tapping, why);
        let ports = level.ports;
        let mut taps = None;
        let installed = match tapping {
            EvidenceLevel::Off => taps::Installed::Absent(layers.taps_why.clone()),
            _ => receiver.taps(tapping, ports.as_deref().unwrap_or_default(), level.frames)?,
        };
        match installed {
            taps::Installed::Taps(installed) => {
                if let (EvidenceLevel::Packets, Some(why)) = (tapping, &installed.no_records) {
                    (layers.taps, layers.taps_why) = (EvidenceLevel::Counters, why.clone());
                }
                taps = Some(Arc::new(Mutex::new(installed)));
            }
            taps::Installed::Absent(why) => (layers.taps, layers.taps_why) = (EvidenceLevel::Off, why),
        }
        // At top speed reading and matching records would cost more than the rest.
        let counts_only = matches!(traced, Ok(trace::Mode::Drops { most_records: Some(_) }) | Err(_));
        let follows = layers.taps == EvidenceLevel::Packets || monitor.is_some() && !counts_only;
        let followers = follows.then(Arc::default);
        let finished = Arc::new(AtomicBool::new(false));
        let waker = Waker::new().map_err(|error| Failure::system("can't make an eventfd", &error))?;
        let tapped = match taps.as_ref().filter(|_| layers.taps == EvidenceLevel::Packets) {
            Some(taps) => {
                let clone = lock(taps).as_fd().try_clone_to_owned();
                Some(clone.map_err(|error| Failure::system("can't wait for copies of packets", &error))?)
            }
            None => None,
        };
        let watch = Watch {
            taps: taps.clone(),
            tapped,
            sockets,
            monitor,
            layers,
            digester: shared.digester.clone(),
            horizon: shared.horizon.clone(),
            taken: Arc::clone(&shared.taken),
            held: VecDeque::new(),
            board: followers.clone(),
            finished: Arc::clone(&finished),
            waker: waker.clone(),
            following: HookTracker::default(),
            tracker,
        };
        let thread = std::thread::Builder::new()
            .name("stack".to_owned())
            .spawn(move || watch.run())
            .map_err(|error| Failure::system("can't start a thread", &error))?;
        Ok(Self {
            followers,
            finished,
            waker,
            thread,
            taps,
            before: Counts::default(),
            unsteady_before: 0,
            counts_ports: ports.is_some(),
            own_before_stop: 0,
            own_at_stops: 0,
        })
    }

    /// Reads something, and counts from that moment on.
    pub(super) fn begin<T>(&mut self, read: &mut dyn FnMut() -> Result<T>) -> Result<T> {
        let begun = self.steady(read)?;
        self.before = begun.counts;
        self.unsteady_before = begun.udp.map_or(0, |udp| udp.unsteady);
        Ok(begun.read)
    }

    /// Reads something between two looks at the taps, again and again until nothing of the receiver's own passed meanwhile: what is read
    /// and what the taps counted are of one moment then.
    pub(super) fn steady<T>(&self, read: &mut dyn FnMut() -> Result<T>) -> Result<Steady<T>> {
        let Some(taps) = &self.taps else {
            return Ok(Steady { read: read()?, counts: Counts::default(), hooks: None, udp: None });
        };
        let own = |counts: &Counts| (counts.of(Tally::OwnUdp), counts.of(Tally::ClosedPorts));
        let mut before = lock(taps).counts()?;
        let mut tries = 0;
        loop {
            let read = read()?;
            let counts = lock(taps).counts()?;
            tries += 1;
            let moved = own(&counts).0 - own(&before).0 + own(&counts).1 - own(&before).1;
            if moved > 0 && tries < STEADY_TRIES {
                before = counts;
                continue;
            }
            let all = counts;
            let counts = all.since(&self.before);
            let udp = UdpInput {
                captured: counts.of(Tally::Udp),
                own: counts.of(Tally::OwnUdp),
                own_looped: counts.of(Tally::OwnUdpLooped),
                own_to_ports: self.counts_ports.then(|| counts.of(Tally::OwnUdpToPorts)),
                own_unreachable: counts.of(Tally::ClosedPorts),
                foreign: counts.of(Tally::ForeignUdp),
                unsteady: moved + self.unsteady_before,
                own_at_stops: self.own_at_stops,
            };
            let hooks = lock(taps).hooks().iter().map(|hook| (*hook, counts.get(*hook))).collect();
            return Ok(Steady { read, counts: all, hooks: Some(hooks), udp: Some(udp) });
        }
    }

    /// A program is stopped next, to be started again.
    pub(super) fn before_stop(&mut self) -> Result<()> {
        self.own_before_stop = self.own_datagrams()?;
        Ok(())
    }

    /// It was started again.
    pub(super) fn started_again(&mut self) -> Result<()> {
        self.own_at_stops += self.own_datagrams()?.saturating_sub(self.own_before_stop);
        Ok(())
    }

    /// Datagrams that may have come into the capture's sockets, and that the receiver sent to itself, or others to it.
    fn own_datagrams(&self) -> Result<u64> {
        let Some(taps) = &self.taps else { return Ok(0) };
        let tally = if self.counts_ports { Tally::OwnUdpToPorts } else { Tally::OwnUdp };
        Ok(lock(taps).counts()?.of(tally))
    }

    /// Ends looking, and says what was seen.
    pub(super) fn end(self) -> Result<Stack> {
        self.finished.store(true, Ordering::Release);
        self.waker.wake();
        let stack = self.thread.join().unwrap_or_else(|_| {
            Err(Failure::error(Diagnostic::error("the thread that looks into the receiver's stack ended early")))
        });
        closing::close(self.taps);
        stack
    }
}

/// What a record says.
enum Said {
    Passed(Digest, Hook),
    Arrived {
        position: u64,
        digest: Digest,
        packet: Vec<u8>,
    },
    /// Where in the kernel's code, too.
    Dropped {
        position: Option<u64>,
        digest: Digest,
        kind: DropKind,
        location: u64,
        clone: bool,
        is_fragment: bool,
    },
    UsedUp {
        position: u64,
        location: u64,
    },
    Queued {
        position: Option<u64>,
        socket: u64,
    },
    Read {
        socket: u64,
    },
}

struct Watch {
    taps: Option<Arc<Mutex<Taps>>>,
    /// Readable when the taps have records; `None` where they make none.
    tapped: Option<OwnedFd>,
    sockets: Arc<Mutex<SocketWatch>>,
    monitor: Option<PacketTrace>,
    layers: Layers,
    digester: Digester,
    horizon: Horizon,
    taken: Arc<[AtomicU64; 2]>,
    /// Records that announcements may still be missing of, and when they were read.
    held: VecDeque<(Instant, Said)>,
    board: Option<Arc<Mutex<Announcements>>>,
    finished: Arc<AtomicBool>,
    waker: Waker,
    following: HookTracker,
    tracker: PacketTracker,
}

impl Watch {
    fn run(mut self) -> Result<Stack> {
        let mut taken = Announcements::default();
        loop {
            // Asked before the last look, so that nothing that came until then is left.
            let last = self.finished.load(Ordering::Acquire);
            if !last {
                self.wait();
                lock(&self.sockets).look_sometimes()?;
            }
            // Where others send all the time there is always more.
            let (begun, limit) = (Instant::now(), if last { LAST_LOOK } else { FLUSH });
            while self.look(&mut taken)? > 0 && begun.elapsed() < limit {}
            if last {
                self.await_records(&mut taken)?;
                return self.finish();
            }
        }
    }

    /// Waits until there is something to read.
    fn wait(&self) {
        let readable =
            [Some(self.waker.as_fd()), self.tapped.as_ref().map(AsFd::as_fd), self.monitor.as_ref().map(AsFd::as_fd)];
        await_readable(&readable.into_iter().flatten().collect::<Vec<_>>(), BLOCK);
    }

    /// Waits for the records that the kernel still holds.
    fn await_records(&mut self, taken: &mut Announcements) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < FLUSH && self.unread()? > 0 {
            std::thread::sleep(Duration::from_millis(1));
            self.look(taken)?;
        }
        Ok(())
    }

    /// Records of packets that were made, and not read.
    fn unread(&mut self) -> Result<u64> {
        let Some(taps) = self.taps.as_ref().filter(|_| self.layers.taps == EvidenceLevel::Packets) else {
            return Ok(0);
        };
        let mut taps = lock(taps);
        let counts = taps.counts()?;
        let received = taps.received();
        Ok(Hook::ALL.into_iter().map(|hook| counts.get(hook).saturating_sub(received.get(hook))).sum())
    }

    /// Reads what is there; how many records.
    fn look(&mut self, taken: &mut Announcements) -> Result<usize> {
        let mut records = Vec::new();
        let digester = &self.digester;
        if let Some(taps) = self.taps.as_ref().filter(|_| self.layers.taps == EvidenceLevel::Packets) {
            lock(taps).read(&mut |hook, packet| records.push(Said::Passed(digester.of_packet(packet), hook)))?;
        }
        if let Some(monitor) = &mut self.monitor {
            monitor.read(&mut |event| records.extend(said(event, digester)))?;
        }
        let reach = self.horizon.reach();
        // A packet that is seen was announced before it was sent.
        if let Some(board) = &self.board {
            std::mem::swap(&mut *lock(board), taken);
            for (digest, frame) in taken.frames.drain(..) {
                self.following.announce(digest, frame);
            }
            for position in taken.withdrawn.drain(..) {
                self.following.withdraw(position);
            }
        }
        let (count, now) = (records.len(), Instant::now());
        self.held.extend(records.into_iter().map(|said| (now, said)));
        while let Some((_, said)) = self.held.pop_front_if(|(at, _)| reach.covers(*at)) {
            match said {
                Said::Passed(digest, hook) => self.following.pass(digest, hook),
                Said::Arrived { position, digest, packet } => {
                    let frame = self.following.arrive(digest);
                    self.tracker.arrive(position, frame, &packet);
                }
                Said::Dropped { position, digest, kind, location, clone, is_fragment } => {
                    if !clone {
                        self.following.drop_packet(digest, &kind, location);
                    }
                    if let Some(position) = position {
                        self.tracker.drop_packet(position, &PacketDrop { kind: &kind, location, clone, is_fragment });
                    }
                }
                Said::UsedUp { position, location } => self.tracker.use_up(position, location),
                Said::Queued { position, socket } => self.tracker.queue(position, socket),
                Said::Read { socket } => self.tracker.read(socket),
            }
        }
        self.taken[1].store(self.following.announced(), Ordering::Release);
        Ok(count)
    }

    fn finish(mut self) -> Result<Stack> {
        self.layers.taps_lost = self.unread()?;
        let mut reasons = None;
        if let Some(monitor) = &self.monitor {
            reasons = Some(monitor.counts()?);
            self.layers.kernel_lost = monitor.lost()?;
            self.layers.kernel_missed = monitor.missed()?;
        }
        if self.layers.taps_lost > 0 {
            self.layers.taps = EvidenceLevel::Counters;
            self.layers.taps_why = no_room(self.layers.taps_lost);
        }
        let complete = self.layers.taps == EvidenceLevel::Packets;
        let talks = match &self.taps {
            Some(taps) => lock(taps).counts()?.of(Tally::OwnUdp) > 0,
            None => true,
        };
        let filters = match Firewall::read() {
            Firewall::Chains(chains) => chains,
            Firewall::None | Firewall::Unseen(_) => Vec::new(),
        };
        let mut locations = self.following.locations();
        locations.extend(self.tracker.locations());
        let functions = trace::functions(&locations);
        let mut followed = self.following.finish(complete, &functions);
        if self.layers.followed {
            let gone = untraced(self.monitor.as_ref(), &self.layers, self.tracker.is_conclusive(talks));
            let ends = self.tracker.finish(&functions, talks);
            match gone.map_or(ends, Err) {
                Ok(ends) => followed.ends = Some(ends),
                Err(why) => {
                    self.layers.followed = false;
                    self.layers.closer = Some(MORE_SLOWLY.to_owned());
                    self.layers.followed_why = why;
                }
            }
        }
        closing::close((self.monitor, self.taps));
        Ok(Stack { filters, hooks: None, udp: None, reasons, followed, layers: self.layers })
    }
}

fn no_room(records: u64) -> String {
    format!("{} of packets found no room", count(records, "record"))
}

/// Why what the tracepoints said is not all that happened; `None` if it is. `is_conclusive`: whether an event that was missed would show, and
/// none does.
fn untraced(trace: Option<&PacketTrace>, layers: &Layers, is_conclusive: bool) -> Option<String> {
    let trace = trace?;
    if layers.kernel_lost > 0 {
        Some(no_room(layers.kernel_lost))
    } else if layers.kernel_missed > 0 && !is_conclusive {
        Some(format!("{} happened while another one was looked at", count(layers.kernel_missed, "event")))
    } else if trace.untracked() > 0 {
        Some(format!("{} found no room in the table of packets", count(trace.untracked(), "packet")))
    } else {
        None
    }
}

/// What an event of the tracepoints says; the packet's bytes are only valid during the call.
fn said(event: Event<'_>, digester: &Digester) -> Option<Said> {
    Some(match event {
        Event::Arrived(arrived) => {
            // The kernel takes a VLAN tag off later.
            let tagged = matches!(arrived.ethertype, 0x8100 | 0x88a8);
            let packet = arrived.packet.get(if tagged { 4 } else { 0 }..).unwrap_or_default();
            Said::Arrived { position: arrived.position, digest: digester.of_packet(packet), packet: packet.to_vec() }
        }
        Event::Dropped(dropped) => Said::Dropped {
            position: dropped.position,
            digest: digester.of_packet(dropped.packet),
            kind: hook_tracker::kind(dropped.reason, dropped.packet),
            location: dropped.location,
            clone: dropped.clone,
            is_fragment: tracker::is_fragment(dropped.packet),
        },
        Event::Consumed(consumed) if consumed.clone => return None,
        Event::Consumed(consumed) => Said::UsedUp { position: consumed.position, location: consumed.location },
        Event::Queued(queued) => Said::Queued { position: queued.position, socket: queued.socket },
        Event::Read(read) => Said::Read { socket: read.socket },
    })
}
