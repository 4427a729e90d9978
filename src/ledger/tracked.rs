//! The stages behind the receiver's wire where each packet was followed: sets of frames, from which the counts follow. Start at
//! [`account`].

use std::collections::BTreeMap;

use super::cause_evidence::{CauseEvidence, CauseEvidences, Predicted, predicted};
use super::description::{add_details, named, why_unread};
use super::drops::{Meaning, is_told_by_the_frame, meaning};
use super::loss;
use super::received::Received;
use crate::capture::FrameRanges;
use crate::cause::{Cause, CauseName};
use crate::evidence::{Ending, Evidence};
use crate::outcome::{Amount, Layer, Loss, Stage};
use crate::plan::Plan;
use crate::predict::{Disposition, Prediction};

/// What became of frames that did not reach a stage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    Lost(Stage, CauseName),
    Kernel(Stage),
}

/// Accounts for every frame that arrived by what became of it. `sockets`: whether datagrams go into sockets of the receiver.
pub(super) fn account(
    plan: &Plan,
    evidence: &Evidence,
    ends: &BTreeMap<Ending, FrameRanges>,
    claims: &CauseEvidences,
    sockets: bool,
) -> Received {
    let mut rows: BTreeMap<Row, FrameRanges> = BTreeMap::new();
    let mut functions: BTreeMap<Row, CauseEvidence> = BTreeMap::new();
    let mut consumed = 0;
    for (ending, frames) in ends {
        let Some(row) = row(plan, evidence, ending, sockets) else {
            consumed += frames.count();
            continue;
        };
        for (row, frames) in by_their_bytes(plan, ending, row, frames) {
            if let Ending::Dropped(kind) = ending {
                functions.entry(row.clone()).or_default().functions.extend(kind.function.clone());
            }
            rows.entry(row).or_default().merge(&frames);
        }
    }
    let arrived: u64 = ends.values().map(FrameRanges::count).sum();
    let lost = |stage: Stage| {
        let of_stage = |row: &&Row| matches!(row, Row::Lost(at, _) | Row::Kernel(at) if *at == stage);
        rows.iter().filter(|(row, _)| of_stage(row)).map(|(_, frames)| frames.count()).sum::<u64>()
    };
    let accepted = arrived - lost(Stage::Accepted);
    let delivered = accepted - lost(Stage::Delivered);
    debug_assert_eq!(delivered - lost(Stage::Consumed), consumed);
    let seen = |count: u64| sockets.then(|| Amount::exact(count));
    let mut received = Received {
        accepted: Some(Amount::exact(accepted)),
        delivered: seen(delivered),
        consumed: seen(consumed),
        ..Received::default()
    };
    for (row, frames) in &rows {
        let stage = match row {
            Row::Lost(stage, _) | Row::Kernel(stage) => *stage,
        };
        // Where delivered can't be seen, what reached accepted is not accounted for any further, except for what the kernel dropped.
        if !sockets && (stage == Stage::Consumed || *row == Row::Kernel(Stage::Delivered)) {
            continue;
        }
        let none = CauseEvidence::default();
        received.losses.push(described(plan, evidence, row, frames, stage, functions.get(row).unwrap_or(&none)));
    }
    compare(&mut received, plan, evidence, claims, &rows);
    received
}

/// Where the kernel's function drops packets for several causes and names none or only a part, or at several stages, the frame's bytes tell.
fn by_their_bytes(plan: &Plan, ending: &Ending, row: Row, frames: &FrameRanges) -> Vec<(Row, FrameRanges)> {
    let fits = |cause: Cause| match ending {
        Ending::Dropped(kind) => is_told_by_the_frame(kind, cause),
        _ => false,
    };
    let mut rest = frames.clone();
    let mut rows = Vec::new();
    for prediction in &plan.predictions {
        if let Disposition::Lost(cause) = prediction.disposition
            && fits(cause)
            && let Some((inside, outside)) = rest.split(&prediction.frames)
            && !inside.is_empty()
        {
            rows.push((Row::Lost(prediction.stage, CauseName::Known(cause)), inside));
            rest = outside;
        }
    }
    if !rest.is_empty() {
        rows.push((row, rest));
    }
    rows
}

