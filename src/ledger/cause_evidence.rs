//! What each layer of evidence says of each cause: the kernel's drop reasons, counters and taps, the prediction.
//!
//! A claim counts packets, as its source does; what that means in frames is told by the prediction. Start at [`CauseEvidences::of`].

use std::collections::{BTreeMap, BTreeSet};

use super::drops::resolve;
use super::udp::UdpCounts;
use crate::capture::FrameRanges;
use crate::cause::{Cause, CauseName};
use crate::evidence::{DropKind, Evidence};
use crate::outcome::{Amount, Hook, Stage};
use crate::plan::Plan;
use crate::predict::{Carried, Fault, Flaw, Header};
use crate::predict::{Disposition, Prediction};

/// The stage that the packets don't reach, and the cause. Packets are attributed in this order: by stage, and within a stage as a
/// packet meets the causes on its way, which is the order of [`crate::cause::TABLE`].
pub(super) type Key = (Stage, CauseName);

/// What the layers say of one cause.
#[derive(Debug, Default)]
pub(super) struct CauseEvidence {
    /// Packets by the kernel's reasons; `None` where they don't tell.
    pub(super) kernel: Option<u64>,
    /// Packets by counters and taps; `None` where they don't tell.
    pub(super) stage: Option<Amount>,
    /// Frames of which the kernel said it.
    pub(super) dropped: FrameRanges,
    /// Frames of which the taps say it.
    pub(super) tapped: FrameRanges,
    /// Whether which of identical frames these are is an assumption.
    pub(super) assumed: bool,
    /// The kernel's functions that said it.
    pub(super) functions: BTreeSet<String>,
    /// What the taps add to the cause's own words.
    pub(super) detail: Option<String>,
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
pub(super) fn predicted<'a>(plan: &'a Plan, cause: Cause, stage: Stage) -> Predicted<'a> {
    let predictions = || {
        plan.predictions
            .iter()
            .filter(|prediction| prediction.disposition == Disposition::Lost(cause) && prediction.stage == stage)
    };
    Predicted {
        frames: FrameRanges::union(predictions().map(|prediction| &prediction.frames)),
        packets: predictions().map(|prediction| prediction.packets).sum(),
        first: predictions().next(),
        kinds: predictions().count(),
    }
}

/// What kernel, counters and taps say.
#[derive(Debug, Default)]
pub(super) struct CauseEvidences(pub(super) BTreeMap<Key, CauseEvidence>);

impl CauseEvidences {
    /// Everything that was said. `udp`: what the counters say of datagrams, where they go into sockets of the receiver.
    pub(super) fn of(plan: &Plan, evidence: &Evidence, arrived: Option<u64>, udp: Option<&UdpCounts>) -> Self {
        let mut claims = Self::default();
        claims.kernel(plan, evidence, udp.is_some());
        claims.counters(plan, evidence, udp);
        claims.taps(plan, evidence, arrived);
        claims
    }

    fn claim(&mut self, name: CauseName, stage: Stage) -> &mut CauseEvidence {
        self.0.entry((stage, name)).or_default()
    }

    /// The kernel's drop reasons: what the records say, and what is counted beyond them.
    fn kernel(&mut self, plan: &Plan, evidence: &Evidence, sockets: bool) {
        let Some(stack) = &evidence.stack else { return };
        let Some(reasons) = &stack.reasons else { return };
        let drops = &stack.followed.drops;
        for (kind, dropped) in drops {
            let Some((stage, name)) = resolve(plan, kind, sockets) else { continue };
            let claim = self.claim(name, stage);
            *claim.kernel.get_or_insert(0) += dropped.packets;
            claim.dropped.merge(&dropped.frames);
            claim.assumed |= dropped.assumed;
            claim.functions.extend(kind.function.clone());
        }
        for (reason, count) in reasons {
            let told = || drops.iter().filter(|(kind, _)| kind.reason == *reason);
            let rest = count.saturating_sub(told().map(|(_, dropped)| dropped.packets).sum());
            if rest == 0 {
                continue;
            }
            // What is counted beyond the records is as they are, if they all are alike.
            let keys: BTreeSet<Option<Key>> = told().map(|(kind, _)| resolve(plan, kind, sockets)).collect();
            match Vec::from_iter(keys).as_slice() {
                [] => {
                    let kind = DropKind { reason: reason.clone(), ..DropKind::default() };
                    if let Some((stage, name)) = resolve(plan, &kind, sockets) {
                        *self.claim(name, stage).kernel.get_or_insert(0) += rest;
                    }
                }
                [Some((stage, name))] => *self.claim(name.clone(), *stage).kernel.get_or_insert(0) += rest,
                [None] => {}
                several => {
                    several.iter().flatten().for_each(|(stage, name)| self.claim(name.clone(), *stage).kernel = None);
                }
            }
        }
    }

