//! The stages behind the receiver's wire: what came to each, and one cause for every packet that didn't.
//!
//! Of one cause the kernel's word goes first, then counters and taps, then the prediction; where two say different things, both are
//! told. Start at [`account`].

use std::fmt::Write as _;

use super::claims::{Claim, Claims, Predicted, predicted};
use super::passed::{past_the_filter, through_sockets};
use super::{loss, observes_sockets};
use crate::cause::Cause;
use crate::evidence::Evidence;
use crate::outcome::{Disagreement, Layer, Loss, Stage};
use crate::plan::fate::{End, Fate, Hears, hears, why_no_socket};
use crate::plan::survey::Carried;
use crate::plan::{FrameRanges, Plan};
use crate::scenario::Scenario;

/// What came to the stages past the wire.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) accepted: Option<u64>,
    pub(super) delivered: Option<u64>,
    pub(super) consumed: Option<u64>,
    pub(super) losses: Vec<Loss>,
    pub(super) disagreements: Vec<Disagreement>,
}

/// Packets between two stages that have no cause yet.
struct Open {
    /// Between arrived and accepted; `None` where accepted can't be seen: then all are between arrived and delivered.
    accepted: Option<u64>,
    /// Between accepted (or arrived) and delivered; `None` where delivered can't be seen.
    delivered: Option<u64>,
}

impl Open {
    /// The packets that a loss at this stage is taken from.
    fn at(&mut self, stage: Stage) -> Option<&mut u64> {
        match (stage, &mut self.accepted) {
            (Stage::Accepted, Some(open)) => Some(open),
            _ => self.delivered.as_mut(),
        }
    }

    /// Takes at most `wanted`.
    fn take(&mut self, stage: Stage, wanted: u64) -> u64 {
        let Some(open) = self.at(stage) else { return 0 };
        let taken = wanted.min(*open);
        *open -= taken;
        taken
    }
}

/// Accounts for everything that arrived.
pub(super) fn account(scenario: &Scenario, plan: &Plan, evidence: &Evidence, arrived: Option<u64>) -> Received {
    if evidence.counters.is_none() {
        return Received::default();
    }
    let sockets = observes_sockets(scenario, plan);
    let claims = Claims::of(plan, evidence, arrived, sockets);
    let (delivered, consumed) = match arrived.filter(|_| sockets) {
        Some(arrived) => through_sockets(plan, evidence, arrived),
        None => (None, None),
    };
    let accepted = arrived.and_then(|arrived| past_the_filter(plan, evidence, arrived, delivered));
    let mut open = Open {
        accepted: accepted.map(|accepted| arrived.unwrap_or(0).saturating_sub(accepted)),
        delivered: delivered.map(|delivered| accepted.or(arrived).unwrap_or(0).saturating_sub(delivered)),
    };
    let mut received = Received { accepted, delivered, consumed, ..Received::default() };
    for ((name, stage), claim) in &claims.0 {
        received.claimed(plan, evidence, name, *stage, claim, &mut open);
    }
    received.by_prediction(plan, &mut open);
    received.rest(plan, evidence, &claims, &mut open);
    if let (Some(delivered), Some(consumed)) = (delivered, consumed)
        && consumed < delivered
    {
        received.losses.push(unread(evidence, delivered - consumed));
    }
    received.losses.sort_by_key(|loss| (loss.stage, loss.cause == Cause::Kernel.name()));
    received.compare_with_prediction(plan, evidence);
    received
}