/// `None` for what was consumed.
fn row(plan: &Plan, evidence: &Evidence, ending: &Ending, sockets: bool) -> Option<Row> {
    let lost = |cause: Cause| Row::Lost(cause.row().stage, CauseName::Known(cause));
    Some(match ending {
        Ending::Read => return None,
        Ending::Unread => lost(Cause::NotRead),
        Ending::Closed => lost(Cause::SocketClosed),
        Ending::Dropped(kind) => match meaning(plan, kind, sockets) {
            Meaning::Lost(stage, name) => Row::Lost(stage, name),
            Meaning::Kernel(stage) => Row::Kernel(stage),
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
                Row::Kernel(Stage::Accepted)
            } else if *udp && sockets {
                lost(if forwards(plan) { Cause::Forwarded } else { Cause::UdpEncap })
            } else {
                Row::Kernel(Stage::Delivered)
            }
        }
        Ending::Incomplete => {
            // Where IPv6 reassembled nothing, connection tracking did, which is before the input hook.
            let behind = evidence.counter("Ip6ReasmReqds") > 0;
            let stage = if behind { Stage::Delivered } else { Stage::Accepted };
            Row::Lost(stage, CauseName::Known(Cause::FragReasmTimeout))
        }
        Ending::Unseen { ip: true, udp: false } => Row::Kernel(Stage::Delivered),
        Ending::Unseen { ip: false, .. } => Row::Kernel(Stage::Accepted),
        Ending::Unseen { .. } if forwards(plan) => lost(Cause::Forwarded),
        Ending::Unseen { .. } if !sockets => Row::Kernel(Stage::Delivered),
        Ending::Unseen { .. } => lost(Cause::Unexplained),
    })
}

/// Whether the receiver sends packets on.
fn forwards(plan: &Plan) -> bool {
    plan.predictions.iter().any(|prediction| prediction.disposition == Disposition::Lost(Cause::Forwarded))
}

fn described(
    plan: &Plan,
    evidence: &Evidence,
    row: &Row,
    frames: &FrameRanges,
    stage: Stage,
    claim: &CauseEvidence,
) -> Loss {
    let amount = Amount::exact(frames.count());
    let mut described = match row {
        Row::Kernel(_) => loss(Cause::Kernel, amount, Layer::Kernel, None),
        Row::Lost(_, name) => {
            let foretold = name.known().map(|cause| predicted(plan, cause, stage)).unwrap_or_default();
            let same = foretold.frames == *frames || foretold.frames.count() * plan.rounds == frames.count();
            let foretold = if same { foretold } else { Predicted::default() };
            let mut described = named(plan, name, amount, Layer::Kernel, &foretold);
            add_details(&mut described, claim, plan, evidence);
            if *row == Row::Lost(Stage::Consumed, CauseName::Known(Cause::NotRead)) {
                described.why = why_unread(evidence).unwrap_or(described.why);
            }
            described
        }
    };
    described.stage = stage;
    described.frames = Some(frames.to_string());
    if let Row::Lost(_, CauseName::Known(Cause::Unexplained)) = row
        && claim.functions.is_empty()
    {
        described.why =
            "the kernel reports neither that it dropped the packets nor that a socket received them".to_owned();
        described.fix = "run it again with `--evidence counters`; if it stays, report it with the capture".to_owned();
    }
    described
}

/// What the counters say otherwise.
fn compare(
    received: &mut Received,
    plan: &Plan,
    evidence: &Evidence,
    claims: &CauseEvidences,
    rows: &BTreeMap<Row, FrameRanges>,
) {
    // A run that ended early leaves counters behind the packets that were seen.
    if evidence.timed_out.is_some() {
        return;
    }
    for ((stage, name), claim) in &claims.0 {
        let Some(counted) = &claim.stage else { continue };
        // Of fragments a counter knows datagrams, and hooks count for other causes, too.
        if matches!(name.known(), Some(Cause::FragReasmTimeout | Cause::NetfilterDrop | Cause::Forwarded)) {
            continue;
        }
        let frames = rows.get(&Row::Lost(*stage, name.clone())).map_or(0, FrameRanges::count);
        let is_fragmented =
            |prediction: &Prediction| prediction.most_frames > 1 || prediction.frames.count() != prediction.packets;
        if plan.predictions.iter().any(|prediction| prediction.packets > 0 && is_fragmented(prediction)) {
            continue;
        }
        received.disagree(name, frames, counted);
    }
}