    /// The counters of the receiver's namespace.
    fn counters(&mut self, plan: &Plan, evidence: &Evidence, udp: Option<&UdpCounts>) {
        let listened = evidence.stack.as_ref().is_some_and(|stack| stack.reasons.is_some());
        let datagrams = udp.into_iter().flat_map(|udp| udp.refused.iter());
        let datagrams = datagrams.map(|(cause, count)| (*cause, Stage::Delivered, count.clone()));
        let mut counts: BTreeMap<(Stage, Cause), Amount> = BTreeMap::new();
        for (cause, stage, count) in counted(plan, evidence).into_iter().chain(datagrams) {
            let all = counts.entry((stage, cause)).or_insert_with(|| Amount::exact(0));
            *all = all.plus(&count);
        }
        for ((stage, cause), count) in counts {
            let key = (stage, CauseName::Known(cause));
            let is_told = self.0.contains_key(&key);
            if count.is_zero() && !is_told {
                continue;
            }
            let claim = self.0.entry(key).or_default();
            claim.stage = Some(count);
            if listened && !is_told && cause != Cause::Forwarded {
                claim.kernel = Some(0);
            }
            // The kernel drops copies, and copies of what the receiver sent itself.
            if stage == Stage::Delivered && udp.is_some_and(|udp| udp.in_copies) {
                claim.kernel = None;
            }
        }
    }

    /// What came to the beginning of a hook and not to its end.
    fn taps(&mut self, plan: &Plan, evidence: &Evidence, arrived: Option<u64>) {
        let Some(stack) = &evidence.stack else { return };
        let Some(hooks) = &stack.hooks else { return };
        let at = |hook: Hook| hooks.get(&hook).copied().unwrap_or(0);
        if !hooks.contains_key(&Hook::Ingress) {
            return;
        }
        let filtered = |hook: &str| stack.filters.iter().any(|filter| filter.contains(&format!("(hook {hook}")));
        // Fragments are put together where connections are tracked, which is in the middle of prerouting. IPv6 doesn't count those.
        let reassembled = |four: &str, six: &str| evidence.counter(four) + evidence.counter(six);
        let requests = reassembled("Ip.ReasmReqds", "Ip6ReasmReqds");
        let held =
            requests - reassembled("Ip.ReasmOKs", "Ip6ReasmOKs").min(requests) + uncounted_pieces(plan, evidence);
        let missing = at(Hook::PreroutingFirst).saturating_sub(at(Hook::PreroutingLast));
        // Without connection tracking, fragments are put together behind this hook, and none is missing at its end.
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
        let key = (Cause::NetfilterDrop.row().stage, CauseName::Known(Cause::NetfilterDrop));
        if packets == 0 && !self.0.contains_key(&key) {
            return;
        }
        let claim = self.0.entry(key).or_default();
        claim.stage = Some(Amount::exact(packets));
        if stack.reasons.is_some() {
            claim.kernel.get_or_insert(0);
        }
        let mut words = Vec::new();
        for (packets, hook, place) in places.into_iter().filter(|(packets, ..)| *packets > 0) {
            words.push(format!("{packets} {place}"));
            let last = stack.followed.last.as_ref().filter(|_| hook.is_some());
            if let Some(frames) = last.and_then(|last| last.get(&hook)) {
                claim.tapped.merge(frames);
                claim.assumed |= stack.followed.last_assumed.contains(&hook);
            }
        }
        claim.detail = Some(words.join(", ")).filter(|words| !words.is_empty());
    }

