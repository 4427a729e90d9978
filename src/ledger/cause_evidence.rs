//! What each layer of evidence says of each cause: the kernel's drop reasons, counters and taps, the prediction.
//!
//! The evidence counts packets, as its source does; the prediction knows what that means in frames. Start at [`CauseEvidences::of`].

use std::collections::BTreeSet;

use super::drops::resolve;
use super::udp::UdpCounts;
use crate::capture::FrameRanges;
use crate::cause::{Cause, Counter, Counters, TABLE};
use crate::evidence::{DropKind, Evidence};
use crate::outcome::{Amount, Hook, Stage};
use crate::plan::Plan;
use crate::predict::{Carried, Disposition, Fault, Flaw, Header, Prediction};

/// The stage that packets did not reach, and the cause.
pub(super) type Key = (Stage, Cause);

/// What the layers say of one cause at one stage.
#[derive(Debug)]
pub(super) struct CauseEvidence {
    pub(super) stage: Stage,
    pub(super) cause: Cause,
    /// Packets by the kernel's reasons; `None` where these don't say.
    pub(super) kernel: Option<u64>,
    /// Packets by counters and taps; `None` where these don't say.
    pub(super) counted: Option<Amount>,
    /// Frames by the kernel's records.
    pub(super) dropped: FrameRanges,
    /// Frames by the taps' records.
    pub(super) tapped: FrameRanges,
    /// Whether which of identical frames these are is an assumption.
    pub(super) assumed: bool,
    /// The kernel's functions that dropped them.
    pub(super) functions: BTreeSet<String>,
    /// What the taps add to the cause's own words.
    pub(super) detail: Option<String>,
}

impl CauseEvidence {
    pub(super) fn none(stage: Stage, cause: Cause) -> Self {
        Self {
            stage,
            cause,
            kernel: None,
            counted: None,
            dropped: FrameRanges::default(),
            tapped: FrameRanges::default(),
            assumed: false,
            functions: BTreeSet::new(),
            detail: None,
        }
    }

    /// The place in the order of attribution: by stage, and within a stage by the priority of the causes.
    pub(super) fn priority(&self) -> (Stage, usize) {
        (self.stage, self.cause.priority())
    }
}

/// What the prediction says of one cause.
#[derive(Debug, Default)]
pub(super) struct Predicted<'a> {
    pub(super) frames: FrameRanges,
    pub(super) packets: u64,
    pub(super) first: Option<&'a Prediction>,
    pub(super) kinds: usize,
}

/// What is predicted of this cause, at this stage.
pub(super) fn predicted(plan: &Plan, cause: Cause, stage: Stage) -> Predicted<'_> {
    let is_it =
        |prediction: &&Prediction| prediction.disposition == Disposition::Lost(cause) && prediction.stage == stage;
    let predictions = || plan.predictions.iter().filter(is_it);
    Predicted {
        frames: FrameRanges::union(predictions().map(|prediction| &prediction.class.frames)),
        packets: predictions().map(|prediction| prediction.class.packets).sum(),
        first: predictions().next(),
        kinds: predictions().count(),
    }
}

/// What kernel, counters and taps say, in the order of attribution.
#[derive(Debug, Default)]
pub(super) struct CauseEvidences(pub(super) Vec<CauseEvidence>);

impl CauseEvidences {
    /// Everything. `udp`: what the counters say of datagrams, where they go into sockets of the receiver.
    pub(super) fn of(plan: &Plan, evidence: &Evidence, arrived: Option<u64>, udp: Option<&UdpCounts>) -> Self {
        let mut all = Self::default();
        all.kernel(plan, evidence, udp.is_some());
        all.counters(plan, evidence, udp);
        all.taps(plan, evidence, arrived);
        all.0.sort_by_key(CauseEvidence::priority);
        all
    }

    pub(super) fn get(&self, stage: Stage, cause: Cause) -> Option<&CauseEvidence> {
        self.0.iter().find(|known| (known.stage, known.cause) == (stage, cause))
    }

    fn entry(&mut self, (stage, cause): Key) -> &mut CauseEvidence {
        let known = self.0.iter().position(|known| (known.stage, known.cause) == (stage, cause));
        let index = known.unwrap_or_else(|| {
            self.0.push(CauseEvidence::none(stage, cause));
            self.0.len() - 1
        });
        &mut self.0[index]
    }

