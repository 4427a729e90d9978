//! The stages behind the receiver's wire where each packet was followed: sets of frames, from which the counts follow. Start at
//! [`account`].

use std::collections::{BTreeMap, BTreeSet};

use super::cause_evidence::{CauseEvidence, CauseEvidences, Predicted, predicted};
use super::description::{add_details, is_closed, named, why_unread};
use super::drops::{Meaning, is_told_by_the_frame, meaning};
use super::received::Received;
use crate::capture::FrameRanges;
use crate::cause::Cause;
use crate::evidence::{Ending, Evidence};
use crate::outcome::{Absorbed, Amount, Layer, Loss, Stage};
use crate::plan::Plan;
use crate::predict::{Disposition, Prediction};

/// The stage that frames did not reach, and the cause; `None` where the receiver's kernel absorbed them.
type Key = (Stage, Option<Cause>);

/// What became of frames that did not reach a stage.
struct Row {
    key: Key,
    frames: FrameRanges,
    /// The kernel's functions that dropped them.
    functions: BTreeSet<String>,
}

/// Accounts for every frame that arrived by what became of it. `sockets`: whether datagrams go into sockets of the receiver.
pub(super) fn account(
    plan: &Plan,
    evidence: &Evidence,
    ends: &BTreeMap<Ending, FrameRanges>,
    causes: &CauseEvidences,
    sockets: bool,
) -> Received {
    let mut rows: Vec<Row> = Vec::new();
    for (ending, frames) in ends {
        let Some(key) = key(plan, evidence, ending, sockets) else { continue };
        for (key, frames) in by_their_bytes(plan, ending, key, frames) {
            let place = rows.iter().position(|row| row.key == key).unwrap_or_else(|| {
                rows.push(Row { key, frames: FrameRanges::default(), functions: BTreeSet::new() });
                rows.len() - 1
            });
            let row = &mut rows[place];
            row.frames.merge(&frames);
            if let Ending::Dropped(kind) = ending {
                row.functions.extend(kind.function.clone());
            }
        }
    }
    rows.sort_by_key(|row| (row.key.0, row.key.1.map_or(usize::MAX, Cause::priority)));
    let arrived: u64 = ends.values().map(FrameRanges::count).sum();
    let lost =
        |stage: Stage| -> u64 { rows.iter().filter(|row| row.key.0 == stage).map(|row| row.frames.count()).sum() };
    let accepted = arrived - lost(Stage::Accepted);
    let delivered = accepted - lost(Stage::Delivered);
    let seen = |count: u64| sockets.then(|| Amount::exact(count));
    let mut received = Received {
        accepted: Some(Amount::exact(accepted)),
        delivered: seen(delivered),
        consumed: seen(delivered - lost(Stage::Consumed)),
        ..Received::default()
    };
    for row in &rows {
        match row.key {
            // Where delivered can't be seen, what reached accepted is not accounted for any further, except for what the kernel dropped.
            (Stage::Consumed, _) | (Stage::Delivered, None) if !sockets => {}
            (stage, None) => received.absorbed.push(Absorbed {
                stage,
                frames: Amount::exact(row.frames.count()),
                evidence: Layer::Kernel,
                numbers: Some(row.frames.to_string()),
            }),
            (stage, Some(cause)) => received.losses.push(described(plan, evidence, row, stage, cause)),
        }
    }
    compare(&mut received, plan, evidence, causes, &rows);
    received
}

/// Where the kernel's function drops packets for several causes and names none or only a part, or at several stages, the frame's bytes decide.
fn by_their_bytes(plan: &Plan, ending: &Ending, key: Key, frames: &FrameRanges) -> Vec<(Key, FrameRanges)> {
    let mut rest = frames.clone();
    let mut rows = Vec::new();
    for prediction in &plan.predictions {
        if let (Ending::Dropped(kind), Disposition::Lost(cause)) = (ending, prediction.disposition)
            && is_told_by_the_frame(kind, cause)
            && let Some((inside, outside)) = rest.split(&prediction.class.frames)
            && !inside.is_empty()
        {
            rows.push(((prediction.stage, Some(cause)), inside));
            rest = outside;
        }
    }
    if !rest.is_empty() {
        rows.push((key, rest));
    }
    rows
}