impl Received {
    /// A cause that the kernel, a counter or the taps name.
    fn claimed(&mut self, plan: &Plan, evidence: &Evidence, name: &str, stage: Stage, claim: &Claim, open: &mut Open) {
        let (packets, layer) = match (claim.kernel, claim.stage) {
            // Of packets without a record only the reason is known, and not of which protocol they were.
            (Some(kernel), Some(counted)) if kernel != counted && records_are_missing(evidence) => {
                (counted, Layer::Stage)
            }
            (Some(kernel), Some(counted)) if kernel != counted => {
                // A timer's drop belongs to no packet on its way, and once in some hundred times it is not heard.
                let not_heard = name == Cause::FragReasmTimeout.name() && kernel < counted;
                if !not_heard {
                    self.disagreements.push(Disagreement {
                        cause: name.to_owned(),
                        kernel: Some(kernel),
                        stage: Some(counted),
                        predicted: None,
                    });
                }
                // What one of them missed, the other saw.
                if kernel > counted { (kernel, Layer::Kernel) } else { (counted, Layer::Stage) }
            }
            (Some(kernel), _) => (kernel, Layer::Kernel),
            (None, counted) => (counted.unwrap_or(0), Layer::Stage),
        };
        if packets == 0 {
            return;
        }
        let cause = Cause::by_name(name);
        let foretold = cause.map(|cause| predicted(plan, cause, stage)).unwrap_or_default();
        // What others of the namespace's packets came to, the counters hold too.
        let frames = in_frames(plan, packets, &foretold).min(open.at(stage).map_or(u64::MAX, |open| *open));
        if frames == 0 {
            return;
        }
        let mut loss = match (cause, foretold.first) {
            (Some(cause), Some(_)) if foretold.frames.count() * plan.rounds == frames => {
                by_prediction(cause, frames, layer, &foretold)
            }
            (Some(cause), _) => loss(cause, frames, layer, None),
            (None, _) => of_another_kernel(name, frames),
        };
        for known in [&claim.dropped, &claim.tapped] {
            if loss.frames.is_none() && known.count() == frames {
                loss.frames = Some(known.to_string());
            }
        }
        if loss.frames.is_none() {
            loss.frames = all_that_came(plan, stage, frames);
        }
        loss.stage = stage;
        add_details(&mut loss, claim, plan, evidence);
        open.take(stage, frames);
        self.losses.push(loss);
    }

    /// What no counter shows and no kernel told: martians, source routes, groups that nobody joined. The frame says it.
    fn by_prediction(&mut self, plan: &Plan, open: &mut Open) {
        let mut seen: Vec<(Cause, Stage)> = Vec::new();
        for fate in &plan.fates {
            let (End::Lost(cause), stage) = (fate.end, fate.stage) else { continue };
            if seen.contains(&(cause, stage)) || self.has(cause, stage) || has_its_own_counter(cause) {
                continue;
            }
            seen.push((cause, stage));
            let foretold = predicted(plan, cause, stage);
            let packets = open.take(stage, foretold.frames.count() * plan.rounds);
            if packets > 0 {
                let mut loss = by_prediction(cause, packets, Layer::Predicted, &foretold);
                loss.stage = stage;
                self.losses.push(loss);
            }
        }
        // What the application joins is not known before the run: a group's frames that nobody got were not joined.
        let groups = unjoined(plan);
        let cause = Cause::MulticastNotJoined;
        if !self.has(cause, cause.row().stage) {
            let packets = open.take(cause.row().stage, groups.count() * plan.rounds);
            if packets > 0 {
                self.losses.push(loss(cause, packets, Layer::Predicted, Some(groups.to_string())));
            }
        }
    }

