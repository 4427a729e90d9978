//! The stages behind the receiver's wire: what reached each, and one cause for every packet that didn't.
//!
//! Where packets were followed one by one, `tracked` answers. Else this does: of one cause the kernel's word goes first, then counters
//! and taps, then the prediction; where two say different things, both are reported. Which of two causes gets a packet is decided by
//! [`Cause::priority`]. Start at [`account`].

use super::cause_evidence::{CauseEvidence, CauseEvidences, Predicted, predicted};
use super::description::{add_details, all_that_came, by_prediction, name_the_filter, named, unexplained, unread};
use super::udp::{UdpCounts, in_frames};
use super::{loss, observes_sockets, tracked};
use crate::capture::FrameRanges;
use crate::cause::{Cause, Counters};
use crate::evidence::{Evidence, Stack};
use crate::outcome::{Absorbed, Amount, Disagreement, Hook, Layer, Loss, Stage};
use crate::packet::layers::protocol;
use crate::plan::Plan;
use crate::predict::{Carried, Disposition, Prediction, remedy};
use crate::scenario::Scenario;

/// What to do about an unexplained loss where the kernel was asked.
const REPORT_IT: &str = "report it with the capture and the report of the run (`--report-json`)";

/// What reached the stages past the wire.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) accepted: Option<Amount>,
    pub(super) delivered: Option<Amount>,
    pub(super) consumed: Option<Amount>,
    pub(super) losses: Vec<Loss>,
    pub(super) absorbed: Vec<Absorbed>,
    pub(super) disagreements: Vec<Disagreement>,
}

/// Packets between two stages that have no cause yet.
struct Open {
    /// Between arrived and accepted; `None` where accepted can't be seen: then all are between arrived and delivered.
    accepted: Option<Amount>,
    /// Between accepted (or arrived) and delivered; `None` where delivered can't be seen.
    delivered: Option<Amount>,
}

impl Open {
    /// The packets that a loss at this stage is taken from.
    fn at(&mut self, stage: Stage) -> Option<&mut Amount> {
        match (stage, &mut self.accepted) {
            (Stage::Accepted, Some(open)) => Some(open),
            _ => self.delivered.as_mut(),
        }
    }

    /// Takes at most `wanted`.
    fn take(&mut self, stage: Stage, wanted: &Amount) -> Amount {
        let Some(open) = self.at(stage) else { return Amount::exact(0) };
        let taken = wanted.at_most(open.high());
        *open = open.minus(&taken);
        taken
    }
}

/// Accounts for everything that arrived.
pub(super) fn account(scenario: &Scenario, plan: &Plan, evidence: &Evidence, arrived: Option<u64>) -> Received {
    // Counters of another machine hold what others sent to it, and only frames that were seen can be told from those.
    let is_followed = evidence.stack.as_ref().is_some_and(|stack| stack.followed.ends.is_some());
    let is_unknown = scenario.topology.agent().is_some() && (arrived.is_none() || !is_followed);
    if evidence.counters.is_none() || is_unknown {
        return Received::default();
    }
    let udp = observes_sockets(scenario, plan).then(|| UdpCounts::of(scenario, plan, evidence));
    let causes = CauseEvidences::of(plan, evidence, arrived, udp.as_ref());
    let followed = evidence.stack.as_ref().and_then(|stack| stack.followed.ends.as_ref());
    let mut received = match followed {
        Some(ends) => tracked::account(plan, evidence, ends, &causes, udp.is_some()),
        None => counted(plan, evidence, arrived, udp.as_ref(), &causes),
    };
    received.losses.sort_by_key(|loss| loss.stage);
    received.compare_with_prediction(plan, evidence);
    for loss in &mut received.losses {
        if loss.fix == loss.cause.row().fix
            && let Some(fix) = plan.remedy_beyond(loss.cause)
        {
            fix.clone_into(&mut loss.fix);
        }
    }
    if let Some(host) = plan.host.as_ref().filter(|host| host.real) {
        // What is mended on the receiver's side is no word of the lab there.
        let in_the_lab =
            |loss: &&mut Loss| loss.fix.starts_with(loss.cause.row().fix) && loss.cause != Cause::Unexplained;
        received.losses.iter_mut().filter(in_the_lab).for_each(|loss| loss.fix = remedy(loss.cause, host));
    }
    if evidence.stack.as_ref().is_some_and(|stack| stack.layers.kernel) {
        // It was run as root already.
        let asks_root = |loss: &&mut Loss| loss.fix == Cause::Unexplained.row().fix;
        received.losses.iter_mut().filter(asks_root).for_each(|loss| REPORT_IT.clone_into(&mut loss.fix));
    }
    received
}