    /// The kernel's drop reasons: what the records say, and what is counted beyond them.
    fn kernel(&mut self, plan: &Plan, evidence: &Evidence, sockets: bool) {
        let Some(stack) = &evidence.stack else { return };
        let Some(reasons) = &stack.reasons else { return };
        let drops = &stack.followed.drops;
        for (kind, dropped) in drops {
            let Some(key) = resolve(plan, kind, sockets) else { continue };
            let entry = self.entry(key);
            *entry.kernel.get_or_insert(0) += dropped.packets;
            entry.dropped.merge(&dropped.frames);
            entry.assumed |= dropped.assumed;
            entry.functions.extend(kind.function.clone());
        }
        for (reason, count) in reasons {
            let recorded = || drops.iter().filter(|(kind, _)| kind.reason == *reason);
            let rest = count.saturating_sub(recorded().map(|(_, dropped)| dropped.packets).sum());
            if rest == 0 {
                continue;
            }
            // What is counted beyond the records is as they are, if they all are alike.
            let mut keys: Vec<Option<Key>> = recorded().map(|(kind, _)| resolve(plan, kind, sockets)).collect();
            if keys.is_empty() {
                let kind = DropKind { reason: reason.clone(), ..DropKind::default() };
                keys.push(resolve(plan, &kind, sockets));
            }
            if keys.iter().all(|key| *key == keys[0]) {
                keys[0].into_iter().for_each(|key| *self.entry(key).kernel.get_or_insert(0) += rest);
            } else {
                keys.into_iter().flatten().for_each(|key| self.entry(key).kernel = None);
            }
        }
    }

    /// The counters of the receiver's namespace.
    fn counters(&mut self, plan: &Plan, evidence: &Evidence, udp: Option<&UdpCounts>) {
        let has_reasons = evidence.stack.as_ref().is_some_and(|stack| stack.reasons.is_some());
        let mut counts = counted(plan, evidence);
        for (cause, count) in udp.into_iter().flat_map(|udp| &udp.refused) {
            add(&mut counts, (Stage::Delivered, *cause), count);
        }
        for ((stage, cause), count) in counts {
            let is_known = self.get(stage, cause).is_some();
            if count.is_zero() && !is_known {
                continue;
            }
            let entry = self.entry((stage, cause));
            entry.counted = Some(count);
            // What is forwarded is no drop.
            if has_reasons && !is_known && cause != Cause::Forwarded {
                entry.kernel = Some(0);
            }
            // The kernel drops copies, and copies of what the receiver sent itself.
            if stage == Stage::Delivered && udp.is_some_and(|udp| udp.in_copies) {
                entry.kernel = None;
            }
        }
    }

    /// What reached the beginning of a hook and not its end.
    fn taps(&mut self, plan: &Plan, evidence: &Evidence, arrived: Option<u64>) {
        let Some(stack) = &evidence.stack else { return };
        let Some(hooks) = &stack.hooks else { return };
        let at = |hook: Hook| hooks.get(&hook).copied().unwrap_or(0);
        if !hooks.contains_key(&Hook::Ingress) {
            return;
        }
        let filtered = |hook: &str| stack.filters.iter().any(|filter| filter.contains(&format!("(hook {hook}")));
        // Fragments are reassembled where connections are tracked, which is in the middle of prerouting. IPv6 doesn't count those.
        let reassembled = |four: &str, six: &str| evidence.counter(four) + evidence.counter(six);
        // Of fragments that others send nothing is missing here.
        let is_fragmented = plan.predictions.iter().any(|found| found.class.most_frames > 1);
        let requests =
            if is_fragmented || evidence.others() == 0 { reassembled("Ip.ReasmReqds", "Ip6ReasmReqds") } else { 0 };
        let held =
            requests - reassembled("Ip.ReasmOKs", "Ip6ReasmOKs").min(requests) + uncounted_pieces(plan, evidence);
        let missing = at(Hook::PreroutingFirst).saturating_sub(at(Hook::PreroutingLast));
        // Without connection tracking, fragments are reassembled behind this hook, and none is missing at its end.
        let prerouting = if missing >= held { missing - held } else { missing };
        let prerouting = if filtered("prerouting") { prerouting } else { 0 };
        let input = at(Hook::InputFirst).saturating_sub(at(Hook::InputLast));
        let seen = arrived.unwrap_or(0).min(at(Hook::Ingress));
        let ingress = seen
            .saturating_sub(at(Hook::PreroutingFirst))
            .saturating_sub(self.before_prerouting())
            .saturating_sub(not_ip(plan));
        // Other things than a rule stop packets there, too: a protocol without a handler, for one.
        let ingress = if filtered("ingress") { ingress } else { 0 };
        let places = [
            (ingress, None, "at the netdev ingress hook"),
            (prerouting, Some(Hook::PreroutingFirst), "in the prerouting hook"),
            (input, Some(Hook::InputFirst), "in the input hook"),
        ];
        let packets: u64 = places.iter().map(|(packets, ..)| packets).sum();
        let (stage, cause) = (Stage::Accepted, Cause::NetfilterDrop);
        if packets == 0 && self.get(stage, cause).is_none() {
            return;
        }
        let entry = self.entry((stage, cause));
        entry.counted = Some(Amount::exact(packets));
        if stack.reasons.is_some() {
            entry.kernel.get_or_insert(0);
        }
        let mut words = Vec::new();
        for (packets, hook, place) in places.into_iter().filter(|(packets, ..)| *packets > 0) {
            words.push(format!("{packets} {place}"));
            let last = stack.followed.last.as_ref().filter(|_| hook.is_some());
            if let Some(frames) = last.and_then(|last| last.get(&hook)) {
                entry.tapped.merge(frames);
                entry.assumed |= stack.followed.last_assumed.contains(&hook);
            }
        }
        entry.detail = Some(words.join(", ")).filter(|words| !words.is_empty());
    }