    /// Packets that the kernel drops between the wire and the first of the prerouting chains.
    fn before_prerouting(&self) -> u64 {
        const CAUSES: [Cause; 5] =
            [Cause::Otherhost, Cause::PktTooSmall, Cause::IpInhdr, Cause::IpCsum, Cause::Ipv6disabled];
        let keys = CAUSES.map(|cause| (Stage::Accepted, CauseName::Known(cause)));
        let claims = keys.iter().filter_map(|key| self.0.get(key));
        claims.filter_map(|claim| claim.stage.as_ref().map(Amount::high).max(claim.kernel)).sum()
    }
}

/// IPv6 fragments that connection tracking puts together: their datagrams pass on whole, and no counter tells.
fn uncounted_pieces(plan: &Plan, evidence: &Evidence) -> u64 {
    if evidence.counter("Ip6ReasmReqds") > 0 {
        return 0;
    }
    let fragmented = plan.predictions.iter().filter(|prediction| is_ipv6(prediction));
    fragmented.map(|prediction| prediction.frames.count().saturating_sub(prediction.packets) * plan.rounds).sum()
}

/// Frames that come to no chain for IP: ARP, and what has no handler.
fn not_ip(plan: &Plan) -> u64 {
    let other = |prediction: &&Prediction| {
        let hop_by_hop = matches!(prediction.key.flaw, Flaw::Refused(Fault { header: Header::HopByHop, .. }));
        hop_by_hop || matches!(prediction.key.carried, Carried::Other { .. })
    };
    let ends = [Disposition::Kernel, Disposition::Lost(Cause::UnhandledProto), Disposition::Lost(Cause::Ipv6BadExthdr)];
    let predictions = plan.predictions.iter().filter(other).filter(|prediction| ends.contains(&prediction.disposition));
    predictions.map(|prediction| prediction.frames.count() * plan.rounds).sum()
}

fn is_ipv6(prediction: &Prediction) -> bool {
    matches!(prediction.key.carried, Carried::Ip { destination, .. } if destination.is_ipv6())
}

/// The packets of causes other than its own that move a counter, and what is left of it for its own.
fn shared(plan: &Plan, counter: &str, moved: u64) -> (BTreeMap<(Cause, Stage), u64>, u64) {
    let mut left = moved;
    let mut shares = BTreeMap::new();
    for prediction in &plan.predictions {
        let is_share = match (prediction.disposition, prediction.key.flaw) {
            // IPv6 counts a unicast packet in a group's frame, where that is refused, as an error of the header.
            (Disposition::Lost(Cause::UnicastInL2Multicast), _) => is_ipv6(prediction) && counter == "Ip6InHdrErrors",
            (Disposition::Lost(Cause::UnhandledProto), Flaw::Version) => counter == "Ip6InHdrErrors",
            (Disposition::Lost(cause), Flaw::Refused(fault)) => {
                let rule = fault.rule();
                let own = (Cause::IpInhdr, Stage::Accepted);
                rule.cause == cause && rule.counter == Some(counter) && (cause, prediction.stage) != own
            }
            _ => false,
        };
        if let (true, Disposition::Lost(cause)) = (is_share, prediction.disposition) {
            let packets = (prediction.packets * plan.rounds).min(left);
            left -= packets;
            *shares.entry((cause, prediction.stage)).or_default() += packets;
        }
    }
    (shares, left)
}

