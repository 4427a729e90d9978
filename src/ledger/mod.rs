//! Every frame accounted for at every stage: a pure function of plan and evidence.
//!
//! The unit is the frame of the capture, times `repeat`. Counters and drop reasons count packets; what that means in frames is said by
//! the survey. `passed` counts what came to each stage behind the wire, `claims` is what each layer of evidence says of the rest,
//! `received` makes one answer of it; [`identity`] says which frame is which, [`matching`] says what arrived, [`hook_tracker`] how far it came. Start at [`account`].

pub mod captured;
mod cause_evidence;
mod comparison;
mod description;
mod drops;
pub mod hook_tracker;
pub mod identity;
pub mod matching;
mod network;
mod received;
pub mod replies;
pub mod sent;
mod tracked;
pub mod tracker;
mod udp;

use std::fmt::Write as _;

use crate::cause::Cause;
use crate::evidence::{Arriving, Evidence, FilterKind};
use crate::figures::{count, duration, numbered, thousands};
use crate::outcome::{Amount, Layer, Ledger, Loss, Stage};
use crate::plan::Plan;
use crate::scenario::Scenario;

/// The ledger of a run.
pub fn account(scenario: &Scenario, plan: &Plan, evidence: &Evidence) -> Ledger {
    let selected = plan.frames();
    let mut losses = unsent(evidence);
    let arrived = evidence.arriving.as_ref().map(|arriving| {
        match scenario.topology.agent() {
            Some(_) => losses.extend(network::losses(arriving, plan)),
            None => losses.extend(missing(arriving, evidence)),
        }
        arriving.arrived
    });
    let mut received = received::account(scenario, plan, evidence, arrived);
    losses.extend(received.losses);
    let taken = evidence.arriving.as_ref().filter(|_| evidence.xdp).map_or(0, |arriving| arriving.missing.count());
    if taken > 0 {
        // The program may have given the frames to the application (AF_XDP), or sent them elsewhere.
        (received.delivered, received.consumed) = (None, None);
        losses.retain(|loss| loss.stage <= Stage::Accepted);
        received.absorbed.retain(|absorbed| absorbed.stage <= Stage::Accepted);
    }
    if reads_past_the_sockets(evidence) {
        (received.delivered, received.consumed) = (None, None);
        losses.retain(|loss| loss.stage <= Stage::Accepted);
        received.absorbed.retain(|absorbed| absorbed.stage <= Stage::Accepted);
    }
    let arrived = arrived.map(|seen| Amount::between(seen, seen + taken, BEFORE_XDP));
    let seen = |count: fn(&Arriving) -> u64| evidence.arriving.as_ref().map_or(0, count);
    Ledger {
        read: plan.counts.read * plan.rounds,
        selected,
        rewritten: selected,
        sent: evidence.sending.sent,
        arrived,
        captured: captured::account(scenario.topology.runs_already(), evidence),
        accepted: received.accepted,
        delivered: received.delivered,
        consumed: received.consumed,
        foreign: seen(|arriving| arriving.foreign),
        duplicated: seen(|arriving| arriving.duplicated),
        reordered: evidence.senders.is_empty().then(|| seen(|arriving| arriving.reordered)),
        altered: seen(|arriving| arriving.altered.count()),
        losses,
        absorbed: received.absorbed,
        packet_sockets: captured::sockets(evidence),
        layers: evidence.stack.as_ref().map(|stack| stack.layers.clone()),
        disagreements: received.disagreements,
    }
}

/// Whether a packet socket may have given datagrams to the application: then the queues of UDP sockets don't say what it read.
pub fn reads_past_the_sockets(evidence: &Evidence) -> bool {
    let sniffing = &evidence.sniffing;
    sniffing.udp > 0 || sniffing.later > 0 || sniffing.sockets.iter().any(|record| record.filter == FilterKind::Unknown)
}

/// What does not add up in a ledger: each stage's frames are the next stage's and the losses between them. `None` if all of it does.
pub fn contradiction(ledger: &Ledger) -> Option<String> {
    let exact = |count: u64| Some(Amount::exact(count));
    let stages = [
        (Stage::Rewritten, exact(ledger.rewritten)),
        (Stage::Sent, exact(ledger.sent)),
        (Stage::Arrived, ledger.arrived.clone()),
        (Stage::Accepted, ledger.accepted.clone()),
        (Stage::Delivered, ledger.delivered.clone()),
        (Stage::Consumed, ledger.consumed.clone()),
    ];
    let mut before: Option<(Stage, Amount)> = None;
    let mut lost = Amount::exact(0);
    for (stage, count) in stages {
        let losses = ledger.losses.iter().filter(|loss| loss.stage == stage).map(|loss| &loss.frames);
        let absorbed =
            ledger.absorbed.iter().filter(|absorbed| absorbed.stage == stage).map(|absorbed| &absorbed.frames);
        lost = losses.chain(absorbed).fold(lost, |lost, frames| lost.plus(frames));
        let Some(count) = count else { continue };
        if let Some((earlier, before)) = &before
            && (lost.low() > before.high() || !before.minus(&lost).meets(&count))
        {
            return Some(format!("{before} {earlier} less {lost} lost are not {count} {stage}"));
        }
        before = Some((stage, count));
        lost = Amount::exact(0);
    }
    None
}

