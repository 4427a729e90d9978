//! The receiver's stack while frames are sent: taps at its hooks, and the kernel's drop reasons, on a thread of their own.
//!
//! Start at [`StackWatch::start`].

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::site::Site;
use crate::diagnostic::{Failure, Problem, Result};
use crate::evidence::{DropKind, Stack};
use crate::ledger::following::{self, Following, head};
use crate::ledger::matching::{Digest, Digester};
use crate::outcome::{Hook, Layers, Tapping};
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::scenario::pacing::Rate;
use crate::scenario::site::SiteWords;
use crate::wire::firewall::{self, Firewall};
use crate::wire::poll::{Waker, await_readable};
use crate::wire::taps::{self, Mode, Taps};
use crate::wire::trace::{self, Event, PacketTrace};

/// Up to this rate each packet is tapped at each hook, in frames a second; above, packets are counted there, if the lab has a ruleset
/// that may drop some. Without one the namespace's own counters tell as much, and counting at five hooks costs a tenth of the top speed.
const MOST_PPS: f64 = 20_000.0;
/// So few frames are tapped one by one at any rate: their records have room wherever they wait.
const FEW: u64 = 1_000;
/// At top speed there are records of so many dropped packets of each reason; all are counted.
const MOST_RECORDS: u32 = 256;
/// How long the thread blocks at most.
const BLOCK: Duration = Duration::from_millis(50);
/// The kernel keeps records of packets for 10 ms or a tick before it sends them; on a busy machine they are read later.
const FLUSH: Duration = Duration::from_millis(100);

/// What was announced and the thread has not taken yet.
#[derive(Default)]
struct Announcements {
    /// The digest of a packet's head, and the number of its frame.
    frames: Vec<(Digest, u64)>,
    /// Positions of frames that were announced, and not sent.
    withdrawn: Vec<u64>,
}

/// The sending thread's side.
#[derive(Clone, Default)]
pub(super) struct Followers(Option<Arc<Mutex<Announcements>>>);

impl Followers {
    /// Whether frames are followed through the stack.
    pub(super) fn follow(&self) -> bool {
        self.0.is_some()
    }

    /// These frames are about to be sent.
    pub(super) fn announce(&self, frames: impl Iterator<Item = (Digest, u64)>) {
        if let Some(board) = &self.0 {
            lock(board).frames.extend(frames);
        }
    }

    /// The frame at this position was not sent.
    pub(super) fn withdraw(&self, position: u64) {
        if let Some(board) = &self.0 {
            lock(board).withdrawn.push(position);
        }
    }
}

fn lock(board: &Mutex<Announcements>) -> std::sync::MutexGuard<'_, Announcements> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the stack is to be looked at.
pub(super) struct Closely {
    pub(super) taps: Tapping,
    /// Why so.
    why: String,
    /// Of how many dropped packets of each reason there are records; `None` where the kernel's drop reasons are not listened to.
    most_records: Option<u32>,
    /// Whether records are matched with frames.
    follows: bool,
}

impl Closely {
    /// As closely as the rate allows, if the command line says nothing else.
    pub(super) fn choose(scenario: &Scenario, plan: &Plan, rate: Rate, asked: Option<Tapping>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "frames of a capture are far below 2^53")]
        let frames = plan.frames() as f64;
        let pps = plan.duration.map_or(f64::INFINITY, |duration| frames / duration.as_secs_f64());
        let filtered = matches!(&scenario.site, SiteWords::Lab(lab) if lab.ruleset.is_some());
        let (taps, why) = if let Some(asked) = asked {
            (asked, "the command line says so".to_owned())
        } else if pps <= MOST_PPS && rate != Rate::Find {
            (Tapping::Packets, format!("at most {MOST_PPS} frames a second"))
        } else if plan.frames() <= FEW && rate != Rate::Find {
            (Tapping::Packets, format!("at most {FEW} frames"))
        } else {
            let above = format!("more than {MOST_PPS} frames a second");
            if filtered {
                (Tapping::Counters, above)
            } else {
                (Tapping::Off, format!("{above}, and no ruleset in the lab: its own counters tell what was accepted"))
            }
        };
        // At top speed a record costs as much as the rest of the loss: there are enough to name the places.
        let follows = asked.is_some() || pps.is_finite() || plan.frames() <= FEW;
        let most_records = if follows { u32::MAX } else { MOST_RECORDS };
        Self { taps, why, follows, most_records: Some(most_records).filter(|_| asked != Some(Tapping::Off)) }
    }
}

/// Looks into the receiver's stack until it is told to end.
pub(super) struct StackWatch {
    pub(super) followers: Followers,
    finished: Arc<AtomicBool>,
    waker: Waker,
    thread: JoinHandle<Result<Stack>>,
}

