//! The causes of loss as a page of the manual: the table of `cause` in words.

use super::Look;
use super::ledger::hang;
use crate::cause::{Row, TABLE};

/// Columns before the text of a paragraph.
const MARGIN: usize = 11;

/// Every cause.
pub fn all(look: Look) -> String {
    let mut text = hang(
        "",
        "Why a packet did not reach the next stage of the ledger, in the order in which a packet meets the causes. Names are those of Linux 6.18's \
         `enum skb_drop_reason`, whatever kernel runs; where it has none, restage's own. Evidence is `kernel` (the kernel's own \
         drop reason), `stage` (how far restage saw it in the stack, and the counters) or `predicted` (from the frame, the \
         addresses, routes, sysctls and sockets).",
        look.width,
    );
    for row in TABLE {
        text.push('\n');
        text.push_str(&page(row, look));
    }
    text
}

/// One cause.
pub fn page(row: &Row, look: Look) -> String {
    let mut text = format!("{}\n", row.name);
    let paragraphs = [
        ("lost", format!("before {}", row.stage).as_str()),
        ("why", row.why),
        ("signs", row.signs),
        ("fix", row.fix),
        ("machine", row.machine),
    ]
    .map(|(word, sentence)| hang(&format!("  {word:<width$}", width = MARGIN - 2), sentence, look.width));
    text.extend(paragraphs);
    text
}