    /// What the receiver's kernel keeps for itself, and what nothing explains.
    fn rest(&mut self, plan: &Plan, evidence: &Evidence, claims: &Claims, open: &mut Open) {
        for (stage, is_ip) in [(Stage::Accepted, false), (Stage::Delivered, true)] {
            let kernels = plan.fates.iter().filter(|fate| is_kernels(fate));
            let kernels = kernels.filter(|fate| matches!(fate.key.carried, Carried::Ip { .. }) == is_ip);
            let frames = FrameRanges::union(kernels.map(|fate| &fate.frames));
            let packets = open.take(stage, frames.count() * plan.rounds);
            if packets > 0 {
                let mut loss = loss(Cause::Kernel, packets, Layer::Predicted, Some(frames.to_string()));
                loss.stage = if open.accepted.is_some() { stage } else { Stage::Delivered };
                self.losses.push(loss);
            }
        }
        for stage in [Stage::Accepted, Stage::Delivered] {
            if stage == Stage::Accepted && open.accepted.is_none() {
                continue;
            }
            let packets = open.take(stage, u64::MAX);
            if packets > 0 {
                let untapped = evidence.stack.as_ref().filter(|stack| stack.hooks.is_none() && stack.reasons.is_none());
                let mut loss = if stage == Stage::Accepted && untapped.is_some_and(|stack| !stack.filters.is_empty()) {
                    let mut loss = loss(Cause::NetfilterDrop, packets, Layer::Stage, None);
                    loss.why.push_str(": one is loaded, and nothing else explains it");
                    name_the_filter(&mut loss, plan, evidence);
                    loss.frames = all_that_came(plan, stage, packets);
                    loss
                } else {
                    unexplained(plan, evidence, claims, packets)
                };
                loss.stage = stage;
                self.losses.push(loss);
            }
        }
    }

    fn has(&self, cause: Cause, stage: Stage) -> bool {
        self.losses.iter().any(|loss| loss.stage == stage && loss.cause == cause.name())
    }

    /// What was foretold and did not happen, or happened and should have been foretold.
    fn compare_with_prediction(&mut self, plan: &Plan, evidence: &Evidence) {
        let arrived = evidence.arriving.as_ref().map(|arriving| arriving.arrived);
        let all_came = arrived == Some(plan.frames()) && plan.survey.unclassed.is_empty();
        if !all_came || evidence.stack.is_none() || evidence.timed_out.is_some() {
            return;
        }
        let filtered = self.has(Cause::NetfilterDrop, Cause::NetfilterDrop.row().stage);
        for row in crate::cause::TABLE.iter().filter(|row| is_foretold(row.cause)) {
            for stage in [Stage::Accepted, Stage::Delivered] {
                let foretold = predicted(plan, row.cause, stage).frames.count() * plan.rounds;
                let is_it = |loss: &&Loss| loss.stage == stage && loss.cause == row.name;
                let found = self.losses.iter().find(is_it).map(|loss| (loss.packets, loss.evidence));
                let (seen, layer) = found.unwrap_or((0, Layer::Stage));
                if foretold == seen {
                    continue;
                }
                let groups_are_open = row.cause == Cause::MulticastNotJoined && !unjoined(plan).is_empty();
                // Where delivered can't be seen, nothing is said of it.
                let unseen = stage == Stage::Delivered && self.delivered.is_none() && seen == 0;
                // What a rule dropped came to nothing else any more.
                if groups_are_open || unseen || filtered && seen < foretold {
                    continue;
                }
                if let Some(told) = self.disagreements.iter_mut().find(|told| told.cause == row.name) {
                    told.predicted = Some(foretold);
                    continue;
                }
                self.disagreements.push(Disagreement {
                    cause: row.name.to_owned(),
                    kernel: (layer == Layer::Kernel).then_some(seen),
                    stage: (layer == Layer::Stage).then_some(seen),
                    predicted: Some(foretold),
                });
            }
        }
    }
}

fn records_are_missing(evidence: &Evidence) -> bool {
    evidence.stack.as_ref().is_some_and(|stack| stack.layers.kernel_lost > 0)
}