/// The same from counters, taps, and the prediction.
fn counted(
    plan: &Plan,
    evidence: &Evidence,
    arrived: Option<u64>,
    udp: Option<&UdpCounts>,
    causes: &CauseEvidences,
) -> Received {
    let mut accepted = arrived.and_then(|arrived| past_the_filter(plan, evidence, arrived));
    if let (Some(accepted), Some(udp)) = (&mut accepted, udp) {
        // What was delivered was accepted.
        *accepted = accepted.at_least(in_frames(plan, &udp.delivered).low());
    }
    let most = accepted.as_ref().map(Amount::high).or(arrived).unwrap_or(0);
    let (delivered, consumed) = match (udp, arrived) {
        (Some(udp), Some(_)) => {
            let delivered = in_frames(plan, &udp.delivered).at_most(most);
            let read_all = udp.consumed == udp.delivered;
            let consumed =
                if read_all { delivered.clone() } else { in_frames(plan, &udp.consumed).at_most(delivered.high()) };
            (Some(delivered), Some(consumed))
        }
        _ => (None, None),
    };
    let come = accepted.clone().or(arrived.map(Amount::exact)).unwrap_or(Amount::exact(0));
    let mut open = Open {
        accepted: accepted.as_ref().map(|accepted| Amount::exact(arrived.unwrap_or(0)).minus(accepted)),
        delivered: delivered.as_ref().map(|delivered| come.minus(delivered)),
    };
    let mut received = Received { accepted, delivered, consumed, ..Received::default() };
    for known in &causes.0 {
        received.attribute(plan, evidence, known, &mut open);
    }
    // What is known to be lost was not delivered.
    let lost = received.losses.iter().filter(|loss| loss.stage == Stage::Delivered);
    let lost: u64 = lost.map(|loss| loss.frames.low()).sum();
    for stage in [&mut received.delivered, &mut received.consumed].into_iter().flatten() {
        *stage = stage.at_most(come.high().saturating_sub(lost));
    }
    let cause = Cause::UdpEncap;
    if udp.is_some_and(|udp| udp.encapsulated) && !received.has(cause, Stage::Delivered) {
        let most = open.at(Stage::Delivered).map_or(0, |open| open.high());
        let why = "the kernel does not count what it takes out of an encapsulation socket";
        let packets = open.take(Stage::Delivered, &Amount::between(0, most, why));
        if packets.high() > 0 {
            received.losses.push(loss(cause, packets, Layer::Stage));
        }
    }
    received.by_prediction(plan, evidence, &mut open);
    received.held_by_tracking(plan, evidence, &mut open);
    received.rest(plan, evidence, causes, &mut open);
    if let (Some(delivered), Some(consumed)) = (received.delivered.clone(), received.consumed.clone())
        && consumed != delivered
    {
        received.losses.push(unread(evidence, delivered.minus(&consumed)));
    }
    received
}

