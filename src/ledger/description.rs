//! How a loss is described: why it happened, what to do, which frames. Start at [`named`].

use std::fmt::Write as _;

use super::cause_evidence::{CauseEvidence, CauseEvidences, Predicted};
use super::loss;
use crate::capture::FrameRanges;
use crate::cause::Cause;
use crate::evidence::{Evidence, SocketRecord};
use crate::figures::{count, duration};
use crate::outcome::{Amount, Layer, Loss, Stage};
use crate::plan::Plan;
use crate::predict::Carried;
use crate::predict::{Disposition, Prediction, goes_to, there, why_no_socket};

/// A loss by its cause: in the prediction's words where it predicted just that, else in the table's.
pub(super) fn named(plan: &Plan, cause: Cause, frames: Amount, layer: Layer, foretold: &Predicted<'_>) -> Loss {
    if let Cause::Other(reason) = cause {
        return Loss {
            why: format!(
                "the kernel dropped it, and says {reason}: a reason that this version of restage has no row for"
            ),
            fix: "look it up in the kernel's include/net/dropreason-core.h, and report it to restage".to_owned(),
            ..loss(cause, frames, Layer::Kernel)
        };
    }
    let is_foretold = foretold.first.is_some() && frames.known() == Some(foretold.frames.count() * plan.rounds);
    if is_foretold { by_prediction(cause, frames, layer, foretold) } else { loss(cause, frames, layer) }
}

/// The frames of a loss, where all that the prediction lets come to the stage before were lost.
pub(super) fn all_that_came(plan: &Plan, stage: Stage, lost: u64) -> Option<String> {
    let comes = |prediction: &&Prediction| {
        let is_ip = matches!(prediction.class.key.carried, Carried::Ip { .. });
        let stopped_before = matches!(prediction.disposition, Disposition::Lost(_)) && prediction.stage < stage;
        stage == Stage::Accepted || is_ip && !stopped_before
    };
    let came = FrameRanges::union(plan.predictions.iter().filter(comes).map(|prediction| &prediction.class.frames));
    (came.count() * plan.rounds == lost).then(|| came.to_string())
}

pub(super) fn by_prediction(cause: Cause, frames: Amount, evidence: Layer, predicted: &Predicted<'_>) -> Loss {
    let mut loss = Loss { numbers: Some(predicted.frames.to_string()), ..loss(cause, frames, evidence) };
    if let Some(prediction) = predicted.first {
        loss.why.clone_from(&prediction.why);
        if predicted.kinds > 1 {
            let _infallible =
                write!(loss.why, " (and {} of packet)", count(predicted.kinds as u64 - 1, "more such kind"));
        }
        loss.fix.clone_from(&prediction.fix);
    }
    loss
}

/// What only the run knows: which hook, which function.
pub(super) fn add_details(loss: &mut Loss, known: &CauseEvidence, plan: &Plan, evidence: &Evidence) {
    if let Some(detail) = &known.detail {
        let _infallible = write!(loss.why, ": {detail}");
    }
    if loss.cause == Cause::NetfilterDrop {
        name_the_filter(loss, plan, evidence);
    }
    if loss.cause == Cause::NoSocket
        && let Some((why, fix)) = gone(plan, evidence).or_else(|| as_seen(plan, evidence))
    {
        (loss.why, loss.fix) = (why, fix);
    }
    closed_by_the_end(loss, evidence);
    if loss.cause == Cause::SocketRcvbuff {
        let full: Vec<String> = evidence
            .sockets
            .iter()
            .filter(|record| record.socket.drops > 0)
            .map(|record| {
                format!("udp:{} has {}", record.socket.port, count(record.socket.buffer_bytes.into(), "byte"))
            })
            .collect();
        if !full.is_empty() {
            let _infallible = write!(loss.why, " ({})", full.join(", "));
        }
    }
    let functions: Vec<&str> = known.functions.iter().map(String::as_str).collect();
    if !functions.is_empty() && loss.evidence == Layer::Kernel {
        let _infallible = write!(loss.why, " [{}]", functions.join(", "));
    }
}