/// Whether the prediction knows everything that leads to this cause.
fn is_foretold(cause: Cause) -> bool {
    match cause {
        Cause::Otherhost
        | Cause::UnhandledProto
        | Cause::UnicastInL2Multicast
        | Cause::PktTooSmall
        | Cause::IpInhdr
        | Cause::IpCsum
        | Cause::Ipv6disabled
        | Cause::SourceRoute
        | Cause::IpInvalidSource
        | Cause::IpInvalidDest
        | Cause::IpLocalnet
        | Cause::IpLocalSource
        | Cause::IpRpfilter
        | Cause::IpInaddrerrors
        | Cause::IpInnoroutes
        | Cause::Forwarded
        | Cause::MulticastNotJoined
        | Cause::DupFrag
        | Cause::FragReasmTimeout
        | Cause::IpNoproto
        | Cause::TcpCsum
        | Cause::UdpCsum
        | Cause::NoSocket => true,
        // Up to the sender, the application, the packet filter or the time.
        Cause::NotSent
        | Cause::Unsendable
        | Cause::FrameTooLong
        | Cause::InterfaceDown
        | Cause::QdiscDrop
        | Cause::NetfilterDrop
        | Cause::NeighFailed
        | Cause::SocketRcvbuff
        | Cause::SocketFilter
        | Cause::ProtoMem
        | Cause::NotRead
        | Cause::Kernel
        | Cause::Unexplained => false,
    }
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
        )
}

/// The frames of a loss, where all that the prediction lets come to the stage before were lost.
fn all_that_came(plan: &Plan, stage: Stage, lost: u64) -> Option<String> {
    let comes = |fate: &&Fate| {
        let is_ip = matches!(fate.key.carried, Carried::Ip { .. });
        let stopped_before = matches!(fate.end, End::Lost(_)) && fate.stage < stage;
        stage == Stage::Accepted || is_ip && !stopped_before
    };
    let came = FrameRanges::union(plan.fates.iter().filter(comes).map(|fate| &fate.frames));
    (came.count() * plan.rounds == lost).then(|| came.to_string())
}

/// Packets as frames: the prediction knows how many fragments they came in.
fn in_frames(plan: &Plan, packets: u64, foretold: &Predicted<'_>) -> u64 {
    if foretold.packets * plan.rounds == packets { foretold.frames.count() * plan.rounds } else { packets }
}

fn by_prediction(cause: Cause, packets: u64, evidence: Layer, predicted: &Predicted<'_>) -> Loss {
    let mut loss = loss(cause, packets, evidence, Some(predicted.frames.to_string()));
    if let Some(fate) = predicted.first {
        loss.why.clone_from(&fate.why);
        if predicted.kinds > 1 {
            let _infallible = write!(loss.why, " (and {} more such kinds of packet)", predicted.kinds - 1);
        }
        loss.fix.clone_from(&fate.fix);
    }
    loss
}

/// A reason that the table does not have.
fn of_another_kernel(name: &str, packets: u64) -> Loss {
    let mut loss = loss(Cause::Unexplained, packets, Layer::Kernel, None);
    loss.cause = name.to_owned();
    loss.why = format!("the kernel dropped it, and says {name}: a reason that this version of restage has no row for");
    loss.fix = "look it up in the kernel's include/net/dropreason-core.h, and tell us".to_owned();
    loss
}

/// What only the run knows: which hook, which function.
fn add_details(loss: &mut Loss, claim: &Claim, plan: &Plan, evidence: &Evidence) {
    if let Some(detail) = &claim.detail {
        let _infallible = write!(loss.why, ": {detail}");
    }
    if loss.cause == Cause::NetfilterDrop.name() {
        name_the_filter(loss, plan, evidence);
    }
    if loss.cause == Cause::NoSocket.name()
        && let Some((why, fix)) = as_seen(plan, evidence)
    {
        (loss.why, loss.fix) = (why, fix);
    }
    if loss.cause == Cause::SocketRcvbuff.name() {
        let full: Vec<String> = evidence
            .queues
            .iter()
            .filter(|queue| queue.drops > 0)
            .map(|queue| format!("udp:{} has {} bytes", queue.port, queue.buffer_bytes))
            .collect();
        if !full.is_empty() {
            let _infallible = write!(loss.why, " ({})", full.join(", "));
        }
    }
    let functions: Vec<&str> = claim.functions.iter().map(String::as_str).collect();
    if !functions.is_empty() && loss.evidence == Layer::Kernel {
        let _infallible = write!(loss.why, " [{}]", functions.join(", "));
    }
}