/// `None` for what was consumed.
fn key(plan: &Plan, evidence: &Evidence, ending: &Ending, sockets: bool) -> Option<Key> {
    let lost = |cause: Cause| (cause.row().stage, Some(cause));
    let forwards = || plan.predictions.iter().any(|found| found.disposition == Disposition::Lost(Cause::Forwarded));
    Some(match ending {
        Ending::Read => return None,
        Ending::Unread if is_closed(evidence) => lost(Cause::SocketClosed),
        Ending::Unread => lost(Cause::NotRead),
        Ending::Closed => lost(Cause::SocketClosed),
        Ending::Dropped(kind) => match meaning(plan, kind, sockets) {
            Meaning::Lost((stage, cause)) => (stage, Some(cause)),
            Meaning::Absorbed(stage) => (stage, None),
            Meaning::Closed => lost(Cause::SocketClosed),
        },
        Ending::Used { function, ip, udp } => {
            let function = function.as_deref().unwrap_or_default();
            if function.starts_with("tpacket_") || function.starts_with("packet_") {
                // Without restage's own packet socket nothing would have taken it.
                lost(Cause::UnhandledProto)
            } else if function.contains("mcast_deliver") {
                lost(Cause::NoSocket)
            } else if !ip {
                (Stage::Accepted, None)
            } else if *udp && sockets {
                lost(if forwards() { Cause::Forwarded } else { Cause::UdpEncap })
            } else {
                (Stage::Delivered, None)
            }
        }
        Ending::Incomplete => {
            // Where IPv6 reassembled nothing, connection tracking did, which is before the input hook.
            let behind = evidence.counter("Ip6ReasmReqds") > 0;
            (if behind { Stage::Delivered } else { Stage::Accepted }, Some(Cause::FragReasmTimeout))
        }
        Ending::Unseen { ip: false, .. } => (Stage::Accepted, None),
        Ending::Unseen { udp: false, .. } => (Stage::Delivered, None),
        Ending::Unseen { .. } if forwards() => lost(Cause::Forwarded),
        Ending::Unseen { .. } if !sockets => (Stage::Delivered, None),
        Ending::Unseen { .. } => lost(Cause::Unexplained),
    })
}

fn described(plan: &Plan, evidence: &Evidence, row: &Row, stage: Stage, cause: Cause) -> Loss {
    let count = row.frames.count();
    let foretold = predicted(plan, cause, stage);
    let same = foretold.frames == row.frames || foretold.frames.count() * plan.rounds == count;
    let foretold = if same { foretold } else { Predicted::default() };
    let mut loss = named(plan, cause, Amount::exact(count), Layer::Kernel, &foretold);
    let known = CauseEvidence { functions: row.functions.clone(), ..CauseEvidence::none(stage, cause) };
    add_details(&mut loss, &known, plan, evidence);
    if cause == Cause::NotRead {
        loss.why = why_unread(evidence).unwrap_or(loss.why);
    }
    if cause == Cause::Unexplained && row.functions.is_empty() {
        loss.why = "the kernel reports neither that it dropped the packets nor that a socket received them".to_owned();
        loss.fix = "run it again with `--evidence counters`; if it stays, report it with the capture".to_owned();
    }
    Loss { stage, numbers: Some(row.frames.to_string()), ..loss }
}

/// What the counters say otherwise.
fn compare(received: &mut Received, plan: &Plan, evidence: &Evidence, causes: &CauseEvidences, rows: &[Row]) {
    // A run that ended early leaves counters behind the packets that were seen. Of fragments a counter knows datagrams.
    let is_fragmented = |found: &Prediction| {
        found.class.packets > 0 && (found.class.most_frames > 1 || found.class.frames.count() != found.class.packets)
    };
    if evidence.timed_out.is_some() || plan.predictions.iter().any(is_fragmented) {
        return;
    }
    for known in &causes.0 {
        // Hooks count for other causes, too.
        if matches!(known.cause, Cause::FragReasmTimeout | Cause::NetfilterDrop | Cause::Forwarded) {
            continue;
        }
        let key = (known.stage, Some(known.cause));
        let frames = rows.iter().find(|row| row.key == key).map_or(0, |row| row.frames.count());
        if let Some(counted) = &known.counted {
            // Those of others are in the counters, too.
            let least = counted.low().saturating_sub(evidence.others());
            received.disagree(known.cause, frames, &Amount::between(least, counted.high(), counted.why()));
        }
    }
}
