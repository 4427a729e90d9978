//! The stages behind the receiver's wire: what reached each, and one cause for every packet that didn't.
//!
//! Where packets were followed one by one, `tracked` answers. Else this does: of one cause the kernel's word goes first, then counters
//! and taps, then the prediction; where two say different things, both are reported. Start at [`account`].

use super::cause_evidence::{CauseEvidence, CauseEvidences, Predicted, predicted};
use super::comparison::is_foretold;
use super::description::{add_details, all_that_came, by_prediction, name_the_filter, named, unexplained, unread};
use super::udp::{UdpCounts, in_frames};
use super::{loss, observes_sockets, tracked};
use crate::capture::FrameRanges;
use crate::cause::{Cause, CauseName};
use crate::evidence::Evidence;
use crate::outcome::{Amount, Disagreement, Hook, Layer, Loss, Stage};
use crate::packet::layers::protocol;
use crate::plan::Plan;
use crate::predict::Carried;
use crate::predict::{Disposition, Prediction};
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
    if evidence.counters.is_none() {
        return Received::default();
    }
    let udp = observes_sockets(scenario, plan).then(|| UdpCounts::of(scenario, plan, evidence));
    let claims = CauseEvidences::of(plan, evidence, arrived, udp.as_ref());
    let followed = evidence.stack.as_ref().and_then(|stack| stack.followed.ends.as_ref());
    let mut received = match followed {
        Some(ends) => tracked::account(plan, evidence, ends, &claims, udp.is_some()),
        None => counted(plan, evidence, arrived, udp.as_ref(), &claims),
    };
    received.losses.sort_by_key(|loss| (loss.stage, loss.cause == Cause::Kernel));
    received.compare_with_prediction(plan, evidence);
    for loss in &mut received.losses {
        if let Some(cause) = loss.cause.known()
            && loss.fix == cause.row().fix
            && let Some(fix) = plan.remedy_beyond(cause)
        {
            fix.clone_into(&mut loss.fix);
        }
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
    claims: &CauseEvidences,
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
    for ((stage, name), claim) in &claims.0 {
        received.claimed(plan, evidence, name, *stage, claim, &mut open);
    }
    // What is known to be lost was not delivered.
    let lost = received.losses.iter().filter(|loss| loss.stage == Stage::Delivered);
    let lost: u64 = lost.map(|loss| loss.packets.low()).sum();
    for stage in [&mut received.delivered, &mut received.consumed].into_iter().flatten() {
        *stage = stage.at_most(come.high().saturating_sub(lost));
    }
    let cause = Cause::UdpEncap;
    if udp.is_some_and(|udp| udp.encapsulated) && !received.has(cause, Stage::Delivered) {
        let most = open.at(Stage::Delivered).map_or(0, |open| open.high());
        let why = "the kernel does not count what it takes out of an encapsulation socket";
        let packets = open.take(Stage::Delivered, &Amount::between(0, most, why));
        if packets.high() > 0 {
            received.losses.push(loss(cause, packets, Layer::Stage, None));
        }
    }
    received.by_prediction(plan, evidence, &mut open);
    received.held_by_tracking(plan, evidence, &mut open);
    received.rest(plan, evidence, claims, &mut open);
    if let (Some(delivered), Some(consumed)) = (received.delivered.clone(), received.consumed.clone())
        && consumed != delivered
    {
        received.losses.push(unread(evidence, &delivered.minus(&consumed)));
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
        matches!(prediction.key.carried, Carried::Ip { .. }) && !stopped
    };
    let passing = || plan.predictions.iter().filter(passes);
    let whole = |prediction: &Prediction| match prediction.key.carried {
        Carried::Ip { destination, .. } if destination.is_ipv6() && in_pieces => prediction.frames.count(),
        _ => prediction.packets,
    };
    let expected: u64 = passing().map(|prediction| whole(prediction) * plan.rounds).sum();
    let frames: u64 = passing().map(|prediction| prediction.frames.count() * plan.rounds).sum();
    let accepted = if packets.known() == Some(expected) {
        Amount::exact(frames)
    } else if expected == frames {
        packets
    } else {
        let most = passing().map(|prediction| u64::from(prediction.most_frames)).max().unwrap_or(1);
        let why = "fragments are reassembled before the end of the input hook, and it counts packets";
        Amount::between(packets.low(), packets.high().saturating_mul(most).min(frames), why)
    };
    Some(accepted.at_most(arrived))
}

