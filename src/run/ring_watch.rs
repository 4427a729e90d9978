//! The thread that reads the receiver's ring: every frame is matched with what was sent. Start at [`Watch::run`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::arrival_writer::ArrivalWriter;
use super::shared::{Announcements, Shared};
use super::sniffers::{Offer, Sniffers};
use super::stack::lock;
use super::timing::Arrivals;
use super::watching::{IN_RING, Taker};
use crate::diagnostic::Result;
use crate::evidence::Arriving;
use crate::ledger::identity::Digest;
use crate::ledger::matching::{Matching, Sighting};
use crate::wire::closing;
use crate::wire::ring::{Ring, Seen};

/// How long the thread blocks at most.
const BLOCK: Duration = Duration::from_millis(100);

/// What the ring's thread saw.
pub(super) struct Watched {
    /// What arrived, if the ring lost no frame.
    pub(super) arriving: Option<Arriving>,
    pub(super) arrivals: Arrivals,
}

/// The ring's thread: every frame is matched with what was sent.
pub(super) struct Watch {
    pub(super) ring: Ring,
    pub(super) shared: Shared,
    pub(super) sniffers: Sniffers,
    pub(super) matching: Matching,
    pub(super) arrivals: Arrivals,
    pub(super) keeper: Option<ArrivalWriter>,
    pub(super) taker: Option<Taker>,
    pub(super) finished: Arc<AtomicBool>,
    /// Swapped with the board's, so that neither side waits for the other's work.
    pub(super) announced: Announcements,
}

/// What is kept of a frame until it is known whether it is of the capture, where that is asked for.
struct Awaited {
    /// For the file of what arrived.
    bytes: Option<Box<[u8]>>,
    offer: Offer,
}

impl Watch {
    /// Reads until it is asked to end.
    pub(super) fn run(mut self) -> Result<Watched> {
        let digester = self.shared.digester.clone();
        let mut seen: VecDeque<(Digest, u32, u64, Instant)> = VecDeque::with_capacity(1024);
        let mut awaited: VecDeque<Awaited> = VecDeque::new();
        let (horizon, begun) = (self.shared.horizon.clone(), Instant::now());
        loop {
            // Asked before the last look at the ring, so that nothing that came until then is left in it.
            let last = self.finished.load(Ordering::Acquire);
            let timeout = if last { Duration::ZERO } else { BLOCK };
            let read = if horizon.is_everywhere() && (self.keeper.is_some() || self.sniffers.any()) {
                let keeper = &mut self.keeper;
                let (shared, matching, announced) = (&self.shared, &mut self.matching, &mut self.announced);
                let (arrivals, sniffers) = (&mut self.arrivals, &self.sniffers);
                self.ring.read(timeout, &mut |frame: Seen<'_>| {
                    // A frame that is seen was announced before it was sent.
                    take_announcements(shared, announced, matching, arrivals);
                    let (digest, length) = (digester.of_frame(frame.bytes), frame.original_length);
                    let sighting = see(matching, arrivals, digest, length, frame.time_ns);
                    if let Some(keeper) = keeper {
                        keeper.keep(&frame, sighting);
                    }
                    let offer = sniffers.see(frame.bytes, false);
                    if matches!(sighting, Sighting::Sent(_)) {
                        sniffers.is_sent(&offer);
                    }
                    note(shared, matching, shared.ring_bytes(frame.bytes.len()));
                })?
            } else {
                let mut bytes = 0;
                let (shared, taker, keeper, sniffers) =
                    (&self.shared, &mut self.taker, &mut self.keeper, &self.sniffers);
                let reading = Instant::now();
                let read = self.ring.read(timeout, &mut |frame: Seen<'_>| {
                    if let Some(taker) = taker {
                        taker.see(&frame, shared);
                    }
                    let now = if horizon.is_everywhere() { begun } else { Instant::now() };
                    seen.push_back((digester.of_frame(frame.bytes), frame.original_length, frame.time_ns, now));
                    if keeper.is_some() || sniffers.any() {
                        let bytes = keeper.as_ref().map(|_| frame.bytes.into());
                        awaited.push_back(Awaited { bytes, offer: sniffers.see(frame.bytes, false) });
                    }
                    bytes += shared.ring_bytes(frame.bytes.len());
                })?;
                if self.taker.is_some()
                    && let Some(before) = reading.checked_sub(IN_RING)
                {
                    horizon.extend_to(before);
                }
                let reach = horizon.reach();
                take_announcements(shared, &mut self.announced, &mut self.matching, &mut self.arrivals);
                while let Some((digest, length, time_ns, _)) = seen.pop_front_if(|(_, _, _, at)| reach.covers(*at)) {
                    let sighting = see(&mut self.matching, &mut self.arrivals, digest, length, time_ns);
                    let Some(Awaited { bytes, offer }) = awaited.pop_front() else { continue };
                    if matches!(sighting, Sighting::Sent(_)) {
                        self.sniffers.is_sent(&offer);
                    }
                    // What others send is theirs.
                    if let (Some(keeper), Some(bytes), true) = (&mut *keeper, &bytes, sighting != Sighting::Stranger) {
                        keeper.keep(&Seen { bytes, original_length: length, time_ns, segment_bytes: 0 }, sighting);
                    }
                }
                shared.taken[0].store(self.matching.announced(), Ordering::Release);
                note(shared, &self.matching, bytes);
                read
            };
            self.sniffers.look();
            if read == 0 && last {
                take_announcements(&self.shared, &mut self.announced, &mut self.matching, &mut self.arrivals);
                if let Some(keeper) = self.keeper {
                    keeper.finish()?;
                }
                let complete = self.ring.statistics()?.drops == 0;
                let arriving = complete.then(|| self.matching.finish());
                closing::close((self.shared.ring.take(), self.ring));
                return Ok(Watched { arriving, arrivals: self.arrivals });
            }
        }
    }
}

fn take_announcements(shared: &Shared, taken: &mut Announcements, matching: &mut Matching, arrivals: &mut Arrivals) {
    std::mem::swap(&mut *lock(&shared.board.announcements), taken);
    for announced in taken.frames.drain(..) {
        matching.announce(announced);
    }
    for position in taken.withdrawn.drain(..) {
        matching.withdraw(position);
    }
    arrivals.sent(taken.due_ns.drain(..));
}

/// Matches a frame with what was sent.
fn see(matching: &mut Matching, arrivals: &mut Arrivals, digest: Digest, length: u32, time_ns: u64) -> Sighting {
    let sighting = matching.see(digest, length);
    if let Sighting::Sent(frame) = sighting {
        arrivals.seen(time_ns, frame);
    }
    sighting
}

fn note(shared: &Shared, matching: &Matching, bytes: u64) {
    shared.board.arrived.store(matching.arrived(), Ordering::Release);
    shared.board.seen_bytes.fetch_add(bytes, Ordering::AcqRel);
}