/// Accepted, in frames: what reached the end of the input hook, or else what IP gave to the protocols above it, which is the same (RFC
/// 4293). IPv4 datagrams are whole there; IPv6 ones pass the hook in fragments, unless connection tracking reassembles them.
fn past_the_filter(plan: &Plan, evidence: &Evidence, arrived: u64) -> Option<Amount> {
    let counter = |name: &str| evidence.counter(name);
    let hooks = evidence.stack.as_ref()?.hooks.as_ref();
    let at_input = hooks.and_then(|hooks| hooks.get(&Hook::InputLast).copied());
    let packets = at_input.map_or_else(
        || {
            let taken = counter("Ip.InDelivers") + counter("Ip.InUnknownProtos");
            let taken = taken + counter("Ip6InDelivers") + counter("Ip6InUnknownProtos");
            let own = counter("lo.rx.packets") + counter("IpExt.OutMcastPkts") + counter("Ip6OutMcastPkts");
            let why = "without nftables chains, what the application sent to itself is counted as well";
            Amount::between(taken.saturating_sub(own), taken, why)
        },
        Amount::exact,
    );
    let in_pieces = at_input.is_some() && counter("Ip6ReasmReqds") > 0;
    let passes = |prediction: &&Prediction| {
        let stopped = matches!(prediction.disposition, Disposition::Lost(_)) && prediction.stage <= Stage::Accepted;
        matches!(prediction.class.key.carried, Carried::Ip { .. }) && !stopped
    };
    let passing = || plan.predictions.iter().filter(passes);
    let whole = |prediction: &Prediction| match prediction.class.key.carried {
        Carried::Ip { destination, .. } if destination.is_ipv6() && in_pieces => prediction.class.frames.count(),
        _ => prediction.class.packets,
    };
    let expected: u64 = passing().map(|prediction| whole(prediction) * plan.rounds).sum();
    let frames: u64 = passing().map(|prediction| prediction.class.frames.count() * plan.rounds).sum();
    let accepted = if packets.known() == Some(expected) {
        Amount::exact(frames)
    } else if expected == frames {
        packets
    } else {
        let most = passing().map(|prediction| u64::from(prediction.class.most_frames)).max().unwrap_or(1);
        let why = "fragments are reassembled before the end of the input hook, and it counts packets";
        Amount::between(packets.low(), packets.high().saturating_mul(most).min(frames), why)
    };
    Some(accepted.at_most(arrived))
}

impl Received {
    /// Takes what the kernel, a counter or the taps say of a cause out of the packets that have none yet.
    fn attribute(&mut self, plan: &Plan, evidence: &Evidence, known: &CauseEvidence, open: &mut Open) {
        let (stage, cause) = (known.stage, known.cause);
        let (packets, layer) = match (known.kernel, &known.counted) {
            (Some(kernel), Some(counted)) if counted.meets(&Amount::exact(kernel)) => {
                (Amount::exact(kernel), Layer::Kernel)
            }
            // Of packets without a record only the reason is known, and not of which protocol they were.
            (Some(_), Some(counted)) if records_are_missing(evidence) => (counted.clone(), Layer::Stage),
            (Some(kernel), Some(counted)) => {
                self.disagree(cause, kernel, counted);
                // What one of them missed, the other saw.
                if kernel > counted.high() {
                    (Amount::exact(kernel), Layer::Kernel)
                } else {
                    (counted.clone(), Layer::Stage)
                }
            }
            (Some(kernel), None) => (Amount::exact(kernel), Layer::Kernel),
            (None, Some(counted)) => (counted.clone(), Layer::Stage),
            (None, None) => return,
        };
        let foretold = predicted(plan, cause, stage);
        let frames = if cause == Cause::FragReasmTimeout {
            incomplete(plan, &packets, &foretold)
        } else {
            to_frames(plan, &packets, stage, &foretold)
        };
        // The counters hold other packets of the namespace, too.
        let frames = if open.at(stage).is_some() { open.take(stage, &frames) } else { frames };
        if frames.is_zero() {
            return;
        }
        let mut loss = Loss { stage, ..named(plan, cause, frames, layer, &foretold) };
        for recorded in [&known.dropped, &known.tapped] {
            if loss.numbers.is_none() && Some(recorded.count()) == loss.frames.known() {
                loss.numbers = Some(recorded.to_string());
                loss.numbers_assumed = known.assumed;
            }
        }
        if loss.numbers.is_none() {
            loss.numbers = loss.frames.known().and_then(|frames| all_that_came(plan, stage, frames));
        }
        add_details(&mut loss, known, plan, evidence);
        self.losses.push(loss);
    }

    /// The kernel and the counters say different things of one cause.
    pub(super) fn disagree(&mut self, cause: Cause, kernel: u64, counted: &Amount) {
        // A timer's drop belongs to no packet on its way, and once in some hundred times it is not recorded.
        let not_recorded = cause == Cause::FragReasmTimeout && kernel < counted.low();
        if !not_recorded && !counted.meets(&Amount::exact(kernel)) {
            let stage = Some(if kernel > counted.high() { counted.high() } else { counted.low() });
            self.disagreements.push(Disagreement { cause, kernel: Some(kernel), stage, predicted: None });
        }
    }