impl Received {
    /// A cause that the kernel, a counter or the taps name.
    fn claimed(
        &mut self,
        plan: &Plan,
        evidence: &Evidence,
        name: &CauseName,
        stage: Stage,
        claim: &CauseEvidence,
        open: &mut Open,
    ) {
        let (packets, layer) = match (claim.kernel, &claim.stage) {
            (Some(kernel), Some(counted)) if counted.meets(&Amount::exact(kernel)) => {
                (Amount::exact(kernel), Layer::Kernel)
            }
            // Of packets without a record only the reason is known, and not of which protocol they were.
            (Some(_), Some(counted)) if records_are_missing(evidence) => (counted.clone(), Layer::Stage),
            (Some(kernel), Some(counted)) => {
                self.disagree(name, kernel, counted);
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
        let foretold = name.known().map(|cause| predicted(plan, cause, stage)).unwrap_or_default();
        let frames = if name.known() == Some(Cause::FragReasmTimeout) {
            incomplete(plan, &packets, &foretold)
        } else {
            to_frames(plan, &packets, stage, &foretold)
        };
        // What others of the namespace's packets came to, the counters hold too.
        let frames = if open.at(stage).is_some() { open.take(stage, &frames) } else { frames };
        if frames.is_zero() {
            return;
        }
        let mut loss = named(plan, name, frames, layer, &foretold);
        for known in [&claim.dropped, &claim.tapped] {
            if loss.frames.is_none() && Some(known.count()) == loss.packets.known() {
                loss.frames = Some(known.to_string());
                loss.frames_assumed = claim.assumed;
            }
        }
        if loss.frames.is_none() {
            loss.frames = loss.packets.known().and_then(|packets| all_that_came(plan, stage, packets));
        }
        loss.stage = stage;
        add_details(&mut loss, claim, plan, evidence);
        self.losses.push(loss);
    }

    /// The kernel and the counters say different things of one cause.
    pub(super) fn disagree(&mut self, name: &CauseName, kernel: u64, counted: &Amount) {
        // A timer's drop belongs to no packet on its way, and once in some hundred times it is not recorded.
        let not_recorded = name.known() == Some(Cause::FragReasmTimeout) && kernel < counted.low();
        if !not_recorded && !counted.meets(&Amount::exact(kernel)) {
            self.disagreements.push(Disagreement {
                cause: name.clone(),
                kernel: Some(kernel),
                stage: Some(if kernel > counted.high() { counted.high() } else { counted.low() }),
                predicted: None,
            });
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
            let packets = open.take(stage, &all);
            if packets.low() > 0 {
                let is_all = packets == all;
                let mut loss = by_prediction(cause, packets, Layer::Predicted, &foretold);
                loss.frames = loss.frames.filter(|_| is_all);
                loss.stage = stage;
                self.losses.push(loss);
            }
        }
        // What the application joins is not known before the run: a group's frames that no socket got were not joined.
        let groups = unjoined(plan, true);
        let cause = Cause::MulticastNotJoined;
        if !self.has(cause, cause.row().stage) {
            let all = Amount::exact(groups.count() * plan.rounds);
            let packets = open.take(cause.row().stage, &all);
            if packets.low() > 0 {
                let frames = (packets == all).then(|| groups.to_string());
                self.losses.push(loss(cause, packets, Layer::Predicted, frames));
            }
        }
    }

    /// IPv6 fragments that connection tracking holds, since a rule dropped others of their datagrams: no counter shows them.
    fn held_by_tracking(&mut self, plan: &Plan, evidence: &Evidence, open: &mut Open) {
        let is_six = |prediction: &&Prediction| matches!(prediction.key.carried, Carried::Ip { destination, .. } if destination.is_ipv6());
        let fragmented = plan.predictions.iter().filter(is_six).any(|prediction| prediction.most_frames > 1);
        let tracked = fragmented && evidence.counter("Ip6ReasmReqds") == 0;
        if !tracked || !self.has(Cause::NetfilterDrop, Stage::Accepted) {
            return;
        }
        let Some(rest) = open.at(Stage::Accepted).cloned() else { return };
        let packets = open.take(Stage::Accepted, &rest);
        if packets.low() > 0 {
            let mut loss = loss(Cause::FragReasmTimeout, packets, Layer::Stage, None);
            loss.stage = Stage::Accepted;
            self.losses.push(loss);
        }
    }

    /// What the receiver's kernel keeps for itself, and what nothing explains.
    fn rest(&mut self, plan: &Plan, evidence: &Evidence, claims: &CauseEvidences, open: &mut Open) {
        let kernels = || plan.predictions.iter().filter(|prediction| is_kernels(prediction));
        let other = FrameRanges::union(
            kernels()
                .filter(|prediction| !matches!(prediction.key.carried, Carried::Ip { .. }))
                .map(|prediction| &prediction.frames),
        );
        let ip = FrameRanges::union(
            kernels()
                .filter(|prediction| matches!(prediction.key.carried, Carried::Ip { .. }))
                .map(|prediction| &prediction.frames),
        );
        for (stage, frames) in
            [(Stage::Accepted, &other), (Stage::Accepted, &unjoined(plan, false)), (Stage::Delivered, &ip)]
        {
            let wanted = Amount::exact(frames.count() * plan.rounds);
            let packets = open.take(stage, &wanted);
            if packets.high() > 0 {
                let known = packets == wanted;
                let frames = Some(frames.to_string()).filter(|_| known);
                let mut loss = loss(Cause::Kernel, packets, Layer::Predicted, frames);
                loss.stage = if open.accepted.is_some() { stage } else { Stage::Delivered };
                self.losses.push(loss);
            }
        }
        for stage in [Stage::Accepted, Stage::Delivered] {
            if stage == Stage::Accepted && open.accepted.is_none() {
                continue;
            }
            let Some(packets) = open.at(stage).cloned() else { continue };
            open.take(stage, &packets);
            if packets.low() == 0 {
                continue;
            }
            let stack = evidence.stack.as_ref();
            let untapped = stack.filter(|stack| !has_hooks(stack) && stack.reasons.is_none());
            let mut loss = if stage == Stage::Accepted && untapped.is_some_and(|stack| !stack.filters.is_empty()) {
                let mut loss = loss(Cause::NetfilterDrop, packets.clone(), Layer::Stage, None);
                loss.why.push_str(": one is loaded, and nothing else explains it");
                name_the_filter(&mut loss, plan, evidence);
                loss.frames = packets.known().and_then(|packets| all_that_came(plan, stage, packets));
                loss
            } else {
                unexplained(plan, evidence, claims, packets)
            };
            loss.stage = stage;
            self.losses.push(loss);
        }
    }

    pub(super) fn has(&self, cause: Cause, stage: Stage) -> bool {
        self.losses.iter().any(|loss| loss.stage == stage && loss.cause == cause)
    }
}

/// Whether each hook has a tap.
fn has_hooks(stack: &crate::evidence::Stack) -> bool {
    stack.hooks.as_ref().is_some_and(|hooks| hooks.contains_key(&Hook::Ingress))
}

/// Datagrams that were given up as frames: those of their fragments that came.
fn incomplete(plan: &Plan, datagrams: &Amount, foretold: &Predicted<'_>) -> Amount {
    if datagrams.known() == Some(foretold.packets * plan.rounds) {
        return Amount::exact(foretold.frames.count() * plan.rounds);
    }
    let most = plan.predictions.iter().map(|prediction| u64::from(prediction.most_frames)).max().unwrap_or(1);
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

/// Whether a counter of the receiver's namespace would have moved: where it did not, the prediction is wrong.
fn has_its_own_counter(cause: Cause) -> bool {
    is_foretold(cause)
        && !matches!(
            cause,
            Cause::UnhandledProto
                | Cause::UnicastInL2Multicast
                | Cause::SourceRoute
                | Cause::IpInvalidSource
                | Cause::IpInvalidDest
                | Cause::IpLocalnet
                | Cause::IpLocalSource
                | Cause::MulticastNotJoined
                | Cause::DupFrag
                | Cause::FragReasmTimeout
                | Cause::Ipv6BadExthdr
        )
}

/// Frames that the kernel itself takes.
fn is_kernels(prediction: &Prediction) -> bool {
    prediction.disposition == Disposition::Kernel
        || prediction.disposition == Disposition::Open && prediction.datagrams == 0
}

/// Packets to groups of which isn't known before the run whether anybody joins them: datagrams, or those of other protocols.
pub(super) fn unjoined(plan: &Plan, datagrams: bool) -> FrameRanges {
    let is_one = |prediction: &&Prediction| {
        let Carried::Ip { destination, protocol, .. } = prediction.key.carried else { return false };
        destination.is_multicast() && (protocol == protocol::UDP) == datagrams
    };
    // What the kernel takes itself (IGMP, MLD) it takes only of groups that this host is in.
    let is_open = |prediction: &&Prediction| {
        prediction.disposition == Disposition::Open || !datagrams && prediction.disposition == Disposition::Kernel
    };
    FrameRanges::union(plan.predictions.iter().filter(is_open).filter(is_one).map(|prediction| &prediction.frames))
}
