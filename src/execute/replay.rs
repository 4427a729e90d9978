//! Sending: the stream of rewritten frames, each at its time, in batches where there is no time to wait for.

use std::time::{Duration, Instant};

use super::Session;
use super::observe::{Observer, Shared};
use super::receiver::Receiver;
use super::site::Site;
use crate::diagnostic::Result;
use crate::evidence::Sending;
use crate::outcome::{Event, Lateness};
use crate::plan::{Plan, Schedule, Stream};
use crate::scenario::Scenario;
use crate::wire::clock::{Clock, Monotonic};
use crate::wire::sender::{PacketSender, SendResult};

/// Frames in a batch: one system call.
const BATCH: usize = 64;
/// How often progress is told.
const TELL: Duration = Duration::from_millis(100);
/// How many deviations from the schedule are kept.
const MOST_DEVIATIONS: usize = 500_000;
/// From the first look at the clock to the first deadline.
const LEAD: Duration = Duration::from_millis(1);

/// The sending side of a run.
pub(super) struct Replay<'a> {
    scenario: &'a Scenario,
    plan: &'a Plan,
    sender: PacketSender,
    shared: Shared,
    observed: bool,
    batch: Batch,
    sending: Sending,
    clock: Monotonic,
    first_send: Option<Duration>,
    last_send: Duration,
    /// Nanoseconds after (before: negative) the deadline.
    deviations: Vec<i64>,
    tried: u64,
}

/// Frames that are sent together; the buffers are used again.
#[derive(Default)]
struct Batch {
    frames: Vec<(u64, Vec<u8>)>,
    used: usize,
    /// What the frames take in a receive buffer.
    room: usize,
    deadline: Option<Duration>,
}

/// What a frame takes in a receive buffer: the kernel's buffer is a power of two, and its head some 300 bytes.
fn room(bytes: usize) -> usize {
    (bytes + 320).next_power_of_two() + 320
}

impl Batch {
    fn push(&mut self, number: u64, bytes: &[u8]) {
        if self.used == self.frames.len() {
            self.frames.push((number, Vec::with_capacity(bytes.len().max(256))));
        }
        if let Some((slot, buffer)) = self.frames.get_mut(self.used) {
            *slot = number;
            buffer.clear();
            buffer.extend_from_slice(bytes);
        }
        self.used += 1;
        self.room += room(bytes.len());
    }

    /// Whether a further frame of this length has no place in it: one system call takes so many frames, and what our own receiver
    /// has no room for before it reads again would be lost.
    fn is_full_for(&self, bytes: usize, room_bytes: usize) -> bool {
        self.used >= BATCH || self.room + room(bytes) > room_bytes
    }

    fn frames(&self) -> impl Iterator<Item = &(u64, Vec<u8>)> {
        self.frames.iter().take(self.used)
    }

    fn clear(&mut self) {
        self.used = 0;
        self.room = 0;
    }
}

impl<'a> Replay<'a> {
    /// Opens the sending interface.
    pub(super) fn new(scenario: &'a Scenario, plan: &'a Plan, site: &Site, observer: &Observer) -> Result<Self> {
        Ok(Self {
            scenario,
            plan,
            sender: site.sender.run(|| PacketSender::open(&site.sender_interface))??,
            shared: observer.shared.clone(),
            observed: site.observed,
            batch: Batch::default(),
            sending: Sending::default(),
            clock: Monotonic::new(),
            first_send: None,
            last_send: Duration::ZERO,
            deviations: Vec::new(),
            tried: 0,
        })
    }