/// Causes before a socket that a counter of the receiver's namespace names, with how far it moved. What the receiver sends to itself
/// moves none of them.
fn counted(plan: &Plan, evidence: &Evidence) -> Vec<(Cause, Stage, Amount)> {
    let counter = |name: &str| evidence.counter(name);
    let both = |four: &str, six: &str| counter(four) + counter(six);
    let header_sums = counter("IpExt.InCsumErrors");
    let (six, four) = (counter("Ip6ReasmFails"), counter("Ip.ReasmFails"));
    // A fragment that comes twice counts as a failure, too, and a datagram that is given up as a timeout.
    let (late_six, late_four) = (counter("Ip6ReasmTimeout").min(six), counter("Ip.ReasmTimeout").min(four));
    // Counters that several causes move: what the frames' bytes say of the others is taken out.
    let (shares, headers_six) = shared(plan, "Ip6InHdrErrors", counter("Ip6InHdrErrors"));
    let (routes, addresses_six) = shared(plan, "Ip6InAddrErrors", counter("Ip6InAddrErrors"));
    let share = |cause: Cause, stage: Stage| shares.get(&(cause, stage)).copied().unwrap_or(0);
    let headers = (counter("Ip.InHdrErrors") + headers_six).saturating_sub(header_sums);
    let short_segments = plan
        .predictions
        .iter()
        .filter(|prediction| prediction.key.flaw == Flaw::TcpLength && prediction.stage == Stage::Delivered);
    let short_segments = short_segments.map(|prediction| prediction.packets * plan.rounds).sum::<u64>();
    let short_segments = short_segments.min(counter("Tcp.InErrs").saturating_sub(counter("Tcp.InCsumErrors")));
    let row = |cause: Cause, count| (cause, cause.row().stage, Amount::exact(count));
    // Where a switch decides, no counter moves, and the prediction alone tells.
    let is_switched =
        |prediction: &Prediction| matches!(prediction.key.flaw, Flaw::Refused(fault) if fault.rule().counter.is_none());
    let refused = share(Cause::Ipv6BadExthdr, Stage::Delivered) + routes.values().sum::<u64>();
    let refused = (!plan.predictions.iter().any(is_switched)).then_some(refused);
    let refused = refused.map(|refused| (Cause::Ipv6BadExthdr, Stage::Delivered, Amount::exact(refused)));
    let counts = [
        (Cause::Ipv6BadExthdr, Stage::Accepted, Amount::exact(share(Cause::Ipv6BadExthdr, Stage::Accepted))),
        (Cause::UnhandledProto, Stage::Delivered, Amount::exact(share(Cause::UnhandledProto, Stage::Delivered))),
        row(Cause::Otherhost, counter("if.rx.otherhost")),
        row(
            Cause::PktTooSmall,
            both("IpExt.InTruncatedPkts", "Ip6InTruncatedPkts") + share(Cause::PktTooSmall, Stage::Accepted),
        ),
        (Cause::PktTooSmall, Stage::Delivered, Amount::exact(short_segments)),
        row(Cause::IpCsum, header_sums),
        row(Cause::IpInhdr, headers),
        (Cause::IpInhdr, Stage::Delivered, Amount::exact(share(Cause::IpInhdr, Stage::Delivered))),
        row(Cause::Ipv6disabled, counter("Ip6InDiscards")),
        row(Cause::IpRpfilter, counter("TcpExt.IPReversePathFilter")),
        row(Cause::IpInaddrerrors, counter("Ip.InAddrErrors") + addresses_six),
        row(Cause::IpInnoroutes, both("IpExt.InNoRoutes", "Ip6InNoRoutes")),
        row(Cause::Forwarded, both("Ip.ForwDatagrams", "Ip6OutForwDatagrams")),
        row(Cause::FragReasmTimeout, late_four),
        (Cause::FragReasmTimeout, Stage::Delivered, Amount::exact(late_six)),
        row(Cause::IpNoproto, both("Ip.InUnknownProtos", "Ip6InUnknownProtos")),
        row(Cause::TcpCsum, counter("Tcp.InCsumErrors")),
    ];
    counts.into_iter().chain(refused).collect()
}
