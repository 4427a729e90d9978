//! Sending: the stream of rewritten frames, each at its time, in batches where there is no time to wait for.
//!
//! A frame is read, rewritten, identified and placed before its deadline is waited for, so that after the wait nothing is left to do but
//! the system call. While the next frame is not read yet, what is placed is sent. Start at [`Replay::run`].

use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use super::ahead::{self, Frames, Haste};
use super::control::Control;
use super::extent::Extent;
use super::frame_batch::{Batch, truesize};
use super::observe::Observer;
use super::receiver::Receiver;
use super::shared::Shared;
use super::stack::lock;
use super::steps::Steps;
use super::timing::Timing;
use crate::diagnostic::Result;
use crate::evidence::Sending;
use crate::ledger::matching::Announced;
use crate::outcome::Event;
use crate::plan::{Limiter, Plan, Schedule};
use crate::scenario::Scenario;
use crate::scenario::pacing::{Limit, Rate};
use crate::testbed::OpenedSender;
use crate::wire::clock::{Clock, Monotonic};
use crate::wire::closing;
use crate::wire::sender::{Placed, SendResult, Sender};

/// How often progress is reported.
pub(super) const REPORT_EVERY: Duration = Duration::from_millis(100);
/// How often progress is reported where deadlines follow each other closely: a report wakes the parent, which may take the processor for a
/// moment.
const REPORT_SELDOM: Duration = Duration::from_secs(1);
/// From the first look at the clock to the first deadline: the processor is awake and the way is warm when it comes.
const LEAD: Duration = Duration::from_millis(2);
/// Only frames that are so late already are sent together with others.
const LATE: Duration = Duration::from_micros(30);
/// There is time to look at the receiver's sockets before a deadline that is further away.
const LEISURE: Duration = Duration::from_micros(100);
/// The receiver's sockets are read when what was sent since takes this much of their buffers: 100 datagrams or so are read in the time of
/// a few frames, all that a buffer holds would be a hole of 40 ms.
const MOST_UNREAD: usize = 128 << 10;
/// So much is read in the time before a deadline that is further away than [`GLANCE`].
const SOME_UNREAD: usize = 16 << 10;
const GLANCE: Duration = Duration::from_micros(6);
/// There is time to report to the parent before a deadline that is further away.
const MUCH_LEISURE: Duration = Duration::from_millis(3);
/// What has not reached the receive ring after this time, though all that is in it was read, is lost before it.
const RING_PATIENCE: Duration = Duration::from_millis(20);
/// A receive ring that was not read for this time is given up.
const RING_GIVEN_UP: Duration = Duration::from_secs(2);
/// At top speed, a thread that reads takes longer to start than it gains with fewer frames.
const WORTH_A_THREAD: u64 = 1_000;
/// How long sending waits for room in the receive ring without giving up its processor for longer than a moment.
const RING_MOMENT: Duration = Duration::from_micros(200);
/// The time between two looks at the receive ring after that.
const RING_PAUSE: Duration = Duration::from_micros(50);

/// The sending side of a run.
pub(super) struct Replay<'a> {
    scenario: &'a Scenario,
    plan: &'a Plan,
    rate: Rate,
    sender: Sender,
    shared: Shared,
    observed: bool,
    /// Whether another processor takes in what is sent.
    is_received_elsewhere: bool,
    batch: Batch,
    sending: Sending,
    timing: Timing,
    clock: Monotonic,
    /// The clock's time of the schedule's zero where it is set, and when the first frame is due after it.
    start: Option<(Duration, Duration)>,
    /// The clock's time of the schedule's zero, in this part of the replay.
    anchor: Option<Duration>,
    first_send: Option<Duration>,
    last_send: Duration,
    /// Whether nothing of this part was sent yet.
    begins_part: bool,
    /// The last deadline that was met, by the schedule.
    last_after: Option<Duration>,
    /// Frames that were announced; the position of the next one.
    announced: u64,
    /// The bytes of the receive ring that what was sent takes, without what was given up.
    ring_bytes: u64,
    /// The bytes of receive buffers that were filled since the built-in receiver read.
    unread_room: usize,
    reported: Instant,
}

/// The clock's time of the schedule's zero. `start`: where several machines have it in common, with when this one's first frame is due after it;
/// `after`: when that is due in this one's own schedule, or in this part of it.
fn anchor(start: Option<(Duration, Duration)>, now: Duration, after: Duration) -> Duration {
    match start {
        // The same for all machines. What is due after it counts from the first frame.
        Some((start, first)) => start + LEAD + first,
        // The parts before took at least their time.
        None => (now + LEAD).saturating_sub(after),
    }
}

/// Whether sending goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    Stop,
}