/// Which chains there are, and the rule that lets the first of the datagrams through.
pub(super) fn name_the_filter(loss: &mut Loss, plan: &Plan, evidence: &Evidence) {
    let filters = evidence.stack.as_ref().map_or(&[][..], |stack| stack.filters.as_slice());
    if !filters.is_empty() {
        let _infallible = write!(loss.why, "; there is {}", filters.join(", "));
    }
    let port = plan.predictions.iter().find_map(|prediction| match prediction.class.key.carried {
        Carried::Ip { port: Some(port), .. } if prediction.class.datagrams > 0 => Some(port),
        _ => None,
    });
    // The prediction's words have the rule already.
    if let Some(port) = port.filter(|_| loss.fix == Cause::NetfilterDrop.row().fix) {
        let _infallible = write!(loss.fix, ": `udp dport {port} accept`");
    }
}

/// Why the sockets that were there do not receive the datagrams that were to be delivered or found no socket.
pub(super) fn as_seen(plan: &Plan, evidence: &Evidence) -> Option<(String, String)> {
    let host = plan.host.as_ref()?;
    plan.predictions.iter().find_map(|prediction| {
        let carried = goes_to(&prediction.class.key, host);
        let Carried::Ip { source, destination, port: Some(port), .. } = carried else { return None };
        let is_it = prediction.class.datagrams > 0
            && matches!(
                prediction.disposition,
                Disposition::Delivered | Disposition::Open | Disposition::Lost(Cause::NoSocket)
            );
        // Only a connected socket depends on the source port, and no peer has port 0.
        let arrival = host.arrival((source, Some(0)), destination, port);
        let sockets: Vec<_> = evidence.sockets.iter().map(|record| record.socket.clone()).collect();
        let is_received = sockets.iter().any(|socket| socket.receives(&arrival));
        let said = || {
            let (why, fix) = why_no_socket(&arrival, &sockets, host.real);
            (why, if host.is_of_a_run() { there(&fix, &host.command_prefix) } else { fix })
        };
        (is_it && !is_received).then(said)
    })
}

/// What helps where the application ended too early.
const RUN_ON: &str = "let the application run until its stop signal";

/// Says of datagrams whose socket was closed that the application's end closed it.
fn closed_by_the_end(loss: &mut Loss, evidence: &Evidence) {
    if loss.cause == Cause::SocketClosed && evidence.has_ended_early() {
        "the application ended while the datagram was in its socket's queue".clone_into(&mut loss.why);
        RUN_ON.clone_into(&mut loss.fix);
    }
}

/// Why datagrams find no socket, though the application had one that receives them, or none since it ended: it is gone.
fn gone(plan: &Plan, evidence: &Evidence) -> Option<(String, String)> {
    let host = plan.host.as_ref()?;
    let receives = |record: &&SocketRecord| {
        plan.predictions.iter().any(|prediction| match goes_to(&prediction.class.key, host) {
            Carried::Ip { source, destination, port: Some(port), .. } => {
                record.socket.receives(&host.arrival((source, Some(0)), destination, port))
            }
            _ => false,
        })
    };
    let mut receiving = evidence.sockets.iter().filter(receives).peekable();
    let had_one = receiving.peek().is_some() || evidence.sockets.is_empty();
    let (why, fix) = if had_one && evidence.has_ended_early() {
        ("the application ended in the middle of the run, and nothing listens after its end", RUN_ON)
    } else if receiving.any(|record| !record.until_end) {
        ("the application closed its socket in the middle of the run", "let the application keep its socket open")
    } else {
        return None;
    };
    Some((why.to_owned(), fix.to_owned()))
}