    /// What no counter and no drop reason shows: martians, source routes, groups that no socket joined. The frame shows it.
    fn by_prediction(&mut self, plan: &Plan, evidence: &Evidence, open: &mut Open) {
        let mut seen: Vec<(Cause, Stage)> = Vec::new();
        for prediction in &plan.predictions {
            let (Disposition::Lost(cause), stage) = (prediction.disposition, prediction.stage) else { continue };
            let is_fragment = matches!(cause, Cause::FragReasmTimeout | Cause::DupFrag);
            if seen.contains(&(cause, stage)) || self.has(cause, stage) || has_its_own_counter(cause) {
                continue;
            }
            seen.push((cause, stage));
            let foretold = predicted(plan, cause, stage);
            // Where IPv6 reassembled nothing, connection tracking did, which is before the input hook.
            let stage = if is_fragment && evidence.counter("Ip6ReasmReqds") == 0 { Stage::Accepted } else { stage };
            let all = Amount::exact(foretold.frames.count() * plan.rounds);
            let frames = open.take(stage, &all);
            if frames.low() > 0 {
                let is_all = frames == all;
                let loss = by_prediction(cause, frames, Layer::Predicted, &foretold);
                let numbers = loss.numbers.clone().filter(|_| is_all);
                self.losses.push(Loss { stage, numbers, ..loss });
            }
        }
        // What the application joins is not known before the run: a group's frames that no socket got were not joined.
        let groups = unjoined(plan, true);
        let (stage, cause) = (Stage::Accepted, Cause::MulticastNotJoined);
        if !self.has(cause, stage) {
            let all = Amount::exact(groups.count() * plan.rounds);
            let frames = open.take(stage, &all);
            if frames.low() > 0 {
                let numbers = (frames == all).then(|| groups.to_string());
                self.losses.push(Loss { numbers, ..loss(cause, frames, Layer::Predicted) });
            }
        }
    }

    /// IPv6 fragments that connection tracking holds, since a rule dropped others of their datagrams: no counter shows them.
    fn held_by_tracking(&mut self, plan: &Plan, evidence: &Evidence, open: &mut Open) {
        let is_fragmented =
            |prediction: &Prediction| prediction.class.key.is_ipv6() && prediction.class.most_frames > 1;
        let is_tracked = evidence.counter("Ip6ReasmReqds") == 0 && plan.predictions.iter().any(is_fragmented);
        let stage = Stage::Accepted;
        if let (true, true, Some(rest)) = (is_tracked, self.has(Cause::NetfilterDrop, stage), open.at(stage).cloned()) {
            let frames = open.take(stage, &rest);
            if frames.low() > 0 {
                self.losses.push(Loss { stage, ..loss(Cause::FragReasmTimeout, frames, Layer::Stage) });
            }
        }
    }