impl<'a> Replay<'a> {
    /// Takes the sending interface, to send at `rate`.
    pub(super) fn new(
        scenario: &'a Scenario,
        plan: &'a Plan,
        rate: Rate,
        opened: OpenedSender,
        observer: &Observer,
    ) -> Self {
        let sending = Sending { sender: opened.sender.name().to_owned(), sender_why: opened.why, ..Sending::default() };
        Self {
            scenario,
            plan,
            rate,
            sender: opened.sender,
            shared: observer.shared.clone(),
            observed: observer.observes(),
            is_received_elsewhere: opened.is_received_elsewhere,
            batch: Batch::default(),
            sending,
            timing: Timing::default(),
            clock: Monotonic::with(scenario.pacing.precision),
            start: None,
            anchor: None,
            first_send: None,
            last_send: Duration::ZERO,
            begins_part: false,
            last_after: None,
            announced: 0,
            ring_bytes: 0,
            unread_room: 0,
            reported: Instant::now(),
        }
    }

    /// Does not begin before `start`, which is the schedule's zero; the first frame is due `first` after it.
    pub(super) fn starting(mut self, start: Instant, first: Duration) -> Self {
        let start = self.clock.now() + start.saturating_duration_since(Instant::now());
        self.start = Some((start, first));
        self
    }

    /// Sends everything, or what the run's limit leaves time for, and takes the steps between. Also returns how often the plan's frames were sent,
    /// the last time perhaps in part.
    pub(super) fn run(
        mut self,
        extent: &Extent,
        receiver: &mut Receiver,
        control: &mut Control<'_>,
        steps: &mut Steps<'_>,
    ) -> Result<(Sending, u64)> {
        let (scenario, plan) = (self.scenario, self.plan);
        let repeat = u64::from(scenario.pacing.repeat.value);
        let identifier = self.shared.identifier(self.observed);
        let rounds = if let Some(haste) = self.reads_ahead(extent, receiver) {
            let queue = ahead::Queue::new(haste);
            std::thread::scope(|scope| {
                let rounds = if extent.is_once() { repeat } else { u64::MAX };
                let mut frames = Frames::ahead(scope, &queue, scenario, plan, identifier, rounds)?;
                self.send_all(&mut frames, repeat, extent, receiver, control, steps)
            })?
        } else {
            let mut frames = Frames::direct(scenario, plan, identifier);
            self.send_all(&mut frames, repeat, extent, receiver, control, steps)?
        };
        let times = rounds.div_ceil(repeat);
        let planned = self.plan.frames() * times;
        self.send(receiver, control)?;
        steps.take_last(&self.sending, receiver, control)?;
        self.report(control);
        self.sending.tried += self.sending.not_sent.count();
        // Where the plan knew, there is nothing to report.
        self.sending.limited &= self.sending.tried < planned;
        if !self.sending.limited {
            let unread = planned.saturating_sub(self.sending.tried);
            self.sending.not_sent.add_unlisted(unread);
        }
        let time = self.time();
        if let Some((start, due)) = self.start {
            self.sending.begun_after = self.first_send.unwrap_or(start).saturating_sub(start);
            self.sending.due_after = due;
        }
        self.sending.seconds = time.saturating_sub(self.sending.paused).as_secs_f64();
        self.sending.scheduled_seconds = self.last_after.map(|after| after.as_secs_f64());
        self.timing.apply(&mut self.sending);
        closing::close(self.sender);
        Ok((self.sending, times))
    }

    /// For whom another thread reads the frames; `None` where the one that sends does. At top speed that takes a processor that neither sends, nor takes
    /// in what is sent, nor is the application's.
    fn reads_ahead(&self, extent: &Extent, receiver: &Receiver) -> Option<Haste> {
        if !matches!(self.rate, Rate::TopSpeed | Rate::MaxLossless) {
            return Some(Haste::Timed);
        }
        let taken = 1 + usize::from(self.is_received_elsewhere || !receiver.is_built_in());
        let is_worth_it = !extent.is_once() || self.plan.frames() >= WORTH_A_THREAD;
        (is_worth_it && available_parallelism().is_ok_and(|all| all.get() > taken)).then_some(Haste::TopSpeed)
    }

