//! When a run is over: everything is accounted for, or nothing moves any more.

use std::time::{Duration, Instant};

use super::Session;
use super::observe::{Moment, Observer, Settled};
use super::receiver::Receiver;
use super::replay::TELL;
use crate::cause::Cause;
use crate::diagnostic::Result;
use crate::evidence::{Arriving, Evidence, Sending};
use crate::ledger;
use crate::outcome::Event;
use crate::plan::Plan;
use crate::plan::fate::End;
use crate::scenario::Scenario;

/// A queue that isn't empty and hasn't moved for so long is not read any more.
const STUCK: Duration = Duration::from_secs(2);
/// How long the receiver waits for missing fragments (`ipfrag_time` is 1 s in the lab), and a bit.
const FRAGMENTS: Duration = Duration::from_millis(1_500);

/// Waits until the run is over.
pub(super) fn settle(
    scenario: &Scenario,
    plan: &Plan,
    sending: Sending,
    receiver: &mut Receiver,
    observer: &mut Observer,
    session: &mut Session<'_>,
) -> Result<Settled> {
    let quiet = scenario.receiver.settle.max(if awaits_fragments(plan) { FRAGMENTS } else { Duration::ZERO });
    let begun = Instant::now();
    let mut moved = Instant::now();
    let mut told = Instant::now();
    let mut moment = Moment::default();
    loop {
        receiver.drain()?;
        let now = observer.look()?;
        if now != moment {
            moment = now;
            moved = Instant::now();
        }
        let unread = moment.queues.iter().any(|queue| queue.unread_bytes > 0);
        let still = moved.elapsed();
        let done = if unread && !receiver.has_ended()? { still >= STUCK } else { still >= quiet };
        let done = done || (receiver.is_built_in() && is_complete(scenario, plan, &sending, &moment));
        let over = session.is_over();
        if done || over || told.elapsed() >= TELL {
            told = Instant::now();
            let arrived = observer.observes().then_some(moment.arrived);
            (session.tell)(Event::Progress { sent: sending.sent, arrived });
        }
        if done {
            return Ok(Settled { sending, moment, timed_out: None });
        }
        if over {
            let limit = plan.timeout;
            return Ok(Settled { sending, moment, timed_out: Some(limit) });
        }
        let pause = if begun.elapsed() < Duration::from_millis(100) {
            Duration::from_micros(500)
        } else {
            Duration::from_millis(5)
        };
        std::thread::sleep(pause);
    }
}

fn awaits_fragments(plan: &Plan) -> bool {
    plan.fates.iter().any(|fate| fate.end == End::Lost(Cause::FragReasmTimeout))
}

/// Whether every frame is accounted for already, so that nothing can move any more.
fn is_complete(scenario: &Scenario, plan: &Plan, sending: &Sending, moment: &Moment) -> bool {
    if moment.arrived < sending.sent || awaits_fragments(plan) {
        return false;
    }
    let expected: u64 = plan.fates.iter().filter(|fate| fate.end == End::Delivered).map(|fate| fate.datagrams).sum();
    let evidence = Evidence {
        sending: sending.clone(),
        arriving: Some(Arriving { arrived: moment.arrived, ..Arriving::default() }),
        counters: Some(moment.counters.clone()),
        loopback_datagrams: moment.loopback_datagrams,
        ..Evidence::default()
    };
    if ledger::consumed_datagrams(&evidence) < expected * plan.rounds {
        return false;
    }
    let ledger = ledger::account(scenario, plan, &evidence);
    let open = [Cause::Unexplained.name(), Cause::NotRead.name()];
    ledger.losses.iter().all(|loss| !open.contains(&loss.cause.as_str()))
}