    /// Packets that the kernel drops between the wire and the first of the prerouting chains.
    fn before_prerouting(&self) -> u64 {
        const CAUSES: [Cause; 5] =
            [Cause::Otherhost, Cause::PktTooSmall, Cause::IpInhdr, Cause::IpCsum, Cause::Ipv6disabled];
        let known = CAUSES.into_iter().filter_map(|cause| self.get(Stage::Accepted, cause));
        known.filter_map(|known| known.counted.as_ref().map(Amount::high).max(known.kernel)).sum()
    }
}

/// IPv6 fragments that connection tracking reassembles: their datagrams pass on whole, and no counter shows it.
fn uncounted_pieces(plan: &Plan, evidence: &Evidence) -> u64 {
    if evidence.counter("Ip6ReasmReqds") > 0 {
        return 0;
    }
    let fragmented = plan.predictions.iter().filter(|prediction| prediction.class.key.is_ipv6());
    fragmented
        .map(|prediction| prediction.class.frames.count().saturating_sub(prediction.class.packets) * plan.rounds)
        .sum()
}

/// Frames that reach no chain for IP: ARP, and what has no handler.
fn not_ip(plan: &Plan) -> u64 {
    let other = |prediction: &&Prediction| {
        let hop_by_hop = matches!(prediction.class.key.flaw, Flaw::Refused(Fault { header: Header::HopByHop, .. }));
        let ends_there = matches!(
            prediction.disposition,
            Disposition::Kernel | Disposition::Lost(Cause::UnhandledProto | Cause::Ipv6BadExthdr)
        );
        ends_there && (hop_by_hop || matches!(prediction.class.key.carried, Carried::Other { .. }))
    };
    plan.predictions.iter().filter(other).map(|prediction| prediction.class.frames.count() * plan.rounds).sum()
}

/// The cause that a prediction's packets have, where they move this counter, though it is not theirs alone.
fn shares(prediction: &Prediction, counter: &str) -> Option<Cause> {
    let Disposition::Lost(cause) = prediction.disposition else { return None };
    let moves = match (cause, prediction.class.key.flaw) {
        // IPv6 counts a unicast packet in a group's frame, where that is refused, as an error of the header.
        (Cause::UnicastInL2Multicast, _) => prediction.class.key.is_ipv6() && counter == "Ip6InHdrErrors",
        (Cause::UnhandledProto, Flaw::Version) => counter == "Ip6InHdrErrors",
        (Cause::PktTooSmall, Flaw::TcpLength) => counter == "Tcp.InErrs" && prediction.stage == Stage::Delivered,
        (_, Flaw::Refused(fault)) => {
            let is_its_own = (cause, prediction.stage) == (Cause::IpInhdr, Stage::Accepted);
            fault.rule().cause == cause && fault.rule().counter == Some(counter) && !is_its_own
        }
        _ => false,
    };
    moves.then_some(cause)
}

/// How far a counter of the table moved for its row: of a counter that several causes move, what is predicted of the others is theirs.
fn moved(plan: &Plan, evidence: &Evidence, counter: &Counter, key: Key) -> u64 {
    let counted = evidence.counter(counter.name);
    let counted = counter.most.map_or(counted, |most| counted.min(evidence.counter(most)));
    let mut left = counter.less.map_or(counted, |less| counted.saturating_sub(evidence.counter(less)));
    let mut own = 0;
    for prediction in &plan.predictions {
        if let Some(cause) = shares(prediction, counter.name) {
            let packets = (prediction.class.packets * plan.rounds).min(left);
            left -= packets;
            own += if (prediction.stage, cause) == key { packets } else { 0 };
        }
    }
    if counter.is_share { own } else { left }
}

/// The causes before a socket that a counter of the receiver's namespace names, with how far it moved. What the receiver sends to itself
/// moves none of them.
fn counted(plan: &Plan, evidence: &Evidence) -> Vec<(Key, Amount)> {
    // Where a switch of the receiver refuses a header, no counter moves, and the prediction alone shows it.
    let uncounted = |(stage, cause): Key| {
        let is_it = |prediction: &Prediction| matches!(prediction.class.key.flaw, Flaw::Refused(fault) if fault.rule().counter.is_none());
        (stage, cause) == (Stage::Delivered, Cause::Ipv6BadExthdr) && plan.predictions.iter().any(is_it)
    };
    let mut counts = Vec::new();
    for row in TABLE {
        let Counters::Namespace(counters) = row.counters else { continue };
        for counter in counters {
            let key = (counter.stage.unwrap_or(row.stage), row.cause);
            if !uncounted(key) {
                add(&mut counts, key, &evidence.shared(moved(plan, evidence, counter, key)));
            }
        }
    }
    counts
}

fn add(counts: &mut Vec<(Key, Amount)>, key: Key, count: &Amount) {
    match counts.iter_mut().find(|(known, _)| *known == key) {
        Some((_, all)) => *all = all.plus(count),
        None => counts.push((key, count.clone())),
    }
}