    /// What the receiver's kernel absorbs, and what nothing explains.
    fn rest(&mut self, plan: &Plan, evidence: &Evidence, causes: &CauseEvidences, open: &mut Open) {
        let absorbs = |is_ip: bool| {
            let is_it = |prediction: &&Prediction| {
                is_absorbed(prediction) && matches!(prediction.class.key.carried, Carried::Ip { .. }) == is_ip
            };
            FrameRanges::union(plan.predictions.iter().filter(is_it).map(|prediction| &prediction.class.frames))
        };
        for (stage, numbers) in [
            (Stage::Accepted, absorbs(false)),
            (Stage::Accepted, unjoined(plan, false)),
            (Stage::Delivered, absorbs(true)),
        ] {
            let wanted = Amount::exact(numbers.count() * plan.rounds);
            let frames = open.take(stage, &wanted);
            if frames.high() > 0 {
                let numbers = (frames == wanted).then(|| numbers.to_string());
                let stage = if open.accepted.is_some() { stage } else { Stage::Delivered };
                self.absorbed.push(Absorbed { stage, frames, evidence: Layer::Predicted, numbers });
            }
        }
        for stage in [Stage::Accepted, Stage::Delivered] {
            if stage == Stage::Accepted && open.accepted.is_none() {
                continue;
            }
            let Some(frames) = open.at(stage).cloned() else { continue };
            open.take(stage, &frames);
            if frames.low() == 0 {
                continue;
            }
            let untapped = |stack: &Stack| {
                !stack.filters.is_empty()
                    && stack.reasons.is_none()
                    && !stack.hooks.as_ref().is_some_and(|hooks| hooks.contains_key(&Hook::Ingress))
            };
            let loss = if stage == Stage::Accepted && evidence.stack.as_ref().is_some_and(untapped) {
                let mut loss = loss(Cause::NetfilterDrop, frames, Layer::Stage);
                loss.why.push_str(": one is loaded, and nothing else explains it");
                name_the_filter(&mut loss, plan, evidence);
                loss.numbers = loss.frames.known().and_then(|frames| all_that_came(plan, stage, frames));
                loss
            } else {
                unexplained(plan, evidence, causes, frames)
            };
            self.losses.push(Loss { stage, ..loss });
        }
    }

    pub(super) fn has(&self, cause: Cause, stage: Stage) -> bool {
        self.losses.iter().any(|loss| loss.stage == stage && loss.cause == cause)
    }
}

/// Datagrams that were given up as frames: those of their fragments that came.
fn incomplete(plan: &Plan, datagrams: &Amount, foretold: &Predicted<'_>) -> Amount {
    if datagrams.known() == Some(foretold.packets * plan.rounds) {
        return Amount::exact(foretold.frames.count() * plan.rounds);
    }
    let most = plan.predictions.iter().map(|prediction| u64::from(prediction.class.most_frames)).max().unwrap_or(1);
    let why = "the kernel counts datagrams that it gave up, and not their fragments";
    Amount::between(datagrams.low(), datagrams.high() * most.saturating_sub(1).max(1), why)
}

/// Packets as frames: the prediction knows how many fragments they came in.
fn to_frames(plan: &Plan, packets: &Amount, stage: Stage, foretold: &Predicted<'_>) -> Amount {
    if packets.known() == Some(foretold.packets * plan.rounds) {
        return Amount::exact(foretold.frames.count() * plan.rounds);
    }
    if stage == Stage::Delivered { in_frames(plan, packets) } else { packets.clone() }
}

fn records_are_missing(evidence: &Evidence) -> bool {
    evidence.stack.as_ref().is_some_and(|stack| stack.layers.kernel_lost > 0)
}

/// Whether a counter of the receiver's namespace would have moved: where it did not, the prediction is wrong. Where connections are tracked,
/// none counts the fragments that are given up.
fn has_its_own_counter(cause: Cause) -> bool {
    let row = cause.row();
    let counts = match row.counters {
        Counters::Namespace(counters) => counters.iter().any(|counter| !counter.is_share),
        Counters::Sockets(_) => true,
    };
    row.is_predicted && counts && cause != Cause::FragReasmTimeout
}

/// Whether the receiver's kernel answers or absorbs the frames itself.
fn is_absorbed(prediction: &Prediction) -> bool {
    prediction.disposition == Disposition::Kernel
        || prediction.disposition == Disposition::Open && prediction.class.datagrams == 0
}

/// Packets to groups of which isn't known before the run whether anybody joins them: datagrams, or those of other protocols.
pub(super) fn unjoined(plan: &Plan, datagrams: bool) -> FrameRanges {
    let is_one = |prediction: &&Prediction| {
        let Carried::Ip { destination, protocol, .. } = prediction.class.key.carried else { return false };
        destination.is_multicast() && (protocol == protocol::UDP) == datagrams
    };
    // What the kernel takes itself (IGMP, MLD) it takes only of groups that this host is in.
    let is_open = |prediction: &&Prediction| {
        prediction.disposition == Disposition::Open || !datagrams && prediction.disposition == Disposition::Kernel
    };
    FrameRanges::union(
        plan.predictions.iter().filter(is_open).filter(is_one).map(|prediction| &prediction.class.frames),
    )
}