/// Which chains there are, and the rule that lets the first of the datagrams through.
fn name_the_filter(loss: &mut Loss, plan: &Plan, evidence: &Evidence) {
    let filters = evidence.stack.as_ref().map_or(&[][..], |stack| stack.filters.as_slice());
    if !filters.is_empty() {
        let _infallible = write!(loss.why, "; there is {}", filters.join(", "));
    }
    let port = plan.fates.iter().find_map(|fate| match fate.key.carried {
        Carried::Ip { port: Some(port), .. } if fate.datagrams > 0 => Some(port),
        _ => None,
    });
    if let Some(port) = port {
        let _infallible = write!(loss.fix, ": `udp dport {port} accept`");
    }
}

/// Why the sockets that were there did not hear the datagrams that were to be delivered or found no socket.
fn as_seen(plan: &Plan, evidence: &Evidence) -> Option<(String, String)> {
    let site = plan.site.as_ref()?;
    plan.fates.iter().find_map(|fate| {
        let Carried::Ip { source, destination, port: Some(port), .. } = fate.key.carried else { return None };
        let is_it = fate.datagrams > 0 && matches!(fate.end, End::Delivered | End::Open | End::Lost(Cause::NoSocket));
        // Of a source port only a connected socket asks.
        let from = Some((source, 0));
        let sockets = &evidence.sockets;
        let heard = sockets.iter().any(|socket| {
            socket.peer.is_none() && hears(socket, destination, port, from, &site.interface) == Hears::Yes
        });
        (is_it && !heard).then(|| why_no_socket(destination, port, from, sockets, &site.interface))
    })
}

/// Frames that the kernel itself takes.
fn is_kernels(fate: &Fate) -> bool {
    fate.end == End::Kernel || fate.end == End::Open && fate.datagrams == 0
}

/// Datagrams to groups whose fate was not known before the run.
fn unjoined(plan: &Plan) -> FrameRanges {
    let open = plan.fates.iter().filter(|fate| fate.end == End::Open && fate.datagrams > 0);
    let to_groups =
        open.filter(|fate| matches!(fate.key.carried, Carried::Ip { destination, .. } if destination.is_multicast()));
    FrameRanges::union(to_groups.map(|fate| &fate.frames))
}

fn unexplained(plan: &Plan, evidence: &Evidence, claims: &Claims, packets: u64) -> Loss {
    let mut loss = loss(Cause::Unexplained, packets, Layer::Stage, None);
    let delivered = plan.fates.iter().filter(|fate| fate.end == End::Delivered);
    let delivered = FrameRanges::union(delivered.map(|fate| &fate.frames));
    if delivered.count() == packets {
        loss.frames = Some(delivered.to_string());
    }
    let functions: Vec<&str> = claims
        .0
        .iter()
        .filter(|((name, _), _)| name == Cause::Unexplained.name())
        .flat_map(|(_, claim)| claim.functions.iter().map(String::as_str))
        .collect();
    if !functions.is_empty() {
        loss.why = format!("the kernel dropped it without a reason, in {}", functions.join(", "));
    } else if evidence.stack.as_ref().is_some_and(|stack| stack.reasons.is_some()) {
        loss.why = "no counter moved, no drop reason was told, and nothing in the frame explains it".to_owned();
    }
    loss
}

fn unread(evidence: &Evidence, packets: u64) -> Loss {
    let mut loss = loss(Cause::NotRead, packets, Layer::Stage, None);
    let queues: Vec<String> = evidence
        .queues
        .iter()
        .filter(|queue| queue.unread_bytes > 0)
        .map(|queue| format!("udp:{} holds {} bytes", queue.port, queue.unread_bytes))
        .collect();
    if !queues.is_empty() {
        loss.why = format!("still unread when the run ended: {}", queues.join(", "));
    }
    loss
}