    /// Sends everything, or what the run's limit leaves time for.
    pub(super) fn run(mut self, receiver: &mut Receiver, session: &mut Session<'_>) -> Result<Sending> {
        let mut schedule = Schedule::new(&self.scenario.pacing);
        let repeat = self.scenario.pacing.repeat.value;
        let total = self.plan.counts.selected * u64::from(repeat);
        let room_bytes = receiver.room_bytes();
        let mut told = Instant::now();
        let mut anchor = None;
        'rounds: for _ in 0..repeat {
            let mut stream = Stream::open(self.scenario, &self.plan.rewriter, &self.plan.medium)?;
            while let Some(frame) = stream.next_frame()? {
                let deadline = schedule.next(frame.time_ns, frame.bytes.len());
                let due = match deadline {
                    None => None,
                    Some(deadline) => Some(*anchor.get_or_insert(self.clock.now() + LEAD) + deadline),
                };
                let mut waited = false;
                if let Some(due) = due
                    && self.clock.now() < due
                {
                    self.flush(receiver)?;
                    waited = true;
                    self.tell(&mut told, session, due.saturating_sub(self.clock.now()) > TELL);
                    if !self.clock.wait_until(due, &|| session.is_over()) {
                        self.sending.not_sent.add(frame.number);
                        self.tried += 1;
                        break 'rounds;
                    }
                }
                if self.batch.is_full_for(frame.bytes.len(), room_bytes) {
                    self.flush(receiver)?;
                }
                self.batch.deadline = due;
                self.batch.push(frame.number, frame.bytes);
                if waited || self.batch.used == BATCH {
                    self.flush(receiver)?;
                    self.tell(&mut told, session, false);
                    if session.is_over() {
                        break 'rounds;
                    }
                }
            }
            schedule.again();
        }
        self.flush(receiver)?;
        self.tell(&mut told, session, true);
        self.sending.not_sent.add_unlisted(total.saturating_sub(self.tried));
        self.sending.seconds = self.first_send.map_or(0.0, |first| self.last_send.saturating_sub(first).as_secs_f64());
        self.sending.lateness = lateness(&mut self.deviations);
        Ok(self.sending)
    }

    /// Sends the batch.
    fn flush(&mut self, receiver: &mut Receiver) -> Result<()> {
        if self.batch.used == 0 {
            return Ok(());
        }
        let announced: Vec<_> = if self.observed {
            let digests: Vec<_> =
                self.batch.frames().map(|(number, bytes)| (*number, self.shared.digester.of(bytes))).collect();
            let mut matching = self.shared.matching();
            digests.into_iter().map(|(number, digest)| (digest, matching.announce(digest, number))).collect()
        } else {
            Vec::new()
        };
        let frames: Vec<&[u8]> = self.batch.frames().map(|(_, bytes)| bytes.as_slice()).collect();
        let mut results = Vec::with_capacity(frames.len());
        let now = self.clock.now();
        let sent = self.sender.send(&frames, &mut results);
        if let Some(due) = self.batch.deadline
            && self.deviations.len() < MOST_DEVIATIONS
        {
            let late = i128::try_from(now.as_nanos()).unwrap_or(0) - i128::try_from(due.as_nanos()).unwrap_or(0);
            self.deviations.push(i64::try_from(late).unwrap_or(i64::MAX));
        }
        self.first_send.get_or_insert(now);
        self.last_send = now;
        for (index, ((number, bytes), result)) in
            self.batch.frames.iter().take(self.batch.used).zip(&results).enumerate()
        {
            match result {
                SendResult::Sent => {
                    self.sending.sent += 1;
                    self.sending.bytes += bytes.len() as u64;
                    continue;
                }
                SendResult::TooLong => self.sending.too_long.add(*number),
                SendResult::Unsendable => self.sending.unsendable.add(*number),
                SendResult::InterfaceDown => self.sending.interface_down.add(*number),
            }
            if let Some((digest, position)) = announced.get(index) {
                self.shared.matching().withdraw(*digest, *position);
            }
        }
        self.tried += results.len() as u64;
        self.batch.clear();
        receiver.drain()?;
        sent
    }

    fn tell(&self, told: &mut Instant, session: &mut Session<'_>, now: bool) {
        if now || told.elapsed() >= TELL {
            *told = Instant::now();
            let arrived = self.shared.matching().arrived();
            (session.tell)(Event::Progress { sent: self.sending.sent, arrived });
        }
    }
}

/// Absolute deviations, aligned to the median; `None` for fewer than two.
fn lateness(deviations: &mut [i64]) -> Option<Lateness> {
    if deviations.len() < 2 {
        return None;
    }
    deviations.sort_unstable();
    let median = *deviations.get(deviations.len() / 2)?;
    let mut absolute: Vec<u64> = deviations.iter().map(|deviation| deviation.abs_diff(median)).collect();
    absolute.sort_unstable();
    let microseconds = |share: usize| {
        let index = (absolute.len() - 1) * share / 100;
        #[expect(clippy::cast_precision_loss, reason = "deviations are far below 2^53 ns")]
        let nanoseconds = absolute.get(index).copied().unwrap_or(0) as f64;
        nanoseconds / 1e3
    };
    Some(Lateness { p50: microseconds(50), p99: microseconds(99), max: microseconds(100) })
}
