//! What to say where `captured` is not as expected: what the packet sockets of the application did not take.

use super::counts::packets;
use crate::diagnostic::Diagnostic;
use crate::ledger::captured::{CLOSED, SEVERAL};
use crate::outcome::{Amount, Ledger};

/// There was no packet socket.
pub(super) fn unseen(problem: Diagnostic) -> Diagnostic {
    problem
        .why("the application had no packet socket on the receiver's interface when the first frame was sent")
        .fix(format!("{WAIT}; or expect `arrived`"))
}

/// It took fewer frames, or more.
pub(super) fn missing(problem: Diagnostic, ledger: &Ledger) -> Diagnostic {
    let dropped: Amount = ledger.packet_sockets.iter().filter_map(|socket| socket.dropped.clone()).sum();
    if dropped.is_zero() {
        return problem
            .why("its packet socket dropped none of the frames that its own filter takes")
            .fix("expect what the filter takes, or select those frames: `[capture] filter`");
    }
    problem
        .why(format!("{} found no room in its packet socket: it reads slower than they come", packets(&dropped)))
        .fix("let it use a larger buffer (`tcpdump -B`, SO_RCVBUF), or pace slower (`[pacing] rate`)")
}

/// Not all that it took is known.
pub(super) fn undecided(problem: Diagnostic, actual: &Amount) -> Diagnostic {
    let how = if actual.why() == CLOSED {
        "let it capture until it is stopped".to_owned()
    } else if actual.why().starts_with(SEVERAL) {
        "stop the others, or name the process of the receiver: `[receiver] at = \"pid:NUMBER\"`".to_owned()
    } else {
        format!("if its packet socket is opened late, {WAIT}")
    };
    problem.fix(format!("{how}; or expect `\">= {}\"`", actual.low()))
}

/// How frames are sent only when a sniffer is there.
const WAIT: &str = "wait for it: `[receiver] listens = [\"packet:{receiver}\"]`";