    /// Sends the frames, and says how often it has begun with the first of them; what was placed last is not sent.
    fn send_all(
        &mut self,
        frames: &mut Frames<'_>,
        repeat: u64,
        extent: &Extent,
        receiver: &mut Receiver,
        control: &mut Control<'_>,
        steps: &mut Steps<'_>,
    ) -> Result<u64> {
        let mut schedule = Schedule::at(self.rate, &self.scenario.pacing);
        let mut limiter = Limiter::new(&self.scenario.pacing);
        let most_time = match self.scenario.pacing.limit.as_ref().map(|limit| limit.value) {
            Some(Limit::Duration(most)) => Some(most),
            _ => None,
        };
        if let Some((start, _)) = self.start {
            self.clock.wait_until(start, &|| control.is_over());
        }
        let mut rounds = 0;
        'rounds: loop {
            rounds += 1;
            loop {
                let frame = match frames.next()? {
                    ahead::Next::Frame(frame) => frame,
                    ahead::Next::End => break,
                    ahead::Next::NotYet => {
                        if self.send(receiver, control)? == Next::Stop || control.is_over() {
                            break 'rounds;
                        }
                        continue;
                    }
                };
                if steps.begin_part(frame.number) {
                    if self.send(receiver, control)? == Next::Stop {
                        break 'rounds;
                    }
                    if steps.take(frame.number, &self.sending, receiver, control)? == Next::Stop {
                        self.sending.not_sent.add(frame.number);
                        while !control.is_over() {
                            match frames.next()? {
                                ahead::Next::Frame(frame) => self.sending.not_sent.add(frame.number),
                                ahead::Next::NotYet => {}
                                ahead::Next::End => break,
                            }
                        }
                        break 'rounds;
                    }
                    schedule.part();
                    (self.anchor, self.begins_part) = (None, self.first_send.is_some());
                }
                let after = schedule.next(frame.time_ns, frame.bytes.len());
                // Only without deadlines: with them the plan knows what the limit leaves.
                let is_late = after.is_none() && most_time.is_some_and(|most| self.time() > most);
                if is_late || !limiter.admits(after, frame.bytes.len()) {
                    self.sending.limited = true;
                    break 'rounds;
                }
                let due = after.map(|after| self.deadline(after));
                if self.must_send_before(due) && self.send(receiver, control)? == Next::Stop {
                    break 'rounds;
                }
                if self.unread_room + self.batch.room + truesize(frame.bytes.len()) > receiver.buffer_bytes() {
                    if self.send(receiver, control)? == Next::Stop {
                        break 'rounds;
                    }
                    self.read(receiver)?;
                }
                let ring_bytes = self.shared.ring_bytes(frame.bytes.len());
                // A batch takes at most half of what may be under way, so that it is never waited for in vain.
                if self.batch.ring_bytes + ring_bytes > self.shared.under_way_bytes() / 2
                    && self.send(receiver, control)? == Next::Stop
                {
                    break 'rounds;
                }
                while self.sender.place(frame.bytes) == Placed::Full {
                    if self.send(receiver, control)? == Next::Stop {
                        break 'rounds;
                    }
                }
                self.batch.frames.push(Announced {
                    digest: frame.identity.frame,
                    frame: frame.number,
                    length: u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX),
                });
                self.batch.heads.extend(frame.identity.head);
                self.batch.due.push(due);
                self.batch.room += truesize(frame.bytes.len());
                self.batch.ring_bytes += ring_bytes;
            }
            schedule.again();
            if rounds % repeat == 0 && extent.is_over(self.time()) {
                break;
            }
        }
        Ok(rounds)
    }

    /// From the first send to the last one.
    fn time(&self) -> Duration {
        self.last_send.saturating_sub(self.first_send.unwrap_or(self.last_send))
    }

    /// The clock's time of a deadline; with the first one of a part the anchor is set.
    fn deadline(&mut self, after: Duration) -> Duration {
        let anchor = *self.anchor.get_or_insert_with(|| {
            // What the first send would meet for the first time, it meets now.
            self.sender.warm();
            anchor(self.start, self.clock.now(), after)
        });
        anchor + after
    }

    /// Whether what is placed goes before a frame with this deadline is placed.
    fn must_send_before(&self, due: Option<Duration>) -> bool {
        let (Some(due), Some(Some(placed))) = (due, self.batch.due.first()) else { return false };
        let now = self.clock.now();
        // Together go only frames that are all due, where the first is late already.
        due != *placed && (due > now || now < *placed + LATE)
    }

    /// Waits for the deadline of what is placed, and sends it.
    fn send(&mut self, receiver: &mut Receiver, control: &mut Control<'_>) -> Result<Next> {
        let Some(due) = self.batch.due.first().copied() else { return Ok(Next::GoOn) };
        if self.observed {
            self.shared.announce(&self.batch.frames, &self.batch.heads);
        }
        if self.shared.is_lost()
            || due.is_none() && control.is_over()
            || due.is_some_and(|due| !self.wait(due, receiver, control))
        {
            self.leave_out();
            return Ok(Next::Stop);
        }
        if self.observed && !self.await_ring(control) {
            self.leave_out();
            return Ok(Next::Stop);
        }
        self.batch.results.clear();
        let now = self.clock.now();
        let sent = self.sender.send(&mut self.batch.results);
        self.first_send.get_or_insert(now);
        if std::mem::take(&mut self.begins_part) {
            self.sending.paused += now.saturating_sub(self.last_send);
        }
        self.last_send = now;
        self.account(now);
        if self.unread_room > (receiver.buffer_bytes() / 2).min(MOST_UNREAD) {
            self.read(receiver)?;
        }
        if self.reported.elapsed() >= if due.is_some() { REPORT_SELDOM } else { REPORT_EVERY } {
            self.report(control);
        }
        sent.map(|()| Next::GoOn)
    }

    /// Waits for a deadline; false when the run is over.
    fn wait(&mut self, due: Duration, receiver: &mut Receiver, control: &mut Control<'_>) -> bool {
        let left = due.saturating_sub(self.clock.now());
        if left > LEISURE || left > GLANCE && self.unread_room > SOME_UNREAD {
            // What can't be read now is read, and its error returned, while the run settles.
            let _ = self.read(receiver);
        }
        if left > REPORT_EVERY || left > MUCH_LEISURE && self.reported.elapsed() >= REPORT_EVERY {
            self.report(control);
        }
        self.clock.wait_until(due, &|| control.is_over())
    }

    /// Waits while the receive ring has no room for the batch: frames that it drops could not be accounted for. False when the run is over.
    fn await_ring(&mut self, control: &Control<'_>) -> bool {
        if self.shared.has_room(self.ring_bytes + self.batch.ring_bytes) {
            return true;
        }
        let begun = Instant::now();
        let (mut progress, mut moved) = (self.shared.progress(), begun);
        while !self.shared.has_room(self.ring_bytes + self.batch.ring_bytes) {
            if begun.elapsed() < RING_MOMENT {
                std::thread::yield_now();
            } else if self.shared.is_lost() || control.is_over() {
                return false;
            } else {
                std::thread::sleep(RING_PAUSE);
            }
            let now = self.shared.progress();
            if now != progress {
                (progress, moved) = (now, Instant::now());
            } else if moved.elapsed() > RING_GIVEN_UP {
                break;
            } else if moved.elapsed() > RING_PATIENCE && self.shared.is_read() {
                // It does not come any more, and takes no room.
                self.ring_bytes = now;
            }
        }
        true
    }

    /// Says what became of the batch that was sent at `now`.
    fn account(&mut self, now: Duration) {
        let first = self.announced;
        let sent_before = self.sending.sent;
        let mut last_sent = 0;
        if self.observed {
            let taken = self.batch.due.iter().zip(&self.batch.results);
            self.shared.sent(taken.filter(|(_, result)| **result == SendResult::Sent).filter_map(|(due, _)| *due));
        }
        for (index, (announced, result)) in self.batch.frames.iter().zip(&self.batch.results).enumerate() {
            if let Some(Some(due)) = self.batch.due.get(index) {
                self.timing.sent(u64::try_from(now.saturating_sub(*due).as_nanos()).unwrap_or(u64::MAX));
                self.last_after = Some(due.saturating_sub(self.anchor.unwrap_or_default()));
            }
            let length = announced.length as usize;
            match result {
                SendResult::Sent => {
                    self.sending.sent += 1;
                    last_sent = announced.frame;
                    if let Some(frames) = &self.shared.sent_frames {
                        lock(frames).push((announced.frame, announced.digest));
                    }
                    self.sending.bytes += length as u64;
                    self.ring_bytes += self.shared.ring_bytes(length);
                    self.unread_room += truesize(length);
                    continue;
                }
                SendResult::TooLong => self.sending.too_long.add(announced.frame),
                SendResult::Unsendable => self.sending.unsendable.add(announced.frame),
                SendResult::InterfaceDown => self.sending.interface_down.add(announced.frame),
                SendResult::Dropped => self.sending.dropped.add(announced.frame),
            }
            self.shared.withdraw(first + index as u64);
        }
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.sending.over_time.add(now_ns, self.sending.sent - sent_before, last_sent);
        // What has no result was given up with the run.
        for index in self.batch.results.len()..self.batch.frames.len() {
            self.shared.withdraw(first + index as u64);
        }
        self.announced += self.batch.frames.len() as u64;
        self.sending.tried += self.batch.results.len() as u64;
        self.batch.clear();
    }

    /// The run is over before the batch was sent.
    fn leave_out(&mut self) {
        for (position, announced) in (self.announced..).zip(&self.batch.frames) {
            self.sending.not_sent.add(announced.frame);
            self.shared.withdraw(position);
        }
        self.announced += self.batch.frames.len() as u64;
        self.batch.clear();
    }

    /// Lets the built-in receiver read.
    fn read(&mut self, receiver: &mut Receiver) -> Result<()> {
        self.unread_room = 0;
        receiver.drain()
    }

    fn report(&mut self, control: &mut Control<'_>) {
        self.reported = Instant::now();
        let arrived = self.observed.then(|| self.shared.arrived());
        (control.report)(Event::Progress { sent: self.sending.sent, arrived });
    }
}

#[cfg(test)]
mod tests;
