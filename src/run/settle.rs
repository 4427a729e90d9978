//! When a run, or a part of its replay, is over: everything is accounted for, or nothing moves any more. Start at [`wait`].

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Run;
use super::control::Control;
use super::observe::{Glance, Moment, Observer, Settled};
use super::receiver::Receiver;
use super::replay::REPORT_EVERY;
use super::setup::Setup;
use crate::cause::Cause;
use crate::diagnostic::Result;
use crate::evidence::{Arriving, Evidence, Sending, SocketRecord};
use crate::expect;
use crate::ledger;
use crate::outcome::{Event, Loss};
use crate::plan::Plan;
use crate::predict::Disposition;
use crate::scenario::Scenario;

/// How long is waited, where the run is over, for what was sent last.
const LAST_MOMENT: Duration = Duration::from_millis(200);
/// So long at least is waited for a frame that was sent and has not arrived: the thread of the kernel that takes frames off the receiver's queue
/// needs a processor, and on a busy machine it may get none for tens of milliseconds.
const ON_THE_WIRE: Duration = Duration::from_secs(2);
/// So much later than its time the kernel gives a datagram up that waits for fragments, at most.
const TIMER_SLACK: Duration = Duration::from_millis(500);

/// What is waited for.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// The end of the run.
    End,
    /// The end of a part of the replay, of which this frame is the last.
    PartWith(u64),
}

/// How waiting ended.
pub(super) struct Waited {
    /// How long nothing had moved.
    pub(super) still: Duration,
    /// Whether it is over because nothing moves any more.
    done: bool,
    /// Bytes that are unread in the sockets of the capture.
    pub(super) unread_bytes: u64,
    /// The inodes of sockets that others send to as well, and that have read all of the capture's.
    read: BTreeSet<u32>,
}

impl Run<'_> {
    /// Waits until the run is over: until nothing of the capture's moves any more.
    pub(super) fn settle(&mut self, sending: Sending, observer: &mut Observer) -> Result<Settled> {
        let Self { plan, setup: Setup { scenario, receiver, control, .. }, .. } = self;
        let waited = wait(Until::End, scenario, plan, &sending, receiver, control, observer)?;
        let timed_out = (!waited.done && !observer.is_lost()).then_some(plan.timeout);
        let mut moment = observer.look()?;
        for record in moment.sockets.iter_mut().filter(|record| waited.read.contains(&record.socket.inode)) {
            // What is in its queue came after all of the capture's was read.
            record.unread_of_others = std::mem::take(&mut record.socket.unread_bytes);
        }
        Ok(Settled { sending, moment, still: waited.still, timed_out })
    }
}

/// Waits until nothing of the capture's moves any more. What the application does besides doesn't matter.
pub(super) fn wait(
    until: Until,
    scenario: &Scenario,
    plan: &Plan,
    sending: &Sending,
    receiver: &mut Receiver,
    control: &mut Control<'_>,
    observer: &mut Observer,
) -> Result<Waited> {
    let settle = scenario.receiver.settle.value;
    let reassembly = plan.reassembly_timeout + TIMER_SLACK;
    let is_end = matches!(until, Until::End);
    // What a part has no fragments of, a later one may have.
    let fragmented = is_end
        && (plan.predictions.iter().any(|prediction| prediction.class.most_frames > 1) || awaits_fragments(plan));
    let watched = Watched::of(scenario, plan);
    let awaited = match until {
        Until::End => expect::awaited(scenario, plan, u64::MAX),
        Until::PartWith(frame) => expect::awaited(scenario, plan, frame),
    };
    let begun = Instant::now();
    let mut moved = Instant::now();
    let mut reported = Instant::now();
    let mut last = Glance::default();
    let mut queues = Queues::default();
    loop {
        receiver.drain()?;
        let mut now = observer.glance()?;
        now.sockets.retain(|record| watched.has(record));
        if observer.is_shared() {
            // What others send goes on.
            queues.look(&mut now, &last, moved.elapsed());
        }
        if now != last {
            last = now;
            moved = Instant::now();
        }
        let unread = last.sockets.iter().filter(|record| record.until_end);
        let unread_bytes = unread.map(|record| u64::from(record.socket.unread_bytes)).sum();
        let waits = unread_bytes > 0 && !observer.reads_past_the_sockets()
            || last.replied < awaited
            || last.sniffers_are_behind;
        let on_the_wire = observer.observes() && last.arrived < sending.sent;
        let patience = if waits && !receiver.has_ended()? {
            scenario.receiver.unread_for()
        } else if on_the_wire {
            settle.max(ON_THE_WIRE)
        } else {
            settle
        };
        let quiet = moved.elapsed();
        let still = quiet >= patience && (!fragmented || quiet >= reassembly || !waits_for_fragments(observer)?);
        let complete = || is_end && receiver.is_built_in() && last.arrived >= sending.sent && !awaits_fragments(plan);
        let done = still || complete() && is_complete(scenario, plan, sending, &observer.look()?);
        // What was sent last is on its way for a moment.
        let over = control.is_over() && (begun.elapsed() >= LAST_MOMENT || quiet >= settle);
        if done || over || reported.elapsed() >= REPORT_EVERY {
            reported = Instant::now();
            let arrived = observer.observes().then_some(last.arrived);
            (control.report)(Event::Progress { sent: sending.sent, arrived });
        }
        if done || over || observer.is_lost() {
            return Ok(Waited { still: moved.elapsed(), done, unread_bytes, read: queues.read });
        }
        let pause = if begun.elapsed() < Duration::from_millis(100) {
            Duration::from_micros(500)
        } else {
            Duration::from_millis(5)
        };
        std::thread::sleep(pause);
    }
}