/// Whether delivered and consumed can be observed: UDP is replayed into sockets of the receiver's namespace.
pub fn observes_sockets(scenario: &Scenario, plan: &Plan) -> bool {
    plan.host.is_some() && !scenario.receiver.has_no_sockets() && !plan.survey.udp_frames.is_empty()
}

/// A loss in the words of the table of causes.
fn loss(cause: Cause, frames: impl Into<Amount>, evidence: Layer) -> Loss {
    let row = cause.row();
    Loss {
        stage: row.stage,
        cause,
        frames: frames.into(),
        evidence,
        numbers: None,
        numbers_assumed: false,
        expected: false,
        why: row.why.to_owned(),
        fix: row.fix.to_owned(),
    }
}

/// What the kernel did not take.
fn unsent(evidence: &Evidence) -> Vec<Loss> {
    let sending = &evidence.sending;
    let unsent = [
        (Cause::Unsendable, &sending.unsendable),
        (Cause::FrameTooLong, &sending.too_long),
        (Cause::InterfaceDown, &sending.interface_down),
        (Cause::QdiscDrop, &sending.dropped),
        (Cause::NotSent, &sending.not_sent),
    ];
    let unsent = unsent.into_iter().filter(|(_, frames)| !frames.is_empty()).map(|(cause, frames)| {
        let mut loss = loss(cause, frames.count(), Layer::Stage);
        if let (Cause::NotSent, Some(limit)) = (cause, evidence.timed_out) {
            loss.why = format!("the run exceeded its timeout of {} before", duration(limit));
        }
        if cause == Cause::NotSent && evidence.lost_connection.is_some() {
            "the connection to the receiver's machine was lost before".clone_into(&mut loss.why);
            "run it again when the connection holds".clone_into(&mut loss.fix);
        }
        if let (Cause::NotSent, Some(step)) = (cause, evidence.failed_step()) {
            loss.why = format!("step {} failed, and nothing is sent after that", step.index + 1);
            "see why the step failed".clone_into(&mut loss.fix);
        }
        Loss { stage: Stage::Sent, numbers: Some(frames.to_string()), ..loss }
    });
    unsent.collect()
}

/// Why it isn't known what arrived.
const BEFORE_XDP: &str = "an XDP program on the receiver's interface takes frames before they can be counted";

/// What was sent, and not seen on the receiver's wire.
fn missing(arriving: &Arriving, evidence: &Evidence) -> Option<Loss> {
    let missing = arriving.missing.count();
    let numbers = Some(arriving.missing.to_string());
    if missing == 0 {
        return None;
    }
    if evidence.xdp {
        return Some(Loss { numbers, ..loss(Cause::Xdp, missing, Layer::Stage) });
    }
    let reasons = evidence.stack.as_ref().and_then(|stack| stack.reasons.as_ref());
    let backlog = reasons.and_then(|reasons| reasons.get(Cause::CpuBacklog.name())).copied().unwrap_or(0);
    let dropped = evidence.counter("tx.dropped");
    let mut loss = if backlog >= missing {
        loss(Cause::CpuBacklog, missing, Layer::Kernel)
    } else if dropped >= missing {
        let frames = count(dropped, "frame");
        let why = format!("the sending interface dropped {frames} (tx.dropped): it, or its peer, was down");
        Loss { why, ..loss(Cause::InterfaceDown, missing, Layer::Stage) }
    } else {
        Loss {
            why: "the kernel took the frames, and they were not seen on the receiver's wire".to_owned(),
            fix: "run it again; if it stays, report it with the capture (no known way on a veth pair loses frames)"
                .to_owned(),
            ..loss(Cause::Unexplained, missing, Layer::Stage)
        }
    };
    if loss.cause == Cause::Unexplained && !arriving.altered.is_empty() {
        let _infallible = write!(
            loss.why,
            "; in place of {} of them ({}) one of the same length with other bytes arrived: altered on the way",
            thousands(arriving.altered.count()),
            numbered("frame", &arriving.altered.to_string())
        );
        "look for what rewrites packets before the receiver's tap: an XDP program, or tc on the sending side"
            .clone_into(&mut loss.fix);
    }
    Some(Loss { stage: Stage::Arrived, numbers, ..loss })
}

#[cfg(test)]
mod tests;