pub(super) fn unexplained(plan: &Plan, evidence: &Evidence, causes: &CauseEvidences, frames: Amount) -> Loss {
    let mut loss = loss(Cause::Unexplained, frames, Layer::Stage);
    let delivered = plan.predictions.iter().filter(|prediction| prediction.disposition == Disposition::Delivered);
    let delivered = FrameRanges::union(delivered.map(|prediction| &prediction.class.frames));
    if Some(delivered.count()) == loss.frames.known() {
        loss.numbers = Some(delivered.to_string());
    }
    if let Some(stack) = &evidence.stack {
        let closer = stack.layers.closer.as_deref().unwrap_or("run it again");
        loss.fix = format!("{closer}; if it stays, report it with the capture");
    }
    let of_it = causes.0.iter().filter(|known| known.cause == Cause::Unexplained);
    let functions: Vec<&str> = of_it.flat_map(|known| known.functions.iter().map(String::as_str)).collect();
    if !functions.is_empty() {
        loss.why = format!("the kernel dropped it without a reason, in {}", functions.join(", "));
    } else if evidence.stack.as_ref().is_some_and(|stack| stack.reasons.is_some()) {
        loss.why = "no counter moved, no drop reason was recorded, and nothing in the frame explains it".to_owned();
    }
    loss
}

/// Whether what was delivered and not read was in the queue of a socket that is closed: the kernel empties such a queue some time later, on a
/// busy machine after the run has ended.
pub(super) fn is_closed(evidence: &Evidence) -> bool {
    let waiting = evidence.sockets.iter().any(|record| record.until_end && record.socket.unread_bytes > 0);
    !waiting && evidence.sockets.iter().any(|record| !record.until_end)
}

/// What was delivered and not read: the socket was closed, or the datagrams are still in its queue.
pub(super) fn unread(evidence: &Evidence, frames: Amount) -> Loss {
    if is_closed(evidence) {
        let mut loss = loss(Cause::SocketClosed, frames, Layer::Stage);
        closed_by_the_end(&mut loss, evidence);
        return loss;
    }
    let mut loss = loss(Cause::NotRead, frames, Layer::Stage);
    loss.why = why_unread(evidence).unwrap_or(loss.why);
    loss
}

/// Which queues were not empty at the end, and which limit ended the wait for them; `None` where none is known.
pub(super) fn why_unread(evidence: &Evidence) -> Option<String> {
    let waiting = evidence.sockets.iter().filter(|record| record.until_end && record.socket.unread_bytes > 0);
    let waiting: Vec<String> = waiting
        .map(|record| format!("udp:{} holds {}", record.socket.port, count(record.socket.unread_bytes.into(), "byte")))
        .collect();
    let still = duration(evidence.still);
    let limit = match evidence.timed_out {
        Some(_) => "the run's `timeout` passed",
        None if evidence.has_ended_early() => "the application had ended",
        None => "the limit is `[receiver] settle`, and 10 s at least",
    };
    (!waiting.is_empty()).then(|| {
        format!("still unread when the run ended: {}; nothing had been read for {still} ({limit})", waiting.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::why_unread;
    use crate::evidence::{ApplicationEnd, Evidence, ProgramEnd, SocketRecord};
    use crate::host::Socket;
    use crate::scenario::require::{Listener, Transport};

    #[test]
    fn what_is_not_read_names_the_limit_that_ended_the_wait() {
        let listener = Listener { transport: Transport::Udp, address: None, port: 514 };
        let waiting = SocketRecord::of(Socket { inode: 1, unread_bytes: 768, ..Socket::from(listener) });
        let end = |stopped| {
            let ending = ApplicationEnd { stopped, ..ApplicationEnd::default() };
            vec![ProgramEnd { ending, ..ProgramEnd::default() }]
        };
        let still = Duration::from_millis(10_040);
        let mut evidence = Evidence { sockets: vec![waiting], ends: end(true), still, ..Evidence::default() };
        let why = why_unread(&evidence).unwrap();
        assert!(
            why.contains("udp:514 holds 768 bytes") && why.contains("10 s (the limit is `[receiver] settle`"),
            "{why}"
        );
        evidence.ends = end(false);
        assert!(why_unread(&evidence).unwrap().contains("(the application had ended)"));
        evidence.timed_out = Some(Duration::from_secs(5));
        assert!(why_unread(&evidence).unwrap().contains("(the run's `timeout` passed)"));
        evidence.sockets.clear();
        assert_eq!(why_unread(&evidence), None);
    }
}