/// Whether the receiver still has fragments of datagrams that are not whole.
fn waits_for_fragments(observer: &mut Observer) -> Result<bool> {
    let counters = observer.look()?.counters;
    Ok(["FRAG.inuse", "FRAG6.inuse"].iter().any(|name| counters.get(*name).is_some_and(|waiting| *waiting > 0)))
}

/// So long after the last frame came it is in its socket's queue.
const QUEUED_BY: Duration = Duration::from_millis(20);

/// The queues of sockets that others send to as well. A queue is first in, first out: one that was empty after the last of the capture's datagrams
/// came has none of them any more, whatever is in it now.
#[derive(Default)]
struct Queues {
    /// The inodes of those that were empty since.
    read: BTreeSet<u32>,
}

impl Queues {
    /// Leaves of what is seen only what is the capture's. `since`: when that moved last.
    fn look(&mut self, now: &mut Glance, last: &Glance, since: Duration) {
        if (now.arrived, now.replied) != (last.arrived, last.replied) {
            self.read.clear();
        } else if since >= QUEUED_BY {
            let empty = now.sockets.iter().filter(|record| record.socket.unread_bytes == 0);
            self.read.extend(empty.map(|record| record.socket.inode));
        }
        for record in &mut now.sockets {
            // How full the queue is depends on the others, too: only whether it is empty counts.
            let is_read = self.read.contains(&record.socket.inode);
            record.socket.unread_bytes = u32::from(!is_read);
            record.socket.drops = 0;
        }
    }
}

/// The sockets that the capture's datagrams may reach.
struct Watched {
    /// Their ports; `None` where a rule may send datagrams to others.
    ports: Option<BTreeSet<u16>>,
}

impl Watched {
    fn of(scenario: &Scenario, plan: &Plan) -> Self {
        let redirects = plan.may_redirect(scenario);
        let ports = plan.survey.udp_ports.iter().map(|(port, _)| *port);
        Self { ports: (!redirects).then(|| ports.collect()) }
    }

    fn has(&self, record: &SocketRecord) -> bool {
        let only_local = record.socket.address.is_loopback();
        !only_local && self.ports.as_ref().is_none_or(|ports| ports.contains(&record.socket.port))
    }
}

fn awaits_fragments(plan: &Plan) -> bool {
    plan.predictions.iter().any(|prediction| prediction.disposition == Disposition::Lost(Cause::FragReasmTimeout))
}

/// Whether every frame is accounted for already, so that nothing can move any more.
fn is_complete(scenario: &Scenario, plan: &Plan, sending: &Sending, moment: &Moment) -> bool {
    let expected: u64 = plan
        .predictions
        .iter()
        .filter(|prediction| prediction.disposition == Disposition::Delivered)
        .map(|prediction| prediction.class.datagrams)
        .sum();
    let evidence = Evidence {
        sending: sending.clone(),
        arriving: Some(Arriving { arrived: moment.arrived, ..Arriving::default() }),
        counters: Some(moment.counters.clone()),
        sockets: moment.sockets.clone(),
        ..Evidence::default()
    };
    let read = evidence.counter("Udp.InDatagrams") + evidence.counter("Udp6InDatagrams");
    if read < expected * plan.rounds {
        return false;
    }
    let ledger = ledger::account(scenario, plan, &evidence);
    let is_open = |loss: &Loss| loss.cause == Cause::Unexplained || loss.cause == Cause::NotRead;
    !ledger.losses.iter().any(is_open)
}