impl StackWatch {
    /// Begins to look; everything that is sent after this is seen.
    pub(super) fn start(site: &Site, digester: Digester, closely: Closely) -> Result<Self> {
        let Closely { taps: tapping, why, most_records, follows } = closely;
        let mut layers = Layers {
            taps: tapping,
            taps_why: why,
            taps_lost: 0,
            kernel: false,
            kernel_why: String::new(),
            kernel_lost: 0,
            kernel_missed: 0,
        };
        let interface = site.receiver_interface.as_str();
        let mut taps = None;
        if tapping != Tapping::Off {
            let mode = if tapping == Tapping::Packets { Mode::Packets } else { Mode::Counters };
            match site.receiver.run(|| Taps::install(interface, mode))?? {
                taps::Installed::Taps(installed) => {
                    if let (Tapping::Packets, Some(why)) = (tapping, &installed.no_records) {
                        (layers.taps, layers.taps_why) = (Tapping::Counters, why.clone());
                    }
                    taps = Some(installed);
                }
                taps::Installed::Absent(why) => (layers.taps, layers.taps_why) = (Tapping::Off, why),
            }
        }
        let mut monitor = None;
        if let Some(most_records) = most_records {
            match open_monitor(site, most_records)? {
                trace::Opened::Listening(listening) => monitor = Some(listening),
                trace::Opened::Unavailable(why) => layers.kernel_why = why,
            }
        } else {
            layers.kernel_why.clone_from(&layers.taps_why);
        }
        layers.kernel = monitor.is_some();
        let follows = layers.taps == Tapping::Packets || monitor.is_some() && follows;
        let followers = Followers(follows.then(Arc::default));
        let finished = Arc::new(AtomicBool::new(false));
        let waker = Waker::new().map_err(|error| Failure::system("can't make an eventfd", &error))?;
        let watch = Watch {
            taps,
            monitor,
            layers,
            digester,
            board: followers.0.clone(),
            finished: Arc::clone(&finished),
            waker: waker.clone(),
            following: Following::default(),
        };
        let thread = std::thread::Builder::new()
            .name("stack".to_owned())
            .spawn(move || watch.run())
            .map_err(|error| Failure::system("can't start a thread", &error))?;
        Ok(Self { followers, finished, waker, thread })
    }

    /// Ends looking, and says what was seen.
    pub(super) fn end(self) -> Result<Stack> {
        self.finished.store(true, Ordering::Release);
        self.waker.wake();
        self.thread.join().unwrap_or_else(|_| {
            Err(Failure::error(Problem::error("the thread that looks into the receiver's stack ended early")))
        })
    }
}

fn open_monitor(site: &Site, most_records: u32) -> Result<trace::Opened> {
    let interface = site.receiver_interface.as_str();
    let index = site.receiver.run(|| crate::wire::interface::facts(interface))??.map_or(0, |facts| facts.index);
    PacketTrace::open(site.receiver.inode()?, index, trace::Mode::Drops { most_records: Some(most_records) })
}

/// What a record says.
enum Said {
    Passed(Hook),
    /// Where in the kernel's code, too.
    Dropped(DropKind, u64),
}

/// The thread.
struct Watch {
    taps: Option<Taps>,
    monitor: Option<PacketTrace>,
    layers: Layers,
    digester: Digester,
    board: Option<Arc<Mutex<Announcements>>>,
    finished: Arc<AtomicBool>,
    waker: Waker,
    following: Following,
}

impl Watch {
    fn run(mut self) -> Result<Stack> {
        let mut taken = Announcements::default();
        loop {
            // Asked before the last look, so that nothing that came until then is left.
            let last = self.finished.load(Ordering::Acquire);
            if !last {
                self.wait();
            }
            while self.look(&mut taken)? > 0 {}
            if last {
                self.await_records(&mut taken)?;
                return self.finish();
            }
        }
    }

    /// Waits until there is something to read.
    fn wait(&self) {
        let taps = self.taps.as_ref().filter(|_| self.layers.taps == Tapping::Packets).map(AsFd::as_fd);
        let readable = [Some(self.waker.as_fd()), taps, self.monitor.as_ref().map(AsFd::as_fd)];
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
        let Some(taps) = self.taps.as_mut().filter(|_| self.layers.taps == Tapping::Packets) else { return Ok(0) };
        let counts = taps.counts()?;
        let received = taps.received();
        Ok(Hook::ALL.into_iter().map(|hook| counts.get(hook).saturating_sub(received.get(hook))).sum())
    }

    /// Reads what is there; how many records.
    fn look(&mut self, taken: &mut Announcements) -> Result<usize> {
        let mut records = Vec::new();
        let digester = &self.digester;
        if let Some(taps) = self.taps.as_mut().filter(|_| self.layers.taps == Tapping::Packets) {
            taps.read(&mut |hook, packet| records.push((digester.of(head(packet)), Said::Passed(hook))))?;
        }
        if let Some(monitor) = &mut self.monitor {
            monitor.read(&mut |event| {
                let Event::Dropped(drop) = event else { return };
                let kind = following::kind(drop.reason, drop.packet);
                records.push((digester.of(head(drop.packet)), Said::Dropped(kind, drop.location)));
            })?;
        }
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
        let count = records.len();
        for (digest, said) in records {
            match said {
                Said::Passed(hook) => self.following.pass(digest, hook),
                Said::Dropped(kind, location) => self.following.drop_packet(digest, &kind, location),
            }
        }
        Ok(count)
    }

    fn finish(mut self) -> Result<Stack> {
        self.layers.taps_lost = self.unread()?;
        let mut hooks = None;
        if let Some(taps) = &mut self.taps {
            let counts = taps.counts()?;
            hooks = Some(Hook::ALL.into_iter().map(|hook| (hook, counts.get(hook))).collect());
        }
        let mut reasons = None;
        if let Some(monitor) = &self.monitor {
            reasons = Some(monitor.counts()?);
            self.layers.kernel_lost = monitor.lost()?;
            self.layers.kernel_missed = monitor.missed()?;
        }
        if self.layers.taps_lost > 0 {
            self.layers.taps = Tapping::Counters;
            self.layers.taps_why = format!("{} records of packets found no room", self.layers.taps_lost);
        }
        let complete = self.layers.taps == Tapping::Packets;
        // The tapping chains have rules, too, and go before that is asked.
        drop(self.taps);
        let filters = match firewall::look() {
            Firewall::Chains(chains) => chains,
            Firewall::None | Firewall::Unseen(_) => Vec::new(),
        };
        let functions = trace::functions(&self.following.locations());
        let followed = self.following.finish(complete, &functions);
        Ok(Stack { filters, hooks, reasons, followed, layers: self.layers })
    }
}
